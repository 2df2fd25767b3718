//! The binding itself, and why it fails.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use super::{At, Bound, Key, unix};

/// As many connections may wait to be accepted as the system lets wait; it takes the smaller of the two.
pub(super) const BACKLOG: i32 = 4096;

/// Why a socket can't be bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Somebody else has this TCP address.
    InUse(SocketAddr),
    /// Somebody else answers at this path.
    Answers(PathBuf),
    /// What it is, and what to do about it: the end of a sentence.
    Other(String),
}

/// Binds a socket and has it listen. For a path, that may take as long as its file system likes.
///
/// # Errors
/// See [`Why`].
pub fn bind(key: &Key) -> Result<Bound, Why> {
    match key {
        Key::Tcp(address) | Key::Any(address, ..) => tcp(*address),
        Key::Unix(path) => unix::bind(path),
    }
}

/// A blocking socket, which nobody inherits unasked.
pub(super) fn stream(family: AddressFamily) -> rustix::io::Result<OwnedFd> {
    net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

fn tcp(address: SocketAddr) -> Result<Bound, Why> {
    let attempt = || -> rustix::io::Result<OwnedFd> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let fd = stream(family)?;
        // Connections of an earlier run may still be in TIME_WAIT; two listeners are refused all the same.
        sockopt::set_socket_reuseaddr(&fd, true)?;
        // Accepted connections inherit it. asyncio, for one, does not set it on a socket that it was handed, and
        // an answer in two writes then waits 40 ms for the client's delayed acknowledgement.
        sockopt::set_tcp_nodelay(&fd, true)?;
        if address.is_ipv6() && address.ip().is_unspecified() {
            // `[::]` is every address, of both kinds, whatever the machine's default is.
            sockopt::set_ipv6_v6only(&fd, false)?;
        }
        net::bind(&fd, &address)?;
        net::listen(&fd, BACKLOG)?;
        Ok(fd)
    };
    let fd = attempt().map_err(|error| why(address, error))?;
    let at = At::Tcp(local(&fd).map_err(|error| Why::Other(error.to_string()))?);
    Ok(Bound { fd, at })
}

/// The address that a TCP socket is bound to.
pub(super) fn local(fd: &OwnedFd) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(net::getsockname(fd)?)?)
}

fn why(address: SocketAddr, error: Errno) -> Why {
    let ip = address.ip();
    Why::Other(match error {
        Errno::ADDRINUSE if address.port() == 0 => "the system has no free port left".to_owned(),
        Errno::ADDRINUSE => return Why::InUse(address),
        Errno::ACCESS | Errno::PERM => {
            let ports = "low ports are root's; choose one from 1024 up, or lower \
                         net.ipv4.ip_unprivileged_port_start";
            format!("permission denied ({ports})")
        }
        Errno::ADDRNOTAVAIL => match ip {
            IpAddr::V4(_) => {
                format!("this machine does not have the address {ip}; `ip address` shows those it has")
            }
            IpAddr::V6(_) => {
                format!(
                    "this machine does not have the address {ip}, or has no IPv6; `ip address` shows those it has"
                )
            }
        },
        Errno::AFNOSUPPORT => "this system has no IPv6; use an IPv4 address".to_owned(),
        Errno::INVAL if is_link_local(ip) => {
            format!("{ip} is a link-local address, which needs an interface; use another address")
        }
        error => words(error),
    })
}

fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// The system's words, without their number.
pub(super) fn words(error: Errno) -> String {
    let text = io::Error::from(error).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}
