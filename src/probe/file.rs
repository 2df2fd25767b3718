//! A file made or changed since the start.
//!
//! A file system may not answer: its disk or its network is dead. So it is asked on a thread that nobody waits for
//! longer than for one try, and for one path once at a time: such threads don't pile up.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::net::plain;
use super::{TRY, within};
use crate::config::model::Probe;

/// How a probe's file was before the unit was started; nothing for other probes.
///
/// It is compared with how the file is, and no clock is asked: what the file system stamps on a file lags
/// behind the clock by some milliseconds, and the clock may be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Baseline(Option<Mark>);

/// What differs after every change. Replacing a file changes `inode` or, where that number is used again,
/// `changed`; so does a write that leaves the size, and one that sets the modification time back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What is being asked of file systems now, by path, and who waits for it.
#[derive(Debug, Default)]
struct Asked(Mutex<BTreeMap<PathBuf, Vec<oneshot::Sender<Answer>>>>);

/// An answer has several hearers.
type Answer = Result<Mark, Arc<io::Error>>;

/// Of the whole process: a path is asked for by whoever, once at a time.
static ASKED: Asked = Asked(Mutex::new(BTreeMap::new()));

impl Baseline {
    /// To be called before the unit is started: what it makes of its file comes later, then. Takes as long as one try
    /// at the most.
    ///
    /// # Errors
    /// The file system does not answer; as a fragment, what was asked first.
    pub async fn take(probe: &Probe) -> Result<Self, String> {
        let Probe::File(path) = probe else { return Ok(Self(None)) };
        let answer = async { Ok(ASKED.anew(path).await) };
        match within(TRY, answer).await {
            Ok(answer) => Ok(Self(answer.ok())),
            Err(error) => Err(format!("file {}: {error}", path.display())),
        }
    }

    /// The same by whoever may wait: for a start that another image has prepared.
    #[must_use]
    pub fn take_now(probe: &Probe) -> Self {
        match probe {
            Probe::File(path) => Self(Mark::of(path).ok()),
            _ => Self(None),
        }
    }

    /// Whether the file is there and not as it was.
    pub(super) async fn changed(self, path: &Path, limit: Duration) -> Result<(), String> {
        match within(limit, async { Ok(ASKED.ask(path, Mark::of).await) }).await? {
            Ok(now) if Some(now) != self.0 => Ok(()),
            Ok(_) => Err("not changed since the start".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err("does not exist yet".to_owned()),
            Err(error) => Err(plain(&error)),
        }
    }
}

impl Asked {
    fn waiting(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Vec<oneshot::Sender<Answer>>>> {
        // It is whole after every statement, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is found by a look that begins from now on.
    async fn anew(&'static self, path: &Path) -> Answer {
        let before = self.waiting().get_mut(path).map(join);
        if let Some(before) = before {
            let _ = before.await;
        }
        self.ask(path, Mark::of).await
    }

    /// What is found by a look, which may be under way already.
    async fn ask(
        &'static self,
        path: &Path,
        look: impl FnOnce(&Path) -> io::Result<Mark> + Send + 'static,
    ) -> Answer {
        let (answer, is_first) = {
            let mut waiting = self.waiting();
            let is_first = !waiting.contains_key(path);
            (join(waiting.entry(path.to_path_buf()).or_default()), is_first)
        };
        if is_first {
            self.begin(path, look).map_err(Arc::new)?;
        }
        answer.await.unwrap_or_else(|_| Err(Arc::new(io::Error::other("it gave no answer"))))
    }

    fn begin(
        &'static self,
        path: &Path,
        look: impl FnOnce(&Path) -> io::Result<Mark> + Send + 'static,
    ) -> io::Result<()> {
        let asked = path.to_path_buf();
        let begun = Builder::new().name("orch-file".to_owned()).spawn(move || {
            let found = look(&asked).map_err(Arc::new);
            for waiting in self.waiting().remove(&asked).into_iter().flatten() {
                // Who asked may have given up.
                let _ = waiting.send(found.clone());
            }
        });
        if begun.is_err() {
            self.waiting().remove(path);
        }
        begun.map(drop)
    }
}

/// One more who waits for an answer; those who have given up are forgotten.
fn join(waiting: &mut Vec<oneshot::Sender<Answer>>) -> oneshot::Receiver<Answer> {
    waiting.retain(|other| !other.is_closed());
    let (sender, answer) = oneshot::channel();
    waiting.push(sender);
    answer
}

impl Mark {
    fn of(path: &Path) -> io::Result<Self> {
        let of = fs::metadata(path)?;
        Ok(Self {
            device: of.dev(),
            inode: of.ino(),
            size: of.size(),
            modified: (of.mtime(), of.mtime_nsec()),
            changed: (of.ctime(), of.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn a_file_system_that_does_not_answer_is_asked_once_and_holds_nobody_up() {
        let asked: &Asked = Box::leak(Box::default());
        let (answer, dead) = channel::<()>();
        let dead = Mutex::new(dead);
        let look = move |path: &Path| {
            let _ = dead.lock().unwrap().recv();
            Mark::of(path)
        };
        let short = Duration::from_millis(20);
        let path = Path::new("/dev/null");
        assert!(tokio::time::timeout(short, asked.ask(path, look)).await.is_err());
        for _ in 0..10 {
            let again = asked.ask(path, |_| panic!("it is asked already"));
            assert!(tokio::time::timeout(short, again).await.is_err());
        }
        assert_eq!(asked.waiting()[path].len(), 1, "who has given up is forgotten");
        // Another one is not hindered.
        assert!(asked.ask(Path::new("/dev/zero"), Mark::of).await.is_ok());
        let first = asked.ask(path, |_| panic!("it is asked already"));
        let anew = asked.anew(path);
        let later = async {
            tokio::task::yield_now().await;
            drop(answer);
        };
        let (first, anew, ()) = tokio::join!(first, anew, later);
        assert_eq!(first.unwrap(), anew.unwrap());
        assert!(asked.waiting().is_empty());
    }
}
