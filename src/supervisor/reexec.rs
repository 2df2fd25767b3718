//! The force-kill of a thread: orch replaces its own image (contract, section 3, "Threads"). `orch upgrade`
//! is the same with another program.
//!
//! First the threads that can are stopped and their states sealed; then nothing is started any more, until no
//! answer is awaited that the new image would wait for in vain; then the driver hands everything over. Each
//! of that has until a deadline, past which it goes on without: what an image can't tell is as after a crash.
//! Processes notice nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::phase::{Ending, Phase, Stage};
use super::record::What;
use super::slot::{Slot, Why, is_thread};
use super::{Action, Supervisor};
use crate::types::{Cid, Time};

/// So long an upgrade waits at least for effects that are under way: there is no hurry.
const EFFECTS: Duration = Duration::from_secs(10);

/// A new image that is on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Reexec {
    /// The record that led to it.
    seq: u64,
    /// The new program; `None`: the one that runs.
    program: Option<PathBuf>,
    /// Until when threads and effects are waited for.
    until: Time,
    stage: Coming,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Coming {
    /// The threads are stopping.
    Threads,
    /// Effects are still to answer; nothing new is started.
    Effects,
    /// The driver has been asked.
    Asked,
}

impl Reexec {
    pub(super) fn deadline(&self) -> Option<Time> {
        (self.stage != Coming::Asked).then_some(self.until)
    }
}

impl Supervisor {
    /// Whether a new image is on its way.
    #[must_use]
    pub fn is_replacing(&self) -> bool {
        self.reexec.is_some()
    }

    /// A thread does not return: whether a new image will end it.
    pub(super) fn reexec_for(&mut self, cid: Cid) -> bool {
        let forced = self.shutdown.as_ref().is_some_and(|shutdown| shutdown.forced);
        if !self.may_reexec || forced {
            return false;
        }
        let Some(slot) = self.slot(cid) else { return false };
        // The other half is for the new image.
        let until = self.now + slot.spec.stop.join_timeout / 2;
        let cause = slot.last.unwrap_or(self.seq);
        self.begin_reexec(None, until, cause);
        true
    }

    /// Goes on as another program.
    pub(super) fn upgrade(&mut self, program: PathBuf) {
        let cause = self.commanded("upgrade", &[], &[]);
        if self.shutdown.is_some() {
            return;
        }
        let threads = self.slots.iter().flatten().filter(|slot| living_thread(slot));
        let longest = threads.map(|slot| slot.spec.stop.timeout + slot.spec.stop.join_timeout).max();
        let wait = longest.unwrap_or_default().max(EFFECTS);
        self.begin_reexec(Some(program), self.now + wait, cause);
    }

    fn begin_reexec(&mut self, program: Option<PathBuf>, until: Time, seq: u64) {
        if let Some(reexec) = &mut self.reexec {
            reexec.program = reexec.program.take().or(program);
            reexec.until = reexec.until.min(until);
            return;
        }
        self.reexec = Some(Reexec { seq, program, until, stage: Coming::Threads });
        for cid in self.living_threads() {
            self.wish(cid, Why::Reexec, Some(seq));
        }
    }

    /// The components of which a thread may live.
    fn living_threads(&self) -> Vec<Cid> {
        let mut all = self.cids();
        all.retain(|cid| self.slot(*cid).is_some_and(living_thread));
        all
    }

    /// Whether a start has to wait for the new image.
    pub(super) fn holds_back(&self, slot: &Slot) -> bool {
        self.reexec.as_ref().is_some_and(|it| it.stage != Coming::Threads || is_thread(&slot.spec))
    }

    pub(super) fn hold_back(&mut self, cid: Cid) {
        let Some(slot) = self.slot(cid) else { return };
        let shown = Self::shown_meanwhile(slot);
        self.enter(cid, Phase::Held { shown }, "waiting for orch to replace its own image", None);
    }

    /// Takes the next stage when its time has come; the last thing in a step.
    pub(super) fn go_on_with_reexec(&mut self) {
        let Some(reexec) = &self.reexec else { return };
        let due = reexec.until <= self.now;
        let mut stage = reexec.stage;
        if stage == Coming::Threads && (due || !self.slots.iter().flatten().any(stopping_thread)) {
            stage = Coming::Effects;
        }
        let program = reexec.program.clone();
        if stage == Coming::Effects && (due || !self.slots.iter().flatten().any(awaits_an_effect)) {
            stage = Coming::Asked;
        }
        if reexec.stage != Coming::Asked && stage == Coming::Asked {
            self.out.push(Action::Reexec { program });
        }
        if let Some(reexec) = &mut self.reexec {
            reexec.stage = stage;
        }
    }

    /// This is the new image: no thread of the old one is left.
    pub(super) fn reexeced(&mut self) {
        let Some(reexec) = self.reexec.take() else { return };
        let seq = self.record(None, Some(reexec.seq), What::Reexec);
        for cid in self.living_threads() {
            self.thread_gone(cid, seq);
        }
        self.resume();
    }

    /// Everything is force-killed: nothing is waited for any more that is not on its way already.
    pub(super) fn abandon_reexec(&mut self) {
        if self.reexec.as_ref().is_some_and(|it| it.stage != Coming::Asked) {
            let forced = self.shutdown.as_ref().map(|shutdown| shutdown.seq);
            self.reexec_over("everything is force-killed".to_owned(), forced);
        }
    }

    /// Everything goes on as it was, and who does not return is stuck; but if it was another program that
    /// could not take over, this one still can.
    pub(super) fn reexec_failed(&mut self, error: String) {
        self.reexec_over(error, None);
    }

    /// The same; `cause` is what led to it, where that is not the attempt.
    fn reexec_over(&mut self, error: String, cause: Option<u64>) {
        let Some(reexec) = self.reexec.take() else { return };
        let failed =
            self.record(None, cause.or(Some(reexec.seq)), What::ReexecFailed { error: error.clone() });
        let forced = self.shutdown.as_ref().is_some_and(|shutdown| shutdown.forced);
        let hung = self.hung_threads();
        if reexec.program.is_some() && !hung.is_empty() && !forced {
            return self.begin_reexec(None, self.now, reexec.seq);
        }
        for cid in hung {
            let reason = format!("its thread does not return, and there is no new image: {error}");
            self.give_up(cid, reason, cause.map(|_| failed));
        }
        self.resume();
    }

    /// The components whose thread does not return.
    fn hung_threads(&self) -> Vec<Cid> {
        let hung = |slot: &Slot| match &slot.phase {
            Phase::Ending(ending) => matches!(ending.stage, Stage::Killed { .. }),
            _ => false,
        };
        let mut all = self.living_threads();
        all.retain(|cid| self.slot(*cid).is_some_and(hung));
        all
    }

    /// The force-kill of whatever a thread was doing.
    fn thread_gone(&mut self, cid: Cid, cause: u64) {
        let until = self.now;
        let Some(slot) = self.slot_mut(cid) else { return };
        slot.last = Some(cause);
        let until = until + slot.spec.stop.join_timeout;
        let hung = matches!(&slot.phase, Phase::Ending(ending) if ending.killed);
        let ending = match &slot.phase {
            Phase::Spawning(run) | Phase::Starting(run) | Phase::Ready(run) => {
                let why = slot.wish.take().map_or(Why::Reexec, |wish| wish.why);
                let stage = Stage::Killed { until };
                Ending { killed: true, ..Ending::of(run.clone(), why, stage) }
            }
            Phase::Ending(ending) => Ending { killed: true, hung, ..ending.clone() },
            _ => return,
        };
        self.enter(cid, Phase::Ending(ending), "its thread is gone with the old image", Some(cause));
        if hung {
            self.note(cid, Some(cause), What::ForceKilled { pids: Vec::new() });
        }
        self.unit_gone(cid);
    }

    /// Starts what was held back, and asks again for what was asked of hands that are other ones now.
    fn resume(&mut self) {
        for cid in self.cids() {
            let Some(slot) = self.slot(cid) else { continue };
            if slot.task_sifts() {
                self.out.push(Action::Sift { component: cid });
            }
            let Some(slot) = self.slot(cid) else { continue };
            let again = match &slot.phase {
                Phase::Held { .. } => {
                    self.start_or_settle(cid);
                    continue;
                }
                Phase::Settling { asked: Some(_), .. } => Action::Sift { component: cid },
                Phase::Starting(run) if run.spec.ready.is_some() => {
                    Action::Probe { run: run.id, spec: Arc::clone(&run.spec) }
                }
                Phase::Ready(_) => {
                    self.watch_over_again(cid);
                    continue;
                }
                Phase::Preparing(run) => Action::Prepare { run: run.id, spec: Arc::clone(&run.spec) },
                Phase::Sealing(ended) => slot.sealing(ended),
                _ => continue,
            };
            self.out.push(again);
        }
    }
}

/// Whether a thread of it may live.
fn living_thread(slot: &Slot) -> bool {
    slot.phase.active() && slot.phase.run().is_some_and(|run| is_thread(&run.spec))
}

/// Whether a thread of it is still to stop, or its state to be sealed; one that does not return is not
/// waited for.
fn stopping_thread(slot: &Slot) -> bool {
    let hung = |stage: Stage| matches!(stage, Stage::Killed { .. } | Stage::GivenUp | Stage::Spared);
    let waits = match &slot.phase {
        Phase::Ending(ending) => ending.gone || !hung(ending.stage),
        phase => phase.busy(),
    };
    waits && slot.phase.run().is_some_and(|run| is_thread(&run.spec))
}

/// Whether something that is not carried over is still to answer about it.
fn awaits_an_effect(slot: &Slot) -> bool {
    matches!(slot.phase, Phase::Preparing(_) | Phase::Spawning(_) | Phase::Sealing(_))
}
