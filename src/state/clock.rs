//! The two clocks that a state's age is told by, as a seam for tests.

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Where the store gets the time from.
pub trait Clock: Send + Sync + 'static {
    /// `CLOCK_BOOTTIME` in nanoseconds: no jump of the wall clock moves it, and it goes on in suspend.
    fn boottime_ns(&self) -> u64;
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// Names this boot of the machine; empty if it can't be told, which is never the same boot as another.
    fn boot_id(&self) -> &str;
}

/// The clocks of the machine.
#[derive(Debug, Clone)]
pub struct SystemClock {
    boot_id: String,
}

impl SystemClock {
    /// Reads the boot's id, which does not change while orch lives.
    #[must_use]
    pub fn new() -> Self {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self { boot_id: text.trim().to_owned() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn boottime_ns(&self) -> u64 {
        let now = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn boot_id(&self) -> &str {
        &self.boot_id
    }
}

/// A moment on both clocks: when a state was complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) timestamp: Timestamp,
    pub(crate) boot_id: String,
    pub(crate) boottime_ns: u64,
}

/// What stands for the boot of a moment that lies before this boot.
const ANOTHER_BOOT: &str = "00000000-0000-0000-0000-000000000000";

impl Stamp {
    /// This moment.
    pub(crate) fn now(clock: &dyn Clock) -> Self {
        Self { timestamp: clock.now(), boot_id: clock.boot_id().to_owned(), boottime_ns: clock.boottime_ns() }
    }

    /// The moment that a file's modification time names. A modification time is the wall clock's; within
    /// this boot it is carried over to the boot-time clock, so that later jumps don't change the age.
    pub(crate) fn at_mtime(clock: &dyn Clock, mtime_ns: i128) -> Self {
        let now = clock.now();
        let timestamp = Timestamp::from_nanosecond(mtime_ns).unwrap_or(Timestamp::MIN);
        let since = now.as_nanosecond() - timestamp.as_nanosecond();
        match u64::try_from(i128::from(clock.boottime_ns()) - since) {
            Ok(boottime_ns) => Self { timestamp, boot_id: clock.boot_id().to_owned(), boottime_ns },
            Err(_) => Self { timestamp, boot_id: ANOTHER_BOOT.to_owned(), boottime_ns: 0 },
        }
    }

    /// When a file was complete that a run has left: at its modification time, but not later than now, since
    /// the wall clock may have been set back in between.
    pub(crate) fn of_file(clock: &dyn Clock, mtime_ns: i128) -> Self {
        let stamp = Self::at_mtime(clock, mtime_ns);
        if stamp.age(clock).is_some() { stamp } else { Self::now(clock) }
    }

    /// How long ago this moment is; `None` if it lies in the future.
    pub(crate) fn age(&self, clock: &dyn Clock) -> Option<std::time::Duration> {
        let same_boot = !self.boot_id.is_empty() && self.boot_id == clock.boot_id();
        let age = if same_boot {
            i128::from(clock.boottime_ns()) - i128::from(self.boottime_ns)
        } else {
            clock.now().as_nanosecond() - self.timestamp.as_nanosecond()
        };
        u64::try_from(age).ok().map(std::time::Duration::from_nanos)
    }
}
