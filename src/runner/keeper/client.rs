//! orch's side: says to the keeper what to do, and hands on what it reports.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::EventfdFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::types::{Signal, UnitId};

use super::super::{ReportSink, Runner, RunnerReport, Scope};
use super::cgroup::{Cgroups, Tree};
use super::ledger::{Ledger, Phase, Standing};
use super::membership::Membership;
use super::post::{Post, Posted};
use super::protocol::{Launch, Leftover, Request};
use super::reader::{self, Reading};
use super::spawn::reason;
use super::survey::Survey;
use super::tag::{self, Mark};
use super::{launch, proc, socket};

/// What a process unit's leader is started with.
#[derive(Debug)]
pub struct ProcessSpec {
    /// The program's absolute path; one without a leading slash is relative to `cwd`.
    pub program: PathBuf,
    /// All words, the program's own name first; at least that.
    pub argv: Vec<OsString>,
    /// The whole environment. An entry LISTEN_PID, whatever its value, gets the leader's process id.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory, absolute.
    pub cwd: PathBuf,
    /// Descriptor 0; `None` is /dev/null.
    pub stdin: Option<OwnedFd>,
    /// Descriptors 1 and 2. A pipe or a terminal that is this unit's alone also tells whose a process is.
    pub output: OwnedFd,
    /// Descriptors 3 and up, in this order; 250 at the most.
    pub extra: Vec<OwnedFd>,
}

/// The parent of all process units: a process of its own, which outlives orch for as long as it takes to kill
/// all that orch has started.
///
/// Dropping it without [`Keeper::shutdown`] has the same end, but nobody waits for it or hears of it.
pub struct Keeper {
    post: Arc<Post>,
    pid: u32,
    /// For signals to it: its id may be another process's once it is dead. `None` where the system has none.
    process: Option<OwnedFd>,
    mark: Mark,
    open_files: u64,
    ledger: Arc<Ledger>,
    sink: ReportSink,
    /// Written to when the reader is to stop.
    stop: Arc<OwnedFd>,
    reader: Option<JoinHandle<()>>,
}

/// What is needed to go on with a running keeper after orch has replaced its own image: see
/// [`Keeper::hand_over`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Handover {
    /// The keeper's process id.
    pub pid: u32,
    /// Its instance number.
    pub instance: u32,
    /// The folder of its units' cgroups, where they have any.
    pub cgroup: Option<PathBuf>,
    /// The soft limit on open files that units get.
    pub open_files: u64,
    /// The units that are not gone.
    pub units: Vec<(UnitId, Standing)>,
    /// The strays that were reported: process id, and start time in clock ticks since boot.
    pub strays: Vec<(u32, u64)>,
}

/// What [`Keeper::shutdown`] saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutDown {
    /// The processes that were still there and were killed, strays included (the first 1000).
    pub killed: Vec<Leftover>,
    /// Whether the keeper ended in time, which proves that nothing is left.
    pub complete: bool,
}

/// The soft limit on open files that units get: the one that orch was started with.
static OPEN_FILES: OnceLock<u64> = OnceLock::new();

impl Keeper {
    /// Forks a keeper that holds copies of `hold` open (a locked file stays locked) until all it keeps is
    /// gone. Reports go to `sink`, from a thread of this value's. Makes the calling process a subreaper.
    ///
    /// Best called early, while the process is small and has one thread; but it may be called at any time.
    /// The first call in a process also notes the soft limit on open files that units get.
    ///
    /// # Errors
    /// When the system refuses a socket, a process or a thread, or does not show processes.
    pub fn launch(hold: &[BorrowedFd<'_>], cgroups: Cgroups, sink: ReportSink) -> io::Result<Self> {
        sees_processes()?;
        let open_files = *OPEN_FILES.get_or_init(launch::soft_open_files);
        let instance = tag::new_instance();
        let tree = if cgroups == Cgroups::WherePossible { Tree::make(instance) } else { None };
        let cgroup = tree.as_ref().map(|tree| tree.folder().to_path_buf());
        let forked = launch::fork(Mark { instance, cgroups: tree.clone() }, hold);
        let born = forked.inspect_err(|_| tree.iter().for_each(Tree::remove_all))?;
        let socket = born.socket;
        let (pid, units, strays) = (born.pid, Vec::new(), Vec::new());
        Self::start(Handover { pid, instance, cgroup, open_files, units, strays }, socket, sink)
    }

    /// Goes on with the keeper of a [`Handover`], over the socket that came with it; what it reported meanwhile
    /// is reported now.
    ///
    /// # Errors
    /// When the system refuses a descriptor or a thread; the keeper then ends, and its units with it.
    pub fn adopt(handover: Handover, socket: OwnedFd, sink: ReportSink) -> io::Result<Self> {
        rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))?;
        // That of the process is orch's own by now, and higher.
        OPEN_FILES.get_or_init(|| handover.open_files);
        Self::start(handover, socket, sink)
    }

    fn start(from: Handover, socket: OwnedFd, sink: ReportSink) -> io::Result<Self> {
        let Handover { pid, instance, cgroup, open_files, units, strays } = from;
        let mark = Mark { instance, cgroups: cgroup.and_then(|folder| Tree::at(&folder, instance)) };
        let (post, ledger) = (Arc::new(Post::new(socket)?), Arc::new(Ledger::new(units, strays)));
        // Nobody reaps it before the reader below does.
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let process = process.and_then(|process| pidfd_open(process, PidfdFlags::empty()).ok());
        let stop = Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?);
        let reading = Reading {
            post: Arc::clone(&post),
            stop: Arc::clone(&stop),
            pid,
            mark: mark.clone(),
            ledger: Arc::clone(&ledger),
            sink: Arc::clone(&sink),
        };
        let reader =
            std::thread::Builder::new().name("keeper-reports".into()).spawn(move || reader::run(&reading))?;
        Ok(Self { post, pid, process, mark, open_files, ledger, sink, stop, reader: Some(reader) })
    }

    /// The number by which [`sweep`](super::sweep) finds what this keeper started.
    #[must_use]
    pub fn instance(&self) -> u32 {
        self.mark.instance
    }

    /// The folder of the units' cgroups, where they have any: `sweep` takes it, too.
    #[must_use]
    pub fn cgroup(&self) -> Option<&Path> {
        self.mark.cgroups.as_ref().map(Tree::folder)
    }

    /// The keeper's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A way to see what its units take.
    #[must_use]
    pub fn survey(&self) -> Survey {
        Survey { mark: self.mark.clone(), keeper: self.pid, ledger: Arc::clone(&self.ledger) }
    }

    /// A way to find out whose a process is.
    #[must_use]
    pub fn membership(&self) -> Membership {
        Membership { mark: self.mark.clone(), keeper: self.pid, ledger: Arc::clone(&self.ledger) }
    }

    /// Lets the keeper go on if somebody has stopped it (SIGSTOP): what it was asked for is done then.
    pub fn wake(&self) {
        if let Some(process) = &self.process {
            let _ = pidfd_send_signal(process, rustix::process::Signal::CONT);
        }
    }

    /// Has the keeper hold these descriptors open until its end, and no longer those that it held before.
    ///
    /// # Errors
    /// When they can't be sent: the keeper is dead, or descriptors are used up.
    pub fn hold(&self, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send(Request::Hold, fds).map(drop)
    }

    /// Starts a unit; the answer is a report. An id may be used once.
    pub fn spawn(&self, unit: UnitId, spec: ProcessSpec) {
        let failed = |error| (self.sink)(RunnerReport::SpawnFailed { unit, error });
        let program = spec.program.display().to_string();
        let request = match request(unit, &spec, self.open_files) {
            Ok(request) => request,
            Err(error) => return failed(format!("can't run {program}: {error}")),
        };
        if let Err(report) = self.ledger.ask(unit) {
            return (self.sink)(report);
        }
        let fds = spec.stdin.iter().chain([&spec.output]).chain(&spec.extra);
        let fds: Vec<BorrowedFd<'_>> = fds.map(AsFd::as_fd).collect();
        let Err(error) = self.send(request, &fds) else { return };
        if !reader::is_dead(&error) && self.ledger.withdraw(unit) {
            failed(format!("can't run {program}: can't reach the keeper: {}", reason(&error)));
        }
    }

    /// Has a process of a unit be its main process: its end is then the unit's. The answer is a report,
    /// [`RunnerReport::Main`]. False: there will be none, since the keeper is gone, or since it does not answer, and
    /// is to answer for this process in place of the one that was named before.
    #[must_use]
    pub fn main(&self, unit: UnitId, pid: u32) -> bool {
        self.send(Request::Main { unit, pid }, &[]).is_ok_and(|posted| posted != Posted::Merged)
    }

    /// Ends everything that is left, strays included, and waits for the keeper's end, so long at the most.
    /// Past that, the keeper goes on by itself, and still holds what it was told to hold.
    pub fn shutdown(mut self, limit: Duration) -> ShutDown {
        self.ledger.enter(Phase::Closing);
        // A keeper that is already dead can't be asked, and need not be.
        let _ = self.send(Request::Shutdown, &[]);
        self.wake();
        let result = self.ledger.wait_for_end(limit);
        if result.complete
            && let Some(reader) = self.reader.take()
        {
            let _ = reader.join();
        }
        result
    }

    /// Lets go of the keeper without ending it, for an orch that replaces its own image (`execv`): what was
    /// reported until now has reached the sink, what comes later waits in the socket for [`Keeper::adopt`],
    /// also when that is called here because the exec failed. Not to be called from the sink.
    ///
    /// # Errors
    /// When a descriptor can't be duplicated, or the keeper does not take what it was asked; it is as it was.
    pub fn hand_over(mut self) -> Result<(Handover, OwnedFd), Box<(Self, io::Error)>> {
        // What waits for the keeper is known to this image alone.
        if !self.post.is_empty() {
            return Err(Box::new((self, io::Error::other("it does not answer"))));
        }
        let prepared = self.post.socket().try_clone().and_then(|socket| {
            rustix::io::write(&self.stop, &1_u64.to_ne_bytes())?;
            Ok(socket)
        });
        let socket = match prepared {
            Ok(socket) => socket,
            Err(error) => return Err(Box::new((self, error))),
        };
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if !self.ledger.enter(Phase::HandedOver) {
            return Err(Box::new((self, io::Error::other("it was killed"))));
        }
        let (units, strays) = (self.ledger.units(), self.ledger.strays());
        let (pid, instance, open_files) = (self.pid, self.mark.instance, self.open_files);
        let cgroup = self.cgroup().map(Path::to_path_buf);
        Ok((Handover { pid, instance, cgroup, open_files, units, strays }, socket))
    }

    /// Never blocks. A keeper that takes nothing may be one that somebody has stopped.
    fn send(&self, request: Request, fds: &[BorrowedFd<'_>]) -> io::Result<Posted> {
        reader::send_on(&self.post, &self.ledger, &self.sink);
        let posted = self.post.send(request, fds)?;
        if posted != Posted::Sent {
            self.wake();
        }
        Ok(posted)
    }
}

impl Runner for Keeper {
    fn signal(&self, unit: UnitId, signal: Signal, scope: Scope) {
        let _ = self.send(Request::Signal { unit, signal: signal.number(), scope }, &[]);
    }

    fn kill(&self, unit: UnitId) {
        if self.send(Request::Kill { unit }, &[]).is_ok_and(|posted| posted == Posted::Withdrawn)
            && self.ledger.withdraw(unit)
        {
            let error = "can't start it: the keeper of the processes does not answer; the program of another component \
                         may be on a file system that does not"
                .to_owned();
            (self.sink)(RunnerReport::SpawnFailed { unit, error });
        }
        // What is due now does not wait for somebody to let the keeper go on.
        self.wake();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Not after a hand-over, when the keeper is to live; the reader tells by the phase.
        if self.ledger.enter(Phase::Closing) {
            let _ = rustix::net::shutdown(self.post.socket(), rustix::net::Shutdown::Both);
        }
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let socket = self.post.socket().as_raw_fd();
        f.debug_struct("Keeper").field("pid", &self.pid).field("socket", &socket).finish_non_exhaustive()
    }
}

/// Whether this process can see what it starts: else nobody could tell when that is gone.
///
/// # Errors
/// Why not, and what to do.
pub fn sees_processes() -> io::Result<()> {
    proc::check().map_err(|error| {
        io::Error::other(format!(
            "can't see processes in /proc ({error}); orch has to, to end all that it starts: mount it, by \
             `mount -t proc proc /proc`, or run orch where it is mounted"
        ))
    })
}

fn request(unit: UnitId, spec: &ProcessSpec, open_files: u64) -> Result<Request, String> {
    let text = |what: &str, bytes: Vec<u8>| {
        CString::new(bytes).map_err(|_| format!("{what} holds a NUL byte, which no process can be given"))
    };
    if 3 + spec.extra.len() > socket::MAX_FDS {
        return Err("more than 250 extra file descriptors".into());
    }
    let pair = |(name, value): &(OsString, OsString)| {
        let joined = [name.as_bytes(), b"=", value.as_bytes()].concat();
        text(&format!("the environment variable {}", name.display()), joined)
    };
    Ok(Request::Spawn(Launch {
        unit,
        program: text("its path", spec.program.clone().into_os_string().into_vec())?,
        argv: spec
            .argv
            .iter()
            .map(|word| text("an argument", word.as_bytes().to_vec()))
            .collect::<Result<_, _>>()?,
        env: spec.env.iter().map(pair).collect::<Result<_, _>>()?,
        cwd: text("its folder", spec.cwd.clone().into_os_string().into_vec())?,
        stdin: spec.stdin.is_some(),
        open_files,
    }))
}
