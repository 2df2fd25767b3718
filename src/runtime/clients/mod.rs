//! Those who command a running project and look at it from outside of the loop: an embedding program, and
//! whoever comes by the control socket. The loop keeps what they wait for, and answers when it has come.
//!
//! A command is done by the core at once; whether what it asked for has *come* is looked at when the loop has
//! nothing else to do, while somebody waits. With nobody there, a step costs one look at an empty list.

mod asked;
#[cfg(test)]
mod tests;
mod wait;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::bell::Bell;
use super::clock;
use super::inbox::{Inbox, Message};
use super::logbook::LogBook;
use crate::config::model::Project;
use crate::plan::Plan;
use crate::supervisor::{Command, Record, State, Supervisor, View, What};
use crate::types::{Diagnostic, Name, Time};
use wait::Wait;
pub(crate) use wait::Waited;

/// So many records are remembered for subscribers to come; all others are in `events.ndjson`.
const REMEMBERED: usize = 1024;

/// While the loop has more to do, those who wait are looked after this often: it costs a look at each
/// component that is waited for.
const JUDGED_EVERY: Duration = Duration::from_millis(20);

/// So many components may be waited for, over all who wait: looking at them takes about a millisecond.
const MOST_GOALS: usize = 1 << 16;

/// The way into a running project. Cheap to clone; of no effect when the project has ended.
#[derive(Debug, Clone)]
pub struct Control {
    inbox: Inbox,
}

impl Control {
    pub(crate) fn new(inbox: &Inbox) -> Self {
        Self { inbox: inbox.clone() }
    }

    /// Has a command done. `reply` is called, from the loop's thread, when it is done or can't be; it is
    /// dropped uncalled when the project ends before that. For the end there is [`Control::shut_down`].
    pub fn command(&self, command: Command, reply: impl FnOnce(Result<(), Unmet>) + Send + 'static) {
        let reply = Reply::new(|done: Result<Commanded, Unmet>| reply(done.and_then(Commanded::whole)));
        drop(self.inbox.send(Message::Command { command, reply }));
    }

    /// Ends the project: in order, and a second request changes nothing; or by force.
    pub fn shut_down(&self, force: bool) {
        drop(self.inbox.send(Message::Shutdown { force }));
    }

    /// Gives a view of each component to `reply`, as in [`Control::command`].
    pub fn views(&self, reply: impl FnOnce(Vec<View>) + Send + 'static) {
        let reply = Reply::new(|seen: Seen| reply(seen.views));
        drop(self.inbox.send(Message::Views { reply }));
    }

    /// Has `take` called with each record above `after`, those first that are remembered, until it returns false.
    /// It is called from the loop's thread, so it only hands over.
    pub fn subscribe(&self, after: u64, take: impl FnMut(&Arc<Record>) -> bool + Send + 'static) {
        let subscriber = Subscriber(Box::new(take));
        drop(self.inbox.send(Message::Subscribe { after, subscriber }));
    }

    /// Tells the loop something.
    pub(crate) fn send(&self, message: Message) {
        drop(self.inbox.send(message));
    }

    /// Asks the loop something; what is given ends in an error when the loop has ended.
    pub(crate) fn ask<T>(&self, message: impl FnOnce(Reply<T>) -> Message) -> oneshot::Receiver<T> {
        let (reply, answer) = oneshot::channel();
        drop(self.inbox.send(message(Reply::Channel(reply))));
        answer
    }
}

/// Why what was commanded does not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmet {
    /// The project has no component of that name; nothing was done.
    Unknown(Name),
    /// The project is being shut down.
    Ending,
    /// Too much is waited for already.
    Crowded,
    /// These did not get there: each with the reason, as a fragment of a sentence.
    Failed(Vec<(Name, String)>),
}

/// What a command has done.
#[derive(Debug, Clone)]
pub(crate) struct Commanded {
    /// To each component that it concerned.
    pub(crate) did: Vec<Deed>,
    /// What has not come: each with the reason, as a fragment of a sentence.
    pub(crate) failed: Vec<(Name, String)>,
}

/// What a command has done to one component, and how that is now.
#[derive(Debug, Clone)]
pub(crate) struct Deed {
    pub(crate) name: Name,
    pub(crate) action: &'static str,
    /// `None`: it is no more.
    pub(crate) state: Option<State>,
    pub(crate) reason: String,
}

impl Deed {
    fn of(core: &Supervisor, name: Name, action: &'static str) -> Self {
        let view = core.find(name.as_str()).and_then(|cid| core.view(cid));
        let (state, reason) = view.map_or((None, String::new()), |view| (Some(view.state), view.reason));
        Self { name, action, state, reason }
    }
}

impl Commanded {
    fn whole(self) -> Result<(), Unmet> {
        if self.failed.is_empty() { Ok(()) } else { Err(Unmet::Failed(self.failed)) }
    }
}

/// The addresses of a component's sockets, by name; nothing where the system is yet to choose the port.
pub(crate) type Sockets = BTreeMap<String, Option<String>>;

/// The project, as it is.
#[derive(Debug)]
pub(crate) struct Seen {
    /// What is declared.
    pub(crate) project: Arc<Project>,
    /// The number of the declaration.
    pub(crate) generation: u64,
    /// Every component, by name.
    pub(crate) views: Vec<View>,
    /// The sockets of those components that have some.
    pub(crate) sockets: BTreeMap<Name, Sockets>,
    /// Nanoseconds from the monotonic clock's zero to the Unix epoch's, as `events.ndjson` has it.
    pub(crate) wall: i128,
}

/// What came of a reload.
#[derive(Debug)]
pub(crate) enum Reloaded {
    /// It is applied: what it changes, and the number of the new declaration.
    Applied(Arc<Plan>, u64),
    /// The file is not valid, and nothing has changed; the number of the declaration that runs.
    Rejected(Arc<Vec<Diagnostic>>, u64),
    /// The file could not be read, by a fault of orch's.
    Broken,
}

/// An edit that is to be planned: what would be declared, and which components would run by themselves.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) project: Arc<Project>,
    pub(crate) chosen: BTreeSet<Name>,
}

/// Where an answer goes.
pub(crate) enum Reply<T> {
    /// To this function, on the loop's thread.
    Call(Box<dyn FnOnce(T) + Send>),
    /// To somebody who may have gone away.
    Channel(oneshot::Sender<T>),
}

impl<T> Reply<T> {
    fn new(call: impl FnOnce(T) + Send + 'static) -> Self {
        Self::Call(Box::new(call))
    }

    pub(crate) fn send(self, answer: T) {
        match self {
            Self::Call(call) => call(answer),
            Self::Channel(sender) => drop(sender.send(answer)),
        }
    }

    /// Whether nobody wants it any more.
    fn is_closed(&self) -> bool {
        match self {
            Self::Call(_) => false,
            Self::Channel(sender) => sender.is_closed(),
        }
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// Where records go; false: no further one is wanted.
pub(crate) struct Subscriber(Box<Take>);

type Take = dyn FnMut(&Arc<Record>) -> bool + Send;

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscriber")
    }
}

/// What the loop keeps of its clients.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    waits: Vec<Wait>,
    /// When they were looked after last.
    judged: Time,
    subscribers: Vec<Subscriber>,
    past: VecDeque<Arc<Record>>,
    /// Who waits for the file to be read again, each with the number of that read.
    reloads: Vec<(u64, Reply<Result<Reloaded, Unmet>>)>,
    /// The plan of the last edit, while somebody wants to know it.
    applied: Option<Arc<Plan>>,
    /// Who is to be told if orch does not become another program after all.
    upgrading: Option<oneshot::Sender<String>>,
    /// For those who follow logs.
    pub(crate) logs: LogBook,
    /// Rung when `events.ndjson` has more lines.
    bell: Bell,
    /// It is to be rung.
    news: bool,
}

impl Clients {
    /// Tells a record to those who want it, and remembers it.
    pub(crate) fn tell(&mut self, record: Record) {
        self.news = true;
        self.waits.iter_mut().for_each(|wait| wait.hear(&record));
        if let What::ConfigReloaded { plan } = &record.what
            && !self.reloads.is_empty()
        {
            self.applied = Some(Arc::clone(plan));
        }
        let record = Arc::new(record);
        self.subscribers.retain_mut(|subscriber| (subscriber.0)(&record));
        if self.past.len() == REMEMBERED {
            self.past.pop_front();
        }
        self.past.push_back(record);
    }

    /// What was told is written.
    pub(crate) fn written(&mut self) {
        if std::mem::take(&mut self.news) {
            self.bell.ring();
        }
    }

    /// Rung when `events.ndjson` has more lines.
    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    fn subscribe(&mut self, after: u64, mut subscriber: Subscriber) {
        let mut missed = self.past.iter().filter(|record| record.seq > after);
        if missed.all(|record| (subscriber.0)(record)) {
            self.subscribers.push(subscriber);
        }
    }

    /// Takes somebody in who waits; gives it back if too much is waited for.
    fn wait(&mut self, wait: Wait) -> Result<(), Wait> {
        self.waits.retain(|wait| !wait.is_abandoned());
        let goals: usize = self.waits.iter().map(Wait::len).sum();
        // One alone may wait for any number.
        if !self.waits.is_empty() && goals + wait.len() > MOST_GOALS {
            return Err(wait);
        }
        self.waits.push(wait);
        Ok(())
    }

    /// Answers those whose wait is over, if the loop has nothing else to do or it is time.
    pub(crate) fn answer(&mut self, core: &Supervisor, idle: bool) {
        if self.waits.is_empty() {
            return;
        }
        let now = clock::now();
        if idle || now.since(self.judged) >= JUDGED_EVERY {
            self.judged = now;
            self.judge(core);
        }
    }

    fn judge(&mut self, core: &Supervisor) {
        self.waits.retain(|wait| !wait.is_abandoned());
        let held = core.held();
        let (over, waits) =
            std::mem::take(&mut self.waits).into_iter().partition(|wait| wait.is_over(core, &held));
        self.waits = waits;
        over.into_iter().for_each(|wait: Wait| wait.answer(core, &held));
    }

    /// Tells those who wait for this read, or an earlier one; of the same answer, each gets one.
    fn reloaded(&mut self, read: u64, outcome: impl Fn(&mut Self) -> Reloaded) {
        let (over, waiting) =
            std::mem::take(&mut self.reloads).into_iter().partition(|(wanted, _)| *wanted <= read);
        self.reloads = waiting;
        let over: Vec<(u64, _)> = over;
        for (_, reply) in over {
            let outcome = outcome(self);
            reply.send(Ok(outcome));
        }
        self.applied = None;
    }

    /// orch is about to become another program.
    pub(crate) fn upgrading(&mut self, reply: oneshot::Sender<String>) {
        self.upgrading = Some(reply);
    }

    /// Whether somebody waits for that.
    pub(crate) fn is_upgrading(&self) -> bool {
        self.upgrading.is_some()
    }

    /// orch goes on as it was.
    pub(crate) fn not_upgraded(&mut self, error: &str) {
        if let Some(reply) = self.upgrading.take() {
            let _ = reply.send(error.to_owned());
        }
    }

    /// The loop has ended: what has not come does not come any more.
    pub(crate) fn end(&mut self, core: &Supervisor) {
        self.judge(core);
        self.waits.drain(..).for_each(Wait::give_up);
        for (_, reply) in self.reloads.drain(..) {
            reply.send(Err(Unmet::Ending));
        }
        self.subscribers.clear();
    }
}
