//! What can go wrong for an embedding program.

use std::fmt;

use crate::runtime::{Unmet, UpError};

/// Why a project did not begin, or a command did not come to what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The file is not valid: all its mistakes, each under its source line.
    Invalid(String),
    /// Another orchestrator runs the project, in this process or in another one.
    Taken(String),
    /// The project has no component of this name. Nothing was done.
    Unknown(String),
    /// Something could not be done: what, on what, and why.
    Failed(String),
    /// These components did not get where the command wanted them, each with the reason.
    Unmet(Vec<(String, String)>),
    /// The project has ended, or is about to.
    Ended,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(report) => write!(f, "the file is not valid:\n{}", report.trim_end()),
            Self::Taken(message) | Self::Failed(message) => f.write_str(message),
            Self::Unknown(name) => write!(f, "the project has no component `{name}`"),
            Self::Unmet(failures) => {
                let each = failures.iter().map(|(name, reason)| format!("{name}: {reason}"));
                f.write_str(&each.collect::<Vec<_>>().join("; "))
            }
            Self::Ended => f.write_str("the project has ended"),
        }
    }
}

impl std::error::Error for Error {}

impl From<UpError> for Error {
    fn from(error: UpError) -> Self {
        match error {
            UpError::Invalid(report) => Self::Invalid(report),
            UpError::Taken(message) => Self::Taken(message),
            UpError::Unknown(name) => Self::Unknown(name.to_string()),
            UpError::Failed(message) => Self::Failed(message),
        }
    }
}

impl From<Unmet> for Error {
    fn from(unmet: Unmet) -> Self {
        match unmet {
            Unmet::Unknown(name) => Self::Unknown(name.to_string()),
            Unmet::Ending => Self::Ended,
            Unmet::Crowded => Self::Failed("too much is waited for already".to_owned()),
            Unmet::Failed(failures) => {
                Self::Unmet(failures.into_iter().map(|(name, reason)| (name.to_string(), reason)).collect())
            }
        }
    }
}
