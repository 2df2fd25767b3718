//! Tasks: commands that run for a component beside its run, as units of their own: a build, what a change runs,
//! what asks it to stop. Each has a deadline in the loop, and is answered when nothing of it is left.

use std::collections::BTreeMap;
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

/// The tasks that are not answered yet.
pub(crate) type Tasks = BTreeMap<TaskId, Task>;

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

/// When the next task is late.
pub(crate) fn next_deadline(tasks: &Tasks) -> Option<Time> {
    tasks.values().filter_map(|task| task.until).min()
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
            let unit = life.unit;
            self.awaited_no_more(unit);
        }
        let unit = self.new_unit(Purpose::Task(id));
        match self.start_task(unit, kind, spec, run) {
            Ok(()) => {
                let until = Some(clock::now() + timeout);
                let (fate, place, tail) = (Fate::Open, None, Vec::new());
                let task = Task { unit, timeout, until, fate, gone: false, read: false, place, tail };
                self.tasks.insert(id, task);
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

    /// Whether a run of the component that a record is about goes on.
    pub(super) fn stays(&self, record: &Record) -> bool {
        if !matches!(record.what, What::TaskFailed { .. }) {
            return false;
        }
        let core = &self.parts.core;
        let found = record.component.as_ref().and_then(|name| core.find(name.as_str()));
        let glance = found.and_then(|cid| core.glance(cid, &HeldNow::default()));
        glance.is_some_and(|it| matches!(it.state, State::Starting | State::Ready | State::Unhealthy))
    }

    /// Ends a task; one that is not there has been answered.
    pub(super) fn end_task(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.get_mut(&id) {
            (task.fate, task.until) = (Fate::Ended, None);
            self.parts.keeper.kill(task.unit);
        }
    }

    /// Kills the tasks whose time is over.
    pub(super) fn end_late_tasks(&mut self) {
        let now = clock::now();
        for task in self.tasks.values_mut().filter(|task| task.until.is_some_and(|until| until <= now)) {
            (task.fate, task.until) = (Fate::Late, None);
            self.parts.keeper.kill(task.unit);
        }
    }

    /// Its leader has ended: what it has left behind ends with it, or the answer would wait for a daemon.
    pub(super) fn task_exited(&mut self, id: TaskId, exit: Exit) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.until = None;
        if matches!(task.fate, Fate::Open) {
            task.fate = Fate::Exited(exit);
        }
        self.parts.keeper.kill(task.unit);
    }

    pub(super) fn task_gone(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.gone = true;
        // Nobody who may write to it is left, and somebody else is not waited for.
        self.parts.output.close(task.unit);
        self.answer_task(id);
    }

    /// What had ended has ended as it did.
    pub(super) fn task_lost(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.get_mut(&id).filter(|task| matches!(task.fate, Fate::Open)) {
            (task.fate, task.until) = (Fate::Lost, None);
        }
        self.task_gone(id);
    }

    pub(super) fn task_said(&mut self, id: TaskId, place: Option<String>, tail: Vec<String>) {
        if let Some(task) = self.tasks.get_mut(&id) {
            (task.place, task.tail) = (place, tail);
        }
    }

    pub(super) fn task_read(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.get_mut(&id) {
            task.read = true;
        }
        self.answer_task(id);
    }

    pub(super) fn task_not_started(&mut self, id: TaskId, error: String) {
        let Some(task) = self.tasks.remove(&id) else { return };
        let ended = matches!(task.fate, Fate::Ended);
        self.step(Event::Task(id, if ended { TaskEnd::Ended } else { failed(error) }));
    }

    /// Answers when nothing of it is left.
    fn answer_task(&mut self, id: TaskId) {
        if self.tasks.get(&id).is_some_and(|task| task.gone && task.read)
            && let Some(task) = self.tasks.remove(&id)
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
