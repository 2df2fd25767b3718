//! What happens when components end by themselves: restarts, and the end of the whole.

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Project, stays, wait_until};

#[test]
fn it_ends_with_0_when_all_have_completed() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty wait 50 exit 0 }
  b: { process: ./faulty end 3 exit 3, restart: { success_codes: [0, 3] }, depends_on: { a: completed } }
  never: { process: ./faulty, autostart: false }
  other: { process: ./faulty, profiles: [other] }
",
    );
    let mut orch = project.up();
    orch.expect_exit(0);
    assert_eq!(project.state_of("b").0, "completed");
    let events = project.events();
    assert_eq!(events.first().unwrap()["event"], "project.up");
    assert!(events[0]["boot_id"].is_string());
    assert_eq!(events.last().unwrap()["event"], "project.down");
}

#[test]
fn it_ends_with_1_when_one_has_failed_and_the_rest_has_completed() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty wait 50 exit 0 }
  b: { process: ./faulty die 11, restart: never }
",
    );
    project.up().expect_exit(1);
    let exit = project
        .wait_event("how b ended", |event| event["event"] == "component.exited" && event["component"] == "b");
    assert_eq!(exit["signal"], "SIGSEGV");
}

#[test]
fn one_that_is_watched_keeps_it_going_and_without_watching_none_is() {
    let yaml = "
components:
  a: { process: ./faulty exit 0, watch: [source] }
";
    let project = Project::new(yaml);
    let mut orch = project.up();
    project.wait_state("a", "completed");
    stays("it waits for a save", std::time::Duration::from_millis(300), || orch.runs());
    orch.stop();
    project.up_with(&["--no-watch"]).expect_exit(0);
}

#[test]
fn a_failure_that_shuts_down_takes_all_down_in_order_and_ends_with_1() {
    let project = Project::new(
        "
components:
  base: { process: ./faulty }
  over: { process: ./faulty, depends_on: [base] }
  bad: { process: ./faulty await go end 1 exit 1, restart: never, on_failure: shutdown }
",
    );
    let mut orch = project.up();
    project.wait_ready("over", 1);
    project.write("go", "");
    orch.expect_exit(1);
    assert!(project.trace().at("over", "exit") < project.trace().at("base", "got"));
}

#[test]
fn restarts_wait_longer_each_time_and_end_at_the_limit() {
    let project = Project::new(
        "
components:
  a:
    process: ./faulty end 1 exit 1
    restart: { backoff: { initial: 50ms, max: 10s, factor: 3, jitter: 0 }, limit: { count: 3, within: 1m } }
  b: { process: ./faulty, depends_on: { a: completed } }
",
    );
    let mut orch = project.up();
    orch.expect_exit(1);
    let trace = project.trace();
    let (starts, ends) = (trace.of("a", "start"), trace.of("a", "exit"));
    assert_eq!(starts.len(), 4, "the first, and three restarts");
    for (restart, least) in [50_u64, 150, 450].into_iter().enumerate() {
        let pause = starts[restart + 1].ns - ends[restart].ns;
        assert!(pause >= least * 1_000_000, "restart {restart} after {pause} ns");
    }
    assert_eq!((&*project.state_of("a").0, &*project.state_of("b").0), ("failed", "blocked"));
    let backoffs = project.events().iter().filter(|event| event["event"] == "component.backoff").count();
    assert_eq!(backoffs, 3);
}

#[test]
fn a_failure_after_a_second_of_readiness_is_restarted_at_once() {
    let project = Project::new(
        "
components:
  a:
    process: ./faulty wait 1300 end 1 exit 1
    restart: { backoff: { initial: 10m, max: 10m }, limit: { count: 1, within: 10m } }
",
    );
    let mut orch = project.up();
    orch.expect_exit(1);
    assert_eq!(project.starts("a"), 2, "the second end comes after a second, too, and is over the limit");
}

#[test]
fn the_policies_are_kept() {
    let project = Project::new(
        "
defaults: { restart: { backoff: { initial: 20ms, max: 20ms }, limit: { count: 2, within: 1m } } }
components:
  never: { process: ./faulty end 1 exit 1, restart: never }
  on-failure-good: { process: ./faulty exit 0, restart: on-failure }
  on-failure-bad: { process: ./faulty end 1 exit 1 }
  always-good: { process: ./faulty exit 0, restart: { policy: always } }
",
    );
    let mut orch = project.up();
    orch.expect_exit(1);
    let starts = |name: &str| project.starts(name);
    assert_eq!((starts("never"), starts("on-failure-good")), (1, 1));
    assert_eq!((starts("on-failure-bad"), starts("always-good")), (3, 3));
    let state = |name: &str| project.state_of(name).0;
    assert_eq!(state("on-failure-good"), "completed");
    assert!(["never", "on-failure-bad", "always-good"].iter().all(|name| state(name) == "failed"));
}

#[test]
fn running_dependents_stay_when_a_dependency_restarts_except_where_they_are_bound_to_it() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty, watch: [source] }
  stays: { process: ./faulty, depends_on: [a] }
  follows: { process: ./faulty, depends_on: { a: { condition: ready, restart: true } } }
",
    );
    let mut orch = project.up();
    project.wait_ready("stays", 1);
    project.wait_ready("follows", 1);
    project.write("source", "1");
    project.wait_ready("a", 2);
    project.wait_ready("follows", 2);
    let trace = project.trace();
    assert!(trace.of("follows", "exit")[0].ns < trace.of("a", "got")[0].ns, "it is stopped first");
    let events = project.events();
    let at = |event: &str, name: &str| {
        let found = |it: &Value| it["event"] == event && it["component"] == name && it["incarnation"] == 2;
        events.iter().position(found).unwrap()
    };
    assert!(at("component.ready", "a") < at("component.spawned", "follows"));
    assert_eq!(project.starts("stays"), 1);
    // After a crash, too.
    crate::harness::kill_9(trace.of("a", "start")[1].pid);
    project.wait_ready("a", 3);
    project.wait_ready("follows", 3);
    assert_eq!(project.starts("stays"), 1);
    assert!(!project.trace().has("stays", "got"));
    orch.stop();
}

#[test]
fn a_shutdown_during_a_backoff_does_not_wait_for_it() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty end 1 exit 1, restart: { backoff: { initial: 10m, max: 10m } } }
  b: { process: ./faulty }
",
    );
    let mut orch = project.up();
    project.wait_state("a", "backoff");
    project.wait_ready("b", 1);
    orch.signal(Signal::TERM);
    let status = orch.exit_status();
    assert!(status.code().is_some(), "{status}");
    assert_eq!(project.starts("a"), 1);
}

#[test]
fn a_thread_that_fails_is_restarted_as_a_process_is_and_nothing_else_is_harmed() {
    // A state that is no ticker's makes it fail at its start.
    let project = Project::new(
        "
components:
  clock:
    thread: ticker
    with: { every: 10ms }
    state: clock.json
    restart: { backoff: { initial: 10ms, max: 10ms }, limit: { count: 2, within: 1m } }
  a: { process: ./faulty }
",
    );
    project.write("clock.json", "{\"ticks\": \"none\"}");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    wait_until("the clock gave up or went on afresh", || {
        let (state, run) = project.state_of("clock");
        state == "failed" || (state == "ready" && run > 1)
    });
    assert!(orch.runs() && project.starts("a") == 1 && !project.trace().has("a", "got"));
    orch.signal(Signal::TERM);
    assert!(orch.exit_status().code().is_some());
}
