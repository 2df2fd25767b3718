//! Descriptors that components have given to orch to keep over their restarts (`FDSTORE=1`).

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use super::message::Descriptors;
use super::receive::same_file;
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

/// All of them, by component, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Store(pub(super) BTreeMap<Name, Vec<Stored>>);

impl Store {
    /// Does with the descriptors of a message as it says. Gives back those that are to be closed, which may take
    /// its time, and whether some had no room.
    pub(super) fn take(
        &mut self,
        component: &Name,
        wish: &Descriptors,
        fds: Vec<OwnedFd>,
    ) -> (Vec<Arc<OwnedFd>>, bool) {
        let mut closed = if wish.remove { self.remove(component, wish.name.as_deref()) } else { Vec::new() };
        let fds = fds.into_iter().map(Arc::new);
        if !wish.store {
            closed.extend(fds);
            return (closed, false);
        }
        let mut full = false;
        for fd in fds {
            let all: usize = self.0.values().map(Vec::len).sum();
            let own = self.0.entry(component.clone()).or_default();
            let known = own.iter().any(|stored| same_file(stored.fd.as_fd(), fd.as_fd()));
            let fits = own.len() < OF_ONE && all < OF_ALL;
            if fits && !known {
                let name = wish.name.clone().unwrap_or_else(|| UNNAMED.to_owned());
                own.push(Stored { name, fd, watched: !wish.blind });
            } else {
                full |= !known;
                closed.push(fd);
            }
        }
        (closed, full)
    }

    /// As systemd does, a removal without a name removes nothing.
    fn remove(&mut self, component: &Name, name: Option<&str>) -> Vec<Arc<OwnedFd>> {
        let (Some(own), Some(name)) = (self.0.get_mut(component), name) else { return Vec::new() };
        own.extract_if(.., |stored| stored.name == name).map(|stored| stored.fd).collect()
    }

    /// Lets go of all that a component has given.
    pub(super) fn release(&mut self, component: &Name) -> Vec<Stored> {
        self.0.remove(component).unwrap_or_default()
    }

    /// Another one of each that a component has given, with its name.
    pub(super) fn duplicates(&self, component: &Name) -> std::io::Result<Vec<(String, OwnedFd)>> {
        let own = self.0.get(component).into_iter().flatten();
        own.map(|stored| Ok((stored.name.clone(), stored.fd.try_clone()?))).collect()
    }

    /// Those whose other end is to be looked at.
    pub(super) fn watched(&self) -> Vec<Arc<OwnedFd>> {
        let watched = self.0.values().flatten().filter(|stored| stored.watched);
        watched.map(|stored| Arc::clone(&stored.fd)).collect()
    }

    /// Takes this one out, if it is there still.
    pub(super) fn bury(&mut self, dead: &Arc<OwnedFd>) {
        for own in self.0.values_mut() {
            own.retain(|stored| !Arc::ptr_eq(&stored.fd, dead));
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

    #[test]
    fn one_file_is_kept_once_and_a_name_takes_out_all_of_it() {
        let mut store = Store::default();
        let (a, b): (Name, Name) = (Name::new("a").unwrap(), Name::new("b").unwrap());
        let (first, second) = (pipe(), pipe());
        let again = first.try_clone().unwrap();
        assert_eq!(store.take(&a, &named("x"), vec![first, second]).0.len(), 0);
        let (closed, full) = store.take(&a, &named("y"), vec![again]);
        assert_eq!((closed.len(), full), (1, false));
        assert_eq!(store.take(&b, &named("x"), vec![pipe()]).0.len(), 0);
        let names: Vec<_> = store.duplicates(&a).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["x", "x"]);
        let remove = Descriptors { remove: true, name: Some("x".into()), ..Descriptors::default() };
        assert_eq!(store.take(&a, &remove, vec![pipe()]).0.len(), 3, "what came beside it is closed, too");
        assert_eq!((store.duplicates(&a).unwrap().len(), store.duplicates(&b).unwrap().len()), (0, 1));
        assert_eq!(store.release(&b).len(), 1);
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let mut store = Store::default();
        let fds = |count: usize| std::iter::repeat_with(pipe).take(count).collect::<Vec<_>>();
        for component in 0..9 {
            let name: Name = Name::new(&format!("c{component}")).unwrap();
            let (closed, full) = store.take(&name, &named("x"), fds(70));
            let kept = if component < 8 { 64 } else { 0 };
            assert_eq!((closed.len(), full), (70 - kept, true), "{component}");
        }
    }

    #[test]
    fn only_the_dead_are_buried() {
        let mut store = Store::default();
        let (a, b): (Name, Name) = (Name::new("a").unwrap(), Name::new("b").unwrap());
        store.take(&a, &named("x"), vec![pipe(), pipe()]);
        store.take(&a, &Descriptors { blind: true, ..named("blind") }, vec![pipe()]);
        store.take(&b, &named("z"), vec![pipe()]);
        let watched = store.watched();
        assert_eq!(watched.len(), 3);
        watched[1..].iter().for_each(|dead| store.bury(dead));
        let names: Vec<_> = store.0[&a].iter().map(|stored| stored.name.as_str()).collect();
        assert_eq!((names, store.0[&b].len()), (vec!["x", "blind"], 0));
    }
}
