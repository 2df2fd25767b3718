//! L2, planning: what follows from a model alone. The graph and its pictures, the orders, which components a
//! run takes in, and what an edit would do. Pure: no clock, no I/O.

mod choice;
mod diff;
pub mod graph;
mod rebuild;
mod render;
mod report;
mod steps;
#[cfg(test)]
mod testing;

pub use choice::chosen;
pub use diff::{Change, Reaction, diff};
pub use rebuild::{Builds, Rebuild};
pub use render::{GraphFormat, render_graph};
pub use report::{Row, steps_text};
pub use steps::{Now, Plan, Step, StepAction, plan, plan_for, plan_live};
