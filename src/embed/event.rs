//! What happens in a project, as an embedding program hears of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use crate::runtime::{Control, wall};
use crate::supervisor::{Record, State, What};
use crate::types::{Exit, Source, TaskFailure};

/// So many events wait for a listener; it misses those that come while there is no place.
const WAITING: usize = 4096;

/// Something that happened: a line of `events.ndjson`, as a value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Its number; goes on over the runs of a project. Where one is left out, an event was missed.
    pub seq: u64,
    /// The number of the event that led to it; `None` at a root.
    pub cause: Option<u64>,
    /// When, by the wall clock.
    pub time: SystemTime,
    /// Whose it is; `None` for the project's own.
    pub component: Option<String>,
    /// In which run of the component.
    pub incarnation: Option<u64>,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// The project began.
    ProjectUp,
    /// The project ended.
    #[non_exhaustive]
    ProjectDown {
        /// 0, or 1 where something failed.
        code: u8,
    },
    /// The file was edited, and is applied.
    ConfigReloaded,
    /// The file was edited, and is not valid: nothing changes.
    #[non_exhaustive]
    ConfigRejected {
        /// What is wrong with it.
        errors: Vec<String>,
    },
    /// The component is in another state.
    #[non_exhaustive]
    State {
        /// Which.
        state: State,
        /// Why, as a fragment of a sentence.
        reason: String,
    },
    /// It was started.
    #[non_exhaustive]
    Spawned {
        /// The process id; `None` for a thread.
        pid: Option<u32>,
    },
    /// It ended: of a process, the one that was started, though others of its unit may live on.
    #[non_exhaustive]
    Exited {
        /// How.
        exit: Exit,
    },
    /// It was asked to stop.
    #[non_exhaustive]
    StopRequested {
        /// Why, as a fragment of a sentence.
        reason: String,
    },
    /// Processes of it were force-killed.
    #[non_exhaustive]
    ForceKilled {
        /// Which.
        pids: Vec<u32>,
    },
    /// A command of it runs.
    #[non_exhaustive]
    TaskStarted {
        /// What it is for: `build`, `run` (what a change runs) or `stop_command`.
        what: &'static str,
    },
    /// A command of it has succeeded.
    #[non_exhaustive]
    TaskSucceeded {
        /// What it was for, as in `TaskStarted`.
        what: &'static str,
        /// So long it ran.
        took: Duration,
    },
    /// A command of it has failed.
    #[non_exhaustive]
    TaskFailed {
        /// What it was for, as in `TaskStarted`.
        what: &'static str,
        /// So long it ran.
        took: Duration,
        /// How, as a fragment of a sentence.
        reason: String,
        /// The place that its output names as the first that is at fault.
        place: Option<String>,
        /// The last lines of its output.
        tail: Vec<String>,
    },
    /// A command of it was ended, or lost, and says nothing.
    #[non_exhaustive]
    TaskEnded {
        /// What it was for, as in `TaskStarted`.
        what: &'static str,
        /// So long it ran.
        took: Duration,
        /// Why, as a fragment of a sentence.
        reason: &'static str,
    },
    /// Its watched files have changed.
    #[non_exhaustive]
    Changed {
        /// Which.
        paths: Vec<PathBuf>,
    },
    /// Its state was sealed.
    #[non_exhaustive]
    StateSealed {
        /// The number of the copy.
        generation: u64,
        /// As what it counts.
        source: Source,
        /// Its length.
        bytes: u64,
    },
    /// A state was put in place for it.
    #[non_exhaustive]
    StateRestored {
        /// Which one.
        generation: u64,
        /// Where it comes from.
        source: Source,
    },
    /// A state was set aside.
    #[non_exhaustive]
    StateRejected {
        /// Why.
        reason: String,
    },
    /// The program was replaced by a new image of itself, or of another orch.
    Reexec,
    /// It could not be, and goes on as it is.
    #[non_exhaustive]
    ReexecFailed {
        /// What was attempted, on what, and why it failed.
        error: String,
    },
    /// Somebody commanded.
    #[non_exhaustive]
    Command {
        /// `start`, `stop`, `restart` or `down`.
        name: String,
        /// For which components.
        args: Vec<String>,
    },
}

impl Event {
    fn new(record: &Record) -> Self {
        Self {
            seq: record.seq,
            cause: record.cause,
            time: wall(record.at),
            component: record.component.as_ref().map(ToString::to_string),
            incarnation: record.incarnation,
            kind: kind(&record.what),
        }
    }
}

fn kind(what: &What) -> EventKind {
    match what {
        What::ProjectUp => EventKind::ProjectUp,
        What::ProjectDown { code } => EventKind::ProjectDown { code: *code },
        What::ConfigReloaded { .. } => EventKind::ConfigReloaded,
        What::ConfigRejected { errors } => {
            EventKind::ConfigRejected { errors: errors.iter().map(|one| one.message.clone()).collect() }
        }
        What::State { state, reason } => EventKind::State { state: *state, reason: reason.clone() },
        What::Spawned { pid } => EventKind::Spawned { pid: *pid },
        What::Exited { exit } => EventKind::Exited { exit: exit.clone() },
        What::StopRequested { reason } => EventKind::StopRequested { reason: reason.clone() },
        What::ForceKilled { pids } => EventKind::ForceKilled { pids: pids.clone() },
        What::TaskStarted { kind } => EventKind::TaskStarted { what: kind.word() },
        What::TaskSucceeded { kind, took } => EventKind::TaskSucceeded { what: kind.word(), took: *took },
        What::TaskFailed { kind, took, failure } => {
            let TaskFailure { reason, place, tail } = failure.clone();
            EventKind::TaskFailed { what: kind.word(), took: *took, reason, place, tail }
        }
        What::TaskEnded { kind, took, reason } => {
            EventKind::TaskEnded { what: kind.word(), took: *took, reason }
        }
        What::Changed { paths } => EventKind::Changed { paths: paths.clone() },
        What::StateSealed { generation, source, bytes } => {
            EventKind::StateSealed { generation: *generation, source: *source, bytes: *bytes }
        }
        What::StateRestored(restored) => {
            EventKind::StateRestored { generation: restored.generation, source: restored.source }
        }
        What::StateRejected { reason } => EventKind::StateRejected { reason: reason.clone() },
        What::Reexec => EventKind::Reexec,
        What::ReexecFailed { error } => EventKind::ReexecFailed { error: error.clone() },
        What::Command { name, args, affects: _ } => EventKind::Command {
            name: (*name).to_owned(),
            args: args.iter().map(ToString::to_string).collect(),
        },
    }
}

/// What happens in a project, one after the other. As an iterator it waits for the next event, and ends with the
/// project.
///
/// A listener that takes nothing for so long that 4096 events wait misses further ones, and sees it by their
/// numbers; all are in `events.ndjson`.
#[derive(Debug)]
pub struct Events {
    records: Receiver<Arc<Record>>,
}

impl Events {
    pub(super) fn of(control: &Control) -> Self {
        let (sender, records) = sync_channel(WAITING);
        control.subscribe(0, move |record| hand_over(&sender, record));
        Self { records }
    }

    /// The next event, if it comes within `at_most`. `None` also when the project has ended.
    pub fn next_within(&mut self, at_most: Duration) -> Option<Event> {
        self.records.recv_timeout(at_most).ok().map(|record| Event::new(&record))
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.records.recv().ok().map(|record| Event::new(&record))
    }
}

/// Whether the listener is still there; the loop never waits for it.
fn hand_over(listener: &SyncSender<Arc<Record>>, record: &Arc<Record>) -> bool {
    !matches!(listener.try_send(Arc::clone(record)), Err(TrySendError::Disconnected(_)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::sync_channel;

    use super::{Event, EventKind, Events, hand_over};
    use crate::supervisor::{Record, What};
    use crate::types::Time;

    fn record(seq: u64) -> Arc<Record> {
        let (cause, component, incarnation) = (None, None, None);
        Arc::new(Record { seq, cause, at: Time(0), component, incarnation, what: What::ProjectUp })
    }

    #[test]
    fn a_listener_that_is_slow_misses_events_and_one_that_is_gone_is_left_alone() {
        let (sender, records) = sync_channel(2);
        let taken: Vec<bool> = (1..=3).map(|seq| hand_over(&sender, &record(seq))).collect();
        assert_eq!(taken, [true; 3], "it may still want the next one");
        let mut events = Events { records };
        let seqs = |events: &mut Events| events.next().map(|Event { seq, kind, .. }| (seq, kind));
        assert_eq!(seqs(&mut events), Some((1, EventKind::ProjectUp)));
        assert!(hand_over(&sender, &record(4)));
        assert_eq!(seqs(&mut events).map(|(seq, _)| seq), Some(2));
        assert_eq!(seqs(&mut events).map(|(seq, _)| seq), Some(4), "the gap tells");
        drop(events);
        assert!(!hand_over(&sender, &record(5)));
    }
}
