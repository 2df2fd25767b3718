//! Cgroups of the keeper's own: where the system lets orch make one, each unit has one, and no process can
//! leave it by forking, whatever else it takes off. The kernel then kills a unit in one stroke.
//!
//! `<orch's own cgroup>/orch-<instance>/<unit>`, in the version 2 hierarchy, without any controller: it
//! limits nothing. Nothing here is relied on: each failure means that the other marks decide.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags};

use crate::types::UnitId;

use super::socket;

/// Whether units get cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cgroups {
    /// Where the system allows it.
    #[default]
    WherePossible,
    /// Never: units are known by descent and by inherited marks alone.
    Never,
}

/// The cgroup of one keeper, in which each of its units has its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree {
    folder: PathBuf,
    name: String,
}

impl Tree {
    /// Makes the cgroup of a keeper below the caller's own; `None` where that can't be.
    pub(super) fn make(instance: u32) -> Option<Self> {
        let name = format!("orch-{instance:08x}");
        let folder = own_folder()?.join(&name);
        if let Err(error) = fs::create_dir(&folder) {
            tracing::debug!(folder = %folder.display(), %error, "units get no cgroups");
            return None;
        }
        // A threaded cgroup takes no processes; before Linux 5.14 there is no kill.
        let usable = fs::read_to_string(folder.join("cgroup.type")).is_ok_and(|kind| kind.trim() == "domain")
            && folder.join("cgroup.kill").exists();
        let tree = Self { folder, name };
        if !usable {
            tree.remove_all();
        }
        usable.then_some(tree)
    }

    /// The cgroup of a keeper that was made before, by its folder; `None` when it is no such folder, or gone.
    pub(super) fn at(folder: &Path, instance: u32) -> Option<Self> {
        let name = folder.file_name()?.to_str()?.to_owned();
        let is_its = name == format!("orch-{instance:08x}") && folder.join("cgroup.procs").exists();
        is_its.then(|| Self { folder: folder.to_path_buf(), name })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn of(&self, unit: UnitId) -> PathBuf {
        self.folder.join(unit.0.to_string())
    }

    /// Makes a unit's cgroup, and opens it for the clone.
    pub(super) fn add(&self, unit: UnitId) -> Option<OwnedFd> {
        let folder = self.of(unit);
        fs::create_dir(&folder).ok()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&folder, flags, Mode::empty());
        if opened.is_err() {
            self.remove(unit);
        }
        opened.ok()
    }

    /// The unit in whose cgroup, or below it, a process is. A zombie stays where it was.
    pub(super) fn unit_of(&self, pid: u32) -> Option<UnitId> {
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        self.unit_in(&path_in(&cgroups)?)
    }

    /// The unit that a path of the hierarchy leads to. By the keeper's name in it, wherever that stands: seen
    /// from another cgroup namespace, the same path begins elsewhere.
    fn unit_in(&self, path: &str) -> Option<UnitId> {
        let mut parts = path.split('/').skip_while(|part| *part != self.name);
        // A cgroup that was removed under its zombies has a space and a remark behind its name.
        parts.nth(1)?.split(' ').next()?.parse().ok().map(UnitId)
    }

    /// Whether a process is in the cgroup of any unit.
    pub(super) fn holds(&self, pid: u32) -> bool {
        self.unit_of(pid).is_some()
    }

    /// The living processes of a unit, those in cgroups of its own making included.
    pub(super) fn members(&self, unit: UnitId) -> Vec<u32> {
        members(&self.of(unit))
    }

    /// The living processes of all units.
    pub(super) fn all_members(&self) -> Vec<u32> {
        members(&self.folder)
    }

    /// Processor time of all that have been in a unit's cgroup, in milliseconds. The kernel counts it also where
    /// there is no controller.
    pub(super) fn processor_time(&self, unit: UnitId) -> Option<u64> {
        let text = fs::read_to_string(self.of(unit).join("cpu.stat")).ok()?;
        let used = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
        used.parse::<u64>().ok().map(|microseconds| microseconds / 1000)
    }

    /// SIGKILL to all of a unit at once; what is being forked meanwhile does not slip through.
    pub(super) fn kill(&self, unit: UnitId) {
        let _ = fs::write(self.of(unit).join("cgroup.kill"), "1");
    }

    /// SIGKILL to all of all units at once.
    pub(super) fn kill_all(&self) {
        let _ = fs::write(self.folder.join("cgroup.kill"), "1");
    }

    /// Waits, so long at the most, until nobody in it lives.
    pub(super) fn wait_until_empty(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let path = self.folder.join("cgroup.events");
        let Ok(events) = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else {
            return;
        };
        loop {
            // Read through the descriptor that is polled: that is what the kernel counts a change from.
            let mut text = [0_u8; 256];
            let length = rustix::io::pread(&events, &mut text, 0).unwrap_or(0);
            if !text[..length].windows(11).any(|part| part == b"populated 1") {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now()).as_millis();
            if left == 0
                || socket::poll([(events.as_fd(), PollFlags::PRI)], i64::try_from(left).ok()).is_err()
            {
                return;
            }
        }
    }

    /// Removes the cgroup of a unit that is gone.
    pub(super) fn remove(&self, unit: UnitId) {
        remove(&self.of(unit));
    }

    /// Removes everything that is empty.
    pub(super) fn remove_all(&self) {
        remove(&self.folder);
    }
}

/// The caller's cgroup in the version 2 hierarchy, as a folder.
fn own_folder() -> Option<PathBuf> {
    let own = path_in(&fs::read_to_string("/proc/self/cgroup").ok()?)?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|mount| folder_in(mount, &own))
}

/// A cgroup's folder under one mount, given as a line of mountinfo, if that shows it.
fn folder_in(mount: &str, path: &str) -> Option<PathBuf> {
    let (place, kind) = mount.split_once(" - ")?;
    let mut fields = place.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    if !kind.starts_with("cgroup2 ") || place.contains('\\') {
        return None;
    }
    let below = Path::new(path).strip_prefix(root).ok()?;
    // Outside of what this cgroup namespace shows.
    let outside = below.components().any(|part| !matches!(part, std::path::Component::Normal(_)));
    (!outside).then(|| Path::new(point).join(below))
}

fn path_in(cgroups: &str) -> Option<String> {
    cgroups.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

/// A cgroup and all below it, the upper ones first.
fn with_those_below(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![folder.to_path_buf()];
    let mut at = 0;
    while let Some(next) = all.get(at) {
        let below = fs::read_dir(next).into_iter().flatten().flatten();
        let below: Vec<_> = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).collect();
        all.extend(below.into_iter().map(|entry| entry.path()));
        at += 1;
    }
    all
}

fn members(folder: &Path) -> Vec<u32> {
    let lists = with_those_below(folder).into_iter().map(|it| fs::read_to_string(it.join("cgroup.procs")));
    lists
        .filter_map(io::Result::ok)
        .flat_map(|list| list.lines().flat_map(str::parse).collect::<Vec<_>>())
        .collect()
}

fn remove(folder: &Path) {
    // Most have nothing below them.
    if fs::remove_dir(folder).is_ok() {
        return;
    }
    for it in with_those_below(folder).iter().rev() {
        let _ = fs::remove_dir(it);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_cgroup_is_found_through_the_mount_that_shows_it() {
        let at = |mount: &str, path: &str| folder_in(mount, path).map(|it| it.display().to_string());
        let plain = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(at(plain, "/"), Some("/sys/fs/cgroup/".into()));
        assert_eq!(at(plain, "/user.slice/a.scope"), Some("/sys/fs/cgroup/user.slice/a.scope".into()));
        assert_eq!(at(plain, "/../other"), None);
        let container = "35 24 0:30 /docker/x /sys/fs/cgroup ro - cgroup2 cgroup rw";
        assert_eq!(at(container, "/docker/x/y"), Some("/sys/fs/cgroup/y".into()));
        assert_eq!(at(container, "/docker/z"), None);
        assert_eq!(at("35 24 0:30 / /sys/fs/cgroup rw - cgroup cgroup rw,cpu", "/"), None);
        assert_eq!(at("nonsense", "/"), None);
    }

    #[test]
    fn the_unit_is_the_part_behind_the_keepers_name() {
        let tree = Tree { folder: "/sys/fs/cgroup/orch-00000001".into(), name: "orch-00000001".into() };
        let unit = |path: &str| tree.unit_in(path).map(|unit| unit.0);
        assert_eq!(unit("/user.slice/orch-00000001/12"), Some(12));
        assert_eq!(unit("/orch-00000001/12/orch-00000002/3"), Some(12));
        assert_eq!(unit("/orch-00000001/12 (deleted)"), Some(12));
        for other in ["/", "/orch-00000001", "/orch-00000002/3", "/orch-00000001/x", "/orch-000000012/3"] {
            assert_eq!(unit(other), None, "{other}");
        }
    }
}
