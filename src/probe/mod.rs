//! Probes: asking whether a component is ready, or still lives. Tasks on the runtime that they are started
//! on; no policy but the rhythm of the tries. `log` and `notify` are heard elsewhere: by who reads the output
//! and who runs the unit.

mod file;
mod health;
mod holder;
mod http;
mod net;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

pub use file::Baseline;
pub use health::{HealthHandle, HealthReport, HealthSink, Rhythm, watch_over};
pub use holder::{holder, holder_of_path, holder_of_port, occupied};

use crate::config::model::{Command, HealthCheck, HostPort, HttpUrl, Probe};
use crate::types::{Exit, UnitId};

/// One try takes this long at most (contract, section 3).
pub const TRY: Duration = Duration::from_secs(1);
/// The same failure is told again after so long.
const REPEAT: Duration = Duration::from_secs(1);
/// The shortest rest between two tries: a check that needs no waiting must not keep others from running.
const REST: Duration = Duration::from_millis(1);

/// What a probe reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeReport {
    /// A try was good; the probe has ended.
    Succeeded {
        /// For which unit.
        id: UnitId,
    },
    /// A try failed, and others follow. Told when the failure is another than before, and else once a second.
    Tried {
        /// For which unit.
        id: UnitId,
        /// What was asked and why it was not good: `tcp 127.0.0.1:5432: connection refused`.
        error: String,
        /// How many have failed, from 1.
        tries: u32,
    },
}

/// Where a probe's reports go; called on the runtime, so it only hands over.
pub type ProbeSink = Arc<dyn Fn(ProbeReport) + Send + Sync>;

/// The end of a helper command. Dropping it ends the command with its descendants.
pub type ExecFuture = Pin<Box<dyn Future<Output = Result<Exit, String>> + Send>>;

/// What runs an exec probe's command: in the component's folder and environment, into its log.
pub trait ExecRunner: Send + Sync {
    /// Runs `command`, and kills it with its descendants after `timeout`. An error says why there is no
    /// exit: it could not be started, or was killed.
    fn run(&self, command: &Command, timeout: Duration) -> ExecFuture;
}

/// What one try asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// GET answers 200 to 399.
    Http(HttpUrl),
    /// A connection is accepted.
    Tcp(HostPort),
    /// A command ends with 0.
    Exec(Command),
    /// The file at the path is not as it was.
    File(std::path::PathBuf, Baseline),
}

impl Check {
    /// What a health check asks; `None` for the watchdog, which is not asked but heard.
    #[must_use]
    pub fn of_health(check: &HealthCheck) -> Option<Self> {
        match check {
            HealthCheck::Http(url) => Some(Self::Http(url.clone())),
            HealthCheck::Tcp(at) => Some(Self::Tcp(at.clone())),
            HealthCheck::Exec(command) => Some(Self::Exec(command.clone())),
            HealthCheck::Watchdog(_) => None,
        }
    }
}

/// A probe under way; dropping it ends the probe, and nothing is reported any more.
#[derive(Debug)]
#[must_use = "dropping the handle ends the probe"]
pub struct ProbeHandle {
    task: Option<AbortHandle>,
    tried: Tried,
}

/// How many tries have failed, and when the last one did; not each is reported.
type Tried = Arc<Mutex<Option<(u32, Instant)>>>;

impl ProbeHandle {
    fn of(task: Option<AbortHandle>, tried: Tried) -> Self {
        Self { task, tried }
    }

    /// How many tries have failed so far, and how long ago the last one did; `None` before the first.
    #[must_use]
    pub fn tried(&self) -> Option<(u32, Duration)> {
        let tried = *self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        tried.map(|(tries, at)| (tries, at.elapsed()))
    }
}

impl Drop for ProbeHandle {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Asks until it is good or the handle is dropped: the first time at once, then each `interval` after the end
/// of the last try. The time-out of the whole is the caller's.
///
/// `before` is how things were before the unit was started ([`Baseline::take`]). For `log` and `notify`
/// nothing is asked, and the handle does nothing.
///
/// # Panics
/// Outside a tokio runtime.
pub fn start(
    id: UnitId,
    probe: &Probe,
    interval: Duration,
    before: Baseline,
    exec: Arc<dyn ExecRunner>,
    sink: ProbeSink,
) -> ProbeHandle {
    let check = match probe {
        Probe::Http(url) => Check::Http(url.clone()),
        Probe::Tcp(at) => Check::Tcp(at.clone()),
        Probe::Exec(command) => Check::Exec(command.clone()),
        Probe::File(path) => Check::File(path.clone(), before),
        Probe::Delay(wait) => return delay(id, *wait, sink),
        Probe::Log(_) | Probe::Notify => return ProbeHandle::of(None, Tried::default()),
    };
    let tried = Tried::default();
    let noted = Arc::clone(&tried);
    let task = tokio::spawn(async move {
        until_good(id, &check, interval, &*exec, (&sink, &noted)).await;
        sink(ProbeReport::Succeeded { id });
    });
    ProbeHandle::of(Some(task.abort_handle()), tried)
}

fn delay(id: UnitId, wait: Duration, sink: ProbeSink) -> ProbeHandle {
    let task = tokio::spawn(async move {
        sleep(wait).await;
        sink(ProbeReport::Succeeded { id });
    });
    ProbeHandle::of(Some(task.abort_handle()), Tried::default())
}

async fn until_good(
    id: UnitId,
    check: &Check,
    interval: Duration,
    exec: &dyn ExecRunner,
    (sink, tried): (&ProbeSink, &Tried),
) {
    let mut tries = 0_u32;
    let mut told: Option<(String, Instant)> = None;
    while let Err(error) = check_once(check, TRY, exec).await {
        tries = tries.saturating_add(1);
        *tried.lock().unwrap_or_else(PoisonError::into_inner) = Some((tries, Instant::now()));
        if told.as_ref().is_none_or(|(last, at)| *last != error || at.elapsed() >= REPEAT) {
            told = Some((error.clone(), Instant::now()));
            sink(ProbeReport::Tried { id, error, tries });
        }
        sleep(interval.max(REST)).await;
    }
}

/// One try, of `limit` at most.
///
/// # Errors
/// What was asked and why it was not good, as a fragment: `tcp 127.0.0.1:5432: connection refused`.
pub async fn check_once(check: &Check, limit: Duration, exec: &dyn ExecRunner) -> Result<(), String> {
    let answer = match check {
        Check::Http(url) => within(limit, http::get(url)).await,
        Check::Tcp(at) => within(limit, net::reach(at)).await.map(drop),
        // The runner keeps the time, for it must end the command, too.
        Check::Exec(command) => exec.run(command, limit).await.and_then(|exit| match exit {
            Exit::Code(0) => Ok(()),
            other => Err(other.to_string()),
        }),
        Check::File(path, before) => before.changed(path, limit).await,
    };
    answer.map_err(|why| format!("{}: {why}", shown(check)))
}

async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let answered = timeout(limit, answer).await;
    answered.unwrap_or_else(|_| Err(format!("no answer within {}", humantime::format_duration(limit))))
}

fn shown(check: &Check) -> String {
    match check {
        Check::Http(url) => format!("http://{}{}", net::shown(&url.at), url.target),
        Check::Tcp(at) => format!("tcp {}", net::shown(at)),
        Check::Exec(Command::Words(words)) => format!("exec {}", words.join(" ")),
        Check::Exec(Command::Shell(text)) => format!("exec {text}"),
        Check::File(path, _) => format!("file {}", path.display()),
    }
}
