//! Pieces of text with a meaning, which on a terminal is a colour.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar as _;

use crate::config::render::harmless;

/// What a piece of text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    /// It matters less.
    Dim,
    /// It stands above others.
    Head,
    Good,
    /// It is on its way.
    Busy,
    Warn,
    Bad,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Dim => "2",
            Self::Head => "1",
            Self::Good => "32",
            Self::Busy => "36",
            Self::Warn => "33",
            Self::Bad => "1;31",
        }
    }
}

/// A piece of text; whatever it comes from, it does a terminal no harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    text: String,
    paint: Paint,
}

impl Piece {
    pub(super) fn new(paint: Paint, text: &str) -> Self {
        Self { text: harmless(text).into_owned(), paint }
    }

    pub(super) fn width(&self) -> usize {
        width(&self.text)
    }

    /// The text, cut to at most so many columns, as it is shown.
    pub(super) fn shown(&self, most: usize, color: bool) -> String {
        let text = clipped(&self.text, most);
        let code = self.paint.code();
        if !color || code.is_empty() || text.is_empty() {
            return text.into_owned();
        }
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// What a text is shown in: how wide it may be, and whether there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Canvas {
    /// `None`: it may be as wide as it is.
    pub(super) width: Option<usize>,
    pub(super) color: bool,
}

/// The pieces one after the other, cut to the canvas's width.
pub(super) fn line(pieces: &[Piece], canvas: Canvas) -> String {
    let mut left = canvas.width.unwrap_or(usize::MAX);
    let mut shown = String::new();
    for piece in pieces {
        shown += &piece.shown(left, canvas.color);
        if piece.width() > left {
            break;
        }
        left -= piece.width();
    }
    shown
}

/// How many columns of a terminal a text takes.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

fn columns(character: char) -> usize {
    character.width().unwrap_or(0)
}

/// The text, cut to at most so many columns, with a mark where something is missing.
pub(super) fn clipped(text: &str, most: usize) -> Cow<'_, str> {
    if width(text) <= most {
        return Cow::Borrowed(text);
    }
    if most == 0 {
        return Cow::Borrowed("");
    }
    let mut taken = 0;
    let end = text.char_indices().find(|(_, character)| {
        taken += columns(*character);
        taken > most - 1
    });
    let end = end.map_or(text.len(), |(at, _)| at);
    Cow::Owned(format!("{}…", text[..end].trim_end()))
}

#[cfg(test)]
mod tests {
    use super::{Canvas, Paint, Piece, clipped, line, width};

    #[test]
    fn a_cut_text_is_never_wider_than_it_may_be() {
        for text in ["plain text", "日本語のテキスト", "e\u{301}te\u{301} e\u{301}te\u{301}", "🦀🦀🦀", ""]
        {
            for most in 0..20 {
                let cut = clipped(text, most);
                assert!(width(&cut) <= most, "{cut:?} in {most}");
                assert_eq!(cut == text, width(text) <= most, "{cut:?} in {most}");
            }
        }
        assert_eq!(clipped("日本語", 4), "日…");
        assert_eq!(clipped("one two", 5), "one…");
    }

    #[test]
    fn what_a_terminal_would_obey_is_replaced_and_colours_are_only_ours() {
        let piece = Piece::new(Paint::Bad, "a\u{1b}[2Jb\nc\u{202e}");
        assert_eq!(piece.shown(99, false), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}");
        let canvas = Canvas { width: Some(3), color: true };
        let pieces =
            [Piece::new(Paint::Plain, "ab"), Piece::new(Paint::Good, "cd"), Piece::new(Paint::Good, "e")];
        assert_eq!(line(&pieces, canvas), "ab\u{1b}[32m…\u{1b}[0m");
        assert_eq!(line(&pieces, Canvas { width: None, color: false }), "abcde");
    }
}
