//! A thread component's state: what it was given at its start, and how it saves.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, ThreadId};

use super::lock;
use crate::types::Source;

/// What a thread with `state` is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadState {
    /// Where it lies, absolute.
    pub file: PathBuf,
    /// A larger one is not saved, for it would not be sealed. Bytes.
    pub max_size: u64,
    /// Where the content of the file comes from, if it was put there for this incarnation.
    pub restored: Option<Source>,
}

/// The state of one incarnation.
#[derive(Debug)]
pub(super) struct Stored {
    spec: ThreadState,
    /// The restored file, as it was at the start: a save puts another file under its name.
    given: OnceLock<Result<Arc<File>, Failure>>,
    /// Held while a save is under way, so that they come one after the other.
    turn: Mutex<()>,
    /// Who saves: that thread must not wait for its own turn.
    saver: Mutex<Option<ThreadId>>,
}

/// An error that can be told again and again.
type Failure = (io::ErrorKind, String);

impl Stored {
    pub(super) fn new(spec: ThreadState) -> Self {
        Self { spec, given: OnceLock::new(), turn: Mutex::default(), saver: Mutex::default() }
    }

    pub(super) fn file(&self) -> &Path {
        &self.spec.file
    }

    pub(super) fn origin(&self) -> Option<Source> {
        self.spec.restored
    }

    /// Takes hold of what was restored; to be called before the component runs.
    pub(super) fn take(&self) {
        if self.spec.restored.is_some() {
            self.given.get_or_init(|| {
                let failure = |error: io::Error| (error.kind(), error.to_string());
                open(&self.spec.file).map(Arc::new).map_err(failure)
            });
        }
    }

    /// What was restored, from its beginning.
    pub(super) fn given(&self) -> io::Result<Option<StateReader>> {
        match self.given.get() {
            None => Ok(None),
            Some(Ok(file)) => Ok(Some(StateReader { file: Arc::clone(file), at: 0 })),
            Some(Err((kind, why))) => Err(about("read the restored state", &self.spec.file, *kind, why)),
        }
    }

    /// Waits for a save that is under way; the value keeps others from beginning.
    pub(super) fn still(&self) -> impl Drop + '_ {
        lock(&self.turn)
    }

    /// Replaces the file by what `fill` writes: as a whole, and durably, or not at all. `begin` says whether it
    /// may, when it is its turn.
    pub(super) fn save(
        &self,
        begin: impl FnOnce() -> io::Result<()>,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        if *lock(&self.saver) == Some(thread::current().id()) {
            return Err(io::Error::new(io::ErrorKind::Deadlock, "a save was begun within a save"));
        }
        let _turn = lock(&self.turn);
        begin()?;
        let _saver = Saver::new(&self.saver);
        let file = &self.spec.file;
        replace(file, self.spec.max_size, fill).map_err(|error| {
            let why = match error.kind() {
                io::ErrorKind::FileTooLarge => {
                    format!("it is larger than {} bytes; raise `state.max_size`", self.spec.max_size)
                }
                _ => error.to_string(),
            };
            about("save the state", file, error.kind(), &why)
        })
    }
}

/// Notes who saves, until it is dropped: also when what is written panics.
struct Saver<'a>(&'a Mutex<Option<ThreadId>>);

impl<'a> Saver<'a> {
    fn new(saver: &'a Mutex<Option<ThreadId>>) -> Self {
        *lock(saver) = Some(thread::current().id());
        Self(saver)
    }
}

impl Drop for Saver<'_> {
    fn drop(&mut self) {
        *lock(self.0) = None;
    }
}

/// Reads the restored state, from the beginning, as it was when the component was started. Each one has a
/// place of its own.
#[derive(Debug)]
pub struct StateReader {
    file: Arc<File>,
    at: u64,
}

impl StateReader {
    pub(super) fn all(mut self) -> io::Result<Vec<u8>> {
        let size = self.file.metadata()?.len();
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0).min(1 << 30));
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Read for StateReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Opens what lies at the state's path, if it is a file. Whatever else is there, nothing waits for it.
fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    let file = options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(file)
}

/// Replaces `file` as a whole. The bytes are on the disk before the name is theirs: otherwise a crash of
/// the machine could leave an empty file under it. Then the name is, too: what `save` has returned from is
/// not lost. None of this is left out when the component is asked to stop: until orch has sealed the file,
/// it is the only copy.
fn replace(
    file: &Path,
    max_size: u64,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let (Some(name), Some(folder)) = (file.file_name(), file.parent()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    fs::create_dir_all(folder)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".tmp");
    let temporary = file.with_file_name(hidden);
    // One incarnation lives at a time and saves are in turn, so a file of that name is a dead one's.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let undo = Undo(&temporary);
    write_new(&temporary, max_size, fill)?;
    fs::rename(&temporary, file)?;
    std::mem::forget(undo);
    File::open(folder)?.sync_all()
}

/// Removes the temporary file of a save that comes to nothing, also by a panic.
struct Undo<'a>(&'a Path);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}

fn write_new(
    path: &Path,
    max_size: u64,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let buffer = BufWriter::with_capacity(1 << 16, File::create_new(path)?);
    let mut limited = Limited { into: buffer, left: max_size, over: false };
    let filled = fill(&mut limited);
    if limited.over {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    filled?;
    limited.into.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()
}

/// Takes so many bytes and no more, whatever the writer makes of the error.
struct Limited<W> {
    into: W,
    left: u64,
    over: bool,
}

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            self.over = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let written = self.into.write(bytes)?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}

pub(super) fn about(what: &str, file: &Path, kind: io::ErrorKind, why: &str) -> io::Error {
    io::Error::new(kind, format!("{what} {}: {why}", file.display()))
}
