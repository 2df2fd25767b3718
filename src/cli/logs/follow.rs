//! `orch logs -f`: what is there is read from the files, what comes is told by the running orch. Where one ends and the
//! other begins, the stream says (`marks`); so a connection that ends with an image of orch is made anew, and what
//! was written in between is read from the files, up to the new marks.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use jiff::Timestamp;

use super::{LogsArgs, Printer, note_about, pour, timed, unwritten};
use crate::api::{LogEntry, LogLine, LogMark};
use crate::cli::exit::Exit;
use crate::cli::target::{Target, unanswered};
use crate::cli::{complain, tell};
use crate::client::{Client, ClientError, Lines};
use crate::config::render::harmless;
use crate::history::logs::{Log, Place, Query, Reader, Span};

/// So often in a row a connection may end before anything has come of it.
const TRIES: u32 = 20;

pub(super) fn follow(args: &LogsArgs, target: &Target) -> Exit {
    end_with_the_reader();
    let mut follower = Follower {
        query: args.query(),
        printer: args.printer(),
        began: Timestamp::now(),
        known: BTreeMap::new(),
        is_first: true,
        exit: Exit::Done,
    };
    let exit = follower.run(&target.client(), &path(args));
    match exit.and_then(|exit| follower.printer.end().map(|()| exit)) {
        Ok(exit) => exit,
        Err(error) => unwritten(&error),
    }
}

/// What is asked of the running orch: what comes, and nothing of what there is.
fn path(args: &LogsArgs) -> String {
    let mut path = "/v1/logs?follow=true&exact=true&n=0".to_owned();
    for name in &args.names {
        path += &format!("&name={}", encoded(name.as_str()));
    }
    if let Some(grep) = &args.grep {
        path += &format!("&grep={}", encoded(grep.as_str()));
    }
    path
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

struct Follower {
    query: Query,
    printer: Printer,
    began: Timestamp,
    /// The logs that are followed, by component.
    known: BTreeMap<String, Known>,
    /// Nothing was shown yet.
    is_first: bool,
    exit: Exit,
}

/// A log that is followed.
struct Known {
    number: usize,
    path: PathBuf,
    drawn: bool,
    /// Up to where it was shown; `None`: it had no file.
    place: Option<Place>,
}

/// How a stream ended.
enum End {
    /// In order: there is no more.
    Whole,
    /// In the middle.
    Broken,
    /// orch says why.
    Told(String),
}

impl Follower {
    fn run(&mut self, client: &Client, path: &str) -> io::Result<Exit> {
        let mut tries = 0;
        loop {
            tries += 1;
            let end = match client.lines(path) {
                Ok(lines) => {
                    let (end, told) = self.take(lines)?;
                    if told {
                        tries = 0;
                    }
                    end
                }
                Err(ClientError::NotRunning) if !self.is_first => End::Whole,
                // An image that ends, or another one that is not there yet.
                Err(ClientError::Ended) if tries < TRIES => End::Broken,
                Err(error) => return Ok(unanswered(&error)),
            };
            match end {
                End::Whole => {
                    self.read_rest()?;
                    self.printer.end()?;
                    tell("orch: the project has ended\n");
                    return Ok(self.exit);
                }
                End::Told(error) => {
                    self.printer.end()?;
                    return Ok(complain(&format!("the running orch tells no more: {}", harmless(&error))));
                }
                End::Broken if tries >= TRIES => {
                    self.printer.end()?;
                    return Ok(complain("the running orch does not go on telling"));
                }
                End::Broken => {}
            }
        }
    }

    /// Shows a stream; how it ended, and whether anything came of it.
    fn take(&mut self, mut lines: Lines) -> io::Result<(End, bool)> {
        let mut told = false;
        loop {
            if !lines.has_line() {
                self.printer.flush()?;
            }
            let line = match lines.next() {
                None => return Ok((End::Whole, told)),
                Some(Err(_)) => return Ok((End::Broken, told)),
                Some(Ok(line)) => line,
            };
            told = true;
            match serde_json::from_slice(&line) {
                Ok(LogEntry::Line(line)) => self.show(&line)?,
                Ok(LogEntry::Note(note)) => {
                    self.printer.flush()?;
                    note_about(&note.component, &note.note);
                }
                Ok(LogEntry::Marks(marks)) => self.catch_up(&marks.marks)?,
                Ok(LogEntry::Error(error)) => return Ok((End::Told(error.error), told)),
                Err(_) => return Ok((End::Told("what it tells can't be read".to_owned()), told)),
            }
        }
    }

    fn show(&mut self, line: &LogLine) -> io::Result<()> {
        let Some(known) = self.known.get_mut(&line.component) else { return Ok(()) };
        let time = line.time.as_deref().and_then(|time| time.parse().ok());
        known.place = line.at.as_deref().and_then(|place| place.parse().ok()).or(known.place);
        self.printer.line(known.number, time, &line.exact(), line.ends != Some(false))
    }

    /// Shows what lies before these marks, and was not shown.
    fn catch_up(&mut self, marks: &[LogMark]) -> io::Result<()> {
        let mut logs = Vec::new();
        for mark in marks {
            let path = PathBuf::from(&mark.path);
            let end: Option<Place> = mark.at.as_deref().and_then(|place| place.parse().ok());
            let number = self.printer.add(&mark.component, mark.drawn);
            let known = Known { number, path: path.clone(), drawn: mark.drawn, place: end };
            let old = self.known.insert(mark.component.clone(), known);
            let from = old.filter(|old| old.path == path).and_then(|old| old.place);
            // Without a file at its beginning there is nothing before it.
            if end.is_some() {
                let log = Log { component: mark.component.clone(), path, drawn: mark.drawn };
                logs.push((log, Span { from, end }));
            }
        }
        self.read(&logs)
    }

    /// Shows what is in the files, when nobody tells any more.
    fn read_rest(&mut self) -> io::Result<()> {
        let log = |(component, known): (&String, &Known)| {
            let (component, path) = (component.clone(), known.path.clone());
            let log = Log { component, path, drawn: known.drawn };
            (log, Span { from: known.place, end: None })
        };
        let logs: Vec<(Log, Span)> = self.known.iter().map(log).collect();
        self.read(&logs)
    }

    fn read(&mut self, logs: &[(Log, Span)]) -> io::Result<()> {
        let query = if std::mem::take(&mut self.is_first) {
            self.query.clone()
        } else {
            // Of a log that is new here, what was there before is not asked for.
            Query { last: None, since: Some(self.began), ..self.query.clone() }
        };
        let numbers: Vec<usize> =
            logs.iter().map(|(log, _)| self.printer.add(&log.component, log.drawn)).collect();
        if pour(&mut Reader::of(logs, timed(query, logs)), &numbers, &mut self.printer)? == Exit::Failed {
            self.exit = Exit::Failed;
        }
        Ok(())
    }
}

/// Whoever reads what is shown may go away while nothing is (`orch logs -f | head`): then it is over.
#[expect(
    clippy::disallowed_methods,
    reason = "a client has no terminal mode, lock or component to leave, and its main thread waits for the socket"
)]
fn end_with_the_reader() {
    use rustix::event::{PollFd, PollFlags, poll};
    let gone = move || {
        let stdout = io::stdout();
        let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
        while let Ok(_) | Err(rustix::io::Errno::INTR) = poll(&mut fds, None) {
            if fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
                std::process::exit(0);
            }
            if !fds[0].revents().is_empty() {
                return;
            }
        }
    };
    // Without it, it is over with the next line.
    drop(std::thread::Builder::new().name("reader".to_owned()).spawn(gone));
}
