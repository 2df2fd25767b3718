//! The control socket: `<state directory>/control.sock`, HTTP/1.1 with JSON under `/v1/` (contract, section 6),
//! as `api` describes it.
//!
//! It is served on a thread of its own, with a runtime of its own: HTTP, JSON, files and whoever misbehaves keep
//! nobody waiting but those who ask. With the loop it speaks by the inbox alone. The listener goes from image to
//! image, so that whoever connects during an exec is only answered later; the thread dies with its image.

mod answer;
mod calls;
mod connection;
mod events;
mod head;
mod limits;
mod logs;
mod plan;
mod query;
mod server;
mod status;
mod stream;
mod table;
mod usage;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

pub(crate) use server::{Ending, Server};
pub(crate) use usage::Units;

use super::bell::Bell;
use super::clients::Control;
use super::driver::Driver;
use super::logbook::LogBook;
use super::reload::Reading;
use crate::client::{Address, SOCKET};

/// What all requests are answered from.
#[derive(Debug)]
struct Shared {
    control: Control,
    reading: Reading,
    /// How many images this one has replaced.
    images: u64,
    state_dir: PathBuf,
    /// Rung when `events.ndjson` has more lines.
    events: Bell,
    logs: LogBook,
    lookout: status::Lookout,
    phases: Phases,
    followers: Arc<Semaphore>,
    /// Who may read files for a stream.
    turns: stream::Turns,
    /// For each log that is read.
    open_logs: Arc<Semaphore>,
    most_logs: usize,
    commands: Arc<Semaphore>,
    planning: Semaphore,
    usage: usage::Last,
}

impl Shared {
    fn of(driver: &Driver, phases: Phases) -> Self {
        let project = driver.parts.core.project();
        let most_logs = limits::most_logs();
        Self {
            control: Control::new(&driver.parts.inbox),
            reading: driver.parts.reloader.how().clone(),
            images: driver.images,
            state_dir: project.state_dir.clone(),
            events: driver.clients.bell().clone(),
            logs: driver.clients.logs.clone(),
            lookout: status::Lookout::default(),
            phases,
            followers: Arc::new(Semaphore::new(limits::MOST_FOLLOWERS)),
            turns: stream::Turns::default(),
            open_logs: Arc::new(Semaphore::new(most_logs)),
            most_logs,
            commands: Arc::new(Semaphore::new(limits::MOST_COMMANDS)),
            planning: Semaphore::new(1),
            usage: usage::Last::default(),
        }
    }
}

/// What the server is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Answer.
    Serve,
    /// Let nobody in: whoever comes is for the next image.
    Pause,
    /// Answer those who are there, and end.
    End,
}

/// What it is to do, as it changes.
#[derive(Debug, Clone)]
struct Phases(watch::Receiver<Phase>);

impl Phases {
    fn now(&self) -> Phase {
        *self.0.borrow()
    }

    /// Whether orch ends.
    fn is_ending(&self) -> bool {
        self.now() == Phase::End || self.0.has_changed().is_err()
    }

    /// Waits until it does something else.
    async fn changed(&mut self) {
        let _ = self.0.changed().await;
    }

    /// Waits until orch ends.
    async fn ending(&mut self) {
        let _ = self.0.wait_for(|phase| *phase == Phase::End).await;
    }
}

/// Makes the socket in a state directory that is ours alone: what lies there is a dead orch's.
///
/// # Errors
/// The system's.
pub(crate) fn listen(state_dir: &Path) -> io::Result<OwnedFd> {
    let address = Address::of(state_dir)?;
    let path = address.path();
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(&path)?;
    // The folder keeps others out until this is done.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener.into())
}

/// Takes the socket away, at the orderly end.
pub(crate) fn remove(state_dir: &Path) {
    let _ = std::fs::remove_file(state_dir.join(SOCKET));
}
