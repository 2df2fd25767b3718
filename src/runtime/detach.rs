//! `orch up --detach`: the process splits in two. One half becomes the background, and runs the project; the other
//! one is told over a pipe how that began, and answers the user.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, WaitOptions, WaitStatus};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::up::UpError;
use crate::types::Name;

/// Where the background's own messages go, in the state directory.
pub const LOG: &str = "orch.log";

/// A log that is longer is set aside: at the start, and while it is written. Bytes.
const LONGEST: u64 = 1 << 20;

/// The two halves of what was one process.
#[derive(Debug)]
pub enum Half {
    /// The one that the user waits for.
    Front(Daemon),
    /// The one that runs the project.
    Back(Background),
}

/// The background, as the front half sees it: a child.
#[derive(Debug)]
pub struct Daemon {
    pid: Pid,
    told: OwnedFd,
}

/// The front half, as the background sees it.
#[derive(Debug)]
pub struct Background {
    front: OwnedFd,
    /// Its own messages have a file to go to.
    settled: bool,
}

/// How the background ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With this exit code.
    Code(i32),
    /// By this signal's number.
    Signal(i32),
}

/// Splits the process. Only for one with a single thread, which is what the background goes on with.
///
/// # Errors
/// The system has no process or descriptor left.
pub fn detach() -> io::Result<Half> {
    let (told, front) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: the process has one thread, so that the child is a whole copy of it, with no lock held by another.
    let pid = unsafe { libc::fork() };
    match Pid::from_raw(pid) {
        _ if pid < 0 => Err(io::Error::last_os_error()),
        Some(pid) => Ok(Half::Front(Daemon { pid, told })),
        None => {
            drop(told);
            Ok(Half::Back(Background::new(front)?))
        }
    }
}

impl Daemon {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits until everything is assembled and the control socket listens; gives the file's warnings, rendered.
    ///
    /// # Errors
    /// It can't begin, and nothing is left of it.
    pub fn begun(&self) -> Result<String, UpError> {
        let lost = |error: &dyn std::fmt::Display| {
            UpError::Failed(format!("can't tell how the orch in the background began: {error}"))
        };
        let mut told = Vec::new();
        let mut pipe = std::fs::File::from(self.told.try_clone().map_err(|error| lost(&error))?);
        pipe.read_to_end(&mut told).map_err(|error| lost(&error))?;
        let heard = heard(&told);
        match heard {
            Some(Ok(warnings)) => Ok(warnings),
            Some(Err(error)) => {
                let _ = self.ended();
                Err(error)
            }
            // It closes the pipe by telling, or by its end.
            None => Err(lost(&match self.ended() {
                Some(End::Signal(signal)) => format!("it was ended by signal {signal}"),
                Some(End::Code(code)) => format!("it ended with {code}"),
                None => "it is gone".to_owned(),
            })),
        }
    }

    /// Waits for its end; `None`: somebody else has heard of it.
    #[must_use]
    pub fn ended(&self) -> Option<End> {
        loop {
            match rustix::process::waitpid(Some(self.pid), WaitOptions::empty()) {
                Ok(status) => return status.and_then(|(_, status)| end(status)),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }

    /// Whether it ends within so long.
    #[must_use]
    pub fn ends_within(&self, limit: Duration) -> bool {
        let Ok(process) = rustix::process::pidfd_open(self.pid, PidfdFlags::empty()) else { return true };
        let limit = Timespec::try_from(limit).ok();
        let mut watched = [PollFd::new(&process, PollFlags::IN)];
        poll(&mut watched, limit.as_ref()).is_ok_and(|ready| ready > 0)
    }
}

fn end(status: WaitStatus) -> Option<End> {
    status.exit_status().map(End::Code).or_else(|| status.terminating_signal().map(End::Signal))
}

impl Background {
    /// Leaves the caller's session and all that it had open. Its stderr stays, for warnings, until there is a log.
    fn new(front: OwnedFd) -> io::Result<Self> {
        // A child that was just forked leads no group, which is all that could be in the way.
        rustix::process::setsid()?;
        // A hang-up can't come from a terminal any more: it asks for a reload, also under nohup.
        // SAFETY: SIGHUP's default is a disposition that needs no handler.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) };
        close_all_but(&front);
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        dup2_stdin(&null)?;
        dup2_stdout(&null)?;
        Ok(Self { front, settled: false })
    }

    /// The state directory is ours: from now on, what orch says goes to a file in it.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn settle(&mut self, dir: &Path) -> io::Result<()> {
        let path = dir.join(LOG);
        let is_long = std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.len() > LONGEST);
        if is_long {
            std::fs::rename(&path, dir.join(format!("{LOG}.1")))?;
        }
        let mut options = std::fs::OpenOptions::new();
        // No pipe is waited for, and no link followed.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
        options.append(true).create(true).mode(0o600).custom_flags(flags);
        let mut log = options.open(&path)?;
        if !log.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{LOG} is not a regular file")));
        }
        dup2_stderr(&log)?;
        self.settled = true;
        let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
        writeln!(log, "orch: {} version {version}, pid {pid}", jiff::Timestamp::now())
    }

    /// Says that all is assembled, and what the file's warnings are.
    ///
    /// # Errors
    /// Nobody waits for it any more: then nobody has heard that it runs.
    pub(super) fn begun(self, warnings: &str) -> io::Result<()> {
        self.tell(b'+', warnings)
    }

    /// Says why it can't begin.
    pub(super) fn failed(self, error: &UpError) {
        let (kind, text) = match error {
            UpError::Invalid(text) => (b'i', text.as_str()),
            UpError::Taken(text) => (b't', text.as_str()),
            UpError::Unknown(name) => (b'u', name.as_str()),
            UpError::Failed(text) => (b'f', text.as_str()),
        };
        // Who hears it says it; the file keeps it as well, but a terminal must not show it twice.
        if !self.settled
            && let Ok(null) = rustix::fs::open("/dev/null", OFlags::WRONLY, Mode::empty())
        {
            let _ = dup2_stderr(&null);
        }
        let _ = self.tell(kind, text);
    }

    fn tell(self, kind: u8, text: &str) -> io::Result<()> {
        let mut pipe = std::fs::File::from(self.front);
        pipe.write_all(&[&[kind], text.as_bytes()].concat())
    }
}

/// Sets the log's bytes aside if stderr goes to it, whichever image had it do so, and it has become long. It stays the
/// same file, for the keeper and others have it open, too. What is said in the moment between may be lost.
///
/// # Panics
/// Outside a tokio runtime.
pub(super) fn bound_log(dir: &Path) {
    static AT_IT: AtomicBool = AtomicBool::new(false);
    let Ok(own) = rustix::fs::fstat(rustix::stdio::stderr()) else { return };
    if u64::try_from(own.st_size).unwrap_or(0) <= LONGEST {
        return;
    }
    let log = dir.join(LOG);
    let named = rustix::fs::lstat(&log);
    let is_log = named.is_ok_and(|named| (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino));
    if is_log && !AT_IT.swap(true, Ordering::Relaxed) {
        let aside = dir.join(format!("{LOG}.1"));
        tokio::task::spawn_blocking(move || {
            // Where that is not possible it goes on growing, which is the lesser evil.
            if std::fs::copy(&log, aside).is_ok() {
                let _ = rustix::fs::ftruncate(rustix::stdio::stderr(), 0);
            }
            AT_IT.store(false, Ordering::Relaxed);
        });
    }
}

/// What the background has told; `None`: nothing that means anything.
fn heard(told: &[u8]) -> Option<Result<String, UpError>> {
    let (kind, text) = told.split_first()?;
    let text = String::from_utf8_lossy(text).into_owned();
    Some(match kind {
        b'+' => Ok(text),
        b'i' => Err(UpError::Invalid(text)),
        b't' => Err(UpError::Taken(text)),
        b'u' => Err(UpError::Unknown(Name::new(&text).ok()?)),
        b'f' => Err(UpError::Failed(text)),
        _ => return None,
    })
}

/// Whoever started orch may wait for the end of a pipe that it was given by accident.
fn close_all_but(kept: &OwnedFd) {
    let kept = libc::c_uint::try_from(kept.as_raw_fd()).unwrap_or(3);
    for (from, to) in [(3, kept.saturating_sub(1)), (kept + 1, libc::c_uint::MAX)] {
        if from <= to {
            // SAFETY: right after the fork nothing in this process owns a descriptor but `kept` and the standard
            // ones.
            unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) };
        }
    }
}

/// What is said when the user interrupts.
static FAREWELL: OnceLock<String> = OnceLock::new();

/// From now on, this process says so on stderr when the user interrupts it, and ends as it would have.
pub fn say_when_interrupted(text: String) {
    if FAREWELL.set(text).is_err() {
        return;
    }
    let handler: extern "C" fn(libc::c_int) = farewell;
    // SAFETY: the handler makes only calls that one may make; the action is whole, and lives through the call.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_NODEFER;
        libc::sigaction(libc::SIGINT, &raw const action, std::ptr::null_mut());
    }
}

extern "C" fn farewell(signal: libc::c_int) {
    let text = FAREWELL.get().map(String::as_bytes).unwrap_or_default();
    // SAFETY: these calls are allowed in a handler; the text is never changed once it is set.
    unsafe {
        libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len());
        // Also where others have put handlers before this one: the process ends by the signal, as a shell should see.
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard() {
        let of = |error: UpError| {
            let (told, front) = pipe_with(PipeFlags::CLOEXEC).unwrap();
            Background { front, settled: true }.failed(&error);
            let mut bytes = Vec::new();
            std::fs::File::from(told).read_to_end(&mut bytes).unwrap();
            heard(&bytes)
        };
        assert!(
            matches!(of(UpError::Invalid("a\nb".into())), Some(Err(UpError::Invalid(text))) if text == "a\nb")
        );
        assert!(
            matches!(of(UpError::Taken(String::new())), Some(Err(UpError::Taken(text))) if text.is_empty())
        );
        assert!(matches!(of(UpError::Failed("no".into())), Some(Err(UpError::Failed(_)))));
        let name = Name::new("api").unwrap();
        assert!(
            matches!(of(UpError::Unknown(name.clone())), Some(Err(UpError::Unknown(heard))) if heard == name)
        );
        assert!(matches!(heard(b"+w"), Some(Ok(text)) if text == "w"));
        assert!(heard(b"").is_none() && heard(b"?").is_none());
    }

    #[test]
    fn a_log_that_is_a_pipe_or_a_link_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (_told, front) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut back = Background { front, settled: false };
        let log = dir.path().join(LOG);
        rustix::fs::mknodat(rustix::fs::CWD, &log, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(back.settle(dir.path()).is_err());
        std::fs::remove_file(&log).unwrap();
        std::os::unix::fs::symlink("elsewhere", &log).unwrap();
        assert!(back.settle(dir.path()).is_err() && !back.settled);
    }

    #[test]
    fn nobody_to_tell_is_noticed() {
        let (told, front) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        drop(told);
        assert!(Background { front, settled: true }.begun("").is_err());
    }
}
