//! What follows a run: its state is sealed, then it is decided whether another one comes.

use std::sync::Arc;
use std::time::Duration;

use super::ending::explain;
use super::phase::{Ended, Ending, Meanwhile, Phase};
use super::record::{End, Sealed};
use super::restart::Verdict;
use super::slot::{Slot, Wanted, Why};
use super::tasks::Task;
use super::{Action, Supervisor};
use crate::config::model::{OnFailure, Restart, RestartPolicy};
use crate::types::{Cid, Exit, Signal};

impl Supervisor {
    /// Nothing of the run is left, and its output is read: its state is sealed.
    pub(super) fn all_gone(&mut self, cid: Cid) {
        let Some(slot) = self.slot(cid) else { return };
        let Phase::Ending(ending) = &slot.phase else { return };
        if !ending.gone || !ending.run.output_ended || slot.stop_task.as_ref().is_some_and(Task::awaited) {
            return;
        }
        let Ending { run, why, exit, killed, hung, .. } = ending.clone();
        let mut ended = Ended { run, why, exit, hung, end: End::Crashed };
        ended.end = match &ended.why {
            _ if killed => End::Crashed,
            Why::Own if succeeded(&ended, &slot.spec.restart) => End::Succeeded,
            // What did not become ready has failed, however politely it went.
            Why::Own | Why::NotReady(_) | Why::Lost => End::Crashed,
            _ if crashed(&ended, slot.spec.stop.signal) => End::Crashed,
            Why::Change | Why::Restart | Why::Edit(_) | Why::Build(_) | Why::Dependency(_) => End::Ordered,
            Why::Unwanted(_) | Why::Reexec | Why::Unhealthy { .. } => End::Ordered,
            Why::NotStarted(_) | Why::TakenBack => End::Ordered,
        };
        self.seal(cid, ended);
    }

    /// A run is over: its state is sealed, if it has one, then it is decided what follows. Also for a run
    /// that was prepared and never spawned, which says nothing against the state put in place for it.
    pub(super) fn seal(&mut self, cid: Cid, ended: Ended) {
        let Some(slot) = self.slot(cid) else { return };
        if ended.run.spec.state.is_none() {
            return self.conclude(cid, &ended);
        }
        let (reason, sealing) = (slot.reason.clone(), slot.sealing(&ended));
        self.enter(cid, Phase::Sealing(ended), reason, None);
        self.out.push(sealing);
    }

    pub(super) fn sealed(&mut self, cid: Cid, outcome: &Sealed) {
        let Some(Phase::Sealing(ended)) = self.slot(cid).map(|slot| &slot.phase) else { return };
        let ended = ended.clone();
        self.note_sealed(cid, outcome);
        self.conclude(cid, &ended);
    }

    /// Decides what follows a run of which nothing is left.
    pub(super) fn conclude(&mut self, cid: Cid, ended: &Ended) {
        if ended.why == Why::TakenBack
            && let Some(slot) = self.slot_mut(cid)
        {
            // Nobody has seen a run of this number.
            slot.incarnation -= 1;
        }
        let Some(slot) = self.slot(cid) else { return };
        if self.unwanted(slot) {
            self.rest(cid);
        } else if slot.again || ended.why.starts_again() {
            self.count_hung(cid, ended);
            self.start_or_settle(cid);
        } else {
            self.judge(cid, ended);
        }
    }

    /// A thread that did not return has cost a new image: its restart counts, whatever it was for, and no
    /// other thread's does.
    fn count_hung(&mut self, cid: Cid, ended: &Ended) {
        let now = self.now;
        if ended.hung
            && let Some(slot) = self.slot_mut(cid)
        {
            slot.ledger.count(now);
        }
    }

    /// Decides whether a run that nobody wanted to end is to be followed by another one.
    fn judge(&mut self, cid: Cid, ended: &Ended) {
        let Some(slot) = self.slot(cid) else { return };
        let ready = ended
            .run
            .ready_since
            .map(|since| ended.exit.as_ref().map_or(Duration::ZERO, |(_, at)| at.since(since)));
        let exit = ended.exit.as_ref().map(|(exit, _)| exit.to_string()).unwrap_or_default();
        let premature = ended.run.spec.ready.is_some() && ready.is_none();
        let rules = Arc::clone(&slot.spec.restart);
        if ended.why == Why::TakenBack {
            self.try_start(cid);
        } else if let Why::NotReady(reason) | Why::NotStarted(reason) = &ended.why {
            self.failed_run(cid, Duration::ZERO, reason.clone());
        } else if let Why::Unhealthy { reason, ready } = &ended.why {
            self.failed_run(cid, *ready, reason.clone());
        } else if ended.why == Why::Lost {
            self.failed_run(cid, ready.unwrap_or_default(), explain(&Why::Lost));
        } else if !succeeded(ended, &rules) {
            self.failed_run(cid, ready.unwrap_or_default(), format!("it ended with {exit}"));
        } else if premature {
            self.failed_run(cid, Duration::ZERO, format!("it ended with {exit} before it was ready"));
        } else if rules.policy == RestartPolicy::Always {
            self.start_after(cid, ready.unwrap_or_default(), format!("it ended with {exit}"));
        } else if slot.build_due() {
            let reason = format!("it ended with {exit}");
            self.build_first(cid, Meanwhile::Completed { reason }, None);
        } else {
            self.enter(cid, Phase::Completed, format!("it ended with {exit}"), None);
        }
    }

    /// A run failed, or could not even be made.
    fn failed_run(&mut self, cid: Cid, ready: Duration, reason: String) {
        let Some(slot) = self.slot(cid) else { return };
        match slot.spec.restart.policy {
            RestartPolicy::OnFailure | RestartPolicy::Always => self.start_after(cid, ready, reason),
            RestartPolicy::Never => self.fail(cid, reason),
        }
    }

    /// An automatic restart, if the limit allows one more.
    fn start_after(&mut self, cid: Cid, ready: Duration, reason: String) {
        let now = self.now;
        let Some(slot) = self.slots.get_mut(cid.index()).and_then(Option::as_mut) else { return };
        let rules = Arc::clone(&slot.spec.restart);
        let build_due = slot.build_due();
        match slot.ledger.judge(now, ready, &rules, &mut self.rng) {
            // Something newer is being built: it is waited for.
            Verdict::After(wait) if build_due => {
                self.build_first(cid, Meanwhile::Backoff { until: now + wait, reason }, None);
            }
            Verdict::After(wait) if wait.is_zero() => self.start_or_settle(cid),
            Verdict::After(wait) => {
                let reason = format!("{reason}; starting again in {} ms", wait.as_millis());
                self.enter(cid, Phase::Backoff { until: now + wait }, reason, None);
            }
            Verdict::GiveUp => {
                let within = humantime::format_duration(rules.limit.within);
                let reason =
                    format!("{reason}; it was restarted {} times within {within}", rules.limit.count);
                self.fail(cid, reason);
            }
        }
    }

    /// For good, unless something newer is being built.
    fn fail(&mut self, cid: Cid, reason: String) {
        if self.slot(cid).is_some_and(Slot::build_due) {
            self.build_first(cid, Meanwhile::Failed { reason }, None);
        } else {
            self.fail_for_good(cid, reason);
        }
    }

    pub(super) fn fail_for_good(&mut self, cid: Cid, reason: String) {
        let Some(slot) = self.slot(cid) else { return };
        let shutdown = slot.spec.on_failure == OnFailure::Shutdown;
        self.enter(cid, Phase::Failed, reason, None);
        if shutdown {
            let cause = self.slot(cid).and_then(|slot| slot.last);
            self.shut_down(1, cause);
        }
    }

    /// Takes an unwanted component, of which nothing runs, out of the game.
    pub(super) fn rest(&mut self, cid: Cid) {
        let cause = self.slot(cid).and_then(|slot| slot.meanwhile);
        let cause = cause.or_else(|| self.shutdown.as_ref().map(|shutdown| shutdown.seq));
        let reason = match self.slot(cid).map(|slot| slot.wanted) {
            Some(Wanted::Removed) => "removed from the file",
            Some(Wanted::Down) => "stopped by command",
            Some(Wanted::Never) => "not chosen",
            Some(Wanted::Up) | None => "the project is shut down",
        };
        if let Some(slot) = self.slot_mut(cid) {
            slot.again = false;
            slot.meanwhile = None;
        }
        self.enter(cid, Phase::Stopped, reason, cause);
    }

    /// What was removed is gone: its slot is given to nobody else.
    pub(super) fn forget(&mut self, cid: Cid) {
        self.release(cid);
        let Some(slot) = self.slots.get_mut(cid.index()).and_then(Option::take) else { return };
        if self.names.get(&slot.spec.name) == Some(&cid) {
            self.names.remove(&slot.spec.name);
        }
        self.incarnations.insert(slot.spec.name.clone(), slot.incarnation);
        self.deadlines.remove(&(slot.armed, cid));
        self.busy -= usize::from(slot.counted.0);
        self.unfinished -= usize::from(slot.counted.1);
        self.out.push(Action::Release { component: cid });
        self.out.push(Action::Forget { component: cid });
        for edge in &slot.deps {
            if let Some(other) = self.slot_mut(edge.to) {
                other.dependents.retain(|back| back.to != cid);
                other.gate = 0;
            }
        }
    }
}

/// Whether the leader ended with a success code.
fn succeeded(ended: &Ended, rules: &Restart) -> bool {
    match &ended.exit {
        Some((Exit::Code(code), _)) => rules.success_codes.contains(code),
        Some((Exit::Signal(_) | Exit::Panic(_), _)) | None => false,
    }
}

/// Whether the leader did not heed the request to stop, but met its end on the way: what it was writing then
/// may be torn.
fn crashed(ended: &Ended, asked: Signal) -> bool {
    match &ended.exit {
        Some((Exit::Signal(signal), _)) => ![asked, Signal::TERM, Signal::INT, Signal::HUP].contains(signal),
        Some((Exit::Panic(_), _)) => true,
        Some((Exit::Code(_), _)) | None => false,
    }
}
