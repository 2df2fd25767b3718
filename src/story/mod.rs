//! What recorded events mean: the chain of causes behind a component's state, why it is in it, and how time went
//! by. Pure: events in, values and text out.
//!
//! Events may have been written by another orch, or by hand, and some may be missing. So a cause counts only if
//! it is older than what it led to, durations are those of the monotonic clock and only ever within one run of
//! orch, and what is not known is not said.

mod chain;
mod line;
#[cfg(test)]
mod tests;
pub mod timeline;
mod why;
mod words;

pub use chain::{Chain, Walk};
pub use line::line;
pub use why::{Recorded, Told};
pub use words::{Words, duration};
