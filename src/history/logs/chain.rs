//! The files of one log: the one that is written, and those that were rotated away, `.1`, `.2` …

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::Timestamp;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxFlags, open, statx};
use rustix::io::Errno;

/// How often a listing or an opening is tried that runs into a rotation; one takes microseconds.
const TRIES: usize = 8;

/// A file, whatever its name is meanwhile. An inode's number is used again, so its birth belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    pub(super) inode: u64,
    /// Nanoseconds; 0 where the file system does not tell.
    pub(super) born: i128,
}

/// A byte of a log, whatever its file is called by now. As text, for whoever goes on there later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    pub(super) file: FileId,
    pub(super) offset: u64,
}

/// One file of a log.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) path: PathBuf,
    pub(super) facts: Facts,
}

/// What is known of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) id: FileId,
    pub(super) size: u64,
    pub(super) modified: Timestamp,
    /// When its name, or whether it has one, last changed.
    pub(super) changed: i128,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}.{:x}", self.file.inode, self.file.born, self.offset)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let mut parts = text.split('.');
            let (inode, born, offset) = (parts.next()?, parts.next()?, parts.next()?);
            let file = FileId {
                inode: u64::from_str_radix(inode, 16).ok()?,
                born: i128::from_str_radix(born, 16).ok()?,
            };
            let offset = u64::from_str_radix(offset, 16).ok()?;
            parts.next().is_none().then_some(Self { file, offset })
        };
        read().ok_or_else(|| "it is no place in a log, as a line's `at` tells it".to_owned())
    }
}

/// The files of the log at `path`, oldest first.
///
/// Each file only ever gets an older name. So whoever looks from the newest name to the oldest misses none, and may
/// see one twice; in the middle of a rotation one name is missing.
///
/// # Errors
/// What the system says, but that a file is not there.
pub(super) fn list(path: &Path) -> io::Result<Vec<Link>> {
    let mut links: Vec<Link> = Vec::new();
    let mut missing = 0;
    for number in 0_u32.. {
        let name = numbered(path, number);
        match facts_of(&name)? {
            Some(facts) if links.iter().any(|link| link.facts.id == facts.id) => missing = 0,
            Some(facts) => {
                missing = 0;
                links.push(Link { path: name, facts });
            }
            None => missing += 1,
        }
        if missing == 2 {
            break;
        }
    }
    links.reverse();
    Ok(links)
}

/// Opens the file `id` of the log at `path`, under whatever name it has, and its index where it has one.
///
/// # Errors
/// What the system says. `None`: it is gone.
pub(super) fn open_both(path: &Path, id: FileId) -> io::Result<Option<(File, Option<File>)>> {
    for _ in 0..TRIES {
        let Some(link) = list(path)?.into_iter().find(|link| link.facts.id == id) else { return Ok(None) };
        let Some(file) = open_file(&link.path)? else { continue };
        let index = open_file(&index_path(&link.path)).ok().flatten();
        // The names belong together if the log's did not change meanwhile.
        let still = facts_of(&link.path)?.is_some_and(|facts| facts.id == id);
        if still && facts(&file)?.id == id {
            return Ok(Some((file, index)));
        }
    }
    Ok(None)
}

/// What is known of an open file.
///
/// # Errors
/// What the system says.
pub(super) fn facts(file: &File) -> io::Result<Facts> {
    let stat = statx(file.as_fd(), c"", AtFlags::EMPTY_PATH, WANTED)?;
    Ok(facts_in(&stat))
}

/// What is known of a regular file; `None`, if there is none of that name.
///
/// # Errors
/// What the system says.
pub(super) fn facts_of(path: &Path) -> io::Result<Option<Facts>> {
    match statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, WANTED) {
        Ok(stat) if FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile => {
            Ok(Some(facts_in(&stat)))
        }
        Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

fn facts_in(stat: &Statx) -> Facts {
    let nanos = |seconds: i64, nanos: u32| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let is_known = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    let born = if is_known { nanos(stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec) } else { 0 };
    let modified = nanos(stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec);
    Facts {
        id: FileId { inode: stat.stx_ino, born },
        size: stat.stx_size,
        modified: Timestamp::from_nanosecond(modified).unwrap_or(Timestamp::UNIX_EPOCH),
        changed: nanos(stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
    }
}

/// Opens a regular file; neither follows a link nor waits for the other end of a fifo. `None`: there is none.
fn open_file(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match open(path, flags, Mode::empty()) {
        Ok(file) => Ok(Some(File::from(file))),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn index_path(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".times");
    PathBuf::from(name)
}
