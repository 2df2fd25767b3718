//! A recorded history gone through once more: each event is told to a core that was made from the same, and what
//! that wants done is judged by what it was told, not by what it believes. Where a component's unit is, and
//! whether it is ready, follows from the events alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::affected::Effect;
use super::{Action, Event, Record, RunEvent, Setup, State, Supervisor, What};
use crate::config::model::{Component, Condition, Dependency, Probe, Project, Ready, RestartPolicy};
use crate::types::{Exit, Name, Notice, RunId, Scope, Signal, TaskKind, Time};

/// So many contradictions are kept; the rest is counted.
const KEPT: usize = 100;

/// A line of a recording.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recorded {
    /// What a core was made from. One that follows others is another `orch up`.
    Setup(Box<Setup>),
    /// What it was told.
    Step {
        /// When.
        now: Time,
        /// What.
        event: Event,
    },
}

/// A history as far as it was gone through.
#[derive(Debug, Default)]
pub struct Replay {
    core: Option<Supervisor>,
    facts: Facts,
    steps: u64,
    spawns: u64,
    wrong: Vec<String>,
    more: usize,
}

impl Replay {
    /// Goes on with one line of a recording.
    ///
    /// # Errors
    /// It is no such line, or none that can stand there; then nothing behind it can be judged.
    pub fn line(&mut self, line: &str) -> Result<(), String> {
        let recorded =
            serde_json::from_str(line).map_err(|error| format!("no line of a recording: {error}"))?;
        match recorded {
            Recorded::Setup(setup) => {
                self.facts = Facts::of(&setup.project);
                self.core = Some(Supervisor::new(*setup));
                Ok(())
            }
            Recorded::Step { now, event } => self.step(now, event),
        }
    }

    /// How many steps there were so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How many runs were spawned in them.
    #[must_use]
    pub fn spawns(&self) -> u64 {
        self.spawns
    }

    /// The core as it is now, if there is one.
    #[must_use]
    pub fn core(&self) -> Option<&Supervisor> {
        self.core.as_ref()
    }

    /// What contradicts the guarantees, each with the number of the step; the first hundred, and a word about
    /// the others.
    #[must_use]
    pub fn contradictions(&self) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        self.wrong.iter().cloned().chain(more).collect()
    }

    fn step(&mut self, now: Time, event: Event) -> Result<(), String> {
        let core = self.core.as_mut().ok_or("a step before any setup")?;
        self.steps += 1;
        let ending = core.is_ending();
        self.facts.hear(&event);
        let actions = core.step(now, event);
        let mut wrong: Vec<String> = core.check().err().into_iter().collect();
        for action in &actions {
            self.spawns += u64::from(matches!(action, Action::Spawn { .. }));
            wrong.extend(self.facts.judge(action, ending).err());
            self.facts.wanted(action);
        }
        for what in wrong {
            if self.wrong.len() < KEPT {
                self.wrong.push(format!("step {}: {what}", self.steps));
            } else {
                self.more += 1;
            }
        }
        Ok(())
    }
}

/// What is known of the world, by what was told and what was wanted of it.
#[derive(Debug, Default)]
pub(super) struct Facts {
    declared: BTreeMap<Name, Arc<Component>>,
    /// The last run of each component, by name: an edit may have given a name to another slot.
    lives: BTreeMap<RunId, Life>,
    states: BTreeMap<Name, State>,
    /// Why each was asked to stop last.
    reasons: BTreeMap<Name, String>,
    /// Stopped by command, and not started since.
    down: BTreeSet<Name>,
}

/// A run that was spawned.
#[derive(Debug)]
struct Life {
    spec: Arc<Component>,
    spawned: bool,
    ready: bool,
    exit: Option<Exit>,
    gone: bool,
    asked: bool,
    /// It has said itself that it stops, before it was asked to.
    leaving: bool,
}

impl Facts {
    pub(super) fn of(project: &Project) -> Self {
        let mut facts = Self::default();
        facts.declare(project);
        facts
    }

    fn declare(&mut self, project: &Project) {
        let all = project.components.iter().map(|spec| (spec.name.clone(), Arc::clone(spec)));
        self.declared = all.collect();
        // What is removed and added again is a new component to the user.
        self.down.retain(|name| self.declared.contains_key(name));
    }

    pub(super) fn hear(&mut self, event: &Event) {
        match event {
            Event::Edit { project, .. } => self.declare(project),
            // The threads of the old image are gone with it.
            Event::Reexeced => {
                let thread = |life: &&mut Life| super::slot::is_thread(&life.spec);
                for life in self.lives.values_mut().filter(thread) {
                    life.gone = true;
                }
            }
            Event::Run(run, event) => {
                if let Some(life) = self.lives.get_mut(run) {
                    life.hear(event);
                }
            }
            Event::Task(..) | Event::Up | Event::Deadline | Event::Changed { .. } | Event::Busy { .. } => {}
            Event::Sifted { .. } | Event::EditRejected { .. } | Event::Command(_) => {}
            Event::ReexecFailed { .. } => {}
        }
    }

    /// Takes note of what is wanted now.
    pub(super) fn wanted(&mut self, action: &Action) {
        match action {
            Action::Spawn { run, spec, .. } => {
                self.lives.retain(|_, life| life.spec.name != spec.name || !life.gone);
                self.reasons.remove(&spec.name);
                let spec = Arc::clone(spec);
                let (spawned, ready, exit, gone, asked) = (false, spec.ready.is_none(), None, false, false);
                self.lives.insert(*run, Life { spec, spawned, ready, exit, gone, asked, leaving: false });
            }
            Action::Stop { run, scope: Scope::Group, .. }
            | Action::RunTask { kind: TaskKind::Stop, run: Some(run), .. } => {
                if let Some(life) = self.lives.get_mut(run) {
                    life.asked = true;
                }
            }
            Action::Record(record) => self.recorded(record),
            _ => {}
        }
    }

    fn recorded(&mut self, record: &Record) {
        match (&record.what, &record.component) {
            (What::State { state, .. }, Some(name)) => drop(self.states.insert(name.clone(), *state)),
            (What::StopRequested { reason }, Some(name)) => {
                self.reasons.insert(name.clone(), reason.clone());
            }
            (What::Command { name: "stop", args, .. }, _) => {
                let declared = args.iter().filter(|name| self.declared.contains_key(*name));
                self.down.extend(declared.cloned());
            }
            (What::Command { affects, .. }, _) => {
                for one in affects.iter().filter(|one| one.effect != Effect::Stop) {
                    self.down.remove(&one.component);
                }
            }
            _ => {}
        }
    }

    /// Whether an action may be wanted now.
    pub(super) fn judge(&self, action: &Action, ending: bool) -> Result<(), String> {
        match action {
            Action::Spawn { run, spec, .. } => self.may_spawn(*run, spec, ending),
            Action::Stop { run, scope: Scope::Group, .. }
            | Action::RunTask { kind: TaskKind::Stop, run: Some(run), .. } => self.may_stop(*run, ending),
            _ => Ok(()),
        }
    }

    /// Guarantees 1 and 3, and that nothing starts that a command has stopped.
    fn may_spawn(&self, run: RunId, spec: &Component, ending: bool) -> Result<(), String> {
        let name = &spec.name;
        let mut own = self.lives.iter().filter(|(_, life)| life.spec.name == *name);
        if let Some((other, _)) = own.find(|(other, life)| !life.gone || **other >= run) {
            return Err(format!("{name}: {run} starts, but {other} is not gone, or not before it"));
        }
        if ending {
            return Err(format!("{name}: {run} starts at the project's end"));
        }
        if self.down.contains(name) {
            return Err(format!("{name}: {run} starts, but a command has stopped it"));
        }
        match spec.depends_on.iter().find(|edge| !self.meets(edge)) {
            Some(edge) => Err(format!("{name}: {run} starts, but {} is not {:?}", edge.name, edge.condition)),
            None => Ok(()),
        }
    }

    /// Whether a dependency meets its condition in its present run.
    fn meets(&self, edge: &Dependency) -> bool {
        let of = |life: &&Life| life.spec.name == edge.name;
        let life = self.lives.values().rev().find(of);
        let completed = self.states.get(&edge.name) == Some(&State::Completed);
        let Some(life) = life else { return false };
        let running = life.spawned && life.exit.is_none() && !life.asked && !life.gone;
        match edge.condition {
            _ if completed => life.has_completed(self.declared.get(&edge.name)),
            Condition::Started => running,
            Condition::Ready => running && life.ready,
            Condition::Completed => false,
        }
    }

    /// Guarantee 2: in an ordered stop, a component is told only when all that depend on it are gone.
    fn may_stop(&self, run: RunId, ending: bool) -> Result<(), String> {
        let Some(life) = self.lives.get(&run) else {
            return Err(format!("{run}: a stop of what never started"));
        };
        let name = &life.spec.name;
        if life.gone {
            return Err(format!("{name}: a stop of what is gone"));
        }
        // One whose stop command failed was told when that began.
        if life.asked {
            return Ok(());
        }
        let reason = self.reasons.get(name).map(String::as_str).unwrap_or_default();
        let ending = ending || reason == "the project is shut down";
        if !ending && !matches!(reason, "stopped by command" | "removed from the file") {
            return Ok(());
        }
        match self.lives_above(name, ending) {
            Some(other) => Err(format!("{name} is told to stop ({reason}) while {other} depends on it")),
            None => Ok(()),
        }
    }

    /// What lives and depends on this one, also by way of what does not live. In a stop by command, or by an
    /// edit, what wants or has had an end only does not count.
    fn lives_above(&self, name: &Name, ending: bool) -> Option<&Name> {
        let (mut seen, mut stack) = (BTreeSet::new(), vec![name]);
        while let Some(below) = stack.pop() {
            for (other, spec) in &self.declared {
                let needs = |edge: &Dependency| {
                    edge.name == *below && (ending || edge.condition != Condition::Completed)
                };
                if !spec.depends_on.iter().any(needs) {
                    continue;
                }
                if self.lives.values().any(|life| life.spec.name == *other && !life.gone) {
                    return Some(other);
                }
                let through = ending || self.states.get(other) != Some(&State::Completed);
                if through && seen.insert(other) {
                    stack.push(other);
                }
            }
        }
        None
    }
}

impl Life {
    fn hear(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Spawned { .. } => self.spawned = true,
            RunEvent::Ready => self.ready = true,
            RunEvent::Notice(Notice::Stopping) => self.leaving |= !self.asked,
            RunEvent::Notice(Notice::Ready) => {
                let notifies = |ready: &Ready| matches!(ready.probe, Probe::Notify);
                self.ready |= self.spec.ready.as_deref().is_some_and(notifies);
            }
            RunEvent::Exited(exit) => self.exit = Some(exit.clone()),
            // Another process is the main one now.
            RunEvent::Notice(Notice::MainPid(_)) if !self.gone => self.exit = None,
            RunEvent::Gone | RunEvent::SpawnFailed { .. } => self.gone = true,
            RunEvent::Lost => {
                self.exit.get_or_insert(Exit::Signal(Signal::KILL));
                self.gone = true;
            }
            _ => {}
        }
    }

    /// Whether it ended as one does that has completed; its rules may have been edited before or after the end.
    fn has_completed(&self, declared: Option<&Arc<Component>>) -> bool {
        let Some(Exit::Code(code)) = self.exit else { return false };
        let rules = || [Some(&self.spec), declared].into_iter().flatten().map(|spec| &spec.restart);
        let once = rules().any(|rules| rules.policy != RestartPolicy::Always);
        let success = rules().any(|rules| rules.success_codes.contains(&code));
        self.gone && (!self.asked || self.leaving) && self.ready && once && success
    }
}
