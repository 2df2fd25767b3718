//! What can be seen of a component from outside.

use std::collections::BTreeSet;

use super::Supervisor;
use super::builds::failed_because;
use super::phase::{Phase, Stage};
use super::record::{Source, State};
use super::slot::{Slot, Wanted};
use super::start::satisfied;
use crate::config::model::Kind;
use crate::types::{Cid, Exit, Name, Time};

/// A component as `orch ps` shows it.
#[derive(Debug, Clone)]
pub struct View {
    /// Whose.
    pub name: Name,
    /// Whether it is a thread.
    pub thread: bool,
    /// Its state.
    pub state: State,
    /// Why it is in it, as a fragment of a sentence.
    pub reason: String,
    /// Since when.
    pub since: Time,
    /// The leader's process id, while there is one.
    pub pid: Option<u32>,
    /// The number of its last run; 0 before the first.
    pub incarnation: u64,
    /// Automatic restarts since `up`.
    pub restarts: u32,
    /// How its last run ended.
    pub exit: Option<Exit>,
    /// What it says of itself.
    pub status: Option<String>,
    /// Where the state of its present run comes from.
    pub restored: Option<Source>,
}

/// How far a component is from what somebody wants of it. Unlike its [`State`], it tells a component that only
/// looks at rest from one that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It is ready, and nothing is to end it.
    Up,
    /// Something is still to come of it by itself.
    Underway,
    /// It waits for something that a command has stopped, and so for somebody to start that.
    Held,
    /// It has completed.
    Completed,
    /// It has failed, or what it depends on has: nothing comes of it any more by itself.
    Failed,
    /// It is stopped.
    Stopped,
    /// It can't be ended.
    Stuck,
}

impl Supervisor {
    /// Whether everything is being force-killed.
    #[must_use]
    pub fn is_forced(&self) -> bool {
        self.shutdown.as_ref().is_some_and(|shutdown| shutdown.forced)
    }

    /// How far a component is; `None` when it is no more.
    #[must_use]
    pub fn standing(&self, cid: Cid) -> Option<Standing> {
        let slot = self.slot(cid)?;
        self.standing_where(cid, || self.is_held(slot))
    }

    /// The same, where it is `held` who tells whether one that waits is held.
    pub(super) fn standing_where(&self, cid: Cid, held: impl FnOnce() -> bool) -> Option<Standing> {
        let slot = self.slot(cid)?;
        Some(match &slot.phase {
            Phase::Ready(run) if slot.wish.is_none() && run.reloading.is_none() => Standing::Up,
            Phase::Completed => Standing::Completed,
            Phase::Failed | Phase::Blocked => Standing::Failed,
            Phase::Stopped => Standing::Stopped,
            Phase::Ending(ending) if matches!(ending.stage, Stage::Spared | Stage::GivenUp) => {
                Standing::Stuck
            }
            Phase::Waiting if held() => Standing::Held,
            Phase::Ready(_)
            | Phase::Ending(_)
            | Phase::Waiting
            | Phase::Building(_)
            | Phase::Preparing(_)
            | Phase::Spawning(_) => Standing::Underway,
            Phase::Starting(_) | Phase::Sealing(_) | Phase::Settling { .. } => Standing::Underway,
            Phase::Held { .. } | Phase::Backoff { .. } => Standing::Underway,
        })
    }

    /// Whether a component that waits does so, directly or by way of others that wait, for one that a command
    /// has stopped.
    fn is_held(&self, waiting: &Slot) -> bool {
        let (mut seen, mut stack) = (BTreeSet::new(), vec![waiting]);
        while let Some(slot) = stack.pop() {
            for edge in &slot.deps {
                let Some(needed) = self.slot(edge.to).filter(|needed| !satisfied(needed, *edge)) else {
                    continue;
                };
                match needed.phase {
                    Phase::Stopped if needed.wanted == Wanted::Down => return true,
                    Phase::Waiting if seen.insert(edge.to) => stack.push(needed),
                    _ => {}
                }
            }
        }
        false
    }

    /// The number of the last run of a component that has executed anything: one that is only prepared has not,
    /// and so sees whatever was changed or commanded before.
    #[must_use]
    pub fn executed(&self, cid: Cid) -> u64 {
        let Some(slot) = self.slot(cid) else { return 0 };
        let unseen = match &slot.phase {
            Phase::Preparing(_) => true,
            Phase::Sealing(ended) => ended.never_ran(),
            _ => false,
        };
        slot.incarnation - u64::from(unseen)
    }

    /// Whether a component is to be up, and the project does not end.
    #[must_use]
    pub fn is_wanted(&self, cid: Cid) -> bool {
        self.slot(cid).is_some_and(|slot| !self.unwanted(slot))
    }

    /// One component.
    #[must_use]
    pub fn view(&self, cid: Cid) -> Option<View> {
        self.slot(cid).map(view)
    }

    /// All components, by name.
    pub fn views(&self) -> impl Iterator<Item = View> + '_ {
        self.names.values().filter_map(|cid| self.view(*cid))
    }
}

/// Why it is in its state; of one that goes on although something of it has failed, that.
pub(super) fn reason(slot: &Slot) -> String {
    let state = slot.phase.state();
    let short = || if state == State::Ready { state.word().to_owned() } else { slot.reason.clone() };
    let run = slot.on_change.failed.as_ref().filter(|_| slot.phase.up());
    match (slot.build_failure(), run) {
        // It is told in the reason.
        (Some(_), _) if matches!(slot.phase, Phase::Failed | Phase::Blocked | Phase::Building(_)) => {
            slot.reason.clone()
        }
        (Some(failure), _) => format!("{}; {}", short(), failed_because("its build", failure)),
        (None, Some(failure)) => format!("{}; {}", short(), failed_because("what a change runs", failure)),
        (None, None) if slot.phase.up() && slot.build.beside.task().is_some() => {
            format!("{}; it is being built anew", slot.reason)
        }
        (None, None) => slot.reason.clone(),
    }
}

fn view(slot: &Slot) -> View {
    let run = slot.phase.run();
    View {
        name: slot.spec.name.clone(),
        thread: matches!(slot.spec.kind, Kind::Thread { .. }),
        state: slot.phase.state(),
        reason: reason(slot),
        since: slot.since,
        // That of a leader that has ended may be anybody's by now.
        pid: run.filter(|run| slot.phase.led() && run.left.is_none()).and_then(|run| run.pid),
        incarnation: slot.incarnation,
        restarts: slot.ledger.total,
        exit: slot.exit.clone(),
        status: slot.status.clone(),
        restored: run.and_then(|run| run.restored.as_ref()).map(|restored| restored.source),
    }
}
