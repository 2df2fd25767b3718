//! orch: one YAML file declares the components of an application; orch starts them in dependency order,
//! keeps them as declared, restarts what a saved file makes stale, carries each one's state across the
//! restart, and stops everything in reverse order with nothing left behind.
//!
//! The layers, and the one direction in which they may import, are described in `docs/ARCHITECTURE.md` and
//! held by `tests/tidy`.

pub mod cli;
pub mod config;
pub mod graph;
pub mod output;
pub mod plan;
pub mod probe;
pub mod runner;
pub mod runtime;
pub mod state;
pub mod supervisor;
pub mod types;
pub mod watch;
