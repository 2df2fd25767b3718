//! Connections to who is behind, now or as soon as there is somebody.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::light::{Light, Seen, UnderWay};
use super::line::Line;
use super::site::{Phase, Plan, Post};
use super::with::Target;
use crate::resolve::addresses;
use crate::types::State;

/// So many are kept waiting at once; the next one is turned away, for a browser asks again.
const MOST_HELD: usize = 1024;
/// From one try to connect to the next: at first, and at last.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));
/// One try to connect may take so long.
const TRY: Duration = Duration::from_secs(1);

/// The way to who is behind, shared by all connections of one proxy.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) light: Light,
    post: watch::Receiver<Post>,
    held: AtomicUsize,
}

/// A connection that was found or made.
#[derive(Debug)]
pub(super) struct Reached<T> {
    pub(super) by: T,
    /// To which incarnation; 0 where nobody is known.
    pub(super) incarnation: u64,
    /// By which plan.
    pub(super) plan: Arc<Plan>,
    /// Held until the answer has ended: so long orch does not ask the component to stop, within reason.
    pub(super) under_way: UnderWay,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Away {
    /// It is known how the component is, and nothing comes of it by itself.
    Down(Seen),
    /// `hold` is over: how the component was at last.
    Held(Option<Seen>),
    /// Connections were refused until `hold` was over, or in a way that waiting does not heal: why.
    Refused(String),
    /// Too many wait already.
    Crowded,
    /// There was no run of the proxy until `hold` was over.
    Paused,
    /// Another image of orch takes over.
    Leaving,
    /// The proxy comes to rest.
    Closing,
}

/// A place among those that wait; given back when it is dropped, so also when the client has gone away.
struct Seat<'a>(&'a Way);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Way {
    pub(super) fn new(light: Light, post: watch::Receiver<Post>) -> Self {
        Self { light, post, held: AtomicUsize::new(0) }
    }

    /// What holds, for whoever waits for changes of it.
    pub(super) fn post(&self) -> watch::Receiver<Post> {
        self.post.clone()
    }

    /// What the present run has said, or the last one.
    pub(super) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.post.borrow().plan)
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn seat(&self) -> Result<Seat<'_>, Away> {
        if self.held.fetch_add(1, Ordering::Relaxed) >= MOST_HELD {
            self.held.fetch_sub(1, Ordering::Relaxed);
            return Err(Away::Crowded);
        }
        Ok(Seat(self))
    }

    /// Connects, by `hold` after `begun`: waits while the component behind is not ready or refuses, and while there is
    /// no run of the proxy. `kept` may give a connection that is there already. What is `there` is waited with until it
    /// is laid aside.
    pub(super) async fn reach<T, F: Future<Output = io::Result<T>>>(
        &self,
        begun: Instant,
        there: impl Fn() -> bool,
        mut kept: impl FnMut(&Plan, u64) -> Option<T>,
        open: impl Fn(Line) -> F,
    ) -> Result<Reached<T>, Away> {
        let (mut seat, mut pause, mut post) = (None, PAUSE.0, self.post());
        loop {
            let Post { phase, plan } = post.borrow_and_update().clone();
            let deadline = begun + plan.settings.hold;
            let under_way = self.light.under_way();
            let refused = match (phase, self.light.ready()) {
                (Phase::Closing(_), _) => return Err(Away::Closing),
                // It could not be laid aside.
                (Phase::Left, _) if !there() => return Err(Away::Leaving),
                (Phase::Open, Ok(incarnation)) => {
                    if let Some(by) = kept(&plan, incarnation) {
                        return Ok(Reached { by, incarnation, plan, under_way });
                    }
                    match self.open(&plan, deadline, &open).await? {
                        Ok(by) => match post.has_changed() {
                            Ok(false) => return Ok(Reached { by, incarnation, plan, under_way }),
                            // Meanwhile the run has ended, or there is another one: nothing begins by this plan.
                            Ok(true) => continue,
                            Err(_) => return Err(Away::Closing),
                        },
                        Err(error) => Some(error.to_string()),
                    }
                }
                (Phase::Open, Err(seen)) if seen.state.rests() => return Err(Away::Down(seen)),
                (Phase::Open | Phase::Paused | Phase::Leaving | Phase::Left, _) => None,
            };
            drop(under_way);
            if seat.is_none() {
                seat = Some(self.seat()?);
            }
            let wake = async {
                match (&refused, phase) {
                    (Some(_), _) => sleep(pause).await,
                    (None, Phase::Open) => self.moved().await,
                    (None, _) => std::future::pending().await,
                }
            };
            tokio::select! {
                () = wake => {}
                changed = post.changed() => if changed.is_err() { return Err(Away::Closing) },
                () = sleep_until(deadline) => return Err(match (refused, phase) {
                    (Some(error), _) => Away::Refused(error),
                    (None, Phase::Open) => Away::Held(self.light.seen()),
                    (None, _) => Away::Paused,
                }),
            }
            pause = PAUSE.1.min(pause * 2);
        }
    }

    /// One try. It has its time also when `hold` is short or over.
    async fn open<T, F: Future<Output = io::Result<T>>>(
        &self,
        plan: &Plan,
        deadline: Instant,
        open: &impl Fn(Line) -> F,
    ) -> Result<io::Result<T>, Away> {
        let until = deadline.max(Instant::now() + TRY);
        tokio::select! {
            opened = async { open(connect(&plan.settings.to).await?).await } => Ok(opened),
            () = sleep_until(until) => Ok(Err(io::ErrorKind::TimedOut.into())),
            () = self.closes() => Err(Away::Closing),
        }
    }

    /// Completes when one is ready, or it is known that none will be.
    async fn moved(&self) {
        let news =
            |seen: Option<&Seen>| seen.is_none_or(|seen| seen.state == State::Ready || seen.state.rests());
        self.light.clone().until(news).await;
    }

    /// Completes when another incarnation than this one is behind, or none; never where nobody is known.
    pub(super) async fn left(&self, incarnation: u64) {
        let gone = |seen: Option<&Seen>| {
            seen.is_some_and(|seen| seen.state != State::Ready || seen.incarnation != incarnation)
        };
        self.light.clone().until(gone).await;
    }

    /// Completes when the proxy comes to rest, or nobody is left who would say so.
    pub(super) async fn closes(&self) {
        let _ = self.post().wait_for(|post| matches!(post.phase, Phase::Closing(_))).await;
    }

    /// Completes when clients are to be laid aside.
    pub(super) async fn leaves(&self) {
        self.until(Phase::lays_aside).await;
    }

    /// Completes when clients are not to be laid aside any more.
    pub(super) async fn stays(&self) {
        self.until(|phase| !phase.lays_aside()).await;
    }

    /// Completes when this phase holds.
    async fn until(&self, phase: impl Fn(Phase) -> bool) {
        if self.post().wait_for(|post| phase(post.phase)).await.is_err() {
            std::future::pending().await
        }
    }
}

/// A connection to whatever listens there.
async fn connect(to: &Target) -> io::Result<Line> {
    let at = match to {
        Target::Unix(path) => return Ok(UnixStream::connect(path).await?.into()),
        Target::Tcp(at) => at,
    };
    let mut refused = None;
    for address in addresses(&at.host, at.port).await? {
        match connect_one(address).await {
            Ok(stream) => return Ok(stream.into()),
            Err(error) => drop(refused.get_or_insert(error)),
        }
    }
    Err(refused.unwrap_or_else(|| io::Error::other("the name has no address")))
}

async fn connect_one(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // The system may choose the port that is asked as the one to ask from, and TCP then lets a socket speak to
    // itself. A reset, so that no TIME_WAIT keeps the component from its port.
    if stream.local_addr().is_ok_and(|own| own == address) {
        stream.set_zero_linger()?;
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}
