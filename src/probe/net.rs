//! Names to addresses to connections.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::thread::Builder;

use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::config::model::HostPort;

/// More addresses of one name are not tried.
const ADDRESSES: usize = 16;

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

/// Every address of the host. `localhost` needs no asking: it is both loopback addresses.
pub(super) async fn resolve(at: &HostPort) -> Result<Vec<SocketAddr>, String> {
    if let Ok(ip) = at.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, at.port)]);
    }
    if at.host.eq_ignore_ascii_case("localhost") {
        let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return Ok(both.map(|ip| SocketAddr::new(ip, at.port)).to_vec());
    }
    let found = ask_system(at).await.map_err(|error| {
        let text = error.to_string();
        let why = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
        format!("the name can't be resolved: {why}")
    })?;
    if found.is_empty() { Err("the name has no address".to_owned()) } else { Ok(found) }
}

/// Asks the system's resolver, which blocks for as long as it likes: on a thread that nobody waits for, where
/// the runtime's own blocking threads would hold up its end.
async fn ask_system(at: &HostPort) -> io::Result<Vec<SocketAddr>> {
    let (answer, answered) = oneshot::channel();
    let asked = (at.host.clone(), at.port);
    Builder::new().name("orch-resolve".to_owned()).spawn(move || {
        let found = asked.to_socket_addrs().map(|found| found.take(ADDRESSES).collect());
        // The asker may have given up.
        let _ = answer.send(found);
    })?;
    answered.await.unwrap_or_else(|_| Err(io::Error::other("the resolver gave no answer")))
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
