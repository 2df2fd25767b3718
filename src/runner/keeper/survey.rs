//! What units take, seen from orch's side: one pass over `/proc`, which asks the keeper nothing.
//!
//! A process counts if it hangs from a child of the keeper that belongs to a unit, by the tag, by its cgroup, or by
//! the leader's id: that is so for no process that orch did not start. What took off all of that, and lost its
//! parents, only the keeper itself can tell; it is not counted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::types::UnitId;

use super::ledger::{Ledger, Standing};
use super::proc::{self, Cost, Stat};
use super::tag::{Mark, Tag};

/// A way to look at what a keeper keeps. It costs nothing until it is used, and may be used on any thread.
#[derive(Clone)]
pub struct Survey {
    pub(super) mark: Mark,
    /// The keeper's process id.
    pub(super) keeper: u32,
    pub(super) ledger: Arc<Ledger>,
}

/// What a unit takes: its leader and all descendants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// How many processes live.
    pub processes: u32,
    /// Processor time, in milliseconds: of those who live and, as far as it is known, of those who have ended.
    pub cpu_ms: u64,
    /// Resident memory, in bytes. What processes share counts for each of them.
    pub memory: u64,
}

impl Survey {
    /// Looks. Blocks for as long as it takes to read some hundred bytes about every process of the system.
    #[must_use]
    pub fn take(&self) -> BTreeMap<UnitId, Used> {
        let known = Known::of(&self.mark, &self.ledger);
        let mut by_parent: HashMap<u32, Vec<(Stat, Cost)>> = HashMap::new();
        // Where nothing can be seen, nothing is shown.
        for (stat, cost) in proc::all().unwrap_or_default().into_iter().filter_map(proc::cost) {
            by_parent.entry(stat.parent).or_default().push((stat, cost));
        }
        let mut used: BTreeMap<UnitId, Used> = BTreeMap::new();
        for root in by_parent.remove(&self.keeper).unwrap_or_default() {
            if let Some(unit) = known.owner(&root.0) {
                used.entry(unit).or_default().add_tree(&by_parent, root);
            }
        }
        for (unit, used) in &mut used {
            // It counts those who have ended, too; but only what went through the cgroup.
            let counted = self.mark.cgroups.as_ref().and_then(|tree| tree.processor_time(*unit));
            used.cpu_ms = used.cpu_ms.max(counted.unwrap_or(0));
        }
        used
    }
}

impl fmt::Debug for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Survey").field("keeper", &self.keeper).finish_non_exhaustive()
    }
}

/// By what the keeper's children are told apart.
pub(super) struct Known<'a> {
    mark: &'a Mark,
    /// Those that have not ended, by process id.
    leaders: HashMap<u32, UnitId>,
    /// Those that are not gone.
    units: BTreeSet<UnitId>,
}

impl<'a> Known<'a> {
    pub(super) fn of(mark: &'a Mark, ledger: &Ledger) -> Self {
        let units = ledger.units();
        let leader = |(unit, standing): &(UnitId, Standing)| match standing {
            Standing::Running(pid) => Some((*pid, *unit)),
            Standing::Asked | Standing::Exited => None,
        };
        Self {
            mark,
            leaders: units.iter().filter_map(leader).collect(),
            units: units.iter().map(|(unit, _)| *unit).collect(),
        }
    }

    /// Whose a child of the keeper is.
    pub(super) fn owner(&self, child: &Stat) -> Option<UnitId> {
        let tag = Tag::of(child.pid).filter(|tag| tag.instance == self.mark.instance).map(|tag| tag.unit);
        let by_leader = |id: u32| self.leaders.get(&id).copied();
        let unit = tag
            .or_else(|| by_leader(child.pid))
            .or_else(|| self.mark.cgroups.as_ref().and_then(|tree| tree.unit_of(child.pid)))
            .or_else(|| by_leader(child.group))
            .or_else(|| by_leader(child.session));
        unit.filter(|unit| self.units.contains(unit))
    }
}

impl Used {
    /// Counts another unit's, too.
    pub fn add(&mut self, other: Self) {
        self.processes += other.processes;
        self.cpu_ms += other.cpu_ms;
        self.memory += other.memory;
    }

    fn add_tree(&mut self, by_parent: &HashMap<u32, Vec<(Stat, Cost)>>, root: (Stat, Cost)) {
        let mut open = vec![root];
        while let Some((stat, cost)) = open.pop() {
            self.processes += u32::from(!stat.dead);
            self.cpu_ms += cost.cpu_ms;
            self.memory += cost.memory;
            open.extend(by_parent.get(&stat.pid).into_iter().flatten());
        }
    }
}
