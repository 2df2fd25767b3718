//! A project, from its file to its end: everything is made, in the one right order, then runs, then is taken
//! apart. For `orch up` and for embedding programs.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::announce::Announcer;
use super::clients::{Clients, Control};
use super::control::{self, Ending, Server};
use super::detach::Background;
use super::driver::{Driver, Parts};
use super::handover::{Descriptors, Handover};
use super::home::{Home, HomeError};
use super::inbox::{Inbox, Message};
use super::journal::Journal;
use super::lights::Lights;
use super::listening::Listening;
use super::notices;
use super::prepare::{States, why};
use super::recorder::Recorder;
use super::reexec::{self, Messages, Rest, Turn};
use super::registry;
use super::reload::Reloader;
use super::signals::{self, Signals};
use crate::config::model::Project;
use crate::config::{LoadOptions, Loaded, Threads, load, render};
use crate::notice::Notices;
use crate::output::{Output, OutputConfig, Terminal};
use crate::plan::chosen;
use crate::runner::keeper::{Cgroups, Keeper, sees_processes};
use crate::runner::thread::{Registry, ThreadRunner};
use crate::state::{ReplacedSink, Store};
use crate::supervisor::{Event, Setup, Supervisor, View};
use crate::types::{Name, Severity};
use crate::watch::Watcher;

/// How long the end may take when all units are gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a project is to be run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct UpOptions {
    /// The YAML file.
    pub file: PathBuf,
    /// Only these, and what they need; empty: all that is chosen.
    pub only: Vec<Name>,
    /// The profiles.
    pub profiles: Vec<String>,
    /// Whether files are watched.
    pub watch: bool,
    /// Whether states are restored.
    pub restore: bool,
    /// The state directory; `None`: `.orch` beside the file.
    pub state_dir: Option<PathBuf>,
    /// Whether units get cgroups of their own, where the system allows it.
    pub cgroups: bool,
    /// Whether the user wants no colours.
    pub no_color: bool,
    /// Whether orch is what the process is for: it shows output and messages on the process's stdout and stderr,
    /// has a panic of a thread printed to that thread's output, and raises the limit on open files. Else all
    /// that stays as it is.
    pub foreground: bool,
    /// Whether orch answers the process's SIGINT, SIGTERM and SIGHUP.
    pub signals: bool,
    /// Whether a thread that does not return may be ended by a re-exec of the process.
    pub reexec: bool,
    /// Whether the process is the orch command itself, so that another orch can take its place.
    pub upgrade: bool,
}

/// A project that is ours: everything is made, nothing is started.
pub struct Assembled {
    driver: Driver,
    messages: Messages,
    /// This is a new image.
    before: Option<Before>,
    /// What the file is warned of, rendered.
    warnings: String,
}

/// What a new image has to know of signals.
struct Before {
    /// Whether the first one had a terminal.
    had_terminal: bool,
    /// Where those are noted that came on the way.
    notes: Option<OwnedFd>,
}

/// What was left when a project had ended.
#[derive(Debug, Clone, Default)]
pub struct Left {
    /// The exit code of `orch up`.
    pub code: u8,
    /// The components, as they were in the end.
    pub views: Vec<View>,
}

/// Why nothing was started.
#[derive(Debug)]
pub enum UpError {
    /// The file is not valid; what is wrong, rendered.
    Invalid(String),
    /// Somebody else runs the project.
    Taken(String),
    /// A name that the project does not have.
    Unknown(Name),
    /// Something could not be done.
    Failed(String),
}

/// Runs a project until it ends, as `orch up` does.
///
/// Best called while the process has one thread: it forks the keeper.
///
/// # Errors
/// When it can't begin. Nothing has been started then.
pub fn up(options: &UpOptions) -> Result<Left, UpError> {
    assemble(options, Arc::new(Registry::builtin()))?.run()
}

/// Runs a project until it ends, as `orch up --detach` does: who waits in the front is told how it began.
///
/// # Errors
/// As of [`up`].
pub fn up_in_background(options: &UpOptions, mut background: Background) -> Result<Left, UpError> {
    match begin(options, Arc::new(Registry::builtin()), Some(&mut background)) {
        Ok(assembled) => {
            // Nothing was started yet, and nobody would know that it is there.
            let gone = |error| UpError::Failed(format!("whoever started it has gone: {error}"));
            background.begun(&assembled.warnings).map_err(gone)?;
            assembled.run()
        }
        Err(error) => {
            background.failed(&error);
            Err(error)
        }
    }
}

/// Reads the file as [`assemble`] does, and starts nothing. Gives the warnings, rendered.
///
/// # Errors
/// [`UpError::Invalid`] and [`UpError::Unknown`].
pub fn check(options: &UpOptions, registry: &Arc<Registry>) -> Result<String, UpError> {
    let loaded = load(&options.file, &load_options(options, registry));
    let report = render::human(&loaded.diagnostics, &loaded.sources, false);
    let Some(project) = loaded.project else { return Err(UpError::Invalid(report)) };
    chosen(&project, &options.profiles, &options.only).map_err(UpError::Unknown)?;
    Ok(report)
}

/// Whether this process was another image of orch before, and goes on with its project, whatever it is told.
#[must_use]
pub fn takes_over() -> bool {
    Handover::is_there()
}

/// Makes everything that it takes to run a project; or, where this process was another image before, takes it
/// over from that.
///
/// # Errors
/// When it can't begin.
pub fn assemble(options: &UpOptions, registry: Arc<Registry>) -> Result<Assembled, UpError> {
    let failed = |error: String| UpError::Failed(format!("can't take over from the image before: {error}"));
    // An orch command has one project, and what it was told is for the first image.
    let is_its =
        |of: &UpOptions| of.upgrade || (&of.file, &of.state_dir) == (&options.file, &options.state_dir);
    match Handover::take(is_its).map_err(|error| failed(error.to_string()))? {
        Some((handover, fds)) => take_over(handover, fds, &registry).map_err(failed),
        None => begin(options, registry, None),
    }
}

/// Goes on where another image of this process stopped.
fn take_over(
    handover: Handover,
    mut fds: Descriptors,
    registry: &Arc<Registry>,
) -> Result<Assembled, String> {
    let options = handover.options.clone();
    rename(&handover.name);
    let color = options.foreground && !options.no_color && std::io::stderr().is_terminal();
    let (inbox, messages) = mpsc::unbounded_channel();
    let project = Arc::clone(handover.core.project());
    let home =
        Home::adopt(&project.state_dir, std::mem::take(&mut fds.home)).map_err(|error| error.to_string())?;
    let events = home.dir().join("events.ndjson");
    let journal =
        Journal::open(&events).map_err(|error| format!("can't open {}: {error}", events.display()))?;
    let rest = Rest {
        threads: thread_runner(&options, &inbox, registry),
        journal,
        announcer: Announcer::new(color, &project.dir),
        reloader: Reloader::new(&options, load_options(&options, registry), color),
        home,
        environment: std::env::vars_os().collect(),
        inbox: inbox.clone(),
        clients: Clients::default(),
        listening: Listening::default(),
        lights: Lights::default(),
        messages: None,
    };
    let before = Some(Before { had_terminal: handover.had_terminal, notes: fds.signals.pop() });
    let driver = reexec::put_together(handover, fds, rest)?;
    drop(inbox.send(Message::Core(Event::Reexeced)));
    Ok(Assembled { driver, messages, before, warnings: String::new() })
}

fn begin(
    options: &UpOptions,
    registry: Arc<Registry>,
    background: Option<&mut Background>,
) -> Result<Assembled, UpError> {
    let at_first = options.foreground && !options.no_color && std::io::stderr().is_terminal();
    // The background is still heard on a terminal, and will soon write to a file.
    let color = at_first && background.is_none();
    let mut reloader = Reloader::new(options, load_options(options, &registry), color);
    let loaded = reloader.read();
    let report = render::human(&loaded.diagnostics, &loaded.sources, at_first);
    let Loaded { project: Some(project), .. } = loaded else { return Err(UpError::Invalid(report)) };
    let warned = loaded.diagnostics.iter().any(|one| one.severity == Severity::Warning);
    let project = Arc::new(project);
    let runs = chosen(&project, &options.profiles, &options.only).map_err(UpError::Unknown)?;

    let detached = background.is_some();
    let home = enter(&project, background)?;
    let (inbox, messages) = mpsc::unbounded_channel();
    let keeper = keeper(&home, options, &inbox).map_err(UpError::Failed)?;
    home.note(&keeper).map_err(|error| failed("write the lock in", home.dir(), &error))?;
    let threads = thread_runner(options, &inbox, &registry);
    let output = output(options, &project, &inbox)?;
    if warned {
        output.say(report.trim_end());
    }
    let events = home.dir().join("events.ndjson");
    let journal = Journal::open(&events).map_err(|error| failed("open", &events, &error))?;
    let store = Store::open(&project.state_dir, replaced(&inbox));
    let store = store.map_err(|error| UpError::Failed(why(&error)))?;
    let watcher = if options.watch { Some(watcher(&inbox)?) } else { None };
    let notices = Notices::new(home.dir(), notices::judge(&keeper), notices::sink(&inbox));
    let setup = Setup {
        project: Arc::clone(&project),
        chosen: runs,
        watching: options.watch,
        may_reexec: options.reexec,
        incarnations: incarnations(&project, &store),
        first_seq: journal.next_seq(),
        seed: u64::from(keeper.instance()),
    };
    let core = supervisor(setup);
    let control = listens(home.dir(), detached)?;
    let parts = Parts {
        core,
        keeper,
        threads,
        output,
        journal,
        states: States::new(store),
        listening: Listening::default(),
        watcher,
        notices,
        announcer: Announcer::new(color, &project.dir),
        reloader,
        home,
        control,
        environment: std::env::vars_os().collect(),
        options: options.clone(),
        inbox: inbox.clone(),
    };
    let mut driver = Driver::new(parts);
    driver.watch_project();
    drop(inbox.send(Message::Core(Event::Up)));
    Ok(Assembled { driver, messages, before: None, warnings: if warned { report } else { String::new() } })
}

fn supervisor(setup: Setup) -> Supervisor {
    if let Some(mut recorder) = Recorder::wanted() {
        recorder.setup(&setup);
    }
    Supervisor::new(setup)
}

/// Makes the project ours; what runs in the background has a log from then on.
fn enter(project: &Project, background: Option<&mut Background>) -> Result<Home, UpError> {
    // Before the sweep, which looks there for what an earlier orch has left.
    sees_processes().map_err(|error| UpError::Failed(error.to_string()))?;
    let home = Home::enter(&project.state_dir, &project.file).map_err(|error| match error {
        HomeError::Taken { .. } => UpError::Taken(error.to_string()),
        HomeError::Io { .. } => UpError::Failed(error.to_string()),
    })?;
    if let Some(background) = background {
        let settled = background.settle(home.dir());
        settled.map_err(|error| failed("write orch's own log in", home.dir(), &error))?;
    }
    Ok(home)
}

/// What a load is told, beside the file.
fn load_options(options: &UpOptions, registry: &Arc<Registry>) -> LoadOptions {
    LoadOptions {
        state_dir: options.state_dir.clone(),
        environment: std::env::vars_os().collect(),
        threads: Some(threads(registry)),
    }
}

/// What a load is told of the threads that there are.
#[must_use]
pub fn threads(registry: &Arc<Registry>) -> Threads {
    let names = registry.names().map(str::to_owned).collect();
    let registry = Arc::clone(registry);
    Threads { names, check: Arc::new(move |name, with| registry.listens(name, with)) }
}

impl Assembled {
    /// The way into it, for the time that it runs.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::new(&self.driver.parts.inbox)
    }

    /// Runs it until it ends.
    ///
    /// # Errors
    /// When the event loop can't be made, and nothing has been started then; or when there was to be a new image,
    /// and nothing could go on after there was none.
    pub fn run(self) -> Result<Left, UpError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| UpError::Failed(format!("can't start the event loop: {error}")))?;
        let ended = runtime.block_on(self.loop_until_end());
        // A worker that hangs on a dead disk must not keep orch.
        runtime.shutdown_timeout(PATIENCE);
        let (driver, code, server) = ended.map_err(UpError::Failed)?;
        let views = driver.shown();
        driver.finish(PATIENCE);
        server.into_iter().for_each(Ending::wait);
        Ok(Left { code, views })
    }

    async fn loop_until_end(mut self) -> Result<(Driver, u8, Option<Ending>), String> {
        let mut driver = self.driver;
        let mut signals = match &self.before {
            _ if !driver.parts.options.signals => Signals::default(),
            Some(before) => Signals::listen_again(before.had_terminal),
            None => Signals::listen(),
        };
        for number in self.before.and_then(|before| before.notes).map(signals::noted).into_iter().flatten() {
            driver.signalled(&signals.meaning(number));
        }
        let server = serve(&driver);
        let project = Arc::clone(driver.parts.core.project());
        registry::Registry::of_user().enter(&project.state_dir, &project.file);
        loop {
            match driver.run(&mut self.messages, &mut signals).await {
                Turn::Ended(code) => {
                    driver.clients.end(&driver.parts.core);
                    registry::Registry::of_user().leave(&project.state_dir);
                    let server = server.map(Server::end);
                    if !driver.parts.states.settled(PATIENCE).await {
                        tracing::warn!("the state store is still at work; the next start does the rest");
                    }
                    return Ok((driver, code, server));
                }
                Turn::Replace(program) => {
                    server.iter().for_each(Server::pause);
                    let replaced = reexec::replace(driver, program, &mut self.messages, &mut signals);
                    let (next, error) = replaced.await?;
                    driver = next;
                    server.iter().for_each(Server::resume);
                    // Behind what had been heard.
                    drop(driver.parts.inbox.send(Message::Core(Event::ReexecFailed { error })));
                }
            }
        }
    }
}

/// Makes the control socket. In the foreground orch runs without one, too.
fn listens(state_dir: &Path, detached: bool) -> Result<Option<OwnedFd>, UpError> {
    match control::listen(state_dir) {
        Ok(control) => Ok(Some(control)),
        // Nobody could look at it, nor end it.
        Err(error) if detached => Err(failed("listen in", state_dir, &error)),
        Err(error) => {
            tracing::warn!(%error, "there is no control socket");
            Ok(None)
        }
    }
}

/// Serves the control socket, if there is one. Without it, orch runs on.
fn serve(driver: &Driver) -> Option<Server> {
    let served = Server::start(driver.parts.control.as_ref()?, driver);
    served.inspect_err(|error| tracing::warn!(%error, "the control socket is not served")).ok()
}

/// The runner of threads; where orch is what the process is for, it prepares the process for them and for many
/// processes.
fn thread_runner(options: &UpOptions, inbox: &Inbox, registry: &Arc<Registry>) -> ThreadRunner {
    if options.foreground {
        raise_open_files();
        ThreadRunner::hook_panics();
    }
    let reports = inbox.clone();
    let sink = Arc::new(move |report| drop(reports.send(Message::Runner(report))));
    ThreadRunner::start(sink, Arc::clone(registry))
}

/// Tells the loop of state files that were replaced.
pub(super) fn replaced(inbox: &Inbox) -> ReplacedSink {
    let reports = inbox.clone();
    Arc::new(move |name, incarnation| drop(reports.send(Message::Replaced { name, incarnation })))
}

/// Gives the process the name that it had: that of what was executed is another one.
fn rename(name: &str) {
    // By its main thread's, whichever this one is.
    if let Err(error) = std::fs::write("/proc/self/comm", name) {
        tracing::debug!(%error, "the process keeps the name of what was executed");
    }
}

/// Makes a keeper that holds the project's locks, and reports into the inbox.
pub(super) fn keeper(home: &Home, options: &UpOptions, inbox: &Inbox) -> Result<Keeper, String> {
    let cgroups = if options.cgroups { Cgroups::WherePossible } else { Cgroups::Never };
    let reports = inbox.clone();
    let sink = Arc::new(move |report| drop(reports.send(Message::Runner(report))));
    Keeper::launch(&home.held(), cgroups, sink)
        .map_err(|error| format!("can't start the keeper of the processes: {error}"))
}

/// How output is shown.
pub(super) fn output_config(options: &UpOptions, project: &Project) -> OutputConfig {
    let shown = options.foreground && !options.no_color;
    let longest = project.components.iter().map(|spec| spec.name.as_str().len()).max().unwrap_or(0);
    OutputConfig {
        color: shown && std::io::stdout().is_terminal(),
        color_messages: shown && std::io::stderr().is_terminal(),
        prefix_width: longest.min(20),
    }
}

fn output(options: &UpOptions, project: &Project, inbox: &Inbox) -> Result<Output, UpError> {
    let config = output_config(options, project);
    let reports = inbox.clone();
    let start = || {
        let sink = Arc::new(move |report| drop(reports.send(Message::Output(report))));
        Output::start(config, terminal(options.foreground)?, sink)
    };
    start().map_err(|error| UpError::Failed(format!("can't start reading output: {error}")))
}

/// Where output is shown: where the process's own is, or nowhere.
pub(super) fn terminal(foreground: bool) -> std::io::Result<Terminal> {
    let dup = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned();
    if foreground {
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        return Ok(Terminal { stdout: dup(stdout.as_fd())?, stderr: dup(stderr.as_fd())? });
    }
    let null = OwnedFd::from(std::fs::File::options().write(true).open("/dev/null")?);
    Ok(Terminal { stdout: null.try_clone()?, stderr: null })
}

fn watcher(inbox: &Inbox) -> Result<Watcher, UpError> {
    let reports = inbox.clone();
    Watcher::start(Arc::new(move |report| drop(reports.send(Message::Watch(report)))))
        .map_err(|error| UpError::Failed(format!("can't watch files: {error}")))
}

fn incarnations(project: &Project, store: &Store) -> BTreeMap<Name, u64> {
    let last = |name: &Name| (name.clone(), store.last_incarnation(name));
    project.components.iter().map(|spec| last(&spec.name)).collect()
}

/// A thousand components take some thousand descriptors. Units get the limit that orch was started with.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit on open files stays as it is");
    }
}

fn failed(attempt: &str, path: &Path, error: &std::io::Error) -> UpError {
    UpError::Failed(format!("can't {attempt} {}: {error}", path.display()))
}
