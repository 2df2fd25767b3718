//! What a changed file does (contract, section 3, "Changes").

use std::path::PathBuf;
use std::sync::Arc;

use super::phase::Phase;
use super::record::What;
use super::slot::{Wanted, Why, Wish};
use super::tasks::Quietly;
use super::{Action, Supervisor};
use crate::config::model::WatchAction;
use crate::types::{Cid, Scope};

impl Supervisor {
    pub(super) fn changed(&mut self, cid: Cid, paths: Vec<PathBuf>) {
        let now = self.now;
        let Some(slot) = self.slot_mut(cid) else { return };
        let Some(watch) = slot.spec.watch.as_ref().map(Arc::clone) else { return };
        slot.quiet.changed(now, paths.len(), watch.settle);
        // A change is a root: nothing inside led to it. What it leads to, if anything, is seen below.
        let last = slot.last.take();
        let seq = self.record(Some(cid), None, What::Changed { paths });
        if let Some(slot) = self.slot_mut(cid) {
            slot.last = last;
        }
        self.rearm(cid);
        match &watch.action {
            WatchAction::Restart => self.restart_for(cid, Why::Change, seq),
            WatchAction::Signal(signal) => {
                if let Some(Phase::Starting(run) | Phase::Ready(run)) = self.slot(cid).map(|slot| &slot.phase)
                {
                    let run = run.id;
                    self.out.push(Action::Signal { run, signal: *signal, scope: Scope::Group });
                }
            }
            WatchAction::Run(_) => self.run_for(cid, seq),
            WatchAction::None => {}
        }
    }

    /// A change runs a command, if there is a run that it could be for: not beside an earlier one, but after it.
    fn run_for(&mut self, cid: Cid, cause: u64) {
        let Some(slot) = self.slot(cid) else { return };
        if matches!(slot.phase, Phase::Starting(_) | Phase::Ready(_)) && slot.may_follow() {
            self.call_task(cid, Quietly::OnChange, Some(cause), false);
        }
    }

    pub(super) fn touched(&mut self, cid: Cid) {
        let now = self.now;
        let Some(slot) = self.slot_mut(cid) else { return };
        let Some(settle) = slot.spec.watch.as_ref().map(|watch| watch.settle) else { return };
        // Only a start that is under way waits for quiet files.
        let ending = matches!(slot.phase, Phase::Ending(_) | Phase::Sealing(_)) || slot.task_settles();
        if ending || matches!(slot.phase, Phase::Settling { .. } | Phase::Held { .. } | Phase::Preparing(_)) {
            slot.quiet.touched(now, settle);
            self.rearm(cid);
        }
    }

    /// Stops and starts what runs; starts what has ended, failed or backs off; is absorbed by what is being
    /// stopped; does nothing to what waits, is blocked or was stopped.
    pub(super) fn restart_for(&mut self, cid: Cid, why: Why, cause: u64) {
        let shutdown = self.shutdown.is_some();
        let Some(slot) = self.slot_mut(cid) else { return };
        if slot.wanted != Wanted::Up || shutdown {
            return;
        }
        // An edit of other keys restarts what was built.
        let of_build = matches!(why, Why::Change | Why::Restart | Why::Build(_));
        let builds = slot.spec.build.is_some() && of_build;
        let edit = matches!(why, Why::Edit(_));
        if builds && !matches!(slot.phase, Phase::Building(_)) {
            slot.build.done = false;
            // What is being built is what was there before.
            if why == Why::Change && slot.build.beside.task().is_some() {
                self.call_task(cid, Quietly::Build, Some(cause), true);
            }
        }
        let Some(slot) = self.slot_mut(cid) else { return };
        match &slot.phase {
            Phase::Spawning(_) | Phase::Starting(_) | Phase::Ready(_) => {
                self.restart_run(cid, why, cause, builds);
            }
            Phase::Ending(_) | Phase::Sealing(_) => {
                slot.meanwhile = Some(cause);
                slot.again = true;
                slot.after_dependents = true;
                self.take_dependents_along(cid, true, Some(cause));
            }
            // Nobody goes down for what may fail.
            Phase::Backoff { .. } | Phase::Completed | Phase::Failed if builds => {
                (slot.last, slot.meanwhile) = (Some(cause), None);
                self.start_or_settle(cid);
                let Some(slot) = self.slot_mut(cid) else { return };
                if !matches!(slot.phase, Phase::Building(_)) {
                    slot.after_dependents = true;
                    self.take_dependents_along(cid, true, Some(cause));
                }
            }
            Phase::Building(_) if builds && why == Why::Change => {
                slot.build.done = false;
                self.call_task(cid, Quietly::Build, Some(cause), true);
            }
            Phase::Building(_) if edit => self.edited_while_built(cid, cause),
            Phase::Building(_) => {}
            Phase::Backoff { .. } | Phase::Completed | Phase::Failed => {
                (slot.last, slot.meanwhile) = (Some(cause), None);
                slot.build.sure |= edit;
                slot.ledger.overtaken();
                slot.after_dependents = true;
                self.take_dependents_along(cid, true, Some(cause));
                self.start_or_settle(cid);
            }
            // What is being prepared has executed nothing yet, and so sees the change; but should it fail,
            // that may have been before the change.
            Phase::Preparing(_) => {
                slot.again = true;
                slot.meanwhile = Some(cause);
            }
            Phase::Settling { .. } | Phase::Held { .. } => {}
            Phase::Waiting | Phase::Blocked | Phase::Stopped => {}
        }
    }

    /// What runs stops now; with something to build, when that is good; and with something that is being built just now,
    /// when that is over.
    fn restart_run(&mut self, cid: Cid, why: Why, cause: u64, builds: bool) {
        let Some(slot) = self.slot_mut(cid) else { return };
        if builds {
            self.build_for(cid, why, cause);
        } else if matches!(why, Why::Edit(_)) && slot.is_being_built() {
            slot.build.then = Some(Wish { why, cause: Some(cause) });
            slot.build.sure = true;
        } else {
            self.wish(cid, why, Some(cause));
            self.take_dependents_along(cid, true, Some(cause));
        }
    }

    /// A deadline of a component has come.
    pub(super) fn expire(&mut self, cid: Cid) {
        self.expire_tasks(cid);
        self.expire_vitals(cid);
        let Some(slot) = self.slot(cid) else { return };
        if slot.phase_deadline() > self.now {
            return;
        }
        match &slot.phase {
            Phase::Starting(_) => self.not_ready_in_time(cid),
            Phase::Ending(_) => self.expire_ending(cid),
            Phase::Settling { .. } => self.settled(cid),
            Phase::Backoff { .. } => self.start_or_settle(cid),
            Phase::Stopped | Phase::Waiting | Phase::Blocked | Phase::Preparing(_) | Phase::Building(_) => {}
            Phase::Ready(_) => self.ask_state(cid),
            Phase::Spawning(_) | Phase::Sealing(_) | Phase::Held { .. } => {}
            Phase::Completed | Phase::Failed => {}
        }
    }
}
