//! Names to addresses to connections.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::config::model::HostPort;

/// Host and port as in a URL.
pub(super) fn shown(at: &HostPort) -> String {
    let HostPort { host, port } = at;
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A connection to whatever listens there.
pub(super) async fn reach(at: &HostPort) -> Result<TcpStream, String> {
    let addresses = resolve(at).await?;
    connect(&addresses).await.map_err(|error| plain(&error))
}

/// Every address of the host.
pub(super) async fn resolve(at: &HostPort) -> Result<Vec<SocketAddr>, String> {
    crate::resolve::addresses(&at.host, at.port).await.map_err(|error| {
        let text = error.to_string();
        let why = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
        format!("the name can't be resolved: {why}")
    })
}

/// Connects to all at the same time; the first connection wins, else the first address's error.
pub(super) async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut tries = JoinSet::new();
    for (rank, address) in addresses.iter().copied().enumerate() {
        tries.spawn(async move { (rank, connect_one(address).await) });
    }
    let mut first: Option<(usize, io::Error)> = None;
    while let Some(done) = tries.join_next().await {
        match done {
            Ok((_, Ok(stream))) => return Ok(stream),
            Ok((rank, Err(error))) if first.as_ref().is_none_or(|(best, _)| rank < *best) => {
                first = Some((rank, error));
            }
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(first.map_or_else(|| io::ErrorKind::AddrNotAvailable.into(), |(_, error)| error))
}

async fn connect_one(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    if is_self_connected(&stream) {
        // A reset, so that no TIME_WAIT keeps the component from its port.
        stream.set_zero_linger()?;
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// Whether both ends are the same socket: the system chose the port that is asked as the port to ask from.
/// TCP lets such a connection succeed, though nobody listens.
pub(super) fn is_self_connected(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}

/// The error in words, without the system's number where the kind says all.
pub(super) fn plain(error: &io::Error) -> String {
    let kind = error.kind().to_string();
    if error.raw_os_error().is_some() && kind != "uncategorized error" { kind } else { error.to_string() }
}
