//! A running project in the hands of the program that embeds it.

use std::fmt;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

use super::error::Error;
use super::event::Events;
use super::names;
use super::view::ComponentView;
use crate::runtime::{Assembled, Control, Left, Unmet, UpError};
use crate::supervisor::Command;
use crate::types::Name;

/// A project that was started. Every clone means the same project, and can be used from any thread.
///
/// Commands return when what they ask for has come, as those of the command line do. Don't give one from the
/// thread of a component that it concerns: that would wait for itself.
#[derive(Clone)]
pub struct Handle {
    control: Control,
    end: Arc<End>,
}

/// How a project ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// The exit code that `orch up` would have: 0, or 1 where something failed.
    pub code: u8,
}

impl Outcome {
    pub(super) fn new(left: &Left) -> Self {
        Self { code: left.code }
    }

    /// Whether nothing had failed.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.code == 0
    }
}

/// The end of a project, waited for by whoever wants to know.
#[derive(Debug, Default)]
struct End {
    left: Mutex<Option<Result<Left, Error>>>,
    come: Condvar,
}

impl End {
    fn is(&self, left: Result<Left, Error>) {
        *self.lock() = Some(left);
        self.come.notify_all();
    }

    fn wait(&self) -> Result<Left, Error> {
        let waited = self.come.wait_while(self.lock(), |left| left.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).clone().unwrap_or(Err(Error::Ended))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Result<Left, Error>>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the end in any case, also when orch's own thread panics.
struct Teller(Arc<End>);

impl Drop for Teller {
    fn drop(&mut self) {
        if self.0.lock().is_none() {
            self.0.is(Err(Error::Failed("a fault in orch: its thread ended by a panic".to_owned())));
        }
    }
}

impl Handle {
    /// Makes a project on a thread of its own and runs it there; returns when it is made, or can't be.
    pub(super) fn launch(
        assemble: impl FnOnce() -> Result<Assembled, UpError> + Send + 'static,
    ) -> Result<Self, Error> {
        let end = Arc::new(End::default());
        let (made, hear) = mpsc::channel();
        let teller = Teller(Arc::clone(&end));
        let run = move || host(assemble, &made, &teller.0);
        Builder::new()
            .name("orch".to_owned())
            .spawn(run)
            .map_err(|error| Error::Failed(format!("start orch's thread: {error}")))?;
        match hear.recv() {
            Ok(control) => Ok(Self { control, end }),
            Err(_) => Err(end.wait().err().unwrap_or(Error::Ended)),
        }
    }

    /// Starts these components, and what they need that neither runs nor has completed. Returns when they are
    /// ready or completed; at once for what is ready.
    ///
    /// # Errors
    /// [`Error::Unknown`] for a name that the project does not have; [`Error::Unmet`] when one of them has failed,
    /// is blocked or is stopped; [`Error::Ended`] when the project ends before that.
    pub fn start<N: AsRef<str>>(&self, names: impl IntoIterator<Item = N>) -> Result<(), Error> {
        self.command(Command::Start, names)
    }

    /// Stops these components, and first what runs and needs them. They stay stopped until they are started
    /// again. Returns when nothing of them is left.
    ///
    /// # Errors
    /// As for [`Handle::start`]; [`Error::Unmet`] when one of them can't be ended, or was started again.
    pub fn stop<N: AsRef<str>>(&self, names: impl IntoIterator<Item = N>) -> Result<(), Error> {
        self.command(Command::Stop, names)
    }

    /// Stops and starts these components, and those that depend on them with `restart: true`. Returns when the
    /// next run of each of the named is ready or completed.
    ///
    /// # Errors
    /// As for [`Handle::start`].
    pub fn restart<N: AsRef<str>>(&self, names: impl IntoIterator<Item = N>) -> Result<(), Error> {
        self.command(Command::Restart, names)
    }

    /// Ends the project in order, and returns when nothing of it is left. A second call waits for the same end.
    ///
    /// # Errors
    /// When orch itself failed.
    pub fn shutdown(&self) -> Result<Outcome, Error> {
        self.control.shut_down(false);
        self.wait()
    }

    /// Ends the project at once: all its processes are force-killed.
    ///
    /// # Errors
    /// When orch itself failed.
    pub fn kill(&self) -> Result<Outcome, Error> {
        self.control.shut_down(true);
        self.wait()
    }

    /// Waits until the project has ended, by whatever way, and nothing of it is left.
    ///
    /// # Errors
    /// When orch itself failed.
    pub fn wait(&self) -> Result<Outcome, Error> {
        self.end.wait().map(|left| Outcome::new(&left))
    }

    /// Every component as it is now, by name; after the end, as it was then.
    #[must_use]
    pub fn components(&self) -> Vec<ComponentView> {
        let views = self.ask(|control, reply| control.views(move |views| drop(reply.send(views))));
        let views = views.or_else(|| self.end.wait().ok().map(|left| left.views)).unwrap_or_default();
        views.into_iter().map(ComponentView::new).collect()
    }

    /// One component as it is now; `None` if the project has none of that name.
    #[must_use]
    pub fn component(&self, name: &str) -> Option<ComponentView> {
        self.components().into_iter().find(|view| view.name == name)
    }

    /// What has happened since the project began (the last 1024 events at most), then what happens, until it
    /// has ended.
    #[must_use]
    pub fn events(&self) -> Events {
        Events::of(&self.control)
    }

    fn command<N: AsRef<str>>(
        &self,
        command: impl FnOnce(Vec<Name>) -> Command,
        texts: impl IntoIterator<Item = N>,
    ) -> Result<(), Error> {
        let command = command(names(texts)?);
        let done: Option<Result<(), Unmet>> =
            self.ask(|control, reply| control.command(command, move |done| drop(reply.send(done))));
        Ok(done.unwrap_or(Err(Unmet::Ending))?)
    }

    /// Asks the loop something, and waits for the answer; `None` when it has ended.
    fn ask<T>(&self, ask: impl FnOnce(&Control, Sender<T>)) -> Option<T> {
        let (reply, answer) = mpsc::channel();
        ask(&self.control, reply);
        answer.recv().ok()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("end", &self.end).finish_non_exhaustive()
    }
}

/// The life of orch's thread. The control is dropped unsent when nothing began; the end tells why.
fn host(assemble: impl FnOnce() -> Result<Assembled, UpError>, made: &Sender<Control>, end: &End) {
    let left = assemble().and_then(|assembled| {
        drop(made.send(assembled.control()));
        assembled.run()
    });
    end.is(left.map_err(Error::from));
}
