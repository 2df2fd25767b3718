//! The store itself: one state directory, all its components.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::arrival::Arrival;
use super::clock::{Clock, SystemClock};
use super::error::{Attempt, StateError};
use super::generation;
use super::header::Source;
use super::incarnations::{Incarnations, Use};
use super::ledger::Given;
use super::mutant::{self, Mutant};
use super::present::{Present, Standing, inspect};
use super::reason::Reason;
use super::seal::Spot;
use super::shelf::{Durability, Memory, Shelf, open_or_make};
use super::tracker::Tracker;
use super::tracks::FolderId;
use super::vfs::{Os, Vfs};
use super::{Ending, Rejected, ReplacedSink, Restore, Seal};
use crate::config::model::State;
use crate::types::Name;

pub(super) const FOLDER: &str = "state";

/// The states of all components of one state directory. The caller holds the project's lock: there is one
/// store for a state directory at a time.
pub struct Store<V: Vfs = Os> {
    pub(super) vfs: V,
    pub(super) clock: Box<dyn Clock>,
    base: V::Dir,
    path: PathBuf,
    pub(super) tracker: Tracker,
    pub(super) incarnations: Mutex<Incarnations<V>>,
    /// Ends whose seal has failed; it is tried again before the next start.
    pub(super) unsealed: Mutex<BTreeMap<Name, (u64, Ending)>>,
    /// Uses that could not be written down; it is tried again with the next call.
    pub(super) unnoted: Mutex<BTreeMap<Name, u64>>,
    /// The runs of which no snapshot shall be taken any more.
    pub(super) given_up: Mutex<BTreeMap<Name, u64>>,
    /// Components whose folder is known to be durable.
    durable: Mutex<BTreeSet<Name>>,
}

impl Store {
    /// Opens `<state_dir>/state`, and makes it with mode 0700 if it is not there. `replaced` is told when a
    /// running component has replaced its file.
    ///
    /// # Errors
    /// When it can't be made or opened, or belongs to another user.
    pub fn open(state_dir: &Path, replaced: ReplacedSink) -> Result<Self, StateError> {
        Self::with(Os, Box::new(SystemClock::new()), state_dir, replaced)
    }
}

impl<V: Vfs> Store<V> {
    /// Opens a store on this file system, with this clock.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn with(
        vfs: V,
        clock: Box<dyn Clock>,
        state_dir: &Path,
        replaced: ReplacedSink,
    ) -> Result<Self, StateError> {
        let path = state_dir.join(FOLDER);
        vfs.make_path(state_dir, true).attempt("make the state directory", state_dir)?;
        let parent = vfs.open_path(state_dir).attempt("open the state directory", state_dir)?;
        let base = open_or_make(&vfs, &parent, FOLDER.as_ref()).attempt("open the state folder", &path)?;
        make_durable(&vfs, &parent, state_dir).attempt("make the state folder durable in", state_dir)?;
        let owner = vfs.dir_meta(&base).attempt("look at the state folder", &path)?.owner;
        if owner != rustix::process::geteuid().as_raw() {
            let foreign = io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user");
            return Err(StateError::new("use the state folder", path, foreign));
        }
        let incarnations = Incarnations::open(&vfs, &base, clock.boot_id());
        let incarnations = Mutex::new(incarnations.attempt("read the incarnations' numbers in", &path)?);
        Ok(Self {
            vfs,
            clock,
            base,
            path,
            tracker: Tracker::new(replaced),
            incarnations,
            unsealed: Mutex::default(),
            unnoted: Mutex::default(),
            given_up: Mutex::default(),
            durable: Mutex::default(),
        })
    }

    /// The number of a component's next incarnation. It is given out: the next call gives the next number,
    /// also after orch was killed. No fsync is waited for.
    pub fn next_incarnation(&self, name: &Name) -> u64 {
        let last = self.last_incarnation(name);
        let mut counters = lock(&self.incarnations);
        let next = last.saturating_add(1);
        self.note_incarnation(&mut counters, name, next);
        next
    }

    /// The number of a component's last incarnation; 0 if it has had none.
    pub fn last_incarnation(&self, name: &Name) -> u64 {
        // The lock is not held on: opening the component's folder takes it, too.
        let last = lock(&self.incarnations).last(name);
        match last {
            // Should the counters be gone, the component's ledger still knows of its last start.
            0 => self.noted_incarnation(name),
            last => last,
        }
    }

    /// Sees to it that the next incarnation has a higher number than `last`, which another record tells of.
    pub fn raise_incarnation(&self, name: &Name, last: u64) {
        let mut counters = lock(&self.incarnations);
        if counters.last(name) < last {
            self.note_incarnation(&mut counters, name, last);
        }
    }

    fn note_incarnation(&self, counters: &mut Incarnations<V>, name: &Name, number: u64) {
        // A full disk must not hinder a start; the number holds in memory, and the ledger has it, too.
        if let Err(error) = counters.note(&self.vfs, &self.base, self.clock.boot_id(), name, number) {
            tracing::warn!(component = %name, %error, "the incarnation's number is not written down");
        }
    }

    fn noted_incarnation(&self, name: &Name) -> u64 {
        match self.vfs.stat(&self.base, name.as_str().as_ref()) {
            Ok(_) => self.shelf(name).map_or(0, |shelf| shelf.ledger.incarnation),
            Err(_) => 0,
        }
    }

    /// Begins to observe the state file of a run, before its spawn, so that [`Store::seal`] can tell whether its bytes
    /// came whole, by rename or link, or were written in place. From then on the store's [`ReplacedSink`] is
    /// told when the file was replaced whole. Makes the file's folder.
    ///
    /// # Errors
    /// When the folder can't be made or observed. The component may start all the same: after a crash, its
    /// file will then count only with `atomic: true`.
    pub fn track(&self, name: &Name, spec: &State, incarnation: u64) -> Result<(), StateError> {
        let spot = Spot::make(&self.vfs, &spec.file)?;
        let folder = spec.file.parent().unwrap_or(Path::new("/"));
        let id = self.folder_id(&spot)?;
        let tracked = self.tracker.track(name, (folder, id), &spot.name, incarnation);
        tracked.attempt("observe the folder", folder)?;
        let present =
            inspect(&self.vfs, &spot.dir, &spot.name, spec.max_size).attempt("look at", &spot.path)?;
        let known = match present {
            Present::Absent => true,
            Present::Refused(_) => false,
            Present::File(_, meta) => self.shelf(name)?.ledger.recognise(&meta).is_some(),
        };
        if !known {
            self.tracker.reset(name, Arrival::Unknown);
        }
        Ok(())
    }

    /// Observes the state file of a removed component no longer.
    pub fn forget(&self, name: &Name) {
        self.tracker.forget(name);
        lock(&self.unsealed).remove(name);
        lock(&self.unnoted).remove(name);
        lock(&self.given_up).remove(name);
    }

    /// Seals the state file of an incarnation, all of whose processes are gone. `spec` is the one that it ran
    /// with. `Sealed` is reported only when the generation is durable.
    ///
    /// # Errors
    /// When the file can't be read, copied or moved. It is then left as it is, and sealed by the next
    /// [`Store::restore`].
    pub fn seal(
        &self,
        name: &Name,
        spec: &State,
        incarnation: u64,
        ending: Ending,
    ) -> Result<Seal, StateError> {
        let sealed = self.try_seal(name, spec, incarnation, ending);
        if sealed.is_err() {
            lock(&self.unsealed).insert(name.clone(), (incarnation, ending));
        }
        sealed
    }

    fn try_seal(
        &self,
        name: &Name,
        spec: &State,
        incarnation: u64,
        ending: Ending,
    ) -> Result<Seal, StateError> {
        let mut shelf = self.shelf(name)?;
        self.tracker.ended(name);
        let settled = match Spot::open(&self.vfs, &spec.file)? {
            Some(spot) => {
                let arrival = self.arrival(name, &spot)?;
                shelf.settle(spec, &spot, standing_after(ending), (arrival, incarnation))
            }
            None => Ok(Seal::Absent),
        };
        if settled.is_ok() || ending != Ending::Crashed {
            // The next orch may then take the file for what it is: left by an ordered stop.
            shelf.ledger.note_end(ending == Ending::Ordered, ending != Ending::Crashed);
            warn_of(name, shelf.save(Durability::Either));
        }
        if matches!(settled, Ok(Seal::Sealed(_))) {
            warn_of(name, shelf.prune(spec));
        }
        settled
    }

    /// Puts the state for the next incarnation in place, or takes the old file away. What is found there and
    /// not in the store yet is sealed first. `allow: false` (`--no-restore`) restores nothing; what there is
    /// stays, but is not offered any more.
    ///
    /// # Errors
    /// When the store or the file's folder can't be read or written. No state is lost by it, and nothing
    /// counts as offered.
    pub fn restore(
        &self,
        name: &Name,
        spec: &State,
        next_incarnation: u64,
        allow: bool,
    ) -> Result<Restore, StateError> {
        let restored = self.try_restore(name, spec, next_incarnation, allow);
        if restored.is_err() {
            // Nothing runs now whose end could be missed.
            self.take_back(name, next_incarnation).ok();
        }
        restored
    }

    fn try_restore(
        &self,
        name: &Name,
        spec: &State,
        next_incarnation: u64,
        allow: bool,
    ) -> Result<Restore, StateError> {
        let mut shelf = self.shelf(name)?;
        let mut restore = Restore::default();
        if let Memory::Lost { moved_to } = &shelf.memory {
            let reason = Reason::Damaged("the store's record of the component is damaged or gone");
            restore.rejected.push(Rejected { generation: None, reason, moved_to: moved_to.clone() });
        }
        let spot = Spot::make(&self.vfs, &spec.file)?;
        let found = self.settle_before_start(&mut shelf, spec, &spot)?;
        match &found {
            Seal::Sealed(sealed) => restore.sealed_aside = Some(*sealed),
            Seal::Quarantined { reason, path } => restore.rejected.push(Rejected {
                generation: None,
                reason: reason.clone(),
                moved_to: Some(path.clone()),
            }),
            Seal::Absent | Seal::Untouched => {}
        }
        if !mutant::is(Mutant::RunNotNoted) {
            shelf.ledger.running = Some(next_incarnation);
        }
        shelf.ledger.offered = None;
        shelf.ledger.incarnation = shelf.ledger.incarnation.max(next_incarnation);
        shelf.ledger.file = spec.file.to_string_lossy().into_owned();
        let covered = is_covered(&shelf, &found)?;
        let search = if allow { shelf.offer_best(spec, &spot)? } else { shelf.lay_aside() };
        if search.from.is_none() {
            take_away(&mut shelf, &spot, covered)?;
        }
        restore.lost = search.from.is_none() && has_lost(&shelf)?;
        restore.from = search.from;
        restore.rejected.extend(search.rejected);
        restore.passed_over = search.passed_over;
        if restore.sealed_aside.is_some() {
            warn_of(name, shelf.prune(spec));
        }
        self.tracker.reset(name, Arrival::Still);
        Ok(restore)
    }

    /// What [`Store::restore`] has put in place for this incarnation was not run: it counts as if it had not been
    /// offered. Where nothing was restored for it, nothing changes.
    ///
    /// # Errors
    /// When that can't be written down; the offer counts then.
    pub fn take_back(&self, name: &Name, incarnation: u64) -> Result<(), StateError> {
        let mut shelf = self.shelf(name)?;
        // What an orch that was killed has left there is still to be judged as that.
        if shelf.ledger.running != Some(incarnation) {
            return Ok(());
        }
        let clean = shelf.ledger.clean;
        shelf.ledger.note_end(true, clean);
        shelf.save(Durability::Certain)
    }

    /// Notes at once, and without waiting for the disk, that a run has become ready with this generation, so that
    /// no other run is offered it if orch is killed before [`Store::used`] is done.
    pub fn note_ready(&self, name: &Name, incarnation: u64, generation: u64) {
        let used = Use { incarnation, generation };
        let at = (&self.vfs, &self.base);
        if let Err(error) = lock(&self.incarnations).note_use(at, self.clock.boot_id(), name, used) {
            tracing::warn!(component = %name, %error, "the state's use is not noted yet");
        }
    }

    /// The component has become ready with this generation: with `once`, a `restart` is used up now, durably.
    ///
    /// # Errors
    /// When that can't be written down. It is tried again with the next call for the component, and before
    /// anything is offered to it.
    pub fn used(&self, name: &Name, generation: u64) -> Result<(), StateError> {
        let noted = self.open_shelf(name).and_then(|mut shelf| self.note_used(&mut shelf, generation));
        match noted {
            Ok(()) => lock(&self.unnoted).remove(name),
            Err(_) => lock(&self.unnoted).insert(name.clone(), generation),
        };
        noted
    }

    fn note_used(&self, shelf: &mut Shelf<'_, V>, generation: u64) -> Result<(), StateError> {
        let offered = shelf.ledger.offered.filter(|given| given.generation == generation);
        let given = offered.unwrap_or_else(|| {
            let header = generation::peek(&self.vfs, &shelf.dir, generation);
            Given { generation, source: header.map_or(Source::Restart, |header| header.source) }
        });
        shelf.ledger.note_used(given);
        shelf.save(Durability::Certain)
    }

    /// Makes the incarnations' numbers durable; for an orderly end of orch.
    ///
    /// # Errors
    /// When they can't be written; after a crash of the machine, numbers then leap ahead.
    pub fn close(&self) -> Result<(), StateError> {
        let closed = lock(&self.incarnations).close(&self.vfs, &self.base);
        closed.attempt("write the incarnations' numbers in", &self.path)
    }

    /// Opens a component's folder, and makes up for a use that could not be written down.
    pub(super) fn shelf<'a>(&'a self, name: &'a Name) -> Result<Shelf<'a, V>, StateError> {
        let mut shelf = self.open_shelf(name)?;
        let unnoted = lock(&self.unnoted).get(name).copied();
        if let Some(generation) = unnoted {
            if shelf.ledger.is_unused(generation) {
                // Should it fail again: what is in memory holds for this call, and is written by it.
                warn_of(name, self.note_used(&mut shelf, generation));
            } else {
                lock(&self.unnoted).remove(name);
            }
        }
        let told = lock(&self.incarnations).used(name);
        if told.is_some_and(|told| shelf.ledger.catch_up(told)) {
            // Should it fail: what is in memory holds for this call, and the next one sees it again.
            warn_of(name, shelf.save(Durability::Certain));
        }
        Ok(shelf)
    }

    fn open_shelf<'a>(&'a self, name: &'a Name) -> Result<Shelf<'a, V>, StateError> {
        let shelf = Shelf::open(&self.vfs, &*self.clock, (&self.base, &self.path), name)?;
        if !lock(&self.durable).contains(name) {
            // An orch that was killed may have left entries there that it did not come to make durable, and
            // what follows relies on them: of this folder, and in it.
            self.vfs.sync_dir(&shelf.dir).attempt("make durable", &shelf.path)?;
            self.vfs.sync_dir(&self.base).attempt("make durable", &self.path)?;
            lock(&self.durable).insert(name.clone());
        }
        Ok(shelf)
    }

    pub(super) fn folder_id(&self, spot: &Spot<V>) -> Result<FolderId, StateError> {
        let meta = self.vfs.dir_meta(&spot.dir).attempt("look at the folder of", &spot.path)?;
        Ok(FolderId::of(&meta))
    }

    fn arrival(&self, name: &Name, spot: &Spot<V>) -> Result<Arrival, StateError> {
        Ok(self.tracker.arrival(name, self.folder_id(spot)?, &spot.name))
    }

    /// What is in place before a start: usually what orch knows; else something that a failed seal, a killed
    /// orch or a person has left.
    fn settle_before_start(
        &self,
        shelf: &mut Shelf<'_, V>,
        spec: &State,
        spot: &Spot<V>,
    ) -> Result<Seal, StateError> {
        let unsealed = lock(&self.unsealed).get(shelf.component).copied();
        let seal = match unsealed {
            Some((incarnation, ending)) => {
                let arrival = self.arrival(shelf.component, spot)?;
                shelf.settle(spec, spot, standing_after(ending), (arrival, incarnation))?
            }
            None => {
                if shelf.memory == Memory::None {
                    shelf.ledger.file = spec.file.to_string_lossy().into_owned();
                }
                let incarnation = shelf.ledger.running.unwrap_or(shelf.ledger.incarnation);
                let standing = standing_before_start(shelf, spec);
                shelf.settle(spec, spot, standing, (Arrival::Unknown, incarnation))?
            }
        };
        lock(&self.unsealed).remove(shelf.component);
        Ok(seal)
    }
}

/// Leaves the component without a state file. `covered`: the file's bytes are in the store.
fn take_away<V: Vfs>(
    shelf: &mut Shelf<'_, V>,
    spot: &Spot<V>,
    covered: Option<bool>,
) -> Result<(), StateError> {
    shelf.save(Durability::Certain)?;
    match covered {
        None => Ok(()),
        Some(true) => match shelf.vfs.unlink(&spot.dir, &spot.name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StateError::new("take away", &spot.path, error))
            }
            _ => Ok(()),
        },
        Some(false) => shelf.quarantine(spot, None, Reason::TakenAway).map(drop),
    }
}

/// Whether the store has the bytes of the file in place; `None` if there is no file.
fn is_covered<V: Vfs>(shelf: &Shelf<'_, V>, found: &Seal) -> Result<Option<bool>, StateError> {
    Ok(match found {
        Seal::Absent | Seal::Quarantined { .. } => None,
        Seal::Sealed(_) => Some(true),
        Seal::Untouched => {
            let generations = shelf.generations()?;
            Some(shelf.ledger.known.last().is_some_and(|known| generations.contains(&known.generation)))
        }
    })
}

/// Whether a state that should have been restored is lost, and nothing came after it.
fn has_lost<V: Vfs>(shelf: &Shelf<'_, V>) -> Result<bool, StateError> {
    let newest = shelf.generations()?.last().copied().unwrap_or(0);
    Ok(shelf.ledger.lost > shelf.ledger.laid_aside.max(newest))
}

fn standing_after(ending: Ending) -> Standing {
    match ending {
        Ending::Ordered | Ending::Succeeded => Standing::Ordered,
        Ending::Crashed => Standing::Crashed,
    }
}

/// In what situation a file is found before a start that this orch has not sealed.
fn standing_before_start<V: Vfs>(shelf: &Shelf<'_, V>, spec: &State) -> Standing {
    let ledger = &shelf.ledger;
    // After a boot, a file that was never fsynced may be anything, whoever wrote it.
    let same_boot = !ledger.boot.is_empty() && ledger.boot == shelf.clock.boot_id();
    match shelf.memory {
        Memory::None => Standing::Found(Source::Snapshot),
        Memory::Lost { .. } => Standing::Orphaned,
        // It has never run.
        Memory::Sound if ledger.incarnation == 0 && ledger.running.is_none() => {
            Standing::Found(Source::Snapshot)
        }
        // A file that the component has never run with.
        Memory::Sound if ledger.file != spec.file.to_string_lossy() => Standing::Found(Source::Snapshot),
        Memory::Sound if ledger.running.is_some() || !same_boot => Standing::Orphaned,
        Memory::Sound if ledger.clean => Standing::Found(Source::Restart),
        Memory::Sound => Standing::Found(Source::Snapshot),
    }
}

/// Makes the state directory's entries durable, and its own in the folder that it is in, which is a courtesy:
/// it may be a folder that this user can't read.
fn make_durable<V: Vfs>(vfs: &V, dir: &V::Dir, path: &Path) -> io::Result<()> {
    vfs.sync_dir(dir)?;
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Err(error) = vfs.open_path(above).and_then(|above| vfs.sync_dir(&above)) {
        tracing::debug!(%error, "the folder of the state directory can't be synced");
    }
    Ok(())
}

pub(super) fn warn_of(name: &Name, result: Result<(), StateError>) {
    if let Err(error) = result {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::warn!(component = %name, %error, cause, "the state store");
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
