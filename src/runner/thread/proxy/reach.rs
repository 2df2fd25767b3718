//! Connections to who is behind, now or as soon as there is somebody.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::light::{Light, Seen, UnderWay};
use super::with::{Settings, Target};
use crate::resolve::addresses;
use crate::types::State;

/// So many are kept waiting at once; the next one is turned away, for a browser asks again.
const MOST_HELD: usize = 1024;
/// From one try to connect to the next: at first, and at last.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));
/// One try to connect may take so long.
const TRY: Duration = Duration::from_secs(1);

/// A connection to who is behind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
/// The same, whatever it is.
pub(super) type Duplex = Box<dyn Stream>;

/// The way to who is behind, shared by all connections of one proxy.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) settings: Settings,
    pub(super) light: Light,
    /// True when the proxy is to stop.
    pub(super) closing: watch::Receiver<bool>,
    held: AtomicUsize,
}

/// A connection that was found or made.
#[derive(Debug)]
pub(super) struct Reached<T> {
    pub(super) by: T,
    /// To which incarnation; 0 where nobody is known.
    pub(super) incarnation: u64,
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
    /// The proxy stops.
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
    pub(super) fn new(settings: Settings, light: Light, closing: watch::Receiver<bool>) -> Self {
        Self { settings, light, closing, held: AtomicUsize::new(0) }
    }

    fn seat(&self) -> Result<Seat<'_>, Away> {
        if self.held.fetch_add(1, Ordering::Relaxed) >= MOST_HELD {
            self.held.fetch_sub(1, Ordering::Relaxed);
            return Err(Away::Crowded);
        }
        Ok(Seat(self))
    }

    /// Connects, by `deadline`: waits while the component behind is not ready or refuses. `kept` may give a
    /// connection that is there already.
    pub(super) async fn reach<T, F: Future<Output = io::Result<T>>>(
        &self,
        deadline: Instant,
        mut kept: impl FnMut(u64) -> Option<T>,
        open: impl Fn(Duplex) -> F,
    ) -> Result<Reached<T>, Away> {
        let (mut seat, mut pause) = (None, PAUSE.0);
        loop {
            let under_way = self.light.under_way();
            let refused = match self.light.ready() {
                Ok(incarnation) => {
                    if let Some(by) = kept(incarnation) {
                        return Ok(Reached { by, incarnation, under_way });
                    }
                    match self.open(deadline, &open).await? {
                        Ok(by) => return Ok(Reached { by, incarnation, under_way }),
                        Err(error) => Some(error.to_string()),
                    }
                }
                Err(seen) if seen.state.rests() => return Err(Away::Down(seen)),
                Err(_) => None,
            };
            drop(under_way);
            if seat.is_none() {
                seat = Some(self.seat()?);
            }
            let wake = async {
                match &refused {
                    Some(_) => sleep(pause).await,
                    None => self.moved().await,
                }
            };
            tokio::select! {
                () = wake => {}
                () = self.closed() => return Err(Away::Closing),
                () = sleep_until(deadline) => {
                    return Err(refused.map_or_else(|| Away::Held(self.light.seen()), Away::Refused));
                }
            }
            pause = PAUSE.1.min(pause * 2);
        }
    }

    /// One try. It has its time also when `hold` is short or over.
    async fn open<T, F: Future<Output = io::Result<T>>>(
        &self,
        deadline: Instant,
        open: &impl Fn(Duplex) -> F,
    ) -> Result<io::Result<T>, Away> {
        let until = deadline.max(Instant::now() + TRY);
        tokio::select! {
            opened = async { open(connect(&self.settings.to).await?).await } => Ok(opened),
            () = sleep_until(until) => Ok(Err(io::ErrorKind::TimedOut.into())),
            () = self.closed() => Err(Away::Closing),
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

    /// Completes when the proxy is to stop.
    pub(super) async fn closed(&self) {
        // An error means that the proxy is gone.
        let _ = self.closing.clone().wait_for(|closing| *closing).await;
    }
}

/// A connection to whatever listens there.
async fn connect(to: &Target) -> io::Result<Duplex> {
    let at = match to {
        Target::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
        Target::Tcp(at) => at,
    };
    let mut refused = None;
    for address in addresses(&at.host, at.port).await? {
        match connect_one(address).await {
            Ok(stream) => return Ok(Box::new(stream)),
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
