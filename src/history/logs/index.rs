//! When the bytes of a log file came: `<log file>.times`, as `output` writes it. One JSON object a line says that
//! the bytes from `offset` on came at `time`, up to the next entry. It is a help, no promise: what can't be read of
//! it is passed over, and where there is nothing, no time is known.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use jiff::Timestamp;
use memchr::memchr;

/// So much of an index is read at once. No entry is as long.
const BLOCK: usize = 8 << 10;

/// What is read at a step of a search.
const PROBE: usize = 512;

/// From `offset` on, the bytes came at `time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) offset: u64,
    pub(super) time: Timestamp,
}

/// A way through an index, forward.
#[derive(Debug, Default)]
pub(super) struct Index {
    file: Option<File>,
    /// Bytes read from the file and not used yet, and where in the file they end.
    buffer: Vec<u8>,
    used: usize,
    end: u64,
    /// The entry for the bytes that were asked for, and the one behind it.
    current: Option<Entry>,
    next: Option<Entry>,
    /// There was nothing more.
    dry: bool,
}

impl Index {
    /// Of an open index, or of none.
    pub(super) fn new(file: Option<File>) -> Self {
        Self { dry: file.is_none(), file, ..Self::default() }
    }

    /// When the byte at `offset` came; offsets only grow. `None`: nothing is known.
    pub(super) fn time_at(&mut self, offset: u64) -> Option<Timestamp> {
        loop {
            if self.next.is_none() {
                self.next = self.read();
            }
            match self.next {
                // An entry that is not further on than the last one: the log was shortened in between.
                Some(next) if next.offset <= offset => (self.current, self.next) = (Some(next), None),
                _ => return self.current.map(|entry| entry.time),
            }
        }
    }

    /// More may have been written.
    pub(super) fn refresh(&mut self) {
        self.dry = self.file.is_none();
    }

    /// The first entry.
    pub(super) fn first(&self) -> Option<Entry> {
        self.entry_from(0, self.size()).map(|(entry, ..)| entry)
    }

    /// Goes to the entry for `offset`, without reading all before it.
    pub(super) fn seek(&mut self, offset: u64) {
        self.go(|entry| entry.offset <= offset);
    }

    /// The last entry before `time`.
    pub(super) fn before(&mut self, time: Timestamp) -> Option<Entry> {
        self.go(|entry| entry.time < time)
    }

    /// Goes to the last entry of which `is_before` is true; it is true of the first ones up to there.
    fn go(&mut self, is_before: impl Fn(&Entry) -> bool) -> Option<Entry> {
        // The entry that begins at or behind `low` is the last one that is known to be before.
        let (mut low, mut high) = (0, self.size());
        let mut found = None;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.entry_from(middle, high) {
                Some((entry, start, end)) if is_before(&entry) => {
                    found = Some((entry, start));
                    low = end;
                }
                _ => high = middle,
            }
        }
        let start = found.map_or(0, |(_, start)| start);
        (self.buffer, self.used, self.end) = (Vec::new(), 0, start);
        (self.current, self.next) = (None, None);
        self.refresh();
        found.map(|(entry, _)| entry)
    }

    /// The first entry whose line begins at `from` or later, and before `limit`: with where its line begins and
    /// where the next one does.
    fn entry_from(&self, from: u64, limit: u64) -> Option<(Entry, u64, u64)> {
        let file = self.file.as_ref()?;
        let mut bytes = vec![0; PROBE];
        // From one byte earlier, to see whether a line begins at `from`.
        let mut start = from.saturating_sub(1);
        let mut in_line = from > 0;
        while start < limit {
            let count = file.read_at(&mut bytes, start).ok().filter(|count| *count > 0)?;
            let mut at = 0;
            while let Some(len) = memchr(b'\n', &bytes[at..count]) {
                let (line, begin) = (&bytes[at..at + len], start + at as u64);
                at += len + 1;
                if std::mem::take(&mut in_line) {
                    continue;
                }
                if begin >= limit {
                    return None;
                }
                if let Some(entry) = parse(line) {
                    return Some((entry, begin, start + at as u64));
                }
            }
            // A line that is longer is none of ours.
            in_line |= at == 0;
            start += if at == 0 { count } else { at } as u64;
        }
        None
    }

    fn size(&self) -> u64 {
        self.file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |metadata| metadata.len())
    }

    /// The next entry that can be read.
    fn read(&mut self) -> Option<Entry> {
        while !self.dry {
            let rest = &self.buffer[self.used..];
            let Some(len) = memchr(b'\n', rest) else {
                self.fill();
                continue;
            };
            let entry = parse(&rest[..len]);
            self.used += len + 1;
            if entry.is_some() {
                return entry;
            }
        }
        None
    }

    fn fill(&mut self) {
        self.buffer.drain(..self.used);
        self.used = 0;
        if self.buffer.len() >= BLOCK {
            self.buffer.clear();
        }
        let begin = self.buffer.len();
        self.buffer.resize(begin + BLOCK, 0);
        let count = match &self.file {
            Some(file) => file.read_at(&mut self.buffer[begin..], self.end).unwrap_or(0),
            None => 0,
        };
        self.buffer.truncate(begin + count);
        self.end += count as u64;
        self.dry = count == 0;
    }
}

/// An entry as it is written; `None` for whatever else stands there.
fn parse(line: &[u8]) -> Option<Entry> {
    let text = std::str::from_utf8(line).ok()?;
    let (offset, rest) = text.strip_prefix("{\"offset\":")?.split_once(",\"time\":\"")?;
    let time = rest.strip_suffix("\"}")?;
    Some(Entry { offset: offset.parse().ok()?, time: time.parse().ok()? })
}
