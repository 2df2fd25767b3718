//! What can be seen of a component from outside.

use super::Supervisor;
use super::record::{Source, State};
use super::slot::Slot;
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

fn view(slot: &Slot) -> View {
    let run = slot.phase.run();
    View {
        name: slot.spec.name.clone(),
        thread: matches!(slot.spec.kind, Kind::Thread { .. }),
        state: slot.phase.state(),
        reason: slot.reason.clone(),
        since: slot.since,
        // That of a leader that has ended may be anybody's by now.
        pid: run.filter(|_| slot.phase.led()).and_then(|run| run.pid),
        incarnation: slot.incarnation,
        restarts: slot.ledger.total,
        exit: slot.exit.clone(),
        status: slot.status.clone(),
        restored: run.and_then(|run| run.restored.as_ref()).map(|restored| restored.source),
    }
}
