//! Where clients come in: sockets that listen, and the loop that accepts.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::super::around::Around;
use super::super::context::Context;
use super::super::registry::BoxError;
use super::reach::Way;
use super::with::Settings;
use crate::types::Name;

/// So many clients are connected at once, or a quarter of the descriptors that orch may have: each takes two, and
/// components must get theirs. The next one waits in the backlog.
const MOST_CLIENTS: usize = 4096;
/// After the stop request, what is under way may take so long to its end.
const GRACE: Duration = Duration::from_millis(400);
/// So many clients wait to be accepted, or as many as the system allows.
const BACKLOG: i32 = 4096;
/// When nothing can be accepted, the first and the longest rest before the next try.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// A proxy that listens.
pub(in super::super) struct Open {
    settings: Settings,
    listeners: Vec<std::net::TcpListener>,
    name: Name,
    around: Around,
}

impl Open {
    /// Listens at every address, or goes on with what the last run has left there.
    pub(super) fn new(settings: Settings, name: &Name, around: Around) -> Result<Self, String> {
        let mut left = around.kept.take(name);
        let mut listeners = Vec::new();
        for (rank, at) in settings.listen.iter().enumerate() {
            let kept = left.iter().position(|kept| kept.local_addr().is_ok_and(|bound| bound == *at));
            if let Some(kept) = kept {
                listeners.push(left.swap_remove(kept));
                continue;
            }
            match bind(*at) {
                Ok(listener) => listeners.push(listener),
                // Not every machine has the second loopback address.
                Err(error) if rank > 0 && error.kind() != io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(refused(*at, &error, &around)),
            }
        }
        Ok(Self { settings, listeners, name: name.clone(), around })
    }

    /// Serves each client by `serve`, until the component is asked to stop.
    pub(super) fn serve<S, F>(self, cx: &Context, serve: S) -> Result<(), BoxError>
    where
        S: Fn(TcpStream, SocketAddr, Arc<Way>) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let Self { settings, listeners, name, around } = self;
        let (closing, closed) = watch::channel(false);
        let way = Arc::new(Way::new(settings, around.light.clone(), closed));
        let copies =
            listeners.iter().map(std::net::TcpListener::try_clone).collect::<io::Result<Vec<_>>>()?;
        runtime.block_on(async {
            let copies = copies.into_iter().map(TcpListener::from_std).collect::<io::Result<Vec<_>>>()?;
            cx.ready();
            accept(copies, cx, (&closing, &way), serve).await;
            Ok::<(), BoxError>(())
        })?;
        around.kept.keep(&name, listeners);
        Ok(())
    }
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

async fn accept<S, F>(
    listeners: Vec<TcpListener>,
    cx: &Context,
    (closing, way): (&watch::Sender<bool>, &Arc<Way>),
    serve: S,
) where
    S: Fn(TcpStream, SocketAddr, Arc<Way>) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let (mut clients, most, mut pause) = (JoinSet::new(), most_clients(), PAUSE.0);
    let mut stopped = std::pin::pin!(cx.stop_token().stopped());
    loop {
        tokio::select! {
            () = &mut stopped => break,
            Some(_) = clients.join_next(), if !clients.is_empty() => {}
            accepted = next(&listeners), if clients.len() < most => match accepted {
                Ok((stream, peer)) => {
                    pause = PAUSE.0;
                    // What is small goes out at once. Without it everything works, too.
                    let _ = stream.set_nodelay(true);
                    clients.spawn(serve(stream, peer, Arc::clone(way)));
                }
                Err(error) => {
                    if pause == PAUSE.0 {
                        cx.println(&format!("warning: nobody can connect for now: {error}"));
                    }
                    tokio::select! { () = sleep(pause) => {}, () = &mut stopped => break }
                    pause = PAUSE.1.min(pause * 2);
                }
            },
        }
    }
    drop(listeners);
    closing.send_replace(true);
    let _ = timeout(GRACE, async { while clients.join_next().await.is_some() {} }).await;
}

/// The next client, wherever it comes in.
async fn next(listeners: &[TcpListener]) -> io::Result<(TcpStream, SocketAddr)> {
    poll_fn(|task| {
        for listener in listeners {
            if let Poll::Ready(accepted) = listener.poll_accept(task) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

fn most_clients() -> usize {
    let open = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let quarter = usize::try_from(open.unwrap_or(u64::MAX) / 4).unwrap_or(usize::MAX);
    quarter.clamp(1, MOST_CLIENTS)
}
