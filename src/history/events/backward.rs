//! From the end to the beginning.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use super::parts::{self, Part};
use super::{Event, LONGEST_LINE};

/// So much is read at once.
const CHUNK: usize = 64 << 10;

/// The events of a state directory, the newest first, as they are when it is made; read as far as they are
/// asked for.
#[derive(Debug)]
pub struct Backward {
    /// What is not begun.
    older: VecDeque<Part>,
    part: Option<Part>,
    /// Up to here the part is unread.
    unread: u64,
    /// What was read and not given.
    rest: Vec<u8>,
    /// The line under way is too long: it is passed over.
    too_long: bool,
}

impl Backward {
    /// # Errors
    /// A file is there and can't be opened.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let older = parts::all(state_dir)?.into();
        Ok(Self { older, part: None, unread: 0, rest: Vec::new(), too_long: false })
    }

    /// The line before, without its end; also what is no event.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = memchr::memrchr(b'\n', &self.rest) {
                let line = self.rest.split_off(end + 1);
                self.rest.truncate(end);
                if !std::mem::take(&mut self.too_long) {
                    return Ok(Some(line));
                }
            } else if self.unread > 0 {
                self.read()?;
            } else if let Some(line) = self.first_line() {
                return Ok(Some(line));
            } else {
                let Some(part) = self.older.pop_front() else { return Ok(None) };
                self.unread = part.length()?;
                self.part = Some(part);
            }
        }
    }

    /// What is left of a part that is all read: its first line.
    fn first_line(&mut self) -> Option<Vec<u8>> {
        self.part.take()?;
        let line = std::mem::take(&mut self.rest);
        (!std::mem::take(&mut self.too_long)).then_some(line)
    }

    /// Reads more of the part, before what is there; of a long line twice as much each time.
    fn read(&mut self) -> io::Result<()> {
        if self.rest.len() > LONGEST_LINE {
            (self.rest, self.too_long) = (Vec::new(), true);
        }
        let Some(part) = &self.part else { return Ok(()) };
        let length = self.unread.min(CHUNK.max(self.rest.len()) as u64);
        let from = self.unread - length;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(CHUNK)];
        let count = part.read_at(&mut bytes, from)?;
        bytes.truncate(count);
        bytes.append(&mut self.rest);
        (self.rest, self.unread) = (bytes, from);
        Ok(())
    }
}

impl Iterator for Backward {
    type Item = io::Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.line() {
                Ok(Some(line)) => {
                    if let Some(event) = Event::parse(&line) {
                        return Some(Ok(event));
                    }
                }
                Ok(None) => return None,
                Err(error) => {
                    // Nobody reads on after that.
                    (self.part, self.unread) = (None, 0);
                    self.older.clear();
                    self.rest.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}
