//! What a thread component sees of orch.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ask::{Asks, SaveToken, StopToken, Wake};
use super::lock;
use super::output::Output;
use super::state::{StateReader, Stored, about};
use crate::runner::{ReportSink, RunnerReport};
use crate::types::{Name, Source, UnitId};

/// Everything a thread component gets from orch, but its `with`.
///
/// It can be shared with threads that the component starts by itself; these must end before `run` returns.
/// What a late one still says or saves is passed over: it would be another incarnation's.
pub struct Context {
    ties: Arc<Ties>,
    stop: StopToken,
    save: SaveToken,
}

/// What ties a running component to orch; kept by the runner, too, to cut it at the end.
pub(super) struct Ties {
    pub(super) unit: UnitId,
    pub(super) name: Name,
    pub(super) incarnation: u64,
    pub(super) sink: ReportSink,
    pub(super) asks: Asks,
    pub(super) output: Output,
    pub(super) state: Option<Stored>,
    pub(super) life: Mutex<Life>,
}

/// Held while something is said, so that nothing is after the end.
#[derive(Default)]
pub(super) struct Life {
    ready: bool,
    ended: bool,
}

impl Ties {
    pub(super) fn report(&self, report: RunnerReport) {
        (self.sink)(report);
    }

    /// From here on the component is heard no more. Waits for a save that a thread of its own has begun:
    /// until that is done, the component is not.
    pub(super) fn end(&self) {
        let _still = self.state.as_ref().map(Stored::still);
        lock(&self.life).ended = true;
    }

    fn alive(&self) -> io::Result<()> {
        if lock(&self.life).ended {
            return Err(io::Error::other("the component has ended; its state is saved before `run` returns"));
        }
        Ok(())
    }
}

impl Context {
    pub(super) fn new(ties: Arc<Ties>) -> Self {
        let (stop, save) = (ties.asks.stop_token(), ties.asks.save_token());
        Self { ties, stop, save }
    }

    /// The component's name in the project.
    #[must_use]
    pub fn name(&self) -> &str {
        self.ties.name.as_str()
    }

    /// The number of this run: 1, 2, 3 … over the life of the project's state directory.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.ties.incarnation
    }

    /// What is set when the component is asked to stop. It then has `stop.timeout` to return.
    #[must_use]
    pub fn stop_token(&self) -> &StopToken {
        &self.stop
    }

    /// What is set when the component is asked to save its state (`state.snapshot`), until it does.
    #[must_use]
    pub fn save_requested(&self) -> &SaveToken {
        &self.save
    }

    /// Sleeps for `at_most`, or until the component is asked to stop or to save, and says which.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use orch::{BoxError, Context, Wake};
    /// fn count((): (), cx: Context) -> Result<(), BoxError> {
    ///     let mut seconds: u64 = cx.restored()?.unwrap_or(0);
    ///     loop {
    ///         match cx.wait(Duration::from_secs(1)) {
    ///             Wake::Timeout => seconds += 1,
    ///             Wake::Save => cx.save(&seconds)?,
    ///             _ => return Ok(cx.save(&seconds)?),
    ///         }
    ///     }
    /// }
    /// ```
    pub fn wait(&self, at_most: Duration) -> Wake {
        self.ties.asks.wait(at_most)
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
        self.ties.state.as_ref().map(Stored::file)
    }

    /// Where the restored state comes from; `None` when the component starts afresh.
    #[must_use]
    pub fn restored_from(&self) -> Option<Source> {
        self.ties.state.as_ref().and_then(Stored::origin)
    }

    /// The state that was restored for this incarnation, as [`Context::save`] wrote it (JSON); `None` when it
    /// starts afresh. It is what was there at the start, whatever is saved meanwhile.
    ///
    /// # Errors
    /// When the state file can't be read, or is not a `T`. To end with this error is right: the state is
    /// tried once more, then set aside, and the component starts afresh.
    pub fn restored<T: DeserializeOwned>(&self) -> io::Result<Option<T>> {
        let Some(bytes) = self.restored_bytes()? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            let file = self.state_file().unwrap_or(Path::new(""));
            let why = format!("it is not what this component saves: {error}");
            about("the restored state", file, io::ErrorKind::InvalidData, &why)
        })
    }

    /// The bytes of the state that was restored for this incarnation: for a format of the component's own.
    ///
    /// # Errors
    /// When the state file can't be read.
    pub fn restored_bytes(&self) -> io::Result<Option<Vec<u8>>> {
        self.restored_reader()?.map(StateReader::all).transpose()
    }

    /// A reader of the state that was restored for this incarnation: for one that is too large for the memory.
    ///
    /// # Errors
    /// When the state file can't be opened.
    pub fn restored_reader(&self) -> io::Result<Option<StateReader>> {
        self.ties.state.as_ref().map_or(Ok(None), Stored::given)
    }

    /// Saves the component's state, as JSON: the file is replaced as a whole, by rename, so that a reader and a
    /// crash find either the old state or this one. At the end as well as at any time before. When it returns,
    /// the state is on the disk.
    ///
    /// # Errors
    /// When the component is declared without `state`, or has ended; when the state is larger than
    /// `state.max_size`, or can't be written. What was saved before is then as it was.
    pub fn save<T: Serialize + ?Sized>(&self, state: &T) -> io::Result<()> {
        self.save_with(|file| serde_json::to_writer(file, state).map_err(Into::into))
    }

    /// Saves bytes as the component's state: for a format of its own. Else as [`Context::save`].
    ///
    /// # Errors
    /// As for [`Context::save`].
    pub fn save_bytes(&self, state: &[u8]) -> io::Result<()> {
        self.save_with(|file| file.write_all(state))
    }

    /// Saves what `fill` writes as the component's state: for one that is too large to be built in memory. If
    /// `fill` fails or panics, nothing is saved. Else as [`Context::save`].
    ///
    /// # Errors
    /// As for [`Context::save`], and that of `fill`.
    pub fn save_with(&self, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let Some(state) = &self.ties.state else {
            let hint = "the component has no state file; declare one with `state: true`";
            return Err(io::Error::new(io::ErrorKind::Unsupported, hint));
        };
        let mut answered = 0;
        let begin = || {
            answered = self.ties.asks.saves();
            self.ties.alive()
        };
        state.save(begin, fill)?;
        self.ties.asks.answer(answered);
        Ok(())
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ties { name, incarnation, state, .. } = &*self.ties;
        f.debug_struct("Context")
            .field("name", name)
            .field("incarnation", incarnation)
            .field("state", state)
            .finish_non_exhaustive()
    }
}
