//! Streams of lines: a cursor in what is written, and a bell that is rung when there is more. Nothing is
//! buffered for a follower but the chunk that it has not taken yet; it reads the file at its own pace.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Bytes, Frame};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use super::answer::{Body, Refused};
use super::limits::CHUNK;
use super::{Phases, Shared};
use crate::runtime::bell::{Bell, Listener};

/// A place in what is written. Its calls may wait for a disk: they are made on a worker thread.
pub(super) trait Cursor: Send + 'static {
    /// The next lines, each with its end; about `most` bytes at the most, or one longer line. Nothing: that
    /// was all for now.
    ///
    /// # Errors
    /// Why it can't go on, for the follower: what it has come to is no more, or can't be read.
    fn read(&mut self, most: usize) -> Result<Vec<u8>, String>;
}

/// What a stream goes on by. To be made before the cursor is: then nothing that is written is missed.
#[derive(Debug)]
pub(super) struct Following {
    /// Rung when there is more.
    bell: Listener,
    /// One of so many.
    _permit: OwnedSemaphorePermit,
    /// The end of orch ends the stream, when all is told.
    phases: Phases,
    /// It is not woken more often than that.
    rest: Duration,
    /// When it was woken last.
    woken: Option<Instant>,
}

impl Following {
    /// One that is woken by this bell.
    ///
    /// # Errors
    /// There are too many.
    pub(super) fn new(shared: &Shared, bell: &Bell) -> Result<Self, Refused> {
        let permit = Arc::clone(&shared.followers).try_acquire_owned();
        let _permit = permit.map_err(|_| Refused::crowded("too many streams are followed"))?;
        let (bell, phases) = (bell.listen(), shared.phases.clone());
        Ok(Self { bell, _permit, phases, rest: Duration::ZERO, woken: None })
    }

    /// The same, where a look costs something: what comes sooner than `rest` after a look waits for the next one.
    pub(super) fn resting(self, rest: Duration) -> Self {
        Self { rest, ..self }
    }
}

/// The body that gives the lines from `cursor` on; with `following`, it goes on with those to come.
pub(super) fn body(cursor: impl Cursor, following: Option<Following>) -> Body {
    let reader = Reader { cursor: Box::new(cursor), following, over: false };
    Chunks { reading: Some(Box::pin(reader.next())) }.boxed_unsync()
}

struct Reader {
    cursor: Box<dyn Cursor>,
    following: Option<Following>,
    /// The last line is told.
    over: bool,
}

impl Reader {
    /// The next chunk; `None` at the end.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        while !self.over {
            // First, for what is written before it must be found by the read that follows.
            let last = self.following.as_ref().is_none_or(|following| following.phases.is_ending());
            let read = tokio::task::spawn_blocking(move || {
                let read = self.cursor.read(CHUNK);
                (self, read)
            });
            let read = read.await.ok()?;
            self = read.0;
            match read.1 {
                Ok(chunk) if !chunk.is_empty() => return Some((chunk.into(), self)),
                Ok(_) if last => return None,
                Ok(_) => self.more().await?,
                Err(error) => {
                    self.over = true;
                    return Some((format!("{}\n", json!({"error": error})).into(), self));
                }
            }
        }
        None
    }

    /// Waits until there may be more.
    async fn more(&mut self) -> Option<()> {
        let following = self.following.as_mut()?;
        let rested = following.woken.map(|woken| woken + following.rest);
        let rung = async {
            let rung = following.bell.rung().await;
            if let Some(rested) = rested.filter(|rested| *rested > Instant::now()) {
                sleep_until(rested).await;
            }
            rung
        };
        let more = tokio::select! {
            rung = rung => rung.then_some(()),
            () = following.phases.ending() => Some(()),
        };
        following.woken = Some(Instant::now());
        more
    }
}

/// The chunk that is being read.
type Reading = Pin<Box<dyn Future<Output = Option<(Bytes, Reader)>> + Send>>;

struct Chunks {
    reading: Option<Reading>,
}

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chunks")
    }
}

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        match reading.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.reading = None;
                Poll::Ready(None)
            }
            // Whatever comes next is read when this is taken.
            Poll::Ready(Some((chunk, reader))) => {
                self.reading = Some(Box::pin(reader.next()));
                Poll::Ready(Some(Ok(Frame::data(chunk))))
            }
        }
    }
}
