//! The keeper's table: its units, and to which of them a process belongs.
//!
//! Membership is decided at the keeper's own children only. Every process under the keeper hangs from one of
//! them, and that child can't be reaped, and its id not reused, before the keeper does it: so a unit is gone
//! exactly when its leader is reaped and none of the keeper's children belongs to it.

use std::collections::{BTreeMap, HashMap};

use crate::types::{Exit, UnitId};

use super::cgroup::Tree;
use super::heir::Heir;
use super::proc::{self, Stat};
use super::spawn::Leader;
use super::tag::Tag;

/// One unit.
#[derive(Debug)]
pub(super) struct Unit {
    /// The leader's process id, which is also its group's.
    pub(super) leader: u32,
    /// When the leader was reaped, on the clock of [`Stat::start`].
    pub(super) reaped: Option<u64>,
    /// To be killed, now and whatever of it turns up later.
    pub(super) condemned: bool,
    /// It has a cgroup of its own.
    pub(super) in_cgroup: bool,
    output: Option<Inode>,
    /// Its main process, where that is not the leader.
    pub(super) heir: Option<Heir>,
}

/// Device and inode.
type Inode = (u64, u64);

/// What a child of the keeper is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// A unit's leader.
    Leader(UnitId),
    /// Another process of a unit.
    Member(UnitId),
    /// Nobody's, found just now.
    NewStray(Stat),
    /// Nobody's, known.
    Stray,
    /// Ended, and nobody's.
    Dead,
    /// Nothing shows whose it is, since the system shows nothing of it: of any unit that was there when it was seen
    /// first. This is the newest of those.
    Unknown(UnitId),
}

/// All units, and what is known about the processes of each.
#[derive(Debug)]
pub(super) struct Units {
    instance: u32,
    /// The units' cgroups, where there are any.
    pub(super) cgroups: Option<Tree>,
    units: BTreeMap<UnitId, Unit>,
    /// Leaders not yet reaped.
    leaders: HashMap<u32, UnitId>,
    /// Leaders, reaped or not, of units that are not gone.
    groups: HashMap<u32, UnitId>,
    /// The keeper's other children, once judged; pinned, since they are not reaped.
    orphans: HashMap<u32, Option<UnitId>>,
    /// Children of whom nothing can be told for now, with the newest unit that was there when they were seen first.
    unknown: HashMap<u32, UnitId>,
    /// The newest unit.
    newest: UnitId,
    /// Processes seen below a unit's own, with their start time: theirs, also when they lose the tag.
    claims: HashMap<u32, (u64, UnitId)>,
    /// Keepers inside a unit (an orch that runs an orch): what they tagged is that unit's.
    nested: HashMap<u32, UnitId>,
}

impl Units {
    pub(super) fn new(instance: u32, cgroups: Option<Tree>) -> Self {
        Self {
            instance,
            cgroups,
            units: BTreeMap::new(),
            leaders: HashMap::new(),
            groups: HashMap::new(),
            orphans: HashMap::new(),
            unknown: HashMap::new(),
            newest: UnitId(0),
            claims: HashMap::new(),
            nested: HashMap::new(),
        }
    }

    pub(super) fn add(&mut self, unit: UnitId, leader: Leader, output: Option<Inode>) {
        let Leader { pid: leader, in_cgroup } = leader;
        self.newest = self.newest.max(unit);
        self.leaders.insert(leader, unit);
        self.groups.insert(leader, unit);
        self.units
            .insert(unit, Unit { leader, reaped: None, condemned: false, in_cgroup, output, heir: None });
    }

    /// A unit's own cgroup: the hierarchy that it is in.
    pub(super) fn cgroup(&self, unit: UnitId) -> Option<&Tree> {
        self.cgroups.as_ref().filter(|_| self.get(unit).is_some_and(|it| it.in_cgroup))
    }

    pub(super) fn contains(&self, unit: UnitId) -> bool {
        self.units.contains_key(&unit)
    }

    pub(super) fn get(&self, unit: UnitId) -> Option<&Unit> {
        self.units.get(&unit)
    }

    pub(super) fn get_mut(&mut self, unit: UnitId) -> Option<&mut Unit> {
        self.units.get_mut(&unit)
    }

    /// Notes that the keeper has reaped a child; gives the unit whose main process it was.
    pub(super) fn reaped(&mut self, pid: u32) -> Option<UnitId> {
        self.orphans.remove(&pid);
        self.unknown.remove(&pid);
        if let Some(unit) = self.leaders.remove(&pid) {
            let it = self.units.get_mut(&unit)?;
            it.reaped = Some(proc::ticks_now());
            return it.heir.is_none().then_some(unit);
        }
        let is_heir = |heir: &&mut Heir| heir.pid == pid && !heir.ended;
        let mut heirs = self.units.iter_mut().filter_map(|(unit, it)| Some((*unit, it.heir.as_mut()?)));
        let (unit, heir) = heirs.find(|(_, heir)| is_heir(heir))?;
        heir.ended = true;
        Some(unit)
    }

    /// The units whose heirs have ended as other processes' children, with how; each once.
    pub(super) fn ended_heirs(&mut self) -> Vec<(UnitId, Exit)> {
        let heirs = self.units.iter_mut().filter_map(|(unit, it)| Some((*unit, it.heir.as_mut()?)));
        heirs.filter_map(|(unit, heir)| Some((unit, heir.unreported()?))).collect()
    }

    /// Whether some unit's end depends on what else the keeper has for children.
    pub(super) fn any_open_end(&self) -> bool {
        self.leaders.len() < self.units.len() || self.any_condemned()
    }

    pub(super) fn any_condemned(&self) -> bool {
        self.units.values().any(|unit| unit.condemned)
    }

    /// Units whose leader is reaped.
    pub(super) fn leaderless(&self) -> impl Iterator<Item = UnitId> {
        self.units.iter().filter(|(_, unit)| unit.reaped.is_some()).map(|(id, _)| *id)
    }

    /// Forgets a unit of which nothing is left.
    pub(super) fn remove(&mut self, gone: UnitId) {
        let Some(unit) = self.units.remove(&gone) else { return };
        if let Some(cgroups) = self.cgroups.as_ref().filter(|_| unit.in_cgroup) {
            cgroups.remove(gone);
        }
        self.leaders.remove(&unit.leader);
        if self.groups.get(&unit.leader) == Some(&gone) {
            self.groups.remove(&unit.leader);
        }
        if !self.claims.is_empty() {
            self.claims.retain(|_, (_, unit)| *unit != gone);
        }
        if !self.nested.is_empty() {
            self.nested.retain(|_, unit| *unit != gone);
        }
    }

    /// Whose a child of the keeper is. Judged once for each child.
    pub(super) fn owner(&mut self, pid: u32) -> Owner {
        if let Some(unit) = self.leaders.get(&pid) {
            return Owner::Leader(*unit);
        }
        match self.orphans.get(&pid) {
            Some(Some(unit)) if self.contains(*unit) => return Owner::Member(*unit),
            Some(_) => return Owner::Stray,
            None => {}
        }
        if let Some(unit) = self.by_tag(pid).or_else(|| self.by_cgroup(pid)) {
            self.orphans.insert(pid, Some(unit));
            return Owner::Member(unit);
        }
        // It is not reaped: where nothing is shown of it, it is there all the same.
        let Some(stat) = proc::child(pid) else { return Owner::Dead };
        let unit = self.by_other_marks(&stat);
        if unit.is_none() && stat.dead {
            return Owner::Dead;
        }
        if unit.is_none() && stat.start == Stat::UNKNOWN {
            return Owner::Unknown(*self.unknown.entry(pid).or_insert(self.newest));
        }
        self.orphans.insert(pid, unit);
        unit.map_or(Owner::NewStray(stat), Owner::Member)
    }

    /// The unit whose tag a process carries, if that unit is not gone.
    pub(super) fn by_tag(&self, pid: u32) -> Option<UnitId> {
        let tag = Tag::of(pid)?;
        let unit = if tag.instance == self.instance { tag.unit } else { *self.nested.get(&tag.instance)? };
        self.contains(unit).then_some(unit)
    }

    /// Whether a process is in a cgroup of the keeper's, and thus within reach whatever its user.
    pub(super) fn in_cgroup(&self, pid: u32) -> bool {
        self.cgroups.as_ref().is_some_and(|it| it.holds(pid))
    }

    fn by_cgroup(&self, pid: u32) -> Option<UnitId> {
        self.cgroups.as_ref()?.unit_of(pid).filter(|unit| self.contains(*unit))
    }

    fn by_other_marks(&self, stat: &Stat) -> Option<UnitId> {
        self.by_claim(stat).or_else(|| self.by_group(stat)).or_else(|| self.by_output(stat.pid))
    }

    fn by_claim(&self, stat: &Stat) -> Option<UnitId> {
        self.claims.get(&stat.pid).filter(|(start, _)| *start == stat.start).map(|(_, unit)| *unit)
    }

    /// By group or session, which bear the leader's id. That id is sure as long as the leader is unreaped;
    /// afterwards, for those who were there before it was reaped: while they are, it can't be reused.
    fn by_group(&self, stat: &Stat) -> Option<UnitId> {
        [stat.group, stat.session].iter().find_map(|id| {
            let unit = *self.groups.get(id)?;
            let sure = self.get(unit)?.reaped.is_none_or(|reaped| stat.start <= reaped);
            sure.then_some(unit)
        })
    }

    /// By its output, where that is one unit's alone. orch holds the reading end until the unit is gone, so
    /// the inode is not reused.
    fn by_output(&self, pid: u32) -> Option<UnitId> {
        proc::outputs(pid).find_map(|inode| {
            let mut with_it = self.units.iter().filter(|(_, unit)| unit.output == Some(inode));
            let (first, second) = (with_it.next(), with_it.next());
            first.filter(|_| second.is_none()).map(|(id, _)| *id)
        })
    }

    /// Notes a process found below one of the unit's own.
    pub(super) fn claim(&mut self, unit: UnitId, stat: &Stat) {
        match Tag::of(stat.pid) {
            Some(tag) if tag.instance == self.instance => {}
            Some(tag) => {
                self.nested.insert(tag.instance, unit);
            }
            None => {
                self.claims.insert(stat.pid, (stat.start, unit));
            }
        }
    }
}
