//! The exit codes of the contract, section 6.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// 0: done.
    Done,
    /// 1: a component failed, or the operation did.
    Failed,
    /// 2: wrong usage, or an invalid file.
    Usage,
    /// 3: no running project, or one already runs here.
    Taken,
    /// 4: a time limit.
    Late,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::from(0),
            Exit::Failed => Self::from(1),
            Exit::Usage => Self::from(2),
            Exit::Taken => Self::from(3),
            Exit::Late => Self::from(4),
        }
    }
}
