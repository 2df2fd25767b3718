//! The thread that serves.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::thread::{Builder, JoinHandle};

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::limits::{FIRST_PAUSE, GRACE, LONGEST_PAUSE, MOST_READERS};
use super::table::Table;
use super::{Phase, Phases, Shared, connection};
use crate::runtime::driver::Driver;

/// The thread, from outside.
#[derive(Debug)]
pub(crate) struct Server {
    phase: watch::Sender<Phase>,
    thread: JoinHandle<()>,
    /// Ends when the thread has.
    ended: mpsc::Receiver<()>,
}

impl Server {
    /// Serves on this listener, which remains the caller's.
    ///
    /// # Errors
    /// The system has no descriptor or thread left.
    pub(crate) fn start(listener: &OwnedFd, driver: &Driver) -> io::Result<Self> {
        let listener = std::os::unix::net::UnixListener::from(listener.try_clone()?);
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("orch-control")
            .max_blocking_threads(MOST_READERS)
            .build()?;
        let (phase, phases) = watch::channel(Phase::Serve);
        let shared = Arc::new(Shared::of(driver, Phases(phases)));
        let (alive, ended) = mpsc::channel();
        let thread = Builder::new().name("orch-control".to_owned()).spawn(move || {
            let served = runtime.block_on(serve(listener, &shared));
            if let Err(error) = served {
                tracing::warn!(%error, "the control socket is not served");
            }
            // A worker that hangs on a dead disk keeps nobody.
            runtime.shutdown_background();
            drop(alive);
        })?;
        Ok(Self { phase, thread, ended })
    }

    /// Lets nobody in until it is resumed: whoever comes is answered by the next image.
    pub(crate) fn pause(&self) {
        self.phase.send_replace(Phase::Pause);
    }

    /// There is no next image.
    pub(crate) fn resume(&self) {
        self.phase.send_replace(Phase::Serve);
    }

    /// orch ends: those who have asked get their answers, and nobody else does.
    pub(crate) fn end(self) -> Ending {
        self.phase.send_replace(Phase::End);
        Ending(self)
    }
}

/// A server that ends.
#[derive(Debug)]
#[must_use]
pub(crate) struct Ending(Server);

impl Ending {
    /// Waits for that, for a while.
    pub(crate) fn wait(self) {
        if self.0.ended.recv_timeout(GRACE * 2) == Err(mpsc::RecvTimeoutError::Disconnected) {
            let _ = self.0.thread.join();
        }
    }
}

async fn serve(listener: std::os::unix::net::UnixListener, shared: &Arc<Shared>) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let table = Arc::new(Table::default());
    let (mut tasks, mut phases, mut pause) = (JoinSet::new(), shared.phases.clone(), FIRST_PAUSE);
    while !phases.is_ending() {
        let serving = phases.now() == Phase::Serve;
        tokio::select! {
            () = phases.changed() => {}
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            accepted = listener.accept(), if serving => match accepted {
                Ok((stream, _)) => {
                    pause = FIRST_PAUSE;
                    let_in(stream, &table, shared, &mut tasks);
                }
                Err(error) => {
                    // Descriptors are used up, most likely; one that is wasted is given back.
                    if pause == FIRST_PAUSE {
                        tracing::warn!(%error, "nobody can connect to the control socket for now");
                    }
                    table.make_room();
                    sleep(pause).await;
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
            },
        }
    }
    drop(listener);
    table.cut_silent();
    let _ = timeout(GRACE, async { while tasks.join_next().await.is_some() {} }).await;
    Ok(())
}

/// Begins to answer whoever comes; another user, and whoever finds no room, is told why not.
fn let_in(stream: UnixStream, table: &Arc<Table>, shared: &Arc<Shared>, tasks: &mut JoinSet<()>) {
    match table.enter() {
        Some(seat) => drop(tasks.spawn(connection::attend(stream, seat, Arc::clone(shared)))),
        None => connection::turn_away(&stream),
    }
}
