//! Signals by name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A signal's number, known to be a real one on Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "i32", try_from = "i32")]
pub struct Signal(i32);

/// A number that is no signal's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoSignal(i32);

/// The names, in the order of the numbers from 1 (x86-64 and arm64 Linux; signal(7)).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

impl Signal {
    /// SIGHUP.
    pub const HUP: Self = Self(1);
    /// SIGINT.
    pub const INT: Self = Self(2);
    /// SIGKILL.
    pub const KILL: Self = Self(9);
    /// SIGTERM.
    pub const TERM: Self = Self(15);
    /// SIGCONT.
    pub const CONT: Self = Self(18);
    /// SIGWINCH: the terminal has another size.
    pub const WINCH: Self = Self(28);

    /// The signal of that number; real-time signals (34 to 64) are signals, too.
    #[must_use]
    pub fn from_number(number: i32) -> Option<Self> {
        matches!(number, 1..=31 | 34..=64).then_some(Self(number))
    }

    /// The signal of that name, with or without `SIG`; `None` for what is not one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let short = name.strip_prefix("SIG").unwrap_or(name);
        let at = NAMES.iter().position(|known| *known == short)?;
        i32::try_from(at + 1).ok().map(Self)
    }

    /// Every name, with `SIG`, in the order of the numbers.
    pub fn names() -> impl Iterator<Item = String> {
        NAMES.iter().map(|name| format!("SIG{name}"))
    }

    /// The number, for the system.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }
}

impl From<Signal> for i32 {
    fn from(signal: Signal) -> Self {
        signal.0
    }
}

impl TryFrom<i32> for Signal {
    type Error = NoSignal;
    fn try_from(number: i32) -> Result<Self, NoSignal> {
        Self::from_number(number).ok_or(NoSignal(number))
    }
}

impl fmt::Display for NoSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is no signal's number", self.0)
    }
}

impl std::error::Error for NoSignal {}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match usize::try_from(self.0 - 1).ok().and_then(|at| NAMES.get(at)) {
            Some(name) => write!(f, "SIG{name}"),
            None => write!(f, "SIGRTMIN+{}", self.0 - 34),
        }
    }
}

/// Whom a signal reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The leader alone, as long as it lives; and it is not woken if it was stopped.
    Leader,
    /// The leader's process group.
    Group,
    /// Every process of the unit.
    Unit,
    /// Every process of the unit that has left the leader's group.
    Escaped,
}

#[cfg(test)]
mod tests {
    use super::Signal;

    #[test]
    fn names_and_numbers_agree_with_the_system() {
        let system = [(1, "SIGHUP"), (9, "SIGKILL"), (15, "SIGTERM"), (18, "SIGCONT"), (31, "SIGSYS")];
        for (number, name) in system {
            assert_eq!(Signal::from_name(name).map(Signal::number), Some(number));
            assert_eq!(Signal::from_number(number).map(|s| s.to_string()).as_deref(), Some(name));
        }
        assert_eq!(Signal::from_name("TERM"), Some(Signal::TERM));
        assert_eq!(Signal::from_name("SIGFOO"), None);
        assert_eq!(Signal::from_number(0), None);
        assert_eq!(Signal::from_number(32), None);
    }
}
