//! Those who command a running project and look at it from outside of the loop: an embedding program, and
//! whoever comes by a socket. The loop keeps what they wait for, and answers when it has come.
//!
//! A command is done by the core at once; whether what it asked for has *come* is seen after each step, while
//! somebody waits. With nobody there, a step costs one look at an empty list.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::driver::Driver;
use super::inbox::{Inbox, Message};
use crate::supervisor::{Command, Event, Record, Standing, Supervisor, View};
use crate::types::Name;

/// So many records are remembered for subscribers to come; all others are in `events.ndjson`.
const REMEMBERED: usize = 1024;

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
        let reply = Reply::new(reply);
        drop(self.inbox.send(Message::Command { command, reply }));
    }

    /// Ends the project: in order, and a second request changes nothing; or by force.
    pub fn shut_down(&self, force: bool) {
        drop(self.inbox.send(Message::Shutdown { force }));
    }

    /// Gives a view of each component to `reply`, as in [`Control::command`].
    pub fn views(&self, reply: impl FnOnce(Vec<View>) + Send + 'static) {
        drop(self.inbox.send(Message::Views { reply: Reply::new(reply) }));
    }

    /// Has `take` called with each record above `after`, those first that are remembered, until it returns false.
    /// It is called from the loop's thread, so it only hands over.
    pub fn subscribe(&self, after: u64, take: impl FnMut(&Arc<Record>) -> bool + Send + 'static) {
        let subscriber = Subscriber(Box::new(take));
        drop(self.inbox.send(Message::Subscribe { after, subscriber }));
    }
}

/// Why what was commanded does not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmet {
    /// The project has no component of that name; nothing was done.
    Unknown(Name),
    /// The project is being shut down.
    Ending,
    /// These did not get there: each with the reason, as a fragment of a sentence.
    Failed(Vec<(Name, String)>),
}

/// Where an answer goes.
pub(crate) struct Reply<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Reply<T> {
    fn new(call: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(call))
    }

    fn send(self, answer: T) {
        (self.0)(answer);
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
    subscribers: Vec<Subscriber>,
    past: VecDeque<Arc<Record>>,
    /// Who is to be told if orch does not become another program after all.
    upgrading: Option<oneshot::Sender<String>>,
}

/// Somebody who waits until what was commanded has come.
#[derive(Debug)]
struct Wait {
    goals: Vec<Goal>,
    reply: Reply<Result<(), Unmet>>,
}

/// What was commanded of one component.
#[derive(Debug)]
struct Goal {
    name: Name,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// It is ready or completed, in a run with a higher number than this.
    Up { after: u64 },
    /// Nothing of it runs.
    Down,
}

/// Whether what was commanded has come.
enum Verdict {
    Met,
    NotYet,
    Unmet(String),
}

impl Clients {
    /// Tells a record to those who want it, and remembers it.
    pub(crate) fn tell(&mut self, record: Record) {
        let record = Arc::new(record);
        self.subscribers.retain_mut(|subscriber| (subscriber.0)(&record));
        if self.past.len() == REMEMBERED {
            self.past.pop_front();
        }
        self.past.push_back(record);
    }

    fn subscribe(&mut self, after: u64, mut subscriber: Subscriber) {
        let mut missed = self.past.iter().filter(|record| record.seq > after);
        if missed.all(|record| (subscriber.0)(record)) {
            self.subscribers.push(subscriber);
        }
    }

    /// Answers those whose wait is over.
    pub(crate) fn answer(&mut self, core: &Supervisor) {
        if self.waits.is_empty() {
            return;
        }
        let (over, waits) = std::mem::take(&mut self.waits).into_iter().partition(|wait| wait.is_over(core));
        self.waits = waits;
        for wait in over {
            let failed = wait.failures(core);
            wait.reply.send(if failed.is_empty() { Ok(()) } else { Err(Unmet::Failed(failed)) });
        }
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
    pub(crate) fn end(&mut self) {
        for wait in self.waits.drain(..) {
            wait.reply.send(Err(Unmet::Ending));
        }
        self.subscribers.clear();
    }
}

impl Wait {
    fn is_over(&self, core: &Supervisor) -> bool {
        self.goals.iter().all(|goal| !matches!(goal.verdict(core), Verdict::NotYet))
    }

    fn failures(&self, core: &Supervisor) -> Vec<(Name, String)> {
        let failed = self.goals.iter().filter_map(|goal| match goal.verdict(core) {
            Verdict::Unmet(reason) => Some((goal.name.clone(), reason)),
            Verdict::Met | Verdict::NotYet => None,
        });
        failed.collect()
    }
}

impl Goal {
    fn verdict(&self, core: &Supervisor) -> Verdict {
        let view = core.find(self.name.as_str()).and_then(|cid| Some((core.standing(cid)?, core.view(cid)?)));
        match (self.kind, view) {
            (Kind::Down, None) => Verdict::Met,
            (Kind::Up { .. }, None) => Verdict::Unmet("it was removed from the file".to_owned()),
            (Kind::Down, Some((standing, view))) => match standing {
                Standing::Stopped | Standing::Completed | Standing::Failed => Verdict::Met,
                Standing::Underway | Standing::Held => Verdict::NotYet,
                Standing::Up => Verdict::Unmet("somebody started it again".to_owned()),
                Standing::Stuck => Verdict::Unmet(view.reason),
            },
            (Kind::Up { after }, Some((standing, view))) => match standing {
                Standing::Up | Standing::Completed if view.incarnation > after => Verdict::Met,
                Standing::Up | Standing::Completed | Standing::Underway => Verdict::NotYet,
                Standing::Stopped => Verdict::Unmet(format!("it is stopped: {}", view.reason)),
                Standing::Failed | Standing::Stuck | Standing::Held => Verdict::Unmet(view.reason),
            },
        }
    }
}

impl Driver {
    pub(super) fn commanded(&mut self, command: Command, reply: Reply<Result<(), Unmet>>) {
        let core = &self.parts.core;
        let (Command::Start(names) | Command::Stop(names) | Command::Restart(names)) = &command else {
            return self.step(Event::Command(command));
        };
        if let Some(unknown) = names.iter().find(|name| core.find(name.as_str()).is_none()) {
            return reply.send(Err(Unmet::Unknown(unknown.clone())));
        }
        if core.is_ending() {
            return reply.send(Err(Unmet::Ending));
        }
        let kind = |name: &Name| match &command {
            Command::Stop(_) => Kind::Down,
            Command::Restart(_) => {
                Kind::Up { after: core.find(name.as_str()).map_or(0, |cid| core.executed(cid)) }
            }
            Command::Start(_) | Command::Shutdown | Command::Upgrade(_) => Kind::Up { after: 0 },
        };
        let goals = names.iter().map(|name| Goal { name: name.clone(), kind: kind(name) }).collect();
        self.clients.waits.push(Wait { goals, reply });
        self.step(Event::Command(command));
    }

    pub(super) fn shut_down(&mut self, force: bool) {
        if !self.parts.core.is_ending() {
            self.step(Event::Command(Command::Shutdown));
        }
        if force && self.exit.is_none() && !self.parts.core.is_forced() {
            self.step(Event::Command(Command::Shutdown));
        }
    }

    pub(super) fn shown(&self) -> Vec<View> {
        self.parts.core.views().collect()
    }

    pub(super) fn subscribed(&mut self, after: u64, subscriber: Subscriber) {
        self.clients.subscribe(after, subscriber);
    }

    pub(super) fn show(&self, reply: Reply<Vec<View>>) {
        reply.send(self.shown());
    }

    /// Tells those who wait what has come of their commands.
    pub(super) fn answer_clients(&mut self) {
        self.clients.answer(&self.parts.core);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::{Clients, REMEMBERED, Record, Subscriber};
    use crate::supervisor::What;
    use crate::types::Time;

    fn record(seq: u64) -> Record {
        let (cause, component, incarnation) = (None, None, None);
        Record { seq, cause, at: Time(0), component, incarnation, what: What::ProjectUp }
    }

    /// A subscriber that wants so many, and what it has heard.
    fn subscriber(wanted: usize) -> (Subscriber, Arc<Mutex<Vec<u64>>>) {
        let heard: Arc<Mutex<Vec<u64>>> = Arc::default();
        let hears = Arc::clone(&heard);
        let take = move |record: &Arc<Record>| {
            let mut heard = hears.lock().unwrap();
            heard.push(record.seq);
            heard.len() < wanted
        };
        (Subscriber(Box::new(take)), heard)
    }

    #[test]
    fn who_comes_late_hears_what_is_remembered_first_and_nothing_twice() {
        let mut clients = Clients::default();
        let last = REMEMBERED as u64 + 10;
        (1..=last).for_each(|seq| clients.tell(record(seq)));
        let (all, heard_all) = subscriber(usize::MAX);
        let (some, heard_some) = subscriber(usize::MAX);
        clients.subscribe(0, all);
        clients.subscribe(last - 1, some);
        clients.tell(record(last + 1));
        assert_eq!(*heard_all.lock().unwrap(), (11..=last + 1).collect::<Vec<_>>());
        assert_eq!(*heard_some.lock().unwrap(), [last, last + 1]);
    }

    #[test]
    fn who_wants_no_more_is_asked_no_more() {
        let mut clients = Clients::default();
        (1..=5).for_each(|seq| clients.tell(record(seq)));
        let ((past, heard_past), (live, heard_live)) = (subscriber(2), subscriber(3));
        clients.subscribe(0, past);
        clients.subscribe(4, live);
        (6..=9).for_each(|seq| clients.tell(record(seq)));
        assert_eq!(*heard_past.lock().unwrap(), [1, 2]);
        assert_eq!(*heard_live.lock().unwrap(), [5, 6, 7]);
        assert!(clients.subscribers.is_empty());
    }
}
