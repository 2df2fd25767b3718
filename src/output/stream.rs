//! One stream: the read end of a unit's output, and what is made of its bytes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{FileType, fstat};
use rustix::io::{Errno, read};
use serde::{Deserialize, Serialize};

use super::StreamSpec;
use super::digest::Digest;
use super::handover::{Fds, Taken};
use super::matcher::{Matcher, MatcherState};
use crate::types::{UnitId, escaped};

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
    /// What is to be remembered of it, if that was asked for.
    pub(super) digest: Option<Digest>,
    /// Read, but not in the log yet: the disk does not take it. Nothing more is read until it does.
    pub(super) pending: Vec<u8>,
}

/// A stream, handed over. A stream whose end was seen is none any more.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StreamState {
    pub(super) unit: UnitId,
    fd: usize,
    label: String,
    /// The log's place among those handed over.
    log: Option<usize>,
    /// `None` also if it has matched.
    matcher: Option<MatcherState>,
    show: bool,
    digest: Option<Digest>,
    #[serde(with = "escaped")]
    pending: Vec<u8>,
}

impl Stream {
    /// Goes on with a stream that was handed over, together with the logs at `logs`.
    ///
    /// # Errors
    /// The descriptor or the log is not there, or the pattern is none.
    pub(super) fn adopt(state: StreamState, logs: &[PathBuf], fds: &mut Taken) -> io::Result<Self> {
        let missing = || io::Error::new(io::ErrorKind::InvalidData, "a stream's log was not handed over");
        let log = state.log.map(|at| logs.get(at).cloned().ok_or_else(missing)).transpose()?;
        let matcher = state.matcher.map(Matcher::adopt).transpose().map_err(io::Error::other)?;
        let (label, show, digest, pending) = (state.label, state.show, state.digest, state.pending);
        Ok(Self { fd: fds.take(state.fd)?, label, log, matcher, show, digest, pending })
    }

    /// Leaves the stream to another image, together with the logs at `logs`.
    pub(super) fn leave(self, unit: UnitId, logs: &[PathBuf], fds: &mut Fds) -> StreamState {
        StreamState {
            unit,
            fd: fds.add(self.fd),
            label: self.label,
            log: self.log.and_then(|log| logs.binary_search(&log).ok()),
            matcher: self.matcher.map(Matcher::leave),
            show: self.show,
            digest: self.digest,
            pending: self.pending,
        }
    }

    pub(super) fn new(fd: OwnedFd, spec: StreamSpec) -> Self {
        Self {
            fd,
            label: spec.label,
            log: spec.log.map(|log| log.path),
            matcher: spec.matcher.map(Matcher::new),
            show: spec.show,
            digest: spec.remember.then(Digest::default),
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
