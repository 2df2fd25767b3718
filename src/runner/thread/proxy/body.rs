//! Bodies that pass through, frame by frame: who is slow slows the other end down, and nothing is gathered.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::super::light::UnderWay;
use super::super::lock;
use super::super::registry::BoxError;
use super::pool::Sender;
use super::reach::Way;
use super::site::Plan;
use super::talk::{Stage, Talk};

/// Where a client wants to be told to go on (`Expect: 100-continue`), the server has so long to say something; then
/// the body is sent all the same (RFC 9110, section 10.1.1).
const EXPECT: Duration = Duration::from_secs(1);

/// A request's body on its way. Every clone is the same body, so that it is still there when a try to send it has
/// failed before anything of it was sent.
#[derive(Debug, Clone)]
pub(super) struct Outgoing(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    body: Mutex<Waiting>,
    talk: Arc<Talk>,
    begun: AtomicBool,
    /// The client has sent what is no body.
    broken: AtomicBool,
}

struct Waiting {
    /// `None`: it was not wanted.
    body: Option<Incoming>,
    /// Completes when it may be read.
    until: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Nobody waits for its end any more.
    over: bool,
    /// Who is told so.
    reader: Option<Waker>,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("body", &self.body).finish_non_exhaustive()
    }
}

impl Outgoing {
    /// The body of this talk's request. Reading it tells the client to go on, so it is not read before the server
    /// `asks`, if the client wants to be asked.
    pub(super) fn new(body: Incoming, talk: Arc<Talk>, asks: Option<Arc<Notify>>) -> Self {
        let until = asks.map(|asks| -> Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(async move { timeout(EXPECT, asks.notified()).await.unwrap_or_default() })
        });
        let body = Mutex::new(Waiting { body: Some(body), until, over: false, reader: None });
        Self(Arc::new(Shared { body, talk, begun: AtomicBool::new(false), broken: AtomicBool::new(false) }))
    }

    /// Whether a part of it has been taken, so that it can't be sent from its beginning any more.
    pub(super) fn is_begun(&self) -> bool {
        self.0.begun.load(Ordering::Relaxed)
    }

    /// Whether it is the client's fault that it was not sent.
    pub(super) fn is_broken(&self) -> bool {
        self.0.broken.load(Ordering::Relaxed)
    }
}

impl Outgoing {
    /// The request is answered. Where the body was not asked for, it never will be, and its client is not told to go on.
    pub(super) fn is_answered(&self) {
        let mut waiting = lock(&self.0.body);
        if waiting.until.take().is_some() {
            waiting.body = None;
        }
    }

    /// The answer has ended. A connection on which a body is missing carries nothing more, so it is closed.
    fn is_over(&self) {
        let mut waiting = lock(&self.0.body);
        waiting.over = true;
        if let Some(reader) = waiting.reader.take() {
            reader.wake();
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut waiting = lock(&self.0.body);
        waiting.reader = Some(task.waker().clone());
        if let Some(until) = &mut waiting.until {
            ready!(until.as_mut().poll(task));
            waiting.until = None;
        }
        let Some(body) = &mut waiting.body else {
            return if waiting.over {
                Poll::Ready(Some(Err("it was not wanted".into())))
            } else {
                Poll::Pending
            };
        };
        let frame = ready!(Pin::new(&mut *body).poll_frame(task));
        self.0.begun.store(true, Ordering::Relaxed);
        self.0.talk.is_begun();
        match &frame {
            Some(Err(_)) => self.0.broken.store(true, Ordering::Relaxed),
            None => self.0.talk.is_whole(),
            Some(Ok(_)) if body.is_end_stream() => self.0.talk.is_whole(),
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0.body).body.as_ref().is_some_and(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0.body).body.as_ref().map(Incoming::size_hint).unwrap_or_default()
    }
}

/// A request's body, until its answer has ended.
#[derive(Debug)]
pub(super) struct Wanted(pub(super) Outgoing);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.is_over();
    }
}

/// The body of an answer; when it is dropped, the answer has ended.
#[derive(Debug)]
pub(super) struct Answer {
    from: Origin,
    talk: Arc<Talk>,
}

#[derive(Debug)]
enum Origin {
    /// The proxy itself.
    Here(Full<Bytes>),
    /// Behind. If that breaks off, so does the client's connection: it must not take a part for the whole.
    Behind(Passing),
}

impl Answer {
    /// The proxy's own answer.
    pub(super) fn own(body: Full<Bytes>, talk: Arc<Talk>) -> Self {
        talk.enter(Stage::Answering);
        Self { from: Origin::Here(body), talk }
    }

    /// What comes from behind. What is `endless` is not waited for.
    pub(super) fn passing(body: Incoming, mut lease: Lease, endless: bool, talk: Arc<Talk>) -> Self {
        if endless {
            lease.under_way = None;
        }
        talk.enter(if endless { Stage::Streaming } else { Stage::Answering });
        Self { from: Origin::Behind(Passing::new(body, lease)), talk }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.talk.enter(Stage::Answered);
    }
}

/// A body from behind, and the connection that it comes by.
#[derive(Debug)]
struct Passing {
    body: Incoming,
    ended: bool,
    lease: Option<Lease>,
}

/// A connection in use; kept when its answer has ended.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) sender: Sender,
    pub(super) incarnation: u64,
    pub(super) plan: Arc<Plan>,
    pub(super) way: Arc<Way>,
    /// Of the request.
    pub(super) _wanted: Wanted,
    /// Until the answer has ended.
    pub(super) under_way: Option<UnderWay>,
}

impl Passing {
    fn new(body: Incoming, lease: Lease) -> Self {
        let ended = body.is_end_stream();
        let mut passing = Self { body, ended, lease: Some(lease) };
        passing.settle();
        passing
    }

    /// Gives the connection back when nothing more comes by it.
    fn settle(&mut self) {
        if self.ended
            && let Some(lease) = self.lease.take()
        {
            let Lease { mut sender, incarnation, plan, way, .. } = lease;
            tokio::spawn(async move {
                if sender.ready().await.is_ok() {
                    plan.pool.keep(sender, incarnation, &way);
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
        match &mut self.get_mut().from {
            Origin::Here(body) => Pin::new(body).poll_frame(task).map_err(|never: Infallible| match never {}),
            Origin::Behind(passing) => {
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
        match &self.from {
            Origin::Here(body) => body.is_end_stream(),
            Origin::Behind(passing) => passing.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.from {
            Origin::Here(body) => body.size_hint(),
            Origin::Behind(passing) => passing.body.size_hint(),
        }
    }
}
