//! `events.ndjson`: what happened, one object a line (contract, section 6).

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::clock;
use crate::config::render;
use crate::supervisor::{Record, What};
use crate::types::{Exit, Time};

/// So much of the end is read to find where the numbers go on.
const TAIL: u64 = 1 << 20;

/// The file, open for appending.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    /// Lines of the step under way.
    lines: Vec<u8>,
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
    /// crash, is ended so that it harms no later one.
    ///
    /// # Errors
    /// When the file can't be opened or read.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let mut file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(TAIL)))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        if tail.last().is_some_and(|last| *last != b'\n') {
            file.write_all(b"\n")?;
        }
        let seq = |line: &[u8]| serde_json::from_slice::<Value>(line).ok()?.get("seq")?.as_u64();
        let last = tail.split(|byte| *byte == b'\n').rev().find_map(seq).unwrap_or(0);
        Ok(Self { file, lines: Vec::new(), next: last + 1, wall: Wall::default() })
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

    /// Writes what was added, in one write.
    ///
    /// # Errors
    /// When the disk does not take it; it is then dropped, so that memory stays bounded.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(&self.lines);
        self.lines.clear();
        written
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
        What::Changed { .. } => "component.changed".to_owned(),
        What::StateSealed { .. } => "state.sealed".to_owned(),
        What::StateRestored(_) => "state.restored".to_owned(),
        What::StateRejected { .. } => "state.rejected".to_owned(),
        What::Command { .. } => "command".to_owned(),
    }
}

fn details(what: &What) -> Value {
    match what {
        What::ProjectUp => json!({"boot_id": clock::boot_id(), "pid": std::process::id()}),
        What::ProjectDown { code } => json!({"code": code}),
        What::ConfigReloaded { plan } => json!({"steps": plan.to_json()}),
        What::ConfigRejected { errors } => json!({"errors": render::json(errors)["errors"]}),
        What::State { reason, .. } | What::StopRequested { reason } | What::StateRejected { reason } => {
            json!({"reason": reason})
        }
        What::Spawned { pid } => json!({"pid": pid}),
        What::Exited { exit } => exit_json(exit),
        What::ForceKilled { pids } => json!({"pids": pids}),
        What::Changed { paths } => json!({"paths": paths}),
        What::StateSealed { generation, source, bytes } => {
            json!({"generation": generation, "source": source.word(), "bytes": bytes})
        }
        What::StateRestored(restored) => {
            json!({"generation": restored.generation, "source": restored.source.word()})
        }
        What::Command { name, args } => {
            json!({"name": name, "args": args.iter().map(|name| name.as_str()).collect::<Vec<_>>()})
        }
    }
}

/// An exit as the contract writes it.
pub(crate) fn exit_json(exit: &Exit) -> Value {
    match exit {
        Exit::Code(code) => json!({"code": code}),
        Exit::Signal(signal) => json!({"signal": signal.to_string()}),
        Exit::Panic(message) => json!({"panic": message}),
    }
}
