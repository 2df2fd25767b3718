//! From the store to the state file: which generation is offered, and how it is put in place.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{Attempt, StateError};
use super::generation::{self, Flaw};
use super::header::{Header, Source};
use super::ledger::{Given, Known, Ledger};
use super::mutant::{self, Mutant};
use super::present::{Present, inspect};
use super::reason::Reason;
use super::seal::Spot;
use super::shelf::{Durability, Shelf, create_anew};
use super::vfs::{Meta, Vfs};
use super::{Handed, PassedOver, Rejected, Restored, WrongAge};
use crate::config::model::State;

pub(super) const TEMPORARY: &str = ".restore.new";
/// So often a generation is offered to incarnations that don't become ready with it.
const MOST_OFFERS: u32 = 2;

/// What became of the search for a state to restore.
#[derive(Debug, Default)]
pub(crate) struct Search {
    pub(crate) from: Option<Restored>,
    pub(crate) rejected: Vec<Rejected>,
    pub(crate) passed_over: Vec<PassedOver>,
}

/// What became of one generation.
pub(super) enum Offer {
    Placed(Restored),
    Rejected(Reason),
    PassedOver(WrongAge),
}

/// A sound generation of the right age, whose payload is in a temporary file, durably.
struct Copied {
    header: Header,
    age: Duration,
    meta: Meta,
}

impl<V: Vfs> Shelf<'_, V> {
    /// Puts the state that the contract chooses in place. The ledger is durable when it returns, and says
    /// what was offered before the component can see it.
    pub(crate) fn offer_best(&mut self, spec: &State, spot: &Spot<V>) -> Result<Search, StateError> {
        let mut search = Search::default();
        let generations = self.generations()?;
        self.ledger.keep_offers_of(&generations);
        for generation in self.in_order(&generations, spec.once) {
            if self.try_one(spec, spot, generation, &mut search)? {
                return Ok(search);
            }
        }
        for generation in self.stand_ins(&generations, spec.once) {
            if self.try_one(spec, spot, generation, &mut search)? {
                return Ok(search);
            }
        }
        self.ledger.offered = None;
        Ok(search)
    }

    /// A damaged one is stood in for by the newest sound one before it, used up or not.
    pub(super) fn stand_ins(&self, generations: &[u64], once: bool) -> Vec<u64> {
        let (damaged, laid_aside) = (self.ledger.damaged, self.ledger.laid_aside);
        let before = |g: &u64| *g < damaged && *g > laid_aside && !self.ledger.is_candidate(*g, once);
        generations.iter().rev().copied().filter(before).collect()
    }

    /// Offers none of those that there are, now and later.
    pub(crate) fn lay_aside(&mut self) -> Search {
        self.ledger.laid_aside = self.ledger.high;
        self.ledger.offered = None;
        Search::default()
    }

    /// Those that may be offered, the best first: what a stop handed over and was not used yet, then the
    /// newest.
    pub(super) fn in_order(&self, generations: &[u64], once: bool) -> Vec<u64> {
        let candidate = |g: &u64| self.ledger.is_candidate(*g, once);
        let mut order: Vec<u64> = generations.iter().rev().copied().filter(candidate).collect();
        let handed_over = |g: &u64| {
            let header = generation::peek(self.vfs, &self.dir, *g);
            self.ledger.is_unused(*g) && header.is_some_and(|header| header.source == Source::Restart)
        };
        if let Some(at) = order.iter().position(handed_over) {
            order[..=at].rotate_right(1);
        }
        order
    }

    fn try_one(
        &mut self,
        spec: &State,
        spot: &Spot<V>,
        generation: u64,
        search: &mut Search,
    ) -> Result<bool, StateError> {
        match self.offer(spec, spot, generation)? {
            Offer::Placed(restored) => {
                search.from = Some(restored);
                return Ok(true);
            }
            Offer::PassedOver(why) => search.passed_over.push(PassedOver { generation, why }),
            Offer::Rejected(reason) => {
                let moved_to = self.reject(generation, &reason)?;
                search.rejected.push(Rejected { generation: Some(generation), reason, moved_to });
            }
        }
        Ok(false)
    }

    /// Notes durably that a generation is lost, then moves it to quarantine: a crash in between must not
    /// forget that there was one, nor give its number out again.
    fn reject(&mut self, generation: u64, reason: &Reason) -> Result<Option<PathBuf>, StateError> {
        let damaged = matches!(reason, Reason::Damaged(_) | Reason::Unreadable(_));
        self.ledger.note_lost(generation, damaged);
        self.save(Durability::Certain)?;
        // What can't be read now may be read another time; it stays.
        let movable = !matches!(reason, Reason::Unreadable(_));
        Ok(if movable { self.set_aside_generation(generation, reason) } else { None })
    }

    /// Puts a generation in place if it is sound, of the right age, and not poisoned.
    fn offer(&mut self, spec: &State, spot: &Spot<V>, generation: u64) -> Result<Offer, StateError> {
        if let Some(restored) = self.leave_in_place(spec, spot, generation)? {
            return Ok(Offer::Placed(restored));
        }
        let same_device = self.same_device(spot).attempt("look at the folder of", &spot.path)?;
        if same_device {
            match self.offer_through(spec, spot, generation, None) {
                // One device may be mounted at two places.
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
                done => return done,
            }
        }
        let temporary = format!(".orch-restore-{}", self.component);
        self.offer_through(spec, spot, generation, Some(temporary.as_ref()))
    }

    /// In a fast restart the file in place is the one that this generation was made of. If it has every bit of
    /// it still, it can stay: the copy and its fsync are saved.
    fn leave_in_place(
        &mut self,
        spec: &State,
        spot: &Spot<V>,
        generation: u64,
    ) -> Result<Option<Restored>, StateError> {
        if self.ledger.known.last().is_none_or(|known| known.generation != generation) {
            return Ok(None);
        }
        let Some((header, meta)) = self.has_its_bytes(spec, spot, generation) else { return Ok(None) };
        let Ok(age) = self.judge(spec, &header) else { return Ok(None) };
        let before = self.ledger.clone();
        let noted = self.note_offer(&Copied { header: header.clone(), age, meta }).and_then(|()| {
            // What its component has renamed away must not come back after a crash.
            self.vfs.sync_dir(&spot.dir).attempt("make the state's name durable at", &spot.path)
        });
        self.undo_unless(noted, before)?;
        Ok(Some(self.restored(&header, age)))
    }

    /// Whether the file in place is the known one, and has the bytes of the generation, which is sound. Any doubt
    /// means no: then the copy decides.
    fn has_its_bytes(&self, spec: &State, spot: &Spot<V>, generation: u64) -> Option<(Header, Meta)> {
        let present = inspect(self.vfs, &spot.dir, &spot.name, spec.max_size).ok()?;
        let Present::File(file, meta) = present else { return None };
        self.ledger.recognise(&meta).filter(|known| known.generation == generation)?;
        let (sealed, of) = generation::open(self.vfs, &self.dir, generation).ok()?;
        // A damaged generation is found now, and not when there is nothing beside it any more.
        let identity = (self.component.as_str(), generation);
        let header = generation::verify_same(self.vfs, (&sealed, &of), identity, &file).ok()?;
        let after = self.vfs.meta(&file).ok()?;
        let whole = header.payload_len == meta.size;
        (whole && (after.size, after.mtime_ns) == (meta.size, meta.mtime_ns)).then_some((header, meta))
    }

    /// An offer that nobody got must not count against the state. If that can't be written either, one of the
    /// two offers is lost, and not the state.
    fn undo_unless(&mut self, done: Result<(), StateError>, before: Ledger) -> Result<(), StateError> {
        if done.is_err() {
            // What may be in place all the same is known.
            let known = std::mem::take(&mut self.ledger.known);
            self.ledger = Ledger { known, ..before };
            self.save(Durability::Either).ok();
        }
        done
    }

    fn same_device(&self, spot: &Spot<V>) -> io::Result<bool> {
        Ok(self.vfs.dir_meta(&self.dir)?.device == self.vfs.dir_meta(&spot.dir)?.device)
    }

    /// `beside`: the name of a temporary file in the state file's folder; without, it is made in the store,
    /// where nobody watches.
    fn offer_through(
        &mut self,
        spec: &State,
        spot: &Spot<V>,
        generation: u64,
        beside: Option<&OsStr>,
    ) -> Result<Offer, StateError> {
        let temporary = beside.unwrap_or(TEMPORARY.as_ref());
        let copied = self.copy_out(spec, generation, (beside.map(|_| &spot.dir), temporary));
        let offered = match copied {
            Ok(Ok(copied)) => self.put_in_place(spot, copied, (beside.is_some(), temporary)),
            Ok(Err(offer)) => Ok(offer),
            Err(error) => Err(error),
        };
        if !matches!(offered, Ok(Offer::Placed(_))) {
            // If it fails, the next restore does it.
            self.vfs.unlink(if beside.is_some() { &spot.dir } else { &self.dir }, temporary).ok();
        }
        offered
    }

    /// Makes the offer durable, then the file visible.
    fn put_in_place(
        &mut self,
        spot: &Spot<V>,
        copied: Copied,
        (beside, temporary): (bool, &OsStr),
    ) -> Result<Offer, StateError> {
        let before = self.ledger.clone();
        let placed = self.note_offer(&copied).and_then(|()| {
            let from = if beside { &spot.dir } else { &self.dir };
            let renamed = self.vfs.rename(from, temporary, &spot.dir, &spot.name);
            renamed
                .and_then(|()| self.vfs.sync_dir(&spot.dir))
                .attempt("put the state in place at", &spot.path)
        });
        self.undo_unless(placed, before)?;
        Ok(Offer::Placed(self.restored(&copied.header, copied.age)))
    }

    /// Checks a generation, and copies its payload to a temporary file if its header promises that it will
    /// be used.
    fn copy_out(
        &self,
        spec: &State,
        generation: u64,
        (dir, temporary): (Option<&V::Dir>, &OsStr),
    ) -> Result<Result<Copied, Offer>, StateError> {
        let (file, meta) = match generation::open(self.vfs, &self.dir, generation) {
            Ok(opened) => opened,
            Err(flaw) => return self.flawed(flaw).map(Err),
        };
        let promise = generation::peek(self.vfs, &self.dir, generation);
        let wanted = promise.is_some_and(|header| self.judge(spec, &header).is_ok());
        let sink = wanted.then(|| {
            let mode = self.ledger.mode.unwrap_or(0o600) | 0o600;
            create_anew(self.vfs, dir.unwrap_or(&self.dir), temporary, mode)
        });
        let sink = sink.transpose().attempt("make a copy of the state in", &self.path)?;
        let identity = (self.component.as_str(), generation);
        let header = match generation::verify(self.vfs, (&file, &meta), identity, sink.as_ref()) {
            Ok(header) => header,
            Err(flaw) => return self.flawed(flaw).map(Err),
        };
        let age = match self.judge(spec, &header) {
            Ok(age) => age,
            Err(offer) => return Ok(Err(offer)),
        };
        let Some(sink) = sink else {
            return self.flawed(Flaw::Other(io::Error::other("it changed while it was read"))).map(Err);
        };
        let written = self.vfs.sync(&sink).and_then(|()| self.vfs.meta(&sink));
        let meta = written.attempt("make a copy of the state in", &self.path)?;
        Ok(Ok(Copied { header, age, meta }))
    }

    fn flawed(&self, flaw: Flaw) -> Result<Offer, StateError> {
        match flaw {
            Flaw::Damaged(how) => Ok(Offer::Rejected(Reason::Damaged(how))),
            Flaw::Unreadable(error) => Ok(Offer::Rejected(Reason::Unreadable(error.to_string()))),
            Flaw::Sink(error) => Err(StateError::new("copy the state from", &self.path, error)),
            Flaw::Other(error) => Err(StateError::new("read the state in", &self.path, error)),
        }
    }

    /// Whether what a header says admits that its state is used; gives the age.
    pub(super) fn judge(&self, spec: &State, header: &Header) -> Result<Duration, Offer> {
        if spec.once && self.ledger.offers(header.generation) >= MOST_OFFERS {
            return Err(Offer::Rejected(Reason::Poisoned));
        }
        let age = header.stamp().age(self.clock).ok_or(Offer::PassedOver(WrongAge::Future))?;
        match spec.max_age {
            Some(limit) if age > limit => Err(Offer::PassedOver(WrongAge::TooOld { age })),
            _ => Ok(age),
        }
    }

    /// Makes durable what will be in place: an offer that a crash cuts short counts, one that is not written
    /// down would not.
    fn note_offer(&mut self, copied: &Copied) -> Result<(), StateError> {
        let generation = copied.header.generation;
        self.ledger.offered = Some(Given { generation, source: copied.header.source });
        if !mutant::is(Mutant::OfferNotCounted) {
            *self.ledger.offers.entry(generation).or_insert(0) += 1;
        }
        if mutant::is(Mutant::UsedUpOnRead) {
            self.ledger.note_used(Given { generation, source: copied.header.source });
        }
        // Until the rename, what is there now must stay known.
        if !mutant::is(Mutant::PlacedNotKnown) {
            self.ledger.know(Known::new(generation, &copied.meta));
        }
        self.save(Durability::Certain)
    }

    pub(super) fn restored(&self, header: &Header, age: Duration) -> Restored {
        let source = match header.source {
            _ if self.ledger.damaged > header.generation => Handed::Backup,
            Source::Restart => Handed::Restart,
            Source::Snapshot => Handed::Snapshot,
        };
        Restored { source, generation: header.generation, incarnation: header.incarnation, age }
    }
}
