//! Where the control socket is.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

/// The socket's name in the state directory.
pub const SOCKET: &str = "control.sock";

/// The control socket of a state directory, by a path that is short enough for a socket's address, however
/// deep the directory lies.
#[derive(Debug)]
pub struct Address {
    dir: OwnedFd,
}

impl Address {
    /// # Errors
    /// The directory can't be opened.
    pub fn of(state_dir: &Path) -> io::Result<Self> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { dir: rustix::fs::open(state_dir, flags, Mode::empty())? })
    }

    /// The path, for as long as this value lives.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", self.dir.as_raw_fd()))
    }
}
