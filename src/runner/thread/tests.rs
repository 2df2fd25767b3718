use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::ask::Asks;
use super::{Around, BoxError, Context, Registry, ThreadRunner, ThreadSpec, ThreadState, Wake};
use crate::runner::{Runner, RunnerReport, Scope};
use crate::types::{Exit, Name, Signal, Source, UnitId};

const LONG: Duration = Duration::from_secs(30);
const UNIT: UnitId = UnitId(7);
const MAX_SIZE: u64 = 1 << 20;

struct Bench {
    runner: ThreadRunner,
    reports: Receiver<RunnerReport>,
}

impl Bench {
    fn new(registry: Registry) -> Self {
        ThreadRunner::hook_panics();
        let (sender, reports) = mpsc::channel();
        let sender = Mutex::new(sender);
        let sink = Arc::new(move |report| drop(sender.lock().unwrap().send(report)));
        Self { runner: ThreadRunner::start(sink, registry), reports }
    }

    fn with<F>(run: F) -> Self
    where
        F: Fn((), Context) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        let mut registry = Registry::builtin();
        registry.register_fn("test", run);
        Self::new(registry)
    }

    fn spawn(&self, runner: &str, with: &str) -> BufReader<std::fs::File> {
        self.spawn_with_state(runner, with, None, false)
    }

    fn spawn_with_state(
        &self,
        runner: &str,
        with: &str,
        state: Option<&Path>,
        restored: bool,
    ) -> BufReader<std::fs::File> {
        let (read, write): (OwnedFd, OwnedFd) = rustix::pipe::pipe().unwrap();
        self.runner.spawn(
            UNIT,
            ThreadSpec {
                name: Name::new("clock").unwrap(),
                runner: runner.to_owned(),
                with: serde_yaml::from_str(with).unwrap(),
                output: write,
                incarnation: 3,
                state: state.map(|file| ThreadState {
                    file: PathBuf::from(file),
                    max_size: MAX_SIZE,
                    restored: restored.then_some(Source::Backup),
                }),
                around: Around::default(),
            },
        );
        BufReader::new(read.into())
    }

    fn next(&self) -> RunnerReport {
        self.reports.recv_timeout(LONG).unwrap()
    }

    fn expect(&self, expected: &[RunnerReport]) {
        for report in expected {
            assert_eq!(&self.next(), report);
        }
    }

    fn stop(&self) {
        self.runner.stop(UNIT, Signal::TERM, Scope::Group);
    }

    fn failure(&self) -> String {
        match self.next() {
            RunnerReport::SpawnFailed { unit: UNIT, error } => error,
            other => panic!("{other:?}"),
        }
    }
}

const SPAWNED: RunnerReport = RunnerReport::Spawned { unit: UNIT, pid: None };
const READY: RunnerReport = RunnerReport::Ready { unit: UNIT };
const GONE: RunnerReport = RunnerReport::Gone { unit: UNIT };

fn exited(exit: Exit) -> RunnerReport {
    RunnerReport::Exited { unit: UNIT, exit }
}

fn rest(mut output: BufReader<std::fs::File>) -> String {
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    text
}

fn line(output: &mut BufReader<std::fs::File>) -> String {
    let mut text = String::new();
    output.read_line(&mut text).unwrap();
    text
}

#[test]
fn a_ticker_stops_promptly_and_is_gone() {
    let bench = Bench::new(Registry::builtin());
    let mut output = bench.spawn("ticker", "every: 1h");
    bench.expect(&[SPAWNED, READY]);
    assert_eq!(line(&mut output), "tick 1\n");
    let asked = Instant::now();
    bench.stop();
    bench.expect(&[exited(Exit::Code(0)), GONE]);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(rest(output), "", "the output is closed");
    bench.stop();
    bench.runner.kill(UNIT);
    assert!(bench.reports.try_recv().is_err(), "harmless after the end");
}

#[test]
fn what_the_component_held_is_dropped_before_gone() {
    thread_local! {
        static LAST: std::cell::RefCell<Option<Held>> = const { std::cell::RefCell::new(None) };
    }
    struct Held(Arc<AtomicBool>);
    impl Drop for Held {
        fn drop(&mut self) {
            std::thread::sleep(Duration::from_millis(20));
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicBool::new(false));
    let held = Arc::clone(&dropped);
    let bench = Bench::with(move |(), _cx| {
        LAST.set(Some(Held(Arc::clone(&held))));
        Ok(())
    });
    bench.spawn("test", "null");
    bench.expect(&[SPAWNED, exited(Exit::Code(0)), GONE]);
    assert!(dropped.load(Ordering::SeqCst), "a thread-local value is the last to go");
}

#[test]
fn a_panic_is_contained_and_printed_to_the_components_output() {
    let bench = Bench::with(|(), _cx| panic!("the disk is {}", "full"));
    let output = bench.spawn("test", "null");
    bench.expect(&[SPAWNED, exited(Exit::Panic("the disk is full".into())), GONE]);
    let text = rest(output);
    assert!(text.starts_with("panicked at ") && text.contains("tests.rs"), "{text}");
    assert!(text.lines().next().unwrap().ends_with(": the disk is full"), "{text}");
}

#[test]
fn a_payload_that_panics_when_dropped_is_contained_too() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(Bomb);
        }
    }
    let bench = Bench::with(|(), _cx| std::panic::panic_any(Bomb));
    bench.spawn("test", "null");
    bench.expect(&[SPAWNED, exited(Exit::Panic("a panic without a message".into())), GONE]);
}

#[test]
fn an_error_is_printed_with_its_cause() {
    #[derive(Debug)]
    struct Outer(std::io::Error);
    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("open the door")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let bench = Bench::with(|(), _cx| Err(Outer(std::io::Error::other("locked")).into()));
    let output = bench.spawn("test", "null");
    bench.expect(&[SPAWNED, exited(Exit::Code(1)), GONE]);
    assert_eq!(rest(output), "error: open the door: locked\n");
}

#[test]
fn a_thread_that_never_returns_is_unkillable_and_not_gone() {
    let release = Asks::default();
    let held = release.stop_token();
    let bench = Bench::with(move |(), cx| {
        cx.stop_token().wait_forever();
        cx.status("ignoring the stop");
        held.wait_forever();
        Ok(())
    });
    bench.spawn("test", "null");
    bench.expect(&[SPAWNED]);
    bench.stop();
    bench.expect(&[RunnerReport::Status { unit: UNIT, text: "ignoring the stop".into() }]);
    bench.runner.kill(UNIT);
    bench.expect(&[RunnerReport::Unkillable { unit: UNIT }]);
    assert!(bench.reports.recv_timeout(Duration::from_millis(50)).is_err(), "neither exited nor gone");
    release.stop();
    bench.expect(&[exited(Exit::Code(0)), GONE]);
}

#[test]
fn a_thread_left_behind_is_heard_no_more() {
    let (late, end) = (Asks::default(), Arc::new(Mutex::new(None)));
    let (wait, slot) = (late.stop_token(), Arc::clone(&end));
    let bench = Bench::with(move |(), cx| {
        let wait = wait.clone();
        *slot.lock().unwrap() = Some(std::thread::spawn(move || {
            wait.wait_forever();
            cx.ready();
            cx.status("late");
            cx.println("late");
            cx.save(&"late").is_err() && std::io::Write::write(&mut cx.writer(), b"late").is_err()
        }));
        Ok(())
    });
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let output = bench.spawn_with_state("test", "null", Some(&state), false);
    bench.expect(&[SPAWNED, exited(Exit::Code(0)), GONE]);
    assert_eq!(rest(output), "", "closed, though a thread still holds it");
    late.stop();
    assert!(end.lock().unwrap().take().unwrap().join().unwrap());
    assert!(bench.reports.try_recv().is_err() && !state.exists());
}

#[test]
fn a_ticker_counts_on_with_its_state() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("made/by/orch/state.json");
    let bench = Bench::new(Registry::builtin());
    let mut output = bench.spawn_with_state("ticker", "{every: 1ms, message: 'n={n}'}", Some(&state), false);
    bench.expect(&[SPAWNED, READY]);
    assert_eq!([line(&mut output), line(&mut output)], ["n=1\n", "n=2\n"]);
    bench.stop();
    bench.expect(&[exited(Exit::Code(0)), GONE]);
    let last = rest(output).lines().count() + 2;
    assert_eq!(std::fs::read_to_string(&state).unwrap(), format!("{{\"ticks\":{last}}}"));
    assert_eq!(std::fs::read_dir(state.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");

    let mut output = bench.spawn_with_state("ticker", "every: 1h", Some(&state), true);
    assert_eq!(line(&mut output), format!("tick {}\n", last + 1));
    bench.expect(&[SPAWNED, READY]);
    bench.stop();
    bench.expect(&[exited(Exit::Code(0)), GONE]);

    let mut output = bench.spawn_with_state("ticker", "every: 1h", Some(&state), false);
    assert_eq!(line(&mut output), "tick 1\n", "not restored: afresh, whatever lies there");
}

#[test]
fn a_ticker_with_a_count_ends_by_itself_at_its_multiples() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    std::fs::write(&state, r#"{"ticks": 2}"#).unwrap();
    let bench = Bench::new(Registry::builtin());
    for expected in ["tick 3\n", "tick 4\ntick 5\ntick 6\n"] {
        let output = bench.spawn_with_state("ticker", "{every: 1ms, count: 3}", Some(&state), true);
        bench.expect(&[SPAWNED, READY, exited(Exit::Code(0)), GONE]);
        assert_eq!(rest(output), expected);
    }
    let output = bench.spawn("ticker", "{every: 1ms, count: 2}");
    bench.expect(&[SPAWNED, READY, exited(Exit::Code(0)), GONE]);
    assert_eq!(rest(output), "tick 1\ntick 2\n");
}

#[test]
fn a_ticker_refuses_what_is_no_state_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    let bench = Bench::new(Registry::builtin());
    for bad in ["", "{}", "{\"ticks\":-1}", "{\"ticks\":18446744073709551615}"] {
        std::fs::write(&state, bad).unwrap();
        let output = bench.spawn_with_state("ticker", "null", Some(&state), true);
        bench.expect(&[SPAWNED, exited(Exit::Code(1)), GONE]);
        assert!(rest(output).starts_with("error: the restored state "), "{bad}");
    }
    std::fs::remove_file(&state).unwrap();
    let output = bench.spawn_with_state("ticker", "null", Some(&state), true);
    bench.expect(&[SPAWNED, exited(Exit::Code(1)), GONE]);
    assert!(rest(output).starts_with("error: read the restored state "));
}

#[test]
fn output_that_nobody_reads_ends_nothing() {
    let bench = Bench::new(Registry::builtin());
    drop(bench.spawn("ticker", "{every: 1ms, count: 20}"));
    bench.expect(&[SPAWNED, READY, exited(Exit::Code(0)), GONE]);
}

#[test]
fn a_name_that_is_not_known_starts_nothing() {
    let bench = Bench::new(Registry::builtin());
    bench.spawn("tiker", "null");
    assert_eq!(
        bench.failure(),
        "start the thread `clock`: no thread component is named `tiker`; did you mean `ticker`? known are: proxy, tcp-proxy, ticker"
    );
    bench.runner.kill(UNIT);
    bench.spawn("zzz", "null");
    assert_eq!(
        bench.failure(),
        "start the thread `clock`: no thread component is named `zzz`; known are: proxy, tcp-proxy, ticker"
    );
    assert!(bench.reports.try_recv().is_err(), "and nothing else is reported");
}

#[test]
fn mistakes_in_with_are_clear() {
    let registry = Registry::builtin();
    let check = |with: &str| registry.check("ticker", &serde_yaml::from_str(with).unwrap());
    for good in ["null", "{}", "every: 1m 30s", "{every: 5ms, message: x, count: 3}"] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    let bad = [
        ("evry: 1s", "with.evry: unknown field `evry`, expected one of `every`, `message`, `count`"),
        (
            "{message: x, every: 5}",
            "with.every: invalid type: integer `5`, expected a duration such as `250ms` or `1m 30s`",
        ),
        ("every: soon", "with.every: `soon` is no duration such as `250ms`: expected number at 0"),
        ("every: 0s", "with.every: must be longer than nothing"),
        ("count: 0", "with.count: invalid value: integer `0`, expected a nonzero u64"),
        ("count: -1", "with.count: invalid value: integer `-1`, expected a nonzero u64"),
        ("message: [a]", "with.message: invalid type: sequence, expected a string"),
        ("[1]", "with: invalid type"),
        ("text", "with: invalid type: string \"text\", expected the keys `every`, `message` and `count`"),
    ];
    for (with, expected) in bad {
        let error = check(with).unwrap_err();
        assert!(error.starts_with(expected), "{with}: {error}");
    }
    // What is missing is missing in the whole, or in the part that lacks it.
    let error = registry.check("proxy", &serde_yaml::from_str("listen: 127.0.0.1:1").unwrap()).unwrap_err();
    assert!(error.starts_with("with: missing field `to`"), "{error}");
    let mut nested = Registry::default();
    nested.register_fn("parts", |_: std::collections::BTreeMap<String, Duration>, _| Ok(()));
    let error = nested
        .check("parts", &serde_yaml::from_str("{a: {secs: 1, nanos: 0}, b: {secs: 1}}").unwrap())
        .unwrap_err();
    assert!(error.starts_with("with.b: missing field `nanos`"), "{error}");
    let bench = Bench::new(registry);
    bench.spawn("ticker", "count: many");
    assert_eq!(
        bench.failure(),
        "start the thread `clock`: with.count: invalid type: string \"many\", expected a nonzero u64"
    );
}

#[test]
fn a_factory_that_panics_is_a_spawn_that_failed() {
    struct Odd;
    impl super::ThreadComponent for Odd {
        type With = ();
        fn new((): ()) -> Result<Self, BoxError> {
            panic!("odd")
        }
        fn run(self, _cx: Context) -> Result<(), BoxError> {
            Ok(())
        }
    }
    let mut registry = Registry::default();
    registry.register::<Odd>("odd");
    let bench = Bench::new(registry);
    let output = bench.spawn("odd", "null");
    assert_eq!(bench.failure(), "start the thread `clock`: with: panicked: odd");
    assert!(rest(output).contains("odd"));
}

#[test]
fn ready_is_said_once_and_the_thread_has_the_components_name() {
    let bench = Bench::with(|(), cx| {
        cx.ready();
        cx.ready();
        cx.println(std::thread::current().name().unwrap());
        cx.println(&format!("{} {}", cx.name(), cx.incarnation()));
        assert!(cx.save(&"x").is_err() && cx.restored::<()>()?.is_none() && cx.restored_from().is_none());
        Ok(())
    });
    let output = bench.spawn("test", "null");
    bench.expect(&[SPAWNED, READY, exited(Exit::Code(0)), GONE]);
    assert_eq!(rest(output), "clock\nclock 3\n");
}

#[test]
fn a_signal_that_is_no_stop_does_not_stop_a_thread() {
    let bench = Bench::with(|(), cx| {
        cx.println(if cx.stop_token().wait(Duration::from_millis(50)) { "stopped" } else { "lives" });
        cx.stop_token().wait_forever();
        Ok(())
    });
    let mut output = bench.spawn("test", "null");
    bench.expect(&[SPAWNED]);
    bench.runner.signal(UNIT, Signal::HUP, Scope::Group);
    bench.runner.ask_state(UNIT);
    assert_eq!(line(&mut output), "lives\n");
    bench.stop();
    bench.expect(&[exited(Exit::Code(0)), GONE]);
    bench.runner.ask_state(UNIT);
}

#[test]
fn a_ticker_saves_when_it_is_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    let bench = Bench::new(Registry::builtin());
    let mut output = bench.spawn_with_state("ticker", "every: 1h", Some(&state), false);
    assert_eq!(line(&mut output), "tick 1\n");
    assert!(!state.exists());
    for _ in 0..2 {
        bench.runner.ask_state(UNIT);
        wait_for(|| std::fs::read_to_string(&state).is_ok_and(|text| text == "{\"ticks\":1}"));
        std::fs::remove_file(&state).unwrap();
    }
    bench.stop();
    bench.expect(&[SPAWNED, READY, exited(Exit::Code(0)), GONE]);
    assert_eq!(rest(output), "", "no further tick: a save is no time-out");
}

fn wait_for(mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LONG, "it did not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a component with a state file that holds `before`, restored; gives what the file holds afterwards.
fn with_state(
    before: &str,
    run: impl Fn(&Context) -> Result<(), BoxError> + Send + Sync + 'static,
) -> (String, Vec<String>, Exit) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    std::fs::write(&state, before).unwrap();
    let bench = Bench::with(move |(), cx| run(&cx));
    let output = bench.spawn_with_state("test", "null", Some(&state), true);
    bench.expect(&[SPAWNED]);
    let RunnerReport::Exited { exit, .. } = bench.next() else { panic!("it ends") };
    bench.expect(&[GONE]);
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 1, "no temporary file stays");
    (std::fs::read_to_string(&state).unwrap(), rest(output).lines().map(str::to_owned).collect(), exit)
}

#[test]
fn what_was_restored_stays_what_it_was_whatever_is_saved() {
    let (after, said, exit) = with_state("[1,2]", |cx| {
        assert_eq!(cx.restored_from(), Some(Source::Backup));
        for next in [3_u8, 4] {
            cx.save(&[next])?;
            assert_eq!(cx.restored::<Vec<u8>>()?, Some(vec![1, 2]));
        }
        let (mut one, mut other) = (String::new(), String::new());
        for text in [&mut one, &mut other] {
            cx.restored_reader()?.unwrap().read_to_string(text)?;
        }
        cx.println(&format!("{one} {other} {}", String::from_utf8_lossy(&cx.restored_bytes()?.unwrap())));
        Ok(())
    });
    assert_eq!((after.as_str(), said, exit), ("[4]", vec!["[1,2] [1,2] [1,2]".to_owned()], Exit::Code(0)));
}

#[test]
fn a_state_of_another_form_is_an_error_that_says_so() {
    let (after, said, exit) = with_state("{\"old\": 1}", |cx| {
        cx.restored::<Vec<u8>>()?;
        Ok(())
    });
    assert_eq!((after.as_str(), exit), ("{\"old\": 1}", Exit::Code(1)));
    assert!(said[0].contains("is not what this component saves: invalid type: map"), "{said:?}");
}

#[test]
fn a_save_that_comes_to_nothing_changes_nothing() {
    let (after, said, exit) = with_state("before", |cx| {
        let large = vec![b'x'; usize::try_from(MAX_SIZE)? + 1];
        let errors = [
            cx.save_bytes(&large),
            // Also for one that takes no notice.
            cx.save_with(|file| file.write_all(&large).or(Ok(()))),
            cx.save_with(|file| file.write_all(b"half").and(Err(std::io::Error::other("no more")))),
            cx.save_with(|_| cx.save(&1)),
            cx.save(&std::collections::BTreeMap::from([((1, 2), 3)])),
        ];
        for error in errors {
            cx.println(&error.unwrap_err().to_string());
        }
        assert_eq!(std::fs::read_to_string(cx.state_file().unwrap())?, "before");
        cx.save_bytes(&large[1..])?;
        cx.save_bytes(b"after")?;
        cx.save_with(|_| panic!("within a save"))?;
        Ok(())
    });
    assert_eq!((after.as_str(), exit), ("after", Exit::Panic("within a save".into())));
    let expected = [
        "it is larger than 1048576 bytes; raise `state.max_size`",
        "it is larger than 1048576 bytes; raise `state.max_size`",
        "no more",
        "a save was begun within a save",
        "key must be a string",
    ];
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.starts_with("save the state ") && said.ends_with(expected), "{said}");
    }
    assert!(said.len() > expected.len(), "{said:?}");
}

#[test]
fn a_request_is_answered_by_a_save_and_by_nothing_less() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::with(|(), cx| {
        assert_eq!(cx.wait(LONG), Wake::Save);
        assert!(cx.save_with(|_| Err(std::io::Error::other("full"))).is_err());
        assert!(cx.save_requested().is_set() && cx.save_requested().wait(LONG));
        cx.save(&1)?;
        assert_eq!(cx.wait(Duration::from_millis(1)), Wake::Timeout);
        cx.status("saved");
        assert_eq!(cx.wait(LONG), Wake::Stop);
        Ok(())
    });
    bench.spawn_with_state("test", "null", Some(&folder.path().join("state")), false);
    bench.expect(&[SPAWNED]);
    bench.runner.ask_state(UNIT);
    bench.expect(&[RunnerReport::Status { unit: UNIT, text: "saved".into() }]);
    bench.stop();
    bench.expect(&[exited(Exit::Code(0)), GONE]);
}
