//! What the kernel says about processes: `/proc`, and signals that can't reach another process that was
//! given the same id.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags};
use rustix::process::PidfdFlags;

use super::socket;

/// One process, as `/proc/PID/stat` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) group: u32,
    pub(super) session: u32,
    /// When it was started, in clock ticks since boot: with the pid, its identity.
    pub(super) start: u64,
    /// Ended and not reaped, or about to vanish.
    pub(super) dead: bool,
}

impl Stat {
    /// The start of one that `/proc` does not show: no process's.
    pub(super) const UNKNOWN: u64 = u64::MAX;
}

/// The highest process id that Linux gives away (PID_MAX_LIMIT).
const HIGHEST_PID: u32 = 4 << 20;

/// What a process takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    /// Processor time of its own and of those of its children that have ended and been waited for, in milliseconds.
    pub(super) cpu_ms: u64,
    /// Resident memory, in bytes.
    pub(super) memory: u64,
}

/// Reads one process; `None` when it is gone.
pub(super) fn stat(pid: u32) -> Option<Stat> {
    let mut buffer = [0_u8; 1024];
    parse_stat(pid, read_stat(pid, &mut buffer)?)
}

/// The same, with what it takes.
pub(super) fn cost(pid: u32) -> Option<(Stat, Cost)> {
    let mut buffer = [0_u8; 1024];
    let text = read_stat(pid, &mut buffer)?;
    Some((parse_stat(pid, text)?, parse_cost(text)?))
}

fn read_stat(pid: u32, buffer: &mut [u8]) -> Option<&[u8]> {
    let path = format!("/proc/{pid}/stat");
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let length = rustix::io::read(&file, &mut *buffer).ok()?;
    Some(&buffer[..length])
}

fn parse_cost(text: &[u8]) -> Option<Cost> {
    let fields = text.get(text.iter().rposition(|byte| *byte == b')')? + 2..)?;
    let mut fields = std::str::from_utf8(fields).ok()?.split_ascii_whitespace();
    // The 14th to the 17th of all; a child's may shrink below nothing on some kernels.
    let ticks: [&str; 4] = [fields.nth(11)?, fields.next()?, fields.next()?, fields.next()?];
    let ticks = ticks.iter().map(|ticks| ticks.parse::<u64>().unwrap_or(0)).sum::<u64>();
    let pages: u64 = fields.nth(6)?.parse().unwrap_or(0);
    // SAFETY: sysconf takes a number.
    let of_system = |name, usual| u64::try_from(unsafe { libc::sysconf(name) }).unwrap_or(usual).max(1);
    let cpu_ms = ticks * 1000 / of_system(libc::_SC_CLK_TCK, 100);
    Some(Cost { cpu_ms, memory: pages * of_system(libc::_SC_PAGESIZE, 4096) })
}

fn parse_stat(pid: u32, text: &[u8]) -> Option<Stat> {
    // The command name may hold anything, parentheses and spaces too; the last `)` ends it.
    let fields = text.get(text.iter().rposition(|byte| *byte == b')')? + 2..)?;
    let mut fields = std::str::from_utf8(fields).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    let [parent, group, session] = [fields.next()?, fields.next()?, fields.next()?];
    let threads: u32 = fields.nth(13)?.parse().ok()?;
    let start = fields.nth(1)?.parse().ok()?;
    // A main thread that has ended shows as a zombie though other threads may live on.
    let dead = matches!(state, "Z" | "X" | "x") && threads <= 1;
    // Group and session show as 0 or -1 where they can't be told.
    let number = |text: &str| text.parse().unwrap_or(0);
    Some(Stat { pid, parent: number(parent), group: number(group), session: number(session), start, dead })
}

/// What a process has ended with, as `waitpid` tells it, while nobody has waited for it.
pub(super) fn exit_status(pid: u32) -> Option<i32> {
    let mut buffer = [0_u8; 1024];
    let text = read_stat(pid, &mut buffer)?;
    let fields = text.get(text.iter().rposition(|byte| *byte == b')')? + 2..)?;
    let mut fields = std::str::from_utf8(fields).ok()?.split_ascii_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X" | "x");
    // The 52nd of all, the state being the 3rd.
    fields.nth(48)?.parse().ok().filter(|_| ended)
}

/// The command name of a process; empty when it is gone.
pub(super) fn command(pid: u32) -> String {
    let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    String::from_utf8_lossy(&name).trim_end_matches('\n').to_owned()
}

/// Every process id that `/proc` shows. An error where it can't be read to its end, or is not this process's: an
/// empty folder mounted over it proves nothing.
pub(super) fn all() -> io::Result<Vec<u32>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        all.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    let is_ours = all.contains(&std::process::id());
    is_ours.then_some(all).ok_or_else(|| io::Error::other("/proc does not show the process that reads it"))
}

/// Whether `/proc` shows the processes that this one starts, by the numbers that it knows them by.
pub(super) fn check() -> io::Result<()> {
    let me = std::process::id();
    let ours = std::fs::read_link("/proc/self")?.to_str().and_then(|name| name.parse().ok()) == Some(me);
    if !ours {
        return Err(io::Error::other("it is that of other processes"));
    }
    if stat(me).is_none() {
        return Err(io::Error::other("/proc/self/stat can't be read"));
    }
    all().map(drop)
}

/// The calling thread's children, oldest first where `/proc` tells, zombies included. Complete for a caller with one
/// thread that alone reaps: a child leaves this list only by being reaped, and orphans join at its end.
pub(super) fn own_children(buffer: &mut Vec<u8>) -> Vec<u32> {
    buffer.clear();
    if read_children(buffer).is_err() {
        // A kernel without CONFIG_PROC_CHILDREN; or there is no /proc to be read at all, or no descriptor for it.
        let me = std::process::id();
        let shown = all().map(|all| all.into_iter().filter_map(stat).filter(|it| it.parent == me));
        return shown.map_or_else(|_| asked_children(), |own| own.map(|it| it.pid).collect());
    }
    let words = buffer.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    words.filter_map(|word| std::str::from_utf8(word).ok()?.trim_end().parse().ok()).collect()
}

/// The caller's children, found without `/proc`: by asking the kernel of every number that a process can have. That
/// takes some hundred milliseconds.
pub(super) fn asked_children() -> Vec<u32> {
    let highest = std::fs::read_to_string("/proc/sys/kernel/pid_max").ok();
    let highest = highest.and_then(|text| text.trim_end().parse().ok()).unwrap_or(HIGHEST_PID);
    (1..=highest).filter(|pid| ended(*pid).is_some()).collect()
}

/// Whether a child of the caller has ended, without reaping it; `None`: it is no child of the caller, or reaped.
fn ended(pid: u32) -> Option<bool> {
    // SAFETY: a siginfo is plain data, for which zeroes are a value; waitid writes one.
    unsafe {
        let mut found: libc::siginfo_t = std::mem::zeroed();
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
        (libc::waitid(libc::P_PID, pid, &raw mut found, options) == 0).then(|| found.si_pid() != 0)
    }
}

/// A child of the caller that is not reaped, also where `/proc` does not show it: its start is not known then
/// ([`Stat::UNKNOWN`]).
pub(super) fn child(pid: u32) -> Option<Stat> {
    stat(pid).or_else(|| {
        let dead = ended(pid)?;
        let id = libc::pid_t::try_from(pid).ok()?;
        // SAFETY: both take a number. Of one that has just been reaped they give -1, which is nobody's.
        let (group, session) = unsafe { (libc::getpgid(id), libc::getsid(id)) };
        let number = |id: libc::pid_t| u32::try_from(id).unwrap_or(0);
        let (group, session) = (number(group), number(session));
        Some(Stat { pid, parent: std::process::id(), group, session, start: Stat::UNKNOWN, dead })
    })
}

/// One read gives a page at the most; only the end of the file ends the list.
fn read_children(buffer: &mut Vec<u8>) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open("/proc/thread-self/children", flags, Mode::empty())?;
    let mut page = [0_u8; 8192];
    loop {
        match rustix::io::read(&file, &mut page)? {
            0 => return Ok(()),
            length => buffer.extend_from_slice(&page[..length]),
        }
    }
}

/// Device and inode of a process's descriptor 1 or 2, in that order, where they can be read.
pub(super) fn outputs(pid: u32) -> impl Iterator<Item = (u64, u64)> {
    [1, 2].into_iter().filter_map(move |fd| {
        let found = rustix::fs::stat(format!("/proc/{pid}/fd/{fd}")).ok()?;
        Some((found.st_dev, found.st_ino))
    })
}

/// The kernel's clock in which [`Stat::start`] is given, now.
pub(super) fn ticks_now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // SAFETY: sysconf takes a number.
    let hz = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds * hz + nanos * hz / 1_000_000_000
}

/// The newest process id that the kernel has given away.
pub(super) fn last_pid() -> Option<u32> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_ascii_whitespace().next_back()?.parse().ok()
}

/// Signals a process known by its id alone: for children that only the caller can reap.
pub(super) fn signal_child(pid: u32, signal: i32) -> io::Result<()> {
    send(libc::pid_t::try_from(pid).unwrap_or(0), signal)
}

/// Signals a process group: for a group whose leader is a child that only the caller can reap.
pub(super) fn signal_group(leader: u32, signal: i32) -> io::Result<()> {
    send(-libc::pid_t::try_from(leader).unwrap_or(0), signal)
}

fn send(target: libc::pid_t, signal: i32) -> io::Result<()> {
    // 0 and -1 mean "my own group" and "everybody"; 1 is the system's.
    if (-1..=1).contains(&target) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: kill takes two numbers.
    if unsafe { libc::kill(target, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Signals the process of this id if `is_meant` says so of it. The order makes it safe: had the process
/// that was opened been reaped (and its id given away) before it was judged, the signal finds nobody.
pub(super) fn signal_checked(pid: u32, signal: i32, is_meant: impl FnOnce() -> bool) -> io::Result<bool> {
    let id = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let process = rustix::process::pidfd_open(id.ok_or(io::ErrorKind::InvalidInput)?, PidfdFlags::empty())?;
    if pid <= 1 || !is_meant() {
        return Ok(false);
    }
    signal_opened(&process, signal)?;
    Ok(true)
}

/// Signals the process of a pidfd.
pub(super) fn signal_opened(process: &OwnedFd, signal: i32) -> io::Result<()> {
    let (info, flags) = (std::ptr::null::<libc::siginfo_t>(), 0);
    // SAFETY: the descriptor is open, and without a siginfo the kernel fills in kill's own.
    let failed =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, info, flags) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Waits, at the most so many milliseconds, until a process has ended (not: until it is reaped).
pub(super) fn wait_for_end(process: &impl AsFd, milliseconds: i64) -> bool {
    let deadline = Instant::now() + Duration::from_millis(milliseconds.unsigned_abs());
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).as_millis();
        match socket::poll([(process.as_fd(), PollFlags::IN)], i64::try_from(left).ok()) {
            Ok([state]) if !state.is_empty() => return true,
            Ok(_) if left > 0 => {}
            _ => return false,
        }
    }
}

/// Reaps one child if it has ended; another's child, or one already reaped, is left alone.
pub(super) fn reap(pid: u32) {
    if let Ok(pid) = libc::pid_t::try_from(pid)
        && pid > 0
    {
        // SAFETY: waitpid without a status.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) };
    }
}

/// Whether a process is a child of the caller.
pub(super) fn is_own_child(pid: u32) -> bool {
    ended(pid).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_full_of_parentheses_hides_nothing() {
        let text = b"42 (a) Z 1 (b)) S 7 42 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 1234 99 100\n";
        let expected = Stat { pid: 42, parent: 7, group: 42, session: 9, start: 1234, dead: false };
        assert_eq!(parse_stat(42, text), Some(expected));
        assert_eq!(parse_stat(42, b"42 (sh"), None);
        assert_eq!(parse_stat(42, b""), None);
    }

    #[test]
    fn what_a_process_takes_stands_behind_its_name() {
        let text = b"42 (a) Z 1 (b)) S 7 42 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 1234 99 100 18446744073709551615\n";
        // SAFETY: sysconf takes a number.
        let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap();
        assert_eq!(parse_cost(text), Some(Cost { cpu_ms: 260, memory: 100 * page }));
        assert_eq!(parse_cost(b"42 (sh) S 1"), None);
        let (stat, cost) = cost(std::process::id()).unwrap();
        assert_eq!((stat.pid, stat.dead), (std::process::id(), false));
        assert!(cost.memory > 1 << 20 && cost.memory < 1 << 40);
    }

    #[test]
    fn a_zombie_main_thread_with_living_threads_is_not_dead() {
        let text = |threads: u32| {
            format!("42 (a) Z 7 42 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 {threads} 0 1234 99\n").into_bytes()
        };
        assert_eq!(parse_stat(42, &text(2)).map(|stat| stat.dead), Some(false));
        assert_eq!(parse_stat(42, &text(1)).map(|stat| stat.dead), Some(true));
    }

    #[test]
    fn children_are_found_without_a_proc() {
        assert!(check().is_ok());
        assert!(!is_own_child(std::process::id()) && !is_own_child(1) && ended(0).is_none());
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id();
        assert_eq!((ended(pid), asked_children().contains(&pid)), (Some(false), true));
        assert_eq!(super::child(pid), stat(pid));
        child.kill().unwrap();
        while ended(pid) == Some(false) {
            std::thread::yield_now();
        }
        assert_eq!((ended(pid), asked_children().contains(&pid)), (Some(true), true));
        child.wait().unwrap();
        assert_eq!((ended(pid), super::child(pid)), (None, None));
    }

    #[test]
    fn this_process_is_found_and_started_before_now() {
        let me = stat(std::process::id()).unwrap();
        assert!(!me.dead);
        assert!(me.start <= ticks_now());
        assert!(ticks_now() - me.start < 100 * 3600, "ticks and start are of one clock");
        assert!(all().unwrap().contains(&me.pid));
        assert!(last_pid().is_some());
    }

    #[test]
    fn nobody_and_everybody_are_never_signalled() {
        for target in [0, 1, u32::MAX] {
            assert!(signal_child(target, 0).is_err());
            assert!(signal_group(target, 0).is_err());
        }
        assert!(matches!(signal_checked(1, 0, || true), Ok(false)));
    }
}
