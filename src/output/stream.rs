//! One stream: the read end of a unit's output, and what is made of its bytes.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::io::{Errno, read};
use serde::{Deserialize, Serialize};

use super::StreamSpec;
use super::digest::Digest;
use super::handover::{Fds, Taken};
use super::matcher::{Matcher, MatcherState};
use super::pty;
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
    /// It is a pseudo-terminal.
    pub(super) terminal: bool,
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
        let fd = fds.take(state.fd)?;
        let terminal = pty::is_one(&fd);
        Ok(Self { fd, label, log, matcher, show, terminal, digest, pending })
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
        let terminal = pty::is_one(&fd);
        Self {
            fd,
            label: spec.label,
            log: spec.log.map(|log| log.path),
            matcher: spec.matcher.map(Matcher::new),
            show: spec.show,
            terminal,
            digest: spec.remember.then(Digest::default),
            pending: Vec::new(),
        }
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> Read {
        match read(&self.fd, &mut *buffer) {
            Ok(0) => Read::End,
            Ok(count) if self.terminal => Read::Bytes(self.read_on(buffer, count)),
            Ok(count) => Read::Bytes(count),
            Err(Errno::AGAIN | Errno::INTR) => Read::Nothing,
            // Nobody has the other end of it any more, and all is read.
            Err(Errno::IO) if self.terminal => Read::End,
            Err(errno) => Read::Failed(errno.into()),
        }
    }

    /// A pseudo-terminal gives some KiB at once, however much there is. What ends the reading is told again by
    /// the next one.
    fn read_on(&self, buffer: &mut [u8], mut count: usize) -> usize {
        while count < buffer.len() {
            match read(&self.fd, &mut buffer[count..]) {
                Ok(0) | Err(_) => break,
                Ok(more) => count += more,
            }
        }
        count
    }
}
