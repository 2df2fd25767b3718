//! Why something was rejected, in the words that events and people see.

use std::fmt;

/// Why a generation, or a state file, is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is not what was written; the text says how that shows.
    Damaged(&'static str),
    /// It can't be read; the text is the system's.
    Unreadable(String),
    /// It was restored twice, and both times the component ended before it was ready.
    Poisoned,
    /// The component was killed or crashed, and had written its file in place: it may be torn.
    WrittenInPlace,
    /// The file has changed, and nobody watched how: orch had been killed.
    UnknownProvenance,
    /// The state file is a symbolic link.
    Symlink,
    /// The state file is a folder, a FIFO, a socket or a device.
    NotAFile,
    /// The state file belongs to another user.
    ForeignOwner,
    /// The state file is larger than `max_size`.
    TooLarge {
        /// `max_size`, in bytes.
        limit: u64,
    },
    /// The state file's generation is no longer there, and the component starts afresh.
    TakenAway,
    /// The user wants the component to start afresh.
    Cleared,
}

impl Reason {
    /// A word for file names.
    pub(crate) fn slug(&self) -> &'static str {
        match self {
            Self::Damaged(_) => "damaged",
            Self::Unreadable(_) => "unreadable",
            Self::Poisoned => "poisoned",
            Self::WrittenInPlace => "written-in-place",
            Self::UnknownProvenance => "unknown-provenance",
            Self::Symlink => "symlink",
            Self::NotAFile => "not-a-file",
            Self::ForeignOwner => "foreign-owner",
            Self::TooLarge { .. } => "too-large",
            Self::TakenAway => "taken-away",
            Self::Cleared => "cleared",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(how) => write!(f, "damaged: {how}"),
            Self::Unreadable(error) => write!(f, "unreadable: {error}"),
            Self::Poisoned => {
                f.write_str("poisoned: restored twice, and the component was not ready either time")
            }
            Self::WrittenInPlace => {
                f.write_str("written in place and cut short by a crash; write it by rename (docs/state.md)")
            }
            Self::UnknownProvenance => f.write_str(
                "unknown provenance: changed while orch was not there to see; `atomic: true` vouches for it",
            ),
            Self::Symlink => f.write_str("the state file is a symbolic link"),
            Self::NotAFile => f.write_str("the state file is not a regular file"),
            Self::ForeignOwner => f.write_str("the state file belongs to another user"),
            Self::TooLarge { limit } => write!(f, "the state file is larger than max_size ({limit} bytes)"),
            Self::TakenAway => f.write_str("its generation is no longer there"),
            Self::Cleared => f.write_str("cleared by `orch state clear`"),
        }
    }
}
