//! The user's running projects, so that `orch ps --all` finds them: one small file for each, in a folder of the
//! user's alone. It is a hint and no more: who reads it asks the project's control socket whether it is true, and
//! that it can't be written is no reason for orch not to run.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::types::escaped;

/// The longest entry that is read; two paths are much shorter. Bytes.
const LONGEST: u64 = 64 << 10;

/// A project that was running when this was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The state directory, absolute.
    #[serde(with = "path")]
    pub state_dir: PathBuf,
    /// The YAML file, absolute.
    #[serde(with = "path")]
    pub file: PathBuf,
    /// orch's process id.
    pub pid: u32,
    /// When the project came up, in RFC 3339; a new image of orch leaves it as it was.
    pub since: String,
}

/// Paths are bytes.
mod path {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

    use serde::{Deserializer, Serializer};

    use super::{OsString, Path, PathBuf, escaped};

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        escaped::serialize(path.as_os_str().as_bytes(), serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        Ok(OsString::from_vec(escaped::deserialize(deserializer)?).into())
    }
}

/// The folders where running projects are noted.
#[derive(Debug)]
pub struct Registry {
    /// That of the session, that of the user, and one that is always possible: writers take the first that they
    /// may, and those who read look in all, since they may have another environment.
    places: Vec<PathBuf>,
}

impl Registry {
    /// The folders of this process's user.
    #[must_use]
    pub fn of_user() -> Self {
        let user = rustix::process::geteuid().as_raw();
        let session = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let session = session.filter(|folder| folder.is_absolute());
        let mut places: Vec<PathBuf> =
            session.into_iter().chain([format!("/run/user/{user}").into()]).collect();
        places.dedup();
        let mut places: Vec<PathBuf> = places.into_iter().map(|folder| folder.join("orch")).collect();
        places.push(format!("/tmp/orch-{user}").into());
        Self { places }
    }

    /// Notes that a project runs here, in this process.
    pub(crate) fn enter(&self, state_dir: &Path, file: &Path) {
        let pid = std::process::id();
        let since = match self.entry(state_dir) {
            // An earlier image of this process has written it.
            Some(entry) if entry.pid == pid => entry.since,
            _ => format!("{:.0}", jiff::Timestamp::now()),
        };
        let entry = Entry { state_dir: state_dir.to_path_buf(), file: file.to_path_buf(), pid, since };
        let Some(folder) = self.places.iter().find_map(|place| made(place)) else {
            tracing::warn!("`orch ps --all` won't show this project: there is no folder to note it in");
            return;
        };
        if let Err(error) = write(&folder, &entry) {
            tracing::warn!(%error, "`orch ps --all` won't show this project: it can't be noted");
        }
    }

    /// Notes that it does not run any more.
    pub(crate) fn leave(&self, state_dir: &Path) {
        self.remove(state_dir, |entry| entry.pid == std::process::id());
    }

    /// Takes an entry away that is not true any more.
    pub fn forget(&self, entry: &Entry) {
        self.remove(&entry.state_dir, |found| found == entry);
    }

    fn remove(&self, state_dir: &Path, is_meant: impl Fn(&Entry) -> bool) {
        let name = name(state_dir);
        for folder in self.folders() {
            if read(&folder, &name).is_some_and(|entry| is_meant(&entry)) {
                let _ = rustix::fs::unlinkat(&folder, &name, AtFlags::empty());
            }
        }
    }

    /// All that is noted, each state directory once. Whether it is true must be asked.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        for folder in self.folders() {
            for name in names(&folder).unwrap_or_default() {
                match read(&folder, &name) {
                    Some(entry) if entries.iter().all(|known| known.state_dir != entry.state_dir) => {
                        entries.push(entry);
                    }
                    _ => {}
                }
            }
        }
        entries
    }

    /// What is noted of one state directory.
    #[must_use]
    pub fn entry(&self, state_dir: &Path) -> Option<Entry> {
        let name = name(state_dir);
        self.folders().find_map(|folder| read(&folder, &name))
    }

    fn folders(&self) -> impl Iterator<Item = OwnedFd> + '_ {
        self.places.iter().filter_map(|place| trusted(place))
    }
}

/// The folder, made if it is missing. The one it lies in is not made: where there is none, it is not for us.
fn made(place: &Path) -> Option<OwnedFd> {
    // One that is there already may be as good.
    let _ = rustix::fs::mkdir(place, Mode::RWXU);
    trusted(place)
}

/// The folder, if nobody else can have put anything into it: it is ours, it is no link, others have no rights.
fn trusted(place: &Path) -> Option<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let folder = rustix::fs::open(place, flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&folder).ok()?;
    let is_ours = stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o077 == 0;
    if !is_ours {
        tracing::warn!(folder = %place.display(), "others may write here; it is passed over");
    }
    is_ours.then_some(folder)
}

/// The name of a project's entry: short, whatever the path, and the same for every orch.
fn name(state_dir: &Path) -> OsString {
    let digest = Sha256::digest(state_dir.as_os_str().as_bytes());
    let digits: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{digits}.json").into()
}

fn names(folder: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)? {
        let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
        if Path::new(&name).extension().is_some_and(|extension| extension == "json") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn read(folder: &OwnedFd, name: &OsString) -> Option<Entry> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(folder, name, flags, Mode::empty()).ok()?);
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Written whole, or not at all: others read it at any time.
fn write(folder: &impl AsFd, entry: &Entry) -> io::Result<()> {
    let name = name(&entry.state_dir);
    let beside = OsString::from(format!(".{}.{}", name.display(), std::process::id()));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(folder, &beside, flags, Mode::RUSR | Mode::WUSR)?);
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    let written =
        file.write_all(&line).and_then(|()| Ok(rustix::fs::renameat(folder, &beside, folder, &name)?));
    if written.is_err() {
        let _ = rustix::fs::unlinkat(folder, &beside, AtFlags::empty());
    }
    written
}

#[cfg(test)]
mod tests;
