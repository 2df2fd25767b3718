//! One log file: appended, rotated, and followed by its path. It knows files and sizes; what a failure means
//! for a component is decided in `log.rs`.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use memchr::memrchr;
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, ftruncate, lstat, open};
use rustix::io::{Errno, write};
use serde::{Deserialize, Serialize};

use super::handover::{Fds, Taken};
use super::times::{self, Times};
use crate::types::escaped;

/// How often, at most, the path is looked at, to see whether it still leads to the open file.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A log file by its path.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    max_size: u64,
    keep: u32,
    open: Option<Opened>,
    looked: Option<Instant>,
    times: Times,
    /// Grows beyond `max_size` where the file could not be rotated.
    limit: u64,
    rotation_error: Option<io::Error>,
}

#[derive(Debug)]
struct Opened {
    fd: OwnedFd,
    identity: (u64, u64),
    size: u64,
    /// Where the last line begins; `size`, if that one has ended.
    line_start: u64,
}

/// What became of bytes that were to be appended.
#[derive(Debug)]
pub(super) struct Appended {
    /// So many are in the file.
    pub(super) written: usize,
    /// Why the others are not.
    pub(super) error: Option<io::Error>,
}

/// A log file, handed over, open as it is: so there is nothing that could fail, and whatever others do to
/// the path meanwhile is seen as ever.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FileState {
    #[serde(with = "escaped")]
    path: Vec<u8>,
    max_size: u64,
    keep: u32,
    limit: u64,
    open: Option<OpenState>,
    times_torn: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct OpenState {
    fd: usize,
    size: u64,
    line_start: u64,
}

impl LogFile {
    /// Goes on with a file that was handed over.
    ///
    /// # Errors
    /// The descriptor is not there.
    pub(super) fn adopt(state: FileState, fds: &mut Taken) -> io::Result<Self> {
        let mut file = Self::new(OsString::from_vec(state.path).into(), state.max_size, state.keep);
        file.limit = state.limit;
        file.times = Times::adopt(state.times_torn);
        if let Some(open) = state.open {
            let fd = fds.take(open.fd)?;
            let stat = fstat(&fd)?;
            let (size, line_start) = (open.size, open.line_start);
            let mut opened = Opened { fd, identity: identity(&stat), size, line_start };
            opened.set_size(&stat);
            file.open = Some(opened);
        }
        Ok(file)
    }

    /// Leaves the file to another image.
    pub(super) fn leave(self, fds: &mut Fds) -> FileState {
        let open = self.open.map(|open| OpenState {
            fd: fds.add(open.fd),
            size: open.size,
            line_start: open.line_start,
        });
        FileState {
            path: self.path.into_os_string().into_vec(),
            max_size: self.max_size,
            keep: self.keep,
            limit: self.limit,
            open,
            times_torn: self.times.is_torn(),
        }
    }

    /// Nothing is opened before the first byte, or [`LogFile::make`].
    pub(super) fn new(path: PathBuf, max_size: u64, keep: u32) -> Self {
        let mut file = Self {
            path,
            max_size: 0,
            keep,
            open: None,
            looked: None,
            times: Times::default(),
            limit: 0,
            rotation_error: None,
        };
        file.set_limits(max_size, keep);
        file
    }

    /// New limits; 0 is no limit.
    pub(super) fn set_limits(&mut self, max_size: u64, keep: u32) {
        self.max_size = if max_size == 0 { u64::MAX } else { max_size };
        self.limit = self.max_size;
        self.keep = keep;
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file, if it is not there.
    pub(super) fn make(&mut self, now: Instant) -> io::Result<()> {
        self.opened(now).map(drop)
    }

    /// Appends `bytes`, rotating where the file would become too large.
    pub(super) fn append(&mut self, bytes: &[u8], now: Instant) -> Appended {
        let mut written = 0;
        while written < bytes.len() {
            match self.append_some(&bytes[written..], now) {
                Ok(count) => written += count,
                Err(error) => return Appended { written, error: Some(error) },
            }
        }
        Appended { written, error: None }
    }

    /// Why the last rotation failed, once.
    pub(super) fn take_rotation_error(&mut self) -> Option<io::Error> {
        self.rotation_error.take()
    }

    /// Removes the beginning of a line that will have no end. Best effort.
    pub(super) fn remove_torn_line(&mut self) {
        if let Some(open) = &mut self.open
            && open.line_start < open.size
            && ftruncate(&open.fd, open.line_start).is_ok()
        {
            open.size = open.line_start;
        }
    }

    fn append_some(&mut self, bytes: &[u8], now: Instant) -> io::Result<usize> {
        let limit = self.limit;
        let open = self.opened(now)?;
        let cut = open.cut(bytes, limit);
        let offset = open.size;
        if cut == 0 {
            self.rotate();
            return Ok(0);
        }
        // First, so that whoever reads the bytes at once finds when they came.
        self.times.mark(&self.path, offset, now);
        let count = self.write(&bytes[..cut])?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(open) = &mut self.open else { return Ok(0) };
        loop {
            match write(&open.fd, bytes) {
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(count) => {
                    open.advance(&bytes[..count]);
                    return Ok(count);
                }
            }
        }
    }

    /// The open file, if the path still leads to it; else what the path leads to now.
    fn opened(&mut self, now: Instant) -> io::Result<&mut Opened> {
        let due = self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_EVERY);
        if due {
            self.looked = Some(now);
            self.look();
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                self.times.reset();
                let (fd, stat) = open_regular(&self.path)?;
                Opened::new(fd, &stat)
            }
        };
        Ok(self.open.insert(open))
    }

    fn look(&mut self) {
        let Some(open) = &mut self.open else { return };
        match lstat(&self.path) {
            Ok(stat) if identity(&stat) == open.identity => {
                let before = open.size;
                open.set_size(&stat);
                if open.size < before {
                    self.times.reset();
                }
            }
            _ => self.open = None,
        }
    }

    fn rotate(&mut self) {
        self.open = None;
        self.times.reset();
        match shift(&self.path, self.keep) {
            Ok(()) => self.limit = self.max_size,
            Err(error) => {
                self.limit = self.limit.saturating_add(self.max_size);
                self.rotation_error = Some(error);
            }
        }
    }
}

impl Opened {
    fn new(fd: OwnedFd, stat: &Stat) -> Self {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Self { fd, identity: identity(stat), size, line_start: size }
    }

    /// Somebody else may have shortened the file, or appended to it.
    fn set_size(&mut self, stat: &Stat) {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if size != self.size {
            (self.size, self.line_start) = (size, size);
        }
    }

    /// How many of `bytes` go into this file: all, or those up to the last line's end within the limit. 0,
    /// if the next line belongs into the next file. A line is cut only where it began in this file, or is
    /// itself larger than a file.
    fn cut(&self, bytes: &[u8], limit: u64) -> usize {
        let room = usize::try_from(limit.saturating_sub(self.size)).unwrap_or(usize::MAX);
        let Some(head) = bytes.get(..room) else { return bytes.len() };
        let new_line = self.line_start == self.size && self.size > 0;
        match memrchr(b'\n', head) {
            _ if room == bytes.len() => room,
            Some(end) => end + 1,
            None if new_line => 0,
            None => room,
        }
    }

    fn advance(&mut self, written: &[u8]) {
        if let Some(end) = memrchr(b'\n', written) {
            self.line_start = self.size + end as u64 + 1;
        }
        self.size += written.len() as u64;
    }
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Opens a file to append to it, making it and its folders as needed. Neither follows a link nor waits for
/// the other end of a fifo.
///
/// # Errors
/// What the system says, or that it is not a regular file.
pub(super) fn open_regular(path: &Path) -> io::Result<(OwnedFd, Stat)> {
    const FLAGS: OFlags = OFlags::WRONLY
        .union(OFlags::APPEND)
        .union(OFlags::CREATE)
        .union(OFlags::NOFOLLOW)
        .union(OFlags::NONBLOCK)
        .union(OFlags::NOCTTY)
        .union(OFlags::CLOEXEC);
    let mode = Mode::RUSR | Mode::WUSR;
    let fd = match open(path, FLAGS, mode) {
        Err(Errno::NOENT) => {
            if let Some(folder) = path.parent() {
                fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
            }
            open(path, FLAGS, mode)
        }
        other => other,
    };
    let fd = fd.map_err(|errno| match errno {
        Errno::LOOP => not_regular("a symbolic link"),
        Errno::NXIO => not_regular("a fifo or a socket"),
        errno => errno.into(),
    })?;
    let stat = fstat(&fd)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((fd, stat)),
        FileType::Fifo => Err(not_regular("a fifo")),
        _ => Err(not_regular("a device")),
    }
}

fn not_regular(what: &str) -> io::Error {
    io::Error::other(format!("it is {what}, and has to be a regular file; name another one in `logs.file`"))
}

/// `path` becomes `path.1`, that one `path.2`, up to `keep`; what is older is removed.
fn shift(path: &Path, keep: u32) -> io::Result<()> {
    let kept = (1..u32::MAX).take_while(|number| lstat(numbered(path, *number)).is_ok()).last().unwrap_or(0);
    for number in keep.max(1)..=kept {
        remove(&numbered(path, number))?;
    }
    for number in (1..keep.min(kept + 1)).rev() {
        rename(&numbered(path, number), &numbered(path, number + 1))?;
    }
    if keep == 0 { remove(path) } else { rename(path, &numbered(path, 1)) }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// Removes the file and its index, where they are.
fn remove(path: &Path) -> io::Result<()> {
    [times::path(path), path.to_owned()]
        .into_iter()
        .try_for_each(|file| unless_missing(fs::remove_file(file)))
}

/// Renames the file and its index, where they are.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    unless_missing(fs::rename(times::path(from), times::path(to)))?;
    unless_missing(fs::rename(from, to))
}

fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
