//! One event as a line for people.

use std::time::Duration;

use super::chain::few;
use super::words::{Words, counted, duration};
use crate::types::TaskKind;
use crate::types::recorded::{Event, Kind};

/// What happened, in short: not whose it was, nor when. Not made harmless yet.
#[must_use]
pub fn line(event: &Event, words: &Words<'_>) -> String {
    let because = |what: &str, reason: &str| match reason {
        "" => what.to_owned(),
        reason if reason.starts_with(what) => reason.to_owned(),
        reason => format!("{what}: {reason}"),
    };
    match &event.kind {
        Kind::ProjectUp { .. } => "orch up".to_owned(),
        Kind::ProjectDown { code: Some(code) } => format!("orch ended with exit code {code}"),
        Kind::ProjectDown { code: None } => "orch ended".to_owned(),
        Kind::ConfigReloaded { steps } if steps.is_empty() => {
            "the file was saved, and nothing changes".to_owned()
        }
        Kind::ConfigReloaded { steps } => {
            let steps: Vec<String> =
                steps.iter().map(|step| format!("{} {}", step.action, step.component)).collect();
            format!("the file was edited: {}", few(&steps))
        }
        Kind::ConfigRejected { errors, first } => {
            let first = first.as_ref().map(|first| format!("; {first}")).unwrap_or_default();
            format!("the edit is not valid: {}{first}", counted(*errors, "error", "errors"))
        }
        Kind::State { state, reason } => because(state.word(), reason),
        Kind::Spawned { pid: Some(pid) } => format!("runs as pid {pid}"),
        Kind::Spawned { pid: None } => "runs as a thread".to_owned(),
        Kind::Exited { how } => because("ended", how),
        Kind::StopRequested { reason } => because("asked to stop", reason),
        Kind::ForceKilled { processes } => {
            format!("force-killed {}", counted(*processes as u64, "process", "processes"))
        }
        Kind::TaskStarted { kind } => format!("{} runs", kind.called()),
        Kind::TaskSucceeded { kind, ms } => format!("{} succeeded{}", kind.called(), after(*ms)),
        Kind::TaskFailed { kind, ms, reason, place, .. } => {
            format!("{} failed{}: {reason}{}", kind.called(), after(*ms), at(place.as_deref()))
        }
        Kind::TaskEnded { kind, ms, reason } => {
            because(&format!("{} was ended{}", kind.called(), after(*ms)), reason)
        }
        Kind::Changed { paths } => format!("{} changed", words.paths(paths)),
        Kind::Sealed { generation, source } => format!("state saved ({})", copy(source, *generation)),
        Kind::Restored { generation, source } => format!("state restored ({})", copy(source, *generation)),
        Kind::Rejected { reason } => because("state set aside", reason),
        Kind::Reexec { error: None } => "orch became another image of itself".to_owned(),
        Kind::Reexec { error: Some(error) } => because("orch stays the image that it was", error),
        Kind::Command { name, args } if args.is_empty() => format!("command: {name}"),
        Kind::Command { name, args } => format!("command: {name} {}", few(args)),
        Kind::Other { event } => event.clone(),
    }
}

fn copy(source: &str, generation: Option<u64>) -> String {
    match generation {
        Some(generation) => format!("{source}, generation {generation}"),
        None => source.to_owned(),
    }
}

/// How long a task ran.
pub(super) fn after(ms: Option<u64>) -> String {
    ms.map(|ms| format!(" after {}", duration(Duration::from_millis(ms)))).unwrap_or_default()
}

/// The place of a failure.
pub(super) fn at(place: Option<&str>) -> String {
    place.map(|place| format!(" ({place})")).unwrap_or_default()
}

/// The event's name.
pub(super) fn name(kind: &Kind) -> &str {
    match kind {
        Kind::ProjectUp { .. } => "project.up",
        Kind::ProjectDown { .. } => "project.down",
        Kind::ConfigReloaded { .. } => "config.reloaded",
        Kind::ConfigRejected { .. } => "config.rejected",
        Kind::State { state, .. } => state.word(),
        Kind::Spawned { .. } => "component.spawned",
        Kind::Exited { .. } => "component.exited",
        Kind::StopRequested { .. } => "component.stop_requested",
        Kind::ForceKilled { .. } => "component.force_killed",
        Kind::TaskStarted { kind: TaskKind::Build } => "build.started",
        Kind::TaskStarted { kind: TaskKind::OnChange } => "run.started",
        Kind::TaskStarted { kind: TaskKind::Stop } => "stop_command.started",
        Kind::TaskSucceeded { kind: TaskKind::Build, .. } => "build.succeeded",
        Kind::TaskSucceeded { kind: TaskKind::OnChange, .. } => "run.succeeded",
        Kind::TaskSucceeded { kind: TaskKind::Stop, .. } => "stop_command.succeeded",
        Kind::TaskFailed { kind: TaskKind::Build, .. } => "build.failed",
        Kind::TaskFailed { kind: TaskKind::OnChange, .. } => "run.failed",
        Kind::TaskFailed { kind: TaskKind::Stop, .. } => "stop_command.failed",
        Kind::TaskEnded { kind: TaskKind::Build, .. } => "build.ended",
        Kind::TaskEnded { kind: TaskKind::OnChange, .. } => "run.ended",
        Kind::TaskEnded { kind: TaskKind::Stop, .. } => "stop_command.ended",
        Kind::Changed { .. } => "component.changed",
        Kind::Sealed { .. } => "state.sealed",
        Kind::Restored { .. } => "state.restored",
        Kind::Rejected { .. } => "state.rejected",
        Kind::Reexec { .. } => "orch.reexec",
        Kind::Command { .. } => "command",
        Kind::Other { event } => event,
    }
}
