//! What a start-up, or a restart, waited for: the critical path.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Recorder, Role};
use crate::story::chain::Chain;
use crate::story::words::{Words, duration};
use crate::types::recorded::Event;

/// From what led to it to the component that was ready last. Nanoseconds since the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    /// What led to it, in words; of a start-up nothing.
    pub root: String,
    /// When it began.
    pub from: u64,
    /// When the last component was ready, or had completed.
    pub to: u64,
    /// Whom it waited for, one after the other.
    pub legs: Vec<Leg>,
    /// Who became ready in it, or completed, by their places among the lanes.
    pub members: BTreeSet<usize>,
}

/// One component's part of a critical path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// Whose.
    pub name: String,
    /// From when it could go on.
    pub from: u64,
    /// Until it let the next one go on.
    pub to: u64,
}

impl Course {
    /// `db 812 ms → api 230 ms → web 95 ms, 1.137 s in all`.
    #[must_use]
    pub fn path(&self) -> String {
        let leg = |leg: &Leg| format!("{} {}", leg.name, time(leg.from, leg.to));
        let legs: Vec<String> = self.legs.iter().map(leg).collect();
        format!("{}, {} in all", legs.join(" → "), time(self.from, self.to))
    }

    /// Whether a component is on it.
    #[must_use]
    pub fn is_critical(&self, name: &str) -> bool {
        self.legs.iter().any(|leg| leg.name == name)
    }
}

pub(super) fn time(from: u64, to: u64) -> String {
    duration(Duration::from_nanos(to.saturating_sub(from)))
}

/// The start-up and the restarts.
pub(super) fn courses(recorder: &Recorder, words: &Words<'_>) -> (Option<Course>, Vec<Course>) {
    let mut arrived = BTreeSet::new();
    // What led to it, by its place: the last arrival, and whose arrivals there were.
    let mut ends: BTreeMap<usize, (usize, BTreeSet<usize>)> = BTreeMap::new();
    let roots = roots(recorder);
    for (place, node) in recorder.nodes.iter().enumerate() {
        let (Role::Arrival, Some(lane)) = (node.role, node.lane) else { continue };
        let Some((cut, uncut)) = roots.get(place) else { continue };
        let first = arrived.insert(lane);
        let up = |root: &usize| recorder.nodes.get(*root).is_some_and(|root| root.role == Role::Up);
        // Who comes up only after a crash is part of the start-up all the same.
        let root = if first && up(uncut) { *uncut } else { *cut };
        let end = ends.entry(root).or_default();
        end.0 = place;
        end.1.insert(lane);
    }
    let (mut start_up, mut restarts) = (None, Vec::new());
    for (root, (end, lanes)) in ends {
        let Some(mut course) = course(recorder, root, end) else { continue };
        course.members = lanes;
        if recorder.nodes.get(root).is_some_and(|node| node.role == Role::Up) {
            start_up = Some(course);
        } else {
            course.root =
                recorder.roots.get(&root).map(|event| told(event, &course, words)).unwrap_or_default();
            restarts.push(course);
        }
    }
    (start_up, restarts)
}

/// Of each node what led to it: where an end by itself is a root, and where it is none.
fn roots(recorder: &Recorder) -> Vec<(usize, usize)> {
    let mut roots: Vec<(usize, usize)> = Vec::with_capacity(recorder.nodes.len());
    for (place, node) in recorder.nodes.iter().enumerate() {
        let (cut, uncut) = node.cause.and_then(|cause| roots.get(cause).copied()).unwrap_or((place, place));
        roots.push(if node.role == Role::Crash { (place, uncut) } else { (cut, uncut) });
    }
    roots
}

/// From `root` to `end`, whose cause it is by way of others.
fn course(recorder: &Recorder, root: usize, end: usize) -> Option<Course> {
    let mut places = vec![end];
    // A cause is always at an earlier place, so this ends.
    while let Some(place) = places.last().filter(|place| **place != root) {
        places.push(recorder.nodes.get(*place)?.cause?);
    }
    let mut legs: Vec<(usize, u64)> = Vec::new();
    for place in places.iter().rev() {
        let node = recorder.nodes.get(*place)?;
        let Some(lane) = node.lane.filter(|_| *place != root || places.len() == 1) else { continue };
        match legs.last_mut() {
            Some((last, to)) if *last == lane => *to = node.at,
            _ => legs.push((lane, node.at)),
        }
    }
    let (from, to) = (recorder.nodes.get(root)?.at, recorder.nodes.get(end)?.at);
    // A leg begins where the one before ends: what was waited for in between was waited for by it.
    let begins: Vec<u64> = std::iter::once(from).chain(legs.iter().map(|(_, to)| *to)).collect();
    let leg = |((lane, to), from): ((usize, u64), u64)| {
        Some(Leg { name: recorder.lanes.get(lane)?.name.clone(), from, to })
    };
    let legs = legs.into_iter().zip(begins).map(leg).collect::<Option<Vec<_>>>()?;
    Some(Course { root: String::new(), from, to, legs, members: BTreeSet::new() })
}

/// What led to a restart, in words.
fn told(root: &Event, course: &Course, words: &Words<'_>) -> String {
    let mut events = vec![root.clone()];
    // Whose edit it was is seen by who was restarted first.
    if let Some(leg) = course.legs.first() {
        events.push(Event { component: Some(leg.name.clone()), ..root.clone() });
    }
    let text = Chain { events, whole: true }.root_text(words);
    let text = match (&root.kind, &root.component) {
        (crate::types::recorded::Kind::Exited { .. }, Some(name)) => format!("{name} {text}"),
        _ => text,
    };
    (words.safe)(&text)
}
