//! The keeper's loop: one thread that sleeps until orch asks something, a child ends, or orch is dead.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::PollFlags;

use crate::types::{Exit, Signal, UnitId};

use super::super::{RunnerReport, Scope};
use super::heir::Heirs;
use super::outbox::Outbox;
use super::proc;
use super::protocol::{Body, Event, Launch, Request};
use super::socket::{self, Packet};
use super::spawn::{Descriptors, Spawner};
use super::tag::Mark;
use super::units::Units;

/// How much work is taken from the socket before the children are looked at again, in requests; a spawn
/// counts for so many.
const TURN: u32 = 512;
const SPAWN_COSTS: u32 = 32;

/// The children are looked at again after so long, in milliseconds, while the system does not show whose one is.
const LOOK_AGAIN: i64 = 1000;

/// Why a spawn fails whose descriptors did not all arrive.
const CROWDED: &str = "too many open files in the keeper of the processes";

/// The keeper at work.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) socket: OwnedFd,
    /// A signalfd for SIGCHLD.
    signals: OwnedFd,
    /// Open until the end, such as the project's lock.
    held: Vec<OwnedFd>,
    spawner: Spawner,
    pub(super) units: Units,
    pub(super) outbox: Outbox,
    pub(super) heirs: Heirs,
    /// What needs a look at all processes first; done together at the end of a turn.
    pub(super) errands: Vec<Errand>,
    /// Something has changed since the keeper's children were last looked at.
    pub(super) stale: bool,
    pub(super) looks: u32,
    pub(super) scratch: Vec<u8>,
    packet: Vec<u8>,
}

/// A request that concerns processes that have to be found first.
#[derive(Debug, Clone, Copy)]
pub(super) enum Errand {
    Signal { unit: UnitId, signal: i32, scope: Scope },
    Kill { unit: UnitId },
}

/// Why the keeper stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// orch is dead.
    Orphaned,
    /// orch asks for it.
    Shutdown,
}

impl Server {
    pub(super) fn new(mark: Mark, socket: OwnedFd, signals: OwnedFd, held: Vec<OwnedFd>) -> Self {
        Self {
            socket,
            signals,
            held,
            spawner: Spawner::new(mark.instance),
            units: Units::new(mark.instance, mark.cgroups),
            outbox: Outbox::default(),
            heirs: Heirs::default(),
            errands: Vec::new(),
            stale: false,
            looks: 0,
            scratch: Vec::new(),
            packet: vec![0; socket::MAX_PACKET],
        }
    }

    /// Serves until orch is dead or asks for the end.
    pub(super) fn serve(&mut self) -> End {
        loop {
            match self.turn() {
                Ok(None) => {}
                Ok(Some(end)) => return end,
                // Without its socket or its signals the keeper can keep nothing.
                Err(_) => return End::Orphaned,
            }
        }
    }

    fn turn(&mut self) -> io::Result<Option<End>> {
        let wanted = if self.outbox.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        // Where there are no heirs, the signals stand in for them.
        let heirs = self.heirs.shown_by().unwrap_or(&self.signals).as_fd();
        let ready =
            [(self.socket.as_fd(), wanted), (self.signals.as_fd(), PollFlags::IN), (heirs, PollFlags::IN)];
        let patience = (self.stale && self.units.any_open_end()).then_some(LOOK_AGAIN);
        let [socket, signals, heirs] = socket::poll(ready, patience)?;
        if hung_up(socket) {
            return Ok(Some(End::Orphaned));
        }
        if signals.contains(PollFlags::IN) {
            // Emptied before reaping, so that a death after the last waitpid wakes again.
            while rustix::io::read(&self.signals, &mut [0_u8; 1024]).is_ok() {}
            self.reap();
        }
        if heirs.contains(PollFlags::IN) {
            self.look_at_heirs();
        }
        let end = if socket.contains(PollFlags::IN) { self.take_requests()? } else { None };
        if end.is_none() {
            self.run_errands();
            self.look();
        }
        self.outbox.flush(&self.socket)?;
        Ok(end)
    }

    /// Takes what orch has asked; looks for orch's death before each request.
    fn take_requests(&mut self) -> io::Result<Option<End>> {
        let mut cost = 0;
        while cost < TURN {
            let [state] = socket::poll([(self.socket.as_fd(), PollFlags::IN)], Some(0))?;
            if hung_up(state) {
                return Ok(Some(End::Orphaned));
            }
            let packet = match socket::receive(&self.socket, &mut self.packet, false) {
                Ok(Some(packet)) => packet,
                Ok(None) => return Ok(Some(End::Orphaned)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            };
            match self.decode(&packet) {
                Some(Request::Spawn(launch)) => {
                    cost += SPAWN_COSTS;
                    self.spawn(&launch, packet);
                    self.outbox.flush(&self.socket)?;
                }
                Some(Request::Signal { unit, signal, scope }) => self.signal(unit, signal, scope),
                Some(Request::Main { unit, pid }) => self.name_main(unit, pid),
                Some(Request::Kill { unit }) => self.errands.push(Errand::Kill { unit }),
                // Some of them are no less than before: the old ones stay, too.
                Some(Request::Hold) if packet.truncated => self.held.extend(packet.fds),
                Some(Request::Hold) => self.held = packet.fds,
                Some(Request::Shutdown) => return Ok(Some(End::Shutdown)),
                None => self.refuse(&packet),
            }
            cost += 1;
        }
        Ok(None)
    }

    /// The request in a packet, or in the memfd beside it when the packet says so.
    fn decode(&self, packet: &Packet) -> Option<Request> {
        let bytes = &self.packet[..packet.length];
        if Body::of(bytes) == Body::Here {
            return Request::decode(bytes).ok();
        }
        let body = packet.fds.first()?;
        let length = usize::try_from(rustix::fs::fstat(body).ok()?.st_size).ok()?;
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match rustix::io::pread(body, &mut bytes[filled..], filled as u64).ok()? {
                0 => return None,
                more => filled += more,
            }
        }
        Request::decode(&bytes).ok()
    }

    /// Answers for a unit whose request was lost: its descriptors found no free number here.
    fn refuse(&mut self, packet: &Packet) {
        if let Body::Beside(unit) = Body::of(&self.packet[..packet.length]) {
            let error = format!("can't start it: {CROWDED}");
            self.outbox.report(RunnerReport::SpawnFailed { unit, error });
        }
    }

    fn spawn(&mut self, launch: &Launch, packet: Packet) {
        let unit = launch.unit;
        let spilled = Body::of(&self.packet[..packet.length]) != Body::Here;
        let result = descriptors(launch, packet, spilled).and_then(|fds| {
            let output = own_output(&fds.output);
            let cgroup = self.units.cgroups.as_ref().and_then(|it| it.add(unit));
            Ok((self.spawner.spawn(launch, fds, cgroup)?, output))
        });
        let in_cgroup = result.as_ref().is_ok_and(|(leader, _)| leader.in_cgroup);
        if let Some(cgroups) = self.units.cgroups.as_ref().filter(|_| !in_cgroup) {
            cgroups.remove(unit);
        }
        self.outbox.report(match result {
            Ok((leader, output)) => {
                self.units.add(unit, leader, output);
                RunnerReport::Spawned { unit, pid: Some(leader.pid) }
            }
            Err(error) => RunnerReport::SpawnFailed { unit, error },
        });
    }

    /// Reaps whoever has ended.
    fn reap(&mut self) {
        loop {
            let mut status = 0;
            // SAFETY: waitpid writes one status.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) };
            if pid <= 0 {
                return;
            }
            self.note_end(pid.unsigned_abs(), status);
        }
    }

    /// Notes a child that was reaped.
    pub(super) fn note_end(&mut self, pid: u32, status: i32) {
        self.stale = true;
        if let Some(unit) = self.units.reaped(pid) {
            self.outbox.report(RunnerReport::Exited { unit, exit: exit_of(status) });
        }
    }

    /// Reports a stray.
    pub(super) fn report_stray(&mut self, stray: &proc::Stat) {
        let command = proc::command(stray.pid);
        self.outbox.push(Event::Stray { pid: stray.pid, start: stray.start, command });
    }
}

/// Whether the other end is closed, which is so, and nobody but orch has had it, when orch is dead.
pub(super) fn hung_up(flags: PollFlags) -> bool {
    flags.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
}

fn descriptors(launch: &Launch, packet: Packet, spilled: bool) -> Result<Descriptors, String> {
    let program = launch.program.to_string_lossy();
    if packet.truncated {
        return Err(format!("can't run {program}: {CROWDED}"));
    }
    let mut fds = packet.fds.into_iter().skip(usize::from(spilled));
    let stdin = if launch.stdin { fds.next() } else { None };
    let output = fds.next().ok_or_else(|| format!("can't run {program}: it was given no output"))?;
    Ok(Descriptors { stdin, output, extra: fds.collect() })
}

/// Device and inode of an output that can be one unit's own: a pipe, a socket or a terminal.
fn own_output(output: &OwnedFd) -> Option<(u64, u64)> {
    use rustix::fs::FileType;
    let stat = rustix::fs::fstat(output).ok()?;
    let own = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo | FileType::Socket => true,
        FileType::CharacterDevice => rustix::termios::isatty(output),
        _ => false,
    };
    own.then_some((stat.st_dev, stat.st_ino))
}

pub(super) fn exit_of(status: i32) -> Exit {
    if libc::WIFEXITED(status) {
        return Exit::Code(libc::WEXITSTATUS(status));
    }
    let number = libc::WTERMSIG(status);
    // 32 and 33 are the C library's own and have no name; a shell would show them as this code.
    Signal::from_number(number).map_or(Exit::Code(128 + number), Exit::Signal)
}
