//! What one image of orch leaves to the next: a document in a memory file, whose number the environment tells,
//! and descriptors that it refers to by their place in a list.

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::exec;
use super::notices::Talk;
use super::tasks::Task;
use super::up::UpOptions;
use crate::config::model::Component;
use crate::listen::SocketsHandover;
use crate::notice::{NoticeHandover, NoticeReport};
use crate::output::{OutputHandover, OutputReport};
use crate::probe::Baseline;
use crate::runner::RunnerReport;
use crate::runner::keeper;
use crate::runner::thread::KeptHandover;
use crate::state::StoreHandover;
use crate::supervisor::{Command, RunEvent, Supervisor};
use crate::types::{Cid, RunId, TaskEnd, TaskId, Time, UnitId};
use crate::watch::{WatchHandover, WatchReport};

/// Where the environment says that there is one, and in which descriptor.
pub(crate) const VARIABLE: &str = "ORCH_HANDOVER";

/// The form of the document, and of what the keeper is told. Whoever changes one of them raises this, as
/// `tests/tidy` demands; then an orch refuses to become one that reads another form, and nothing has happened.
pub(crate) const FORM: u32 = 4;

/// The document.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Handover {
    pub(crate) form: u32,
    /// The process that it is for; a child that inherits the variable is none.
    pub(crate) pid: u32,
    /// The name that the process shows: that of the new program's file is another one.
    pub(crate) name: String,
    pub(crate) options: UpOptions,
    pub(crate) core: Supervisor,
    pub(crate) keeper: keeper::Handover,
    pub(crate) output: OutputHandover,
    pub(crate) store: StoreHandover,
    pub(crate) sockets: SocketsHandover,
    /// What serves the clients of proxies.
    pub(crate) proxies: KeptHandover,
    pub(crate) notices: NoticeHandover,
    pub(crate) talks: Vec<(UnitId, Talk)>,
    pub(crate) watch: Option<WatchHandover>,
    /// The units that are not gone: runs and helpers.
    pub(crate) runs: Vec<Running>,
    pub(crate) helpers: Vec<(u64, UnitId)>,
    /// The tasks that are not answered: they run on.
    pub(crate) tasks: Vec<(TaskId, Task)>,
    pub(crate) next_unit: u32,
    pub(crate) next_ticket: u64,
    /// How many images there were before the one that it is for, in this process.
    pub(crate) images: u64,
    pub(crate) observed: Vec<(Cid, Arc<Component>)>,
    /// The env files that are watched with the YAML file.
    pub(crate) env_files: Vec<std::path::PathBuf>,
    pub(crate) had_terminal: bool,
    /// The YAML file is to be read, for it was being read.
    pub(crate) reload: bool,
    /// What had been heard and not been taken yet.
    pub(crate) messages: Vec<Heard>,
    pub(crate) fds: Places,
}

/// One run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) run: RunId,
    pub(crate) unit: UnitId,
    pub(crate) thread: bool,
    pub(crate) spec: Arc<Component>,
    pub(crate) baseline: Baseline,
    pub(crate) spawned: Time,
    pub(crate) matched: bool,
    pub(crate) probing: bool,
    /// The other end of its standard input: its place among [`Descriptors::stdins`].
    pub(crate) stdin: Option<usize>,
    /// Whether the last try of its health check failed.
    pub(crate) unwell: bool,
}

/// A message that is carried over.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Heard {
    Run(RunId, RunEvent),
    Task(TaskId, TaskEnd),
    Command(Command),
    Shutdown { force: bool },
    Runner(RunnerReport),
    Output(OutputReport),
    Watch(WatchReport),
    Notice(NoticeReport),
}

/// The descriptors, by their owners.
#[derive(Debug)]
pub(crate) struct Descriptors {
    pub(crate) keeper: OwnedFd,
    /// The two locks.
    pub(crate) home: Vec<OwnedFd>,
    pub(crate) output: Vec<OwnedFd>,
    pub(crate) store: Vec<OwnedFd>,
    pub(crate) sockets: Vec<OwnedFd>,
    pub(crate) proxies: Vec<OwnedFd>,
    pub(crate) notices: Vec<OwnedFd>,
    pub(crate) stdins: Vec<OwnedFd>,
    /// The control socket, or nothing.
    pub(crate) control: Vec<OwnedFd>,
    /// Where signals are noted that came on the way, or nothing.
    pub(crate) signals: Vec<OwnedFd>,
}

/// The same as numbers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Places {
    keeper: RawFd,
    home: Vec<RawFd>,
    output: Vec<RawFd>,
    store: Vec<RawFd>,
    sockets: Vec<RawFd>,
    proxies: Vec<RawFd>,
    notices: Vec<RawFd>,
    stdins: Vec<RawFd>,
    control: Vec<RawFd>,
    signals: Vec<RawFd>,
}

impl Descriptors {
    fn places(&self) -> Places {
        Places {
            keeper: std::os::fd::AsRawFd::as_raw_fd(&self.keeper),
            home: exec::numbers(&self.home),
            output: exec::numbers(&self.output),
            store: exec::numbers(&self.store),
            sockets: exec::numbers(&self.sockets),
            proxies: exec::numbers(&self.proxies),
            notices: exec::numbers(&self.notices),
            stdins: exec::numbers(&self.stdins),
            control: exec::numbers(&self.control),
            signals: exec::numbers(&self.signals),
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<BorrowedFd<'_>> {
        let [home, output, store] = [&self.home, &self.output, &self.store];
        let [sockets, proxies, notices] = [&self.sockets, &self.proxies, &self.notices];
        let lists =
            [home, output, store, sockets, proxies, notices, &self.stdins, &self.control, &self.signals];
        std::iter::once(&self.keeper).chain(lists.into_iter().flatten()).map(|fd| fd.as_fd()).collect()
    }

    fn inherited(places: &Places) -> io::Result<Self> {
        let keeper = exec::inherited(&[places.keeper])?.pop().ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self {
            keeper,
            home: exec::inherited(&places.home)?,
            output: exec::inherited(&places.output)?,
            store: exec::inherited(&places.store)?,
            sockets: exec::inherited(&places.sockets)?,
            proxies: exec::inherited(&places.proxies)?,
            notices: exec::inherited(&places.notices)?,
            stdins: exec::inherited(&places.stdins)?,
            control: exec::inherited(&places.control)?,
            signals: exec::inherited(&places.signals)?,
        })
    }
}

impl Handover {
    /// Writes it into a memory file, with the places of `fds` in it.
    ///
    /// # Errors
    /// Something in it has no written form (a path that is not UTF-8), or memory is used up.
    pub(crate) fn write(&mut self, fds: &Descriptors) -> io::Result<OwnedFd> {
        self.fds = fds.places();
        let file = rustix::fs::memfd_create("orch-handover", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut file = io::BufWriter::new(std::fs::File::from(file));
        serde_json::to_writer(&mut file, self)?;
        file.flush()?;
        Ok(file.into_inner().map_err(io::IntoInnerError::into_error)?.into())
    }

    /// Takes what an earlier image of this process has left, if there is one, and `is_its` says of the options
    /// that it is the caller's.
    ///
    /// # Errors
    /// There is one, and it can't be read: then nothing is left but to end.
    pub(crate) fn take(is_its: impl FnOnce(&UpOptions) -> bool) -> io::Result<Option<(Self, Descriptors)>> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        let Some(number) = number() else { return Ok(None) };
        if TAKEN.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let handover: Self = serde_json::from_slice(&read(number)?)?;
        if handover.pid != std::process::id() || handover.form != FORM {
            return Err(io::Error::other("it is for another process, or of another form"));
        }
        if !is_its(&handover.options) || TAKEN.swap(true, Ordering::Relaxed) {
            return Ok(None);
        }
        drop(exec::inherited(&[number])?);
        let fds = Descriptors::inherited(&handover.fds)?;
        Ok(Some((handover, fds)))
    }

    /// Whether an earlier image of this process has left one.
    #[must_use]
    pub(crate) fn is_there() -> bool {
        number().is_some()
    }
}

/// What the environment says for this process; a child that has inherited the words has no part in it.
pub(crate) fn value(document: &OwnedFd) -> String {
    format!("{}:{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(document))
}

fn number() -> Option<RawFd> {
    let value = std::env::var(VARIABLE).ok()?;
    let (pid, number) = value.split_once(':')?;
    (pid.parse() == Ok(std::process::id())).then(|| number.parse().ok()).flatten()
}

/// Reads the document, without taking its descriptor.
fn read(number: RawFd) -> io::Result<Vec<u8>> {
    let path = format!("/proc/self/fd/{number}");
    if !std::fs::read_link(&path)?.as_os_str().as_bytes().starts_with(b"/memfd:orch-handover") {
        return Err(io::Error::other(format!("{VARIABLE} names a descriptor that is none of orch's")));
    }
    std::fs::read(path)
}
