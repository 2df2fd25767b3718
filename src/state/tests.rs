//! The store against real files, with a clock and a file system that do what a test says.

mod clearing;
mod crash;
mod damage;
mod edges;
mod faults;
mod inspecting;
mod large;
mod memory;
mod odd;
mod provenance;
mod restoring;
mod sealing;
mod snapshots;
mod traced;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;

use super::clock::Clock;
use super::vfs::{Meta, Os, Vfs};
use super::*;
use crate::config::model::State;
use crate::types::Name;

/// A clock that stands still until it is told to go on.
#[derive(Clone)]
struct FakeClock {
    boottime_s: Arc<AtomicU64>,
    real_s: Arc<AtomicI64>,
    boot: String,
}

impl Clock for FakeClock {
    fn boottime_ns(&self) -> u64 {
        self.boottime_s.load(Ordering::Relaxed) * 1_000_000_000
    }
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.real_s.load(Ordering::Relaxed)).unwrap()
    }
    fn boot_id(&self) -> &str {
        &self.boot
    }
}

/// The machine's file system without its fsyncs, which can be told to fail.
#[derive(Clone, Default)]
struct Faulty {
    faults: Arc<Mutex<Faults>>,
}

#[derive(Default)]
struct Faults {
    /// How many operations there have been.
    count: u64,
    /// Which of them fails, with what.
    fail: Option<(u64, i32)>,
    /// Whether those after it fail, too.
    for_good: bool,
    /// Whether folders are on different file systems.
    apart: bool,
    /// What has been asked for.
    log: Vec<&'static str>,
}

impl Faulty {
    fn fail_at(&self, at: u64, errno: rustix::io::Errno, for_good: bool) {
        let mut faults = self.faults.lock().unwrap();
        *faults = Faults { fail: Some((at, errno.raw_os_error())), for_good, ..Faults::default() };
    }

    /// No more faults; tells whether the one that was asked for has happened.
    fn calm(&self) -> bool {
        let mut faults = self.faults.lock().unwrap();
        let happened = faults.fail.is_some_and(|(at, _)| faults.count >= at);
        *faults = Faults { apart: faults.apart, ..Faults::default() };
        happened
    }

    fn log(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.faults.lock().unwrap().log)
    }

    fn gate(&self, what: &'static str) -> io::Result<()> {
        let mut faults = self.faults.lock().unwrap();
        faults.count += 1;
        faults.log.push(what);
        match faults.fail {
            Some((at, errno)) if faults.count == at || (faults.for_good && faults.count > at) => {
                Err(io::Error::from_raw_os_error(errno))
            }
            _ => Ok(()),
        }
    }

    fn gate_rename(&self, from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
        self.gate("rename")?;
        let apart = self.faults.lock().unwrap().apart;
        if apart && Os.dir_meta(from)?.inode != Os.dir_meta(to)?.inode {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::XDEV.raw_os_error()));
        }
        Ok(())
    }
}

impl Vfs for Faulty {
    type Dir = OwnedFd;
    type File = OwnedFd;

    fn open_path(&self, path: &Path) -> io::Result<OwnedFd> {
        self.gate("open_path").and_then(|()| Os.open_path(path))
    }
    fn make_path(&self, path: &Path, private: bool) -> io::Result<()> {
        self.gate("make_path").and_then(|()| Os.make_path(path, private))
    }
    fn open_dir(&self, at: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
        self.gate("open_dir").and_then(|()| Os.open_dir(at, name))
    }
    fn make_dir(&self, at: &OwnedFd, name: &OsStr) -> io::Result<()> {
        self.gate("make_dir").and_then(|()| Os.make_dir(at, name))
    }
    fn list(&self, dir: &OwnedFd) -> io::Result<Vec<OsString>> {
        self.gate("list").and_then(|()| Os.list(dir))
    }
    fn dir_meta(&self, dir: &OwnedFd) -> io::Result<Meta> {
        self.gate("dir_meta").and_then(|()| Os.dir_meta(dir))
    }
    fn stat(&self, at: &OwnedFd, name: &OsStr) -> io::Result<Meta> {
        self.gate("stat").and_then(|()| Os.stat(at, name))
    }
    fn open(&self, at: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
        self.gate("open").and_then(|()| Os.open(at, name))
    }
    fn create(&self, at: &OwnedFd, name: &OsStr, mode: u32) -> io::Result<OwnedFd> {
        self.gate("create").and_then(|()| Os.create(at, name, mode))
    }
    fn meta(&self, file: &OwnedFd) -> io::Result<Meta> {
        self.gate("meta").and_then(|()| Os.meta(file))
    }
    fn read_at(&self, file: &OwnedFd, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.gate("read").and_then(|()| Os.read_at(file, into, offset))
    }
    fn write_at(&self, file: &OwnedFd, from: &[u8], offset: u64) -> io::Result<usize> {
        self.gate("write").and_then(|()| Os.write_at(file, from, offset))
    }
    fn settle(&self, file: &OwnedFd) {
        Os.settle(file);
    }
    fn sync(&self, _: &OwnedFd) -> io::Result<()> {
        self.gate("sync")
    }
    fn sync_dir(&self, _: &OwnedFd) -> io::Result<()> {
        self.gate("sync_dir")
    }
    fn rename(&self, from: &OwnedFd, name: &OsStr, to: &OwnedFd, new: &OsStr) -> io::Result<()> {
        self.gate_rename(from, to).and_then(|()| Os.rename(from, name, to, new))
    }
    fn rename_new(&self, from: &OwnedFd, name: &OsStr, to: &OwnedFd, new: &OsStr) -> io::Result<()> {
        self.gate_rename(from, to).and_then(|()| Os.rename_new(from, name, to, new))
    }
    fn unlink(&self, at: &OwnedFd, name: &OsStr) -> io::Result<()> {
        self.gate("unlink").and_then(|()| Os.unlink(at, name))
    }
}

/// A project with one component, whose state file is in a folder of the project.
struct World {
    folder: TempDir,
    clock: FakeClock,
    vfs: Faulty,
    store: Store<Faulty>,
    spec: State,
    name: Name,
    incarnation: u64,
}

impl World {
    /// In memory where there is such a file system: thousands of small files are written.
    fn new() -> Self {
        Self::within(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    fn on_disk() -> Self {
        Self::within(tempfile::tempdir().unwrap())
    }

    fn within(folder: TempDir) -> Self {
        // A little ahead of the time stamps that the files of this test get.
        let now = Timestamp::now().as_second() + 10;
        let clock = FakeClock {
            boottime_s: Arc::new(AtomicU64::new(1_000_000)),
            real_s: Arc::new(AtomicI64::new(now)),
            boot: "boot-1".into(),
        };
        let vfs = Faulty::default();
        let store = open(&vfs, &clock, &folder);
        let spec = State {
            file: folder.path().join("data/state.json"),
            max_age: Some(Duration::from_secs(30)),
            once: true,
            atomic: false,
            keep: 3,
            max_size: 64 << 20,
            snapshot: None,
            restart_args: Vec::new(),
            required: false,
        };
        let name = Name::new("api").unwrap();
        Self { folder, clock, vfs, store, spec, name, incarnation: 0 }
    }

    /// Orch was killed, and started again.
    fn reopen(&mut self) {
        self.store = open(&self.vfs, &self.clock, &self.folder);
    }

    fn reboot(&mut self) {
        self.clock.boot.push('+');
        self.clock.boottime_s.store(10, Ordering::Relaxed);
        self.reopen();
    }

    /// Both clocks go on.
    fn pass(&self, seconds: u64) {
        self.clock.boottime_s.fetch_add(seconds, Ordering::Relaxed);
        self.clock.real_s.fetch_add(i64::try_from(seconds).unwrap(), Ordering::Relaxed);
    }

    /// All that happens before a spawn.
    fn start(&mut self) -> Restore {
        self.incarnation = self.store.next_incarnation(&self.name);
        let restore = self.store.restore(&self.name, &self.spec, self.incarnation, true).unwrap();
        self.store.track(&self.name, &self.spec, self.incarnation).unwrap();
        restore
    }

    fn end(&self, ending: Ending) -> Seal {
        self.store.seal(&self.name, &self.spec, self.incarnation, ending).unwrap()
    }

    fn ready(&self, restore: &Restore) {
        if let Some(restored) = &restore.from {
            self.store.used(&self.name, restored.generation).unwrap();
        }
    }

    /// A whole run that leaves this state in order; gives its generation.
    fn hand_over(&mut self, state: &str) -> u64 {
        let restore = self.start();
        self.ready(&restore);
        self.write(state);
        match self.end(Ending::Ordered) {
            Seal::Sealed(sealed) => sealed.generation,
            other => panic!("{other:?}"),
        }
    }

    fn write(&self, state: impl AsRef<[u8]>) {
        std::fs::write(&self.spec.file, state).unwrap();
    }

    fn replace(&self, state: impl AsRef<[u8]>) {
        let new = self.spec.file.with_extension("tmp");
        std::fs::write(&new, state).unwrap();
        std::fs::rename(new, &self.spec.file).unwrap();
    }

    fn state(&self) -> Option<String> {
        std::fs::read_to_string(&self.spec.file).ok()
    }

    fn shelf(&self) -> PathBuf {
        self.folder.path().join(".orch/state/api")
    }

    fn generation(&self, number: u64) -> PathBuf {
        self.shelf().join(format!("{number:020}.orst"))
    }

    fn generations(&self) -> Vec<u64> {
        let names = names_in(&self.shelf());
        names.iter().filter_map(|name| name.strip_suffix(".orst")?.parse().ok()).collect()
    }

    fn quarantine(&self) -> Vec<String> {
        names_in(&self.shelf().join("quarantine"))
    }
}

fn open(vfs: &Faulty, clock: &FakeClock, folder: &TempDir) -> Store<Faulty> {
    let sink = Arc::new(|_, _| {});
    Store::with(vfs.clone(), Box::new(clock.clone()), &folder.path().join(".orch"), sink).unwrap()
}

fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What was restored: from where, which generation.
fn from(restore: &Restore) -> Option<(Handed, u64)> {
    restore.from.as_ref().map(|restored| (restored.source, restored.generation))
}

fn sealed(generation: u64, source: Source, bytes: u64) -> Seal {
    Seal::Sealed(Sealed { generation, source, bytes })
}
