//! `events.ndjson`: what happened, one object a line (contract, section 6). When it is long enough, it becomes
//! `events.ndjson.1` and so on, and a new one begins; `history::events` reads them.

mod rotate;

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{clock, shapes};
use crate::api::Step;
use crate::config::render;
use crate::history::events;
use crate::supervisor::{Record, What};
use crate::types::{TaskFailure, Time};

/// So much of the end is read to find where the numbers go on; more if one event fills it all.
const TAIL: u64 = 1 << 20;
/// More than that is no event of orch's.
const LONGEST_TAIL: u64 = 1 << 28;
/// So many mistakes of an edit are recorded, and their number: a broken file can have a hundred thousand, and
/// nobody reads past the first few.
const ERRORS: usize = 100;

/// And of each of their texts so much. Bytes.
const TEXT: usize = 1024;

/// So many steps of an edit are recorded, and their number.
const STEPS: usize = 1000;

/// So many of the files that changed at once are recorded, and their number.
const PATHS: usize = 1000;

/// The file, open for appending.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// A file that would be longer begins a new one. Bytes.
    most: u64,
    /// So long it was when that was tried in vain: it is tried again when it is longer by as much as a file may
    /// be.
    unrotated: u64,
    /// Lines of the step under way.
    lines: Vec<u8>,
    /// Whether the file ends within a line.
    torn: bool,
    /// Events that the disk did not take since the last one that it took.
    lost: usize,
    next: u64,
    wall: Wall,
}

/// The way from the monotonic to the wall clock. It is looked at for every record, but moves only when the
/// wall clock was set: so times in the file are in order as their numbers are.
#[derive(Debug, Default)]
struct Wall {
    /// Nanoseconds from the monotonic zero to the Unix epoch's.
    offset: i128,
}

impl Wall {
    /// Less is the noise of two clocks read one after the other.
    const NOISE: u128 = 1_000_000;

    fn time(&mut self, at: Time) -> String {
        let offset = jiff::Timestamp::now().as_nanosecond() - i128::from(clock::now().0);
        if offset.abs_diff(self.offset) > Self::NOISE {
            self.offset = offset;
        }
        let then = jiff::Timestamp::from_nanosecond(self.offset + i128::from(at.0));
        format!("{:.6}", then.unwrap_or(jiff::Timestamp::UNIX_EPOCH))
    }
}

impl Journal {
    /// Opens, or makes, the file, and finds the number of its last whole line. A torn last line, left by a
    /// crash, is taken away: each line is an object.
    ///
    /// # Errors
    /// When the file can't be opened or read.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::with_parts(path, events::PART)
    }

    /// The same, with files of another length.
    fn with_parts(path: &Path, most: u64) -> io::Result<Self> {
        let file = rotate::open(path)?;
        let (last, torn) = look_back(&file)?;
        let torn = mend(&file, torn);
        let last = last.map_or_else(|| rotate::last_of_older(path), Ok)?;
        let (path, lines, wall) = (path.to_path_buf(), Vec::new(), Wall::default());
        Ok(Self { path, file, most, unrotated: 0, lines, torn, lost: 0, next: last + 1, wall })
    }

    /// Nanoseconds from the monotonic clock's zero to the Unix epoch's, by which its times are made.
    pub(crate) fn wall(&self) -> i128 {
        self.wall.offset
    }

    /// The number of the first record to come.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next
    }

    /// Takes a record; [`Journal::write`] writes it.
    pub(crate) fn add(&mut self, record: &Record) {
        self.next = record.seq + 1;
        let line = object(record, self.wall.time(record.at));
        // A map of strings and numbers always serialises.
        if serde_json::to_writer(&mut self.lines, &line).is_ok() {
            self.lines.push(b'\n');
        }
    }

    /// Writes what was added, in one write, or in several where the file is full. What the disk does not take
    /// is dropped, so that memory stays bounded; gives what the user should know, when that begins and when it
    /// is over.
    pub(crate) fn write(&mut self) -> Option<String> {
        if self.lines.is_empty() {
            return None;
        }
        let mut lines = std::mem::take(&mut self.lines);
        let (mut written, mut result, mut unrotated) = (0, Ok(()), None);
        while let Some(rest) = lines.get(written..).filter(|rest| !rest.is_empty() && result.is_ok()) {
            unrotated = unrotated.or(self.make_room(rest));
            let part = &rest[..rotate::fitting(rest, self.room())];
            let (done, end) = self.append(part);
            (written, result) = (written + done, end);
        }
        let lost_now = count(&lines) - count(lines.get(..written).unwrap_or_default());
        let (taken, lost_before) = (written > 0, self.lost);
        lines.clear();
        self.lines = lines;
        match result {
            Err(error) => {
                self.lost += lost_now;
                let news =
                    format!("can't write events.ndjson: {error}; events are lost until it can be written");
                (lost_before == 0).then_some(news)
            }
            Ok(()) if taken && lost_before > 0 => {
                self.lost = 0;
                Some(format!("events.ndjson is written again; {lost_before} event(s) are missing in it"))
            }
            Ok(()) => unrotated,
        }
    }

    /// Writes lines to the file as it is; tells how many bytes of them it took.
    fn append(&mut self, lines: &[u8]) -> (usize, io::Result<()>) {
        if self.torn {
            if let Err(error) = self.file.write_all(b"\n") {
                return (0, Err(error));
            }
            self.torn = false;
        }
        let (written, result) = write_out(&mut self.file, lines);
        self.wrote(lines.get(..written).unwrap_or_default());
        (written, result)
    }

    /// The file has taken so much; of a line that does not fit, nothing stays.
    fn wrote(&mut self, done: &[u8]) {
        let part = done.rsplit(|byte| *byte == b'\n').next().unwrap_or_default().len();
        if !done.is_empty() {
            let length = u64::try_from(part).unwrap_or(u64::MAX);
            self.torn = mend(&self.file, (part > 0).then_some(Torn { length, whole: false }));
        }
    }
}

/// Events in whole lines: every one ends so, and holds that nowhere else.
fn count(lines: &[u8]) -> usize {
    lines.windows(2).filter(|two| two == b"}\n").count()
}

/// Writes as much as the file takes; tells how much that was.
fn write_out(file: &mut impl io::Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// A last line without its end.
#[derive(Debug, Clone, Copy)]
struct Torn {
    length: u64,
    /// Nothing but its end is missing.
    whole: bool,
}

/// Takes a torn last line away, and nothing else; whether the file ends within a line nevertheless.
fn mend(file: &File, torn: Option<Torn>) -> bool {
    let Some(torn) = torn else { return false };
    if torn.whole {
        return true;
    }
    let shortened = file.metadata().and_then(|meta| file.set_len(meta.len().saturating_sub(torn.length)));
    shortened.is_err()
}

/// The number of the last whole line that has one, and the torn line behind it, if there is one.
fn look_back(mut file: &File) -> io::Result<(Option<u64>, Option<Torn>)> {
    let size = file.metadata()?.len();
    let mut length = TAIL;
    loop {
        let from = size.saturating_sub(length);
        file.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        file.take(length).read_to_end(&mut tail)?;
        let last = tail.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        // What has no line in all that was read is not orch's to shorten.
        let known = last.len() < tail.len() || from == 0;
        let length_of = u64::try_from(last.len()).unwrap_or(u64::MAX);
        let torn = Torn { length: length_of, whole: !known || events::seq(last).is_some() };
        let torn = (!last.is_empty()).then_some(torn);
        match tail.split(|byte| *byte == b'\n').rev().find_map(events::seq) {
            Some(last) => return Ok((Some(last), torn)),
            None if from == 0 || length >= LONGEST_TAIL => return Ok((None, torn)),
            None => length *= 4,
        }
    }
}

/// The record as the contract's object.
fn object(record: &Record, time: String) -> Value {
    let mut line = Map::new();
    line.insert("seq".into(), record.seq.into());
    line.insert("time".into(), time.into());
    line.insert("mono_ns".into(), record.at.0.into());
    line.insert("event".into(), event(&record.what).into());
    line.insert("component".into(), record.component.as_ref().map(|name| name.as_str()).into());
    line.insert("incarnation".into(), record.incarnation.into());
    line.insert("cause".into(), record.cause.into());
    if let Value::Object(more) = details(&record.what) {
        line.extend(more);
    }
    Value::Object(line)
}

fn event(what: &What) -> String {
    match what {
        What::ProjectUp => "project.up".to_owned(),
        What::ProjectDown { .. } => "project.down".to_owned(),
        What::ConfigReloaded { .. } => "config.reloaded".to_owned(),
        What::ConfigRejected { .. } => "config.rejected".to_owned(),
        What::State { state, .. } => format!("component.{state}"),
        What::Spawned { .. } => "component.spawned".to_owned(),
        What::Exited { .. } => "component.exited".to_owned(),
        What::StopRequested { .. } => "component.stop_requested".to_owned(),
        What::ForceKilled { .. } => "component.force_killed".to_owned(),
        What::TaskStarted { kind } => format!("{}.started", kind.word()),
        What::TaskSucceeded { kind, .. } => format!("{}.succeeded", kind.word()),
        What::TaskFailed { kind, .. } => format!("{}.failed", kind.word()),
        What::TaskEnded { kind, .. } => format!("{}.ended", kind.word()),
        What::Changed { .. } => "component.changed".to_owned(),
        What::StateSealed { .. } => "state.sealed".to_owned(),
        What::StateRestored(_) => "state.restored".to_owned(),
        What::StateRejected { .. } => "state.rejected".to_owned(),
        What::Reexec | What::ReexecFailed { .. } => "orch.reexec".to_owned(),
        What::Command { .. } => "command".to_owned(),
    }
}

fn millis(took: std::time::Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// Texts that are not endless: a cycle of ten thousand components is one message. The loader tells all of it.
fn shortened(mut value: Value) -> Value {
    match &mut value {
        Value::String(text) if text.len() > TEXT => {
            text.truncate(text.floor_char_boundary(TEXT));
            text.push('…');
        }
        Value::Array(values) => values.iter_mut().for_each(|value| *value = shortened(value.take())),
        Value::Object(values) => values.values_mut().for_each(|value| *value = shortened(value.take())),
        _ => {}
    }
    value
}

fn details(what: &What) -> Value {
    match what {
        What::ProjectUp => json!({"boot_id": clock::boot_id(), "pid": std::process::id()}),
        What::ProjectDown { code } => json!({"code": code}),
        What::ConfigReloaded { plan } => {
            let steps: Vec<Step> = plan.steps.iter().take(STEPS).map(shapes::step).collect();
            json!({"steps": steps, "count": plan.steps.len()})
        }
        What::ConfigRejected { errors } => {
            let first = errors.get(..ERRORS).unwrap_or(errors);
            json!({"errors": shortened(render::json(first)["errors"].take()), "count": errors.len()})
        }
        What::State { reason, .. } | What::StopRequested { reason } | What::StateRejected { reason } => {
            json!({"reason": reason})
        }
        What::Spawned { pid } => json!({"pid": pid}),
        What::Exited { exit } => json!(shapes::exited(exit)),
        What::ForceKilled { pids } => json!({"pids": pids}),
        What::TaskStarted { .. } => json!({}),
        What::TaskSucceeded { took, .. } => json!({"ms": millis(*took)}),
        What::TaskFailed { took, failure, .. } => {
            let TaskFailure { reason, place, tail } = failure;
            json!({"ms": millis(*took), "reason": reason, "place": place, "tail": tail})
        }
        What::Changed { paths } => {
            // JSON is UTF-8, a path need not be.
            let first: Vec<_> = paths.iter().take(PATHS).map(|path| path.to_string_lossy()).collect();
            json!({"paths": first, "count": paths.len()})
        }
        What::TaskEnded { took, reason, .. } => json!({"ms": millis(*took), "reason": reason}),
        What::StateSealed { generation, source, bytes } => {
            json!({"generation": generation, "source": source.word(), "bytes": bytes})
        }
        What::StateRestored(restored) => {
            json!({"generation": restored.generation, "source": restored.source.word()})
        }
        What::Reexec => {
            json!({"pid": std::process::id(), "version": env!("CARGO_PKG_VERSION"), "error": null})
        }
        What::ReexecFailed { error } => json!({"error": error}),
        What::Command { name, args, affects } => {
            let args: Vec<&str> = args.iter().map(|name| name.as_str()).collect();
            let affects = affects
                .iter()
                .map(|one| json!({"component": one.component.as_str(), "action": one.effect.word()}));
            json!({"name": name, "args": args, "affects": affects.collect::<Vec<_>>()})
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Journal, PATHS, Record, TAIL, What, write_out};
    use crate::types::Time;

    fn record(seq: u64) -> Record {
        Record { seq, cause: None, at: Time(0), component: None, incarnation: None, what: What::ProjectUp }
    }

    #[test]
    fn what_is_recorded_of_a_bad_edit_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("devmode.yaml");
        let names =
            (0..5_000).map(|n| format!("  c{n}: {{ thread: ticker, depends_on: [c{}] }}\n", (n + 1) % 5_000));
        let unknown = (0..5_000).map(|n| format!("  d{n}: {{ thread: no{n} }}\n"));
        let yaml =
            format!("version: 1\ncomponents:\n{}{}", names.collect::<String>(), unknown.collect::<String>());
        fs::write(&file, yaml).unwrap();
        let threads =
            crate::config::Threads { names: Vec::new(), check: std::sync::Arc::new(|_, _| Ok(Vec::new())) };
        let options = crate::config::LoadOptions { threads: Some(threads), ..Default::default() };
        let errors = std::sync::Arc::new(crate::config::load(&file, &options).diagnostics);
        assert!(errors.len() > 10_000 && errors.iter().any(|one| one.message.len() > 10_000));
        let details = super::details(&What::ConfigRejected { errors: std::sync::Arc::clone(&errors) });
        assert_eq!(details["errors"].as_array().map(Vec::len), Some(super::ERRORS));
        assert_eq!(details["count"], errors.len());
        assert!(details.to_string().len() < 200 * super::TEXT);
    }

    #[test]
    fn numbers_go_on_after_whatever_the_file_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.ndjson");
        let giant = format!("{{\"seq\":41,\"paths\":\"{}\"}}\n", "x".repeat(2 * TAIL as usize));
        let foreign = "hello\n{\"seq\":18446744073709551615}\n{\"seq\":\"9\"}\n";
        for (content, next) in [
            (String::new(), 1),
            ("{\"seq\":7}\n{\"seq\":8,\"ti".to_owned(), 8),
            (format!("{giant}{foreign}"), 42),
            (foreign.to_owned(), 1),
        ] {
            fs::write(&path, &content).unwrap();
            let mut journal = Journal::open(&path).unwrap();
            assert_eq!(journal.next_seq(), next);
            journal.add(&record(next));
            assert_eq!(journal.write(), None);
            let text = fs::read_to_string(&path).unwrap();
            let whole = content.rfind('\n').map_or("", |end| &content[..=end]);
            let last = text.strip_prefix(whole).unwrap();
            assert!(last.starts_with(&format!("{{\"seq\":{next},")), "{last}");
        }
    }

    /// A name that is no text must not end orch, nor a branch switch fill the disk.
    #[test]
    fn paths_are_recorded_whatever_their_bytes_and_however_many() {
        use std::os::unix::ffi::OsStrExt as _;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.ndjson");
        let mut journal = Journal::open(&path).unwrap();
        let odd = std::path::Path::new(std::ffi::OsStr::from_bytes(b"/p/\xff.py")).to_owned();
        let paths = std::iter::repeat_n(odd, 2 * PATHS).collect();
        journal.add(&Record { what: What::Changed { paths }, ..record(1) });
        assert_eq!(journal.write(), None);
        let line: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!((&line["paths"][0], &line["count"]), (&"/p/\u{fffd}.py".into(), &(2 * PATHS).into()));
        assert_eq!(line["paths"].as_array().unwrap().len(), PATHS);
    }

    /// Each line is an object; what is whole stays, and so does what was never orch's.
    #[test]
    fn a_torn_last_line_is_taken_away_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.ndjson");
        let (one, two) = ("{\"seq\":1}\n", "{\"seq\":2}");
        for (content, kept) in [
            ("{\"se", ""),
            (&format!("{one}{{\"seq\":2,\"event\":\"comp"), one),
            (&format!("{one}{two}"), &format!("{one}{two}\n")),
            (&format!("{one}\0\0\0"), one),
            (one, one),
            ("hello\n", "hello\n"),
        ] {
            fs::write(&path, content).unwrap();
            let mut journal = Journal::open(&path).unwrap();
            let next = journal.next_seq();
            journal.add(&record(next));
            assert_eq!(journal.write(), None);
            let text = fs::read_to_string(&path).unwrap();
            let new = text.strip_prefix(kept).unwrap_or_else(|| panic!("{content:?}: {text:?}"));
            assert!(new.starts_with(&format!("{{\"seq\":{next},")) && new.lines().count() == 1, "{new}");
        }
    }

    #[test]
    fn what_a_full_disk_took_of_a_line_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.ndjson");
        let mut journal = Journal::open(&path).unwrap();
        fs::write(&path, "{}\n{\"se").unwrap();
        journal.wrote(b"{}\n{\"se");
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), journal.torn), ("{}\n", false));
        journal.wrote(b"");
        assert!(!journal.torn);
    }

    /// Takes so many bytes, then none.
    struct Full(usize);

    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let count = bytes.len().min(self.0);
            self.0 -= count;
            if count == 0 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(count) }
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_takes_what_fits() {
        let (written, result) = write_out(&mut Full(4), b"{}\n{}\n");
        assert_eq!((written, result.unwrap_err().kind()), (4, std::io::ErrorKind::StorageFull));
        let (written, result) = write_out(&mut Full(6), b"{}\n{}\n");
        assert!(written == 6 && result.is_ok());
    }

    #[test]
    fn a_disk_that_takes_nothing_is_told_of_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.ndjson");
        let mut journal = Journal::open(&path).unwrap();
        let good = std::mem::replace(
            &mut journal.file,
            fs::OpenOptions::new().write(true).open("/dev/full").unwrap(),
        );
        let write = |journal: &mut Journal, seq| {
            journal.add(&record(seq));
            journal.write()
        };
        assert!(write(&mut journal, 1).is_some_and(|news| news.contains("can't write")));
        assert_eq!(write(&mut journal, 2), None);
        journal.file = good;
        assert!(write(&mut journal, 3).is_some_and(|news| news.contains("2 event(s)")));
        assert_eq!(write(&mut journal, 4), None);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
    }
}
