//! L3, the core: every decision about every component, in one deterministic state machine.
//!
//! [`Supervisor::step`] takes `now` and one [`Event`] and gives the [`Action`]s that follow, in order. There
//! is no clock in here, no I/O and no task; what must happen later is a deadline in the state, and the
//! driver sleeps until [`Supervisor::next_deadline`]. Whatever the world does, the core can't fail: what
//! goes wrong outside comes back as an event.
//!
//! # One component
//!
//! ```text
//!            ┌────────────────────────── restart ───────────────────────────┐
//!            ▼                                                              │
//! Stopped → Waiting → Preparing → Spawning → Starting → Ready ──┐           │
//!            ▲  │        (state,   (the call)  (probe)          ▼           │
//!            │  ▼       address)      │          │           Ending ──→ Sealing ──→ Settling
//!            │ Blocked                └──────────┴────────→ (asked, killed,      (files quiet)
//!            │                                               draining)  │
//!            └── Backoff ◀──────────────────────────────────────────────┼──→ Completed, Failed, Stopped
//! ```
//!
//! `Ending` holds everything from the first wish of an end to the last byte of output: who was asked, who
//! was force-killed, what is still awaited. A run that ends by itself goes through it, too, for its unit may
//! outlive its leader. Nothing is started in a slot that is not out of it: that is guarantee 3.
//!
//! A component with a `build` goes through `Building` where a start comes upon a build that is due; while a run is
//! there, it is built beside that (`builds`).
//!
//! # The graph
//!
//! A start waits in `Waiting` until every edge is satisfied. A stop is first a *wish*, which becomes an
//! `Ending` when those that must be gone before are gone. Each change of a phase marks its neighbours
//! dirty; a step ends when nothing is dirty any more. A step costs what it touches, not what there is.
//!
//! # Staleness
//!
//! Every answer of an effect carries its [`RunId`]. An answer about another run than the slot's present one
//! changes nothing.

mod action;
mod affected;
mod builds;
mod change;
mod check;
mod claim;
mod command;
mod edit;
mod ending;
mod event;
mod explain;
mod glance;
mod ground;
mod health;
mod notices;
mod order;
mod outcome;
mod phase;
mod quiet;
mod record;
mod reexec;
mod replay;
mod restart;
mod rng;
mod sentences;
mod shutdown;
mod slot;
mod snapshot;
mod start;
mod stopping;
mod task_ends;
mod tasks;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use action::Action;
pub use affected::{Affected, Effect};
pub use event::{Command, Event, RunEvent};
pub use explain::{Awaited, Awaits, Course, Explanation, Probing, Restarts};
pub use glance::{Glance, HeldNow};
pub use record::{End, Record, Restored, Sealed, Source, State, What};
pub use replay::{Recorded, Replay};
pub use sentences::sentences;
pub use view::{Standing, View};

use serde::{Deserialize, Serialize};

use crate::config::model::Project;
use crate::types::{Cid, Name, RunId, Time};
use phase::Phase;
use reexec::Reexec;
use rng::Rng;
use shutdown::Shutdown;
use slot::{Edge, Slot, Wanted};

/// What the core is made from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    /// What is declared.
    pub project: Arc<Project>,
    /// Which components run by themselves (profiles, autostart).
    pub chosen: BTreeSet<Name>,
    /// Whether files are watched: a watched component keeps the project going.
    pub watching: bool,
    /// Whether orch may replace its own image, to be rid of a thread that does not return.
    pub may_reexec: bool,
    /// The number of the last run of each component in earlier lives of the state directory.
    pub incarnations: BTreeMap<Name, u64>,
    /// The `seq` of the first record.
    pub first_seq: u64,
    /// For jitter.
    pub seed: u64,
}

/// The state of the whole project. Cloning it is a snapshot; written out and read in again, it goes on in
/// another image of orch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Supervisor {
    project: Arc<Project>,
    /// How many declarations there have been: the first, and one more with each edit.
    generation: u64,
    watching: bool,
    incarnations: BTreeMap<Name, u64>,
    slots: Vec<Option<Slot>>,
    names: BTreeMap<Name, Cid>,
    deadlines: BTreeSet<(Time, Cid)>,
    #[serde(skip)]
    dirty: BTreeSet<Cid>,
    /// How many slots wait for an effect's answer, and how many have something to come.
    busy: usize,
    unfinished: usize,
    shutdown: Option<Shutdown>,
    /// Whether orch may replace its own image, to be rid of a thread that does not return.
    may_reexec: bool,
    reexec: Option<Reexec>,
    exited: bool,
    now: Time,
    seq: u64,
    rng: Rng,
    #[serde(skip)]
    out: Vec<Action>,
}

impl Supervisor {
    /// The core, before [`Event::Up`]. The project is valid: its names are unique, its graph has no cycle.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let mut core = Self {
            project: Arc::clone(&setup.project),
            generation: 1,
            watching: setup.watching,
            incarnations: setup.incarnations,
            slots: Vec::with_capacity(setup.project.components.len()),
            names: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            dirty: BTreeSet::new(),
            busy: 0,
            unfinished: 0,
            shutdown: None,
            may_reexec: setup.may_reexec,
            reexec: None,
            exited: false,
            now: Time::default(),
            seq: setup.first_seq,
            rng: Rng::new(setup.seed),
            out: Vec::new(),
        };
        for spec in &setup.project.components {
            core.add(Arc::clone(spec), &setup.chosen);
        }
        core.connect();
        core
    }

    /// Takes one event at `now`, and gives what is to be done, in order. `now` never goes back; an earlier
    /// one counts as the last.
    pub fn step(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.now = self.now.max(now);
        if !self.exited {
            self.listen_first();
            self.take(event);
            self.settle();
            // What is due may make more due at once: time-outs of zero are valid.
            while self.expire_due() {
                self.settle();
            }
            self.go_on_with_reexec();
            self.end_if_over();
        }
        std::mem::take(&mut self.out)
    }

    /// When time alone changes something; `None`: never.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let slots = self.deadlines.first().map(|(time, _)| *time);
        let shutdown = self.shutdown.as_ref().and_then(Shutdown::deadline);
        let reexec = self.reexec.as_ref().and_then(Reexec::deadline);
        [slots, shutdown, reexec].into_iter().flatten().min()
    }

    /// Whether a shutdown has begun.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.shutdown.is_some()
    }

    /// What is declared, as last edited.
    #[must_use]
    pub fn project(&self) -> &Arc<Project> {
        &self.project
    }

    /// The number of what is declared: 1 at first, and one more with each edit that was applied.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The slot of a component.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Cid> {
        self.names.get(name).copied()
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Up => self.bring_up(),
            Event::Deadline => {}
            Event::Run(run, event) => self.answer(run, event),
            Event::Task(task, end) => self.task_ended(task, end),
            Event::Changed { component, paths } => self.changed(component, paths),
            Event::Busy { component } => self.touched(component),
            Event::Sifted { component } => self.sifted(component),
            Event::Edit { project, chosen } => self.edit(project, &chosen),
            Event::EditRejected { errors } => {
                self.record(None, None, What::ConfigRejected { errors });
            }
            Event::Command(command) => self.command(command),
            Event::Reexeced => self.reexeced(),
            Event::ReexecFailed { error } => self.reexec_failed(error),
        }
    }

    fn bring_up(&mut self) {
        let root = self.record(None, None, What::ProjectUp);
        // Those that need nothing first: then nobody is said to wait for what is only about to be looked at.
        let (mut free, needy): (Vec<Cid>, Vec<Cid>) =
            self.cids().into_iter().partition(|cid| self.slot(*cid).is_some_and(|slot| slot.deps.is_empty()));
        free.extend(needy);
        for cid in free {
            let Some(slot) = self.slot_mut(cid) else { continue };
            slot.last = Some(root);
            let (spec, up) = (Arc::clone(&slot.spec), slot.wanted == Wanted::Up);
            self.out.push(Action::Observe { component: cid, spec });
            if up {
                self.try_start(cid);
            }
        }
    }

    /// An effect's answer, if it is about the present run.
    fn answer(&mut self, run: RunId, event: RunEvent) {
        let present = self.slot(run.component).and_then(|slot| slot.phase.run()).map(|run| run.id);
        if present != Some(run) {
            return;
        }
        let cid = run.component;
        match event {
            RunEvent::Prepared { restored, rejected, sealed } => {
                self.prepared(cid, restored, rejected, sealed);
            }
            RunEvent::StateLost { error, rejected, sealed } => {
                self.state_lost(cid, error, rejected, sealed);
            }
            RunEvent::PrepareFailed { error } | RunEvent::SpawnFailed { error } => {
                self.not_started(cid, error)
            }
            RunEvent::Spawned { pid } => self.spawned(cid, pid),
            RunEvent::Ready => self.ready(cid),
            RunEvent::NotYet { error, tries } => self.not_yet(cid, error, tries),
            RunEvent::Status { text } => {
                if let Some(slot) = self.slot_mut(cid) {
                    slot.status = Some(text);
                }
            }
            RunEvent::Exited(exit) => self.leader_ended(cid, exit),
            RunEvent::Gone => self.unit_gone(cid),
            RunEvent::Lost => self.lost(cid),
            RunEvent::OutputEnded => self.output_ended(cid),
            RunEvent::Killed { pids } => self.killed(cid, pids),
            RunEvent::Unkillable => self.unkillable(cid),
            RunEvent::Sealed(outcome) => self.sealed(cid, &outcome),
            RunEvent::Replaced => self.replaced(cid),
            RunEvent::Snapshot(outcome) => self.note_sealed(cid, &outcome),
            RunEvent::Unwell { asked, error } => self.unwell(cid, asked, error),
            RunEvent::Well { asked } => self.well(cid, asked),
            RunEvent::Notice(notice) => self.noticed(cid, notice),
        }
    }

    /// Lets happen what is due; whether anything was.
    fn expire_due(&mut self) -> bool {
        let mut any = false;
        if self.shutdown.as_ref().and_then(Shutdown::deadline).is_some_and(|at| at <= self.now) {
            self.force_all("the shutdown took longer than shutdown_timeout");
            any = true;
        }
        while let Some((_, cid)) = self.deadlines.first().copied().filter(|(time, _)| *time <= self.now) {
            any = true;
            self.deadlines.pop_first();
            if let Some(slot) = self.slot_mut(cid) {
                slot.armed = Time::NEVER;
            }
            self.expire(cid);
            self.rearm(cid);
        }
        any
    }

    /// Lets every consequence happen.
    fn settle(&mut self) {
        while let Some(cid) = self.dirty.pop_first() {
            self.drive(cid);
        }
    }

    /// Does what the present facts ask of one component.
    fn drive(&mut self, cid: Cid) {
        let Some(slot) = self.slot(cid) else { return };
        let unwanted = self.unwanted(slot);
        match &slot.phase {
            Phase::Waiting | Phase::Blocked => self.try_start(cid),
            Phase::Starting(_) | Phase::Ready(_) => self.stop_if_free(cid),
            Phase::Backoff { .. } | Phase::Settling { .. } | Phase::Held { .. } if unwanted => self.rest(cid),
            Phase::Building(_) if unwanted => self.rest(cid),
            Phase::Stopped | Phase::Completed | Phase::Failed if slot.wanted == Wanted::Removed => {
                if slot.tasks().next().is_none() {
                    self.forget(cid);
                }
            }
            Phase::Building(_) | Phase::Backoff { .. } | Phase::Settling { .. } | Phase::Held { .. } => {}
            Phase::Stopped | Phase::Completed | Phase::Failed => {}
            Phase::Preparing(_) | Phase::Spawning(_) | Phase::Ending(_) | Phase::Sealing(_) => {}
        }
    }
}
