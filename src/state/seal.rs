//! From the state file to the store: what is found is sealed, left, or set aside.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::arrival::Arrival;
use super::clock::Stamp;
use super::error::{Attempt, StateError};
use super::generation::{self, file_name};
use super::header::{Header, Source};
use super::ledger::Known;
use super::mutant::{self, Mutant};
use super::present::{Content, Present, Standing, Verdict, inspect, verdict};
use super::reason::Reason;
use super::shelf::{Durability, Memory, Shelf};
use super::vfs::{Kind, Meta, Vfs};
use super::{Seal, Sealed};
use crate::config::model::State;

pub(super) const NEW_GENERATION: &str = ".generation.new";

/// A component's state file: the open folder that it is in, and its name there.
pub(crate) struct Spot<V: Vfs> {
    pub(crate) dir: V::Dir,
    pub(crate) name: OsString,
    pub(crate) path: PathBuf,
}

impl<V: Vfs> Spot<V> {
    /// Opens the folder of a state file; `None` if there is none.
    pub(crate) fn open(vfs: &V, file: &Path) -> Result<Option<Self>, StateError> {
        let (folder, name) = split(file)?;
        match vfs.open_path(folder) {
            Ok(dir) => Ok(Some(Self { dir, name: name.to_owned(), path: file.to_owned() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StateError::new("open the folder", folder, error)),
        }
    }

    /// Opens the folder of a state file; makes it if there is none.
    pub(crate) fn make(vfs: &V, file: &Path) -> Result<Self, StateError> {
        if let Some(spot) = Self::open(vfs, file)? {
            return Ok(spot);
        }
        let (folder, name) = split(file)?;
        vfs.make_path(folder, false).attempt("make the folder", folder)?;
        let dir = vfs.open_path(folder).attempt("open the folder", folder)?;
        Ok(Self { dir, name: name.to_owned(), path: file.to_owned() })
    }
}

fn split(file: &Path) -> Result<(&Path, &OsStr), StateError> {
    file.parent().zip(file.file_name()).ok_or_else(|| {
        StateError::new(
            "use as a state file",
            file,
            io::Error::new(io::ErrorKind::InvalidInput, "not a file's path"),
        )
    })
}

/// Asked after a generation is written and before it gets its name: whether it may.
pub(crate) type MayPublish<'a> = &'a dyn Fn() -> io::Result<()>;

/// What becomes a generation.
pub(crate) struct Draft<'a, V: Vfs> {
    pub(crate) file: &'a V::File,
    pub(crate) meta: &'a Meta,
    pub(crate) source: Source,
    pub(crate) incarnation: u64,
    pub(crate) stamp: Stamp,
}

impl<V: Vfs> Shelf<'_, V> {
    /// Looks at the state file and does what the contract says. The ledger in memory knows of it afterwards;
    /// the caller saves it.
    pub(crate) fn settle(
        &mut self,
        spec: &State,
        spot: &Spot<V>,
        standing: Standing,
        (arrival, incarnation): (Arrival, u64),
    ) -> Result<Seal, StateError> {
        let present =
            inspect(self.vfs, &spot.dir, &spot.name, spec.max_size).attempt("look at", &spot.path)?;
        let (file, meta) = match present {
            Present::Absent => return Ok(Seal::Absent),
            Present::Refused(reason) => return self.quarantine(spot, None, reason),
            Present::File(file, meta) => (file, meta),
        };
        self.ledger.mode = Some(meta.mode);
        match verdict(self.content(arrival, (&file, &meta))?, standing, spec.atomic) {
            Verdict::Leave => {
                self.ledger.find_in_place(&meta);
                Ok(Seal::Untouched)
            }
            Verdict::Seal(source) => {
                if let Some(twin) = self.unrecorded_twin((&file, &meta), (standing, source))?
                    && !mutant::is(Mutant::TwinSealed)
                {
                    return Ok(self.is_known_as(twin, &meta));
                }
                let stamp = match standing {
                    Standing::Found(_) => Stamp::at_mtime(self.clock, meta.mtime_ns),
                    Standing::Crashed | Standing::Orphaned => Stamp::of_file(self.clock, meta.mtime_ns),
                    Standing::Ordered => Stamp::now(self.clock),
                };
                if mutant::is(Mutant::PruneBeforePublish) {
                    self.prune_to(0, spec)?;
                }
                self.seal(spot, &Draft { file: &file, meta: &meta, source, incarnation, stamp })
            }
            Verdict::Reject(reason) => match self.same_as_known((&file, &meta))? {
                Some(generation) => Ok(self.is_known_as(generation, &meta)),
                None => self.quarantine(spot, Some((&file, &meta)), reason),
            },
        }
    }

    fn content(&self, arrival: Arrival, file: (&V::File, &Meta)) -> Result<Content, StateError> {
        let known = self.ledger.recognise(file.1);
        let content = Content::of(arrival, known);
        match known {
            Some(known) if content == Content::Doubtful && self.same_as_known(file)?.is_some() => {
                Ok(Content::of_known(known))
            }
            _ => Ok(content),
        }
    }

    fn is_known_as(&mut self, generation: u64, meta: &Meta) -> Seal {
        self.ledger.know(Known::new(generation, meta));
        Seal::Untouched
    }

    /// The generation that has the same bytes, among the newest and those whose files orch knows. It tells a
    /// file that was only touched, or sealed just before orch was killed.
    fn same_as_known(&self, (file, meta): (&V::File, &Meta)) -> Result<Option<u64>, StateError> {
        let newest = self.generations()?.last().copied();
        let known = self.ledger.known.iter().map(|known| known.generation);
        let same =
            |generation: &u64| generation::same_payload(self.vfs, &self.dir, *generation, (file, meta.size));
        Ok(newest.into_iter().chain(known).find(same))
    }

    /// The generation that was made of this very file, and that the ledger does not tell of, since a crash
    /// came between the two. Sealed once more, it could be used twice. What a stop hands over is a `restart`
    /// whatever was saved before.
    fn unrecorded_twin(
        &self,
        (file, meta): (&V::File, &Meta),
        (standing, source): (Standing, Source),
    ) -> Result<Option<u64>, StateError> {
        let unrecorded = self.generations()?.into_iter().rev().filter(|number| *number > self.recorded);
        Ok(unrecorded.into_iter().find(|number| {
            let header = generation::peek(self.vfs, &self.dir, *number);
            header.is_some_and(|header| standing != Standing::Ordered || header.source == source)
                && generation::same_payload(self.vfs, &self.dir, *number, (file, meta.size))
        }))
    }

    fn seal(&mut self, spot: &Spot<V>, draft: &Draft<'_, V>) -> Result<Seal, StateError> {
        let known = Known::new(self.publish(spot, draft, &|| Ok(()))?, draft.meta);
        let generation = known.generation;
        self.ledger.know(known);
        Ok(Seal::Sealed(Sealed { generation, source: draft.source, bytes: draft.meta.size }))
    }

    /// Makes a new generation, durably; gives its number.
    pub(crate) fn publish(
        &mut self,
        spot: &Spot<V>,
        draft: &Draft<'_, V>,
        may: MayPublish<'_>,
    ) -> Result<u64, StateError> {
        if self.memory == Memory::None {
            // Generations without a ledger mean that one was lost.
            self.save(Durability::Certain)?;
        }
        // A failed write or fsync is not repeated on the same file: the system may have dropped the pages.
        // A fresh file may do better; once.
        let written = self.write_generation(draft, may).or_else(|error| match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::Interrupted => Err(error),
            _ => self.write_generation(draft, may),
        });
        let generation = written.attempt("seal the state file", &spot.path)?;
        self.ledger.high = generation;
        Ok(generation)
    }

    fn write_generation(&self, draft: &Draft<'_, V>, may: MayPublish<'_>) -> io::Result<u64> {
        let newest = self.vfs.list(&self.dir)?.iter().filter_map(|name| generation::number(name)).max();
        let number = self.ledger.high.max(newest.unwrap_or(0)) + 1;
        let header = Header {
            component: self.component.to_string(),
            incarnation: draft.incarnation,
            generation: number,
            source: draft.source,
            timestamp: draft.stamp.timestamp,
            boot_id: draft.stamp.boot_id.clone(),
            boottime_ns: draft.stamp.boottime_ns,
            payload_len: draft.meta.size,
        };
        let temporary = OsStr::new(NEW_GENERATION);
        let written = self.create(temporary, 0o600).and_then(|new| {
            generation::write(self.vfs, &new, &header, draft.file, may)?;
            self.still_the_same(draft.file, draft.meta)?;
            may()
        });
        if let Err(error) = written {
            // It gives back the space that the failure may be about; if that fails, the next seal does it.
            self.vfs.unlink(&self.dir, temporary).ok();
            return Err(error);
        }
        self.vfs.rename_new(&self.dir, temporary, &self.dir, &file_name(number))?;
        self.vfs.sync_dir(&self.dir)?;
        Ok(number)
    }

    fn still_the_same(&self, file: &V::File, before: &Meta) -> io::Result<()> {
        let after = self.vfs.meta(file)?;
        if (after.size, after.mtime_ns) == (before.size, before.mtime_ns) {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the state file changes while it is read"))
    }

    /// Moves the state file out of the way, into quarantine where that is possible.
    pub(crate) fn quarantine(
        &self,
        spot: &Spot<V>,
        readable: Option<(&V::File, &Meta)>,
        reason: Reason,
    ) -> Result<Seal, StateError> {
        let moved = match self.set_aside_from(&spot.dir, &spot.name, &spot.name, &reason) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => match readable {
                Some((file, meta)) if meta.kind == Kind::File => self
                    .copy_aside(file, meta.size, &spot.name, &reason)
                    .and_then(|path| self.vfs.unlink(&spot.dir, &spot.name).map(|()| path)),
                _ => self.rename_aside(spot),
            },
            moved => moved,
        };
        Ok(Seal::Quarantined { reason, path: moved.attempt("move out of the way", &spot.path)? })
    }

    /// What can't be copied stays on its file system, under another name.
    fn rename_aside(&self, spot: &Spot<V>) -> io::Result<PathBuf> {
        for number in 1..=1000_u32 {
            let aside = format!(".orch-aside-{}-{number}", self.component);
            match self.vfs.rename_new(&spot.dir, &spot.name, &spot.dir, aside.as_ref()) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                done => return done.map(|()| spot.path.with_file_name(aside)),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}
