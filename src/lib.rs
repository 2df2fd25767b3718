//! orch: one YAML file declares the components of an application; orch starts them in dependency order,
//! keeps them as declared, restarts what a saved file makes stale, carries each one's state across the
//! restart, and stops everything in reverse order with nothing left behind.
//!
//! Most use it as a program, `orch up`. As a library, it runs the same YAML file inside of another program,
//! which can register thread components of its own: write [`ThreadComponent`]s, name them to an
//! [`Orchestrator`], and [`start`](Orchestrator::start) it; the [`Handle`] commands and observes.
//!
//! ```
//! use std::time::Duration;
//!
//! use orch::{BoxError, Context, Orchestrator, State, ThreadComponent, Wake};
//!
//! /// A component. Each restart makes a new one, from the `with` of the YAML file.
//! struct Counter {
//!     step: u64,
//! }
//!
//! impl ThreadComponent for Counter {
//!     type With = u64; // any type that serde can read
//!
//!     fn new(step: u64) -> Result<Self, BoxError> {
//!         Ok(Self { step })
//!     }
//!
//!     fn run(self, cx: Context) -> Result<(), BoxError> {
//!         let mut count: u64 = cx.restored()?.unwrap_or(0);
//!         cx.ready();
//!         while cx.wait(Duration::from_secs(1)) == Wake::Timeout {
//!             count += self.step;
//!             cx.status(&format!("at {count}"));
//!         }
//!         cx.save(&(count + self.step))?;
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let file = folder.path().join("devmode.yaml");
//! std::fs::write(&file, "version: 1\ncomponents:\n  count: { thread: counter, with: 5, state: true }\n")?;
//!
//! let project = Orchestrator::from_file(&file).register::<Counter>("counter").start()?;
//! project.start(["count"])?; // it starts by itself: this waits until it is ready
//! project.restart(["count"])?; // strictly: stop, seal the state, restore it, start
//!
//! let count = project.component("count").ok_or("it is declared")?;
//! assert_eq!((count.state, count.incarnation), (State::Ready, 2));
//! assert!(count.restored.is_some());
//! assert!(project.shutdown()?.is_success());
//! # Ok(())
//! # }
//! ```
//!
//! What is documented here is what a program may rely on. The modules, which are hidden, are the inside, and
//! change without notice: `docs/ARCHITECTURE.md` tells of them.

/// The page on embedding: its examples compile.
#[cfg(doctest)]
#[doc = include_str!("../docs/embedding.md")]
struct EmbeddingPage;

#[doc(hidden)]
pub mod api;
#[doc(hidden)]
pub mod blame;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod client;
#[doc(hidden)]
pub mod config;
mod embed;
#[doc(hidden)]
pub mod graph;
#[doc(hidden)]
pub mod history;
#[doc(hidden)]
pub mod listen;
#[doc(hidden)]
pub mod notice;
#[doc(hidden)]
pub mod output;
#[doc(hidden)]
pub mod paint;
#[doc(hidden)]
pub mod plan;
#[doc(hidden)]
pub mod probe;
mod resolve;
#[doc(hidden)]
pub mod runner;
#[doc(hidden)]
pub mod runtime;
#[doc(hidden)]
pub mod state;
#[doc(hidden)]
pub mod story;
#[doc(hidden)]
pub mod supervisor;
#[doc(hidden)]
pub mod types;
#[doc(hidden)]
pub mod watch;

pub use embed::{
    ComponentKind, ComponentView, Error, Event, EventKind, Events, Handle, Orchestrator, Outcome,
};
pub use runner::thread::{
    BoxError, Context, Output, SaveToken, StateReader, StopToken, ThreadComponent, Wake,
};
pub use supervisor::State;
pub use types::{Exit, Signal, Source};
