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
use super::present::{Content, Present, Standing, Verdict, inspect, verdict};
use super::reason::Reason;
use super::shelf::Shelf;
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
        let known = self.ledger.recognise(&meta);
        let mut content = Content::of(arrival, known.is_some());
        if content == Content::Doubtful && known.is_some() && self.same_as_known(&file, &meta)?.is_some() {
            content = Content::Untouched;
        }
        match verdict(content, standing, spec.atomic) {
            Verdict::Leave => {
                self.ledger.know_only(&meta);
                Ok(Seal::Untouched)
            }
            Verdict::Seal(source) => self.seal(spot, (&file, &meta), source, (standing, incarnation)),
            Verdict::Reject(reason) => match self.same_as_known(&file, &meta)? {
                Some(generation) => {
                    self.ledger.known = vec![Known::new(generation, &meta)];
                    Ok(Seal::Untouched)
                }
                None => self.quarantine(spot, Some((&file, &meta)), reason),
            },
        }
    }

    /// The generation that has the same bytes, among the newest and those whose files orch knows. It tells a
    /// file that was only touched, or sealed just before orch was killed.
    fn same_as_known(&self, file: &V::File, meta: &Meta) -> Result<Option<u64>, StateError> {
        let newest = self.generations()?.last().copied();
        let known = self.ledger.known.iter().map(|known| known.generation);
        let same =
            |generation: &u64| generation::same_payload(self.vfs, &self.dir, *generation, (file, meta.size));
        Ok(newest.into_iter().chain(known).find(same))
    }

    fn seal(
        &mut self,
        spot: &Spot<V>,
        present: (&V::File, &Meta),
        source: Source,
        (standing, incarnation): (Standing, u64),
    ) -> Result<Seal, StateError> {
        let stamp = match standing {
            Standing::Found(_) => Stamp::at_mtime(self.clock, present.1.mtime_ns),
            _ => Stamp::now(self.clock),
        };
        let write = |shelf: &mut Self| shelf.write_generation(present, source, incarnation, &stamp);
        // A failed write or fsync is not repeated on the same file: the system may have dropped the pages.
        // A fresh file may do better; once.
        let generation = write(self).or_else(|_| write(self)).attempt("seal the state file", &spot.path)?;
        self.ledger.known = vec![Known::new(generation, present.1)];
        self.ledger.high = generation;
        Ok(Seal::Sealed(Sealed { generation, source, bytes: present.1.size }))
    }

    fn write_generation(
        &self,
        (file, meta): (&V::File, &Meta),
        source: Source,
        incarnation: u64,
        stamp: &Stamp,
    ) -> io::Result<u64> {
        let newest = self.vfs.list(&self.dir)?.iter().filter_map(|name| generation::number(name)).max();
        let number = self.ledger.high.max(newest.unwrap_or(0)) + 1;
        let header = Header {
            component: self.component.to_string(),
            incarnation,
            generation: number,
            source,
            timestamp: stamp.timestamp,
            boot_id: stamp.boot_id.clone(),
            boottime_ns: stamp.boottime_ns,
            payload_len: meta.size,
        };
        let temporary = OsStr::new(NEW_GENERATION);
        let written = self.create(temporary, 0o600).and_then(|new| {
            generation::write(self.vfs, &new, &header, file)?;
            self.still_the_same(file, meta)
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
