//! The end: ordered, then by force, then without waiting; and the end that comes by itself.

use super::phase::Phase;
use super::record::{State, What};
use super::slot::Wanted;
use super::{Action, Supervisor};
use crate::types::{Cid, Time};
use serde::{Deserialize, Serialize};

/// A shutdown under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Shutdown {
    /// The record that led to it, and from then on to its force.
    pub(super) seq: u64,
    /// The least exit code.
    code: u8,
    /// When all that is left is force-killed.
    until: Time,
    /// Whether that has come.
    pub(super) forced: bool,
}

impl Shutdown {
    pub(super) fn deadline(&self) -> Option<Time> {
        (!self.forced).then_some(self.until)
    }
}

impl Supervisor {
    /// First: in order. Second: at once. Third: nothing is waited for.
    pub(super) fn shutdown_commanded(&mut self) {
        let forced = self.shutdown.as_ref().map(|shutdown| shutdown.forced);
        let seq = self.commanded("down", &[], &[]);
        match forced {
            None => self.shut_down(0, Some(seq)),
            Some(false) => {
                self.lead_shutdown(seq);
                self.force_all("it was asked for a second time");
            }
            Some(true) => {
                self.lead_shutdown(seq);
                self.exit();
            }
        }
    }

    /// What the shutdown does from now on has this record as its cause.
    fn lead_shutdown(&mut self, seq: u64) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.seq = seq;
        }
    }

    /// Begins the ordered end of everything.
    pub(super) fn shut_down(&mut self, code: u8, cause: Option<u64>) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.code = shutdown.code.max(code);
            return;
        }
        let until = self.now + self.project.shutdown_timeout;
        self.shutdown = Some(Shutdown { seq: cause.unwrap_or(self.seq), code, until, forced: false });
        // From now on nothing starts, and each edge counts for the order of the stop.
        self.recount();
        for cid in self.cids() {
            self.unwind(cid, cause);
        }
    }

    /// Ends what runs of a component; what has failed or is blocked stays so, for the exit code.
    fn unwind(&mut self, cid: Cid, cause: Option<u64>) {
        self.end_tasks(cid);
        let Some(slot) = self.slot(cid) else { return };
        match &slot.phase {
            Phase::Waiting
            | Phase::Building(_)
            | Phase::Backoff { .. }
            | Phase::Settling { .. }
            | Phase::Held { .. } => {
                self.enter(cid, Phase::Stopped, "the project is shut down", cause);
            }
            Phase::Failed | Phase::Blocked | Phase::Completed | Phase::Stopped => {}
            Phase::Preparing(_)
            | Phase::Spawning(_)
            | Phase::Starting(_)
            | Phase::Ready(_)
            | Phase::Ending(_)
            | Phase::Sealing(_) => {
                let wanted = slot.wanted;
                self.unwant(cid, wanted, "the project is shut down", cause);
            }
        }
    }

    /// Force-kills everything that is left.
    pub(super) fn force_all(&mut self, reason: &str) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.forced = true;
            shutdown.code = 1;
        }
        let cause = self.shutdown.as_ref().map(|shutdown| shutdown.seq);
        self.abandon_reexec();
        for cid in self.cids() {
            self.force(cid, reason, cause);
        }
    }

    /// Ends the project when nothing is left to wait for, or nothing can come any more.
    pub(super) fn end_if_over(&mut self) {
        if self.exited {
            return;
        }
        let over = match &self.shutdown {
            Some(_) => self.busy == 0,
            None => self.unfinished == 0 && !self.goes_on(),
        };
        if over {
            self.exit();
        }
    }

    /// Whether something can still happen although nothing is to come by itself: a watched file changes, or
    /// somebody starts what was stopped by command.
    fn goes_on(&self) -> bool {
        self.slots
            .iter()
            .flatten()
            .any(|slot| slot.wanted == Wanted::Down || (self.watching && slot.spec.watch.is_some()))
    }

    fn exit(&mut self) {
        self.exited = true;
        let least = self.shutdown.as_ref().map_or(0, |shutdown| shutdown.code);
        let bad = self.slots.iter().flatten().any(|slot| {
            let left = slot.tasks().any(|task| !task.awaited());
            left || matches!(slot.phase.state(), State::Failed | State::Blocked | State::Stuck)
        });
        let code = least.max(u8::from(bad));
        // One that ends by itself does so in the step, and with the record, of the last end.
        let last = self.seq.checked_sub(1);
        let cause = self.shutdown.as_ref().map(|shutdown| shutdown.seq).or(last);
        self.tasks_left(cause);
        self.record(None, cause, What::ProjectDown { code });
        self.out.push(Action::Exit { code });
    }
}
