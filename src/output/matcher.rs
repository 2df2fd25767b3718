//! `ready.log`: each line of output, colours removed, against a regular expression.

use memchr::memchr_iter;
use regex::bytes::Regex;
use serde::{Deserialize, Serialize};

use crate::paint::plain;
use crate::types::escaped;

/// A longer line is matched in pieces of so many bytes, so that a line without an end costs no memory.
const LINE_MAX: usize = 64 << 10;

/// Looks for a line that matches; lines may come in any pieces.
#[derive(Debug)]
pub(super) struct Matcher {
    regex: Regex,
    partial: Vec<u8>,
}

/// A matcher, handed over.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct MatcherState {
    pattern: String,
    #[serde(with = "escaped")]
    partial: Vec<u8>,
}

impl Matcher {
    pub(super) fn new(regex: Regex) -> Self {
        Self { regex, partial: Vec::new() }
    }

    /// Goes on where another matcher was left, perhaps in the middle of a line.
    ///
    /// # Errors
    /// The pattern is none.
    pub(super) fn adopt(state: MatcherState) -> Result<Self, regex::Error> {
        let regex = Regex::new(&state.pattern)?;
        // A line that is as long was tried, and is forgotten.
        let partial = state.partial.into_iter().take(LINE_MAX - 1).collect();
        Ok(Self { regex, partial })
    }

    /// Leaves its line to another matcher.
    pub(super) fn leave(self) -> MatcherState {
        MatcherState { pattern: self.regex.as_str().to_owned(), partial: self.partial }
    }

    /// Whether a line that ends in `bytes` matches.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> bool {
        let mut start = 0;
        for end in memchr_iter(b'\n', bytes) {
            let piece = &bytes[start..end];
            start = end + 1;
            let matched = if self.partial.is_empty() {
                line_matches(&self.regex, piece)
            } else {
                self.partial.extend_from_slice(piece);
                self.finish()
            };
            if matched {
                return true;
            }
        }
        self.keep(&bytes[start..])
    }

    /// Whether the last line, which had no end, matches.
    pub(super) fn finish(&mut self) -> bool {
        let matched = !self.partial.is_empty() && line_matches(&self.regex, &self.partial);
        self.partial.clear();
        matched
    }

    fn keep(&mut self, mut rest: &[u8]) -> bool {
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(rest.len().min(LINE_MAX - self.partial.len()));
            self.partial.extend_from_slice(piece);
            rest = more;
            if self.partial.len() == LINE_MAX && self.finish() {
                return true;
            }
        }
        false
    }
}

fn line_matches(regex: &Regex, line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    regex.is_match(&plain(line))
}

#[cfg(test)]
mod tests {
    use super::{LINE_MAX, Matcher};

    fn matcher(pattern: &str) -> Matcher {
        Matcher::new(regex::bytes::Regex::new(pattern).unwrap())
    }

    #[test]
    fn a_line_is_matched_whole_wherever_it_is_split() {
        let output = b"starting\n\x1b[32mlistening\x1b[0m on \x1b]8;;u\x1b\\port\x1b]8;;\x07 80\r\nmore";
        for split in 0..output.len() {
            let mut matcher = matcher("^listening on port 80$");
            let (head, tail) = output.split_at(split);
            assert!(matcher.feed(head) || matcher.feed(tail), "split at {split}");
        }
    }

    #[test]
    fn lines_do_not_run_into_each_other() {
        let mut matcher = matcher("^ready$");
        assert!(!matcher.feed(b"not \nrea\ndy\nalready\n ready\n"));
        assert!(!matcher.feed(b"ready"));
        assert!(matcher.finish(), "a last line without an end");
    }

    #[test]
    fn a_line_without_an_end_takes_bounded_memory() {
        let mut matcher = matcher("never");
        for _ in 0..100 {
            assert!(!matcher.feed(&[b'x'; 10_000]));
        }
        assert!(matcher.partial.capacity() <= 2 * LINE_MAX);
        assert!(!matcher.feed(b"\n"));
        assert!(matcher.feed(b"never\n"));
    }

    #[test]
    fn broken_sequences_end_with_the_line() {
        for line in [&b"\x1b"[..], b"\x1b[", b"\x1b[3", b"\x1b]", b"\x1b]0;x", b"\x1b]0;x\x1b", b"\x1b\x1b[m"]
        {
            let mut matcher = matcher("^$");
            matcher.feed(line);
            matcher.feed(b"\n");
        }
    }
}
