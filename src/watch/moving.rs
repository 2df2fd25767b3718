//! How a key goes from one engine to another, with its baselines.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::engine::Engine;
use super::judge::Entry;
use super::native::What;
use super::print::Print;
use super::{WatchKey, WatchSpec};

/// A key that goes to another engine.
pub(super) struct Moved {
    key: WatchKey,
    spec: WatchSpec,
    known: Vec<(PathBuf, Print)>,
    said: Vec<(Option<WatchKey>, String)>,
    /// Whether an answer is due.
    asked: bool,
}

impl Moved {
    pub(super) fn key(&self) -> WatchKey {
        self.key
    }

    pub(super) fn spec(&self) -> &WatchSpec {
        &self.spec
    }
}

impl Engine {
    /// Answers that `key` is watched, or has that answered by whom it goes to.
    pub(super) fn answer(&mut self, key: WatchKey) {
        match self.beyond.remove(&key) {
            Some(mounts) => self.send_away(key, mounts, true),
            None => self.reports.ready(key),
        }
    }

    /// Takes in what was mounted meanwhile. Who watches there goes before anything is touched.
    pub(super) fn look_at_mounts(&mut self) {
        for mount in self.ground.refresh() {
            for key in self.places.keys_below(&mount) {
                self.beyond.entry(key).or_default().insert(mount.clone());
            }
        }
        self.part_with_others();
    }

    /// Lets those go that lead to where this engine may not look.
    pub(super) fn part_with_others(&mut self) {
        for (key, mounts) in std::mem::take(&mut self.beyond) {
            self.send_away(key, mounts, false);
        }
    }

    fn send_away(&mut self, key: WatchKey, mounts: BTreeSet<PathBuf>, asked: bool) {
        let Some(spec) = self.specs.get(&key).cloned() else { return };
        let mine = self.files.iter().filter(|(_, entry)| entry.is_of(key));
        let known = mine.map(|(path, entry)| (path.clone(), entry.print)).collect();
        let said = self.reports.said().into_iter().filter(|(about, _)| *about == Some(key)).collect();
        self.remove(key);
        let reach = self.ground.reach().union(&mounts).cloned().collect();
        let routes = Arc::clone(&self.routes);
        if let Err(error) = routes.hand_on(reach, Moved { key, spec, known, said, asked }, &mut self.inbox) {
            let message =
                format!("nothing of it is watched: can't start a thread for network folders: {error}");
            self.reports.problem(Some(key), message);
            self.reports.ready(key);
        }
    }

    /// Takes in a key that comes from another engine. What changed on the way is found by its stamp.
    pub(super) fn take_in(&mut self, moved: Moved) {
        let Moved { key, spec, known, said, asked } = moved;
        self.reports.recall(said);
        let paths: BTreeSet<PathBuf> = known.iter().map(|(path, _)| path.clone()).collect();
        let mut differing = Vec::new();
        for (path, print) in known {
            match self.files.get(&path) {
                Some(entry) if !entry.print.same_bytes(&print) => differing.push(path),
                Some(_) => {}
                None => drop(self.files.insert(path, Entry::left(print))),
            }
        }
        self.set_from(key, spec, paths.clone());
        // Judged here already, for others.
        for path in differing {
            if self.files.get(&path).is_some_and(|entry| entry.is_of(key)) {
                self.reports.changed(key, &path);
            }
        }
        for path in paths {
            let is_awaited = self.timers.of(&path).is_some();
            let Some(entry) = self.files.get(&path).filter(|entry| entry.is_of(key) && !is_awaited) else {
                continue;
            };
            if entry.print.may_differ(&path) {
                self.on_file(&path, What::Touched);
            } else if entry.print.is_unread() {
                self.unread.push_back(path);
            }
        }
        if asked {
            self.answer(key);
        }
    }
}
