//! Readiness: each kind of probe, and what is no readiness.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Project, address, append, wait_until};

/// A component that is not ready, and a dependent that must not start, until `make_ready`.
fn becomes_ready(ready: &str, words: &str, make_ready: impl Fn(&Project)) {
    let project = Project::new(&format!(
        "
components:
  a: {{ process: './faulty {words}', ready: {ready} }}
  b: {{ process: ./faulty, depends_on: [a] }}
"
    ));
    let mut orch = project.up();
    project.wait_trace("a", "start", 1);
    project.wait_state("a", "starting");
    assert_eq!(project.starts("b"), 0);
    make_ready(&project);
    let made = now();
    project.wait_ready("b", 1);
    assert!(project.trace().at("b", "start") > made);
    orch.stop();
}

fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The name of a file that the component waits for: so nothing happens before the test says so.
fn go(project: &Project) {
    project.write("go", "");
}

#[test]
fn tcp_is_ready_when_a_connection_is_accepted() {
    let at = address();
    becomes_ready(
        &format!("{{ tcp: '{at}', timeout: 1m, interval: 10ms }}"),
        &format!("await go listen {at}"),
        go,
    );
}

#[test]
fn http_is_ready_when_the_answer_is_good_and_a_bad_one_is_none() {
    let at = address();
    becomes_ready(
        &format!("{{ http: 'http://{at}/health', timeout: 1m, interval: 10ms }}"),
        &format!("await go http {at} 204"),
        go,
    );
    let at = address();
    let project = Project::new(&format!(
        "
components:
  a:
    process: './faulty http {at} 500'
    restart: never
    ready: {{ http: 'http://{at}/', timeout: 300ms, interval: 10ms }}
"
    ));
    let mut orch = project.up();
    project.wait_state("a", "failed");
    orch.expect_exit(1);
    let reason = failure(&project, "a");
    assert!(reason.contains("500"), "it says what the probe met: {reason}");
}

/// Why a component has failed, in all the words that orch has for it.
fn failure(project: &Project, name: &str) -> String {
    let events = project.events();
    let of = |event: &&serde_json::Value| event["component"] == name && event["reason"].is_string();
    let reasons: Vec<&str> = events.iter().filter(of).filter_map(|event| event["reason"].as_str()).collect();
    reasons.join("; ")
}

#[test]
fn exec_is_ready_when_the_command_ends_with_0_in_the_components_place() {
    becomes_ready(
        "{ exec: [sh, -c, 'echo asked; test \"$ORCH_COMPONENT\" = a && test -e go'], timeout: 1m, interval: 10ms }",
        "say begun",
        |project| {
            let log = || project.read(".orch/logs/a.log");
            wait_until("what it says is logged", || {
                log().contains("begun") && log().matches("asked").count() > 1
            });
            go(project);
        },
    );
}

#[test]
fn log_is_ready_when_a_line_matches_also_a_coloured_one() {
    becomes_ready(
        "{ log: '^listening on \\d+$', timeout: 1m }",
        "say \"not listening on 1\" await go pour line",
        |it| {
            it.write("line", "\x1b[1;32mlistening\x1b[0m on \x1b[4m80\x1b[0m\r\n");
            go(it);
        },
    );
}

#[test]
fn file_is_ready_when_it_is_made_or_changed_since_the_start() {
    becomes_ready("{ file: made, timeout: 1m, interval: 10ms }", "", |project| project.write("made", ""));
    let project = Project::new(
        "
components:
  a: { process: ./faulty, ready: { file: there, timeout: 1m, interval: 10ms } }
",
    );
    project.write("there", "from an earlier run");
    let mut orch = project.up();
    project.wait_trace("a", "start", 1);
    crate::harness::stays("an old file is no sign", Duration::from_millis(200), || {
        project.state_of("a").0 != "ready"
    });
    append(&project.path("there"), "!");
    project.wait_ready("a", 1);
    orch.stop();
}

#[test]
fn delay_is_ready_after_its_time() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty, ready: { delay: 300ms } }
  b: { process: ./faulty, depends_on: [a] }
",
    );
    let mut orch = project.up();
    project.wait_ready("b", 1);
    let trace = project.trace();
    assert!(trace.at("b", "start") - trace.at("a", "start") >= 280_000_000);
    orch.stop();
}

#[test]
fn a_time_out_is_a_failure_and_never_readiness() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty deaf, restart: never, ready: { file: never, timeout: 300ms }, stop: { timeout: 300ms } }
  b: { process: ./faulty, depends_on: [a] }
",
    );
    let start = Instant::now();
    let mut orch = project.up();
    orch.expect_exit(1);
    assert!(start.elapsed() >= Duration::from_millis(600), "its time to start and its time to stop");
    assert!(project.trace().has("a", "got"), "it is stopped as always");
    assert_eq!(project.starts("b"), 0);
    assert_eq!(project.state_of("b").0, "blocked");
    let ready = project.events().iter().any(|event| event["event"] == "component.ready");
    assert!(!ready);
}

#[test]
fn one_that_ends_before_it_is_ready_has_failed_though_it_ended_with_0() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty exit 0, restart: never, ready: { file: never, timeout: 10m } }
  b: { process: ./faulty, depends_on: { a: completed } }
",
    );
    let mut orch = project.up();
    orch.expect_exit(1);
    assert_eq!((&*project.state_of("a").0, &*project.state_of("b").0), ("failed", "blocked"));
}

#[test]
fn an_address_that_a_stranger_has_fails_the_start_and_names_the_stranger() {
    for kind in ["tcp", "http"] {
        let listener = TcpListener::bind(address()).unwrap();
        let at = listener.local_addr().unwrap();
        let asked = if kind == "tcp" { at.to_string() } else { format!("http://{at}/") };
        let project = Project::new(&format!(
            "
components:
  a: {{ process: ./faulty, restart: never, ready: {{ {kind}: '{asked}', timeout: 1m }} }}
  b: {{ process: ./faulty, depends_on: [a] }}
"
        ));
        let mut orch = project.up();
        orch.expect_exit(1);
        let reason = failure(&project, "a");
        let holder = std::process::id().to_string();
        assert!(reason.contains(&at.port().to_string()) && reason.contains(&holder), "{kind}: {reason}");
        assert!(project.read("stderr").contains(&holder), "it is said, too");
        assert_eq!(project.starts("a") + project.starts("b"), 0);
    }
}

#[test]
fn an_external_address_may_be_another_ones() {
    let listener = TcpListener::bind(address()).unwrap();
    let at = listener.local_addr().unwrap();
    let project = Project::new(&format!(
        "components:\n  a: {{ process: ./faulty, ready: {{ tcp: '{at}', external: true, timeout: 1m }} }}"
    ));
    let mut orch = project.up();
    project.wait_ready("a", 1);
    orch.stop();
}

#[test]
fn its_own_address_is_free_again_for_the_next_run() {
    let at = address();
    let project = Project::new(&format!(
        "
components:
  a: {{ process: './faulty listen {at}', ready: {{ tcp: '{at}', timeout: 1m, interval: 10ms }}, watch: [source] }}
"
    ));
    let mut orch = project.up();
    project.wait_ready("a", 1);
    for run in 2..=4 {
        project.write("source", run.to_string());
        project.wait_ready("a", run);
    }
    orch.signal(Signal::TERM);
    orch.expect_exit(0);
}

#[test]
fn an_exec_probe_that_hangs_is_ended_with_its_children_after_its_second() {
    let project = Project::new(
        "
components:
  a:
    process: ./faulty
    ready:
      exec: [sh, -c, 'if test -e go; then exit 0; fi; ORCH_COMPONENT=try ./faulty deaf & wait']
      timeout: 1m
      interval: 10ms
",
    );
    let mut orch = project.up();
    // The first try hangs, and its child is deaf; the next ones can only come after its end.
    let first = project.wait_trace("try", "start", 2)[0].pid;
    assert!(!crate::harness::alive(first));
    go(&project);
    wait_until("it is ready", || project.state_of("a").0 == "ready");
    orch.stop();
}

/// It is made at every start, which is no change.
#[test]
fn the_file_by_which_a_component_is_ready_does_not_restart_it() {
    let project = Project::new(
        "
components:
  a: { process: './faulty touch src/ready', ready: { file: src/ready, timeout: 1m }, watch: [src] }
",
    );
    project.write("src/source", "1");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    project.write("src/source", "2");
    project.wait_ready("a", 2);
    let changed: Vec<_> =
        project.events().into_iter().filter(|event| event["event"] == "component.changed").collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert!(changed[0]["paths"][0].as_str().is_some_and(|path| path.ends_with("src/source")), "{changed:?}");
    orch.stop();
}
