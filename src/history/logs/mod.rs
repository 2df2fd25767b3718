//! The logs of components, read from their files: bounded in memory whatever they hold, merged by time, from the
//! last lines or from a moment on without reading what lies before, and followed while they grow and are rotated.
//!
//! `docs/design/output.md` tells what `output` writes.

mod chain;
mod cursor;
mod index;
mod query;
#[cfg(test)]
mod tests;
mod window;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::config::model::{Component, Kind, Terminal};

pub use chain::Place;
pub use cursor::PIECE_MAX;
pub use query::{Query, moment};

use cursor::{Cursor, Found};

/// What all readings of files together may hold at once. Bytes.
const BUFFERS: usize = 2 << 20;

/// What one reading of a file may hold: at the most, and at the least.
const CHUNK: (usize, usize) = (8 << 10, 256 << 10);

/// So much is looked at before whoever asks gets an answer. Bytes.
const BUDGET: usize = 8 << 20;

/// A component's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The component's name.
    pub component: String,
    /// The file that is written.
    pub path: PathBuf,
    /// It was written as to a terminal: its writer may go back and draw over what it wrote.
    pub drawn: bool,
}

impl Log {
    /// The log of a component of the project whose state directory that is.
    #[must_use]
    pub fn of(component: &Component, state_dir: &Path) -> Self {
        let named = component.logs.file.clone();
        let path = named.unwrap_or_else(|| Self::usual(component.name.as_str(), state_dir));
        let drawn = component.logs.terminal == Terminal::Pty && matches!(component.kind, Kind::Process(_));
        Self { component: component.name.to_string(), path, drawn }
    }

    /// Whether it is the same log, however it is written by now.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.component, &self.path) == (&other.component, &other.path)
    }

    /// Where the log of a component is whose `logs.file` says nothing else.
    #[must_use]
    pub fn usual(component: &str, state_dir: &Path) -> PathBuf {
        state_dir.join("logs").join(format!("{component}.log"))
    }
}

/// A part of a log, for [`Reader::of`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// From there on; without it, as the query says.
    pub from: Option<Place>,
    /// Up to there; without it, up to its end at this moment.
    pub end: Option<Place>,
}

/// Where to begin with a log that is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// As the query says.
    Asked,
    /// Behind the last line that has ended.
    End,
    /// With what came then or later.
    Since(Timestamp),
    /// At a place.
    At(Place),
}

/// A line, or a piece of one that is longer than [`PIECE_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'r> {
    /// Whose: its number in the order in which the logs were given.
    pub log: usize,
    /// When it came, where that is known: 10 ms more or less.
    pub time: Option<Timestamp>,
    /// The bytes as they came, without the line's end.
    pub bytes: &'r [u8],
    /// Whether the line ends here; else it goes on in the log's next piece, or has no end.
    pub ends: bool,
    /// Where the log goes on behind it.
    pub place: Option<Place>,
}

/// What comes of looking for the next line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'r> {
    /// Here it is.
    Line(Line<'r>),
    /// Something to be told before it.
    Note(Note),
    /// There is none, so far.
    Dry,
    /// None was found yet; it is worth looking on.
    Busy,
}

/// Something that a reader should be told in the place of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Whose log it is about.
    pub log: usize,
    /// What, and why.
    pub text: String,
    /// Whether lines could not be read for it.
    pub failed: bool,
}

/// Reads logs, merged by time: within a log in its own order, and where times are the same in the order of the logs.
#[derive(Debug)]
pub struct Reader {
    query: Query,
    cursors: Vec<Cursor>,
    /// Those that have a piece, by when it came; the present one is not among them.
    waiting: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// The one whose piece was given last, or is looked for.
    present: Option<usize>,
    /// Those that may have one, and have to be asked before it is known whose is next.
    unasked: Vec<usize>,
    /// Those that had nothing when they were last asked.
    dry: Vec<usize>,
    /// Lines that are passed over, so that the last ones are left.
    skip: u64,
    skipping: bool,
    chunk: usize,
    /// The present piece was found, and is to be given.
    held: bool,
    /// Of logs that could not be read.
    notes: VecDeque<Note>,
}

impl Reader {
    /// Reads what there is of these logs, and ends.
    #[must_use]
    pub fn of(logs: &[(Log, Span)], query: Query) -> Self {
        let mut reader = Self::empty(query, logs.len());
        for (log, span) in logs {
            let cursor = reader.span(&log.path, *span);
            reader.take_in(&log.path, cursor);
        }
        reader.skip_all_but_the_last();
        reader.cursors.iter_mut().for_each(Cursor::finish);
        reader
    }

    /// Reads what there is as the query and `logs` say, and what comes: [`Reader::wake`] has it look.
    #[must_use]
    pub fn follow(logs: &[(Log, Begin)], query: Query) -> Self {
        let mut reader = Self::empty(query, logs.len());
        logs.iter().for_each(|(log, begin)| reader.add(log, *begin));
        reader.skip_all_but_the_last();
        reader
    }

    /// Follows one more log, whose number is the next one.
    pub fn add(&mut self, log: &Log, begin: Begin) {
        let cursor = self.followed(&log.path, begin);
        self.take_in(&log.path, cursor);
    }

    /// The next line.
    pub fn step(&mut self) -> Step<'_> {
        let mut budget = BUDGET;
        let mut found = Found::Piece;
        while !std::mem::take(&mut self.held) {
            found = self.find(&mut budget);
            if found != Found::Piece || !self.is_skipped() {
                break;
            }
        }
        if let Some(note) = self.note() {
            self.held = found == Found::Piece;
            return Step::Note(note);
        }
        match (found, self.present) {
            (Found::Piece, Some(at)) => Step::Line(line(&self.cursors[at], at)),
            (Found::Busy, _) => Step::Busy,
            _ => Step::Dry,
        }
    }

    /// There may be more than when it was dry.
    pub fn wake(&mut self) {
        self.unasked.append(&mut self.dry);
    }

    /// No more will come: last lines without an end are lines, too.
    pub fn finish(&mut self) {
        self.cursors.iter_mut().for_each(Cursor::finish);
        self.wake();
    }

    /// Where each log goes on behind what was given of it, by number.
    #[must_use]
    pub fn places(&self) -> Vec<Option<Place>> {
        let given = |(at, cursor): (usize, &Cursor)| {
            let waits = self.waiting.iter().any(|Reverse((_, waiting))| *waiting == at);
            if waits { cursor.place_before() } else { cursor.place() }
        };
        self.cursors.iter().enumerate().map(given).collect()
    }

    /// What is to be told before the present piece, or because there is none.
    fn note(&mut self) -> Option<Note> {
        if let Some(note) = self.notes.pop_front() {
            return Some(note);
        }
        let log = self.present?;
        let text = self.cursors[log].take_note()?;
        Some(Note { log, text, failed: false })
    }

    fn empty(mut query: Query, logs: usize) -> Self {
        query.times |= logs > 1;
        Self {
            query,
            cursors: Vec::new(),
            waiting: BinaryHeap::new(),
            present: None,
            unasked: Vec::new(),
            dry: Vec::new(),
            skip: 0,
            skipping: false,
            chunk: (BUFFERS / logs.max(1)).clamp(CHUNK.0, CHUNK.1),
            held: false,
            notes: VecDeque::new(),
        }
    }

    /// A way through what is asked for of one log, up to `end`. Its lines are counted as ones to be passed over.
    fn begin(&mut self, path: &Path, end: Place) -> io::Result<Cursor> {
        match self.query.last {
            Some(wanted) => {
                let window = window::last(path, end, wanted, &self.query, self.chunk)?;
                self.skip += window.lines;
                Ok(window.cursor)
            }
            None => window::since(path, Some(end), self.query.since, self.chunk),
        }
    }

    fn span(&mut self, path: &Path, Span { from, end }: Span) -> io::Result<Cursor> {
        let end = end.map_or_else(|| window::end(path), |end| Ok(Some(end)))?;
        match (from, end) {
            (None, Some(end)) => self.begin(path, end),
            (Some(from), Some(end)) => {
                let mut cursor = Cursor::new(path, self.chunk).until(end);
                cursor.go_on(from)?;
                Ok(cursor)
            }
            (_, None) => Ok(Cursor::new(path, self.chunk)),
        }
    }

    fn followed(&mut self, path: &Path, begin: Begin) -> io::Result<Cursor> {
        match begin {
            Begin::At(place) => {
                let mut cursor = Cursor::new(path, self.chunk);
                cursor.go_on(place)?;
                Ok(cursor)
            }
            Begin::End => {
                let mut cursor = Cursor::new(path, self.chunk);
                if let Some(end) = window::last_line_end(path)? {
                    cursor.go_on(end)?;
                }
                Ok(cursor)
            }
            Begin::Since(since) => window::since(path, None, Some(since), self.chunk),
            Begin::Asked => match window::end(path)? {
                Some(end) => self.begin(path, end).map(Cursor::endless),
                None => Ok(Cursor::new(path, self.chunk)),
            },
        }
    }

    fn take_in(&mut self, path: &Path, cursor: io::Result<Cursor>) {
        let at = self.cursors.len();
        match cursor {
            Ok(cursor) => {
                self.cursors.push(cursor);
                self.unasked.push(at);
            }
            Err(error) => {
                self.cursors.push(Cursor::new(path, self.chunk));
                self.fail(at, &error);
            }
        }
    }

    /// A log that can't be read is left alone.
    fn fail(&mut self, log: usize, error: &io::Error) {
        let cursor = &mut self.cursors[log];
        cursor.end();
        let text = format!("can't read the log {}: {error}", cursor.path().display());
        self.notes.push_back(Note { log, text, failed: true });
    }

    fn skip_all_but_the_last(&mut self) {
        self.skip = self.skip.saturating_sub(self.query.last.unwrap_or(u64::MAX));
    }

    /// Finds the piece that is next, of all logs.
    fn find(&mut self, budget: &mut usize) -> Found {
        if let Some(at) = self.present {
            match self.advance(at, budget) {
                Found::Busy => return Found::Busy,
                Found::Piece if self.is_next(at) => return Found::Piece,
                Found::Piece => self.waiting.push(Reverse((self.cursors[at].stamp().order, at))),
                Found::Dry => self.dry.push(at),
            }
            self.present = None;
        }
        while let Some(at) = self.unasked.pop() {
            match self.advance(at, budget) {
                Found::Busy => {
                    self.unasked.push(at);
                    return Found::Busy;
                }
                Found::Piece => self.waiting.push(Reverse((self.cursors[at].stamp().order, at))),
                Found::Dry => self.dry.push(at),
            }
        }
        match self.waiting.pop() {
            Some(Reverse((_, at))) => {
                self.present = Some(at);
                Found::Piece
            }
            None => Found::Dry,
        }
    }

    /// Whether no other log's piece comes before this one's. A line is not torn apart.
    fn is_next(&self, at: usize) -> bool {
        let cursor = &self.cursors[at];
        let goes_on = cursor.piece().is_some_and(|piece| !piece.begins);
        let first = self.waiting.peek();
        goes_on || first.is_none_or(|Reverse(first)| (cursor.stamp().order, at) < *first)
    }

    fn advance(&mut self, at: usize, budget: &mut usize) -> Found {
        let found = self.cursors[at].advance(&self.query, budget);
        found.unwrap_or_else(|error| {
            self.fail(at, &error);
            Found::Dry
        })
    }

    /// Whether the present piece is passed over.
    fn is_skipped(&mut self) -> bool {
        let Some(cursor) = self.present.map(|at| &self.cursors[at]) else { return false };
        if window::is_counted(cursor, &self.query) {
            self.skipping = self.skip > 0;
            self.skip = self.skip.saturating_sub(1);
        }
        self.skipping
    }
}

fn line(cursor: &Cursor, log: usize) -> Line<'_> {
    let stamp = cursor.stamp();
    let ends = cursor.piece().is_some_and(|piece| piece.ends);
    Line { log, time: stamp.known, bytes: cursor.bytes(), ends, place: cursor.place() }
}
