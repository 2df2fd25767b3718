//! What is looked at again and again, since no events come from there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::WatchKey;
use super::engine::Engine;
use super::native::Refusal;
use super::places::Owner;
use super::rules::Rules;
use crate::config::model::Poll;

/// How often files are looked at where no events come.
pub(super) const POLL: Duration = Duration::from_millis(500);
/// Polling faster than this would only heat the room.
const POLL_MIN: Duration = Duration::from_millis(10);
/// Nobody asked for it, so looking takes one part of so many of the time at the most, however much there is to
/// look at.
const SHARE: u32 = 25;

/// One tree that is polled.
#[derive(Debug)]
struct Polling {
    every: Duration,
    /// Nobody has set how often: it takes no more time than it may.
    modest: bool,
    next: Instant,
    /// How long the last look took, and the reading that it led to.
    cost: Duration,
}

/// The trees that are polled, by the paths that the user knows them by; none is below another one of its owner.
#[derive(Debug, Default)]
pub(super) struct Polls {
    trees: BTreeMap<Tree, Polling>,
    /// Files that are yet to be read because a look at a tree has found that they may differ.
    reads: BTreeMap<PathBuf, Tree>,
}

/// A path of an owner, with all that is below.
type Tree = (Owner, PathBuf);

impl Polls {
    /// Polls a tree from now on; false if it is polled already, with one above it.
    fn add(&mut self, owner: Owner, path: &Path, every: Duration, modest: bool) -> bool {
        if self.covers(owner, path) {
            return false;
        }
        self.trees.retain(|(who, below), _| *who != owner || !below.starts_with(path));
        let polling = Polling { every, modest, next: Instant::now() + every, cost: Duration::ZERO };
        self.trees.insert((owner, path.to_owned()), polling);
        true
    }

    pub(super) fn remove(&mut self, key: WatchKey) {
        self.trees.retain(|(owner, _), _| owner.key != key);
    }

    /// Whether `path` of `owner` is in a tree that is polled.
    pub(super) fn covers(&self, owner: Owner, path: &Path) -> bool {
        !self.trees.is_empty()
            && path.ancestors().any(|above| self.trees.contains_key(&(owner, above.to_owned())))
    }

    /// What is polled for a key.
    pub(super) fn of(&self, key: WatchKey) -> Vec<Tree> {
        self.trees.keys().filter(|(owner, _)| owner.key == key).cloned().collect()
    }

    /// When to look again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.trees.values().map(|polling| polling.next).min()
    }

    fn due(&self, now: Instant) -> Vec<Tree> {
        self.trees.iter().filter(|(_, polling)| polling.next <= now).map(|(tree, _)| tree.clone()).collect()
    }

    /// A tree was looked at, from `begun` to `now`.
    fn looked(&mut self, tree: &Tree, begun: Instant, now: Instant) {
        if let Some(polling) = self.trees.get_mut(tree) {
            polling.cost = now.duration_since(begun);
        }
        self.plan(tree, now);
    }

    /// A look at `path` of `owner` leads to a reading of it.
    pub(super) fn leads_to(&mut self, owner: Owner, path: &Path) {
        if self.trees.is_empty() {
            return;
        }
        let tree = path.ancestors().map(|above| (owner, above.to_owned()));
        if let Some(tree) = tree.into_iter().find(|tree| self.trees.contains_key(tree)) {
            self.reads.insert(path.to_owned(), tree);
        }
    }

    /// The file `path` was read, from `begun` to `now`; if a look at a tree has led to that, it is a part of it.
    pub(super) fn read(&mut self, path: &Path, begun: Instant, now: Instant) {
        let Some(tree) = self.reads.remove(path) else { return };
        if let Some(polling) = self.trees.get_mut(&tree) {
            polling.cost += now.duration_since(begun);
        }
        self.plan(&tree, now);
    }

    /// Sets when a tree is looked at next, from now on.
    fn plan(&mut self, tree: &Tree, now: Instant) {
        let modest = self.trees.values().filter(|polling| polling.modest);
        let least = modest.map(|polling| polling.cost).sum::<Duration>() * SHARE;
        if let Some(polling) = self.trees.get_mut(tree) {
            polling.next = now + if polling.modest { polling.every.max(least) } else { polling.every };
        }
    }
}

impl Engine {
    /// Sets whether and how often all of `key` is polled, from its rules. Single trees may be, too, as soon as
    /// they are looked into.
    pub(super) fn set_polling(&mut self, key: WatchKey, rules: &Rules) {
        self.polls.remove(key);
        let (every, modest) = match rules.poll {
            Poll::Every(every) => (every.max(POLL_MIN), false),
            Poll::Auto if !self.native.is_available() => (POLL, true),
            Poll::Auto => return,
        };
        for (base, it) in rules.bases.iter().enumerate() {
            self.polls.add(Owner { key, base }, &it.path, every, modest);
        }
    }

    /// Looks at what is due.
    pub(super) fn poll(&mut self) {
        self.polls.due(Instant::now()).iter().for_each(|tree| self.look_at_tree(tree));
    }

    /// Looks at a tree that is polled, and at git's rules for it.
    pub(super) fn look_at_tree(&mut self, tree: &Tree) {
        let begun = Instant::now();
        let (owner, path) = tree;
        self.polls.reads.retain(|_, of| of != tree);
        if self.rules.get(&owner.key).is_some_and(|rules| rules.gitignore) && self.git.is_stale(path) {
            self.reload_git();
        }
        self.rescan(*owner, path);
        self.look_again();
        self.polls.looked(tree, begun, Instant::now());
    }

    /// Has the system watch the folders that are marked and not watched yet.
    pub(super) fn arm(&mut self) {
        let rules = &self.rules;
        let wanted = |owner: Owner| rules.get(&owner.key).is_some_and(|rules| rules.poll == Poll::Auto);
        let folders = self.places.take_unarmed(wanted);
        if folders.is_empty() {
            return;
        }
        for (folder, refusal) in self.native.watch(&folders) {
            let refused = self.places.refused(&folder);
            let about = match refusal {
                Refusal::Unreachable => continue,
                Refusal::Limit => {
                    "the system's limit of file watches is reached; raise fs.inotify.max_user_watches, \
                     or watch fewer folders"
                        .into()
                }
                Refusal::Other(cause) => format!("it can't be watched: {cause}"),
            };
            let refused = refused.into_iter().filter(|(owner, _)| wanted(*owner));
            let added = refused.filter(|(owner, path)| self.polls.add(*owner, path, POLL, true)).count();
            // Where one was refused, all that follow are.
            if added > 0 && !self.reports.has_said(&about) {
                let folder = folder.display();
                let message = format!("looking for changes in {folder} and the like every {POLL:?}: {about}");
                self.reports.problem(None, message);
            }
        }
    }

    /// Polls `path`, too, where changes made elsewhere cause no event: if `real`, the folder that it is or is in,
    /// is on such a file system.
    pub(super) fn check_device(&mut self, owner: Owner, path: &Path, real: &Path) {
        self.pulse.beat();
        let is_auto = self.rules.get(&owner.key).is_some_and(|rules| rules.poll == Poll::Auto);
        if !is_auto || self.polls.covers(owner, path) {
            return;
        }
        if let Some(name) = self.native.silent(real)
            && self.polls.add(owner, path, POLL, true)
        {
            let path = path.display();
            let message = format!(
                "looking for changes in {path} every {POLL:?}: {name} gives no events of all changes"
            );
            self.reports.problem(Some(owner.key), message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Owner, POLL, Polls, SHARE};
    use crate::types::Cid;
    use crate::watch::WatchKey;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    const A: Owner = Owner { key: WatchKey::Component(Cid(1)), base: 0 };
    const B: Owner = Owner { key: WatchKey::Component(Cid(2)), base: 0 };

    #[test]
    fn a_tree_is_polled_once_with_all_below_it() {
        let mut polls = Polls::default();
        assert!(polls.add(A, Path::new("/p/src/x"), POLL, true));
        assert!(polls.add(A, Path::new("/p/src"), POLL, true));
        assert!(!polls.add(A, Path::new("/p/src/y"), POLL, true));
        assert_eq!(polls.of(A.key), [(A, PathBuf::from("/p/src"))]);
        assert!(polls.covers(A, Path::new("/p/src/x/y")) && !polls.covers(A, Path::new("/p/src2")));
        assert!(!polls.covers(B, Path::new("/p/src")));
        polls.remove(A.key);
        assert!(polls.next().is_none());
    }

    #[test]
    fn looking_takes_no_more_than_its_share_of_the_time() {
        let mut polls = Polls::default();
        let now = Instant::now();
        let trees = [(A, PathBuf::from("/a")), (B, PathBuf::from("/b"))];
        for (owner, path) in &trees {
            polls.add(*owner, path, POLL, true);
        }
        polls.looked(&trees[0], now, now + Duration::from_millis(1));
        assert_eq!(polls.trees[&trees[0]].next, now + Duration::from_millis(1) + POLL, "little costs little");
        let end = now + Duration::from_secs(2);
        polls.looked(&trees[1], now, end);
        assert!(polls.trees[&trees[1]].next >= end + Duration::from_secs(2) * SHARE);
        // Together they take no more than one alone.
        polls.looked(&trees[0], end, end + Duration::from_millis(1));
        assert!(polls.trees[&trees[0]].next >= end + Duration::from_secs(2) * SHARE);
    }

    #[test]
    fn what_a_look_leads_to_is_a_part_of_it() {
        let mut polls = Polls::default();
        let (now, tree) = (Instant::now(), (A, PathBuf::from("/a")));
        polls.add(A, &tree.1, POLL, true);
        polls.looked(&tree, now, now + Duration::from_millis(1));
        let read = |polls: &mut Polls, name: &str| {
            polls.read(Path::new(name), now, now + Duration::from_secs(1));
            polls.trees[&tree].next
        };
        assert!(read(&mut polls, "/a/b") < now + Duration::from_secs(1), "an event has led to it");
        polls.leads_to(A, Path::new("/a/b"));
        polls.leads_to(B, Path::new("/a/c"));
        let next = read(&mut polls, "/a/b");
        assert!(next >= now + Duration::from_secs(1) * SHARE);
        assert_eq!((read(&mut polls, "/a/b"), read(&mut polls, "/a/c")), (next, next), "each counts once");
    }

    #[test]
    fn who_sets_how_often_gets_that() {
        let mut polls = Polls::default();
        let (now, tree) = (Instant::now(), (A, PathBuf::from("/a")));
        polls.add(A, &tree.1, Duration::from_secs(2), false);
        polls.looked(&tree, now, now + Duration::from_secs(1));
        assert_eq!(polls.next(), Some(now + Duration::from_secs(3)));
    }
}
