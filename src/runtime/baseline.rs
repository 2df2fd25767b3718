//! Starts that wait for a baseline. A file is judged against its bytes at the start, so a component starts only
//! when the watcher knows them: what is saved between the two would otherwise never be seen. Where a file system
//! does not answer, it starts without.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::announce::Paint;
use super::clock;
use super::driver::Driver;
use crate::config::model::Component;
use crate::supervisor::{Course, Explanation, RunEvent, State, View};
use crate::types::{Cid, RunId, Time};
use crate::watch::WatchKey;

/// So long a file system may take to answer, before a start goes on without.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often those are looked for that have waited for longer.
const LOOK: Duration = Duration::from_secs(1);

/// The start of a run.
type Start = (RunId, Arc<Component>);

/// The baselines that the watcher was asked for and has not told of.
#[derive(Debug, Default)]
pub(crate) struct Baselines {
    awaited: BTreeMap<Cid, Awaited>,
    /// When to look next whether one is overdue.
    look: Option<Time>,
}

#[derive(Debug)]
struct Awaited {
    /// How often it was asked; each is answered.
    asked: u32,
    since: Time,
    start: Option<Start>,
    /// Whether that start is not to be made any more.
    given_up: bool,
}

impl Baselines {
    /// The watcher was asked.
    pub(crate) fn ask(&mut self, component: Cid, now: Time) {
        let first = Awaited { asked: 0, since: now, start: None, given_up: false };
        self.awaited.entry(component).or_insert(first).asked += 1;
        self.look.get_or_insert(now + PATIENCE);
    }

    /// Keeps a start until the baseline is known; gives it back if it is. A component has one start at most,
    /// so an earlier one is out of date.
    pub(crate) fn hold(&mut self, start: Start) -> Option<Start> {
        match self.awaited.get_mut(&start.0.component) {
            Some(awaited) => {
                (awaited.start, awaited.given_up) = (Some(start), false);
                None
            }
            None => Some(start),
        }
    }

    /// Whether a start of it is held.
    pub(crate) fn holds(&self, component: Cid) -> bool {
        let awaited = self.awaited.get(&component);
        awaited.is_some_and(|awaited| awaited.start.is_some() && !awaited.given_up)
    }

    /// Makes none of the held starts that are in vain: neither the end nor a stop waits for them. Gives those that
    /// were to be made until now.
    pub(crate) fn give_up(&mut self, is_vain: impl Fn(Cid) -> bool) -> Vec<RunId> {
        let vain = self.awaited.iter_mut().filter(|(component, _)| is_vain(**component));
        let news = |awaited: &mut Awaited| !std::mem::replace(&mut awaited.given_up, true);
        let held = vain.filter_map(|(_, awaited)| if news(awaited) { awaited.start.as_ref() } else { None });
        held.map(|(run, _)| *run).collect()
    }

    /// The watcher has answered; gives the start that can go on.
    pub(crate) fn known(&mut self, component: Cid) -> Option<Start> {
        let awaited = self.awaited.get_mut(&component)?;
        awaited.asked -= 1;
        if awaited.asked > 0 {
            return None;
        }
        let awaited = self.awaited.remove(&component)?;
        awaited.start.filter(|_| !awaited.given_up)
    }

    /// When to look for those that are overdue.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.look
    }

    /// Waits no longer for those that are overdue because something is silent; gives them with that, and the starts
    /// that were held. Where files are looked through, however many, it goes on waiting. Their answers, should they
    /// come, are for nobody.
    pub(crate) fn overdue(
        &mut self,
        now: Time,
        silent: impl Fn(Cid) -> Option<PathBuf>,
    ) -> Vec<(PathBuf, Option<Start>)> {
        if self.look.is_none_or(|look| look > now) {
            return Vec::new();
        }
        let late = self.awaited.iter().filter(|(_, awaited)| awaited.since + PATIENCE <= now);
        let late: Vec<(Cid, PathBuf)> =
            late.filter_map(|(component, _)| Some((*component, silent(*component)?))).collect();
        let let_go = |(component, path)| {
            let awaited = self.awaited.remove(&component)?;
            Some((path, awaited.start.filter(|_| !awaited.given_up)))
        };
        let let_go: Vec<_> = late.into_iter().filter_map(let_go).collect();
        self.look = (!self.awaited.is_empty()).then(|| now + LOOK);
        let_go
    }
}

impl Driver {
    /// Goes on with the starts for whose files nothing answers.
    pub(super) fn start_without(&mut self) {
        let Some(watcher) = &self.parts.watcher else { return };
        let silent = |component| watcher.silent(WatchKey::Component(component));
        for (path, start) in self.baselines.overdue(clock::now(), silent) {
            if let Some((run, spec)) = start {
                let (name, path) = (&spec.name, path.display());
                let text =
                    format!("{name}: {path} does not answer; it starts without a look at its files there");
                self.say(Paint::Warn, &text);
                self.prepare(run, &spec);
            }
        }
    }

    /// Takes those starts back that wait for a baseline and are not wanted any more.
    pub(super) fn give_up_starts(&mut self) {
        let core = &self.parts.core;
        let error = if core.is_ending() { "orch is ending" } else { "it is not wanted any more" };
        for run in self.baselines.give_up(|component| !core.is_wanted(component)) {
            self.answer(run, RunEvent::PrepareFailed { error: error.to_owned() });
        }
    }

    /// What a start waits for that is held.
    fn held_by(&self, component: Cid) -> Option<String> {
        if !self.baselines.holds(component) {
            return None;
        }
        let silent = self.parts.watcher.as_ref()?.silent(WatchKey::Component(component));
        let silent = silent.map(|path| format!(", and {} does not answer", path.display()));
        Some(format!("the files that it watches are being looked at{}", silent.unwrap_or_default()))
    }

    /// The view with what holds a start.
    pub(super) fn with_hold(&self, mut view: View) -> View {
        let is_held = view.state == State::Starting && view.pid.is_none();
        let component = self.parts.core.find(view.name.as_str()).filter(|_| is_held);
        if let Some(what) = component.and_then(|component| self.held_by(component)) {
            view.reason = what;
        }
        view
    }

    /// The explanation with what holds a start.
    pub(super) fn explain_hold(&self, explanation: &mut Explanation) {
        if let Course::Preparing(what) = &mut explanation.course {
            let component = self.parts.core.find(explanation.name.as_str());
            *what = component.and_then(|component| self.held_by(component));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Arc, Baselines, Cid, Component, PATIENCE, PathBuf, RunId, Time};
    use crate::config::{LoadOptions, load};

    fn component() -> Arc<Component> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("devmode.yaml");
        std::fs::write(&file, "version: 1\ncomponents: { a: { process: sh } }\n").unwrap();
        Arc::clone(&load(&file, &LoadOptions::default()).project.unwrap().components[0])
    }

    #[test]
    fn every_question_is_waited_for() {
        let mut baselines = Baselines::default();
        baselines.ask(Cid(1), Time(0));
        baselines.ask(Cid(1), Time(0));
        assert!(baselines.known(Cid(1)).is_none());
        assert!(baselines.awaited.contains_key(&Cid(1)), "one is open");
        assert!(baselines.known(Cid(1)).is_none());
        assert!(baselines.awaited.is_empty());
        assert!(baselines.known(Cid(2)).is_none());
    }

    #[test]
    fn what_is_given_up_is_not_started() {
        let mut baselines = Baselines::default();
        let run = RunId { component: Cid(1), incarnation: 1 };
        baselines.ask(Cid(1), Time(0));
        assert!(baselines.hold((run, component())).is_none());
        assert_eq!(baselines.give_up(|cid| cid != Cid(1)), vec![]);
        assert!(baselines.holds(Cid(1)));
        assert_eq!((baselines.give_up(|_| true), baselines.give_up(|_| true)), (vec![run], vec![]));
        assert!(!baselines.holds(Cid(1)));
        assert!(baselines.known(Cid(1)).is_none());
    }

    #[test]
    fn what_does_not_answer_is_not_waited_for_and_what_is_slow_is() {
        let mut baselines = Baselines::default();
        let run = |id| RunId { component: Cid(id), incarnation: 1 };
        for id in [1, 2] {
            baselines.ask(Cid(id), Time(0));
            assert!(baselines.hold((run(id), component())).is_none());
        }
        let silent = |cid: Cid| (cid == Cid(1)).then(|| PathBuf::from("/net"));
        let due = baselines.next_deadline().unwrap();
        assert_eq!(due, Time(0) + PATIENCE);
        assert!(baselines.overdue(Time(0), silent).is_empty());
        let let_go = baselines.overdue(due, silent);
        assert!(matches!(&let_go[..], [(path, Some((id, _)))] if path.ends_with("net") && *id == run(1)));
        assert!(baselines.known(Cid(1)).is_none(), "its answer comes late");
        assert!(baselines.next_deadline().unwrap() > due, "the other one is looked after");
        assert_eq!(baselines.known(Cid(2)).unwrap().0, run(2));
        let last = baselines.next_deadline().unwrap();
        assert!(baselines.overdue(last, silent).is_empty() && baselines.next_deadline().is_none());
    }
}
