//! One stream: the read end of a unit's output, and what is made of its bytes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{FileType, fstat};
use rustix::io::{Errno, read};

use super::StreamSpec;
use super::matcher::Matcher;

/// What a read has brought.
#[derive(Debug)]
pub(super) enum Read {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now; there may be more later.
    Nothing,
    /// Nobody can write any more.
    End,
    /// The stream can't be read.
    Failed(io::Error),
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) fd: OwnedFd,
    pub(super) label: String,
    pub(super) log: Option<PathBuf>,
    pub(super) matcher: Option<Matcher>,
    pub(super) show: bool,
    /// Read, but not in the log yet: the disk does not take it. Nothing more is read until it does.
    pub(super) pending: Vec<u8>,
}

impl Stream {
    pub(super) fn new(fd: OwnedFd, spec: StreamSpec) -> Self {
        Self {
            fd,
            label: spec.label,
            log: spec.log.map(|log| log.path),
            matcher: spec.matcher.map(Matcher::new),
            show: spec.show,
            pending: Vec::new(),
        }
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> Read {
        match read(&self.fd, buffer) {
            Ok(0) => Read::End,
            Ok(count) => Read::Bytes(count),
            Err(Errno::AGAIN | Errno::INTR) => Read::Nothing,
            // The other side of a pseudo-terminal is closed.
            Err(Errno::IO) if is_terminal(&self.fd) => Read::End,
            Err(errno) => Read::Failed(errno.into()),
        }
    }
}

fn is_terminal(fd: impl AsFd) -> bool {
    fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice)
}
