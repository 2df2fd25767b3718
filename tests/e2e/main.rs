//! orch as its users meet it: the real binary, on real files, with real processes.
//!
//! The components keep a diary (`tests/fixtures/faulty.c`), which owes nothing to what orch believes; beside it
//! stand the kernel's own books in /proc, and, where the contract speaks of them, orch's events. See [`harness`].
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod harness;

mod blind;
mod build;
mod cli;
mod clients;
mod commands;
mod control;
mod detach;
mod ends;
mod guardian;
mod health;
mod hostile;
mod logs;
mod notice;
mod output;
mod polling;
mod proxy;
mod proxy_restarts;
mod pty;
mod ready;
mod reexec;
mod reload;
mod silent;
mod socket;
mod sockets;
mod state;
mod state_command;
mod stop;
mod stop_command;
mod storm;
mod story;
mod units;
mod up;
mod usage;
mod watch;
mod watch_add;
