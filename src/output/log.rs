//! The logs of all components, by path: several streams may write to one. What is done when the disk does
//! not take the bytes: the streams wait, or their lines are dropped and counted.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::LogSpec;
use super::gap::{self, Gap};
use super::handover::{Fds, Taken};
use super::logfile::{FileState, LogFile};
use crate::config::model::Overflow;

/// How long a disk that took no bytes is left alone.
const RETRY_AFTER: Duration = Duration::from_millis(300);

/// The same log's troubles are told at most so often.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// All logs in use.
#[derive(Debug, Default)]
pub(super) struct Logs {
    by_path: BTreeMap<PathBuf, Log>,
}

#[derive(Debug)]
struct Log {
    file: LogFile,
    overflow: Overflow,
    users: usize,
    trouble: Option<Trouble>,
    /// Since the last failure, nothing has been written.
    sick: bool,
    told: Option<Instant>,
    /// Lines dropped, not noted yet.
    gap: Gap,
    problems: Vec<String>,
}

/// The last attempt has failed.
#[derive(Debug)]
struct Trouble {
    retry_at: Instant,
    /// Whether the streams wait until then; else their lines are dropped.
    waits: bool,
}

/// A log, handed over. Moments travel as what is left until then, or has passed since.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LogState {
    file: FileState,
    blocks: bool,
    /// When to try again, and whether the streams wait until then.
    trouble: Option<(Duration, bool)>,
    sick: bool,
    told: Option<Duration>,
    gap: Gap,
    problems: Vec<String>,
}

impl Logs {
    /// Goes on with the logs that were handed over; nobody writes to them yet.
    ///
    /// # Errors
    /// A descriptor is not there.
    pub(super) fn adopt(states: Vec<LogState>, fds: &mut Taken, now: Instant) -> io::Result<Self> {
        let mut by_path = BTreeMap::new();
        for state in states {
            let log = Log::adopt(state, fds, now)?;
            by_path.insert(log.file.path().to_owned(), log);
        }
        Ok(Self { by_path })
    }

    /// A stream that was handed over writes to the log of that path, as before.
    pub(super) fn rejoin(&mut self, path: &Path) {
        if let Some(log) = self.by_path.get_mut(path) {
            log.users += 1;
        }
    }

    /// Leaves the logs to another image: in the order of their paths.
    pub(super) fn leave(self, fds: &mut Fds, now: Instant) -> Vec<LogState> {
        self.by_path.into_values().map(|log| log.leave(fds, now)).collect()
    }

    /// The paths in the order in which [`Logs::leave`] leaves the logs.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.by_path.keys().cloned().collect()
    }

    /// One more stream writes to the log of that path, from now on by that spec.
    pub(super) fn open(&mut self, spec: &LogSpec, now: Instant) {
        let log = self.by_path.entry(spec.path.clone()).or_insert_with(|| Log::new(spec));
        log.users += 1;
        log.file.set_limits(spec.max_size, spec.keep);
        log.overflow = spec.overflow;
        if let Err(error) = log.file.make(now) {
            log.fail(&error, now);
        }
    }

    /// One stream less writes to it.
    pub(super) fn close(&mut self, path: &Path, now: Instant) -> Vec<String> {
        let Some(log) = self.by_path.get_mut(path) else { return Vec::new() };
        log.users -= 1;
        if log.users > 0 {
            return Vec::new();
        }
        if !log.note_gap(now) {
            let lost = gap::lines(log.gap.take());
            log.problems.push(format!("{lost} could not be written to the log {}", path.display()));
        }
        let problems = log.take_problems();
        self.by_path.remove(path);
        problems
    }

    /// Appends `bytes`: how many of them are done with. The others have to be offered again when
    /// [`Logs::retry`] gives the path.
    pub(super) fn append(&mut self, path: &Path, bytes: &[u8], now: Instant) -> usize {
        self.by_path.get_mut(path).map_or(bytes.len(), |log| log.append(bytes, now))
    }

    /// Drops `bytes` and counts their lines.
    pub(super) fn give_up(&mut self, path: &Path, bytes: &[u8]) {
        if let Some(log) = self.by_path.get_mut(path) {
            log.drop_lines(bytes);
        }
    }

    /// What the user should know about the log.
    pub(super) fn take_problems(&mut self, path: &Path) -> Vec<String> {
        self.by_path.get_mut(path).map_or_else(Vec::new, Log::take_problems)
    }

    /// When [`Logs::retry`] has something to do.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.by_path.values().filter_map(|log| log.trouble.as_ref().map(|trouble| trouble.retry_at)).min()
    }

    /// Tries again what is due: the paths that may take bytes now.
    pub(super) fn retry(&mut self, now: Instant) -> Vec<PathBuf> {
        let due = |log: &Log| log.trouble.as_ref().is_some_and(|trouble| trouble.retry_at <= now);
        let logs = self.by_path.iter_mut().filter(|(_, log)| due(log));
        logs.map(|(path, log)| {
            log.trouble = None;
            log.note_gap(now);
            path.clone()
        })
        .collect()
    }
}

impl Log {
    fn new(spec: &LogSpec) -> Self {
        Self {
            file: LogFile::new(spec.path.clone(), spec.max_size, spec.keep),
            overflow: spec.overflow,
            users: 0,
            trouble: None,
            sick: false,
            told: None,
            gap: Gap::default(),
            problems: Vec::new(),
        }
    }

    fn adopt(state: LogState, fds: &mut Taken, now: Instant) -> io::Result<Self> {
        let trouble = state.trouble.map(|(left, waits)| Trouble { retry_at: now + left, waits });
        Ok(Self {
            file: LogFile::adopt(state.file, fds)?,
            overflow: if state.blocks { Overflow::Block } else { Overflow::Drop },
            users: 0,
            trouble,
            sick: state.sick,
            told: state.told.and_then(|passed| now.checked_sub(passed)),
            gap: state.gap,
            problems: state.problems,
        })
    }

    fn leave(self, fds: &mut Fds, now: Instant) -> LogState {
        let left = |trouble: Trouble| (trouble.retry_at.saturating_duration_since(now), trouble.waits);
        LogState {
            file: self.file.leave(fds),
            blocks: self.overflow == Overflow::Block,
            trouble: self.trouble.map(left),
            sick: self.sick,
            told: self.told.map(|told| now.saturating_duration_since(told)),
            gap: self.gap,
            problems: self.problems,
        }
    }

    fn append(&mut self, bytes: &[u8], now: Instant) -> usize {
        if self.trouble.as_ref().is_some_and(|trouble| now < trouble.retry_at) || !self.note_gap(now) {
            return self.refuse(bytes);
        }
        let rest = self.gap.resume(bytes);
        let skipped = bytes.len() - rest.len();
        let appended = self.file.append(rest, now);
        if let Some(error) = self.file.take_rotation_error() {
            self.tell(format!("could not rotate the log {}: {error}", self.file.path().display()), now);
        }
        if let Some(error) = appended.error {
            self.fail(&error, now);
            return skipped + appended.written + self.refuse(&rest[appended.written..]);
        }
        (self.trouble, self.sick) = (None, false);
        bytes.len()
    }

    /// What happens to bytes that the file does not take: how many of them are done with.
    fn refuse(&mut self, bytes: &[u8]) -> usize {
        if self.trouble.as_ref().is_some_and(|trouble| trouble.waits) {
            return 0;
        }
        self.drop_lines(bytes);
        bytes.len()
    }

    fn drop_lines(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.file.remove_torn_line();
            self.gap.add(bytes);
        }
    }

    /// Writes how many lines were dropped, where that is so; whether the log can be gone on with.
    fn note_gap(&mut self, now: Instant) -> bool {
        if !self.gap.is_open() {
            return true;
        }
        let lost = gap::lines(self.gap.count());
        let note = format!("[orch: {lost} dropped]\n");
        let appended = self.file.append(note.as_bytes(), now);
        if let Some(error) = appended.error {
            self.file.remove_torn_line();
            self.fail(&error, now);
            return false;
        }
        self.gap.take();
        self.sick = false;
        self.problems.push(format!("{lost} of output dropped from the log {}", self.file.path().display()));
        true
    }

    /// A full disk is waited for, if the component shall wait; it is better off without a log that is no
    /// file, or may not be written, than to stand still for good.
    fn fail(&mut self, error: &io::Error, now: Instant) {
        let waits = self.overflow == Overflow::Block && passes_by(error);
        self.trouble = Some(Trouble { retry_at: now + RETRY_AFTER, waits });
        if !std::mem::replace(&mut self.sick, true) {
            let path = self.file.path().display();
            let then = if waits {
                "its writers wait until there is room"
            } else {
                "lines are dropped until it can be"
            };
            self.tell(format!("could not write to the log {path}: {error}; {then}"), now);
        }
    }

    fn tell(&mut self, problem: String, now: Instant) {
        if self.told.is_none_or(|told| now.saturating_duration_since(told) >= TELL_EVERY) {
            self.told = Some(now);
            self.problems.push(problem);
        }
    }

    fn take_problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.problems)
    }
}

/// Whether the cause is one that goes away without anybody changing the log's path or rights.
fn passes_by(error: &io::Error) -> bool {
    let passing = [Errno::NOSPC, Errno::DQUOT, Errno::NOMEM, Errno::MFILE, Errno::NFILE];
    Errno::from_io_error(error).is_some_and(|errno| passing.contains(&errno))
}
