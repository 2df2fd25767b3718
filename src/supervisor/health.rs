//! Whether what is ready still lives: `health` (contract, section 2), and the watchdog of sd_notify(3).
//!
//! A check is asked by a hand, which tells of each failure and of the first good answer after one; they are counted
//! here. The watchdog is a deadline that each word puts off: one silence of its length is a failure, whatever
//! `retries` says.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::phase::{Phase, Run};
use super::record::{State, What};
use super::slot::{Slot, Why};
use super::{Action, Supervisor};
use crate::config::model::{Component, HealthCheck};
use crate::types::{Cid, Time};

/// A deadline that is met so late was slept through: orch was stopped (Ctrl-Z, a debugger), or the machine was.
const OVERSLEPT: Duration = Duration::from_millis(100);
/// What components have said meanwhile is on its way, and is listened to for so long before silence counts.
const LISTENING: Duration = Duration::from_millis(250);

/// What is known of the life of a run that is ready.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Vitals {
    /// How many checks in a row have failed, and what the last one met.
    pub(crate) row: u32,
    pub(crate) error: String,
    /// How often a hand was asked to check it: the answers to what was asked last count.
    pub(crate) asked: u64,
    /// How long it may be silent.
    pub(crate) every: Option<Duration>,
    /// When it has been silent for too long.
    pub(crate) silent_at: Time,
}

impl Vitals {
    /// Of a run that is not there yet; the length of its silence is what it is told at its start.
    pub(crate) fn of(spec: &Component) -> Self {
        Self { row: 0, error: String::new(), asked: 0, every: watchdog(spec), silent_at: Time::NEVER }
    }

    fn lives(&mut self, now: Time) {
        self.silent_at = self.every.map_or(Time::NEVER, |every| now + every);
    }
}

fn watchdog(spec: &Component) -> Option<Duration> {
    match spec.health.as_deref()?.check {
        HealthCheck::Watchdog(every) => Some(every),
        HealthCheck::Http(_) | HealthCheck::Tcp(_) | HealthCheck::Exec(_) => None,
    }
}

/// Whether a hand asks whether it lives.
pub(super) fn is_checked(spec: &Component) -> bool {
    spec.health.is_some() && watchdog(spec).is_none()
}

impl Slot {
    /// When time alone makes a failure of a run that is ready. One that is to end anyway need not live on.
    pub(crate) fn vital_deadline(&self) -> Time {
        match &self.phase {
            Phase::Ready(run) if self.wish.is_none() => {
                run.vitals.silent_at.min(run.reloading.unwrap_or(Time::NEVER))
            }
            _ => Time::NEVER,
        }
    }
}

impl Supervisor {
    /// A run has become ready: from now on it has to live.
    pub(super) fn watch_over(&mut self, cid: Cid) {
        let now = self.now;
        let Some(slot) = self.slot_mut(cid) else { return };
        let spec = Arc::clone(&slot.spec);
        let Phase::Ready(run) = &mut slot.phase else { return };
        run.vitals.lives(now);
        if is_checked(&spec) {
            self.check_health(cid);
        }
        self.rearm(cid);
    }

    /// Has a hand check it as it is declared now.
    fn check_health(&mut self, cid: Cid) {
        let Some(slot) = self.slot_mut(cid) else { return };
        let spec = Arc::clone(&slot.spec);
        let Phase::Ready(run) = &mut slot.phase else { return };
        run.vitals.asked += 1;
        let (run, asked) = (run.id, run.vitals.asked);
        self.out.push(Action::CheckHealth { run, spec, asked });
    }

    /// An edit may have changed what is asked. A watchdog that it has added, or made another, is for the next run:
    /// this one knows nothing of it.
    pub(super) fn re_check(&mut self, cid: Cid, before: &Component) {
        let Some(slot) = self.slot_mut(cid) else { return };
        if before.health == slot.spec.health {
            return;
        }
        let spec = Arc::clone(&slot.spec);
        let Some(run) = slot.phase.run_mut() else { return };
        (run.vitals.row, run.vitals.error) = (0, String::new());
        if watchdog(&spec).is_none() && watchdog(before).is_some() {
            (run.vitals.every, run.vitals.silent_at) = (None, Time::NEVER);
        }
        if is_checked(&spec) || is_checked(before) {
            self.check_health(cid);
        }
        self.rearm(cid);
    }

    /// The hands are other ones now; what it said to the old ones may still be on its way.
    pub(super) fn watch_over_again(&mut self, cid: Cid) {
        let now = self.now;
        let Some(slot) = self.slot_mut(cid) else { return };
        let Phase::Ready(run) = &mut slot.phase else { return };
        run.vitals.lives(now);
        if is_checked(&slot.spec) {
            self.check_health(cid);
        }
        self.rearm(cid);
    }

    /// A check failed.
    pub(super) fn unwell(&mut self, cid: Cid, asked: u64, error: String) {
        let Some(slot) = self.slot_mut(cid) else { return };
        let Some(retries) = slot.spec.health.as_ref().map(|health| health.retries) else { return };
        let Phase::Ready(run) = &mut slot.phase else { return };
        if asked != run.vitals.asked {
            return;
        }
        run.vitals.row = run.vitals.row.saturating_add(1);
        run.vitals.error = error;
        self.judge_health(cid, retries);
    }

    /// Ends what has failed so many checks in a row; also one that was to end anyway, and is not any more.
    pub(super) fn judge_health(&mut self, cid: Cid, retries: u32) {
        let Some(Phase::Ready(run)) = self.slot(cid).map(|slot| &slot.phase) else { return };
        let (row, error) = (run.vitals.row, &run.vitals.error);
        if row >= retries.max(1) {
            let times = if row == 1 { String::new() } else { format!(" {row} times in a row") };
            self.unhealthy(cid, format!("its health check failed{times}: {error}"));
        }
    }

    /// A check was good again.
    pub(super) fn well(&mut self, cid: Cid, asked: u64) {
        self.with_run(cid, |run| {
            if asked == run.vitals.asked {
                run.vitals.row = 0;
            }
        });
    }

    /// Puts off what silence alone makes due, where orch comes too late to have heard anything.
    pub(super) fn listen_first(&mut self) {
        let (now, by) = (self.now, self.now + LISTENING);
        let due = self.deadlines.iter().take_while(|(at, _)| *at + OVERSLEPT <= now);
        for cid in due.map(|(_, cid)| *cid).collect::<Vec<_>>() {
            let Some(slot) = self.slot_mut(cid) else { continue };
            match &mut slot.phase {
                Phase::Starting(run) if run.ready_by <= now => run.ready_by = by,
                Phase::Ready(run) => {
                    let silent = Some(&mut run.vitals.silent_at);
                    let moments = silent.into_iter().chain(&mut run.reloading);
                    moments.filter(|at| **at <= now).for_each(|at| *at = by);
                }
                _ => {}
            }
            self.rearm(cid);
        }
    }

    /// `WATCHDOG=1`: it lives.
    pub(super) fn heard_of(&mut self, cid: Cid) {
        let now = self.now;
        let Some(slot) = self.slot_mut(cid) else { return };
        if let Phase::Ready(run) = &mut slot.phase {
            run.vitals.lives(now);
        }
        self.rearm(cid);
    }

    /// `WATCHDOG_USEC=`: it says itself how long it may be silent from now on; zero is no value (`notice::message`).
    pub(super) fn heard_every(&mut self, cid: Cid, every: Duration) {
        self.with_run(cid, |run| run.vitals.every = (!every.is_zero()).then_some(every));
        self.heard_of(cid);
    }

    /// Its time has come, if it has not.
    pub(super) fn expire_vitals(&mut self, cid: Cid) {
        let now = self.now;
        let Some(slot) = self.slot(cid).filter(|slot| slot.vital_deadline() <= now) else { return };
        let Phase::Ready(run) = &slot.phase else { return };
        if run.vitals.silent_at <= now {
            let every = humantime::format_duration(run.vitals.every.unwrap_or_default());
            self.unhealthy(cid, format!("its watchdog heard nothing of it for {every}"));
        } else {
            self.not_reloaded_in_time(cid);
        }
    }

    /// What is ready does not live as it should: a failure, after it had been ready for so long.
    pub(super) fn unhealthy(&mut self, cid: Cid, reason: String) {
        let now = self.now;
        let Some(slot) = self.slot_mut(cid) else { return };
        let Phase::Ready(Run { ready_since, .. }) = &slot.phase else { return };
        // One that is to end anyway ends when those are gone that must be before it.
        if slot.wish.is_some() {
            return;
        }
        let ready = ready_since.map(|since| now.since(since)).unwrap_or_default();
        (slot.shown, slot.since) = (Some(State::Unhealthy), now);
        slot.reason.clone_from(&reason);
        self.note(cid, None, What::State { state: State::Unhealthy, reason: reason.clone() });
        self.end_now(cid, Why::Unhealthy { reason, ready }, None);
    }
}
