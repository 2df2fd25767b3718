//! `orch events`.

use std::io::{self, BufWriter, Write};

use clap::Args;

use super::exit::Exit;
use super::recorded::Record;
use super::target::{TargetArgs, unanswered};
use super::{colors, complain, complete, tell};
use crate::api::Version;
use crate::client::ClientError;
use crate::config::render::harmless;
use crate::history::events::{Backward, Cursor, Event, Read, seq};
use crate::story;
use crate::types::Name;
use crate::types::State;
use crate::types::recorded::Kind;

pub(super) const AFTER: &str = "\
Examples:
  orch events                 everything that is recorded, of earlier runs, too
  orch events -n 20 api       the last twenty of api
  orch events -f              the last ten, and what happens from now on
  orch events --json          the lines of events.ndjson as they are, for programs

With -f it goes on when orch becomes another program, and ends with orch.";

/// With -f, so many are shown that were before.
const BEFORE: usize = 10;
/// So much is read at once. Bytes.
const CHUNK: usize = 256 << 10;
/// A longer name leaves the rest out of line.
const NAME: usize = 16;
/// So often in a row a stream may end without having told anything new.
const VAIN: usize = 50;

#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    /// Only events of these components
    #[arg(value_name = "NAME", value_parser = super::name, add = complete::components())]
    names: Vec<Name>,
    /// Go on with what happens, until orch ends
    #[arg(short, long)]
    follow: bool,
    /// Only the last N
    #[arg(short = 'n', long = "lines", value_name = "N")]
    last: Option<usize>,
    /// As one JSON object a line, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

pub(super) fn events(args: &EventsArgs) -> Exit {
    show(args).unwrap_or_else(|exit| exit)
}

fn show(args: &EventsArgs) -> Result<Exit, Exit> {
    let record = Record::find(&args.target)?;
    let version = record.target.client().get::<Version>("/v1/version");
    // Without an orch to follow, that is what is wrong.
    if !args.follow || version != Err(ClientError::NotRunning) {
        args.names.iter().try_for_each(|name| super::why::known(&record, name.as_str()))?;
    }
    let last = args.last.or(args.follow.then_some(BEFORE));
    let begin = begin(&record, &args.names, last).map_err(|error| record.unreadable(&error))?;
    let stdout = io::stdout();
    let color = colors(&stdout);
    let out = BufWriter::new(stdout.lock());
    let mut printer = Printer { out, args, record: &record, color };
    if args.follow {
        return follow(&record, begin, &mut printer);
    }
    let Some(begin) = begin else { return Err(record.nothing()) };
    recorded(&record, begin, &mut printer).map_err(|error| record.unreadable(&error))?;
    printer.flush()
}

/// The number behind which the last so many events are, of those that are wanted; `None`: nothing is recorded.
fn begin(record: &Record, names: &[Name], last: Option<usize>) -> io::Result<Option<u64>> {
    let mut begin = None;
    let mut found = 0;
    for event in Backward::open(&record.target.state_dir)? {
        let event = event?;
        let Some(last) = last else { return Ok(Some(0)) };
        let newest = begin.get_or_insert(event.seq);
        if found == last {
            break;
        }
        if wanted(&event, names) {
            *newest = event.seq.saturating_sub(1);
            found += 1;
        }
    }
    Ok(begin)
}

fn wanted(event: &Event, names: &[Name]) -> bool {
    names.is_empty() || names.iter().any(|name| event.component.as_deref() == Some(name.as_str()))
}

/// Tells all that is recorded behind a number.
fn recorded(record: &Record, after: u64, printer: &mut Printer<'_>) -> io::Result<()> {
    let mut cursor = Cursor::after(&record.target.state_dir, after)?;
    loop {
        match cursor.read(CHUNK)? {
            Read::Lines(lines) => {
                for line in lines.split_inclusive(|byte| *byte == b'\n') {
                    if printer.print(line).is_err() {
                        return Ok(());
                    }
                }
            }
            Read::End => return Ok(()),
            Read::Gone => {
                tell("orch: some events were rotated away while they were read\n");
                return Ok(());
            }
        }
    }
}

/// Tells what the running orch tells, until it ends. A connection that ends before it does is made anew: orch
/// has become another image, or cut off whoever was too slow.
fn follow(record: &Record, begin: Option<u64>, printer: &mut Printer<'_>) -> Result<Exit, Exit> {
    let client = record.target.client();
    let (mut after, mut vain, mut met) = (begin.unwrap_or(0), 0, false);
    while vain < VAIN {
        let lines = match client.lines(&format!("/v1/events?follow=true&after={after}")) {
            Ok(lines) => lines,
            Err(ClientError::NotRunning) if met => break,
            // It is between two images, or ending.
            Err(ClientError::Ended) if met => {
                vain += 1;
                continue;
            }
            Err(error) => return Err(unanswered(&error)),
        };
        (met, vain) = (true, vain + 1);
        for line in lines.map_while(Result::ok) {
            match seq(&line) {
                Some(number) => (after, vain) = (number, 0),
                None => {
                    cut_off(&line);
                    continue;
                }
            }
            if printer.print(&line).is_err() || printer.flush().is_err() {
                return Ok(Exit::Done);
            }
        }
    }
    // What it did last, it may have had no time to tell.
    recorded(record, after, printer).map_err(|error| record.unreadable(&error))?;
    printer.flush()
}

/// The last line of a stream that orch has ended.
fn cut_off(line: &[u8]) {
    let line: Option<serde_json::Value> = serde_json::from_slice(line).ok();
    if let Some(error) = line.as_ref().and_then(|line| line.get("error")).and_then(|error| error.as_str()) {
        complain(&harmless(error));
    }
}

/// Nobody reads on.
struct Unread;

struct Printer<'a> {
    out: BufWriter<io::StdoutLock<'a>>,
    args: &'a EventsArgs,
    record: &'a Record,
    color: bool,
}

impl Printer<'_> {
    /// Shows an event, if it is wanted.
    fn print(&mut self, line: &[u8]) -> Result<(), Unread> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if self.args.json && self.args.names.is_empty() {
            return self.write(line);
        }
        let Some(event) = Event::parse(line).filter(|event| wanted(event, &self.args.names)) else {
            return Ok(());
        };
        if self.args.json {
            return self.write(line);
        }
        let text = self.human(&event);
        self.write(text.as_bytes())
    }

    fn human(&self, event: &Event) -> String {
        let time = self.record.clock(&event.time, true);
        let text = self.record.with_words(|words| story::line(event, words));
        let name = event.component.as_deref().unwrap_or("-");
        let (name, text) = (harmless(name), harmless(&text));
        match paint(&event.kind).filter(|_| self.color) {
            Some(code) => format!("\u{1b}[2m{time}\u{1b}[0m  {name:NAME$}  \u{1b}[{code}m{text}\u{1b}[0m"),
            None if self.color => format!("\u{1b}[2m{time}\u{1b}[0m  {name:NAME$}  {text}"),
            None => format!("{time}  {name:NAME$}  {text}"),
        }
    }

    fn write(&mut self, line: &[u8]) -> Result<(), Unread> {
        self.out.write_all(line).and_then(|()| self.out.write_all(b"\n")).map_err(|_| Unread)
    }

    fn flush(&mut self) -> Result<Exit, Exit> {
        match self.out.flush() {
            Ok(()) => Ok(Exit::Done),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
            Err(error) => Err(complain(&format!("can't write to standard output: {error}"))),
        }
    }
}

fn paint(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::State { state: State::Ready | State::Completed, .. } => Some("32"),
        Kind::State { state: State::Backoff | State::Stopping, .. } => Some("33"),
        Kind::State { state: State::Failed | State::Blocked | State::Stuck | State::Unhealthy, .. } => {
            Some("31")
        }
        Kind::ForceKilled { .. } | Kind::Rejected { .. } | Kind::ConfigRejected { .. } => Some("31"),
        Kind::Changed { .. } | Kind::Command { .. } | Kind::ConfigReloaded { .. } => Some("36"),
        Kind::ProjectUp { .. } | Kind::ProjectDown { .. } | Kind::Reexec { .. } => Some("1"),
        _ => None,
    }
}
