//! Lines left out of a stream of bytes: counted, and taken up again only where a line begins.

use memchr::{memchr, memchr_iter};
use serde::{Deserialize, Serialize};

/// What was left out since the last [`Gap::take`].
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Gap {
    lines: u64,
    /// The last byte left out was not a line's end, so the rest of its line has to be left out as well.
    torn: bool,
    open: bool,
}

impl Gap {
    /// Leaves `bytes` out.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last() else { return };
        let bytes = if self.open { bytes } else { self.resume(bytes) };
        self.open |= !bytes.is_empty();
        self.lines += memchr_iter(b'\n', bytes).count() as u64;
        self.torn = *last != b'\n';
    }

    /// Whether something was left out that [`Gap::take`] has not counted yet.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// How many lines the gap has cost so far, a torn one included.
    pub(super) fn count(&self) -> u64 {
        self.lines + u64::from(self.torn)
    }

    /// Closes the gap and gives its [`Gap::count`]; the end of a torn line will not be counted once more.
    pub(super) fn take(&mut self) -> u64 {
        let count = self.count();
        (self.open, self.lines) = (false, 0);
        count
    }

    /// After a closed gap, the part of `bytes` to go on with: what follows the end of the torn line.
    pub(super) fn resume<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if !self.torn {
            return bytes;
        }
        let Some(end) = memchr(b'\n', bytes) else { return &[] };
        self.torn = false;
        &bytes[end + 1..]
    }
}

/// "1 line", "2 lines".
pub(super) fn lines(count: u64) -> String {
    if count == 1 { "1 line".to_owned() } else { format!("{count} lines") }
}

#[cfg(test)]
mod tests {
    use super::Gap;

    #[test]
    fn every_line_is_either_shown_or_counted_once() {
        let mut gap = Gap::default();
        gap.add(b"b\nc\nhalf");
        gap.add(b" of d");
        assert!(gap.is_open());
        assert_eq!(gap.take(), 3, "b, c and the torn d");
        assert!(!gap.is_open());
        assert_eq!(gap.resume(b" still d"), b"");
        assert_eq!(gap.resume(b" end of d\ne\n"), b"e\n");
        assert_eq!(gap.resume(b"f\n"), b"f\n");
        gap.add(b"g\n");
        assert_eq!(gap.take(), 1);
        assert_eq!(gap.resume(b"h"), b"h");
    }

    #[test]
    fn a_second_gap_in_the_rest_of_a_counted_line_does_not_count_it_again() {
        let mut gap = Gap::default();
        gap.add(b"torn");
        assert_eq!(gap.take(), 1);
        gap.add(b" rest\nnext\n");
        assert_eq!(gap.take(), 1, "only `next`");
        gap.add(b"torn");
        assert_eq!(gap.take(), 1);
        gap.add(b" more of it");
        assert!(!gap.is_open());
    }
}
