//! What is spoken over the control socket, and what `--json` prints: the shapes, declared once. The running
//! orch makes them, the command line reads them, and `schemas/openapi.json` is generated from them.
//!
//! A key that has no value is null, not missing; times are RFC 3339 (contract, section 6).

mod command;
mod logs;
mod openapi;
mod plan;
mod routes;
mod status;
mod why;

pub use command::{
    Did, Done, DownReply, DownRequest, Names, NotDone, PlanRequest, UpgradeRequest, WaitReply, WaitRequest,
    Waited,
};
pub use logs::{LogEntry, LogLine, LogMark, LogMarks, LogNote, StreamError};
pub use openapi::openapi;
pub use plan::{Mistake, PlanReport, Step};
pub use routes::{Call, Found, Method, ROUTES, Route, find};
pub use status::{ComponentStatus, ComponentUsage, Exited, Kind, Status, Usage, Version};
pub use why::Why;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a request was not answered as asked; the body of every status from 400 on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// What was attempted, on what, and why it was refused.
    pub error: String,
    /// What to do about it, where there is something.
    pub help: Option<String>,
}
