//! The kills that orch itself does, when there is no keeper to do it: after one was killed, and at the next
//! start after orch and its keeper were killed together.
//!
//! Who is meant is decided process by process, and checked again behind a pidfd before the signal: the tag's
//! 30 random bits are the proof that this orch's keeper started it.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags};

use super::cgroup::Tree;
use super::launch::NAME;
use super::proc::{self, reap, wait_for_end};
use super::tag::Tag;

/// The longest hunt. What is left then can't be ended: it sleeps in the kernel, or is another user's.
const LIMIT: Duration = Duration::from_secs(5);

/// How long one killed process is waited for before looking again, in milliseconds.
const PAUSE: i64 = 10;

/// Kills every process that carries the tag of this instance, or is in its cgroups, until two passes in a row find none, and gives
/// the ids of those killed. The caller, those above it, and its own keepers are spared, should a survivor have
/// started it. For the start after orch and its keeper were killed in the same moment. Takes a few
/// milliseconds where there is nothing to do, 5 s at the most.
#[must_use]
pub fn sweep(instance: u32, cgroup: Option<&Path>) -> Vec<u32> {
    let own = line_of(std::process::id());
    let mut killed = cgroup.map(|folder| sweep_cgroups(folder, instance, &own)).unwrap_or_default();
    killed.extend(hunt(|pid| {
        Tag::of(pid).is_some_and(|tag| tag.instance == instance) && !own.contains(&pid) && !is_own_keeper(pid)
    }));
    killed.sort_unstable();
    killed.dedup();
    killed
}

/// The same by the cgroups, which nobody in them can have left.
fn sweep_cgroups(folder: &Path, instance: u32, own: &BTreeSet<u32>) -> Vec<u32> {
    let Some(cgroups) = Tree::at(folder, instance) else { return Vec::new() };
    let members = cgroups.all_members();
    // A survivor may have started the caller: then one by one, as the tags tell.
    if members.iter().any(|pid| own.contains(pid)) {
        return Vec::new();
    }
    cgroups.kill_all();
    cgroups.wait_until_empty(LIMIT);
    cgroups.remove_all();
    members
}

/// Whether a process is a keeper of the caller's: its child, in a session and under a name of its own.
fn is_own_keeper(pid: u32) -> bool {
    let me = std::process::id();
    let in_place = proc::stat(pid).is_some_and(|stat| stat.parent == me && stat.session == pid);
    in_place && proc::command(pid).as_bytes() == NAME.to_bytes()
}

/// A process and all above it.
fn line_of(pid: u32) -> BTreeSet<u32> {
    let (mut line, mut next) = (BTreeSet::new(), pid);
    while next > 1 && line.insert(next) {
        next = proc::stat(next).map_or(0, |stat| stat.parent);
    }
    line
}

/// Kills all that are meant, and reaps those that are the caller's children.
pub(super) fn hunt(is_meant: impl Fn(u32) -> bool) -> Vec<u32> {
    let deadline = Instant::now() + LIMIT;
    let (mut killed, mut corpses) = (BTreeSet::new(), BTreeSet::new());
    let mut clean_passes = 0;
    while clean_passes < 2 && Instant::now() < deadline {
        let before = proc::last_pid();
        let mut found = Pass::default();
        // Where nothing is shown, the caller's own children can be found; those below them come to it in turn.
        for pid in proc::all().unwrap_or_else(|_| proc::asked_children()).into_iter().rev() {
            found.visit(pid, &is_meant);
        }
        found.visit_newcomers(before, &is_meant, deadline);
        // A body not seen before: somebody died during this pass, and may have had time to fork.
        let fresh_corpse = found.dead.difference(&corpses).next().is_some();
        corpses.extend(&found.dead);
        let clean = found.hit.is_empty() && !fresh_corpse;
        clean_passes = if clean { clean_passes + 1 } else { 0 };
        killed.extend(&found.hit);
        if let Some(process) = found.last_hit {
            wait_for_end(&process, PAUSE);
        }
    }
    killed.into_iter().collect()
}

/// What one pass over all processes has found.
#[derive(Debug, Default)]
struct Pass {
    hit: BTreeSet<u32>,
    dead: BTreeSet<u32>,
    last_hit: Option<OwnedFd>,
}

impl Pass {
    fn visit(&mut self, pid: u32, is_meant: &impl Fn(u32) -> bool) {
        if !is_meant(pid) {
            return;
        }
        if proc::child(pid).is_none_or(|stat| stat.dead) {
            reap(pid);
            self.dead.insert(pid);
        } else if proc::signal_checked(pid, libc::SIGKILL, || is_meant(pid)).unwrap_or(false) {
            self.hit.insert(pid);
            let id = i32::try_from(pid).ok().and_then(Pid::from_raw);
            self.last_hit = id.and_then(|id| rustix::process::pidfd_open(id, PidfdFlags::empty()).ok());
        }
    }

    /// Visits every id given away since `before`, newest first, until none is given away meanwhile.
    fn visit_newcomers(&mut self, before: Option<u32>, is_meant: &impl Fn(u32) -> bool, deadline: Instant) {
        let (Some(mut seen), mut rounds) = (before, 0) else { return };
        while let Some(newest) = proc::last_pid().filter(|newest| *newest != seen) {
            // After the highest id the numbers start again.
            let wrapped = newest < seen;
            let (first, from_start) = if wrapped { (1, newest) } else { (seen + 1, 0) };
            let newcomers = (first..=newest).rev();
            for pid in newcomers.take_while(|_| Instant::now() < deadline) {
                self.visit(pid, is_meant);
            }
            if from_start > 0 {
                let all = proc::all().unwrap_or_default();
                all.into_iter().filter(|pid| *pid > seen).for_each(|pid| self.visit(pid, is_meant));
            }
            seen = newest;
            rounds += 1;
            // A busy machine always has newcomers; the next pass looks at them.
            if rounds > 100 {
                return;
            }
        }
    }
}
