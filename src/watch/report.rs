//! What is said, and when: the first change of a round at once, the others together at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Sink, WatchKey, WatchReport};

/// While files are being judged, those that wait for them hear of it this often.
const SIGN: Duration = Duration::from_millis(2);

pub(super) struct Reports {
    sink: Sink,
    /// Changes that are not reported yet.
    waiting: BTreeMap<WatchKey, Vec<PathBuf>>,
    /// Who was already told of a change in this round.
    told: BTreeSet<WatchKey>,
    busy: BTreeSet<WatchKey>,
    sifted: Vec<WatchKey>,
    signed: BTreeMap<WatchKey, Instant>,
    problems: BTreeSet<(Option<WatchKey>, String)>,
    /// All changes of a round in one report.
    pub(super) at_once: bool,
}

impl Reports {
    pub(super) fn new(sink: Sink) -> Self {
        Self {
            sink,
            waiting: BTreeMap::new(),
            told: BTreeSet::new(),
            busy: BTreeSet::new(),
            sifted: Vec::new(),
            signed: BTreeMap::new(),
            problems: BTreeSet::new(),
            at_once: false,
        }
    }

    pub(super) fn changed(&mut self, key: WatchKey, path: &std::path::Path) {
        if self.at_once || self.told.contains(&key) {
            self.waiting.entry(key).or_default().push(path.to_owned());
        } else {
            self.told.insert(key);
            self.send(WatchReport::Changed { key, paths: vec![path.to_owned()] });
        }
    }

    /// Something is pending for `key`; said at the end of the round.
    pub(super) fn busy(&mut self, key: WatchKey) {
        self.busy.insert(key);
    }

    /// A file of `key` is about to be judged; said now and then if that takes long.
    pub(super) fn judging(&mut self, key: WatchKey, now: Instant) {
        let last = self.signed.entry(key).or_insert(now);
        if now.duration_since(*last) >= SIGN {
            *last = now;
            self.send(WatchReport::Busy { key });
        }
    }

    /// All that had happened before `key` asked is judged; said at the end of the round, behind the rest.
    pub(super) fn sifted(&mut self, key: WatchKey) {
        self.sifted.push(key);
    }

    pub(super) fn ready(&self, key: WatchKey) {
        self.send(WatchReport::Ready { key });
    }

    pub(super) fn problem(&mut self, key: Option<WatchKey>, message: String) {
        if self.problems.insert((key, message.clone())) {
            self.send(WatchReport::Problem { key, message });
        }
    }

    /// Whether a problem was said that ends so, to whomever.
    pub(super) fn has_said(&self, end: &str) -> bool {
        self.problems.iter().any(|(_, message)| message.ends_with(end))
    }

    /// The problems that were said.
    pub(super) fn said(&self) -> Vec<(Option<WatchKey>, String)> {
        self.problems.iter().cloned().collect()
    }

    /// These problems were said, by another watcher.
    pub(super) fn recall(&mut self, said: Vec<(Option<WatchKey>, String)>) {
        self.problems.extend(said);
    }

    /// Forgets what was said to `key`: it is gone.
    pub(super) fn forget(&mut self, key: WatchKey) {
        self.problems.retain(|(about, _)| *about != Some(key));
        self.waiting.remove(&key);
        self.busy.remove(&key);
    }

    /// Ends a round: says what waits.
    pub(super) fn flush(&mut self) {
        for (key, paths) in std::mem::take(&mut self.waiting) {
            self.send(WatchReport::Changed { key, paths });
        }
        for key in std::mem::take(&mut self.busy) {
            self.send(WatchReport::Busy { key });
        }
        for key in std::mem::take(&mut self.sifted) {
            self.send(WatchReport::Sifted { key });
        }
        self.told.clear();
        self.signed.clear();
        self.at_once = false;
    }

    fn send(&self, report: WatchReport) {
        (self.sink)(report);
    }
}
