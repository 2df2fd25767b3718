//! Who is meant: a component's slot, one incarnation of it, one unit of processes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The slot of a component in the supervisor: an index that is not given to another component while orch
/// lives, also not after an edit has removed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cid(pub u32);

/// One run of a component. Every answer of an effect carries it, so that a late one is known as late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId {
    /// Whose run.
    pub component: Cid,
    /// 1, 2, 3 … over the life of the state directory.
    pub incarnation: u64,
}

/// One thing that a runner runs: a component's incarnation, or a helper (an exec probe, a stop command).
/// Unique over the life of one orch; the runners know no other name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnitId(pub u32);

impl Cid {
    /// The slot as an index.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.component.0, self.incarnation)
    }
}
