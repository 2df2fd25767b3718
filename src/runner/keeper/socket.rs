//! The socket between orch and its keeper: one packet is one message, file descriptors travel beside it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// No packet is longer; a longer message travels in a memfd.
pub(super) const MAX_PACKET: usize = 64 * 1024;

/// The kernel's own limit on descriptors beside one packet (SCM_MAX_FD).
pub(super) const MAX_FDS: usize = 253;

/// Both ends, closed on exec.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Sends one packet; never waits (without room it is `WouldBlock`), never raises SIGPIPE.
pub(super) fn send(socket: impl AsFd, packet: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "more than 253 file descriptors"));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let socket = socket.as_fd();
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(socket, &[IoSlice::new(packet)], &mut beside, flags))?;
    Ok(())
}

/// One packet with what came beside it.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) length: usize,
    pub(super) fds: Vec<OwnedFd>,
    /// Some descriptor or byte did not fit and is lost.
    pub(super) truncated: bool,
}

/// Receives one packet into `buffer`; `None` at the end of the connection. Without `wait`, an empty queue is
/// `WouldBlock`.
pub(super) fn receive(socket: impl AsFd, buffer: &mut [u8], wait: bool) -> io::Result<Option<Packet>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let flags = if wait { RecvFlags::empty() } else { RecvFlags::DONTWAIT } | RecvFlags::CMSG_CLOEXEC;
    let socket = socket.as_fd();
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut beside, flags)
    });
    let message = match received {
        Ok(message) => message,
        Err(rustix::io::Errno::CONNRESET) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let fds = beside.drain().filter_map(|item| match item {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds = fds.flatten().collect();
    let truncated = message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    // Nobody sends an empty packet, so this is the end.
    Ok((message.bytes > 0).then_some(Packet { length: message.bytes, fds, truncated }))
}

/// Waits until one of the descriptors shows one of its events, for ever or for so many milliseconds; gives
/// what each shows.
pub(super) fn poll<const N: usize>(
    wanted: [(BorrowedFd<'_>, PollFlags); N],
    milliseconds: Option<i64>,
) -> io::Result<[PollFlags; N]> {
    let mut fds = wanted.map(|(fd, events)| PollFd::from_borrowed_fd(fd, events));
    let limit = milliseconds.map(|ms| Timespec { tv_sec: ms / 1000, tv_nsec: (ms % 1000) * 1_000_000 });
    match rustix::event::poll(&mut fds, limit.as_ref()) {
        Ok(_) => Ok(fds.map(|fd| fd.revents())),
        Err(rustix::io::Errno::INTR) => Ok([PollFlags::empty(); N]),
        Err(error) => Err(error.into()),
    }
}
