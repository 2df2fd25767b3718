//! L3, the watching hand: one watcher for every component's files and for the project's own.
//!
//! It judges whether a file's bytes changed, and nothing else: whether a change restarts something, how long
//! the files must be quiet and what is absorbed are the core's decisions. The design is described in
//! `docs/design/watching.md`.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender, SyncSender};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::model::Poll;
use crate::types::Cid;

mod dispatch;
mod engine;
mod excluded;
mod gitignore;
mod handover;
mod judge;
mod native;
mod places;
mod poll;
mod print;
mod report;
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
    HandOver(SyncSender<WatchHandover>),
    End,
}

/// A running watcher. Its methods only leave a message for its thread, so they never block. It ends when it
/// is dropped.
#[derive(Debug)]
pub struct Watcher {
    inbox: Sender<Message>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Starts the watcher's thread. Where the system gives no native events, it polls, and says so.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn start(sink: Arc<dyn Fn(WatchReport) + Send + Sync>) -> io::Result<Self> {
        Self::start_with(sink, native::Native::start, None)
    }

    fn start_with(sink: Sink, native: StartNative, left: Option<WatchHandover>) -> io::Result<Self> {
        let (inbox, messages) = mpsc::channel();
        let backlog = Arc::new(native::Backlog::default());
        let (native, trouble) = native(inbox.clone(), Arc::clone(&backlog));
        let engine =
            engine::Engine::new(sink, engine::Inbox::new(messages, VecDeque::new(), backlog), native);
        let thread = Builder::new().name("watch".into()).spawn(move || engine.run(left, trouble))?;
        Ok(Self { inbox, thread: Some(thread) })
    }

    /// Watches `spec` for `key`, in place of what was watched for it. Files that were watched before keep
    /// their baseline, so what changed meanwhile is still reported; added ones are no change.
    pub fn set(&self, key: WatchKey, spec: WatchSpec) {
        self.tell(Message::Set(key, Box::new(spec)));
    }

    /// Never watches `paths` for a component, nor what is below them, in place of those named before: the state
    /// directory, all state and log files. They are absolute; `root` is the project's folder.
    pub fn exclude(&self, root: PathBuf, paths: Vec<PathBuf>) {
        self.tell(Message::Exclude(root, paths));
    }

    /// Watches nothing for `key` any more.
    pub fn remove(&self, key: WatchKey) {
        self.tell(Message::Remove(key));
    }

    /// Asks for all that has happened before this call to be judged and reported, which
    /// [`WatchReport::Sifted`] then follows. What is written a moment later is not waited for.
    pub fn sift(&self, key: WatchKey) {
        self.tell(Message::Sift(key));
    }

    /// Ends it without waiting for its thread, which may be looking through many files, or at a dead disk.
    pub fn let_go(mut self) {
        self.thread = None;
    }

    /// A thread that has ended needs to be told nothing.
    fn tell(&self, message: Message) {
        let _ = self.inbox.send(message);
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.tell(Message::End);
        let thread = self.thread.take().filter(|thread| thread.thread().id() != std::thread::current().id());
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}
