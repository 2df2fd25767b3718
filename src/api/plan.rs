//! What an edit would do, or has done.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `orch plan --json`; also what comes of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanReport {
    /// Whether the file is valid; one that is not changes nothing.
    pub valid: bool,
    /// What is wrong with it.
    pub errors: Vec<Mistake>,
    /// In the order in which they are applied.
    pub steps: Vec<Step>,
    /// Keys of the project itself that have changed; none of them touches a process.
    pub project: Vec<String>,
    /// The number of the declaration that runs: of the present one, or after a reload of the new one.
    pub config_generation: u64,
}

/// What happens to one component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// To which one.
    pub component: String,
    /// start, stop, restart, or update, which touches no process.
    pub action: String,
    /// The key paths that have changed, such as `process` or `stop.timeout`.
    pub changed: Vec<String>,
    /// Why, as a fragment of a sentence.
    pub reason: String,
}

/// An error in a file, as `orch validate --format json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mistake {
    /// Its stable code.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// In which file.
    pub file: Option<String>,
    /// In which line, from 1.
    pub line: Option<u64>,
    /// In which column, from 1.
    pub column: Option<u64>,
    /// Where in the document, such as `components.api.depends_on[0]`.
    pub path: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}
