//! The thread that hears the keeper: hands its reports on, and cleans up after its death.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use rustix::event::PollFlags;
use rustix::process::{Pid, PidfdFlags};

use super::super::{ReportSink, RunnerReport};
use super::cgroup::Tree;
use super::hunt::hunt;
use super::ledger::Ledger;
use super::post::Post;
use super::proc::{self, is_own_child, reap, wait_for_end};
use super::protocol::{Event, Request};
use super::socket;
use super::spawn::reason;
use super::tag::{Mark, Tag};

/// How long a keeper that has closed its socket may take to end by itself, in milliseconds: it drains then,
/// and only what can't be killed holds it up.
const END_LIMIT: i64 = 10_000;

/// What the reader works with.
pub(super) struct Reading {
    pub(super) post: Arc<Post>,
    pub(super) stop: Arc<OwnedFd>,
    pub(super) pid: u32,
    pub(super) mark: Mark,
    pub(super) ledger: Arc<Ledger>,
    pub(super) sink: ReportSink,
}

/// Whether that error says that the keeper is dead: it answers for all its units at once, by the reader.
pub(super) fn is_dead(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Sends what waits for the keeper, as far as there is room; what can't be sent is answered here.
pub(super) fn send_on(post: &Post, ledger: &Ledger, sink: &ReportSink) {
    for (request, error) in post.send_on() {
        match request {
            Request::Spawn(launch) if is_dead(&error) => drop(launch),
            Request::Spawn(launch) if ledger.withdraw(launch.unit) => {
                let program = launch.program.to_string_lossy();
                let error = format!("can't run {program}: can't reach the keeper: {}", reason(&error));
                sink(RunnerReport::SpawnFailed { unit: launch.unit, error });
            }
            Request::Main { unit, pid } => sink(RunnerReport::Main { unit, pid, accepted: false }),
            request => tracing::debug!(?request, %error, "the keeper was not asked"),
        }
    }
}

/// Reads until the keeper is gone, or until told to stop.
pub(super) fn run(reading: &Reading) {
    if !reading.reports() {
        return;
    }
    reading.await_keeper();
    // From here on nothing new can be asked for, so nothing is left without an answer.
    let close = reading.ledger.close();
    if close.drained {
        return reading.ledger.end();
    }
    reading.clean_up();
    // What ended with the keeper may begin again at once, so there has to be another one first.
    if close.lost {
        (reading.sink)(RunnerReport::KeeperLost);
    }
    for report in reading.ledger.last_words() {
        (reading.sink)(report);
    }
    reading.ledger.end();
}

impl Reading {
    /// Hands reports on; true at the end of the connection, false when told to stop.
    fn reports(&self) -> bool {
        let mut packet = vec![0; socket::MAX_PACKET];
        loop {
            let room = if self.post.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            let wanted = [
                (self.post.socket().as_fd(), PollFlags::IN | room),
                (self.stop.as_fd(), PollFlags::IN),
                (self.post.bell().as_fd(), PollFlags::IN),
            ];
            let socket = match socket::poll(wanted, None) {
                Ok([_, stop, _]) if !stop.is_empty() => return false,
                Ok([socket, _, bell]) => {
                    if socket.contains(PollFlags::OUT) || !bell.is_empty() {
                        self.post.hush();
                        send_on(&self.post, &self.ledger, &self.sink);
                    }
                    socket
                }
                Err(_) => return true,
            };
            if (socket - PollFlags::OUT).is_empty() {
                continue;
            }
            let Ok(Some(received)) = socket::receive(self.post.socket(), &mut packet, true) else {
                return true;
            };
            // Nobody but the keeper, which is this same program, writes here.
            for event in Event::decode_all(&packet[..received.length]).unwrap_or_default() {
                if let Some(report) = self.ledger.note(event) {
                    (self.sink)(report);
                }
            }
        }
    }

    /// Waits for the keeper's death: only after that are its children orch's.
    fn await_keeper(&self) {
        let id = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        // Not reaped by anybody but this thread, so the id is still the keeper's.
        if let Some(process) = id.and_then(|id| rustix::process::pidfd_open(id, PidfdFlags::empty()).ok()) {
            wait_for_end(&process, END_LIMIT);
        }
        reap(self.pid);
    }

    /// Ends what a killed keeper has left to this process: what carries its tag, what is in its session
    /// (which nobody else can enter), and known leaders and strays.
    fn clean_up(&self) {
        let cgroups = self.mark.cgroups.as_ref();
        cgroups.into_iter().for_each(Tree::kill_all);
        let (leaders, strays) = (self.ledger.leaders(), self.ledger.strays());
        hunt(|pid| {
            if pid == self.pid {
                return false;
            }
            if Tag::of(pid).is_some_and(|tag| tag.instance == self.mark.instance) {
                return true;
            }
            if cgroups.is_some_and(|it| it.holds(pid)) {
                return true;
            }
            if leaders.contains(&pid) && is_own_child(pid) {
                return true;
            }
            proc::stat(pid)
                .is_some_and(|stat| stat.session == self.pid || strays.contains(&(pid, stat.start)))
        });
        cgroups.into_iter().for_each(Tree::remove_all);
    }
}
