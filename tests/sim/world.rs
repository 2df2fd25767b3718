//! The world: fake units with a temper, a heap of what happens when, and the facts that the checks use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use orch::config::model::{Component, Condition, Dependency, Kind, Probe, Project};
use orch::supervisor::{
    Action, Command, Effect, Event, Record, Recorded, Replay, Restored, RunEvent, Sealed, Setup, Source,
    Supervisor, What,
};
use orch::types::{Cid, Exit, Name, Notice, RunId, Scope, Signal, Time};

use super::checks;
use super::dice::Dice;
use super::projects;
use super::tasks::{Chores, Pulse, TaskTodo};

/// One unit, as it really is.
pub(crate) struct Life {
    pub(crate) name: Name,
    pub(crate) spec: Arc<Component>,
    pub(crate) temper: Temper,
    /// Facts.
    pub(crate) leader_alive: bool,
    pub(crate) unit_alive: bool,
    /// What the core has been told.
    pub(crate) told_spawned: bool,
    pub(crate) told_ready: bool,
    pub(crate) told_exit: Option<Exit>,
    /// Its first process has ended well before it was ready: another one may be named in its place.
    pub(crate) left: bool,
    pub(crate) told_gone: bool,
    /// What the core has asked for.
    pub(crate) asked: bool,
    pub(crate) killed: bool,
    /// In the step of a second shutdown.
    pub(crate) kill_forced: bool,
    /// By when the core owes a force-kill, if anything is left.
    pub(crate) kill_by: Option<Time>,
    output_open: bool,
    pub(crate) pulse: Pulse,
}

impl Life {
    pub(crate) fn temper_is_a_process(&self) -> bool {
        !self.temper.thread
    }

    pub(crate) fn notifies(&self) -> bool {
        self.spec.ready.as_ref().is_some_and(|ready| ready.probe == Probe::Notify)
    }

    /// Whether this end is none of the run yet.
    fn goes_on_without(&self, exit: &Exit) -> bool {
        let up = !self.asked && !self.killed && !self.pulse.leaving && !self.told_ready;
        *exit == Exit::Code(0) && self.notifies() && up
    }

    /// The end of its first process is that of the run.
    fn left_counts(&mut self, by: Time) {
        if std::mem::take(&mut self.left) {
            self.told_exit = Some(Exit::Code(0));
            if !self.asked {
                self.kill_by = self.kill_by.max(Some(by));
            }
        }
    }
}

/// How a unit behaves.
#[derive(Debug, Clone)]
pub(crate) struct Temper {
    ready_after: Option<u64>,
    /// Ends by itself after so long, with this.
    ends_after: Option<(u64, Exit)>,
    /// Ends so long after the stop signal; `None` ignores it.
    heeds_stop_after: Option<u64>,
    /// Something of the unit outlives the leader, and ignores signals.
    lingers: bool,
    /// So long from SIGKILL to the end; `None`: can't be killed (a thread, a dead disk).
    dies_after: Option<u64>,
    /// Somebody else holds the output so long.
    output_held: u64,
    /// A thread: it is ended by a new image, and by nothing else.
    thread: bool,
}

pub(crate) enum Todo {
    Tell(Event),
    LeaderEnds(RunId, Exit),
    UnitEnds(RunId),
    OutputEnds(RunId),
    /// The new image is there, or could not be made.
    NewImage(bool),
    Disturb,
    Task(TaskTodo),
    /// Another edit, to this or to whatever.
    Edit(Option<Arc<Project>>),
}

pub(crate) struct World {
    pub(crate) core: Supervisor,
    pub(crate) project: Arc<Project>,
    pub(crate) now: Time,
    pub(crate) lives: BTreeMap<RunId, Life>,
    /// Each component as it was last declared.
    pub(crate) declared: BTreeMap<Name, Arc<Component>>,
    pub(crate) shutting: u32,
    pub(crate) forced: bool,
    pub(crate) exited: Option<u8>,
    /// Stopped by command, and not started since.
    pub(crate) down: BTreeSet<Name>,
    /// Started by command or by the file, and not stopped since.
    pub(crate) up: BTreeSet<Name>,
    pub(crate) last_seq: u64,
    /// All of them, in order.
    pub(crate) records: Vec<Record>,
    /// The record of what was told in this step from outside, where nothing else can happen in it.
    pub(crate) root: Option<u64>,
    /// Whether this is the step of a second shutdown.
    in_force: bool,
    /// The command that force-killed everything.
    pub(crate) forced_by: Option<u64>,
    pub(crate) last_stop_reason: BTreeMap<Name, String>,
    heap: BTreeMap<(Time, u64), Todo>,
    tie: u64,
    pub(crate) dice: Dice,
    pub(crate) chores: Chores,
    /// The plan that is being applied, and the states before.
    pub(crate) planned: Option<(orch::plan::Plan, BTreeMap<Name, &'static str>)>,
    /// Whether anything was ever edited.
    pub(crate) edited: bool,
    calm: bool,
    /// What is spawned from now on does not end by itself.
    lasting: bool,
    steps: u64,
    /// The same history, as it is recorded.
    history: Vec<Recorded>,
    trace: Vec<String>,
    show: bool,
    states_seen: BTreeSet<&'static str>,
    /// Components whose state was put in place, and neither given to a run nor sealed since.
    pub(crate) handed: BTreeSet<Cid>,
    /// The state file of each run that was put in place, and whose sealing is not answered yet.
    pub(crate) states_of: BTreeMap<RunId, PathBuf>,
    /// Until when the files of each component are not quiet, at least.
    pub(crate) quiet_at: BTreeMap<Cid, Time>,
    pub(crate) states: BTreeMap<Name, &'static str>,
    /// The core has asked for a new image.
    pub(crate) replacing: bool,
    images: u64,
}

impl World {
    pub(crate) fn new(seed: u64, show: bool) -> Self {
        let mut dice = Dice::new(seed);
        let project = Arc::new(projects::project(&mut dice));
        Self::of(dice, project, seed, show)
    }

    fn of(mut dice: Dice, project: Arc<Project>, seed: u64, show: bool) -> Self {
        let setup = Setup {
            project: Arc::clone(&project),
            chosen: chosen(&project),
            watching: dice.percent(80),
            may_reexec: true,
            incarnations: BTreeMap::new(),
            first_seq: 1,
            seed,
        };
        let up = chosen(&project);
        let history = Recorded::Setup(Box::new(setup.clone()));
        Self {
            core: Supervisor::new(setup),
            declared: declared(&project),
            project,
            now: Time(0),
            lives: BTreeMap::new(),
            shutting: 0,
            forced: false,
            exited: None,
            down: BTreeSet::new(),
            up,
            last_seq: 0,
            records: Vec::new(),
            root: None,
            in_force: false,
            forced_by: None,
            last_stop_reason: BTreeMap::new(),
            heap: BTreeMap::new(),
            tie: 0,
            dice,
            chores: Chores::default(),
            planned: None,
            edited: false,
            calm: false,
            lasting: false,
            steps: 0,
            history: vec![history],
            trace: Vec::new(),
            show,
            states_seen: BTreeSet::new(),
            handed: BTreeSet::new(),
            states_of: BTreeMap::new(),
            quiet_at: BTreeMap::new(),
            states: BTreeMap::new(),
            replacing: false,
            images: 0,
        }
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// The history, recorded, gone through again.
    pub(crate) fn replayed(&self) -> Replay {
        let mut replay = Replay::default();
        for line in &self.history {
            replay.line(&serde_json::to_string(line).unwrap()).unwrap();
        }
        replay
    }

    pub(crate) fn images(&self) -> u64 {
        self.images
    }

    pub(crate) fn states_seen(&self) -> BTreeSet<&'static str> {
        self.states_seen.clone()
    }

    pub(crate) fn trace(&self) -> &[String] {
        &self.trace
    }

    /// A calm world in which a project has come up, and rests.
    pub(crate) fn at_rest(seed: u64, show: bool, change: impl FnOnce(Project) -> Project) -> Self {
        let mut dice = Dice::new(seed);
        let project = change(projects::project(&mut dice));
        let mut world = Self::of(dice, Arc::new(project), seed, show);
        world.calm = true;
        world.tell(Event::Up);
        world.run_for(Duration::from_secs(100));
        world.lasting = true;
        world
    }

    /// Some edit of the project.
    pub(crate) fn some_edit(&mut self) -> Project {
        projects::edited(&mut self.dice, &self.project)
    }

    /// Some time that an edit may take to be applied.
    pub(crate) fn some_time(&mut self) -> Duration {
        let most = if self.dice.percent(70) { 600 } else { 10_000 };
        Duration::from_millis(self.dice.upto(most))
    }

    /// What an edit would do now.
    pub(crate) fn plan(&self, project: &Project) -> orch::plan::Plan {
        self.core.plan(project, &chosen(project))
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// The whole play: disturbances, calm, and the end.
    pub(crate) fn play(&mut self) {
        self.tell(Event::Up);
        let acts = 5 + self.dice.upto(60);
        let mut at = 0;
        for _ in 0..acts {
            at += self.dice.upto(400);
            self.later(at, Todo::Disturb);
        }
        self.run_until(Time(0) + Duration::from_millis(at + 1));
        self.calm = true;
        self.run_until(self.now + Duration::from_secs(300));
        if self.exited.is_none() {
            checks::settled(self);
        }
        self.finish();
    }

    fn finish(&mut self) {
        let patience = self.project.shutdown_timeout + Duration::from_secs(8);
        if self.exited.is_none() && self.shutting == 0 {
            self.shut();
        }
        self.run_until(self.now + patience);
        assert!(self.exited.is_some(), "no end within shutdown_timeout and the join time-outs");
        checks::nothing_left(self);
    }

    fn run_until(&mut self, end: Time) {
        while self.exited.is_none() {
            let next = self.heap.first_key_value().map(|((time, _), _)| *time);
            let deadline = self.core.next_deadline();
            let Some(time) = [next, deadline].into_iter().flatten().min().filter(|time| *time <= end) else {
                break;
            };
            self.now = self.now.max(time);
            if next.is_some_and(|next| next <= time) {
                if let Some((_, todo)) = self.heap.pop_first() {
                    self.happen(todo);
                }
            } else {
                self.tell(Event::Deadline);
            }
        }
        if self.exited.is_none() {
            self.now = self.now.max(end);
        }
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm
    }

    pub(crate) fn later_task(&mut self, ms: u64, todo: TaskTodo) {
        self.later(ms, Todo::Task(todo));
    }

    pub(crate) fn later_end(&mut self, ms: u64, run: RunId, exit: Exit) {
        self.later(ms, Todo::LeaderEnds(run, exit));
    }

    pub(crate) fn core_find(&self, name: &Name) -> Option<Cid> {
        self.core.find(name.as_str())
    }

    pub(crate) fn core_state(&self, cid: Cid) -> Option<&'static str> {
        self.core.state(cid).map(|state| state.word())
    }

    fn later(&mut self, ms: u64, todo: Todo) {
        self.tie += 1;
        self.heap.insert((self.now + Duration::from_millis(ms), self.tie), todo);
    }

    fn answer(&mut self, most_ms: u64, run: RunId, event: RunEvent) {
        let ms = self.dice.upto(most_ms);
        self.later(ms, Todo::Tell(Event::Run(run, event)));
    }

    fn happen(&mut self, todo: Todo) {
        match todo {
            Todo::Tell(Event::Run(run, RunEvent::Spawned { .. })) if self.is_lost(run) => {}
            Todo::Tell(event) => self.tell(event),
            Todo::LeaderEnds(run, exit) => self.leader_ends(run, exit),
            Todo::UnitEnds(run) => self.unit_ends(run),
            Todo::OutputEnds(run) => self.output_ends(run),
            Todo::NewImage(made) => self.new_image(made),
            Todo::Disturb => self.disturb(),
            Todo::Task(todo) => self.task_happens(todo),
            Todo::Edit(to) => self.edit_again(to),
        }
    }

    fn leader_ends(&mut self, run: RunId, exit: Exit) {
        let Some(life) = self.lives.get_mut(&run).filter(|life| life.leader_alive) else { return };
        life.leader_alive = false;
        let lingers = life.temper.lingers && !life.killed;
        self.later(0, Todo::Tell(Event::Run(run, RunEvent::Exited(exit))));
        if !lingers {
            self.later(0, Todo::UnitEnds(run));
        }
    }

    fn unit_ends(&mut self, run: RunId) {
        let Some(life) = self.lives.get_mut(&run).filter(|life| life.unit_alive) else { return };
        life.unit_alive = false;
        let (held, open) = (life.temper.output_held, life.output_open);
        self.later(1, Todo::Tell(Event::Run(run, RunEvent::Gone)));
        if open {
            self.later(held, Todo::OutputEnds(run));
        }
    }

    fn output_ends(&mut self, run: RunId) {
        if let Some(life) = self.lives.get_mut(&run)
            && std::mem::replace(&mut life.output_open, false)
        {
            self.later(0, Todo::Tell(Event::Run(run, RunEvent::OutputEnded)));
        }
    }

    /// Tells the core, and does what it wants done.
    pub(crate) fn tell(&mut self, event: Event) {
        if self.exited.is_some() {
            return;
        }
        self.steps += 1;
        self.learn(&event);
        self.history.push(Recorded::Step { now: self.now, event: event.clone() });
        // An edit may also let go of what something else had led to.
        let outside = matches!(event, Event::Command(_) | Event::Changed { .. });
        let alone = outside && self.core.next_deadline().is_none_or(|next| next > self.now);
        let again = matches!(event, Event::Command(Command::Shutdown)) && self.shutting == 2;
        (self.root, self.in_force) = (None, again);
        let line = format!("{:>9} < {event:?}", self.now.0 / 1_000_000);
        self.write(line);
        let actions = self.core.step(self.now, event);
        for action in actions {
            let line = format!("{:>9}   > {action:?}", self.now.0 / 1_000_000);
            self.write(line);
            self.act(action);
            if alone && self.root.is_none() {
                self.root =
                    self.records.last().filter(|last| checks::is_root(&last.what)).map(|last| last.seq);
            }
            if again && self.forced_by.is_none() {
                self.forced_by = Some(self.last_seq);
            }
        }
        (self.root, self.in_force) = (None, false);
        checks::after_step(self);
    }

    fn write(&mut self, line: String) {
        let short: String = line.chars().take(300).collect();
        if self.show {
            println!("{short}");
        }
        self.trace.push(short);
    }

    /// What the core knows from now on.
    fn learn(&mut self, event: &Event) {
        if let Event::Run(run, RunEvent::Prepared { restored: Some(_), .. }) = event {
            self.handed.insert(run.component);
        }
        if let Event::Changed { component, .. } = event {
            self.files_changed(*component);
            let name = self.core.view(*component).map(|view| view.name);
            let watch = name.and_then(|name| self.declared.get(&name)).and_then(|spec| spec.watch.clone());
            let until = self.now + watch.map(|watch| watch.settle).unwrap_or_default();
            let known = self.quiet_at.entry(*component).or_default();
            *known = until.max(*known);
        }
        let Event::Run(run, event) = event else { return };
        if matches!(event, RunEvent::Sealed(_) | RunEvent::PrepareFailed { .. }) {
            self.states_of.remove(run);
        }
        let by = self.now + self.core_stop(run.component);
        let Some(life) = self.lives.get_mut(run) else { return };
        match event {
            RunEvent::Spawned { .. } => life.told_spawned = true,
            RunEvent::Ready => {
                life.told_ready = true;
                life.left_counts(by);
            }
            RunEvent::Notice(Notice::Ready) if life.notifies() && life.told_exit.is_none() => {
                life.told_ready = true;
                life.left_counts(by);
            }
            // The new leader lives, and ends when it is asked to.
            RunEvent::Notice(Notice::MainPid(_)) if life.left => {
                (life.left, life.leader_alive) = (false, true);
            }
            RunEvent::Exited(exit) if life.goes_on_without(exit) => life.left = true,
            RunEvent::Exited(exit) => {
                life.told_exit = Some(exit.clone());
                if !life.asked {
                    life.kill_by = life.kill_by.max(Some(by));
                }
            }
            RunEvent::Lost => {
                life.left_counts(by);
                life.told_exit.get_or_insert(Exit::Signal(Signal::KILL));
                (life.told_gone, life.kill_by) = (true, None);
            }
            RunEvent::Gone => {
                life.left_counts(by);
                life.told_gone = true;
                life.kill_by = None;
            }
            _ => {}
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Prepare { run, spec } => {
                checks::is_planned(self, &spec.name);
                self.prepare(run, &spec);
            }
            Action::Spawn { run, spec, .. } => self.spawn(run, spec),
            Action::Probe { run, .. } => {
                let after = self.lives.get(&run).and_then(|life| life.temper.ready_after);
                match after {
                    Some(ms) => self.later(ms, Todo::Tell(Event::Run(run, RunEvent::Ready))),
                    None => self.answer(50, run, RunEvent::NotYet { error: "refused".to_owned(), tries: 1 }),
                }
            }
            // What a change does to some.
            Action::Signal { run, .. } => checks::may_change_signal(self, run),
            Action::Stop { run, scope, .. } => self.signal(run, scope),
            Action::Kill { run } => self.kill(run),
            Action::CloseOutput { run } => self.later(0, Todo::OutputEnds(run)),
            Action::TakeBack { run, .. } => {
                self.handed.remove(&run.component);
                self.answer(100, run, RunEvent::Sealed(Sealed::Nothing));
            }
            Action::Seal { run, .. } => {
                self.handed.remove(&run.component);
                let outcome = match self.dice.upto(3) {
                    0 => Sealed::Nothing,
                    1 => Sealed::Rejected { reason: "torn".to_owned() },
                    _ => Sealed::Done { generation: run.incarnation, source: Source::Restart, bytes: 1 },
                };
                self.answer(100, run, RunEvent::Sealed(outcome));
            }
            Action::Snapshot { run, .. } => {
                let sealed = Sealed::Done { generation: 1, source: Source::Snapshot, bytes: 1 };
                self.answer(100, run, RunEvent::Snapshot(sealed));
            }
            Action::AskState { run, .. } => {
                checks::may_ask(self, run);
                if self.dice.percent(70) {
                    self.answer(50, run, RunEvent::Replaced);
                }
            }
            Action::Reexec { .. } => {
                checks::may_reexec(self);
                self.replacing = true;
                let (ms, made) = (self.dice.upto(300), self.dice.percent(80));
                self.later(ms, Todo::NewImage(made));
            }
            Action::Record(record) => self.recorded(&record),
            Action::Exit { code } => self.exited = Some(code),
            Action::Sift { component } => {
                let ms = self.dice.upto(5);
                // Now and then something comes to light; and now and then the answer does not come at all.
                if self.dice.percent(20) && !self.calm {
                    let paths = vec![PathBuf::from("/p/src/late")];
                    self.later(ms, Todo::Tell(Event::Changed { component, paths }));
                }
                if self.calm || self.dice.percent(95) {
                    self.later(ms, Todo::Tell(Event::Sifted { component }));
                }
            }
            Action::UseState { .. } | Action::Observe { .. } | Action::Forget { .. } => {}
            Action::CheckHealth { run, spec, asked } => self.check_health(run, &spec, asked),
            Action::RunTask { task, kind, spec, run, timeout, drain } => {
                self.run_task(task, kind, &spec, run, (timeout, drain));
            }
            Action::EndTask { task } => self.end_chore(task),
            Action::Release { component } => self.may_release(component),
        }
    }

    fn prepare(&mut self, run: RunId, spec: &Component) {
        checks::may_prepare(self, run, spec);
        self.states_of.extend(spec.state.as_ref().map(|state| (run, state.file.clone())));
        let stateful = spec.state.is_some();
        let given = stateful && self.dice.percent(30);
        let restored = given.then_some(Restored { source: Source::Restart, generation: 1 });
        let event = if !self.calm && self.dice.percent(4) {
            RunEvent::PrepareFailed { error: "port 80 is in use".to_owned() }
        } else {
            RunEvent::Prepared { restored, rejected: Vec::new(), sealed: None }
        };
        self.answer(20, run, event);
    }

    fn spawn(&mut self, run: RunId, spec: Arc<Component>) {
        checks::may_spawn(self, run, &spec);
        self.may_start_unbuilt(run, &spec);
        if !self.calm && self.dice.percent(4) {
            return self.answer(3, run, RunEvent::SpawnFailed { error: "ENOENT".to_owned() });
        }
        self.handed.remove(&run.component);
        // Why the run before was asked to stop says nothing of this one.
        self.last_stop_reason.remove(&spec.name);
        let mut temper = self.temper();
        if matches!(spec.kind, Kind::Thread { .. }) {
            (temper.thread, temper.lingers, temper.dies_after, temper.output_held) = (true, false, None, 0);
        }
        let at = self.dice.upto(3);
        self.later(at, Todo::Tell(Event::Run(run, RunEvent::Spawned { pid: Some(7) })));
        if let Some((ms, exit)) = temper.ends_after.clone() {
            self.later(at + ms, Todo::LeaderEnds(run, exit));
        }
        let life = Life {
            name: spec.name.clone(),
            pulse: Self::pulse_of(&spec),
            spec,
            temper,
            leader_alive: true,
            unit_alive: true,
            told_spawned: false,
            told_ready: false,
            told_exit: None,
            left: false,
            told_gone: false,
            asked: false,
            killed: false,
            kill_forced: false,
            kill_by: None,
            output_open: true,
        };
        self.lives.insert(run, life);
    }

    fn temper(&mut self) -> Temper {
        let wild = !self.calm;
        let dice = &mut self.dice;
        let code = [Exit::Code(0), Exit::Code(1), Exit::Signal(Signal::KILL)];
        let ends = !self.lasting && (wild && dice.percent(40) || dice.percent(10));
        let exit = dice.pick(&code).cloned().unwrap_or(Exit::Code(0));
        let exit = if wild { exit } else { Exit::Code(0) };
        Temper {
            ready_after: (!wild || dice.percent(85)).then(|| dice.upto(if wild { 1_000 } else { 150 })),
            ends_after: ends.then(|| (if wild { dice.upto(4_000) } else { 200 }, exit)),
            heeds_stop_after: (!wild || dice.percent(80)).then(|| dice.upto(500)),
            lingers: wild && dice.percent(15),
            dies_after: match dice.upto(20) {
                0 if wild => None,
                1 if wild => Some(dice.upto(6_000)),
                _ => Some(dice.upto(20)),
            },
            output_held: if wild && dice.percent(10) { dice.upto(8_000) } else { 0 },
            thread: false,
        }
    }

    fn signal(&mut self, run: RunId, scope: Scope) {
        checks::may_signal(self, run, scope);
        let stop = self.core_stop(run.component);
        let now = self.now;
        let Some(life) = self.lives.get_mut(&run) else { return };
        if scope == Scope::Group {
            life.left_counts(now);
            // After a command that failed no more time is given.
            if !std::mem::replace(&mut life.asked, true) {
                life.kill_by = Some(now + stop);
            }
            if let Some(ms) = life.temper.heeds_stop_after {
                self.later(ms, Todo::LeaderEnds(run, Exit::Code(0)));
            }
        }
    }

    /// A command is run that is to stop it.
    pub(crate) fn asked_to_stop(&mut self, run: RunId) {
        checks::may_signal(self, run, Scope::Group);
        let by = self.now + self.core_stop(run.component);
        if let Some(life) = self.lives.get_mut(&run) {
            life.left_counts(by);
            (life.asked, life.kill_by) = (true, Some(by));
        }
    }

    /// The command has asked it.
    pub(crate) fn heeds(&mut self, run: RunId) {
        let after = self.lives.get(&run).and_then(|life| life.temper.heeds_stop_after);
        if let Some(ms) = after {
            self.later(ms, Todo::LeaderEnds(run, Exit::Code(0)));
        }
    }

    /// The stop time-out as last declared: edits are effective when next used.
    pub(crate) fn core_stop(&self, cid: Cid) -> Duration {
        let life = self.lives.iter().rev().find(|(run, _)| run.component == cid);
        life.and_then(|(_, life)| self.declared.get(&life.name))
            .map(|spec| spec.stop.timeout)
            .unwrap_or_default()
    }

    fn kill(&mut self, run: RunId) {
        checks::may_kill(self, run);
        let Some(life) = self.lives.get_mut(&run) else { return };
        life.killed = true;
        life.kill_forced = self.in_force;
        life.kill_by = None;
        let dies = life.temper.dies_after;
        match dies {
            Some(ms) => {
                self.answer(2, run, RunEvent::Killed { pids: vec![7] });
                self.later(3 + ms, Todo::LeaderEnds(run, Exit::Signal(Signal::KILL)));
                self.later(3 + ms, Todo::UnitEnds(run));
            }
            None => self.answer(2, run, RunEvent::Unkillable),
        }
    }

    /// The threads of the old image are gone, and the core is what was written out of it.
    fn new_image(&mut self, made: bool) {
        self.replacing = false;
        if !made {
            self.pulses_anew();
            return self.tell(Event::ReexecFailed { error: "no room".to_owned() });
        }
        self.images += 1;
        let text = serde_json::to_string(&self.core).unwrap();
        self.core = serde_json::from_str(&text).unwrap();
        assert_eq!(text, serde_json::to_string(&self.core).unwrap(), "the core is not what it was");
        for life in self.lives.values_mut().filter(|life| life.temper.thread && life.unit_alive) {
            (life.leader_alive, life.unit_alive) = (false, false);
            // By the new image itself.
            (life.told_exit, life.told_gone, life.killed, life.kill_by) =
                (Some(Exit::Signal(Signal::KILL)), true, true, None);
        }
        self.pulses_anew();
        self.tell(Event::Reexeced);
        let open: Vec<RunId> = self
            .lives
            .iter()
            .filter(|(_, life)| life.temper.thread && life.output_open && !life.unit_alive)
            .map(|(run, _)| *run)
            .collect();
        for run in open {
            let ms = self.dice.upto(20);
            self.later(ms, Todo::OutputEnds(run));
        }
    }

    fn recorded(&mut self, record: &Record) {
        checks::record(self, record);
        checks::forced(self, record);
        match (&record.what, &record.component) {
            (What::State { state, .. }, Some(name)) => {
                self.states_seen.insert(state.word());
                self.states.insert(name.clone(), state.word());
                let (name, word) = (name.clone(), state.word());
                self.entered(&name, word);
            }
            (What::TaskStarted { kind }, Some(name)) => self.chores.opened(name, *kind),
            (
                What::TaskSucceeded { kind, .. }
                | What::TaskFailed { kind, .. }
                | What::TaskEnded { kind, .. },
                Some(name),
            ) => self.chores.closed(name, *kind),
            (What::StopRequested { reason }, Some(name)) => {
                self.last_stop_reason.insert(name.clone(), reason.clone());
                if reason == "a watched file changed" {
                    self.may_stop_for_a_change(name);
                }
            }
            _ => {}
        }
    }

    /// What a state means for what it does beside.
    fn entered(&mut self, name: &Name, word: &'static str) {
        match word {
            "stopped" => self.stopped_for_good(name),
            "ready" => {
                let there = |(_, life): &(&RunId, &Life)| life.name == *name && !life.told_gone;
                let run = self.lives.iter().rev().find(there).map(|(run, _)| *run);
                if let Some(run) = run {
                    self.pulse_begins(run);
                }
            }
            _ => {}
        }
    }

    // ── Disturbances, chosen by what is there ──────────────────────────────────────────────────────────

    fn disturb(&mut self) {
        if self.exited.is_some() {
            return;
        }
        // Also those that an edit removed, and that are not gone yet.
        let names: Vec<Name> = self.core.views().map(|view| view.name).collect();
        let Some(name) = self.dice.pick(&names).cloned() else { return };
        let Some(cid) = self.core.find(name.as_str()) else { return };
        match self.dice.upto(99) {
            0..26 => self.change(cid),
            26..32 => self.somebody_speaks(),
            32..40 => self.tell(Event::Busy { component: cid }),
            40..68 => self.clients(name),
            68..80 => self.edits(),
            80..88 => self.crash(),
            88..95 => self.stale(),
            95 => self.keeper_lost(),
            96 => self.tell(Event::Command(Command::Upgrade(PathBuf::from("/new/orch")))),
            _ if self.dice.percent(50) => self.shut(),
            _ => self.tell(Event::Deadline),
        }
    }

    fn change(&mut self, cid: Cid) {
        let files = if self.dice.percent(20) { self.dice.upto(60) + 1 } else { 1 };
        let paths = (0..files).map(|n| PathBuf::from(format!("/p/src/{n}"))).collect();
        self.tell(Event::Changed { component: cid, paths });
    }

    /// What clients command at the same time: one, or several that know nothing of each other.
    fn clients(&mut self, name: Name) {
        self.client(name);
        while self.dice.percent(40) {
            let names: Vec<Name> = self.core.views().map(|view| view.name).collect();
            if let Some(name) = self.dice.pick(&names).cloned() {
                self.client(name);
            }
        }
    }

    fn client(&mut self, name: Name) {
        let mut names = vec![name];
        while self.dice.percent(30) {
            let all = self.names();
            names.extend(self.dice.pick(&all).cloned());
        }
        let command = match self.dice.upto(27) {
            0..10 => Command::Start(names),
            10..20 => Command::Stop(names),
            _ => Command::Restart(names),
        };
        self.said(&command);
        self.tell(Event::Command(command));
    }

    /// What counts from now on, as a client understands it.
    fn said(&mut self, command: &Command) {
        if self.core.is_ending() {
            return;
        }
        let (names, up) = match command {
            Command::Start(names) => (self.needs(names), true),
            Command::Restart(names) => (names.clone(), true),
            // Those that it takes down with it are told to the client.
            Command::Stop(names) => {
                let told = self.core.affected(command).into_iter();
                let taken = told.filter(|one| one.effect == Effect::Stop).map(|one| one.component);
                (taken.chain(names.iter().cloned()).collect(), false)
            }
            Command::Shutdown | Command::Upgrade(_) => return,
        };
        for name in names.into_iter().filter(|name| self.project.components.iter().any(|c| c.name == *name)) {
            let (now, before) =
                if up { (&mut self.up, &mut self.down) } else { (&mut self.down, &mut self.up) };
            before.remove(&name);
            now.insert(name);
        }
    }

    /// These, and all that they need.
    fn needs(&self, names: &[Name]) -> Vec<Name> {
        let (mut all, mut stack) = (Vec::new(), names.to_vec());
        while let Some(next) = stack.pop() {
            if !all.contains(&next) {
                let spec = self.project.components.iter().find(|spec| spec.name == next);
                stack.extend(
                    spec.iter().flat_map(|spec| spec.depends_on.iter().map(|edge| edge.name.clone())),
                );
                all.push(next);
            }
        }
        all
    }

    fn names(&self) -> Vec<Name> {
        self.project.components.iter().map(|spec| spec.name.clone()).collect()
    }

    /// An edit; now and then others before it can be done, sometimes back to where it came from.
    fn edits(&mut self) {
        let before = Arc::clone(&self.project);
        let next = projects::edited(&mut self.dice, &self.project);
        self.edit_to(Arc::new(next));
        if self.dice.percent(30) {
            let ms = self.dice.upto(200);
            let back = self.dice.percent(50).then_some(before);
            self.later(ms, Todo::Edit(back));
        }
    }

    fn edit_again(&mut self, to: Option<Arc<Project>>) {
        match to {
            Some(project) => self.edit_to(project),
            None => self.edits(),
        }
    }

    pub(crate) fn edit_to(&mut self, next: Arc<Project>) {
        let chosen = chosen(&next);
        // What is removed and added again is a new component to the user.
        let kept = |name: &Name| next.components.iter().any(|spec| spec.name == *name);
        self.down.retain(kept);
        self.up.retain(kept);
        let new = |name: &&Name| !self.project.components.iter().any(|spec| spec.name == **name);
        let added: Vec<Name> = chosen.iter().filter(new).cloned().collect();
        self.up.extend(added);
        self.project = Arc::clone(&next);
        let before = self.declared.clone();
        self.declared.extend(declared(&next));
        self.edited = true;
        self.pulses_edited(&before);
        self.stopped_with();
        let plan = self.core.plan(&next, &chosen);
        self.planned = Some((plan.clone(), self.states.clone()));
        self.tell(Event::Edit { project: next, chosen });
        let applied = self.records.iter().rev().find_map(|record| match &record.what {
            What::ConfigReloaded { plan } => Some(Arc::clone(plan)),
            _ => None,
        });
        if self.exited.is_none() {
            assert_eq!(applied.as_deref(), Some(&plan), "what was planned is not what was applied");
        }
        self.planned = None;
    }

    /// What an edit has made dependent on what is being stopped by command is stopped with it.
    fn stopped_with(&mut self) {
        let there = |name: &Name| self.lives.values().any(|life| life.name == *name && !life.told_gone);
        let mut stopping: Vec<Name> = self.down.iter().filter(|name| there(name)).cloned().collect();
        let mut seen: BTreeSet<Name> = stopping.iter().cloned().collect();
        while let Some(below) = stopping.pop() {
            for spec in &self.project.components {
                let needs = |edge: &Dependency| edge.name == below && edge.condition != Condition::Completed;
                let asked = self.up.contains(&spec.name) || there(&spec.name);
                if spec.depends_on.iter().any(needs) && asked && seen.insert(spec.name.clone()) {
                    self.up.remove(&spec.name);
                    stopping.push(spec.name.clone());
                }
            }
        }
    }

    fn crash(&mut self) {
        let living: Vec<RunId> =
            self.lives.iter().filter(|(_, life)| life.leader_alive).map(|(run, _)| *run).collect();
        if let Some(run) = self.dice.pick(&living).copied() {
            self.leader_ends(run, Exit::Signal(Signal::KILL));
        }
    }

    /// An answer that comes too late, about a run that is no more.
    fn stale(&mut self) {
        let ended: Vec<RunId> =
            self.lives.iter().filter(|(_, life)| life.told_gone).map(|(run, _)| *run).collect();
        let Some(run) = self.dice.pick(&ended).copied() else { return };
        let current = self.lives.keys().filter(|other| other.component == run.component).max();
        if current == Some(&run) {
            return;
        }
        let event = match self.dice.upto(4) {
            0 => RunEvent::Ready,
            1 => RunEvent::Exited(Exit::Code(1)),
            2 => RunEvent::Gone,
            3 => RunEvent::SpawnFailed { error: "late".to_owned() },
            _ => RunEvent::OutputEnded,
        };
        self.tell(Event::Deadline);
        if self.exited.is_some() {
            return;
        }
        let before = format!("{:?}", self.core);
        let actions = self.core.step(self.now, Event::Run(run, event));
        assert!(actions.is_empty(), "a stale answer had consequences: {actions:?}");
        assert_eq!(before, format!("{:?}", self.core), "a stale answer changed something");
    }

    /// The keeper is killed, and all processes with it; each is told of in any order.
    fn keeper_lost(&mut self) {
        self.write(format!("{:>9} the keeper is lost", self.now.0 / 1_000_000));
        let there = |(_, life): &(&RunId, &mut Life)| life.unit_alive && life.temper_is_a_process();
        let mut lost = Vec::new();
        for (run, life) in self.lives.iter_mut().filter(there) {
            (life.leader_alive, life.unit_alive) = (false, false);
            lost.push((*run, life.temper.output_held, life.output_open));
        }
        for (run, held, open) in lost {
            let ms = self.dice.upto(3);
            self.later(ms, Todo::Tell(Event::Run(run, RunEvent::Lost)));
            if open {
                self.later(ms + held, Todo::OutputEnds(run));
            }
        }
        self.chores_lost();
    }

    fn is_lost(&self, run: RunId) -> bool {
        self.lives.get(&run).is_some_and(|life| !life.unit_alive && life.told_gone && !life.told_spawned)
    }

    fn shut(&mut self) {
        self.shutting += 1;
        self.forced |= self.shutting > 1;
        self.tell(Event::Command(Command::Shutdown));
    }
}

fn chosen(project: &Project) -> BTreeSet<Name> {
    orch::plan::chosen(project, &[], &[]).unwrap()
}

fn declared(project: &Project) -> BTreeMap<Name, Arc<Component>> {
    project.components.iter().map(|spec| (spec.name.clone(), Arc::clone(spec))).collect()
}
