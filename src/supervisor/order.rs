//! Guarantee 2: in an ordered stop, a component is told to stop only when all that depend on it are gone,
//! also those that depend on it by way of one that is gone itself.
//!
//! A component *holds* what it depends on while it lives, and while it is held itself. Each counts its
//! holders, and a change is passed on along the edges: asking costs nothing, also in a long chain.

use super::Supervisor;
use super::phase::Phase;
use super::slot::{Edge, Slot};
use crate::config::model::Condition;
use crate::types::Cid;

impl Supervisor {
    /// Whether an edge counts for the order of a stop. A stop by command, or by an edit, leaves alone what
    /// wanted an end only, and has got it.
    pub(super) fn orders(&self, edge: &Edge) -> bool {
        self.shutdown.is_some() || edge.condition != Condition::Completed
    }

    /// Whether a component holds what it depends on. One that has completed needs nothing any more; but a
    /// shutdown goes through the whole graph in reverse.
    pub(super) fn holds(&self, slot: &Slot) -> bool {
        let through = self.shutdown.is_some() || !matches!(slot.phase, Phase::Completed);
        slot.phase.present() || (slot.holders > 0 && through)
    }

    /// Tells what a component depends on whether it holds it, if that has changed.
    pub(super) fn pass_hold(&mut self, cid: Cid) {
        let mut changed = vec![cid];
        while let Some(cid) = changed.pop() {
            let Some(slot) = self.slot(cid) else { continue };
            let holds = self.holds(slot);
            if slot.holding == holds {
                continue;
            }
            let held: Vec<Cid> =
                slot.deps.iter().filter(|edge| self.orders(edge)).map(|edge| edge.to).collect();
            if let Some(slot) = self.slot_mut(cid) {
                slot.holding = holds;
            }
            for to in held {
                let Some(other) = self.slot_mut(to) else { continue };
                other.holders = if holds { other.holders + 1 } else { other.holders.saturating_sub(1) };
                if other.holders == 0 {
                    self.dirty.insert(to);
                }
                changed.push(to);
            }
        }
    }

    /// Counts anew, when other edges count than before.
    pub(super) fn recount(&mut self) {
        for slot in self.slots.iter_mut().flatten() {
            (slot.holders, slot.holding) = (0, false);
        }
        for cid in self.cids() {
            self.pass_hold(cid);
        }
    }

    /// Takes a component that is to be forgotten out of the count.
    pub(super) fn release(&mut self, cid: Cid) {
        if let Some(slot) = self.slot_mut(cid) {
            slot.holders = 0;
        }
        self.pass_hold(cid);
    }
}
