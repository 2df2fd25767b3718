//! What a thread component sees of orch.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::lock;
use super::output::Output;
use super::stop::StopToken;
use crate::runner::{ReportSink, RunnerReport};
use crate::types::{Name, UnitId};

/// Everything a thread component gets from orch, but its `with`.
///
/// It can be shared with threads that the component starts by itself; these must end before `run` returns.
/// What a late one still says or saves is passed over: it would be another incarnation's.
pub struct Context {
    ties: Arc<Ties>,
}

/// What ties a running component to orch; kept by the runner, too, to cut it at the end.
pub(super) struct Ties {
    pub(super) unit: UnitId,
    pub(super) name: Name,
    pub(super) sink: ReportSink,
    pub(super) stop: StopToken,
    pub(super) output: Output,
    pub(super) state_file: Option<PathBuf>,
    pub(super) restored: bool,
    pub(super) life: Mutex<Life>,
}

/// Held while something is said or saved, so that nothing is after the end.
#[derive(Default)]
pub(super) struct Life {
    ready: bool,
    ended: bool,
}

impl Ties {
    pub(super) fn report(&self, report: RunnerReport) {
        (self.sink)(report);
    }

    /// From here on the component is heard no more.
    pub(super) fn end(&self) {
        lock(&self.life).ended = true;
    }
}

impl Context {
    pub(super) fn new(ties: Arc<Ties>) -> Self {
        Self { ties }
    }

    /// The component's name in the project.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.ties.name
    }

    /// What is set when the component is asked to stop. It then has `stop.timeout` to return.
    #[must_use]
    pub fn stop_token(&self) -> &StopToken {
        &self.ties.stop
    }

    /// Prints a line to the component's output, where the output of a process would go, too. Waits while
    /// the output is full; that nobody reads it any more is no error.
    pub fn println(&self, line: &str) {
        self.ties.output.line(line);
    }

    /// The component's output as a writer.
    #[must_use]
    pub fn writer(&self) -> Output {
        self.ties.output.clone()
    }

    /// Says that the component is ready, where `ready: {notify: true}` waits for that. Once is enough.
    pub fn ready(&self) {
        let mut life = lock(&self.ties.life);
        if !life.ended && !life.ready {
            life.ready = true;
            self.ties.report(RunnerReport::Ready { unit: self.ties.unit });
        }
    }

    /// Gives a status line, shown by `orch ps`; the next replaces it.
    pub fn status(&self, text: &str) {
        let life = lock(&self.ties.life);
        if !life.ended {
            self.ties.report(RunnerReport::Status { unit: self.ties.unit, text: text.to_owned() });
        }
    }

    /// Where the component's state lies; `None` where it is declared without `state`.
    #[must_use]
    pub fn state_file(&self) -> Option<&Path> {
        self.ties.state_file.as_deref()
    }

    /// The state that was restored for this incarnation; `None` when it starts afresh.
    ///
    /// # Errors
    /// When the state file can't be read.
    pub fn restored(&self) -> io::Result<Option<Vec<u8>>> {
        match self.state_file() {
            Some(file) if self.ties.restored => {
                fs::read(file).map(Some).map_err(|error| about("read the restored state", file, &error))
            }
            _ => Ok(None),
        }
    }

    /// Saves the component's state: the file is replaced as a whole, by rename, so that a reader and a
    /// crash find either the old state or this one. At the end as well as at any time before.
    ///
    /// # Errors
    /// When the component is declared without `state`, or has ended, or the file can't be written.
    pub fn save(&self, state: &[u8]) -> io::Result<()> {
        let Some(file) = self.state_file() else {
            let hint = "the component has no state file; declare one with `state: true`";
            return Err(io::Error::new(io::ErrorKind::Unsupported, hint));
        };
        let life = lock(&self.ties.life);
        if life.ended {
            return Err(io::Error::other("the component has ended; its state is saved before `run` returns"));
        }
        replace(file, state).map_err(|error| about("save the state", file, &error))
    }
}

/// Replaces `file` as a whole. The bytes are on the disk before the name is theirs: otherwise a crash of
/// the machine could leave an empty file under it.
fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = file.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".tmp");
    let temporary = file.with_file_name(hidden);
    // One incarnation lives at a time and saves are in turn, so a file of that name is a dead one's.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = write_new(&temporary, bytes).and_then(|()| fs::rename(&temporary, file));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_new(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(file)?;
    file.write_all(bytes)?;
    file.sync_data()
}

fn about(what: &str, file: &Path, cause: &io::Error) -> io::Error {
    io::Error::new(cause.kind(), format!("{what} {}: {cause}", file.display()))
}
