//! L0, the vocabulary: small values that every layer speaks in. Pure; nothing here does I/O.

mod diagnostic;
pub mod escaped;
mod exit;
mod name;
pub mod recorded;
mod run;
mod signal;
mod source;
mod time;

pub use diagnostic::{Diagnostic, Place, Severity};
pub use exit::Exit;
pub use name::{InvalidName, Name};
pub use run::{Cid, RunId, UnitId};
pub use signal::{NoSignal, Scope, Signal};
pub use source::Source;
pub use time::Time;
