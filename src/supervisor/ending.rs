//! From a wish of an end to the last byte of output.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::phase::{Ending, Phase, Stage};
use super::record::What;
use super::slot::{Edge, Slot, Wanted, Why, Wish, is_thread};
use super::{Action, Supervisor};
use crate::config::model::Condition;
use crate::types::{Cid, Exit, Name, RunId, Scope, Signal};

/// What has happened to all that runs when the keeper is killed.
pub(super) const LOST: &str = "the keeper of the processes was killed";

impl Supervisor {
    /// Wishes that a run end, as soon as those are gone that must be before it.
    pub(super) fn wish(&mut self, cid: Cid, why: Why, cause: Option<u64>) {
        let Some(slot) = self.slot_mut(cid) else { return };
        let standing = slot.wish.as_ref().is_some_and(|wish| !wish.why.starts_again());
        if slot.phase.up() && !standing {
            slot.wish = Some(Wish { why, cause });
            // Those that wait for it must not start on it any more.
            self.wake(cid);
        }
    }

    /// Tells a run that is to end, if nobody stands in the way.
    pub(super) fn stop_if_free(&mut self, cid: Cid) {
        let Some(wish) = self.slot(cid).and_then(|slot| slot.wish.clone()) else { return };
        if self.must_wait(cid, &wish.why) {
            return;
        }
        let dependents =
            self.slot(cid).map(|slot| slot.dependents.iter().map(|edge| edge.to).collect::<Vec<_>>());
        let led = self.latest(cid, dependents.unwrap_or_default());
        let cause = wish.cause.max(if wish.why.starts_again() { None } else { led });
        self.end_now(cid, wish.why, cause);
    }

    /// Guarantee 2: an ordered stop waits for all that depend on it; a restart, for those that go with it.
    fn must_wait(&mut self, cid: Cid, why: &Why) -> bool {
        let Some(slot) = self.slot(cid) else { return false };
        if !why.starts_again() {
            return slot.holders > 0;
        }
        // One whose edge an edit has only now made a follower stays as it is.
        let holds = |edge: &Edge| edge.restart && self.slot(edge.to).is_some_and(Slot::goes_down);
        if slot.dependents.get(slot.gate).is_some_and(holds) {
            return true;
        }
        let found = slot.dependents.iter().position(holds);
        if let (Some(at), Some(slot)) = (found, self.slot_mut(cid)) {
            slot.gate = at;
        }
        found.is_some()
    }

    /// Asks a run to stop, now.
    pub(super) fn end_now(&mut self, cid: Cid, why: Why, cause: Option<u64>) {
        let Some(slot) = self.slot(cid) else { return };
        let (Phase::Starting(run) | Phase::Ready(run)) = &slot.phase else { return };
        let (run, reason) = (run.clone(), explain(&why));
        let (id, rules) = (run.id, Arc::clone(&slot.spec.stop));
        let until = self.now + rules.timeout;
        self.note(cid, cause, What::StopRequested { reason: reason.clone() });
        let failed = matches!(why, Why::NotReady(_) | Why::Unhealthy { .. });
        let by_command = rules.command.is_some() && !is_thread(&run.spec);
        let ending = Ending::of(run, why, Stage::Asked { until });
        self.enter(cid, Phase::Ending(ending), reason, None);
        if by_command {
            self.stop_by_command(cid, id);
        } else {
            self.drain_and_stop(cid);
        }
        self.left_counts(cid);
        if failed {
            self.take_dependents_along(cid, false, None);
        }
    }

    /// Wishes that the running dependents with `restart: true` end. After a command, a change or an edit all
    /// of them; after an end by itself not those that wanted just that (`completed`). What led to it is
    /// `cause`, else the last that is recorded of the component.
    pub(super) fn take_dependents_along(&mut self, cid: Cid, ordered: bool, cause: Option<u64>) {
        let cause = cause.or_else(|| self.slot(cid).and_then(|slot| slot.last));
        for (dependent, leader) in self.all_followers(vec![(cid, ordered)]) {
            self.wish(dependent, Why::Dependency(leader), cause);
        }
    }

    /// All that go down with these, each with the name of whom it follows: the dependents with `restart: true`
    /// that run and are not to end yet, and theirs. In an end that was not ordered, not those that wanted just
    /// an end (`completed`).
    pub(super) fn all_followers(&self, mut leaders: Vec<(Cid, bool)>) -> Vec<(Cid, Name)> {
        let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
        while let Some((leader, ordered)) = leaders.pop() {
            let Some(slot) = self.slot(leader) else { continue };
            for edge in &slot.dependents {
                let along = edge.restart && (ordered || edge.condition != Condition::Completed);
                if along && self.slot(edge.to).is_some_and(Slot::may_follow) && seen.insert(edge.to) {
                    found.push((edge.to, slot.spec.name.clone()));
                    leaders.push((edge.to, true));
                }
            }
        }
        found
    }

    /// The leader ended: by itself, or as it was asked to. The rest of its unit is stopped likewise.
    pub(super) fn leader_ended(&mut self, cid: Cid, exit: Exit) {
        if self.may_go_on_without(cid, &exit) {
            return;
        }
        let Some(slot) = self.slot(cid) else { return };
        let Some(run) = slot.phase.run().map(|run| run.id) else { return };
        let signal = slot.spec.stop.signal;
        let scope = match &slot.phase {
            Phase::Ending(ending) if !matches!(ending.stage, Stage::Asked { .. }) => None,
            // The leader's group has been asked already.
            Phase::Ending(ending) if ending.signalled => Some(Scope::Escaped),
            _ => Some(Scope::Unit),
        };
        if self.note_exit(cid, exit, Why::Own)
            && let Some(scope) = scope
        {
            self.rest_asked(cid);
            self.out.push(Action::Stop { run, signal, scope, drain: Duration::ZERO });
        }
    }

    /// What a leader has left is asked to stop, and not again. Where nobody had told the leader to, for it was on its
    /// way out by its own word, what is left has its time from now on.
    fn rest_asked(&mut self, cid: Cid) {
        let now = self.now;
        let Some(slot) = self.slot_mut(cid) else { return };
        let timeout = slot.spec.stop.timeout;
        let Phase::Ending(Ending { why, stage: Stage::Asked { until }, signalled, .. }) = &mut slot.phase
        else {
            return;
        };
        if !std::mem::replace(signalled, true) && *why == Why::Own {
            *until = (*until).max(now + timeout);
            self.rearm(cid);
        }
    }

    /// Notes how the leader ended, if that is news; where nobody had told it to, the run is ending from now
    /// on.
    fn note_exit(&mut self, cid: Cid, exit: Exit, why: Why) -> bool {
        let now = self.now;
        if !self.slot(cid).is_some_and(|slot| slot.phase.led()) {
            return false;
        }
        self.note(cid, None, What::Exited { exit: exit.clone() });
        let Some(slot) = self.slot_mut(cid) else { return false };
        slot.exit = Some(exit.clone());
        match &mut slot.phase {
            Phase::Ending(ending) => ending.exit = Some((exit, now)),
            _ => self.own_end(cid, Some(exit), why),
        }
        true
    }

    /// Whether a run that is asked to stop is the last one of its component, as far as anybody knows.
    #[must_use]
    pub fn is_last(&self, run: RunId) -> bool {
        self.slot(run.component).is_some_and(|slot| match &slot.phase {
            Phase::Ending(ending) if ending.run.id == run => {
                !slot.again && matches!(ending.why, Why::Unwanted(_))
            }
            _ => false,
        })
    }

    /// A run ended though nobody had told it to, or says that it is about to.
    pub(super) fn own_end(&mut self, cid: Cid, exit: Option<Exit>, why: Why) {
        let now = self.now;
        let Some(slot) = self.slot_mut(cid) else { return };
        let Some(run) = slot.phase.run().cloned() else { return };
        if let Some(wish) = slot.wish.take() {
            slot.again |= wish.why.starts_again();
            slot.meanwhile = wish.cause;
        }
        let stage = Stage::Asked { until: now + slot.spec.stop.timeout };
        let reason = match &exit {
            Some(exit) if why == Why::Own => format!("it ended with {exit}"),
            _ => explain(&why),
        };
        let exit = exit.map(|exit| (exit, now));
        let ending = Ending { exit, ..Ending::of(run, why, stage) };
        self.enter(cid, Phase::Ending(ending), reason, None);
        self.take_dependents_along(cid, false, None);
    }

    /// The keeper was killed, and the unit with it, or before it was started.
    pub(super) fn lost(&mut self, cid: Cid) {
        if self.slot(cid).is_some_and(|slot| matches!(slot.phase, Phase::Spawning(_))) {
            return self.not_started(cid, explain(&Why::Lost));
        }
        let exit = self.unseen_exit(cid);
        self.note_exit(cid, exit, Why::Lost);
        self.unit_gone(cid);
    }

    /// How the leader of a unit has ended that is gone. If nobody saw it, it was not the leader's own doing.
    fn unseen_exit(&mut self, cid: Cid) -> Exit {
        let left = self.slot_mut(cid).and_then(|slot| slot.phase.run_mut()).and_then(|run| run.left.take());
        left.unwrap_or(Exit::Signal(Signal::KILL))
    }

    pub(super) fn unit_gone(&mut self, cid: Cid) {
        let exit = self.unseen_exit(cid);
        self.note_exit(cid, exit, Why::Own);
        let Some(Phase::Ending(ending)) = self.slot(cid).map(|slot| &slot.phase) else { return };
        if ending.gone {
            return;
        }
        let mut ending = ending.clone();
        ending.gone = true;
        let (join, reason) =
            self.slot(cid).map(|slot| (slot.spec.stop.join_timeout, slot.reason.clone())).unwrap_or_default();
        let forced = self.shutdown.as_ref().is_some_and(|shutdown| shutdown.forced);
        let (id, ended) = (ending.run.id, ending.run.output_ended);
        ending.stage = match ending.stage {
            _ if forced => Stage::Closed,
            // The one join_timeout is for both: the end of the unit, and that of its output.
            Stage::Killed { until } => Stage::Draining { until },
            Stage::Asked { .. } | Stage::Draining { .. } | Stage::Closed | Stage::Spared | Stage::GivenUp => {
                Stage::Draining { until: self.now + join }
            }
        };
        self.enter(cid, Phase::Ending(ending), reason, None);
        self.end_stop_task(cid);
        if ended {
            self.all_gone(cid);
        } else if forced {
            self.out.push(Action::CloseOutput { run: id });
        }
    }

    pub(super) fn output_ended(&mut self, cid: Cid) {
        self.with_run(cid, |run| run.output_ended = true);
        let gone = self.slot(cid).is_some_and(|slot| matches!(&slot.phase, Phase::Ending(e) if e.gone));
        if gone {
            self.all_gone(cid);
        }
    }

    pub(super) fn killed(&mut self, cid: Cid, pids: Vec<u32>) {
        if !pids.is_empty() {
            self.note(cid, None, What::ForceKilled { pids });
        }
    }

    /// A thread does not return: nothing but its own return ends it.
    pub(super) fn unkillable(&mut self, cid: Cid) {
        let Some(Phase::Ending(ending)) = self.slot(cid).map(|slot| &slot.phase) else { return };
        if ending.gone || self.reexec_for(cid) {
            return;
        }
        self.give_up(cid, "its thread does not return, and can't be killed".to_owned(), None);
    }

    /// What is left of a run can't be ended; `cause` is what led to that, where it is not the end that was tried.
    pub(super) fn give_up(&mut self, cid: Cid, reason: String, cause: Option<u64>) {
        let Some(Phase::Ending(ending)) = self.slot(cid).map(|slot| &slot.phase) else { return };
        let ending = Ending { stage: Stage::GivenUp, ..ending.clone() };
        self.enter(cid, Phase::Ending(ending), reason, cause);
    }

    /// A deadline of an ending has come.
    pub(super) fn expire_ending(&mut self, cid: Cid) {
        let Some(slot) = self.slot(cid) else { return };
        let Phase::Ending(ending) = &slot.phase else { return };
        let id = ending.run.id;
        let rules = Arc::clone(&slot.spec.stop);
        match ending.stage {
            Stage::Asked { .. } if rules.force_kill => {
                let reason = format!("it did not stop within {} ms", rules.timeout.as_millis());
                self.force(cid, &reason, None);
            }
            Stage::Asked { .. } => {
                let ending = Ending { stage: Stage::Spared, ..ending.clone() };
                let reason =
                    format!("it did not stop within {} ms, and force_kill is off", rules.timeout.as_millis());
                self.enter(cid, Phase::Ending(ending), reason, None);
                self.end_stop_task(cid);
                self.signal_to_stop(cid);
            }
            Stage::Killed { .. } => {
                let what = if is_thread(&ending.run.spec) { "its thread" } else { "processes" };
                let waited = rules.join_timeout.as_millis();
                self.give_up(cid, format!("{what} outlived the force-kill by {waited} ms"), None);
            }
            Stage::Draining { .. } => {
                let ending = Ending { stage: Stage::Closed, ..ending.clone() };
                self.enter(cid, Phase::Ending(ending), "its output was held open, and is closed", None);
                self.out.push(Action::CloseOutput { run: id });
            }
            Stage::Closed | Stage::Spared | Stage::GivenUp => {}
        }
    }

    /// Force-kills a run, whatever it is doing; `cause` is what led to that, where it is not the run's own
    /// story.
    pub(super) fn force(&mut self, cid: Cid, reason: &str, cause: Option<u64>) {
        let Some(slot) = self.slot(cid) else { return };
        let stage = Stage::Killed { until: self.now + slot.spec.stop.join_timeout };
        let ending = match &slot.phase {
            Phase::Starting(run) | Phase::Ready(run) => {
                let (run, why) = (run.clone(), Why::Unwanted("everything is force-killed".into()));
                Ending { killed: true, ..Ending::of(run, why, stage) }
            }
            Phase::Ending(ending) => match ending.stage {
                Stage::Asked { .. } | Stage::Spared => Ending { stage, killed: true, ..ending.clone() },
                Stage::Draining { .. } => return self.expire_ending(cid),
                Stage::Killed { .. } | Stage::Closed | Stage::GivenUp => return,
            },
            // What is being spawned is killed as soon as it is there; of the others nothing runs.
            Phase::Preparing(_) | Phase::Spawning(_) | Phase::Sealing(_) => return,
            Phase::Settling { .. } | Phase::Held { .. } | Phase::Building(_) => return,
            Phase::Stopped | Phase::Waiting | Phase::Blocked | Phase::Backoff { .. } => return,
            Phase::Completed | Phase::Failed => return,
        };
        let id = ending.run.id;
        if let Some(slot) = self.slot_mut(cid) {
            slot.last = slot.last.max(cause);
        }
        self.enter(cid, Phase::Ending(ending), format!("force-killed: {reason}"), None);
        self.out.push(Action::Kill { run: id });
        self.end_stop_task(cid);
    }

    /// What is wanted of a component becomes `wanted`, and what runs of it ends in order.
    pub(super) fn unwant(&mut self, cid: Cid, wanted: Wanted, why: &'static str, cause: Option<u64>) {
        let Some(slot) = self.slot_mut(cid) else { return };
        slot.wanted = wanted;
        slot.again = false;
        slot.meanwhile = None;
        self.end_tasks(cid);
        let Some(slot) = self.slot_mut(cid) else { return };
        match &slot.phase {
            Phase::Spawning(_) | Phase::Starting(_) | Phase::Ready(_) => {
                slot.wish = None;
                self.wish(cid, Why::Unwanted(why.into()), cause);
            }
            Phase::Waiting
            | Phase::Blocked
            | Phase::Building(_)
            | Phase::Backoff { .. }
            | Phase::Settling { .. }
            | Phase::Held { .. }
            | Phase::Failed => {
                self.enter(cid, Phase::Stopped, why, cause);
            }
            Phase::Completed | Phase::Stopped => {
                self.dirty.insert(cid);
            }
            Phase::Preparing(_) | Phase::Ending(_) | Phase::Sealing(_) => slot.meanwhile = cause,
        }
    }
}

/// A reason as a fragment of a sentence.
pub(super) fn explain(why: &Why) -> String {
    match why {
        Why::Own => "it stops by itself".to_owned(),
        Why::Lost => format!("{LOST}, and it with it"),
        Why::Change => "a watched file changed".to_owned(),
        Why::Restart => "restart was commanded".to_owned(),
        Why::Edit(reason) | Why::Build(reason) | Why::NotReady(reason) => reason.clone(),
        Why::NotStarted(reason) | Why::Unhealthy { reason, .. } => reason.clone(),
        Why::TakenBack => "it may not start now".to_owned(),
        Why::Dependency(name) => format!("{name}, on which it depends with restart: true, goes down"),
        Why::Unwanted(reason) => reason.clone().into_owned(),
        Why::Reexec => "orch replaces its own image".to_owned(),
    }
}
