//! What orch says on the terminal about what happens: one line each, the name first, nothing twice.

use std::path::Path;
use std::time::Duration;

use crate::supervisor::{Record, State, What};
use crate::types::{TaskFailure, TaskKind};

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

    /// The line for a record, if it deserves one; or the block of lines, of a command that failed. `stays`: a run of
    /// its component goes on.
    pub(crate) fn line(&self, record: &Record, stays: bool) -> Option<String> {
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
            What::TaskStarted { kind: TaskKind::Build } => (Paint::Plain, format!("{name}: building")),
            What::TaskSucceeded { kind: TaskKind::Build, took } => {
                (Paint::Good, format!("{name}: built in {}", shown(*took)))
            }
            What::TaskSucceeded { kind: TaskKind::OnChange, took } => {
                (Paint::Plain, format!("{name}: what a change runs is done, in {}", shown(*took)))
            }
            What::TaskFailed { kind, failure, .. } => return Some(self.failed(name, *kind, failure, stays)),
            What::TaskStarted { .. } | What::TaskSucceeded { kind: TaskKind::Stop, .. } => return None,
            What::TaskEnded { .. } => return None,
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

    /// How a command failed, where, and its last words: other components may have written since.
    fn failed(&self, name: &str, kind: TaskKind, failure: &TaskFailure, stays: bool) -> String {
        let TaskFailure { reason, place, tail } = failure;
        let place = place.as_ref().map(|place| format!("; see {place}")).unwrap_or_default();
        let mut text =
            self.painted(Paint::Bad, &format!("{name}: {} failed: {reason}{place}", kind.called()));
        for line in tail {
            text.push_str("\n    ");
            text.push_str(line);
        }
        if kind == TaskKind::Build && stays {
            text.push('\n');
            text.push_str(&self.painted(Paint::Warn, &format!("{name}: the one that runs stays")));
        }
        text
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

/// How long something took, as people say it.
fn shown(took: Duration) -> String {
    match (took.as_secs(), took.as_millis()) {
        (0, millis) => format!("{millis} ms"),
        (seconds @ 1..60, millis) => format!("{seconds}.{} s", millis % 1000 / 100),
        (seconds, _) => format!("{} min {} s", seconds / 60, seconds % 60),
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

#[cfg(test)]
mod tests {
    use super::{Announcer, Duration, Path, Record, TaskFailure, TaskKind, What, shown};
    use crate::types::{Name, Time};

    fn said(what: What, stays: bool) -> Option<String> {
        let component = Some(Name::new("api").unwrap());
        let record = Record { seq: 1, cause: None, at: Time(0), component, incarnation: None, what };
        Announcer::new(false, Path::new("/srv")).line(&record, stays)
    }

    #[test]
    fn a_build_is_told_of_and_its_failure_is_a_block() {
        let (kind, took) = (TaskKind::Build, Duration::from_millis(412));
        assert_eq!(said(What::TaskStarted { kind }, true).unwrap(), "orch: api: building");
        assert_eq!(said(What::TaskSucceeded { kind, took }, true).unwrap(), "orch: api: built in 412 ms");
        let failure = TaskFailure {
            reason: "it ended with exit code 1".to_owned(),
            place: Some("a.c:3:5".to_owned()),
            tail: vec!["a.c:3:5: error: x".to_owned(), "make: *** Error 1".to_owned()],
        };
        let block = "orch: api: its build failed: it ended with exit code 1; see a.c:3:5\n    \
                     a.c:3:5: error: x\n    make: *** Error 1";
        let failed = What::TaskFailed { kind, took, failure };
        assert_eq!(said(failed.clone(), false).unwrap(), block);
        assert_eq!(said(failed, true).unwrap(), format!("{block}\norch: api: the one that runs stays"));
        assert_eq!(said(What::TaskStarted { kind: TaskKind::Stop }, true), None);
    }

    #[test]
    fn durations_are_said_in_what_people_count() {
        let millis = [0, 999, 1000, 59_999, 61_000].map(|millis| shown(Duration::from_millis(millis)));
        assert_eq!(millis, ["0 ms", "999 ms", "1.0 s", "59.9 s", "1 min 1 s"]);
    }
}
