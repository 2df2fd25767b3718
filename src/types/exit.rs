//! How a run ended.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Signal;

/// How a process or a thread ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Exit {
    /// A process's exit code; a thread that returned `Ok` counts as 0, one that returned an error as 1.
    Code(i32),
    /// A process that a signal killed.
    Signal(Signal),
    /// A thread that panicked, with the panic's message.
    Panic(String),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "{signal}"),
            Self::Panic(message) => write!(f, "panic: {message}"),
        }
    }
}
