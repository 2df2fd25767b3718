//! `orch logs`.

mod choice;
mod follow;
mod printer;

use std::io::IsTerminal as _;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use regex::bytes::Regex;

use super::exit::Exit;
use super::target::TargetArgs;
use super::{colors, complain, complete, name, tell};
use crate::config::render::harmless;
use crate::history::logs::{Log, Query, Reader, Span, Step, moment};
use crate::types::Name;
use printer::{Format, Printer};

pub(super) const AFTER: &str = "\
Examples:
  orch logs                        everything that is kept, of all components, merged by time
  orch logs -n 50 api db           the last 50 lines of the two
  orch logs -f                     the last 10 lines, and whatever comes
  orch logs --since 10m --grep 'error|panic'
  orch logs --since 14:02 --until 14:05:30 -t
  orch logs api > api.txt          the bytes of one component, exactly

Lines are told apart by their component's name before them, but where just one NAME is given and the output is not
a terminal. A terminal gets text and colours; other control characters are shown escaped.

Works while orch runs the project and when it does not; -f needs one that runs, ends with it, and ends with 3 if
there is none.";

/// What `-f` shows of what there was before, if nothing else is said.
const BEFORE: u64 = 10;

#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// Only these components; without it, all that have a log
    #[arg(value_name = "NAME", value_parser = name, add = complete::components())]
    names: Vec<Name>,
    /// Go on with what is written, until the project ends
    #[arg(short, long, conflicts_with = "until")]
    follow: bool,
    /// Only the last N lines, of all that are shown together, or `all` [default: all; with -f: 10, or all since T]
    #[arg(short = 'n', long, value_name = "N", value_parser = lines)]
    lines: Option<Lines>,
    /// Only what came at T or later: a time of today (14:02, 14:02:11.3), how long ago (10m), or
    /// 2026-01-20T14:02:11Z
    #[arg(long, value_name = "T", value_parser = at)]
    since: Option<Timestamp>,
    /// Only what came at T or earlier
    #[arg(long, value_name = "T", value_parser = at)]
    until: Option<Timestamp>,
    /// Only lines that match the regular expression, colours removed
    #[arg(long, value_name = "RE", value_parser = Regex::new)]
    grep: Option<Regex>,
    /// Show when each line came
    #[arg(short, long)]
    times: bool,
    /// One JSON object a line: component, time, line
    #[arg(long, conflicts_with = "times")]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// How many lines.
#[derive(Debug, Clone, Copy)]
enum Lines {
    All,
    Last(u64),
}

fn lines(text: &str) -> Result<Lines, String> {
    match text {
        "all" => Ok(Lines::All),
        number => number.parse().map(Lines::Last).map_err(|_| "it is neither a number nor `all`".to_owned()),
    }
}

fn at(text: &str) -> Result<Timestamp, String> {
    moment(text, Timestamp::now(), &TimeZone::system())
}

impl LogsArgs {
    fn query(&self) -> Query {
        let usual = (self.follow && self.since.is_none()).then_some(BEFORE);
        let last = match self.lines {
            None => usual,
            Some(Lines::All) => None,
            Some(Lines::Last(lines)) => Some(lines),
        };
        let times = self.times || self.json;
        Query { last, since: self.since, until: self.until, grep: self.grep.clone(), times }
    }

    fn printer(&self) -> Printer {
        let stdout = std::io::stdout();
        let format = if self.json {
            Format::Json
        } else if stdout.is_terminal() {
            Format::Terminal { color: colors(&stdout) }
        } else {
            Format::Exact { prefix: self.names.len() != 1 }
        };
        Printer::new(format, self.times.then(TimeZone::system))
    }
}

pub(super) fn logs(args: &LogsArgs) -> Exit {
    let found = if args.follow { args.target.find() } else { args.target.place() };
    let target = match found {
        Ok(target) => target,
        Err(exit) => return exit,
    };
    if args.follow {
        return follow::follow(args, &target);
    }
    let logs = match choice::choose(&target, &args.names) {
        Ok(logs) => logs,
        Err(exit) => return exit,
    };
    if logs.iter().all(|log| !log.path.exists()) {
        tell("orch: nothing has been logged yet\n");
    }
    let logs: Vec<(Log, Span)> = logs.into_iter().map(|log| (log, Span::default())).collect();
    let mut printer = args.printer();
    let numbers: Vec<usize> = logs.iter().map(|(log, _)| printer.add(&log.component, log.drawn)).collect();
    let exit = match pour(&mut Reader::of(&logs, timed(args.query(), &logs)), &numbers, &mut printer) {
        Ok(exit) => exit,
        Err(error) => return unwritten(&error),
    };
    printer.end().map_or_else(|error| unwritten(&error), |()| exit)
}

/// What was drawn is shown by its times.
fn timed(query: Query, logs: &[(Log, Span)]) -> Query {
    Query { times: query.times || logs.iter().any(|(log, _)| log.drawn), ..query }
}

/// Prints all lines that there are; `numbers` are the printer's, by those of the reader. Gives [`Exit::Failed`] if
/// something could not be read.
///
/// # Errors
/// They can't be written.
fn pour(reader: &mut Reader, numbers: &[usize], printer: &mut Printer) -> std::io::Result<Exit> {
    let mut exit = Exit::Done;
    loop {
        match reader.step() {
            Step::Line(line) => printer.line(numbers[line.log], line.time, line.bytes, line.ends)?,
            Step::Note(note) => {
                printer.flush()?;
                note_about(printer.name(numbers[note.log]), &note.text);
                if note.failed {
                    exit = Exit::Failed;
                }
            }
            Step::Busy => {}
            Step::Dry => return Ok(exit),
        }
    }
}

fn note_about(component: &str, note: &str) {
    tell(&format!("orch: {}: {}\n", harmless(component), harmless(note)));
}

/// Nobody reads what is printed any more, which is no error; or it can't be written.
fn unwritten(error: &std::io::Error) -> Exit {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Exit::Done,
        _ => complain(&format!("can't write to standard output: {error}")),
    }
}
