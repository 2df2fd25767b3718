//! A line as a terminal shows it, where its writer went back in it and wrote over it, as progress bars do.

use memchr::memchr3;

use super::escape::sgr;

/// A sequence is no longer than that, or it is none.
const SEQUENCE_MAX: usize = 64;

/// No terminal has more columns; further ones are the last.
const COLUMNS_MAX: usize = 4096;

/// The styles of one character are no longer than that. Bytes.
const STYLE_MAX: usize = 256;

/// A control sequence of a terminal: `ESC [ parameters final`, or an escape of two bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sequence<'a> {
    /// Its parameters, its last byte, and its length in all.
    Csi(&'a [u8], u8, usize),
    /// The byte behind ESC; two bytes in all.
    Short(u8),
    /// What follows may yet make one of it.
    Unfinished,
    /// Nothing that is known here.
    Other,
}

/// The sequence that `bytes`, which begins with ESC, begins with.
#[must_use]
pub(super) fn sequence(bytes: &[u8]) -> Sequence<'_> {
    match bytes.get(1) {
        None => Sequence::Unfinished,
        Some(b'[') => {
            let rest = &bytes[2..];
            let end = rest.iter().take(SEQUENCE_MAX).position(|byte| !matches!(byte, 0x20..=0x3f));
            match end {
                Some(at) if matches!(rest[at], 0x40..=0x7e) => Sequence::Csi(&rest[..at], rest[at], at + 3),
                Some(_) => Sequence::Other,
                None if rest.len() < SEQUENCE_MAX => Sequence::Unfinished,
                None => Sequence::Other,
            }
        }
        Some(b'c' | b'7' | b'8' | b'=' | b'>' | b'M') => Sequence::Short(bytes[1]),
        Some(_) => Sequence::Other,
    }
}

/// The number at a place of a sequence's parameters, if there is one.
#[must_use]
pub(super) fn parameter(parameters: &[u8], place: usize) -> Option<usize> {
    let part = parameters.split(|byte| *byte == b';').nth(place)?;
    std::str::from_utf8(part).ok()?.parse().ok()
}

/// A character, or what can't be seen of it, with the colours that are on.
#[derive(Debug, Clone, Copy)]
struct Cell<'a> {
    text: &'a [u8],
    /// Its place among the styles.
    style: usize,
}

/// What has become of a line.
#[derive(Debug)]
struct Row<'a> {
    cells: Vec<Cell<'a>>,
    /// Each is a run of SGR sequences; the first is none.
    styles: Vec<Vec<u8>>,
    style: usize,
    column: usize,
}

/// Whether somebody went back in the line, or did something else to it that a terminal would not show as text.
#[must_use]
pub(super) fn is_redrawn(line: &[u8]) -> bool {
    let mut rest = line;
    while let Some(at) = memchr3(b'\r', 0x08, 0x1b, rest) {
        match sgr(&rest[at..]) {
            Some(len) => rest = &rest[at + len..],
            None if rest[at] == 0x1b && sequence(&rest[at..]) == Sequence::Other => rest = &rest[at + 1..],
            None => return true,
        }
    }
    false
}

/// The line as it looks in the end: characters, colours, and what has no part in drawing, as it came. Moves
/// and erasures within the line have had their effect; those that leave it have none.
#[must_use]
pub(super) fn redrawn(line: &[u8]) -> Vec<u8> {
    let row = Row::of(line);
    let mut shown = Vec::with_capacity(row.cells.len());
    let blank = |cell: &Cell<'_>| cell.text == b" " && cell.style == 0;
    let len = row.cells.iter().rposition(|cell| !blank(cell)).map_or(0, |last| last + 1);
    row.write(&row.cells[..len], &mut shown);
    shown
}

/// The same, to be gone on with: what follows is drawn where it would have been.
#[must_use]
pub(super) fn condensed(line: &[u8]) -> Vec<u8> {
    let row = Row::of(line);
    let mut short = Vec::with_capacity(row.cells.len() + 16);
    row.write(&row.cells, &mut short);
    short.extend_from_slice(format!("\x1b[0m\x1b[{}G", row.column + 1).as_bytes());
    short.extend_from_slice(&row.styles[row.style]);
    short
}

/// The column, from 0, that the line's writer has come to.
#[must_use]
pub(super) fn column(line: &[u8]) -> usize {
    Row::of(line).column
}

impl<'a> Row<'a> {
    fn of(line: &'a [u8]) -> Self {
        let mut row = Self { cells: Vec::new(), styles: vec![Vec::new()], style: 0, column: 0 };
        let mut rest = line;
        while !rest.is_empty() {
            let taken = row.take(rest);
            rest = &rest[taken..];
        }
        row
    }

    /// Takes what comes first; its length.
    fn take(&mut self, rest: &'a [u8]) -> usize {
        match rest[0] {
            b'\r' => self.column = 0,
            0x08 => self.column = self.column.saturating_sub(1),
            0x1b => {
                if let Some(len) = sgr(rest) {
                    self.restyle(&rest[..len]);
                    return len;
                }
                match sequence(rest) {
                    Sequence::Csi(parameters, last, len) => {
                        self.obey(parameters, last);
                        return len;
                    }
                    Sequence::Short(_) => return 2,
                    Sequence::Unfinished | Sequence::Other => self.put(&rest[..1]),
                }
            }
            _ => {
                let len = character(rest);
                self.put(&rest[..len]);
                return len;
            }
        }
        1
    }

    fn put(&mut self, text: &'a [u8]) {
        let cell = Cell { text, style: self.style };
        self.reach(self.column);
        match self.cells.get_mut(self.column) {
            Some(old) => *old = cell,
            None => self.cells.push(cell),
        }
        // Far beyond any terminal's edge it is a text without an end, of which nothing is to be lost.
        self.column += 1;
    }

    fn reach(&mut self, column: usize) {
        if self.cells.len() < column {
            self.cells.resize(column, Cell { text: b" ", style: 0 });
        }
    }

    /// Moves and erasures within the line.
    fn obey(&mut self, parameters: &[u8], last: u8) {
        let count = parameter(parameters, 0).unwrap_or(1).max(1);
        let to = |column: usize| column.min(COLUMNS_MAX);
        match last {
            b'C' | b'a' => self.column = to(self.column.saturating_add(count)).max(self.column),
            b'D' => self.column = self.column.saturating_sub(count),
            b'G' | b'`' => self.column = to(count - 1),
            b'H' | b'f' => self.column = to(parameter(parameters, 1).unwrap_or(1).max(1) - 1),
            b'E' | b'F' => self.column = 0,
            b'P' => {
                let from = self.column.min(self.cells.len());
                self.cells.drain(from..from.saturating_add(count).min(self.cells.len()));
            }
            b'X' => self.blank(self.column, self.column.saturating_add(count)),
            b'K' | b'J' => match parameter(parameters, 0).unwrap_or(0) {
                0 => self.cells.truncate(self.column),
                1 => self.blank(0, self.column + 1),
                _ => self.cells.clear(),
            },
            _ => {}
        }
    }

    fn blank(&mut self, from: usize, to: usize) {
        let to = to.min(self.cells.len());
        for cell in self.cells.get_mut(from.min(to)..to).unwrap_or_default() {
            *cell = Cell { text: b" ", style: 0 };
        }
    }

    fn restyle(&mut self, sequence: &[u8]) {
        let reset = matches!(sequence, b"\x1b[m" | b"\x1b[0m" | b"\x1b[00m");
        let mut style = if reset { Vec::new() } else { self.styles[self.style].clone() };
        if style.len() + sequence.len() > STYLE_MAX {
            style.clear();
        }
        if !reset {
            style.extend_from_slice(sequence);
        }
        let known = self.styles.iter().rposition(|known| *known == style);
        self.style = known.unwrap_or_else(|| {
            self.styles.push(style);
            self.styles.len() - 1
        });
    }

    fn write(&self, cells: &[Cell<'_>], out: &mut Vec<u8>) {
        let mut style = 0;
        for cell in cells {
            if cell.style != style {
                if style != 0 {
                    out.extend_from_slice(b"\x1b[0m");
                }
                out.extend_from_slice(&self.styles[cell.style]);
                style = cell.style;
            }
            out.extend_from_slice(cell.text);
        }
        if style != 0 {
            out.extend_from_slice(b"\x1b[0m");
        }
    }
}

/// The length of the character that `bytes` begins with; of what is none, one byte.
fn character(bytes: &[u8]) -> usize {
    let len = match bytes[0] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    let whole = bytes.get(..len).is_some_and(|text| std::str::from_utf8(text).is_ok());
    if whole { len } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::{condensed, is_redrawn, redrawn};

    fn shown(line: &str) -> String {
        String::from_utf8(redrawn(line.as_bytes())).unwrap()
    }

    #[test]
    fn what_was_written_over_is_gone() {
        let cases = [
            ("10%\r20%", "20%"),
            ("Downloading\rDone\x1b[K", "Done"),
            ("long text\rshort", "shorttext"),
            ("50%\x08\x08\x0851%", "51%"),
            ("ab \x08", "ab"),
            ("\x1b[1G\x1b[0K\u{2819} npm", "\u{2819} npm"),
            ("x\x1b[2Ky", " y"),
            ("\x1b[?25la\x1b[?25h", "a"),
            ("a\x1b[5Cb", "a     b"),
            ("abcdef\x1b[3G\x1b[2P", "abef"),
            ("abc\x1b[2D\x1b[1K", "  c"),
            ("\x1b[32mgreen\x1b[0m\r\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m\x1b[32men\x1b[0m"),
            ("日本\r中", "中本"),
        ];
        for (line, expected) in cases {
            assert!(is_redrawn(line.as_bytes()), "{line:?}");
            assert_eq!(shown(line), expected, "{line:?}");
        }
        for plain in ["", "text", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "tab\tbed"] {
            assert!(!is_redrawn(plain.as_bytes()), "{plain:?}");
        }
    }

    #[test]
    fn what_has_no_part_in_drawing_stays() {
        assert_eq!(shown("a\r\x1b]52;c;x\x07"), "\x1b]52;c;x\x07");
        assert_eq!(redrawn(b"\xff\xfe\r\xc3"), b"\xc3\xfe");
    }

    #[test]
    fn a_line_can_be_condensed_anywhere_between_two_sequences() {
        let tokens =
            ["ab", "\r", "\x1b[31m", "cde", "\x1b[2D", "\x1b[K", "x", "\x1b[0m", "\x1b[9G", "y", "\x08z"];
        let line = tokens.concat();
        for cut in 0..=tokens.len() {
            let head = condensed(tokens[..cut].concat().as_bytes());
            let again = [head, tokens[cut..].concat().into_bytes()].concat();
            assert_eq!(redrawn(&again), redrawn(line.as_bytes()), "cut at {cut}");
        }
    }

    #[test]
    fn absurd_places_cost_nothing() {
        for line in ["\x1b[99999999999999999999Gx", "\x1b[4294967295Cx", "\x1b[99999999Px", "\x1b[99999999Xx"]
        {
            assert!(redrawn(line.as_bytes()).len() <= super::COLUMNS_MAX + 1, "{line:?}");
        }
    }
}
