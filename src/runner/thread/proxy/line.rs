//! One connection, by TCP or by a Unix socket, that its reader, its writer and whoever watches it share.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::net::{AddressFamily, Shutdown, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connection; every clone is the same one. It has one reader and one writer at a time.
#[derive(Debug, Clone)]
pub(super) struct Line(Arc<Socket>);

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Calls a method that both kinds of sockets have.
macro_rules! both {
    ($line:expr, $socket:ident => $call:expr) => {
        match &*$line.0 {
            Socket::Tcp($socket) => $call,
            Socket::Unix($socket) => $call,
        }
    };
}

impl From<TcpStream> for Line {
    fn from(socket: TcpStream) -> Self {
        Self(Arc::new(Socket::Tcp(socket)))
    }
}

impl From<UnixStream> for Line {
    fn from(socket: UnixStream) -> Self {
        Self(Arc::new(Socket::Unix(socket)))
    }
}

impl Line {
    /// A connection that another image of orch had.
    ///
    /// # Errors
    /// It is none, or the runtime can't watch it.
    pub(super) fn adopt(fd: OwnedFd) -> io::Result<Self> {
        if sockopt::socket_domain(&fd)? == AddressFamily::UNIX {
            let socket = std::os::unix::net::UnixStream::from(fd);
            socket.set_nonblocking(true)?;
            return Ok(UnixStream::from_std(socket)?.into());
        }
        let socket = std::net::TcpStream::from(fd);
        socket.set_nonblocking(true)?;
        Ok(TcpStream::from_std(socket)?.into())
    }

    /// Reads what there is, and gives how much; 0: the other side says no more.
    pub(super) fn poll_read_some(&self, task: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(both!(self, socket => socket.poll_read_ready(task)))?;
            match both!(self, socket => socket.try_read(into)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
    }

    /// Writes what goes, and gives how much.
    pub(super) fn poll_write_some(
        &self,
        task: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(both!(self, socket => socket.poll_write_ready(task)))?;
            match both!(self, socket => socket.try_write_vectored(bytes)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    /// Whose it is, if it is by TCP.
    pub(super) fn peer(&self) -> Option<IpAddr> {
        match &*self.0 {
            Socket::Tcp(socket) => socket.peer_addr().ok().map(|at| at.ip()),
            Socket::Unix(_) => None,
        }
    }

    /// Says no more.
    pub(super) fn end(&self) {
        // It may be gone already.
        let _ = rustix::net::shutdown(self, Shutdown::Write);
    }

    /// Completes when something can be read, or nothing more ever.
    pub(super) async fn readable(&self) -> io::Result<()> {
        both!(self, socket => socket.readable().await)
    }

    /// Completes when the other side says no more: it has gone away, or waits for what is answered. Which of the
    /// two, only writing tells.
    pub(super) async fn ended(&self) {
        // What is urgent is nothing that these protocols know, so only the end is left.
        let _ = both!(self, socket => socket.ready(Interest::PRIORITY).await);
    }

    /// Completes when the connection is broken.
    pub(super) async fn broken(&self) {
        let _ = both!(self, socket => socket.ready(Interest::ERROR).await);
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        both!(self, socket => socket.as_fd())
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(self.poll_read_some(task, into.initialize_unfilled()))?;
        into.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_some(task, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_some(task, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}
