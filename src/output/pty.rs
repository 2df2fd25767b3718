//! Pseudo-terminals, for components that are to believe that they write to a terminal.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{
    LocalModes, OptionalActions, OutputModes, Winsize, isatty, tcgetattr, tcgetwinsize, tcsetattr,
    tcsetwinsize,
};

use crate::paint::WIDTH_MAX;

/// Columns and rows where orch has no terminal.
const USUAL: (u16, u16) = (80, 24);

/// A narrower one is of no use to any program.
const COLUMNS_MIN: u16 = 20;

/// The bar between a label and a line.
const BAR: usize = 3;

/// How large the components' terminals are: what is left of orch's own beside the labels.
#[derive(Debug)]
pub(super) struct Room {
    /// orch's own terminal, if it has one.
    terminal: Option<OwnedFd>,
    /// Columns that the labels take.
    label: AtomicUsize,
}

impl Room {
    /// The room on the terminal that `stdout` leads to, if it leads to one, beside labels of that width.
    pub(super) fn new(stdout: &OwnedFd, label: usize) -> Self {
        let terminal = isatty(stdout).then(|| stdout.try_clone().ok()).flatten();
        Self { terminal, label: AtomicUsize::new(label.min(WIDTH_MAX)) }
    }

    /// There is a label of that width.
    pub(super) fn beside(&self, label: usize) {
        self.label.fetch_max(label.min(WIDTH_MAX), Ordering::Relaxed);
    }

    /// The size that it comes to now.
    pub(super) fn size(&self) -> Winsize {
        let own = self.terminal.as_ref().and_then(|fd| tcgetwinsize(fd).ok());
        let (columns, rows) = match own {
            Some(own) if own.ws_col > 0 && own.ws_row > 0 => {
                let label = self.label.load(Ordering::Relaxed) + BAR;
                let left = own.ws_col.saturating_sub(u16::try_from(label).unwrap_or(u16::MAX));
                (left.max(COLUMNS_MIN), own.ws_row)
            }
            _ => USUAL,
        };
        Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
    }
}

/// A new pseudo-terminal of that size: what orch reads, and what the component writes to. Both close on exec,
/// and neither becomes anybody's controlling terminal.
///
/// What is written comes out as it was written: without the carriage returns that a terminal puts before line
/// feeds, and without an echo.
pub(super) fn make(size: Winsize) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    let mut modes = tcgetattr(&slave)?;
    modes.output_modes.remove(OutputModes::OPOST);
    modes.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL);
    tcsetattr(&slave, OptionalActions::Now, &modes)?;
    tcsetwinsize(&slave, size)?;
    Ok((master, slave))
}

/// Whether a descriptor is one of those.
pub(super) fn is_one(fd: impl AsFd) -> bool {
    isatty(fd)
}

/// Gives a pseudo-terminal that size, by the end that orch reads; whether it had another one.
pub(super) fn resize(master: impl AsFd, size: Winsize) -> bool {
    let master = master.as_fd();
    let same = tcgetwinsize(master).is_ok_and(|old| (old.ws_col, old.ws_row) == (size.ws_col, size.ws_row));
    !same && tcsetwinsize(master, size).is_ok()
}
