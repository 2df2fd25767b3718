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
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::answer::{Body, Refused};
use super::limits::{CHUNK, MOST_STREAM_READERS};
use super::{Phases, Shared};
use crate::runtime::bell::{Bell, Listener};

/// A place in what is written. Its calls may wait for a disk: they are made on a worker thread.
pub(super) trait Cursor: Send + 'static {
    /// The next lines, each with its end; about `most` bytes at the most, or one longer line. Returns after
    /// a moment, also where nothing was found: others wait for the thread, and whoever asks may have gone.
    ///
    /// # Errors
    /// Why it can't go on, for the follower: what it has come to is no more, or can't be read.
    fn read(&mut self, most: usize) -> Result<Told, String>;
}

/// What a look gives.
#[derive(Debug)]
pub(super) enum Told {
    /// At least one line.
    Lines(Vec<u8>),
    /// Nothing yet, and there is more to be looked at.
    Busy,
    /// That was all for now.
    All,
}

/// Those who read files for streams, so many at a time.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_STREAM_READERS)))
    }
}

impl Turns {
    /// Has this done on a worker thread, when it is its turn; `None`: it broke.
    pub(super) async fn take<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let turn = Arc::clone(&self.0).acquire_owned().await.ok()?;
        let work = tokio::task::spawn_blocking(move || {
            // Also when nobody waits for it any more, the thread is not free before it is done.
            let _turn = turn;
            work()
        });
        work.await.ok()
    }
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
        let _permit = room(shared)?;
        let (bell, phases) = (bell.listen(), shared.phases.clone());
        Ok(Self { bell, _permit, phases, rest: Duration::ZERO, woken: None })
    }

    /// The same, where a look costs something: what comes sooner than `rest` after a look waits for the next one.
    pub(super) fn resting(self, rest: Duration) -> Self {
        Self { rest, ..self }
    }
}

/// Lets one more stream be followed, or be read for longer.
///
/// # Errors
/// There are too many.
pub(super) fn room(shared: &Shared) -> Result<OwnedSemaphorePermit, Refused> {
    let permit = Arc::clone(&shared.followers).try_acquire_owned();
    permit.map_err(|_| Refused::crowded("too many streams are followed"))
}

/// The body that gives the lines from `cursor` on; with `following`, it goes on with those to come.
pub(super) fn body(cursor: impl Cursor, following: Option<Following>, turns: &Turns) -> Body {
    let reader = Reader { cursor: Box::new(cursor), following, turns: turns.clone(), over: false };
    Chunks { reading: Some(Box::pin(reader.next())) }.boxed_unsync()
}

struct Reader {
    cursor: Box<dyn Cursor>,
    following: Option<Following>,
    turns: Turns,
    /// The last line is told.
    over: bool,
}

impl Reader {
    /// The next chunk; `None` at the end.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        while !self.over {
            // First, for what is written before it must be found by the read that follows.
            let last = self.following.as_ref().is_none_or(|following| following.phases.is_ending());
            let turns = self.turns.clone();
            let look = move || {
                let read = self.cursor.read(CHUNK);
                (self, read)
            };
            let read = turns.take(look).await?;
            self = read.0;
            match read.1 {
                Ok(Told::Lines(lines)) => return Some((lines.into(), self)),
                Ok(Told::Busy) => {}
                Ok(Told::All) if last => return None,
                Ok(Told::All) => self.more().await?,
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Gives these, and counts how often it is asked.
    struct Script(VecDeque<Result<Told, String>>, Arc<AtomicUsize>);

    impl Cursor for Script {
        fn read(&mut self, _: usize) -> Result<Told, String> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.pop_front().unwrap_or(Ok(Told::All))
        }
    }

    fn told(script: impl IntoIterator<Item = Result<Told, String>>) -> (Body, Arc<AtomicUsize>) {
        let reads = Arc::new(AtomicUsize::new(0));
        let script = Script(script.into_iter().collect(), Arc::clone(&reads));
        (body(script, None, &Turns::default()), reads)
    }

    fn lines(text: &str) -> Result<Told, String> {
        Ok(Told::Lines(text.as_bytes().to_vec()))
    }

    #[tokio::test]
    async fn what_can_not_go_on_ends_with_why() {
        let (body, reads) = told([lines("1\n"), Ok(Told::Busy), Err("it is gone".to_owned()), lines("2\n")]);
        let bytes = body.collect().await.unwrap().to_bytes();
        assert_eq!(bytes, "1\n{\"error\":\"it is gone\"}\n");
        assert_eq!(reads.load(Ordering::Relaxed), 3, "nothing is read behind that");
    }

    #[tokio::test]
    async fn no_more_is_read_than_is_taken() {
        let (mut body, reads) = told((0..100).map(|number| lines(&format!("{number}\n"))));
        for taken in 1..=3 {
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), format!("{}\n", taken - 1));
            assert_eq!(reads.load(Ordering::Relaxed), taken);
        }
    }
}
