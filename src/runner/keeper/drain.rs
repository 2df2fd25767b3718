//! The keeper's end: kills everything below it, and goes when the kernel says that nothing is left.
//!
//! No search, no polling: orphans become the keeper's children, and they do so only when somebody dies, which
//! is what `waitpid` waits for. ECHILD is the proof. Without it the keeper goes only where all who are left can't be
//! killed: they became another user's, and are in no cgroup.

use std::collections::HashSet;

use rustix::event::PollFlags;
use std::os::fd::AsFd as _;

use super::super::RunnerReport;
use super::proc;
use super::protocol::{Event, Leftover};
use super::server::{End, Server, hung_up};
use super::socket;

/// After so many rounds, who falls is no longer noted: speed is all against what forks for ever.
const NOTED_ROUNDS: u32 = 4;

impl Server {
    /// Ends everything; after a shutdown, tells orch who was left.
    pub(super) fn finish(&mut self, end: End) {
        let mut left = Vec::new();
        self.drain((end == End::Shutdown).then_some(&mut left));
        if let Some(cgroups) = &self.units.cgroups {
            cgroups.remove_all();
        }
        if end == End::Orphaned {
            return;
        }
        let reaped: Vec<_> = self.units.leaderless().collect();
        for unit in reaped {
            self.outbox.report(RunnerReport::Gone { unit });
        }
        self.outbox.push(Event::Drained(left));
        while self.outbox.flush(&self.socket).is_ok() && !self.outbox.is_empty() {
            match socket::poll([(self.socket.as_fd(), PollFlags::OUT)], None) {
                Ok([state]) if !hung_up(state) => {}
                _ => return,
            }
        }
    }

    fn drain(&mut self, mut left: Option<&mut Vec<Leftover>>) {
        let mut noted = HashSet::new();
        for round in 0_u32.. {
            let mut refused = 0;
            let children = proc::own_children(&mut self.scratch);
            for pid in children.iter().copied().rev() {
                if let Some(left) = left.as_mut().filter(|_| round < NOTED_ROUNDS && noted.insert(pid))
                    && proc::child(pid).is_some_and(|stat| !stat.dead)
                {
                    left.push(Leftover { pid, command: proc::command(pid) });
                }
                if proc::signal_child(pid, libc::SIGKILL).is_err() && !self.units.in_cgroup(pid) {
                    refused += 1;
                }
            }
            if let Some(cgroups) = &self.units.cgroups {
                cgroups.kill_all();
            }
            // Whoever changed to another user can be killed by the cgroup alone; waiting for others would be for ever.
            // With nobody in the list there is nobody: it is complete, however it was come by.
            let wait = if refused > 0 && refused == children.len() { libc::WNOHANG } else { 0 };
            if !self.reap_some(wait) {
                return;
            }
        }
    }

    /// Reaps at least one child (unless told not to wait) and all others that have ended; false: nobody is
    /// left to wait for.
    fn reap_some(&mut self, mut options: i32) -> bool {
        let mut any = false;
        loop {
            let mut status = 0;
            // SAFETY: waitpid writes one status.
            match unsafe { libc::waitpid(-1, &raw mut status, options | libc::__WALL) } {
                0 => return any,
                pid if pid > 0 => self.note_end(pid.unsigned_abs(), status),
                _ if std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted => continue,
                _ => return false,
            }
            (any, options) = (true, libc::WNOHANG);
        }
    }
}
