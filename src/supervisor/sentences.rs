//! An explanation in sentences, for `orch why`.

use std::time::Duration;

use super::explain::{Awaited, Awaits, Course, Explanation, Probing};
use crate::types::Time;

/// Puts an explanation into sentences: the first says what the component does and what it waits for, the next
/// ones what that waits for, then come its restarts and what it says of itself. `now` is the moment that
/// "ago" and "in" are counted from.
#[must_use]
pub fn sentences(explanation: &Explanation, now: Time) -> Vec<String> {
    let mut told = Vec::new();
    describe(explanation, None, now, &mut told);
    told.extend(restarts(explanation));
    told.extend(explanation.status.as_ref().map(|text| format!("it says of itself: {text}")));
    told
}

/// One component, then what it awaits that is not told in the same sentence.
fn describe(it: &Explanation, who: Option<&str>, now: Time, told: &mut Vec<String>) {
    let is = |clause: String| match who {
        Some(name) => format!("{name} is {clause}"),
        None => clause,
    };
    let awaiting: Vec<String> = match &it.course {
        Course::Waiting => it.awaited.iter().map(|one| waiting(one, now)).collect(),
        Course::Blocked => it.awaited.iter().map(|one| blocked(one, now)).collect(),
        Course::ToEnd { why } if !it.awaited.is_empty() => {
            it.awaited.iter().map(|one| to_end(why, one, now)).collect()
        }
        _ => Vec::new(),
    };
    if awaiting.is_empty() {
        return told.push(is(clause(it, now)));
    }
    told.extend(awaiting.into_iter().map(is));
    for one in it.awaited.iter().filter(|one| !one.of.awaited.is_empty()) {
        describe(&one.of, Some(one.of.name.as_str()), now, told);
    }
}

fn waiting(one: &Awaited, now: Time) -> String {
    let (name, of) = (&one.of.name, &one.of);
    let to = match one.what {
        Awaits::Started => "to be started",
        Awaits::Ready => "to be ready",
        Awaits::Completed => "to complete",
        Awaits::Gone => "to be gone",
    };
    match &of.course {
        Course::Stopped if one.what != Awaits::Gone => {
            format!("held: waits for {name}, which a command has stopped")
        }
        Course::Waiting | Course::ToEnd { .. } if !of.awaited.is_empty() => {
            format!("waiting for {name} {to}, which waits itself")
        }
        Course::Starting(Some(probing)) if one.what == Awaits::Ready => {
            format!("waiting for {name} {to}: {}", probe(probing, now))
        }
        Course::Ready if one.what == Awaits::Completed => {
            format!("waiting for {name} {to}: it has been running for {}", span(now.since(of.since)))
        }
        // It reloads.
        Course::Ready if one.what == Awaits::Ready => format!("waiting for {name} {to}: {}", of.reason),
        _ => format!("waiting for {name} {to}: it is {}", clause(of, now)),
    }
}

fn blocked(one: &Awaited, now: Time) -> String {
    let name = &one.of.name;
    match &one.of.course {
        Course::Failed => format!("blocked: {name} has failed: {}", one.of.reason),
        Course::Blocked => format!("blocked: {name} is blocked"),
        _ => format!("blocked: {name} is {}", clause(&one.of, now)),
    }
}

fn to_end(why: &str, one: &Awaited, now: Time) -> String {
    let name = &one.of.name;
    if one.of.awaited.is_empty() {
        format!("to be stopped ({why}) when {name} is gone, which is {}", clause(&one.of, now))
    } else {
        format!("to be stopped ({why}) when {name} is gone, which waits itself")
    }
}

/// What a component does, in words that follow "it is".
fn clause(it: &Explanation, now: Time) -> String {
    let since = || span(now.since(it.since));
    let until = |at: Time| span(at.since(now));
    match &it.course {
        Course::Stopped => "stopped by command".to_owned(),
        Course::NotChosen => {
            "not started: neither chosen (profiles, autostart, --only) nor needed".to_owned()
        }
        Course::Ended => format!("stopped: {}", it.reason),
        Course::Waiting => it.reason.clone(),
        Course::Blocked => format!("blocked: {}", it.reason),
        Course::Building => format!("building: {}", it.reason),
        Course::Preparing(None) => "starting: its state and its address are being seen to".to_owned(),
        Course::Preparing(Some(what)) => format!("starting: {what}"),
        Course::Starting(None) => "starting".to_owned(),
        Course::Starting(Some(probing)) => {
            format!(
                "starting: {}; it has failed if not ready in {}",
                probe(probing, now),
                until(probing.deadline)
            )
        }
        // What has failed since is told in it.
        Course::Ready if it.reason.starts_with("ready; ") => it.reason.clone(),
        Course::Ready => format!("ready: {}", it.reason),
        Course::ToEnd { why } => format!("about to be stopped: {why}"),
        Course::Stopping { why, signal, by_command, led, kill_at } => {
            let force = match kill_at {
                Some(at) => format!("force-killed in {}", until(*at)),
                None => "not force-killed, for force_kill is off".to_owned(),
            };
            let asked = match signal {
                _ if *by_command => "its stop command".to_owned(),
                Some(signal) => signal.to_string(),
                None => "its stop token".to_owned(),
            };
            match led {
                true => format!("stopping: asked to stop {} ago ({asked}), {force}: {why}", since()),
                false => format!("stopping: {why} {} ago; the rest of it is {force}", since()),
            }
        }
        Course::Killed { until: at } => format!("stopping: {}; given up in {}", it.reason, until(*at)),
        Course::Draining { until: at } => {
            format!("stopping: it is gone; its output is read for {} at the most", until(*at))
        }
        Course::Sealing => "stopping: it is gone; its state is being sealed".to_owned(),
        Course::Settling => "about to start: it waits for its files to be quiet".to_owned(),
        Course::HeldBack => "about to start: it waits for orch to replace its own image".to_owned(),
        Course::Backoff { until: at } => backing_off(it, &until(*at)),
        Course::Completed => format!("completed: {}", it.reason),
        Course::Failed => format!("failed: {}", it.reason),
        Course::Stuck => format!("stuck since {}: {}", since(), it.reason),
    }
}

fn backing_off(it: &Explanation, wait: &str) -> String {
    let why = it.reason.split("; starting again in ").next().unwrap_or_default();
    let row = match it.restarts.row {
        1 => "a failure".to_owned(),
        row => format!("{row} failures in a row"),
    };
    format!("backing off: starts again in {wait}, after {row}; {why}")
}

/// "probe tcp 127.0.0.1:5432 refused 7 times, last 80 ms ago".
fn probe(it: &Probing, now: Time) -> String {
    let Some((error, at)) = &it.met else {
        return format!("probe {} has not answered yet", it.probe);
    };
    let met = error.strip_prefix(&it.probe).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(error);
    let met = if met == "connection refused" { " refused".to_owned() } else { format!(": {met},") };
    let ago = span(now.since(*at));
    let times = match it.row {
        1 => format!("once, {ago} ago"),
        row => format!("{row} times, last {ago} ago"),
    };
    let others = it.tries.saturating_sub(it.row);
    let before = match others {
        0 => String::new(),
        1 => " (after another failure)".to_owned(),
        others => format!(" (after {others} other failures)"),
    };
    format!("probe {}{met} {times}{before}", it.probe)
}

fn restarts(it: &Explanation) -> Option<String> {
    let restarts = it.restarts;
    let within = humantime::format_duration(restarts.within);
    let (total, recent, limit) = (restarts.total, restarts.recent, restarts.limit);
    let times = if total == 1 { "once".to_owned() } else { format!("{total} times") };
    (total > 0).then(|| {
        format!(
            "it was restarted {times} by itself since `orch up`, {recent} of at most {limit} within {within}"
        )
    })
}

/// A length of time as people say it: `80 ms`, `2.3 s`, `4 min 5 s`, `3 h 20 min`.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{seconds}.{} s", time.subsec_millis() / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, span};

    #[test]
    fn lengths_of_time_as_people_say_them() {
        let cases = [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1.0 s"),
            (59_999, "59.9 s"),
            (245_000, "4 min 5 s"),
            (12_000_000, "3 h 20 min"),
        ];
        for (millis, text) in cases {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
    }
}
