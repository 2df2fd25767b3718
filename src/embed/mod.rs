//! L6, beside the command line: a project run by the program that embeds orch. Everything that such a program
//! sees is declared here or re-exported by `lib.rs`; nothing here decides or acts.

mod error;
mod event;
mod handle;
mod view;

use std::path::PathBuf;
use std::sync::Arc;

use serde::de::DeserializeOwned;

pub use error::Error;
pub use event::{Event, EventKind, Events};
pub use handle::{Handle, Outcome};
pub use view::{ComponentKind, ComponentView};

use crate::runner::thread::{BoxError, Context, Registry, ThreadComponent};
use crate::runtime::{self, UpOptions};
use crate::types::Name;

/// A project that is about to be run by this process: the YAML file, the thread components that the program
/// adds, and what orch may take of the process.
///
/// Nothing of the process is taken unless it is asked for: see [`foreground`](Self::foreground),
/// [`signals`](Self::signals) and [`reexec`](Self::reexec). Output is in the log files in any case. What is
/// always so while a project runs: the process is a child subreaper, and one child process, the keeper, is there.
///
/// ```no_run
/// # use orch::{BoxError, Context, Orchestrator};
/// fn hello(name: String, cx: Context) -> Result<(), BoxError> {
///     cx.println(&format!("hello {name}"));
///     cx.stop_token().wait_forever();
///     Ok(())
/// }
///
/// # fn main() -> Result<(), orch::Error> {
/// let outcome = Orchestrator::from_file("devmode.yaml")
///     .register_fn("hello", hello)
///     .foreground(true)
///     .signals(true)
///     .run()?;
/// # drop(outcome);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing runs before `start` or `run`"]
pub struct Orchestrator {
    options: UpOptions,
    registry: Registry,
    only: Vec<String>,
}

impl Orchestrator {
    /// The project of this YAML file. The file is read by [`start`](Self::start), [`run`](Self::run) and
    /// [`check`](Self::check).
    pub fn from_file(file: impl Into<PathBuf>) -> Self {
        let options = UpOptions {
            file: file.into(),
            watch: true,
            restore: true,
            cgroups: std::env::var_os("ORCH_CGROUPS").is_none_or(|value| value != "off"),
            no_color: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
            ..UpOptions::default()
        };
        Self { options, registry: Registry::builtin(), only: Vec::new() }
    }

    /// Makes `C` known as `name`: a component with `thread: name` runs it. A name that is known already, also
    /// that of a built-in thread, means this one from now on.
    pub fn register<C: ThreadComponent>(mut self, name: &str) -> Self {
        self.registry.register::<C>(name);
        self
    }

    /// Makes a function known as `name`, called with `with` and the context of each run. A closure can hold what
    /// components share: each run finds it again.
    pub fn register_fn<W, F>(mut self, name: &str, run: F) -> Self
    where
        W: DeserializeOwned + 'static,
        F: Fn(W, Context) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        self.registry.register_fn(name, run);
        self
    }

    /// Starts only these components by itself, and what they need (`--only`).
    pub fn only(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.only = names.into_iter().map(Into::into).collect();
        self
    }

    /// Starts also the components of these profiles (`--profile`).
    pub fn profiles(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.options.profiles = names.into_iter().map(Into::into).collect();
        self
    }

    /// Where the state directory is to be; else it is `.orch`, beside the file (`--state-dir`).
    pub fn state_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.options.state_dir = Some(dir.into());
        self
    }

    /// Whether files are watched: those of the components, and the YAML file itself. They are, unless this says
    /// otherwise (`--no-watch`).
    pub fn watch(mut self, watch: bool) -> Self {
        self.options.watch = watch;
        self
    }

    /// Whether states are restored. They are, unless this says otherwise (`--no-restore`).
    pub fn restore(mut self, restore: bool) -> Self {
        self.options.restore = restore;
        self
    }

    /// Whether orch is what the process is for, as with `orch up`: the components' output and orch's messages
    /// are shown on the process's stdout and stderr; a panic hook has a component's panic printed to that
    /// component's output; the limit on open files is raised as far as the system allows. Off by default.
    pub fn foreground(mut self, foreground: bool) -> Self {
        self.options.foreground = foreground;
        self
    }

    /// Whether orch answers the process's signals, as `orch up` does: SIGINT and SIGTERM end the project in
    /// order, a second one by force; SIGHUP ends it, or has the file read again where there is no terminal.
    /// From then on, also after the project's end, these no longer end the process by themselves. Off by default.
    pub fn signals(mut self, signals: bool) -> Self {
        self.options.signals = signals;
        self
    }

    /// Whether a thread that does not return within its `stop.timeout` may be ended by a re-exec: the process
    /// starts its own program anew, with the same process id, arguments and environment, so that `main` runs
    /// again; it must come to this same `run` or `start`, which then goes on with the project. Whatever else
    /// the process held in memory is lost. Off by default: such a thread is `stuck` then.
    pub fn reexec(mut self, reexec: bool) -> Self {
        self.options.reexec = reexec;
        self
    }

    /// Checks the file, with what is registered, and starts nothing; gives its warnings as text.
    ///
    /// # Errors
    /// [`Error::Invalid`] with all that is wrong with the file; [`Error::Unknown`] for a name given to
    /// [`only`](Self::only).
    pub fn check(mut self) -> Result<String, Error> {
        self.resolve()?;
        Ok(runtime::check(&self.options, &Arc::new(self.registry))?)
    }

    /// Starts the project on a thread of its own, and returns when it is under way: the file is valid, the
    /// project is this process's, and the first components are being started.
    ///
    /// It ends by [`Handle::shutdown`], by itself as `orch up` does, or with the process.
    ///
    /// # Errors
    /// When it can't begin. Nothing has been started then.
    pub fn start(mut self) -> Result<Handle, Error> {
        self.resolve()?;
        let registry = Arc::new(self.registry);
        Handle::launch(move || runtime::assemble(&self.options, registry))
    }

    /// Runs the project on the calling thread until it ends.
    ///
    /// # Errors
    /// When it can't begin. Nothing has been started then.
    pub fn run(mut self) -> Result<Outcome, Error> {
        self.resolve()?;
        let left = runtime::assemble(&self.options, Arc::new(self.registry))?.run()?;
        Ok(Outcome::new(&left))
    }

    fn resolve(&mut self) -> Result<(), Error> {
        self.options.only = names(&self.only)?;
        Ok(())
    }
}

/// Names as orch knows them; what can't be one is no component's.
fn names<N: AsRef<str>>(texts: impl IntoIterator<Item = N>) -> Result<Vec<Name>, Error> {
    let name = |text: N| Name::new(text.as_ref()).map_err(|_| Error::Unknown(text.as_ref().to_owned()));
    texts.into_iter().map(name).collect()
}
