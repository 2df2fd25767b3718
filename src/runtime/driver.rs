//! The loop: message → event → core → actions → hands.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use tokio::sync::oneshot;

use super::announce::{Announcer, Paint};
use super::baseline::Baselines;
use super::clients::Clients;
use super::clock;
use super::control;
use super::helpers::NoExit;
use super::home::Home;
use super::inbox::{Inbox, Message};
use super::journal::Journal;
use super::lights::Lights;
use super::listening::Listening;
use super::notices::Talks;
use super::prepare::States;
use super::recorder::Recorder;
use super::reexec::{Messages, Turn};
use super::reload::{Read, Reloader};
use super::replaced::Replaced;
use super::signals::{Signalled, Signals};
use super::spawn::Environment;
use super::spins::Spins;
use super::tasks::Tasks;
use super::up::UpOptions;
use crate::config::Loaded;
use crate::config::model::{Component, Project};
use crate::notice::Notices;
use crate::output::{Output, OutputReport};
use crate::probe::{Baseline, HealthHandle, ProbeHandle};
use crate::runner::keeper::Keeper;
use crate::runner::thread::ThreadRunner;
use crate::runner::{Runner, RunnerReport};
use crate::supervisor::{Command, Event, RunEvent, Supervisor};
use crate::types::{Cid, Exit, Name, RunId, Scope, Signal, TaskId, Time, UnitId};
use crate::watch::{WatchKey, WatchReport, Watcher};

/// What the driver is made from.
pub(crate) struct Parts {
    pub(crate) core: Supervisor,
    pub(crate) keeper: Keeper,
    pub(crate) threads: ThreadRunner,
    pub(crate) output: Output,
    pub(crate) journal: Journal,
    pub(crate) states: States,
    pub(crate) listening: Listening,
    pub(crate) watcher: Option<Watcher>,
    pub(crate) notices: Notices,
    pub(crate) announcer: Announcer,
    pub(crate) reloader: Reloader,
    pub(crate) home: Home,
    /// The control socket, if there could be one.
    pub(crate) control: Option<OwnedFd>,
    pub(crate) environment: Environment,
    pub(crate) options: UpOptions,
    pub(crate) inbox: Inbox,
}

/// The parts, and what they are doing.
pub(crate) struct Driver {
    pub(crate) parts: Parts,
    /// What each unit is; units are never given the same number twice.
    pub(crate) units: BTreeMap<UnitId, Purpose>,
    pub(crate) lives: BTreeMap<RunId, Life>,
    pub(crate) helping: BTreeMap<u64, UnitId>,
    pub(crate) tickets: Arc<AtomicU64>,
    pub(crate) tasks: Tasks,
    pub(crate) next_unit: u32,
    /// What each slot was observed as last.
    pub(crate) observed: BTreeMap<Cid, Arc<Component>>,
    pub(crate) baselines: Baselines,
    /// How the probed files of runs were that are not started yet.
    pub(crate) before: BTreeMap<Cid, (RunId, Baseline)>,
    /// Who was told of last as one that answers in a component's place.
    pub(crate) strangers: BTreeMap<Name, String>,
    pub(crate) spins: Spins,
    /// How many processes were told of that belong to no component.
    pub(crate) strays: u32,
    /// The units that have a notify socket.
    pub(crate) talks: Talks,
    /// What is never watched, as of the project that is declared.
    pub(crate) excluded: Vec<PathBuf>,
    pub(crate) excluded_for: Option<Arc<Project>>,
    pub(crate) clients: Clients,
    pub(crate) lights: Lights,
    /// Where what the core is told is written down, if somebody wants that.
    recorder: Option<Recorder>,
    /// How many images this one has replaced.
    pub(crate) images: u64,
    pub(crate) exit: Option<u8>,
    /// A new image is to take over.
    pub(crate) reexec: Option<Option<PathBuf>>,
}

/// What a unit is for.
pub(crate) enum Purpose {
    /// A component's run.
    Run(RunId),
    /// A command beside a component's run.
    Task(TaskId),
    /// A command for a component's run; its end is told here.
    Help { ticket: u64, reply: Option<oneshot::Sender<Result<Exit, NoExit>>> },
}

/// A run that was spawned.
pub(crate) struct Life {
    pub(crate) unit: UnitId,
    pub(crate) thread: bool,
    pub(crate) spec: Arc<Component>,
    /// How its probed file was before it started.
    pub(crate) baseline: Baseline,
    /// When it was asked to be spawned.
    pub(crate) spawned: Time,
    pub(crate) probe: Option<ProbeHandle>,
    /// A line that the log probe wants came before it was asked.
    pub(crate) matched: bool,
    pub(crate) probing: bool,
    /// The other end of a standard input that never ends.
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) health: Option<HealthHandle>,
    /// Whether the last try of its health check failed.
    pub(crate) unwell: Arc<AtomicBool>,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            parts,
            units: BTreeMap::new(),
            lives: BTreeMap::new(),
            helping: BTreeMap::new(),
            tickets: Arc::default(),
            tasks: Tasks::default(),
            next_unit: 1,
            observed: BTreeMap::new(),
            baselines: Baselines::default(),
            before: BTreeMap::new(),
            strangers: BTreeMap::new(),
            spins: Spins::default(),
            strays: 0,
            talks: Talks::new(),
            excluded: Vec::new(),
            excluded_for: None,
            clients: Clients::default(),
            lights: Lights::default(),
            recorder: Recorder::wanted(),
            images: 0,
            exit: None,
            reexec: None,
        }
    }

    /// Runs until the core says that the project has ended, or that a new image is to take over.
    pub(crate) async fn run(&mut self, messages: &mut Messages, signals: &mut Signals) -> Turn {
        let mut replaced = Replaced::of(&self.parts.core.project().file);
        // It may have been replaced before that.
        self.relock();
        loop {
            if let Some(code) = self.exit {
                return Turn::Ended(code);
            }
            if let Some(program) = self.reexec.take() {
                return Turn::Replace(program);
            }
            let own = [self.tasks.next_deadline(), self.baselines.next_deadline()];
            let due = own.into_iter().chain([self.parts.core.next_deadline()]);
            let deadline = due.flatten().min();
            tokio::select! {
                message = messages.recv() => {
                    if let Some(message) = message {
                        self.take(message);
                    }
                }
                signalled = signals.next() => self.signalled(&signalled),
                () = replaced.next() => self.relock(),
                () = until(deadline) => {
                    self.end_late_tasks();
                    self.start_without();
                    self.step(Event::Deadline);
                }
            }
            self.answer_clients(messages.is_empty());
        }
    }

    /// After the loop: everything that is left is ended, and what is to be said is said.
    pub(crate) fn finish(self, patience: Duration) {
        let Parts { keeper, threads, output, states, listening, .. } = self.parts;
        let Parts { home, announcer, watcher, notices, control, .. } = self.parts;
        if control.is_some() {
            control::remove(home.dir());
        }
        if let Some(watcher) = watcher {
            watcher.let_go();
        }
        let left = keeper.shutdown(patience);
        listening.close(patience);
        drop(notices);
        if !left.killed.is_empty() {
            let list: Vec<String> =
                left.killed.iter().map(|one| format!("{} ({})", one.pid, one.command)).collect();
            output.say(
                &announcer.painted(Paint::Warn, &format!("ended what was left over: {}", list.join(", "))),
            );
        }
        if !left.complete {
            output.say(
                &announcer.painted(Paint::Bad, "some processes can't be ended; the keeper goes on trying"),
            );
        }
        states.close();
        if left.complete {
            home.leave();
        }
        output.finish(patience);
        threads.outlive(home);
    }

    /// Steps the core, and does what it wants done.
    pub(crate) fn step(&mut self, event: Event) {
        let now = clock::now();
        if let Some(recorder) = &mut self.recorder {
            recorder.step(now, &event);
        }
        let may_unwant = matches!(event, Event::Command(_) | Event::Edit { .. });
        let actions = self.parts.core.step(now, event);
        self.exclude();
        self.settle_sockets();
        self.relight();
        self.stay();
        for action in actions {
            self.act(action);
        }
        if may_unwant || self.parts.core.is_ending() {
            self.give_up_starts();
        }
        if let Some(news) = self.parts.journal.write() {
            self.say(Paint::Bad, &news);
        }
        self.clients.written();
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Core(event) => {
                if let Event::ReexecFailed { error } = &event {
                    self.clients.not_upgraded(error);
                }
                self.step(event);
            }
            Message::Runner(report) => self.runner_heard(report),
            Message::Notice(report) => self.notice_reports(report),
            Message::Output(report) => self.output_reports(report),
            Message::Watch(report) => self.watcher_reports(report),
            Message::Replaced { name, incarnation } => self.replaced(&name, incarnation),
            Message::Before { run, baseline } => drop(self.before.insert(run.component, (run, baseline))),
            Message::Drained { run } => self.drained(run),
            Message::Probe(report) => self.probe_reports(report),
            Message::Stranger { name, holder } => self.stranger(name, holder),
            Message::Help { ticket, run, command, reply } => self.help(ticket, run, &command, reply),
            Message::EndHelp { ticket } => self.end_help(ticket),
            Message::Upgrade { program, reply } => self.upgrade(program, reply),
            Message::Candidate { program, verdict } => self.candidate(program, verdict),
            Message::Reloaded(loaded) => self.reloaded(loaded),
            Message::Command { command, reply } => self.commanded(command, reply),
            Message::Wait { names, state, reply } => self.waited(names, state, reply),
            Message::Declared { reply } => self.declared(reply),
            Message::Why { name, reply } => self.explained(&name, reply),
            Message::Reload { reply } => self.reload_for(reply),
            Message::Plan { proposal, reply } => self.planned(proposal, reply),
            Message::Shutdown { force } => self.shut_down(force),
            Message::Views { reply } => self.show(reply),
            Message::Usage { reply } => reply.send(self.surveyed()),
            Message::Subscribe { after, subscriber } => self.subscribed(after, subscriber),
        }
    }

    fn reloaded(&mut self, loaded: Option<Box<Loaded>>) {
        let Parts { reloader, inbox, .. } = &mut self.parts;
        let (read, outcome) = match reloader.end(loaded, inbox) {
            Read::Again => return,
            Read::Broken(read) => return self.reload_broke(read),
            Read::Known(read) => return self.reload_ended(read, None),
            Read::News(read, outcome) => (read, outcome),
        };
        if let Some(message) = &outcome.message {
            self.put(message);
        }
        let errors = match &outcome.event {
            Event::EditRejected { errors } => Some(Arc::clone(errors)),
            _ => None,
        };
        if errors.is_some() {
            self.say(Paint::Bad, "the edit is not valid; everything runs on as it was");
        }
        self.step(outcome.event);
        self.watch_project();
        self.reload_ended(read, errors.as_ref());
    }

    pub(crate) fn signalled(&mut self, signal: &Signalled) {
        match signal {
            Signalled::Shutdown => {
                if self.parts.core.is_ending() {
                    self.parts.keeper.wake();
                }
                self.step(Event::Command(Command::Shutdown));
            }
            Signalled::Reload => self.reload(),
            Signalled::Resized => self.parts.output.resize(),
        }
    }

    pub(super) fn runner_reports(&mut self, report: RunnerReport) {
        use RunnerReport as Report;
        match report {
            Report::Spawned { unit, pid } => self.tell(unit, RunEvent::Spawned { pid }),
            Report::SpawnFailed { unit, error } => self.spawn_failed(unit, error),
            Report::Exited { unit, exit } => self.exited(unit, exit),
            Report::Gone { unit } => self.gone(unit),
            Report::Main { unit, pid, accepted } => self.main_named(unit, pid, accepted),
            Report::Killed { unit, pids } => self.tell(unit, RunEvent::Killed { pids }),
            Report::Unkillable { unit } => self.tell(unit, RunEvent::Unkillable),
            Report::Ready { unit } => self.tell(unit, RunEvent::Ready),
            Report::Status { unit, text } => self.tell(unit, RunEvent::Status { text }),
            Report::Stray { pid, command } => self.strayed(pid, &command),
            Report::KeeperLost => self.renew_keeper(),
            Report::Lost { unit } => self.lost(unit),
        }
    }

    pub(crate) fn tell(&mut self, unit: UnitId, event: RunEvent) {
        if let Some(Purpose::Run(run)) = self.units.get(&unit) {
            self.step(Event::Run(*run, event));
        }
    }

    fn exited(&mut self, unit: UnitId, exit: Exit) {
        match self.units.get_mut(&unit) {
            Some(Purpose::Run(run)) => {
                let run = *run;
                // Nothing of a run is asked any more when its leader has ended.
                if let Some(life) = self.lives.get_mut(&run) {
                    life.asked_to_stop();
                }
                self.step(Event::Run(run, RunEvent::Exited(exit)));
            }
            Some(Purpose::Task(task)) => {
                let task = *task;
                self.task_exited(task, exit);
            }
            Some(Purpose::Help { reply, .. }) => {
                if let Some(reply) = reply.take() {
                    let _ = reply.send(Ok(exit));
                }
                self.parts.keeper.kill(unit);
            }
            None => {}
        }
    }

    pub(super) fn gone(&mut self, unit: UnitId) {
        if let Some(Purpose::Task(task)) = self.units.get(&unit) {
            return self.task_gone(*task);
        }
        self.tell(unit, RunEvent::Gone);
        if let Some(Purpose::Help { ticket, .. }) = self.units.get(&unit) {
            self.helping.remove(ticket);
            self.units.remove(&unit);
            self.parts.output.close(unit);
        }
    }

    fn output_reports(&mut self, report: OutputReport) {
        match report {
            OutputReport::Matched { unit } => {
                let Some(Purpose::Run(run)) = self.units.get(&unit) else { return };
                let run = *run;
                let Some(life) = self.lives.get_mut(&run) else { return };
                life.matched = true;
                if life.probing {
                    self.step(Event::Run(run, RunEvent::Ready));
                }
            }
            OutputReport::Remembered { unit, place, tail } => {
                if let Some(Purpose::Task(task)) = self.units.get(&unit) {
                    self.task_said(*task, place, tail);
                }
            }
            OutputReport::Ended { unit } => match self.units.get(&unit) {
                Some(Purpose::Task(task)) => self.task_read(*task),
                _ => self.tell(unit, RunEvent::OutputEnded),
            },
            OutputReport::Resized { unit } => {
                self.parts.keeper.signal(unit, Signal::WINCH, Scope::Group);
            }
            OutputReport::Problem { message, .. } => self.say(Paint::Warn, &message),
        }
    }

    fn watcher_reports(&mut self, report: WatchReport) {
        match report {
            WatchReport::Changed { key: WatchKey::Component(component), paths } => {
                self.step(Event::Changed { component, paths });
            }
            WatchReport::Busy { key: WatchKey::Component(component) } => self.step(Event::Busy { component }),
            WatchReport::Changed { key: WatchKey::Project, .. } => self.reload(),
            WatchReport::Problem { message, .. } => self.say(Paint::Warn, &message),
            WatchReport::Ready { key: WatchKey::Component(component) } => {
                if let Some((run, spec)) = self.baselines.known(component) {
                    self.prepare(run, &spec);
                }
            }
            WatchReport::Ready { key: WatchKey::Project } => {
                if self.parts.reloader.missed_an_edit() {
                    self.reload();
                }
            }
            WatchReport::Sifted { key: WatchKey::Component(component) } => {
                self.step(Event::Sifted { component })
            }
            WatchReport::Busy { key: WatchKey::Project } | WatchReport::Sifted { key: WatchKey::Project } => {
            }
        }
    }

    /// Reads the file again; another file may have taken its place.
    pub(crate) fn reload(&mut self) {
        self.read_again();
    }

    /// The same; gives the number of the read.
    pub(crate) fn read_again(&mut self) -> u64 {
        let Parts { reloader, inbox, .. } = &mut self.parts;
        let read = reloader.begin(inbox);
        self.relock();
        read
    }

    /// Locks the file that has the YAML file's name now.
    fn relock(&mut self) {
        let Parts { core, home, keeper, .. } = &mut self.parts;
        match home.relock(&core.project().file) {
            Ok(true) => {
                if let Err(error) = keeper.hold(&home.held()) {
                    tracing::debug!(%error, "the keeper does not hold the new file's lock");
                }
            }
            Ok(false) => {}
            Err(error) => self.say(Paint::Bad, &format!("the file was replaced, and {error}")),
        }
    }

    pub(crate) fn watch_project(&mut self) {
        let project = Arc::clone(self.parts.core.project());
        if let Some(watcher) = &self.parts.watcher {
            watcher.set(WatchKey::Project, self.parts.reloader.watched(&project));
        }
        self.declare_logs();
    }

    /// Has those who follow logs know which there are, and hear when something is written.
    pub(crate) fn declare_logs(&self) {
        self.clients.logs.declare(self.parts.core.project());
        self.clients.logs.hears(&self.parts.output);
    }

    /// A running component has put a state file in place.
    fn replaced(&mut self, name: &Name, incarnation: u64) {
        if let Some(component) = self.parts.core.find(name.as_str()) {
            self.step(Event::Run(RunId { component, incarnation }, RunEvent::Replaced));
        }
    }
}

async fn until(deadline: Option<Time>) {
    match deadline {
        Some(deadline) => tokio::time::sleep(deadline.since(clock::now())).await,
        None => std::future::pending().await,
    }
}
