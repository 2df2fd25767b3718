//! What an edit does to a component's builds.
//!
//! `build` is an update like most keys, effective when next used. What is next is at once where a build is under way, or
//! the last one failed: what ran was not what is declared, so it begins anew, and what is taken away holds nothing up.
//! And what is to restart as something else is built as that first, while what runs goes on.

use crate::config::model::Component;

/// How the builds of a component stand when an edit comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Builds {
    /// None is under way, and the last one was good.
    #[default]
    Rest,
    /// One is under way, or to come, and something waits for it.
    Underway,
    /// The last one failed, which left all as it was.
    Failed,
    /// The last one failed, and the component with it.
    Fatal,
}

/// What an edit does to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rebuild {
    /// Nothing.
    #[default]
    Nothing,
    /// The one that is under way begins anew.
    Anew {
        /// What is to restart waits until that is good, not only until it is over.
        gates: bool,
    },
    /// It is built again, as after a change.
    Mended,
    /// What it is to restart as is built first, as after a change.
    First,
    /// It is built before its next start, which comes whether that is good or not, if there is something to start: its
    /// build failed and is not what was edited, or what its present run has may be another's now, who waits for it.
    Again,
    /// What waited for a build goes on without.
    Without,
}

impl Rebuild {
    /// What follows from an edit of these keys, after which the component is as declared here; `restarts`: they are such
    /// as restart it.
    #[must_use]
    pub(super) fn of(builds: Builds, component: &Component, changed: &[String], restarts: bool) -> Self {
        // A build runs in the component's folder and environment.
        let of_build = |path: &String| {
            let section = path.split('.').next().unwrap_or_default();
            matches!(section, "build" | "cwd" | "env")
        };
        if !changed.iter().any(of_build) {
            // What its build has failed is built before any start.
            let fatal = builds == Builds::Fatal && component.build.is_some();
            return if fatal && restarts { Self::Again } else { Self::Nothing };
        }
        let frees = changed.iter().any(|path| gives_up(path));
        match (builds, component.build.is_some()) {
            (Builds::Rest | Builds::Failed | Builds::Fatal, true) if restarts && frees => Self::Again,
            (Builds::Rest, true) if restarts => Self::First,
            (Builds::Rest, _) | (Builds::Failed, false) => Self::Nothing,
            (Builds::Underway, true) => Self::Anew { gates: !frees },
            (Builds::Underway | Builds::Fatal, false) => Self::Without,
            (Builds::Failed | Builds::Fatal, true) => Self::Mended,
        }
    }

    /// Whether what follows waits until something good is built.
    #[must_use]
    pub fn gates(self) -> bool {
        match self {
            Self::Nothing | Self::Without | Self::Again => false,
            Self::Anew { gates } => gates,
            Self::Mended | Self::First => true,
        }
    }

    /// What is said of it, behind what is said of the rest.
    pub(super) fn told(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Anew { .. } => Some("its build begins anew"),
            Self::Mended => Some("it is built again, for its last build failed"),
            Self::First => Some("it is built first"),
            Self::Again => Some("it is built before it starts"),
            Self::Without => Some("it waits for no build any more"),
        }
    }
}

/// Whether an edit of this key may take something from a run that only one component can have: a file, an address.
fn gives_up(path: &str) -> bool {
    let section = path.split('.').next().unwrap_or_default();
    matches!(section, "state" | "logs" | "sockets" | "ready" | "thread" | "with")
        && !matches!(path, "logs.terminal" | "state.restart_args")
}
