//! A table that is renewed: in place on a terminal, else printed again whenever something has changed.

use std::io::{self, Write as _};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::super::exit::Exit;
use super::super::interrupts::{self, Interrupt};
use super::super::paint::{Canvas, Paint, Piece, line};
use super::super::target::unanswered;
use super::super::terminal::{Screen, canvas, has_foreground, is_screen, size};
use super::super::{complain, tell};
use crate::client::ClientError;
use crate::runtime::stand_still;

/// Two looks a second.
const RENEWED: Duration = Duration::from_millis(500);
/// An answer that takes longer is not waited for: orch may be becoming another image, or be stopped.
pub(super) const LOOK: Duration = Duration::from_secs(2);
/// So often in a row a connection may end without an answer.
const PATIENCE: u32 = 20;

/// What was seen at one moment.
pub(super) struct Frame {
    pub(super) lines: Vec<String>,
    /// So many of them stay when not all can be shown.
    pub(super) head: usize,
    /// What must change before it is worth printing again.
    pub(super) key: String,
}

impl Frame {
    pub(super) fn plain(lines: Vec<String>) -> Self {
        Self { lines, head: 0, key: String::new() }
    }

    pub(super) fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// As many lines as there are rows; where some are missing, the last one says how many.
    fn cut(mut self, rows: usize, canvas: Canvas) -> Vec<String> {
        if self.lines.len() > rows {
            let shown = rows.saturating_sub(1).max(self.head.min(rows));
            let missing = self.lines.len() - shown;
            self.lines.truncate(shown);
            if shown < rows {
                let note = format!("… and {missing} more: the terminal is too low, `orch ps` shows all");
                self.lines.push(line(&[Piece::new(Paint::Dim, &note)], canvas));
            }
        }
        self.lines
    }
}

/// Shows what `see` sees, until there is no orch any more, or the user wants an end. `what` has ended then.
pub(super) fn watch(see: impl FnMut(Canvas) -> Result<Frame, ClientError>, what: &str) -> Exit {
    if is_screen(&io::stdout()) { on_screen(see, what) } else { in_lines(see, what) }
}

fn on_screen(mut see: impl FnMut(Canvas) -> Result<Frame, ClientError>, what: &str) -> Exit {
    let (tell_of, interrupts) = mpsc::channel();
    if let Err(error) = interrupts::listen(move |one| tell_of.send(one).is_ok()) {
        return complain(&format!("can't listen to signals: {error}"));
    }
    let mut eye = Eye::default();
    let mut screen: Option<Screen> = None;
    loop {
        let canvas = canvas();
        let seen = match eye.look(|| see(canvas)) {
            Look::Seen(frame) => Some(frame.cut(size(&io::stdout()).1, canvas)),
            Look::Nothing => None,
            Look::Over(ended) => {
                drop(screen);
                return ended.tell(what);
            }
        };
        // In the background the terminal is somebody else's.
        if let Some(lines) = seen.filter(|_| has_foreground(&io::stdout())) {
            let drawn = match &screen {
                Some(screen) => screen.draw(&lines),
                None => Screen::enter().and_then(|entered| screen.insert(entered).draw(&lines)),
            };
            if drawn.is_err() {
                return Exit::Done; // the terminal is gone
            }
        }
        match interrupts.recv_timeout(RENEWED) {
            Ok(Interrupt::Resize) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Interrupt::Pause) => {
                // What was there before is there again for the shell; the next picture enters anew.
                drop(screen.take());
                stand_still();
            }
            Ok(Interrupt::End) | Err(RecvTimeoutError::Disconnected) => return Exit::Done,
        }
    }
}

fn in_lines(mut see: impl FnMut(Canvas) -> Result<Frame, ClientError>, what: &str) -> Exit {
    let mut eye = Eye::default();
    let mut printed: Option<String> = None;
    // Nobody sends; it is a way to wait.
    let (_never, pause) = mpsc::channel::<()>();
    loop {
        match eye.look(|| see(canvas())) {
            Look::Seen(frame) if printed.as_ref() != Some(&frame.key) => {
                let gap = if printed.is_some() { "\n" } else { "" };
                let mut out = io::stdout().lock();
                let written = out.write_all(format!("{gap}{}", frame.text()).as_bytes());
                if written.and_then(|()| out.flush()).is_err() {
                    return Exit::Done; // nobody reads any more
                }
                printed = Some(frame.key);
            }
            Look::Seen(_) | Look::Nothing => {}
            Look::Over(ended) => return ended.tell(what),
        }
        let _ = pause.recv_timeout(RENEWED);
    }
}

/// Tells a moment without an answer from the end.
#[derive(Default)]
struct Eye {
    /// Something was seen before.
    open: bool,
    failures: u32,
}

enum Look {
    Seen(Frame),
    /// Not this time.
    Nothing,
    Over(Ended),
}

/// Why nothing more is seen.
enum Ended {
    /// orch has ended, after it was seen.
    Orderly,
    Failed(ClientError),
}

impl Eye {
    fn look(&mut self, see: impl FnOnce() -> Result<Frame, ClientError>) -> Look {
        match see() {
            Ok(frame) => {
                *self = Self { open: true, failures: 0 };
                Look::Seen(frame)
            }
            Err(ClientError::NotRunning) if self.open => Look::Over(Ended::Orderly),
            // It becomes another image, or ends: the next look tells. One that does not answer may be stopped.
            Err(ClientError::Ended) if self.failures < PATIENCE => {
                self.failures += 1;
                Look::Nothing
            }
            Err(ClientError::TimedOut) if self.open => Look::Nothing,
            Err(error) => Look::Over(Ended::Failed(error)),
        }
    }
}

impl Ended {
    fn tell(&self, what: &str) -> Exit {
        match self {
            Self::Orderly => {
                tell(&format!("orch: {what} has ended\n"));
                Exit::Done
            }
            Self::Failed(error) => unanswered(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Canvas, Eye, Frame, Look, PATIENCE};
    use crate::client::ClientError;

    fn frame(lines: usize) -> Frame {
        let lines = (0..lines).map(|line| format!("line {line}")).collect();
        Frame { lines, head: 2, key: String::new() }
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let canvas = Canvas { width: Some(80), color: false };
        assert_eq!(frame(10).cut(10, canvas).len(), 10);
        let cut = frame(10).cut(5, canvas);
        assert_eq!((cut.len(), cut[3].as_str()), (5, "line 3"));
        assert!(cut[4].starts_with("… and 6 more"), "{cut:#?}");
        for rows in 1..4 {
            assert!(frame(10).cut(rows, canvas).len() <= rows);
        }
    }

    #[test]
    fn a_moment_without_an_answer_is_no_end() {
        let mut eye = Eye::default();
        let mut look = |seen| eye.look(|| seen);
        assert!(matches!(look(Ok(frame(1))), Look::Seen(_)));
        for _ in 0..PATIENCE {
            assert!(matches!(look(Err(ClientError::Ended)), Look::Nothing));
        }
        assert!(matches!(look(Err(ClientError::Ended)), Look::Over(_)));
        assert!(matches!(look(Ok(frame(1))), Look::Seen(_)));
        assert!(matches!(look(Err(ClientError::TimedOut)), Look::Nothing));
        assert!(matches!(look(Err(ClientError::NotRunning)), Look::Over(_)));
    }
}
