//! Why a component is in its state.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The live part of `orch why`; what led to its last start is in the events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Why {
    /// Which component.
    pub component: String,
    /// Its state.
    pub state: String,
    /// Since when.
    pub since: Option<String>,
    /// Why, as a fragment of a sentence.
    pub reason: String,
    /// What it does and what it waits for, and what that waits for, in sentences.
    pub sentences: Vec<String>,
    /// The number of its last run; 0 before the first.
    pub incarnation: u64,
    /// The `seq` of the event of its last spawn; null if it was not spawned in this run of orch.
    pub started: Option<u64>,
    /// The `seq` of its last event.
    pub last: Option<u64>,
}
