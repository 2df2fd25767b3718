//! Bytes of components into lines for the terminal: prefixed, escaped, never torn. Does no I/O.

use std::collections::BTreeMap;
use std::time::Instant;

use memchr::memchr_iter;
use serde::{Deserialize, Serialize};

use super::queue::Manner;
use crate::paint::{
    Drawing, DrawingState, Labels, PIECE_MAX, Shown, WIDTH_MAX, escape_line, whole, without_returns,
};
use crate::types::{Time, UnitId, escaped};

/// Ends every piece but the last one of a line.
const PIECE_END: &[u8] = b" [orch: the line goes on]\n";

/// Paints the output of any number of units.
#[derive(Debug)]
pub(super) struct Painter {
    color: bool,
    width: usize,
    labels: Labels,
    sources: BTreeMap<UnitId, Source>,
    /// Drawings' times are counted from here.
    began: Instant,
}

#[derive(Debug)]
struct Source {
    label: String,
    prefix: Vec<u8>,
    /// The width that `prefix` was made for.
    width: usize,
    /// The beginning of a line, as it came.
    partial: Vec<u8>,
    /// What it draws, if it does.
    drawing: Option<Drawing>,
}

/// A painter, handed over.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct PainterState {
    width: usize,
    slots: BTreeMap<String, usize>,
    sources: Vec<SourceState>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SourceState {
    unit: UnitId,
    label: String,
    #[serde(with = "escaped")]
    partial: Vec<u8>,
    drawing: Option<DrawingState>,
}

impl Painter {
    pub(super) fn new(color: bool, width: usize) -> Self {
        let width = width.min(WIDTH_MAX);
        let (labels, sources) = (Labels::default(), BTreeMap::new());
        Self { color, width, labels, sources, began: Instant::now() }
    }

    /// Goes on where another painter was left: in the middle of lines, and with the same colours.
    pub(super) fn adopt(color: bool, width: usize, state: PainterState) -> Self {
        let mut painter = Self::new(color, width.max(state.width));
        painter.labels = Labels::adopt(state.slots);
        for source in state.sources {
            painter.open(source.unit, &source.label, Manner::Lines);
            if let Some(opened) = painter.sources.get_mut(&source.unit) {
                opened.partial = source.partial;
                opened.drawing = source.drawing.map(|drawing| Drawing::adopt(drawing, Time(0)));
            }
        }
        painter
    }

    /// Leaves what it has seen to another painter.
    pub(super) fn leave(self) -> PainterState {
        let source = |(unit, source): (UnitId, Source)| SourceState {
            unit,
            label: source.label,
            partial: source.partial,
            drawing: source.drawing.map(Drawing::leave),
        };
        let sources = self.sources.into_iter().map(source).collect();
        PainterState { width: self.width, slots: self.labels.leave(), sources }
    }

    /// What `unit` writes comes from `label`.
    pub(super) fn open(&mut self, unit: UnitId, label: &str, manner: Manner) {
        self.width = self.width.max(label.len().min(WIDTH_MAX));
        self.labels.add(label);
        let drawing = (manner == Manner::Drawn).then(Drawing::default);
        let (prefix, partial) = (Vec::new(), Vec::new());
        let source = Source { label: label.to_owned(), prefix, width: 0, partial, drawing };
        self.sources.insert(unit, source);
    }

    /// Appends the lines that end in `bytes` to `out`.
    pub(super) fn bytes(&mut self, unit: UnitId, bytes: &[u8], now: Instant, out: &mut Vec<u8>) {
        self.renew_prefix(unit);
        let (color, now) = (self.color, self.time(now));
        let Some(source) = self.sources.get_mut(&unit) else { return };
        if let Some((drawing, mut show)) = source.drawing(color, out) {
            return drawing.bytes(bytes, now, &mut show);
        }
        let mut start = 0;
        for end in memchr_iter(b'\n', bytes) {
            let piece = &bytes[start..end];
            start = end + 1;
            if source.partial.is_empty() && piece.len() <= PIECE_MAX {
                source.show(piece, color, out);
            } else {
                source.add(piece, color, out);
                source.end_line(color, out);
            }
        }
        source.add(&bytes[start..], color, out);
    }

    /// The unit's output has ended: a last line without an end is shown now.
    pub(super) fn close(&mut self, unit: UnitId, out: &mut Vec<u8>) {
        self.renew_prefix(unit);
        let color = self.color;
        let Some(mut source) = self.sources.remove(&unit) else { return };
        if let Some((drawing, mut show)) = source.drawing(color, out) {
            drawing.end(&mut show);
        } else if !source.partial.is_empty() {
            source.end_line(color, out);
        }
    }

    /// When [`Painter::glimpse`] is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let due = self.sources.values().filter_map(|source| source.drawing.as_ref()?.due()).min();
        due.map(|due| self.began + due.since(Time(0)))
    }

    /// Shows what is drawn over again and again, as it is now, where that is due.
    pub(super) fn glimpse(&mut self, now: Instant, out: &mut Vec<u8>) {
        let now = self.time(now);
        let due = |source: &Source| source.drawing.as_ref()?.due().filter(|due| *due <= now);
        let units: Vec<UnitId> =
            self.sources.iter().filter(|(_, source)| due(source).is_some()).map(|(unit, _)| *unit).collect();
        for unit in units {
            self.renew_prefix(unit);
            let color = self.color;
            let source = self.sources.get_mut(&unit).and_then(|source| source.drawing(color, out));
            if let Some((drawing, mut show)) = source {
                drawing.glimpse(now, &mut show);
            }
        }
    }

    /// A line of orch's own in the place of what was left out of the unit's output.
    pub(super) fn note(&mut self, unit: UnitId, note: &str, out: &mut Vec<u8>) {
        self.renew_prefix(unit);
        let color = self.color;
        let Some(source) = self.sources.get_mut(&unit) else { return };
        if let Some((drawing, mut show)) = source.drawing(color, out) {
            drawing.interrupt(&mut show);
        } else if !source.partial.is_empty() {
            source.end_piece(source.partial.len(), color, out);
        }
        out.extend_from_slice(&source.prefix);
        out.extend_from_slice(note.as_bytes());
        out.push(b'\n');
    }

    fn time(&self, now: Instant) -> Time {
        Time(0) + now.saturating_duration_since(self.began)
    }

    fn renew_prefix(&mut self, unit: UnitId) {
        let Some(source) = self.sources.get_mut(&unit) else { return };
        if source.width == self.width && !source.prefix.is_empty() {
            return;
        }
        source.width = self.width;
        source.prefix = self.labels.prefix(&source.label, self.width, self.color);
    }
}

impl Source {
    /// What it draws, and a way to show parts of it.
    fn drawing<'a>(
        &'a mut self,
        color: bool,
        out: &'a mut Vec<u8>,
    ) -> Option<(&'a mut Drawing, impl FnMut(Shown<'_>) + 'a)> {
        let Self { prefix, drawing, .. } = self;
        let show = move |shown: Shown<'_>| {
            let (text, end) = match shown {
                Shown::Line(text) => (text, &b"\n"[..]),
                Shown::Piece(text) => (text, PIECE_END),
            };
            out.extend_from_slice(prefix);
            escape_line(text, color, out);
            out.extend_from_slice(end);
        };
        drawing.as_mut().map(|drawing| (drawing, show))
    }

    /// Goes on with a line; `bytes` holds no line's end.
    fn add(&mut self, mut bytes: &[u8], color: bool, out: &mut Vec<u8>) {
        while self.partial.len() + bytes.len() > PIECE_MAX {
            let (head, rest) = bytes.split_at(PIECE_MAX - self.partial.len());
            self.partial.extend_from_slice(head);
            bytes = rest;
            self.end_piece(whole(&self.partial), color, out);
        }
        self.partial.extend_from_slice(bytes);
    }

    fn end_line(&mut self, color: bool, out: &mut Vec<u8>) {
        self.show(&self.partial, color, out);
        self.partial.clear();
    }

    fn show(&self, line: &[u8], color: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        escape_line(without_returns(line), color, out);
        out.push(b'\n');
    }

    /// Shows the first `len` bytes of the line as a line of their own.
    fn end_piece(&mut self, len: usize, color: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        escape_line(&self.partial[..len], color, out);
        out.extend_from_slice(PIECE_END);
        self.partial.drain(..len);
    }
}

#[cfg(test)]
mod tests {
    use super::{PIECE_MAX, Painter};
    use crate::output::queue::Manner;
    use crate::types::UnitId;
    use std::time::Instant;

    const A: UnitId = UnitId(1);
    const B: UnitId = UnitId(2);

    /// What is shown of `pieces`, which `a` writes, up to its end.
    fn painted(pieces: &[&[u8]], color: bool) -> String {
        let mut painter = Painter::new(color, 0);
        let mut out = Vec::new();
        painter.open(A, "a", Manner::Lines);
        for piece in pieces {
            painter.bytes(A, piece, Instant::now(), &mut out);
        }
        painter.close(A, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// No byte but text, `\n`, `\t` and whole colours.
    fn assert_harmless(shown: &str) {
        let mut rest = shown;
        while let Some(at) = rest.find(|c: char| c.is_control() && c != '\n' && c != '\t') {
            rest = &rest[at..];
            let len = crate::paint::sgr(rest.as_bytes());
            rest = &rest[len.unwrap_or_else(|| panic!("a control character got through: {rest:?}"))..];
        }
    }

    #[test]
    fn lines_are_prefixed_and_aligned_and_not_torn() {
        let mut painter = Painter::new(false, 0);
        let mut out = Vec::new();
        painter.open(A, "api", Manner::Lines);
        painter.bytes(A, b"one\nha", Instant::now(), &mut out);
        painter.open(B, "worker", Manner::Lines);
        painter.bytes(B, b"two\r\n", Instant::now(), &mut out);
        painter.bytes(A, b"lf\n\nend", Instant::now(), &mut out);
        painter.close(A, &mut out);
        painter.close(B, &mut out);
        let expected = "api | one\nworker | two\napi    | half\napi    | \napi    | end\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_label_keeps_its_colour_and_labels_have_different_ones() {
        let mut painter = Painter::new(true, 0);
        let mut prefixes = std::collections::BTreeSet::new();
        for number in 0..10 {
            let mut out = Vec::new();
            let unit = UnitId(number);
            painter.open(unit, &format!("component-{number}"), Manner::Lines);
            painter.bytes(unit, b"\n", Instant::now(), &mut out);
            let shown = String::from_utf8(out).unwrap();
            let color = shown.split_once('m').map(|(sgr, _)| sgr.to_owned()).unwrap();
            assert!(prefixes.insert(color), "{shown:?}");
            let mut again = Vec::new();
            painter.open(UnitId(100), &format!("component-{number}"), Manner::Lines);
            painter.bytes(UnitId(100), b"\n", Instant::now(), &mut again);
            assert_eq!(String::from_utf8(again).unwrap(), shown);
        }
    }

    #[test]
    fn however_output_is_split_the_same_is_shown_and_it_is_harmless() {
        let output = "plain\n\x1b[31mred\x1b[0m \x1b]52;c;aGk=\x07\x1b]0;t\x1b\\\n日本\u{9b}31m\u{202e}x\r1%\r2%\r\r\n\
            \x1b[2J\0\x08\x7f\ta | forged\x1b[";
        let mut output = output.as_bytes().to_vec();
        output.extend_from_slice(b"\xff\xfe\xe2\x80\n\x1b[1;31mtail");
        for color in [true, false] {
            let whole = painted(&[&output], color);
            assert_harmless(&whole);
            assert_eq!(whole.contains('\x1b'), color);
            for split in 0..=output.len() {
                let (head, tail) = output.split_at(split);
                assert_eq!(painted(&[head, tail], color), whole, "split at {split}");
            }
            let bytes: Vec<&[u8]> = output.chunks(1).collect();
            assert_eq!(painted(&bytes, color), whole);
        }
    }

    #[test]
    fn random_bytes_are_harmless() {
        const NASTY: &[u8] = b"\x1b[0;31m]\x07\xc2\x9b\xe2\x80\xaea\r\n";
        let mut seed = 1_u64;
        for round in 0..200 {
            let mut random = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 56) as u8
            };
            let bytes: Vec<u8> = match round % 2 {
                0 => (0..2_000).map(|_| random()).collect(),
                _ => (0..2_000).map(|_| NASTY[usize::from(random()) % NASTY.len()]).collect(),
            };
            assert_harmless(&painted(&[&bytes], true));
        }
    }

    #[test]
    fn a_line_without_an_end_is_cut_in_whole_characters_and_takes_bounded_memory() {
        let mut painter = Painter::new(false, 0);
        painter.open(A, "a", Manner::Lines);
        let mut shown = 0;
        let piece = "€".repeat(10_000);
        for _ in 0..200 {
            let mut out = Vec::new();
            painter.bytes(A, piece.as_bytes(), Instant::now(), &mut out);
            for line in out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                assert!(line.len() < PIECE_MAX + 64);
                let text = std::str::from_utf8(line).unwrap();
                shown += text.chars().filter(|c| *c == '€').count();
                assert!(!text.contains("\\x"), "a character was cut");
            }
            assert!(painter.sources[&A].partial.capacity() <= 2 * PIECE_MAX);
        }
        let mut out = Vec::new();
        painter.close(A, &mut out);
        shown += String::from_utf8(out).unwrap().chars().filter(|c| *c == '€').count();
        assert_eq!(shown, 200 * 10_000);
    }

    #[test]
    fn colours_are_not_cut_in_two() {
        for lead in PIECE_MAX - 12..PIECE_MAX + 2 {
            let mut line = vec![b'x'; lead];
            line.extend_from_slice(b"\x1b[1;31mred");
            line.extend_from_slice(&[b'y'; 100]);
            let shown = painted(&[&line], true);
            assert_harmless(&shown);
            assert!(!shown.contains("\\x1b"), "cut at {lead}");
            assert_eq!(shown.matches("\x1b[1;31m").count(), 1);
        }
        for byte in [0x1b, 0x80, 0xff] {
            assert_harmless(&painted(&[&vec![byte; 3 * PIECE_MAX]], true));
        }
    }

    #[test]
    fn a_note_ends_a_line_that_was_begun() {
        let mut painter = Painter::new(false, 0);
        let mut out = Vec::new();
        painter.open(A, "a", Manner::Lines);
        painter.bytes(A, b"begun", Instant::now(), &mut out);
        painter.note(A, "[orch: 1 line not shown]", &mut out);
        painter.bytes(A, b"next\n", Instant::now(), &mut out);
        let expected = "a | begun [orch: the line goes on]\na | [orch: 1 line not shown]\na | next\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
