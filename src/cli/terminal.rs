//! The terminal that a command runs in: how large it is, and what is shown on it for a while.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use super::paint::Canvas;
use super::{colors, no_color};

/// Columns and rows, as long as nothing is known of the terminal.
const USUAL: (usize, usize) = (80, 24);

/// Whether what is shown on a stream can be renewed in place.
pub(super) fn is_screen(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// How many columns and rows the terminal has that a stream goes to.
pub(super) fn size(stream: &impl AsFd) -> (usize, usize) {
    match rustix::termios::tcgetwinsize(stream) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => USUAL,
    }
}

/// Whether the stream's terminal is this process group's to write to; also where that is not known.
pub(super) fn has_foreground(stream: &impl AsFd) -> bool {
    rustix::termios::tcgetpgrp(stream).map_or(true, |group| group == rustix::process::getpgrp())
}

/// What results are shown in: on a terminal as wide as that is, and in colour; else as they are.
pub(super) fn canvas() -> Canvas {
    let stdout = io::stdout();
    let width = stdout.is_terminal().then(|| size(&stdout).0);
    Canvas { width, color: colors(&stdout) }
}

/// A line at the bottom of stderr, renewed in place. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct Line {
    shown: bool,
}

impl Line {
    pub(super) fn new() -> Self {
        Self { shown: false }
    }

    /// Shows this text in place of what was shown.
    pub(super) fn show(&mut self, text: &str) {
        let stderr = io::stderr();
        // A line in the last column makes some terminals go on in the next one.
        let width = size(&stderr).0.saturating_sub(1);
        let text = super::paint::clipped(text, width);
        let (dim, off) = if no_color() { ("", "") } else { ("\x1b[2m", "\x1b[0m") };
        // Nobody may read it; that is no reason to fail.
        let _ = write!(stderr.lock(), "\r{dim}{text}{off}\x1b[K");
        self.shown = true;
    }

    /// Takes it away.
    pub(super) fn erase(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.erase();
    }
}

/// The whole of stdout's terminal, for something that is renewed in place. Dropped, what was there before is
/// there again.
#[derive(Debug)]
pub(super) struct Screen(());

impl Screen {
    /// # Errors
    /// The terminal's.
    pub(super) fn enter() -> io::Result<Self> {
        // The other screen, no cursor, no wrapping: a line that is too long by a font's whim is cut.
        let entered = Self(());
        write_out("\x1b[?1049h\x1b[?25l\x1b[?7l")?;
        Ok(entered)
    }

    /// Shows these lines; at most as many as there are rows.
    ///
    /// # Errors
    /// The terminal's.
    pub(super) fn draw(&self, lines: &[String]) -> io::Result<()> {
        let rows = size(&io::stdout()).1;
        // As one picture, where the terminal knows how: nothing flickers.
        let mut text = String::from("\x1b[?2026h\x1b[H");
        for (at, line) in lines.iter().take(rows).enumerate() {
            text += if at == 0 { "" } else { "\r\n" };
            text += line;
            text += "\x1b[K";
        }
        text += "\x1b[J\x1b[?2026l";
        write_out(&text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = write_out("\x1b[?7h\x1b[?25h\x1b[?1049l");
    }
}

fn write_out(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
