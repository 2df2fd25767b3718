//! When a file is judged, and whether its bytes changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use super::WatchKey;
use super::engine::Engine;
use super::native::What;
use super::places::Owner;
use super::print::Print;

/// A file that is deleted and made anew by one save is away for less than this, also on a busy machine. Only a
/// deletion waits for it; what comes back is judged when it is there.
const GONE: Duration = Duration::from_millis(50);
/// A file put in the place of a known one by `link` has its bytes by then.
const AWAY: Duration = Duration::from_millis(5);
/// A new name may be a temporary one, renamed over another as soon as it is written.
const NEW: Duration = Duration::from_millis(10);
/// The same, while it is still being written and perhaps synced to the disk.
const NEW_OPEN: Duration = Duration::from_millis(100);

/// A watched file.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its bytes as they were last judged.
    pub(super) print: Print,
    pub(super) owners: BTreeSet<Owner>,
    /// It is known to be away, and is awaited.
    pub(super) is_away: bool,
}

/// For whom something is pending, so that they are told again and again until it is judged.
#[derive(Debug, Default)]
pub(super) struct Pending {
    keys: BTreeMap<WatchKey, Sign>,
}

#[derive(Debug)]
struct Sign {
    until: Instant,
    every: Duration,
    next: Instant,
}

impl Entry {
    pub(super) fn new(print: Print, owner: Owner) -> Self {
        Self { print, owners: BTreeSet::from([owner]), is_away: false }
    }

    /// A file that another watcher has left, for whom is yet to be found.
    pub(super) fn left(print: Print) -> Self {
        Self { print, owners: BTreeSet::new(), is_away: false }
    }

    pub(super) fn is_of(&self, key: WatchKey) -> bool {
        self.owners.iter().any(|owner| owner.key == key)
    }

    fn keys(&self) -> BTreeSet<WatchKey> {
        self.owners.iter().map(|owner| owner.key).collect()
    }
}

impl Pending {
    /// When to tell again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.keys.values().map(|sign| sign.next).min()
    }

    fn add(&mut self, key: WatchKey, until: Instant, settle: Duration) {
        let every = (settle / 2).max(Duration::from_millis(1));
        // The first sign is given at the end of this round.
        let fresh = Sign { until, every, next: Instant::now() };
        let sign = self.keys.entry(key).or_insert(fresh);
        sign.until = sign.until.max(until);
    }
}

impl Engine {
    /// `what` happened to the known file `path`: decides when it is judged.
    pub(super) fn on_file(&mut self, path: &Path, what: What) {
        let Some(entry) = self.files.get_mut(path) else {
            return;
        };
        let now = Instant::now();
        let is_new = entry.print.is_absent();
        entry.is_away = what == What::Gone;
        let keys = entry.keys();
        let settles = keys.iter().filter_map(|key| self.rules.get(key)).map(|rules| rules.settle);
        let settle = settles.min().unwrap_or_default();
        let planned = self.timers.of(path);
        let wait = if self.reports.at_once { Duration::ZERO } else { wait(what, is_new, settle, path) };
        let at = match planned {
            // Closed, and opened again at once: the close counts.
            Some(planned) if what == What::Touched && planned <= now => planned,
            // The first close of a new file counts.
            Some(planned) if is_new && what != What::Touched => planned.min(now + wait),
            _ => now + wait,
        };
        self.judge_at(path, at);
    }

    /// Has the known file `path` judged at that moment, and those told that watch it.
    pub(super) fn judge_at(&mut self, path: &Path, at: Instant) {
        self.timers.set(path, at);
        let Some(entry) = self.files.get(path).filter(|_| at > Instant::now()) else {
            return;
        };
        for key in entry.keys() {
            let settle = self.rules.get(&key).map(|rules| rules.settle).unwrap_or_default();
            self.pending.add(key, at, settle);
        }
    }

    /// Compares the bytes of `path` with those last judged, and reports a change.
    pub(super) fn judge(&mut self, path: &Path) {
        self.timers.clear(path);
        let Some(entry) = self.files.get_mut(path) else {
            return;
        };
        let keys = entry.keys();
        let now = Instant::now();
        keys.iter().for_each(|key| self.reports.judging(*key, now));
        self.pulse.beat();
        let compared = entry.print.compare(path);
        self.polls.read(path, now, Instant::now());
        let Some(seen) = compared else {
            self.on_file(path, What::Touched);
            return;
        };
        let is_lost = seen.is_absent() && !entry.print.is_absent();
        if is_lost && !entry.is_away && !self.reports.at_once {
            self.on_file(path, What::Gone);
            return;
        }
        let is_same = seen.same_bytes(&entry.print);
        if is_same {
            entry.print.confirm(seen);
        } else {
            entry.print = seen;
        }
        if entry.print.is_unread() {
            self.unread.push_back(path.to_owned());
        }
        if seen.is_absent() {
            self.files.remove(path);
        }
        for key in keys.into_iter().filter(|_| !is_same) {
            self.reports.changed(key, path);
        }
    }

    /// Reads one file whose baseline is known by `stat` alone.
    pub(super) fn read_one(&mut self) {
        let Some(path) = self.unread.pop_front() else {
            return;
        };
        let awaited = self.timers.of(&path).is_some();
        let Some(entry) = self.files.get_mut(&path).filter(|entry| !awaited && entry.print.is_unread())
        else {
            return;
        };
        let seen = Print::read(&path);
        if seen.same_bytes(&entry.print) {
            entry.print.confirm(seen);
        } else {
            self.on_file(&path, if seen.is_absent() { What::Gone } else { What::Touched });
        }
    }

    /// Tells those for whom something is pending, when it is time to.
    pub(super) fn still_pending(&mut self) {
        if self.timers.is_empty() {
            self.pending.keys.clear();
        }
        let now = Instant::now();
        self.pending.keys.retain(|_, sign| sign.until > now);
        for (key, sign) in &mut self.pending.keys {
            if sign.next <= now {
                sign.next = now + sign.every;
                self.reports.busy(*key);
            }
        }
    }
}

/// How long to wait before the file is judged.
fn wait(what: What, is_new: bool, settle: Duration, path: &Path) -> Duration {
    let open = settle.max(Duration::from_millis(1));
    match (what, is_new) {
        (What::Written | What::Placed, false) => Duration::ZERO,
        (What::Written | What::Placed, true) => NEW,
        (What::Touched, false) => open,
        (What::Touched, true) => open.max(NEW_OPEN),
        (What::Gone, _) => settle.max(GONE),
        // A name made by `link` is never closed, and its bytes are there; one made by `open` is empty at first,
        // and each write to it prolongs the wait.
        (What::Created, true) if has_bytes(path) => NEW,
        (What::Created, false) if has_bytes(path) => AWAY,
        (What::Created, true) => open.max(NEW_OPEN),
        (What::Created, false) => open.max(AWAY),
    }
}

fn has_bytes(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.len() > 0)
}
