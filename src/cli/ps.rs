//! `orch ps`.

mod all;
mod render;
#[cfg(test)]
pub(super) mod testing;
mod watch;

use std::time::{Instant, SystemTime};

use clap::Args;

use super::exit::Exit;
use super::progress::explain;
use super::target::{Target, TargetArgs, unanswered};
use super::terminal::canvas;
use super::{pretty, print};
use crate::api::{Status, Usage};
use crate::client::{Client, ClientError};
use crate::runtime::registry::Registry;
use render::Sight;
use watch::Frame;

pub(super) const AFTER: &str = "\
Examples:
  orch ps           what runs here, and how it is
  orch ps --watch   the same, renewed in place; Ctrl-C ends it
  orch ps --all     all your running projects, wherever they are
  orch ps --json    for programs

States:
  ○ waiting     for a dependency
  ◔ building    nothing runs yet
  ◐ starting    it runs, and is not ready yet
  ● ready
  ! unhealthy   its health probe fails
  ◑ stopping
  ■ stopped     by request
  ✓ completed   it ended by itself, with success
  ↻ backoff     it ended, and will be restarted
  ✗ failed      it ended, and will not be restarted
  ⊘ blocked     a dependency has failed
  ▲ stuck       it can't be ended

CPU is the processor time of the component's processes so far; with --watch, their share of one processor.
Ends with 3 if no orch runs the project; with --all, that is no error.";

#[derive(Debug, Args)]
pub(super) struct PsArgs {
    /// Renew the table in place, until you press Ctrl-C or the project ends
    #[arg(short, long, conflicts_with = "json")]
    watch: bool,
    /// Show all your running projects
    #[arg(short, long)]
    all: bool,
    /// As one JSON object, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

pub(super) fn ps(args: &PsArgs) -> Exit {
    if args.all {
        let registry = Registry::of_user();
        return match (args.json, args.watch) {
            (true, _) => print(&pretty(&all::json(&all::look(&registry)))),
            (_, true) => watch::watch(|canvas| Ok(all::frame(&all::look(&registry), canvas)), ""),
            _ => print(&all::frame(&all::look(&registry), canvas()).text()),
        };
    }
    let target = match args.target.find() {
        Ok(target) => target,
        Err(exit) => return exit,
    };
    if args.json {
        return match target.looking().get::<serde_json::Value>("/v1/status") {
            // As it came: what a newer orch tells beyond what is known here is told, too.
            Ok(status) => print(&pretty(&status)),
            Err(error) => unanswered(&error),
        };
    }
    if args.watch { keep_looking(&target) } else { look_once(&target) }
}

fn look_once(target: &Target) -> Exit {
    let client = target.looking();
    match client.get::<Status>("/v1/status") {
        Ok(mut status) => {
            explain(&client, &mut status);
            let usage = usage(&client);
            let up = up_for(target);
            let sight = Sight { status: &status, usage: usage.as_ref(), before: None, up };
            print(&Frame::plain(render::lines(&sight, canvas(), SystemTime::now())).text())
        }
        Err(error) => unanswered(&error),
    }
}

fn keep_looking(target: &Target) -> Exit {
    let client = target.client().within(watch::LOOK);
    let mut before: Option<(Instant, Usage)> = None;
    let see = |canvas| -> Result<Frame, ClientError> {
        let mut status: Status = client.get("/v1/status")?;
        let key = key(status.clone());
        explain(&client, &mut status);
        let now = Instant::now();
        let usage = usage(&client);
        let earlier = before.as_ref().map(|(then, usage)| (now.duration_since(*then), usage));
        let sight = Sight { status: &status, usage: usage.as_ref(), before: earlier, up: up_for(target) };
        let lines = render::lines(&sight, canvas, SystemTime::now());
        before = usage.map(|usage| (now, usage));
        Ok(Frame { lines, head: 2, key })
    };
    watch::watch(see, "the project")
}

/// What is different when something has happened: with each run and state, all but the times, which are told from
/// this moment's clock.
fn key(mut status: Status) -> String {
    status.components.iter_mut().for_each(|component| component.since = None);
    serde_json::to_string(&status).unwrap_or_default()
}

/// What the components take; nothing, where that can't be told.
fn usage(client: &Client) -> Option<Usage> {
    client.get("/v1/usage").ok()
}

/// For how long the project is up, by the registry.
fn up_for(target: &Target) -> Option<std::time::Duration> {
    let entry = Registry::of_user().entry(&target.state_dir)?;
    super::words::ago(&entry.since, SystemTime::now())
}
