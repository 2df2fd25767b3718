//! Liveness: asking a component that is ready over and over whether it still answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::{Check, ExecRunner, REST, check_once};

/// What a health check reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthReport {
    /// A try failed: what was asked, and why it was not good. Each one is told.
    Unwell(String),
    /// A try was good again, after one that failed.
    Well,
}

/// Where the reports go; called on the runtime, so it only hands over.
pub type HealthSink = Arc<dyn Fn(HealthReport) + Send + Sync>;

/// How often is asked, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// From the beginning of one try to that of the next, or to the end of the first if that is later.
    pub interval: Duration,
    /// Of one try, at the most.
    pub timeout: Duration,
}

/// A health check under way; dropping it ends it, and the command that it has run.
#[derive(Debug)]
#[must_use = "dropping the handle ends the check"]
pub struct HealthHandle(AbortHandle);

impl Drop for HealthHandle {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks until the handle is dropped: the first time after one interval, one try at a time. No thread, and no
/// connection between two tries.
///
/// `unwell` tells whether the last try failed; kept by the caller, so that a check which takes this one's place
/// goes on from it.
///
/// # Panics
/// Outside a tokio runtime.
pub fn watch_over(
    check: Check,
    rhythm: Rhythm,
    exec: Arc<dyn ExecRunner>,
    unwell: Arc<AtomicBool>,
    sink: HealthSink,
) -> HealthHandle {
    let task = tokio::spawn(async move {
        let mut next = Instant::now() + rhythm.interval.max(REST);
        loop {
            sleep_until(next).await;
            match check_once(&check, rhythm.timeout, &*exec).await {
                Ok(()) if unwell.swap(false, Ordering::Relaxed) => sink(HealthReport::Well),
                Ok(()) => {}
                Err(error) => {
                    unwell.store(true, Ordering::Relaxed);
                    sink(HealthReport::Unwell(error));
                }
            }
            // A try that takes longer than the interval is not followed by several at once.
            next = (next + rhythm.interval).max(Instant::now() + REST);
        }
    });
    HealthHandle(task.abort_handle())
}
