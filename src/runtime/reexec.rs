//! The change of images: everything is taken apart, handed over, and put together again by the new image; or
//! by this one, where there is no new image after all.
//!
//! Whatever can fail is tried first. From the moment when the keeper is let go of, nothing is lost that
//! happens: reports wait in its socket, output in its pipes, signals are blocked, saved files are compared with
//! what was known of them.

mod give;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::announce::Announcer;
use super::clients::Clients;
use super::driver::{Driver, Life, Parts, Purpose};
use super::exec::{self, Image};
use super::handover::{self, Descriptors, FORM, Handover, Heard, Places, Running, VARIABLE};
use super::home::Home;
use super::inbox::{Inbox, Message};
use super::journal::Journal;
use super::lights::Lights;
use super::listening::Listening;
use super::notices;
use super::prepare::{States, why};
use super::reload::Reloader;
use super::signals::{self, Diverted, Signals};
use super::spawn::Environment;
use super::up::{UpOptions, output_config, replaced, terminal};
use crate::config::model::Project;
use crate::notice::Notices;
use crate::output::{Output, OutputHandover};
use crate::runner::keeper::Keeper;
use crate::runner::thread::ThreadRunner;
use crate::state::Store;
use crate::supervisor::Event;
use crate::types::{RunId, UnitId};
use crate::watch::{WatchHandover, Watcher};
use give::give_hands;

/// So long the state store is waited for; what it does must not be done twice.
const STORE: Duration = Duration::from_secs(5);
/// So long the terminal is waited for; what it does not take is carried over.
const TERMINAL: Duration = Duration::from_millis(100);
/// So long the watcher may take to finish what it is looking at.
const WATCHER: Duration = Duration::from_secs(2);

/// What the loop ended with.
pub(crate) enum Turn {
    /// The project has ended, with this exit code.
    Ended(u8),
    /// A new image is to take over: this program, or the same one.
    Replace(Option<PathBuf>),
}

/// Messages, as the loop takes them.
pub(crate) type Messages = mpsc::UnboundedReceiver<Message>;

/// Becomes another image; comes back only if that failed, with a driver that goes on, and why.
///
/// # Errors
/// The old image can't go on either, for the system has no thread or descriptor left.
pub(crate) async fn replace(
    mut driver: Driver,
    program: Option<PathBuf>,
    messages: &mut Messages,
    listening: &mut Signals,
) -> Result<(Driver, String), String> {
    // Whoever waits for another program takes the end of the connection for that: it is told while there is time.
    if program.is_none() {
        driver
            .clients
            .not_upgraded("a thread does not return, and orch becomes itself anew for that; ask again");
    }
    let program = program.unwrap_or_else(|| PathBuf::from(exec::SAME));
    driver.let_go_of_helpers();
    if !driver.parts.states.idle(STORE).await {
        return Ok((driver, "the state store is still at work".to_owned()));
    }
    let Some(_still) = driver.parts.listening.still(STORE).await else {
        return Ok((driver, "the file of a socket is still being made".to_owned()));
    };
    let diverted = match divert(&driver) {
        Ok(diverted) => diverted,
        Err(error) => return Ok((driver, format!("signals could be lost: {error}"))),
    };
    driver.lights.leave().await;
    // What was heard before that is answered by this image; also what is only on its way from the handler to
    // the streams, which are filled when the loop has nothing to do.
    for _ in 0..3 {
        tokio::task::yield_now().await;
        while let Some(signalled) = listening.pending().await {
            driver.signalled(&signalled);
        }
    }
    // They may have ended the project: there is nothing to hand over then.
    let taken = match driver.exit {
        Some(_) => Err(Failed::AsBefore(Box::new(driver), "the project has ended".to_owned())),
        None => take_apart(driver, messages, listening.has_terminal()),
    };
    let (mut driver, error) = match taken {
        Ok((mut handover, mut fds, rest)) => {
            let error = match diverted.as_ref().map(Diverted::notes).transpose() {
                Ok(notes) => {
                    fds.signals = notes.into_iter().collect();
                    exec(&mut handover, &fds, &program)
                }
                Err(error) => format!("signals could be lost: {error}"),
            };
            (put_together(handover, fds, rest)?, error)
        }
        Err(Failed::AsBefore(driver, error)) => (*driver, error),
        Err(Failed::Lost(error)) => return Err(error),
    };
    for number in diverted.map(|diverted| signals::noted(diverted.undo())).into_iter().flatten() {
        driver.signalled(&listening.meaning(number));
    }
    Ok((driver, error))
}

/// Diverts the signals, where they are orch's.
fn divert(driver: &Driver) -> io::Result<Option<Diverted>> {
    driver.parts.options.signals.then(signals::divert).transpose()
}

/// Does not come back unless it fails; says why it did.
fn exec(handover: &mut Handover, fds: &Descriptors, program: &Path) -> String {
    let mut attempt = || -> io::Result<Infallible> {
        let document = handover.write(fds)?;
        let image = Image::new(program, (VARIABLE, handover::value(&document)))?;
        let mut kept = fds.all();
        kept.push(document.as_fd());
        image.exec(&kept)
    };
    let Err(error) = attempt();
    format!("can't become {}: {error}", program.display())
}

/// What is neither handed over nor of one image alone: it stays in this process if there is no new image, and
/// is made anew in one.
pub(crate) struct Rest {
    pub(crate) threads: ThreadRunner,
    pub(crate) journal: Journal,
    pub(crate) announcer: Announcer,
    pub(crate) reloader: Reloader,
    pub(crate) home: Home,
    pub(crate) environment: Environment,
    pub(crate) inbox: Inbox,
    pub(crate) clients: Clients,
    pub(crate) listening: Listening,
    pub(crate) lights: Lights,
    /// What was heard and not taken, whole; `None` in a new image, which has the handover's.
    pub(crate) messages: Option<Vec<Message>>,
}

/// Why there is no new image.
enum Failed {
    /// Nothing has been done.
    AsBefore(Box<Driver>, String),
    /// Something has been done that can't be undone.
    Lost(String),
}

fn take_apart(
    driver: Driver,
    messages: &mut Messages,
    had_terminal: bool,
) -> Result<(Handover, Descriptors, Rest), Failed> {
    let (shell, given) = give_hands(driver)?;
    // Nobody has begun anything since it was found to be free.
    let store =
        shell.states.into_store().map_err(|_| Failed::Lost("the state store is at work".to_owned()))?;
    let (store, store_fds) = store.hand_over();
    let (runs, stdins) = leave_runs(shell.lives);
    let (notices, notice_fds) = shell.talking.0.hand_over();
    // Last, for until here the hands may have reported.
    let messages = drain(messages);
    let reloaded =
        messages.iter().any(|message| matches!(message, Message::Reloaded(_) | Message::Reload { .. }));
    let (output, output_fds) = given.output;
    let (keeper, socket) = given.keeper;
    let ((sockets, socket_fds), (proxies, proxy_fds)) = (given.sockets, given.proxies);
    let handover = Handover {
        form: FORM,
        pid: std::process::id(),
        name: process_name(),
        watch: given.watch,
        core: shell.core,
        options: shell.options,
        keeper,
        output,
        store,
        sockets,
        proxies,
        notices,
        talks: shell.talking.1.into_iter().collect(),
        runs,
        helpers: shell.helping.into_iter().collect(),
        tasks: shell.tasks.into_iter().collect(),
        next_unit: shell.next_unit,
        next_ticket: shell.tickets.load(Ordering::Relaxed),
        images: shell.images + 1,
        observed: shell.observed.into_iter().collect(),
        env_files: shell.rest.reloader.env_files(),
        had_terminal,
        reload: shell.rest.reloader.is_reading() || reloaded,
        messages: messages.iter().filter_map(heard).collect(),
        fds: Places::default(),
    };
    let (home, control) = (given.home, given.control);
    let fds = Descriptors {
        keeper: socket,
        home,
        output: output_fds,
        store: store_fds,
        sockets: socket_fds,
        proxies: proxy_fds,
        notices: notice_fds,
        stdins,
        control,
        signals: Vec::new(),
    };
    Ok((handover, fds, Rest { messages: Some(messages), ..shell.rest }))
}

/// Puts a driver together, in whichever image. What had been heard is in its inbox; the caller says behind
/// that whether this is a new image.
///
/// # Errors
/// A hand can't go on: the system has no thread or descriptor left, or two things don't belong together.
pub(crate) fn put_together(handover: Handover, fds: Descriptors, rest: Rest) -> Result<Driver, String> {
    let Rest { threads, journal, announcer, mut reloader, home, environment, inbox, .. } = rest;
    let Rest { clients, listening, lights, messages, .. } = rest;
    let from_before = || handover.messages.into_iter().map(Message::from).collect();
    let same_image = messages.is_some();
    for message in messages.unwrap_or_else(from_before) {
        drop(inbox.send(message));
    }
    let (options, project) = (handover.options, Arc::clone(handover.core.project()));
    let output = adopt_output(&options, &project, &inbox, (handover.output, fds.output))?;
    let reports = inbox.clone();
    let sink = Arc::new(move |report| drop(reports.send(Message::Runner(report))));
    let keeper = Keeper::adopt(handover.keeper, fds.keeper, sink);
    let keeper = keeper.map_err(|error| format!("can't go on with the keeper of the processes: {error}"))?;
    let store = Store::adopt(&project.state_dir, replaced(&inbox), handover.store, fds.store);
    let states = States::new(store.map_err(|error| why(&error))?);
    let watcher = adopt_watcher(&inbox, handover.watch)?;
    let (judge, sink) = (notices::judge(&keeper), notices::sink(&inbox));
    let notices = Notices::adopt(&project.state_dir, judge, sink, handover.notices, fds.notices)
        .map_err(|error| format!("can't go on reading notify sockets: {error}"))?;
    // In the same image, whoever reads the file still tells.
    if !same_image {
        let adopted = listening.adopt(handover.sockets, fds.sockets);
        adopted.map_err(|error| format!("can't go on with the sockets: {error}"))?;
        reloader.watched_already(handover.env_files);
        if handover.reload {
            reloader.begin_again();
            drop(inbox.send(Message::Reloaded(None)));
        }
    }
    let (core, control) = (handover.core, fds.control.into_iter().next());
    let parts = Parts {
        core,
        keeper,
        threads,
        output,
        journal,
        states,
        listening,
        watcher,
        notices,
        announcer,
        reloader,
        home,
        control,
        environment,
        options,
        inbox,
    };
    let mut driver = Driver::new(parts);
    (driver.units, driver.lives) = take_runs(handover.runs, &handover.helpers, fds.stdins);
    driver.helping = handover.helpers.into_iter().collect();
    driver.tasks = handover.tasks.into_iter().collect();
    driver.units.extend(driver.tasks.units().map(|(id, unit)| (unit, Purpose::Task(id))));
    driver.tickets = Arc::new(AtomicU64::new(handover.next_ticket));
    driver.next_unit = handover.next_unit;
    driver.observed = handover.observed.into_iter().collect();
    driver.talks = handover.talks.into_iter().collect();
    driver.clients = clients;
    driver.lights = lights;
    if !same_image {
        let adopted = driver.adopt_clients(handover.proxies, fds.proxies);
        adopted.map_err(|error| format!("can't go on with the proxies' clients: {error}"))?;
    }
    driver.declare_logs();
    driver.images = handover.images - u64::from(same_image);
    driver.exclude_as_known();
    Ok(driver)
}

fn adopt_watcher(inbox: &Inbox, watch: Option<WatchHandover>) -> Result<Option<Watcher>, String> {
    let reports = inbox.clone();
    let sink = Arc::new(move |report| drop(reports.send(Message::Watch(report))));
    let adopted = watch.map(|watch| Watcher::adopt(sink, watch)).transpose();
    adopted.map_err(|error| format!("can't go on watching files: {error}"))
}

fn adopt_output(
    options: &UpOptions,
    project: &Project,
    inbox: &Inbox,
    (output, fds): (OutputHandover, Vec<OwnedFd>),
) -> Result<Output, String> {
    let reports = inbox.clone();
    let sink = Arc::new(move |report| drop(reports.send(Message::Output(report))));
    let adopted = terminal(options.foreground)
        .and_then(|terminal| Output::adopt(output_config(options, project), terminal, sink, output, fds));
    adopted.map_err(|error| format!("can't go on reading output: {error}"))
}

/// The runs in their written form, and the descriptors that they hold.
fn leave_runs(lives: BTreeMap<RunId, Life>) -> (Vec<Running>, Vec<OwnedFd>) {
    let mut stdins = Vec::new();
    let leave = |(run, life): (RunId, Life)| {
        let Life { unit, thread, spec, baseline, spawned, matched, probing, stdin, unwell, .. } = life;
        let unwell = unwell.load(Ordering::Relaxed);
        let stdin = stdin.map(|fd| {
            stdins.push(fd);
            stdins.len() - 1
        });
        Running { run, unit, thread, spec, baseline, spawned, matched, probing, stdin, unwell }
    };
    (lives.into_iter().map(leave).collect(), stdins)
}

fn take_runs(
    runs: Vec<Running>,
    helpers: &[(u64, UnitId)],
    stdins: Vec<OwnedFd>,
) -> (BTreeMap<UnitId, Purpose>, BTreeMap<RunId, Life>) {
    let mut stdins: Vec<Option<OwnedFd>> = stdins.into_iter().map(Some).collect();
    let help = |(ticket, unit): &(u64, UnitId)| (*unit, Purpose::Help { ticket: *ticket, reply: None });
    let mut units: BTreeMap<UnitId, Purpose> = helpers.iter().map(help).collect();
    let mut lives = BTreeMap::new();
    for running in runs {
        let Running { run, unit, thread, spec, baseline, spawned, matched, probing, stdin, unwell } = running;
        let stdin = stdin.and_then(|at| stdins.get_mut(at)?.take());
        units.insert(unit, Purpose::Run(run));
        let (probe, health, unwell) = (None, None, Arc::new(AtomicBool::new(unwell)));
        let life =
            Life { unit, thread, spec, baseline, spawned, probe, matched, probing, stdin, health, unwell };
        lives.insert(run, life);
    }
    (units, lives)
}

/// All that was heard and not taken.
fn drain(messages: &mut Messages) -> Vec<Message> {
    std::iter::from_fn(|| messages.try_recv().ok()).collect()
}

/// What of a message means something to another image.
fn heard(message: &Message) -> Option<Heard> {
    match message {
        Message::Core(Event::Run(run, event)) => Some(Heard::Run(*run, event.clone())),
        Message::Core(Event::Task(task, end)) => Some(Heard::Task(*task, end.clone())),
        Message::Core(Event::Command(command)) | Message::Command { command, .. } => {
            Some(Heard::Command(command.clone()))
        }
        Message::Shutdown { force } => Some(Heard::Shutdown { force: *force }),
        Message::Runner(report) => Some(Heard::Runner(report.clone())),
        Message::Output(report) => Some(Heard::Output(report.clone())),
        Message::Watch(report) => Some(Heard::Watch(report.clone())),
        Message::Notice(report) => Some(Heard::Notice(report.clone())),
        // Asked for again by the core, told again by the store, or for nobody who is there any more.
        Message::Core(_) | Message::Probe(_) | Message::Help { .. } | Message::EndHelp { .. } => None,
        Message::Replaced { .. } | Message::Reloaded(_) | Message::Drained { .. } => None,
        // Looked at again before the start.
        Message::Before { .. } | Message::Stranger { .. } => None,
        Message::Views { .. } | Message::Usage { .. } | Message::Subscribe { .. } => None,
        Message::Wait { .. } | Message::Why { .. } | Message::Declared { .. } => None,
        // Whoever wanted to know is gone with the image; the file is read anew.
        Message::Reload { .. } | Message::Plan { .. } => None,
        Message::Upgrade { .. } | Message::Candidate { .. } => None,
    }
}

impl From<Heard> for Message {
    fn from(heard: Heard) -> Self {
        match heard {
            Heard::Run(run, event) => Self::Core(Event::Run(run, event)),
            Heard::Task(task, end) => Self::Core(Event::Task(task, end)),
            Heard::Command(command) => Self::Core(Event::Command(command)),
            Heard::Shutdown { force } => Self::Shutdown { force },
            Heard::Runner(report) => Self::Runner(report),
            Heard::Output(report) => Self::Output(report),
            Heard::Watch(report) => Self::Watch(report),
            Heard::Notice(report) => Self::Notice(report),
        }
    }
}

/// The name that this process shows, and for which it would be looked.
fn process_name() -> String {
    std::fs::read_to_string("/proc/self/comm").unwrap_or_default().trim_end().to_owned()
}
