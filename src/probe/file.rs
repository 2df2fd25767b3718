//! A file made or changed since the start.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::net::plain;
use crate::config::model::Probe;

/// How a probe's file was before the unit was started; nothing for other probes.
///
/// It is compared with how the file is, and no clock is asked: what the file system stamps on a file lags
/// behind the clock by some milliseconds, and the clock may be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Baseline(Option<Mark>);

/// What differs after every change. Replacing a file changes `inode` or, where that number is used again,
/// `changed`; so does a write that leaves the size, and one that sets the modification time back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Baseline {
    /// To be called before the unit is started: what it makes of its file comes later, then. One call to the
    /// file system at most.
    #[must_use]
    pub fn take(probe: &Probe) -> Self {
        match probe {
            Probe::File(path) => Self(Mark::of(path).ok()),
            _ => Self(None),
        }
    }

    /// Whether the file is there and not as it was.
    pub(super) fn changed(&self, path: &Path) -> Result<(), String> {
        match Mark::of(path) {
            Ok(now) if Some(now) != self.0 => Ok(()),
            Ok(_) => Err("not changed since the start".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err("does not exist yet".to_owned()),
            Err(error) => Err(plain(&error)),
        }
    }
}

impl Mark {
    fn of(path: &Path) -> io::Result<Self> {
        let of = fs::metadata(path)?;
        Ok(Self {
            device: of.dev(),
            inode: of.ino(),
            size: of.size(),
            modified: (of.mtime(), of.mtime_nsec()),
            changed: (of.ctime(), of.ctime_nsec()),
        })
    }
}
