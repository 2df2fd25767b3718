//! Where clients come in: sockets that listen, and who accepts at them.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::super::around::Around;
use super::site::{Busy, Plan};
use super::with::Settings;

/// So many clients of all proxies are connected at once, or an eighth of the descriptors that orch may have: each takes
/// two, for a moment four while the image changes, and components must get theirs. The next one waits in the backlog.
const MOST_CLIENTS: usize = 4096;
/// So many clients wait to be accepted, or as many as the system allows.
const BACKLOG: i32 = 4096;
/// When nothing can be accepted, the first and the longest rest before the next try.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Listens at every address; goes on with those of `left` that are wanted, and closes the others. If one can't be had,
/// those that were left are given back with the reason.
pub(super) fn all(
    settings: &Settings,
    left: Vec<std::net::TcpListener>,
    around: &Around,
) -> Result<Vec<std::net::TcpListener>, (Vec<std::net::TcpListener>, String)> {
    let at = |listener: &std::net::TcpListener| listener.local_addr().ok();
    let mut listeners: Vec<_> = left
        .into_iter()
        .filter(|listener| at(listener).is_some_and(|at| settings.listen.contains(&at)))
        .collect();
    let mut new = Vec::new();
    for (rank, wanted) in settings.listen.iter().enumerate() {
        if listeners.iter().any(|listener| at(listener) == Some(*wanted)) {
            continue;
        }
        match bind(*wanted) {
            Ok(listener) => new.push(listener),
            // Not every machine has the second loopback address.
            Err(error) if rank > 0 && error.kind() != io::ErrorKind::AddrInUse => {}
            Err(error) => return Err((listeners, refused(*wanted, &error, around))),
        }
    }
    listeners.extend(new);
    Ok(listeners)
}

fn bind(at: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(at)?;
    // The library's own backlog is a tenth of what a burst of clients fills while the component behind restarts.
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn refused(at: SocketAddr, error: &io::Error, around: &Around) -> String {
    let holder = match (error.kind(), &around.holder) {
        (io::ErrorKind::AddrInUse, Some(holder)) => holder(at),
        _ => None,
    };
    match holder {
        Some(holder) => {
            format!("listen at {at}: port {} is in use by {holder}; stop it, or listen elsewhere", at.port())
        }
        None => format!("listen at {at}: {error}"),
    }
}

/// The accepting end of sockets that listen.
#[derive(Debug)]
pub(super) struct Accepting {
    listeners: Vec<TcpListener>,
    /// For this plan, if it does.
    by: Option<(Arc<Plan>, Busy)>,
    /// How long to rest before the next try.
    pause: Duration,
    /// Nobody can connect for now.
    failed: Option<io::Error>,
}

impl Default for Accepting {
    fn default() -> Self {
        Self { listeners: Vec::new(), by: None, pause: PAUSE.0, failed: None }
    }
}

impl Accepting {
    /// Accepts at what there is for this plan, if it does not yet.
    pub(super) fn listen(
        &mut self,
        plan: &Arc<Plan>,
        at: impl FnOnce() -> (io::Result<Vec<std::net::TcpListener>>, Busy),
    ) {
        if self.by.as_ref().is_some_and(|(by, _)| Arc::ptr_eq(by, plan)) {
            return;
        }
        self.close();
        let (at, busy) = at();
        match at.and_then(|at| at.into_iter().map(TcpListener::from_std).collect()) {
            Ok(listeners) => (self.listeners, self.by) = (listeners, Some((Arc::clone(plan), busy))),
            Err(error) => self.failed = Some(error),
        }
    }

    /// Accepts no more.
    pub(super) fn close(&mut self) {
        self.listeners.clear();
        self.by = None;
    }

    /// The next client, with a place for it, wherever it comes in; none after a rest, where something stands in the way. That is said once.
    pub(super) async fn next(
        &mut self,
        plan: &Plan,
        places: &Arc<Semaphore>,
    ) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let failed = match self.failed.take() {
            Some(error) => Err(error),
            None => self.accept(places).await,
        };
        match failed {
            Ok((stream, place)) => {
                self.pause = PAUSE.0;
                // What is small goes out at once. Without it everything works, too.
                let _ = stream.set_nodelay(true);
                Some((stream, place))
            }
            Err(error) => {
                if self.pause == PAUSE.0
                    && let Some(output) = &plan.output
                {
                    output.line(&format!("warning: nobody can connect for now: {error}"));
                }
                let rest = self.pause;
                self.pause = PAUSE.1.min(self.pause * 2);
                sleep(rest).await;
                None
            }
        }
    }

    async fn accept(&self, places: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
        // First the place: who is accepted is served.
        let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _) = poll_fn(|task| {
            for listener in &self.listeners {
                if let Poll::Ready(accepted) = listener.poll_accept(task) {
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await?;
        Ok((stream, place))
    }
}

/// The places of clients, one for all proxies of the process, as the limit of its descriptors is. One place is for each
/// client; given back when that is dropped.
pub(super) fn places() -> Arc<Semaphore> {
    static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(most_clients())));
    Arc::clone(&PLACES)
}

fn most_clients() -> usize {
    let open = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let part = usize::try_from(open.unwrap_or(u64::MAX) / 8).unwrap_or(usize::MAX);
    part.clamp(1, MOST_CLIENTS)
}
