//! A unit is more than its leader: whoever belongs to it goes with it, however it hides.

use crate::harness::{Project, alive, stays, wait_until};
use crate::stop::{force_killed, stop_takes};

#[test]
fn a_deaf_child_in_the_group_is_gone_at_the_stop_timeout_though_its_leader_went_at_once() {
    let project =
        Project::new("components:\n  a: { process: ./faulty deaf-child, stop: { timeout: 500ms } }");
    let mut orch = project.up();
    let child = project.wait_trace("a", "child", 1)[0].pid;
    project.wait_ready("a", 1);
    stop_takes(&project, &mut orch, 500);
    let trace = project.trace();
    let heard: Vec<bool> = trace.of("a", "got").iter().map(|entry| entry.pid == child).collect();
    assert_eq!(heard.len(), 2, "the group is signalled: {trace:?}");
    assert_eq!(trace.of("a", "exit").len(), 1);
    assert_eq!(force_killed(&project), [child]);
}

#[test]
fn daemons_that_left_group_and_session_are_gone_at_the_stop_timeout() {
    let project = Project::new(
        "
defaults: { stop: { timeout: 500ms } }
components:
  a: { process: ./faulty daemon }
  b: { process: ./faulty bare-daemon }
  c: { process: ./faulty bare-daemon daemon deaf-child deaf }
",
    );
    let mut orch = project.up();
    project.wait_trace("a", "daemon", 1);
    project.wait_trace("b", "daemon", 1);
    project.wait_trace("c", "daemon", 2);
    project.wait_trace("c", "child", 1);
    ["a", "b", "c"].iter().for_each(|name| project.wait_ready(name, 1));
    stop_takes(&project, &mut orch, 500);
}

#[test]
fn a_daemon_without_any_mark_is_of_the_unit_where_units_have_cgroups() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty unmarked-daemon, watch: [source], stop: { timeout: 300ms } }
",
    );
    let mut orch = project.up();
    let daemon = project.wait_trace("a", "daemon", 1)[0].pid;
    project.wait_ready("a", 1);
    if project.cgroup().is_none() {
        println!("not tested: no cgroup can be made here");
        return orch.stop();
    }
    project.write("source", "new");
    project.wait_trace("a", "start", 2);
    assert!(!alive(daemon));
    project.wait_ready("a", 2);
    assert!(force_killed(&project).contains(&daemon));
    let second = project.wait_trace("a", "daemon", 2)[1].pid;
    orch.kill();
    project.wait_gone();
    assert!(!alive(second));
}

#[test]
fn without_cgroups_such_a_daemon_is_told_of_and_ended_with_the_project() {
    let project = Project::new("components:\n  a: { process: ./faulty unmarked-daemon await go exit 0 }");
    let mut command = project.command(&["up"]);
    command.env("ORCH_CGROUPS", "off");
    let mut orch = project.start(command);
    project.wait_trace("a", "daemon", 1);
    project.write("go", "");
    project.wait_state("a", "completed");
    assert!(project.cgroup().is_none());
    assert_eq!(orch.exit_status().code(), Some(0));
    let daemon = project.trace().of("a", "daemon")[0].pid;
    assert!(!alive(daemon));
    let said = project.read("stderr");
    assert!(said.contains(&format!("(pid {daemon}) belongs to no component")), "{said}");
}

#[test]
fn a_comet_is_caught() {
    let project = Project::new("components:\n  a: { process: ./faulty comet, stop: { timeout: 200ms } }");
    let mut orch = project.up();
    project.wait_trace("a", "daemon", 1);
    project.wait_ready("a", 1);
    stop_takes(&project, &mut orch, 0);
}

#[test]
fn the_next_run_starts_only_when_all_of_the_last_one_is_gone() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty daemon deaf-child, watch: [source], stop: { timeout: 300ms } }
",
    );
    let mut orch = project.up();
    let daemon = project.wait_trace("a", "daemon", 1)[0].pid;
    let child = project.wait_trace("a", "child", 1)[0].pid;
    project.wait_ready("a", 1);
    project.write("source", "new");
    project.wait_trace("a", "start", 2);
    assert!(!alive(daemon) && !alive(child));
    // The run tells of its start before orch does.
    project.wait_ready("a", 2);
    let events = project.events();
    let at =
        |event: &str, run: u64| events.iter().position(|it| it["event"] == event && it["incarnation"] == run);
    assert!(at("component.force_killed", 1).unwrap() < at("component.spawned", 2).unwrap());
    orch.stop();
}

#[test]
fn when_a_leader_ends_by_itself_the_rest_of_its_unit_is_stopped_before_it_has_completed() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty deaf-child daemon wait 200 exit 0, stop: { timeout: 400ms } }
  next: { process: ./faulty, depends_on: { a: completed } }
",
    );
    let mut orch = project.up();
    let next = project.wait_trace("next", "start", 1)[0].ns;
    let trace = project.trace();
    let child = trace.of("a", "child")[0].pid;
    assert!(!alive(child) && !alive(trace.of("a", "daemon")[0].pid));
    let heard = trace.of("a", "got");
    assert!(heard.iter().any(|entry| entry.pid == child), "the rest is asked first: {heard:?}");
    assert!(next - trace.at("a", "exit") >= 400_000_000, "and given its time");
    orch.stop();
}

#[test]
fn a_daemon_of_a_leader_that_has_gone_counts_as_running() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty bare-daemon wait 100 exit 0, stop: { timeout: 10m } }
  next: { process: ./faulty, depends_on: { a: completed } }
",
    );
    let mut orch = project.up();
    let daemon = project.wait_trace("a", "daemon", 1)[0].pid;
    project.wait_trace("a", "exit", 1);
    project.wait_event("its end is told", |event| event["event"] == "component.exited");
    stays("it has not completed", std::time::Duration::from_millis(300), || {
        project.state_of("a").0 != "completed" && project.starts("next") == 0 && alive(daemon)
    });
    crate::harness::kill_9(daemon);
    project.wait_ready("next", 1);
    assert_eq!(project.state_of("a").0, "completed");
    orch.stop();
}

#[test]
fn components_that_signal_their_whole_group_reach_themselves_alone() {
    let project = Project::new(
        "
components:
  a: { process: { shell: 'kill -9 0' }, restart: never }
  b: { process: ./faulty }
",
    );
    let mut orch = project.up();
    project.wait_ready("b", 1);
    project.wait_state("a", "failed");
    let exit = project.wait_event("its end", |event| event["event"] == "component.exited");
    assert_eq!((&exit["component"], &exit["signal"]), (&"a".into(), &"SIGKILL".into()));
    assert!(orch.runs() && !project.trace().has("b", "got"));
    orch.signal(rustix::process::Signal::TERM);
    orch.expect_exit(1);
}

#[test]
fn no_zombies_are_left_while_orch_runs() {
    let project = Project::new(
        "
components:
  a:
    process: { shell: 'i=0; while [ $i -lt 50 ]; do (sleep 0.01 &) ; i=$((i+1)); done; exec ./faulty' }
  b: { process: ./faulty exit 0, restart: { policy: always, backoff: { initial: 10ms, max: 10ms }, limit: { count: 20, within: 1m } } }
",
    );
    let mut orch = project.up();
    project.wait_ready("a", 1);
    project.wait_state("b", "failed");
    let (pid, keeper) = (orch.pid(), orch.keeper());
    wait_until("all are reaped", || {
        let ids = std::fs::read_dir("/proc").unwrap().flatten();
        let stats = ids.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
        !stats.into_iter().any(|stat| {
            let fields: Vec<&str> =
                stat.rsplit(')').next().unwrap_or_default().split_whitespace().take(2).collect();
            fields[0] == "Z" && [pid, keeper].map(|pid| pid.to_string()).contains(&fields[1].to_owned())
        })
    });
    orch.signal(rustix::process::Signal::TERM);
    orch.expect_exit(1);
}
