//! Looking at what the store has, for people: which generations there are, what each of them is now, whether
//! their checksums hold. Nothing is ever changed by it, also not beside a running orch, so it needs no lock: a
//! file that goes away under it is not there, and ledgers and generations appear whole.

mod found;
mod read_only;
mod survey;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::Handed;
use super::clock::{Clock, SystemClock};
use super::error::{Attempt, StateError};
use super::generation::{self, Flaw};
use super::header::Header;
use super::incarnations::last_use;
use super::ledger::{Ledger, MAX_LEDGER};
use super::reason::Reason;
use super::shelf::{LEDGER, Memory, QUARANTINE, Shelf};
use super::store::FOLDER;
use super::vfs::{Os, Vfs};
use crate::config::model::State;
use crate::types::Name;
use read_only::ReadOnly;

pub use found::{Entry, Fate, FlawFound, InPlace, Inventory, Record, SetAside, Verified, What};

/// Reads the states of one state directory.
pub struct Inspector<V: Vfs = Os> {
    vfs: ReadOnly<V>,
    clock: Box<dyn Clock>,
    /// `None`: there is no such folder.
    base: Option<V::Dir>,
    path: PathBuf,
}

/// A generation that has been checked whole, open for reading.
pub struct Payload<V: Vfs = Os> {
    /// What its header says.
    pub header: Header,
    /// Whether the next start would be offered it, and as what.
    pub next: Option<Handed>,
    file: V::File,
}

/// Why there is no payload to show.
#[derive(Debug)]
pub enum NoPayload {
    /// There is no such generation; these are there.
    Missing(Vec<u64>),
    /// It fails a check.
    Flawed(u64, Reason),
    /// The store can't be read.
    Failed(StateError),
}

impl From<StateError> for NoPayload {
    fn from(error: StateError) -> Self {
        Self::Failed(error)
    }
}

impl Inspector {
    /// Opens `<state_dir>/state`. That there is none is no error: then it has nothing.
    ///
    /// # Errors
    /// When it can't be opened, or belongs to another user.
    pub fn open(state_dir: &Path) -> Result<Self, StateError> {
        Self::with(Os, Box::new(SystemClock::new()), state_dir)
    }
}

impl<V: Vfs> Inspector<V> {
    /// Reads on this file system, with this clock.
    ///
    /// # Errors
    /// As [`Inspector::open`].
    pub fn with(vfs: V, clock: Box<dyn Clock>, state_dir: &Path) -> Result<Self, StateError> {
        let (vfs, path) = (ReadOnly::new(vfs), state_dir.join(FOLDER));
        let opened = vfs.open_path(state_dir).and_then(|parent| vfs.open_dir(&parent, FOLDER.as_ref()));
        let base = match opened {
            Ok(base) => Some(base),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(StateError::new("open the state folder", path, error)),
        };
        if let Some(base) = &base {
            let owner = vfs.dir_meta(base).attempt("look at the state folder", &path)?.owner;
            if owner != rustix::process::geteuid().as_raw() {
                let foreign = io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user");
                return Err(StateError::new("use the state folder", path, foreign));
            }
        }
        Ok(Self { vfs, clock, base, path })
    }

    /// The components that the store has something of, by name.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn components(&self) -> Result<Vec<Name>, StateError> {
        let Some(base) = &self.base else { return Ok(Vec::new()) };
        let names = self.vfs.list(base).attempt("list", &self.path)?;
        let mut names: Vec<Name> = names.iter().filter_map(|name| Name::new(name.to_str()?).ok()).collect();
        names.sort();
        Ok(names)
    }

    /// Checks the ledger and every generation of a component, whole.
    ///
    /// # Errors
    /// When its folder can't be read. What is wrong with a file in it is a flaw, and no error.
    pub fn verify(&self, name: &Name) -> Result<Verified, StateError> {
        let (mut verified, before) = (Verified::default(), self.vfs.bytes_read());
        let Some((shelf, numbers)) = self.shelf(name)? else { return Ok(verified) };
        if shelf.memory == Memory::Sound {
            verified.records += 1;
        }
        for generation in numbers {
            match self.check(&shelf, generation) {
                None => continue,
                Some(Ok(_)) => {}
                Some(Err(reason)) => verified.flaws.push(FlawFound {
                    path: shelf.path.join(generation::file_name(generation)),
                    generation: Some(generation),
                    reason,
                }),
            }
            verified.generations += 1;
        }
        if let Memory::Lost { .. } = shelf.memory {
            let (path, generation) = (shelf.path.join(LEDGER), None);
            verified.flaws.push(FlawFound { path, generation, reason: survey::LOST });
        }
        verified.bytes = self.vfs.bytes_read() - before;
        Ok(verified)
    }

    /// Opens a generation's payload, after it has been checked whole: the one named, else the one that the next
    /// start would be offered, else the newest that is sound.
    ///
    /// # Errors
    /// When there is none that is sound.
    pub fn payload(
        &self,
        name: &Name,
        spec: Option<&State>,
        wanted: Option<u64>,
    ) -> Result<Payload<V>, NoPayload> {
        let Some((mut shelf, numbers)) = self.shelf(name)? else {
            return Err(NoPayload::Missing(Vec::new()));
        };
        // None is read twice, large as they may be.
        let mut checks = BTreeMap::new();
        let mut check = |shelf: &Shelf<'_, ReadOnly<V>>, generation: u64| -> Option<Result<Header, Reason>> {
            checks.entry(generation).or_insert_with(|| self.check(shelf, generation)).clone()
        };
        let next = spec.and_then(|spec| survey::next(&mut shelf, spec, &numbers, &mut check));
        let newest = numbers.iter().rev().copied();
        let order: Vec<u64> = match wanted {
            Some(wanted) => vec![wanted],
            None => next.map(|(generation, _)| generation).into_iter().chain(newest).collect(),
        };
        let mut flawed = None;
        for generation in order {
            match check(&shelf, generation) {
                None => {}
                Some(Err(reason)) => flawed = flawed.or(Some(NoPayload::Flawed(generation, reason))),
                Some(Ok(header)) => {
                    // It was there a moment ago.
                    let opened = generation::open(&self.vfs, &shelf.dir, generation);
                    let Ok((file, _)) = opened else { continue };
                    let next = next.filter(|(next, _)| *next == generation).map(|(_, handed)| handed);
                    return Ok(Payload { header, next, file });
                }
            }
        }
        Err(flawed.unwrap_or(NoPayload::Missing(numbers)))
    }

    /// Writes a payload's bytes exactly as they were sealed.
    ///
    /// # Errors
    /// When it can't be read any more, or not be written; the text says which.
    pub fn copy(&self, payload: &Payload<V>, into: &mut dyn io::Write) -> io::Result<()> {
        let start = payload.header.line().len() as u64;
        let length = payload.header.payload_len;
        let copied = generation::stream(
            length,
            |at, buffer| self.vfs.read_at(&payload.file, buffer, start + at),
            |_, bytes| into.write_all(bytes),
        )?;
        if copied != length {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the generation was cut off meanwhile"));
        }
        into.flush()
    }

    /// Checks a generation whole. `None`: it is no longer there.
    fn check<'a>(&self, shelf: &Shelf<'a, ReadOnly<V>>, generation: u64) -> Option<Result<Header, Reason>> {
        let opened = generation::open(&self.vfs, &shelf.dir, generation);
        let identity = (shelf.component.as_str(), generation);
        let checked =
            opened.and_then(|(file, meta)| generation::verify(&self.vfs, (&file, &meta), identity, None));
        match checked {
            Ok(header) => Some(Ok(header)),
            Err(Flaw::Damaged(how)) => Some(Err(Reason::Damaged(how))),
            Err(Flaw::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Err(Flaw::Unreadable(error) | Flaw::Sink(error) | Flaw::Other(error)) => {
                Some(Err(Reason::Unreadable(error.to_string())))
            }
        }
    }

    /// A component's folder with the numbers of its generations, and a ledger that goes with them; `None`: it
    /// has none.
    fn shelf<'a>(&'a self, component: &'a Name) -> Result<Option<Shelved<'a, V>>, StateError> {
        let Some(base) = &self.base else { return Ok(None) };
        let path = self.path.join(component.as_str());
        let dir = match self.vfs.open_dir(base, component.as_str().as_ref()) {
            Ok(dir) => dir,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StateError::new("open the state folder", path, error)),
        };
        let (ledger, memory) = (Ledger::default(), Memory::None);
        let recorded = 0;
        let mut shelf =
            Shelf { vfs: &self.vfs, clock: &*self.clock, component, dir, path, ledger, recorded, memory };
        let mut before = self.ledger(&shelf);
        let mut numbers = shelf.generations()?;
        // A running orch may have been at work between the two; then the next look is as good.
        for _ in 0..10 {
            let after = self.ledger(&shelf);
            if after == before {
                break;
            }
            before = after;
            numbers = shelf.generations()?;
        }
        (shelf.ledger, shelf.memory) = match before {
            Found::Sound(ledger) => (*ledger, Memory::Sound),
            Found::Absent if numbers.is_empty() => (Ledger::default(), Memory::None),
            Found::Absent | Found::Damaged => (Ledger::default(), Memory::Lost { moved_to: None }),
        };
        shelf.recorded = shelf.ledger.high;
        // As the next start does.
        if let Some(used) = last_use(&self.vfs, base, component) {
            shelf.ledger.catch_up(used);
        }
        Ok(Some((shelf, numbers)))
    }

    fn ledger(&self, shelf: &Shelf<'_, ReadOnly<V>>) -> Found {
        let bytes = match self.vfs.open(&shelf.dir, LEDGER.as_ref()) {
            Ok(file) => generation::read_small(&self.vfs, &file, MAX_LEDGER).ok().flatten(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Absent,
            Err(_) => None,
        };
        let ledger = bytes.and_then(|bytes| Ledger::decode(&bytes));
        ledger.map_or(Found::Damaged, |ledger| Found::Sound(Box::new(ledger)))
    }

    fn quarantine(&self, shelf: &Shelf<'_, ReadOnly<V>>) -> Vec<SetAside> {
        let path = shelf.path.join(QUARANTINE);
        let Ok(dir) = self.vfs.open_dir(&shelf.dir, QUARANTINE.as_ref()) else { return Vec::new() };
        let mut names = self.vfs.list(&dir).unwrap_or_default();
        names.sort();
        let entry = |name: OsString| {
            let meta = self.vfs.stat(&dir, &name).ok()?;
            Some(SetAside { path: path.join(&name), name, bytes: meta.size })
        };
        names.into_iter().filter_map(entry).collect()
    }
}

/// A component's folder, and the numbers of its generations.
type Shelved<'a, V> = (Shelf<'a, ReadOnly<V>>, Vec<u64>);

/// A ledger's file.
#[derive(PartialEq, Eq)]
enum Found {
    Absent,
    Damaged,
    Sound(Box<Ledger>),
}
