//! One request and its answer, as a client's connection sees it: how far it is, and the bytes that it came as.
//!
//! As long as nothing of a request was sent on, or what was sent may be sent again, these bytes *are* the request:
//! whoever reads them instead does all that is still to do. So it can be laid aside for another image of orch.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use hyper::HeaderMap;
use hyper::StatusCode;
use hyper::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::lock;
use super::line::Line;

/// A request of more bytes than this is not laid aside: a head, and what of a body came with it. Bytes.
const MOST: usize = 256 << 10;
/// More of interim answers is not passed. Bytes.
const MOST_INTERIM: usize = 64 << 10;

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its head is still coming, or it is not there yet.
    Reading,
    /// It is all there that is needed to send it on; nothing was, or it is to be sent again.
    Held,
    /// It was sent on.
    Sent,
    /// It is being answered.
    Answering,
    /// It is being answered, by what has no end that could be waited for.
    Streaming,
    /// Its answer has ended.
    Answered,
}

/// A request and its answer, shared by all who work on them.
#[derive(Debug, Default)]
pub(super) struct Talk(Mutex<State>);

#[derive(Debug)]
struct State {
    stage: Stage,
    /// All that was read since the beginning; `None`: too much, or of two requests in one packet.
    read: Option<Vec<u8>>,
    /// Whether it may be sent again.
    safe: bool,
    /// Whether the last byte of its body was read.
    whole: bool,
    /// Whether bytes are written that the socket has not taken yet.
    unflushed: bool,
    /// Counts what was written.
    written: u64,
    /// Interim answers that are still to be written.
    interim: Vec<u8>,
    /// Who writes them.
    writer: Option<Waker>,
    requests: u32,
}

impl Default for State {
    fn default() -> Self {
        Self {
            stage: Stage::Reading,
            read: Some(Vec::new()),
            safe: false,
            whole: false,
            unflushed: false,
            written: 0,
            interim: Vec::new(),
            writer: None,
            requests: 0,
        }
    }
}

impl Talk {
    /// A head is there, and so is the whole request if that has no body.
    pub(super) fn begin(&self, safe: bool, whole: bool) {
        let mut state = lock(&self.0);
        state.requests += 1;
        if state.requests > 1 {
            // What was read is of both, and nobody knows where the first one ends.
            state.read = None;
        }
        (state.stage, state.safe, state.whole) = (Stage::Held, safe, whole);
    }

    pub(super) fn enter(&self, stage: Stage) {
        lock(&self.0).stage = stage;
    }

    pub(super) fn stage(&self) -> Stage {
        lock(&self.0).stage
    }

    /// The body was read to its end.
    pub(super) fn is_whole(&self) {
        lock(&self.0).whole = true;
    }

    /// A part of the body was sent on: it is not all there any more.
    pub(super) fn is_begun(&self) {
        let mut state = lock(&self.0);
        (state.read, state.safe) = (None, false);
    }

    /// Whether it is held, and must not be sent for a client that may have gone.
    pub(super) fn waits_unsafely(&self) -> bool {
        let state = lock(&self.0);
        state.stage == Stage::Held && !state.safe
    }

    /// How much was written.
    pub(super) fn written(&self) -> u64 {
        lock(&self.0).written
    }

    /// Whether the request was read to its end.
    pub(super) fn is_read(&self) -> bool {
        lock(&self.0).whole
    }

    /// Whether all of the request is there, and nothing of an answer was written: it can be laid aside while it waits.
    pub(super) fn is_there(&self) -> bool {
        let state = lock(&self.0);
        state.read.is_some() && state.written == 0
    }

    /// Whether the request is all read, and all of the answer known.
    fn is_answered(&self) -> bool {
        let state = lock(&self.0);
        state.stage == Stage::Answered && state.whole
    }

    /// Whether the connection is between two requests, and everything written.
    pub(super) fn is_over(&self) -> bool {
        let state = lock(&self.0);
        state.stage == Stage::Answered && state.whole && !state.unflushed && state.interim.is_empty()
    }

    /// The bytes of a request that can be laid aside: one that waits; if `sent`, also one that was sent and may be
    /// sent again.
    pub(super) fn lay_aside(&self, sent: bool) -> Option<Vec<u8>> {
        let mut state = lock(&self.0);
        let may = match state.stage {
            Stage::Reading | Stage::Held => true,
            Stage::Sent => sent && state.safe,
            Stage::Answering | Stage::Streaming | Stage::Answered => false,
        };
        // A part of an answer would be answered twice.
        if may && state.written == 0 { state.read.take() } else { None }
    }

    /// Passes an interim answer to the client, before the answer (RFC 9110, section 15.2).
    pub(super) fn interim(&self, status: StatusCode, headers: &HeaderMap) {
        let mut line = format!("HTTP/1.1 {status}\r\n").into_bytes();
        for (name, value) in headers {
            line.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        line.extend(b"\r\n");
        let mut state = lock(&self.0);
        if state.stage == Stage::Sent && state.interim.len() + line.len() <= MOST_INTERIM {
            state.interim.extend(line);
            if let Some(writer) = state.writer.take() {
                writer.wake();
            }
        }
    }

    /// Writes interim answers, unless something else is being written; ready when there is none.
    pub(super) fn poll_interim(&self, task: &mut Context<'_>, line: &Line) -> Poll<io::Result<()>> {
        let mut state = lock(&self.0);
        state.writer = Some(task.waker().clone());
        while !state.interim.is_empty() && !state.unflushed {
            let written = ready!(line.poll_write_some(task, &[io::IoSlice::new(&state.interim)]))?;
            state.interim.drain(..written);
            state.written += written as u64;
        }
        Poll::Ready(Ok(()))
    }

    fn has_read(&self, bytes: &[u8]) {
        let mut state = lock(&self.0);
        if let Some(read) = &mut state.read {
            if read.len() + bytes.len() > MOST {
                state.read = None;
            } else {
                read.extend_from_slice(bytes);
            }
        }
    }
}

/// A client's connection as hyper has it: what is read is noted.
#[derive(Debug)]
pub(super) struct Tap {
    line: Line,
    /// Read already, and to be read again.
    ahead: Bytes,
    talk: Arc<Talk>,
}

impl Tap {
    pub(super) fn new(line: Line, ahead: Bytes, talk: Arc<Talk>) -> Self {
        Self { line, ahead, talk }
    }

    /// What was read and not taken: first this, which came before, then what is still ahead.
    pub(super) fn unread(self, first: Bytes) -> Bytes {
        match (first.is_empty(), self.ahead.is_empty()) {
            (_, true) => first,
            (true, false) => self.ahead,
            (false, false) => [first, self.ahead].concat().into(),
        }
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.talk.is_answered() {
            // What comes now is the next request, and another talk: this one is over when all is written.
            return Poll::Pending;
        }
        let before = into.filled().len();
        if self.ahead.is_empty() {
            ready!(Pin::new(&mut self.line).poll_read(task, into))?;
        } else {
            let length = self.ahead.len().min(into.remaining());
            into.put_slice(&self.ahead.split_to(length));
        }
        self.talk.has_read(into.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tap {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(task, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.talk.poll_interim(task, &self.line))?;
        lock(&self.talk.0).unflushed = true;
        let written = ready!(self.line.poll_write_some(task, bytes))?;
        lock(&self.talk.0).written += written as u64;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Called when all that was to be written is.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.talk.0).unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.end();
        Poll::Ready(Ok(()))
    }
}
