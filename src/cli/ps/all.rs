//! All the running projects of the user.

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::super::paint::{Canvas, Paint, Piece, line};
use super::super::table::{Column, table};
use super::super::words;
use super::render::{counts, listed};
use super::watch::Frame;
use crate::api::{Status, Version};
use crate::client::{Client, ClientError};
use crate::runtime::registry::{Entry, Registry};

/// One that takes longer to answer is shown as such.
const LOOK: Duration = Duration::from_secs(1);

const COLUMNS: [Column; 5] = [
    Column { head: "PROJECT", right: false, dispensable: 0 },
    Column { head: "PID", right: true, dispensable: 2 },
    Column { head: "UP", right: true, dispensable: 1 },
    Column { head: "COMPONENTS", right: false, dispensable: 0 },
    Column { head: "FOLDER", right: false, dispensable: 0 },
];

/// A project that runs.
pub(super) struct Running {
    entry: Entry,
    /// What it says of itself; nothing, if it does not answer now.
    status: Option<Status>,
}

/// Asks every project that is noted. What is no more is forgotten.
pub(super) fn look(registry: &Registry) -> Vec<Running> {
    let mut running = Vec::new();
    for mut entry in registry.entries() {
        let client = Client::new(&entry.state_dir).within(LOOK);
        match client.get::<Version>("/v1/version") {
            Ok(version) => entry.pid = version.pid,
            // Nobody listens there: that orch was killed.
            Err(ClientError::NotRunning) => {
                registry.forget(&entry);
                continue;
            }
            Err(_) => {}
        }
        let status = client.get("/v1/status").ok();
        running.push(Running { entry, status });
    }
    running.sort_by(|one, other| (one.name(), &one.entry.file).cmp(&(other.name(), &other.entry.file)));
    running
}

impl Running {
    fn name(&self) -> &str {
        self.status.as_ref().map_or("?", |status| &status.project)
    }

    fn folder(&self) -> &Path {
        self.entry.file.parent().unwrap_or(&self.entry.state_dir)
    }

    fn counts(&self) -> Option<Vec<(String, usize)>> {
        let components = &self.status.as_ref()?.components;
        Some(counts(components.iter().map(|component| component.state.as_str())))
    }

    fn row(&self, now: SystemTime) -> Vec<Piece> {
        let up = words::ago(&self.entry.since, now).map(words::span).unwrap_or_default();
        let components = match self.counts() {
            None => Piece::new(Paint::Warn, "does not answer"),
            Some(counts) if counts.is_empty() => Piece::new(Paint::Dim, "none"),
            Some(counts) => {
                let plain = line(&listed(&counts), Canvas { width: None, color: false });
                let bad =
                    counts.iter().any(|(state, _)| matches!(state.as_str(), "failed" | "blocked" | "stuck"));
                Piece::new(if bad { Paint::Bad } else { Paint::Good }, &plain)
            }
        };
        vec![
            Piece::new(Paint::Plain, self.name()),
            Piece::new(Paint::Plain, &self.entry.pid.to_string()),
            Piece::new(Paint::Plain, &up),
            components,
            Piece::new(Paint::Dim, &self.folder().to_string_lossy()),
        ]
    }
}

/// For people.
pub(super) fn frame(running: &[Running], canvas: Canvas) -> Frame {
    if running.is_empty() {
        return Frame { lines: vec!["no project runs".to_owned()], head: 1, key: String::new() };
    }
    let now = SystemTime::now();
    let rows: Vec<Vec<Piece>> = running.iter().map(|running| running.row(now)).collect();
    let key = running
        .iter()
        .map(|running| format!("{} {:?} {:?}\n", running.entry.pid, running.entry, running.counts()));
    Frame { lines: table(&COLUMNS, &rows, canvas), head: 1, key: key.collect() }
}

/// For programs: `{"projects": [{"project", "pid", "file", "state_dir", "since", "components": {STATE: COUNT}}]}`.
pub(super) fn json(running: &[Running]) -> Value {
    let one = |running: &Running| {
        let counts = running.counts().map(|counts| {
            counts
                .into_iter()
                .map(|(state, count)| (state, Value::from(count)))
                .collect::<serde_json::Map<_, _>>()
        });
        json!({
            "project": running.status.as_ref().map(|status| &status.project),
            "pid": running.entry.pid,
            "file": running.entry.file,
            "state_dir": running.entry.state_dir,
            "since": running.entry.since,
            "components": counts,
        })
    };
    json!({"projects": running.iter().map(one).collect::<Vec<Value>>()})
}

#[cfg(test)]
mod tests {
    use super::super::testing::{component, status};
    use super::{Canvas, Entry, Running, frame, json};

    fn running(file: &str, up: bool) -> Running {
        let since = "2026-01-01T00:00:00Z".to_owned();
        let entry = Entry { state_dir: "/s/.orch".into(), file: file.into(), pid: 7, since };
        let status = status(vec![component("a", "ready"), component("b", "ready"), component("c", "failed")]);
        Running { entry, status: up.then_some(status) }
    }

    #[test]
    fn each_project_has_a_line_and_one_that_is_silent_too() {
        let canvas = Canvas { width: None, color: false };
        assert_eq!(frame(&[], canvas).lines, ["no project runs"]);
        let both = [running("/work/a/devmode.yaml", true), running("/work/b\u{1b}[2J/devmode.yaml", false)];
        let lines = frame(&both, canvas).lines;
        assert_eq!(lines.len(), 3);
        assert!(lines[1].contains("shop") && lines[1].ends_with("2 ready, 1 failed  /work/a"), "{lines:?}");
        assert!(lines[2].contains("does not answer") && !lines[2].contains('\u{1b}'), "{lines:?}");
        let told = json(&both);
        assert_eq!(told["projects"][0]["components"], serde_json::json!({"ready": 2, "failed": 1}));
        assert!(told["projects"][1]["project"].is_null());
    }
}
