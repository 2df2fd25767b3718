//! The state store: carries a component's state file from one incarnation to the next (contract, section 5).
//!
//! It has no policy of its own but the contract's rules on files: the driver says when an incarnation has
//! ended, and how, and when the next one is to start. All calls block on the disk, so they belong on worker
//! threads. Components are independent of each other; the calls for one component must not overlap.
//!
//! How it stands up to crashes is told in `docs/design/state.md`.

mod arrival;
pub mod clear;
pub mod clock;
mod error;
mod flush;
mod generation;
mod handover;
mod header;
mod incarnations;
pub mod inspect;
mod ledger;
mod mutant;
mod present;
mod reason;
mod restore;
mod seal;
mod shelf;
mod snapshot;
mod store;
mod tracker;
mod tracks;
pub mod vfs;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::Name;

pub use error::StateError;
pub use handover::StoreHandover;
pub use header::{Header, Source};
pub use reason::Reason;
pub use store::Store;

/// Told, outside of any lock, that the state file of a running incarnation was replaced by rename or link:
/// the component and the incarnation that it was tracked with. It must not block. After it was told of a
/// component, it is not told of it again until [`Store::snapshot`] was called for that.
pub type ReplacedSink = Arc<dyn Fn(Name, u64) + Send + Sync>;

/// How an incarnation has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// It was asked to stop, and did.
    Ordered,
    /// It ended by itself with a success code.
    Succeeded,
    /// It was force-killed, or it crashed.
    Crashed,
}

/// What became of the state file at the end of an incarnation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seal {
    /// There is none.
    Absent,
    /// It is as orch sealed it or put it there; it is not sealed again.
    Untouched,
    /// It is a generation now, durably.
    Sealed(Sealed),
    /// It can't be used, and was moved away.
    Quarantined {
        /// Why.
        reason: Reason,
        /// Where it is now.
        path: PathBuf,
    },
}

/// A new generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// Its number.
    pub generation: u64,
    /// What it was made from.
    pub source: Source,
    /// Its size without the header.
    pub bytes: u64,
}

/// Where the content of a restored state file comes from: the value of `ORCH_RESTORED`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Handed {
    /// An ordered stop handed it over.
    Restart,
    /// It was saved before a crash.
    Snapshot,
    /// It stands in for a newer generation that turned out to be damaged.
    Backup,
}

impl Handed {
    /// The word for it in `ORCH_RESTORED` and in events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Snapshot => "snapshot",
            Self::Backup => "backup",
        }
    }
}

/// A state that was put in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Where it comes from.
    pub source: Handed,
    /// Its generation, for [`Store::used`].
    pub generation: u64,
    /// The incarnation that it was sealed after.
    pub incarnation: u64,
    /// How old it is.
    pub age: Duration,
}

/// Something that failed a check, and is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Which generation; `None`: the state file itself, or the store's own record.
    pub generation: Option<u64>,
    /// Why.
    pub reason: Reason,
    /// Where it is now; `None` if it could not be moved.
    pub moved_to: Option<PathBuf>,
}

/// A sound generation whose age forbids its use. It stays where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassedOver {
    /// Which.
    pub generation: u64,
    /// Why.
    pub why: WrongAge,
}

/// Why a sound generation is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongAge {
    /// It is older than `max_age`.
    TooOld {
        /// How old it is.
        age: Duration,
    },
    /// By the clock it was made in the future.
    Future,
}

/// What was done before a start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restore {
    /// What was put in place; `None`: the component starts afresh, without a state file.
    pub from: Option<Restored>,
    /// What failed a check.
    pub rejected: Vec<Rejected>,
    /// What is sound and was not used because of its age.
    pub passed_over: Vec<PassedOver>,
    /// The generation that was made of the file found in place, which was not in the store yet.
    pub sealed_aside: Option<Sealed>,
    /// There was a state that should have been restored, and nothing valid is left of it or before it: with
    /// `required`, a failure.
    pub lost: bool,
}
