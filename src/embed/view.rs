//! A component as an embedding program sees it.

use std::time::SystemTime;

use crate::runtime::wall;
use crate::supervisor::{State, View};
use crate::types::{Exit, Source};

/// A component as `orch ps` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComponentView {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ComponentKind,
    /// Its state.
    pub state: State,
    /// Why it is in it, as a fragment of a sentence.
    pub reason: String,
    /// Since when, by the wall clock.
    pub since: SystemTime,
    /// The process id of its leader, while there is one; never for a thread.
    pub pid: Option<u32>,
    /// The number of its last run; 0 before the first.
    pub incarnation: u64,
    /// Automatic restarts since the project began.
    pub restarts: u32,
    /// How its last run ended.
    pub exit: Option<Exit>,
    /// The status line that it gave last.
    pub status: Option<String>,
    /// Where the state of its present run comes from; `None` when it began afresh, or has no state.
    pub restored: Option<Source>,
}

/// What a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ComponentKind {
    /// A process.
    Process,
    /// A thread of this process.
    Thread,
}

impl ComponentView {
    pub(super) fn new(view: View) -> Self {
        Self {
            name: view.name.to_string(),
            kind: if view.thread { ComponentKind::Thread } else { ComponentKind::Process },
            state: view.state,
            reason: view.reason,
            since: wall(view.since),
            pid: view.pid,
            incarnation: view.incarnation,
            restarts: view.restarts,
            exit: view.exit,
            status: view.status,
            restored: view.restored,
        }
    }
}
