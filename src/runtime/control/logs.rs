//! `GET /v1/logs`: what components have written, from their log files, and what they write.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use super::Shared;
use super::answer::{Answer, Refused, lines};
use super::calls::unknown;
use super::query::Query as Words;
use super::stream::{self, Following, Told, body};
use crate::api::{LogLine, LogMark, LogMarks, LogNote};
use crate::history::logs::{Begin, Line, Log, Query, Reader, Span, Step, moment};
use crate::runtime::logbook::LogBook;

/// A follower of many logs looks at each of them when it is woken; so often, at most.
const REST: Duration = Duration::from_millis(10);

/// A longer regular expression is refused, by what it takes when it is compiled. Bytes.
const LARGEST_PATTERN: usize = 1 << 20;

pub(super) async fn answer(query: Option<&str>, shared: &Shared) -> Answer {
    let words = Words::parse(query, &["n", "since", "until", "grep", "follow", "exact"], &["name"])?;
    let now = Timestamp::now();
    let asked = asked(&words, now)?;
    let (follow, exact) = (words.truth("follow")?, words.truth("exact")?);
    if follow && asked.until.is_some() {
        return Err(Refused::bad("`until` and `follow` contradict each other"));
    }
    let Some((seen, declared)) = shared.logs.newer(0) else { return Err(Refused::ending()) };
    let named: BTreeSet<&str> = words.all("name").collect();
    for name in &named {
        if !declared.iter().any(|log| log.component == *name) {
            return Err(unknown(name, declared.iter().map(|log| log.component.as_str())));
        }
    }
    let chosen = |log: &&Log| named.is_empty() || named.contains(log.component.as_str());
    let logs: Vec<Log> = declared.iter().filter(chosen).cloned().collect();
    let open = opened(logs.len(), shared)?;
    let (following, room) = if follow {
        (Some(Following::new(shared, shared.logs.bell())?.resting(REST)), None)
    } else {
        (None, Some(stream::room(shared)?))
    };
    let book = (follow && named.is_empty()).then(|| shared.logs.clone());
    // To find the last lines, files are read.
    let make = move || {
        let stream = Stream::new(logs, asked, follow, exact);
        Stream { _held: Some((open, room)), ..stream }
    };
    let mut stream = shared.turns.take(make).await.ok_or_else(Refused::ending)?;
    stream.more = book.map(|book| More { book, seen, began: now });
    Ok(lines(body(stream, following, &shared.turns)))
}

/// Lets so many logs be read.
fn opened(logs: usize, shared: &Shared) -> Result<OwnedSemaphorePermit, Refused> {
    if logs > shared.most_logs {
        let refused = Refused::crowded(&format!("{logs} logs are more than may be read at once,"));
        return Err(refused.help("name some of the components"));
    }
    let logs = u32::try_from(logs).unwrap_or(u32::MAX);
    let permit = Arc::clone(&shared.open_logs).try_acquire_many_owned(logs);
    permit.map_err(|_| Refused::crowded("too many logs are read"))
}

/// Which lines are asked for.
fn asked(words: &Words, now: Timestamp) -> Result<Query, Refused> {
    let moment = |key: &str| {
        let read = |text| moment(text, now, &TimeZone::system());
        words.get(key).map(read).transpose().map_err(|error| Refused::bad(format!("`{key}`: {error}")))
    };
    let regex = |pattern: &str| {
        let regex = regex::bytes::RegexBuilder::new(pattern).size_limit(LARGEST_PATTERN).build();
        regex.map_err(|error| Refused::bad(format!("`grep` is no regular expression: {error}")))
    };
    Ok(Query {
        last: words.number("n")?,
        since: moment("since")?,
        until: moment("until")?,
        grep: words.get("grep").map(regex).transpose()?,
        times: true,
    })
}

/// The lines of some logs as they are told.
struct Stream {
    reader: Reader,
    /// By number.
    logs: Vec<Log>,
    exact: bool,
    /// What is to be told before lines.
    first: Vec<u8>,
    more: Option<More>,
    /// The logs that it may read, and a place among the streams.
    _held: Option<(OwnedSemaphorePermit, Option<OwnedSemaphorePermit>)>,
}

/// Where logs are known from that an edit adds.
struct More {
    book: LogBook,
    seen: u64,
    /// When following began: of a log that is added, what is older is not told.
    began: Timestamp,
}

impl Stream {
    fn new(logs: Vec<Log>, query: Query, follow: bool, exact: bool) -> Self {
        // Nothing of what there is: then where following begins is at a line's end.
        let begin = if query.last == Some(0) { Begin::End } else { Begin::Asked };
        let reader = if follow {
            let logs: Vec<(Log, Begin)> = logs.iter().map(|log| (log.clone(), begin)).collect();
            Reader::follow(&logs, query)
        } else {
            let logs: Vec<(Log, Span)> = logs.iter().map(|log| (log.clone(), Span::default())).collect();
            Reader::of(&logs, query)
        };
        let mut stream = Self { reader, logs, exact, first: Vec::new(), more: None, _held: None };
        if follow && exact {
            stream.mark(0);
        }
        stream
    }

    /// Tells where the following of the logs from this number on begins.
    fn mark(&mut self, from: usize) {
        let places = self.reader.places();
        let mark = |(log, place): (&Log, &Option<_>)| LogMark {
            drawn: log.drawn,
            component: log.component.clone(),
            path: log.path.display().to_string(),
            at: place.as_ref().map(ToString::to_string),
        };
        let marks = self.logs.iter().zip(&places).skip(from).map(mark).collect();
        write(&mut self.first, &LogMarks { marks });
    }

    /// Follows what an edit has added.
    fn look_for_more(&mut self) {
        let Some(more) = &mut self.more else { return };
        let Some((seen, declared)) = more.book.newer(more.seen) else { return };
        more.seen = seen;
        let from = self.logs.len();
        let begin = if self.exact { Begin::End } else { Begin::Since(more.began) };
        for log in declared.iter() {
            if !self.logs.iter().any(|known| known.is_same(log)) {
                self.reader.add(log, begin);
                self.logs.push(log.clone());
            }
        }
        if self.exact && from < self.logs.len() {
            self.mark(from);
        }
    }
}

impl stream::Cursor for Stream {
    fn read(&mut self, most: usize) -> Result<Told, String> {
        self.look_for_more();
        self.reader.wake();
        let mut out = std::mem::take(&mut self.first);
        while out.len() < most {
            match self.reader.step() {
                Step::Line(line) => tell(&line, &self.logs[line.log], self.exact, &mut out),
                Step::Note(note) => {
                    let component = self.logs[note.log].component.clone();
                    write(&mut out, &LogNote { component, note: note.text });
                }
                Step::Busy if out.is_empty() => return Ok(Told::Busy),
                Step::Busy | Step::Dry => break,
            }
        }
        Ok(if out.is_empty() { Told::All } else { Told::Lines(out) })
    }
}

fn tell(line: &Line<'_>, log: &Log, exact: bool, out: &mut Vec<u8>) {
    let time = line.time.map(|time| time.to_string());
    let mut told = LogLine::of(&log.component, time, line.bytes, line.ends, exact);
    told.at = line.place.filter(|_| exact).map(|place| place.to_string());
    write(out, &told);
}

fn write(out: &mut Vec<u8>, value: &impl Serialize) {
    // Writing strings into memory can't fail.
    let _ = serde_json::to_writer(&mut *out, value);
    out.push(b'\n');
}
