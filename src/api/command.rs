//! What can be commanded, and what came of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// For whom a command is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Names {
    /// Names of components; at least one.
    pub names: Vec<String>,
}

/// What a command did; it is answered when that is done, or can't be any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    /// What was done, to which component: the named, and those that the command took along.
    pub did: Vec<Did>,
    /// What was commanded and has not come.
    pub failed: Vec<NotDone>,
}

/// What was done to one component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Did {
    /// Which.
    pub component: String,
    /// What: start, stop, restart, or none, where it was as wanted already.
    pub action: String,
    /// The state that it is in now.
    pub state: String,
    /// Why it is in it, as a fragment of a sentence.
    pub reason: String,
}

/// What was commanded of one component, and has not come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotDone {
    /// Which.
    pub component: String,
    /// Why, as a fragment of a sentence.
    pub reason: String,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitRequest {
    /// Names of components; none: all that are not stopped, or with `for` all.
    #[serde(default)]
    pub names: Vec<String>,
    /// The state that is waited for; null: ready or completed.
    #[serde(default, rename = "for")]
    pub state: Option<String>,
}

/// What came of waiting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitReply {
    /// Whether each of them has got there; else one can't any more.
    pub met: bool,
    /// Each, as it is now.
    pub components: Vec<Waited>,
}

/// A component that was waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waited {
    /// Which.
    pub component: String,
    /// Its state.
    pub state: String,
    /// Why it is in it, as a fragment of a sentence.
    pub reason: String,
    /// Whether it has got there; null: not yet.
    pub met: Option<bool>,
}

/// The end of the project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DownRequest {
    /// Whether everything is force-killed at once.
    #[serde(default)]
    pub force: bool,
}

/// The end of the project has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DownReply {
    /// Whose end is the project's: orch's process id.
    pub pid: u32,
}

/// Which edit is to be planned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// The absolute path of a file that is read as though it were saved in the YAML file's place; null: the
    /// YAML file itself.
    #[serde(default)]
    pub against: Option<String>,
}

/// Which program orch is to become. Answered only if it does not: else the connection ends with the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpgradeRequest {
    /// The absolute path of the program.
    pub path: String,
}
