//! Everybody, at one moment: one pass over `/proc` that serves any number of units.

use std::collections::{BTreeMap, HashMap};

use crate::types::UnitId;

use super::proc::{self, Stat};
use super::units::{Owner, Units};

/// The members of each unit, its leader included, and the strays found on the way.
#[derive(Debug, Default)]
pub(super) struct Census {
    members: BTreeMap<UnitId, Vec<Stat>>,
    pub(super) strays: Vec<Stat>,
}

impl Census {
    /// Looks at every process below the caller, which is the keeper; where `/proc` can't be read, at its own children
    /// alone, who are known all the same.
    pub(super) fn take(units: &mut Units, scratch: &mut Vec<u8>) -> Self {
        let mut by_parent: HashMap<u32, Vec<Stat>> = HashMap::new();
        for stat in proc::all().unwrap_or_default().into_iter().filter_map(proc::stat) {
            by_parent.entry(stat.parent).or_default().push(stat);
        }
        let mut census = Self::default();
        for child in proc::own_children(scratch).into_iter().filter_map(proc::child) {
            match units.owner(child.pid) {
                Owner::Leader(unit) | Owner::Member(unit) => census.add_tree(units, &by_parent, unit, child),
                Owner::NewStray(stat) => census.strays.push(stat),
                Owner::Stray | Owner::Dead | Owner::Unknown(_) => {}
            }
        }
        census
    }

    fn add_tree(&mut self, units: &mut Units, by_parent: &HashMap<u32, Vec<Stat>>, unit: UnitId, root: Stat) {
        let members = self.members.entry(unit).or_default();
        let mut open = vec![root];
        while let Some(stat) = open.pop() {
            members.push(stat);
            for below in by_parent.get(&stat.pid).into_iter().flatten() {
                units.claim(unit, below);
                open.push(*below);
            }
        }
    }

    /// The members of one unit that live.
    pub(super) fn living(&self, unit: UnitId) -> impl Iterator<Item = &Stat> {
        self.members.get(&unit).into_iter().flatten().filter(|stat| !stat.dead)
    }
}
