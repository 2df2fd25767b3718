//! Processes, through a keeper: a small process of orch's own that is the parent of every unit.
//!
//! Why a process of its own: when orch dies, in whatever way, the keeper reads the end of its socket and kills
//! everything below it; as their subreaper it is the parent that no descendant can leave. When the keeper
//! dies instead, all that comes to orch, which is a subreaper, too. `docs/design/keeper.md` weighs the
//! alternatives.
//!
//! # Whose a process is
//!
//! A unit is its leader, the leader's descendants, and those of the keeper's orphans (with their descendants)
//! that carry the unit's tag or are in its cgroup, or, where both tell nothing, were seen below the unit before, are in the
//! leader's group or session, or have the unit's own output. Anybody else below the keeper is a stray.
//!
//! # Why no signal reaches a stranger
//!
//! A process id means the same process until its parent reaps it, and a group's id until its last member is
//! gone. The keeper alone reaps its children, in one place, and signals by id only those it has not reaped,
//! by group only while the leader is not reaped. All others are signalled through a pidfd, and only after
//! a check, behind that pidfd, of the start time or the tag. Never 0, -1 or 1.
//!
//! # Layout
//!
//! orch's side: `client`, `post`, `ledger`, `reader`, `hunt`, `survey`, `membership`. The keeper's: `launch`, `server`, `spawn` over `clone`, `reach`, `heir`,
//! `drain`, with its knowledge in `units`, `census` and `cgroup`. Between them: `protocol`, over `wire` and `socket`.

mod census;
mod cgroup;
mod client;
mod clone;
mod drain;
mod heir;
mod hunt;
mod launch;
mod ledger;
mod membership;
mod outbox;
mod post;
mod proc;
mod protocol;
mod reach;
mod reader;
mod server;
mod socket;
mod spawn;
mod survey;
mod tag;
mod units;
mod wire;

pub use cgroup::Cgroups;
pub use client::{Handover, Keeper, ProcessSpec, ShutDown, sees_processes};
pub use hunt::sweep;
pub use ledger::Standing;
pub use membership::Membership;
pub use protocol::Leftover;
pub use survey::{Survey, Used};
