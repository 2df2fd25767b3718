//! Bodies that pass through, frame by frame: who is slow slows the other end down, and nothing is gathered.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use super::super::light::UnderWay;
use super::super::lock;
use super::pool::{Pool, Sender};
use super::reach::Way;

/// A request's body on its way. Every clone is the same body, so that it is still there when a try to send it has
/// failed before anything of it was sent.
#[derive(Debug, Clone)]
pub(super) struct Outgoing(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    body: Mutex<Incoming>,
    begun: AtomicBool,
}

impl Outgoing {
    pub(super) fn new(body: Incoming) -> Self {
        Self(Arc::new(Shared { body: Mutex::new(body), begun: AtomicBool::new(false) }))
    }

    /// Whether a part of it has been taken, so that it can't be sent from its beginning any more.
    pub(super) fn is_begun(&self) -> bool {
        self.0.begun.load(Ordering::Relaxed)
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut *lock(&self.0.body)).poll_frame(task);
        if polled.is_ready() {
            self.0.begun.store(true, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0.body).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0.body).size_hint()
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) enum Answer {
    /// The proxy's own.
    Own(Full<Bytes>),
    /// What comes from behind. If that breaks off, so does the client's connection: it must not take a part for
    /// the whole.
    Passing(Passing),
}

/// A body from behind, and the connection that it comes by.
#[derive(Debug)]
pub(super) struct Passing {
    body: Incoming,
    ended: bool,
    lease: Option<Lease>,
}

/// A connection in use; kept when its answer has ended.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) sender: Sender,
    pub(super) incarnation: u64,
    pub(super) pool: Pool,
    pub(super) way: Arc<Way>,
    /// Until the answer has ended.
    pub(super) under_way: Option<UnderWay>,
}

impl Passing {
    pub(super) fn new(body: Incoming, lease: Lease) -> Self {
        let ended = body.is_end_stream();
        let mut passing = Self { body, ended, lease: Some(lease) };
        passing.settle();
        passing
    }

    /// Gives the connection back when nothing more comes by it.
    fn settle(&mut self) {
        if self.ended
            && let Some(mut lease) = self.lease.take()
        {
            lease.under_way = None;
            tokio::spawn(async move {
                if lease.sender.ready().await.is_ok() {
                    lease.pool.keep(lease.sender, lease.incarnation, &lease.way);
                }
            });
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Own(body) => Pin::new(body).poll_frame(task).map_err(|never: Infallible| match never {}),
            Self::Passing(passing) => {
                let polled = Pin::new(&mut passing.body).poll_frame(task);
                if matches!(&polled, Poll::Ready(None)) || passing.body.is_end_stream() {
                    passing.ended = true;
                    passing.settle();
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Passing(passing) => passing.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Passing(passing) => passing.body.size_hint(),
        }
    }
}
