//! `stop.command`: what asks a component to stop instead of a signal.

use std::os::unix::fs::PermissionsExt;

use crate::harness::{Project, alive, wait_until};

#[test]
fn a_command_asks_it_to_stop_and_no_signal_does() {
    let project = Project::new(
        "
components:
  a:
    process: { shell: 'trap \"echo signalled\" TERM; while [ ! -e done ]; do sleep 0.01; done; echo bye' }
    stop: { command: [sh, -c, 'echo \"asked $ORCH_COMPONENT $ORCH_INCARNATION\"; touch done'], timeout: 1m }
",
    );
    let mut orch = project.up();
    project.wait_told_ready("a", 1);
    assert_eq!(project.run(&["stop", "a"]).status.code(), Some(0));
    assert_eq!(project.state_of("a").0, "stopped");
    let log = project.read(".orch/logs/a.log");
    assert!(log.contains("asked a 1\n") && log.contains("bye\n") && !log.contains("signalled"), "{log}");
    let exited = project.wait_event("it has ended", |event| event["event"] == "component.exited");
    assert_eq!(exited["code"], 0, "{exited}");
    orch.stop();
}

#[test]
fn one_that_fails_is_followed_by_the_signal() {
    for is_there in [true, false] {
        let project = Project::new(
            "components:\n  a: { process: ./faulty, stop: { command: [./ctl, stop], timeout: 1m } }",
        );
        // It is there when the file is read, or that would be refused.
        project.write("ctl", "#!/bin/sh\nexit 3\n");
        std::fs::set_permissions(project.path("ctl"), PermissionsExt::from_mode(0o755)).unwrap();
        let mut orch = project.up();
        project.wait_ready("a", 1);
        if !is_there {
            std::fs::remove_file(project.path("ctl")).unwrap();
        }
        assert_eq!(project.run(&["stop", "a"]).status.code(), Some(0));
        assert_eq!(project.trace().of("a", "got").len(), 1, "the signal, once");
        let failed = project.wait_event("that is recorded", |event| event["event"] == "stop_command.failed");
        assert!(failed["reason"].is_string(), "{failed}");
        orch.stop();
    }
}

#[test]
fn one_that_hangs_ends_with_the_force_kill() {
    let project = Project::new(
        "
components:
  a:
    process: ./faulty deaf
    stop: { command: [sh, -c, 'echo $$$$ > hung; exec sleep 1000'], timeout: 500ms }
",
    );
    let mut orch = project.up();
    project.wait_ready("a", 1);
    let pid = project.trace().of("a", "start")[0].pid;
    assert_eq!(project.run(&["stop", "a"]).status.code(), Some(0));
    let hung: u32 = project.read("hung").trim().parse().unwrap();
    assert!(!alive(pid) && !alive(hung));
    assert!(project.trace().of("a", "got").is_empty(), "it was not asked by a signal");
    project.wait_event("it was killed", |event| event["event"] == "component.force_killed");
    orch.stop();
}

#[test]
fn the_ordered_end_asks_by_it_too_and_a_killed_orch_takes_it_along() {
    let yaml = "
components:
  a:
    process: ./faulty deaf
    stop: { command: [sh, -c, 'echo $$$$ > asked; exec sleep 1000'], timeout: 1m }
";
    let project = Project::new(yaml);
    let mut orch = project.up();
    project.wait_ready("a", 1);
    orch.signal(rustix::process::Signal::TERM);
    wait_until("it is asked", || project.read("asked").ends_with('\n'));
    let asked: u32 = project.read("asked").trim().parse().unwrap();
    assert!(alive(asked));
    orch.kill();
    wait_until("the command is gone, too", || !alive(asked));
    project.wait_gone();
    std::fs::remove_file(project.path("asked")).unwrap();
    let mut next = project.up();
    project.wait_ready("a", 2);
    next.signal(rustix::process::Signal::TERM);
    wait_until("it is asked again", || project.read("asked").ends_with('\n'));
    // A second request waits for nothing.
    next.signal(rustix::process::Signal::TERM);
    assert_eq!(next.exit_status().code(), Some(1));
    let asked: u32 = project.read("asked").trim().parse().unwrap();
    wait_until("the command is gone", || !alive(asked));
}

#[test]
fn a_restart_asks_by_it_as_well() {
    let project = Project::new(
        "
components:
  a:
    process: ./faulty
    watch: [source]
    stop: { command: [sh, -c, 'kill -INT $(cat pid)'], timeout: 1m }
",
    );
    project.write("source", "1");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    let pid = project.trace().of("a", "start")[0].pid;
    project.write("pid", pid.to_string());
    project.save("source", "2");
    project.wait_ready("a", 2);
    let got: Vec<String> = project.trace().of("a", "got").into_iter().map(|entry| entry.detail).collect();
    assert_eq!(got, ["INT"]);
    let pid = project.trace().of("a", "start")[1].pid;
    project.write("pid", pid.to_string());
    orch.stop();
}
