//! What those who follow logs have to know: which logs the project has, and when something was written to one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bell::Bell;
use crate::config::model::{Component, Project};
use crate::history::logs::Log;
use crate::output::Output;

/// Shared by the loop, which declares, and by whoever follows.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogBook {
    bell: Bell,
    declared: Arc<Mutex<Declared>>,
}

/// The logs, and how often they have changed.
#[derive(Debug, Default)]
struct Declared {
    version: u64,
    logs: Arc<[Log]>,
}

impl LogBook {
    /// These are the project's components now.
    pub(crate) fn declare(&self, project: &Project) {
        let log = |component: &Arc<Component>| Log::of(component, &project.state_dir);
        let logs: Arc<[Log]> = project.components.iter().map(log).collect();
        let mut declared = self.declared();
        if declared.logs != logs {
            *declared = Declared { version: declared.version + 1, logs };
        }
    }

    /// The logs in the order of the file, and their version, if that is another one than `seen`; the first is 1.
    pub(crate) fn newer(&self, seen: u64) -> Option<(u64, Arc<[Log]>)> {
        let declared = self.declared();
        (declared.version != seen).then(|| (declared.version, Arc::clone(&declared.logs)))
    }

    /// Has this hand ring whenever it has written.
    pub(crate) fn hears(&self, output: &Output) {
        let bell = self.bell.clone();
        output.ring(Arc::new(move || bell.ring()));
    }

    /// Rung when something was written.
    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    fn declared(&self) -> MutexGuard<'_, Declared> {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
