//! How the keeper comes into being: a fork of orch that sheds everything orch has.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags};

use super::server::Server;
use super::socket;
use super::tag::Mark;

/// The keeper's name in process lists: not orch's, so that a `pkill orch` leaves the guardian to its work.
pub(super) const NAME: &std::ffi::CStr = c"keeper";

/// A keeper that was just forked, as orch sees it.
#[derive(Debug)]
pub(super) struct Born {
    pub(super) socket: OwnedFd,
    pub(super) pid: u32,
}

/// Forks a keeper. Also makes the calling process a subreaper: should the keeper be killed, what it kept
/// comes to orch.
pub(super) fn fork(mark: Mark, hold: &[BorrowedFd<'_>]) -> io::Result<Born> {
    let (ours, theirs) = socket::pair()?;
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))?;
    // Whatever is set up for signals in orch must not run in the keeper.
    let before = block_all_signals();
    // SAFETY: the C library's fork makes malloc usable in the child, also of a process with many threads;
    // the child takes no other lock that a thread could have held: no stdio, no environment, no logging.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        be_keeper(mark, &theirs, hold);
    }
    let error = io::Error::last_os_error();
    restore_signals(&before);
    if pid < 0 { Err(error) } else { Ok(Born { socket: ours, pid: pid.unsigned_abs() }) }
}

fn block_all_signals() -> libc::sigset_t {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are written before they are read, and live through the calls.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigemptyset(before.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        before.assume_init()
    }
}

fn restore_signals(before: &libc::sigset_t) {
    // SAFETY: the set is initialised and lives through the call.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, std::ptr::null_mut()) };
}

/// The rest of the child's life.
fn be_keeper(mark: Mark, socket: &OwnedFd, hold: &[BorrowedFd<'_>]) -> ! {
    // Unwinding into orch's frames would make a second orch; ending leaves the units to the first.
    let kept = std::panic::catch_unwind(|| keep(mark, socket, hold));
    let code = i32::from(!matches!(kept, Ok(Ok(()))));
    // SAFETY: ends the process without orch's own exit handlers, which are not the keeper's to run.
    unsafe { libc::_exit(code) }
}

fn keep(mark: Mark, socket: &OwnedFd, hold: &[BorrowedFd<'_>]) -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))?;
    default_dispositions();
    let socket = rustix::io::fcntl_dupfd_cloexec(socket, 3)?;
    let dup = |fd: &BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 3);
    let held = hold.iter().map(dup).collect::<Result<Vec<_>, _>>()?;
    // The errors of what follows only make the keeper more visible, not less able.
    let _ = null_stdio();
    close_all_but(&socket, &held);
    let _ = rustix::process::chdir("/");
    rename();
    raise_open_files();
    let mut server = Server::new(mark, socket, child_signals()?, held);
    let end = server.serve();
    server.finish(end);
    Ok(())
}

/// Every signal at its default: units inherit it. All stay blocked, so that only SIGKILL ends the keeper.
fn default_dispositions() {
    for signal in 1..=64 {
        // The C library's signal() refuses its own two; the kernel's call does not.
        let action = [0_usize; 8];
        let none = std::ptr::null::<u8>();
        // SAFETY: SIG_DFL is 0 and a kernel sigaction of zeros is "default, no flags, empty mask", in a
        // buffer longer than the kernel's structure; 8 is the size of its signal set.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), none, 8) };
    }
}

/// /dev/null for 0, 1 and 2, without close-on-exec: units without a stdin inherit descriptor 0.
fn null_stdio() -> io::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    for fd in 0..3 {
        // SAFETY: dup2 takes two numbers; nothing in the keeper owns 0, 1 or 2.
        if unsafe { libc::dup2(null.as_raw_fd(), fd) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Closes what is not the keeper's: the fork has a copy of everything that orch had open.
fn close_all_but(socket: &OwnedFd, held: &[OwnedFd]) {
    let mut keep: Vec<RawFd> = std::iter::once(socket).chain(held).map(AsRawFd::as_raw_fd).collect();
    keep.sort_unstable();
    let mut from = 3;
    for fd in keep.into_iter().chain([RawFd::MAX]) {
        if fd > from {
            // SAFETY: closes descriptors whose owners are orch's values, which this process never uses again.
            unsafe { libc::syscall(libc::SYS_close_range, from, fd - 1, 0) };
        }
        from = fd.saturating_add(1);
    }
}

fn child_signals() -> io::Result<OwnedFd> {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is written before it is read.
    let fd = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes another name: in `comm`, and over the arguments that orch was started with.
fn rename() {
    let _ = rustix::thread::set_name(NAME);
    let Some((start, end)) = argument_area() else { return };
    let name = NAME.to_bytes();
    for (at, address) in (start..end).enumerate() {
        let byte = name.get(at).copied().filter(|_| address + 1 < end).unwrap_or(0);
        // SAFETY: the kernel laid the arguments out here, writable, for the life of the process; this copy
        // of them is the keeper's alone, and it reads its arguments nowhere.
        unsafe { std::ptr::with_exposed_provenance_mut::<u8>(address).write(byte) };
    }
}

/// Where the kernel put the arguments, from fields 48 and 49 of the process's stat.
fn argument_area() -> Option<(usize, usize)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split_ascii_whitespace();
    let start: usize = fields.nth(48 - 3)?.parse().ok()?;
    let end: usize = fields.next()?.parse().ok()?;
    (start > 0 && start < end).then_some((start, end))
}

/// The keeper may have more open files than what orch was started with: without one more it can't see its children.
/// Units get the limit that orch was started with.
fn raise_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit writes one rlimit, setrlimit reads it.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// The soft limit on open files, now.
pub(super) fn soft_open_files() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 1024, rlim_max: 0 };
    // SAFETY: getrlimit writes one rlimit.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_cur
}
