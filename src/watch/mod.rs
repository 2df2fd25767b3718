//! L3, the watching hand: one watcher for every component's files and for the project's own.
//!
//! It judges whether a file's bytes changed, and nothing else: whether a change restarts something, how long
//! the files must be quiet and what is absorbed are the core's decisions. The design is described in
//! `docs/design/watching.md`.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::model::Poll;
use crate::types::Cid;

use ground::Reach;
use routes::Routes;

mod dispatch;
mod engine;
mod excluded;
mod gitignore;
mod ground;
mod handover;
mod judge;
mod moving;
mod native;
mod places;
mod poll;
mod print;
mod report;
mod routes;
mod rules;
mod scan;
mod timers;
mod trace;

#[cfg(test)]
mod tests;

pub use handover::{NotHandedOver, WatchHandover};

/// Whose files are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WatchKey {
    /// The files of one component's `watch` section.
    Component(Cid),
    /// The project's own files: the YAML file and the env files.
    Project,
}

/// What is watched for one key.
#[derive(Clone, Debug)]
pub struct WatchSpec {
    /// The project's folder, absolute.
    pub root: PathBuf,
    /// Files, folders and globs, absolute or relative to `root`. None of them needs to exist.
    pub paths: Vec<String>,
    /// What is passed over, written as lines of a `.gitignore` in `root` would be.
    pub ignore: Vec<String>,
    /// Whether what git ignores is passed over too, except files that `paths` names themselves.
    pub gitignore: bool,
    /// How changes are found.
    pub poll: Poll,
    /// How long a file that is held open and written must be quiet before it is judged.
    pub settle: Duration,
    /// The file by which who is watched says that it is ready, absolute: what it makes itself at each start is no change.
    pub mark: Option<PathBuf>,
}

/// What the watcher says. Every report is made on the watcher's own thread, in order.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum WatchReport {
    /// Files whose bytes differ from those at the baseline or the last report; also new and deleted ones.
    Changed {
        /// Whose files.
        key: WatchKey,
        /// The files, as `root` and `paths` spell them; at least one.
        paths: Vec<PathBuf>,
    },
    /// Something happened to watched files that is not judged yet. Repeated while that lasts, at least every
    /// half of `settle`, so that it prolongs a quiet period counted from the last report.
    Busy {
        /// Whose files.
        key: WatchKey,
    },
    /// The baseline of a newly set specification is known. Sent once for each [`Watcher::set`].
    Ready {
        /// Whose files.
        key: WatchKey,
    },
    /// The answer to [`Watcher::sift`].
    Sifted {
        /// Whose files.
        key: WatchKey,
    },
    /// The files can't be watched as asked; the message says what is done instead and what to do. Said once.
    Problem {
        /// Whose files; `None` if everything is concerned.
        key: Option<WatchKey>,
        /// A lower-case fragment for the user.
        message: String,
    },
}

/// Takes the reports. It is called on the watcher's thread and must not block.
type Sink = Arc<dyn Fn(WatchReport) + Send + Sync>;

/// Opens the system's event queue, or says why there is none.
type StartNative = fn(Sender<Message>, Arc<native::Backlog>) -> (native::Native, Option<String>);

/// What the watcher's thread is told.
enum Message {
    Happened(Vec<native::Happening>),
    Lost,
    Set(WatchKey, Box<WatchSpec>),
    Exclude(PathBuf, Vec<PathBuf>),
    Remove(WatchKey),
    Sift(WatchKey),
    HandOver(SyncSender<handover::Part>),
    /// A key comes from another engine.
    Move(Box<moving::Moved>),
    End,
}

impl Message {
    /// Whom it is about alone.
    fn key(&self) -> Option<WatchKey> {
        match self {
            Self::Set(key, _) | Self::Remove(key) | Self::Sift(key) => Some(*key),
            Self::Move(moved) => Some(moved.key()),
            Self::Happened(_) | Self::Lost | Self::Exclude(..) | Self::HandOver(_) | Self::End => None,
        }
    }
}

/// A running watcher. Its methods only leave a message for its threads, so they never block. It ends when it
/// is dropped.
pub struct Watcher {
    routes: Arc<Routes>,
    /// Whether its thread is waited for at the end.
    is_awaited: bool,
}

impl Watcher {
    /// Starts the watcher's thread. Where the system gives no native events, it polls, and says so.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn start(sink: Arc<dyn Fn(WatchReport) + Send + Sync>) -> io::Result<Self> {
        Self::with(Routes::new(sink, native::Native::start))
    }

    fn with(routes: Routes) -> io::Result<Self> {
        let routes = Arc::new(routes);
        routes.start(Reach::new(), None)?;
        Ok(Self { routes, is_awaited: true })
    }

    fn adopt_with(sink: Sink, native: StartNative, left: WatchHandover) -> io::Result<Self> {
        let routes = Arc::new(Routes::new(sink, native));
        routes.adopt(left)?;
        Ok(Self { routes, is_awaited: true })
    }

    /// Watches `spec` for `key`, in place of what was watched for it. Files that were watched before keep
    /// their baseline, so what changed meanwhile is still reported; added ones are no change.
    pub fn set(&self, key: WatchKey, spec: WatchSpec) {
        self.routes.tell(key, Message::Set(key, Box::new(spec)));
    }

    /// Never watches `paths` for a component, nor what is below them, in place of those named before: the state
    /// directory, all state and log files. They are absolute; `root` is the project's folder.
    pub fn exclude(&self, root: PathBuf, paths: Vec<PathBuf>) {
        self.routes.exclude(root, paths);
    }

    /// Watches nothing for `key` any more.
    pub fn remove(&self, key: WatchKey) {
        self.routes.tell(key, Message::Remove(key));
    }

    /// Asks for all that has happened before this call to be judged and reported, which
    /// [`WatchReport::Sifted`] then follows. What is written a moment later is not waited for.
    pub fn sift(&self, key: WatchKey) {
        self.routes.tell(key, Message::Sift(key));
    }

    /// Where a file system is mounted that does not answer, so that what was asked for `key` can't be done yet. It is
    /// when the file system answers.
    #[must_use]
    pub fn silent(&self, key: WatchKey) -> Option<PathBuf> {
        self.routes.silent(key)
    }

    /// Ends it without waiting for its thread, which may be looking through many files.
    pub fn let_go(mut self) {
        self.is_awaited = false;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.routes.end(self.is_awaited);
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}
