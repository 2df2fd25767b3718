//! The signals that orch itself answers: Ctrl-C, SIGTERM, a hang-up.

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What a signal asks of orch.
pub(crate) enum Signalled {
    Shutdown,
    Reload,
}

/// The signals that orch answers; none by default. One that orch was started with as ignored (nohup) stays so.
#[derive(Default)]
pub(crate) struct Signals {
    interrupt: Option<Stream>,
    terminate: Option<Stream>,
    hangup: Option<Stream>,
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
        }
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

/// Keeps the signals that orch answers waiting, across an exec, too: in the calling thread.
pub(crate) fn block() {
    mask(libc::SIG_BLOCK);
}

/// Lets them in, also where who started orch had blocked them.
pub(crate) fn unblock() {
    mask(libc::SIG_UNBLOCK);
}

fn mask(how: libc::c_int) {
    let mut answered = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is written before it is read, and lives through the calls.
    unsafe {
        libc::sigemptyset(answered.as_mut_ptr());
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
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
