//! What a component says of itself on its notify socket (sd_notify(3)).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One thing that it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// `READY=1`: it is ready, or has read its configuration again.
    Ready,
    /// `RELOADING=1`: it reads its configuration again.
    Reloading,
    /// `STOPPING=1`: it is on its way out by itself.
    Stopping,
    /// `STATUS=`: one line, harmless to a terminal, of bounded length; empty takes it back.
    Status(String),
    /// `WATCHDOG=1`: it lives.
    Watchdog,
    /// `WATCHDOG=trigger`: it has found itself broken.
    Broken,
    /// `WATCHDOG_USEC=`: from now on, so long without a word is a failure.
    WatchdogEvery(Duration),
    /// `EXTEND_TIMEOUT_USEC=`: what it is doing, its start or its end, takes so long from now.
    Extend(Duration),
    /// `MAINPID=`: this process of its unit is the leader now.
    MainPid(u32),
}
