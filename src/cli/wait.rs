//! `orch wait`.

use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::complete;
use super::exit::Exit;
use super::progress::{Interrupted, awaited, awaited_of, is_moving, left_alone};
use super::target::{TargetArgs, unanswered};
use super::{complain, name, words};
use crate::api::{Status, WaitReply, WaitRequest};
use crate::client::{Client, ClientError};
use crate::config::render::harmless;
use crate::types::Name;
use crate::types::State;

pub(super) const AFTER: &str = "\
Examples:
  orch wait                           all that runs is ready or completed
  orch wait api --timeout 30s         the same of api alone, for half a minute at most
  orch wait migrate --for completed   before a test, say

Exit codes:
  0  they are in that state
  1  one of them can't get there any more; why is told on stderr
  2  there is no such component
  3  no orch runs the project
  4  the time limit has passed";

#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// Which components; without a name, all that are not stopped
    #[arg(value_name = "NAME", value_parser = name, add = complete::components())]
    names: Vec<Name>,
    /// The state that is waited for [default: ready or completed]
    #[arg(long = "for", value_name = "STATE", hide_possible_values = true)]
    #[arg(value_parser = PossibleValuesParser::new(State::ALL.map(State::word)))]
    state: Option<String>,
    /// How long to wait at most, such as 500ms, 30s or 2m [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = crate::config::duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    target: TargetArgs,
}

pub(super) fn wait(args: &WaitArgs) -> Exit {
    let client = match args.target.find() {
        Ok(target) => target.client(),
        Err(exit) => return exit,
    };
    let names: Vec<String> = args.names.iter().map(|name| name.as_str().to_owned()).collect();
    let request = WaitRequest { names: names.clone(), state: args.state.clone() };
    let until = args.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let asking = {
        let client = client.clone();
        move || waited(&client, &request, until)
    };
    match awaited(&client, |status| awaited_of(status, &names, SystemTime::now()), asking) {
        Ok(Ok(reply)) => report(&reply, args.state.as_deref()),
        Ok(Err(ClientError::TimedOut)) => late(&client, &names, args),
        Ok(Err(error)) => unanswered(&error),
        Err(Interrupted) => {
            left_alone("as before");
            Exit::Failed
        }
    }
}

/// Waits, and waits on where another image of orch takes over.
fn waited(client: &Client, request: &WaitRequest, until: Option<Instant>) -> Result<WaitReply, ClientError> {
    let mut asked = false;
    loop {
        let client = match until {
            Some(until) => client.within(until.saturating_duration_since(Instant::now())),
            None => client.clone(),
        };
        match client.post("/v1/wait", request) {
            Err(ClientError::Ended) => asked = true,
            // It has ended while it was waited for.
            Err(ClientError::NotRunning) if asked => return Err(ClientError::Ended),
            answer => return answer,
        }
    }
}

fn report(reply: &WaitReply, wanted: Option<&str>) -> Exit {
    if reply.met {
        return Exit::Done;
    }
    let wanted = wanted.unwrap_or("ready");
    for lost in reply.components.iter().filter(|component| component.met == Some(false)) {
        let reason = Some(harmless(&lost.reason)).filter(|reason| !reason.is_empty());
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        complain(&format!("{} is {}, and will not be {wanted}{reason}", lost.component, lost.state));
    }
    Exit::Failed
}

/// The time limit has passed: says what was still awaited.
fn late(client: &Client, names: &[String], args: &WaitArgs) -> Exit {
    let limit = args.timeout.map(words::waited).unwrap_or_default();
    let status = client.within(Duration::from_secs(1)).get::<Status>("/v1/status");
    if status.as_ref().is_ok_and(|status| has_come(status, names, args.state.as_deref())) {
        return Exit::Done;
    }
    let left = status.ok().map(|mut status| {
        let due = |state: &str| match &args.state {
            Some(wanted) => state != wanted,
            None => is_moving(state) || state == "unhealthy",
        };
        let is_named = |name: &String| names.is_empty() || names.contains(name);
        status.components.retain(|component| is_named(&component.name) && due(&component.state));
        let left: Vec<String> = status.components.iter().map(|component| component.name.clone()).collect();
        awaited_of(&status, &left, SystemTime::now())
    });
    let left = left.filter(|left| !left.is_empty()).map(|left| format!(": {left}")).unwrap_or_default();
    complain(&format!("not within {limit}{left}"));
    Exit::Late
}

/// Whether it was so all the time, and the time limit too short to be told.
fn has_come(status: &Status, names: &[String], wanted: Option<&str>) -> bool {
    let is_meant = |name: &str, state: &str| match names {
        [] => wanted.is_some() || state != "stopped",
        names => names.iter().any(|named| named == name),
    };
    let meant = || status.components.iter().filter(|one| is_meant(&one.name, &one.state));
    let is_there =
        |state: &str| wanted.map_or(matches!(state, "ready" | "completed"), |wanted| state == wanted);
    let is_known = |name: &String| status.components.iter().any(|one| one.name == *name);
    names.iter().all(is_known) && meant().all(|one| is_there(&one.state))
}

#[cfg(test)]
mod tests {
    use super::has_come;
    use crate::cli::ps::testing::{component, status};

    #[test]
    fn what_was_there_before_the_limit_has_come() {
        let all = [component("db", "ready"), component("job", "completed"), component("off", "stopped")];
        let status = status(all.to_vec());
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(has_come(&status, &[], None));
        assert!(has_come(&status, &names(&["db", "job"]), None));
        assert!(has_come(&status, &names(&["off"]), Some("stopped")));
        assert!(!has_come(&status, &names(&["off"]), None));
        assert!(!has_come(&status, &[], Some("ready")));
        assert!(!has_come(&status, &names(&["none"]), None));
    }
}
