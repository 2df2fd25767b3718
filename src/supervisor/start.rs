//! From wanted to ready: dependencies, preparation, spawn, probe.

use std::sync::Arc;
use std::time::Duration;

use super::record::{Restored, Sealed, State, What};
use super::slot::{Edge, Phase, Run, Slot, Why};
use super::{Action, Supervisor};
use crate::config::model::{Component, Condition};
use crate::types::{Cid, RunId, Time};

/// So long the watcher's word is waited for: it has files to read.
const SIFTING: Duration = Duration::from_secs(1);

/// Whether a component may start.
enum Gate {
    Open,
    /// Not yet: why.
    Shut(String),
    /// Not until this one starts again.
    Blocked(Cid),
}

impl Supervisor {
    /// Starts a component if its files are quiet and its dependencies meet their conditions; else it waits.
    pub(super) fn start_or_settle(&mut self, cid: Cid) {
        let Some(slot) = self.slot(cid) else { return };
        if !slot.quiet.stirred() || self.unwanted(slot) {
            return self.try_start(cid);
        }
        let shown = slot.phase.state();
        let asked = slot.quiet.is(self.now).then(|| self.sift(cid));
        self.enter(cid, Phase::Settling { shown, asked }, "waiting for its files to be quiet", None);
    }

    /// Has the watcher tell of everything; gives the time until which it is waited for.
    fn sift(&mut self, cid: Cid) -> Time {
        self.out.push(Action::Sift { component: cid });
        self.now + SIFTING
    }

    /// The time has come at which files would be quiet, or the watcher's answer is overdue.
    pub(super) fn settled(&mut self, cid: Cid) {
        let Some(Phase::Settling { shown, asked }) = self.slot(cid).map(|slot| &slot.phase) else { return };
        let (shown, overdue) = (*shown, asked.is_some());
        if overdue {
            return self.try_start(cid);
        }
        let asked = Some(self.sift(cid));
        self.enter(cid, Phase::Settling { shown, asked }, "waiting for its files to be quiet", None);
    }

    /// The watcher has told of everything: the files are quiet, or they are not after all.
    pub(super) fn sifted(&mut self, cid: Cid) {
        let Some(slot) = self.slot(cid) else { return };
        let Phase::Settling { shown, asked: Some(_) } = slot.phase else { return };
        if slot.quiet.is(self.now) {
            return self.try_start(cid);
        }
        self.enter(cid, Phase::Settling { shown, asked: None }, "waiting for its files to be quiet", None);
    }

    /// Starts a component if its dependencies meet their conditions; else it waits.
    pub(super) fn try_start(&mut self, cid: Cid) {
        let Some(slot) = self.slot(cid) else { return };
        if self.unwanted(slot) {
            // At a shutdown, what was blocked stays so: it decides the exit code.
            let keeps = self.shutdown.is_some() && matches!(slot.phase, Phase::Blocked);
            if !(keeps && slot.wanted == super::Wanted::Up) {
                self.rest(cid);
            }
            return;
        }
        let deps: Vec<Cid> = slot.deps.iter().map(|edge| edge.to).collect();
        match self.start_gate(slot) {
            Gate::Open => self.begin(cid, &deps),
            Gate::Shut(reason) => {
                if !matches!(self.slot(cid).map(|slot| &slot.phase), Some(Phase::Waiting))
                    || self.slot(cid).is_some_and(|slot| slot.reason != reason)
                {
                    self.wait(cid, Phase::Waiting, reason, &deps);
                }
            }
            Gate::Blocked(by) => {
                let name = self.slot(by).map(|slot| slot.spec.name.to_string()).unwrap_or_default();
                if !matches!(self.slot(cid).map(|slot| &slot.phase), Some(Phase::Blocked)) {
                    self.wait(cid, Phase::Blocked, format!("{name} has failed"), &[by]);
                }
            }
        }
    }

    /// Enters a waiting phase; where only the reason is another, its neighbours need not know.
    fn wait(&mut self, cid: Cid, phase: Phase, reason: String, led_by: &[Cid]) {
        let cause = self.latest(cid, led_by.iter().copied());
        let same = self
            .slot(cid)
            .is_some_and(|slot| std::mem::discriminant(&slot.phase) == std::mem::discriminant(&phase));
        if same { self.show(cid, reason, cause) } else { self.enter(cid, phase, reason, cause) }
    }

    /// Guarantee 1: each dependency meets its condition now, in its present run.
    fn start_gate(&self, slot: &Slot) -> Gate {
        let mut shut = None;
        for edge in &slot.deps {
            let Some(other) = self.slot(edge.to) else { continue };
            if satisfied(other, *edge) {
                continue;
            }
            if matches!(other.phase, Phase::Failed | Phase::Blocked) {
                return Gate::Blocked(edge.to);
            }
            shut.get_or_insert_with(|| {
                let (name, state) = (&other.spec.name, other.phase.state());
                match edge.condition {
                    Condition::Started => format!("waiting for {name} to be started ({state})"),
                    Condition::Ready => format!("waiting for {name} to be ready ({state})"),
                    Condition::Completed => format!("waiting for {name} to complete ({state})"),
                }
            });
        }
        if let Some(reason) = shut {
            return Gate::Shut(reason);
        }
        if slot.after_dependents {
            let still = |edge: &&Edge| self.slot(edge.to).is_some_and(|other| goes_down_with(other, slot));
            if let Some(name) = slot.dependents.iter().find(still).and_then(|edge| self.slot(edge.to)) {
                return Gate::Shut(format!("waiting for {} to stop first", name.spec.name));
            }
        }
        Gate::Open
    }

    /// Whether a run that is prepared may still be spawned.
    fn may_spawn(&self, cid: Cid) -> bool {
        self.slot(cid).is_some_and(|slot| matches!(self.start_gate(slot), Gate::Open))
    }

    fn begin(&mut self, cid: Cid, deps: &[Cid]) {
        let cause = self.latest(cid, deps.iter().copied());
        let Some(slot) = self.slot_mut(cid) else { return };
        slot.incarnation += 1;
        slot.again = false;
        slot.after_dependents = false;
        slot.quiet.started();
        slot.status = None;
        let (id, spec) = (RunId { component: cid, incarnation: slot.incarnation }, Arc::clone(&slot.spec));
        let run = Run {
            id,
            spec: Arc::clone(&spec),
            pid: None,
            restored: None,
            spawned_at: self.now,
            ready_since: None,
            output_ended: false,
            probed: None,
        };
        self.enter(cid, Phase::Preparing(run), "starting", cause);
        self.out.push(Action::Prepare { run: id, spec });
    }

    pub(super) fn prepared(
        &mut self,
        cid: Cid,
        restored: Option<Restored>,
        rejected: Vec<String>,
        sealed: Option<Sealed>,
    ) {
        let Some(Phase::Preparing(run)) = self.slot(cid).map(|slot| &slot.phase) else { return };
        let mut run = run.clone();
        for reason in rejected {
            self.note(cid, None, What::StateRejected { reason });
        }
        if let Some(sealed) = sealed {
            self.note_sealed(cid, &sealed);
        }
        let Some(slot) = self.slot(cid) else { return };
        let edited = !same_start(&run.spec, &slot.spec);
        if self.unwanted(slot) || edited || !self.may_spawn(cid) {
            return self.take_back(cid);
        }
        if let Some(restored) = &restored {
            self.note(cid, None, What::StateRestored(restored.clone()));
        }
        let source = restored.as_ref().map(|restored| restored.source);
        run.restored = restored;
        let (id, spec) = (run.id, Arc::clone(&run.spec));
        self.enter(cid, Phase::Spawning(run), "starting", None);
        self.out.push(Action::Spawn { run: id, spec, restored: source });
    }

    /// What was prepared is not spawned after all: the number of the run is free again, and the component
    /// waits, rests, or is prepared as it is declared now.
    fn take_back(&mut self, cid: Cid) {
        self.take_state_back(cid);
        if let Some(slot) = self.slot_mut(cid) {
            slot.incarnation -= 1;
        }
        self.enter_quietly(cid, Phase::Waiting);
        self.try_start(cid);
    }

    fn take_state_back(&mut self, cid: Cid) {
        let run = self.slot(cid).and_then(|slot| slot.phase.run()).filter(|run| run.spec.state.is_some());
        if let Some(run) = run.map(|run| Action::TakeBack { run: run.id, spec: Arc::clone(&run.spec) }) {
            self.out.push(run);
        }
    }

    /// Enters a phase that is left again in the same step, so that nobody sees it.
    fn enter_quietly(&mut self, cid: Cid, phase: Phase) {
        let shown = self.slot(cid).and_then(|slot| slot.shown);
        if let Some(slot) = self.slot_mut(cid) {
            slot.shown = Some(phase.state());
        }
        self.enter(cid, phase, String::new(), None);
        if let Some(slot) = self.slot_mut(cid) {
            slot.shown = shown;
        }
    }

    /// The run could not be started: a failure like any other.
    pub(super) fn not_started(&mut self, cid: Cid, error: String) {
        let run = match self.slot(cid).map(|slot| &slot.phase) {
            Some(Phase::Preparing(run) | Phase::Spawning(run)) => run.clone(),
            _ => return,
        };
        self.take_state_back(cid);
        let Some(slot) = self.slot(cid) else { return };
        let wish = slot.wish.as_ref().map(|wish| wish.why.clone());
        if self.unwanted(slot) {
            return self.rest(cid);
        }
        if slot.again || wish.is_some_and(|why| why.starts_again()) || !same_start(&run.spec, &slot.spec) {
            return self.start_or_settle(cid);
        }
        self.failed_run(cid, &run.spec, Duration::ZERO, error);
    }

    pub(super) fn spawned(&mut self, cid: Cid, pid: Option<u32>) {
        let Some(Phase::Spawning(run)) = self.slot(cid).map(|slot| &slot.phase) else { return };
        let mut run = run.clone();
        run.pid = pid;
        run.spawned_at = self.now;
        self.note(cid, None, What::Spawned { pid });
        let (id, spec) = (run.id, Arc::clone(&run.spec));
        let probed = spec.ready.is_some();
        self.enter(cid, Phase::Starting(run), "starting", None);
        if self.shutdown.as_ref().is_some_and(|shutdown| shutdown.forced) {
            return self.force(cid);
        }
        if probed {
            self.out.push(Action::Probe { run: id, spec });
        } else {
            self.ready(cid);
        }
    }

    pub(super) fn ready(&mut self, cid: Cid) {
        let Some(Phase::Starting(run)) = self.slot(cid).map(|slot| &slot.phase) else { return };
        let mut run = run.clone();
        run.ready_since = Some(self.now);
        let waited = self.now.since(run.spawned_at);
        let used = match (&run.restored, run.spec.state.as_ref()) {
            (Some(restored), Some(state)) if state.once => Some(restored.generation),
            (Some(_) | None, Some(_) | None) => None,
        };
        let (id, spec) = (run.id, Arc::clone(&run.spec));
        let reason = if spec.ready.is_some() {
            format!("its probe succeeded after {} ms", waited.as_millis())
        } else {
            "it runs".to_owned()
        };
        self.enter(cid, Phase::Ready(run), reason, None);
        if let Some(generation) = used {
            self.out.push(Action::UseState { run: id, spec, generation });
        }
    }

    /// A probe did not succeed in time: a time-out never counts as ready.
    pub(super) fn not_ready_in_time(&mut self, cid: Cid) {
        let Some(Phase::Starting(run)) = self.slot(cid).map(|slot| &slot.phase) else { return };
        let timeout = run.spec.ready.as_ref().map(|ready| ready.timeout).unwrap_or_default();
        let last = run.probed.as_ref().map(|error| format!("; last try: {error}")).unwrap_or_default();
        let reason = format!("not ready within {} ms{last}", timeout.as_millis());
        self.end_now(cid, Why::NotReady(reason), None);
    }
}

/// Whether a dependency meets the condition of this edge. One that is to stop any moment does not; one that
/// has completed meets every condition.
fn satisfied(dependency: &Slot, edge: Edge) -> bool {
    match (&dependency.phase, edge.condition) {
        (Phase::Completed, _) => true,
        (Phase::Ready(_), Condition::Ready | Condition::Started) => dependency.wish.is_none(),
        (Phase::Starting(_), Condition::Started) => dependency.wish.is_none(),
        _ => false,
    }
}

/// Whether a dependent that still lives goes down because of this component.
fn goes_down_with(dependent: &Slot, of: &Slot) -> bool {
    let led = |why: &Why| matches!(why, Why::Dependency(name) if *name == of.spec.name);
    match &dependent.phase {
        Phase::Ending(ending) => !ending.gone && led(&ending.why),
        phase => phase.active() && dependent.wish.as_ref().is_some_and(|wish| led(&wish.why)),
    }
}

/// Whether two declarations start the same thing: what was prepared for one serves the other.
fn same_start(prepared: &Arc<Component>, declared: &Arc<Component>) -> bool {
    Arc::ptr_eq(prepared, declared) || prepared == declared
}

impl Supervisor {
    /// Records what became of a seal.
    pub(super) fn note_sealed(&mut self, cid: Cid, outcome: &Sealed) {
        match outcome {
            Sealed::Nothing => {}
            Sealed::Done { generation, source, bytes } => {
                let what = What::StateSealed { generation: *generation, source: *source, bytes: *bytes };
                self.note(cid, None, what);
            }
            Sealed::Rejected { reason } => {
                self.note(cid, None, What::StateRejected { reason: reason.clone() });
            }
        }
    }

    /// The state shown of a component.
    #[must_use]
    pub fn state(&self, cid: Cid) -> Option<State> {
        self.slot(cid).map(|slot| slot.phase.state())
    }
}
