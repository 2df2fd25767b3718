//! Commands that are run for a component beside its run: a build, what a change runs, what asks it to stop.

use serde::{Deserialize, Serialize};

use super::Cid;

/// One such command. Unlike a run, it can be there when nothing else of its component is; the numbers of a
/// component's tasks only grow, so that a late answer is known as late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// Whose.
    pub component: Cid,
    /// 1, 2, 3 … as long as orch lives.
    pub number: u64,
}

/// What a task is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaskKind {
    /// `build`.
    Build,
    /// `watch.action: {run: …}`.
    OnChange,
    /// `stop.command`.
    Stop,
}

impl TaskKind {
    /// The word for it, as the events of `events.ndjson` begin: `build`, `run`, `stop_command`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::OnChange => "run",
            Self::Stop => "stop_command",
        }
    }

    /// The kind that this word means.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Build, Self::OnChange, Self::Stop].into_iter().find(|kind| kind.word() == word)
    }

    /// What it is called in a sentence: `its build`.
    #[must_use]
    pub fn called(self) -> &'static str {
        match self {
            Self::Build => "its build",
            Self::OnChange => "what a change runs",
            Self::Stop => "its stop command",
        }
    }
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskEnd {
    /// With 0.
    Done,
    /// Otherwise: another code, a signal, its time-out, or it could not be started.
    Failed(TaskFailure),
    /// It was told to end, and said nothing that counts.
    Ended,
    /// The keeper of the processes was killed, and it with it, or before it could be started.
    Lost,
}

/// What is known of a task that failed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskFailure {
    /// How, as a fragment of a sentence: "it ended with exit code 101".
    pub reason: String,
    /// The place that its output names as the first that is at fault: `src/main.rs:3:5`.
    pub place: Option<String>,
    /// The last lines of its output, without colours and control characters.
    pub tail: Vec<String>,
}
