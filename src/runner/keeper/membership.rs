//! Whether a process belongs to a unit, seen from orch's side: without asking the keeper, and by the same rule as
//! the [`Survey`](super::Survey).

use std::sync::Arc;

use crate::types::UnitId;

use super::ledger::Ledger;
use super::proc::{self, Stat};
use super::survey::Known;
use super::tag::Mark;

/// A process that is deeper below the keeper than this is nobody's.
const DEEPEST: usize = 256;
/// So often the way up is begun anew, when somebody on it has ended meanwhile.
const TRIES: usize = 3;

/// A way to find out whose a process is. It may be used on any thread.
#[derive(Clone)]
pub struct Membership {
    pub(super) mark: Mark,
    /// The keeper's process id.
    pub(super) keeper: u32,
    pub(super) ledger: Arc<Ledger>,
}

impl Membership {
    /// The unit that a process belongs to, which may have ended and not been waited for; `None` when there is no
    /// such process, `Some(None)` when it belongs to none. Reads some bytes of the process and of those above it.
    #[must_use]
    pub fn unit_of(&self, pid: u32) -> Option<Option<UnitId>> {
        let own = proc::stat(pid)?;
        let root = root_of(own, self.keeper);
        Some(root.and_then(|root| Known::of(&self.mark, &self.ledger).owner(&root)))
    }
}

/// The child of the keeper above a process, or that process itself; `None` when it is not below the keeper.
pub(super) fn root_of(mut own: Stat, keeper: u32) -> Option<Stat> {
    for _ in 0..TRIES {
        let mut at = own;
        for _ in 0..DEEPEST {
            if at.parent == keeper {
                return Some(at);
            }
            if at.parent <= 1 {
                return None;
            }
            match proc::stat(at.parent) {
                Some(above) => at = above,
                // It has ended, and those below it are somebody else's by now.
                None => break,
            }
        }
        own = proc::stat(own.pid)?;
    }
    None
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership").field("keeper", &self.keeper).finish_non_exhaustive()
    }
}
