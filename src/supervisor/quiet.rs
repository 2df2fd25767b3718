//! When files are quiet enough for the next start.
//!
//! One or two files are a save: `settle` is enough. Three are the beginning of a burst (a branch switch, a
//! formatter), whose writer may be held up for longer than that between two files; so the wait grows with
//! the number of files, from 50 ms to the contract's 500 ms.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::types::Time;

/// More changed files than this are a burst.
const SAVE: usize = 2;
const BURST_LEAST: Duration = Duration::from_millis(50);
const BURST_MOST: Duration = Duration::from_millis(500);
const BURST_PER_FILE: Duration = Duration::from_millis(2);

/// What is known of a component's files.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Quiet {
    files: usize,
    until: Time,
    /// Whether something happened since the last start.
    stirred: bool,
}

impl Quiet {
    /// So many files changed now.
    pub(crate) fn changed(&mut self, now: Time, files: usize, settle: Duration) {
        if self.is(now) {
            self.files = 0;
        }
        self.stirred = true;
        self.files = self.files.saturating_add(files);
        self.until = self.until.max(now + wait(self.files, settle));
    }

    /// Something is done to a file now.
    pub(crate) fn touched(&mut self, now: Time, settle: Duration) {
        if self.is(now) {
            self.files = 0;
        }
        self.until = self.until.max(now + wait(self.files, settle));
    }

    /// A run starts, and sees the files as they are.
    pub(crate) fn started(&mut self) {
        self.stirred = false;
    }

    /// Whether the files have changed since the last start: their quiet is to be made sure of.
    pub(crate) fn stirred(&self) -> bool {
        self.stirred
    }

    /// Whether the files are quiet.
    pub(crate) fn is(&self, now: Time) -> bool {
        now >= self.until
    }

    /// When they will be, if nothing more happens.
    pub(crate) fn until(&self) -> Time {
        self.until
    }
}

fn wait(files: usize, settle: Duration) -> Duration {
    if files <= SAVE {
        return settle;
    }
    let grown = BURST_PER_FILE.saturating_mul(u32::try_from(files).unwrap_or(u32::MAX));
    grown.clamp(BURST_LEAST, BURST_MOST).max(settle)
}

#[cfg(test)]
mod tests {
    use super::{Duration, Quiet, Time};

    const SETTLE: Duration = Duration::from_millis(5);

    #[test]
    fn a_save_waits_for_settle_and_a_burst_for_more() {
        for (files, wait) in [(1, 5), (2, 5), (3, 50), (25, 50), (100, 200), (2000, 500)] {
            let mut quiet = Quiet::default();
            quiet.changed(Time(0), files, SETTLE);
            assert_eq!(quiet.until(), Time(0) + Duration::from_millis(wait), "{files} files");
        }
    }

    #[test]
    fn a_burst_adds_up_and_is_over_when_quiet() {
        let mut quiet = Quiet::default();
        quiet.changed(Time(0), 1, SETTLE);
        quiet.changed(Time(1_000_000), 2, SETTLE);
        assert_eq!(quiet.until(), Time(51_000_000));
        quiet.changed(Time(60_000_000), 1, SETTLE);
        assert_eq!(quiet.until(), Time(65_000_000));
    }
}
