//! The build gate: nothing runs that was not built, and what runs goes on until something better is built (contract,
//! section 3, "Builds").
//!
//! A build is an axis of its own beside the phase, for it runs while the old run goes on. Whether one is owed
//! (`due`) is all that the phases know of it: a start that comes upon that goes through `Phase::Building`.

use serde::{Deserialize, Serialize};

use super::Supervisor;
use super::phase::{Meanwhile, Phase};
use super::slot::{Slot, Why, Wish};
use super::tasks::{Beside, Quietly, Step, ToEnd};
use crate::plan::{Builds, Rebuild};
use crate::types::{Cid, TaskFailure};

/// Why one that waits for its build does.
pub(super) const BUILDING: &str = "its build is under way";

/// What is known of a component's builds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Build {
    pub(crate) beside: Beside,
    /// What was built last is not older than what there is to build, nor was another build asked for.
    pub(crate) done: bool,
    /// There is something that can run: it was built, or has run, since the component was stopped last.
    pub(crate) good: bool,
    /// What a good build leads to while a run is there.
    pub(crate) then: Option<Wish>,
    /// An edit has it start anew when its build is over, however that ends, if there is something that can run.
    pub(crate) sure: bool,
    /// How many have failed.
    pub(crate) failures: u64,
}

impl Slot {
    /// Whether its next start is preceded by a build.
    pub(crate) fn build_due(&self) -> bool {
        self.spec.build.is_some() && !self.build.done
    }

    /// How its last build failed, as long as it is not built well.
    pub(crate) fn build_failure(&self) -> Option<&TaskFailure> {
        self.build.beside.failed.as_ref().filter(|_| self.spec.build.is_some())
    }

    /// Whether it starts when its build is over, however that ends.
    pub(crate) fn starts_anyway(&self, meanwhile: &Meanwhile) -> bool {
        matches!(meanwhile, Meanwhile::Built) || (self.build.sure && self.build.good)
    }

    /// Whether a build of it is under way, or to come, and what it makes counts.
    pub(crate) fn is_being_built(&self) -> bool {
        let beside = &self.build.beside;
        match &beside.step {
            Step::Idle => false,
            Step::Settling { .. } => true,
            Step::Running(task) => beside.again || task.end == ToEnd::No,
        }
    }

    /// How often a build of it has failed, if that was the last word: another one is neither under way nor to come.
    pub(crate) fn refusals(&self) -> u64 {
        let idle = matches!(self.build.beside.step, Step::Idle);
        if idle && self.build_failure().is_some() { self.build.failures } else { 0 }
    }
}

impl Supervisor {
    /// How often a build of this component has failed. Whoever has commanded is refused when [`Glance::refused`]
    /// gets higher than this was before.
    ///
    /// [`Glance::refused`]: super::Glance::refused
    #[must_use]
    pub fn failed_builds(&self, cid: Cid) -> u64 {
        self.slot(cid).map_or(0, |slot| slot.build.failures)
    }

    /// A run is to end as soon as something newer is built.
    pub(super) fn build_for(&mut self, cid: Cid, why: Why, cause: u64) {
        let Some(slot) = self.slot_mut(cid) else { return };
        let anew = why == Why::Change;
        slot.build.done = false;
        slot.build.then = Some(Wish { why, cause: Some(cause) });
        self.call_task(cid, Quietly::Build, Some(cause), anew);
    }

    /// Nothing runs, and nothing is to before it is built; `cause` is what led to that.
    pub(super) fn build_first(&mut self, cid: Cid, meanwhile: Meanwhile, cause: Option<u64>) {
        if let Some(slot) = self.slot_mut(cid) {
            slot.meanwhile = None;
            slot.again = false;
        }
        self.enter(cid, Phase::Building(meanwhile), BUILDING, cause);
        let last = self.slot(cid).and_then(|slot| slot.last);
        self.call_task(cid, Quietly::Build, last, false);
    }

    /// A start comes upon a build that is due.
    pub(super) fn build_before_start(&mut self, cid: Cid) {
        let Some(slot) = self.slot(cid) else { return };
        let meanwhile = match &slot.phase {
            Phase::Backoff { until } => Meanwhile::Backoff { until: *until, reason: slot.reason.clone() },
            Phase::Completed => Meanwhile::Completed { reason: slot.reason.clone() },
            Phase::Failed => Meanwhile::Failed { reason: String::new() },
            _ if slot.build.good => Meanwhile::Built,
            _ => Meanwhile::Failed { reason: String::new() },
        };
        let waited = matches!(slot.phase, Phase::Waiting | Phase::Blocked);
        let latest = || self.latest(cid, slot.deps.iter().map(|edge| edge.to));
        let cause = if waited { latest() } else { slot.meanwhile };
        self.build_first(cid, meanwhile, cause);
    }

    /// A build has ended by itself, or there is none any more (`told`: the record of its end).
    pub(super) fn built(&mut self, cid: Cid, told: Option<u64>) {
        let Some(slot) = self.slot_mut(cid) else { return };
        slot.build.done = true;
        let then = slot.build.then.take();
        if slot.build.beside.failed.is_some() && told.is_some() {
            slot.build.failures += 1;
            // An edit of what is not built has only waited for the build to be over.
            if then.is_none() || !(slot.build.sure && slot.build.good) {
                return self.build_failed(cid);
            }
        } else {
            // One that was taken away has made nothing.
            slot.build.good |= told.is_some();
        }
        let Some(slot) = self.slot(cid) else { return };
        match &slot.phase {
            Phase::Building(meanwhile) => {
                let along = !slot.starts_anyway(meanwhile);
                self.start_built(cid, along);
            }
            Phase::Spawning(_) | Phase::Starting(_) | Phase::Ready(_) => {
                if let Some(Wish { why, cause }) = then {
                    let cause = told.or(cause);
                    self.wish(cid, why, cause);
                    self.take_dependents_along(cid, true, cause);
                }
            }
            Phase::Ending(_) | Phase::Sealing(_) => {
                if let (Some(wish), Some(slot)) = (then, self.slot_mut(cid)) {
                    let cause = told.or(wish.cause);
                    (slot.again, slot.meanwhile, slot.after_dependents) = (true, cause, true);
                    self.take_dependents_along(cid, true, cause);
                }
            }
            // It starts when it may, and what was built is new.
            Phase::Waiting | Phase::Blocked | Phase::Preparing(_) => {}
            Phase::Settling { .. } | Phase::Held { .. } => {}
            Phase::Stopped | Phase::Backoff { .. } | Phase::Completed | Phase::Failed => {}
        }
    }

    /// How the builds of a component stand, as an edit meets them.
    pub(super) fn builds(&self, slot: &Slot) -> Builds {
        match slot.phase {
            _ if self.unwanted(slot) => Builds::Rest,
            _ if slot.is_being_built() => Builds::Underway,
            _ if slot.build.beside.failed.is_none() => Builds::Rest,
            Phase::Failed => Builds::Fatal,
            _ => Builds::Failed,
        }
    }

    /// Does to the builds of a component what an edit does; what follows for its run comes after.
    pub(super) fn rebuild(&mut self, cid: Cid, rebuild: Rebuild, cause: u64) {
        let Some(slot) = self.slot_mut(cid) else { return };
        if slot.spec.build.is_none() {
            slot.build.beside.failed = None;
        }
        match rebuild {
            Rebuild::Nothing => {}
            Rebuild::Mended | Rebuild::First | Rebuild::Again => slot.build.done = false,
            Rebuild::Anew { .. } => {
                slot.build.done = false;
                self.call_task(cid, Quietly::Build, Some(cause), true);
            }
            Rebuild::Without => {
                (slot.build.beside.again, slot.build.then) = (false, None);
                self.end_task(cid, Quietly::Build);
            }
        }
    }

    /// An edit comes that restarts what waits for its build: without one it starts, and with one it will when that
    /// is over.
    pub(super) fn edited_while_built(&mut self, cid: Cid, cause: u64) {
        let Some(slot) = self.slot_mut(cid) else { return };
        let Phase::Building(meanwhile) = &slot.phase else { return };
        let along = !slot.starts_anyway(meanwhile);
        if slot.spec.build.is_none() {
            slot.last = Some(cause);
            self.start_built(cid, along);
        } else if slot.build.good && along {
            (slot.build.sure, slot.after_dependents) = (true, true);
            slot.ledger.overtaken();
            self.take_dependents_along(cid, true, Some(cause));
        }
    }

    /// Nothing ran, and now something good is there to start.
    fn start_built(&mut self, cid: Cid, along: bool) {
        if let Some(slot) = self.slot_mut(cid) {
            slot.ledger.overtaken();
            slot.after_dependents |= along;
        }
        if along {
            self.take_dependents_along(cid, true, None);
        }
        self.try_start(cid);
    }

    /// A build has failed: a first one leaves nothing to run; a later one leaves all as it is.
    fn build_failed(&mut self, cid: Cid) {
        let now = self.now;
        let Some(slot) = self.slot_mut(cid) else { return };
        let why =
            slot.build_failure().map(|failure| failed_because("its build", failure)).unwrap_or_default();
        let Phase::Building(meanwhile) = slot.phase.clone() else { return };
        match meanwhile {
            Meanwhile::Built => self.try_start(cid),
            _ if slot.starts_anyway(&meanwhile) => self.try_start(cid),
            Meanwhile::Backoff { until, reason } if until > now => {
                self.enter(cid, Phase::Backoff { until }, reason, None);
            }
            Meanwhile::Backoff { .. } => self.try_start(cid),
            Meanwhile::Completed { reason } => self.enter(cid, Phase::Completed, reason, None),
            Meanwhile::Failed { reason } => {
                slot.build.done = false;
                let before = if reason.is_empty() { String::new() } else { format!("{reason}; ") };
                self.fail_for_good(cid, format!("{before}{why}"));
            }
        }
    }
}

/// A failure of a task in words.
pub(super) fn failed_because(what: &str, failure: &TaskFailure) -> String {
    let place = failure.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
    format!("{what} failed: {}{place}", failure.reason)
}
