//! Stopping: what is told, what is waited for, and what comes of what does not listen.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Project, SLACK, open_for_writing, send, wait_for, wait_until};

/// How long after the request all was gone, at the earliest and the latest, by the clock of the test.
pub(crate) fn stop_takes(project: &Project, orch: &mut crate::harness::Orch<'_>, at_least: u64) {
    let start = Instant::now();
    orch.signal(Signal::TERM);
    project.wait_gone();
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(at_least), "too early: {took:?}");
    let limit = Duration::from_millis(at_least) + SLACK * Duration::from_secs(1);
    assert!(took < limit, "too late: {took:?}");
    orch.expect_exit(0);
}

pub(crate) fn force_killed(project: &Project) -> Vec<u32> {
    let event =
        project.wait_event("the force-kill is told", |event| event["event"] == "component.force_killed");
    event["pids"].as_array().unwrap().iter().map(|pid| pid.as_u64().unwrap() as u32).collect()
}

#[test]
fn what_ignores_sigterm_is_gone_at_the_stop_timeout() {
    let project = Project::new("components:\n  a: { process: ./faulty deaf, stop: { timeout: 500ms } }");
    let mut orch = project.up();
    let pid = project.wait_trace("a", "start", 1)[0].pid;
    project.wait_ready("a", 1);
    stop_takes(&project, &mut orch, 500);
    assert!(project.trace().has("a", "got"));
    assert_eq!(force_killed(&project), [pid]);
}

#[test]
fn a_second_interrupt_kills_everything_at_once() {
    let project = Project::new(
        "
shutdown_timeout: 10m
defaults: { stop: { timeout: 10m } }
components:
  a: { process: ./faulty deaf daemon, depends_on: [b] }
  b: { process: ./faulty deaf }
",
    );
    let mut orch = project.up();
    project.wait_trace("a", "daemon", 1);
    project.wait_ready("a", 1);
    orch.signal(Signal::INT);
    project.wait_trace("a", "got", 1);
    orch.signal(Signal::INT);
    let start = Instant::now();
    orch.expect_exit(1);
    assert!(start.elapsed() < SLACK * Duration::from_secs(1), "{:?}", start.elapsed());
    let trace = project.trace();
    assert!(!trace.has("b", "got"), "`b` was told though `a` was there");
    assert!(trace.0.iter().all(|entry| entry.detail != "INT"), "orch's signal is not the components'");
}

#[test]
fn a_shutdown_takes_its_time_limit_at_the_most() {
    let project = Project::new(
        "
shutdown_timeout: 500ms
defaults: { stop: { timeout: 10m, force_kill: false } }
components:
  a: { process: ./faulty deaf daemon, depends_on: [b] }
  b: { process: ./faulty deaf }
",
    );
    let mut orch = project.up();
    project.wait_trace("a", "daemon", 1);
    project.wait_ready("a", 1);
    let start = Instant::now();
    orch.signal(Signal::TERM);
    orch.expect_exit(1);
    assert!(start.elapsed() >= Duration::from_millis(500));
    assert!(start.elapsed() < Duration::from_millis(500) + SLACK * Duration::from_secs(1));
}

#[test]
fn without_force_kill_it_is_shown_as_stuck_and_waited_for_until_the_second_signal() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty deaf, stop: { timeout: 200ms, force_kill: false } }
",
    );
    let mut orch = project.up();
    project.wait_ready("a", 1);
    orch.signal(Signal::TERM);
    project.wait_state("a", "stuck");
    assert_eq!(project.units().len(), 1);
    assert!(orch.runs());
    orch.signal(Signal::TERM);
    orch.expect_exit(1);
}

#[test]
fn a_stopped_process_is_woken_to_hear_its_end() {
    let project = Project::new("components:\n  a: { process: ./faulty, stop: { timeout: 1m } }");
    let mut orch = project.up();
    let pid = project.wait_trace("a", "start", 1)[0].pid;
    project.wait_ready("a", 1);
    send(pid, Signal::STOP);
    wait_until("it is stopped", || {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T ")
    });
    orch.stop();
    assert_eq!(project.trace().of("a", "got")[0].detail, "TERM");
}

#[test]
fn the_declared_signal_is_sent() {
    let project =
        Project::new("components:\n  a: { process: ./faulty deaf, stop: { signal: SIGINT, timeout: 1m } }");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    orch.stop();
    assert_eq!(project.trace().of("a", "got")[0].detail, "INT");
}

#[test]
fn what_is_still_starting_is_stopped_at_once() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty, ready: { file: never, timeout: 10m }, stop: { timeout: 1m } }
  b: { process: ./faulty, depends_on: [a] }
",
    );
    let mut orch = project.up();
    project.wait_trace("a", "start", 1);
    project.wait_state("a", "starting");
    orch.stop();
    assert!(project.trace().has("a", "got"));
    assert_eq!(project.starts("b"), 0);
}

#[test]
fn output_that_a_stranger_holds_open_is_closed_at_the_join_timeout() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty say hello, watch: [source], stop: { timeout: 1m, join_timeout: 300ms } }
",
    );
    let mut orch = project.up();
    let pid = project.wait_trace("a", "start", 1)[0].pid;
    project.wait_ready("a", 1);
    // The test itself is the stranger.
    let held = open_for_writing(format!("/proc/{pid}/fd/1").as_ref());
    project.write("source", "new");
    let second = project.wait_trace("a", "start", 2)[1].ns;
    let ended = project.trace().of("a", "exit")[0].ns;
    assert!(second - ended >= 290_000_000, "it was waited for: {}", second - ended);
    let held_too =
        open_for_writing(format!("/proc/{}/fd/1", project.trace().of("a", "start")[1].pid).as_ref());
    project.wait_ready("a", 2);
    orch.stop();
    drop((held, held_too));
    assert_eq!(project.read(".orch/logs/a.log"), "hello\nhello\n");
}

#[test]
fn output_that_is_closed_early_costs_nothing() {
    let project = Project::new("components:\n  a: { process: ./faulty say before close-output }");
    let mut orch = project.up();
    project.wait_trace("a", "closed", 1);
    project.wait_ready("a", 1);
    let used = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", orch.pid())).unwrap();
        let fields: Vec<u64> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|it| it.parse().ok())
            .collect();
        fields.iter().sum::<u64>()
    };
    let before = used();
    std::thread::sleep(Duration::from_millis(500));
    // In ticks of 10 ms: a loop that spins takes fifty.
    assert!(used() - before < 20, "orch spins");
    assert_eq!(
        wait_for("its log", || Some(project.read(".orch/logs/a.log")).filter(|it| !it.is_empty())),
        "before\n"
    );
    orch.stop();
}
