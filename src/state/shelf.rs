//! The folder of one component in the store: its generations, its ledger, its quarantine.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::clock::Clock;
use super::error::{Attempt, StateError};
use super::generation::{self, file_name};
use super::ledger::{Ledger, MAX_LEDGER};
use super::reason::Reason;
use super::vfs::{Kind, Vfs};
use crate::config::model::State;
use crate::types::Name;

pub(super) const LEDGER: &str = "ledger";
pub(super) const NEW_LEDGER: &str = ".ledger.new";
pub(super) const QUARANTINE: &str = "quarantine";
/// A quarantine that holds more than this on the disk is warned of, in bytes; nothing in it is ever deleted.
const LARGE: u64 = 256 << 20;

/// Whether the ledger could be relied on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Memory {
    /// There is nothing of this component yet.
    None,
    /// It was read.
    Sound,
    /// It was damaged, or gone though there are generations.
    Lost {
        /// Where the damaged one is now.
        moved_to: Option<PathBuf>,
    },
}

/// One component's folder, open, with its ledger in memory.
pub(crate) struct Shelf<'a, V: Vfs> {
    pub(crate) vfs: &'a V,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) component: &'a Name,
    pub(crate) dir: V::Dir,
    pub(crate) path: PathBuf,
    pub(crate) ledger: Ledger,
    /// The highest generation that the ledger's file tells of.
    pub(crate) recorded: u64,
    pub(crate) memory: Memory,
}

/// How much of a ledger's write must outlive a crash of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Afterwards it is this ledger, whatever happens.
    Certain,
    /// Afterwards it is this ledger or the last one.
    Either,
}

impl<'a, V: Vfs> Shelf<'a, V> {
    /// Opens the folder of a component, which is made if it is not there.
    pub(crate) fn open(
        vfs: &'a V,
        clock: &'a dyn Clock,
        (base, base_path): (&V::Dir, &Path),
        component: &'a Name,
    ) -> Result<Self, StateError> {
        let name: &OsStr = component.as_str().as_ref();
        let path = base_path.join(name);
        let dir = open_or_make(vfs, base, name).attempt("open the state folder", &path)?;
        let ledger = Ledger::default();
        let (recorded, memory) = (0, Memory::Sound);
        let mut shelf = Self { vfs, clock, component, dir, path, ledger, recorded, memory };
        shelf.load().attempt("read the state ledger in", &shelf.path)?;
        Ok(shelf)
    }

    /// The numbers of the generations, rising.
    pub(crate) fn generations(&self) -> Result<Vec<u64>, StateError> {
        let names = self.vfs.list(&self.dir).attempt("list", &self.path)?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| generation::number(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn load(&mut self) -> io::Result<()> {
        let bytes = match self.vfs.open(&self.dir, LEDGER.as_ref()) {
            Ok(file) if self.vfs.meta(&file)?.kind == Kind::File => {
                generation::read_small(self.vfs, &file, MAX_LEDGER)?.unwrap_or_default()
            }
            Ok(_) => Vec::new(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.load_missing(),
            // A symbolic link.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => Vec::new(),
            Err(error) => return Err(error),
        };
        match Ledger::decode(&bytes) {
            Some(ledger) => {
                self.recorded = ledger.high;
                self.ledger = ledger;
            }
            None => {
                let reason = Reason::Damaged("the ledger is not what was written");
                let moved_to = self.set_aside(LEDGER.as_ref(), &reason)?;
                self.memory = Memory::Lost { moved_to: Some(moved_to) };
            }
        }
        self.raise_high()
    }

    fn load_missing(&mut self) -> io::Result<()> {
        self.raise_high()?;
        self.memory = if self.ledger.high == 0 { Memory::None } else { Memory::Lost { moved_to: None } };
        Ok(())
    }

    fn raise_high(&mut self) -> io::Result<()> {
        let newest = self.vfs.list(&self.dir)?.iter().filter_map(|name| generation::number(name)).max();
        self.ledger.high = self.ledger.high.max(newest.unwrap_or(0));
        Ok(())
    }

    /// Replaces the ledger's file by what is in memory.
    pub(crate) fn save(&mut self, durability: Durability) -> Result<(), StateError> {
        self.clock.boot_id().clone_into(&mut self.ledger.boot);
        self.write_ledger(durability).attempt("write the state ledger in", &self.path)?;
        self.memory = Memory::Sound;
        self.recorded = self.ledger.high;
        Ok(())
    }

    fn write_ledger(&self, durability: Durability) -> io::Result<()> {
        let (vfs, dir) = (self.vfs, &self.dir);
        let file = self.create(NEW_LEDGER.as_ref(), 0o600)?;
        generation::write_all(vfs, &file, &self.ledger.encode(), 0)?;
        vfs.sync(&file)?;
        vfs.rename(dir, NEW_LEDGER.as_ref(), dir, LEDGER.as_ref())?;
        if durability == Durability::Certain { vfs.sync_dir(dir) } else { Ok(()) }
    }

    /// Makes a temporary file in this folder, in place of one that a crash has left.
    pub(crate) fn create(&self, name: &OsStr, mode: u32) -> io::Result<V::File> {
        create_anew(self.vfs, &self.dir, name, mode)
    }

    /// Moves a file of this folder to quarantine.
    pub(crate) fn set_aside(&self, name: &OsStr, reason: &Reason) -> io::Result<PathBuf> {
        self.set_aside_from(&self.dir, name, name, reason)
    }

    /// Moves a generation to quarantine. Its number must have been noted in the ledger's file before.
    pub(crate) fn set_aside_generation(&self, generation: u64, reason: &Reason) -> Option<PathBuf> {
        self.set_aside(&file_name(generation), reason)
            .inspect_err(
                |error| tracing::warn!(component = %self.component, generation, %error, "not set aside"),
            )
            .ok()
    }

    /// Moves something from a folder on the same file system to quarantine.
    pub(crate) fn set_aside_from(
        &self,
        from: &V::Dir,
        name: &OsStr,
        label: &OsStr,
        reason: &Reason,
    ) -> io::Result<PathBuf> {
        let (quarantine, new) = self.quarantine_place(label, reason)?;
        self.vfs.rename_new(from, name, &quarantine, new.as_ref())?;
        self.vfs.sync_dir(&quarantine)?;
        // Or the next boot could find it at both places.
        self.vfs.sync_dir(from)?;
        self.warn_if_large(&quarantine);
        Ok(self.path.join(QUARANTINE).join(new))
    }

    /// Copies a file from another file system to quarantine, durably; the caller removes the original.
    pub(crate) fn copy_aside(
        &self,
        file: &V::File,
        limit: u64,
        label: &OsStr,
        reason: &Reason,
    ) -> io::Result<PathBuf> {
        let (quarantine, new) = self.quarantine_place(label, reason)?;
        let copy = create_anew(self.vfs, &quarantine, new.as_ref(), 0o600)?;
        generation::copy(self.vfs, file, &copy, limit)?;
        self.vfs.sync_dir(&quarantine)?;
        self.warn_if_large(&quarantine);
        Ok(self.path.join(QUARANTINE).join(new))
    }

    /// Opens the quarantine and chooses a name in it. Names begin with a rising number.
    fn quarantine_place(&self, label: &OsStr, reason: &Reason) -> io::Result<(V::Dir, String)> {
        let quarantine = open_or_make(self.vfs, &self.dir, QUARANTINE.as_ref())?;
        // Whoever made it may have been killed before it was durable.
        self.vfs.sync_dir(&self.dir)?;
        let last = self.vfs.list(&quarantine)?.iter().filter_map(|name| order(name)).max().unwrap_or(0);
        let label = label.to_string_lossy();
        let short: String = label.chars().filter(|c| !c.is_control()).take(40).collect();
        Ok((quarantine, format!("{:06}-{}-{short}", last.saturating_add(1), reason.slug())))
    }

    /// What is not used is kept all the same (contract, section 5): to throw it away is the user's affair.
    fn warn_if_large(&self, quarantine: &V::Dir) {
        let Ok(names) = self.vfs.list(quarantine) else { return };
        let sizes = names.iter().filter_map(|name| self.vfs.stat(quarantine, name).ok());
        let bytes = sizes.fold(0_u64, |sum, meta| sum.saturating_add(meta.allocated));
        if bytes > LARGE {
            let (folder, megabytes) = (self.path.join(QUARANTINE), bytes >> 20);
            tracing::warn!(
                component = %self.component,
                folder = %folder.display(),
                megabytes,
                "what was set aside is large; delete what nobody wants to look at"
            );
        }
    }

    /// Removes the oldest generations beyond `keep`, but for those that are still to be used.
    pub(crate) fn prune(&self, spec: &State) -> Result<(), StateError> {
        self.prune_to(usize::try_from(spec.keep.max(1)).unwrap_or(usize::MAX), spec)
    }

    pub(crate) fn prune_to(&self, keep: usize, spec: &State) -> Result<(), StateError> {
        let numbers = self.generations()?;
        let unused_restart = numbers.iter().rev().copied().filter(|g| self.ledger.is_unused(*g)).find(|g| {
            generation::peek(self.vfs, &self.dir, *g).is_some_and(|h| h.source == super::Source::Restart)
        });
        for number in numbers.iter().rev().skip(keep).copied() {
            // Only with `once` does it matter how often one was offered.
            let on_offer = spec.once && self.ledger.offers(number) > 0;
            if Some(number) != unused_restart && !on_offer {
                self.vfs
                    .unlink(&self.dir, &file_name(number))
                    .attempt("remove an old state in", &self.path)?;
            }
        }
        Ok(())
    }
}

/// The number that a name in quarantine begins with.
fn order(name: &OsStr) -> Option<u64> {
    name.to_str()?.split('-').next()?.parse().ok()
}

/// Opens a folder of the store; makes it if it is not there. The caller makes it durable by an fsync of the
/// folder that it is in, also where it was there: whoever made it may have been killed before.
pub(crate) fn open_or_make<V: Vfs>(vfs: &V, at: &V::Dir, name: &OsStr) -> io::Result<V::Dir> {
    match vfs.open_dir(at, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            vfs.make_dir(at, name)?;
            vfs.open_dir(at, name)
        }
        opened => opened,
    }
}

/// Makes a file, in place of one that a crash may have left under that name.
pub(crate) fn create_anew<V: Vfs>(vfs: &V, at: &V::Dir, name: &OsStr, mode: u32) -> io::Result<V::File> {
    match vfs.create(at, name, mode) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            vfs.unlink(at, name)?;
            vfs.create(at, name, mode)
        }
        created => created,
    }
}
