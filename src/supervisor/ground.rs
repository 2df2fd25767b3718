//! The ground that all rules stand on: slots, phases, deadlines, records.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::phase::{Phase, Run};
use super::record::{Record, What};
use super::slot::{Edge, Slot, Wanted};
use super::tasks::Quietly;
use super::{Action, Supervisor};
use crate::config::model::Component;
use crate::types::{Cid, Name, Time};

impl Supervisor {
    pub(super) fn slot(&self, cid: Cid) -> Option<&Slot> {
        self.slots.get(cid.index()).and_then(Option::as_ref)
    }

    pub(super) fn slot_mut(&mut self, cid: Cid) -> Option<&mut Slot> {
        self.slots.get_mut(cid.index()).and_then(Option::as_mut)
    }

    pub(super) fn cids(&self) -> Vec<Cid> {
        self.names.values().copied().collect()
    }

    pub(super) fn add(&mut self, spec: Arc<Component>, chosen: &BTreeSet<Name>) -> Cid {
        let cid = Cid(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        let wanted = if chosen.contains(&spec.name) { Wanted::Up } else { Wanted::Never };
        let last = self.incarnations.get(&spec.name).copied().unwrap_or(0);
        self.names.insert(spec.name.clone(), cid);
        self.slots.push(Some(Slot::new(spec, last, wanted)));
        cid
    }

    /// Draws every edge anew from what the slots declare.
    pub(super) fn connect(&mut self) {
        let mut backward: Vec<Vec<Edge>> = vec![Vec::new(); self.slots.len()];
        for (index, place) in self.slots.iter_mut().enumerate() {
            let Some(slot) = place else { continue };
            let from = Cid(u32::try_from(index).unwrap_or(u32::MAX));
            let edges = slot.spec.depends_on.iter().filter_map(|dependency| {
                let to = *self.names.get(&dependency.name)?;
                Some(Edge { to, condition: dependency.condition, restart: dependency.restart })
            });
            slot.deps = edges.collect();
            for edge in &slot.deps {
                backward[edge.to.index()].push(Edge { to: from, ..*edge });
            }
        }
        for (place, dependents) in self.slots.iter_mut().zip(backward) {
            if let Some(slot) = place {
                slot.dependents = dependents;
                slot.gate = 0;
            }
        }
        self.recount();
    }

    pub(super) fn unwanted(&self, slot: &Slot) -> bool {
        slot.wanted != Wanted::Up || self.shutdown.is_some()
    }

    pub(super) fn with_run(&mut self, cid: Cid, change: impl FnOnce(&mut Run)) {
        if let Some(run) = self.slot_mut(cid).and_then(|slot| slot.phase.run_mut()) {
            change(run);
        }
    }

    /// Puts a component into a phase: counts it, arms its deadline, shows its state, wakes its neighbours.
    pub(super) fn enter(&mut self, cid: Cid, phase: Phase, reason: impl Into<String>, cause: Option<u64>) {
        let Some(slot) = self.slots.get_mut(cid.index()).and_then(Option::as_mut) else { return };
        let before = std::mem::replace(&mut slot.phase, phase);
        if !slot.phase.up() {
            slot.wish = None;
        }
        // A run that is being prepared is another one than before.
        let over = before.run().is_some() && (slot.phase.run().is_none() || slot.phase.is_new());
        self.left(cid, &before);
        self.count(cid);
        self.pass_hold(cid);
        self.wake(cid);
        self.show(cid, reason.into(), cause);
        if over {
            self.bequeath(cid);
        }
    }

    /// Counts a component among the busy and the unfinished, or no more.
    pub(super) fn count(&mut self, cid: Cid) {
        let Some(slot) = self.slots.get_mut(cid.index()).and_then(Option::as_mut) else { return };
        let now = (slot.busy(), slot.unfinished());
        let before = std::mem::replace(&mut slot.counted, now);
        self.busy = self.busy + usize::from(now.0) - usize::from(before.0);
        self.unfinished = self.unfinished + usize::from(now.1) - usize::from(before.1);
    }

    /// What goes with the end of a phase.
    fn left(&mut self, cid: Cid, before: &Phase) {
        let Some(slot) = self.slot_mut(cid) else { return };
        let rests = |phase: &Phase| matches!(phase, Phase::Stopped | Phase::Completed | Phase::Failed);
        let (came_to_rest, ran) = (rests(&slot.phase) && !rests(before), before.up() && !slot.phase.up());
        if matches!(slot.phase, Phase::Stopped) {
            // What is started next is built anew, as at first.
            (slot.build.done, slot.build.good, slot.build.beside.failed) = (false, false, None);
            self.end_tasks(cid);
        } else if ran {
            self.end_task(cid, Quietly::OnChange);
        }
        if came_to_rest {
            self.out.push(Action::Release { component: cid });
        }
    }

    /// Arms the deadline of a component that has changed, and marks it and its neighbours as to be looked at
    /// before the step ends.
    pub(super) fn wake(&mut self, cid: Cid) {
        self.rearm(cid);
        let Some(slot) = self.slots.get(cid.index()).and_then(Option::as_ref) else { return };
        self.dirty.insert(cid);
        self.dirty.extend(slot.deps.iter().chain(&slot.dependents).map(|edge| edge.to));
    }

    /// Records the state if it is another than the one last shown.
    pub(super) fn show(&mut self, cid: Cid, reason: String, cause: Option<u64>) {
        let now = self.now;
        let Some(slot) = self.slot_mut(cid) else { return };
        let state = slot.phase.state();
        if slot.shown == Some(state) && slot.reason == reason {
            return;
        }
        let news = slot.shown != Some(state);
        slot.reason.clone_from(&reason);
        if news {
            slot.shown = Some(state);
            slot.since = now;
            self.note(cid, cause, What::State { state, reason });
        }
    }

    pub(super) fn rearm(&mut self, cid: Cid) {
        let Some(slot) = self.slots.get_mut(cid.index()).and_then(Option::as_mut) else { return };
        let deadline = slot.deadline();
        if deadline == slot.armed {
            return;
        }
        if slot.armed != Time::NEVER {
            self.deadlines.remove(&(slot.armed, cid));
        }
        if deadline != Time::NEVER {
            self.deadlines.insert((deadline, cid));
        }
        slot.armed = deadline;
    }

    /// Records something of a component; its cause is `cause`, else the component's last record.
    pub(super) fn note(&mut self, cid: Cid, cause: Option<u64>, what: What) {
        let seq = self.record(Some(cid), cause, what);
        if let Some(slot) = self.slot_mut(cid) {
            slot.last = Some(seq);
        }
    }

    pub(super) fn record(&mut self, cid: Option<Cid>, cause: Option<u64>, what: What) -> u64 {
        let seq = self.seq;
        self.seq += 1;
        let slot = cid.and_then(|cid| self.slot(cid));
        let cause = cause.or_else(|| slot.and_then(|slot| slot.last));
        let component = slot.map(|slot| slot.spec.name.clone());
        let incarnation = slot.map(|slot| slot.incarnation).filter(|number| *number > 0);
        self.out.push(Action::Record(Record { seq, cause, at: self.now, component, incarnation, what }));
        seq
    }

    /// The latest record of `cid` and of `others`: what led to what happens to it now.
    pub(super) fn latest(&self, cid: Cid, others: impl IntoIterator<Item = Cid>) -> Option<u64> {
        let of = |cid| self.slot(cid).and_then(|slot| slot.last);
        others.into_iter().filter_map(of).chain(of(cid)).max()
    }
}
