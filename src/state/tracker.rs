//! Observes the folders of state files while components run, so that it is known afterwards whether a file
//! came whole. One inotify instance serves all folders. Events are queued inside the very system call that
//! causes them; so when the processes are gone, one drain tells all.
//!
//! While a component runs, its owner is told when its file was replaced whole. That is told one drain later,
//! and only if nothing was written since: some programs rename first and flush afterwards.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::ReplacedSink;
use super::arrival::Arrival;
use super::tracks::{FolderId, Notice, Seen, Track, TrackRecord, Tracks};
use crate::types::Name;

/// Between two drains while events keep coming, so that a busy folder costs little. The kernel's queue holds
/// 16,384 events.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
const NONE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// The observer of all state files.
pub(crate) struct Tracker {
    sink: ReplacedSink,
    running: Mutex<Option<Running>>,
}

/// What there is once the first file is observed.
struct Running {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    inotify: OwnedFd,
    /// Wakes the thread, because somebody else took events in that it has to tell of.
    wake: OwnedFd,
    /// Ends the thread, also in its pause.
    stop: OwnedFd,
    tracks: Mutex<Tracks>,
    sink: ReplacedSink,
}

impl Tracker {
    pub(crate) fn new(sink: ReplacedSink) -> Self {
        Self { sink, running: Mutex::default() }
    }

    /// Begins to observe a component's file, as if nothing had happened to it yet.
    pub(crate) fn track(
        &self,
        name: &Name,
        folder: (&Path, FolderId),
        file: &OsStr,
        incarnation: u64,
    ) -> io::Result<()> {
        let shared = self.shared()?;
        let watch = inotify::add_watch(&shared.inotify, folder.0, interest())?;
        let mut tracks = shared.drain_beside();
        let old = tracks.forget(name);
        tracks.insert(name, Track::new(watch, file, folder.1, Some(incarnation)));
        shared.release(&tracks, old);
        Ok(())
    }

    /// What happened before this moment is forgotten: `arrival` holds from now on.
    pub(crate) fn reset(&self, name: &Name, arrival: Arrival) {
        if let Some(shared) = self.started()
            && let Some(track) = shared.drain_beside().files.get_mut(name)
        {
            track.arrival = arrival;
            track.notice = Notice::None;
        }
    }

    /// How the component's file came, by all events up to now. `folder` is the one that it is in now.
    pub(crate) fn arrival(&self, name: &Name, folder: FolderId, file: &OsStr) -> Arrival {
        let Some(shared) = self.started() else { return Arrival::Unknown };
        let tracks = shared.drain_beside();
        tracks
            .files
            .get(name)
            .filter(|track| track.is_at((folder, file)))
            .map_or(Arrival::Unknown, |t| t.arrival)
    }

    /// The run that wrote the file is gone: nobody is told of replacements any more.
    pub(crate) fn ended(&self, name: &Name) {
        if let Some(shared) = self.started()
            && let Some(track) = shared.drain_beside().files.get_mut(name)
        {
            track.incarnation = None;
            track.notice = Notice::None;
        }
    }

    /// As [`Tracker::look`]; it answers what the owner was told, who may be told of the next replacement then.
    pub(crate) fn answer(
        &self,
        name: &Name,
        place: (FolderId, &OsStr),
        incarnation: u64,
    ) -> Option<(Arrival, Seen)> {
        let shared = self.started()?;
        let mut tracks = shared.drain_beside();
        let track = tracks.files.get_mut(name).filter(|track| track.is_of(place, incarnation))?;
        track.notice = Notice::None;
        Some((track.arrival, track.seen))
    }

    /// How the file of a run came, and how much has happened to it. `None`: the run is not observed, or no
    /// longer.
    pub(crate) fn look(
        &self,
        name: &Name,
        place: (FolderId, &OsStr),
        incarnation: u64,
    ) -> Option<(Arrival, Seen)> {
        let shared = self.started()?;
        let tracks = shared.drain_beside();
        let track = tracks.files.get(name).filter(|track| track.is_of(place, incarnation))?;
        Some((track.arrival, track.seen))
    }

    /// Observes a component's file no longer.
    pub(crate) fn forget(&self, name: &Name) {
        if let Some(shared) = self.started() {
            let mut tracks = shared.drain_beside();
            let old = tracks.forget(name);
            shared.release(&tracks, old);
        }
    }

    /// Ends the thread, and gives what another image needs to go on: nothing that happens from now on is
    /// lost, since the kernel keeps the events.
    pub(crate) fn hand_over(self) -> (Option<OwnedFd>, Vec<TrackRecord>) {
        let running = self.running.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Some(mut running) = running else { return (None, Vec::new()) };
        running.end();
        let records =
            lock(&running.shared.tracks).files.iter().map(|(name, track)| track.record(name)).collect();
        // The thread was the only other one that held it; should it not have ended, a second descriptor of
        // the same instance does as well.
        (running.shared.inotify.try_clone().ok(), records)
    }

    /// Goes on where [`Tracker::hand_over`] has stopped.
    pub(crate) fn adopt(
        sink: ReplacedSink,
        inotify: Option<OwnedFd>,
        records: Vec<TrackRecord>,
    ) -> io::Result<Self> {
        let tracker = Self::new(sink);
        if let Some(inotify) = inotify {
            let mut tracks = Tracks::default();
            for record in records {
                if let Some((name, track)) = record.track() {
                    tracks.insert(&name, track);
                }
            }
            *lock(&tracker.running) = Some(tracker.run(inotify, tracks)?);
        }
        Ok(tracker)
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
        let started = self.run(inotify, Tracks::default())?;
        Ok(Arc::clone(&running.insert(started).shared))
    }

    fn run(&self, inotify: OwnedFd, tracks: Tracks) -> io::Result<Running> {
        let counter = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let (wake, stop) = (counter()?, counter()?);
        let (tracks, sink) = (Mutex::new(tracks), Arc::clone(&self.sink));
        let shared = Arc::new(Shared { inotify, wake, stop, tracks, sink });
        let thread = std::thread::Builder::new().name("state-events".into()).spawn({
            let shared = Arc::clone(&shared);
            move || keep_draining(&shared)
        })?;
        Ok(Running { shared, thread: Some(thread) })
    }

    /// As if these events had been seen, without a folder that is watched.
    #[cfg(test)]
    pub(crate) fn pretend(&self, name: &Name, place: (FolderId, &OsStr), incarnation: u64, arrival: Arrival) {
        let shared = self.shared().unwrap();
        let mut tracks = lock(&shared.tracks);
        tracks.forget(name);
        let mut track = Track::new(-1, place.1, place.0, Some(incarnation));
        track.arrival = arrival;
        tracks.insert(name, track);
    }
}

impl Running {
    fn end(&mut self) {
        if let (true, Some(thread)) = (raise(&self.shared.stop), self.thread.take()) {
            drop(thread.join());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Empties the queue as it fills, so that a long run in a busy folder doesn't overflow it, and tells of what
/// was replaced.
fn keep_draining(shared: &Shared) {
    loop {
        // What is to be told waits for one pause, and not for the next event.
        let patience = shared.drain().has_notice().then_some(NONE);
        let mut ready =
            [&shared.inotify, &shared.wake, &shared.stop].map(|fd| PollFd::new(fd, PollFlags::IN));
        match poll(&mut ready, patience.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        rustix::io::read(&shared.wake, &mut [0; 8]).ok();
        let told = shared.drain().ripen();
        if has_ended(shared, &NONE) {
            return;
        }
        for (name, incarnation) in told {
            (shared.sink)(name, incarnation);
        }
        if has_ended(shared, &PAUSE) {
            return;
        }
    }
}

fn has_ended(shared: &Shared, patience: &Timespec) -> bool {
    let mut stopped = [PollFd::new(&shared.stop, PollFlags::IN)];
    poll(&mut stopped, Some(patience)).is_ok_and(|count| count > 0)
}

/// Raises an event's counter; tells whether that has worked. A counter that is full is raised already.
fn raise(counter: &OwnedFd) -> bool {
    matches!(rustix::io::write(counter, &1_u64.to_ne_bytes()), Ok(_) | Err(Errno::AGAIN))
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
    /// As [`Shared::drain`], for those who are not the thread, which must be told of what there is to tell.
    fn drain_beside(&self) -> MutexGuard<'_, Tracks> {
        let tracks = self.drain();
        if tracks.has_notice() {
            raise(&self.wake);
        }
        tracks
    }

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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
