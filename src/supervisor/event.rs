//! What the core is told. Closed: every trigger of a decision can be read here.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::record::{Restored, Sealed};
use crate::config::model::Project;
use crate::types::{Cid, Diagnostic, Exit, Name, Notice, RunId, TaskEnd, TaskId};

/// What the core is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Event {
    /// The project begins; the first event, once.
    Up,
    /// `now` has reached [`next_deadline`](super::Supervisor::next_deadline). Harmless at any other time.
    Deadline,
    /// An effect answers about a run; an answer about another run than the current one changes nothing.
    Run(RunId, RunEvent),
    /// A task has ended, and nothing of it is left; an answer about a task that is not awaited changes nothing.
    Task(TaskId, TaskEnd),
    /// Watched files of a component have other bytes than before.
    Changed {
        /// Whose files.
        component: Cid,
        /// Which ones; not empty.
        paths: Vec<PathBuf>,
    },
    /// Something is being done to watched files of a component: they are not quiet.
    Busy {
        /// Whose files.
        component: Cid,
    },
    /// All that had happened to watched files of a component when it was asked is reported.
    Sifted {
        /// Whose files.
        component: Cid,
    },
    /// The YAML file, or an env file, was edited, and is valid.
    Edit {
        /// What is declared now.
        project: Arc<Project>,
        /// Which components run by themselves (profiles, autostart).
        chosen: BTreeSet<Name>,
    },
    /// The YAML file, or an env file, was edited, and is not valid.
    EditRejected {
        /// What is wrong with it.
        errors: Arc<Vec<Diagnostic>>,
    },
    /// Somebody commands.
    Command(Command),
    /// This is the new image: the threads of the old one are gone. The first event after a re-exec.
    Reexeced,
    /// There is no new image, and all is as it was.
    ReexecFailed {
        /// What was attempted, on what, and why it failed.
        error: String,
    },
}

/// What an effect answers about a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum RunEvent {
    /// Everything before the spawn is done.
    Prepared {
        /// The state put in place, if any.
        restored: Option<Restored>,
        /// The generations that failed a check on the way, with the reason of each.
        rejected: Vec<String>,
        /// What was found at the state's path, and sealed before it was taken away.
        sealed: Option<Sealed>,
    },
    /// It can't be started.
    PrepareFailed {
        /// What was attempted, on what, and why it failed.
        error: String,
    },
    /// It can't be started: its state is required, and lost.
    StateLost {
        /// What was looked for, and that it is not there.
        error: String,
        /// As in `Prepared`.
        rejected: Vec<String>,
        /// As in `Prepared`.
        sealed: Option<Sealed>,
    },
    /// The leader runs.
    Spawned {
        /// Its process id; `None` for a thread.
        pid: Option<u32>,
    },
    /// Nothing was started.
    SpawnFailed {
        /// What was attempted, on what, and why it failed.
        error: String,
    },
    /// It is ready.
    Ready,
    /// A try of its readiness probe failed; for `why`.
    NotYet {
        /// What the probe met.
        error: String,
        /// How many tries there were so far, this one included; not each is told of.
        tries: u32,
    },
    /// It tells how it is.
    Status {
        /// One line.
        text: String,
    },
    /// The leader ended.
    Exited(Exit),
    /// Nothing of the unit is left.
    Gone,
    /// The keeper of the processes was killed, and the unit with it, or before it could be started. Nothing of it is
    /// left.
    Lost,
    /// All its output is read.
    OutputEnded,
    /// These were force-killed.
    Killed {
        /// Process ids.
        pids: Vec<u32>,
    },
    /// It can't be force-killed: a thread.
    Unkillable,
    /// The answer to a seal.
    Sealed(Sealed),
    /// Its state file was replaced, by rename or link, while it runs.
    Replaced,
    /// The answer to a snapshot.
    Snapshot(Sealed),
    /// A try of its health check failed.
    Unwell {
        /// The number of what was asked.
        asked: u64,
        /// What the check met.
        error: String,
    },
    /// A try of its health check was good again, after one that failed.
    Well {
        /// The number of what was asked.
        asked: u64,
    },
    /// It says something on its notify socket.
    Notice(Notice),
}

/// What somebody commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Start these, and what they need.
    Start(Vec<Name>),
    /// Stop these, and first what runs and needs them.
    Stop(Vec<Name>),
    /// Stop and start these.
    Restart(Vec<Name>),
    /// Stop everything, in order; a second time: at once; a third time: do not wait for anything.
    Shutdown,
    /// Go on as another program, which was found to be an orch.
    Upgrade(PathBuf),
}
