//! The state directory: made, locked, and cleared of what an earlier orch left running.
//!
//! Two locks, both `flock`s, so that they are held by living processes and by nothing else: one on a file in
//! the state directory, one on the YAML file itself, which keeps two orchs apart that use different state
//! directories. The keeper holds copies of both: after orch was killed, they are free when, and only when,
//! everything that it started is gone.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::clock;
use crate::runner::keeper::{self, Keeper};

/// So long a new orch waits for the keeper of a killed one to be done.
const PATIENCE: Duration = Duration::from_secs(10);
/// So long where nobody knows whether a keeper or a living orch has the lock: a keeper takes less.
const GRACE: Duration = Duration::from_millis(1500);

/// A project that is ours alone.
#[derive(Debug)]
pub(crate) struct Home {
    dir: PathBuf,
    lock: File,
    file: File,
}

/// Why a project can't be ours.
#[derive(Debug)]
pub(crate) enum HomeError {
    /// Another orch runs it.
    Taken {
        /// What is locked.
        path: PathBuf,
        /// Who has it, if that is known.
        pid: Option<u32>,
    },
    /// Something could not be done.
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
}

impl std::fmt::Display for HomeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Taken { path, pid: Some(pid) } => {
                write!(f, "an orch already runs here: pid {pid} holds {}", path.display())
            }
            Self::Taken { path, pid: None } => {
                write!(f, "an orch already runs here: {} is locked", path.display())
            }
            Self::Io { attempt, path, error } => write!(f, "can't {attempt} {}: {error}", path.display()),
        }
    }
}

impl Home {
    /// Makes the state directory (0700, ignored by git), locks it and the YAML file, and ends what an orch
    /// left running that was killed together with its keeper.
    ///
    /// # Errors
    /// [`HomeError::Taken`] while another orch runs the project; else what could not be done.
    pub(crate) fn enter(dir: &Path, yaml: &Path) -> Result<Self, HomeError> {
        let failed = |attempt, path: &Path| {
            let path = path.to_path_buf();
            move |error| HomeError::Io { attempt, path, error }
        };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(dir).map_err(failed("make the state directory", dir))?;
        let meta = std::fs::metadata(dir).map_err(failed("look at the state directory", dir))?;
        if std::os::unix::fs::MetadataExt::uid(&meta) != rustix::process::geteuid().as_raw() {
            let error = io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user");
            return Err(failed("use the state directory", dir)(error));
        }
        make_private(dir, meta.permissions().mode()).map_err(failed("use the state directory", dir))?;
        let ignore = dir.join(".gitignore");
        if !ignore.exists() {
            std::fs::write(&ignore, "*\n").map_err(failed("write", &ignore))?;
        }
        let path = dir.join("lock");
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
        let lock = options.open(&path).map_err(failed("open the lock", &path))?;
        take(&lock, &path, || Note::read(&path).map(|note| note.pid))?;
        let file = open_yaml(yaml).map_err(failed("open", yaml))?;
        // Whoever has it runs with another state directory, and has left no note in this one.
        take(&file, yaml, || None)?;
        let home = Self { dir: dir.to_path_buf(), lock, file };
        home.sweep();
        Ok(home)
    }

    /// Goes on with the locks that an earlier image of this process took.
    ///
    /// # Errors
    /// They are not two.
    pub(crate) fn adopt(dir: &Path, locks: Vec<OwnedFd>) -> io::Result<Self> {
        let [lock, file]: [OwnedFd; 2] =
            locks.try_into().map_err(|_| io::Error::other("the project's two locks were not handed over"))?;
        Ok(Self { dir: dir.to_path_buf(), lock: lock.into(), file: file.into() })
    }

    /// The locks once more, for [`Home::adopt`]: they last as long as any of their descriptors.
    pub(crate) fn duplicates(&self) -> io::Result<Vec<OwnedFd>> {
        self.held().iter().map(BorrowedFd::try_clone_to_owned).collect()
    }

    /// What the keeper is to hold: the locks.
    pub(crate) fn held(&self) -> [BorrowedFd<'_>; 2] {
        [self.lock.as_fd(), self.file.as_fd()]
    }

    /// Locks the YAML file that has taken the old one's place; whether there is one, so that the keeper has to
    /// hold other locks than before. Waits for nobody.
    ///
    /// # Errors
    /// [`HomeError::Taken`] when another orch was faster.
    pub(crate) fn relock(&mut self, yaml: &Path) -> Result<bool, HomeError> {
        // What is no file now may become one again; until then the old lock is as good as any.
        let Ok(file) = open_yaml(yaml) else { return Ok(false) };
        if identity(&file).is_some_and(|new| identity(&self.file) == Some(new)) {
            return Ok(false);
        }
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                self.file = file;
                Ok(true)
            }
            Err(Errno::WOULDBLOCK) => Err(HomeError::Taken { path: yaml.to_path_buf(), pid: None }),
            Err(_) => Ok(false),
        }
    }

    /// Notes who runs the project, for messages and for the sweep of the next orch.
    pub(crate) fn note(&self, keeper: &Keeper) -> io::Result<()> {
        let mut line =
            format!("{} {} {}", std::process::id(), keeper.instance(), clock::boot_id()).into_bytes();
        if let Some(cgroup) = keeper.cgroup() {
            line.push(b' ');
            line.extend_from_slice(cgroup.as_os_str().as_bytes());
        }
        line.push(b'\n');
        self.lock.set_len(0)?;
        std::os::unix::fs::FileExt::write_all_at(&self.lock, &line, 0)?;
        (&self.lock).flush()
    }

    /// Says that nothing of ours is left.
    pub(crate) fn leave(&self) {
        // An old note is harmless: it names processes that are proven gone.
        let _ = self.lock.set_len(0);
    }

    /// The state directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Ends what carries the mark of an orch that was killed at the same moment as its keeper.
    fn sweep(&self) {
        let Some(note) = Note::read(&self.dir.join("lock")) else { return };
        if note.boot == clock::boot_id() {
            let killed = keeper::sweep(note.instance, note.cgroup.as_deref());
            if !killed.is_empty() {
                tracing::warn!(?killed, "ended what an orch left running that was killed with its keeper");
            }
        }
    }
}

/// Takes everybody else's rights to the state directory away: it may have been made by other hands.
fn make_private(dir: &Path, mode: u32) -> io::Result<()> {
    // As /tmp is: it is not orch's to close.
    if mode & 0o1000 != 0 {
        return Err(io::Error::other("it is a folder that users share; name one inside it"));
    }
    if mode & 0o777 == 0o700 {
        return Ok(());
    }
    match std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)) {
        // Some file systems have no modes.
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::PERM | Errno::NOTSUP)) => {
            tracing::warn!(%error, "the state directory can't be made private");
            Ok(())
        }
        result => result,
    }
}

/// Opens the YAML file to lock it. It may be anything by now: a FIFO would be waited on for ever.
fn open_yaml(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(file)
}

/// Takes a lock. While the one who has it is an orch that lives, it is taken; else its keeper is at work, and
/// will be done soon. `owner` tells who wrote that they have it.
fn take(file: &File, path: &Path, owner: impl Fn() -> Option<u32>) -> Result<(), HomeError> {
    let begun = Instant::now();
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) => {}
            // Some file systems have no locks; better no lock than no orch.
            Err(Errno::NOSYS | Errno::NOTSUP | Errno::NOLCK | Errno::BADF) => return Ok(()),
            Err(error) => {
                let path = path.to_path_buf();
                return Err(HomeError::Io { attempt: "lock", path, error: error.into() });
            }
        }
        let owner = owner();
        let living = owner.filter(|pid| lives(*pid));
        let patience = match (owner, living) {
            (_, Some(_)) => Duration::ZERO,
            (Some(_), None) => PATIENCE,
            (None, None) => GRACE,
        };
        if begun.elapsed() >= patience {
            return Err(HomeError::Taken { path: path.to_path_buf(), pid: living });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Who wrote that they run the project.
struct Note {
    pid: u32,
    /// By these two, what its keeper started can be found.
    instance: u32,
    cgroup: Option<PathBuf>,
    boot: String,
}

impl Note {
    /// `PID INSTANCE BOOT [CGROUP]`, or nothing that is to be trusted.
    fn read(path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path).ok()?;
        let mut words = text.trim_end().splitn(4, ' ');
        let (pid, instance) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let boot = words.next().unwrap_or_default().to_owned();
        Some(Self { pid, instance, boot, cgroup: words.next().map(PathBuf::from) })
    }
}

/// Whether a process is there and not a zombie.
fn lives(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

fn identity(file: &File) -> Option<(u64, u64)> {
    let meta = file.metadata().ok()?;
    Some((std::os::unix::fs::MetadataExt::dev(&meta), std::os::unix::fs::MetadataExt::ino(&meta)))
}
