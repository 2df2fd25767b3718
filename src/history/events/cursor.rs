//! A place among the events, for those who follow them.

use std::io;
use std::path::{Path, PathBuf};

use super::parts::{self, Identity, Part};
use super::{Backward, LONGEST_LINE, path, seq};

/// So much is read rather than searched. Bytes.
const NEAR: u64 = 256 << 10;

/// A place among the events of a state directory. It holds the file that it is in, so it survives rotation.
/// Holds no more in memory than one line.
#[derive(Debug)]
pub struct Cursor {
    state_dir: PathBuf,
    /// `None`: there is no file yet.
    part: Option<Part>,
    /// Up to here the part was read.
    offset: u64,
    /// The part is not the newest any more: when it is read to its end, it is done with.
    past: bool,
    /// Up to this number nothing is given.
    after: u64,
    /// The number of the last event that was given or passed over.
    last: u64,
    /// So many bytes of a line that is too long were passed over; 0: there is none.
    too_long: bool,
}

/// What comes of reading on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// Whole lines, each an event and ended by a line feed. Empty if nothing of what was read is wanted: there
    /// may be more.
    Lines(Vec<u8>),
    /// There is no more now.
    End,
    /// What came next is not kept any more, or the file was cut off under the reader: to go on means to miss
    /// something. The cursor gives this for ever.
    Gone,
}

impl Cursor {
    /// Before the first event that is kept with a number above `after`; 0: before all.
    ///
    /// # Errors
    /// A file is there and can't be read.
    pub fn after(state_dir: &Path, after: u64) -> io::Result<Self> {
        let mut parts = parts::all(state_dir)?;
        // The newest part that begins at or before what is wanted, else the oldest one.
        let mut chosen = parts.len().saturating_sub(1);
        for (at, part) in parts.iter().enumerate() {
            if first_number(part)?.is_some_and(|first| first <= after.saturating_add(1)) {
                chosen = at;
                break;
            }
        }
        let part = (chosen < parts.len()).then(|| parts.swap_remove(chosen));
        let offset = part.as_ref().map_or(Ok(0), |part| near(part, after))?;
        let state_dir = state_dir.to_path_buf();
        Ok(Self { state_dir, part, offset, past: false, after, last: after, too_long: false })
    }

    /// Behind the last event that there is.
    ///
    /// # Errors
    /// A file is there and can't be read.
    pub fn at_end(state_dir: &Path) -> io::Result<Self> {
        let last = Backward::open(state_dir)?.next().transpose()?;
        Self::after(state_dir, last.map_or(0, |event| event.seq))
    }

    /// The number of the last event that was given.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    #[cfg(test)]
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads on, about `most` bytes; more only where one line is longer. Never waits for anything but the disk.
    ///
    /// # Errors
    /// The system's. Whoever reads again goes on where it was.
    pub fn read(&mut self, most: usize) -> io::Result<Read> {
        loop {
            if self.part.is_none() && !self.begin()? {
                return Ok(Read::End);
            }
            if self.is_cut_off()? {
                return Ok(Read::Gone);
            }
            if let Some(lines) = self.read_part(most)? {
                return Ok(Read::Lines(lines));
            }
            if self.past {
                match self.advance()? {
                    Some(read) => return Ok(read),
                    None => continue,
                }
            }
            let newest = Identity::named(&path(&self.state_dir))?;
            if newest.is_none() || newest == self.part.as_ref().map(|part| part.identity) {
                return Ok(Read::End);
            }
            // Something may have been written to it before it was renamed: it is read once more.
            self.past = true;
        }
    }

    /// Takes the first file that there is.
    fn begin(&mut self) -> io::Result<bool> {
        self.part = parts::all(&self.state_dir)?.pop();
        (self.offset, self.past) = (0, false);
        Ok(self.part.is_some())
    }

    /// Whether the part is shorter than what was read of it.
    fn is_cut_off(&self) -> io::Result<bool> {
        self.part.as_ref().map_or(Ok(false), |part| Ok(part.length()? < self.offset))
    }

    /// The next whole lines of the part that are wanted; `None` at its end.
    fn read_part(&mut self, most: usize) -> io::Result<Option<Vec<u8>>> {
        let Some(part) = &self.part else { return Ok(None) };
        let mut bytes = Vec::new();
        loop {
            let had = bytes.len();
            bytes.resize(had + most.max(had).max(1), 0);
            let count = part.read_at(&mut bytes[had..], self.offset + had as u64)?;
            bytes.truncate(had + count);
            if let Some(end) = memchr::memrchr(b'\n', &bytes[had..]) {
                bytes.truncate(had + end + 1);
                break;
            }
            if bytes.len() > LONGEST_LINE {
                self.offset += bytes.len() as u64;
                self.too_long = true;
                return Ok(Some(Vec::new()));
            }
            if count == 0 {
                return Ok(None);
            }
        }
        self.offset += bytes.len() as u64;
        let skipped = std::mem::take(&mut self.too_long);
        Ok(Some(self.sift(&bytes, usize::from(skipped))))
    }

    /// What is an event, and wanted, of whole lines; of which so many at the beginning are not looked at.
    fn sift(&mut self, bytes: &[u8], skipped: usize) -> Vec<u8> {
        let mut lines = Vec::with_capacity(bytes.len());
        for line in bytes.split_inclusive(|byte| *byte == b'\n').skip(skipped) {
            if let Some(number) = seq(line).filter(|number| *number > self.after) {
                self.last = number;
                lines.extend_from_slice(line);
            }
        }
        lines
    }

    /// Goes on in the part after this one. `Some`: there is none.
    fn advance(&mut self) -> io::Result<Option<Read>> {
        self.too_long = false;
        let mut parts = parts::all(&self.state_dir)?;
        let own = self.part.as_ref().map(|part| part.identity);
        let next = match parts.iter().position(|part| Some(part.identity) == own) {
            // Between two renames there is no newer one yet.
            Some(0) => return Ok(Some(Read::End)),
            Some(at) => at - 1,
            None if parts.is_empty() => return Ok(Some(Read::End)),
            // It was rotated away itself; what follows may have been, too.
            None => parts.len() - 1,
        };
        let known = parts.iter().any(|part| Some(part.identity) == own);
        let part = parts.swap_remove(next);
        if !known && first_number(&part)?.is_none_or(|first| first > self.last + 1) {
            return Ok(Some(Read::Gone));
        }
        (self.part, self.offset, self.past) = (Some(part), 0, false);
        Ok(None)
    }
}

/// The beginning of a line of the part, before all that have a number above `after`, and not far from them.
fn near(part: &Part, after: u64) -> io::Result<u64> {
    let (mut low, mut high) = (0, part.length()?);
    while high - low > NEAR {
        let middle = low + (high - low) / 2;
        match numbered(part, middle)? {
            Some((start, number)) if number <= after => low = start,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// The first event that begins behind a place, and soon: where, and its number.
fn numbered(part: &Part, offset: u64) -> io::Result<Option<(u64, u64)>> {
    let mut bytes = vec![0; NEAR as usize / 4];
    let count = part.read_at(&mut bytes, offset)?;
    bytes.truncate(count);
    let mut start = offset;
    // The first line is the end of one.
    for (at, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if let Some(number) = seq(line).filter(|_| at > 0 && line.ends_with(b"\n")) {
            return Ok(Some((start, number)));
        }
        start += line.len() as u64;
    }
    Ok(None)
}

/// The number of a part's first event, looked for at its beginning.
fn first_number(part: &Part) -> io::Result<Option<u64>> {
    let mut bytes = vec![0; 4 << 10];
    loop {
        let count = part.read_at(&mut bytes, 0)?;
        let read = &bytes[..count];
        let whole = memchr::memrchr(b'\n', read).map_or(0, |end| end + 1);
        let found = read[..whole].split_inclusive(|byte| *byte == b'\n').find_map(seq);
        if found.is_some() || count < bytes.len() || bytes.len() > LONGEST_LINE {
            return Ok(found);
        }
        bytes.resize(bytes.len() * 4, 0);
    }
}
