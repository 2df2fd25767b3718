//! What the threads share. It belongs to `main`, so it outlives each of them.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use orch::Handle;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Something that happens to the life.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Event {
    pub(crate) kind: String,
    /// From 0 to 1.
    #[serde(default = "half")]
    pub(crate) intensity: f64,
}

fn half() -> f64 {
    0.5
}

/// The place where all meet.
#[derive(Debug)]
pub(crate) struct World {
    folder: PathBuf,
    /// From whoever makes events to the queue.
    pub(crate) arrivals: Belt<Event>,
    /// From the queue to the runtime.
    pub(crate) servings: Belt<Event>,
    /// What each component shows of itself, by its name.
    board: Mutex<BTreeMap<String, Value>>,
    faults: Mutex<BTreeMap<String, Fault>>,
    project: OnceLock<Handle>,
}

/// What a thread is made to do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Hang,
    Panic,
}

impl World {
    /// The world of the project with this YAML file.
    pub(crate) fn new(file: &Path) -> Self {
        Self {
            folder: file.parent().unwrap_or(Path::new(".")).to_path_buf(),
            arrivals: Belt::new(64),
            servings: Belt::new(2),
            board: Mutex::default(),
            faults: Mutex::default(),
            project: OnceLock::new(),
        }
    }

    /// Tells by whom it is run; from then on the API can show and command the threads.
    pub(crate) fn run_by(&self, project: Handle) {
        let _ = self.project.set(project);
    }

    pub(crate) fn project(&self) -> Option<&Handle> {
        self.project.get()
    }

    /// A file beside the YAML file.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn show(&self, name: &str, picture: Value) {
        lock(&self.board).insert(name.to_owned(), picture);
    }

    pub(crate) fn board(&self) -> BTreeMap<String, Value> {
        lock(&self.board).clone()
    }

    /// The component of this name does something wrong when it comes by next time.
    pub(crate) fn spoil(&self, name: &str, fault: Fault) {
        lock(&self.faults).insert(name.to_owned(), fault);
    }

    /// Where a thread comes by again and again, and does wrong if it was told to.
    pub(crate) fn pass(&self, name: &str) {
        let fault = lock(&self.faults).remove(name);
        match fault {
            None => {}
            Some(Fault::Panic) => panic!("{name} was told to panic"),
            Some(Fault::Hang) => loop {
                thread::park();
            },
        }
    }
}

/// A bounded queue between two threads, either of which may be away for a while.
#[derive(Debug)]
pub(crate) struct Belt<T> {
    things: Mutex<Things<T>>,
    changed: Condvar,
    room: usize,
}

#[derive(Debug)]
struct Things<T> {
    waiting: VecDeque<T>,
    /// Whether somebody is there to take them.
    open: bool,
}

impl<T> Belt<T> {
    fn new(room: usize) -> Self {
        let things = Things { waiting: VecDeque::new(), open: true };
        Self { things: Mutex::new(things), changed: Condvar::new(), room }
    }

    /// Puts something on it; false when there is no room, or nobody takes it: then it stays with the giver.
    pub(crate) fn offer(&self, thing: T) -> bool {
        let mut things = lock(&self.things);
        let room = things.open && things.waiting.len() < self.room;
        if room {
            things.waiting.push_back(thing);
            self.changed.notify_one();
        }
        room
    }

    /// Takes something from it, if it comes within `at_most`.
    pub(crate) fn take(&self, at_most: Duration) -> Option<T> {
        let things = lock(&self.things);
        let waited = self.changed.wait_timeout_while(things, at_most, |things| things.waiting.is_empty());
        waited.unwrap_or_else(PoisonError::into_inner).0.waiting.pop_front()
    }

    /// Takes all that is on it.
    pub(crate) fn take_all(&self) -> Vec<T> {
        lock(&self.things).waiting.drain(..).collect()
    }

    /// Whether it takes anything. What lies on it stays.
    pub(crate) fn open(&self, open: bool) {
        lock(&self.things).open = open;
    }
}

/// A lock that a panic of another thread does not take away.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
