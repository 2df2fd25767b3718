//! What each generation is now: the rules of a restore, applied to a ledger in memory.

use std::io;
use std::path::Path;

use jiff::Timestamp;

use super::read_only::ReadOnly;
use super::{Entry, Fate, InPlace, Inspector, Inventory, Record, What};
use crate::config::model::State;
use crate::state::generation::{self, file_name};
use crate::state::header::Header;
use crate::state::present::{Present, inspect};
use crate::state::reason::Reason;
use crate::state::restore::Offer;
use crate::state::shelf::{Memory, Shelf};
use crate::state::vfs::Vfs;
use crate::state::{Handed, StateError};
use crate::types::Name;

/// The payloads of larger generations are read by `verify` and `show` alone: a list must come at once.
const READ_WHOLE: u64 = 8 << 20;
/// A ledger that can't be relied on.
pub(super) const LOST: Reason = Reason::Damaged("the store's record of the component is damaged or gone");

/// What a check of a generation gives; `None`: it is no longer there.
type Checked = Option<Result<Header, Reason>>;

impl<V: Vfs> Inspector<V> {
    /// Lists all that the store has of a component. `spec`: what the project declares of its state; without,
    /// there is no next start.
    ///
    /// # Errors
    /// When the component's folder can't be read. What is wrong with a file in it is said of that file.
    pub fn look(&self, name: &Name, spec: Option<&State>) -> Result<Inventory, StateError> {
        let Some((mut shelf, numbers)) = self.shelf(name)? else {
            let file = spec.map(|spec| self.in_place(spec, |_| None));
            return Ok(Inventory {
                component: name.clone(),
                record: Record::None,
                running: None,
                given: None,
                file,
                generations: Vec::new(),
                quarantine: Vec::new(),
            });
        };
        let mut entries: Vec<Entry> = Vec::new();
        for generation in numbers {
            entries.extend(self.entry(&shelf, generation, spec));
        }
        let numbers: Vec<u64> = entries.iter().map(|entry| entry.generation).collect();
        let checked = |_: &Shelf<'_, _>, generation: u64| -> Checked {
            let entry = entries.iter().find(|entry| entry.generation == generation)?;
            Some(match (&entry.fate, &entry.header) {
                (Fate::Flawed(reason), _) => Err(reason.clone()),
                (_, Some(header)) => Ok(header.clone()),
                (_, None) => return None,
            })
        };
        let (running, given) = (shelf.ledger.running, shelf.ledger.offered);
        let file = spec.map(|spec| {
            self.in_place(spec, |meta| shelf.ledger.recognise(meta).map(|known| known.generation))
        });
        let record = match shelf.memory {
            Memory::None => Record::None,
            Memory::Sound => Record::Sound,
            Memory::Lost { .. } => Record::Lost,
        };
        let quarantine = self.quarantine(&shelf);
        let next = spec.and_then(|spec| next(&mut shelf, spec, &numbers, checked));
        if let Some((generation, handed)) = next
            && let Some(entry) = entries.iter_mut().find(|entry| entry.generation == generation)
        {
            entry.fate = Fate::Next(handed);
        }
        Ok(Inventory {
            component: name.clone(),
            record,
            running,
            given: running.and(given).map(|given| given.generation),
            file,
            generations: entries,
            quarantine,
        })
    }

    /// One generation, as if another one was next; `None`: it is no longer there.
    fn entry(&self, shelf: &Shelf<'_, ReadOnly<V>>, generation: u64, spec: Option<&State>) -> Option<Entry> {
        let path = shelf.path.join(file_name(generation));
        let bytes = self.vfs.stat(&shelf.dir, &file_name(generation)).ok()?.size;
        let whole = bytes <= READ_WHOLE;
        let checked = if whole { self.check(shelf, generation)? } else { self.glance(shelf, generation)? };
        let header = match &checked {
            Ok(header) => Some(header.clone()),
            Err(_) => generation::peek(&self.vfs, &shelf.dir, generation),
        };
        let age = header.as_ref().and_then(|header| header.stamp().age(shelf.clock));
        let fate = checked.map_or_else(Fate::Flawed, |header| fate(shelf, &header, spec));
        let offers = shelf.ledger.offers(generation);
        Some(Entry { generation, path, header, age, bytes, offers, checked: whole, fate })
    }

    /// Checks what can be checked without reading a payload.
    fn glance(&self, shelf: &Shelf<'_, ReadOnly<V>>, generation: u64) -> Checked {
        let flawed = |how| Some(Err(Reason::Damaged(how)));
        let Ok((_, meta)) = generation::open(&self.vfs, &shelf.dir, generation) else {
            return self.check(shelf, generation);
        };
        match generation::peek(&self.vfs, &shelf.dir, generation) {
            None => flawed("its header is malformed"),
            Some(header)
                if header.generation != generation || header.component != shelf.component.as_str() =>
            {
                flawed("its header is another generation's")
            }
            Some(header) if meta.size != header.line().len() as u64 + header.payload_len => {
                flawed("its length is not the one in its header")
            }
            Some(header) => Some(Ok(header)),
        }
    }

    /// What bears the state file's name.
    fn in_place(&self, spec: &State, recognise: impl Fn(&crate::state::vfs::Meta) -> Option<u64>) -> InPlace {
        let path = spec.file.clone();
        let folder = path.parent().unwrap_or(Path::new("/"));
        let name = path.file_name().unwrap_or_default();
        let looked = self.vfs.open_path(folder).and_then(|dir| inspect(&self.vfs, &dir, name, spec.max_size));
        let what = match looked {
            Ok(Present::Absent) => What::Absent,
            Ok(Present::Refused(reason)) => What::Refused(reason),
            Ok(Present::File(_, meta)) => match recognise(&meta) {
                Some(generation) => What::Known { generation, bytes: meta.size },
                None => {
                    let modified = Timestamp::from_nanosecond(meta.mtime_ns).ok();
                    What::Changed { bytes: meta.size, modified }
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => What::Absent,
            Err(error) => What::Refused(Reason::Unreadable(error.to_string())),
        };
        InPlace { path, what }
    }
}

/// What a sound generation is, if it is not the next one.
fn fate<V: Vfs>(shelf: &Shelf<'_, V>, header: &Header, spec: Option<&State>) -> Fate {
    if header.generation <= shelf.ledger.laid_aside {
        return Fate::LaidAside;
    }
    // Where nothing is declared, the contract's default.
    if !shelf.ledger.is_candidate(header.generation, spec.is_none_or(|spec| spec.once)) {
        return Fate::Used;
    }
    match spec.map(|spec| shelf.judge(spec, header)) {
        Some(Err(Offer::Rejected(Reason::Poisoned))) => Fate::Poisoned,
        Some(Err(Offer::Rejected(reason))) => Fate::Flawed(reason),
        Some(Err(Offer::PassedOver(why))) => Fate::PassedOver(why),
        Some(Err(Offer::Placed(_)) | Ok(_)) | None => Fate::Kept,
    }
}

/// The generation that the next start would be offered, and as what: [`Shelf::offer_best`] on a ledger that is
/// never written.
pub(super) fn next<'a, V: Vfs>(
    shelf: &mut Shelf<'a, V>,
    spec: &State,
    numbers: &[u64],
    mut check: impl FnMut(&Shelf<'a, V>, u64) -> Checked,
) -> Option<(u64, Handed)> {
    let order = shelf.in_order(numbers, spec.once);
    let found = order.into_iter().find_map(|generation| try_one(shelf, spec, generation, &mut check));
    if found.is_some() {
        return found;
    }
    let stand_ins = shelf.stand_ins(numbers, spec.once);
    stand_ins.into_iter().find_map(|generation| try_one(shelf, spec, generation, &mut check))
}

fn try_one<'a, V: Vfs>(
    shelf: &mut Shelf<'a, V>,
    spec: &State,
    generation: u64,
    check: &mut impl FnMut(&Shelf<'a, V>, u64) -> Checked,
) -> Option<(u64, Handed)> {
    match check(shelf, generation)? {
        Err(_) => shelf.ledger.note_lost(generation, true),
        Ok(header) => match shelf.judge(spec, &header) {
            Ok(age) => return Some((generation, shelf.restored(&header, age).source)),
            Err(Offer::Rejected(_)) => shelf.ledger.note_lost(generation, false),
            Err(Offer::PassedOver(_) | Offer::Placed(_)) => {}
        },
    }
    None
}
