//! A stage for scenarios: a project from a line of text, a world that answers at once unless told not to,
//! and a short trace of what the core wanted done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::model::{
    Build, Command as Line, Component, Condition, Dependency, Env, Kind, Logs, OnFailure, Poll, Probe,
    Project, Ready, Restart, RestartPolicy, Stdin, Stop, Watch, WatchAction,
};
use crate::supervisor::{Action, Command, Event, Record, RunEvent, Sealed, Setup, Supervisor, What};
use crate::types::{Cid, Exit, Name, RunId, Scope, TaskEnd, TaskFailure, TaskId, TaskKind, Time};

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// `web: api ready restart, db started; api!; db*`: names, what they depend on, `!` for never restarted by
/// itself, `?` for one with a readiness probe, `*` for one that is watched, `@` for a thread, `+` for one with a
/// build.
pub(super) fn project(text: &str) -> Project {
    Project {
        name: "play".to_owned(),
        file: "/p/devmode.yaml".into(),
        dir: "/p".into(),
        state_dir: "/p/.orch".into(),
        env_files: Vec::new(),
        shutdown_timeout: ms(30_000),
        components: text.split(';').map(|part| Arc::new(component(part.trim()))).collect(),
    }
}

/// What a name may be followed by.
const MARKS: [char; 5] = ['!', '?', '*', '@', '+'];

fn component(text: &str) -> Component {
    let (head, needs) = text.split_once(':').unwrap_or((text, ""));
    let mut restart = Restart { policy: RestartPolicy::OnFailure, ..Restart::default() };
    restart.backoff.jitter = 0.0;
    if head.contains('!') {
        restart.policy = RestartPolicy::Never;
    }
    Component {
        name: name(head.trim_end_matches(MARKS)),
        description: None,
        kind: if head.contains('@') {
            let with = serde_yaml::Value::from(head);
            Kind::Thread { runner: "ticker".to_owned(), with, listens: Vec::new() }
        } else {
            // One program each: what runs the same is the same by another name.
            Kind::Process(Line::Words(vec![format!("run-{}", head.trim_end_matches(MARKS))]))
        },
        cwd: Arc::new(PathBuf::from("/p")),
        env: Env::default(),
        stdin: Stdin::Null,
        autostart: true,
        profiles: Vec::new(),
        depends_on: needs.split(',').map(str::trim).filter(|need| !need.is_empty()).map(dependency).collect(),
        build: head
            .contains('+')
            .then(|| Box::new(Build { command: Line::Words(vec!["make".to_owned()]), timeout: ms(600_000) })),
        ready: head.contains('?').then(|| Box::new(probe())),
        health: None,
        restart: Arc::new(restart),
        on_failure: OnFailure::Continue,
        stop: Arc::new(Stop { timeout: ms(5_000), join_timeout: ms(2_000), ..Stop::default() }),
        watch: head.contains('*').then(|| Arc::new(watch())),
        state: None,
        sockets: Vec::new(),
        logs: Arc::new(Logs::default()),
    }
}

fn dependency(text: &str) -> Dependency {
    let words: Vec<&str> = text.split(' ').collect();
    let condition = match words.get(1) {
        Some(&"started") => Condition::Started,
        Some(&"completed") => Condition::Completed,
        _ => Condition::Ready,
    };
    Dependency { name: name(words[0]), condition, restart: words.contains(&"restart") }
}

fn probe() -> Ready {
    Ready { probe: Probe::Notify, interval: ms(100), timeout: ms(10_000), external: false }
}

pub(super) fn watch() -> Watch {
    let (paths, settle) = (vec!["src".to_owned()], ms(5));
    Watch {
        paths,
        ignore: Vec::new(),
        gitignore: true,
        settle,
        action: WatchAction::Restart,
        poll: Poll::Auto,
    }
}

/// The end of a task that failed like this.
pub(super) fn failed(reason: &str) -> TaskEnd {
    let (place, tail) = (Some("src/main.rs:3:5".to_owned()), vec!["error".to_owned()]);
    TaskEnd::Failed(TaskFailure { reason: reason.to_owned(), place, tail })
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(super) fn edit(project: &mut Project, which: &str, change: impl FnOnce(&mut Component)) {
    let found = project.components.iter_mut().find(|spec| spec.name.as_str() == which).unwrap();
    change(Arc::make_mut(found));
}

fn setup(project: Project, seed: u64) -> Setup {
    let incarnations = BTreeMap::new();
    Setup {
        chosen: chosen(&project),
        project: Arc::new(project),
        watching: true,
        may_reexec: true,
        incarnations,
        first_seq: 1,
        seed,
    }
}

fn chosen(project: &Project) -> BTreeSet<Name> {
    project.components.iter().filter(|spec| spec.autostart).map(|spec| spec.name.clone()).collect()
}

/// Something that happens in a scenario.
pub(super) type Act = fn(&mut Play);

/// A core, its world, and what was wanted since it was last asked for.
pub(super) struct Play {
    pub(super) core: Supervisor,
    pub(super) now: Time,
    pub(super) exit: Option<u8>,
    /// The number of the last health check that was asked for.
    pub(super) asked: u64,
    /// What is answered at once: prepare, spawn, seal.
    /// What the core was made from, and what it was told.
    pub(super) made_from: Setup,
    pub(super) history: Vec<(Time, Event)>,
    answers: bool,
    checks: bool,
    records: BTreeMap<u64, String>,
    tasks: BTreeMap<(Cid, TaskKind), TaskId>,
    answered: BTreeSet<TaskId>,
    trace: Vec<String>,
    pub(super) reasons: Vec<String>,
}

impl Play {
    /// Everything is chosen and watched, and up.
    pub(super) fn of(text: &str) -> Self {
        Self::with(text, |_| {})
    }

    /// As [`Play::of`], after a change of the project.
    pub(super) fn with(text: &str, change: impl FnOnce(&mut Project)) -> Self {
        let mut play = Self::quiet(text, change);
        play.tell(Event::Up);
        play
    }

    /// As [`Play::of`], in a program that does not let orch replace its image.
    pub(super) fn embedded(text: &str) -> Self {
        let mut play = Self::setup(Setup { may_reexec: false, ..setup(project(text), 1) });
        play.tell(Event::Up);
        play
    }

    /// Not up yet.
    pub(super) fn quiet(text: &str, change: impl FnOnce(&mut Project)) -> Self {
        let mut project = project(text);
        change(&mut project);
        Self::setup(setup(project, 1))
    }

    /// As [`Play::with`], with this seed.
    pub(super) fn seeded(text: &str, seed: u64, change: impl FnOnce(&mut Project)) -> Self {
        let mut project = project(text);
        change(&mut project);
        let mut play = Self::setup(setup(project, seed));
        play.tell(Event::Up);
        play
    }

    /// As [`Play::of`], for so many components that looking for a contradiction after each step takes too
    /// long.
    pub(super) fn unchecked(text: &str) -> Self {
        let mut play = Self::setup(setup(project(text), 1));
        play.checks = false;
        play.tell(Event::Up);
        play
    }

    pub(super) fn setup(setup: Setup) -> Self {
        Self {
            core: Supervisor::new(setup.clone()),
            made_from: setup,
            history: Vec::new(),
            now: Time(0),
            exit: None,
            asked: 0,
            answers: true,
            checks: true,
            records: BTreeMap::new(),
            tasks: BTreeMap::new(),
            answered: BTreeSet::new(),
            trace: Vec::new(),
            reasons: Vec::new(),
        }
    }

    /// From now on nothing is answered by itself.
    pub(super) fn silent(&mut self) {
        self.answers = false;
    }

    pub(super) fn tell(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.history.push((self.now, event.clone()));
            for action in self.core.step(self.now, event) {
                self.act(action, &mut events);
            }
            if self.checks {
                self.core.check().unwrap();
            }
        }
    }

    fn act(&mut self, action: Action, events: &mut VecDeque<Event>) {
        let mut answer = |run: RunId, event: RunEvent| {
            if self.answers {
                events.push_back(Event::Run(run, event));
            }
        };
        let line = match action {
            Action::Sift { component } => return events.push_back(Event::Sifted { component }),
            Action::TakeBack { run, spec } => {
                answer(run, RunEvent::Sealed(Sealed::Nothing));
                format!("take back {}", spec.name)
            }
            Action::Prepare { run, .. } => {
                answer(run, RunEvent::Prepared { restored: None, rejected: Vec::new(), sealed: None });
                return;
            }
            Action::Spawn { run, spec, .. } => {
                answer(run, RunEvent::Spawned { pid: Some(7) });
                format!("spawn {}", spec.name)
            }
            Action::Stop { run, scope: Scope::Group, .. } => format!("stop {}", self.called(run)),
            Action::Stop { run, scope: Scope::Unit | Scope::Escaped | Scope::Leader, .. } => {
                format!("sweep {}", self.called(run))
            }
            Action::Signal { run, signal, .. } => format!("signal {} {signal}", self.called(run)),
            Action::Kill { run } => format!("kill {}", self.called(run)),
            Action::CloseOutput { run } => format!("close {}", self.called(run)),
            Action::Seal { run, spec, end } => {
                answer(run, RunEvent::Sealed(Sealed::Nothing));
                format!("seal {} {end:?}", spec.name)
            }
            Action::UseState { spec, .. } => format!("use {}", spec.name),
            Action::Snapshot { spec, .. } => format!("snapshot {}", spec.name),
            Action::AskState { run, .. } => format!("ask {}", self.called(run)),
            Action::Reexec { program: None } => "reexec".to_owned(),
            Action::Reexec { program: Some(program) } => format!("reexec {}", program.display()),
            Action::Exit { code } => {
                self.exit = Some(code);
                format!("exit {code}")
            }
            Action::Record(record) => {
                self.note(&record);
                if let (What::State { reason, .. } | What::StopRequested { reason }, Some(of)) =
                    (record.what, record.component)
                {
                    self.reasons.push(format!("{of}: {reason}"));
                }
                return;
            }
            Action::RunTask { task, kind, spec, .. } => {
                self.tasks.insert((task.component, kind), task);
                format!("{} {}", kind.word(), spec.name)
            }
            Action::EndTask { task } => {
                let kind = self.tasks.iter().find(|(_, id)| **id == task).map(|((_, kind), _)| *kind);
                let of = self.core.view(task.component).map(|view| view.name.to_string());
                format!("end {} {}", kind.map_or("?", TaskKind::word), of.unwrap_or_default())
            }
            Action::CheckHealth { spec, asked, .. } if spec.health.is_some() => {
                self.asked = asked;
                format!("check {}", spec.name)
            }
            Action::CheckHealth { spec, .. } => format!("check {} no more", spec.name),
            Action::Probe { .. }
            | Action::Observe { .. }
            | Action::Forget { .. }
            | Action::Release { .. } => return,
        };
        self.trace.push(line);
    }

    fn called(&self, run: RunId) -> String {
        self.core.view(run.component).map(|view| view.name.to_string()).unwrap_or_default()
    }

    /// What was wanted since the last call.
    pub(super) fn took(&mut self) -> String {
        std::mem::take(&mut self.trace).join(", ")
    }

    /// The same, and it is not forgotten.
    pub(super) fn took_part(&self) -> String {
        self.trace.join(", ")
    }

    /// Whether a build of it was asked for, and is not answered.
    pub(super) fn is_built(&self, of: &str) -> bool {
        let task = self.core.find(of).and_then(|cid| self.tasks.get(&(cid, TaskKind::Build)));
        task.is_some_and(|task| !self.answered.contains(task))
    }

    /// What is recorded of an event, each with what led to it: `api.stopping<api.stop_requested`.
    pub(super) fn causes(&mut self, event: Event) -> String {
        let mut lines = Vec::new();
        for action in self.core.step(self.now, event) {
            let Action::Record(record) = action else { continue };
            let line = self.note(&record);
            let cause = record.cause.and_then(|seq| self.records.get(&seq).cloned()).unwrap_or_default();
            lines.push(format!("{line}<{cause}"));
        }
        lines.join(" ")
    }

    /// Keeps a record for the causes of later ones.
    fn note(&mut self, record: &Record) -> String {
        let what = match &record.what {
            What::State { state, .. } => state.word(),
            What::StopRequested { .. } => "stop_requested",
            What::Exited { .. } => "exited",
            What::Command { .. } => "command",
            What::Changed { .. } => "changed",
            What::ForceKilled { .. } => "force_killed",
            What::ConfigReloaded { .. } => "reloaded",
            What::ProjectDown { .. } => "down",
            What::TaskStarted { .. } => "task_started",
            What::TaskSucceeded { .. } => "task_succeeded",
            What::TaskFailed { .. } => "task_failed",
            What::TaskEnded { .. } => "task_ended",
            _ => "other",
        };
        let of = record.component.as_ref().map(|name| format!("{name}.")).unwrap_or_default();
        let line = format!("{of}{what}");
        self.records.insert(record.seq, line.clone());
        line
    }

    // ── What the world tells ───────────────────────────────────────────────────────────────────────────

    /// The present run of a component, or the one that its next answer is about.
    pub(super) fn run(&self, of: &str) -> RunId {
        let component = self.core.find(of).unwrap();
        RunId { component, incarnation: self.core.view(component).unwrap().incarnation }
    }

    pub(super) fn says(&mut self, of: &str, event: RunEvent) {
        let run = self.run(of);
        self.tell(Event::Run(run, event));
    }

    pub(super) fn prepared(&mut self, of: &str) {
        self.says(of, RunEvent::Prepared { restored: None, rejected: Vec::new(), sealed: None });
    }

    pub(super) fn spawned(&mut self, of: &str) {
        self.says(of, RunEvent::Spawned { pid: Some(7) });
    }

    pub(super) fn ready(&mut self, of: &str) {
        self.says(of, RunEvent::Ready);
    }

    /// The leader ends; its unit may live on.
    pub(super) fn exits(&mut self, of: &str, code: i32) {
        self.says(of, RunEvent::Exited(Exit::Code(code)));
    }

    /// The unit is gone, and its output read.
    pub(super) fn gone(&mut self, of: &str) {
        let run = self.run(of);
        self.tell(Event::Run(run, RunEvent::Gone));
        self.tell(Event::Run(run, RunEvent::OutputEnded));
    }

    /// The leader ends, and everything with it.
    pub(super) fn ends(&mut self, of: &str, code: i32) {
        let run = self.run(of);
        for event in [RunEvent::Exited(Exit::Code(code)), RunEvent::Gone, RunEvent::OutputEnded] {
            self.tell(Event::Run(run, event));
        }
    }

    /// Time passes; what is due happens.
    pub(super) fn after(&mut self, wait: u64) {
        let end = self.now + ms(wait);
        while let Some(due) = self.core.next_deadline().filter(|due| *due <= end && self.exit.is_none()) {
            self.now = self.now.max(due);
            self.tell(Event::Deadline);
            assert!(self.core.next_deadline().is_none_or(|next| next > self.now), "a busy loop");
        }
        self.now = end;
    }

    /// A thread does not return, and that was just seen.
    pub(super) fn hangs(&mut self, of: &str) {
        self.after(5_000);
        self.says(of, RunEvent::Unkillable);
    }

    /// The core goes on in another image: what it is survives being written out and read in.
    pub(super) fn new_image(&mut self) {
        let text = serde_json::to_string(&self.core).unwrap();
        self.core = serde_json::from_str(&text).unwrap();
        self.tell(Event::Reexeced);
    }

    /// A task of a component ends.
    pub(super) fn task(&mut self, of: &str, kind: TaskKind, end: TaskEnd) {
        let component = self.core.find(of).unwrap();
        let task = self.tasks[&(component, kind)];
        self.answered.insert(task);
        self.tell(Event::Task(task, end));
    }

    pub(super) fn built(&mut self, of: &str) {
        self.task(of, TaskKind::Build, TaskEnd::Done);
    }

    pub(super) fn build_fails(&mut self, of: &str) {
        self.task(of, TaskKind::Build, failed("it ended with exit code 101"));
    }

    // ── What people do ─────────────────────────────────────────────────────────────────────────────────

    pub(super) fn change(&mut self, of: &str) {
        let component = self.core.find(of).unwrap();
        self.tell(Event::Changed { component, paths: vec!["/p/src/main.rs".into()] });
    }

    pub(super) fn start(&mut self, which: &str) {
        self.tell(Event::Command(Command::Start(vec![name(which)])));
    }

    pub(super) fn stop(&mut self, which: &str) {
        self.tell(Event::Command(Command::Stop(vec![name(which)])));
    }

    pub(super) fn restart(&mut self, which: &str) {
        self.tell(Event::Command(Command::Restart(vec![name(which)])));
    }

    pub(super) fn down(&mut self) {
        self.tell(Event::Command(Command::Shutdown));
    }

    pub(super) fn edit(&mut self, change: impl FnOnce(&mut Project)) {
        let mut project = (**self.core.project()).clone();
        change(&mut project);
        let chosen = chosen(&project);
        self.tell(Event::Edit { project: Arc::new(project), chosen });
    }

    // ── What is seen ───────────────────────────────────────────────────────────────────────────────────

    pub(super) fn state(&self, of: &str) -> &'static str {
        self.core.find(of).and_then(|cid| self.core.state(cid)).map_or("none", |state| state.word())
    }

    pub(super) fn reason(&self, of: &str) -> String {
        self.core.find(of).and_then(|cid| self.core.view(cid)).map(|view| view.reason).unwrap_or_default()
    }

    /// `api=ready db=waiting`, by name.
    pub(super) fn states(&self) -> String {
        let states = self.core.views().map(|view| format!("{}={}", view.name, view.state));
        states.collect::<Vec<_>>().join(" ")
    }
}
