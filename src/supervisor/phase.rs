//! What phase a component is in, and what it holds in it: the run, or what is left of one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::health::Vitals;
use super::record::{End, Restored, State};
use super::slot::Why;
use crate::config::model::Component;
use crate::types::{Exit, RunId, Time};

/// A run that exists, or is being made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) id: RunId,
    /// As it was declared when it was prepared.
    pub(crate) spec: Arc<Component>,
    pub(crate) pid: Option<u32>,
    pub(crate) restored: Option<Restored>,
    pub(crate) spawned_at: Time,
    pub(crate) ready_since: Option<Time>,
    /// When it is asked next to write its state.
    pub(crate) ask_at: Time,
    /// Whether all its output is read; a process may close its output and live on.
    pub(crate) output_ended: bool,
    /// When it has failed if it is not ready.
    pub(crate) ready_by: Time,
    /// It said that it is ready before it was known to run.
    pub(crate) says_ready: bool,
    /// How its first process ended, where it may have left its work to another one that is still to say so.
    pub(crate) left: Option<Exit>,
    /// It reads its configuration again, and has failed if that is not over then.
    pub(crate) reloading: Option<Time>,
    /// Whether it lives, once ready.
    pub(crate) vitals: Vitals,
    /// What its readiness probe met last.
    pub(crate) probed: Option<Probed>,
}

/// What a readiness probe has met so far.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Probed {
    pub(crate) error: String,
    /// How many tries in a row have met just that, and how many there were in all.
    pub(crate) row: u32,
    pub(crate) tries: u32,
    /// When the last of them was, as far as was told.
    pub(crate) at: Time,
}

/// A run that is ending.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ending {
    pub(crate) run: Run,
    pub(crate) why: Why,
    /// How the leader ended, and when, once it has.
    pub(crate) exit: Option<(Exit, Time)>,
    pub(crate) gone: bool,
    pub(crate) stage: Stage,
    /// Whether its leader's group was asked by the signal.
    pub(crate) signalled: bool,
    /// Whether something had to be force-killed.
    pub(crate) killed: bool,
    /// Whether it was a thread that did not return, and that a new image has ended.
    pub(crate) hung: bool,
}

/// How far an ending is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Asked to stop; force-killed at `until`.
    Asked {
        /// The end of `stop.timeout`.
        until: Time,
    },
    /// Force-killed; given up at `until`.
    Killed {
        /// The end of `stop.join_timeout`.
        until: Time,
    },
    /// All gone; its output is closed at `until`.
    Draining {
        /// The end of `stop.join_timeout`.
        until: Time,
    },
    /// All gone, and its output was closed.
    Closed,
    /// It outlived `stop.timeout`, and `force_kill: false` forbids more.
    Spared,
    /// It outlived the force-kill, or is a thread.
    GivenUp,
}

/// A run that is gone, and whose state is being sealed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) run: Run,
    pub(crate) why: Why,
    pub(crate) exit: Option<(Exit, Time)>,
    /// Whether it was a thread that did not return.
    pub(crate) hung: bool,
    /// As it matters to its state.
    pub(crate) end: End,
}

/// What a component is but for the build that is under way, and is again if that fails.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Meanwhile {
    /// To start, and what was built before can be.
    Built,
    /// To start by itself then, for its run had failed.
    Backoff {
        /// When.
        until: Time,
        /// Why, as a fragment of a sentence.
        reason: String,
    },
    /// Completed.
    Completed {
        /// Why, as a fragment of a sentence.
        reason: String,
    },
    /// Failed, or without anything that could run.
    Failed {
        /// Why it had failed; empty: it had not, or that is told already.
        reason: String,
    },
}

/// What phase a component is in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Nothing runs, and nothing is to.
    Stopped,
    /// A dependency does not meet its condition.
    Waiting,
    /// A dependency has failed for good.
    Blocked,
    /// Nothing runs, and nothing does before it is built.
    Building(Meanwhile),
    /// State and address are being seen to.
    Preparing(Run),
    /// The spawn is under way.
    Spawning(Run),
    /// It runs; its probe has not succeeded.
    Starting(Run),
    /// It is ready.
    Ready(Run),
    /// It is ending, or its rest is.
    Ending(Ending),
    /// It is gone; its state is being sealed.
    Sealing(Ended),
    /// It is gone; its files are not quiet yet. Shown as what it was.
    Settling {
        /// What is shown meanwhile.
        shown: State,
        /// They seem quiet, and the watcher was asked whether it has told of everything: its answer comes
        /// by then, or is not waited for.
        asked: Option<Time>,
    },
    /// Nothing runs, and it would start but for the new image of orch that is to come. Shown as what it was.
    Held {
        /// What is shown meanwhile.
        shown: State,
    },
    /// It has ended and is started again at `until`.
    Backoff {
        /// When.
        until: Time,
    },
    /// It has ended with success, for good.
    Completed,
    /// It has failed, for good.
    Failed,
}

impl Ending {
    /// One that begins at this stage: nobody was asked by a signal, and nothing was heard.
    pub(crate) fn of(run: Run, why: Why, stage: Stage) -> Self {
        let (exit, gone, signalled, killed, hung) = (None, false, false, false, false);
        Self { run, why, exit, gone, stage, signalled, killed, hung }
    }
}

impl Ended {
    /// Whether nothing was spawned for it.
    pub(crate) fn never_ran(&self) -> bool {
        matches!(self.why, Why::NotStarted(_) | Why::TakenBack)
    }
}

impl Phase {
    /// The run, if there is one or one is being made.
    pub(crate) fn run(&self) -> Option<&Run> {
        match self {
            Self::Preparing(run) | Self::Spawning(run) | Self::Starting(run) | Self::Ready(run) => Some(run),
            Self::Ending(ending) => Some(&ending.run),
            Self::Sealing(ended) => Some(&ended.run),
            Self::Stopped | Self::Waiting | Self::Blocked | Self::Building(_) => None,
            Self::Settling { .. } | Self::Held { .. } => None,
            Self::Backoff { .. } | Self::Completed | Self::Failed => None,
        }
    }

    pub(crate) fn run_mut(&mut self) -> Option<&mut Run> {
        match self {
            Self::Preparing(run) | Self::Spawning(run) | Self::Starting(run) | Self::Ready(run) => Some(run),
            Self::Ending(ending) => Some(&mut ending.run),
            Self::Sealing(ended) => Some(&mut ended.run),
            Self::Stopped | Self::Waiting | Self::Blocked | Self::Building(_) => None,
            Self::Settling { .. } | Self::Held { .. } => None,
            Self::Backoff { .. } | Self::Completed | Self::Failed => None,
        }
    }

    /// Whether its run is one that has only now begun.
    pub(crate) fn is_new(&self) -> bool {
        matches!(self, Self::Preparing(_))
    }

    /// Whether a process or a thread of it may exist.
    pub(crate) fn active(&self) -> bool {
        match self {
            Self::Spawning(_) | Self::Starting(_) | Self::Ready(_) => true,
            Self::Ending(ending) => !ending.gone,
            Self::Preparing(_) | Self::Sealing(_) | Self::Settling { .. } | Self::Held { .. } => false,
            Self::Stopped | Self::Waiting | Self::Blocked | Self::Building(_) => false,
            Self::Backoff { .. } | Self::Completed | Self::Failed => false,
        }
    }

    /// Whether it is not over: something of it may exist, or its output is being read and its state sealed.
    /// In an ordered stop, what it depends on waits for all of that, so that the last thing heard of it comes
    /// before the first of theirs.
    pub(crate) fn present(&self) -> bool {
        self.active() || matches!(self, Self::Ending(_) | Self::Sealing(_))
    }

    /// Whether a run of it is there, or being made, and nobody has told it to stop.
    pub(crate) fn up(&self) -> bool {
        matches!(self, Self::Spawning(_) | Self::Starting(_) | Self::Ready(_))
    }

    /// Whether a leader may live, as far as was heard.
    pub(crate) fn led(&self) -> bool {
        self.up() || matches!(self, Self::Ending(ending) if ending.exit.is_none() && !ending.gone)
    }

    /// Whether an effect is still to answer about it, but for a task.
    pub(crate) fn busy(&self) -> bool {
        match self {
            Self::Preparing(_) | Self::Spawning(_) | Self::Starting(_) | Self::Ready(_) => true,
            Self::Ending(ending) => ending.stage != Stage::GivenUp,
            Self::Sealing(_) => true,
            Self::Stopped | Self::Waiting | Self::Blocked | Self::Building(_) => false,
            Self::Settling { .. } | Self::Held { .. } => false,
            Self::Backoff { .. } | Self::Completed | Self::Failed => false,
        }
    }

    /// Whether something is still to come of it by itself.
    pub(crate) fn unfinished(&self) -> bool {
        !matches!(self, Self::Stopped | Self::Blocked | Self::Completed | Self::Failed)
    }

    /// The state shown.
    pub(crate) fn state(&self) -> State {
        match self {
            Self::Stopped => State::Stopped,
            Self::Waiting => State::Waiting,
            Self::Blocked => State::Blocked,
            Self::Building(_) => State::Building,
            Self::Preparing(_) | Self::Spawning(_) | Self::Starting(_) => State::Starting,
            Self::Ready(_) => State::Ready,
            Self::Ending(ending) => match ending.stage {
                Stage::Spared | Stage::GivenUp => State::Stuck,
                Stage::Asked { .. } | Stage::Killed { .. } | Stage::Draining { .. } | Stage::Closed => {
                    State::Stopping
                }
            },
            Self::Sealing(ended) if ended.never_ran() => State::Starting,
            Self::Sealing(_) => State::Stopping,
            Self::Settling { shown, .. } | Self::Held { shown } => *shown,
            Self::Backoff { .. } => State::Backoff,
            Self::Completed => State::Completed,
            Self::Failed => State::Failed,
        }
    }
}
