//! What the loop does when somebody outside asks for something.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::wait::{Asker, Goal, Kind, Wait};
use super::{Commanded, Proposal, Reloaded, Reply, Seen, Subscriber, Unmet, Waited};
use crate::config::model::Project;
use crate::plan::Plan;
use crate::runtime::clock;
use crate::runtime::driver::Driver;
use crate::supervisor::{Command, Course, Effect, Event, Explanation, State, View};
use crate::types::{Diagnostic, Name, RunId};

impl Driver {
    pub(in crate::runtime) fn commanded(&mut self, command: Command, reply: Reply<Result<Commanded, Unmet>>) {
        let core = &self.parts.core;
        let (Command::Start(names) | Command::Stop(names) | Command::Restart(names)) = &command else {
            return self.step(Event::Command(command));
        };
        if let Err(unmet) = self.known(names) {
            return reply.send(Err(unmet));
        }
        let run = |name: &Name| core.find(name.as_str()).map_or(0, |cid| core.executed(cid));
        let failed = |name: &Name| core.find(name.as_str()).map_or(0, |cid| core.failed_builds(cid));
        let kind = |name: &Name| match &command {
            Command::Stop(_) => Kind::Down,
            Command::Restart(_) => Kind::Up { after: run(name), failed: failed(name) },
            Command::Start(_) | Command::Shutdown | Command::Upgrade(_) => {
                Kind::Up { after: 0, failed: failed(name) }
            }
        };
        let named: BTreeSet<&Name> = names.iter().collect();
        let affected = core.affected(&command);
        // What is taken along is a part of it. What is brought up first is awaited by those that need it.
        let along = affected.iter().filter(|one| !named.contains(&one.component));
        let along = along.filter_map(|one| match one.effect {
            Effect::Stop => Some((&one.component, Kind::Down)),
            Effect::Restart => {
                let name = &one.component;
                Some((name, Kind::Up { after: run(name), failed: failed(name) }))
            }
            Effect::Start | Effect::Nothing => None,
        });
        let along = along.map(|(name, kind)| Goal::new(core, name.clone(), kind).along());
        let goals = names.iter().map(|name| Goal::new(core, name.clone(), kind(name))).chain(along).collect();
        let did = affected.into_iter().map(|one| (one.component, one.effect.word())).collect();
        let asker = Asker::Command { did, reply };
        if self.wait(Wait::new(goals, asker)) {
            self.step(Event::Command(command));
        }
    }

    pub(in crate::runtime) fn waited(
        &mut self,
        names: Vec<Name>,
        state: Option<State>,
        reply: Reply<Result<Vec<Waited>, Unmet>>,
    ) {
        if let Err(unmet) = self.known(&names) {
            return reply.send(Err(unmet));
        }
        let core = &self.parts.core;
        let names: BTreeSet<Name> = if names.is_empty() {
            let held = core.held();
            let glance = |name: &Name| core.glance(core.find(name.as_str())?, &held);
            let stopped = |name: &Name| glance(name).is_none_or(|it| it.state == State::Stopped);
            let all = core.project().components.iter().map(|spec| &spec.name);
            all.filter(|name| state.is_some() || !stopped(name)).cloned().collect()
        } else {
            names.into_iter().collect()
        };
        let kind = state.map_or(Kind::Good, Kind::In);
        let goals = names.into_iter().map(|name| Goal::new(core, name, kind)).collect();
        self.wait(Wait::new(goals, Asker::Onlooker(reply)));
    }

    /// Whether there are components of all these names, and something can still be had of them.
    fn known(&self, names: &[Name]) -> Result<(), Unmet> {
        let core = &self.parts.core;
        match names.iter().find(|name| core.find(name.as_str()).is_none()) {
            Some(unknown) => Err(Unmet::Unknown(unknown.clone())),
            None if core.is_ending() => Err(Unmet::Ending),
            None => Ok(()),
        }
    }

    /// Takes somebody in who waits, unless there are too many.
    fn wait(&mut self, wait: Wait) -> bool {
        match self.clients.wait(wait) {
            Ok(()) => true,
            Err(wait) => {
                wait.refuse(Unmet::Crowded);
                false
            }
        }
    }

    pub(in crate::runtime) fn shut_down(&mut self, force: bool) {
        if !self.parts.core.is_ending() {
            self.step(Event::Command(Command::Shutdown));
        }
        if force && self.exit.is_none() && !self.parts.core.is_forced() {
            self.step(Event::Command(Command::Shutdown));
        }
    }

    pub(in crate::runtime) fn shown(&self) -> Vec<View> {
        self.parts.core.views().map(|view| self.with_hold(view)).collect()
    }

    pub(in crate::runtime) fn subscribed(&mut self, after: u64, subscriber: Subscriber) {
        self.clients.subscribe(after, subscriber);
    }

    pub(in crate::runtime) fn show(&self, reply: Reply<Seen>) {
        let project = Arc::clone(self.parts.core.project());
        let (views, wall) = (self.shown(), self.parts.journal.wall());
        let (sockets, generation) = (self.parts.listening.shown(&project), self.parts.core.generation());
        reply.send(Seen { project, generation, views, sockets, wall });
    }

    pub(in crate::runtime) fn declared(&self, reply: Reply<Arc<Project>>) {
        reply.send(Arc::clone(self.parts.core.project()));
    }

    /// Why a component is in its state; with the wall clock, as in [`Seen`].
    pub(in crate::runtime) fn explained(&self, name: &Name, reply: Reply<Option<(Explanation, i128)>>) {
        let core = &self.parts.core;
        let mut explanation = core.find(name.as_str()).and_then(|cid| core.explain(cid));
        if let Some(explanation) = &mut explanation {
            self.count_tries(explanation);
        }
        reply.send(explanation.map(|explanation| (explanation, self.parts.journal.wall())));
    }

    /// Probes are tried more often than the core is told of it.
    fn count_tries(&self, explanation: &mut Explanation) {
        for awaited in &mut explanation.awaited {
            self.count_tries(&mut awaited.of);
        }
        self.explain_hold(explanation);
        let Course::Starting(Some(probing)) = &mut explanation.course else { return };
        let component = self.parts.core.find(explanation.name.as_str());
        let run = component.map(|component| RunId { component, incarnation: explanation.incarnation });
        let probe = run.and_then(|run| self.lives.get(&run)?.probe.as_ref()?.tried());
        if let Some((tries, ago)) = probe {
            probing.tried(tries, clock::now() - ago);
        }
    }

    /// Reads the file, for somebody who wants to know what comes of it.
    pub(in crate::runtime) fn reload_for(&mut self, reply: Reply<Result<Reloaded, Unmet>>) {
        if self.parts.core.is_ending() {
            return reply.send(Err(Unmet::Ending));
        }
        self.clients.reloads.retain(|(_, reply)| !reply.is_closed());
        let read = self.read_again();
        self.clients.reloads.push((read, reply));
    }

    /// The file was read, and what followed from it is done: an edit, or nothing, be it with `errors` or since it is
    /// applied already.
    pub(in crate::runtime) fn reload_ended(&mut self, read: u64, errors: Option<&Arc<Vec<Diagnostic>>>) {
        let generation = self.parts.core.generation();
        self.clients.reloaded(read, |clients| match errors {
            Some(errors) => Reloaded::Rejected(Arc::clone(errors), generation),
            None => Reloaded::Applied(clients.applied.clone().unwrap_or_default(), generation),
        });
    }

    /// The file was not read.
    pub(in crate::runtime) fn reload_broke(&mut self, read: u64) {
        self.clients.reloaded(read, |_| Reloaded::Broken);
    }

    /// What an edit would do, and the number of the declaration that runs.
    pub(in crate::runtime) fn planned(&self, proposal: Option<Proposal>, reply: Reply<(Plan, u64)>) {
        let core = &self.parts.core;
        let plan = proposal.map(|it| core.plan(&it.project, &it.chosen));
        reply.send((plan.unwrap_or_default(), core.generation()));
    }

    /// Tells those who wait what has come of it.
    pub(in crate::runtime) fn answer_clients(&mut self, idle: bool) {
        self.clients.answer(&self.parts.core, idle);
    }
}
