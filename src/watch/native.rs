//! The one place that knows `notify`: folders to watch go in, happenings come out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{Config, ErrorKind, Event, EventKind, EventKindMask, PathOp, RecommendedWatcher, Watcher as _};

use super::Message;

/// More waiting happenings than this are dropped, and the files looked through instead.
pub(super) const BACKLOG_LIMIT: usize = 1 << 16;

/// What can happen to a name in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A writer has closed the file.
    Written,
    /// The name was put in place whole, by a rename.
    Placed,
    /// The name was made: by open, link, mkdir or symlink.
    Created,
    /// The file was written to, and is still held open.
    Touched,
    /// The name was deleted or renamed away.
    Gone,
}

/// One thing that happened, to a name in a watched folder or to such a folder itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Happening {
    pub(super) what: What,
    pub(super) path: PathBuf,
}

/// How many happenings wait, so that a flood of events does not take memory without bound.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    waiting: AtomicUsize,
    lost: AtomicBool,
}

impl Backlog {
    /// One happening was taken.
    pub(super) fn taken(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether happenings were dropped since the last call.
    pub(super) fn take_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed) && self.lost.swap(false, Ordering::Relaxed)
    }

    /// Whether there is room for one more; it is counted.
    pub(super) fn admit(&self) -> bool {
        if self.waiting.load(Ordering::Relaxed) >= BACKLOG_LIMIT {
            self.lost.store(true, Ordering::Relaxed);
            return false;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        true
    }
}

/// Why a folder is not watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is not there, or may not be read.
    Unreachable,
    /// The system gives no more watches.
    Limit,
    /// Anything else.
    Other(String),
}

/// The system's events, if it gives any.
pub(super) struct Native {
    watcher: Option<RecommendedWatcher>,
    #[cfg(test)]
    fake: Fake,
}

/// What a test makes of the system.
#[cfg(test)]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fake {
    /// Folders of this name, and those below, are on a file system that gives no events.
    pub(super) silent: Option<&'static str>,
    /// So many folders can be watched.
    pub(super) limit: Option<usize>,
}

impl Native {
    /// Opens the system's event queue. Without one, says why.
    pub(super) fn start(inbox: Sender<Message>, backlog: Arc<Backlog>) -> (Self, Option<String>) {
        // What the bits mean to inotify: CREATE also asks for MOVED_TO and REMOVE for MOVED_FROM, but both are
        // delivered only with MODIFY_NAME; ACCESS_CLOSE is CLOSE_WRITE. OPEN and CLOSE_NOWRITE, which every
        // reader of a file would cause, and ATTRIB stay off.
        let kinds = EventKindMask::CREATE
            | EventKindMask::REMOVE
            | EventKindMask::MODIFY_DATA
            | EventKindMask::MODIFY_NAME
            | EventKindMask::ACCESS_CLOSE;
        let config = Config::default().with_event_kinds(kinds).with_follow_symlinks(false);
        let handler = move |event: notify::Result<Event>| {
            let message = translate(event);
            if let Some(message) = message.filter(|it| matches!(it, Message::Lost) || backlog.admit()) {
                let _ = inbox.send(message);
            }
        };
        match RecommendedWatcher::new(handler, config) {
            Ok(watcher) => (Self::of(Some(watcher)), None),
            Err(error) => (Self::of(None), Some(error.to_string())),
        }
    }

    /// As on a system that has no queue to give.
    #[cfg(test)]
    pub(super) fn refused(_: Sender<Message>, _: Arc<Backlog>) -> (Self, Option<String>) {
        (Self::of(None), Some("too many open files".into()))
    }

    /// As on a system with such a file system, or with such a limit.
    #[cfg(test)]
    pub(super) fn faked(inbox: Sender<Message>, backlog: Arc<Backlog>, fake: Fake) -> (Self, Option<String>) {
        let (native, trouble) = Self::start(inbox, backlog);
        (Self { fake, ..native }, trouble)
    }

    fn of(watcher: Option<RecommendedWatcher>) -> Self {
        Self {
            watcher,
            #[cfg(test)]
            fake: Fake::default(),
        }
    }

    /// The name of the file system of `folder`, if it is one that gives no events of all changes.
    /// Asked each time: the number of a device that is gone is given to another one.
    pub(super) fn silent(&self, folder: &Path) -> Option<&'static str> {
        #[cfg(test)]
        if self.fake.is_silent(folder) {
            return Some("FUSE");
        }
        silent_file_system(folder)
    }

    pub(super) fn is_available(&self) -> bool {
        self.watcher.is_some()
    }

    /// Watches `folders`, all in one request. A folder marked `true` may still be watched as what it was
    /// before, so that watch is given up first. Returns those that are not watched now.
    pub(super) fn watch(&mut self, folders: &[(PathBuf, bool)]) -> Vec<(PathBuf, Refusal)> {
        let ops = folders.iter().flat_map(|(path, stale)| {
            let unwatch = stale.then(|| PathOp::unwatch(path));
            unwatch.into_iter().chain([PathOp::watch_non_recursive(path)])
        });
        self.apply(ops.collect())
    }

    /// Gives up the watches of `folders`.
    pub(super) fn unwatch(&mut self, folders: Vec<PathBuf>) {
        self.apply(folders.into_iter().map(PathOp::Unwatch).collect());
    }

    /// Returns when all that happened before the call has been sent as messages.
    pub(super) fn barrier(&mut self) {
        // The first request empties the system's queue, but its events are sent only after its answer; the
        // answer of the second comes after them.
        self.apply(Vec::new());
        self.apply(Vec::new());
    }

    fn apply(&mut self, mut ops: Vec<PathOp>) -> Vec<(PathBuf, Refusal)> {
        let mut refused = Vec::new();
        let Some(watcher) = &mut self.watcher else {
            return refused;
        };
        #[cfg(test)]
        refused.extend(self.fake.refuse(&mut ops));
        while let Err(error) = watcher.update_paths(ops) {
            ops = error.remaining;
            let orphaned = error.origin.is_none();
            if let Some(PathOp::Watch(path, _)) = error.origin {
                refused.push((path, refusal(&error.source)));
            }
            // Past a limit, or with the other thread gone, all that follows would be refused, too.
            let cause = refusal(&error.source);
            if cause == Refusal::Limit || orphaned {
                refused.extend(watches(ops).map(|path| (path, cause.clone())));
                break;
            }
        }
        refused
    }
}

#[cfg(test)]
impl Fake {
    fn is_silent(&self, folder: &Path) -> bool {
        self.silent.is_some_and(|name| folder.components().any(|part| part.as_os_str() == name))
    }

    /// Takes out what the system would not watch, or of what it would tell nothing.
    fn refuse(&mut self, ops: &mut Vec<PathOp>) -> Vec<(PathBuf, Refusal)> {
        let mut refused = Vec::new();
        let fake = *self;
        ops.retain(|op| !matches!(op, PathOp::Watch(path, _) if fake.is_silent(path)));
        for op in std::mem::take(ops) {
            match (op, &mut self.limit) {
                (PathOp::Watch(path, _), Some(0)) => refused.push((path, Refusal::Limit)),
                (op, limit) => {
                    if let (PathOp::Watch(..), Some(left)) = (&op, limit) {
                        *left -= 1;
                    }
                    ops.push(op);
                }
            }
        }
        refused
    }
}

fn watches(ops: Vec<PathOp>) -> impl Iterator<Item = PathBuf> {
    ops.into_iter().filter_map(|op| match op {
        PathOp::Watch(path, _) => Some(path),
        PathOp::Unwatch(_) => None,
    })
}

fn refusal(error: &notify::Error) -> Refusal {
    match &error.kind {
        ErrorKind::MaxFilesWatch => Refusal::Limit,
        ErrorKind::PathNotFound => Refusal::Unreachable,
        ErrorKind::Io(cause) => match cause.raw_os_error() {
            Some(libc::ENOSPC | libc::EMFILE | libc::ENOMEM) => Refusal::Limit,
            Some(libc::ENOENT | libc::ENOTDIR | libc::EACCES | libc::ELOOP | libc::ENAMETOOLONG) => {
                Refusal::Unreachable
            }
            _ => Refusal::Other(cause.to_string()),
        },
        _ => Refusal::Other(error.to_string()),
    }
}

/// What an event means to us; `None` for what repeats another one.
fn translate(event: notify::Result<Event>) -> Option<Message> {
    let Ok(event) = event else {
        return Some(Message::Lost);
    };
    if event.need_rescan() {
        return Some(Message::Lost);
    }
    let what = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => What::Written,
        EventKind::Modify(ModifyKind::Data(_)) => What::Touched,
        EventKind::Create(CreateKind::Folder | CreateKind::File | CreateKind::Any | CreateKind::Other) => {
            What::Created
        }
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => What::Placed,
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => What::Gone,
        _ => return None,
    };
    Some(Message::Happened(event.paths.into_iter().map(|path| Happening { what, path }).collect()))
}

/// The file systems whose changes made elsewhere cause no event here, by the number that `statfs` gives.
const SILENT: [(i64, &str); 12] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "FUSE"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x00c3_6400, "Ceph"),
    (0x7375_7245, "Coda"),
    (0x786f_4256, "VirtualBox"),
    (0x0bd0_0bd0, "Lustre"),
];

/// The name of the file system of `folder`, if it is one that gives no native events.
pub(super) fn silent_file_system(folder: &Path) -> Option<&'static str> {
    let kind = rustix::fs::statfs(folder).ok()?.f_type;
    named_silent(kind)
}

/// Only the low 32 bits are the number; 32-bit systems extend its sign.
#[expect(clippy::unnecessary_cast, reason = "the type of `f_type` differs between architectures")]
fn named_silent(kind: rustix::fs::FsWord) -> Option<&'static str> {
    let kind = kind as i64 & 0xffff_ffff;
    SILENT.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::{named_silent, silent_file_system};
    use std::path::Path;

    #[test]
    fn network_file_systems_are_known() {
        assert_eq!(named_silent(0x6969), Some("NFS"));
        assert_eq!(named_silent(0xef53), None);
        assert_eq!(silent_file_system(Path::new("/proc")), None);
    }
}
