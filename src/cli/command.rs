//! `orch start`, `orch stop`, `orch restart`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::complete;
use super::exit::Exit;
use super::progress::{Interrupted, awaited, awaited_of, is_moving, left_alone};
use super::target::{TargetArgs, unanswered};
use super::{complain, name, print, words};
use crate::api::{ComponentStatus, Did, Done, Names, NotDone, Status, WaitReply, WaitRequest, Waited};
use crate::client::{Client, ClientError};
use crate::config::render::harmless;
use crate::types::Name;

/// Moments that were written down are compared with moments of this process with so much tolerance.
const ROUNDED: Duration = Duration::from_millis(10);

pub(super) const AFTER_START: &str = "\
Examples:
  orch start api          api, and what it depends on, unless that runs or has completed
  orch start api worker   both; returns when both are ready or completed

What is ready stays as it is; what has completed runs again. Ends with 1 if one does not get ready.
Ctrl-C ends the waiting, not the start.";

pub(super) const AFTER_STOP: &str = "\
Examples:
  orch stop db            what depends on db is stopped first, then db
  orch stop api worker    both; returns when nothing of them runs any more

What is stopped by command stays so, whatever is saved, until `orch start`.
Ctrl-C ends the waiting, not the stop.";

pub(super) const AFTER_RESTART: &str = "\
Examples:
  orch restart api        api alone, and what has `restart: true` on it; its state is carried over

Returns when the new run is ready or completed; with 1 if it does not get there.
Ctrl-C ends the waiting, not the restart.";

#[derive(Debug, Args)]
pub(super) struct NamesArgs {
    /// Which components
    #[arg(required = true, value_name = "NAME", value_parser = name, add = complete::components())]
    names: Vec<Name>,
    #[command(flatten)]
    target: TargetArgs,
}

/// What is commanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Start,
    Stop,
    Restart,
}

impl Verb {
    fn path(self) -> &'static str {
        match self {
            Self::Start => "/v1/start",
            Self::Stop => "/v1/stop",
            Self::Restart => "/v1/restart",
        }
    }

    /// What is not so, when it has failed.
    fn goal(self) -> &'static str {
        match self {
            Self::Start | Self::Restart => "did not get ready",
            Self::Stop => "did not stop",
        }
    }
}

pub(super) fn command(verb: Verb, args: &NamesArgs) -> Exit {
    let client = match args.target.find() {
        Ok(target) => target.client(),
        Err(exit) => return exit,
    };
    let mut names: Vec<String> = Vec::new();
    for name in &args.names {
        if !names.iter().any(|known| known == name.as_str()) {
            names.push(name.as_str().to_owned());
        }
    }
    let asked = (client.clone(), names.clone());
    let asking = move || commanded(&asked.0, verb, &asked.1);
    match awaited(&client, |status| awaited_of(status, &names, SystemTime::now()), asking) {
        Ok(Ok(done)) => report(verb, &done),
        Ok(Err(error)) => unanswered(&error),
        Err(Interrupted) => {
            left_alone("with it");
            Exit::Failed
        }
    }
}

/// Commands. Where another image of orch takes over before it has answered, what is still due is commanded again,
/// and the rest waited for.
fn commanded(client: &Client, verb: Verb, names: &[String]) -> Result<Done, ClientError> {
    let before = if verb == Verb::Restart { components(client)? } else { BTreeMap::new() };
    let began = SystemTime::now();
    let (mut heard, mut due) = (false, names.to_vec());
    loop {
        match client.post(verb.path(), &Names { names: due.clone() }) {
            Err(ClientError::Ended) => heard = true,
            Ok(done) if heard && verb == Verb::Stop => {
                return Ok(in_all(done, components(client)?.into_values(), began));
            }
            answer if due.len() == names.len() => return answer,
            Err(error) => return Err(error),
            Ok(_) => return arrived(client, verb, names),
        }
        let now = components(client).map_err(|error| match error {
            ClientError::NotRunning => ClientError::Ended,
            error => error,
        })?;
        due.retain(|name| is_due(verb, before.get(name), now.get(name)));
        match verb {
            // They were removed from the file meanwhile.
            Verb::Stop if due.is_empty() => return Ok(Done { did: Vec::new(), failed: Vec::new() }),
            _ if due.is_empty() => return arrived(client, verb, names),
            _ => {}
        }
    }
}

/// Whether a command seems not to have been heard: nothing has happened, and nothing is about to.
fn is_due(verb: Verb, before: Option<&ComponentStatus>, now: Option<&ComponentStatus>) -> bool {
    let Some(now) = now else { return false };
    match verb {
        Verb::Stop => true,
        Verb::Start => matches!(now.state.as_str(), "stopped" | "failed" | "blocked"),
        Verb::Restart => {
            !is_moving(&now.state) && before.is_some_and(|before| before.incarnation == now.incarnation)
        }
    }
}

fn components(client: &Client) -> Result<BTreeMap<String, ComponentStatus>, ClientError> {
    let status: Status = client.get("/v1/status")?;
    Ok(status.components.into_iter().map(|component| (component.name.clone(), component)).collect())
}

/// Waits for what another image of orch was commanded.
fn arrived(client: &Client, verb: Verb, names: &[String]) -> Result<Done, ClientError> {
    let reply: WaitReply = client.post("/v1/wait", &WaitRequest { names: names.to_vec(), state: None })?;
    let (mut did, mut failed) = (Vec::new(), Vec::new());
    for Waited { component, state, reason, met } in reply.components {
        if met == Some(true) {
            let action = if verb == Verb::Start { "start" } else { "restart" }.to_owned();
            did.push(Did { component, action, state, reason });
        } else {
            failed.push(NotDone { component, reason });
        }
    }
    Ok(Done { did, failed })
}

/// What a stop has done that was commanded twice, from when it `began`: what this image found stopped, the one before it has
/// stopped, and also what it took along.
fn in_all(mut done: Done, now: impl Iterator<Item = ComponentStatus>, began: SystemTime) -> Done {
    let since = |component: &ComponentStatus| {
        let since = component.since.as_deref().and_then(words::moment);
        since.is_some_and(|since| since + ROUNDED >= began)
    };
    for component in now.filter(|component| component.state == "stopped" && since(component)) {
        let (action, state) = ("stop".to_owned(), component.state);
        match done.did.iter_mut().find(|did| did.component == component.name) {
            Some(did) => did.action = action,
            None => {
                let reason = component.reason.unwrap_or_default();
                done.did.push(Did { component: component.name, action, state, reason });
            }
        }
    }
    done
}

fn report(verb: Verb, done: &Done) -> Exit {
    let failed = |did: &&Did| done.failed.iter().any(|failed| failed.component == did.component);
    let lines: Vec<String> = done.did.iter().filter(|did| !failed(did)).map(told).collect();
    let printed = print(&lines.concat());
    for NotDone { component, reason } in &done.failed {
        complain(&format!("{component} {}: {}", verb.goal(), harmless(reason)));
    }
    if done.failed.is_empty() { printed } else { Exit::Failed }
}

/// `db: started, ready`.
fn told(did: &Did) -> String {
    let Did { component, action, state, reason } = did;
    let act = match action.as_str() {
        "start" => "started",
        "stop" => "stopped",
        "restart" => "restarted",
        // It was as wanted.
        _ => return format!("{component}: {state} already\n"),
    };
    let state = match state.as_str() {
        "stopped" if act == "stopped" => String::new(),
        "ready" | "completed" | "stopped" => format!(", {state}"),
        state if reason.is_empty() => format!(", {state}"),
        state => format!(", {state}: {}", harmless(reason)),
    };
    format!("{component}: {act}{state}\n")
}

#[cfg(test)]
mod tests {
    use super::told;
    use crate::api::Did;

    #[test]
    fn what_was_done_is_told_in_a_line() {
        let cases = [
            ("start", "ready", "", "db: started, ready\n"),
            ("start", "completed", "exit code 0", "db: started, completed\n"),
            ("start", "starting", "probe re\u{1b}fused", "db: started, starting: probe re\u{fffd}fused\n"),
            ("stop", "stopped", "by request", "db: stopped\n"),
            ("restart", "ready", "", "db: restarted, ready\n"),
            ("none", "ready", "", "db: ready already\n"),
        ];
        for (action, state, reason, text) in cases {
            let did = Did {
                component: "db".into(),
                action: action.into(),
                state: state.into(),
                reason: reason.into(),
            };
            assert_eq!(told(&did), text);
        }
    }
}
