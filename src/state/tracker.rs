//! Observes the folders of state files while components run, so that it is known afterwards whether a file
//! came whole. One inotify instance serves all folders. Events are queued inside the very system call that
//! causes them; so when the processes are gone, one drain tells all.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::arrival::{Arrival, Event};
use super::vfs::Meta;
use crate::types::Name;

/// Between two drains while events keep coming, so that a busy folder costs little. The kernel's queue holds
/// 16,384 events.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// Which folder it is, whatever its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FolderId(u64, u64);

impl FolderId {
    pub(crate) fn of(meta: &Meta) -> Self {
        Self(meta.device, meta.inode)
    }
}

/// The observer of all state files.
#[derive(Default)]
pub(crate) struct Tracker {
    running: Mutex<Option<Running>>,
}

/// What there is once the first file is observed.
struct Running {
    shared: Arc<Shared>,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    inotify: OwnedFd,
    tracks: Mutex<Tracks>,
}

#[derive(Default)]
struct Tracks {
    /// By watch and file name, so that an event finds its component whatever their number.
    names: BTreeMap<(i32, OsString), Name>,
    files: BTreeMap<Name, Track>,
}

struct Track {
    watch: i32,
    file: OsString,
    folder: FolderId,
    arrival: Arrival,
}

impl Tracker {
    /// Begins to observe a component's file, as if nothing had happened to it yet.
    pub(crate) fn track(&self, name: &Name, folder: (&Path, FolderId), file: &OsStr) -> io::Result<()> {
        let shared = self.shared()?;
        let watch = inotify::add_watch(&shared.inotify, folder.0, interest())?;
        let mut tracks = shared.drain();
        let old = tracks.forget(name);
        tracks.names.insert((watch, file.to_owned()), name.clone());
        let track = Track { watch, file: file.to_owned(), folder: folder.1, arrival: Arrival::Still };
        tracks.files.insert(name.clone(), track);
        shared.release(&tracks, old);
        Ok(())
    }

    /// What happened before this moment is forgotten: `arrival` holds from now on.
    pub(crate) fn reset(&self, name: &Name, arrival: Arrival) {
        if let Some(shared) = self.started()
            && let Some(track) = shared.drain().files.get_mut(name)
        {
            track.arrival = arrival;
        }
    }

    /// How the component's file came, by all events up to now. `folder` is the one that it is in now.
    pub(crate) fn arrival(&self, name: &Name, folder: FolderId, file: &OsStr) -> Arrival {
        let Some(shared) = self.started() else { return Arrival::Unknown };
        let tracks = shared.drain();
        match tracks.files.get(name) {
            Some(track) if track.folder == folder && track.file == file => track.arrival,
            _ => Arrival::Unknown,
        }
    }

    /// Observes a component's file no longer.
    pub(crate) fn forget(&self, name: &Name) {
        if let Some(shared) = self.started() {
            let mut tracks = shared.drain();
            let old = tracks.forget(name);
            shared.release(&tracks, old);
        }
    }

    fn started(&self) -> Option<Arc<Shared>> {
        lock(&self.running).as_ref().map(|running| Arc::clone(&running.shared))
    }

    fn shared(&self) -> io::Result<Arc<Shared>> {
        let mut running = lock(&self.running);
        if let Some(running) = &*running {
            return Ok(Arc::clone(&running.shared));
        }
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let shared = Arc::new(Shared { inotify, tracks: Mutex::default() });
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let thread = std::thread::Builder::new().name("state-events".into()).spawn({
            let (shared, stop) = (Arc::clone(&shared), Arc::clone(&stop));
            move || keep_draining(&shared, &stop)
        })?;
        *running = Some(Running { shared: Arc::clone(&shared), stop, thread: Some(thread) });
        Ok(shared)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let told = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if let (Ok(_), Some(thread)) = (told, self.thread.take()) {
            drop(thread.join());
        }
    }
}

/// Empties the queue as it fills, so that a long run in a busy folder doesn't overflow it.
fn keep_draining(shared: &Shared, stop: &OwnedFd) {
    loop {
        let mut ready = [PollFd::new(&shared.inotify, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut ready, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        drop(shared.drain());
        let mut stopped = [PollFd::new(stop, PollFlags::IN)];
        if poll(&mut stopped, Some(&PAUSE)).is_ok_and(|count| count > 0) {
            return;
        }
    }
}

fn interest() -> WatchFlags {
    // Without EXCL_UNLINK, what is written to a file that was replaced would count for its successor.
    WatchFlags::ONLYDIR
        | WatchFlags::EXCL_UNLINK
        | WatchFlags::CREATE
        | WatchFlags::MODIFY
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVE
        | WatchFlags::DELETE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
}

impl Shared {
    /// Takes in all that is queued, and gives what is known then.
    fn drain(&self) -> MutexGuard<'_, Tracks> {
        let mut tracks = lock(&self.tracks);
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                    tracks.take(event.wd(), event.events(), name);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return tracks,
                Err(_) => {
                    tracks.lose(None);
                    return tracks;
                }
            }
        }
    }

    /// Stops watching a folder that no file is in any more.
    fn release(&self, tracks: &Tracks, watch: Option<i32>) {
        if let Some(watch) = watch
            && tracks.files.values().all(|track| track.watch != watch)
        {
            // Fails only where the folder is gone, and the watch with it.
            inotify::remove_watch(&self.inotify, watch).ok();
        }
    }
}

impl Tracks {
    fn forget(&mut self, name: &Name) -> Option<i32> {
        let track = self.files.remove(name)?;
        self.names.remove(&(track.watch, track.file));
        Some(track.watch)
    }

    fn take(&mut self, watch: i32, what: ReadFlags, file: Option<&OsStr>) {
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            return self.lose(None);
        }
        let gone = ReadFlags::IGNORED | ReadFlags::UNMOUNT | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF;
        if what.intersects(gone) {
            return self.lose(Some(watch));
        }
        let (Some(file), Some(event)) = (file, event_of(what)) else { return };
        let Some(name) = self.names.get(&(watch, file.to_owned())) else { return };
        if let Some(track) = self.files.get_mut(name) {
            track.arrival = track.arrival.after(event);
        }
    }

    /// Events are missing: of one folder, or of all.
    fn lose(&mut self, watch: Option<i32>) {
        for track in self.files.values_mut().filter(|track| watch.is_none_or(|watch| watch == track.watch)) {
            track.arrival = track.arrival.after(Event::Lost);
        }
    }
}

fn event_of(what: ReadFlags) -> Option<Event> {
    let table = [
        (ReadFlags::MOVED_TO, Event::MovedTo),
        (ReadFlags::CREATE, Event::Created),
        (ReadFlags::MODIFY, Event::Modified),
        (ReadFlags::CLOSE_WRITE, Event::ClosedAfterWrite),
        (ReadFlags::MOVED_FROM, Event::Removed),
        (ReadFlags::DELETE, Event::Removed),
    ];
    table.into_iter().find(|(flag, _)| what.contains(*flag)).map(|(_, event)| event)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
