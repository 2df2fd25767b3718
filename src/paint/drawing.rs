//! What is written to a pseudo-terminal, as lines that can stand below each other: a line that is drawn over
//! again and again (a progress bar) is shown now and then as it is just then, and when it ends. Does no I/O.
//!
//! The last lines are remembered, as programs also go up and renew several of them. Nothing of what is left out
//! here is lost: the log has every byte. Whoever shows such output shows it by this: `orch up` as it comes, `orch logs`
//! as it was recorded, so its clock is the caller's.

use std::collections::VecDeque;
use std::time::Duration;

use memchr::memchr2;
use serde::{Deserialize, Serialize};

use super::escape::{whole_characters, without_returns};
use super::redraw::{Sequence, column, condensed, is_redrawn, parameter, redrawn, sequence};
use crate::types::{Time, escaped};

/// A longer line is shown in pieces of at most so many bytes, so that one without an end costs no memory.
pub const PIECE_MAX: usize = 16 << 10;

/// So many lines can be gone back to.
const ROWS: usize = 64;

/// How long what is drawn over is left to itself before it is shown; twice as long each time.
const GLIMPSE_FIRST: Duration = Duration::from_secs(1);
const GLIMPSE_MAX: Duration = Duration::from_secs(4);

/// What is to be shown: a line, or a piece of one that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown<'a> {
    /// A line.
    Line(&'a [u8]),
    /// The beginning of one, or what follows it.
    Piece(&'a [u8]),
}

/// The end of what was written to a terminal.
#[derive(Debug, Default)]
pub struct Drawing {
    /// The last one is the bottom; there is one at least, once something was written.
    rows: VecDeque<Row>,
    /// The row that is written to.
    at: usize,
    /// The beginning of a control sequence.
    held: Vec<u8>,
    /// When what was drawn over is to be shown.
    due: Option<Time>,
    /// When something was last shown that was not finished, and for how long it has to do.
    glimpsed: Option<(Time, Duration)>,
}

/// A drawing, handed over, and one of its rows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DrawingState {
    rows: VecDeque<Row>,
    at: usize,
    #[serde(with = "escaped")]
    held: Vec<u8>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Row {
    /// What was written to it.
    #[serde(with = "escaped")]
    raw: Vec<u8>,
    /// As it was last shown.
    #[serde(with = "escaped")]
    shown: Vec<u8>,
    /// Somebody went back in it.
    drawn: bool,
    /// It was drawn over, and is not shown as it is now.
    stale: bool,
}

impl Drawing {
    /// Goes on where another drawing was left.
    pub fn adopt(state: DrawingState, now: Time) -> Self {
        let DrawingState { mut rows, at, held } = state;
        rows.truncate(ROWS);
        rows.iter_mut().for_each(|row| row.raw.truncate(PIECE_MAX));
        let at = at.min(rows.len().saturating_sub(1));
        let due = rows.iter().any(|row| row.stale).then(|| now + GLIMPSE_FIRST);
        Self { rows, at, held, due, glimpsed: None }
    }

    /// Leaves it to another one.
    pub fn leave(self) -> DrawingState {
        DrawingState { rows: self.rows, at: self.at, held: self.held }
    }

    /// When [`Drawing::glimpse`] is due.
    pub fn due(&self) -> Option<Time> {
        self.due
    }

    /// Goes on with what was written; `show` gets what is to be shown of it.
    pub fn bytes(&mut self, bytes: &[u8], now: Time, show: &mut impl FnMut(Shown<'_>)) {
        let joined;
        let mut rest = bytes;
        if !self.held.is_empty() {
            joined = [std::mem::take(&mut self.held), bytes.to_vec()].concat();
            rest = &joined;
        }
        let mut from = 0;
        while let Some(at) = memchr2(b'\n', 0x1b, &rest[from..]).map(|at| from + at) {
            if rest[at] == b'\n' {
                self.write(&rest[..at], show);
                self.feed_line(show);
                (rest, from) = (&rest[at + 1..], 0);
                continue;
            }
            match sequence(&rest[at..]) {
                Sequence::Unfinished => {
                    self.write(&rest[..at], show);
                    self.held = rest[at..].to_vec();
                    rest = &[];
                    from = 0;
                }
                Sequence::Csi(parameters, last, len) if leaves_line(parameters, last) => {
                    self.write(&rest[..at], show);
                    self.go(parameters, last);
                    (rest, from) = (&rest[at + len..], 0);
                }
                Sequence::Short(b'c') => {
                    self.write(&rest[..at], show);
                    self.clear();
                    (rest, from) = (&rest[at + 2..], 0);
                }
                Sequence::Csi(_, _, len) => from = at + len,
                Sequence::Short(_) => from = at + 2,
                Sequence::Other => from = at + 1,
            }
        }
        self.write(rest, show);
        self.plan(now);
    }

    /// Shows what was drawn over, as it is now.
    pub fn glimpse(&mut self, now: Time, show: &mut impl FnMut(Shown<'_>)) {
        let last = self.glimpsed.map_or(Duration::ZERO, |(_, pause)| pause);
        self.glimpsed = Some((now, (last * 2).clamp(GLIMPSE_FIRST, GLIMPSE_MAX)));
        self.due = None;
        (0..self.rows.len()).for_each(|at| self.show_stale(at, show));
    }

    /// Nothing more will be written: shows what was not.
    pub fn end(&mut self, show: &mut impl FnMut(Shown<'_>)) {
        let held = std::mem::take(&mut self.held);
        self.write(&held, show);
        (0..self.rows.len()).for_each(|at| self.show_stale(at, show));
        if let Some(row) = self.rows.back().filter(|row| !row.raw.is_empty() && !row.drawn) {
            show(Shown::Line(&row.raw));
        }
        *self = Self::default();
    }

    /// Shows the beginning of the line that is not finished, as something of orch's own is to follow.
    pub fn interrupt(&mut self, show: &mut impl FnMut(Shown<'_>)) {
        if let Some(row) = self.rows.back_mut().filter(|row| !row.raw.is_empty() && !row.drawn) {
            show(Shown::Piece(&row.raw));
            row.raw.clear();
        }
    }

    /// Writes to the present row what holds no line's end and leaves the line by nothing.
    fn write(&mut self, mut bytes: &[u8], show: &mut impl FnMut(Shown<'_>)) {
        if self.rows.is_empty() {
            self.rows.push_back(Row::default());
        }
        let bottom = self.at + 1 == self.rows.len();
        let Some(row) = self.rows.get_mut(self.at) else { return };
        while !bytes.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(PIECE_MAX - row.raw.len()));
            row.raw.extend_from_slice(head);
            bytes = rest;
            if row.raw.len() == PIECE_MAX {
                row.shorten(show);
            }
            row.drawn |= is_redrawn(head);
            row.stale |= row.drawn || !bottom;
        }
    }

    /// A line's end: the next row is gone to; from the bottom, it is a new one.
    fn feed_line(&mut self, show: &mut impl FnMut(Shown<'_>)) {
        if self.at + 1 < self.rows.len() {
            return self.reach(self.at + 1, 0);
        }
        if let Some(row) = self.rows.back_mut() {
            row.finish(show);
        }
        let mut next = Row::default();
        if self.rows.len() == ROWS {
            self.show_stale(0, show);
            next = self.rows.pop_front().unwrap_or_default();
            next.forget();
        }
        self.rows.push_back(next);
        self.at = self.rows.len() - 1;
    }

    /// Goes to another row, or erases some.
    fn go(&mut self, parameters: &[u8], last: u8) {
        let bottom = self.rows.len() - 1;
        let count = parameter(parameters, 0).unwrap_or(1).max(1);
        let here = self.rows.get(self.at).map_or(0, |row| column(&row.raw));
        match last {
            b'A' => self.reach(self.at.saturating_sub(count), here),
            b'F' => self.reach(self.at.saturating_sub(count), 0),
            b'B' => self.reach(self.at.saturating_add(count).min(bottom), here),
            b'E' => self.reach(self.at.saturating_add(count).min(bottom), 0),
            b'd' => self.reach((count - 1).min(bottom), here),
            b'H' | b'f' => {
                let column = parameter(parameters, 1).unwrap_or(1).max(1) - 1;
                self.reach((count - 1).min(bottom), column);
            }
            _ if parameter(parameters, 0).unwrap_or(0) > 1 => self.clear(),
            _ => {
                self.rows.iter_mut().skip(self.at + 1).for_each(|row| row.raw.clear());
                if let Some(row) = self.rows.get_mut(self.at) {
                    row.control("\x1b[K");
                }
            }
        }
    }

    /// Goes to a place that was written to before, or may have been.
    fn reach(&mut self, at: usize, column: usize) {
        self.at = at;
        if let Some(row) = self.rows.get_mut(at) {
            row.control(&format!("\x1b[{}G", column.saturating_add(1)));
        }
    }

    /// The terminal is empty: what comes stands below what was shown.
    fn clear(&mut self) {
        self.rows.clear();
        self.rows.push_back(Row::default());
        self.at = 0;
    }

    /// Notes when to show what was drawn over.
    fn plan(&mut self, now: Time) {
        if !self.rows.iter().any(|row| row.stale) {
            self.due = None;
        } else if self.due.is_none() {
            let pause = self.glimpsed.filter(|(at, _)| now.since(*at) < 4 * GLIMPSE_MAX);
            if pause.is_none() {
                self.glimpsed = None;
            }
            self.due = Some(pause.map_or(now + GLIMPSE_FIRST, |(at, pause)| (at + pause).max(now)));
        }
    }

    fn show_stale(&mut self, at: usize, show: &mut impl FnMut(Shown<'_>)) {
        let Some(row) = self.rows.get(at).filter(|row| row.stale) else { return };
        let text = redrawn(without_returns(unbroken(&row.raw)));
        // A block of lines that has moved is not shown once more.
        let known = text.is_empty() || self.rows.iter().any(|row| row.shown == text);
        let row = &mut self.rows[at];
        row.stale = false;
        if !known {
            show(Shown::Line(&text));
            row.shown = text;
        }
    }
}

impl Row {
    /// A move or an erasure within the line.
    fn control(&mut self, sequence: &str) {
        if self.raw.len() + sequence.len() > PIECE_MAX / 2 {
            self.raw = condensed(&self.raw);
            // A line as long is none that anybody draws over.
            if self.raw.len() > PIECE_MAX / 2 {
                self.raw.clear();
            }
        }
        self.raw.extend_from_slice(sequence.as_bytes());
        self.drawn = true;
    }

    /// It is another line now.
    fn forget(&mut self) {
        self.raw.clear();
        self.shown.clear();
        (self.drawn, self.stale) = (false, false);
    }

    /// The line has ended, and stays as it is.
    fn finish(&mut self, show: &mut impl FnMut(Shown<'_>)) {
        (self.stale, self.drawn) = (false, true);
        let line = without_returns(&self.raw);
        if !is_redrawn(line) {
            if self.shown.is_empty() || self.shown != line {
                show(Shown::Line(line));
            }
            self.shown.clear();
            self.shown.extend_from_slice(line);
            return;
        }
        let text = redrawn(line);
        if !text.is_empty() && text != self.shown {
            show(Shown::Line(&text));
            self.shown = text;
        }
    }

    /// It has grown too large: by being drawn over, or as a text without an end.
    fn shorten(&mut self, show: &mut impl FnMut(Shown<'_>)) {
        let cut = match unbroken(&self.raw).len() {
            0 => self.raw.len(),
            cut => cut,
        };
        let rest = self.raw.split_off(cut);
        let drawn = is_redrawn(&self.raw);
        if drawn {
            self.raw = condensed(&self.raw);
        }
        if self.raw.len() > PIECE_MAX / 2 {
            let piece = if drawn { redrawn(&self.raw) } else { std::mem::take(&mut self.raw) };
            show(Shown::Piece(&piece));
            self.raw.clear();
            (self.drawn, self.stale) = (false, false);
        }
        self.raw.extend_from_slice(&rest);
    }
}

/// Without a character or a sequence at the end that is only begun.
fn unbroken(bytes: &[u8]) -> &[u8] {
    let begun = memchr::memrchr(0x1b, bytes).filter(|at| sequence(&bytes[*at..]) == Sequence::Unfinished);
    match begun {
        Some(at) => &bytes[..at],
        None => &bytes[..whole_characters(bytes)],
    }
}

/// Whether a sequence has to do with other rows than its own.
fn leaves_line(parameters: &[u8], last: u8) -> bool {
    match last {
        b'A' | b'B' | b'E' | b'F' | b'H' | b'f' | b'd' => true,
        b'J' => parameters != b"1",
        _ => false,
    }
}

#[cfg(test)]
mod tests;
