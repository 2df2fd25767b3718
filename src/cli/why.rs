//! `orch why`.

use std::collections::BTreeSet;

use clap::Args;

use super::exit::Exit;
use super::recorded::Record;
use super::target::{TargetArgs, unanswered};
use super::{check, complain, complete, print};
use crate::api::Why;
use crate::client::ClientError;
use crate::config::render::harmless;
use crate::history::events::Backward;
use crate::story::{Recorded, Told};
use crate::types::{Name, nearest};

pub(super) const AFTER: &str = "\
Example:
  $ orch why api
  api: ready: its probe succeeded after 120 ms
    since 14:02:11.483, in run 4
    src/api.py changed (saved 14:02:11.318) → stop 31 ms → start → ready after 120 ms

While nothing runs, it tells what was recorded last.";

#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    /// Which component
    #[arg(value_parser = super::name, add = complete::components())]
    name: Name,
    #[command(flatten)]
    target: TargetArgs,
}

pub(super) fn why(args: &WhyArgs) -> Exit {
    tell(args).unwrap_or_else(|exit| exit)
}

fn tell(args: &WhyArgs) -> Result<Exit, Exit> {
    let record = Record::find(&args.target)?;
    let name = args.name.as_str();
    let live = match record.target.looking().get::<Why>(&format!("/v1/why/{name}")) {
        Ok(live) => Some(live),
        Err(ClientError::NotRunning) => None,
        Err(error) => return Err(unanswered(&error)),
    };
    let (told, known) = gather(&record, name)?;
    if live.is_none() && told.is_none() {
        return Err(unknown(&record, name, known));
    }
    Ok(print(&record.with_words(|words| {
        let mut lines = Vec::new();
        if let Some(live) = &live {
            lines.extend(live.sentences.iter().cloned());
            lines.extend(since(live, &record));
        }
        if let Some(told) = &told {
            lines.extend(told.sentences(live.is_some(), words));
            lines.push(told.chain.arrows(words));
            lines.extend(told.start.as_ref().map(|start| format!("last start: {}", start.arrows(words))));
        }
        text(name, &lines)
    })))
}

/// What is recorded of a component, and of whom anything is, if nothing is of it.
fn gather(record: &Record, name: &str) -> Result<(Option<Told>, BTreeSet<String>), Exit> {
    let unreadable = |error: std::io::Error| record.unreadable(&error);
    let (mut recorded, mut known) = (Recorded::of(name), BTreeSet::new());
    for event in Backward::open(&record.target.state_dir).map_err(unreadable)? {
        let event = event.map_err(unreadable)?;
        if !recorded.take(&event) {
            break;
        }
        known.extend(event.component);
    }
    Ok((recorded.told(), known))
}

/// Says so if there is no component of that name, and was none.
pub(super) fn known(record: &Record, name: &str) -> Result<(), Exit> {
    if record.target.looking().get::<Why>(&format!("/v1/why/{name}")).is_ok() {
        return Ok(());
    }
    match gather(record, name)? {
        (Some(_), _) => Ok(()),
        (None, others) => Err(unknown(record, name, others)),
    }
}

fn since(live: &Why, record: &Record) -> Option<String> {
    let since = record.clock(live.since.as_deref()?, false);
    Some(match live.incarnation {
        0 => format!("since {since}"),
        run => format!("since {since}, in run {run}"),
    })
}

/// The first line has the name, the others stand below it.
fn text(name: &str, lines: &[String]) -> String {
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        let before = if at == 0 { format!("{name}: ") } else { "  ".to_owned() };
        text += &format!("{before}{}\n", harmless(line));
    }
    text
}

/// Nothing is recorded of that component: it never ran, or there is none.
fn unknown(record: &Record, name: &str, mut known: BTreeSet<String>) -> Exit {
    let nothing = known.is_empty();
    let declared = record.target.file.as_deref().and_then(|file| {
        let loaded = check::read(file, Some(record.target.state_dir.clone()));
        loaded.project
    });
    if let Some(project) = &declared {
        let names = project.components.iter().map(|component| component.name.to_string());
        known.extend(names);
        if project.components.iter().any(|component| component.name.as_str() == name) {
            return complain(&format!("nothing is recorded of {name}, and the project does not run now"));
        }
    }
    if nothing && declared.is_none() {
        return record.nothing();
    }
    let guess = nearest(name, known.iter().map(String::as_str));
    let guess = guess.map(|near| format!("; did you mean `{}`?", harmless(near))).unwrap_or_default();
    complain(&format!("there is no component `{name}`, and nothing is recorded of one{guess}"));
    Exit::Usage
}
