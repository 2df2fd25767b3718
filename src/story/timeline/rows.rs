//! What a drawing shows: one stretch of time, and who was at work in it.

use super::course::{Course, time};
use super::{Lane, Span, Timeline};
use crate::types::State;

/// A drawing of its own: the start-up, or one restart.
pub(super) struct Panel<'a> {
    pub(super) course: Option<&'a Course>,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) rows: Vec<Row<'a>>,
    /// Those that had to do with it, and are not shown: how many, and how long the slowest of them took.
    pub(super) left_out: Option<(usize, String)>,
}

/// One component in it.
pub(super) struct Row<'a> {
    pub(super) lane: &'a Lane,
    pub(super) critical: bool,
    /// How long it took, or what came of it in the end.
    pub(super) note: String,
    /// For an order by who took longest.
    took: u64,
}

impl Timeline {
    /// The start-up: until the last one was ready, or as far as it has got.
    pub(super) fn start_up_panel(&self, most: usize) -> Panel<'_> {
        let (from, to) = self.start_up.as_ref().map_or((0, self.length), |course| (course.from, course.to));
        self.panel(self.start_up.as_ref(), from, to, most, |_, lane| !lane.spans.is_empty())
    }

    /// One restart: those that came of it.
    pub(super) fn restart_panel<'a>(&'a self, course: &'a Course, most: usize) -> Panel<'a> {
        let (from, to) = (course.from, course.to);
        let moved = |at: usize, lane: &Lane| course.members.contains(&at) || course.is_critical(&lane.name);
        self.panel(Some(course), from, to, most, moved)
    }

    fn panel<'a>(
        &'a self,
        course: Option<&'a Course>,
        from: u64,
        to: u64,
        most: usize,
        shown: impl Fn(usize, &Lane) -> bool,
    ) -> Panel<'a> {
        let row = |lane: &'a Lane| {
            let critical = course.is_some_and(|course| course.is_critical(&lane.name));
            let (note, took) = note(lane, from, to);
            Row { lane, critical, note, took }
        };
        let lanes = self.lanes.iter().enumerate().filter(|(at, lane)| shown(*at, lane));
        let rows: Vec<Row<'_>> = lanes.map(|(_, lane)| row(lane)).collect();
        let (rows, left_out) = choose(rows, most);
        Panel { course, from, to, rows, left_out }
    }
}

/// The critical ones and the slowest, in their old order; and what is said of the rest.
fn choose(rows: Vec<Row<'_>>, most: usize) -> (Vec<Row<'_>>, Option<(usize, String)>) {
    if rows.len() <= most {
        return (rows, None);
    }
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let weight = |at: &usize| rows.get(*at).map(|row| (row.critical, row.took));
    order.sort_by_key(|at| std::cmp::Reverse(weight(at)));
    let slowest = order.get(most).and_then(|at| rows.get(*at)).map(|row| time(0, row.took));
    let left_out = slowest.map(|slowest| (rows.len() - most, slowest));
    let mut kept: Vec<usize> = order.into_iter().take(most).collect();
    kept.sort_unstable();
    let chosen: std::collections::BTreeSet<usize> = kept.into_iter().collect();
    let rows = rows.into_iter().enumerate().filter(|(at, _)| chosen.contains(at)).map(|(_, row)| row);
    (rows.collect(), left_out)
}

/// How long a component was at work on its own until it was ready; else the state that it was in at the end.
fn note(lane: &Lane, from: u64, to: u64) -> (String, u64) {
    let spans: Vec<Span> = lane.within(from, to).collect();
    let took = spans.iter().filter(|span| is_work(span.state)).map(|span| span.to - span.from).sum();
    // What it became at the very end has no length in here.
    let end = lane.spans.iter().rev().find(|span| span.from <= to).map(|span| span.state);
    match end {
        Some(State::Ready | State::Completed) => (time(0, took), took),
        Some(state) => (state.word().to_owned(), took),
        None => (String::new(), took),
    }
}

/// Whether a component in this state keeps others waiting by what it does itself.
fn is_work(state: State) -> bool {
    match state {
        State::Building | State::Starting | State::Stopping | State::Backoff | State::Stuck => true,
        State::Waiting | State::Ready | State::Unhealthy | State::Stopped | State::Completed => false,
        State::Failed | State::Blocked => false,
    }
}

/// The state that a stretch of a lane shows: what it did there, before what it was there.
pub(super) fn shown(lane: &Lane, from: u64, to: u64) -> Option<State> {
    let spans = lane.within(from, to);
    spans.max_by_key(|span| (is_work(span.state), span.to - span.from)).map(|span| span.state)
}
