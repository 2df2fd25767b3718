//! What runs, and how it is.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A running project: `orch ps --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Its name.
    pub project: String,
    /// orch's process id.
    pub pid: u32,
    /// 1 at first, and one more with each edit of the file that was applied.
    pub config_generation: u64,
    /// By name.
    pub components: Vec<ComponentStatus>,
}

/// One component, as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ComponentStatus {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// One of: waiting, building, starting, ready, unhealthy, stopping, stopped, completed, backoff, failed,
    /// blocked, stuck.
    pub state: String,
    /// The leader's process id, while there is one.
    pub pid: Option<u32>,
    /// The number of its last run; 0 before the first.
    pub incarnation: u64,
    /// Automatic restarts since `up`.
    pub restarts: u32,
    /// How its last run ended.
    pub exit: Option<Exited>,
    /// Since when it is in its state.
    pub since: Option<String>,
    /// What it says of itself.
    pub status: Option<String>,
    /// Where the state of its present run comes from: restart, snapshot or backup.
    pub restored: Option<String>,
    /// Why it is in its state, as a fragment of a sentence.
    pub reason: Option<String>,
    /// The addresses of its sockets, by name; null where the system is yet to choose the port.
    pub sockets: Option<BTreeMap<String, Option<String>>>,
}

/// What a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A process of its own.
    Process,
    /// A thread of orch.
    Thread,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Exited {
    /// With this exit code.
    Code(i32),
    /// By this signal, such as SIGKILL.
    Signal(String),
    /// A thread: with this panic.
    Panic(String),
}

/// What the components take, of those that have processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// By name.
    pub components: Vec<ComponentUsage>,
}

/// What one unit takes: the leader and all its descendants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ComponentUsage {
    /// The component's name.
    pub name: String,
    /// How many processes there are.
    pub processes: u32,
    /// Processor time since they started, in milliseconds.
    pub cpu_ms: u64,
    /// Resident memory, in bytes.
    pub memory: u64,
}

/// Which orch runs here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// How many images of itself it has replaced: tells two apart that are the same program.
    pub images: u64,
    /// The YAML file, absolute.
    pub file: String,
    /// The state directory, absolute.
    pub state_dir: String,
}
