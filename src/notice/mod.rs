//! What processes say of themselves by sd_notify(3): a datagram socket for each unit that may, read by one thread.
//!
//! - Only a unit's own processes are believed, by the kernel's word on who has sent ([`Judge`]); whoever else
//!   writes is ignored, and that is said once for each unit. A sender that is gone by the time that its message is
//!   read can't be judged: it counts if it was seen in the unit before, as the leader always is.
//! - A flood costs the thread, and nobody else: what is told is bounded (see `pending`). A message that is too long
//!   is refused whole; a descriptor that nobody is to have is closed at once.
//! - A socket is read once its unit's leader is known; until then, messages wait in it.
//! - `BARRIER=1`: the descriptor beside it is closed when all that was said before it is told.
//!
//! `docs/design/notice.md` says why.

mod message;
mod pending;
mod place;
mod receive;
mod serve;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::EventfdFlags;
use serde::{Deserialize, Serialize};

use crate::types::{Name, Notice, UnitId};
use place::Place;
use serve::{Order, Server, Talker};
use store::{Store, Stored, tend};

/// What is reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoticeReport {
    /// A unit says this.
    Said {
        /// Which unit.
        unit: UnitId,
        /// What.
        notice: Notice,
    },
    /// Something on a unit's socket is not believed, or not kept; reported once for each unit.
    Ignored {
        /// Which unit.
        unit: UnitId,
        /// What, and why, for people.
        text: String,
    },
    /// The answer to [`Notices::flush`].
    Flushed {
        /// Which unit.
        unit: UnitId,
    },
}

/// So long the reading thread may take to end.
const STOP: Duration = Duration::from_secs(5);

/// Where reports go; called from the reading thread, so it only hands over.
pub type NoticeSink = Arc<dyn Fn(NoticeReport) + Send + Sync>;

/// Tells whether a process belongs to a unit. Called from the reading thread, for many a message.
pub type Judge = Arc<dyn Fn(UnitId, u32) -> Belongs + Send + Sync>;

/// What a [`Judge`] says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belongs {
    /// It is the unit's own.
    Yes,
    /// It is not.
    No,
    /// There is no such process any more.
    Gone,
}

/// The sockets of all units, and the descriptors that components have stored. The thread begins with the first
/// socket: where nobody uses sd_notify, nothing of it is there.
pub struct Notices {
    place: Place,
    sink: NoticeSink,
    judge: Arc<Mutex<Judge>>,
    store: Arc<Mutex<Store>>,
    reader: Option<Reader>,
}

/// The thread, and the way to it.
struct Reader {
    orders: Sender<Order>,
    /// Written to when there is an order.
    bell: Arc<OwnedFd>,
    /// Where the thread puts all that it had, when it has stopped.
    left: Receiver<Server>,
}

/// What is needed to go on in another image: see [`Notices::hand_over`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NoticeHandover {
    talkers: Vec<serve::Written>,
    /// Of each stored descriptor: whose, its name, whether its other end is looked at.
    stored: Vec<(Name, String, bool)>,
}

impl Notices {
    /// For the project of this state directory. Removes what a killed orch has left of it.
    #[must_use]
    pub fn new(state_dir: &Path, judge: Judge, sink: NoticeSink) -> Self {
        let place = Place::of(state_dir);
        place.clear();
        Self::at(place, judge, sink)
    }

    fn at(place: Place, judge: Judge, sink: NoticeSink) -> Self {
        Self { place, sink, judge: Arc::new(Mutex::new(judge)), store: Arc::default(), reader: None }
    }

    /// From now on, this one tells who belongs to a unit.
    pub fn judged_by(&self, judge: Judge) {
        *lock(&self.judge) = judge;
    }

    /// Makes a unit's socket; `watchdog` is how long it may be silent, if that is declared. Gives its path.
    /// To be called before the unit is started, so that nothing that it says is lost.
    ///
    /// # Errors
    /// What was attempted, on what, and why it failed.
    pub fn open(
        &mut self,
        unit: UnitId,
        component: &Name,
        watchdog: Option<Duration>,
    ) -> Result<PathBuf, String> {
        let path = self.place.socket(unit);
        let made = self.place.make().and_then(|()| receive::bind(&path));
        let socket =
            made.map_err(|error| format!("can't make its notify socket {}: {error}", path.display()))?;
        let talker = Talker::new(socket, path.clone(), component.clone(), watchdog);
        self.started()
            .and_then(|reader| reader.order(Order::Open(unit, Box::new(talker))))
            .map_err(|error| format!("can't read its notify socket {}: {error}", path.display()))?;
        Ok(path)
    }

    /// The unit runs, and this process is its leader: from now on the unit is heard.
    pub fn runs(&self, unit: UnitId, leader: u32) {
        self.order(Order::Runs(unit, leader));
    }

    /// Reports all that the unit has said, then [`NoticeReport::Flushed`]. False: there is nobody to do so.
    #[must_use]
    pub fn flush(&self, unit: UnitId) -> bool {
        self.order(Order::Flush(unit))
    }

    /// The unit is gone: its socket is closed and removed.
    pub fn close(&self, unit: UnitId) {
        self.order(Order::Close(unit));
    }

    /// The descriptors that a component has stored, with their names, in the order in which they came: for its
    /// next run.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn stored(&self, component: &Name) -> io::Result<Vec<(String, OwnedFd)>> {
        lock(&self.store).duplicates(component)
    }

    /// Lets go of what a component has stored: of what is known, and of what is read of its closed units until then.
    pub fn release(&self, component: &Name) {
        lock(&self.store).release(component);
        self.order(Order::Release(component.clone()));
    }

    /// Lets go of everything without ending it, for an orch that replaces its own image. What has been said
    /// until now has reached the sink or goes over, what comes later waits in the sockets.
    #[must_use]
    pub fn hand_over(mut self) -> (NoticeHandover, Vec<OwnedFd>) {
        let talkers = self.stop();
        let mut fds = Vec::new();
        let mut handover = NoticeHandover::default();
        for (unit, talker) in talkers {
            let (written, socket) = talker.write(unit);
            handover.talkers.push(written);
            fds.push(socket);
        }
        for (component, name, watched, fd) in lock(&self.store).hand_over() {
            handover.stored.push((component, name, watched));
            fds.push(fd);
        }
        // What is handed over is not to be cleared.
        self.reader = None;
        (handover, fds)
    }

    /// Goes on with what was handed over.
    ///
    /// # Errors
    /// When the system has no thread left, or the two don't belong together.
    pub fn adopt(
        state_dir: &Path,
        judge: Judge,
        sink: NoticeSink,
        handover: NoticeHandover,
        fds: Vec<OwnedFd>,
    ) -> io::Result<Self> {
        let mut notices = Self::at(Place::of(state_dir), judge, sink);
        let mut fds = fds.into_iter();
        let missing = || io::Error::other("a descriptor is missing");
        for written in handover.talkers {
            let socket = fds.next().ok_or_else(missing)?;
            let (unit, talker) = Talker::read(written, socket);
            notices.started()?.order(Order::Open(unit, Box::new(talker)))?;
        }
        for (component, name, watched) in handover.stored {
            let fd = fds.next().ok_or_else(missing)?;
            lock(&notices.store).adopt(component, Stored { name, fd: Arc::new(fd), watched });
            notices.started()?.order(Order::Tend)?;
        }
        Ok(notices)
    }

    fn started(&mut self) -> io::Result<&Reader> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => {
                let bell =
                    Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
                let (orders, heard) = channel();
                let judge = Arc::clone(&self.judge);
                let judge: Judge = Arc::new(move |unit, pid| {
                    let judge = Arc::clone(&lock(&judge));
                    judge(unit, pid)
                });
                let (store, sink) = (Arc::clone(&self.store), Arc::clone(&self.sink));
                let server = Server::new(Arc::clone(&bell), heard, judge, store, sink);
                let (leave, left) = channel();
                let run = move || drop(leave.send(server.run()));
                std::thread::Builder::new().name("notify".into()).spawn(run)?;
                Reader { orders, bell, left }
            }
        };
        Ok(self.reader.insert(reader))
    }

    fn order(&self, order: Order) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader.order(order).is_ok())
    }

    /// Ends the thread; gives the units that it had. Nothing that it does takes long, so that it does not end in time
    /// is a fault, and it is left to itself.
    fn stop(&mut self) -> BTreeMap<UnitId, Talker> {
        let Some(reader) = self.reader.take() else { return BTreeMap::new() };
        let server = reader.order(Order::Stop).ok().and_then(|()| reader.left.recv_timeout(STOP).ok());
        if server.is_none() {
            tracing::warn!("who reads the notify sockets does not end; what it had is lost");
        }
        server.map(Server::into_talkers).unwrap_or_default()
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        if let Some(reader) = &self.reader {
            let bell = Arc::clone(&reader.bell);
            drop(self.stop());
            lock(&self.store).release_all();
            let components = lock(&self.store).components();
            components.iter().for_each(|component| tend(&self.store, component, &bell));
            self.place.clear();
        }
    }
}

impl Reader {
    fn order(&self, order: Order) -> io::Result<()> {
        let gone = |_| io::Error::other("nobody reads the notify sockets any more");
        self.orders.send(order).map_err(gone)?;
        // One that is full rings already.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        Ok(())
    }
}

impl std::fmt::Debug for Notices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notices").field("place", &self.place).finish_non_exhaustive()
    }
}

/// What is locked is whole after every statement, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
