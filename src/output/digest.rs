//! What is remembered of an output that somebody asks about when it has ended: its last lines, and the place
//! that it names as at fault. Bounded, whatever is written.

use std::collections::VecDeque;

use memchr::{memchr_iter, memrchr};
use serde::{Deserialize, Serialize};

use crate::blame::Finder;
use crate::paint::{escape_line, plain, without_returns};
use crate::types::escaped;

/// So many lines are kept at the most.
const LINES: usize = 20;
/// And so many bytes of them.
const BYTES: usize = 16 << 10;
/// Of one line, so many bytes are kept as they come; what follows them is left out.
const LINE_MAX: usize = 4 << 10;
/// In place of what was left out of a line.
const LEFT_OUT: &str = " …";

/// Reads along; lines may come in any pieces.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Digest {
    finder: Finder,
    /// The last lines, as people may see them.
    lines: VecDeque<String>,
    /// The sum of their lengths.
    size: usize,
    /// The beginning of a line, as it came.
    #[serde(with = "escaped")]
    partial: Vec<u8>,
    /// Whether that line was longer.
    cut: bool,
    /// Whether what comes next is written over it.
    returned: bool,
}

impl Digest {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let mut start = 0;
        for end in memchr_iter(b'\n', bytes) {
            self.add(&bytes[start..end]);
            self.end_line();
            start = end + 1;
        }
        self.add(&bytes[start..]);
    }

    /// The place at fault, and the last lines; blank ones before and after them don't count.
    pub(super) fn finish(mut self) -> (Option<String>, Vec<String>) {
        if !self.partial.is_empty() {
            self.end_line();
        }
        let is_blank = |line: Option<&String>| line.is_some_and(|line| line.trim().is_empty());
        while is_blank(self.lines.back()) {
            self.lines.pop_back();
        }
        while is_blank(self.lines.front()) {
            self.lines.pop_front();
        }
        (self.finder.place(), self.lines.into())
    }

    /// Goes on with a line; `bytes` holds no line's end. What a terminal would write over is not kept: a progress
    /// bar is one line of any length.
    fn add(&mut self, bytes: &[u8]) {
        let seen = without_returns(bytes);
        if !seen.is_empty() {
            let over = memrchr(b'\r', seen);
            if over.is_some() || self.returned {
                self.partial.clear();
                self.cut = false;
            }
            let seen = over.map_or(seen, |at| &seen[at + 1..]);
            let room = LINE_MAX - self.partial.len();
            self.partial.extend_from_slice(&seen[..seen.len().min(room)]);
            self.cut |= seen.len() > room;
            self.returned = false;
        }
        self.returned |= seen.len() < bytes.len();
    }

    fn end_line(&mut self) {
        let mut text = Vec::with_capacity(self.partial.len());
        escape_line(&plain(&self.partial), false, &mut text);
        let mut line = String::from_utf8_lossy(&text).into_owned();
        self.finder.line(&line);
        if self.cut {
            line.push_str(LEFT_OUT);
        }
        self.partial.clear();
        (self.cut, self.returned) = (false, false);
        self.size += line.len();
        self.lines.push_back(line);
        // Escaped, one line alone may be longer than all may be.
        while self.lines.len() > LINES || (self.size > BYTES && self.lines.len() > 1) {
            self.size -= self.lines.pop_front().map_or(0, |line| line.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES, Digest, LINE_MAX, LINES};

    fn tail(pieces: &[&[u8]]) -> Vec<String> {
        let mut digest = Digest::default();
        pieces.iter().for_each(|piece| digest.feed(piece));
        digest.finish().1
    }

    #[test]
    fn the_last_lines_are_kept_as_people_may_see_them() {
        let many: Vec<u8> = (0..100).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let kept = tail(&[&many]);
        assert_eq!((kept.len(), kept[0].as_str(), kept[19].as_str()), (LINES, "line 80", "line 99"));
        let odd = b"\n\n\x1b[1;31merror\x1b[0m: \x1b]8;;x\x07a\x1b]8;;\x07\x07\r\n\n10%\r20%\r\xff\n\n \n";
        assert_eq!(tail(&[odd]), [r"error: a\x07", "", r"\xff"]);
        assert_eq!(tail(&[b"no end"]), ["no end"]);
        assert_eq!(tail(&[b""]), [""; 0]);
    }

    #[test]
    fn however_it_is_split_the_same_is_kept() {
        let long = "x".repeat(2 * LINE_MAX);
        let text =
            format!("a.c:1:2: error: \x1b[31mé\x1b[0m\r\n1%\r2%\r\n{long}\n{long}\r{long}\rend\r\nlast");
        let mut whole = Digest::default();
        whole.feed(text.as_bytes());
        let whole = whole.finish();
        assert_eq!(whole.0.as_deref(), Some("a.c:1:2"));
        for size in [1, 2, 3, 7, 1000, LINE_MAX - 1, LINE_MAX, LINE_MAX + 1] {
            let mut digest = Digest::default();
            text.as_bytes().chunks(size).for_each(|piece| digest.feed(piece));
            assert_eq!(digest.finish(), whole, "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_an_end_takes_bounded_memory() {
        let mut digest = Digest::default();
        for piece in [vec![b'x'; 1 << 20], vec![0x1b; 1 << 20], vec![b'\r'; 1 << 20], vec![0xff; 1 << 20]] {
            for _ in 0..16 {
                digest.feed(&piece);
                assert!(digest.partial.capacity() <= 4 * LINE_MAX);
            }
            digest.feed(b"\n");
        }
        for _ in 0..300 {
            digest.feed(&[0; 10_000]);
            digest.feed(b"\n");
            assert!(digest.size <= BYTES.max(4 * LINE_MAX + 8) && digest.lines.len() <= LINES);
        }
    }

    #[test]
    fn it_goes_on_in_another_image() {
        let text = b"src/a.c:3:5: error: x\nhalf a \xff line\nand more";
        for at in 0..text.len() {
            let mut digest = Digest::default();
            digest.feed(&text[..at]);
            let written = serde_json::to_string(&digest).unwrap();
            let mut digest: Digest = serde_json::from_str(&written).unwrap();
            digest.feed(&text[at..]);
            let (place, lines) = digest.finish();
            assert_eq!(place.as_deref(), Some("src/a.c:3:5"), "{at}");
            assert_eq!(lines, ["src/a.c:3:5: error: x", r"half a \xff line", "and more"]);
        }
    }
}
