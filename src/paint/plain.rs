//! Text without what only terminals understand.

use std::borrow::Cow;

use memchr::memchr;

const ESC: u8 = 0x1b;

/// The line without control sequences (CSI: colours, cursor; OSC: titles, links).
#[must_use]
pub fn plain(line: &[u8]) -> Cow<'_, [u8]> {
    if memchr(ESC, line).is_none() {
        return Cow::Borrowed(line);
    }
    let mut text = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = memchr(ESC, rest) {
        text.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let len = sequence(rest);
        rest = &rest[len..];
    }
    text.extend_from_slice(rest);
    Cow::Owned(text)
}

/// The length of the control sequence that `bytes`, which begins with ESC, begins with.
fn sequence(bytes: &[u8]) -> usize {
    let end = match bytes.get(1) {
        Some(b'[') => bytes[2..].iter().position(|byte| matches!(byte, 0x40..=0x7e)).map(|at| at + 3),
        Some(b']') => bytes[2..].iter().position(|byte| matches!(*byte, 0x07 | ESC)).map(|at| {
            let ends_in_two = bytes[at + 2..].starts_with(b"\x1b\\");
            at + 3 + usize::from(ends_in_two)
        }),
        _ => Some(1),
    };
    end.unwrap_or(bytes.len())
}
