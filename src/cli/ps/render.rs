//! A project as people like to look at it.

use std::time::{Duration, SystemTime};

use super::super::paint::{Canvas, Paint, Piece, line};
use super::super::table::{Column, table};
use super::super::words;
use crate::api::{ComponentStatus, ComponentUsage, Exited, Status, Usage};

/// All that is seen of a project.
pub(super) struct Sight<'s> {
    pub(super) status: &'s Status,
    /// Nothing, where it can't be told.
    pub(super) usage: Option<&'s Usage>,
    /// What it was some time before.
    pub(super) before: Option<(Duration, &'s Usage)>,
    /// For how long the project is up.
    pub(super) up: Option<Duration>,
}

const COLUMNS: [Column; 9] = [
    Column { head: "NAME", right: false, dispensable: 0 },
    Column { head: "STATE", right: false, dispensable: 0 },
    Column { head: "PID", right: true, dispensable: 3 },
    Column { head: "SINCE", right: true, dispensable: 1 },
    Column { head: "RESTARTS", right: true, dispensable: 5 },
    Column { head: "EXIT", right: false, dispensable: 4 },
    Column { head: "CPU", right: true, dispensable: 6 },
    Column { head: "MEMORY", right: true, dispensable: 2 },
    Column { head: "", right: false, dispensable: 0 },
];

/// Stands where there is nothing to tell.
const NOTHING: &str = "–";

/// The head line, and the table.
pub(super) fn lines(sight: &Sight<'_>, canvas: Canvas, now: SystemTime) -> Vec<String> {
    let mut lines = vec![line(&head(sight), canvas)];
    if sight.status.components.is_empty() {
        return lines;
    }
    let rows: Vec<Vec<Piece>> =
        sight.status.components.iter().map(|component| row(component, sight, now)).collect();
    lines.extend(table(&COLUMNS, &rows, canvas));
    lines
}

/// `shop · pid 4711 · up 3 min · 7 ready, 1 failed`.
fn head(sight: &Sight<'_>) -> Vec<Piece> {
    let status = sight.status;
    let up = sight.up.map(|up| format!(" · up {}", words::span(up))).unwrap_or_default();
    let mut pieces = vec![
        Piece::new(Paint::Head, &status.project),
        Piece::new(Paint::Dim, &format!(" · pid {}{up} · ", status.pid)),
    ];
    let counts = counts(status.components.iter().map(|component| component.state.as_str()));
    if counts.is_empty() {
        pieces.push(Piece::new(Paint::Plain, "no components"));
    }
    pieces.extend(listed(&counts));
    pieces
}

/// How many are in each state; those first that are as they should be.
pub(super) fn counts<'s>(states: impl Iterator<Item = &'s str>) -> Vec<(String, usize)> {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for state in states {
        match counts.iter_mut().find(|(other, _)| other == state) {
            Some((_, count)) => *count += 1,
            None => counts.push((state.to_owned(), 1)),
        }
    }
    counts.sort_by_key(|(state, _)| STATES.iter().position(|(word, ..)| word == state));
    counts
}

/// `7 ready, 1 failed`, each in its colour.
pub(super) fn listed(counts: &[(String, usize)]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (nth, (state, count)) in counts.iter().enumerate() {
        if nth > 0 {
            pieces.push(Piece::new(Paint::Plain, ", "));
        }
        pieces.push(Piece::new(look(state).1, &format!("{count} {state}")));
    }
    pieces
}

/// The states, their marks and their colours.
const STATES: [(&str, &str, Paint); 12] = [
    ("ready", "●", Paint::Good),
    ("completed", "✓", Paint::Good),
    ("waiting", "○", Paint::Dim),
    ("building", "◔", Paint::Busy),
    ("starting", "◐", Paint::Busy),
    ("stopping", "◑", Paint::Busy),
    ("backoff", "↻", Paint::Warn),
    ("unhealthy", "!", Paint::Warn),
    ("stopped", "■", Paint::Dim),
    ("blocked", "⊘", Paint::Bad),
    ("failed", "✗", Paint::Bad),
    ("stuck", "▲", Paint::Bad),
];

/// How a state looks: its mark and its colour.
fn look(state: &str) -> (&'static str, Paint) {
    let known = STATES.iter().find(|(word, ..)| *word == state);
    known.map_or(("?", Paint::Plain), |(_, mark, paint)| (*mark, *paint))
}

fn row(component: &ComponentStatus, sight: &Sight<'_>, now: SystemTime) -> Vec<Piece> {
    let (mark, paint) = look(&component.state);
    let or_nothing = |text: Option<String>| match text {
        Some(text) => Piece::new(Paint::Plain, &text),
        None => Piece::new(Paint::Dim, NOTHING),
    };
    let since = component.since.as_deref().and_then(|since| words::ago(since, now));
    let restarts = match component.restarts {
        0 => Piece::new(Paint::Dim, "0"),
        restarts => Piece::new(Paint::Warn, &restarts.to_string()),
    };
    let [cpu, memory] = match sight.usage {
        None => [Piece::new(Paint::Plain, ""), Piece::new(Paint::Plain, "")],
        Some(usage) => {
            // What was looked up a moment ago may be of a run that is gone.
            let own = of(usage, &component.name).filter(|_| lives(component) || component.state == "stuck");
            [own.and_then(|own| cpu(own, sight)), own.map(|own| words::memory(own.memory))].map(or_nothing)
        }
    };
    vec![
        Piece::new(Paint::Plain, &component.name),
        Piece::new(paint, &format!("{mark} {}", component.state)),
        or_nothing(component.pid.map(|pid| pid.to_string())),
        or_nothing(since.map(words::span)),
        restarts,
        exit(component.exit.as_ref()),
        cpu,
        memory,
        Piece::new(if paint == Paint::Bad { Paint::Bad } else { Paint::Dim }, &note(component)),
    ]
}

fn of<'u>(usage: &'u Usage, name: &str) -> Option<&'u ComponentUsage> {
    usage.components.iter().find(|usage| usage.name == name)
}

/// The processor time so far; or where it is known what it was, the share of one processor since then.
fn cpu(own: &ComponentUsage, sight: &Sight<'_>) -> Option<String> {
    let Some((span, before)) = sight.before else { return Some(words::worked(own.cpu_ms)) };
    let before = of(before, &own.name)?.cpu_ms;
    // Of processes that have ended nothing is known any more: what is left may be less than there was.
    let worked = u128::from(own.cpu_ms.saturating_sub(before));
    let tenths = worked * 1000 / span.as_millis().max(1);
    Some(format!("{}.{} %", tenths / 10, tenths % 10))
}

fn exit(exit: Option<&Exited>) -> Piece {
    match exit {
        None => Piece::new(Paint::Dim, NOTHING),
        Some(Exited::Code(0)) => Piece::new(Paint::Dim, "0"),
        Some(Exited::Code(code)) => Piece::new(Paint::Warn, &code.to_string()),
        Some(Exited::Signal(signal)) => Piece::new(Paint::Warn, signal),
        Some(Exited::Panic(_)) => Piece::new(Paint::Warn, "panic"),
    }
}

fn lives(component: &ComponentStatus) -> bool {
    matches!(component.state.as_str(), "ready" | "unhealthy" | "starting" | "stopping")
}

/// What it says of itself, or why it is not ready, and where it listens.
fn note(component: &ComponentStatus) -> String {
    let lives = lives(component);
    let wanted = |text: &Option<String>, when: bool| {
        text.clone().filter(|text| when && !text.trim().is_empty()).map(|text| text.trim().to_owned())
    };
    // How it ended stands in a column of its own.
    let tells = !matches!(component.state.as_str(), "ready" | "completed");
    let reason = wanted(&component.reason, tells).filter(|reason| *reason != component.state);
    let status = wanted(&component.status, lives);
    let sockets = component.sockets.iter().flatten().filter(|_| lives);
    let sockets = sockets.filter_map(|(name, address)| Some(format!("{name} {}", address.as_ref()?)));
    let sockets: Vec<String> = sockets.collect();
    let sockets = Some(sockets.join(", ")).filter(|sockets| !sockets.is_empty());
    let parts: Vec<String> = [status, reason, sockets].into_iter().flatten().collect();
    parts.join(" · ")
}

#[cfg(test)]
mod tests;
