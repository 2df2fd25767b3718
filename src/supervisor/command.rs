//! What commands do (contract, section 3, "Commands").

use std::collections::BTreeSet;

use super::Supervisor;
use super::affected::Effect;
use super::event::Command;
use super::phase::Phase;
use super::record::What;
use super::slot::{Wanted, Why};
use crate::types::{Cid, Name};

impl Supervisor {
    pub(super) fn command(&mut self, command: Command) {
        let concerned = self.concerns(&command);
        match command {
            Command::Start(names) => {
                let cause = self.commanded("start", &names, &concerned);
                self.clear_counts(&names);
                for (cid, effect) in concerned {
                    // Who only follows is told by whom it follows.
                    if effect != Effect::Restart {
                        self.want(cid, effect, cause);
                    }
                }
            }
            Command::Stop(names) => {
                let cause = self.commanded("stop", &names, &concerned);
                self.stop_all(concerned, cause);
            }
            Command::Restart(names) => {
                let cause = self.commanded("restart", &names, &concerned);
                let named: BTreeSet<Cid> = self.named(&names).into_iter().collect();
                for (cid, effect) in concerned {
                    if named.contains(&cid) {
                        self.restart(cid, effect, cause);
                    }
                }
            }
            Command::Shutdown => self.shutdown_commanded(),
            Command::Upgrade(program) => self.upgrade(program),
        }
    }

    pub(super) fn commanded(&mut self, name: &'static str, args: &[Name], to: &[(Cid, Effect)]) -> u64 {
        let seq = self.seq;
        let affects = self.tell_affected(to);
        self.record(None, None, What::Command { name, args: args.to_vec(), affects });
        seq
    }

    /// A start clears the counts of all that it needs, also where nothing is to be done.
    fn clear_counts(&mut self, names: &[Name]) {
        for cid in self.needs(names) {
            if let Some(slot) = self.slot_mut(cid).filter(|slot| !matches!(slot.phase, Phase::Completed)) {
                slot.ledger.clear();
            }
        }
    }

    /// What `start` does to one of those that it concerns.
    fn want(&mut self, cid: Cid, effect: Effect, cause: u64) {
        let Some(slot) = self.slot_mut(cid) else { return };
        slot.wanted = Wanted::Up;
        slot.ledger.clear();
        if effect != Effect::Start {
            return;
        }
        slot.build.done &= matches!(slot.phase, Phase::Building(_));
        match &slot.phase {
            Phase::Stopped | Phase::Failed | Phase::Backoff { .. } | Phase::Completed | Phase::Blocked => {
                (slot.last, slot.meanwhile) = (Some(cause), None);
                slot.after_dependents = true;
                self.take_dependents_along(cid, true, Some(cause));
                self.start_or_settle(cid);
            }
            Phase::Spawning(_)
            | Phase::Starting(_)
            | Phase::Ready(_)
            | Phase::Ending(_)
            | Phase::Sealing(_) => {
                slot.again = true;
                slot.meanwhile = Some(cause);
            }
            Phase::Waiting | Phase::Preparing(_) | Phase::Settling { .. } | Phase::Held { .. } => {}
            Phase::Building(_) => {}
        }
    }

    /// Stops what a stop concerns.
    pub(super) fn stop_all(&mut self, concerned: Vec<(Cid, Effect)>, cause: u64) {
        for (cid, _) in concerned {
            self.unwant(cid, Wanted::Down, "stopped by command", Some(cause));
        }
    }

    /// A stop and a start of the named alone, and of those with `restart: true` on it.
    fn restart(&mut self, cid: Cid, effect: Effect, cause: u64) {
        let Some(slot) = self.slot_mut(cid) else { return };
        if matches!(slot.phase, Phase::Stopped | Phase::Blocked) {
            return self.want(cid, effect, cause);
        }
        slot.wanted = Wanted::Up;
        slot.ledger.clear();
        // A stop that it was not told of yet has become this; an edit is still to come true, whatever a build does.
        slot.wish = slot.wish.take().filter(|wish| matches!(wish.why, Why::Edit(_)));
        let checked = slot.spec.health.as_ref().map(|health| health.retries);
        if let (Some(retries), Phase::Ready(run)) = (checked, &slot.phase)
            && run.vitals.row >= retries
        {
            slot.last = Some(cause);
            self.judge_health(cid, retries);
        }
        self.restart_for(cid, Why::Restart, cause);
    }
}
