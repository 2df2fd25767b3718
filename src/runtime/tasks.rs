//! Tasks: commands that run for a component beside its run, as units of their own: a build, what a change runs,
//! what asks it to stop. Each has a deadline in the loop, and is answered when nothing of it is left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock;
use super::driver::{Driver, Purpose};
use super::inbox::Message;
use super::spawn::{self, Facts};
use crate::config::model::{Command, Component, WatchAction};
use crate::output::StreamSpec;
use crate::runner::Runner as _;
use crate::runner::keeper::ProcessSpec;
use crate::supervisor::{Event, HeldNow, Record, State, What};
use crate::types::{Exit, RunId, TaskEnd, TaskFailure, TaskId, TaskKind, Time, UnitId};

/// The tasks that are not answered yet, and in which order they are late.
#[derive(Default)]
pub(crate) struct Tasks {
    all: BTreeMap<TaskId, Task>,
    due: BTreeSet<(Time, TaskId)>,
}

/// One of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) unit: UnitId,
    timeout: Duration,
    /// When it is killed; `None` if that is done, or not needed any more.
    until: Option<Time>,
    fate: Fate,
    /// Whether nothing of its unit is left.
    gone: bool,
    /// Whether its output has ended.
    read: bool,
    place: Option<String>,
    tail: Vec<String>,
}

/// What became of it, as far as that is known.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Fate {
    Open,
    /// Its leader ended; what else there was of it was killed.
    Exited(Exit),
    /// It was killed at its time-out.
    Late,
    /// It was told to end.
    Ended,
    /// It is gone with its keeper, or was not started for that.
    Lost,
}

impl Tasks {
    /// When the next task is late.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.due.first().map(|(until, _)| *until)
    }

    /// Each of them, with its unit.
    pub(crate) fn units(&self) -> impl Iterator<Item = (TaskId, UnitId)> + '_ {
        self.all.iter().map(|(id, task)| (*id, task.unit))
    }

    /// One that is late by `now`, if there is one.
    fn late(&self, now: Time) -> Option<TaskId> {
        self.due.first().filter(|(until, _)| *until <= now).map(|(_, id)| *id)
    }

    /// One of them has no time any more: it is killed, or need not be.
    fn stop_clock(&mut self, id: TaskId) -> Option<&mut Task> {
        let task = self.all.get_mut(&id)?;
        if let Some(until) = task.until.take() {
            self.due.remove(&(until, id));
        }
        Some(task)
    }

    fn remove(&mut self, id: TaskId) -> Option<Task> {
        self.stop_clock(id);
        self.all.remove(&id)
    }
}

impl FromIterator<(TaskId, Task)> for Tasks {
    fn from_iter<T: IntoIterator<Item = (TaskId, Task)>>(tasks: T) -> Self {
        let all: BTreeMap<TaskId, Task> = tasks.into_iter().collect();
        let due = all.iter().filter_map(|(id, task)| Some((task.until?, *id))).collect();
        Self { all, due }
    }
}

impl IntoIterator for Tasks {
    type Item = (TaskId, Task);
    type IntoIter = std::collections::btree_map::IntoIter<TaskId, Task>;

    fn into_iter(self) -> Self::IntoIter {
        self.all.into_iter()
    }
}

impl Driver {
    /// Starts a task; how it ends is told by way of the queue.
    pub(super) fn run_task(
        &mut self,
        id: TaskId,
        kind: TaskKind,
        spec: &Arc<Component>,
        run: Option<RunId>,
        timeout: Duration,
    ) {
        if kind == TaskKind::Stop
            && let Some(life) = run.and_then(|run| self.lives.get_mut(&run))
        {
            life.asked_to_stop();
        }
        let unit = self.new_unit(Purpose::Task(id));
        match self.start_task(unit, kind, spec, run) {
            Ok(()) => {
                let until = clock::now() + timeout;
                self.tasks.due.insert((until, id));
                let until = Some(until);
                let (fate, place, tail) = (Fate::Open, None, Vec::new());
                let task = Task { unit, timeout, until, fate, gone: false, read: false, place, tail };
                self.tasks.all.insert(id, task);
            }
            Err(error) => {
                self.units.remove(&unit);
                let end = Event::Task(id, failed(error));
                let _ = self.parts.inbox.send(Message::Core(end));
            }
        }
    }

    fn start_task(
        &self,
        unit: UnitId,
        kind: TaskKind,
        spec: &Component,
        run: Option<RunId>,
    ) -> Result<(), String> {
        let command = command(kind, spec).ok_or("there is nothing declared to run")?;
        let control = self.parts.home.dir().join("control.sock");
        let facts = Facts {
            project: &self.parts.core.project().name,
            incarnation: run.map(|run| run.incarnation),
            restored: None,
            control: &control,
        };
        let env = spawn::environment(&self.parts.environment, spec, &facts);
        let spawn::Invocation { program, argv, env, cwd } = spawn::invocation(command, &[], &spec.cwd, env)?;
        let stream = StreamSpec {
            label: spec.name.to_string(),
            log: Some(self.log(spec)),
            matcher: None,
            show: true,
            remember: true,
        };
        let output = self.open_stream(unit, spec, stream)?;
        let process = ProcessSpec { program, argv, env, cwd, stdin: None, output, extra: Vec::new() };
        self.parts.keeper.spawn(unit, process);
        Ok(())
    }

    /// Whether the run that there was of a component when its build failed goes on; another one may begin at once.
    pub(super) fn stays(&self, record: &Record) -> bool {
        if !matches!(record.what, What::TaskFailed { .. }) {
            return false;
        }
        let core = &self.parts.core;
        let found = record.component.as_ref().and_then(|name| core.find(name.as_str()));
        let glance = found.and_then(|cid| core.glance(cid, &HeldNow::default()));
        let same = glance.filter(|it| Some(it.incarnation) == record.incarnation);
        same.is_some_and(|it| matches!(it.state, State::Starting | State::Ready | State::Unhealthy))
    }

    /// Ends a task; one that is not there has been answered.
    pub(super) fn end_task(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.stop_clock(id) {
            task.fate = Fate::Ended;
            self.parts.keeper.kill(task.unit);
        } else if self.put_off_no_more(id) {
            let _ = self.parts.inbox.send(Message::Core(Event::Task(id, TaskEnd::Ended)));
        }
    }

    /// Kills the tasks whose time is over.
    pub(super) fn end_late_tasks(&mut self) {
        let now = clock::now();
        while let Some(task) = self.tasks.late(now).and_then(|id| self.tasks.stop_clock(id)) {
            task.fate = Fate::Late;
            self.parts.keeper.kill(task.unit);
        }
    }

    /// Its leader has ended: what it has left behind ends with it, or the answer would wait for a daemon.
    pub(super) fn task_exited(&mut self, id: TaskId, exit: Exit) {
        let Some(task) = self.tasks.stop_clock(id) else { return };
        if matches!(task.fate, Fate::Open) {
            task.fate = Fate::Exited(exit);
        }
        self.parts.keeper.kill(task.unit);
    }

    pub(super) fn task_gone(&mut self, id: TaskId) {
        let Some(task) = self.tasks.all.get_mut(&id) else { return };
        task.gone = true;
        // Nobody who may write to it is left, and somebody else is not waited for.
        self.parts.output.close(task.unit);
        self.answer_task(id);
    }

    /// What had ended has ended as it did.
    pub(super) fn task_lost(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.stop_clock(id).filter(|task| matches!(task.fate, Fate::Open)) {
            task.fate = Fate::Lost;
        }
        self.task_gone(id);
    }

    pub(super) fn task_said(&mut self, id: TaskId, place: Option<String>, tail: Vec<String>) {
        if let Some(task) = self.tasks.all.get_mut(&id) {
            (task.place, task.tail) = (place, tail);
        }
    }

    pub(super) fn task_read(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.all.get_mut(&id) {
            task.read = true;
        }
        self.answer_task(id);
    }

    pub(super) fn task_not_started(&mut self, id: TaskId, error: String) {
        let Some(task) = self.tasks.remove(id) else { return };
        let ended = matches!(task.fate, Fate::Ended);
        self.step(Event::Task(id, if ended { TaskEnd::Ended } else { failed(error) }));
    }

    /// Answers when nothing of it is left.
    fn answer_task(&mut self, id: TaskId) {
        if self.tasks.all.get(&id).is_some_and(|task| task.gone && task.read)
            && let Some(task) = self.tasks.remove(id)
        {
            self.units.remove(&task.unit);
            self.step(Event::Task(id, task.end()));
        }
    }
}

impl Task {
    fn end(self) -> TaskEnd {
        let reason = match self.fate {
            Fate::Ended => return TaskEnd::Ended,
            Fate::Lost => return TaskEnd::Lost,
            Fate::Exited(Exit::Code(0)) => return TaskEnd::Done,
            Fate::Exited(Exit::Code(code)) => format!("it ended with exit code {code}"),
            Fate::Exited(exit) => format!("it was ended by {exit}"),
            Fate::Late => {
                let timeout = humantime::format_duration(self.timeout);
                format!("it did not end within {timeout}, and was killed")
            }
            // A keeper reports each leader's end before the unit's.
            Fate::Open => "nobody knows how it ended".to_owned(),
        };
        TaskEnd::Failed(TaskFailure { reason, place: self.place, tail: self.tail })
    }
}

fn failed(reason: String) -> TaskEnd {
    TaskEnd::Failed(TaskFailure { reason, ..TaskFailure::default() })
}

fn command(kind: TaskKind, spec: &Component) -> Option<&Command> {
    match kind {
        TaskKind::Build => spec.build.as_deref().map(|build| &build.command),
        TaskKind::OnChange => match &spec.watch.as_ref()?.action {
            WatchAction::Run(command) => Some(command),
            WatchAction::Restart | WatchAction::Signal(_) | WatchAction::None => None,
        },
        TaskKind::Stop => spec.stop.command.as_ref(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Fate, Task, TaskId, Tasks, Time, UnitId};
    use crate::types::Cid;

    fn id(number: u64) -> TaskId {
        TaskId { component: Cid(0), number }
    }

    fn task(until: u64) -> Task {
        let (fate, place, tail) = (Fate::Open, None, Vec::new());
        let until = Some(Time(until));
        Task { unit: UnitId(1), timeout: Duration::ZERO, until, fate, gone: false, read: false, place, tail }
    }

    #[test]
    fn the_first_that_is_late_is_known_and_forgotten_with_its_task() {
        let mut tasks: Tasks =
            [(id(1), task(30)), (id(2), task(10)), (id(3), task(20))].into_iter().collect();
        assert_eq!((tasks.next_deadline(), tasks.late(Time(9))), (Some(Time(10)), None));
        assert_eq!(tasks.late(Time(10)), Some(id(2)));
        assert!(tasks.stop_clock(id(2)).is_some_and(|task| task.until.is_none()));
        assert_eq!((tasks.next_deadline(), tasks.late(Time(10))), (Some(Time(20)), None));
        assert!(tasks.remove(id(3)).is_some());
        assert_eq!(tasks.next_deadline(), Some(Time(30)));
        let again: Tasks = tasks.into_iter().collect();
        assert_eq!((again.next_deadline(), again.units().count()), (Some(Time(30)), 2));
    }
}
