//! How a run is asked to stop: by the signal, or by `stop.command` in its place (contract, section 3, "Stopping").
//!
//! Nothing follows a run before the command that was to stop it has ended, too.

use std::time::Duration;

use super::phase::{Phase, Stage};
use super::record::What;
use super::{Action, Supervisor};
use crate::types::{Cid, RunId, Scope, TaskEnd, TaskKind};

/// No stop is so long. The stop command is ended when `stop.timeout`, as extended, is over; its own limit only bounds it.
const STOP: Duration = Duration::from_hours(24);

/// So long a component is not asked to stop for what a proxy has under way to it. Nothing more is begun meanwhile, so
/// what takes milliseconds is answered whole, by a server that would just fall over, too; and a save is not held up by
/// what takes long. The time in which it may stop runs already, so it is a part of that at the most.
const DRAIN: Duration = Duration::from_millis(200);
const DRAIN_PART: u32 = 4;

/// So long a run with this `stop.timeout` is asked later at the most, by a signal or a command.
pub(super) fn drain(timeout: Duration) -> Duration {
    DRAIN.min(timeout / DRAIN_PART)
}

impl Supervisor {
    /// Asks the group of an ending run's leader by the signal, when nothing is under way to it by a proxy.
    pub(super) fn drain_and_stop(&mut self, cid: Cid) {
        let timeout = self.slot(cid).map_or(Duration::ZERO, |slot| slot.spec.stop.timeout);
        self.signal_after(cid, drain(timeout));
    }

    /// Asks the group of an ending run's leader by the signal, if it was not; a thread by its own means. Its command has
    /// had its time, and so has what was under way to it.
    pub(super) fn signal_to_stop(&mut self, cid: Cid) {
        self.signal_after(cid, Duration::ZERO);
    }

    fn signal_after(&mut self, cid: Cid, drain: Duration) {
        let Some(slot) = self.slot_mut(cid) else { return };
        let signal = slot.spec.stop.signal;
        let Phase::Ending(ending) = &mut slot.phase else { return };
        if !std::mem::replace(&mut ending.signalled, true) {
            let run = ending.run.id;
            self.out.push(Action::Stop { run, signal, scope: Scope::Group, drain });
        }
    }

    /// Has a command stop a run, when nothing is under way to it by a proxy.
    pub(super) fn stop_by_command(&mut self, cid: Cid, run: RunId) {
        let task = self.run_task(cid, TaskKind::Stop, Some(run), STOP);
        if let Some(slot) = self.slot_mut(cid) {
            slot.stop_task = task;
        }
        self.recount_tasks(cid);
    }

    /// The command has ended: where it failed, the signal follows.
    pub(super) fn stop_task_ended(&mut self, cid: Cid, end: TaskEnd) {
        let Some(task) = self.slot_mut(cid).and_then(|slot| slot.stop_task.take()) else { return };
        self.recount_tasks(cid);
        if let TaskEnd::Failed(failure) = end {
            let asked = |phase: &Phase| matches!(phase, Phase::Ending(ending) if matches!(ending.stage, Stage::Asked { .. }));
            let still = self.slot(cid).is_some_and(|slot| asked(&slot.phase));
            if still {
                let took = self.now.since(task.since);
                self.note(cid, None, What::TaskFailed { kind: TaskKind::Stop, took, failure });
                let led = self.slot(cid).is_some_and(|slot| slot.phase.led());
                // The rest of what has lost its leader was asked when it did.
                if led {
                    self.signal_to_stop(cid);
                }
            }
        }
        // What follows the run, or the end of the project, may have waited for this alone.
        self.wake(cid);
        self.all_gone(cid);
    }
}
