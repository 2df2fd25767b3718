//! One component as the core sees it: what is wanted of it, what phase it is in, what it remembers.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

use super::action::Action;
use super::quiet::Quiet;
use super::record::{End, Restored, State};
use super::restart::Ledger;
use crate::config::model::{Component, Condition, Kind};
use crate::types::{Cid, Exit, Name, RunId, Time};

/// A component's place in the supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Slot {
    pub(crate) spec: Arc<Component>,
    pub(crate) deps: Vec<Edge>,
    /// The same edges from the other side: `to` is the dependent.
    pub(crate) dependents: Vec<Edge>,
    /// Where in `dependents` the last one stood that a stop had to wait for: looked at first next time, so
    /// that stopping a hub costs each of its dependents one look, not all of them.
    pub(crate) gate: usize,
    /// How many of its dependents hold it: something lives in them, or in what depends on them.
    pub(crate) holders: usize,
    /// Whether it is counted among the holders of what it depends on.
    pub(crate) holding: bool,
    pub(crate) wanted: Wanted,
    pub(crate) phase: Phase,
    /// Why the present run is to end, until it may be told to.
    pub(crate) wish: Option<Wish>,
    /// Whether it is to be started again when its run is gone, however that ended: a change, a command or
    /// an edit came meanwhile.
    pub(crate) again: bool,
    /// The record of what came while its run was ending: what follows the run has it as its cause.
    pub(crate) meanwhile: Option<u64>,
    /// Whether its next start waits for the dependents that go down with it (`restart: true`).
    pub(crate) after_dependents: bool,
    /// Whose present runs, which are to end, have something that an edit gave to this one: it starts after
    /// them.
    pub(crate) after: Vec<Cid>,
    /// The same from the other side: who waits for the end of its present run.
    pub(crate) heirs: Vec<Cid>,
    /// The number of its last run.
    pub(crate) incarnation: u64,
    pub(crate) ledger: Ledger,
    pub(crate) quiet: Quiet,
    /// The state last shown, and why; `None` before the first.
    pub(crate) shown: Option<State>,
    pub(crate) reason: String,
    /// Since when it is in the state shown.
    pub(crate) since: Time,
    /// How its last run ended.
    pub(crate) exit: Option<Exit>,
    /// What it says of itself.
    pub(crate) status: Option<String>,
    /// The `seq` of its last record: the cause of its next.
    pub(crate) last: Option<u64>,
    /// The `seq` of the record of its last spawn.
    pub(crate) started: Option<u64>,
    /// The deadline under which it stands in the index.
    pub(crate) armed: Time,
}

/// An edge as a slot holds it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Edge {
    pub(crate) to: Cid,
    pub(crate) condition: Condition,
    pub(crate) restart: bool,
}

/// What is wanted of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wanted {
    /// It runs, or waits until it may.
    Up,
    /// It was not chosen (profiles, autostart).
    Never,
    /// A command stopped it; edits and changes do not bring it back.
    Down,
    /// An edit removed it: it is forgotten when nothing of it is left.
    Removed,
}

/// Why a run ends, or ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Why {
    /// By itself.
    Own,
    /// A watched file changed.
    Change,
    /// `restart` was commanded.
    Restart,
    /// An edit changed what it runs.
    Edit(String),
    /// What it depends on, with `restart: true`, is restarted or has ended.
    Dependency(Name),
    /// Its probe did not succeed in time.
    NotReady(String),
    /// It is a thread of an image of orch that is to be replaced.
    Reexec,
    /// Nothing came of it: it could not be prepared, or not be spawned.
    NotStarted(String),
    /// It was prepared, but may not be spawned now.
    TakenBack,
    /// It is not wanted any more.
    Unwanted(Cow<'static, str>),
}

impl Why {
    /// Whether it is to start again at once, by the reason alone.
    pub(crate) fn starts_again(&self) -> bool {
        matches!(self, Self::Change | Self::Restart | Self::Edit(_) | Self::Dependency(_) | Self::Reexec)
    }
}

/// A wish that the present run end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Wish {
    pub(crate) why: Why,
    /// The record that led to it.
    pub(crate) cause: Option<u64>,
}

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

/// What phase a component is in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Nothing runs, and nothing is to.
    Stopped,
    /// A dependency does not meet its condition.
    Waiting,
    /// A dependency has failed for good.
    Blocked,
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

/// Whether a component runs as a thread of orch.
pub(crate) fn is_thread(spec: &Component) -> bool {
    matches!(spec.kind, Kind::Thread { .. })
}

impl Ended {
    /// Whether nothing was spawned for it.
    pub(crate) fn never_ran(&self) -> bool {
        matches!(self.why, Why::NotStarted(_) | Why::TakenBack)
    }
}

fn same_state_file(one: &Component, other: &Component) -> bool {
    one.state.as_ref().map(|state| &state.file) == other.state.as_ref().map(|state| &state.file)
}

impl Phase {
    /// The run, if there is one or one is being made.
    pub(crate) fn run(&self) -> Option<&Run> {
        match self {
            Self::Preparing(run) | Self::Spawning(run) | Self::Starting(run) | Self::Ready(run) => Some(run),
            Self::Ending(ending) => Some(&ending.run),
            Self::Sealing(ended) => Some(&ended.run),
            Self::Stopped | Self::Waiting | Self::Blocked | Self::Settling { .. } | Self::Held { .. } => None,
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
            Self::Stopped | Self::Waiting | Self::Blocked => false,
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

    /// Whether an effect is still to answer, so that the project can't end.
    pub(crate) fn busy(&self) -> bool {
        match self {
            Self::Preparing(_) | Self::Spawning(_) | Self::Starting(_) | Self::Ready(_) => true,
            Self::Ending(ending) => ending.stage != Stage::GivenUp,
            Self::Sealing(_) => true,
            Self::Stopped | Self::Waiting | Self::Blocked => false,
            Self::Settling { .. } | Self::Held { .. } => false,
            Self::Backoff { .. } | Self::Completed | Self::Failed => false,
        }
    }

    /// Whether something is still to come of it by itself: the project goes on for it.
    pub(crate) fn unfinished(&self) -> bool {
        !matches!(self, Self::Stopped | Self::Blocked | Self::Completed | Self::Failed)
    }

    /// The state shown.
    pub(crate) fn state(&self) -> State {
        match self {
            Self::Stopped => State::Stopped,
            Self::Waiting => State::Waiting,
            Self::Blocked => State::Blocked,
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

impl Slot {
    pub(crate) fn new(spec: Arc<Component>, incarnation: u64, wanted: Wanted) -> Self {
        Self {
            spec,
            deps: Vec::new(),
            dependents: Vec::new(),
            gate: 0,
            holders: 0,
            holding: false,
            wanted,
            phase: Phase::Stopped,
            wish: None,
            again: false,
            meanwhile: None,
            after_dependents: false,
            after: Vec::new(),
            heirs: Vec::new(),
            incarnation,
            ledger: Ledger::default(),
            quiet: Quiet::default(),
            shown: None,
            reason: String::new(),
            since: Time::default(),
            exit: None,
            status: None,
            last: None,
            started: None,
            armed: Time::NEVER,
        }
    }

    /// Whether it lives, and is to end or is ending.
    pub(crate) fn goes_down(&self) -> bool {
        self.phase.active() && (self.wish.is_some() || matches!(self.phase, Phase::Ending(_)))
    }

    /// Whether it runs, and nothing is to end it: it goes down with what it follows (`restart: true`).
    pub(crate) fn may_follow(&self) -> bool {
        self.phase.up() && self.wish.is_none()
    }

    /// What is to be done with the state of a run of which nothing is left; or, where nobody has seen that
    /// run, with the state that was put in place for it.
    pub(crate) fn sealing(&self, ended: &Ended) -> Action {
        let (run, end) = (ended.run.id, ended.end);
        let spec = Arc::clone(if same_state_file(&ended.run.spec, &self.spec) {
            &self.spec
        } else {
            &ended.run.spec
        });
        if ended.never_ran() { Action::TakeBack { run, spec } } else { Action::Seal { run, spec, end } }
    }

    /// When time alone changes something for it.
    pub(crate) fn deadline(&self) -> Time {
        match &self.phase {
            // One that is to end need not become ready any more.
            Phase::Starting(_) if self.wish.is_some() => Time::NEVER,
            Phase::Starting(run) => {
                run.spec.ready.as_ref().map_or(Time::NEVER, |ready| run.spawned_at + ready.timeout)
            }
            Phase::Ending(ending) => match ending.stage {
                Stage::Asked { until } | Stage::Killed { until } | Stage::Draining { until } => until,
                Stage::Closed | Stage::Spared | Stage::GivenUp => Time::NEVER,
            },
            Phase::Settling { asked, .. } => asked.unwrap_or(self.quiet.until()),
            Phase::Backoff { until } => *until,
            Phase::Stopped | Phase::Waiting | Phase::Blocked | Phase::Preparing(_) => Time::NEVER,
            Phase::Spawning(_) | Phase::Sealing(_) => Time::NEVER,
            Phase::Ready(run) => run.ask_at,
            Phase::Completed | Phase::Failed | Phase::Held { .. } => Time::NEVER,
        }
    }
}
