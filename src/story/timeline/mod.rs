//! How time went by since the project came up: each component's states, and what the whole waited for.
//!
//! [`Recorder`] takes events from the oldest on; a `project.up` begins anew. [`Timeline::text`] and
//! [`Timeline::svg`] draw what came of it.

mod course;
mod rows;
mod svg;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;

use super::words::Words;
use crate::types::State;
use crate::types::recorded::{Event, Kind};

pub use course::{Course, Leg};
pub use text::Look;

/// What was recorded since the project came up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// When that was, as it was recorded; without its event, the first that is recorded.
    pub began: String,
    /// Whether the beginning is recorded.
    pub whole: bool,
    /// When it ended, if it did.
    pub ended: Option<String>,
    /// Whether it goes on.
    pub runs: bool,
    /// When the last event was recorded.
    pub newest: String,
    /// The last moment that is known of, in nanoseconds since the beginning.
    pub length: u64,
    /// In the order in which they appear.
    pub lanes: Vec<Lane>,
    /// What the start-up waited for, if it is recorded and something became ready.
    pub start_up: Option<Course>,
    /// The same of what was started again later, the oldest first.
    pub restarts: Vec<Course>,
}

/// One component over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// Its name.
    pub name: String,
    /// In order, without gaps.
    pub spans: Vec<Span>,
}

/// A time in one state. Nanoseconds since the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Which.
    pub state: State,
    /// From here.
    pub from: u64,
    /// To here.
    pub to: u64,
}

/// Makes a timeline of events.
#[derive(Debug, Default)]
pub struct Recorder {
    began: Option<(String, u64)>,
    whole: bool,
    ended: Option<String>,
    newest: String,
    last: u64,
    lanes: Vec<Lane>,
    names: BTreeMap<String, usize>,
    nodes: Vec<Node>,
    numbers: BTreeMap<u64, usize>,
    /// Of each lane: the run that was asked to stop, and the last end of a leader.
    asked: Vec<(Option<u64>, Option<usize>)>,
    /// Roots that are told of later.
    roots: BTreeMap<usize, Event>,
}

/// An event, as little of it as the paths need.
#[derive(Debug, Clone, Copy)]
struct Node {
    at: u64,
    cause: Option<usize>,
    lane: Option<usize>,
    role: Role,
}

/// What it is for a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The project came up.
    Up,
    /// A leader ended though nobody had asked it to, and did not complete by that.
    Crash,
    /// A component got where it was to get.
    Arrival,
    /// Anything else.
    Step,
}

impl Recorder {
    /// Looks at an event that is newer than those before.
    pub fn take(&mut self, event: &Event) {
        let up = matches!(event.kind, Kind::ProjectUp { .. });
        if up {
            *self = Self { whole: true, ..Self::default() };
        }
        let zero = self.began.get_or_insert_with(|| (event.time.clone(), event.mono_ns)).1;
        // Time never goes back within one run; whatever says so was written by hand.
        let at = event.mono_ns.saturating_sub(zero).max(self.last);
        self.last = at;
        self.newest.clone_from(&event.time);
        if matches!(event.kind, Kind::ProjectDown { .. }) {
            self.ended = Some(event.time.clone());
        }
        let lane = event.component.as_deref().map(|name| self.lane(name));
        let place = self.nodes.len();
        let cause = event.cause.and_then(|cause| self.numbers.get(&cause).copied());
        let role = self.role(event, lane, place);
        if cause.is_none() || role == Role::Crash {
            self.roots.insert(place, event.clone());
        }
        self.nodes.push(Node { at, cause, lane, role: if up { Role::Up } else { role } });
        self.numbers.insert(event.seq, place);
        if let (Some(lane), Some(state)) = (lane.and_then(|lane| self.lanes.get_mut(lane)), event.state()) {
            if let Some(before) = lane.spans.last_mut() {
                before.to = at;
            }
            lane.spans.push(Span { state, from: at, to: at });
        }
    }

    fn lane(&mut self, name: &str) -> usize {
        if let Some(lane) = self.names.get(name) {
            return *lane;
        }
        let lane = self.lanes.len();
        self.names.insert(name.to_owned(), lane);
        self.lanes.push(Lane { name: name.to_owned(), spans: Vec::new() });
        self.asked.push((None, None));
        lane
    }

    fn role(&mut self, event: &Event, lane: Option<usize>, place: usize) -> Role {
        let Some((asked, exit)) = lane.and_then(|lane| self.asked.get_mut(lane)) else { return Role::Step };
        match &event.kind {
            Kind::StopRequested { .. } => *asked = event.incarnation.or(Some(0)),
            Kind::Exited { .. } if *asked != event.incarnation.or(Some(0)) => {
                *exit = Some(place);
                return Role::Crash;
            }
            Kind::State { state: State::Ready, .. } => return Role::Arrival,
            Kind::State { state: State::Completed, .. } => {
                if let Some(node) = exit.take().and_then(|exit| self.nodes.get_mut(exit)) {
                    node.role = Role::Step;
                }
                // What was ready has arrived by that; who waited for its completion arrives after it.
                let was_ready = lane.and_then(|lane| self.lanes.get(lane)).is_some_and(Lane::was_ready);
                return if was_ready { Role::Step } else { Role::Arrival };
            }
            _ => {}
        }
        Role::Step
    }

    /// The timeline. `now` is this moment by the monotonic clock, if the project still runs: what goes on, goes
    /// on until then. `None`: there is nothing recorded.
    #[must_use]
    pub fn timeline(mut self, now: Option<u64>, words: &Words<'_>) -> Option<Timeline> {
        let (began, zero) = self.began.clone()?;
        let now = now.filter(|_| self.ended.is_none());
        let length = now.map_or(self.last, |now| now.saturating_sub(zero).max(self.last));
        for lane in &mut self.lanes {
            lane.name = (words.safe)(&lane.name);
            if let Some(last) = lane.spans.last_mut() {
                last.to = length;
            }
        }
        let (start_up, restarts) = course::courses(&self, words);
        let (whole, ended, newest) = (self.whole, self.ended, self.newest);
        let runs = ended.is_none() && now.is_some();
        Some(Timeline { began, whole, ended, runs, newest, length, lanes: self.lanes, start_up, restarts })
    }
}

impl Timeline {
    /// How many components there are of which a state is recorded.
    fn shown(&self) -> usize {
        self.lanes.iter().filter(|lane| !lane.spans.is_empty()).count()
    }
}

impl Lane {
    /// Whether its present run, which has ended, was ready.
    fn was_ready(&self) -> bool {
        let before = self.spans.iter().rev().find(|span| span.state != State::Stopping);
        before.is_some_and(|span| span.state == State::Ready)
    }

    /// What it was in within a stretch of time, cut to it.
    pub(crate) fn within(&self, from: u64, to: u64) -> impl Iterator<Item = Span> {
        let cut = move |span: &Span| Span { from: span.from.max(from), to: span.to.min(to), ..*span };
        self.spans.iter().filter(move |span| span.from < to && span.to > from).map(cut)
    }
}
