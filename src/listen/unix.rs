//! Sockets that have a name in the file system. A file that a dead one has left is taken away, and nothing else.

use std::fs::{self, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::time::UNIX_EPOCH;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use super::bind::{BACKLOG, Why, stream, words};
use super::{At, Bound};

/// Which file it is, whatever its name is by now. Inode numbers are given again, so when it was made counts, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
    /// Nanoseconds of the wall clock; `None` where the file system doesn't know.
    made: Option<u64>,
}

impl FileId {
    fn of(metadata: &Metadata) -> Self {
        let made = metadata.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let made = made.and_then(|since| u64::try_from(since.as_nanos()).ok());
        Self { device: metadata.dev(), inode: metadata.ino(), made }
    }

    /// Whether it has this name.
    pub(super) fn is_at(self, path: &Path) -> bool {
        let is_it = |metadata: Metadata| metadata.file_type().is_socket() && Self::of(&metadata) == self;
        fs::symlink_metadata(path).is_ok_and(is_it)
    }

    /// Takes the file away, if it still has this name.
    pub(super) fn remove(self, path: &Path) {
        if self.is_at(path)
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!(path = %path.display(), %error, "a socket's file is left over");
        }
    }
}

/// Binds to a path, whose folder is made if it is missing. Its mode is the umask's.
pub(super) fn bind(path: &Path) -> Result<Bound, Why> {
    let address = SocketAddrUnix::new(path).map_err(|error| Why::Other(words(error)))?;
    make_room(path)?;
    let attempt = || -> rustix::io::Result<OwnedFd> {
        let fd = stream(AddressFamily::UNIX)?;
        net::bind(&fd, &address)?;
        Ok(fd)
    };
    let fd = attempt().map_err(|error| why(path, error))?;
    let id = fs::symlink_metadata(path).map(|metadata| FileId::of(&metadata));
    let id = id.map_err(|error| Why::Other(plain(&error)))?;
    // From here on, what goes wrong takes the file away again.
    let bound = Bound { fd, at: At::Unix(path.to_path_buf(), id) };
    net::listen(&bound.fd, BACKLOG).map_err(|error| Why::Other(words(error)))?;
    Ok(bound)
}

fn make_room(path: &Path) -> Result<(), Why> {
    if let Some(folder) = path.parent() {
        let failed = |error: io::Error| {
            Why::Other(format!("can't make the folder {}: {}", folder.display(), plain(&error)))
        };
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Why::Other(plain(&error))),
    };
    let kind = metadata.file_type();
    if !kind.is_socket() {
        let what = match kind {
            kind if kind.is_dir() => "a folder is",
            kind if kind.is_symlink() => "a symbolic link is",
            kind if kind.is_file() => "a file is",
            _ => "something that is no socket is",
        };
        return Err(Why::Other(format!("{what} there, and stays; take it away, or choose another path")));
    }
    if answers(path)? {
        return Err(Why::Answers(path.to_path_buf()));
    }
    FileId::of(&metadata).remove(path);
    Ok(())
}

/// Whether somebody listens at the path. Nobody is waited for: where the backlog is full, there is one.
fn answers(path: &Path) -> Result<bool, Why> {
    let kind = SocketType::STREAM;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let address = SocketAddrUnix::new(path).map_err(|error| Why::Other(words(error)))?;
    let asked = net::socket_with(AddressFamily::UNIX, kind, flags, None)
        .and_then(|socket| net::connect(&socket, &address));
    match asked {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        // PROTOTYPE: there is one of another type.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE | Errno::INPROGRESS) => Ok(true),
        Err(error) => {
            let why = words(error);
            Err(Why::Other(format!("can't ask whether the socket that is there is in use: {why}")))
        }
    }
}

fn why(path: &Path, error: Errno) -> Why {
    let folder = path.parent().unwrap_or(path).display();
    Why::Other(match error {
        // Between the look and the deed.
        Errno::ADDRINUSE => return Why::Answers(path.to_path_buf()),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => {
            format!("can't make a file in the folder {folder}: {}", words(error))
        }
        error => words(error),
    })
}

/// As [`words`].
fn plain(error: &io::Error) -> String {
    Errno::from_io_error(error).map_or_else(|| error.to_string(), words)
}
