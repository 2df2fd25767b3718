//! Everything before the spawn that may take time: the state is put in place, and the address that the probe
//! will ask is looked at, so that no stranger is taken for the component.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::inbox::{Inbox, Message};
use crate::config::model::{Component, Probe, State};
use crate::probe;
use crate::state::{Ending, Handed, Restore, Seal, Source as Made, StateError, Store};
use crate::supervisor::{End, Event, Restored, RunEvent, Sealed, Source};
use crate::types::{Name, RunId};

/// The store, where the calls for one component do not overlap.
#[derive(Clone)]
pub(crate) struct States {
    store: Arc<Store>,
    turns: Arc<Mutex<BTreeMap<Name, Arc<Mutex<()>>>>>,
    /// Those whose state is put in place for a run that does not exist yet.
    offered: Arc<Mutex<BTreeSet<Name>>>,
}

impl States {
    pub(crate) fn new(store: Store) -> Self {
        Self { store: Arc::new(store), turns: Arc::default(), offered: Arc::default() }
    }

    /// Calls the store for a component, when it is its turn. Blocks; belongs on a worker thread.
    fn with<T>(&self, name: &Name, call: impl FnOnce(&Store) -> T) -> T {
        let turn = {
            let mut turns = lock(&self.turns);
            Arc::clone(turns.entry(name.clone()).or_default())
        };
        let _turn = lock(&turn);
        call(&self.store)
    }

    /// Notes the number of a run that is spawned.
    pub(crate) fn note_incarnation(&self, name: &Name, number: u64) {
        self.store.raise_incarnation(name, number);
    }

    /// A run exists, and may have seen the state that was put in place for it.
    pub(crate) fn note_spawned(&self, name: &Name) {
        lock(&self.offered).remove(name);
    }

    /// A state that was put in place for a run that never came to be must not count as tried: twice without
    /// success, and it would be set aside.
    fn take_back(&self, name: &Name) {
        if lock(&self.offered).remove(name)
            && let Err(error) = self.store.take_back(name)
        {
            tracing::warn!(component = %name, error = why(&error), "an offer of the state counts that was none");
        }
    }

    /// Observes the state file of a removed component no longer.
    pub(crate) fn forget(&self, name: &Name) {
        self.store.forget(name);
    }

    /// For the orderly end.
    pub(crate) fn close(&self) {
        let unseen = lock(&self.offered).clone();
        unseen.iter().for_each(|name| self.take_back(name));
        if let Err(error) = self.store.close() {
            tracing::warn!(error = why(&error), "the numbers of the runs are not made durable");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error and what caused it, in one line.
pub(super) fn why(error: &StateError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

/// Does what blocks on a worker thread. An answer comes even if that breaks: the core waits for it.
async fn on_worker(
    work: impl FnOnce() -> RunEvent + Send + 'static,
    broken: fn(String) -> RunEvent,
) -> RunEvent {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| broken(format!("a fault in orch's state store: {error}")))
}

/// Prepares a run; the answer comes by the inbox, at once if there is nothing to wait for.
pub(crate) fn prepare(inbox: &Inbox, states: &States, run: RunId, spec: &Arc<Component>, allow: bool) {
    let answer = move |inbox: &Inbox, event| drop(inbox.send(Message::Core(Event::Run(run, event))));
    let address = spec
        .ready
        .as_ref()
        .filter(|ready| !ready.external && matches!(ready.probe, Probe::Http(_) | Probe::Tcp(_)));
    if spec.state.is_none() && address.is_none() {
        let nothing = RunEvent::Prepared { restored: None, rejected: Vec::new(), sealed: None };
        return answer(inbox, nothing);
    }
    let (inbox, states, spec) = (inbox.clone(), states.clone(), Arc::clone(spec));
    let probed = address.map(|ready| ready.probe.clone());
    tokio::spawn(async move {
        if let Some(probe) = probed
            && let Some(holder) = probe::occupied(&probe, &[]).await
        {
            return answer(&inbox, RunEvent::PrepareFailed { error: holder });
        }
        let work = move || states.with(&spec.name, |store| restored(&states, store, &spec, run, allow));
        answer(&inbox, on_worker(work, |error| RunEvent::PrepareFailed { error }).await);
    });
}

fn restored(states: &States, store: &Store, spec: &Component, run: RunId, allow: bool) -> RunEvent {
    let nothing = RunEvent::Prepared { restored: None, rejected: Vec::new(), sealed: None };
    let Some(state) = spec.state.as_ref() else { return nothing };
    if let Some(error) = unusable_parent(state) {
        return RunEvent::PrepareFailed { error };
    }
    states.take_back(&spec.name);
    let found = match store.restore(&spec.name, state, run.incarnation, allow) {
        Ok(found) => found,
        Err(error) => return RunEvent::PrepareFailed { error: why(&error) },
    };
    if found.from.is_some() {
        lock(&states.offered).insert(spec.name.clone());
    }
    if let Err(error) = store.track(&spec.name, state) {
        tracing::warn!(component = %spec.name, error = why(&error), "its state file can't be observed");
    }
    if state.required && found.lost {
        let error = "its state is required, and of the generations that there were none is valid".to_owned();
        return RunEvent::PrepareFailed { error };
    }
    prepared(found)
}

/// A state path whose folder can't be one is the component's mistake, and clear without the store.
fn unusable_parent(state: &State) -> Option<String> {
    let folder: PathBuf = state.file.parent()?.to_path_buf();
    let file = folder.ancestors().find(|path| path.is_file())?;
    Some(format!("can't make the folder of its state {}: {} is a file", state.file.display(), file.display()))
}

fn prepared(found: Restore) -> RunEvent {
    let rejected = found.rejected.iter().map(|one| {
        let what = match one.generation {
            Some(generation) => format!("generation {generation}"),
            None => "the state file".to_owned(),
        };
        let place =
            one.moved_to.as_ref().map(|path| format!(" (now {})", path.display())).unwrap_or_default();
        format!("{what}: {}{place}", one.reason)
    });
    RunEvent::Prepared {
        rejected: rejected.collect(),
        sealed: found.sealed_aside.map(done),
        restored: found.from.map(|from| Restored {
            source: match from.source {
                Handed::Restart => Source::Restart,
                Handed::Snapshot => Source::Snapshot,
                Handed::Backup => Source::Backup,
            },
            generation: from.generation,
        }),
    }
}

/// Seals the state of a run that is gone; the answer comes by the inbox.
pub(crate) fn seal(inbox: &Inbox, states: &States, run: RunId, spec: &Arc<Component>, end: End) {
    let (inbox, states, spec) = (inbox.clone(), states.clone(), Arc::clone(spec));
    let broken = |reason| RunEvent::Sealed(Sealed::Rejected { reason });
    tokio::spawn(async move {
        let work = move || {
            RunEvent::Sealed(states.with(&spec.name, |store| sealed(store, &spec, run.incarnation, end)))
        };
        let event = on_worker(work, broken).await;
        drop(inbox.send(Message::Core(Event::Run(run, event))));
    });
}

fn sealed(store: &Store, spec: &Component, incarnation: u64, end: End) -> Sealed {
    let Some(state) = spec.state.as_ref() else { return Sealed::Nothing };
    let ending = match end {
        End::Ordered => Ending::Ordered,
        End::Succeeded => Ending::Succeeded,
        End::Crashed => Ending::Crashed,
    };
    match store.seal(&spec.name, state, incarnation, ending) {
        Ok(Seal::Absent | Seal::Untouched) => Sealed::Nothing,
        Ok(Seal::Sealed(sealed)) => done(sealed),
        Ok(Seal::Quarantined { reason, path }) => {
            Sealed::Rejected { reason: format!("the state file: {reason} (now {})", path.display()) }
        }
        Err(error) => Sealed::Rejected { reason: why(&error) },
    }
}

/// Notes that a generation is used up.
pub(crate) fn used(states: &States, name: Name, generation: u64) {
    let states = states.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = states.with(&name, |store| store.used(&name, generation)) {
            tracing::warn!(component = %name, error = why(&error), "the state is not marked as used");
        }
    });
}

fn done(sealed: crate::state::Sealed) -> Sealed {
    let source = match sealed.source {
        Made::Restart => Source::Restart,
        Made::Snapshot => Source::Snapshot,
    };
    Sealed::Done { generation: sealed.generation, source, bytes: sealed.bytes }
}
