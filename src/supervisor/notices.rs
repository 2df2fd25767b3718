//! What a component says of itself on its notify socket (sd_notify(3)).

use std::time::Duration;

use super::Supervisor;
use super::phase::{Phase, Run, Stage};
use super::slot::Why;
use crate::config::model::{Component, Probe};
use crate::types::{Cid, Exit, Notice, Time};

/// So long a reload may take where there is no `ready.timeout`: the default of that key.
const RELOAD: Duration = Duration::from_secs(10);

/// Whether it says itself when it is ready.
fn notifies(spec: &Component) -> bool {
    spec.ready.as_ref().is_some_and(|ready| matches!(ready.probe, Probe::Notify))
}

fn reload_timeout(run: &Run) -> Duration {
    run.spec.ready.as_ref().map_or(RELOAD, |ready| ready.timeout)
}

impl Supervisor {
    pub(super) fn noticed(&mut self, cid: Cid, notice: Notice) {
        match notice {
            Notice::Ready => self.says_ready(cid),
            Notice::Reloading => self.says_reloading(cid),
            Notice::Stopping => self.says_stopping(cid),
            Notice::Status(text) => {
                if let Some(slot) = self.slot_mut(cid) {
                    slot.status = Some(text).filter(|text| !text.is_empty());
                }
            }
            Notice::Watchdog => self.heard_of(cid),
            Notice::Broken => self.says_broken(cid),
            Notice::WatchdogEvery(every) => self.heard_every(cid, every),
            Notice::Extend(more) => self.extend(cid, more),
            Notice::MainPid(pid) => self.with_run(cid, |run| (run.pid, run.left) = (Some(pid), None)),
        }
    }

    fn says_ready(&mut self, cid: Cid) {
        let Some(slot) = self.slot_mut(cid) else { return };
        match &mut slot.phase {
            // The word may be here before that of its own start.
            Phase::Spawning(run) => run.says_ready = notifies(&run.spec),
            Phase::Starting(run) if notifies(&run.spec) => self.ready(cid),
            Phase::Ready(run) if run.reloading.is_some() => {
                run.reloading = None;
                self.show(cid, "it has reloaded its configuration".to_owned(), None);
                self.wake(cid);
            }
            _ => {}
        }
    }

    /// Whether the end of a leader is no end of its run yet.
    ///
    /// A daemon's first process ends as soon as it has made the second one, which may not have come to the point of
    /// saying so (`MAINPID=`). So the good end of a leader that was not ready waits for its unit: until that is
    /// ready, names its main process, is gone, or is asked to stop.
    pub(super) fn may_go_on_without(&mut self, cid: Cid, exit: &Exit) -> bool {
        let Some(slot) = self.slot_mut(cid) else { return false };
        let Phase::Starting(run) = &mut slot.phase else { return false };
        let waits = *exit == Exit::Code(0) && notifies(&run.spec);
        if waits {
            run.left = Some(exit.clone());
            self.show(
                cid,
                "its first process has ended, and it has not said that it is ready".to_owned(),
                None,
            );
        }
        waits
    }

    /// What the leader of a run has left was given its time: the leader's end is the run's.
    pub(super) fn left_counts(&mut self, cid: Cid) {
        let left = self.slot_mut(cid).and_then(|slot| slot.phase.run_mut()).and_then(|run| run.left.take());
        if let Some(exit) = left {
            self.leader_ended(cid, exit);
        }
    }

    /// It stays ready to the eye; but nobody starts on it until it has said that it is done.
    fn says_reloading(&mut self, cid: Cid) {
        let now = self.now;
        let Some(slot) = self.slot_mut(cid) else { return };
        let Phase::Ready(run) = &mut slot.phase else { return };
        // Who says it again and again gets no more time.
        run.reloading = run.reloading.or(Some(now + reload_timeout(run)));
        self.show(cid, "it reloads its configuration".to_owned(), None);
        self.wake(cid);
    }

    pub(super) fn not_reloaded_in_time(&mut self, cid: Cid) {
        self.end_now(cid, Why::NotReady("its reload did not end in time".to_owned()), None);
    }

    /// It is on its way out by itself: no signal is sent, and its exit decides what the end was.
    fn says_stopping(&mut self, cid: Cid) {
        if matches!(self.slot(cid).map(|slot| &slot.phase), Some(Phase::Starting(_) | Phase::Ready(_))) {
            self.own_end(cid, None, Why::Own);
        }
    }

    /// It has found itself broken.
    fn says_broken(&mut self, cid: Cid) {
        let Some(slot) = self.slot(cid) else { return };
        let reason = "it found itself broken (WATCHDOG=trigger)".to_owned();
        match &slot.phase {
            Phase::Starting(_) if slot.wish.is_none() => self.end_now(cid, Why::NotReady(reason), None),
            Phase::Ready(_) => self.unhealthy(cid, reason),
            _ => {}
        }
    }

    /// What it is doing takes so long from now, its start, its reload or its end; never less than it had.
    fn extend(&mut self, cid: Cid, more: Duration) {
        let until = self.now + more;
        let longer = |at: &mut Time| *at = until.max(*at);
        let Some(slot) = self.slot_mut(cid) else { return };
        match &mut slot.phase {
            Phase::Starting(run) => longer(&mut run.ready_by),
            Phase::Ready(run) => run.reloading.iter_mut().for_each(longer),
            Phase::Ending(ending) => {
                if let Stage::Asked { until } = &mut ending.stage {
                    longer(until);
                }
            }
            _ => {}
        }
        self.rearm(cid);
    }
}
