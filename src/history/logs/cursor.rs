//! A way through the lines of one log, from a place on, over its rotated files, and on while it grows. Memory is
//! bounded whatever the lines are: one that is longer than [`PIECE_MAX`] comes in pieces.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use memchr::memchr;

use super::chain::{self, FileId, Link, Place};
use super::index::Index;
use super::query::Query;
use crate::paint::whole;

/// A longer line comes in pieces of at most so many bytes.
pub const PIECE_MAX: usize = 64 << 10;

/// An end of a file that lies so long after the next one's birth was not followed by it.
const AT_ONCE: i128 = 1_000_000_000;

/// A line, or a piece of a long one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    len: usize,
    /// The line begins with it.
    pub(super) begins: bool,
    /// The line ends with it.
    pub(super) ends: bool,
}

/// When a line came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    pub(super) known: Option<Timestamp>,
    /// The same, or a guess where nothing is known; by it lines are merged.
    pub(super) order: Timestamp,
}

/// What is found of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A piece; it is the present one.
    Piece,
    /// Nothing more, so far.
    Dry,
    /// Nothing yet, and there is more to be looked at.
    Busy,
}

#[derive(Debug)]
pub(super) struct Cursor {
    path: PathBuf,
    open: Option<Open>,
    /// Where to stop, though more may come.
    end: Option<Place>,
    /// Only what came then or later.
    since: Option<Timestamp>,
    /// Where in the file the unread bytes begin: those of `buffer` from `start` on.
    offset: u64,
    buffer: Vec<u8>,
    start: usize,
    /// So much is read at once. Bytes.
    chunk: usize,
    piece: Option<Piece>,
    /// What comes next goes on with a line.
    in_line: bool,
    stamp: Stamp,
    /// No more will come: a last line without an end is given.
    finishing: bool,
    /// All that is wanted was given.
    ended: bool,
    note: Option<&'static str>,
}

#[derive(Debug)]
struct Open {
    file: File,
    id: FileId,
    index: Index,
    /// For lines of which no time is known.
    guess: Timestamp,
}

impl Cursor {
    /// Begins with the oldest line of the log at `path`; reads `chunk` bytes at once.
    pub(super) fn new(path: &Path, chunk: usize) -> Self {
        Self {
            path: path.to_owned(),
            open: None,
            end: None,
            since: None,
            offset: 0,
            buffer: Vec::new(),
            start: 0,
            chunk,
            piece: None,
            in_line: false,
            stamp: Stamp { known: None, order: Timestamp::MIN },
            finishing: false,
            ended: false,
            note: None,
        }
    }

    /// Stops there.
    pub(super) fn until(mut self, end: Place) -> Self {
        self.end = Some(end);
        self
    }

    /// Leaves out what came before.
    pub(super) fn since(mut self, since: Option<Timestamp>) -> Self {
        self.since = since;
        self
    }

    /// Goes on at `place`. Where that is gone, at the oldest line, with a note.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn go_on(&mut self, place: Place) -> io::Result<()> {
        if !self.enter(place.file, place.offset)? {
            self.note_loss();
        } else if let Some(open) = &self.open {
            self.in_line = place.offset > 0 && byte_at(&open.file, place.offset - 1) != Some(b'\n');
        }
        Ok(())
    }

    /// Begins with the first line that begins at `place` or later.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn align(&mut self, place: Place) -> io::Result<()> {
        self.go_on(place)?;
        while self.in_line && self.next_piece()? {
            self.consume();
        }
        Ok(())
    }

    /// Where it is: behind the present piece.
    pub(super) fn place(&self) -> Option<Place> {
        let (_, taken) = self.extent();
        self.open.as_ref().map(|open| Place { file: open.id, offset: self.offset + taken as u64 })
    }

    /// Where it is: before the present piece.
    pub(super) fn place_before(&self) -> Option<Place> {
        self.open.as_ref().map(|open| Place { file: open.id, offset: self.offset })
    }

    /// The present piece, without the line's end.
    pub(super) fn bytes(&self) -> &[u8] {
        let (len, _) = self.extent();
        &self.buffer[self.start..self.start + len]
    }

    pub(super) fn piece(&self) -> Option<Piece> {
        self.piece
    }

    /// When the present piece's line came.
    pub(super) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// What is to be told before the present piece, once.
    pub(super) fn take_note(&mut self) -> Option<String> {
        self.note.take().map(str::to_owned)
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// The log.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Goes on beyond where it was to stop.
    pub(super) fn endless(mut self) -> Self {
        self.end = None;
        self
    }

    /// Gives nothing any more.
    pub(super) fn end(&mut self) {
        self.consume();
        self.ended = true;
    }

    /// No more will come.
    pub(super) fn finish(&mut self) {
        self.finishing = true;
    }

    /// Goes to the next piece that is wanted. `budget`: so many bytes are looked at, at most; what is used of it is
    /// taken off.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn advance(&mut self, query: &Query, budget: &mut usize) -> io::Result<Found> {
        while !self.ended {
            self.consume();
            if !self.next_piece()? {
                // A thousand quiet logs need no buffers.
                if self.start == self.buffer.len() {
                    (self.buffer, self.start) = (Vec::new(), 0);
                }
                return Ok(Found::Dry);
            }
            self.read_stamp(query);
            if query.until.is_some_and(|until| self.stamp.order > until) {
                self.ended = true;
            } else if self.since.is_none_or(|since| self.stamp.order >= since) && query.matches(self.bytes())
            {
                return Ok(Found::Piece);
            }
            *budget = budget.saturating_sub(self.extent().1 + 1);
            if *budget == 0 && !self.ended {
                return Ok(Found::Busy);
            }
        }
        self.consume();
        Ok(Found::Dry)
    }

    /// How long the present piece is, without and with the line's end.
    fn extent(&self) -> (usize, usize) {
        self.piece.map_or((0, 0), |piece| (piece.len, piece.len + usize::from(piece.ends)))
    }

    fn consume(&mut self) {
        let (_, taken) = self.extent();
        if let Some(piece) = self.piece.take() {
            self.in_line = !piece.ends;
        }
        self.start += taken;
        self.offset += taken as u64;
    }

    fn read_stamp(&mut self, query: &Query) {
        let begins = self.piece.is_some_and(|piece| piece.begins);
        if let Some(open) = &mut self.open
            && (begins || self.stamp.order == Timestamp::MIN)
        {
            let known = if query.is_timed() { open.index.time_at(self.offset) } else { None };
            self.stamp = Stamp { known, order: known.unwrap_or(open.guess) };
        }
    }

    /// Finds the next piece; whether there is one.
    fn next_piece(&mut self) -> io::Result<bool> {
        loop {
            let rest = &self.buffer[self.start..];
            let head = &rest[..rest.len().min(PIECE_MAX + 1)];
            if let Some(len) = memchr(b'\n', head) {
                return Ok(self.found(len, true));
            }
            if rest.len() > PIECE_MAX {
                let len = whole(&rest[..PIECE_MAX]);
                return Ok(self.found(len, false));
            }
            if self.fill()? {
                continue;
            }
            let rest = self.buffer.len() - self.start;
            let next = self.next_file()?;
            // What was written to this file before it was rotated is in it by now.
            if next.is_some() && self.fill()? {
                continue;
            }
            if rest > 0 && (next.is_some() || self.finishing || self.is_at_end()) {
                return Ok(self.found(rest, false));
            }
            match next {
                Some(next) => self.enter_next(next)?,
                None => return Ok(false),
            }
        }
    }

    fn found(&mut self, len: usize, ends: bool) -> bool {
        self.piece = Some(Piece { len, begins: !self.in_line, ends });
        true
    }

    /// How much may still be read of this file.
    fn allowed(&self) -> u64 {
        let at = self.offset + (self.buffer.len() - self.start) as u64;
        match (&self.open, self.end) {
            (Some(open), Some(end)) if open.id == end.file => end.offset.saturating_sub(at),
            _ => u64::MAX,
        }
    }

    fn is_at_end(&self) -> bool {
        self.end.is_some() && self.allowed() == 0
    }

    /// Reads on in this file; whether there was something.
    fn fill(&mut self) -> io::Result<bool> {
        let most = usize::try_from(self.allowed()).unwrap_or(usize::MAX).min(self.chunk);
        let Some(open) = &mut self.open else { return Ok(false) };
        if most == 0 {
            return Ok(false);
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let begin = self.buffer.len();
        let at = self.offset + begin as u64;
        self.buffer.resize(begin + most, 0);
        let read = loop {
            match open.file.read_at(&mut self.buffer[begin..], at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(begin + read.as_ref().map_or(0, |count| *count));
        if read? > 0 {
            open.index.refresh();
            return Ok(true);
        }
        if chain::facts(&open.file)?.size >= at {
            return Ok(false);
        }
        // Somebody has emptied the file.
        self.buffer.clear();
        (self.offset, self.in_line) = (0, false);
        open.index.seek(0);
        Ok(true)
    }

    /// The file behind this one; without this one, the oldest.
    fn next_file(&mut self) -> io::Result<Option<FileId>> {
        let Some(open) = &self.open else {
            return Ok(chain::list(&self.path)?.first().map(|link| link.facts.id));
        };
        let is_last = self.end.is_some_and(|end| end.file == open.id)
            || chain::facts_of(&self.path)?.is_some_and(|facts| facts.id == open.id);
        if is_last {
            return Ok(None);
        }
        let links = chain::list(&self.path)?;
        let after = match links.iter().position(|link| link.facts.id == open.id) {
            Some(at) => links.get(at + 1),
            None => links.first(),
        };
        Ok(after.map(|link| link.facts.id))
    }

    fn enter_next(&mut self, next: FileId) -> io::Result<()> {
        if let Some(open) = &self.open {
            let links = chain::list(&self.path)?;
            let is_gone = links.iter().all(|link| link.facts.id != open.id);
            if is_gone && lost(chain::facts(&open.file)?.changed, &links) {
                self.note_loss();
            }
        }
        let in_line = self.in_line;
        if self.enter(next, 0)? {
            self.in_line = in_line;
        }
        Ok(())
    }

    /// Opens a file of the log; whether it is there.
    fn enter(&mut self, id: FileId, offset: u64) -> io::Result<bool> {
        let Some((file, index)) = chain::open_both(&self.path, id)? else { return Ok(false) };
        let facts = chain::facts(&file)?;
        let mut index = Index::new(index);
        let guess = index.first().map_or(facts.modified, |entry| entry.time);
        // It was emptied, and has begun anew.
        let offset = if facts.size < offset { 0 } else { offset };
        index.seek(offset);
        self.open = Some(Open { file, id, index, guess });
        (self.offset, self.start, self.in_line) = (offset, 0, false);
        self.buffer.clear();
        Ok(true)
    }

    fn note_loss(&mut self) {
        self.note = Some("output is missing here: it was rotated away before it was read");
    }
}

/// Whether files lie between one that is gone since `changed`, and the oldest of `links`. It went when the newest one
/// was made; if two were made since, another one went after it.
fn lost(changed: i128, links: &[Link]) -> bool {
    match links {
        [] => false,
        [only] => only.facts.id.born > changed + AT_ONCE,
        links => links.iter().filter(|link| link.facts.id.born > changed).count() > 1,
    }
}

fn byte_at(file: &File, offset: u64) -> Option<u8> {
    let mut byte = [0];
    file.read_at(&mut byte, offset).is_ok_and(|count| count == 1).then_some(byte[0])
}
