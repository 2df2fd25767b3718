//! The actions, each carried out by one hand. Nothing here waits, and nothing here decides.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::announce::Paint;
use super::clock;
use super::driver::{Driver, Life, Purpose};
use super::helpers::Helpers;
use super::inbox::Message;
use super::lights::Asking;
use super::prepare;
use super::spawn::{self, Facts, Invocation};
use crate::config::model::{Command, Component, Kind, Probe, Project, Stdin, Terminal};
use crate::output::{LogSpec, StreamSpec};
use crate::probe::{self, Baseline};
use crate::runner::keeper::ProcessSpec;
use crate::runner::thread::{ThreadSpec, ThreadState};
use crate::runner::{Runner, Scope};
use crate::supervisor::{Action, Event, RunEvent, Source};
use crate::types::{Cid, Name, RunId, Signal, TaskKind, UnitId};
use crate::watch::{WatchKey, WatchSpec};

impl Driver {
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Prepare { run, spec } => {
                if let Some((run, spec)) = self.baselines.hold((run, spec)) {
                    self.prepare(run, &spec);
                }
            }
            Action::Spawn { run, spec, restored } => self.spawn(run, spec, restored),
            Action::Probe { run, spec } => self.probe(run, &spec),
            Action::Stop { run, signal, scope, drain } => {
                self.stop_drained(run, Asking::Signal(signal, scope), drain);
            }
            Action::Signal { run, signal, scope } => self.signal(run, signal, scope),
            Action::Kill { run } => {
                if let Some(life) = self.lives.get(&run) {
                    self.runner(life.thread).kill(life.unit);
                }
            }
            Action::CheckHealth { run, spec, asked } => self.check_health(run, &spec, asked),
            Action::RunTask { task, kind: TaskKind::Stop, spec, run: Some(run), timeout, drain } => {
                self.stop_drained(run, Asking::Command { task, spec, timeout }, drain);
            }
            Action::RunTask { task, kind, spec, run, timeout, .. } => {
                self.run_task(task, kind, &spec, run, timeout);
            }
            Action::EndTask { task } => self.end_task(task),
            Action::Release { component } => {
                self.release(component);
                self.darken(component);
            }
            Action::CloseOutput { run } => {
                if let Some(life) = self.lives.get(&run) {
                    self.parts.output.close(life.unit);
                }
            }
            Action::Seal { run, spec, end } => {
                self.parts.states.cancel_snapshots(&spec.name, run.incarnation);
                prepare::seal(&self.parts.inbox, &self.parts.states, run, &spec, end);
            }
            Action::TakeBack { run, spec } => {
                prepare::take_back(&self.parts.inbox, &self.parts.states, run, spec.name.clone());
            }
            Action::UseState { run, spec, generation } => {
                prepare::used(&self.parts.states, run, spec.name.clone(), generation);
            }
            Action::Snapshot { run, spec } => {
                prepare::snapshot(&self.parts.inbox, &self.parts.states, run, &spec);
            }
            Action::AskState { run, signal } => self.ask_state(run, signal),
            Action::Reexec { program } => self.reexec = Some(program),
            Action::Observe { component, spec } => self.observe(component, spec),
            Action::Sift { component } => match &self.parts.watcher {
                Some(watcher) => watcher.sift(WatchKey::Component(component)),
                None => drop(self.parts.inbox.send(Message::Core(Event::Sifted { component }))),
            },
            Action::Forget { component } => self.forget(component),
            Action::Record(record) => {
                self.shine(&record);
                self.reach(&record);
                if let Some(line) = self.parts.announcer.line(&record, self.stays(&record)) {
                    self.put(&line);
                }
                self.note_spin(&record);
                self.parts.journal.add(&record);
                self.clients.tell(record);
            }
            Action::Exit { code } => self.exit = Some(code),
        }
    }

    pub(super) fn prepare(&self, run: RunId, spec: &Arc<Component>) {
        let (parts, sockets) = (&self.parts, self.bind(run, spec));
        let project = parts.core.project();
        prepare::prepare(&parts.inbox, &parts.states, run, spec, project, (sockets, parts.options.restore));
    }

    fn runner(&self, thread: bool) -> &dyn Runner {
        if thread { &self.parts.threads } else { &self.parts.keeper }
    }

    /// Asks a run to stop. What is asked to stop is not asked any more whether it is ready.
    pub(super) fn stop(&mut self, run: RunId, signal: Signal, scope: Scope) {
        let Some(life) = self.lives.get_mut(&run) else { return };
        life.asked_to_stop();
        let (unit, thread) = (life.unit, life.thread);
        self.part(run);
        self.runner(thread).stop(unit, signal, scope);
    }

    /// Sends a signal that means what `watch.action` makes of it.
    fn signal(&self, run: RunId, signal: Signal, scope: Scope) {
        let Some(life) = self.lives.get(&run) else { return };
        self.runner(life.thread).signal(life.unit, signal, scope);
    }

    /// Asks a run to write its state file; no other process of its unit knows what that signal means.
    fn ask_state(&self, run: RunId, signal: Signal) {
        match self.lives.get(&run) {
            Some(life) if life.thread => self.parts.threads.ask_state(life.unit),
            Some(life) => self.parts.keeper.signal(life.unit, signal, Scope::Leader),
            None => {}
        }
    }

    pub(super) fn new_unit(&mut self, purpose: Purpose) -> UnitId {
        let unit = UnitId(self.next_unit);
        self.next_unit += 1;
        self.units.insert(unit, purpose);
        unit
    }

    fn spawn(&mut self, run: RunId, spec: Arc<Component>, restored: Option<Source>) {
        self.retire(run.component);
        self.parts.states.note_incarnation(&spec.name, run.incarnation);
        let unit = self.new_unit(Purpose::Run(run));
        let started = match &spec.kind {
            Kind::Process(command) => self.spawn_process(unit, run, &spec, command, restored),
            Kind::Thread { runner, with, .. } => {
                self.spawn_thread(unit, run, &spec, (runner, with), restored)
            }
        };
        match started {
            Ok(life) => {
                self.lives.insert(run, life);
            }
            Err(error) => {
                self.units.remove(&unit);
                self.close_notices(unit);
                self.answer(run, RunEvent::SpawnFailed { error });
            }
        }
    }

    /// Answers by way of the queue: an action never steps the core.
    pub(super) fn answer(&self, run: RunId, event: RunEvent) {
        let _ = self.parts.inbox.send(Message::Core(Event::Run(run, event)));
    }

    /// Forgets the earlier runs of a component: they are gone, and have said all that counts.
    fn retire(&mut self, component: Cid) {
        let first = RunId { component, incarnation: 0 };
        let last = RunId { component, incarnation: u64::MAX };
        let old: Vec<RunId> = self.lives.range(first..=last).map(|(run, _)| *run).collect();
        for run in old {
            if let Some(life) = self.lives.remove(&run) {
                self.units.remove(&life.unit);
            }
        }
    }

    fn spawn_process(
        &mut self,
        unit: UnitId,
        run: RunId,
        spec: &Arc<Component>,
        command: &Command,
        restored: Option<Source>,
    ) -> Result<Life, String> {
        let more = match (&spec.state, restored) {
            (Some(state), Some(_)) => state.restart_args.as_slice(),
            (Some(_) | None, Some(_) | None) => &[],
        };
        let mut invocation = self.invocation(run, spec, command, more, restored)?;
        self.open_notices(unit, spec, &mut invocation.env)?;
        let extra = invocation.pass(self.descriptors(spec)?);
        let (stdin, rest) = match spec.stdin {
            Stdin::Null => (None, None),
            Stdin::Open => {
                let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
                let (read, write) =
                    pipe.map_err(|error| format!("can't make its standard input: {error}"))?;
                (Some(read), Some(write))
            }
        };
        let mut life = Life::new(unit, false, spec, self.baseline(run, spec));
        life.stdin = rest;
        let output = self.open_output(unit, spec, true)?;
        self.parts.keeper.spawn(unit, ProcessSpec { extra, ..process(invocation, stdin, output) });
        Ok(life)
    }

    /// How the file was that its probe asks for, as its preparation has found.
    fn baseline(&mut self, run: RunId, spec: &Component) -> Baseline {
        match self.before.remove(&run.component) {
            Some((of, baseline)) if of == run => baseline,
            _ => spec.ready.as_ref().map(|ready| Baseline::take_now(&ready.probe)).unwrap_or_default(),
        }
    }

    pub(super) fn invocation(
        &self,
        run: RunId,
        spec: &Component,
        command: &Command,
        more: &[String],
        restored: Option<Source>,
    ) -> Result<Invocation, String> {
        let control = self.parts.home.dir().join("control.sock");
        let facts = Facts {
            project: &self.parts.core.project().name,
            incarnation: Some(run.incarnation),
            restored: restored.map(Source::word),
            control: &control,
        };
        let env = spawn::environment(&self.parts.environment, spec, &facts);
        spawn::invocation(command, more, &spec.cwd, env)
    }

    fn spawn_thread(
        &mut self,
        unit: UnitId,
        run: RunId,
        spec: &Arc<Component>,
        (runner, with): (&str, &serde_yaml::Value),
        restored: Option<Source>,
    ) -> Result<Life, String> {
        let life = Life::new(unit, true, spec, self.baseline(run, spec));
        let output = self.open_output(unit, spec, true)?;
        let thread = ThreadSpec {
            name: spec.name.clone(),
            runner: runner.to_owned(),
            with: with.clone(),
            output,
            incarnation: run.incarnation,
            state: spec.state.as_ref().map(|state| ThreadState {
                file: state.file.clone(),
                max_size: state.max_size,
                restored,
            }),
            around: self.around(spec),
        };
        self.parts.threads.spawn(unit, thread);
        Ok(life)
    }

    pub(super) fn open_output(
        &self,
        unit: UnitId,
        spec: &Component,
        own: bool,
    ) -> Result<std::os::fd::OwnedFd, String> {
        let pattern = spec.ready.as_ref().filter(|_| own).and_then(|ready| match &ready.probe {
            Probe::Log(pattern) => regex::bytes::Regex::new(pattern).ok(),
            _ => None,
        });
        let stream = StreamSpec {
            label: spec.name.to_string(),
            log: Some(self.log(spec)),
            matcher: pattern,
            show: true,
            remember: false,
        };
        self.open_stream(unit, spec, stream)
    }

    /// Opens a stream of a component or of one of its helpers, as a pipe or as a terminal.
    pub(super) fn open_stream(
        &self,
        unit: UnitId,
        spec: &Component,
        stream: StreamSpec,
    ) -> Result<std::os::fd::OwnedFd, String> {
        // What a thread of orch's own writes is coloured by nobody's `isatty`.
        let drawn = spec.logs.terminal == Terminal::Pty && matches!(spec.kind, Kind::Process(_));
        let (made, what) = if drawn {
            (self.parts.output.open_terminal(unit, stream), "terminal")
        } else {
            (self.parts.output.open(unit, stream), "pipe")
        };
        made.map_err(|error| format!("can't make the {what} for its output: {error}"))
    }

    pub(super) fn log(&self, spec: &Component) -> LogSpec {
        let default = || self.parts.home.dir().join("logs").join(format!("{}.log", spec.name));
        LogSpec {
            path: spec.logs.file.clone().unwrap_or_else(default),
            max_size: spec.logs.max_size,
            keep: spec.logs.keep,
            overflow: spec.logs.overflow,
        }
    }

    fn probe(&mut self, run: RunId, spec: &Component) {
        let Some(ready) = spec.ready.as_ref() else { return };
        let inbox = self.parts.inbox.clone();
        let Some(life) = self.lives.get_mut(&run) else { return };
        life.probing = true;
        if life.matched {
            return self.answer(run, RunEvent::Ready);
        }
        let helpers = Arc::new(Helpers::new(inbox.clone(), run, Arc::clone(&self.tickets)));
        let sink = Arc::new(move |report| drop(inbox.send(Message::Probe(report))));
        let probe = match &ready.probe {
            // Counted from the start, also where another image of orch has begun to count.
            Probe::Delay(delay) => Probe::Delay(delay.saturating_sub(clock::now().since(life.spawned))),
            probe => probe.clone(),
        };
        life.probe = Some(probe::start(life.unit, &probe, ready.interval, life.baseline, helpers, sink));
    }

    // ── Observation ────────────────────────────────────────────────────────────────────────────────────

    fn observe(&mut self, component: Cid, spec: Arc<Component>) {
        let before = self.observed.insert(component, Arc::clone(&spec));
        if before.as_ref().is_some_and(|old| old.logs != spec.logs) {
            let log = self.log(&spec);
            let of = |life: &&Life| life.spec.name == spec.name;
            if let Some(life) = self.lives.values().rev().find(of) {
                self.parts.output.relog(life.unit, log);
            }
        }
        let watched = before.as_ref().map(|old| (old.watch.as_ref(), ready_file(old)));
        if watched.unwrap_or_default() != (spec.watch.as_ref(), ready_file(&spec)) {
            self.watch(component, &spec);
        }
    }

    fn watch(&mut self, component: Cid, spec: &Component) {
        let Some(watcher) = self.parts.watcher.as_ref() else { return };
        let key = WatchKey::Component(component);
        let Some(watch) = &spec.watch else { return watcher.remove(key) };
        self.baselines.ask(component, clock::now());
        let spec = WatchSpec {
            root: self.parts.core.project().dir.clone(),
            paths: watch.paths.clone(),
            ignore: watch.ignore.clone(),
            gitignore: watch.gitignore,
            poll: watch.poll,
            settle: watch.settle,
            mark: ready_file(spec).map(Path::to_path_buf),
        };
        watcher.set(key, spec);
    }

    /// After an edit: another component's new log file may lie in a folder that is watched already.
    pub(super) fn exclude(&mut self) {
        let project = self.parts.core.project();
        if self.excluded_for.as_ref().is_some_and(|known| Arc::ptr_eq(known, project)) {
            return;
        }
        self.excluded_for = Some(Arc::clone(project));
        let excluded = never_watched(project);
        if self.excluded != excluded {
            if let Some(watcher) = &self.parts.watcher {
                watcher.exclude(project.dir.clone(), excluded.clone());
            }
            self.excluded = excluded;
        }
    }

    /// What is watched now leaves out what it should, as another image saw to.
    pub(super) fn exclude_as_known(&mut self) {
        let project = self.parts.core.project();
        self.excluded = never_watched(project);
        self.excluded_for = Some(Arc::clone(project));
    }

    fn forget(&mut self, component: Cid) {
        let Some(spec) = self.observed.remove(&component) else { return };
        if let (Some(watcher), Some(_)) = (&self.parts.watcher, &spec.watch) {
            watcher.remove(WatchKey::Component(component));
        }
        let name: Name = spec.name.clone();
        self.retire(component);
        self.release(component);
        self.parts.notices.release(&name);
        self.parts.states.forget(&name);
        self.say(Paint::Plain, &format!("{name}: removed"));
    }
}

impl Life {
    /// What is asked to stop, or has ended, is not asked any more whether it is ready, or well.
    pub(crate) fn asked_to_stop(&mut self) {
        (self.probe, self.health) = (None, None);
    }

    fn new(unit: UnitId, thread: bool, spec: &Arc<Component>, baseline: Baseline) -> Self {
        let spec = Arc::clone(spec);
        let spawned = clock::now();
        let (matched, probing, stdin) = (false, false, None);
        let (probe, health, unwell) = (None, None, Arc::default());
        Self { unit, thread, spec, baseline, spawned, probe, matched, probing, stdin, health, unwell }
    }
}

pub(super) fn process(
    invocation: Invocation,
    stdin: Option<std::os::fd::OwnedFd>,
    output: std::os::fd::OwnedFd,
) -> ProcessSpec {
    let Invocation { program, argv, env, cwd } = invocation;
    ProcessSpec { program, argv, env, cwd, stdin, output, extra: Vec::new() }
}

/// The file by which a component says that it is ready.
fn ready_file(spec: &Component) -> Option<&Path> {
    match &spec.ready.as_ref()?.probe {
        Probe::File(path) => Some(path),
        _ => None,
    }
}

/// The state directory, and the state and log files that lie elsewhere.
fn never_watched(project: &Project) -> Vec<PathBuf> {
    let files = project.components.iter().flat_map(|spec| {
        let state = spec.state.as_ref().map(|state| state.file.clone());
        state.into_iter().chain(spec.logs.file.clone())
    });
    let elsewhere = files.filter(|path| !path.starts_with(&project.state_dir));
    std::iter::once(project.state_dir.clone()).chain(elsewhere).collect()
}
