//! What orch says on the terminal about what happens: one line each, the name first, nothing twice.

use std::path::Path;

use crate::supervisor::{Record, State, What};

/// Says records in words.
#[derive(Debug)]
pub(crate) struct Announcer {
    color: bool,
    dir: std::path::PathBuf,
}

impl Announcer {
    pub(crate) fn new(color: bool, dir: &Path) -> Self {
        Self { color, dir: dir.to_path_buf() }
    }

    /// The line for a record, if it deserves one.
    pub(crate) fn line(&self, record: &Record) -> Option<String> {
        let name = record.component.as_ref().map(|name| name.as_str()).unwrap_or_default();
        let (paint, text) = match &record.what {
            What::State { state, reason } => self.state(*state, name, reason)?,
            What::Changed { paths } => (Paint::Plain, format!("{name}: {} changed", self.paths(paths))),
            What::ForceKilled { pids } if pids.is_empty() => {
                (Paint::Warn, format!("{name}: its thread was ended with the old image"))
            }
            What::ForceKilled { pids } => {
                (Paint::Warn, format!("{name}: force-killed {} process(es)", pids.len()))
            }
            What::StateRestored(restored) => {
                let (source, generation) = (restored.source, restored.generation);
                (Paint::Plain, format!("{name}: state restored ({source}, generation {generation})"))
            }
            What::StateRejected { reason } => (Paint::Warn, format!("{name}: state set aside: {reason}")),
            What::ConfigReloaded { plan } if plan.is_empty() => {
                (Paint::Plain, "the file was saved, and nothing changes".to_owned())
            }
            What::ConfigReloaded { plan } => {
                (Paint::Plain, format!("the file was edited:\n{}", plan.to_text().trim_end()))
            }
            What::ProjectUp | What::ProjectDown { .. } | What::ConfigRejected { .. } => return None,
            What::Spawned { .. } | What::Exited { .. } | What::StopRequested { .. } => return None,
            What::Reexec => (Paint::Good, "this is the new image; the processes run on".to_owned()),
            What::ReexecFailed { error } => {
                (Paint::Bad, format!("there is no new image, and everything goes on as it was: {error}"))
            }
            What::TaskFailed { kind, failure, .. } => {
                let place = failure.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
                (Paint::Bad, format!("{name}: {} failed: {}{place}", kind.called(), failure.reason))
            }
            What::TaskStarted { .. } | What::TaskSucceeded { .. } => return None,
            What::StateSealed { .. } | What::Command { .. } => return None,
        };
        Some(self.painted(paint, &text))
    }

    fn state(&self, state: State, name: &str, reason: &str) -> Option<(Paint, String)> {
        let text = |word: &str| format!("{name}: {word}");
        Some(match state {
            State::Ready => (Paint::Good, text("ready")),
            State::Completed => (Paint::Good, text("completed")),
            State::Failed | State::Blocked | State::Stuck | State::Unhealthy => {
                (Paint::Bad, format!("{name}: {state}: {reason}"))
            }
            State::Backoff => (Paint::Warn, format!("{name}: {reason}")),
            State::Stopped => (Paint::Plain, text("stopped")),
            State::Stopping => (Paint::Plain, format!("{name}: stopping: {reason}")),
            State::Waiting | State::Building | State::Starting => return None,
        })
    }

    fn paths(&self, paths: &[std::path::PathBuf]) -> String {
        let shown =
            |path: &std::path::PathBuf| path.strip_prefix(&self.dir).unwrap_or(path).display().to_string();
        match paths {
            [one] => shown(one),
            [one, rest @ ..] => format!("{} and {} more", shown(one), rest.len()),
            [] => String::new(),
        }
    }

    /// A line of orch's own, marked as such.
    pub(crate) fn painted(&self, paint: Paint, text: &str) -> String {
        if !self.color {
            return format!("orch: {text}");
        }
        let code = match paint {
            Paint::Plain => "2",
            Paint::Good => "32",
            Paint::Warn => "33",
            Paint::Bad => "1;31",
        };
        format!("\x1b[{code}morch: {text}\x1b[0m")
    }
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    Good,
    Warn,
    Bad,
}
