//! The sockets of components: bound before they first start, handed to each of their runs, and let go of when
//! they come to rest. Until then nobody who connects is refused, whatever becomes of the runs.
//!
//! What touches only the network is done at once. What touches the file system may hang on a dead disk, so it is done
//! by worker threads, and never while the loop could want what they hold; for one address one after the other, in the
//! order of the asking.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::driver::Driver;
use crate::config::model::{Component, Project};
use crate::listen::{self, Bound, Key, Sockets, SocketsHandover, Why};
use crate::probe;
use crate::supervisor::{Record, What};
use crate::types::{Cid, Name, RunId, State};

/// What is held, and who may touch files for it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listening {
    held: Arc<Mutex<Held>>,
    /// Closed while the image may change.
    gate: Arc<tokio::sync::RwLock<()>>,
}

/// Whose turn it is to touch the file of a socket.
type Turn = Arc<tokio::sync::Mutex<()>>;

#[derive(Debug, Default)]
struct Held {
    sockets: Sockets,
    /// How often each component has let go of all that it had: what was begun for it before that comes too late.
    released: BTreeMap<Cid, u64>,
    /// The declaration that the owners are right for.
    settled_for: Option<Arc<Project>>,
    /// Of those files alone that something is being done to.
    turns: BTreeMap<Key, Turn>,
}

impl Held {
    fn turn(&mut self, at: &Key) -> Turn {
        // Who holds nothing but what stands here is done.
        self.turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(self.turns.entry(at.clone()).or_default())
    }

    fn since(&self, owner: Cid) -> Since {
        let declared = self.settled_for.as_ref().map(|project| Arc::as_ptr(project).addr());
        Since { released: self.released.get(&owner).copied(), declared }
    }
}

/// When something was begun for a component: after how many releases, and under which declaration.
#[derive(Debug, Clone, Copy)]
struct Since {
    released: Option<u64>,
    declared: Option<usize>,
}

/// The sockets of a run that is being prepared: the TCP addresses that are bound for it, or why one is not.
pub(crate) enum Binding {
    /// They are bound.
    Done(Vec<SocketAddr>),
    /// That takes a while.
    Later(Pin<Box<dyn Future<Output = Result<Vec<SocketAddr>, String>> + Send>>),
}

impl Binding {
    /// Waits until they are bound.
    pub(crate) async fn done(self) -> Result<Vec<SocketAddr>, String> {
        match self {
            Self::Done(addresses) => Ok(addresses),
            Self::Later(addresses) => addresses.await,
        }
    }
}

/// A socket that could not be bound.
struct Failure {
    name: String,
    key: Key,
    by: By,
}

/// By whom that was.
enum By {
    /// By another component of this project; its name, as in a message.
    Ours(String),
    Theirs(Why),
}

impl Listening {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Binds what the component has not bound yet. `named` gives the name of another one, for a message.
    fn bind(&self, owner: Cid, spec: &Component, named: impl Fn(Cid) -> Option<Name>) -> Binding {
        let ours =
            |by: Cid| By::Ours(named(by).map_or_else(|| "orch".to_owned(), |name| format!("`{name}`")));
        let mut held = self.held();
        let (mut failed, mut files) = (None, Vec::new());
        for (name, key) in Key::of(spec) {
            let by = match held.sockets.owner(&key) {
                Some(by) if by != owner => ours(by),
                _ if matches!(key, Key::Unix(_)) => {
                    files.push((name.to_owned(), key));
                    continue;
                }
                Some(_) => continue,
                None => match listen::bind(&key) {
                    Ok(bound) => {
                        held.sockets.add(key, owner, bound);
                        continue;
                    }
                    Err(Why::InUse(at)) => held.sockets.at(at).map_or(By::Theirs(Why::InUse(at)), ours),
                    Err(why) => By::Theirs(why),
                },
            };
            failed.get_or_insert(Failure { name: name.to_owned(), key, by });
        }
        if failed.is_none() && files.is_empty() {
            return Binding::Done(held.sockets.addresses(owner));
        }
        let since = held.since(owner);
        drop(held);
        let this = self.clone();
        Binding::Later(Box::pin(async move {
            if let Some(failure) = failed {
                return Err(failure.explained().await);
            }
            for (name, key) in files {
                this.bind_file(owner, since, name, key).await?;
            }
            Ok(this.held().sockets.addresses(owner))
        }))
    }

    /// Binds to a path, if that is not done; also where somebody has taken the file away, for nobody would find
    /// that socket any more.
    async fn bind_file(&self, owner: Cid, since: Since, name: String, key: Key) -> Result<(), String> {
        let _open = self.gate.read().await;
        let turn = self.held().turn(&key);
        let _turn = turn.lock().await;
        let (this, at) = (self.clone(), key.clone());
        let bound = tokio::task::spawn_blocking(move || {
            if this.held().sockets.owner(&at).is_some_and(|by| by != owner) {
                return Ok(());
            }
            let known = this.held().sockets.take(&at);
            let bound = known.filter(Bound::is_reachable).map_or_else(|| listen::bind(&at), Ok)?;
            let mut held = this.held();
            let now = held.since(owner);
            if now.released == since.released {
                held.sockets.add(at, owner, bound);
            }
            if now.declared != since.declared {
                // It may be another's by now.
                held.settled_for = None;
            }
            Ok(())
        });
        match bound.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(Failure { name, key, by: By::Theirs(why) }.explained().await),
            Err(error) => Err(format!("a fault in orch's binding of {key}: {error}")),
        }
    }

    /// Lets go of all that the component has.
    fn release(&self, owner: Cid) {
        let mut held = self.held();
        *held.released.entry(owner).or_default() += 1;
        let own = held.sockets.owners().filter(|(_, by)| *by == owner).map(|(key, _)| key.clone());
        let own: Vec<Key> = own.collect();
        for key in own {
            self.let_go(&mut held, key);
        }
    }

    /// Takes a socket out, and closes it: its file is taken away by a worker thread.
    fn let_go(&self, held: &mut Held, key: Key) {
        let Some(bound) = held.sockets.take(&key) else { return };
        if !bound.has_a_file() {
            return;
        }
        let (turn, gate) = (held.turn(&key), Arc::clone(&self.gate));
        tokio::spawn(async move {
            let _open = gate.read().await;
            let _turn = turn.lock().await;
            drop(tokio::task::spawn_blocking(move || drop(bound)).await);
        });
    }

    /// The end: everything is closed, and the files are taken away, which has so long: a dead disk holds nobody up.
    pub(crate) fn close(&self, patience: Duration) {
        let all = self.held().sockets.take_all();
        if !all.iter().any(Bound::has_a_file) {
            return;
        }
        let (told, done) = std::sync::mpsc::channel();
        let removal = move || {
            drop(all);
            told.send(())
        };
        // Without a thread, they are closed right here: what was to run is dropped.
        if std::thread::Builder::new().name("sockets".into()).spawn(removal).is_ok() {
            let _ = done.recv_timeout(patience);
        }
    }

    /// The sockets of each of these components by name, with their addresses.
    pub(crate) fn shown(&self, project: &Project) -> BTreeMap<Name, BTreeMap<String, Option<String>>> {
        let held = self.held();
        let have = project.components.iter().filter(|spec| !spec.sockets.is_empty());
        have.map(|spec| (spec.name.clone(), held.sockets.shown(spec))).collect()
    }

    // ── Images ─────────────────────────────────────────────────────────────────────────────────────────

    /// Waits until nothing is done to files, for so long at the most; nothing is, while what is given lives.
    pub(crate) async fn still(&self, patience: Duration) -> Option<tokio::sync::OwnedRwLockWriteGuard<()>> {
        tokio::time::timeout(patience, Arc::clone(&self.gate).write_owned()).await.ok()
    }

    /// What another image needs to go on. They stay here, too, for the case that there is none.
    ///
    /// # Errors
    /// Descriptors are used up.
    pub(crate) fn hand_over(&self) -> io::Result<(SocketsHandover, Vec<OwnedFd>)> {
        self.held().sockets.hand_over()
    }

    /// Goes on with what another image has handed over.
    ///
    /// # Errors
    /// A descriptor is missing, or is no such socket.
    pub(crate) fn adopt(&self, from: SocketsHandover, fds: Vec<OwnedFd>) -> io::Result<()> {
        self.held().sockets = Sockets::adopt(from, fds)?;
        Ok(())
    }
}

impl Failure {
    /// In words, with the name of who has the address.
    async fn explained(self) -> String {
        let Self { name, key, by } = self;
        let by = match by {
            By::Ours(by) => Some(by),
            By::Theirs(Why::InUse(address)) => probe::holder_of_port(address).await,
            By::Theirs(Why::Answers(path)) => probe::holder_of_path(&path).await,
            By::Theirs(Why::Other(why)) => return format!("can't bind its socket `{name}` to {key}: {why}"),
        };
        let by = by.unwrap_or_else(|| "a process that can't be named, most likely another user's".to_owned());
        let what = match key {
            Key::Tcp(address) | Key::Any(address, ..) => format!("port {}", address.port()),
            Key::Unix(path) => path.display().to_string(),
        };
        format!("{what} is in use by {by}; stop it, or give the socket `{name}` another address")
    }
}

impl Driver {
    /// Binds the sockets of a run that is being prepared, those that are not bound yet.
    pub(super) fn bind(&self, run: RunId, spec: &Component) -> Binding {
        if spec.sockets.is_empty() {
            return Binding::Done(Vec::new());
        }
        self.parts.listening.bind(run.component, spec, |cid| self.named(cid))
    }

    fn named(&self, component: Cid) -> Option<Name> {
        self.observed.get(&component).map(|spec| spec.name.clone())
    }

    /// A component has come to rest, or is no more.
    pub(super) fn release(&self, component: Cid) {
        self.parts.listening.release(component);
        self.release_stored(component);
    }

    /// After an edit: what it gives to another component changes hands, and what nobody has any more is closed.
    /// What waits for something else, or is being built, is reached already.
    pub(super) fn settle_sockets(&self) {
        let (listening, core) = (&self.parts.listening, &self.parts.core);
        let project = core.project();
        let mut held = listening.held();
        if held.settled_for.as_ref().is_some_and(|known| Arc::ptr_eq(known, project)) {
            return;
        }
        held.settled_for = Some(Arc::clone(project));
        let mut declared: BTreeMap<Key, Vec<Cid>> = BTreeMap::new();
        let mut coming = Vec::new();
        for spec in project.components.iter().filter(|spec| !spec.sockets.is_empty()) {
            let Some(cid) = core.find(spec.name.as_str()) else { continue };
            Key::of(spec).for_each(|(_, key)| declared.entry(key).or_default().push(cid));
            if core.state(cid).is_some_and(is_coming) {
                coming.push((cid, spec));
            }
        }
        let owned: Vec<(Key, Cid)> = held.sockets.owners().map(|(key, by)| (key.clone(), by)).collect();
        for (key, owner) in owned {
            let by = declared.get(&key).map(Vec::as_slice).unwrap_or_default();
            if by.contains(&owner) {
                continue;
            }
            match by.iter().find(|cid| core.state(**cid).is_some_and(is_wanted)) {
                Some(heir) => held.sockets.give(&key, *heir),
                None => listening.let_go(&mut held, key),
            }
        }
        drop(held);
        coming.into_iter().for_each(|(cid, spec)| self.bind_early(cid, spec));
    }

    /// A state is recorded: what comes to wait, or to be built, is reached already.
    pub(super) fn reach(&self, record: &Record) {
        let (What::State { state, .. }, Some(name)) = (&record.what, &record.component) else { return };
        let cid = is_coming(*state).then(|| self.parts.core.find(name.as_str())).flatten();
        let Some((cid, spec)) = cid.and_then(|cid| Some((cid, self.observed.get(&cid)?))) else { return };
        self.bind_early(cid, spec);
    }

    fn bind_early(&self, cid: Cid, spec: &Component) {
        if spec.sockets.is_empty() {
            return;
        }
        if let Binding::Later(bound) = self.parts.listening.bind(cid, spec, |cid| self.named(cid)) {
            let name = spec.name.clone();
            tokio::spawn(async move {
                // It is tried again, and told, when it is started.
                if let Err(error) = bound.await {
                    tracing::debug!(component = %name, %error, "not bound yet");
                }
            });
        }
    }

    /// What a run gets beyond its standard descriptors, each with its name: its sockets, in the order of the file, then
    /// what earlier runs have stored.
    ///
    /// # Errors
    /// One is not there, or descriptors are used up; as a fragment of a sentence.
    pub(super) fn descriptors(&self, spec: &Component) -> Result<Vec<(String, OwnedFd)>, String> {
        let own = self.parts.listening.held().sockets.for_a_run(spec)?;
        Ok(own.into_iter().chain(self.stored(spec)?).collect())
    }
}

/// Whether nothing runs yet of a component in this state, and something will by itself.
fn is_coming(state: State) -> bool {
    matches!(state, State::Waiting | State::Building)
}

/// Whether a component in this state runs, or will by itself.
fn is_wanted(state: State) -> bool {
    match state {
        State::Waiting | State::Building | State::Starting | State::Ready | State::Unhealthy => true,
        State::Stopping | State::Backoff | State::Stuck => true,
        State::Stopped | State::Completed | State::Failed | State::Blocked => false,
    }
}
