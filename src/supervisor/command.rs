//! What commands do (contract, section 3, "Commands").

use std::collections::BTreeSet;

use super::Supervisor;
use super::event::Command;
use super::record::What;
use super::slot::{Phase, Wanted, Why};
use crate::config::model::Condition;
use crate::types::{Cid, Name};

impl Supervisor {
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Start(names) => {
                let cause = self.commanded("start", &names);
                for cid in self.named(&names) {
                    self.start(cid, cause);
                }
            }
            Command::Stop(names) => {
                let cause = self.commanded("stop", &names);
                for cid in self.named(&names) {
                    self.stop(cid, cause);
                }
            }
            Command::Restart(names) => {
                let cause = self.commanded("restart", &names);
                for cid in self.named(&names) {
                    self.restart(cid, cause);
                }
            }
            Command::Shutdown => self.shutdown_commanded(),
        }
    }

    pub(super) fn commanded(&mut self, name: &'static str, args: &[Name]) -> u64 {
        let seq = self.seq;
        self.record(None, None, What::Command { name, args: args.to_vec() });
        seq
    }

    fn named(&self, names: &[Name]) -> Vec<Cid> {
        names.iter().filter_map(|name| self.names.get(name).copied()).collect()
    }

    /// Starts a component, and what it needs that neither runs nor has completed.
    fn start(&mut self, cid: Cid, cause: u64) {
        if self.shutdown.is_some() {
            return;
        }
        for needed in self.needs(cid) {
            let completed = self.slot(needed).is_some_and(|slot| matches!(slot.phase, Phase::Completed));
            if needed == cid || !completed {
                self.want(needed, cause);
            }
        }
    }

    /// A component and all that it needs, the deepest first.
    fn needs(&self, cid: Cid) -> Vec<Cid> {
        let (mut seen, mut order, mut stack) = (BTreeSet::from([cid]), Vec::new(), vec![cid]);
        while let Some(next) = stack.pop() {
            order.push(next);
            let deps = self.slot(next).map(|slot| slot.deps.as_slice()).unwrap_or_default();
            stack.extend(deps.iter().map(|edge| edge.to).filter(|to| seen.insert(*to)));
        }
        order.reverse();
        order
    }

    fn want(&mut self, cid: Cid, cause: u64) {
        let Some(slot) = self.slot_mut(cid) else { return };
        if slot.wanted == Wanted::Removed {
            return;
        }
        let unwished = slot.wanted != Wanted::Up;
        slot.wanted = Wanted::Up;
        slot.ledger.clear();
        match &slot.phase {
            Phase::Stopped | Phase::Failed | Phase::Backoff { .. } | Phase::Completed | Phase::Blocked => {
                slot.last = Some(cause);
                slot.after_dependents = true;
                self.take_dependents_along(cid, true);
                self.start_or_settle(cid);
            }
            // It was being stopped: it starts again when it is gone, or is spared if it was not told yet.
            Phase::Ending(_) | Phase::Sealing(_) if unwished => slot.again = true,
            Phase::Spawning(_) | Phase::Starting(_) | Phase::Ready(_) if unwished => {
                slot.wish = None;
                self.wake(cid);
            }
            Phase::Ending(_) | Phase::Sealing(_) | Phase::Spawning(_) | Phase::Starting(_) => {}
            Phase::Ready(_) | Phase::Waiting | Phase::Preparing(_) | Phase::Settling { .. } => {}
        }
    }

    /// Stops a component, and first what runs and needs it.
    fn stop(&mut self, cid: Cid, cause: u64) {
        let mut stack: Vec<Cid> = self.running_dependents(cid);
        let mut seen: BTreeSet<Cid> = stack.iter().copied().collect();
        while let Some(next) = stack.pop() {
            let more = self.running_dependents(next);
            stack.extend(more.into_iter().filter(|to| seen.insert(*to)));
            self.unwant(next, Wanted::Down, "stopped by command", Some(cause));
        }
        self.unwant(cid, Wanted::Down, "stopped by command", Some(cause));
    }

    fn running_dependents(&self, cid: Cid) -> Vec<Cid> {
        let Some(slot) = self.slot(cid) else { return Vec::new() };
        let edges = slot.dependents.iter().filter(|edge| edge.condition != Condition::Completed);
        let running = |to: &Cid| {
            self.slot(*to)
                .is_some_and(|dependent| dependent.wanted == Wanted::Up && dependent.phase.run().is_some())
        };
        edges.map(|edge| edge.to).filter(running).collect()
    }

    /// A stop and a start of the named alone, and of those with `restart: true` on it.
    fn restart(&mut self, cid: Cid, cause: u64) {
        if self.shutdown.is_some() {
            return;
        }
        let Some(slot) = self.slot_mut(cid) else { return };
        match &slot.phase {
            Phase::Stopped | Phase::Blocked => self.want(cid, cause),
            Phase::Spawning(_) | Phase::Starting(_) | Phase::Ready(_) => {
                slot.wanted = Wanted::Up;
                slot.ledger.clear();
                slot.wish = None;
                self.wish(cid, Why::Restart, Some(cause));
                self.take_dependents_along(cid, true);
            }
            _ => {
                slot.wanted = Wanted::Up;
                slot.ledger.clear();
                slot.last = slot.last.max(Some(cause));
                self.restart_for(cid, Why::Restart);
            }
        }
    }
}
