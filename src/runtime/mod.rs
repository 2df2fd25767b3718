//! L5, the driver: feeds the core with what happens, and has the hands do what it decides. No policy.
//!
//! One task on one thread takes messages from one queue (`inbox`), steps the core, and carries out the
//! actions (`driver`). Nothing in it waits: what blocks runs on worker threads, what takes time answers
//! by a message. The bytes of the components' output do not pass here.

mod act;
mod announce;
mod baseline;
mod bell;
mod clients;
mod clock;
mod control;
mod detach;
mod driver;
mod exec;
mod handover;
mod helpers;
mod home;
mod inbox;
mod journal;
mod lights;
mod listening;
mod logbook;
mod messages;
mod notices;
mod prepare;
mod recorder;
mod reexec;
pub mod registry;
mod reload;
mod renew;
mod replaced;
mod shapes;
mod signals;
mod spawn;
mod spins;
pub mod states;
mod strangers;
mod tasks;
mod up;
mod upgrade;

pub use clients::{Control, Unmet};
pub use clock::wall;
pub use detach::{Background, Daemon, End, Half, LOG, detach, say_when_interrupted};
pub use signals::stand_still;
pub use up::{
    Assembled, Left, UpError, UpOptions, assemble, check, takes_over, threads, up, up_in_background,
};
pub use upgrade::{QUESTION, answer};
