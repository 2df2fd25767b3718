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
            Command::Upgrade(program) => self.upgrade(program),
        }
    }

    pub(super) fn commanded(&mut self, name: &'static str, args: &[Name]) -> u64 {
        let seq = self.seq;
        self.record(None, None, What::Command { name, args: args.to_vec() });
        seq
    }

    /// The named that are declared; what an edit removed is on its way out, and nobody's any more.
    fn named(&self, names: &[Name]) -> Vec<Cid> {
        let declared = |cid: &Cid| self.slot(*cid).is_some_and(|slot| slot.wanted != Wanted::Removed);
        names.iter().filter_map(|name| self.names.get(name).copied()).filter(declared).collect()
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
        // Its run is ending, by itself or not: the one that was asked for is the next.
        if let Some(slot) =
            self.slot_mut(cid).filter(|slot| matches!(slot.phase, Phase::Ending(_) | Phase::Sealing(_)))
        {
            slot.again = true;
            slot.meanwhile = Some(cause);
        }
    }

    /// A component and all that it needs, each after what it needs itself.
    fn needs(&self, cid: Cid) -> Vec<Cid> {
        let (mut seen, mut order, mut stack) = (BTreeSet::from([cid]), Vec::new(), vec![(cid, 0)]);
        while let Some((next, at)) = stack.pop() {
            match self.slot(next).and_then(|slot| slot.deps.get(at)) {
                Some(edge) => {
                    stack.push((next, at + 1));
                    if seen.insert(edge.to) {
                        stack.push((edge.to, 0));
                    }
                }
                None => order.push(next),
            }
        }
        order
    }

    fn want(&mut self, cid: Cid, cause: u64) {
        let Some(slot) = self.slot_mut(cid) else { return };
        let unwished = slot.wanted != Wanted::Up;
        slot.wanted = Wanted::Up;
        slot.ledger.clear();
        match &slot.phase {
            Phase::Stopped | Phase::Failed | Phase::Backoff { .. } | Phase::Completed | Phase::Blocked => {
                slot.last = Some(cause);
                slot.after_dependents = true;
                self.take_dependents_along(cid, true, Some(cause));
                self.start_or_settle(cid);
            }
            // It is being stopped, or about to be. It is not spared, for it may be stale by now, and what
            // depends on it is being stopped, too: it starts again when it is gone.
            Phase::Spawning(_)
            | Phase::Starting(_)
            | Phase::Ready(_)
            | Phase::Ending(_)
            | Phase::Sealing(_) => {
                if unwished {
                    slot.again = true;
                    slot.meanwhile = Some(cause);
                }
            }
            Phase::Waiting | Phase::Preparing(_) | Phase::Settling { .. } | Phase::Held { .. } => {}
        }
    }

    /// Stops a component, and first what runs and needs it, also by way of what does not run.
    pub(super) fn stop(&mut self, cid: Cid, cause: u64) {
        let (mut seen, mut stack) = (BTreeSet::from([cid]), vec![cid]);
        while let Some(next) = stack.pop() {
            let Some(slot) = self.slot(next) else { continue };
            let running = slot.phase.state().runs();
            if !matches!(slot.phase, Phase::Completed) || next == cid {
                let needing = slot.dependents.iter().filter(|edge| edge.condition != Condition::Completed);
                stack.extend(needing.map(|edge| edge.to).filter(|to| seen.insert(*to)));
            }
            if next == cid || (running && slot.wanted == Wanted::Up) {
                self.unwant(next, Wanted::Down, "stopped by command", Some(cause));
            }
        }
    }

    /// A stop and a start of the named alone, and of those with `restart: true` on it.
    fn restart(&mut self, cid: Cid, cause: u64) {
        if self.shutdown.is_some() {
            return;
        }
        let Some(slot) = self.slot_mut(cid) else { return };
        if matches!(slot.phase, Phase::Stopped | Phase::Blocked) {
            return self.want(cid, cause);
        }
        slot.wanted = Wanted::Up;
        slot.ledger.clear();
        // A stop that it was not told of yet has become this.
        slot.wish = None;
        self.restart_for(cid, Why::Restart, cause);
    }
}
