//! The runners: what makes a unit exist and ends it. Two kinds behind one small interface: processes
//! ([`keeper`]) and threads inside orch ([`thread`]). No policy: they do what they are told and report.
//!
//! The contract, which holds for both:
//! - no call blocks for long; `signal` and `kill` are harmless after the end;
//! - after a successful spawn: one `Spawned`, at most one `Exited`, then one `Gone`, in this order;
//!   after a failed one: one `SpawnFailed`, and nothing else;
//! - in place of all of these that are still to come: one `Lost`, if the keeper is killed;
//! - after `Gone`, or `Lost`, nothing more with that [`UnitId`].

pub mod keeper;
pub mod thread;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use crate::types::Scope;
use crate::types::{Exit, Signal, UnitId};

/// Where a runner's reports go; called from the runner's own threads, so it only hands over.
pub type ReportSink = Arc<dyn Fn(RunnerReport) + Send + Sync>;

/// What a runner reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunnerReport {
    /// The unit's leader runs.
    Spawned {
        /// Which unit.
        unit: UnitId,
        /// The leader's process id; `None` for a thread.
        pid: Option<u32>,
    },
    /// Nothing was started.
    SpawnFailed {
        /// Which unit.
        unit: UnitId,
        /// What was attempted, on what, and why it failed.
        error: String,
    },
    /// The leader ended; others of the unit may live on.
    Exited {
        /// Which unit.
        unit: UnitId,
        /// How.
        exit: Exit,
    },
    /// The answer to `Keeper::main`: from now on, this process's end is the unit's `Exited`; also where the leader's
    /// was reported already.
    Main {
        /// Which unit.
        unit: UnitId,
        /// The process that was named.
        pid: u32,
        /// Whether it is so: it is a living process of the unit.
        accepted: bool,
    },
    /// Nothing of the unit is left.
    Gone {
        /// Which unit.
        unit: UnitId,
    },
    /// The answer to `kill`: who got SIGKILL.
    Killed {
        /// Which unit.
        unit: UnitId,
        /// The process ids.
        pids: Vec<u32>,
    },
    /// The answer to `kill` where the unit can't be killed: a thread.
    Unkillable {
        /// Which unit.
        unit: UnitId,
    },
    /// A thread says that it is ready.
    Ready {
        /// Which unit.
        unit: UnitId,
    },
    /// A thread's status line.
    Status {
        /// Which unit.
        unit: UnitId,
        /// The line.
        text: String,
    },
    /// A descendant that nothing assigns to a unit; reported once, killed at the end.
    Stray {
        /// Its process id.
        pid: u32,
        /// Its command name.
        command: String,
    },
    /// The keeper was killed, and with it all its units: a `Lost` for each follows.
    KeeperLost,
    /// The unit's keeper was killed, and it with it, or before it could be started: nothing of it is left.
    Lost {
        /// Which unit.
        unit: UnitId,
    },
}

/// What both kinds of runner can be told about a unit that was spawned.
pub trait Runner {
    /// Sends `signal`, then SIGCONT (but with SIGWINCH). A thread gets no signals.
    fn signal(&self, unit: UnitId, signal: Signal, scope: Scope);
    /// Asks the unit to stop: a process by `signal`, as [`Runner::signal`] does; a thread by its stop token.
    fn stop(&self, unit: UnitId, signal: Signal, scope: Scope) {
        self.signal(unit, signal, scope);
    }
    /// Ends every process of the unit by SIGKILL, and goes on until none is left.
    fn kill(&self, unit: UnitId);
}
