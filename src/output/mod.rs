//! The output hand, the data plane: every byte that components write goes through here, from their pipes to
//! their log files and to the terminal, and nowhere else; the core only hears what it has asked for.
//!
//! One thread reads all pipes (`capture`), another one writes to the terminal (`screen`), so that a
//! terminal that takes no bytes holds up nothing. `docs/design/output.md` tells why it is as it is.

mod capture;
mod digest;
mod gap;
mod handover;
mod lend;
mod log;
mod logfile;
mod matcher;
mod paint;
mod pty;
mod queue;
mod screen;
mod sink;
mod stream;
#[cfg(test)]
mod tests;
mod times;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use crate::config::model::Overflow;
use crate::types::UnitId;
use capture::Command;
use pty::Room;
use queue::Source;
use screen::Screen;

pub use handover::{NotHandedOver, OutputHandover};

/// A pipe's size: large enough that a component and the reader rarely wait for each other.
const PIPE_SIZE: usize = 1 << 20;

/// So many pipes are made large. The system grants a user 64 MiB of pipes in all, and makes every further
/// one, of whatever program, uncomfortably small.
const LARGE_PIPES: usize = 16;

/// How long the reader has to end; it waits for nothing but the disk.
const READER_LIMIT: Duration = Duration::from_secs(5);

/// Where reports go; called from the hand's own thread, so it only hands over.
pub type ReportSink = Arc<dyn Fn(OutputReport) + Send + Sync>;

/// Called after bytes were written to some log, from the hand's own thread: it only rings.
pub type Bell = Arc<dyn Fn() + Send + Sync>;

/// How output is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutputConfig {
    /// Colours on stdout: for the prefixes, and those of the components.
    pub color: bool,
    /// Colours in orch's own messages on stderr.
    pub color_messages: bool,
    /// The width of the longest label that is known to come, in characters; longer ones widen it.
    pub prefix_width: usize,
}

/// Where output is shown.
#[derive(Debug)]
pub struct Terminal {
    /// The components' output.
    pub stdout: OwnedFd,
    /// orch's own messages.
    pub stderr: OwnedFd,
}

/// What is to be made of a unit's output.
#[derive(Debug)]
pub struct StreamSpec {
    /// The component's name, shown before each of its lines.
    pub label: String,
    /// Where the bytes are kept.
    pub log: Option<LogSpec>,
    /// The first line that matches, colours removed, is reported.
    pub matcher: Option<regex::bytes::Regex>,
    /// Whether it is shown on the terminal.
    pub show: bool,
    /// Whether its end is told with [`OutputReport::Remembered`].
    pub remember: bool,
}

/// A log file. Streams that name the same path share it; the newest spec holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSpec {
    /// The file, absolute; its folder is made.
    pub path: PathBuf,
    /// A larger file is rotated to `.1`, `.2` …; 0: never. Bytes.
    pub max_size: u64,
    /// Rotated files kept.
    pub keep: u32,
    /// What happens while the disk is full.
    pub overflow: Overflow,
}

/// What the hand reports.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum OutputReport {
    /// A line matched; told once.
    Matched {
        /// Whose.
        unit: UnitId,
    },
    /// What is remembered of an output that has ended; told before its end, where that was asked for.
    Remembered {
        /// Whose.
        unit: UnitId,
        /// The place that it names as the first that is at fault: `src/main.rs:3:5`.
        place: Option<String>,
        /// Its last lines, without colours and control characters: 20 of them, or 16 KiB.
        tail: Vec<String>,
    },
    /// The output has ended, or was closed on request, and all that was read is in the log file.
    Ended {
        /// Whose.
        unit: UnitId,
    },
    /// Its pseudo-terminal has another size; its processes are to be told.
    Resized {
        /// Whose.
        unit: UnitId,
    },
    /// Something the user should know; the hand goes on.
    Problem {
        /// Whose output is concerned.
        unit: UnitId,
        /// What was attempted, on what, why it failed, and what follows.
        message: String,
    },
}

/// The hand. Shared by reference; no call waits for a component, a disk or a terminal, but [`Output::finish`], which
/// says for how long.
pub struct Output {
    commands: Sender<Command>,
    wake: Arc<OwnedFd>,
    screen: Arc<Screen>,
    /// Closed when the reader has ended.
    reader: Mutex<Receiver<()>>,
    open_streams: Arc<AtomicUsize>,
    /// How large pseudo-terminals are.
    room: Room,
}

impl Output {
    /// Starts the two threads.
    ///
    /// # Errors
    /// When the system has no thread or descriptor left.
    pub fn start(config: OutputConfig, terminal: Terminal, sink: ReportSink) -> io::Result<Self> {
        Self::adopt(config, terminal, sink, OutputHandover::default(), Vec::new())
    }

    /// Makes the pipe for a unit's output, and gives its write end, which closes on exec. Whatever comes of
    /// it, [`OutputReport::Ended`] is told once when every copy of the write end is closed.
    ///
    /// # Errors
    /// When there is no descriptor left; nothing is reported then.
    pub fn open(&self, unit: UnitId, spec: StreamSpec) -> io::Result<OwnedFd> {
        let (read_end, write_end) = pipe_with(PipeFlags::CLOEXEC)?;
        if self.open_streams.load(Ordering::Relaxed) < LARGE_PIPES {
            // Refused where the user has many pipes; a smaller one only costs speed.
            let _ = fcntl_setpipe_size(&read_end, PIPE_SIZE);
        }
        self.attach(unit, spec, read_end)?;
        Ok(write_end)
    }

    /// Makes a pseudo-terminal for a unit's output, and gives the end to write to, which closes on exec and is
    /// nobody's controlling terminal. It is as large as what orch's own terminal has beside the labels, or
    /// 80 by 24, and what is written to it comes out unchanged. All else is as with [`Output::open`].
    ///
    /// # Errors
    /// When there is no descriptor or no pseudo-terminal left; nothing is reported then.
    pub fn open_terminal(&self, unit: UnitId, spec: StreamSpec) -> io::Result<OwnedFd> {
        self.room.beside(spec.label.chars().count());
        let (master, slave) = pty::make(self.room.size())?;
        self.attach(unit, spec, master)?;
        Ok(slave)
    }

    /// Gives all pseudo-terminals the size that orch's own has now: [`OutputReport::Resized`] tells of each.
    pub fn resize(&self) {
        self.tell(Command::Resize(self.room.size()));
    }

    /// Takes over a descriptor to read a unit's output from.
    ///
    /// # Errors
    /// When it can't be made non-blocking.
    pub fn attach(&self, unit: UnitId, spec: StreamSpec, read_end: OwnedFd) -> io::Result<()> {
        fcntl_setfl(&read_end, fcntl_getfl(&read_end)? | OFlags::NONBLOCK)?;
        self.open_streams.fetch_add(1, Ordering::Relaxed);
        self.tell(Command::Open(unit, spec, read_end));
        Ok(())
    }

    /// Reads what is there, and no more, though somebody holds the write end; then tells
    /// [`OutputReport::Ended`]. What a full disk does not take now is lost, and counted.
    pub fn close(&self, unit: UnitId) {
        self.tell(Command::Close(unit));
    }

    /// Goes on with another log file, or other limits.
    pub fn relog(&self, unit: UnitId, log: LogSpec) {
        self.tell(Command::Relog(unit, log));
    }

    /// Has `bell` called from now on whenever something was written to a log.
    pub fn ring(&self, bell: Bell) {
        self.tell(Command::Ring(bell));
    }

    /// Shows a line of orch's own, or several, on stderr: after all output that has been read, and never in
    /// the middle of a line. Colours in it pass if the configuration says so.
    pub fn say(&self, text: &str) {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        self.screen.bytes(Source::Orch, format!("{text}{end}").as_bytes());
    }

    /// Closes every stream as [`Output::close`] does, shows what is left, for at most `limit`, and ends the
    /// threads; whether all was shown. A terminal that takes no bytes keeps its thread until the process
    /// ends.
    pub fn finish(self, limit: Duration) -> bool {
        self.tell(Command::Finish);
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let read = reader.recv_timeout(READER_LIMIT) == Err(RecvTimeoutError::Disconnected);
        self.screen.flush(limit) && read
    }

    fn tell(&self, command: Command) {
        // The reader ends only by `finish`; if it panicked, its pipes are closed, and nobody waits for it.
        let _ = self.commands.send(command);
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.tell(Command::Finish);
        self.screen.close_all();
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").finish_non_exhaustive()
    }
}
