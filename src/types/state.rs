//! The states of a component.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The states of a component (contract, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum State {
    /// For a dependency.
    Waiting,
    /// Nothing runs yet.
    Building,
    /// Running, not ready.
    Starting,
    /// Ready.
    Ready,
    /// Its health check failed.
    Unhealthy,
    /// Being stopped, or ended and not gone yet.
    Stopping,
    /// By request.
    Stopped,
    /// Ended by itself with a success code, not to be restarted.
    Completed,
    /// Ended, will be restarted.
    Backoff,
    /// Ended, will not be restarted.
    Failed,
    /// A dependency failed for good.
    Blocked,
    /// Living processes, or a thread, that can't be ended.
    Stuck,
}

impl State {
    /// All of them, in the contract's order.
    pub const ALL: [Self; 12] = [
        Self::Waiting,
        Self::Building,
        Self::Starting,
        Self::Ready,
        Self::Unhealthy,
        Self::Stopping,
        Self::Stopped,
        Self::Completed,
        Self::Backoff,
        Self::Failed,
        Self::Blocked,
        Self::Stuck,
    ];

    /// The state that this word of the contract means.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }

    /// Whether something of the component is there, or is between two runs of a restart.
    pub(crate) fn runs(self) -> bool {
        match self {
            Self::Starting | Self::Ready | Self::Unhealthy | Self::Stopping | Self::Stuck => true,
            Self::Waiting | Self::Building | Self::Stopped | Self::Completed => false,
            Self::Backoff | Self::Failed | Self::Blocked => false,
        }
    }

    /// Whether nothing of the component is there, and nothing comes of it by itself.
    pub(crate) fn rests(self) -> bool {
        matches!(self, Self::Stopped | Self::Completed | Self::Failed | Self::Blocked)
    }

    /// The word of the contract.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Building => "building",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Unhealthy => "unhealthy",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Completed => "completed",
            Self::Backoff => "backoff",
            Self::Failed => "failed",
            Self::Blocked => "blocked",
            Self::Stuck => "stuck",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
