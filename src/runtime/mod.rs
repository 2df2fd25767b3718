//! L5, the driver: feeds the core with what happens, and has the hands do what it decides. No policy.
//!
//! One task on one thread takes messages from one queue (`inbox`), steps the core, and carries out the
//! actions (`driver`). Nothing in it waits: what blocks runs on worker threads, what takes time answers
//! by a message. The bytes of the components' output do not pass here.

mod act;
mod announce;
mod baseline;
mod clock;
mod driver;
mod helpers;
mod home;
mod inbox;
mod journal;
mod prepare;
mod reload;
mod replaced;
mod spawn;
mod up;

pub use up::{UpError, UpOptions, threads, up};
