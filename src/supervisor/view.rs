//! What can be seen of a component from outside.

use super::Supervisor;
use super::record::{Source, State};
use super::slot::{Phase, Slot};
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

impl Supervisor {
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

/// The process id of a leader that lives: that of a dead one may be anybody's.
fn leader(phase: &Phase) -> Option<u32> {
    match phase {
        Phase::Starting(run) | Phase::Ready(run) => run.pid,
        Phase::Ending(ending) if ending.exit.is_none() && !ending.gone => ending.run.pid,
        Phase::Ending(_) | Phase::Preparing(_) | Phase::Spawning(_) | Phase::Sealing(_) => None,
        Phase::Stopped | Phase::Waiting | Phase::Blocked | Phase::Settling { .. } => None,
        Phase::Backoff { .. } | Phase::Completed | Phase::Failed => None,
    }
}

fn view(slot: &Slot) -> View {
    let run = slot.phase.run();
    View {
        name: slot.spec.name.clone(),
        thread: matches!(slot.spec.kind, Kind::Thread { .. }),
        state: slot.phase.state(),
        reason: slot.reason.clone(),
        since: slot.since,
        pid: leader(&slot.phase),
        incarnation: slot.incarnation,
        restarts: slot.ledger.total,
        exit: slot.exit.clone(),
        status: slot.status.clone(),
        restored: run.and_then(|run| run.restored.as_ref()).map(|restored| restored.source),
    }
}
