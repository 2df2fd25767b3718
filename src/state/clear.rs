//! Forgetting a component's state, because somebody asks for it: the next start is then afresh. The numbers that
//! generations had are not given out again, and the component's own file, which may be the only copy of
//! something, is moved to quarantine rather than deleted.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::Seal;
use super::clock::{Clock, SystemClock};
use super::error::{Attempt, StateError};
use super::generation::{self, file_name};
use super::ledger::Ledger;
use super::present::{Present, inspect};
use super::reason::Reason;
use super::restore::TEMPORARY;
use super::seal::{NEW_GENERATION, Spot};
use super::shelf::{Durability, Memory, NEW_LEDGER, QUARANTINE, Shelf, open_or_make};
use super::store::FOLDER;
use super::vfs::{Kind, Os, Vfs};
use crate::types::Name;

/// Which file is the component's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnFile<'a> {
    /// The project declares it; whatever is there would be taken for a state by the next start.
    Declared(&'a Path),
    /// The component is not declared any more. The file that its last run had may be somebody else's by now, so
    /// it is touched only if it is as orch has left it, and none of these.
    AsRecorded {
        /// The state files that the project declares for others.
        others: &'a [PathBuf],
    },
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cleared {
    /// The generations that were removed: number, and size of the file.
    pub generations: Vec<(u64, u64)>,
    /// What bore the state file's name, and where it is now.
    pub set_aside: Option<(PathBuf, PathBuf)>,
    /// A file that may have been the component's, and was not touched.
    pub left: Option<PathBuf>,
    /// The damaged ledger, which is in quarantine now.
    pub record: Option<PathBuf>,
}

/// Removes all generations of a component, and sets its state file aside. The caller holds the project's lock.
///
/// Whenever it is cut short, the next start is afresh or as it would have been, and doing it again completes it.
///
/// # Errors
/// When something can't be read, moved or removed.
pub fn clear(state_dir: &Path, name: &Name, own: OwnFile<'_>) -> Result<Cleared, StateError> {
    clear_on(&Os, &SystemClock::new(), state_dir, name, own)
}

pub(crate) fn clear_on<V: Vfs>(
    vfs: &V,
    clock: &dyn Clock,
    state_dir: &Path,
    name: &Name,
    own: OwnFile<'_>,
) -> Result<Cleared, StateError> {
    let path = state_dir.join(FOLDER);
    let parent = vfs.open_path(state_dir).attempt("open the state directory", state_dir)?;
    let base = match vfs.open_dir(&parent, FOLDER.as_ref()) {
        // Only a file that is there needs a quarantine.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_present(vfs, own)? => {
            return Ok(Cleared::default());
        }
        _ => open_or_make(vfs, &parent, FOLDER.as_ref()).attempt("open the state folder", &path)?,
    };
    let known = match vfs.stat(&base, name.as_str().as_ref()) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(StateError::new("look at", path.join(name.as_str()), error)),
    };
    if !known && !is_present(vfs, own)? {
        return Ok(Cleared::default());
    }
    let mut shelf = Shelf::open(vfs, clock, (&base, &path), name)?;
    // Folders that were made just now hold the quarantine.
    vfs.sync_dir(&parent).attempt("write the state directory", state_dir)?;
    vfs.sync_dir(&base).attempt("write the state folder", &path)?;
    Clearing { before: quarantined(&shelf), cleared: Cleared::default() }.run(&mut shelf, own)
}

/// Whether something bears the name of a declared state file.
fn is_present<V: Vfs>(vfs: &V, own: OwnFile<'_>) -> Result<bool, StateError> {
    let OwnFile::Declared(file) = own else { return Ok(false) };
    let Some(spot) = Spot::open(vfs, file)? else { return Ok(false) };
    match vfs.stat(&spot.dir, &spot.name) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StateError::new("look at", file, error)),
    }
}

struct Clearing {
    before: Vec<OsString>,
    cleared: Cleared,
}

impl Clearing {
    fn run<V: Vfs>(mut self, shelf: &mut Shelf<'_, V>, own: OwnFile<'_>) -> Result<Cleared, StateError> {
        if let Memory::Lost { moved_to } = &shelf.memory {
            self.cleared.record.clone_from(moved_to);
            // Who knows no numbers any more asks those that were set aside.
            let high = self.before.iter().filter_map(|name| numbered(name)).max().unwrap_or(0);
            shelf.ledger.high = shelf.ledger.high.max(high);
        }
        let file = own_file(shelf, own);
        // From here on none of them is offered, whatever happens. The ledger still knows the file in place, so
        // that it is not taken for a new one.
        shelf.ledger = forgetful(&shelf.ledger, file.as_deref());
        shelf.save(Durability::Certain)?;
        if let Some(file) = file {
            self.set_file_aside(shelf, &file, own)?;
        }
        self.remove_generations(shelf)?;
        shelf.ledger.known.clear();
        shelf.save(Durability::Certain)?;
        Ok(self.cleared)
    }

    fn set_file_aside<V: Vfs>(
        &mut self,
        shelf: &Shelf<'_, V>,
        file: &Path,
        own: OwnFile<'_>,
    ) -> Result<(), StateError> {
        let Some(spot) = Spot::open(shelf.vfs, file)? else { return Ok(()) };
        let beside = format!(".orch-restore-{}", shelf.component);
        remove(shelf.vfs, &spot.dir, beside.as_ref()).attempt("remove a leftover beside", file)?;
        let present = inspect(shelf.vfs, &spot.dir, &spot.name, u64::MAX).attempt("look at", file)?;
        let readable = match &present {
            Present::Absent => return Ok(()),
            Present::Refused(_) => None,
            Present::File(opened, meta) => Some((opened, meta)),
        };
        let recognised = readable.is_some_and(|(_, meta)| shelf.ledger.recognise(meta).is_some());
        let foreign = match own {
            OwnFile::Declared(_) => false,
            OwnFile::AsRecorded { others } => !recognised || others.iter().any(|other| other == file),
        };
        if foreign {
            self.cleared.left = Some(file.to_owned());
            return Ok(());
        }
        if let Seal::Quarantined { path, .. } = shelf.quarantine(&spot, readable, Reason::Cleared)? {
            self.cleared.set_aside = Some((file.to_owned(), path));
        }
        // Should the machine crash now, the file must not be back.
        shelf.vfs.sync_dir(&spot.dir).attempt("write the folder of", file)
    }

    fn remove_generations<V: Vfs>(&mut self, shelf: &Shelf<'_, V>) -> Result<(), StateError> {
        for generation in shelf.generations()? {
            let name = file_name(generation);
            let path = shelf.path.join(&name);
            let meta = shelf.vfs.stat(&shelf.dir, &name).attempt("look at", &path)?;
            if meta.kind == Kind::Folder {
                // No generation, but it bears the name of one, and somebody may have put something in it.
                shelf.set_aside(&name, &Reason::Cleared).attempt("move out of the way", &path)?;
                continue;
            }
            remove(shelf.vfs, &shelf.dir, &name).attempt("remove", &path)?;
            self.cleared.generations.push((generation, meta.size));
        }
        for leftover in [NEW_GENERATION, TEMPORARY, NEW_LEDGER] {
            let path = shelf.path.join(leftover);
            remove(shelf.vfs, &shelf.dir, leftover.as_ref()).attempt("remove", path)?;
        }
        shelf.vfs.sync_dir(&shelf.dir).attempt("write the folder", &shelf.path)
    }
}

/// What a ledger is to remember of a component that starts afresh: the numbers, and which file it had.
fn forgetful(old: &Ledger, file: Option<&Path>) -> Ledger {
    Ledger {
        high: old.high,
        laid_aside: old.high,
        incarnation: old.incarnation.max(old.running.unwrap_or(0)),
        file: file.map_or_else(|| old.file.clone(), |file| file.to_string_lossy().into_owned()),
        known: old.known.clone(),
        mode: old.mode,
        ..Ledger::default()
    }
}

fn own_file<V: Vfs>(shelf: &Shelf<'_, V>, own: OwnFile<'_>) -> Option<PathBuf> {
    match own {
        OwnFile::Declared(file) => Some(file.to_owned()),
        OwnFile::AsRecorded { .. } => {
            Some(PathBuf::from(&shelf.ledger.file)).filter(|file| file.is_absolute())
        }
    }
}

fn quarantined<V: Vfs>(shelf: &Shelf<'_, V>) -> Vec<OsString> {
    let opened = shelf.vfs.open_dir(&shelf.dir, QUARANTINE.as_ref());
    opened.and_then(|dir| shelf.vfs.list(&dir)).unwrap_or_default()
}

/// The number of the generation that a name in quarantine ends with.
fn numbered(name: &OsStr) -> Option<u64> {
    let (_, label) = name.to_str()?.rsplit_once('-')?;
    generation::number(label.as_ref())
}

fn remove<V: Vfs>(vfs: &V, dir: &V::Dir, name: &OsStr) -> io::Result<()> {
    match vfs.unlink(dir, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
