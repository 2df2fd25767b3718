//! What an inspection tells.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::state::header::Header;
use crate::state::reason::Reason;
use crate::state::{Handed, WrongAge};
use crate::types::Name;

/// All that the store has of one component.
#[derive(Debug)]
pub struct Inventory {
    /// Whose.
    pub component: Name,
    /// Whether the store remembers what it did with the generations.
    pub record: Record,
    /// The incarnation whose end nobody has recorded: it runs, or orch was killed while it did.
    pub running: Option<u64>,
    /// The generation that the running incarnation was given.
    pub given: Option<u64>,
    /// What bears the state file's name; `None` where the project declares no state for the component.
    pub file: Option<InPlace>,
    /// The generations, by number.
    pub generations: Vec<Entry>,
    /// What was set aside, the oldest first.
    pub quarantine: Vec<SetAside>,
}

/// Whether a component's ledger can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// There is none, and no generation that it could tell of.
    None,
    /// It is what was written.
    Sound,
    /// It is damaged, or gone though there are generations. The next start then offers all of them anew.
    Lost,
}

/// One generation.
#[derive(Debug)]
pub struct Entry {
    /// Its number.
    pub generation: u64,
    /// Where it is.
    pub path: PathBuf,
    /// What its header says; `None` where that can't be read. It is to be believed only if `checked`.
    pub header: Option<Header>,
    /// How old it is; `None`: unknown, or from the future.
    pub age: Option<Duration>,
    /// The size of its file, header included.
    pub bytes: u64,
    /// How often it was offered since the component was last ready with it.
    pub offers: u32,
    /// Whether its checksum was looked at; a large one's is not, but by [`Inspector::verify`](super::Inspector::verify).
    pub checked: bool,
    /// What it is now.
    pub fate: Fate,
}

/// What a generation is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The next start is offered it, unless something newer is sealed before.
    Next(Handed),
    /// It is sound, and comes after that one.
    Kept,
    /// The component was ready with it or with a newer one. It still stands in for a newer damaged one.
    Used,
    /// It was offered twice and the component was not ready either time; the next start sets it aside.
    Poisoned,
    /// `--no-restore` or `clear` has laid it aside; it is not offered any more.
    LaidAside,
    /// Its age forbids its use now.
    PassedOver(WrongAge),
    /// It fails a check, or can't be read; the next start that comes to it sets it aside.
    Flawed(Reason),
}

impl Fate {
    /// The word for it in `orch state list --json`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Next(_) => "next",
            Self::Kept => "kept",
            Self::Used => "used",
            Self::Poisoned => "poisoned",
            Self::LaidAside => "laid-aside",
            Self::PassedOver(WrongAge::TooOld { .. }) => "too-old",
            Self::PassedOver(WrongAge::Future) => "future",
            Self::Flawed(Reason::Unreadable(_)) => "unreadable",
            Self::Flawed(_) => "damaged",
        }
    }
}

/// Something in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Its name there: a rising number, why it was set aside, what it was called.
    pub name: OsString,
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// What bears the state file's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InPlace {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub what: What,
}

/// What the state file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// There is none.
    Absent,
    /// It is as it was sealed, or put there.
    Known {
        /// The generation that has its bytes.
        generation: u64,
        /// Its size.
        bytes: u64,
    },
    /// It has changed since; the end of the incarnation, or the next start, seals it or sets it aside.
    Changed {
        /// Its size.
        bytes: u64,
        /// When its content was changed last, by the wall clock.
        modified: Option<Timestamp>,
    },
    /// It is never read, and set aside before the next start.
    Refused(Reason),
}

/// What came of checking checksums.
#[derive(Debug, Default)]
pub struct Verified {
    /// How many generations were checked.
    pub generations: u64,
    /// How many ledgers.
    pub records: u64,
    /// How many bytes were read for it.
    pub bytes: u64,
    /// What is wrong.
    pub flaws: Vec<FlawFound>,
}

/// A file of the store that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlawFound {
    /// Which file.
    pub path: PathBuf,
    /// Which generation; `None`: the ledger.
    pub generation: Option<u64>,
    /// Why.
    pub reason: Reason,
}
