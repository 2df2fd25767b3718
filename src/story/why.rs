//! Why a component is in its state, by what was recorded.

use super::chain::{Chain, Walk};
use super::words::{Words, counted};
use crate::types::recorded::{Event, Kind};
use crate::types::{State, TaskKind};

/// So many events are looked through for failures; the chain is followed as far as it goes.
const LOOKED: u64 = 50_000;
/// So many failures are told.
const FAILURES: usize = 3;

/// Gathers what matters of one component, while events come by from the newest to the oldest.
#[derive(Debug)]
pub struct Recorded {
    name: String,
    /// Whether the present run of orch, or the last one, has been passed.
    passed: bool,
    up: Option<Event>,
    /// Whether the beginning of the last run of orch has been passed.
    upped: bool,
    down: Option<Event>,
    newest: Option<Event>,
    /// The last state, and what led to it.
    last: Option<(Event, Walk)>,
    /// The last state in which it ran, and what led to that.
    start: Option<Walk>,
    runs: Vec<u64>,
    run: Option<Run>,
    failed: u64,
    failures: Vec<Failure>,
    looked: u64,
}

/// What is known of one incarnation, from its end on.
#[derive(Debug, Default)]
struct Run {
    incarnation: Option<u64>,
    asked: bool,
    completed: bool,
    exit: Option<Failure>,
    judged: Option<Failure>,
    /// The number of the event that this followed from: a build's failure is no run's.
    judged_by: Option<u64>,
}

/// A run that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When, as it was recorded.
    pub time: String,
    /// Why, as a fragment of a sentence.
    pub reason: String,
}

/// What was recorded of one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The last state, with its time.
    pub last: Event,
    /// What led to it.
    pub chain: Chain,
    /// What led to its last start, where that is another story.
    pub start: Option<Chain>,
    /// The beginning of that run of orch.
    pub up: Option<Event>,
    /// The end of the last run of orch.
    pub down: Option<Event>,
    /// The last event of all.
    pub newest: Event,
    /// So many runs of the component began in it.
    pub runs: u64,
    /// So many of them failed.
    pub failed: u64,
    /// The last failures, the newest first.
    pub failures: Vec<Failure>,
    /// Not everything was looked at: there may have been more.
    pub more: bool,
}

impl Recorded {
    /// Nothing is known yet.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            passed: false,
            up: None,
            upped: false,
            down: None,
            newest: None,
            last: None,
            start: None,
            runs: Vec::new(),
            run: None,
            failed: 0,
            failures: Vec::new(),
            looked: 0,
        }
    }

    /// Looks at an event that is older than those before; whether it wants more.
    pub fn take(&mut self, event: &Event) -> bool {
        self.looked += 1;
        if let Some((_, walk)) = &mut self.last {
            walk.take(event);
        }
        if let Some(walk) = &mut self.start {
            walk.take(event);
        }
        if self.newest.is_none() {
            self.newest = Some(event.clone());
        }
        if event.component.as_deref() == Some(self.name.as_str()) {
            self.own(event);
        }
        match &event.kind {
            // The beginning of the run of orch that its last state is of.
            Kind::ProjectUp { .. } if self.last.is_some() && !self.passed => {
                (self.passed, self.up) = (true, Some(event.clone()));
            }
            // The end of the last run of orch, and of no other.
            Kind::ProjectDown { .. } if !self.upped && self.down.is_none() => self.down = Some(event.clone()),
            _ => {}
        }
        self.upped |= matches!(event.kind, Kind::ProjectUp { .. });
        !self.is_done()
    }

    fn is_done(&self) -> bool {
        let walked = self.last.as_ref().is_some_and(|(_, walk)| walk.is_done());
        let started = self.start.as_ref().is_none_or(Walk::is_done);
        let ran = self.start.is_some() || self.passed;
        let counted = self.passed || self.looked >= LOOKED;
        walked && started && ran && counted
    }

    fn own(&mut self, event: &Event) {
        if let Some(state) = event.state() {
            let runs = matches!(state, State::Starting | State::Ready | State::Unhealthy);
            if self.last.is_none() {
                self.last = Some((event.clone(), Walk::from(event)));
            }
            if runs && self.start.is_none() && !self.passed {
                self.start = Some(Walk::from(event));
            }
        }
        if self.passed || self.looked > LOOKED {
            return;
        }
        if self.run.as_ref().is_none_or(|run| run.incarnation != event.incarnation) {
            self.end_run();
            self.run = Some(Run { incarnation: event.incarnation, ..Run::default() });
        }
        let Some(run) = &mut self.run else { return };
        let failure = |reason: String| Some(Failure { time: event.time.clone(), reason });
        match &event.kind {
            Kind::State { state: State::Failed | State::Backoff, reason } if run.judged.is_none() => {
                run.judged = failure(reason.split(';').next().unwrap_or_default().to_owned());
                run.judged_by = event.cause;
            }
            // It restarts at once where it had been ready long enough, and then nothing else tells.
            Kind::State { state: State::Unhealthy, reason } if run.judged.is_none() => {
                run.judged = failure(format!("unhealthy: {reason}"));
            }
            Kind::TaskFailed { kind: TaskKind::Build, .. } if run.judged_by == Some(event.seq) => {
                (run.judged, run.judged_by) = (None, None);
            }
            Kind::State { state: State::Completed, .. } => run.completed = true,
            Kind::Exited { how } => run.exit = failure(format!("it ended with {how}")),
            Kind::StopRequested { .. } => run.asked = true,
            Kind::Spawned { .. } => self.runs.extend(event.incarnation),
            _ => {}
        }
    }

    fn end_run(&mut self) {
        let Some(run) = self.run.take().filter(|run| !run.completed) else { return };
        let failure = run.judged.or(run.exit.filter(|_| !run.asked));
        if let Some(failure) = failure {
            self.failed += 1;
            if self.failures.len() < FAILURES {
                self.failures.push(failure);
            }
        }
    }

    /// What was found; `None`: nothing is recorded of that component.
    #[must_use]
    pub fn told(mut self) -> Option<Told> {
        self.end_run();
        let (last, walk) = self.last?;
        let chain = walk.chain();
        let start = self.start.map(Walk::chain).filter(|start| {
            let seq = start.events.last().map(|event| event.seq);
            chain.events.iter().all(|event| Some(event.seq) != seq)
        });
        self.runs.dedup();
        Some(Told {
            newest: self.newest.unwrap_or_else(|| last.clone()),
            last,
            chain,
            start,
            up: self.up,
            down: self.down,
            runs: self.runs.len() as u64,
            failed: self.failed,
            failures: self.failures,
            more: !self.passed,
        })
    }
}

impl Told {
    /// Why it is in the state that was recorded last, in fragments of sentences; when it does not run now, that
    /// first.
    #[must_use]
    pub fn sentences(&self, runs_now: bool, words: &Words<'_>) -> Vec<String> {
        let mut sentences = Vec::new();
        if !runs_now {
            sentences.push(self.ending(words));
            sentences.push(self.state(words));
        }
        sentences.extend(self.past(words));
        sentences
    }

    fn ending(&self, words: &Words<'_>) -> String {
        match &self.down {
            Some(down) => {
                let code = match down.kind {
                    Kind::ProjectDown { code: Some(code) } => format!(" with exit code {code}"),
                    _ => String::new(),
                };
                format!("the project does not run now; orch ended at {}{code}", words.at(&down.time))
            }
            None => format!(
                "the project does not run now, and orch did not end in order; the last that was recorded is of {}",
                words.at(&self.newest.time)
            ),
        }
    }

    fn state(&self, words: &Words<'_>) -> String {
        let Kind::State { state, reason } = &self.last.kind else { return String::new() };
        let run = self.last.incarnation.map(|number| format!(", in run {number}")).unwrap_or_default();
        format!("it was last {}, from {} on{run}: {reason}", state.word(), words.at(&self.last.time))
    }

    /// How often it was started, and what became of that.
    fn past(&self, words: &Words<'_>) -> Option<String> {
        let least = if self.more { "at least " } else { "" };
        let since = self.up.as_ref().map(|up| format!(" since orch came up at {}", words.at(&up.time)));
        let since = since.unwrap_or_default();
        let Some(newest) = self.failures.first() else {
            let runs = self.runs;
            return (runs > 1).then(|| format!("it was started {least}{runs} times{since}; no run failed"));
        };
        let last: Vec<String> = self.failures.iter().map(|failure| words.at(&failure.time)).collect();
        let alike = self.failures.iter().all(|failure| failure.reason == newest.reason);
        let told = if alike {
            format!("{} ({})", newest.reason, last.join(", "))
        } else {
            let each = self.failures.iter().zip(&last).map(|(one, time)| format!("{} ({time})", one.reason));
            each.collect::<Vec<_>>().join("; ")
        };
        let of = counted(self.runs.max(self.failed), "run", "runs");
        let newest_first = if self.failures.len() > 1 { ", the newest first" } else { "" };
        Some(format!("{least}{} of its {of}{since} failed{newest_first}: {told}", self.failed))
    }
}
