//! Hears when another file may have taken the YAML file's place. A lock belongs to a file and not to its name,
//! so it has to move on to the new one; also with `--no-watch`, and when the new file has the same bytes.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::net::unix::pipe::Receiver;

/// What comes into the YAML file's folder, and into that of the file that it is a link to.
pub(crate) struct Replaced {
    /// `None`: the system gives no events. Then a reload looks, and nobody else.
    queue: Option<Receiver>,
}

impl Replaced {
    /// To be called within the event loop.
    pub(crate) fn of(yaml: &Path) -> Self {
        let queue = listen(yaml);
        let queue =
            queue.inspect_err(|error| tracing::warn!(%error, "the YAML file's lock may stay on an old file"));
        Self { queue: queue.ok() }
    }

    /// Waits until the file may be another one. Nothing is lost if it is dropped while it waits.
    pub(crate) async fn next(&mut self) {
        let Some(queue) = &mut self.queue else { return std::future::pending().await };
        // A file's name is looked at in less time than an event's.
        let mut events = [0; 4096];
        loop {
            if queue.readable().await.is_err() {
                return std::future::pending().await;
            }
            match queue.try_read(&mut events) {
                Ok(count) if count > 0 => return,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => return std::future::pending().await,
            }
        }
    }
}

fn listen(yaml: &Path) -> io::Result<Receiver> {
    let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let real = std::fs::canonicalize(yaml);
    let folders: BTreeSet<&Path> =
        [Some(yaml), real.as_deref().ok()].into_iter().flatten().filter_map(Path::parent).collect();
    for folder in folders {
        inotify::add_watch(&queue, folder, WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR)?;
    }
    // It is read as a pipe is.
    Receiver::from_owned_fd_unchecked(queue)
}
