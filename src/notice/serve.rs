//! The thread that reads all sockets.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use serde::{Deserialize, Serialize};

use super::message;
use super::pending::{Gate, Pending};
use super::receive::{self, Datagram, LONGEST, Sender};
use super::store::{OF_ONE, Store, tend};
use super::{Belongs, Judge, NoticeReport, NoticeSink, lock};
use crate::types::{Name, Notice, UnitId};

/// So many messages of one unit are read before the others have their turn.
const TURN: usize = 256;
/// No end of a unit waits longer for what it still has to say: somebody who goes on saying it holds nothing up.
const FLUSH: Duration = Duration::from_millis(250);
/// What was found out of a sender is good for so long: no system gives away all its process ids meanwhile.
const JUDGED: Duration = Duration::from_millis(50);
/// So many senders of one unit may wait behind a barrier at once; more are let through.
const BARRIERS: usize = 8;
/// So many senders of a unit are remembered.
const REMEMBERED: usize = 1024;

/// What the thread is told.
pub(super) enum Order {
    Open(UnitId, Box<Talker>),
    Runs(UnitId, u32),
    Flush(UnitId),
    Close(UnitId),
    /// Lets go of what a component has stored.
    Release(Name),
    /// Has all that is stored looked after.
    Tend,
    Stop,
}

/// A unit that has a socket.
pub(super) struct Talker {
    socket: OwnedFd,
    path: PathBuf,
    component: Name,
    leader: Option<u32>,
    /// Who has sent, whether they belong to the unit, and when that was looked at. Those who do belong stay: they
    /// count also when they are gone.
    senders: HashMap<u32, (bool, Instant)>,
    pending: Pending,
    gate: Gate,
    /// What came with `BARRIER=1`: closed, by which its sender goes on, when all before it is told.
    barriers: Vec<OwnedFd>,
    /// It was said that something is ignored.
    complained: bool,
}

/// The same in its written form, the socket aside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Written {
    unit: UnitId,
    path: PathBuf,
    component: Name,
    watchdog: Option<Duration>,
    leader: Option<u32>,
    members: Vec<u32>,
    pending: Pending,
    complained: bool,
}

impl Talker {
    pub(super) fn new(socket: OwnedFd, path: PathBuf, component: Name, watchdog: Option<Duration>) -> Self {
        let gate = Gate::new(Instant::now(), watchdog);
        let (senders, pending, barriers) = (HashMap::new(), Pending::default(), Vec::new());
        Self { socket, path, component, leader: None, senders, pending, gate, barriers, complained: false }
    }

    pub(super) fn write(self, unit: UnitId) -> (Written, OwnedFd) {
        let Self { socket, path, component, leader, senders, pending, gate, barriers: _, complained } = self;
        let members = senders.into_iter().filter(|(_, (belongs, _))| *belongs).map(|(pid, _)| pid).collect();
        let watchdog = Some(gate.watchdog_of());
        (Written { unit, path, component, watchdog, leader, members, pending, complained }, socket)
    }

    pub(super) fn read(written: Written, socket: OwnedFd) -> (UnitId, Self) {
        let Written { unit, path, component, watchdog, leader, members, pending, complained } = written;
        let mut talker = Self::new(socket, path, component, watchdog);
        let now = Instant::now();
        talker.senders = members.into_iter().map(|pid| (pid, (true, now))).collect();
        (talker.leader, talker.pending, talker.complained) = (leader, pending, complained);
        (unit, talker)
    }
}

/// The thread's own.
pub(super) struct Server {
    bell: Arc<OwnedFd>,
    orders: Receiver<Order>,
    judge: Judge,
    store: Arc<Mutex<Store>>,
    sink: NoticeSink,
    talkers: BTreeMap<UnitId, Talker>,
}

impl Server {
    pub(super) fn new(
        bell: Arc<OwnedFd>,
        orders: Receiver<Order>,
        judge: Judge,
        store: Arc<Mutex<Store>>,
        sink: NoticeSink,
    ) -> Self {
        Self { bell, orders, judge, store, sink, talkers: BTreeMap::new() }
    }

    /// What is left of it when it has stopped.
    pub(super) fn into_talkers(self) -> BTreeMap<UnitId, Talker> {
        self.talkers
    }

    /// Reads until told to stop.
    pub(super) fn run(mut self) -> Self {
        loop {
            let ready = self.wait();
            // A bell that can't be read would ring for ever, and is read again at the next turn.
            let _ = rustix::io::read(&self.bell, &mut [0; 8]);
            while let Ok(order) = self.orders.try_recv() {
                if matches!(order, Order::Stop) {
                    let Self { talkers, store, bell, .. } = &mut self;
                    talkers.values_mut().for_each(|talker| talker.let_all_go_on((store, bell)));
                    return self;
                }
                self.obey(order);
            }
            for unit in ready {
                self.hear(unit, TURN);
            }
            let now = Instant::now();
            for (unit, talker) in &mut self.talkers {
                let told = talker.gate.pass(&mut talker.pending, now);
                tell(&self.sink, *unit, told);
                talker.lift_barriers((&self.store, &self.bell));
            }
        }
    }

    /// Waits until there is something to do; the units that have something to say.
    fn wait(&mut self) -> Vec<UnitId> {
        let now = Instant::now();
        let next = self.talkers.values().filter_map(|talker| talker.gate.next(&talker.pending)).min();
        let limit = next.map(|next| next.saturating_duration_since(now)).map(|left| Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        });
        let store = lock(&self.store);
        let is_heard = |it: &Talker| it.leader.is_some() && !store.is_crowded(&it.component);
        let heard: Vec<UnitId> =
            self.talkers.iter().filter(|(_, it)| is_heard(it)).map(|(unit, _)| *unit).collect();
        drop(store);
        let sockets = heard.iter().filter_map(|unit| self.talkers.get(unit)).map(|it| it.socket.as_fd());
        let mut fds: Vec<PollFd<'_>> = std::iter::once(self.bell.as_fd())
            .chain(sockets)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        match rustix::event::poll(&mut fds, limit.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Vec::new(),
            Err(error) => {
                // Memory is short, say; somebody waits for what is read here, so it is tried again.
                tracing::warn!(%error, "the notify sockets can't be read for now");
                let rest = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
                let _ = rustix::event::poll(&mut [], Some(&rest));
                return Vec::new();
            }
        }
        let shown: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        heard.iter().zip(&shown[1..]).filter(|(_, shows)| **shows).map(|(unit, _)| *unit).collect()
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Open(unit, talker) => drop(self.talkers.insert(unit, *talker)),
            Order::Runs(unit, leader) => {
                if let Some(talker) = self.talkers.get_mut(&unit) {
                    talker.leader = Some(leader);
                    talker.senders.insert(leader, (true, Instant::now()));
                }
            }
            Order::Flush(unit) => self.flush(unit),
            Order::Close(unit) => {
                if let Some(mut talker) = self.talkers.remove(&unit) {
                    talker.let_all_go_on((&self.store, &self.bell));
                    let _ = std::fs::remove_file(&talker.path);
                }
            }
            // Also what was read since the caller did the same, of a unit that is closed by now.
            Order::Release(component) => {
                lock(&self.store).release(&component);
                tend(&self.store, &component, &self.bell);
            }
            Order::Tend => {
                let components = lock(&self.store).components();
                components.iter().for_each(|component| tend(&self.store, component, &self.bell));
            }
            Order::Stop => {}
        }
    }

    fn flush(&mut self, unit: UnitId) {
        let begun = Instant::now();
        while self.hear(unit, TURN) && begun.elapsed() < FLUSH {}
        if let Some(talker) = self.talkers.get_mut(&unit) {
            let told = talker.gate.flush(&mut talker.pending, Instant::now());
            tell(&self.sink, unit, told);
            talker.lift_barriers((&self.store, &self.bell));
        }
        (self.sink)(NoticeReport::Flushed { unit });
    }

    /// Reads so many messages of a unit at the most; whether there may be more.
    fn hear(&mut self, unit: UnitId, most: usize) -> bool {
        let Self { bell, talkers, judge, store, sink, .. } = self;
        let Some(talker) = talkers.get_mut(&unit) else { return false };
        let mut buffer = [0; LONGEST];
        for _ in 0..most {
            if lock(store).is_crowded(&talker.component) {
                return false;
            }
            match receive::receive(talker.socket.as_fd(), &mut buffer) {
                Ok(Some(datagram)) => {
                    let complaint = talker.take(unit, datagram, &buffer, judge, (store, bell));
                    if let Some(text) = complaint.filter(|_| !std::mem::replace(&mut talker.complained, true))
                    {
                        sink(NoticeReport::Ignored { unit, text });
                    }
                }
                Ok(None) => return false,
                Err(error) => {
                    tracing::debug!(%error, "a message on a notify socket can't be read");
                    return false;
                }
            }
        }
        true
    }
}

impl Talker {
    /// Takes one message; what is to be complained of.
    fn take(
        &mut self,
        unit: UnitId,
        datagram: Datagram,
        buffer: &[u8; LONGEST],
        judge: &Judge,
        shelves: Shelves<'_>,
    ) -> Option<String> {
        let Datagram { length, cut, sender, fds, lost } = datagram;
        let Some(sender) = sender.filter(|sender| self.believes(unit, sender, judge)) else {
            close(shelves, &self.component, fds);
            return Some("a message of a process that is not the component's own".to_owned());
        };
        if cut {
            close(shelves, &self.component, fds);
            return Some(format!("a message of pid {} that is longer than {LONGEST} bytes", sender.pid));
        }
        let said = message::parse(&buffer[..length]);
        let wish = said.descriptors.clone();
        self.pending.add(said);
        if lost {
            // Nobody knows which of them is which.
            close(shelves, &self.component, fds);
            return Some(format!("descriptors of pid {}: there were too many", sender.pid));
        }
        if fds.is_empty() && !wish.remove {
            return None;
        }
        let (barrier, full) = lock(shelves.0).take(&self.component, &wish, fds);
        if self.barriers.len() < BARRIERS {
            self.barriers.extend(barrier);
        } else {
            close(shelves, &self.component, barrier.into_iter().collect());
        }
        tend(shelves.0, &self.component, shelves.1);
        full.then(|| format!("a descriptor to be stored: there is room for {OF_ONE}"))
    }

    /// Lets those go on who wait until all that was said before is told.
    fn lift_barriers(&mut self, shelves: Shelves<'_>) {
        if self.pending.is_told() {
            self.let_all_go_on(shelves);
        }
    }

    fn let_all_go_on(&mut self, shelves: Shelves<'_>) {
        close(shelves, &self.component, std::mem::take(&mut self.barriers));
    }

    fn believes(&mut self, unit: UnitId, sender: &Sender, judge: &Judge) -> bool {
        let now = Instant::now();
        let known = self.senders.get(&sender.pid).copied();
        if let Some((belongs, at)) = known
            && now.saturating_duration_since(at) < JUDGED
        {
            return belongs;
        }
        // In this order: had the process gone meanwhile, and its id been given away, it is found here.
        let verdict = if sender.pid == 0 { Belongs::No } else { judge(unit, sender.pid) };
        let verdict = if sender.is_gone() { Belongs::Gone } else { verdict };
        let belongs = match verdict {
            Belongs::Yes => true,
            Belongs::No => false,
            Belongs::Gone => known.is_some_and(|(belongs, _)| belongs),
        };
        if self.senders.len() >= REMEMBERED {
            let leader = self.leader;
            self.senders.retain(|pid, _| Some(*pid) == leader);
        }
        self.senders.insert(sender.pid, (belongs, now));
        belongs
    }
}

/// The store, and whom its tenders ring.
type Shelves<'a> = (&'a Arc<Mutex<Store>>, &'a Arc<OwnedFd>);

/// Closes descriptors of a component, without waiting for that.
fn close((store, bell): Shelves<'_>, component: &Name, fds: Vec<OwnedFd>) {
    if !fds.is_empty() {
        lock(store).close(component, fds);
        tend(store, component, bell);
    }
}

fn tell(sink: &NoticeSink, unit: UnitId, notices: Vec<Notice>) {
    for notice in notices {
        sink(NoticeReport::Said { unit, notice });
    }
}
