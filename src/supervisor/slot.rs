//! One component as the core sees it: what is wanted of it, what phase it is in, what it remembers.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::action::Action;
use super::builds::Build;
use super::phase::{Ended, Phase, Stage};
use super::quiet::Quiet;
use super::record::State;
use super::restart::Ledger;
use super::tasks::{Beside, Task};
use crate::config::model::{Component, Condition, Kind};
use crate::types::{Cid, Exit, Name, Time};

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
    /// Whether it is counted as busy, and as unfinished.
    pub(crate) counted: (bool, bool),
    /// Its builds.
    pub(crate) build: Build,
    /// What a change runs.
    pub(crate) on_change: Beside,
    /// What asks its run to stop.
    pub(crate) stop_task: Option<Task>,
    /// The number of its last task.
    pub(crate) task_number: u64,
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
    /// With the keeper of the processes, which was killed.
    Lost,
    /// A watched file changed.
    Change,
    /// `restart` was commanded.
    Restart,
    /// An edit changed what it runs.
    Edit(String),
    /// An edit changed how it is built, and the last build had failed.
    Build(String),
    /// What it depends on, with `restart: true`, is restarted or has ended.
    Dependency(Name),
    /// Its probe did not succeed in time.
    NotReady(String),
    /// It was ready, and did not live as it should.
    Unhealthy {
        /// Why, as a fragment of a sentence.
        reason: String,
        /// So long it had been ready.
        ready: Duration,
    },
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
        let edit = matches!(self, Self::Edit(_) | Self::Build(_));
        edit || matches!(self, Self::Change | Self::Restart | Self::Dependency(_) | Self::Reexec)
    }
}

/// A wish that the present run end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Wish {
    pub(crate) why: Why,
    /// The record that led to it.
    pub(crate) cause: Option<u64>,
}

/// Whether a component runs as a thread of orch.
pub(crate) fn is_thread(spec: &Component) -> bool {
    matches!(spec.kind, Kind::Thread { .. })
}

fn same_state_file(one: &Component, other: &Component) -> bool {
    one.state.as_ref().map(|state| &state.file) == other.state.as_ref().map(|state| &state.file)
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
            counted: (false, false),
            build: Build::default(),
            on_change: Beside::default(),
            stop_task: None,
            task_number: 0,
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
        self.phase_deadline().min(self.task_deadline()).min(self.vital_deadline())
    }

    /// When time alone changes its phase.
    pub(crate) fn phase_deadline(&self) -> Time {
        match &self.phase {
            // One that is to end need not become ready any more.
            Phase::Starting(_) if self.wish.is_some() => Time::NEVER,
            Phase::Starting(run) => run.ready_by,
            Phase::Ending(ending) => match ending.stage {
                Stage::Asked { until } | Stage::Killed { until } | Stage::Draining { until } => until,
                Stage::Closed | Stage::Spared | Stage::GivenUp => Time::NEVER,
            },
            Phase::Settling { asked, .. } => asked.unwrap_or(self.quiet.until()),
            Phase::Backoff { until } => *until,
            Phase::Stopped | Phase::Waiting | Phase::Blocked | Phase::Building(_) => Time::NEVER,
            Phase::Preparing(_) | Phase::Spawning(_) | Phase::Sealing(_) => Time::NEVER,
            Phase::Ready(run) => run.ask_at,
            Phase::Completed | Phase::Failed | Phase::Held { .. } => Time::NEVER,
        }
    }
}
