//! `tcp-proxy`, and whatever a connection has changed to: bytes both ways.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use super::line::Line;
use super::reach::Reached;
use super::site::{Busy, Shared};

/// So much is read at once. Bytes.
const CHUNK: usize = 16 << 10;

/// Connects a client with who is behind, and copies until both directions have ended. What can't be reached by the end of
/// `hold` is closed.
pub(super) async fn serve(mut busy: Busy, client: Line, read: Vec<u8>, shared: &Arc<Shared>) {
    let (way, begun) = (&shared.way, Instant::now());
    let server = loop {
        tokio::select! {
            reached = way.reach(begun, || true, |_, _| None, |line| std::future::ready(Ok(line))) => {
                // What a connection carries has no end that orch could wait for.
                let Ok(Reached { by, .. }) = reached else { return };
                break by;
            }
            // One that has only ended its own direction still waits for what is answered.
            () = client.broken() => return,
            () = way.leaves() => busy = shared.park(busy, (&client, &read), None).await,
        }
    };
    pass(busy, (client, read), (server, Vec::new()), shared).await;
}

/// Copies until both directions have ended; one that ends is closed on the other side, and the other one goes on. What
/// was read already is passed first.
pub(super) async fn pass(
    mut busy: Busy,
    (client, ahead): (Line, Vec<u8>),
    (server, back): (Line, Vec<u8>),
    shared: &Arc<Shared>,
) {
    let (mut there, mut back) = (Direction::new(ahead), Direction::new(back));
    loop {
        // Both are moved on whenever one can be.
        let passed = poll_fn(|task| {
            let one = there.poll(task, &client, &server)?;
            let other = back.poll(task, &server, &client)?;
            if one.is_ready() && other.is_ready() {
                Poll::Ready(Ok::<_, io::Error>(()))
            } else {
                Poll::Pending
            }
        });
        tokio::select! {
            // An error of either side ends both: each sees its connection closed.
            _ = passed => return,
            () = shared.way.closes() => return,
            () = shared.way.leaves() => {}
        }
        let (unsaid, unheard) = (there.unwritten(), back.unwritten());
        busy = shared.park(busy, (&client, unsaid), Some((&server, unheard))).await;
    }
}

/// One direction of a connection. An end that another image has seen is seen again.
struct Direction {
    bytes: Vec<u8>,
    /// What of them is to be written yet.
    unwritten: std::ops::Range<usize>,
    ended: bool,
}

impl Direction {
    fn new(bytes: Vec<u8>) -> Self {
        Self { unwritten: 0..bytes.len(), bytes, ended: false }
    }

    fn unwritten(&self) -> &[u8] {
        self.bytes.get(self.unwritten.clone()).unwrap_or_default()
    }

    /// Copies as far as that goes; ready when it has ended.
    fn poll(&mut self, task: &mut Context<'_>, from: &Line, to: &Line) -> Poll<io::Result<()>> {
        while !self.ended {
            if !self.unwritten.is_empty() {
                let written = ready!(to.poll_write_some(task, &[io::IoSlice::new(self.unwritten())]))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.unwritten.start += written;
                continue;
            }
            self.bytes.resize(CHUNK, 0);
            let read = ready!(from.poll_read_some(task, &mut self.bytes))?;
            self.unwritten = 0..read;
            if read == 0 {
                to.end();
                self.ended = true;
            }
        }
        Poll::Ready(Ok(()))
    }
}
