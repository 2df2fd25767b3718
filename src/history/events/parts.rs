//! The parts as files.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::{KEEP, older, path};

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

impl Identity {
    pub(super) fn of(meta: &Metadata) -> Self {
        Self(meta.dev(), meta.ino())
    }

    /// Of what has this name now, not followed.
    pub(super) fn named(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::symlink_metadata(path) {
            Ok(meta) => Ok(Some(Self::of(&meta))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// One part, open.
#[derive(Debug)]
pub(super) struct Part {
    file: File,
    pub(super) identity: Identity,
}

impl Part {
    pub(super) fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Reads at a place, as much as there is.
    pub(super) fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

/// Opens a file to read it: `None` if there is none, or something that is no file. Never follows a link, and
/// never waits for the other end of a pipe.
///
/// # Errors
/// The system's, if there is a file that can't be opened.
pub fn open(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = match options.open(path) {
        Ok(file) => file,
        // ELOOP: a link; ENXIO: a socket, or a device that is not there.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENXIO)
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    Ok(file.metadata()?.is_file().then_some(file))
}

/// All parts that there are, the newest first. A part only ever moves to a higher number, so looked at in this
/// order none is missed, whatever happens meanwhile; one that is met twice is taken once.
pub(super) fn all(state_dir: &Path) -> io::Result<Vec<Part>> {
    let newest = path(state_dir);
    let mut parts: Vec<Part> = Vec::new();
    for number in 0..=KEEP {
        let Some(file) = open(&older(&newest, number))? else { continue };
        let identity = Identity::of(&file.metadata()?);
        if parts.iter().all(|part| part.identity != identity) {
            parts.push(Part { file, identity });
        }
    }
    Ok(parts)
}
