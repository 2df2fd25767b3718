//! The signals that orch itself answers: Ctrl-C, SIGTERM, a hang-up.

use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What a signal asks of orch.
pub(crate) enum Signalled {
    Shutdown,
    Reload,
    /// The terminal has another size.
    Resized,
}

/// The signals that orch answers; none by default. One that orch was started with as ignored (nohup) stays so.
#[derive(Default)]
pub(crate) struct Signals {
    interrupt: Option<Stream>,
    terminate: Option<Stream>,
    hangup: Option<Stream>,
    window: Option<Stream>,
    /// What a hang-up means: that the terminal is gone, if orch was started from one. To be asked at the
    /// start: one that has just hung up can't be told from none.
    has_terminal: bool,
}

impl Signals {
    pub(crate) fn listen() -> Self {
        Self::with(has_terminal())
    }

    /// In a new image of an orch that was started so. What came meanwhile was blocked, and is heard now.
    pub(crate) fn listen_again(had_terminal: bool) -> Self {
        Self::with(had_terminal)
    }

    fn with(has_terminal: bool) -> Self {
        let stream =
            |kind| signal(kind).inspect_err(|error| tracing::warn!(%error, "a signal is not heard")).ok();
        let signals = Self {
            interrupt: stream(SignalKind::interrupt()),
            terminate: stream(SignalKind::terminate()),
            hangup: if hangup_ignored() { None } else { stream(SignalKind::hangup()) },
            window: stream(SignalKind::window_change()),
            has_terminal,
        };
        // Only now: what was blocked until here would have ended orch.
        unblock();
        signals
    }

    /// For [`Signals::listen_again`].
    pub(crate) fn has_terminal(&self) -> bool {
        self.has_terminal
    }

    pub(crate) async fn next(&mut self) -> Signalled {
        tokio::select! {
            () = heard(&mut self.interrupt) => Signalled::Shutdown,
            () = heard(&mut self.terminate) => Signalled::Shutdown,
            () = heard(&mut self.hangup) => {
                if self.has_terminal { Signalled::Shutdown } else { Signalled::Reload }
            }
            () = heard(&mut self.window) => Signalled::Resized,
        }
    }

    /// What a signal of this number asks.
    pub(crate) fn meaning(&self, number: i32) -> Signalled {
        if number == libc::SIGHUP && !self.has_terminal { Signalled::Reload } else { Signalled::Shutdown }
    }

    /// What was heard and not asked for yet.
    pub(crate) async fn pending(&mut self) -> Option<Signalled> {
        tokio::select! {
            biased;
            signalled = self.next() => Some(signalled),
            () = std::future::ready(()) => None,
        }
    }
}

/// The signals that orch answers.
const ANSWERED: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Where [`divert`]ed signals are noted; nowhere at other times.
static NOTES: AtomicI32 = AtomicI32::new(-1);

/// Signals on their way into the next image: they wait, blocked, in this thread, and are noted in a pipe where
/// another thread gets them, for what that one would do about them ends with the exec.
pub(crate) struct Diverted {
    notes: OwnedFd,
    /// Kept open for the notes.
    _write: OwnedFd,
    before: [libc::sigaction; ANSWERED.len()],
}

/// Diverts the signals that orch answers, in the calling thread until the exec.
///
/// # Errors
/// When there is no descriptor left.
pub(crate) fn divert() -> io::Result<Diverted> {
    use rustix::pipe::{PipeFlags, pipe_with};
    let (notes, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    NOTES.store(write.as_raw_fd(), Ordering::SeqCst);
    mask(libc::SIG_BLOCK);
    let before = ANSWERED.map(|signal| {
        // SAFETY: a sigaction of zeros is the default one.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        let note: extern "C" fn(libc::c_int) = note;
        action.sa_sigaction = note as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        replace(signal, &action)
    });
    Ok(Diverted { notes, _write: write, before })
}

/// Sets an action, unless the signal is ignored, and gives the one before.
fn replace(signal: libc::c_int, action: &libc::sigaction) -> libc::sigaction {
    // SAFETY: both actions live through the calls.
    unsafe {
        let mut before: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut before);
        if before.sa_sigaction != libc::SIG_IGN {
            libc::sigaction(signal, action, std::ptr::null_mut());
        }
        before
    }
}

/// The handler: one byte into the pipe, by a call that a handler may make.
extern "C" fn note(signal: libc::c_int) {
    let byte = signal as u8;
    // SAFETY: one byte is read from `byte`; a descriptor that is none is refused by the system.
    unsafe { libc::write(NOTES.load(Ordering::SeqCst), (&raw const byte).cast(), 1) };
}

impl Diverted {
    /// What the next image reads with [`noted`].
    pub(crate) fn notes(&self) -> io::Result<OwnedFd> {
        self.notes.try_clone()
    }

    /// There is no next image: signals go where they went before. Gives the notes.
    pub(crate) fn undo(self) -> OwnedFd {
        for (signal, before) in ANSWERED.iter().zip(&self.before) {
            replace(*signal, before);
        }
        NOTES.store(-1, Ordering::SeqCst);
        unblock();
        self.notes
    }
}

/// The signals that were noted.
pub(crate) fn noted(notes: OwnedFd) -> Vec<i32> {
    let mut bytes = Vec::new();
    // Not blocking: it ends where there is nothing more.
    let _ = std::fs::File::from(notes).take(4096).read_to_end(&mut bytes);
    bytes.into_iter().map(i32::from).collect()
}

/// Stops this process as SIGTSTP does where nobody hears it, and returns when it goes on; at once where the system
/// lets nobody stop, for lack of a shell that would have it go on.
pub fn stand_still() {
    // SAFETY: the actions live through the calls, a sigaction of zeros is the default one, and the one that was
    // there is put back.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        let mut heard: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(libc::SIGTSTP, &raw const default, &raw mut heard) == 0 {
            libc::raise(libc::SIGTSTP);
            libc::sigaction(libc::SIGTSTP, &raw const heard, std::ptr::null_mut());
        }
    }
}

/// Lets the signals in that orch answers, also where who started orch had blocked them.
fn unblock() {
    mask(libc::SIG_UNBLOCK);
}

fn mask(how: libc::c_int) {
    let mut answered = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is written before it is read, and lives through the calls.
    unsafe {
        libc::sigemptyset(answered.as_mut_ptr());
        for signal in ANSWERED {
            libc::sigaddset(answered.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(how, answered.as_ptr(), std::ptr::null_mut());
    }
}

async fn heard(stream: &mut Option<Stream>) {
    let told = match stream {
        Some(stream) => stream.recv().await,
        None => None,
    };
    if told.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Whether SIGHUP was ignored when orch was started.
fn hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

/// Whether orch has a controlling terminal.
fn has_terminal() -> bool {
    use rustix::fs::{Mode, OFlags, open};
    open("/dev/tty", OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).is_ok()
}
