//! A project run by the program that embeds orch, by the public interface alone: what a component is given and
//! gives, what a handle commands and shows, and what of the process stays as it was.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use orch::{
    BoxError, ComponentKind, ComponentView, Context, Error, EventKind, Exit, Handle, Orchestrator, Source,
    State, ThreadComponent, Wake,
};
use serde::{Deserialize, Serialize};

const LONG: Duration = Duration::from_secs(30);

/// A folder with a YAML file.
struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    fn new(components: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let project = Self { folder };
        project.yaml(components);
        project
    }

    fn yaml(&self, components: &str) {
        std::fs::write(self.file(), format!("version: 1\nname: test\ncomponents:\n{components}\n")).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("devmode.yaml")
    }

    fn orch(&self) -> Orchestrator {
        Orchestrator::from_file(self.file())
    }

    fn log(&self, name: &str) -> String {
        let file = self.folder.path().join(format!(".orch/logs/{name}.log"));
        std::fs::read_to_string(file).unwrap_or_default()
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < LONG, "it did not come: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn view(handle: &Handle, name: &str) -> ComponentView {
    handle.component(name).unwrap()
}

fn wait_state(handle: &Handle, name: &str, state: State) {
    wait_until(&format!("{name} is {state}"), || view(handle, name).state == state);
}

/// A component whose type is registered: it counts its runs.
struct Counter {
    with: Settings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    step: u32,
}

#[derive(Serialize, Deserialize, Default, Debug, PartialEq, Clone)]
struct Counted {
    total: u32,
    runs: Vec<u64>,
}

impl ThreadComponent for Counter {
    type With = Settings;

    fn new(with: Settings) -> Result<Self, BoxError> {
        if with.step == 0 { Err("with.step: must be more than 0".into()) } else { Ok(Self { with }) }
    }

    fn run(self, cx: Context) -> Result<(), BoxError> {
        let mut counted: Counted = cx.restored()?.unwrap_or_default();
        counted.total += self.with.step;
        counted.runs.push(cx.incarnation());
        cx.status(&format!("{} in {:?}", counted.total, counted.runs));
        cx.println(&format!("{} from {:?}", counted.total, cx.restored_from()));
        cx.ready();
        cx.stop_token().wait_forever();
        cx.save(&counted)?;
        Ok(())
    }
}

const COUNT: &str = "  count: { thread: counter, with: { step: 5 }, state: true, ready: { notify: true } }";

#[test]
fn a_component_goes_on_with_its_state_over_restarts_and_over_projects() {
    let project = Project::new(COUNT);
    let orch = || project.orch().register::<Counter>("counter");
    let handle = orch().start().unwrap();
    handle.start(["count"]).unwrap();
    let first = view(&handle, "count");
    assert_eq!((first.kind, first.state, first.incarnation), (ComponentKind::Thread, State::Ready, 1));
    assert_eq!((first.pid, first.restored, first.exit, first.restarts), (None, None, None, 0));
    assert_eq!(first.status.as_deref(), Some("5 in [1]"));

    for run in 2..=3 {
        handle.restart(["count"]).unwrap();
        let view = view(&handle, "count");
        assert_eq!((view.state, view.incarnation, view.restarts), (State::Ready, run, 0));
        assert_eq!((view.restored, view.exit), (Some(Source::Restart), Some(Exit::Code(0))));
    }
    assert_eq!(view(&handle, "count").status.as_deref(), Some("15 in [1, 2, 3]"));
    handle.stop(["count"]).unwrap();
    assert_eq!(view(&handle, "count").state, State::Stopped);
    handle.start(["count"]).unwrap();
    assert!(handle.shutdown().unwrap().is_success());
    assert_eq!(view(&handle, "count").state, State::Stopped, "seen also after the end");

    let handle = orch().start().unwrap();
    handle.start(["count"]).unwrap();
    assert_eq!(view(&handle, "count").status.as_deref(), Some("25 in [1, 2, 3, 4, 5]"));
    handle.shutdown().unwrap();
    let handle = orch().restore(false).start().unwrap();
    handle.start(["count"]).unwrap();
    assert_eq!(view(&handle, "count").status.as_deref(), Some("5 in [6]"));
    assert_eq!(handle.shutdown().unwrap().code, 0);
    let said = project.log("count");
    assert!(said.starts_with("5 from None\n10 from Some(Restart)\n"), "{said}");
}

#[test]
fn there_is_never_a_second_one_and_its_cycle_is_short() {
    let project = Project::new("  one: { thread: one, state: true }\n  other: { thread: one, state: true }");
    let alive: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let living = Arc::clone(&alive);
    let one = move |(): (), cx: Context| -> Result<(), BoxError> {
        let count = |by: isize| {
            let mut living = living.lock().unwrap();
            let one = living.entry(cx.name().to_owned()).or_default();
            *one = one.checked_add_signed(by).unwrap();
            *one
        };
        assert_eq!(count(1), 1, "two incarnations at once");
        let runs = cx.restored::<u64>()?.unwrap_or(0) + 1;
        assert_eq!(runs, cx.incarnation(), "a state is lost, or used twice");
        cx.stop_token().wait_forever();
        cx.save(&runs)?;
        count(-1);
        Ok(())
    };
    let handle = project.orch().register_fn("one", one).start().unwrap();
    handle.start(["one", "other"]).unwrap();
    let (mut cycles, cycle) = (Vec::new(), 20);
    std::thread::scope(|scope| {
        // Somebody else restarts the other one all the while.
        scope.spawn(|| (0..cycle).for_each(|_| handle.restart(["other"]).unwrap()));
        for _ in 0..cycle {
            let begun = Instant::now();
            handle.restart(["one"]).unwrap();
            cycles.push(begun.elapsed());
        }
    });
    for name in ["one", "other"] {
        let view = view(&handle, name);
        assert_eq!((view.state, view.incarnation, view.restarts), (State::Ready, cycle + 1, 0));
    }
    handle.shutdown().unwrap();
    cycles.sort();
    let median = cycles[cycles.len() / 2];
    println!("stop -> start, state included: median {median:?}, longest {:?}", cycles.last().unwrap());
    assert!(median < Duration::from_millis(500), "{cycles:?}");
}

#[test]
fn a_panic_is_one_components_failure_and_nobody_elses() {
    let project = Project::new(
        "  weak: { thread: weak, restart: { backoff: { initial: 1ms } } }\n  sound: { thread: sound }",
    );
    let panics = Arc::new(AtomicBool::new(true));
    let once = Arc::clone(&panics);
    let weak = move |(): (), cx: Context| -> Result<(), BoxError> {
        assert!(!once.swap(false, Ordering::SeqCst), "out of tune");
        cx.stop_token().wait_forever();
        Ok(())
    };
    let sound = |(): (), cx: Context| -> Result<(), BoxError> {
        cx.stop_token().wait_forever();
        Ok(())
    };
    let handle = project.orch().register_fn("weak", weak).register_fn("sound", sound).start().unwrap();
    wait_until("weak runs again", || {
        let weak = view(&handle, "weak");
        weak.incarnation == 2 && weak.state == State::Ready
    });
    let weak = view(&handle, "weak");
    assert_eq!((weak.exit, weak.restarts), (Some(Exit::Panic("out of tune".into())), 1));
    assert_eq!((view(&handle, "sound").incarnation, view(&handle, "sound").restarts), (1, 0));
    assert_eq!(project.log("weak"), "panicked: out of tune\n");
    assert!(handle.shutdown().unwrap().is_success());
}

#[test]
fn commands_tell_what_came_of_them() {
    let project = Project::new(
        r#"
  base: { thread: idle }
  leaf: { thread: idle, depends_on: [base] }
  once: { thread: idle, with: done, restart: never }
  bad: { thread: idle, with: fail, ready: { notify: true }, restart: never, autostart: false }
  above: { thread: idle, depends_on: [bad], autostart: false }"#,
    );
    let idle = |with: Option<String>, cx: Context| -> Result<(), BoxError> {
        match with.as_deref() {
            Some("done") => Ok(()),
            Some(_) => Err("it can't be".into()),
            None => {
                cx.stop_token().wait_forever();
                Ok(())
            }
        }
    };
    let handle = project.orch().register_fn("idle", idle).start().unwrap();
    handle.start(["leaf", "once"]).unwrap();
    let incarnation = |name| view(&handle, name).incarnation;
    handle.start(["base", "leaf"]).unwrap();
    assert_eq!((incarnation("base"), incarnation("leaf")), (1, 1), "start does nothing to what is ready");
    // By itself, or, where it had completed before the command above, once more.
    wait_state(&handle, "once", State::Completed);
    let first = incarnation("once");
    for (command, run) in [("start", first + 1), ("restart", first + 2)] {
        let result = if command == "start" { handle.start(["once"]) } else { handle.restart(["once"]) };
        result.unwrap();
        // It is ready as soon as it runs, and the command is done then; or when it has completed before.
        wait_state(&handle, "once", State::Completed);
        assert_eq!(incarnation("once"), run, "{command}: what has completed runs again");
    }

    handle.stop(["base"]).unwrap();
    assert_eq!((view(&handle, "base").state, view(&handle, "leaf").state), (State::Stopped, State::Stopped));
    handle.stop(["base"]).unwrap();
    let unmet = |result: Result<(), Error>| match result {
        Err(Error::Unmet(failures)) => failures,
        other => panic!("{other:?}"),
    };
    let held = unmet(handle.restart(["leaf"]));
    assert_eq!(held, [("leaf".to_owned(), "waiting for base to be ready (stopped)".to_owned())]);
    handle.start(["leaf"]).unwrap();
    assert_eq!((incarnation("base"), incarnation("leaf")), (2, 2), "with what it needs");

    let failed = unmet(handle.start(["base", "bad"]));
    assert_eq!(failed, [("bad".to_owned(), "it ended with exit code 1".to_owned())]);
    let blocked = unmet(handle.start(["above"]));
    assert_eq!(blocked, [("above".to_owned(), "bad has failed".to_owned())]);
    for unknown in ["nobody", "no name"] {
        assert_eq!(handle.stop(["base", unknown]), Err(Error::Unknown(unknown.into())));
    }
    assert_eq!(view(&handle, "base").state, State::Ready, "and nothing was done");
    assert_eq!(handle.shutdown().unwrap().code, 1, "one has failed");
    assert_eq!(handle.start(["base"]), Err(Error::Ended));
    assert_eq!(handle.shutdown().unwrap().code, 1);
}

#[test]
fn a_thread_that_does_not_return_is_stuck_and_the_others_are_not() {
    let project = Project::new(
        "  deaf: { thread: deaf, stop: { timeout: 50ms, join_timeout: 50ms } }\n  clock: { thread: ticker }",
    );
    let release = Arc::new(AtomicBool::new(false));
    let released = Arc::clone(&release);
    let deaf = move |(): (), _cx: Context| -> Result<(), BoxError> {
        while !released.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        Ok(())
    };
    let handle = project.orch().register_fn("deaf", deaf).start().unwrap();
    handle.start(["deaf"]).unwrap();
    let Err(Error::Unmet(failures)) = handle.restart(["deaf"]) else { panic!("it does not return") };
    assert!(failures[0].1.contains("does not return"), "{failures:?}");
    assert_eq!(view(&handle, "deaf").state, State::Stuck);
    handle.restart(["clock"]).unwrap();
    release.store(true, Ordering::SeqCst);
    wait_until("it goes on", || view(&handle, "deaf").incarnation == 2);
    handle.start(["deaf"]).unwrap();
    assert!(handle.shutdown().unwrap().is_success());
}

#[test]
fn a_thread_that_outlives_its_project_keeps_it_from_being_run_again() {
    let project = Project::new("  deaf: { thread: deaf, stop: { timeout: 50ms, join_timeout: 50ms } }");
    let release = Arc::new(AtomicBool::new(false));
    let released = Arc::clone(&release);
    let deaf = move |(): (), _cx: Context| -> Result<(), BoxError> {
        while !released.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        Ok(())
    };
    let orch = || project.orch().register_fn("deaf", deaf.clone());
    let handle = orch().start().unwrap();
    handle.start(["deaf"]).unwrap();
    assert_eq!(handle.kill().unwrap().code, 1);
    assert_eq!(view(&handle, "deaf").state, State::Stuck);
    let again = orch().start().map(drop);
    assert!(matches!(again, Err(Error::Taken(_))), "two incarnations at once: {again:?}");
    release.store(true, Ordering::SeqCst);
    wait_until("the thread is gone", || match orch().start() {
        // It returns at once now, and with it the project ends.
        Ok(handle) => {
            assert!(handle.wait().unwrap().is_success());
            assert_eq!(view(&handle, "deaf").incarnation, 2);
            true
        }
        Err(error) => matches!(error, Error::Taken(_)).then_some(false).unwrap(),
    });
}

#[test]
fn events_tell_the_whole_story_and_end_with_the_project() {
    let project = Project::new(COUNT);
    let handle = project.orch().register::<Counter>("counter").start().unwrap();
    let listener = handle.clone();
    let story = std::thread::spawn(move || listener.events().collect::<Vec<_>>());
    handle.start(["count"]).unwrap();
    handle.restart(["count"]).unwrap();
    handle.shutdown().unwrap();
    let story = story.join().unwrap();
    assert_eq!(story[0].kind, EventKind::ProjectUp);
    assert!(matches!(story.last().unwrap().kind, EventKind::ProjectDown { code: 0, .. }));
    assert!(story.windows(2).all(|two| two[1].seq == two[0].seq + 1), "none is missed");

    let at = |what: &str, fits: &dyn Fn(&EventKind) -> bool| {
        let found = story.iter().position(|event| event.incarnation == Some(2) && fits(&event.kind));
        found.unwrap_or_else(|| panic!("{what}: {story:#?}"))
    };
    let restored =
        at("restored", &|kind| matches!(kind, EventKind::StateRestored { source: Source::Restart, .. }));
    let spawned = at("spawned", &|kind| matches!(kind, EventKind::Spawned { pid: None, .. }));
    let ready = at("ready", &|kind| matches!(kind, EventKind::State { state: State::Ready, .. }));
    assert!(restored < spawned && spawned < ready);
    let sealed = story.iter().position(|event| matches!(event.kind, EventKind::StateSealed { .. })).unwrap();
    assert!(sealed < restored);
    let command = story.iter().find(|event| match &event.kind {
        EventKind::Command { name, args, .. } => name == "restart" && args == &["count"],
        _ => false,
    });
    let asked = story.iter().find(|event| matches!(event.kind, EventKind::StopRequested { .. })).unwrap();
    assert_eq!(asked.cause, command.map(|event| event.seq));
    assert_eq!(asked.component.as_deref(), Some("count"));

    let mut late = handle.events();
    assert_eq!(late.next_within(LONG), None, "after the end there is nothing to hear");
}

#[test]
fn what_is_saved_on_the_way_counts_after_a_panic() {
    let project = Project::new("  a: { thread: a, state: true, restart: { backoff: { initial: 1ms } } }");
    let run = |(): (), cx: Context| -> Result<(), BoxError> {
        let before = cx.restored::<u32>()?;
        assert_eq!(
            (before, cx.restored_from()),
            match cx.incarnation() {
                1 => (None, None),
                _ => (Some(7), Some(Source::Snapshot)),
            }
        );
        if before.is_none() {
            cx.save(&7)?;
            cx.save_with(|_| panic!("while it saves"))?;
        }
        while cx.wait(LONG) != Wake::Stop {}
        Ok(())
    };
    let handle = project.orch().register_fn("a", run).start().unwrap();
    wait_until("the second run", || {
        let a = view(&handle, "a");
        a.incarnation == 2 && a.state == State::Ready
    });
    assert_eq!(view(&handle, "a").restored, Some(Source::Snapshot));
    handle.shutdown().unwrap();
}

#[test]
fn an_edit_and_a_saved_file_restart_what_they_concern() {
    let yaml = |step: u32| {
        format!(
            "  count: {{ thread: counter, with: {{ step: {step} }}, watch: [data.txt] }}\n  clock: {{ thread: ticker }}"
        )
    };
    let project = Project::new(&yaml(1));
    let data = project.folder.path().join("data.txt");
    std::fs::write(&data, "1").unwrap();
    let handle = project.orch().register::<Counter>("counter").start().unwrap();
    handle.start(["count", "clock"]).unwrap();
    std::fs::write(&data, "2").unwrap();
    wait_until("a restart", || view(&handle, "count").incarnation == 2);
    project.yaml(&yaml(0));
    wait_until("the edit is refused", || {
        handle.events().take_while(|event| event.kind != EventKind::ConfigReloaded).any(|event| {
            matches!(&event.kind, EventKind::ConfigRejected { errors, .. } if errors[0].contains("more than 0"))
        })
    });
    project.yaml(&yaml(3));
    wait_until("the edit", || view(&handle, "count").status.as_deref() == Some("3 in [3]"));
    assert_eq!(view(&handle, "clock").incarnation, 1);
    handle.shutdown().unwrap();
}

#[test]
fn what_is_wrong_is_told_before_anything_starts() {
    let project = Project::new("  a: { thread: counter, with: { step: 0 } }\n  b: { thread: countre }");
    let orch = || project.orch().register::<Counter>("counter");
    for refused in [orch().check().map(drop), orch().start().map(drop), orch().run().map(drop)] {
        let Err(Error::Invalid(report)) = refused else { panic!("{refused:?}") };
        assert!(report.contains("with.step: must be more than 0"), "{report}");
        assert!(report.contains("countre") && report.contains("did you mean `counter`"), "{report}");
    }
    assert!(!project.folder.path().join(".orch").exists());

    project.yaml(COUNT);
    assert_eq!(orch().check().unwrap(), "");
    assert_eq!(orch().only(["b"]).start().map(drop).unwrap_err(), Error::Unknown("b".into()));
    let first = orch().state_dir(project.folder.path().join("elsewhere")).start().unwrap();
    let taken = orch().start().map(drop).unwrap_err();
    assert!(matches!(taken, Error::Taken(_)), "{taken:?}");
    first.shutdown().unwrap();
    orch().start().unwrap().shutdown().unwrap();

    let nothing = Orchestrator::from_file(project.folder.path().join("none.yaml")).start().map(drop);
    assert!(matches!(nothing, Err(Error::Invalid(_))), "{nothing:?}");
}

#[test]
fn a_project_ends_by_itself_and_processes_are_components_too() {
    let project = Project::new(
        r#"
  first: { thread: once }
  then: { process: { shell: "echo $ORCH_COMPONENT $ORCH_INCARNATION" }, depends_on: { first: completed } }"#,
    );
    let once = |(): (), cx: Context| -> Result<(), BoxError> {
        cx.println("once");
        Ok(())
    };
    let orch = || project.orch().register_fn("once", once);
    assert!(orch().run().unwrap().is_success());
    assert_eq!((project.log("first"), project.log("then")), ("once\n".into(), "then 1\n".into()));
    let handle = orch().start().unwrap();
    assert!(handle.wait().unwrap().is_success());
    let then = view(&handle, "then");
    assert_eq!(
        (then.kind, then.state, then.exit),
        (ComponentKind::Process, State::Completed, Some(Exit::Code(0)))
    );

    let forever = Project::new("  a: { process: sleep 1000 }");
    let handle = forever.orch().start().unwrap();
    handle.start(["a"]).unwrap();
    assert!(view(&handle, "a").pid.is_some());
    assert_eq!(handle.kill().unwrap().code, 1);
}

#[test]
fn a_waiting_stop_and_a_start_that_crosses_it_both_get_an_answer() {
    let project = Project::new("  slow: { thread: slow }");
    let stops = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&stops);
    let slow = move |(): (), cx: Context| -> Result<(), BoxError> {
        cx.stop_token().wait_forever();
        asked.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(50));
        Ok(())
    };
    let handle = project.orch().register_fn("slow", slow).start().unwrap();
    handle.start(["slow"]).unwrap();
    let other = handle.clone();
    let stop = std::thread::spawn(move || other.stop(["slow"]));
    wait_until("it is asked to stop", || stops.load(Ordering::SeqCst) == 1);
    handle.start(["slow"]).unwrap();
    assert_eq!(view(&handle, "slow").incarnation, 2);
    let crossed = stop.join().unwrap();
    let again = [("slow".to_owned(), "somebody started it again".to_owned())];
    assert_eq!(crossed, Err(Error::Unmet(again.into())));
    handle.shutdown().unwrap();
}

#[test]
fn the_process_stays_as_it_was() {
    let caught = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim().to_owned();
        u64::from_str_radix(&mask, 16).unwrap()
    };
    let limit = || std::fs::read_to_string("/proc/self/limits").unwrap();
    let (signals, limits) = (caught(), limit());
    let project = Project::new("  clock: { thread: ticker, with: { every: 1ms } }");
    let handle = project.orch().start().unwrap();
    handle.start(["clock"]).unwrap();
    wait_until("it ticks", || !project.log("clock").is_empty());
    assert_eq!((caught(), limit()), (signals, limits));
    assert_eq!(caught() & (1 | 1 << 1 | 1 << 14), 0, "SIGHUP, SIGINT and SIGTERM are not orch's");
    handle.shutdown().unwrap();
}

/// Prints what a stop -> start cycle costs beyond the thread's own time, state included.
#[test]
#[ignore = "measures, and holds nothing: cargo test --release --test embed -- --ignored --nocapture"]
fn the_cycle_measured() {
    const CYCLES: usize = 200;
    let project = Project::new("  one: { thread: one, state: true }\n  bare: { thread: one }");
    let own: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let noted = Arc::clone(&own);
    let one = move |(): (), cx: Context| -> Result<(), BoxError> {
        let runs = cx.restored::<u64>()?.unwrap_or(0) + 1;
        cx.stop_token().wait_forever();
        let begun = Instant::now();
        if cx.state_file().is_some() {
            cx.save(&runs)?;
        }
        noted.lock().unwrap().push(begun.elapsed());
        Ok(())
    };
    let handle = project.orch().register_fn("one", one).start().unwrap();
    handle.start(["one", "bare"]).unwrap();
    for name in ["bare", "one"] {
        own.lock().unwrap().clear();
        let mut cycles: Vec<Duration> = (0..CYCLES)
            .map(|_| {
                // What follows a start, such as the note that the state is used up, is no part of the next cycle.
                std::thread::sleep(Duration::from_millis(30));
                let begun = Instant::now();
                handle.restart([name]).unwrap();
                begun.elapsed()
            })
            .collect();
        let mut own = own.lock().unwrap();
        let mut beyond: Vec<Duration> =
            cycles.iter().zip(&*own).map(|(whole, own)| whole.saturating_sub(*own)).collect();
        for times in [&mut cycles, &mut *own, &mut beyond] {
            times.sort();
        }
        let show = |times: &[Duration]| (times[CYCLES / 2], times[CYCLES * 95 / 100], times[CYCLES - 1]);
        println!(
            "{name}: whole {:?}, own (save) {:?}, beyond {:?}",
            show(&cycles),
            show(&own),
            show(&beyond)
        );
    }
    handle.shutdown().unwrap();
}
