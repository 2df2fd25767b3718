//! One scenario for each rule of the contract's section 3, told as what happens and what follows. The
//! simulation looks for what nobody thought of; these say what was meant.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Action, Command as Order, Event, RunEvent, Sealed, Setup, Supervisor, What};
use crate::config::model::*;
use crate::types::{Exit, Name, RunId, Scope, Signal, Time};

/// A project under test. Preparations and sifts are answered at once, the rest when the scenario says so.
struct Play {
    core: Supervisor,
    now: Time,
    /// What followed since it was last asked.
    seen: Vec<String>,
    exit: Option<u8>,
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn component(text: &str) -> Component {
    Component {
        name: name(text),
        description: None,
        kind: Kind::Process(Command::Words(vec!["x".to_owned()])),
        cwd: Arc::new(PathBuf::from("/p")),
        env: Env::default(),
        stdin: Stdin::Null,
        autostart: true,
        profiles: Vec::new(),
        depends_on: Vec::new(),
        build: None,
        ready: None,
        health: None,
        restart: Arc::new(Restart::default()),
        on_failure: OnFailure::Continue,
        stop: Arc::new(Stop { timeout: ms(1000), join_timeout: ms(500), ..Stop::default() }),
        watch: None,
        state: None,
        sockets: Vec::new(),
        logs: Arc::new(Logs::default()),
    }
}

impl Component {
    fn needs(mut self, on: &str, condition: Condition, restart: bool) -> Self {
        self.depends_on.push(Dependency { name: name(on), condition, restart });
        self
    }

    fn probed(mut self) -> Self {
        let (interval, timeout) = (ms(100), ms(2000));
        self.ready = Some(Box::new(Ready { probe: Probe::Notify, interval, timeout, external: false }));
        self
    }

    fn watched(mut self) -> Self {
        let (ignore, settle) = (Vec::new(), ms(5));
        let paths = vec!["src".to_owned()];
        let action = WatchAction::Restart;
        self.watch =
            Some(Arc::new(Watch { paths, ignore, gitignore: true, settle, action, poll: Poll::Auto }));
        self
    }

    fn policy(mut self, policy: RestartPolicy) -> Self {
        self.restart = Arc::new(Restart { policy, ..Restart::default() });
        self
    }
}

fn project(components: Vec<Component>) -> Project {
    Project {
        name: "p".to_owned(),
        file: PathBuf::from("/p/devmode.yaml"),
        dir: PathBuf::from("/p"),
        state_dir: PathBuf::from("/p/.orch"),
        env_files: Vec::new(),
        shutdown_timeout: ms(30_000),
        components: components.into_iter().map(Arc::new).collect(),
    }
}

impl Play {
    fn up(components: Vec<Component>) -> Self {
        let project = Arc::new(project(components));
        let chosen = project.components.iter().map(|spec| spec.name.clone()).collect();
        let setup = Setup {
            project,
            chosen,
            watching: true,
            incarnations: std::collections::BTreeMap::new(),
            first_seq: 1,
            seed: 1,
        };
        let mut play = Self { core: Supervisor::new(setup), now: Time(0), seen: Vec::new(), exit: None };
        play.tell(Event::Up);
        play
    }

    fn tell(&mut self, event: Event) {
        let actions = self.core.step(self.now, event);
        for action in actions {
            self.saw(action);
        }
        self.core.check().unwrap();
    }

    fn of(&self, run: RunId) -> String {
        self.core.view(run.component).map(|view| view.name.to_string()).unwrap_or_default()
    }

    fn saw(&mut self, action: Action) {
        match action {
            Action::Prepare { run, .. } => {
                let (restored, rejected, sealed) = (None, Vec::new(), None);
                self.tell(Event::Run(run, RunEvent::Prepared { restored, rejected, sealed }));
            }
            Action::Sift { component } => self.tell(Event::Sifted { component }),
            Action::Spawn { run, .. } => {
                self.seen.push(format!("spawn {}#{}", self.of(run), run.incarnation))
            }
            Action::Signal { run, scope: Scope::Group, signal } => {
                self.seen.push(format!("{signal} {}", self.of(run)));
            }
            Action::Kill { run } => self.seen.push(format!("kill {}", self.of(run))),
            Action::CloseOutput { run } => self.seen.push(format!("close {}", self.of(run))),
            Action::Seal { run, end, .. } => self.seen.push(format!("seal {} {end:?}", self.of(run))),
            Action::Exit { code } => self.exit = Some(code),
            Action::Record(record) => {
                if let (What::State { state, .. }, Some(name)) = (&record.what, &record.component)
                    && !matches!(state.word(), "starting" | "stopping")
                {
                    self.seen.push(format!("{name} {state}"));
                }
            }
            _ => {}
        }
    }

    fn run(&self, of: &str) -> RunId {
        let component = self.core.find(of).unwrap();
        RunId { component, incarnation: self.core.view(component).unwrap().incarnation }
    }

    fn run_event(&mut self, of: &str, event: RunEvent) {
        let run = self.run(of);
        self.tell(Event::Run(run, event));
    }

    fn spawned(&mut self, of: &str) {
        self.run_event(of, RunEvent::Spawned { pid: Some(1) });
    }

    fn ready(&mut self, of: &str) {
        self.run_event(of, RunEvent::Ready);
    }

    fn leader_ends(&mut self, of: &str, exit: Exit) {
        self.run_event(of, RunEvent::Exited(exit));
    }

    fn gone(&mut self, of: &str) {
        self.run_event(of, RunEvent::OutputEnded);
        self.run_event(of, RunEvent::Gone);
    }

    fn ends(&mut self, of: &str, code: i32) {
        self.leader_ends(of, Exit::Code(code));
        self.gone(of);
    }

    fn saves(&mut self, of: &str) {
        let component = self.core.find(of).unwrap();
        self.tell(Event::Changed { component, paths: vec![PathBuf::from("/p/src/x")] });
    }

    fn order(&mut self, order: Order) {
        self.tell(Event::Command(order));
    }

    fn edits(&mut self, components: Vec<Component>) {
        let project = Arc::new(project(components));
        let chosen: BTreeSet<Name> = project.components.iter().map(|spec| spec.name.clone()).collect();
        self.tell(Event::Edit { project, chosen });
    }

    /// Lets so much time pass, stopping at each deadline.
    fn pass(&mut self, millis: u64) {
        let end = self.now + ms(millis);
        while let Some(next) = self.core.next_deadline().filter(|next| *next <= end) {
            self.now = next;
            self.tell(Event::Deadline);
        }
        self.now = end;
    }

    #[track_caller]
    fn follows(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.seen), expected);
    }
}

#[test]
fn dependents_wait_for_ready_and_independent_ones_start_together() {
    let b = component("b").needs("a", Condition::Ready, false);
    let mut play = Play::up(vec![component("a").probed(), b, component("c")]);
    play.follows(&["spawn a#1", "spawn c#1", "b waiting"]);
    play.spawned("a");
    play.spawned("c");
    play.follows(&["c ready"]);
    play.ready("a");
    play.follows(&["a ready", "spawn b#1"]);
}

#[test]
fn each_condition_opens_at_its_moment() {
    let started = component("s").needs("a", Condition::Started, false);
    let completed = component("z").needs("a", Condition::Completed, false);
    let mut play = Play::up(vec![component("a").probed(), started, completed]);
    play.follows(&["spawn a#1", "s waiting", "z waiting"]);
    play.spawned("a");
    play.follows(&["spawn s#1"]);
    play.ready("a");
    play.ends("a", 0);
    play.follows(&["a ready", "a completed", "spawn z#1"]);
}

#[test]
fn a_timeout_never_counts_as_ready() {
    let b = component("b").needs("a", Condition::Ready, false);
    let mut play = Play::up(vec![component("a").probed().policy(RestartPolicy::Never), b]);
    play.spawned("a");
    play.pass(2000);
    play.follows(&["spawn a#1", "b waiting", "SIGTERM a"]);
    play.ends("a", 0);
    play.follows(&["a failed", "b blocked"]);
}

#[test]
fn an_end_before_the_probe_succeeded_is_a_failure_whatever_its_code() {
    let mut play = Play::up(vec![component("a").probed().policy(RestartPolicy::Never)]);
    play.spawned("a");
    play.ends("a", 0);
    play.follows(&["spawn a#1", "a failed"]);
    assert_eq!(play.exit, Some(1));
}

#[test]
fn a_stop_goes_from_the_dependents_to_what_they_need() {
    let b = component("b").needs("a", Condition::Ready, false);
    let mut play = Play::up(vec![component("a"), b]);
    play.spawned("a");
    play.spawned("b");
    play.seen.clear();
    play.order(Order::Shutdown);
    play.follows(&["SIGTERM b"]);
    play.leader_ends("b", Exit::Code(0));
    play.follows(&[]);
    play.gone("b");
    play.follows(&["b stopped", "SIGTERM a"]);
    play.ends("a", 0);
    play.follows(&["a stopped"]);
    assert_eq!(play.exit, Some(0));
}

#[test]
fn the_force_kill_comes_at_the_timeout_though_the_leader_has_ended() {
    let mut play = Play::up(vec![component("a")]);
    play.spawned("a");
    play.order(Order::Shutdown);
    play.leader_ends("a", Exit::Code(0));
    play.pass(999);
    play.follows(&["spawn a#1", "a ready", "SIGTERM a"]);
    play.pass(1);
    play.follows(&["kill a"]);
    play.gone("a");
    play.follows(&["a stopped"]);
    assert_eq!(play.exit, Some(0), "a force-kill alone is no failure");
}

#[test]
fn what_outlives_its_force_kill_is_stuck_and_its_late_end_counts() {
    let mut play = Play::up(vec![component("a").watched()]);
    play.spawned("a");
    play.saves("a");
    play.pass(1500);
    play.follows(&["spawn a#1", "a ready", "SIGTERM a", "kill a", "a stuck"]);
    play.ends("a", 9);
    play.pass(10);
    play.follows(&["spawn a#2"]);
}

#[test]
fn without_force_kill_it_is_stuck_and_the_second_shutdown_kills() {
    let mut a = component("a");
    a.stop = Arc::new(Stop { force_kill: false, ..(*a.stop).clone() });
    let mut play = Play::up(vec![a]);
    play.spawned("a");
    play.order(Order::Shutdown);
    play.pass(5000);
    play.follows(&["spawn a#1", "a ready", "SIGTERM a", "a stuck"]);
    play.order(Order::Shutdown);
    play.follows(&["kill a"]);
    play.ends("a", 9);
    assert_eq!(play.exit, Some(1));
}

#[test]
fn output_that_somebody_holds_open_is_closed_at_the_join_timeout() {
    let mut play = Play::up(vec![component("a")]);
    play.spawned("a");
    play.order(Order::Shutdown);
    play.leader_ends("a", Exit::Code(0));
    play.run_event("a", RunEvent::Gone);
    play.pass(500);
    play.follows(&["spawn a#1", "a ready", "SIGTERM a", "close a"]);
    play.run_event("a", RunEvent::OutputEnded);
    play.follows(&["a stopped"]);
}

#[test]
fn a_sound_run_is_restarted_at_once_and_an_early_failure_after_a_growing_wait() {
    let mut play = Play::up(vec![component("a")]);
    play.spawned("a");
    play.pass(1000);
    play.ends("a", 1);
    play.follows(&["spawn a#1", "a ready", "spawn a#2"]);
    play.spawned("a");
    play.ends("a", 1);
    play.follows(&["a ready", "a backoff"]);
    play.pass(170);
    play.follows(&[]);
    play.pass(60);
    play.follows(&["spawn a#3"]);
}

#[test]
fn the_limit_of_restarts_ends_in_failure() {
    let mut play = Play::up(vec![component("a")]);
    for _ in 0..6 {
        play.spawned("a");
        play.ends("a", 1);
        play.pass(5000);
    }
    assert_eq!(play.seen.last().map(String::as_str), Some("a failed"));
    assert_eq!(play.run("a").incarnation, 6);
    assert_eq!(play.exit, Some(1));
}

#[test]
fn a_change_stops_at_once_and_starts_when_gone_and_quiet() {
    let mut play = Play::up(vec![component("a").watched()]);
    play.spawned("a");
    play.saves("a");
    play.follows(&["spawn a#1", "a ready", "SIGTERM a"]);
    play.pass(3);
    play.ends("a", 0);
    play.follows(&[]);
    play.pass(1);
    play.follows(&[]);
    play.pass(1);
    play.follows(&["spawn a#2"]);
}

#[test]
fn changes_during_a_stop_are_one_restart_more() {
    let mut play = Play::up(vec![component("a").watched()]);
    play.spawned("a");
    for _ in 0..5 {
        play.saves("a");
        play.pass(100);
    }
    play.ends("a", 0);
    play.pass(600);
    play.spawned("a");
    play.pass(5000);
    play.follows(&["spawn a#1", "a ready", "SIGTERM a", "spawn a#2", "a ready"]);
}

#[test]
fn a_change_starts_what_has_ended_and_does_nothing_to_what_waits_or_was_stopped() {
    let b = component("b").watched().needs("a", Condition::Ready, false);
    let a = component("a").watched().probed().policy(RestartPolicy::Never);
    let mut play = Play::up(vec![a, b]);
    play.saves("b");
    play.pass(10);
    play.spawned("a");
    play.ends("a", 1);
    play.follows(&["spawn a#1", "b waiting", "a failed", "b blocked"]);
    play.saves("a");
    play.pass(10);
    play.follows(&["b waiting", "spawn a#2"]);
    play.order(Order::Stop(vec![name("a")]));
    play.spawned("a");
    play.ends("a", 0);
    play.follows(&["SIGTERM a", "a stopped"]);
    play.saves("a");
    play.pass(1000);
    play.follows(&[]);
}

#[test]
fn followers_go_down_first_and_come_back_with_what_they_follow() {
    let b = component("b").needs("a", Condition::Ready, true);
    let c = component("c").needs("a", Condition::Ready, false);
    let mut play = Play::up(vec![component("a").watched(), b, c]);
    for one in ["a", "b", "c"] {
        play.spawned(one);
    }
    play.seen.clear();
    play.saves("a");
    play.follows(&["SIGTERM b"]);
    play.ends("b", 0);
    play.follows(&["b waiting", "SIGTERM a"]);
    play.ends("a", 0);
    play.pass(10);
    play.follows(&["spawn a#2"]);
    play.spawned("a");
    play.follows(&["a ready", "spawn b#2"]);
}

#[test]
fn a_crash_of_what_they_follow_stops_followers_at_once() {
    let b = component("b").needs("a", Condition::Ready, true);
    let mut play = Play::up(vec![component("a"), b]);
    play.spawned("a");
    play.spawned("b");
    play.seen.clear();
    play.leader_ends("a", Exit::Signal(Signal::KILL));
    play.follows(&["SIGTERM b"]);
}

#[test]
fn stop_takes_running_dependents_first_and_start_does_not_bring_them_back() {
    let b = component("b").needs("a", Condition::Ready, false);
    let mut play = Play::up(vec![component("a"), b]);
    play.spawned("a");
    play.spawned("b");
    play.seen.clear();
    play.order(Order::Stop(vec![name("a")]));
    play.follows(&["SIGTERM b"]);
    play.ends("b", 0);
    play.ends("a", 0);
    play.follows(&["b stopped", "SIGTERM a", "a stopped"]);
    assert_eq!(play.exit, None, "what was stopped by command keeps the project going");
    play.order(Order::Start(vec![name("a")]));
    play.spawned("a");
    play.follows(&["spawn a#2", "a ready"]);
    play.order(Order::Start(vec![name("b")]));
    play.follows(&["spawn b#2"]);
}

#[test]
fn restart_means_the_named_alone() {
    let b = component("b").needs("a", Condition::Ready, false);
    let mut play = Play::up(vec![component("a"), b]);
    play.spawned("a");
    play.spawned("b");
    play.seen.clear();
    play.order(Order::Restart(vec![name("a")]));
    play.ends("a", 0);
    play.spawned("a");
    play.follows(&["SIGTERM a", "spawn a#2", "a ready"]);
}

#[test]
fn an_edit_touches_only_what_it_changes() {
    let mut play = Play::up(vec![component("a"), component("b"), component("c")]);
    for one in ["a", "b", "c"] {
        play.spawned(one);
    }
    play.seen.clear();
    let mut other = component("b");
    other.kind = Kind::Process(Command::Words(vec!["y".to_owned()]));
    let mut quicker = component("c");
    quicker.stop = Arc::new(Stop { timeout: ms(10), ..Stop::default() });
    play.edits(vec![component("a").watched(), other.clone(), quicker.clone(), component("d")]);
    play.follows(&["spawn d#1", "SIGTERM b"]);
    play.ends("b", 0);
    play.spawned("b");
    play.follows(&["spawn b#2", "b ready"]);
    play.edits(vec![component("a").watched(), other, quicker]);
    play.spawned("d");
    play.ends("d", 0);
    play.follows(&["d ready", "SIGTERM d", "d stopped"]);
    assert_eq!(play.core.find("d"), None);
}

#[test]
fn an_edit_that_frees_a_waiting_one_starts_it() {
    let b = component("b").needs("a", Condition::Completed, false);
    let mut play = Play::up(vec![component("a"), b]);
    play.spawned("a");
    play.follows(&["spawn a#1", "b waiting", "a ready"]);
    play.edits(vec![component("a"), component("b")]);
    play.follows(&["spawn b#1"]);
}

#[test]
fn the_project_ends_by_itself_when_nothing_can_come() {
    let mut play = Play::up(vec![component("a"), component("b")]);
    for one in ["a", "b"] {
        play.spawned(one);
        play.ends(one, 0);
    }
    assert_eq!(play.exit, Some(0));
    let mut watched = Play::up(vec![component("a").watched()]);
    watched.spawned("a");
    watched.ends("a", 0);
    assert_eq!(watched.exit, None, "a save may start it again");
}

#[test]
fn a_failure_for_good_may_end_the_project() {
    let mut a = component("a").policy(RestartPolicy::Never);
    a.on_failure = OnFailure::Shutdown;
    let mut play = Play::up(vec![a, component("b")]);
    play.spawned("a");
    play.spawned("b");
    play.seen.clear();
    play.ends("a", 3);
    play.follows(&["a failed", "SIGTERM b"]);
    play.ends("b", 0);
    assert_eq!(play.exit, Some(1));
}

#[test]
fn past_shutdown_timeout_all_that_is_left_is_killed() {
    let mut a = component("a");
    a.stop = Arc::new(Stop { timeout: ms(60_000), ..Stop::default() });
    let mut play = Play::up(vec![a]);
    play.spawned("a");
    play.order(Order::Shutdown);
    play.pass(30_000);
    play.follows(&["spawn a#1", "a ready", "SIGTERM a", "kill a"]);
    play.ends("a", 9);
    assert_eq!(play.exit, Some(1));
}

#[test]
fn the_state_is_sealed_by_how_the_run_ended() {
    let state = State {
        file: PathBuf::from("/p/s"),
        max_age: None,
        once: true,
        atomic: false,
        keep: 3,
        max_size: 1 << 20,
        snapshot: None,
        restart_args: Vec::new(),
        required: false,
    };
    let mut a = component("a");
    a.state = Some(Box::new(state));
    let sealed = |play: &mut Play| play.run_event("a", RunEvent::Sealed(Sealed::Nothing));
    let mut play = Play::up(vec![a.policy(RestartPolicy::Always)]);
    play.spawned("a");
    play.pass(1000);
    play.ends("a", 0);
    play.follows(&["spawn a#1", "a ready", "seal a Succeeded"]);
    sealed(&mut play);
    play.spawned("a");
    play.pass(1000);
    play.ends("a", 1);
    play.follows(&["spawn a#2", "a ready", "seal a Crashed"]);
    sealed(&mut play);
    play.spawned("a");
    play.order(Order::Restart(vec![name("a")]));
    play.ends("a", 1);
    play.follows(&["spawn a#3", "a ready", "SIGTERM a", "seal a Ordered"]);
    sealed(&mut play);
    play.spawned("a");
    play.order(Order::Restart(vec![name("a")]));
    play.pass(1000);
    play.ends("a", 9);
    play.follows(&["spawn a#4", "a ready", "SIGTERM a", "kill a", "seal a Crashed"]);
}

#[test]
fn an_answer_about_an_earlier_run_changes_nothing() {
    let mut play = Play::up(vec![component("a")]);
    let first = play.run("a");
    play.spawned("a");
    play.pass(1000);
    play.ends("a", 1);
    play.spawned("a");
    play.seen.clear();
    play.tell(Event::Run(first, RunEvent::Exited(Exit::Code(0))));
    play.tell(Event::Run(first, RunEvent::Gone));
    play.follows(&[]);
    assert_eq!(play.core.view(first.component).map(|view| view.state.word()), Some("ready"));
}
