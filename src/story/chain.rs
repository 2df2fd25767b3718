//! From what a component is in back to what led to it, and told from there.

use std::time::Duration;

use super::words::{Words, duration};
use crate::types::recorded::{Event, Kind, Step};
use crate::types::{State, TaskKind};

/// A longer chain is nobody's story.
const LONGEST: usize = 1000;

/// Follows causes, while events come by from the newest to the oldest.
#[derive(Debug, Clone)]
pub struct Walk {
    /// Newest first.
    events: Vec<Event>,
    wanted: Option<u64>,
    /// The end of a leader, by its place, of which it is not seen yet whether it was asked for.
    exit: Option<usize>,
    whole: bool,
}

/// What led to an event, and the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// From the root on.
    pub events: Vec<Event>,
    /// Whether it begins at a root; else what led to its first event is not recorded.
    pub whole: bool,
}

impl Walk {
    /// Begins at this event.
    #[must_use]
    pub fn from(event: &Event) -> Self {
        let mut walk = Self { events: Vec::new(), wanted: None, exit: None, whole: false };
        walk.push(event);
        walk
    }

    /// Whether it is at the root, or where the record is broken.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.wanted.is_none()
    }

    /// Looks at an event that is older than those before.
    pub fn take(&mut self, event: &Event) {
        let Some(wanted) = self.wanted else { return };
        if event.seq == wanted {
            self.push(event);
        } else if event.seq < wanted {
            self.wanted = None;
        }
    }

    /// The chain as far as it was found.
    #[must_use]
    pub fn chain(mut self) -> Chain {
        self.events.reverse();
        Chain { events: self.events, whole: self.whole }
    }

    fn push(&mut self, event: &Event) {
        self.events.push(event.clone());
        // A cause that is not older would lead nowhere, or round in circles.
        self.wanted = event.cause.filter(|cause| *cause < event.seq && self.events.len() < LONGEST);
        self.whole = event.cause.is_none();
        self.look_for_an_end(event);
    }

    /// A leader's end that nobody had asked for is a root: why it ran is another story. But one that completed
    /// did what it was there for, and the story goes on before it.
    fn look_for_an_end(&mut self, event: &Event) {
        let same =
            |other: &Event| (&other.component, other.incarnation) == (&event.component, event.incarnation);
        let of_end = self.exit.filter(|at| self.events.get(*at).is_some_and(same));
        match &event.kind {
            Kind::Exited { .. } => {
                let completed = |other: &Event| same(other) && other.state() == Some(State::Completed);
                self.exit = (!self.events.iter().any(completed)).then(|| self.events.len() - 1);
            }
            Kind::StopRequested { .. } if of_end.is_some() => self.exit = None,
            Kind::Spawned { .. }
            | Kind::State { state: State::Starting | State::Ready | State::Unhealthy, .. } => {
                if let Some(at) = of_end {
                    self.events.truncate(at + 1);
                    (self.wanted, self.whole) = (None, true);
                }
            }
            _ => {}
        }
    }
}

impl Chain {
    /// The chain among events in any order, from the one with this number on.
    #[must_use]
    pub fn among(events: &[Event], seq: u64) -> Option<Self> {
        let mut known: Vec<&Event> = events.iter().filter(|event| event.seq <= seq).collect();
        known.sort_by_key(|event| std::cmp::Reverse(event.seq));
        let first = known.first().filter(|event| event.seq == seq)?;
        let mut walk = Walk::from(first);
        known.iter().for_each(|event| walk.take(event));
        Some(walk.chain())
    }

    /// One line of arrows, from the root on: `src/api.py changed (saved 14:02:11.318) → stop 31 ms → start →
    /// ready after 120 ms`. Where several components have a part in it, each part begins with the name.
    #[must_use]
    pub fn arrows(&self, words: &Words<'_>) -> String {
        let target = self.events.last().and_then(|event| event.component.as_deref());
        let own = |event: &Event| event.component.as_deref().is_none_or(|name| Some(name) == target);
        let alone = self.events.iter().all(own);
        let mut parts = Vec::new();
        if !self.whole {
            parts.push("…".to_owned());
        }
        let mut teller = None;
        for at in 0..self.events.len() {
            let Some(event) = self.events.get(at) else { continue };
            let text = if at == 0 && self.whole { Some(self.root(event, words)) } else { self.part(at) };
            let Some(text) = text else { continue };
            let name = event.component.as_deref();
            // A file that changed needs no owner; a leader that ended does.
            let named =
                !alone && name.is_some() && name != teller && !matches!(event.kind, Kind::Changed { .. });
            parts.push(if named { format!("{}: {text}", name.unwrap_or_default()) } else { text });
            if !matches!(event.kind, Kind::Changed { .. }) {
                teller = name.or(teller);
            }
        }
        parts.join(" → ")
    }

    /// What it begins with, in words.
    #[must_use]
    pub fn root_text(&self, words: &Words<'_>) -> String {
        self.events.first().map(|root| self.root(root, words)).unwrap_or_default()
    }

    fn root(&self, event: &Event, words: &Words<'_>) -> String {
        let at = words.at(&event.time);
        match &event.kind {
            Kind::Changed { paths } => format!("{} changed (saved {at})", words.paths(paths)),
            Kind::Command { name, args } if args.is_empty() => format!("command `{name}` ({at})"),
            Kind::Command { name, args } => format!("command `{name} {}` ({at})", few(args)),
            Kind::ConfigReloaded { steps } => match self.step(steps) {
                Some(step) => format!("edit of the file ({at}): {}", edited(step)),
                None => format!("edit of the file ({at})"),
            },
            Kind::ProjectUp { .. } => format!("orch up ({at})"),
            Kind::Exited { how } => format!("ended by itself with {how} ({at})"),
            Kind::Reexec { error: None } => format!("orch became another image of itself ({at})"),
            Kind::State { state, reason } => format!("{state} ({at}): {reason}", state = state.word()),
            Kind::StopRequested { reason } => format!("stop ({at}): {reason}"),
            Kind::Other { event } => format!("{event} ({at})"),
            _ => format!("{} ({at})", super::line::name(&event.kind)),
        }
    }

    /// What the edit did to the first component of the chain that it did something to.
    fn step<'a>(&self, steps: &'a [Step]) -> Option<&'a Step> {
        let mut names = self.events.iter().filter_map(|event| event.component.as_deref());
        names.find_map(|name| steps.iter().find(|step| step.component == name))
    }

    /// What an event after the root adds, if it does.
    fn part(&self, at: usize) -> Option<String> {
        let event = self.events.get(at)?;
        let last = at + 1 == self.events.len();
        Some(match &event.kind {
            Kind::StopRequested { .. } => self.stop(at),
            Kind::State { state: State::Starting, .. } => "start".to_owned(),
            Kind::State { state: State::Ready, .. } => match self.since_spawn(at) {
                Some(time) if time >= Duration::from_millis(1) => format!("ready after {}", duration(time)),
                Some(_) => "ready at once".to_owned(),
                None => "ready".to_owned(),
            },
            Kind::State { state: State::Completed, .. } => match self.since_spawn(at) {
                Some(time) => format!("completed after {}", duration(time)),
                None => "completed".to_owned(),
            },
            // The build that it is for tells how long it took.
            Kind::State { state: State::Building, .. } if self.builds(at) => return None,
            Kind::State { state: State::Building, .. } => "build".to_owned(),
            Kind::TaskStarted { kind } if last => format!("{} runs", kind.called()),
            Kind::TaskSucceeded { kind: TaskKind::Build, ms: Some(ms) } => {
                format!("build {}", duration(Duration::from_millis(*ms)))
            }
            Kind::TaskSucceeded { kind: TaskKind::Build, ms: None } => "build".to_owned(),
            Kind::TaskFailed { kind, ms, reason, place, .. } => {
                let (after, at) = (super::line::after(*ms), super::line::at(place.as_deref()));
                format!("{} failed{after}: {reason}{at}", kind.called())
            }
            Kind::TaskEnded { kind, reason, .. } => format!("{} was ended: {reason}", kind.called()),
            Kind::State { state: State::Backoff, .. } if !last => self.until_next("backoff", at),
            // For what it waited at first need not be what it waits for now.
            Kind::State { state: State::Waiting, .. } if last => "waiting".to_owned(),
            Kind::State { state: State::Waiting, .. } => self.until_next("wait", at),
            Kind::State { state: State::Stopping, reason } if last && !self.asked(at) => reason.clone(),
            Kind::State { state: State::Stopping, .. } => return None,
            Kind::State { state: State::Stopped, .. } => "stopped".to_owned(),
            Kind::State { state, reason } => format!("{}: {reason}", state.word()),
            Kind::Restored { .. } => "state restored".to_owned(),
            Kind::Reexec { error: None } => "orch became another image of itself".to_owned(),
            Kind::Other { event } => event.clone(),
            _ => return None,
        })
    }

    /// From the request to stop until something else begins.
    fn stop(&self, at: usize) -> String {
        let name = |event: &Event| event.component.clone();
        let own = self.events.get(at).and_then(name);
        let rest = self.events.iter().enumerate().skip(at + 1).filter(|(_, event)| name(event) == own);
        let (mut killed, mut over) = (false, None);
        for (place, event) in rest {
            killed |= matches!(event.kind, Kind::ForceKilled { .. });
            if event.state().is_some_and(|state| state != State::Stopping) {
                over = Some(place);
                break;
            }
        }
        let time = over.and_then(|over| self.between(at, over));
        let took = time.map(|time| format!(" {}", duration(time))).unwrap_or_default();
        format!("stop{took}{}", if killed { ", force-killed" } else { "" })
    }

    /// Whether a build of the component comes behind this.
    fn builds(&self, at: usize) -> bool {
        let behind = self.events.get(at + 1..).unwrap_or_default();
        behind.iter().any(|event| matches!(event.kind, Kind::TaskStarted { kind: TaskKind::Build }))
    }

    /// Whether the component was asked to stop, before this.
    fn asked(&self, at: usize) -> bool {
        self.events.iter().take(at).any(|event| matches!(event.kind, Kind::StopRequested { .. }))
    }

    fn until_next(&self, what: &str, at: usize) -> String {
        match self.between(at, at + 1) {
            Some(time) => format!("{what} {}", duration(time)),
            None => what.to_owned(),
        }
    }

    /// How long the run had been there.
    fn since_spawn(&self, at: usize) -> Option<Duration> {
        let event = self.events.get(at)?;
        let before = self.events.get(..at)?;
        let same =
            |other: &&Event| (&other.component, other.incarnation) == (&event.component, event.incarnation);
        let spawned = |other: &&Event| matches!(other.kind, Kind::Spawned { .. });
        time_between(before.iter().filter(same).find(spawned)?, event)
    }

    fn between(&self, from: usize, to: usize) -> Option<Duration> {
        time_between(self.events.get(from)?, self.events.get(to)?)
    }
}

/// By the monotonic clock; `None` where it can't be.
pub(super) fn time_between(from: &Event, to: &Event) -> Option<Duration> {
    to.mono_ns.checked_sub(from.mono_ns).map(Duration::from_nanos)
}

/// What an edit did to a component.
fn edited(step: &Step) -> String {
    match step.changed.as_slice() {
        [] => step.reason.clone(),
        keys => format!("{} changed", few(keys)),
    }
}

/// The first few of many.
pub(super) fn few(words: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = words.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match words.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
