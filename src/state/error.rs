//! What went wrong in the store, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// An operation of the store failed. Nothing that was sealed before is touched by it.
#[derive(Debug)]
pub struct StateError {
    attempted: &'static str,
    on: PathBuf,
    source: io::Error,
}

impl StateError {
    pub(crate) fn new(attempted: &'static str, on: impl AsRef<Path>, source: io::Error) -> Self {
        Self { attempted, on: on.as_ref().to_owned(), source }
    }

    /// The kind of the underlying failure.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    fn help(&self) -> Option<&'static str> {
        Some(match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space and try again",
            io::ErrorKind::ReadOnlyFilesystem => "move the state directory with --state-dir",
            io::ErrorKind::PermissionDenied => "check the owner and the mode of the folder",
            _ => return None,
        })
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}", self.attempted, self.on.display())?;
        self.help().map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}

impl std::error::Error for StateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Names the attempt in the error of an I/O result.
pub(crate) trait Attempt<T> {
    fn attempt(self, attempted: &'static str, on: impl AsRef<Path>) -> Result<T, StateError>;
}

impl<T> Attempt<T> for io::Result<T> {
    fn attempt(self, attempted: &'static str, on: impl AsRef<Path>) -> Result<T, StateError> {
        self.map_err(|source| StateError::new(attempted, on, source))
    }
}
