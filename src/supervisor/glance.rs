//! The little of a component that is asked again and again, while somebody waits for it: made without copying
//! a text, and for all components at the cost of one look at each.

use std::collections::BTreeSet;

use super::phase::Phase;
use super::record::State;
use super::slot::Wanted;
use super::start::satisfied;
use super::view::Standing;
use super::{Edge, Supervisor};
use crate::types::Cid;

/// How a component is, at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    /// Its state.
    pub state: State,
    /// How far it is.
    pub standing: Standing,
    /// The number of its last run; 0 before the first.
    pub incarnation: u64,
    /// How many builds of it have failed, if that is the last word: another one is neither under way nor to come.
    /// Else 0.
    pub refused: u64,
}

/// Which components are [`Standing::Held`], as of now.
#[derive(Debug, Clone, Default)]
pub struct HeldNow(BTreeSet<Cid>);

impl Supervisor {
    /// All that wait, directly or by way of others that wait, for one that a command has stopped.
    #[must_use]
    pub fn held(&self) -> HeldNow {
        let mut held = BTreeSet::new();
        let stopped = |cid: &Cid| {
            let slot = self.slot(*cid);
            slot.is_some_and(|slot| matches!(slot.phase, Phase::Stopped) && slot.wanted == Wanted::Down)
        };
        let mut stack: Vec<Cid> = self.names.values().copied().filter(stopped).collect();
        while let Some(cid) = stack.pop() {
            let Some(slot) = self.slot(cid) else { continue };
            for edge in &slot.dependents {
                let waits = self.slot(edge.to).is_some_and(|it| matches!(it.phase, Phase::Waiting));
                if waits && !satisfied(slot, Edge { to: cid, ..*edge }) && held.insert(edge.to) {
                    stack.push(edge.to);
                }
            }
        }
        HeldNow(held)
    }

    /// One component; `None` when it is no more. `held` was made since the last step.
    #[must_use]
    pub fn glance(&self, cid: Cid, held: &HeldNow) -> Option<Glance> {
        let slot = self.slot(cid)?;
        let standing = self.standing_where(cid, || held.0.contains(&cid))?;
        let (incarnation, refused) = (slot.incarnation, slot.refusals());
        Some(Glance { state: slot.phase.state(), standing, incarnation, refused })
    }
}
