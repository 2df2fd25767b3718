//! What a command shows on a terminal while it waits for orch: what is awaited, and for how long.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use super::interrupts::{self, Interrupt};
use super::terminal::{Line, is_screen};
use super::{tell, words};
use crate::api::{ComponentStatus, Status, Why};
use crate::client::Client;
use crate::config::render::harmless;
use crate::runtime::stand_still;

/// Between two looks: four a second.
const RENEWED: Duration = Duration::from_millis(250);
/// What is done sooner needs no progress.
const PATIENCE: Duration = Duration::from_millis(150);
/// So many components are asked about.
const EXPLAINED: usize = 4;
/// A look that takes longer is given up; the next one comes.
const LOOK: Duration = Duration::from_millis(200);

/// The user wants the command to end, whatever becomes of what it waits for.
#[derive(Debug)]
pub(super) struct Interrupted;

enum Heard<T> {
    Answer(T),
    Interrupt(Interrupt),
}

/// Waits for the answer of `ask`; on a terminal it shows meanwhile what `tell_of` makes of how things are, and a
/// Ctrl-C ends the waiting alone.
pub(super) fn awaited<T: Send + 'static>(
    client: &Client,
    tell_of: impl Fn(&Status) -> String,
    ask: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Interrupted> {
    if !is_screen(&io::stderr()) {
        return Ok(ask());
    }
    let (heard, hear) = mpsc::channel();
    let interrupted = heard.clone();
    let listening = interrupts::listen(move |one| interrupted.send(Heard::Interrupt(one)).is_ok());
    let asking = std::thread::Builder::new().name("asking".into());
    // With few threads left, what matters is done first.
    if listening.is_err() {
        return Ok(ask());
    }
    let asked = asking.spawn(move || drop(heard.send(Heard::Answer(ask()))));
    if asked.is_err() {
        return Err(Interrupted);
    }
    show_until_heard(&client.within(LOOK), tell_of, &hear)
}

fn show_until_heard<T>(
    client: &Client,
    tell_of: impl Fn(&Status) -> String,
    hear: &mpsc::Receiver<Heard<T>>,
) -> Result<T, Interrupted> {
    let mut line = Line::new();
    let mut next = Instant::now() + PATIENCE;
    loop {
        match hear.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(Heard::Answer(answer)) => return Ok(answer),
            Ok(Heard::Interrupt(Interrupt::Resize)) => continue,
            Ok(Heard::Interrupt(Interrupt::Pause)) => {
                line.erase();
                stand_still();
                continue;
            }
            Ok(Heard::Interrupt(Interrupt::End)) | Err(RecvTimeoutError::Disconnected) => {
                return Err(Interrupted);
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        // No answer is none to tell of: what is shown stays.
        if let Ok(mut status) = client.get::<Status>("/v1/status") {
            explain(client, &mut status);
            line.show(&tell_of(&status));
        }
        next = Instant::now() + RENEWED;
    }
}

/// Says that orch goes on without the command.
pub(super) fn left_alone(what: &str) {
    tell(&format!("orch: not waiting any longer; orch goes on {what} (see: orch ps)\n"));
}

/// What is awaited of those named, and of whatever else is on its way: those first that are on their way.
pub(super) fn awaited_of(status: &Status, names: &[String], now: SystemTime) -> String {
    let named = |component: &&ComponentStatus| names.contains(&component.name);
    let moving = |component: &&ComponentStatus| is_moving(&component.state);
    let all = || status.components.iter();
    let mut parts: Vec<String> =
        all().filter(named).filter(moving).map(|component| under_way(component, now)).collect();
    parts.extend(all().filter(|one| !named(one)).filter(moving).map(|component| under_way(component, now)));
    let settled = all().filter(named).filter(|one| !moving(one));
    parts.extend(settled.map(|component| format!("{}: {}", component.name, component.state)));
    parts.join(" · ")
}

/// Puts what exactly is awaited, such as the last answers of a probe, in place of the reasons of what is on its way;
/// of the first few, for each is asked about by itself.
pub(super) fn explain(client: &Client, status: &mut Status) {
    let waits = |component: &&mut ComponentStatus| {
        matches!(component.state.as_str(), "waiting" | "starting" | "building" | "unhealthy")
    };
    for component in status.components.iter_mut().filter(waits).take(EXPLAINED) {
        let Ok(why) = client.get::<Why>(&format!("/v1/why/{}", component.name)) else { return };
        // It may be another one by now.
        if why.state == component.state
            && let Some(sentence) = why.sentences.first()
        {
            component.reason = Some(awaited_in(sentence, &why.state).to_owned());
        }
    }
}

/// What is awaited, of a sentence such as `starting: probe refused 7 times; it has failed if not ready in 3 s`.
fn awaited_in<'s>(sentence: &'s str, state: &str) -> &'s str {
    let rest = sentence.strip_prefix(state).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(sentence);
    rest.split_once("; ").map_or(rest, |(first, _)| first)
}

/// Whether something is still to come of a component in this state by itself.
pub(super) fn is_moving(state: &str) -> bool {
    matches!(state, "waiting" | "building" | "starting" | "stopping" | "backoff" | "stuck")
}

/// `api: starting 1.2 s (probe refused)`.
fn under_way(component: &ComponentStatus, now: SystemTime) -> String {
    let since = component.since.as_deref().and_then(|since| words::ago(since, now));
    let since = since.map(|since| format!(" {}", words::waited(since))).unwrap_or_default();
    let reason = component.reason.as_deref().filter(|reason| !reason.is_empty());
    let reason = reason.filter(|reason| *reason != component.state);
    let reason = reason.map(|reason| format!(" ({})", harmless(reason))).unwrap_or_default();
    format!("{}: {}{since}{reason}", component.name, component.state)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{awaited_in, awaited_of};
    use crate::cli::ps::testing::{component, status};

    #[test]
    fn of_a_sentence_that_is_shown_which_tells_what_is_awaited() {
        let cases = [
            ("starting: probe refused 7 times; it has failed if not ready in 3 s", "probe refused 7 times"),
            ("waiting for db to be ready: probe refused", "waiting for db to be ready: probe refused"),
            ("starting", "starting"),
        ];
        for (sentence, part) in cases {
            assert_eq!(awaited_in(sentence, "starting"), part);
        }
    }

    #[test]
    fn what_is_on_its_way_comes_first_and_what_nobody_asked_for_only_while_it_is() {
        let mut api = component("api", "starting");
        api.reason = Some("probe \u{1b}refused".into());
        api.since = Some("1970-01-01T00:00:01Z".into());
        let mut queue = component("queue", "waiting");
        queue.since = None;
        let status = status(vec![component("db", "ready"), api, queue, component("web", "ready")]);
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(2240);
        let text = awaited_of(&status, &["db".into(), "api".into()], now);
        assert_eq!(text, "api: starting 1.2 s (probe \u{fffd}refused) · queue: waiting · db: ready");
    }
}
