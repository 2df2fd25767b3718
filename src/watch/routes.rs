//! Who watches for whom. One engine serves all that is on file systems that answer. What leads to one that may not
//! (a network's, or a program's) is served by an engine for just those mounts, so that a dead one makes nobody deaf
//! but those who watch it.
//!
//! A key is with one engine, whole. It begins with the first one, which touches no such mount; as soon as a walk
//! comes upon one, the key goes, with its baselines and all that is still to be done for it, to the engine for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::engine::{Engine, Inbox};
use super::ground::{Ground, Reach};
use super::handover::{Part, WatchHandover};
use super::moving::Moved;
use super::native::Backlog;
use super::{Message, Sink, StartNative, WatchKey, WatchReport, WatchSpec};

/// A call that touches a file system takes less than this, if it answers at all.
const SILENCE: Duration = Duration::from_secs(4);
/// How often it is looked who does not answer, where there are such file systems.
const LOOK: Duration = Duration::from_secs(1);

/// The engines, and who is with which.
pub(super) struct Routes {
    sink: Sink,
    native: StartNative,
    /// The mounts that may not answer, in place of the system's.
    #[cfg(test)]
    mounts: Option<BTreeSet<PathBuf>>,
    hub: Mutex<Hub>,
}

#[derive(Default)]
pub(super) struct Hub {
    engines: BTreeMap<Reach, Post>,
    /// The keys that are not with the first engine, and what is watched for them.
    away: BTreeMap<WatchKey, (Reach, WatchSpec)>,
    excluded: Option<(PathBuf, Vec<PathBuf>)>,
    /// As long as it is there, engines that may fall silent are watched over.
    watched_over: Option<Sender<()>>,
}

/// Where an engine is reached.
struct Post {
    inbox: Sender<Message>,
    thread: Option<JoinHandle<()>>,
    pulse: Arc<Pulse>,
}

/// When an engine last got on with what it does; nothing while it waits for something to do.
#[derive(Debug)]
pub(super) struct Pulse {
    begun: Instant,
    /// Milliseconds from then, and one; zero: it waits.
    last: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { begun: Instant::now(), last: AtomicU64::new(0) }
    }
}

impl Pulse {
    /// It has got on.
    pub(super) fn beat(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.last.store(now + 1, Ordering::Relaxed);
    }

    /// It waits for something to do.
    pub(super) fn rest(&self) {
        self.last.store(0, Ordering::Relaxed);
    }

    fn is_silent(&self) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        last > 0 && self.begun.elapsed() >= Duration::from_millis(last - 1) + SILENCE
    }
}

impl Routes {
    pub(super) fn new(sink: Sink, native: StartNative) -> Self {
        Self {
            sink,
            native,
            #[cfg(test)]
            mounts: None,
            hub: Mutex::default(),
        }
    }

    /// As on a system with such mounts.
    #[cfg(test)]
    pub(super) fn on(sink: Sink, native: StartNative, mounts: Option<BTreeSet<PathBuf>>) -> Self {
        Self { mounts, ..Self::new(sink, native) }
    }

    /// Nobody panics while it is held.
    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts an engine, which goes on with what another one has left.
    pub(super) fn start(self: &Arc<Self>, reach: Reach, left: Option<Part>) -> io::Result<()> {
        self.start_in(&mut self.hub(), reach, left)
    }

    fn start_in(self: &Arc<Self>, hub: &mut Hub, reach: Reach, left: Option<Part>) -> io::Result<()> {
        let (inbox, messages) = mpsc::channel();
        let (backlog, pulse) = (Arc::new(Backlog::default()), Arc::new(Pulse::default()));
        let (sink, native, routes) = (Arc::clone(&self.sink), self.native, Arc::clone(self));
        let (post, own) = (inbox.clone(), Arc::clone(&pulse));
        let (within, excluded) = (reach.clone(), hub.excluded.clone());
        let work = move || {
            let (native, trouble) = native(post, Arc::clone(&backlog));
            let ground = routes.ground(within);
            let inbox = Inbox::new(messages, VecDeque::new(), backlog);
            let engine = Engine::new(sink, inbox, native, (ground, routes, own));
            engine.run(left, excluded, trouble);
        };
        let thread = Builder::new().name("watch".into()).spawn(work)?;
        if !reach.is_empty() && hub.watched_over.is_none() {
            let (until, ended) = mpsc::channel();
            let routes = Arc::clone(self);
            Builder::new().name("watch-over".into()).spawn(move || routes.watch_over(&ended))?;
            hub.watched_over = Some(until);
        }
        hub.engines.insert(reach, Post { inbox, thread: Some(thread), pulse });
        Ok(())
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "a test has mounts of its own")]
    fn ground(&self, reach: Reach) -> Ground {
        Ground::new(reach)
    }

    #[cfg(test)]
    fn ground(&self, reach: Reach) -> Ground {
        self.mounts
            .clone()
            .map_or_else(|| Ground::new(reach.clone()), |mounts| Ground::faked(reach.clone(), mounts))
    }

    /// Leaves a message for the engine that `key` is with.
    pub(super) fn tell(&self, key: WatchKey, message: Message) {
        let mut hub = self.hub();
        if let Message::Set(_, spec) = &message {
            hub.leave_silent(key);
            if let Some((_, known)) = hub.away.get_mut(&key) {
                known.clone_from(spec);
            }
        }
        hub.send(key, message);
    }

    #[cfg(test)]
    pub(super) fn tell_first(&self, message: Message) {
        let _ = self.hub().engines[&Reach::new()].inbox.send(message);
    }

    /// Leaves what is never watched for all engines, and those to come.
    pub(super) fn exclude(&self, root: PathBuf, paths: Vec<PathBuf>) {
        let mut hub = self.hub();
        for post in hub.engines.values() {
            let _ = post.inbox.send(Message::Exclude(root.clone(), paths.clone()));
        }
        hub.excluded = Some((root, paths));
    }

    /// The mount that keeps the engine from answering that `key` is with.
    pub(super) fn silent(&self, key: WatchKey) -> Option<PathBuf> {
        let hub = self.hub();
        let (reach, _) = hub.away.get(&key)?;
        reach.first().filter(|_| hub.is_silent(reach)).cloned()
    }

    /// Says who falls silent, and who answers again.
    fn watch_over(&self, ended: &Receiver<()>) {
        let mut known = BTreeSet::new();
        while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            let silent = self.hub().silent();
            for mount in silent.difference(&known) {
                let until =
                    "until it does, the components that watch something there see no change of any file";
                let message = format!("{} does not answer: {until}", mount.display());
                (self.sink)(WatchReport::Problem { key: None, message });
            }
            for mount in known.difference(&silent) {
                let message = format!("{} answers again", mount.display());
                (self.sink)(WatchReport::Problem { key: None, message });
            }
            known = silent;
        }
    }

    /// Has all engines end, and waits for those that touch nothing that may not answer; with `wait`.
    pub(super) fn end(&self, wait: bool) {
        let mut hub = self.hub();
        let engines = std::mem::take(&mut hub.engines);
        hub.watched_over = None;
        drop(hub);
        for (reach, post) in engines {
            let _ = post.inbox.send(Message::End);
            let own = |thread: &JoinHandle<()>| thread.thread().id() == std::thread::current().id();
            let thread = post.thread.filter(|thread| wait && reach.is_empty() && !own(thread));
            if let Some(thread) = thread {
                let _ = thread.join();
            }
        }
    }

    /// Takes all parts from the engines, which end; `None` if one does not answer, and all go on. One after the other,
    /// since keys go from those with fewer mounts to those with more. Of one that is silent, only what is watched is
    /// known.
    pub(super) fn hand_over(self: &Arc<Self>, patience: Duration) -> Option<WatchHandover> {
        let until = Instant::now() + patience;
        let mut parts: BTreeMap<Reach, Part> = BTreeMap::new();
        loop {
            // The hub is not held while an engine is waited for: it may need it.
            let next = self.hub().next(&parts);
            let Some((reach, inbox, silent)) = next else { break };
            if silent {
                let part = self.hub().part(&reach);
                parts.insert(reach, part);
                continue;
            }
            // Without room in the channel, it is handed over to somebody who is still waiting, or not at all.
            let (to, answer) = mpsc::sync_channel(0);
            let _ = inbox.send(Message::HandOver(to));
            match answer.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(part) => drop(parts.insert(reach, part)),
                Err(_) => {
                    self.take_back(parts);
                    return None;
                }
            }
        }
        self.end(false);
        let excluded = self.hub().excluded.take();
        Some(WatchHandover::new(excluded, parts.into_values().collect()))
    }

    /// Starts those again that have ended, as somebody else has not.
    fn take_back(self: &Arc<Self>, parts: BTreeMap<Reach, Part>) {
        for (reach, part) in parts.into_iter().filter(|(_, part)| part.is_known()) {
            if let Err(error) = self.start(reach, Some(part)) {
                let message = format!("can't go on watching files: {error}; restart orch");
                (self.sink)(WatchReport::Problem { key: None, message });
            }
        }
    }

    /// Goes on with what was handed over.
    pub(super) fn adopt(self: &Arc<Self>, left: WatchHandover) -> io::Result<()> {
        let (excluded, parts) = left.into_parts();
        let mut hub = self.hub();
        hub.excluded = excluded;
        for part in parts {
            let reach = part.reach();
            hub.away.extend(
                part.specs().filter(|_| !reach.is_empty()).map(|(key, spec)| (key, (reach.clone(), spec))),
            );
            self.start_in(&mut hub, reach, Some(part))?;
        }
        Ok(())
    }

    /// Has `moved` go to the engine for `reach`, with all messages for its key that wait in `inbox`.
    pub(super) fn hand_on(self: &Arc<Self>, reach: Reach, moved: Moved, inbox: &mut Inbox) -> io::Result<()> {
        let mut hub = self.hub();
        if !hub.engines.contains_key(&reach) {
            self.start_in(&mut hub, reach.clone(), None)?;
        }
        let key = moved.key();
        hub.away.insert(key, (reach, moved.spec().clone()));
        hub.send(key, Message::Move(Box::new(moved)));
        for message in inbox.take_for(key) {
            hub.send(key, message);
        }
        Ok(())
    }
}

impl Hub {
    fn send(&mut self, key: WatchKey, message: Message) {
        let is_last = matches!(message, Message::Remove(_));
        let reach = self.away.get(&key).map(|(reach, _)| reach.clone()).unwrap_or_default();
        if let Some(post) = self.engines.get(&reach) {
            let _ = post.inbox.send(message);
        }
        if is_last {
            self.away.remove(&key);
        }
    }

    fn is_silent(&self, reach: &Reach) -> bool {
        self.engines.get(reach).is_some_and(|post| !reach.is_empty() && post.pulse.is_silent())
    }

    /// The mounts that keep engines from answering: of each, the first.
    fn silent(&self) -> BTreeSet<PathBuf> {
        let silent = self.engines.keys().filter(|reach| self.is_silent(reach));
        silent.filter_map(|reach| reach.first().cloned()).collect()
    }

    /// Who does not answer is not waited for: where else a key leads may be found without it.
    fn leave_silent(&mut self, key: WatchKey) {
        if self.away.get(&key).is_some_and(|(reach, _)| self.is_silent(reach)) {
            self.send(key, Message::Remove(key));
        }
    }

    /// The engine with the fewest mounts that is not among `done`, and whether it is silent.
    fn next(&self, done: &BTreeMap<Reach, Part>) -> Option<(Reach, Sender<Message>, bool)> {
        let left = self.engines.iter().filter(|(reach, _)| !done.contains_key(*reach));
        let (reach, post) = left.min_by_key(|(reach, _)| reach.len())?;
        Some((reach.clone(), post.inbox.clone(), self.is_silent(reach)))
    }

    /// What is known of a silent engine.
    fn part(&self, reach: &Reach) -> Part {
        let own = self.away.iter().filter(|(_, (known, _))| known == reach);
        Part::unknown(reach, own.map(|(key, (_, spec))| (*key, spec)))
    }
}
