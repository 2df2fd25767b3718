//! The event files: `events.ndjson`, and its older parts `events.ndjson.1`, `.2` … (contract, section 6).
//!
//! They are written by one orch at a time, line by line, and rotated by renames, while anybody reads. So a
//! reader knows a part by its identity, not by its name, and passes over what is no event: a line that a crash
//! has torn, a hole that a lost disk has left, what other hands have written.

mod backward;
mod cursor;
mod parts;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use backward::Backward;
pub use cursor::{Cursor, Read};
pub use parts::open;

pub use crate::types::recorded::{Event, seq};

/// The newest part's name in the state directory.
pub const NAME: &str = "events.ndjson";

/// So many older parts are kept. With [`PART`], 80 MiB in all: some 300,000 events, which is a year in which
/// something is saved and restarted every few minutes of each working day.
pub const KEEP: usize = 4;

/// A part that would be longer begins a new one. Bytes. So much is read in a moment, by people's tools, too.
pub const PART: u64 = 16 << 20;

/// A longer line is passed over. Bytes: an edit of a hundred thousand components makes half of it.
pub const LONGEST_LINE: usize = 32 << 20;

/// The newest part of a state directory.
#[must_use]
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(NAME)
}

/// An older part, from 1; 0 is the newest one itself.
#[must_use]
pub fn older(newest: &Path, number: usize) -> PathBuf {
    if number == 0 {
        return newest.to_path_buf();
    }
    let mut name = newest.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}
