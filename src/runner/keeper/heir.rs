//! A unit whose main process is another one than its leader: a daemon that goes into the background, a server that
//! replaces itself (`MAINPID=` of sd_notify(3)). From then on that process's end is the unit's `Exited`.
//!
//! Once its parent is gone, it is the keeper's child, and its end is known as a leader's is. While its parent lives
//! it is that one's, and the keeper sees only that it ends: how, is read from what the kernel tells of it.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use rustix::event::{PollFlags, epoll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::types::{Exit, UnitId};

use super::super::RunnerReport;
use super::membership::root_of;
use super::proc;
use super::server::{Server, exit_of};
use super::socket;
use super::units::Owner;

/// A unit's main process, where that is not its leader.
#[derive(Debug)]
pub(super) struct Heir {
    pub(super) pid: u32,
    /// Sure to be that process, also when its id is given away.
    process: OwnedFd,
    /// Its end was reported.
    pub(super) ended: bool,
}

impl Heir {
    /// Its process group, which it may change; `None` when it has ended.
    pub(super) fn group(&self) -> Option<u32> {
        proc::child(self.pid).filter(|_| !self.ended && !self.has_ended()).map(|stat| stat.group)
    }

    /// Signals it. One that has just ended is no error.
    pub(super) fn signal(&self, signal: i32) {
        let _ = proc::signal_opened(&self.process, signal);
    }

    fn has_ended(&self) -> bool {
        socket::poll([(self.process.as_fd(), PollFlags::IN)], Some(0)).is_ok_and(|[shown]| !shown.is_empty())
    }

    /// How it ended, as far as that can be known: while nobody has waited for it, its entry tells; later the kernel
    /// does, from Linux 6.15 on. What nobody tells counts as a success, as it does for systemd.
    fn exit(&self) -> Exit {
        let status = proc::exit_status(self.pid).or_else(|| remembered_status(&self.process));
        status.map_or(Exit::Code(0), exit_of)
    }
}

/// What a process ended with, by a descriptor of it and after somebody has waited for it.
fn remembered_status(process: &OwnedFd) -> Option<i32> {
    /// PIDFD_GET_INFO, for the first form of its answer.
    const GET_INFO: libc::c_ulong = 0xC040_FF0B;
    /// PIDFD_INFO_EXIT: what was asked for, and in the answer whether it is there.
    const EXIT: u64 = 1 << 3;
    /// `struct pidfd_info` of linux/pidfd.h.
    #[repr(C)]
    struct Info {
        mask: u64,
        cgroup: u64,
        ids: [u32; 11],
        exit: i32,
    }
    let mut info = Info { mask: EXIT, cgroup: 0, ids: [0; 11], exit: 0 };
    // SAFETY: the number says that the kernel may read and write 64 bytes, which is what the struct has; a kernel
    // that does not know it writes nothing.
    let failed = unsafe { libc::ioctl(process.as_raw_fd(), GET_INFO as _, &raw mut info) };
    (failed == 0 && info.mask & EXIT != 0).then_some(info.exit)
}

/// What shows that an heir has ended: a descriptor that can be waited for, over those of all heirs.
#[derive(Debug, Default)]
pub(super) struct Heirs(Option<OwnedFd>);

impl Heirs {
    /// The descriptor that shows it; before there is an heir, there is none.
    pub(super) fn shown_by(&self) -> Option<&OwnedFd> {
        self.0.as_ref()
    }

    fn watch(&mut self, heir: &Heir) -> io::Result<()> {
        let all = match self.0.take() {
            Some(all) => all,
            None => epoll::create(epoll::CreateFlags::CLOEXEC)?,
        };
        let all = self.0.insert(all);
        let data = epoll::EventData::new_u64(heir.pid.into());
        // Once: what has ended shows that for ever.
        Ok(epoll::add(all, &heir.process, data, epoll::EventFlags::IN | epoll::EventFlags::ONESHOT)?)
    }
}

impl Server {
    /// Makes a process of a unit its main process, and says whether it could be done.
    pub(super) fn name_main(&mut self, unit: UnitId, pid: u32) {
        let accepted = self.try_main(unit, pid).is_some();
        self.outbox.report(RunnerReport::Main { unit, pid, accepted });
    }

    fn try_main(&mut self, unit: UnitId, pid: u32) -> Option<()> {
        let it = self.units.get(unit)?;
        if it.leader == pid {
            // One that has ended stays so.
            it.reaped.is_none().then_some(())?;
            self.units.get_mut(unit)?.heir = None;
            return Some(());
        }
        if it.heir.as_ref().is_some_and(|heir| heir.pid == pid && !heir.ended) {
            return Some(());
        }
        let process = pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()?;
        // Looked at behind that descriptor: had its id been another's before, the descriptor is of a process that has ended.
        let stat = proc::stat(pid).filter(|stat| !stat.dead)?;
        let root = root_of(stat, std::process::id())?;
        let (Owner::Leader(owner) | Owner::Member(owner)) = self.units.owner(root.pid) else { return None };
        let heir = Heir { pid, process, ended: false };
        if owner != unit || heir.has_ended() {
            return None;
        }
        self.heirs.watch(&heir).ok()?;
        self.units.get_mut(unit)?.heir = Some(heir);
        Some(())
    }

    /// Looks which heirs have ended whose parents live; the others are waited for as all children are.
    pub(super) fn look_at_heirs(&mut self) {
        let Some(all) = self.heirs.shown_by() else { return };
        let mut ended =
            [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 64];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let _ = epoll::wait(all, ended.as_mut_slice(), Some(&now));
        for (unit, exit) in self.units.ended_heirs() {
            self.outbox.report(RunnerReport::Exited { unit, exit });
        }
    }
}

impl Heir {
    /// Its end, if it has ended and that was not reported: of one that somebody else waits for.
    pub(super) fn unreported(&mut self) -> Option<Exit> {
        if self.ended || !self.has_ended() || proc::is_own_child(self.pid) {
            return None;
        }
        self.ended = true;
        Some(self.exit())
    }
}
