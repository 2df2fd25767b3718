//! Descriptors that components have given to orch to keep over their restarts (`FDSTORE=1`).
//!
//! What such a descriptor is, its component decides. To look at its other end, or to close it, may take for ever: a
//! socket that lingers, a file of a disk that is dead. So each component that has any has a thread for that, its
//! *tender*, and nobody waits for it. What is not closed yet counts as kept; who has too much of it is not read.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::event::{EventfdFlags, PollFd, PollFlags};

use super::lock;
use super::message::Descriptors;
use super::receive::{is_pipe, same_file};
use crate::types::Name;

/// So many are kept of one component, and of all together. One more is closed.
pub(super) const OF_ONE: usize = 64;
const OF_ALL: usize = 512;

/// What a descriptor is called that came without a name.
const UNNAMED: &str = "stored";

/// One of them.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) name: String,
    /// Shared with who looks at its other end.
    pub(super) fd: Arc<OwnedFd>,
    /// It is let go of when its other end is gone.
    pub(super) watched: bool,
}

/// Those of one component, in the order in which they came.
#[derive(Debug, Default)]
struct Shelf {
    kept: Vec<Stored>,
    /// To be closed.
    closing: Vec<Arc<OwnedFd>>,
    /// So many are being closed.
    in_hand: usize,
    /// Rung for the tender, while there is one.
    bell: Option<Arc<OwnedFd>>,
}

impl Shelf {
    fn open(&self) -> usize {
        self.kept.len() + self.unclosed()
    }

    fn unclosed(&self) -> usize {
        self.closing.len() + self.in_hand
    }

    fn needs_tender(&self) -> bool {
        !self.closing.is_empty() || self.kept.iter().any(|stored| stored.watched)
    }
}

/// All of them, by component.
#[derive(Debug, Default)]
pub(super) struct Store(BTreeMap<Name, Shelf>);

impl Store {
    /// Does with the descriptors of a message as it says. Gives back a barrier's, which comes alone and not to be
    /// stored, and tells whether some had no room.
    pub(super) fn take(
        &mut self,
        component: &Name,
        wish: &Descriptors,
        fds: Vec<OwnedFd>,
    ) -> (Option<OwnedFd>, bool) {
        let all: usize = self.0.values().map(Shelf::open).sum();
        let shelf = self.0.entry(component.clone()).or_default();
        if let Some(name) = wish.name.as_deref().filter(|_| wish.remove) {
            // As systemd does, a removal without a name removes nothing.
            let removed = shelf.kept.extract_if(.., |stored| stored.name == name).map(|stored| stored.fd);
            shelf.closing.extend(removed);
        }
        let barrier = fds.len() == 1 && !wish.store && !wish.remove;
        let (mut full, mut room) =
            (false, OF_ALL.saturating_sub(all).min(OF_ONE.saturating_sub(shelf.open())));
        for fd in fds {
            let known = || shelf.kept.iter().any(|stored| same_file(stored.fd.as_fd(), fd.as_fd()));
            if wish.store && !known() {
                full |= room == 0;
                if room > 0 {
                    room -= 1;
                    let name = wish.name.clone().unwrap_or_else(|| UNNAMED.to_owned());
                    shelf.kept.push(Stored { name, fd: Arc::new(fd), watched: !wish.blind });
                    continue;
                }
            }
            if barrier {
                return (Some(fd), false);
            }
            shelf.close(fd);
        }
        (None, full)
    }

    /// Closes what came from a component and is not to be kept.
    pub(super) fn close(&mut self, component: &Name, fds: Vec<OwnedFd>) {
        let shelf = self.0.entry(component.clone()).or_default();
        fds.into_iter().for_each(|fd| shelf.close(fd));
    }

    /// Has one looked after by the tender from now on.
    pub(super) fn adopt(&mut self, component: Name, stored: Stored) {
        self.0.entry(component).or_default().kept.push(stored);
    }

    /// Lets go of all that a component has given.
    pub(super) fn release(&mut self, component: &Name) {
        if let Some(shelf) = self.0.get_mut(component) {
            shelf.closing.extend(shelf.kept.drain(..).map(|stored| stored.fd));
            shelf.ring();
        }
    }

    /// Lets go of everything.
    pub(super) fn release_all(&mut self) {
        let components: Vec<Name> = self.components();
        components.iter().for_each(|component| self.release(component));
    }

    pub(super) fn components(&self) -> Vec<Name> {
        self.0.keys().cloned().collect()
    }

    /// Another one of each that a component has given, with its name.
    pub(super) fn duplicates(&self, component: &Name) -> io::Result<Vec<(String, OwnedFd)>> {
        let own = self.0.get(component).into_iter().flat_map(|shelf| &shelf.kept);
        own.map(|stored| Ok((stored.name.clone(), stored.fd.try_clone()?))).collect()
    }

    /// Takes out all that is kept, by another descriptor of each: the first ones may be in the hands of tenders.
    pub(super) fn hand_over(&mut self) -> Vec<(Name, String, bool, OwnedFd)> {
        let mut all = Vec::new();
        for (component, shelf) in &mut self.0 {
            for stored in shelf.kept.drain(..) {
                // Without a number for it, it is the next image's loss.
                if let Ok(fd) = stored.fd.try_clone() {
                    all.push((component.clone(), stored.name, stored.watched, fd));
                }
                shelf.closing.push(stored.fd);
            }
            shelf.ring();
        }
        all
    }

    /// Whether so much of a component is being closed that no more is to be taken from it.
    pub(super) fn is_crowded(&self, component: &Name) -> bool {
        self.0.get(component).is_some_and(|shelf| shelf.unclosed() >= OF_ONE)
    }
}

impl Shelf {
    /// A pipe is closed here, for that takes no time.
    fn close(&mut self, fd: OwnedFd) {
        if !is_pipe(fd.as_fd()) {
            self.closing.push(Arc::new(fd));
        }
    }

    fn ring(&self) {
        if let Some(bell) = &self.bell {
            let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
        }
    }
}

/// Has a component's descriptors looked after, if there is need. `reader` is rung when it is no longer crowded.
pub(super) fn tend(store: &Arc<Mutex<Store>>, component: &Name, reader: &Arc<OwnedFd>) {
    let mut locked = lock(store);
    let Some(shelf) = locked.0.get_mut(component) else { return };
    if shelf.bell.is_some() {
        return shelf.ring();
    }
    if !shelf.needs_tender() {
        if shelf.open() == 0 {
            locked.0.remove(component);
        }
        return;
    }
    let begun =
        rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(io::Error::from);
    let begun = begun.and_then(|bell| {
        let bell = Arc::new(bell);
        let tender = Tender {
            store: Arc::clone(store),
            component: component.clone(),
            bell: Arc::clone(&bell),
            reader: Arc::clone(reader),
        };
        std::thread::Builder::new().name("notify-store".into()).spawn(move || tender.run())?;
        Ok(bell)
    });
    match begun {
        Ok(bell) => shelf.bell = Some(bell),
        // The next descriptor that comes or goes is another chance.
        Err(error) => {
            tracing::warn!(%component, %error, "its stored descriptors are not looked after for now")
        }
    }
}

/// The thread of one component.
struct Tender {
    store: Arc<Mutex<Store>>,
    component: Name,
    bell: Arc<OwnedFd>,
    reader: Arc<OwnedFd>,
}

impl Tender {
    /// Closes what is to be closed, and what has lost its other end, until there is nothing to look at.
    fn run(self) {
        while let Some(watched) = self.next() {
            let bell = PollFd::new(&*self.bell, PollFlags::IN);
            let others = watched.iter().map(|fd| PollFd::new(&**fd, PollFlags::empty()));
            let mut fds: Vec<PollFd<'_>> = std::iter::once(bell).chain(others).collect();
            if let Err(error) = rustix::event::poll(&mut fds, None) {
                tracing::debug!(%error, "stored descriptors can't be looked at for now");
                let rest = rustix::event::Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
                let _ = rustix::event::poll(&mut [], Some(&rest));
                continue;
            }
            let dead: Vec<bool> = fds[1..].iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            let _ = rustix::io::read(&self.bell, &mut [0; 8]);
            let dead: Vec<&Arc<OwnedFd>> =
                watched.iter().zip(dead).filter(|(_, dead)| *dead).map(|(fd, _)| fd).collect();
            if let Some(shelf) = lock(&self.store).0.get_mut(&self.component).filter(|_| !dead.is_empty()) {
                shelf.kept.retain(|stored| !dead.iter().any(|dead| Arc::ptr_eq(&stored.fd, dead)));
            }
        }
    }

    /// Closes what is to be closed; then those whose other end is to be looked at, or `None`: there is no need.
    fn next(&self) -> Option<Vec<Arc<OwnedFd>>> {
        loop {
            let mut locked = lock(&self.store);
            let shelf = locked.0.get_mut(&self.component)?;
            if shelf.closing.is_empty() {
                if shelf.needs_tender() {
                    let watched = shelf.kept.iter().filter(|stored| stored.watched);
                    return Some(watched.map(|stored| Arc::clone(&stored.fd)).collect());
                }
                shelf.bell = None;
                if shelf.open() == 0 {
                    locked.0.remove(&self.component);
                }
                return None;
            }
            let closing = std::mem::take(&mut shelf.closing);
            shelf.in_hand = closing.len();
            drop(locked);
            for fd in closing {
                drop(fd);
                if let Some(shelf) = lock(&self.store).0.get_mut(&self.component) {
                    shelf.in_hand -= 1;
                }
            }
            let _ = rustix::io::write(&self.reader, &1_u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe() -> OwnedFd {
        rustix::pipe::pipe().unwrap().0
    }

    fn named(name: &str) -> Descriptors {
        Descriptors { store: true, name: Some(name.to_owned()), ..Descriptors::default() }
    }

    fn names(store: &Store, component: &Name) -> Vec<String> {
        store.duplicates(component).unwrap().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn one_file_is_kept_once_and_a_name_takes_out_all_of_it() {
        let mut store = Store::default();
        let (a, b): (Name, Name) = (Name::new("a").unwrap(), Name::new("b").unwrap());
        let (first, second) = (pipe(), pipe());
        let again = first.try_clone().unwrap();
        store.take(&a, &named("x"), vec![first, second]);
        let (barrier, full) = store.take(&a, &named("y"), vec![again]);
        assert!(barrier.is_none() && !full);
        store.take(&b, &named("x"), vec![pipe()]);
        assert_eq!(names(&store, &a), ["x", "x"]);
        let remove = Descriptors { remove: true, name: Some("x".into()), ..Descriptors::default() };
        assert!(store.take(&a, &remove, vec![pipe()]).0.is_none(), "it is no barrier's");
        assert_eq!((names(&store, &a).len(), names(&store, &b).len()), (0, 1));
        assert_eq!(store.0[&a].closing.len(), 2, "the pipe that came beside it is closed already");
        store.release(&b);
        assert_eq!((names(&store, &b).len(), store.0[&b].closing.len()), (0, 1));
    }

    #[test]
    fn there_is_an_end_to_what_is_kept_and_to_what_is_not_closed_yet() {
        let mut store = Store::default();
        let fds = |count: usize| std::iter::repeat_with(pipe).take(count).collect::<Vec<_>>();
        for component in 0..9 {
            let name: Name = Name::new(&format!("c{component}")).unwrap();
            let (_, full) = store.take(&name, &named("x"), fds(70));
            let kept = if component < 8 { 64 } else { 0 };
            assert_eq!((names(&store, &name).len(), full), (kept, true), "{component}");
        }
        let first = Name::new("c0").unwrap();
        assert!(!store.is_crowded(&first));
        store.release(&first);
        assert!(store.is_crowded(&first));
        assert!(store.take(&first, &named("x"), fds(1)).1, "what is not closed has its room still");
    }

    #[test]
    fn what_comes_alone_and_not_to_be_stored_is_a_barriers() {
        let mut store = Store::default();
        let a = Name::new("a").unwrap();
        let nothing = Descriptors::default();
        assert!(store.take(&a, &nothing, vec![pipe()]).0.is_some());
        assert!(store.take(&a, &nothing, vec![pipe(), pipe()]).0.is_none());
        assert!(store.take(&a, &named("x"), vec![pipe()]).0.is_none());
        let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        store.close(&a, vec![file, pipe()]);
        assert_eq!(store.0[&a].closing.len(), 1, "of those the tender closes what is no pipe");
    }
}
