//! L0, the vocabulary: small values that every layer speaks in. Pure; nothing here does I/O.

mod diagnostic;
pub mod escaped;
mod exit;
mod name;
mod near;
mod notice;
pub mod recorded;
mod run;
mod signal;
mod source;
mod state;
mod task;
mod time;

pub use diagnostic::{Diagnostic, Place, Severity};
pub use exit::Exit;
pub use name::{InvalidName, Name};
pub use near::nearest;
pub use notice::Notice;
pub use run::{Cid, RunId, UnitId};
pub use signal::{NoSignal, Scope, Signal};
pub use source::Source;
pub use state::State;
pub use task::{TaskEnd, TaskFailure, TaskId, TaskKind};
pub use time::Time;
