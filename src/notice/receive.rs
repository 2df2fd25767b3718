//! The socket itself, as the kernel has it: who has sent a datagram, and what came beside it.
//!
//! By `libc` and not by rustix, for two reasons. A sender outside of this process's PID namespace has the process
//! id 0, which rustix's type for it can't hold; and rustix does not know the descriptor of the sender (SCM_PIDFD),
//! so it would leave that open.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::path::Path;
use std::ptr;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// A longer datagram is refused whole.
pub(super) const LONGEST: usize = 4096;

/// The kernel's own limit on descriptors beside one datagram (SCM_MAX_FD).
const MAX_FDS: usize = 253;

/// Room for the credentials, the descriptors and the sender's own, each with its header, in words.
const ROOM: usize = 168;

/// SCM_PIDFD, which libc has no name for.
const SCM_PIDFD: libc::c_int = 4;

/// Who has sent a datagram, by the kernel's word.
#[derive(Debug)]
pub(super) struct Sender {
    /// Its process id; 0 where this process can't see it.
    pub(super) pid: u32,
    /// The process itself, where the kernel gives it: its id may be another one's by now.
    process: Option<OwnedFd>,
}

/// One datagram.
#[derive(Debug)]
pub(super) struct Datagram {
    /// How much of the buffer it fills.
    pub(super) length: usize,
    /// It was longer than [`LONGEST`].
    pub(super) cut: bool,
    /// `None` where the kernel did not say, for want of room.
    pub(super) sender: Option<Sender>,
    pub(super) fds: Vec<OwnedFd>,
    /// Some of what was beside it did not fit, or found no free descriptor.
    pub(super) lost: bool,
}

/// Makes a socket of this name that tells who sends.
pub(super) fn bind(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    // Before it has a name, so that nothing arrives without.
    rustix::net::sockopt::set_socket_passcred(&socket, true)?;
    let on: libc::c_int = 1;
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option takes one int, which outlives the call. Before Linux 6.5 it does not exist; then the
    // process id has to do.
    unsafe {
        let on = (&raw const on).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PASSPIDFD, on, size);
    }
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Takes the next datagram, without waiting; `None` when there is none.
pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8; LONGEST]) -> io::Result<Option<Datagram>> {
    let mut room = [0_u64; ROOM];
    let mut parts = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: a msghdr is plain data, for which zeroes are a value.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_iov = &raw mut parts;
    header.msg_iovlen = 1;
    header.msg_control = room.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&room) as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    let length = loop {
        // SAFETY: the header points to the buffer and to the room, with their lengths, and both outlive the call.
        let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
        if let Ok(length) = usize::try_from(length) {
            break length;
        }
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => {}
            error if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            error => return Err(error),
        }
    };
    let (sender, fds) = beside(&header);
    let cut = header.msg_flags & libc::MSG_TRUNC != 0;
    let lost = header.msg_flags & libc::MSG_CTRUNC != 0;
    Ok(Some(Datagram { length: length.min(LONGEST), cut, sender, fds, lost }))
}

/// Takes what came beside a datagram; every descriptor is owned from here on.
fn beside(header: &libc::msghdr) -> (Option<Sender>, Vec<OwnedFd>) {
    let (mut pid, mut process, mut fds) = (None, None, Vec::new());
    // SAFETY: the kernel has filled the room that the header points to, and its length says how far. The macros
    // go from header to header within it; each payload is read no further than its header says, and copied, for
    // it need not be aligned. The descriptors are this process's, made by the kernel for this call alone.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(header);
        while let Some(item) = next.as_ref() {
            let payload = libc::CMSG_DATA(item);
            let bytes = item.cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
            let descriptors = || {
                let count = (bytes / size_of::<RawFd>()).min(MAX_FDS);
                (0..count).map(|at| OwnedFd::from_raw_fd(payload.cast::<RawFd>().add(at).read_unaligned()))
            };
            match (item.cmsg_level, item.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => fds.extend(descriptors()),
                (libc::SOL_SOCKET, SCM_PIDFD) if bytes >= size_of::<RawFd>() => {
                    let number = payload.cast::<RawFd>().read_unaligned();
                    process = (number >= 0).then(|| OwnedFd::from_raw_fd(number));
                }
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if bytes >= size_of::<libc::ucred>() => {
                    let sender = payload.cast::<libc::ucred>().read_unaligned();
                    pid = u32::try_from(sender.pid).ok();
                }
                _ => {}
            }
            next = libc::CMSG_NXTHDR(ptr::from_ref(header), ptr::from_ref(item));
        }
    }
    (pid.map(|pid| Sender { pid, process }), fds)
}

impl Sender {
    /// Whether the process that has this id now may be another one: the sender is gone, and was waited for.
    pub(super) fn is_gone(&self) -> bool {
        let Some(process) = &self.process else { return false };
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd()));
        info.is_ok_and(|info| info.lines().any(|line| line == "Pid:\t-1"))
    }
}

/// Whether two descriptors are the same open file.
pub(super) fn same_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    /// Of kcmp(2): compare two descriptors.
    const KCMP_FILE: libc::c_int = 0;
    let me = std::process::id();
    let (first, second) = (one.as_raw_fd(), other.as_raw_fd());
    // SAFETY: kcmp takes five numbers, and changes nothing.
    match unsafe { libc::syscall(libc::SYS_kcmp, me, me, KCMP_FILE, first, second) } {
        0 => true,
        order if order > 0 => false,
        // Not every kernel and container has it. A socket or a pipe is known by its number; others share theirs, and
        // to ask for it may take for ever.
        _ => {
            let has_number = |fd| is_pipe(fd) || is_socket(fd);
            if !has_number(one) || !has_number(other) {
                return false;
            }
            let number = |fd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
            matches!((number(one), number(other)), (Ok(one), Ok(other)) if one == other)
        }
    }
}

/// Whether a descriptor is a pipe's. Asks nobody but the kernel, so it takes no time, whatever it is.
pub(super) fn is_pipe(fd: BorrowedFd<'_>) -> bool {
    rustix::pipe::fcntl_getpipe_size(fd).is_ok()
}

fn is_socket(fd: BorrowedFd<'_>) -> bool {
    rustix::net::sockopt::socket_type(fd).is_ok()
}
