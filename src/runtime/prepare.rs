//! Everything before the spawn that may take time: the state is put in place, and the address that the probe
//! will ask is looked at, so that no stranger is taken for the component.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::inbox::{Inbox, Message};
use super::listening::Binding;
use super::strangers::Looks;
use crate::config::model::{Component, Probe, Project, State};
use crate::probe::Baseline;
use crate::state::{Ending, Handed, Restore, Seal, Source as Made, StateError, Store};
use crate::supervisor::{End, Event, Restored, RunEvent, Sealed, Source};
use crate::types::{Name, RunId};

/// The store, where the calls for one component come one after the other, in the order of the asking.
#[derive(Clone)]
pub(crate) struct States {
    store: Arc<Store>,
    turns: Arc<Mutex<BTreeMap<Name, Arc<Turn>>>>,
    /// Read by every call that is not done, so that who may write knows that all are.
    calls: Arc<tokio::sync::RwLock<()>>,
}

/// A fair lock: who asks first has it first.
type Turn = tokio::sync::Mutex<()>;

impl States {
    pub(crate) fn new(store: Store) -> Self {
        Self { store: Arc::new(store), turns: Arc::default(), calls: Arc::default() }
    }

    /// Calls the store for a component on a worker thread, when it is its turn. Tasks of the loop's one
    /// thread begin in the order in which they are made, and so queue in it.
    fn call<T: Send + 'static>(
        &self,
        name: &Name,
        call: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, String>> + Send + 'static {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = Arc::clone(turns.entry(name.clone()).or_default());
        let (store, open) = (Arc::clone(&self.store), Arc::clone(&self.calls).try_read_owned());
        async move {
            let _open = open.map_err(|_| "orch is ending".to_owned())?;
            let _turn = turn.lock().await;
            let work = tokio::task::spawn_blocking(move || call(&store));
            work.await.map_err(|error| format!("a fault in orch's state store: {error}"))
        }
    }

    /// Waits until every call is done, for so long at the most; whether they are.
    pub(crate) async fn settled(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.calls.write()).await.is_ok()
    }

    /// Whether nobody has anything to do with the store.
    pub(crate) fn is_free(&self) -> bool {
        Arc::strong_count(&self.store) == 1
    }

    /// Waits until no call is under way, for so long at the most; whether none is. Others may still come.
    pub(crate) async fn idle(&self, patience: Duration) -> bool {
        let none = async {
            while self.calls.try_write().is_err() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(patience, none).await.is_ok()
    }

    /// The store itself, if nobody has anything to do with it any more.
    pub(crate) fn into_store(self) -> Result<Store, Self> {
        let Self { store, turns, calls } = self;
        Arc::try_unwrap(store).map_err(|store| Self { store, turns, calls })
    }

    /// No snapshot of a run that has ended is to hold up its seal.
    pub(crate) fn cancel_snapshots(&self, name: &Name, incarnation: u64) {
        self.store.cancel_snapshots(name, incarnation);
    }

    /// Notes the number of a run that is spawned.
    pub(crate) fn note_incarnation(&self, name: &Name, number: u64) {
        self.store.raise_incarnation(name, number);
    }

    /// Observes the state file of a removed component no longer.
    pub(crate) fn forget(&self, name: &Name) {
        self.store.forget(name);
    }

    /// For the orderly end.
    pub(crate) fn close(&self) {
        if let Err(error) = self.store.close() {
            tracing::warn!(error = why(&error), "the numbers of the runs are not made durable");
        }
    }
}

/// An error and what caused it, in one line.
pub(super) fn why(error: &StateError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

/// Prepares a run, whose sockets are being bound; states are restored if that is allowed. The answer comes by the
/// inbox, at once if there is nothing to wait for.
pub(crate) fn prepare(
    inbox: &Inbox,
    states: &States,
    run: RunId,
    spec: &Arc<Component>,
    project: &Arc<Project>,
    (sockets, allow): (Binding, bool),
) {
    let answer = move |inbox: &Inbox, event| drop(inbox.send(Message::Core(Event::Run(run, event))));
    let looks = Looks::of(spec);
    let file = spec.ready.as_ref().map(|ready| ready.probe.clone()).filter(|it| matches!(it, Probe::File(_)));
    if spec.state.is_none() && looks.is_none() && file.is_none() && matches!(sockets, Binding::Done(_)) {
        let nothing = RunEvent::Prepared { restored: None, rejected: Vec::new(), sealed: None };
        return answer(inbox, nothing);
    }
    let (inbox, spec, name) = (inbox.clone(), Arc::clone(spec), spec.name.clone());
    let (project, states) = (Arc::clone(project), states.clone());
    tokio::spawn(async move {
        let own = match sockets.done().await {
            Ok(own) => own,
            Err(error) => return answer(&inbox, RunEvent::PrepareFailed { error }),
        };
        match looks.look(&own, &spec, &project).await {
            Ok(Some(holder)) => drop(inbox.send(Message::Stranger { name: name.clone(), holder })),
            Ok(None) => {}
            Err(error) => return answer(&inbox, RunEvent::PrepareFailed { error }),
        }
        let asked = match &file {
            Some(probe) => match Baseline::take(probe).await {
                Ok(baseline) => Some((probe, baseline)),
                Err(error) => return answer(&inbox, RunEvent::PrepareFailed { error }),
            },
            None => None,
        };
        let event = states.call(&name, move |store| restored(store, &spec, run, allow)).await;
        if let Some((probe, asked)) = asked {
            // Again, for what was put in place since is not what the component makes. One that answered does again.
            let baseline = Baseline::take(probe).await.unwrap_or(asked);
            drop(inbox.send(Message::Before { run, baseline }));
        }
        answer(&inbox, event.unwrap_or_else(|error| RunEvent::PrepareFailed { error }));
    });
}

fn restored(store: &Store, spec: &Component, run: RunId, allow: bool) -> RunEvent {
    let nothing = RunEvent::Prepared { restored: None, rejected: Vec::new(), sealed: None };
    let Some(state) = spec.state.as_ref() else { return nothing };
    if let Some(error) = unusable_parent(state) {
        return RunEvent::PrepareFailed { error };
    }
    let found = match store.restore(&spec.name, state, run.incarnation, allow) {
        Ok(found) => found,
        Err(error) => return RunEvent::PrepareFailed { error: why(&error) },
    };
    if let Err(error) = store.track(&spec.name, state, run.incarnation) {
        tracing::warn!(component = %spec.name, error = why(&error), "its state file can't be observed");
    }
    let lost = state.required && found.lost;
    match prepared(found) {
        RunEvent::Prepared { rejected, sealed, .. } if lost => {
            // No run has seen what is at its path: whoever puts a state there by hand is not to be doubted.
            if let Err(error) = store.take_back(&spec.name, run.incarnation) {
                tracing::warn!(component = %spec.name, error = why(&error), "a run that is none counts as one");
            }
            let error =
                "its state is required, and of the generations that there were none is valid".to_owned();
            RunEvent::StateLost { error, rejected, sealed }
        }
        prepared => prepared,
    }
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
        sealed: found.sealed_aside.map(|sealed| Sealed::Done {
            generation: sealed.generation,
            source: made(sealed.source),
            bytes: sealed.bytes,
        }),
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
    let (inbox, spec, name) = (inbox.clone(), Arc::clone(spec), spec.name.clone());
    let call = states.call(&name, move |store| sealed(store, &spec, run, end));
    tokio::spawn(async move {
        let outcome = call.await.unwrap_or_else(|reason| Sealed::Rejected { reason });
        drop(inbox.send(Message::Core(Event::Run(run, RunEvent::Sealed(outcome)))));
    });
}

fn sealed(store: &Store, spec: &Component, run: RunId, end: End) -> Sealed {
    let ending = match end {
        End::Ordered => Ending::Ordered,
        End::Succeeded => Ending::Succeeded,
        End::Crashed => Ending::Crashed,
    };
    let Some(state) = spec.state.as_ref() else { return Sealed::Nothing };
    outcome(store.seal(&spec.name, state, run.incarnation, ending))
}

fn outcome(sealed: Result<Seal, StateError>) -> Sealed {
    match sealed {
        Ok(Seal::Absent | Seal::Untouched) => Sealed::Nothing,
        Ok(Seal::Sealed(sealed)) => {
            Sealed::Done { generation: sealed.generation, source: made(sealed.source), bytes: sealed.bytes }
        }
        Ok(Seal::Quarantined { reason, path }) => {
            Sealed::Rejected { reason: format!("the state file: {reason} (now {})", path.display()) }
        }
        Err(error) => Sealed::Rejected { reason: why(&error) },
    }
}

/// Makes a generation of the state of a run that goes on; the answer comes by the inbox.
pub(crate) fn snapshot(inbox: &Inbox, states: &States, run: RunId, spec: &Arc<Component>) {
    let (inbox, spec, name) = (inbox.clone(), Arc::clone(spec), spec.name.clone());
    let call = states.call(&name, move |store| match spec.state.as_ref() {
        Some(state) => outcome(store.snapshot(&spec.name, state, run.incarnation)),
        None => Sealed::Nothing,
    });
    tokio::spawn(async move {
        let sealed = call.await.unwrap_or_else(|reason| Sealed::Rejected { reason });
        drop(inbox.send(Message::Core(Event::Run(run, RunEvent::Snapshot(sealed)))));
    });
}

/// Notes that what was put in place for a run was not used; the answer comes by the inbox.
pub(crate) fn take_back(inbox: &Inbox, states: &States, run: RunId, name: Name) {
    let (inbox, of) = (inbox.clone(), name.clone());
    let call =
        states.call(&name, move |store| store.take_back(&of, run.incarnation).map_err(|error| why(&error)));
    tokio::spawn(async move {
        if let Ok(Err(reason)) | Err(reason) = call.await {
            tracing::warn!(%run, %reason, "a state that was not used counts as offered");
        }
        drop(inbox.send(Message::Core(Event::Run(run, RunEvent::Sealed(Sealed::Nothing)))));
    });
}

/// Notes that a generation is used up.
pub(crate) fn used(states: &States, run: RunId, name: Name, generation: u64) {
    states.store.note_ready(&name, run.incarnation, generation);
    let of = name.clone();
    let call = states.call(&name, move |store| store.used(&of, generation).map_err(|error| why(&error)));
    tokio::spawn(async move {
        if let Ok(Err(error)) | Err(error) = call.await {
            tracing::warn!(component = %name, %error, "the state is not marked as used");
        }
    });
}

fn made(source: Made) -> Source {
    match source {
        Made::Restart => Source::Restart,
        Made::Snapshot => Source::Snapshot,
    }
}
