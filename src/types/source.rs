//! Where a state comes from.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a state comes from (contract, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Source {
    /// A stop handed it over.
    Restart,
    /// It was there when a run ended otherwise, or was saved while one ran.
    Snapshot,
    /// The newest sound one before a damaged one.
    Backup,
}

impl Source {
    /// The word of the contract, as in `ORCH_RESTORED`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Snapshot => "snapshot",
            Self::Backup => "backup",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
