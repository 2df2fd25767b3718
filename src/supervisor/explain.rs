//! Why a component is in its state, as data: what it does, what it awaits and what that awaits, until when, and
//! what was met so far. `sentences` puts it into words.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Supervisor;
use super::phase::{Ending, Phase, Run, Stage};
use super::record::State;
use super::slot::{Edge, Slot, Wanted, Why, is_thread};
use super::start::satisfied;
use crate::config::model::{Condition, HostPort, Probe};
use crate::types::{Cid, Exit, Name, Signal, Time};

/// Why a component is in its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Whose.
    pub name: Name,
    /// Whether it is a thread.
    pub thread: bool,
    /// Its state.
    pub state: State,
    /// Since when.
    pub since: Time,
    /// Why, as a fragment of a sentence.
    pub reason: String,
    /// What it does, and until when.
    pub course: Course,
    /// What it awaits; each component is explained once, where it is met first.
    pub awaited: Vec<Awaited>,
    /// Its automatic restarts.
    pub restarts: Restarts,
    /// How its last run ended.
    pub exit: Option<Exit>,
    /// What it says of itself.
    pub status: Option<String>,
    /// The number of its last run; 0 before the first.
    pub incarnation: u64,
    /// The `seq` of its last record.
    pub last: Option<u64>,
    /// The `seq` of the record of its last spawn, in this run of orch.
    pub started: Option<u64>,
}

/// What a component does, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Course {
    /// A command stopped it.
    Stopped,
    /// It was not chosen (profiles, autostart), and nobody has started it.
    NotChosen,
    /// It is stopped for the project ends.
    Ended,
    /// What it awaits does not meet its condition.
    Waiting,
    /// What it awaits has failed.
    Blocked,
    /// It is being built, and starts when that is good.
    Building,
    /// Its start is being seen to; of what, if that is known.
    Preparing(Option<String>),
    /// It is being spawned, or runs; with what is asked of it before it is ready.
    Starting(Option<Probing>),
    /// It is ready.
    Ready,
    /// It runs, and is told to stop when what it awaits is gone.
    ToEnd {
        /// Why, as a fragment of a sentence.
        why: String,
    },
    /// It was told to stop, or has ended by itself, and its unit is not gone yet.
    Stopping {
        /// Why, as a fragment of a sentence.
        why: String,
        /// What was sent; `None` for a thread.
        signal: Option<Signal>,
        /// Whether that is only sent if its stop command fails, which runs.
        by_command: bool,
        /// Whether its leader has ended.
        led: bool,
        /// When what is left is force-killed; `None`: never (`force_kill: false`).
        kill_at: Option<Time>,
    },
    /// It was force-killed, and is given up then.
    Killed {
        /// When.
        until: Time,
    },
    /// Nothing lives of it; its output is read until then at the latest.
    Draining {
        /// When.
        until: Time,
    },
    /// Nothing lives of it; its state is being sealed.
    Sealing,
    /// It starts when its files are quiet.
    Settling,
    /// It starts when orch has replaced its own image.
    HeldBack,
    /// It has ended, and starts again then.
    Backoff {
        /// When.
        until: Time,
    },
    /// It has completed.
    Completed,
    /// It has failed, for good.
    Failed,
    /// What is left of it can't be ended.
    Stuck,
}

/// What is awaited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// What of it.
    pub what: Awaits,
    /// How that component is; its own `awaited` is empty where it was explained before.
    pub of: Explanation,
}

/// What is awaited of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Awaits {
    /// That it is started.
    Started,
    /// That it is ready.
    Ready,
    /// That it has completed.
    Completed,
    /// That its present run is gone.
    Gone,
}

/// A readiness probe, and what it has met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probing {
    /// In words: `tcp 127.0.0.1:5432`.
    pub probe: String,
    /// What it met last, and when; `None`: nothing yet.
    pub met: Option<(String, Time)>,
    /// How many tries in a row have met that.
    pub row: u32,
    /// How many tries there were in all.
    pub tries: u32,
    /// When it has failed.
    pub deadline: Time,
}

/// The automatic restarts of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Restarts {
    /// Since `up`.
    pub total: u32,
    /// Failures in a row.
    pub row: u32,
    /// How many count against the limit.
    pub recent: u32,
    /// How many may.
    pub limit: u32,
    /// Within so long.
    pub within: Duration,
}

/// A chain of those that wait is followed so far: nobody reads on, and whoever walks along it calls itself.
const DEEPEST: usize = 32;

/// So many are explained at the most: what waits for thousands is told of some.
const MOST: usize = 256;

impl Probing {
    /// There were more tries than the core was told of, which met the same; so many in all, the last one then.
    pub fn tried(&mut self, tries: u32, at: Time) {
        let more = tries.saturating_sub(self.tries);
        if let Some((_, last)) = &mut self.met
            && more > 0
        {
            (self.row, self.tries, *last) = (self.row.saturating_add(more), tries, at.max(*last));
        }
    }
}

impl Supervisor {
    /// Why a component is in its state; `None` when it is no more.
    #[must_use]
    pub fn explain(&self, cid: Cid) -> Option<Explanation> {
        self.explain_once(cid, 0, &mut BTreeSet::new())
    }

    fn explain_once(&self, cid: Cid, depth: usize, seen: &mut BTreeSet<Cid>) -> Option<Explanation> {
        let slot = self.slot(cid)?;
        let mut awaited = Vec::new();
        if depth < DEEPEST && seen.len() < MOST && seen.insert(cid) {
            for (to, what) in self.awaits(slot).into_iter().take(MOST) {
                awaited.extend(self.explain_once(to, depth + 1, seen).map(|of| Awaited { what, of }));
            }
        }
        Some(Explanation {
            name: slot.spec.name.clone(),
            thread: is_thread(&slot.spec),
            state: slot.phase.state(),
            since: slot.since,
            reason: super::view::reason(slot),
            course: course(slot),
            awaited,
            restarts: slot.ledger.told(self.now, &slot.spec.restart),
            exit: slot.exit.clone(),
            status: slot.status.clone(),
            incarnation: slot.incarnation,
            last: slot.last,
            started: slot.started,
        })
    }

    /// What a component awaits of others.
    fn awaits(&self, slot: &Slot) -> Vec<(Cid, Awaits)> {
        match &slot.phase {
            Phase::Waiting | Phase::Blocked => self.awaits_to_start(slot),
            Phase::Starting(_) | Phase::Ready(_) => self.awaits_to_stop(slot),
            _ => Vec::new(),
        }
    }

    fn awaits_to_start(&self, slot: &Slot) -> Vec<(Cid, Awaits)> {
        let unmet = |edge: &&Edge| self.slot(edge.to).is_some_and(|other| !satisfied(other, **edge));
        let needed = slot.deps.iter().filter(unmet).map(|edge| {
            let what = match edge.condition {
                Condition::Started => Awaits::Started,
                Condition::Ready => Awaits::Ready,
                Condition::Completed => Awaits::Completed,
            };
            (edge.to, what)
        });
        let blocks = |(to, _): &(Cid, Awaits)| {
            self.slot(*to).is_some_and(|other| matches!(other.phase, Phase::Failed | Phase::Blocked))
        };
        if matches!(slot.phase, Phase::Blocked) {
            return needed.filter(blocks).collect();
        }
        let mut awaited: Vec<_> = needed.collect();
        awaited.extend(slot.after.iter().map(|other| (*other, Awaits::Gone)));
        if slot.after_dependents {
            awaited.extend(self.going_down(slot).map(|to| (to, Awaits::Gone)));
        }
        awaited
    }

    /// Those with `restart: true` on it that are on their way down.
    fn going_down<'a>(&'a self, slot: &'a Slot) -> impl Iterator<Item = Cid> + 'a {
        let along = |edge: &&Edge| edge.restart && self.slot(edge.to).is_some_and(Slot::goes_down);
        slot.dependents.iter().filter(along).map(|edge| edge.to)
    }

    fn awaits_to_stop(&self, slot: &Slot) -> Vec<(Cid, Awaits)> {
        let Some(wish) = &slot.wish else { return Vec::new() };
        if wish.why.starts_again() {
            return self.going_down(slot).map(|to| (to, Awaits::Gone)).collect();
        }
        let holds = |edge: &&Edge| self.orders(edge) && self.slot(edge.to).is_some_and(|other| other.holding);
        slot.dependents.iter().filter(holds).map(|edge| (edge.to, Awaits::Gone)).collect()
    }
}

fn course(slot: &Slot) -> Course {
    match &slot.phase {
        Phase::Stopped => match slot.wanted {
            Wanted::Down => Course::Stopped,
            Wanted::Never => Course::NotChosen,
            Wanted::Up | Wanted::Removed => Course::Ended,
        },
        Phase::Waiting => Course::Waiting,
        Phase::Blocked => Course::Blocked,
        Phase::Building(_) => Course::Building,
        Phase::Preparing(_) => Course::Preparing(None),
        Phase::Spawning(_) => Course::Starting(None),
        Phase::Starting(run) => to_end(slot).unwrap_or_else(|| Course::Starting(probing(run))),
        Phase::Ready(_) => to_end(slot).unwrap_or(Course::Ready),
        Phase::Ending(ending) => course_of_end(slot, ending),
        Phase::Sealing(_) => Course::Sealing,
        Phase::Settling { .. } => Course::Settling,
        Phase::Held { .. } => Course::HeldBack,
        Phase::Backoff { until } => Course::Backoff { until: *until },
        Phase::Completed => Course::Completed,
        Phase::Failed => Course::Failed,
    }
}

fn to_end(slot: &Slot) -> Option<Course> {
    slot.wish.as_ref().map(|wish| Course::ToEnd { why: super::ending::explain(&wish.why) })
}

fn course_of_end(slot: &Slot, ending: &Ending) -> Course {
    match ending.stage {
        Stage::Asked { until } => Course::Stopping {
            why: match (&ending.why, &ending.exit) {
                (Why::Own, Some((exit, _))) => format!("it ended with {exit}"),
                (why, _) => super::ending::explain(why),
            },
            signal: (!is_thread(&ending.run.spec)).then_some(slot.spec.stop.signal),
            by_command: slot.stop_task.is_some(),
            led: ending.exit.is_none(),
            kill_at: slot.spec.stop.force_kill.then_some(until),
        },
        Stage::Killed { until } => Course::Killed { until },
        Stage::Draining { until } => Course::Draining { until },
        // Its output was closed, so that nothing is read any more but what is there.
        Stage::Closed => Course::Draining { until: Time::default() },
        Stage::Spared | Stage::GivenUp => Course::Stuck,
    }
}

fn probing(run: &Run) -> Option<Probing> {
    let ready = run.spec.ready.as_deref()?;
    let met = run.probed.as_ref();
    Some(Probing {
        probe: words(&ready.probe),
        met: met.map(|met| (met.error.clone(), met.at)),
        row: met.map_or(0, |met| met.row),
        tries: met.map_or(0, |met| met.tries),
        deadline: run.ready_by,
    })
}

/// A probe as it begins what it reports of a try.
fn words(probe: &Probe) -> String {
    use crate::config::model::Command;
    match probe {
        Probe::Http(url) => format!("http://{}{}", address(&url.at), url.target),
        Probe::Tcp(at) => format!("tcp {}", address(at)),
        Probe::Exec(Command::Words(words)) => format!("exec {}", words.join(" ")),
        Probe::Exec(Command::Shell(text)) => format!("exec {text}"),
        Probe::Log(pattern) => format!("log {pattern}"),
        Probe::File(path) => format!("file {}", path.display()),
        Probe::Notify => "notify".to_owned(),
        Probe::Delay(wait) => format!("delay {}", humantime::format_duration(*wait)),
    }
}

fn address(at: &HostPort) -> String {
    if at.host.contains(':') {
        format!("[{}]:{}", at.host, at.port)
    } else {
        format!("{}:{}", at.host, at.port)
    }
}
