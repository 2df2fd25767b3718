//! What was recorded: a line of `events.ndjson`, read again (contract, section 6, "events").
//!
//! Whoever wrote it may have been an older orch, or a newer one, or no orch. So what is not understood is not
//! refused: an unknown event is one without details, and a missing detail is none.

use serde_json::{Map, Value};

use super::{State, TaskKind};

/// Numbers above are not orch's: it would take ages to get there.
pub const HIGHEST: u64 = 1 << 53;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number; goes on over runs of orch.
    pub seq: u64,
    /// When, by the wall clock: RFC 3339, in UTC.
    pub time: String,
    /// When, by CLOCK_MONOTONIC, in nanoseconds. Says nothing about what another boot recorded.
    pub mono_ns: u64,
    /// Whose.
    pub component: Option<String>,
    /// In which run.
    pub incarnation: Option<u64>,
    /// The number of the event that led to it; `None` at a root.
    pub cause: Option<u64>,
    /// What.
    pub kind: Kind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The project began.
    ProjectUp {
        /// Which boot it was: `mono_ns` compares within one.
        boot_id: String,
    },
    /// The project ended.
    ProjectDown {
        /// With this exit code.
        code: Option<i64>,
    },
    /// An edit was applied.
    ConfigReloaded {
        /// What it did to whom.
        steps: Vec<Step>,
    },
    /// An edit was not valid.
    ConfigRejected {
        /// How many mistakes there were.
        errors: u64,
        /// The first one, with its place.
        first: Option<String>,
    },
    /// A component went into a state.
    State {
        /// Which.
        state: State,
        /// Why, as a fragment of a sentence.
        reason: String,
    },
    /// A leader ran.
    Spawned {
        /// Its process id; `None` for a thread.
        pid: Option<u64>,
    },
    /// A leader ended.
    Exited {
        /// How: "exit code 3", "SIGKILL", "panic: …".
        how: String,
    },
    /// A unit was asked to stop.
    StopRequested {
        /// Why, as a fragment of a sentence.
        reason: String,
    },
    /// A unit was force-killed.
    ForceKilled {
        /// So many processes.
        processes: usize,
    },
    /// A command of a component ran.
    TaskStarted {
        /// What it was for.
        kind: TaskKind,
    },
    /// It ended with 0.
    TaskSucceeded {
        /// What it was for.
        kind: TaskKind,
        /// So many milliseconds it ran.
        ms: Option<u64>,
    },
    /// It ended otherwise.
    TaskFailed {
        /// What it was for.
        kind: TaskKind,
        /// So many milliseconds it ran.
        ms: Option<u64>,
        /// How, as a fragment of a sentence.
        reason: String,
        /// The place that its output names as the first that is at fault.
        place: Option<String>,
        /// The last lines of its output.
        tail: Vec<String>,
    },
    /// It was ended, or lost, and says nothing.
    TaskEnded {
        /// What it was for.
        kind: TaskKind,
        /// So many milliseconds it ran.
        ms: Option<u64>,
        /// Why, as a fragment of a sentence.
        reason: String,
    },
    /// Watched files changed.
    Changed {
        /// Which.
        paths: Vec<String>,
    },
    /// A generation of the state was made.
    Sealed {
        /// Its number.
        generation: Option<u64>,
        /// restart, snapshot or backup.
        source: String,
    },
    /// A generation was put in place.
    Restored {
        /// Its number.
        generation: Option<u64>,
        /// restart, snapshot or backup.
        source: String,
    },
    /// A generation, or a state file, was set aside.
    Rejected {
        /// Why.
        reason: String,
    },
    /// orch has replaced its own image, or could not.
    Reexec {
        /// Why it could not.
        error: Option<String>,
    },
    /// Somebody commanded.
    Command {
        /// What.
        name: String,
        /// For whom.
        args: Vec<String>,
    },
    /// Something that this orch does not know.
    Other {
        /// Its name.
        event: String,
    },
}

/// What an edit did to one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// To which one.
    pub component: String,
    /// start, stop, restart or update.
    pub action: String,
    /// The keys that changed.
    pub changed: Vec<String>,
    /// Why, as a fragment of a sentence.
    pub reason: String,
}

/// The number of a line that is an event; the rest of it is not kept.
#[must_use]
pub fn seq(line: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize, Debug)]
    struct Numbered {
        seq: u64,
    }
    // A list would be read as the fields in their order.
    let text = std::str::from_utf8(line).ok().filter(|text| text.starts_with('{'))?;
    let numbered: Numbered = serde_json::from_str(text).ok()?;
    Some(numbered.seq).filter(|seq| *seq < HIGHEST)
}

impl Event {
    /// The event that a line is, if it is one: an object with a number and a name.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let Value::Object(line) = serde_json::from_slice(line).ok()? else { return None };
        let seq = line.get("seq")?.as_u64().filter(|seq| *seq < HIGHEST)?;
        Some(Self {
            seq,
            time: text(&line, "time"),
            mono_ns: number(&line, "mono_ns").unwrap_or(0),
            component: line.get("component").and_then(Value::as_str).map(str::to_owned),
            incarnation: number(&line, "incarnation"),
            cause: number(&line, "cause"),
            kind: kind(line.get("event")?.as_str()?, &line),
        })
    }

    /// The state that a component went into with it.
    #[must_use]
    pub fn state(&self) -> Option<State> {
        match self.kind {
            Kind::State { state, .. } => Some(state),
            _ => None,
        }
    }
}

fn kind(event: &str, line: &Map<String, Value>) -> Kind {
    match event {
        "project.up" => Kind::ProjectUp { boot_id: text(line, "boot_id") },
        "project.down" => Kind::ProjectDown { code: line.get("code").and_then(Value::as_i64) },
        "config.reloaded" => Kind::ConfigReloaded { steps: list(line, "steps").filter_map(step).collect() },
        "config.rejected" => rejected(line),
        "component.spawned" => Kind::Spawned { pid: number(line, "pid") },
        "component.exited" => Kind::Exited { how: how(line) },
        "component.stop_requested" => Kind::StopRequested { reason: text(line, "reason") },
        "component.force_killed" => Kind::ForceKilled { processes: list(line, "pids").count() },
        "component.changed" => Kind::Changed { paths: texts(line, "paths") },
        "state.sealed" => {
            Kind::Sealed { generation: number(line, "generation"), source: text(line, "source") }
        }
        "state.restored" => {
            Kind::Restored { generation: number(line, "generation"), source: text(line, "source") }
        }
        "state.rejected" => Kind::Rejected { reason: text(line, "reason") },
        "orch.reexec" => Kind::Reexec { error: line.get("error").and_then(Value::as_str).map(str::to_owned) },
        "command" => Kind::Command { name: text(line, "name"), args: texts(line, "args") },
        other => match other.strip_prefix("component.").and_then(State::of_word) {
            Some(state) => Kind::State { state, reason: text(line, "reason") },
            None => task(other, line).unwrap_or_else(|| Kind::Other { event: other.to_owned() }),
        },
    }
}

/// `build.started` and its like.
fn task(event: &str, line: &Map<String, Value>) -> Option<Kind> {
    let (kind, end) = event.split_once('.')?;
    let kind = TaskKind::of_word(kind)?;
    match end {
        "started" => Some(Kind::TaskStarted { kind }),
        "succeeded" => Some(Kind::TaskSucceeded { kind, ms: number(line, "ms") }),
        "ended" => Some(Kind::TaskEnded { kind, ms: number(line, "ms"), reason: text(line, "reason") }),
        "failed" => Some(Kind::TaskFailed {
            kind,
            ms: number(line, "ms"),
            reason: text(line, "reason"),
            place: line.get("place").and_then(Value::as_str).map(str::to_owned),
            tail: texts(line, "tail"),
        }),
        _ => None,
    }
}

fn rejected(line: &Map<String, Value>) -> Kind {
    let listed = list(line, "errors").count() as u64;
    let first = list(line, "errors").next().and_then(Value::as_object).map(|error| {
        let place = match (number(error, "line"), number(error, "column")) {
            (Some(line), Some(column)) => format!("line {line}, column {column}: "),
            _ => String::new(),
        };
        format!("{place}{}", text(error, "message"))
    });
    Kind::ConfigRejected { errors: number(line, "count").unwrap_or(listed), first }
}

fn step(step: &Value) -> Option<Step> {
    let step = step.as_object()?;
    Some(Step {
        component: text(step, "component"),
        action: text(step, "action"),
        changed: texts(step, "changed"),
        reason: text(step, "reason"),
    })
}

fn how(line: &Map<String, Value>) -> String {
    if let Some(code) = line.get("code").and_then(Value::as_i64) {
        format!("exit code {code}")
    } else if let Some(signal) = line.get("signal").and_then(Value::as_str) {
        signal.to_owned()
    } else if let Some(panic) = line.get("panic").and_then(Value::as_str) {
        format!("panic: {panic}")
    } else {
        String::new()
    }
}

fn text(line: &Map<String, Value>, key: &str) -> String {
    line.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn number(line: &Map<String, Value>, key: &str) -> Option<u64> {
    line.get(key).and_then(Value::as_u64)
}

fn list<'a>(line: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a Value> {
    line.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn texts(line: &Map<String, Value>, key: &str) -> Vec<String> {
    list(line, key).filter_map(Value::as_str).map(str::to_owned).collect()
}
