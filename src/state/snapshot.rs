//! Snapshots: the state file of a running component is sealed when it was replaced by rename or link.

use std::io;

use super::arrival::Arrival;
use super::clock::Stamp;
use super::error::{Attempt, StateError};
use super::header::Source;
use super::ledger::Known;
use super::mutant::{self, Mutant};
use super::present::{Present, inspect};
use super::seal::{Draft, Spot};
use super::shelf::Durability;
use super::store::{Store, lock, warn_of};
use super::tracks::Seen;
use super::vfs::Vfs;
use super::{Seal, Sealed};
use crate::config::model::State;
use crate::types::Name;

/// So often a file that changes while it is copied is copied again. Whoever keeps changing it will replace it
/// again, and that asks for the next snapshot.
const ATTEMPTS: u32 = 3;

impl<V: Vfs> Store<V> {
    /// Seals the state file of a running incarnation as a `snapshot`, if it came whole, by rename or link. It
    /// is never a torn one: nothing is published if something was written to the file before it has its name.
    /// `Absent` and `Untouched` mean that there is nothing to be sealed: it is sealed already, was written in
    /// place, or is another run's.
    ///
    /// It answers what the [`ReplacedSink`](super::ReplacedSink) was told, which from then on may be told of
    /// the same component again.
    ///
    /// # Errors
    /// When the file can't be read or copied, is too large, or no file. It stays where it is, for the running
    /// component; what is said against it then is said again when the run has ended.
    pub fn snapshot(&self, name: &Name, spec: &State, incarnation: u64) -> Result<Seal, StateError> {
        for _ in 0..ATTEMPTS {
            if let Some(seal) = self.try_snapshot(name, spec, incarnation)? {
                return Ok(seal);
            }
        }
        Ok(Seal::Untouched)
    }

    /// From now on no snapshot is taken of this run, and one that is being taken is given up, so that the seal
    /// of its stop need not wait for a large copy. [`Store::snapshot`] then ends soon, with `Untouched`; what
    /// it would have sealed, [`Store::seal`] does.
    pub fn cancel_snapshots(&self, name: &Name, incarnation: u64) {
        lock(&self.given_up).insert(name.clone(), incarnation);
    }

    fn is_given_up(&self, name: &Name, incarnation: u64) -> bool {
        lock(&self.given_up).get(name) == Some(&incarnation)
    }

    /// `None`: the file changed while it was copied.
    fn try_snapshot(&self, name: &Name, spec: &State, incarnation: u64) -> Result<Option<Seal>, StateError> {
        let Some(spot) = Spot::open(&self.vfs, &spec.file)? else { return Ok(Some(Seal::Absent)) };
        let folder = self.folder_id(&spot)?;
        let Some(before) = self.tracker.answer(name, (folder, &spot.name), incarnation) else {
            return Ok(Some(Seal::Untouched));
        };
        let present =
            inspect(&self.vfs, &spot.dir, &spot.name, spec.max_size).attempt("look at", &spot.path)?;
        let (file, meta) = match (before.0, present) {
            (_, Present::Absent) => return Ok(Some(Seal::Absent)),
            (Arrival::Whole | Arrival::Linked, Present::Refused(reason)) => {
                let reason = io::Error::new(io::ErrorKind::InvalidInput, reason.to_string());
                return Err(StateError::new("seal the state file", &spot.path, reason));
            }
            (Arrival::Whole, Present::File(file, meta)) => (file, meta),
            // An empty one has only just been opened.
            (Arrival::Linked, Present::File(file, meta)) if meta.size > 0 => (file, meta),
            _ => return Ok(Some(Seal::Untouched)),
        };
        let mut shelf = self.shelf(name)?;
        if shelf.ledger.recognise(&meta).is_some() {
            return Ok(Some(Seal::Untouched));
        }
        let (source, stamp) = (Source::Snapshot, Stamp::now(&*self.clock));
        let draft = Draft { file: &file, meta: &meta, source, incarnation, stamp };
        let may = || {
            if self.is_given_up(name, incarnation) {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "the snapshot was given up"));
            }
            self.vfs.settle(&file);
            let now = self.tracker.look(name, (folder, &spot.name), incarnation);
            if now.is_some_and(|now| is_still_whole(before, now)) { Ok(()) } else { Err(changed()) }
        };
        if mutant::is(Mutant::PruneBeforePublish) {
            shelf.prune_to(0, spec)?;
        }
        let generation = match shelf.publish(&spot, &draft, &may) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Some(Seal::Untouched)),
            published => published?,
        };
        // What was in place before must not come back, and be taken for newer than what is sealed.
        let durable = self.vfs.sync_dir(&spot.dir).attempt("make the state's name durable at", &spot.path);
        if durable.is_ok() {
            shelf.ledger.known.clear();
        }
        warn_of(name, durable);
        shelf.ledger.know(Known::saved(generation, &meta));
        shelf.ledger.mode = Some(meta.mode);
        warn_of(name, shelf.save(Durability::Either));
        warn_of(name, shelf.prune(spec));
        Ok(Some(Seal::Sealed(Sealed { generation, source, bytes: meta.size })))
    }
}

fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the state file changes while it is read")
}

/// Whether the bytes that were read in between are whole. A file that was replaced meanwhile was whole, too,
/// as nothing was written to it under its name; but a name that was made meanwhile may be a file in the
/// making.
fn is_still_whole(before: (Arrival, Seen), now: (Arrival, Seen)) -> bool {
    let unwritten = before.1.doubts == now.1.doubts;
    unwritten && (now.0 == Arrival::Whole || (now.0 == Arrival::Linked && before.1 == now.1))
}
