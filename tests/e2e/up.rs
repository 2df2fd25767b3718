//! Starting: in which order, who at all, and what a component finds when it starts.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use crate::harness::{PATIENCE, Project, stays, wait_for, wait_until};

#[test]
fn a_diamond_starts_in_order_and_stops_in_the_opposite_one_and_its_sides_at_the_same_time() {
    let project = Project::new(
        "
components:
  top: { process: ./faulty, depends_on: [left, right], stop: { timeout: 1m } }
  left:
    process: ./faulty hold go-left
    ready: { file: left-is-ready, timeout: 1m }
    depends_on: [base]
    stop: { timeout: 1m }
  right:
    process: ./faulty hold go-right
    ready: { file: right-is-ready, timeout: 1m }
    depends_on: [base]
    stop: { timeout: 1m }
  base: { process: ./faulty wait 50 note up say up, ready: { log: up } }
",
    );
    let mut orch = project.up();
    // Neither is ready, so neither has waited for the other.
    project.wait_trace("left", "start", 1);
    project.wait_trace("right", "start", 1);
    project.write("left-is-ready", "");
    project.wait_ready("left", 1);
    assert_eq!(project.starts("top"), 0, "it waits for both");
    project.write("right-is-ready", "");
    project.wait_ready("top", 1);

    orch.signal(rustix::process::Signal::INT);
    // Neither has ended, so neither has waited for the other.
    project.wait_trace("left", "got", 1);
    project.wait_trace("right", "got", 1);
    project.write("go-right", "");
    project.wait_trace("right", "exit", 1);
    project.write("go-left", "");
    orch.expect_exit(0);

    let trace = project.trace();
    assert!(trace.at("base", "note") < trace.at("left", "start").min(trace.at("right", "start")));
    assert!(trace.at("top", "exit") < trace.at("left", "got").min(trace.at("right", "got")));
    assert!(trace.at("left", "exit").max(trace.at("right", "exit")) < trace.at("base", "got"));
}

#[test]
fn each_condition_is_met_when_it_says() {
    let project = Project::new(
        "
components:
  slow: { process: ./faulty, ready: { file: slow-is-ready, timeout: 1m } }
  task: { process: ./faulty wait 100 hold task-is-done exit 0 }
  on-started: { process: ./faulty, depends_on: { slow: started } }
  on-ready: { process: ./faulty, depends_on: { slow: ready } }
  on-completed: { process: ./faulty, depends_on: { task: completed } }
  on-list: { process: ./faulty, depends_on: [slow] }
",
    );
    let mut orch = project.up();
    project.wait_trace("on-started", "start", 1);
    project.wait_trace("task", "start", 1);
    for name in ["on-ready", "on-completed", "on-list"] {
        assert_eq!((project.starts(name), &*project.state_of(name).0), (0, "waiting"), "{name}");
    }
    project.write("slow-is-ready", "");
    project.wait_trace("on-ready", "start", 1);
    project.wait_trace("on-list", "start", 1);
    assert_eq!(project.starts("on-completed"), 0);
    project.write("task-is-done", "");
    project.wait_trace("on-completed", "start", 1);
    assert!(project.trace().at("task", "exit") < project.trace().at("on-completed", "start"));
    orch.stop();
}

#[test]
fn a_dependency_that_fails_blocks_all_that_wait_for_it_and_nothing_else() {
    let project = Project::new(
        "
components:
  broken: { process: ./faulty end 7 exit 7, restart: never }
  waits: { process: ./faulty, depends_on: { broken: completed } }
  waits-too: { process: ./faulty, depends_on: [waits] }
  apart: { process: ./faulty }
",
    );
    let mut orch = project.up();
    project.wait_state("broken", "failed");
    project.wait_state("waits", "blocked");
    project.wait_state("waits-too", "blocked");
    project.wait_ready("apart", 1);
    let exited = project.wait_event("its exit is told", |event| event["event"] == "component.exited");
    assert_eq!((&exited["component"], &exited["code"]), (&"broken".into(), &7.into()));
    orch.signal(rustix::process::Signal::TERM);
    orch.expect_exit(1);
    assert_eq!(project.starts("waits") + project.starts("waits-too"), 0);
}

#[test]
fn two_hundred_in_ten_waves_start_and_stop_in_order() {
    let mut yaml = String::from("components:\n");
    for number in 0..200 {
        let needs = if number < 20 { String::new() } else { format!(", depends_on: [c{}]", number - 20) };
        // Ready by its own word, so that its diary tells of its start before a dependent's does.
        yaml += &format!("  c{number}: {{ process: ./faulty say up, ready: {{ log: ^up }}{needs} }}\n");
    }
    let project = Project::new(&yaml);
    let mut orch = project.up();
    wait_until("all of them are ready", || {
        let started = project.trace().0.iter().filter(|entry| entry.event == "start").count();
        started == 200
            && project.events().iter().filter(|event| event["event"] == "component.ready").count() == 200
    });
    orch.stop();
    let trace = project.trace();
    let mut times: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for entry in &trace.0 {
        assert_eq!(times.insert((&entry.name, &entry.event), entry.ns), None, "twice: {entry:?}");
    }
    for number in 20..200 {
        let (this, needed) = (format!("c{number}"), format!("c{}", number - 20));
        assert!(times[&(&*needed, "start")] < times[&(&*this, "start")], "{this} started first");
        assert!(times[&(&*this, "exit")] < times[&(&*needed, "got")], "{needed} was stopped first");
    }
}

#[test]
fn only_and_profiles_and_autostart_choose_with_all_that_is_needed() {
    let yaml = "
components:
  plain: { process: ./faulty }
  extra: { process: ./faulty, profiles: [full], depends_on: [helper] }
  helper: { process: ./faulty, autostart: false }
  tool: { process: ./faulty, profiles: [tools] }
  other: { process: ./faulty, autostart: false }
";
    let all = ["plain", "extra", "helper", "tool", "other"];
    let expect = |args: &[&str], wanted: &[&str]| {
        let project = Project::new(yaml);
        let mut orch = project.up_with(args);
        wanted.iter().for_each(|name| project.wait_ready(name, 1));
        orch.stop();
        let started: Vec<&str> = all.into_iter().filter(|name| project.starts(name) > 0).collect();
        assert_eq!(started, wanted, "with {args:?}");
    };
    expect(&[], &["plain"]);
    expect(&["--profile", "full"], &["plain", "extra", "helper"]);
    expect(&["--profile", "full", "--profile", "tools"], &["plain", "extra", "helper", "tool"]);
    expect(&["--only", "extra"], &["extra", "helper"]);
    expect(&["--only", "other,tool"], &["tool", "other"]);
}

#[test]
fn an_unknown_name_in_only_is_wrong_usage() {
    let project = Project::new("components:\n  a: { process: ./faulty }");
    let output = project.run(&["up", "--only", "b"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`b`"));
    assert_eq!(project.starts("a"), 0);
}

/// What the fixture wrote about what it was given: `key value`, several times for some keys.
fn description(project: &Project, name: &str) -> Vec<(String, String)> {
    let text =
        wait_for("it has described itself", || Some(project.read(name)).filter(|text| !text.is_empty()));
    let pair =
        |line: &str| line.split_once(' ').map(|(key, value)| (key.to_owned(), value.trim().to_owned()));
    text.lines().filter_map(|line| pair(&line.replace('\t', " "))).collect()
}

fn all<'a>(described: &'a [(String, String)], key: &str) -> Vec<&'a str> {
    described.iter().filter(|(this, _)| this == key).map(|(_, value)| &**value).collect()
}

#[test]
fn a_component_sees_the_environment_of_the_contract_and_no_other() {
    let project = Project::new(
        "
name: seen
env: { SHARED: from-the-project, GONE: x, OVER: project }
env_file: [project.env]
components:
  a:
    process: ../faulty describe ../told
    cwd: sub
    env: { OVER: component, OWN: '${BASE}-$$', GONE: null, DROPPED: null }
    env_file: [a.env]
    state: true
",
    );
    project.write("project.env", "FROM_FILE=project.env\nSHARED=from-the-file\nOVER=file\n");
    project.write("a.env", "FROM_OWN_FILE='a b'\nOVER=own-file\nOWN=own-file\n");
    project.write("sub/.keep", "");
    let mut command = project.command(&["up"]);
    command.env("BASE", "base").env("DROPPED", "x").env("OVER", "base").env("SHARED", "base");
    // What speaks of orch, or of who started it, is not handed on.
    for name in
        ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC", "ORCH_RESTORED"]
    {
        command.env(name, "1");
    }
    let mut orch = project.start(command);
    let described = description(&project, "told");
    let state_dir = project.path(".orch");
    let mut seen: BTreeMap<&str, &str> =
        all(&described, "env").into_iter().filter_map(|pair| pair.split_once('=')).collect();
    let state_file = seen.remove("ORCH_STATE_FILE").unwrap();
    assert!(Path::new(state_file).starts_with(&state_dir), "{state_file}");
    let control = state_dir.join("control.sock").display().to_string();
    // What orch itself was given.
    let runtime = project.path("run").display().to_string();
    let expected = BTreeMap::from([
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("XDG_RUNTIME_DIR", &runtime),
        ("BASE", "base"),
        ("FROM_FILE", "project.env"),
        ("SHARED", "from-the-project"),
        ("FROM_OWN_FILE", "a b"),
        ("OVER", "component"),
        ("OWN", "base-$"),
        ("ORCH_PROJECT", "seen"),
        ("ORCH_COMPONENT", "a"),
        ("ORCH_INCARNATION", "1"),
        ("ORCH_CONTROL", &control),
    ]);
    assert_eq!(seen, expected);
    assert_eq!(all(&described, "cwd"), [project.path("sub").to_str().unwrap()]);
    orch.stop();
}

#[test]
fn a_component_gets_clean_descriptors_signals_and_a_group_of_its_own() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty describe told }
  b: { process: ./faulty describe told-b, stdin: open }
",
    );
    let mut command = project.command(&["up"]);
    // orch itself is started with what a careless parent leaves behind.
    let leaked = std::fs::File::open(project.path("devmode.yaml")).unwrap();
    let leaked_fd = std::os::fd::AsRawFd::as_raw_fd(&leaked);
    // SAFETY: only system calls that may be made between fork and exec.
    unsafe {
        command.pre_exec(move || {
            libc::dup2(leaked_fd, 77);
            for ignored in [libc::SIGHUP, libc::SIGPIPE, libc::SIGQUIT, libc::SIGUSR1] {
                libc::signal(ignored, libc::SIG_IGN);
            }
            let mut mask: libc::sigset_t = std::mem::zeroed();
            for blocked in [libc::SIGUSR2, libc::SIGTERM, libc::SIGCHLD] {
                libc::sigaddset(&raw mut mask, blocked);
            }
            libc::sigprocmask(libc::SIG_SETMASK, &raw const mask, std::ptr::null_mut());
            Ok(())
        });
    }
    let mut orch = project.start(command);
    for file in ["told", "told-b"] {
        let described = description(&project, file);
        assert_eq!(all(&described, "SigBlk:"), ["0000000000000000"]);
        assert_eq!(all(&described, "SigIgn:"), ["0000000000000000"]);
        assert_eq!(all(&described, "pgrp"), all(&described, "pid"));
        let fds = all(&described, "fd");
        let numbers: Vec<&str> = fds.iter().filter_map(|fd| Some(fd.split_once(' ')?.0)).collect();
        assert_eq!(numbers, ["0", "1", "2"], "{fds:?}");
        let of = |number: usize| fds[number].split_once(' ').unwrap().1;
        assert_eq!(of(1), of(2), "one pipe for both: {fds:?}");
        let stdin = if file == "told" { of(0) == "/dev/null" } else { of(0).starts_with("pipe:") };
        assert!(stdin, "{fds:?}");
    }
    // A SIGTERM that was blocked when orch was started is heard nevertheless.
    orch.stop();
}

#[test]
fn a_program_is_sought_in_the_components_own_path() {
    let project = Project::new(
        "
components:
  a: { process: faulty-by-name say found, env: { PATH: 'bin' } }
",
    );
    project.write("bin/faulty-by-name", "#!/bin/sh\nexec \"$PWD/faulty\" \"$@\"\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(project.path("bin/faulty-by-name"), mode).unwrap();
    let mut orch = project.up();
    project.wait_trace("a", "start", 1);
    orch.stop();
}

#[test]
fn what_cannot_be_executed_has_failed_and_says_why_and_the_rest_runs() {
    let project = Project::new(
        "
components:
  apart: { process: ./faulty }
  later: { process: ./not-a-program, restart: never, depends_on: { maker: completed } }
  maker: { process: { shell: 'printf \"\\0nonsense\" > not-a-program; chmod +x not-a-program' } }
",
    );
    let mut orch = project.up();
    project.wait_state("later", "failed");
    let failed = project.wait_event("it says why", |event| event["event"] == "component.failed");
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains("not-a-program"), "{reason}");
    project.wait_ready("apart", 1);
    assert!(orch.runs());
    orch.signal(rustix::process::Signal::TERM);
    orch.expect_exit(1);
}

#[test]
fn without_watching_no_save_restarts_anything() {
    let project = Project::new("components:\n  a: { process: ./faulty, watch: [source] }");
    project.write("source", "one");
    let mut orch = project.up_with(&["--no-watch"]);
    project.wait_ready("a", 1);
    project.write("source", "two");
    project.yaml("components:\n  a: { process: ./faulty deaf, watch: [source] }");
    stays("it runs on", PATIENCE / 60, || project.starts("a") == 1 && !project.trace().has("a", "got"));
    orch.stop();
}

#[test]
fn processes_and_threads_depend_on_each_other() {
    let project = Project::new(
        "
components:
  clock: { thread: ticker, with: { every: 10ms, message: 'tick {n}' } }
  reader: { process: ./faulty, depends_on: [clock] }
  task: { thread: ticker, with: { every: 1ms, count: 3 }, depends_on: [reader] }
  last: { process: ./faulty, depends_on: { task: completed } }
",
    );
    let mut orch = project.up();
    project.wait_ready("last", 1);
    assert_eq!(project.state_of("task").0, "completed");
    wait_until("the clock ticks", || project.read(".orch/logs/clock.log").lines().count() >= 5);
    orch.stop();
    let log = project.read(".orch/logs/clock.log");
    let numbered = log.lines().zip(1..).all(|(line, number)| line == format!("tick {number}"));
    assert!(numbered, "{log}");
    let events = project.events();
    let at = |event: &str, name: &str| {
        events.iter().position(|it| it["event"] == event && it["component"] == name).unwrap()
    };
    assert!(at("component.stopped", "reader") < at("component.stop_requested", "clock"));
    assert_eq!(project.read(".orch/logs/task.log").lines().count(), 3);
}
