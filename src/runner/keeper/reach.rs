//! How the keeper reaches the processes of a unit: signals, kills, and the look at its own children by which
//! it knows when a unit is gone.
//!
//! No signal can reach a process of a reused id: a group is signalled only while its leader is unreaped, a
//! child of the keeper only before the keeper has reaped it, anybody else through a pidfd and after a check
//! of the start time (or the tag) behind that pidfd.

use std::collections::{BTreeSet, HashSet};

use crate::types::UnitId;

use super::super::{RunnerReport, Scope};
use super::census::Census;
use super::heir::Heir;
use super::proc::{self, Stat};
use super::server::{Errand, Server};
use super::units::Owner;

/// Every so many looks during a kill, all tagged processes are killed, however deep: what multiplies faster
/// than it falls to the keeper is caught by this.
const DEEP_EVERY: u32 = 16;

impl Server {
    /// Sends a signal now where no search is needed, else at the end of the turn.
    pub(super) fn signal(&mut self, unit: UnitId, signal: i32, scope: Scope) {
        match self.units.get(unit) {
            None => {}
            // The main process is asked, or nobody: whoever started it is not it any more.
            Some(it) if scope == Scope::Leader && it.heir.is_some() => {
                it.heir.iter().filter(|heir| !heir.ended).for_each(|heir| heir.signal(signal));
            }
            Some(it) if scope == Scope::Leader && it.reaped.is_some() => {}
            Some(it) if scope == Scope::Leader => drop(proc::signal_child(it.leader, signal)),
            Some(it) if scope == Scope::Group && it.reaped.is_none() && it.heir.is_none() => {
                signal_group(it.leader, signal)
            }
            Some(_) => self.errands.push(Errand::Signal { unit, signal, scope }),
        }
    }

    /// Does, with one census, what had to wait for it.
    pub(super) fn run_errands(&mut self) {
        if self.errands.is_empty() {
            return;
        }
        let errands = std::mem::take(&mut self.errands);
        let census = Census::take(&mut self.units, &mut self.scratch);
        for stray in &census.strays {
            self.report_stray(stray);
        }
        for errand in errands {
            match errand {
                Errand::Signal { unit, signal, scope } => self.signal_members(&census, unit, signal, scope),
                Errand::Kill { unit } => self.kill(&census, unit),
            }
        }
    }

    fn signal_members(&self, census: &Census, unit: UnitId, signal: i32, scope: Scope) {
        let Some(it) = self.units.get(unit) else { return };
        let group_first = scope == Scope::Unit && it.reaped.is_none();
        if group_first {
            signal_group(it.leader, signal);
        }
        // A main process that is not the leader has a group of its own, for the most part: both are meant.
        let main_group = it.heir.as_ref().and_then(Heir::group);
        for member in census.living(unit) {
            let with_leader = member.group == it.leader;
            let in_group = with_leader || Some(member.group) == main_group;
            let meant = match scope {
                Scope::Group => in_group,
                Scope::Escaped => !in_group,
                Scope::Leader => false,
                Scope::Unit => !(with_leader && group_first),
            };
            if meant && signal_member(member, signal) && wakes(signal) {
                signal_member(member, libc::SIGCONT);
            }
        }
    }

    /// The first blow; [`Server::look`] follows up at each death.
    fn kill(&mut self, census: &Census, unit: UnitId) {
        let Some(it) = self.units.get_mut(unit) else { return };
        if std::mem::replace(&mut it.condemned, true) {
            return;
        }
        let living_group = it.reaped.is_none().then_some(it.leader);
        let cgroup = self.units.cgroup(unit);
        // Asked before, since the dead are not in it any more.
        let mut pids: BTreeSet<u32> = cgroup.map(|it| it.members(unit)).into_iter().flatten().collect();
        if let Some(cgroup) = cgroup {
            cgroup.kill(unit);
        }
        if let Some(leader) = living_group {
            signal_group(leader, libc::SIGKILL);
        }
        for member in census.living(unit) {
            // Those of the cgroup and of the group have had theirs.
            if Some(member.group) == living_group
                || !pids.contains(&member.pid) && signal_member(member, libc::SIGKILL)
            {
                pids.insert(member.pid);
            }
        }
        let pids = pids.into_iter().collect();
        self.outbox.report(RunnerReport::Killed { unit, pids });
        self.stale = true;
    }

    /// Looks at the keeper's children, if that can tell anything new: kills what has turned up of a
    /// condemned unit, and reports each unit of which nothing is left.
    pub(super) fn look(&mut self) {
        if !std::mem::take(&mut self.stale) || !self.units.any_open_end() {
            return;
        }
        let mut present = HashSet::new();
        // The newest unit that somebody may belong to of whom nothing can be told.
        let mut doubtful = None;
        // The newest first: what forks and exits for ever stands at the end, and only for a moment.
        for pid in proc::own_children(&mut self.scratch).into_iter().rev() {
            match self.units.owner(pid) {
                Owner::Member(unit) => {
                    if self.units.get(unit).is_some_and(|it| it.condemned) {
                        let _ = proc::signal_child(pid, libc::SIGKILL);
                    }
                    present.insert(unit);
                }
                Owner::NewStray(stat) => self.report_stray(&stat),
                Owner::Unknown(newest) => doubtful = doubtful.max(Some(newest)),
                Owner::Leader(_) | Owner::Stray | Owner::Dead => {}
            }
        }
        // Nobody need die for it to become clear.
        self.stale = doubtful.is_some();
        let is_gone = |unit: &UnitId| !present.contains(unit) && doubtful.is_none_or(|newest| *unit > newest);
        let gone: Vec<UnitId> = self.units.leaderless().filter(is_gone).collect();
        for unit in gone {
            self.units.remove(unit);
            self.outbox.report(RunnerReport::Gone { unit });
        }
        self.looks = self.looks.wrapping_add(1);
        if self.looks.is_multiple_of(DEEP_EVERY) && self.units.any_condemned() {
            self.kill_deep();
        }
    }

    fn kill_deep(&self) {
        let condemned = |pid: u32| {
            let unit = self.units.by_tag(pid).and_then(|unit| self.units.get(unit));
            unit.is_some_and(|unit| unit.condemned)
        };
        for pid in proc::all().unwrap_or_default().into_iter().filter(|pid| condemned(*pid)) {
            let _ = proc::signal_checked(pid, libc::SIGKILL, || condemned(pid));
        }
    }
}

/// Signals the group of a leader that is not reaped, then wakes it if it was stopped.
fn signal_group(leader: u32, signal: i32) {
    // A group that has just ended is no error: its end is on its way.
    let _ = proc::signal_group(leader, signal);
    if wakes(signal) {
        let _ = proc::signal_group(leader, libc::SIGCONT);
    }
}

/// Whether who gets that signal is to go on if it was stopped: not when it dies of it, and not because a window
/// was resized.
fn wakes(signal: i32) -> bool {
    signal != libc::SIGKILL && signal != libc::SIGWINCH
}

/// Signals one process of a census; tells whether it was reached.
fn signal_member(member: &Stat, signal: i32) -> bool {
    if member.parent == std::process::id() {
        return proc::signal_child(member.pid, signal).is_ok();
    }
    let same = || proc::stat(member.pid).is_some_and(|now| now.start == member.start);
    proc::signal_checked(member.pid, signal, same).unwrap_or(false)
}
