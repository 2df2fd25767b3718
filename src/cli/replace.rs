//! A file that is replaced as a whole, so that whoever reads it sees the old bytes or the new ones; and only if
//! nobody else has written it meanwhile.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::Builder;
use std::time::Duration;

use rustix::fs::FlockOperation;

/// What a file held when it was read.
#[derive(Debug)]
pub(super) struct Content {
    /// The file itself, links followed.
    path: PathBuf,
    bytes: Vec<u8>,
    meta: Metadata,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replaced {
    /// The new bytes are there, and durable.
    Done,
    /// Somebody has written other bytes; they are left alone.
    Changed,
}

/// Somebody else was at it for all the time that was waited.
#[derive(Debug)]
pub(super) struct Busy;

/// Waits until nobody else replaces a file of the same folder in this way, for so long at the most, and keeps others
/// out as long as what it gives lives. Where there are no locks, whoever is at it is seen by what changes.
///
/// # Errors
/// The time is over.
pub(super) fn alone(path: &Path, patience: Duration) -> Result<Option<File>, Busy> {
    let folder = || File::open(std::fs::canonicalize(path).ok()?.parent()?).ok();
    let Some(folder) = folder() else { return Ok(None) };
    let (tell, told) = mpsc::channel();
    // The system's wait has no limit: so it is a thread's, which ends with the command.
    let waiting = Builder::new().name("lock".to_owned()).spawn(move || {
        let locked = rustix::fs::flock(&folder, FlockOperation::LockExclusive);
        // Who asked may have given up, and the lock goes with what it was told.
        let _ = tell.send(locked.ok().map(|()| folder));
    });
    match waiting.map(|_| told.recv_timeout(patience)) {
        Ok(Ok(lock)) => Ok(lock),
        Ok(Err(RecvTimeoutError::Timeout)) => Err(Busy),
        Ok(Err(RecvTimeoutError::Disconnected)) | Err(_) => Ok(None),
    }
}

impl Content {
    /// Reads a file.
    ///
    /// # Errors
    /// What could not be done.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| format!("can't read {}: {error}", path.display());
        let path = std::fs::canonicalize(path).map_err(failed)?;
        let (bytes, meta) = bytes(&path).map_err(failed)?;
        Ok(Self { path, bytes, meta })
    }

    /// The bytes, if they are UTF-8.
    pub(super) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    /// Puts other bytes in its place, with its mode and, where that is allowed, its owner. A link to it stays.
    ///
    /// # Errors
    /// What could not be done; the file is as it was.
    pub(super) fn replace_by(&self, bytes: &[u8]) -> Result<Replaced, String> {
        let failed = |error: io::Error| format!("can't replace {}: {error}", self.path.display());
        let temporary = Temporary::beside(&self.path).map_err(failed)?;
        self.write(&temporary, bytes).map_err(failed)?;
        // As late as can be.
        if self::bytes(&self.path).map_err(failed)?.0 != self.bytes {
            return Ok(Replaced::Changed);
        }
        temporary.rename_to(&self.path).map_err(failed)?;
        Ok(Replaced::Done)
    }

    fn write(&self, temporary: &Temporary, bytes: &[u8]) -> io::Result<()> {
        let mut file = &temporary.file;
        file.write_all(bytes)?;
        // Another user's file stays so where orch may give it away; its group is tried by itself.
        let (uid, gid) = (self.meta.uid(), self.meta.gid());
        if fchown(file, Some(uid), Some(gid)).is_err() {
            let _ = fchown(file, None, Some(gid));
        }
        file.set_permissions(Permissions::from_mode(self.meta.mode() & 0o7777))?;
        file.sync_all()
    }
}

fn bytes(path: &Path) -> io::Result<(Vec<u8>, Metadata)> {
    let mut file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok((bytes, meta))
}

/// A new file beside another one; gone with this, unless it has taken the other's name.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    fn beside(path: &Path) -> io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let path = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { path, file })
    }

    fn rename_to(self, path: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, path)?;
        // The name is as durable as the bytes; a file system that can't do that has done the rest.
        if let Some(folder) = path.parent()
            && let Ok(folder) = File::open(folder)
        {
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After the rename there is none of this name.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_replaced_and_the_link_to_it_and_its_mode_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "old").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        let content = Content::read(&link).unwrap();
        assert_eq!(content.replace_by(b"new").unwrap(), Replaced::Done);
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o640);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_somebody_has_saved_meanwhile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "old").unwrap();
        let content = Content::read(&file).unwrap();
        std::fs::write(&file, "theirs").unwrap();
        assert_eq!(content.replace_by(b"mine").unwrap(), Replaced::Changed);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "theirs");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(Content::read(dir.path()).is_err());
    }
}
