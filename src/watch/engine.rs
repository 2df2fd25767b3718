//! The watcher's thread: it owns everything, waits for messages and moments, and works in rounds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Instant;

use super::excluded::Excluded;
use super::gitignore::GitRules;
use super::ground::Ground;
use super::handover::Part;
use super::judge::{Entry, Pending};
use super::native::{BACKLOG_LIMIT, Backlog, Native};
use super::places::{Owner, Places};
use super::poll::{POLL, Polls};
use super::report::Reports;
use super::routes::{Pulse, Routes};
use super::rules::Rules;
use super::timers::Timers;
use super::{Message, Sink, WatchKey, WatchSpec};

/// Messages taken in one round at most, so that the first change of a flood is not reported after it.
const ROUND: usize = 256;

/// The messages to the thread.
pub(super) struct Inbox {
    messages: Receiver<Message>,
    /// Taken while looking for events, and not yet acted upon.
    deferred: VecDeque<Message>,
    backlog: Arc<Backlog>,
}

/// Why the thread goes on.
enum Wake {
    Message(Message),
    /// A moment has come.
    Time,
    /// There is nothing to do but what can wait.
    Idle,
}

pub(super) struct Engine {
    pub(super) inbox: Inbox,
    pub(super) native: Native,
    pub(super) places: Places,
    pub(super) rules: BTreeMap<WatchKey, Arc<Rules>>,
    /// What the rules were made of.
    pub(super) specs: BTreeMap<WatchKey, WatchSpec>,
    /// What is never watched for components.
    pub(super) excluded: Arc<Excluded>,
    pub(super) git: GitRules,
    /// Every watched file, by the path that the user knows it by.
    pub(super) files: BTreeMap<PathBuf, Entry>,
    /// When files are to be judged.
    pub(super) timers: Timers,
    pub(super) pending: Pending,
    /// Files whose baseline is known by `stat` alone.
    pub(super) unread: VecDeque<PathBuf>,
    /// Where to look again.
    pub(super) rescans: BTreeSet<(Owner, PathBuf)>,
    pub(super) polls: Polls,
    pub(super) reports: Reports,
    /// A `.gitignore` was edited.
    pub(super) is_git_stale: bool,
    /// Events were lost.
    pub(super) is_lost: bool,
    /// Where this engine may look.
    pub(super) ground: Ground,
    /// Those that lead to mounts where it may not.
    pub(super) beyond: BTreeMap<WatchKey, BTreeSet<PathBuf>>,
    /// Where they go.
    pub(super) routes: Arc<Routes>,
    pub(super) pulse: Arc<Pulse>,
}

impl Inbox {
    pub(super) fn new(
        messages: Receiver<Message>,
        deferred: VecDeque<Message>,
        backlog: Arc<Backlog>,
    ) -> Self {
        Self { messages, deferred, backlog }
    }

    /// The next message; with `eager`, only if there is one already.
    fn next(&mut self, until: Option<Instant>, eager: bool) -> Wake {
        if let Some(message) = self.deferred.pop_front() {
            return Wake::Message(message);
        }
        if eager {
            return self.arrived().map_or(Wake::Idle, Wake::Message);
        }
        let Some(until) = until else {
            return Wake::Message(self.messages.recv().map_or(Message::End, |message| self.count(message)));
        };
        match self.messages.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(message) => Wake::Message(self.count(message)),
            Err(RecvTimeoutError::Timeout) => Wake::Time,
            Err(RecvTimeoutError::Disconnected) => Wake::Message(Message::End),
        }
    }

    /// A message that has arrived since, if any.
    pub(super) fn arrived(&self) -> Option<Message> {
        match self.messages.try_recv() {
            Ok(message) => Some(self.count(message)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Message::End),
        }
    }

    /// Takes all messages that wait for `key`.
    pub(super) fn take_for(&mut self, key: WatchKey) -> Vec<Message> {
        for _ in 0..=BACKLOG_LIMIT {
            let Some(message) = self.arrived() else { break };
            self.deferred.push_back(message);
        }
        let (mine, others) = self.deferred.drain(..).partition(|message| message.key() == Some(key));
        self.deferred = VecDeque::from(others);
        mine
    }

    /// Passes over all happenings that wait: a look at everything, which is to follow, shows as much. Else a flood
    /// that goes on would lose some again in each round, for one look at everything per round.
    fn skip_happenings(&mut self) {
        self.deferred.retain(|message| !matches!(message, Message::Happened(_) | Message::Lost));
        for _ in 0..=BACKLOG_LIMIT {
            match self.arrived() {
                None => break,
                Some(Message::Happened(_) | Message::Lost) => {}
                Some(other) => self.deferred.push_back(other),
            }
        }
        self.backlog.take_lost();
    }

    fn count(&self, message: Message) -> Message {
        if matches!(message, Message::Happened(_)) {
            self.backlog.taken();
        }
        message
    }
}

impl Engine {
    pub(super) fn new(
        sink: Sink,
        inbox: Inbox,
        native: Native,
        (ground, routes, pulse): (Ground, Arc<Routes>, Arc<Pulse>),
    ) -> Self {
        Self {
            inbox,
            native,
            places: Places::default(),
            rules: BTreeMap::new(),
            specs: BTreeMap::new(),
            excluded: Arc::default(),
            git: GitRules::default(),
            files: BTreeMap::new(),
            timers: Timers::default(),
            pending: Pending::default(),
            unread: VecDeque::new(),
            rescans: BTreeSet::new(),
            polls: Polls::default(),
            reports: Reports::new(sink),
            is_git_stale: false,
            is_lost: false,
            ground,
            beyond: BTreeMap::new(),
            routes,
            pulse,
        }
    }

    /// Works until told to end, going on with what another watcher left. `trouble` says why the system gives no
    /// events.
    pub(super) fn run(
        mut self,
        left: Option<Part>,
        excluded: Option<(PathBuf, Vec<PathBuf>)>,
        trouble: Option<String>,
    ) {
        self.pulse.beat();
        if let Some((root, paths)) = excluded {
            self.excluded = Arc::new(Excluded::new(&root, &paths, &self.ground));
        }
        if let Some(left) = left {
            self.take_over(left);
        }
        if let Some(trouble) = trouble {
            let advice = "end other watching programs, or raise fs.inotify.max_user_instances";
            self.reports.problem(
                None,
                format!("can't get file events ({trouble}); looking every {POLL:?} instead: {advice}"),
            );
        }
        loop {
            let eager = !self.unread.is_empty();
            self.pulse.rest();
            let (mut next, idle) = match self.inbox.next(self.deadline(), eager) {
                Wake::Message(message) => (Some(message), false),
                Wake::Time => (None, false),
                Wake::Idle => (None, true),
            };
            self.pulse.beat();
            self.look_at_mounts();
            for _ in 0..ROUND {
                self.pulse.beat();
                match next {
                    Some(Message::End) => return,
                    Some(Message::HandOver(to)) => {
                        // Who does not wait any more is not handed anything, and all goes on.
                        if to.send(self.leave()).is_ok() {
                            return;
                        }
                    }
                    Some(message) => self.take(message),
                    None => break,
                }
                next = self.inbox.deferred.pop_front().or_else(|| self.inbox.arrived());
            }
            // A full round leaves one message over.
            if let Some(left) = next {
                self.inbox.deferred.push_front(left);
            }
            self.round(idle);
        }
    }

    pub(super) fn take(&mut self, message: Message) {
        match message {
            Message::Happened(happenings) => happenings.into_iter().for_each(|it| self.happened(&it)),
            Message::Lost => self.is_lost = true,
            Message::Set(key, spec) => self.set(key, *spec),
            Message::Move(moved) => self.take_in(*moved),
            Message::Exclude(root, paths) => {
                self.exclude(Arc::new(Excluded::new(&root, &paths, &self.ground)));
            }
            Message::Remove(key) => self.remove(key),
            Message::Sift(key) => {
                self.catch_up();
                // Of what is polled, nothing has happened as long as nobody looks.
                self.polls.of(key).iter().for_each(|tree| self.look_at_tree(tree));
                self.reports.sifted(key);
            }
            Message::HandOver(_) | Message::End => {}
        }
    }

    /// Acts upon all that was learned: looks where names moved, judges what is due, reports.
    pub(super) fn round(&mut self, idle: bool) {
        if self.inbox.backlog.take_lost() || std::mem::take(&mut self.is_lost) {
            self.inbox.skip_happenings();
            self.look_everywhere();
        }
        if std::mem::take(&mut self.is_git_stale) {
            self.reload_git();
        }
        self.look_again();
        self.poll();
        self.part_with_others();
        let now = Instant::now();
        while let Some(path) = self.timers.take_due(now) {
            self.judge(&path);
        }
        if idle {
            self.read_one();
        }
        let left = self.places.sweep();
        if !left.is_empty() {
            self.native.unwatch(left);
        }
        self.still_pending();
        self.reports.flush();
    }

    /// When to go on at the latest. `None`: when a message comes.
    fn deadline(&self) -> Option<Instant> {
        [self.timers.next(), self.pending.next(), self.polls.next()].into_iter().flatten().min()
    }

    /// Takes in all that has happened up to now.
    pub(super) fn catch_up(&mut self) {
        self.native.barrier();
        while let Some(message) = self.inbox.arrived() {
            match message {
                Message::Happened(_) | Message::Lost => self.take(message),
                other => self.inbox.deferred.push_back(other),
            }
        }
    }
}
