//! Commands that are run for a component beside its run: at most one of each kind at a time.
//!
//! A build, and what a change runs, begin when the files are quiet, so that a burst of saves costs one of them.
//! One that is told to end is awaited for `stop.join_timeout`; past that it is given up, and holds up nothing but
//! the next of its kind.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::phase::Phase;
use super::record::What;
use super::slot::Slot;
use super::{Action, Supervisor, stopping};
use crate::config::model::{Component, WatchAction};
use crate::types::{Cid, RunId, TaskFailure, TaskId, TaskKind, Time};

/// So long what a change runs may take: it is meant to be short, and has no key for it.
const ON_CHANGE: Duration = Duration::from_mins(10);

/// A task that runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) id: TaskId,
    pub(crate) since: Time,
    pub(crate) end: ToEnd,
}

/// Whether a task was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToEnd {
    /// It was not.
    No,
    /// It was, and is given up then.
    Told {
        /// The end of `stop.join_timeout`.
        until: Time,
    },
    /// It was, and nothing was heard of it.
    GivenUp,
}

/// Where a task is that begins when the files are quiet.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) enum Step {
    /// None runs, nor is to.
    #[default]
    Idle,
    /// One begins when the files are quiet.
    Settling {
        /// They seem so, and the watcher was asked whether it has told of everything: its answer comes by then, or
        /// is not waited for.
        asked: Option<Time>,
    },
    /// One runs.
    Running(Task),
}

/// A task that begins when the files are quiet, and the next one of its kind.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Beside {
    pub(crate) step: Step,
    /// Whether another one follows the one that runs.
    pub(crate) again: bool,
    /// The record that led to the next one.
    pub(crate) cause: Option<u64>,
    /// The record of the beginning of the one that runs.
    pub(crate) began: Option<u64>,
    /// How the last one failed, until one succeeds.
    pub(crate) failed: Option<TaskFailure>,
    /// The one that runs is in the place of one that was lost with the keeper.
    pub(crate) lost: bool,
}

impl Task {
    /// Whether it still holds something up.
    pub(crate) fn awaited(&self) -> bool {
        self.end != ToEnd::GivenUp
    }

    fn deadline(&self) -> Time {
        match self.end {
            ToEnd::Told { until } => until,
            ToEnd::No | ToEnd::GivenUp => Time::NEVER,
        }
    }

    fn give_up_at(&mut self, now: Time) -> bool {
        let due = self.deadline() <= now;
        if due {
            self.end = ToEnd::GivenUp;
        }
        due
    }
}

impl Beside {
    pub(crate) fn task(&self) -> Option<&Task> {
        match &self.step {
            Step::Running(task) => Some(task),
            Step::Idle | Step::Settling { .. } => None,
        }
    }

    fn task_mut(&mut self) -> Option<&mut Task> {
        match &mut self.step {
            Step::Running(task) => Some(task),
            Step::Idle | Step::Settling { .. } => None,
        }
    }

    fn deadline(&self, slot: &Slot) -> Time {
        match &self.step {
            Step::Idle => Time::NEVER,
            Step::Settling { asked } => asked.unwrap_or(slot.quiet.until()),
            Step::Running(task) => task.deadline(),
        }
    }
}

impl Slot {
    /// All that run now.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = &Task> {
        let beside = [self.build.beside.task(), self.on_change.task()];
        beside.into_iter().chain([self.stop_task.as_ref()]).flatten()
    }

    /// Whether an effect is still to answer about it, so that the project can't end.
    pub(crate) fn busy(&self) -> bool {
        self.phase.busy() || self.tasks().any(Task::awaited)
    }

    /// Whether something is still to come of it by itself: the project goes on for it.
    pub(crate) fn unfinished(&self) -> bool {
        self.phase.unfinished() || self.tasks().any(Task::awaited)
    }

    /// When time alone changes something for its tasks.
    pub(crate) fn task_deadline(&self) -> Time {
        let beside = self.build.beside.deadline(self).min(self.on_change.deadline(self));
        beside.min(self.stop_task.as_ref().map_or(Time::NEVER, Task::deadline))
    }

    /// Whether a task of it waits for quiet files.
    pub(crate) fn task_settles(&self) -> bool {
        [&self.build.beside, &self.on_change].iter().any(|it| matches!(it.step, Step::Settling { .. }))
    }

    /// Whether a task of it waits for the watcher's word.
    pub(crate) fn task_sifts(&self) -> bool {
        let sifts = |it: &&Beside| matches!(it.step, Step::Settling { asked: Some(_) });
        [&self.build.beside, &self.on_change].iter().any(sifts)
    }

    pub(super) fn beside(&mut self, kind: Quietly) -> &mut Beside {
        match kind {
            Quietly::Build => &mut self.build.beside,
            Quietly::OnChange => &mut self.on_change,
        }
    }
}

/// The tasks that begin when the files are quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quietly {
    Build,
    OnChange,
}

pub(super) const QUIETLY: [Quietly; 2] = [Quietly::Build, Quietly::OnChange];

impl Supervisor {
    /// Runs a task, of a kind of which none runs.
    pub(super) fn run_task(
        &mut self,
        cid: Cid,
        kind: TaskKind,
        run: Option<RunId>,
        timeout: Duration,
    ) -> Option<Task> {
        let since = self.now;
        let slot = self.slot_mut(cid)?;
        slot.task_number += 1;
        let task = TaskId { component: cid, number: slot.task_number };
        let spec = std::sync::Arc::clone(&slot.spec);
        let drain = match kind {
            TaskKind::Stop => stopping::drain(spec.stop.timeout),
            TaskKind::Build | TaskKind::OnChange => Duration::ZERO,
        };
        self.out.push(Action::RunTask { task, kind, spec, run, timeout, drain });
        Some(Task { id: task, since, end: ToEnd::No })
    }

    /// One of its kind is wanted: now if the files are quiet, and not beside another one. `anew`: one that runs is
    /// worth nothing any more.
    pub(super) fn call_task(&mut self, cid: Cid, kind: Quietly, cause: Option<u64>, anew: bool) {
        let Some(slot) = self.slot_mut(cid) else { return };
        let beside = slot.beside(kind);
        let first = beside.cause.is_none() || anew;
        match &beside.step {
            Step::Idle => {
                beside.cause = cause;
                self.settle_task(cid, kind);
            }
            Step::Settling { .. } if first => beside.cause = cause,
            Step::Settling { .. } => {}
            Step::Running(task) => {
                // What is on its way out says nothing.
                let lost = task.end != ToEnd::No;
                if anew || lost || kind == Quietly::OnChange {
                    (beside.again, beside.cause) = (true, cause);
                }
                if anew && !lost {
                    self.end_task(cid, kind);
                }
            }
        }
    }

    /// Begins one if the files are quiet, and the watcher has said so; else waits for that.
    pub(super) fn settle_task(&mut self, cid: Cid, kind: Quietly) {
        let Some(slot) = self.slot(cid) else { return };
        let asked = match (slot.quiet.is(self.now), slot.quiet.stirred()) {
            (true, false) => return self.begin_task(cid, kind),
            (true, true) => Some(self.sift(cid)),
            (false, _) => None,
        };
        if let Some(slot) = self.slot_mut(cid) {
            slot.beside(kind).step = Step::Settling { asked };
        }
        self.rearm(cid);
    }

    fn begin_task(&mut self, cid: Cid, kind: Quietly) {
        let Some(slot) = self.slot_mut(cid) else { return };
        slot.quiet.started();
        slot.beside(kind).step = Step::Idle;
        let (cause, run) = (slot.beside(kind).cause.take(), slot.phase.run().map(|run| run.id));
        let (task, of) = match kind {
            Quietly::Build => {
                let Some(timeout) = slot.spec.build.as_ref().map(|build| build.timeout) else {
                    // An edit has taken it away.
                    return self.built(cid, None);
                };
                (self.run_task(cid, TaskKind::Build, None, timeout), TaskKind::Build)
            }
            // An edit has taken it away.
            Quietly::OnChange if !runs_on_change(&slot.spec) => return self.recount_tasks(cid),
            Quietly::OnChange => (self.run_task(cid, TaskKind::OnChange, run, ON_CHANGE), TaskKind::OnChange),
        };
        let began = self.tell_task(cid, cause, What::TaskStarted { kind: of });
        if let (Some(slot), Some(task)) = (self.slot_mut(cid), task) {
            let beside = slot.beside(kind);
            (beside.step, beside.again, beside.began) = (Step::Running(task), false, Some(began));
        }
        self.recount_tasks(cid);
    }

    /// What is to come of a kind is not, and what runs of it is told to end.
    pub(super) fn end_task(&mut self, cid: Cid, kind: Quietly) {
        let now = self.now;
        let Some(slot) = self.slot_mut(cid) else { return };
        let until = now + slot.spec.stop.join_timeout;
        let beside = slot.beside(kind);
        if matches!(beside.step, Step::Settling { .. }) {
            beside.step = Step::Idle;
        }
        let told = beside.task_mut().and_then(|task| tell_to_end(task, until));
        self.out.extend(told);
        self.recount_tasks(cid);
    }

    /// What runs for a component, and what is to run for it, is not wanted any more.
    pub(super) fn end_tasks(&mut self, cid: Cid) {
        for kind in QUIETLY {
            if let Some(slot) = self.slot_mut(cid) {
                slot.beside(kind).again = false;
            }
            self.end_task(cid, kind);
        }
        if let Some(slot) = self.slot_mut(cid) {
            slot.build.then = None;
        }
    }

    /// Tells the command that was to stop a run to end.
    pub(super) fn end_stop_task(&mut self, cid: Cid) {
        let now = self.now;
        let Some(slot) = self.slot_mut(cid) else { return };
        let until = now + slot.spec.stop.join_timeout;
        let told = slot.stop_task.as_mut().and_then(|task| tell_to_end(task, until));
        self.out.extend(told);
        self.recount_tasks(cid);
    }

    /// Records something of a task. While a run goes on, it is no part of that run's story: what the run does next was
    /// not led to by it.
    pub(super) fn tell_task(&mut self, cid: Cid, cause: Option<u64>, what: What) -> u64 {
        let seq = self.record(Some(cid), cause, what);
        if let Some(slot) = self.slot_mut(cid)
            && matches!(slot.phase, Phase::Building(_))
        {
            slot.last = Some(seq);
        }
        seq
    }

    /// The watcher has told of everything.
    pub(super) fn tasks_sifted(&mut self, cid: Cid) {
        for kind in QUIETLY {
            let Some(slot) = self.slot_mut(cid) else { return };
            if matches!(slot.beside(kind).step, Step::Settling { asked: Some(_) }) {
                self.go_on_with_task(cid, kind);
            }
        }
    }

    /// The files were told to be quiet, or that is waited for no longer.
    fn go_on_with_task(&mut self, cid: Cid, kind: Quietly) {
        if self.slot(cid).is_some_and(|slot| slot.quiet.is(self.now)) {
            self.begin_task(cid, kind);
        } else {
            self.settle_task(cid, kind);
        }
    }

    /// A deadline of a component has come: perhaps one of its tasks.
    pub(super) fn expire_tasks(&mut self, cid: Cid) {
        let now = self.now;
        for kind in QUIETLY {
            let Some(slot) = self.slot_mut(cid) else { return };
            let quiet = slot.quiet;
            match &mut slot.beside(kind).step {
                Step::Settling { asked: Some(until) } if *until <= now => self.go_on_with_task(cid, kind),
                Step::Settling { asked: None } if quiet.is(now) => self.settle_task(cid, kind),
                Step::Running(task) => {
                    if task.give_up_at(now) {
                        let task = task.clone();
                        self.task_given_up(cid, kind, &task);
                    }
                }
                Step::Settling { .. } | Step::Idle => {}
            }
        }
        if self
            .slot_mut(cid)
            .and_then(|slot| slot.stop_task.as_mut())
            .is_some_and(|task| task.give_up_at(now))
        {
            self.recount_tasks(cid);
            self.all_gone(cid);
        }
    }

    /// Counts anew what a component holds up.
    pub(super) fn recount_tasks(&mut self, cid: Cid) {
        self.count(cid);
        self.rearm(cid);
    }
}

impl Quietly {
    pub(super) fn of(self) -> TaskKind {
        match self {
            Self::Build => TaskKind::Build,
            Self::OnChange => TaskKind::OnChange,
        }
    }
}

fn runs_on_change(spec: &Component) -> bool {
    spec.watch.as_ref().is_some_and(|watch| matches!(watch.action, WatchAction::Run(_)))
}

fn tell_to_end(task: &mut Task, until: Time) -> Option<Action> {
    (task.end == ToEnd::No).then(|| {
        task.end = ToEnd::Told { until };
        Action::EndTask { task: task.id }
    })
}
