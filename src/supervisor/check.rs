//! What must hold of the state between two steps, whatever happened. The simulation asks after every step.

use super::Supervisor;
use super::phase::Phase;
use super::slot::{Edge, Slot, Wanted};
use crate::types::{Cid, Time};

impl Supervisor {
    /// Looks for a contradiction in the state; the simulation, and nothing else, calls it.
    ///
    /// # Errors
    /// What contradicts what.
    pub fn check(&self) -> Result<(), String> {
        let slots = || self.slots.iter().flatten();
        let busy = slots().filter(|slot| slot.busy()).count();
        let unfinished = slots().filter(|slot| slot.unfinished()).count();
        if (busy, unfinished) != (self.busy, self.unfinished) {
            return Err(format!("counted {busy} busy and {unfinished} unfinished, kept {self:?}"));
        }
        if !self.dirty.is_empty() {
            return Err("a step ended with something left to do".to_owned());
        }
        for (index, slot) in self.slots.iter().enumerate() {
            let cid = Cid(u32::try_from(index).unwrap_or(u32::MAX));
            if let Some(slot) = slot {
                self.check_slot(cid, slot).map_err(|error| format!("{}: {error}", slot.spec.name))?;
            }
        }
        Ok(())
    }

    fn check_slot(&self, cid: Cid, slot: &Slot) -> Result<(), String> {
        let holds = |edge: &&Edge| self.orders(edge) && self.slot(edge.to).is_some_and(|other| other.holding);
        if slot.holders != slot.dependents.iter().filter(holds).count() || slot.holding != self.holds(slot) {
            return Err(format!("{} holders are miscounted", slot.holders));
        }
        if slot.armed != slot.deadline() {
            return Err("its deadline is not the one in the index".to_owned());
        }
        if slot.armed != Time::NEVER && !self.deadlines.contains(&(slot.armed, cid)) {
            return Err("its deadline is not in the index".to_owned());
        }
        if slot.shown.is_some_and(|shown| shown != slot.phase.state()) {
            return Err(format!("shown as {:?}, but it is {:?}", slot.shown, slot.phase.state()));
        }
        let resting = matches!(slot.phase, Phase::Waiting | Phase::Blocked | Phase::Backoff { .. });
        if resting && slot.wanted != Wanted::Up {
            return Err(format!("{:?}, but not wanted", slot.phase.state()));
        }
        if matches!(slot.phase, Phase::Held { .. }) && self.reexec.is_none() {
            return Err("it is held back for nothing".to_owned());
        }
        self.check_claims(cid, slot)?;
        if slot.wish.is_some() && !slot.phase.up() {
            return Err(format!("a wish outlived its run: {:?}", slot.wish));
        }
        Ok(())
    }
    /// Who waits for the end of a run is known on both sides, and there is such a run.
    fn check_claims(&self, cid: Cid, slot: &Slot) -> Result<(), String> {
        let runs = |other: &Slot| other.phase.run().is_some() && other.heirs.contains(&cid);
        if let Some(other) = slot.after.iter().find(|other| !self.slot(**other).is_some_and(runs)) {
            return Err(format!("it starts after {other:?}, which knows nothing of it or has no run"));
        }
        let waits = |heir: &&Cid| self.slot(**heir).is_some_and(|heir| !heir.after.contains(&cid));
        match slot.heirs.iter().find(waits) {
            Some(heir) => Err(format!("{heir:?} is its heir, and knows nothing of it")),
            None => Ok(()),
        }
    }
}
