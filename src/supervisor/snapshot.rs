//! Snapshots: the state of a component that runs on (contract, section 5; `state.snapshot`).

use std::sync::Arc;

use super::phase::Phase;
use super::slot::Slot;
use super::{Action, Supervisor};
use crate::config::model::Component;
use crate::types::{Cid, Time};

impl Supervisor {
    /// A running component has put a whole state file in place: a crash then costs what comes after it.
    pub(super) fn replaced(&mut self, cid: Cid) {
        let Some(slot) = self.slot(cid) else { return };
        let run = match &slot.phase {
            Phase::Starting(run) | Phase::Ready(run) => run,
            // What it writes on its way out is sealed when it is gone.
            _ => return,
        };
        if run.spec.state.is_some() {
            let (run, spec) = (run.id, Arc::clone(&run.spec));
            self.out.push(Action::Snapshot { run, spec });
        }
    }

    /// When a component that runs as declared here is to be asked for its state next.
    pub(super) fn next_ask(&self, spec: &Component) -> Time {
        let snapshot = spec.state.as_ref().and_then(|state| state.snapshot.as_ref());
        snapshot.map_or(Time::NEVER, |snapshot| self.now + snapshot.every)
    }

    /// It is time to ask.
    pub(super) fn ask_state(&mut self, cid: Cid) {
        let Some(slot) = self.slot(cid) else { return };
        let snapshot = slot.spec.state.as_ref().and_then(|state| state.snapshot.clone());
        let next = self.next_ask(&slot.spec);
        let Some(slot) = self.slot_mut(cid) else { return };
        let Phase::Ready(run) = &mut slot.phase else { return };
        if run.ask_at > next {
            return;
        }
        run.ask_at = next;
        let run = run.id;
        if let Some(snapshot) = snapshot {
            self.out.push(Action::AskState { run, signal: snapshot.signal });
        }
    }

    /// An edit may have changed how often a component is asked for its state.
    pub(super) fn re_ask(&mut self, cid: Cid, before: &Component) {
        let snapshot = |spec: &Component| spec.state.as_ref().and_then(|state| state.snapshot.clone());
        let Some(slot) = self.slot(cid) else { return };
        if snapshot(before) == snapshot(&slot.spec) {
            return;
        }
        let next = self.next_ask(&slot.spec);
        if let Some(Slot { phase: Phase::Ready(run), .. }) = self.slot_mut(cid) {
            run.ask_at = next;
        }
        self.rearm(cid);
    }
}
