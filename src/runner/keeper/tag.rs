//! The tag: a mark that a process inherits from its parent and that survives exec, setsid, a cleared
//! environment and a change of user, kept where it has no other effect: in the soft RLIMIT_RTTIME.
//!
//! `2^62 | instance << 32 | unit`, in microseconds of real-time scheduling: a limit that nobody reaches,
//! and, with 30 random bits in it, a value that nobody sets by chance.

use crate::types::UnitId;

use super::cgroup::Tree;

const MARK: u64 = 1 << 62;
const INSTANCE_BITS: u32 = 30;

/// Whose a process is: of which keeper, and of which of its units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Tag {
    pub(super) instance: u32,
    pub(super) unit: UnitId,
}

impl Tag {
    /// The limit that carries the tag.
    pub(super) fn limit(self) -> u64 {
        MARK | u64::from(self.instance) << 32 | u64::from(self.unit.0)
    }

    /// The tag in a limit, if there is one.
    pub(super) fn from_limit(limit: u64) -> Option<Self> {
        let instance = u32::try_from(limit >> 32).ok()? & ((1 << INSTANCE_BITS) - 1);
        let unit = UnitId((limit & u64::from(u32::MAX)) as u32);
        (limit >> 62 == 1).then_some(Self { instance, unit })
    }

    /// The tag that a process carries; `None` also where it can't be read or the process is gone. A zombie
    /// keeps its tag.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let pid_t = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 0)?;
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: prlimit writes one rlimit into `limit`, which lives through the call, and sets nothing.
        let failed = unsafe { libc::prlimit(pid_t, libc::RLIMIT_RTTIME, std::ptr::null(), &raw mut limit) };
        if failed == 0 {
            return Self::from_limit(limit.rlim_cur);
        }
        // Of another user's process, only the text is readable.
        let refused = std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM);
        if refused { Self::from_text(&std::fs::read(format!("/proc/{pid}/limits")).ok()?) } else { None }
    }

    fn from_text(limits: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(limits);
        let line = text.lines().find_map(|line| line.strip_prefix("Max realtime timeout"))?;
        Self::from_limit(line.split_whitespace().next()?.parse().ok()?)
    }
}

/// By what a keeper's processes are known.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub(super) instance: u32,
    pub(super) cgroups: Option<Tree>,
}

/// A new instance number: 30 random bits, never 0.
pub(super) fn new_instance() -> u32 {
    let mut bytes = [0_u8; 4];
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).is_err() {
        // Only before the kernel's random numbers are there; the process id tells keepers apart then.
        bytes = std::process::id().to_le_bytes();
    }
    (u32::from_le_bytes(bytes) & ((1 << INSTANCE_BITS) - 1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_read_as_it_was_written_and_nothing_else_is_a_tag() {
        let tag = Tag { instance: 0x3fff_fffe, unit: UnitId(u32::MAX) };
        assert_eq!(Tag::from_limit(tag.limit()), Some(tag));
        assert!(tag.limit() < 1 << 63);
        for plain in [0, 1, 950_000, 1 << 61, 1 << 63, libc::RLIM_INFINITY] {
            assert_eq!(Tag::from_limit(plain), None);
        }
    }

    #[test]
    fn the_text_form_gives_the_same_tag() {
        let tag = Tag { instance: 77, unit: UnitId(5) };
        let text = format!(
            "Limit  Soft Limit  Hard Limit  Units\nMax realtime priority     0     0\nMax realtime timeout      {}  unlimited  us\n",
            tag.limit()
        );
        assert_eq!(Tag::from_text(text.as_bytes()), Some(tag));
        assert_eq!(Tag::from_text(b"Max realtime timeout      unlimited  unlimited us"), None);
    }

    #[test]
    fn instances_are_small_and_not_zero() {
        for _ in 0..100 {
            assert!((1..1 << INSTANCE_BITS).contains(&new_instance()));
        }
    }
}
