//! Ctrl-C and its like, for a command that has to tidy a terminal up before it ends.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the user or the system wants of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interrupt {
    /// Its end: SIGINT, SIGTERM, SIGHUP, SIGQUIT.
    End,
    /// The terminal has another size.
    Resize,
    /// It is to stand still (SIGTSTP, Ctrl-Z), which it does by [`crate::runtime::stand_still`].
    Pause,
}

/// Has `heard` called with each, on a thread of its own, until it returns false. From now on these signals do
/// not end the process by themselves.
///
/// # Errors
/// The system gives no thread, or no signals.
pub(super) fn listen(mut heard: impl FnMut(Interrupt) -> bool + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Made here, so that none is missed between now and the thread's beginning.
    let mut signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    std::thread::Builder::new().name("interrupts".into()).spawn(move || {
        runtime.block_on(async move { while heard(signals.next().await) {} });
    })?;
    Ok(())
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    quit: Signal,
    resize: Signal,
    pause: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            resize: signal(SignalKind::window_change())?,
            pause: signal(SignalKind::from_raw(libc::SIGTSTP))?,
        })
    }

    async fn next(&mut self) -> Interrupt {
        tokio::select! {
            _ = self.interrupt.recv() => Interrupt::End,
            _ = self.terminate.recv() => Interrupt::End,
            _ = self.hangup.recv() => Interrupt::End,
            _ = self.quit.recv() => Interrupt::End,
            _ = self.resize.recv() => Interrupt::Resize,
            _ = self.pause.recv() => Interrupt::Pause,
        }
    }
}
