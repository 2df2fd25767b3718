//! From wanted to ready: dependencies, preparation, spawn, probe.

use std::sync::Arc;
use std::time::Duration;

use super::health::Vitals;
use super::phase::{Ended, Phase, Probed, Run};
use super::record::{End, Restored, Sealed, State, What};
use super::slot::{Edge, Slot, Wanted, Why};
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
    /// Not until what has failed starts again: why.
    Blocked(String),
}

impl Supervisor {
    /// Starts a component if its files are quiet and its dependencies meet their conditions; else it waits.
    pub(super) fn start_or_settle(&mut self, cid: Cid) {
        let Some(slot) = self.slot(cid) else { return };
        if slot.quiet.stirred() && !self.unwanted(slot) && !slot.build_due() {
            self.settle_files(cid);
        } else {
            self.try_start(cid);
        }
    }

    /// Has the watcher tell of everything; gives the time until which it is waited for.
    pub(super) fn sift(&mut self, cid: Cid) -> Time {
        self.out.push(Action::Sift { component: cid });
        self.now + SIFTING
    }

    /// The time has come at which files would be quiet, or the watcher's answer is overdue.
    pub(super) fn settled(&mut self, cid: Cid) {
        match self.slot(cid).map(|slot| &slot.phase) {
            Some(Phase::Settling { asked: Some(_), .. }) => self.try_start(cid),
            Some(Phase::Settling { asked: None, .. }) => self.settle_files(cid),
            _ => {}
        }
    }

    /// The watcher has told of everything: the files are quiet, or they are not after all.
    pub(super) fn sifted(&mut self, cid: Cid) {
        self.tasks_sifted(cid);
        if matches!(self.slot(cid).map(|slot| &slot.phase), Some(Phase::Settling { asked: Some(_), .. })) {
            self.try_start(cid);
        }
    }

    /// Starts a component if its dependencies meet their conditions; else it waits.
    pub(super) fn try_start(&mut self, cid: Cid) {
        let Some(slot) = self.slot(cid) else { return };
        if self.unwanted(slot) {
            // At a shutdown, what was blocked stays so: it decides the exit code.
            let decides = slot.wanted == Wanted::Up && matches!(slot.phase, Phase::Blocked);
            if !decides {
                self.rest(cid);
            }
            return;
        }
        match self.start_gate(slot) {
            Gate::Open if self.holds_back(slot) => self.hold_back(cid),
            // The build is on its way, and comes back here.
            Gate::Open if slot.build_due() && matches!(slot.phase, Phase::Building(_)) => {}
            Gate::Open if slot.build_due() => self.build_before_start(cid),
            Gate::Open if slot.quiet.is(self.now) => self.begin(cid),
            Gate::Open => self.settle_files(cid),
            Gate::Shut(reason) => {
                self.take_in(cid);
                self.wait(cid, Phase::Waiting, reason);
            }
            Gate::Blocked(reason) => self.wait(cid, Phase::Blocked, reason),
        }
    }

    /// What is shown of a component that is to start but has to wait, other than for a dependency.
    pub(super) fn shown_meanwhile(slot: &Slot) -> State {
        match &slot.phase {
            // What blocked it is up again.
            Phase::Blocked => State::Waiting,
            // It is built.
            Phase::Building(_) => State::Starting,
            phase => phase.state(),
        }
    }

    /// Waits until its files are quiet, and the watcher has said so.
    fn settle_files(&mut self, cid: Cid) {
        let Some(slot) = self.slot(cid) else { return };
        let shown = Self::shown_meanwhile(slot);
        let asked = slot.quiet.is(self.now).then(|| self.sift(cid));
        self.enter(cid, Phase::Settling { shown, asked }, "waiting for its files to be quiet", None);
    }

    /// Enters a waiting phase; where only the reason is another, its neighbours need not know.
    fn wait(&mut self, cid: Cid, phase: Phase, reason: String) {
        let Some(slot) = self.slot(cid) else { return };
        if std::mem::discriminant(&slot.phase) == std::mem::discriminant(&phase) {
            return self.show(cid, reason, None);
        }
        let latest = || self.latest(cid, slot.deps.iter().map(|edge| edge.to));
        let cause = slot.meanwhile.or_else(latest);
        if let Some(slot) = self.slot_mut(cid) {
            slot.meanwhile = None;
        }
        self.enter(cid, phase, reason, cause);
    }

    /// What it needs is wanted with it, if nobody wanted it before (profiles, autostart).
    fn take_in(&mut self, cid: Cid) {
        let Some(slot) = self.slot(cid) else { return };
        let name = slot.spec.name.clone();
        // It may be let go only now by what had failed.
        let cause = slot.meanwhile.or_else(|| self.latest(cid, slot.deps.iter().map(|edge| edge.to)));
        let unchosen = |to: &Cid| self.slot(*to).is_some_and(|other| other.wanted == Wanted::Never);
        for needed in slot.deps.iter().map(|edge| edge.to).filter(unchosen).collect::<Vec<_>>() {
            let Some(other) = self.slot_mut(needed) else { continue };
            other.wanted = Wanted::Up;
            // One that is on its way out comes back when it is gone.
            other.again = true;
            if matches!(other.phase, Phase::Stopped) {
                self.enter(needed, Phase::Waiting, format!("{name} needs it"), cause);
            }
        }
    }

    /// Guarantee 1: each dependency meets its condition now, in its present run.
    fn start_gate(&self, slot: &Slot) -> Gate {
        let mut shut = None;
        for edge in &slot.deps {
            let Some(other) = self.slot(edge.to) else { continue };
            if satisfied(other, *edge) {
                continue;
            }
            let (name, state) = (&other.spec.name, unmet(other));
            if matches!(other.phase, Phase::Failed) {
                return Gate::Blocked(format!("{name} has failed"));
            }
            if matches!(other.phase, Phase::Blocked) {
                return Gate::Blocked(format!("{name} is blocked"));
            }
            shut.get_or_insert_with(|| match edge.condition {
                Condition::Started => format!("waiting for {name} to be started ({state})"),
                Condition::Ready => format!("waiting for {name} to be ready ({state})"),
                Condition::Completed => format!("waiting for {name} to complete ({state})"),
            });
        }
        if let Some(reason) = shut {
            return Gate::Shut(reason);
        }
        if let Some(other) = slot.after.first().and_then(|other| self.slot(*other)) {
            return Gate::Shut(format!("waiting for {} to stop first", other.spec.name));
        }
        if slot.after_dependents {
            let still = |edge: &&Edge| edge.restart && self.slot(edge.to).is_some_and(Slot::goes_down);
            if let Some(name) = slot.dependents.iter().find(still).and_then(|edge| self.slot(edge.to)) {
                return Gate::Shut(format!("waiting for {} to stop first", name.spec.name));
            }
        }
        Gate::Open
    }

    fn begin(&mut self, cid: Cid) {
        let Some(slot) = self.slot(cid) else { return };
        // What waited was let go by a dependency.
        let waited = matches!(slot.phase, Phase::Waiting | Phase::Blocked);
        let latest = || self.latest(cid, slot.deps.iter().map(|edge| edge.to));
        let cause = if waited { latest() } else { slot.meanwhile };
        let Some(slot) = self.slot_mut(cid) else { return };
        slot.incarnation += 1;
        slot.ledger.begun();
        slot.again = false;
        slot.meanwhile = None;
        slot.after_dependents = false;
        slot.quiet.started();
        (slot.build.then, slot.build.sure) = (None, false);
        slot.status = None;
        let (id, spec) = (RunId { component: cid, incarnation: slot.incarnation }, Arc::clone(&slot.spec));
        let run = Run {
            id,
            spec: Arc::clone(&spec),
            pid: None,
            restored: None,
            spawned_at: self.now,
            ready_since: None,
            ask_at: Time::NEVER,
            output_ended: false,
            ready_by: Time::NEVER,
            says_ready: false,
            left: None,
            reloading: None,
            vitals: Vitals::of(&spec),
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
        self.note_found(cid, rejected, sealed);
        let Some(slot) = self.slot(cid) else { return };
        let current = same_start(&run.spec, &slot.spec) && slot.quiet.is(self.now) && !slot.build_due();
        let open = matches!(self.start_gate(slot), Gate::Open) && !self.holds_back(slot);
        if self.unwanted(slot) || !current || !open {
            run.restored = restored;
            let ended = Ended { run, why: Why::TakenBack, exit: None, hung: false, end: End::Ordered };
            return self.seal(cid, ended);
        }
        if let Some(slot) = self.slot_mut(cid) {
            slot.again = false;
            // What came while it was prepared is in this run, and leads to no other one.
            slot.meanwhile = None;
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

    /// Records what the search for a state has come upon.
    fn note_found(&mut self, cid: Cid, rejected: Vec<String>, sealed: Option<Sealed>) {
        for reason in rejected {
            self.note(cid, None, What::StateRejected { reason });
        }
        if let Some(sealed) = sealed {
            self.note_sealed(cid, &sealed);
        }
    }

    /// The run could not be started, for it has to have a state, and there is none.
    pub(super) fn state_lost(
        &mut self,
        cid: Cid,
        error: String,
        rejected: Vec<String>,
        sealed: Option<Sealed>,
    ) {
        if matches!(self.slot(cid).map(|slot| &slot.phase), Some(Phase::Preparing(_))) {
            self.note_found(cid, rejected, sealed);
            self.not_started(cid, error);
        }
    }

    /// The run could not be started: a failure like any other.
    pub(super) fn not_started(&mut self, cid: Cid, error: String) {
        let Some(slot) = self.slot_mut(cid) else { return };
        let (run, prepared) = match &slot.phase {
            Phase::Preparing(run) => (run.clone(), false),
            Phase::Spawning(run) => (run.clone(), true),
            _ => return,
        };
        let outdated = slot.wish.as_ref().is_some_and(|wish| wish.why.starts_again());
        slot.again |= outdated || !same_start(&run.spec, &slot.spec);
        let ended = Ended { run, why: Why::NotStarted(error), exit: None, hung: false, end: End::Ordered };
        if prepared { self.seal(cid, ended) } else { self.conclude(cid, &ended) }
    }

    pub(super) fn spawned(&mut self, cid: Cid, pid: Option<u32>) {
        let Some(Phase::Spawning(run)) = self.slot(cid).map(|slot| &slot.phase) else { return };
        let mut run = run.clone();
        // It may have named another leader already.
        run.pid = run.pid.or(pid);
        run.spawned_at = self.now;
        run.ready_by = run.spec.ready.as_ref().map_or(Time::NEVER, |ready| self.now + ready.timeout);
        let says_ready = run.says_ready;
        self.note(cid, None, What::Spawned { pid });
        if let Some(slot) = self.slot_mut(cid) {
            slot.started = slot.last;
            // What runs can run again; and where nothing was to be built, there is nothing to make up for.
            slot.build.good = true;
            slot.build.done |= run.spec.build.is_none();
        }
        let (id, spec) = (run.id, Arc::clone(&run.spec));
        let probed = spec.ready.is_some();
        self.enter(cid, Phase::Starting(run), "starting", None);
        if let Some(shutdown) = self.shutdown.as_ref().filter(|shutdown| shutdown.forced) {
            let cause = shutdown.seq;
            return self.force(cid, "everything is force-killed", Some(cause));
        }
        if probed && !says_ready {
            self.out.push(Action::Probe { run: id, spec });
        } else {
            self.ready(cid);
        }
    }

    pub(super) fn ready(&mut self, cid: Cid) {
        let Some(Phase::Starting(run)) = self.slot(cid).map(|slot| &slot.phase) else { return };
        let mut run = run.clone();
        run.ready_since = Some(self.now);
        run.ask_at = self.next_ask(&run.spec);
        let waited = self.now.since(run.spawned_at);
        // Also with `once: false`: what is used is given again then, but no longer before what came after it.
        let used = run.restored.as_ref().map(|restored| restored.generation);
        let (id, spec) = (run.id, Arc::clone(&run.spec));
        let reason = if spec.ready.is_some() {
            format!("its probe succeeded after {} ms", waited.as_millis())
        } else {
            "it runs".to_owned()
        };
        self.enter(cid, Phase::Ready(run), reason, None);
        self.watch_over(cid);
        if let Some(generation) = used {
            self.out.push(Action::UseState { run: id, spec, generation });
        }
        // Nobody has been named in its place: it was the main process.
        self.left_counts(cid);
    }

    /// A try of a probe failed.
    pub(super) fn not_yet(&mut self, cid: Cid, error: String, tries: u32) {
        let at = self.now;
        self.with_run(cid, |run| {
            let before = run.probed.take().map(|met| (met.error == error, met));
            // Tries that were not told of met the same as those before them.
            let row = match &before {
                Some((true, met)) => met.row.saturating_add(tries.saturating_sub(met.tries)),
                Some((false, _)) => 1,
                None => tries,
            };
            run.probed = Some(Probed { error, row: row.max(1), tries, at });
        });
    }

    /// A probe did not succeed in time: a time-out never counts as ready.
    pub(super) fn not_ready_in_time(&mut self, cid: Cid) {
        let Some(Phase::Starting(run)) = self.slot(cid).map(|slot| &slot.phase) else { return };
        let timeout = run.ready_by.since(run.spawned_at);
        let last = run.probed.as_ref().map(|met| format!("; last try: {}", met.error)).unwrap_or_default();
        let reason = format!("not ready within {} ms{last}", timeout.as_millis());
        self.end_now(cid, Why::NotReady(reason), None);
    }
}

/// Whether a dependency meets the condition of this edge. One that is to stop any moment does not; one that
/// has completed meets every condition.
pub(super) fn satisfied(dependency: &Slot, edge: Edge) -> bool {
    let runs = match &dependency.phase {
        Phase::Completed => return true,
        Phase::Ready(run) => match edge.condition {
            Condition::Started => true,
            Condition::Ready => run.reloading.is_none(),
            Condition::Completed => false,
        },
        Phase::Starting(_) => edge.condition == Condition::Started,
        Phase::Preparing(_) | Phase::Spawning(_) | Phase::Ending(_) | Phase::Sealing(_) => false,
        Phase::Stopped | Phase::Waiting | Phase::Blocked | Phase::Building(_) => false,
        Phase::Settling { .. } | Phase::Held { .. } => false,
        Phase::Backoff { .. } | Phase::Failed => false,
    };
    runs && dependency.wish.is_none()
}

/// How it is with a dependency that does not meet a condition, in a word: one that is shown as what it was may be on its
/// way to something else.
fn unmet(dependency: &Slot) -> &'static str {
    match &dependency.phase {
        Phase::Starting(_) | Phase::Ready(_) if dependency.wish.is_some() => "about to be stopped",
        Phase::Ready(run) if run.reloading.is_some() => "reloading",
        Phase::Settling { .. } | Phase::Held { .. } => "about to start",
        phase => phase.state().word(),
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
