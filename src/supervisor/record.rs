//! What happened: the lines of `events.ndjson`, as values.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::affected::Affected;
use crate::plan::Plan;
use crate::types::{Diagnostic, Exit, Name, TaskFailure, TaskKind, Time};
pub use crate::types::{Source, State};

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Record {
    /// Goes on over runs of orch.
    pub seq: u64,
    /// The record that led to this one; `None` at a root.
    pub cause: Option<u64>,
    /// When.
    pub at: Time,
    /// Whose.
    pub component: Option<Name>,
    /// In which run.
    pub incarnation: Option<u64>,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum What {
    /// The project began.
    ProjectUp,
    /// The project ended.
    ProjectDown {
        /// The exit code.
        code: u8,
    },
    /// An edit is applied.
    ConfigReloaded {
        /// What it changes.
        plan: Arc<Plan>,
    },
    /// An edit is not valid, and changes nothing.
    ConfigRejected {
        /// Why.
        errors: Arc<Vec<Diagnostic>>,
    },
    /// A component is in another state.
    State {
        /// Which.
        state: State,
        /// Why, as a fragment of a sentence.
        reason: String,
    },
    /// A leader runs.
    Spawned {
        /// Its process id; `None` for a thread.
        pid: Option<u32>,
    },
    /// A leader ended.
    Exited {
        /// How.
        exit: Exit,
    },
    /// A unit was asked to stop.
    StopRequested {
        /// Why, as a fragment of a sentence.
        reason: String,
    },
    /// A unit was force-killed.
    ForceKilled {
        /// Who.
        pids: Vec<u32>,
    },
    /// A command of a component runs.
    TaskStarted {
        /// What it is for.
        kind: TaskKind,
    },
    /// It has ended with 0.
    TaskSucceeded {
        /// What it was for.
        kind: TaskKind,
        /// So long it ran.
        took: Duration,
    },
    /// It has ended otherwise.
    TaskFailed {
        /// What it was for.
        kind: TaskKind,
        /// So long it ran.
        took: Duration,
        /// How.
        failure: TaskFailure,
    },
    /// It has ended, or is given up, and says nothing: it was told to end, or was lost.
    TaskEnded {
        /// What it was for.
        kind: TaskKind,
        /// So long it ran.
        took: Duration,
        /// Why, as a fragment of a sentence.
        reason: &'static str,
    },
    /// Watched files have other bytes.
    Changed {
        /// Which.
        paths: Vec<PathBuf>,
    },
    /// A generation was made.
    StateSealed {
        /// Which.
        generation: u64,
        /// Of what kind.
        source: Source,
        /// Its length in bytes.
        bytes: u64,
    },
    /// A generation was put in place.
    StateRestored(Restored),
    /// A generation, or a state file, was set aside.
    StateRejected {
        /// Why.
        reason: String,
    },
    /// orch has replaced its own image.
    Reexec,
    /// orch could not replace its own image, and goes on as it is.
    ReexecFailed {
        /// What was attempted, on what, and why it failed.
        error: String,
    },
    /// Somebody commanded.
    Command {
        /// What.
        name: &'static str,
        /// For whom.
        args: Vec<Name>,
        /// What it does, to whom.
        affects: Vec<Affected>,
    },
}

/// A state that was put in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Where it comes from.
    pub source: Source,
    /// Which generation.
    pub generation: u64,
}

/// What became of a seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sealed {
    /// There is nothing new to seal.
    Nothing,
    /// A generation was made.
    Done {
        /// Which.
        generation: u64,
        /// Of what kind.
        source: Source,
        /// Its length in bytes.
        bytes: u64,
    },
    /// The file does not count, and was set aside; or it could not be sealed.
    Rejected {
        /// Why.
        reason: String,
    },
}

/// How a run ended, as it matters to its state (contract, section 5, "Seal").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// It was asked to stop, and did.
    Ordered,
    /// It ended by itself with a success code.
    Succeeded,
    /// It was force-killed, or it crashed.
    Crashed,
}
