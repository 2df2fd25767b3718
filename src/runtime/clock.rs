//! The clock, for those above the pure layers.

use rustix::time::{ClockId, clock_gettime};

use crate::types::Time;

/// Now, by `CLOCK_MONOTONIC`.
pub(crate) fn now() -> Time {
    let spec = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(spec.tv_sec).unwrap_or(0);
    Time(seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(spec.tv_nsec).unwrap_or(0)))
}

/// This boot's id; empty where the system does not tell.
pub(crate) fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// What a wall clock would have shown at `then`, as the wall clock stands now. For people; nothing is decided by it.
#[must_use]
pub fn wall(then: Time) -> std::time::SystemTime {
    let ago = now().since(then);
    std::time::SystemTime::now().checked_sub(ago).unwrap_or(std::time::SystemTime::UNIX_EPOCH)
}
