//! One file after the other, so that years of events stay bounded.
//!
//! By renames alone, from the oldest part on: a kill between two of them leaves a gap in the numbers and nothing
//! else, and the next rotation closes it. Only what is beyond [`events::KEEP`] is ever overwritten.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::{Journal, look_back};
use crate::history::events;

/// Opens the newest part for appending, or makes it. No link is followed, and no pipe waited for.
///
/// # Errors
/// The system's; or it is no regular file.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
}

/// The number of the last event of the older parts; 0 if there is none.
///
/// # Errors
/// A part is there and can't be read.
pub(super) fn last_of_older(newest: &Path) -> io::Result<u64> {
    for number in 1..=events::KEEP {
        let Some(part) = events::open(&events::older(newest, number))? else { continue };
        if let (Some(last), _) = look_back(&part)? {
            return Ok(last);
        }
    }
    Ok(0)
}

/// How much of whole lines fits into so much room; at least the first one.
pub(super) fn fitting(lines: &[u8], room: u64) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    if lines.len() <= room {
        return lines.len();
    }
    let end = memchr::memrchr(b'\n', &lines[..room]).or_else(|| memchr::memchr(b'\n', lines));
    end.map_or(lines.len(), |end| end + 1)
}

/// Makes the file's name free: it becomes the first of the older parts.
fn shift(newest: &Path) -> io::Result<()> {
    let name = |number| events::older(newest, number);
    let free = |number: &usize| name(*number).symlink_metadata().is_err();
    // A gap takes what is before it, and what is behind it stays.
    let last = (1..=events::KEEP).find(free).unwrap_or(events::KEEP);
    for number in (0..last).rev() {
        std::fs::rename(name(number), name(number + 1))?;
    }
    Ok(())
}

impl Journal {
    /// So much fits into the file; after a rotation that was not possible, as much as if it had been.
    pub(super) fn room(&self) -> u64 {
        let length = self.file.metadata().map_or(0, |meta| meta.len());
        self.most.saturating_sub(length.saturating_sub(self.unrotated))
    }

    /// Begins a new file if the old one is full, or was deleted. Gives what the user should know.
    pub(super) fn make_room(&mut self, lines: &[u8]) -> Option<String> {
        let meta = self.file.metadata().ok()?;
        let first = memchr::memchr(b'\n', lines).map_or(lines.len(), |end| end + 1) as u64;
        let deleted = meta.is_file() && meta.nlink() == 0;
        let full = meta.len() > self.unrotated && first > self.room();
        if !deleted && !full {
            return None;
        }
        let begun = if deleted { open(&self.path) } else { self.rotate() };
        match begun {
            Ok(file) => {
                (self.file, self.unrotated, self.torn) = (file, 0, false);
                None
            }
            Err(error) => {
                self.unrotated = meta.len();
                Some(format!("can't begin a new events.ndjson, so the old one grows: {error}"))
            }
        }
    }

    fn rotate(&self) -> io::Result<File> {
        shift(&self.path)?;
        open(&self.path).inspect_err(|_| {
            // Then all goes on in the old one, under its old name.
            let _ = std::fs::rename(events::older(&self.path, 1), &self.path);
        })
    }
}

#[cfg(test)]
mod tests;
