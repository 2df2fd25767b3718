//! When the bytes of a log file came: an index beside it, `<log file>.times`.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::ftruncate;
use rustix::io::write;

use super::logfile::open_regular;

/// Entries are at least so far apart.
const DISTANCE: Duration = Duration::from_millis(10);

/// The index may be larger than its log by so many bytes, and no more.
const HEAD_START: u64 = 4 << 10;

/// The index of one log file. It is a help, no promise: what goes wrong with it is passed over.
#[derive(Debug, Default)]
pub(super) struct Times {
    file: Option<OwnedFd>,
    size: u64,
    last: Option<Instant>,
    /// The last entry was not written whole, so the next one has to begin a line.
    torn: bool,
}

/// The index's name.
pub(super) fn path(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".times");
    PathBuf::from(name)
}

impl Times {
    /// Goes on with the index of a log that was handed over; `torn`: its last entry is not whole.
    pub(super) fn adopt(torn: bool) -> Self {
        Self { torn, ..Self::default() }
    }

    /// Whether the last entry is not whole.
    pub(super) fn is_torn(&self) -> bool {
        self.torn
    }

    /// Bytes come at `offset` of the log file `log`, at the moment `now`.
    pub(super) fn mark(&mut self, log: &Path, offset: u64, now: Instant) {
        let too_soon = self.last.is_some_and(|last| now.saturating_duration_since(last) < DISTANCE);
        if too_soon || self.size > offset + HEAD_START {
            return;
        }
        self.last = Some(now);
        self.torn = self.append(log, offset).is_err();
        if self.torn {
            self.file = None;
        }
    }

    /// The log file was renamed, replaced or left: the next entry is for another one.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    fn append(&mut self, log: &Path, offset: u64) -> io::Result<()> {
        let start = if self.torn { "\n" } else { "" };
        let entry = format!("{start}{{\"offset\":{offset},\"time\":\"{}\"}}\n", jiff::Timestamp::now());
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let (file, stat) = open_regular(&path(log))?;
                self.size = u64::try_from(stat.st_size).unwrap_or(0);
                // What stands there is of a log that was removed or emptied.
                if offset == 0 && ftruncate(&file, 0).is_ok() {
                    self.size = 0;
                }
                file
            }
        };
        let written = write(&file, entry.as_bytes())?;
        self.size += written as u64;
        self.file = Some(file);
        if written == entry.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}
