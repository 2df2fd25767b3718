//! Which file is judged when: one moment per file, found by file and by time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Timers {
    order: BTreeSet<(Instant, PathBuf)>,
    moments: BTreeMap<PathBuf, Instant>,
}

impl Timers {
    /// Sets the moment of `path`, in place of the one that it had.
    pub(super) fn set(&mut self, path: &Path, at: Instant) {
        self.clear(path);
        self.moments.insert(path.to_owned(), at);
        self.order.insert((at, path.to_owned()));
    }

    pub(super) fn clear(&mut self, path: &Path) {
        if let Some(at) = self.moments.remove(path) {
            self.order.remove(&(at, path.to_owned()));
        }
    }

    pub(super) fn of(&self, path: &Path) -> Option<Instant> {
        self.moments.get(path).copied()
    }

    /// The next moment at which something is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes one file whose moment has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<PathBuf> {
        if self.next()? > now {
            return None;
        }
        let (_, path) = self.order.pop_first()?;
        self.moments.remove(&path);
        Some(path)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.moments.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::Timers;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    #[test]
    fn a_file_has_one_moment() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut timers = Timers::default();
        timers.set(Path::new("a"), now);
        timers.set(Path::new("a"), later);
        timers.set(Path::new("b"), now);
        assert_eq!(timers.take_due(now), Some(PathBuf::from("b")));
        assert_eq!(timers.take_due(now), None);
        assert_eq!(timers.next(), Some(later));
        timers.clear(Path::new("a"));
        assert!(timers.is_empty() && timers.next().is_none());
    }
}
