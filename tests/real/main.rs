//! The guides of `docs/guides`, as their readers follow them: the very files of `examples/guides`, the real
//! binary, and real servers.
//!
//! A server that is not on this machine makes its test say so on stderr, with what to install, and pass:
//! `SKIPPED: …`. `.ci/run` installs all of them. See [`harness`].
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;
mod load;
mod net;

mod cargo;
mod node;
mod pages;
mod postgresql;
mod python;
mod redis;
mod vite;
