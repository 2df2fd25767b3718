//! Liveness: what is no longer well is restarted, as what has failed.

use std::net::TcpListener;
use std::time::Duration;

use crate::harness::{Project, address, alive, stays, wait_until};

fn reasons(project: &Project, event: &str) -> Vec<String> {
    let events = project.events();
    let of = events.iter().filter(|it| it["event"] == event);
    of.filter_map(|it| it["reason"].as_str().map(str::to_owned)).collect()
}

/// A component whose check is never good: it is restarted twice, and has then failed.
fn fails_for_good(words: &str, check: &str, met: &str) {
    let project = Project::new(&format!(
        "
components:
  a:
    process: './faulty {words}'
    health: {{ {check}, interval: 20ms, retries: 3 }}
    restart: {{ backoff: {{ initial: 1ms }}, limit: {{ count: 2, within: 1m }} }}
"
    ));
    let mut orch = project.up_with(&["--no-watch"]);
    project.wait_state("a", "failed");
    orch.expect_exit(1);
    assert_eq!(project.starts("a"), 3);
    let said = reasons(&project, "component.unhealthy");
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said.iter().all(|reason| reason.contains(met)), "it says what the check met: {said:?}");
    // It was asked to stop in order.
    assert_eq!(project.trace().of("a", "got").len(), 3);
}

#[test]
fn http_that_answers_badly_is_unhealthy() {
    let at = address();
    fails_for_good(&format!("http {at} 503"), &format!("http: 'http://{at}/live'"), "503");
}

#[test]
fn tcp_that_nobody_answers_is_unhealthy() {
    let at = address();
    fails_for_good("", &format!("tcp: '{at}'"), "refused");
}

#[test]
fn exec_that_fails_is_unhealthy() {
    fails_for_good("", "exec: [sh, -c, 'exit 9']", "exit code 9");
}

#[test]
fn a_check_that_is_good_again_in_time_restarts_nothing() {
    let project = Project::new(
        "
components:
  a:
    process: ./faulty
    health: { exec: [sh, -c, 'echo x >> tries; test -e well'], interval: 10ms, retries: 1000, timeout: 1m }
",
    );
    let tries = || project.read("tries").lines().count();
    let mut orch = project.up();
    project.wait_ready("a", 1);
    wait_until("it is asked over and over", || tries() > 5);
    project.write("well", "");
    let before = tries();
    wait_until("also when it is well", || tries() > before + 5);
    assert_eq!((project.state_of("a"), project.starts("a")), (("ready".to_owned(), 1), 1));
    // What is asked to stop is not asked any more how it is.
    assert_eq!(project.run(&["stop", "a"]).status.code(), Some(0));
    let after = tries();
    stays("it is not asked when it does not run", Duration::from_millis(300), || tries() <= after + 1);
    orch.stop();
}

#[test]
fn what_becomes_unwell_is_replaced_by_what_is_well() {
    let project = Project::new(
        "
components:
  a:
    process: ./faulty
    health: { exec: [sh, -c, 'test ! -e ill-$ORCH_INCARNATION'], interval: 20ms, retries: 2, timeout: 1m }
",
    );
    let mut orch = project.up();
    project.wait_ready("a", 1);
    project.write("ill-1", "");
    project.wait_ready("a", 2);
    stays("it is well", Duration::from_millis(400), || project.starts("a") == 2);
    assert_eq!(reasons(&project, "component.unhealthy").len(), 1);
    let ps = project.run(&["ps", "--json"]);
    let ps: serde_json::Value = serde_json::from_slice(&ps.stdout).unwrap();
    assert_eq!(ps["components"][0]["restarts"], 1);
    orch.stop();
}

#[test]
fn a_check_that_hangs_is_killed_at_its_time_and_checks_do_not_pile_up() {
    let project = Project::new(
        "
components:
  a:
    process: ./faulty
    health:
      exec: [sh, -c, 'for p in $(cat pids); do kill -0 $p 2>/dev/null && echo overlap >> bad; done; echo $$$$ >> pids; exec sleep 1000']
      interval: 10ms
      timeout: 100ms
      retries: 4
    restart: never
",
    );
    project.write("pids", "");
    let mut orch = project.up_with(&["--no-watch"]);
    project.wait_state("a", "failed");
    orch.expect_exit(1);
    let pids: Vec<u32> = project.read("pids").lines().map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.len() >= 4 && !pids.iter().any(|pid| alive(*pid)), "{pids:?}");
    assert_eq!(project.read("bad"), "", "one at a time");
    let said = reasons(&project, "component.unhealthy");
    assert!(said[0].contains("100"), "{said:?}");
}

#[test]
fn health_goes_on_over_a_new_image() {
    let project = Project::new(
        "
components:
  a:
    process: ./faulty
    health: { exec: [sh, -c, 'echo x >> tries; test ! -e ill-$ORCH_INCARNATION'], interval: 20ms, retries: 2, timeout: 1m }
",
    );
    let mut orch = project.up();
    project.wait_ready("a", 1);
    assert_eq!(project.run(&["upgrade"]).status.code(), Some(0));
    let tries = || project.read("tries").lines().count();
    let before = tries();
    wait_until("the new image asks", || tries() > before + 2);
    assert_eq!(project.starts("a"), 1);
    project.write("ill-1", "");
    project.wait_ready("a", 2);
    orch.stop();
}

#[test]
fn a_stranger_where_health_asks_is_told_of_and_keeps_nobody_from_starting() {
    let stranger = TcpListener::bind(address()).unwrap();
    let (at, free) = (stranger.local_addr().unwrap(), address());
    let project = Project::new(&format!(
        "
components:
  a: {{ process: ./faulty, health: {{ tcp: '{at}' }}, watch: [source] }}
  b: {{ process: ./faulty, health: {{ tcp: '{free}', retries: 1000 }} }}
  c: {{ process: ./faulty, ready: {{ tcp: '{at}', external: true }}, health: {{ tcp: '{at}' }} }}
"
    ));
    let mut orch = project.up();
    project.wait_ready("a", 1);
    project.write("source", "2");
    project.wait_ready("a", 2);
    project.wait_ready("b", 1);
    project.wait_ready("c", 1);
    orch.stop();
    let said = project.read("stderr");
    let told: Vec<&str> = said.lines().filter(|line| line.contains("before the start")).collect();
    let [one] = told[..] else { panic!("once, and of nobody else: {said}") };
    let holder = format!("(pid {})", std::process::id());
    assert!(one.contains("a: ") && one.contains(&at.port().to_string()) && one.contains(&holder), "{one}");
}

/// What is asked is a proxy, in front of the component that is looked after: nobody's a stranger here.
#[test]
fn what_the_file_gives_to_others_is_no_strangers() {
    let front = address();
    let project = Project::new(&format!(
        "
components:
  front: {{ thread: tcp-proxy, with: {{ listen: '{front}', to: '127.0.0.1:9' }}, health: {{ tcp: '{front}' }} }}
  a: {{ process: ./faulty, depends_on: [front], health: {{ tcp: '{front}' }} }}
"
    ));
    let mut orch = project.up();
    project.wait_ready("a", 1);
    assert!(project.run(&["restart", "front"]).status.success());
    orch.stop();
    let said = project.read("stderr");
    assert!(!said.contains("before the start"), "{said}");
}
