//! A file system in memory that knows what a crash of the machine may leave of it.
//!
//! What was not made durable by an fsync may be lost: of a file's content any of its blocks, and its size and
//! time with or without them; of a folder's changes any, in any order. Changes of one name in one folder take
//! effect in their order, so that every subset stands for every order. A rename within a folder is one
//! change, as every file system has it; from one folder to another it is two, the second never without the
//! first.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::io::Errno;

use super::super::vfs::{Kind, Meta, Vfs};

/// Content is lost by pieces of this size: small, so that small files have several.
pub(super) const BLOCK: usize = 256;
const ROOT: u64 = 1;
/// More states than this of one moment would be a mistake in a scenario.
const MOST: usize = 20_000;

#[derive(Debug, Clone, Default, Hash)]
struct Content {
    bytes: Vec<u8>,
    mtime_ns: i128,
}

#[derive(Debug, Clone, Hash)]
enum Node {
    Folder { live: BTreeMap<OsString, u64>, durable: BTreeMap<OsString, u64>, device: u64 },
    File { live: Content, durable: Content, dirty: BTreeSet<usize>, cut: bool, mode: u32 },
}

/// A change of a folder that no fsync has made durable.
#[derive(Debug, Clone, Hash)]
struct Change {
    id: u64,
    folder: u64,
    entries: Vec<(OsString, Option<u64>)>,
    /// The change that this one never comes without.
    after: Option<u64>,
}

/// What the file system does wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Fraud {
    #[default]
    None,
    /// An fsync of a file does nothing.
    NoFileSync,
    /// An fsync of a folder does nothing.
    NoFolderSync,
    /// An fsync of a file comes only after the rename that follows it.
    RenameBeforeSync,
    /// An fsync of a ledger does nothing.
    LedgerNotSynced,
    /// A ledger is written over, not replaced.
    LedgerInPlace,
}

/// How an operation fails.
#[derive(Debug, Clone, Copy)]
pub(super) enum Failure {
    Error(Errno),
    /// Reads and writes do half of what is asked.
    Short,
}

#[derive(Debug, Clone, Copy)]
struct Fault {
    at: u64,
    for_good: bool,
    failure: Failure,
}

/// All that there is, on the disk and in the page cache.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    nodes: BTreeMap<u64, Node>,
    changes: Vec<Change>,
    next: u64,
    time_ns: i128,
    fraud: Fraud,
    /// Files whose fsync the fraud has put off.
    put_off: Vec<u64>,
}

/// The file system; clones are the same one.
#[derive(Clone)]
pub(super) struct Memory(Arc<Mutex<Machine>>);

struct Machine {
    disk: Disk,
    /// The disk after each operation that has changed it, while it is recorded.
    record: Option<Vec<Disk>>,
    count: u64,
    fault: Option<Fault>,
}

fn errno(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.raw_os_error())
}

impl Disk {
    fn new(time_ns: i128) -> Self {
        let root = Node::Folder { live: BTreeMap::new(), durable: BTreeMap::new(), device: 1 };
        let (nodes, changes, put_off) = (BTreeMap::from([(ROOT, root)]), Vec::new(), Vec::new());
        Self { nodes, changes, next: ROOT + 1, time_ns, fraud: Fraud::None, put_off }
    }

    fn folder(&self, id: u64) -> io::Result<&BTreeMap<OsString, u64>> {
        match self.nodes.get(&id) {
            Some(Node::Folder { live, .. }) => Ok(live),
            _ => Err(errno(Errno::NOTDIR)),
        }
    }

    fn entry(&self, folder: u64, name: &OsStr) -> io::Result<u64> {
        self.folder(folder)?.get(name).copied().ok_or_else(|| errno(Errno::NOENT))
    }

    fn device(&self, folder: u64) -> u64 {
        match self.nodes.get(&folder) {
            Some(Node::Folder { device, .. }) => *device,
            _ => 0,
        }
    }

    fn walk(&self, path: &Path) -> io::Result<u64> {
        path.components().try_fold(ROOT, |at, part| match part {
            Component::Normal(name) => self.entry(at, name),
            _ => Ok(at),
        })
    }

    fn add(&mut self, node: Node) -> u64 {
        self.next += 1;
        self.nodes.insert(self.next, node);
        self.next
    }

    fn change(&mut self, folder: u64, entries: Vec<(OsString, Option<u64>)>, after: Option<u64>) -> u64 {
        if let Some(Node::Folder { live, .. }) = self.nodes.get_mut(&folder) {
            apply(live, &entries);
        }
        self.next += 1;
        self.changes.push(Change { id: self.next, folder, entries, after });
        self.next
    }

    fn make_folder(&mut self, at: u64, name: &OsStr) -> io::Result<u64> {
        if self.folder(at)?.contains_key(name) {
            return Err(errno(Errno::EXIST));
        }
        // What is below `other` is on another file system.
        let device = if name == "other" { 2 } else { self.device(at) };
        let id = self.add(Node::Folder { live: BTreeMap::new(), durable: BTreeMap::new(), device });
        self.change(at, vec![(name.to_owned(), Some(id))], None);
        Ok(id)
    }

    fn write(&mut self, file: u64, from: &[u8], offset: usize) {
        self.time_ns += 1;
        let now = self.time_ns;
        if let Some(Node::File { live, dirty, .. }) = self.nodes.get_mut(&file) {
            let end = offset + from.len();
            if live.bytes.len() < end {
                live.bytes.resize(end, 0);
            }
            live.bytes[offset..end].copy_from_slice(from);
            live.mtime_ns = now;
            dirty.extend(offset / BLOCK..end.div_ceil(BLOCK));
        }
    }

    fn cut_off(&mut self, file: u64) {
        self.time_ns += 1;
        let now = self.time_ns;
        if let Some(Node::File { live, dirty, cut, .. }) = self.nodes.get_mut(&file) {
            *live = Content { bytes: Vec::new(), mtime_ns: now };
            dirty.clear();
            *cut = true;
        }
    }

    fn sync_file(&mut self, file: u64) {
        if let Some(Node::File { live, durable, dirty, cut, .. }) = self.nodes.get_mut(&file) {
            *durable = live.clone();
            dirty.clear();
            *cut = false;
        }
    }

    fn sync_folder(&mut self, folder: u64) {
        let mut wanted: BTreeSet<u64> = BTreeSet::new();
        for change in self.changes.iter().rev() {
            if change.folder == folder || wanted.contains(&change.id) {
                wanted.insert(change.id);
                wanted.extend(change.after);
            }
        }
        self.apply_changes(|change| wanted.contains(&change.id));
        self.changes.retain(|change| !wanted.contains(&change.id));
    }

    fn apply_changes(&mut self, wanted: impl Fn(&Change) -> bool) {
        for change in self.changes.clone().iter().filter(|change| wanted(change)) {
            if let Some(Node::Folder { durable, .. }) = self.nodes.get_mut(&change.folder) {
                apply(durable, &change.entries);
            }
        }
    }

    /// Everything is made durable.
    pub(super) fn settle(&mut self) {
        self.apply_changes(|_| true);
        self.changes.clear();
        let files: Vec<u64> = self.nodes.keys().copied().collect();
        files.into_iter().for_each(|file| self.sync_file(file));
    }

    /// Every disk that a crash of the machine at this moment may leave, each with the number of those that
    /// differ from it only in the content of a temporary file, which nobody reads.
    pub(super) fn after_crash(&self) -> Vec<(Disk, usize)> {
        let mut left = Vec::new();
        for folders in self.folders_after_crash() {
            let (mut states, mut weight) = (vec![folders], 1);
            for file in self.dirty_files() {
                let names = states[0].names_of(file);
                let versions = self.versions(file);
                if names.iter().all(|name| is_temporary(name)) {
                    weight *= if names.is_empty() { 1 } else { versions.len() };
                    continue;
                }
                states = states
                    .iter()
                    .flat_map(|state| versions.iter().map(|version| state.with(file, version.clone())))
                    .collect();
                assert!(states.len() <= MOST, "too many states");
            }
            left.extend(states.into_iter().map(|state| (state, weight)));
        }
        assert!(left.len() <= MOST, "too many states");
        left
    }

    /// With every subset of the folders' changes that are not durable.
    fn folders_after_crash(&self) -> Vec<Disk> {
        let open = self.changes.len();
        assert!(open <= 14, "{open} changes are not durable");
        let mut left = Vec::new();
        for subset in 0..1_u32 << open {
            let has =
                |id: u64| self.changes.iter().position(|c| c.id == id).is_none_or(|at| subset >> at & 1 == 1);
            let chosen = |change: &Change| has(change.id);
            if self.changes.iter().any(|change| chosen(change) && change.after.is_some_and(|id| !has(id))) {
                continue;
            }
            let mut disk = self.clone();
            disk.apply_changes(chosen);
            disk.changes.clear();
            for node in disk.nodes.values_mut() {
                match node {
                    Node::Folder { live, durable, .. } => live.clone_from(durable),
                    Node::File { live, durable, dirty, cut, .. } => {
                        live.clone_from(durable);
                        dirty.clear();
                        *cut = false;
                    }
                }
            }
            left.push(disk);
        }
        left
    }

    fn dirty_files(&self) -> Vec<u64> {
        let dirty = |node: &Node| matches!(node, Node::File { dirty, cut, .. } if *cut || !dirty.is_empty());
        self.nodes.iter().filter(|(_, node)| dirty(node)).map(|(id, _)| *id).collect()
    }

    fn names_of(&self, file: u64) -> Vec<OsString> {
        let folders = self.nodes.values().filter_map(|node| match node {
            Node::Folder { live, .. } => Some(live),
            Node::File { .. } => None,
        });
        let entries = folders.flatten().filter(|(_, id)| **id == file);
        entries.map(|(name, _)| name.clone()).collect()
    }

    fn with(&self, file: u64, version: Content) -> Disk {
        let mut disk = self.clone();
        if let Some(Node::File { live, durable, .. }) = disk.nodes.get_mut(&file) {
            durable.clone_from(&version);
            *live = version;
        }
        disk
    }

    /// What may be left of a file: the old size, the new one, or none where it was cut off, and any subset
    /// of the blocks that were written.
    fn versions(&self, file: u64) -> Vec<Content> {
        let Some(Node::File { live, durable, dirty, cut, .. }) = self.nodes.get(&file) else {
            return Vec::new();
        };
        let mut metas = vec![(durable.bytes.len(), durable.mtime_ns), (live.bytes.len(), live.mtime_ns)];
        if *cut {
            metas.push((0, live.mtime_ns));
        }
        let blocks: Vec<usize> = dirty.iter().copied().collect();
        assert!(blocks.len() <= 8, "{} blocks are not durable", blocks.len());
        let mut versions: Vec<Content> = Vec::new();
        for (size, mtime_ns) in metas {
            for subset in 0..1_u32 << blocks.len() {
                let mut bytes = durable.bytes.clone();
                bytes.resize(live.bytes.len().max(size), 0);
                for (_, block) in blocks.iter().enumerate().filter(|(at, _)| subset >> at & 1 == 1) {
                    let end = (block * BLOCK + BLOCK).min(live.bytes.len());
                    bytes[block * BLOCK..end].copy_from_slice(&live.bytes[block * BLOCK..end]);
                }
                bytes.truncate(size);
                if !versions.iter().any(|known| known.bytes == bytes && known.mtime_ns == mtime_ns) {
                    versions.push(Content { bytes, mtime_ns });
                }
            }
        }
        versions
    }

    /// Equal for disks that are equal in all that the store can see, now and after another crash.
    pub(super) fn fingerprint(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        let mut open = BTreeSet::from([ROOT]);
        while let Some(id) = open.pop_first() {
            let node = &self.nodes[&id];
            let Node::Folder { live, durable, .. } = node else {
                (id, node).hash(&mut hasher);
                continue;
            };
            for entries in [live, durable] {
                for (name, id) in entries {
                    let id = (!is_temporary(name)).then_some(*id);
                    (name, id).hash(&mut hasher);
                    open.extend(id);
                }
            }
        }
        for Change { folder, entries, after, .. } in &self.changes {
            let after = after.map(|id| self.changes.iter().position(|change| change.id == id));
            (folder, after).hash(&mut hasher);
            for (name, id) in entries {
                (name, id.filter(|_| !is_temporary(name))).hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

/// What the store writes under these names is made anew each time; opening one for reading fails here.
fn is_temporary(name: &OsStr) -> bool {
    [NEW_LEDGER, ".generation.new", ".restore.new", ".orch-restore-api", ".incarnations.new"]
        .iter()
        .any(|temporary| name == *temporary)
}

fn apply(entries: &mut BTreeMap<OsString, u64>, changes: &[(OsString, Option<u64>)]) {
    for (name, id) in changes {
        match id {
            Some(id) => entries.insert(name.clone(), *id),
            None => entries.remove(name),
        };
    }
}

impl Memory {
    pub(super) fn new(time_ns: i128) -> Self {
        Self::of(Disk::new(time_ns))
    }

    pub(super) fn of(disk: Disk) -> Self {
        Self(Arc::new(Mutex::new(Machine { disk, record: None, count: 0, fault: None })))
    }

    pub(super) fn cheat(&self, fraud: Fraud) {
        self.lock().disk.fraud = fraud;
    }

    pub(super) fn settle(&self) {
        self.lock().disk.settle();
    }

    /// Begins a record with the disk as it is.
    pub(super) fn record(&self) {
        let mut machine = self.lock();
        machine.record = Some(vec![machine.disk.clone()]);
    }

    /// How many disks are recorded.
    pub(super) fn recorded(&self) -> usize {
        self.lock().record.as_ref().map_or(0, Vec::len)
    }

    pub(super) fn take_record(&self) -> Vec<Disk> {
        self.lock().record.take().unwrap_or_default()
    }

    pub(super) fn fail_at(&self, at: u64, for_good: bool, failure: Failure) {
        let mut machine = self.lock();
        machine.count = 0;
        machine.fault = Some(Fault { at, for_good, failure });
    }

    /// The disk as it is.
    pub(super) fn copy(&self) -> Disk {
        self.lock().disk.clone()
    }

    /// No more failures; tells whether there was one.
    pub(super) fn calm(&self) -> bool {
        let mut machine = self.lock();
        let count = machine.count;
        machine.fault.take().is_some_and(|fault| count >= fault.at)
    }

    pub(super) fn read(&self, path: &str) -> Option<Vec<u8>> {
        let machine = self.lock();
        match machine.disk.walk(path.as_ref()).ok().and_then(|id| machine.disk.nodes.get(&id)) {
            Some(Node::File { live, .. }) => Some(live.bytes.clone()),
            _ => None,
        }
    }

    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let machine = self.lock();
        let folder = machine.disk.walk(path.as_ref()).and_then(|id| machine.disk.folder(id));
        folder
            .map(|names| names.keys().map(|n| n.to_string_lossy().into_owned()).collect())
            .unwrap_or_default()
    }

    /// Flips a bit of a file, durably.
    pub(super) fn damage(&self, path: &str, byte: usize) {
        let mut machine = self.lock();
        let id = machine.disk.walk(path.as_ref()).unwrap();
        if let Some(Node::File { live, durable, .. }) = machine.disk.nodes.get_mut(&id) {
            live.bytes[byte] ^= 1;
            durable.clone_from(live);
        }
    }

    /// As a component does it: cut off and written, without an fsync.
    pub(super) fn write_in_place(&self, path: &Path, bytes: &[u8]) {
        self.undisturbed(|| self.try_write_in_place(path, bytes));
    }

    fn try_write_in_place(&self, path: &Path, bytes: &[u8]) {
        let folder = self.open_path(path.parent().unwrap()).unwrap();
        let name = path.file_name().unwrap();
        let opened = self.lock().disk.entry(folder, name);
        let file = opened.unwrap_or_else(|_| self.create(&folder, name, 0o644).unwrap());
        self.changed(|disk| disk.cut_off(file));
        for (at, piece) in bytes.chunks(BLOCK).enumerate() {
            self.changed(|disk| disk.write(file, piece, at * BLOCK));
        }
    }

    /// As a careful component does it: written beside, made durable, renamed.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) {
        self.undisturbed(|| self.try_replace(path, bytes));
    }

    pub(super) fn remove(&self, path: &Path) {
        self.undisturbed(|| {
            let folder = self.open_path(path.parent().unwrap()).unwrap();
            self.unlink(&folder, path.file_name().unwrap()).unwrap();
        });
    }

    /// What others do is not what fails.
    pub(super) fn undisturbed(&self, act: impl FnOnce()) {
        let (fault, count) = {
            let mut machine = self.lock();
            (machine.fault.take(), machine.count)
        };
        act();
        let mut machine = self.lock();
        (machine.fault, machine.count) = (fault, count);
    }

    fn try_replace(&self, path: &Path, bytes: &[u8]) {
        let folder = self.open_path(path.parent().unwrap()).unwrap();
        let new = OsStr::new("state.tmp");
        let file = self.create(&folder, new, 0o644).unwrap();
        self.changed(|disk| disk.write(file, bytes, 0));
        self.sync(&file).unwrap();
        self.rename(&folder, new, &folder, path.file_name().unwrap()).unwrap();
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Counts an operation, which may have to fail; tells whether it has to do half.
    fn gate(&self) -> io::Result<bool> {
        let mut machine = self.lock();
        machine.count += 1;
        let count = machine.count;
        match machine.fault {
            Some(fault) if fault.at == count || (fault.for_good && count > fault.at) => match fault.failure {
                Failure::Error(error) => Err(errno(error)),
                Failure::Short => Ok(true),
            },
            _ => Ok(false),
        }
    }

    fn changed<T>(&self, change: impl FnOnce(&mut Disk) -> T) -> T {
        let mut machine = self.lock();
        let done = change(&mut machine.disk);
        let disk = machine.record.is_some().then(|| machine.disk.clone());
        if let (Some(record), Some(disk)) = (&mut machine.record, disk) {
            record.push(disk);
        }
        done
    }

    fn meta_of(&self, id: u64) -> io::Result<Meta> {
        let machine = self.lock();
        let node = machine.disk.nodes.get(&id).ok_or_else(|| errno(Errno::NOENT))?;
        let (kind, size, mode, mtime_ns, device) = match node {
            Node::Folder { device, .. } => (Kind::Folder, 0, 0o700, 0, *device),
            Node::File { live, mode, .. } => (Kind::File, live.bytes.len() as u64, *mode, live.mtime_ns, 1),
        };
        let owner = rustix::process::geteuid().as_raw();
        Ok(Meta { kind, device, inode: id, size, allocated: size, mode, owner, mtime_ns })
    }
}

const LEDGER: &str = "ledger";
const NEW_LEDGER: &str = ".ledger.new";

impl Vfs for Memory {
    type Dir = u64;
    type File = u64;

    fn open_path(&self, path: &Path) -> io::Result<u64> {
        self.gate()?;
        let machine = self.lock();
        let id = machine.disk.walk(path)?;
        machine.disk.folder(id).map(|_| id)
    }
    fn make_path(&self, path: &Path, _: bool) -> io::Result<()> {
        self.gate()?;
        self.changed(|disk| {
            let mut at = ROOT;
            for part in path.components() {
                if let Component::Normal(name) = part {
                    at = disk.entry(at, name).or_else(|_| disk.make_folder(at, name))?;
                }
            }
            Ok(())
        })
    }
    fn open_dir(&self, at: &u64, name: &OsStr) -> io::Result<u64> {
        self.gate()?;
        let machine = self.lock();
        let id = machine.disk.entry(*at, name)?;
        machine.disk.folder(id).map(|_| id)
    }
    fn make_dir(&self, at: &u64, name: &OsStr) -> io::Result<()> {
        self.gate()?;
        self.changed(|disk| disk.make_folder(*at, name).map(drop))
    }
    fn list(&self, dir: &u64) -> io::Result<Vec<OsString>> {
        self.gate()?;
        self.lock().disk.folder(*dir).map(|names| names.keys().cloned().collect())
    }
    fn dir_meta(&self, dir: &u64) -> io::Result<Meta> {
        self.gate().and_then(|_| self.meta_of(*dir))
    }
    fn stat(&self, at: &u64, name: &OsStr) -> io::Result<Meta> {
        self.gate()?;
        let id = self.lock().disk.entry(*at, name)?;
        self.meta_of(id)
    }
    fn open(&self, at: &u64, name: &OsStr) -> io::Result<u64> {
        assert!(!is_temporary(name), "a temporary file is read");
        self.gate()?;
        self.lock().disk.entry(*at, name)
    }
    fn create(&self, at: &u64, name: &OsStr, mode: u32) -> io::Result<u64> {
        self.gate()?;
        self.changed(|disk| {
            if disk.fraud == Fraud::LedgerInPlace
                && name == NEW_LEDGER
                && disk.entry(*at, LEDGER.as_ref()).is_ok()
            {
                let file = disk.entry(*at, LEDGER.as_ref())?;
                disk.cut_off(file);
                return Ok(file);
            }
            if disk.folder(*at)?.contains_key(name) {
                return Err(errno(Errno::EXIST));
            }
            let content = || Content { bytes: Vec::new(), mtime_ns: disk.time_ns };
            let (live, durable, dirty, cut) = (content(), content(), BTreeSet::new(), false);
            let id = disk.add(Node::File { live, durable, dirty, cut, mode });
            disk.change(*at, vec![(name.to_owned(), Some(id))], None);
            Ok(id)
        })
    }
    fn meta(&self, file: &u64) -> io::Result<Meta> {
        self.gate().and_then(|_| self.meta_of(*file))
    }
    fn read_at(&self, file: &u64, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let short = self.gate()?;
        let machine = self.lock();
        let Some(Node::File { live, .. }) = machine.disk.nodes.get(file) else {
            return Err(errno(Errno::ISDIR));
        };
        let from = live.bytes.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let most = if short { into.len().div_ceil(2) } else { into.len() };
        let count = from.len().min(most);
        into[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }
    fn write_at(&self, file: &u64, from: &[u8], offset: u64) -> io::Result<usize> {
        let short = self.gate()?;
        let count = if short { from.len().div_ceil(2) } else { from.len() };
        self.changed(|disk| disk.write(*file, &from[..count], usize::try_from(offset).unwrap()));
        Ok(count)
    }
    fn settle(&self, _: &u64) {}
    fn sync(&self, file: &u64) -> io::Result<()> {
        self.gate()?;
        self.changed(|disk| {
            let is_ledger = |node: &Node| {
                matches!(node, Node::Folder { live, .. } if live.get(OsStr::new(NEW_LEDGER)) == Some(file))
            };
            match disk.fraud {
                Fraud::NoFileSync => {}
                Fraud::LedgerNotSynced if disk.nodes.values().any(is_ledger) => {}
                Fraud::RenameBeforeSync => disk.put_off.push(*file),
                _ => disk.sync_file(*file),
            }
        });
        Ok(())
    }
    fn sync_dir(&self, dir: &u64) -> io::Result<()> {
        self.gate()?;
        self.changed(|disk| {
            if disk.fraud != Fraud::NoFolderSync {
                disk.sync_folder(*dir);
            }
        });
        Ok(())
    }
    fn rename(&self, from: &u64, name: &OsStr, to: &u64, new: &OsStr) -> io::Result<()> {
        self.gate()?;
        self.changed(|disk| {
            if disk.fraud == Fraud::LedgerInPlace && name == NEW_LEDGER && disk.entry(*from, name).is_err() {
                return Ok(());
            }
            let id = disk.entry(*from, name)?;
            if disk.device(*from) != disk.device(*to) {
                return Err(errno(Errno::XDEV));
            }
            let (gone, come) = ((name.to_owned(), None), (new.to_owned(), Some(id)));
            if from == to {
                disk.change(*from, vec![gone, come], None);
            } else {
                let come = disk.change(*to, vec![come], None);
                disk.change(*from, vec![gone], Some(come));
            }
            Ok(())
        })?;
        let put_off = std::mem::take(&mut self.lock().disk.put_off);
        for file in put_off {
            self.changed(|disk| disk.sync_file(file));
        }
        Ok(())
    }
    fn rename_new(&self, from: &u64, name: &OsStr, to: &u64, new: &OsStr) -> io::Result<()> {
        if self.lock().disk.entry(*to, new).is_ok() {
            return Err(errno(Errno::EXIST));
        }
        self.rename(from, name, to, new)
    }
    fn unlink(&self, at: &u64, name: &OsStr) -> io::Result<()> {
        self.gate()?;
        self.changed(|disk| {
            disk.entry(*at, name)?;
            disk.change(*at, vec![(name.to_owned(), None)], None);
            Ok(())
        })
    }
}
