//! `orch up --detach`: the background begins or it does not, and whoever asked is told which.

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Output;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, getsid};

use crate::harness::{Project, alive, append, kill_9, send, wait_for, wait_until};

const ONE: &str = "components: { a: { process: ./faulty } }";

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs `orch up` with these words, which must begin, and gives the background's process id.
fn detached(project: &Project, args: &[&str]) -> u32 {
    let words: Vec<&str> = std::iter::once("up").chain(args.iter().copied()).collect();
    // Reads stdout and stderr to their ends: the background has kept neither.
    let output = project.run(&words);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
    let text = stderr(&output);
    let pid = text.split("pid ").nth(1).and_then(|rest| rest.split(';').next()).unwrap();
    pid.parse().unwrap()
}

/// Ends a background in order, and checks that nothing is left.
fn end(project: &Project, pid: u32) {
    send(pid, Signal::TERM);
    wait_until("the background has ended", || !alive(pid));
    assert_eq!(project.units(), [0_u32; 0], "left behind");
    wait_until("no orch is left", || project.orchs().is_empty());
    project.check_books();
}

#[test]
fn the_background_is_by_itself_and_writes_to_its_log() {
    let project = Project::new("components: { a: { process: ./faulty say hello, ready: { log: hello } } }");
    let pid = detached(&project, &["--detach"]);
    // It listens from the moment on when the front half returns.
    assert!(project.path(".orch/control.sock").exists());
    let as_pid = Pid::from_raw(pid.cast_signed()).unwrap();
    assert_eq!(getsid(Some(as_pid)).unwrap(), as_pid, "a session of its own");
    let open = |fd: u32| std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap();
    let log = project.path(".orch/orch.log");
    assert_eq!([open(0), open(1), open(2)], [PathBuf::from("/dev/null"), "/dev/null".into(), log]);
    project.wait_ready("a", 1);
    wait_until("orch's own words are in the log", || {
        project.read(".orch/orch.log").contains("orch: a: ready")
    });
    let text = project.read(".orch/orch.log");
    assert!(text.contains(&format!("pid {pid}")) && !text.contains("hello"), "{text}");
    assert!(project.read(".orch/logs/a.log").contains("hello"));
    end(&project, pid);
}

#[test]
fn a_hang_up_has_the_file_read_again() {
    let project = Project::new(ONE);
    let pid = detached(&project, &["--detach", "--no-watch"]);
    project.wait_ready("a", 1);
    project.yaml("components: { a: { process: ./faulty }, b: { process: ./faulty } }");
    send(pid, Signal::HUP);
    project.wait_ready("b", 1);
    end(&project, pid);
}

#[test]
fn what_can_not_begin_is_told_as_in_the_foreground_and_leaves_nothing() {
    let project = Project::new("components: { a: { proces: ./faulty } }");
    let (front, fore) = (project.run(&["up", "--detach"]), project.run(&["up"]));
    assert_eq!((front.status.code(), fore.status.code()), (Some(2), Some(2)));
    assert_eq!(stderr(&front), stderr(&fore));
    assert!(stderr(&front).contains("did you mean"), "{}", stderr(&front));
    assert!(project.orchs().is_empty());

    project.yaml(ONE);
    let unknown = project.run(&["up", "--detach", "--only", "b"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("--only names `b`"), "{}", stderr(&unknown));
    assert!(project.orchs().is_empty());

    project.write("file", "");
    let failed = project.run(&["up", "--detach", "--state-dir", "file"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(stderr(&failed).contains("can't make the state directory"), "{}", stderr(&failed));
    assert!(project.orchs().is_empty());

    // Nobody could ask it to end.
    std::fs::create_dir_all(project.path(".orch/control.sock")).unwrap();
    let deaf = project.run(&["up", "--detach"]);
    assert_eq!(deaf.status.code(), Some(1));
    assert!(stderr(&deaf).contains("can't listen in"), "{}", stderr(&deaf));
    wait_until("no orch is left", || project.orchs().is_empty());
}

#[test]
fn a_second_one_is_refused() {
    let project = Project::new(ONE);
    let pid = detached(&project, &["--detach"]);
    for second in [&["up", "--detach"][..], &["up"]] {
        let second = project.run(second);
        assert_eq!(second.status.code(), Some(3));
        assert!(stderr(&second).contains(&format!("pid {pid}")), "{}", stderr(&second));
    }
    end(&project, pid);
}

#[test]
fn warnings_are_shown_and_kept() {
    let project = Project::new("components: { a: { process: ./later, build: 'true' } }");
    let output = project.run(&["up", "--detach", "--no-watch"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("warning"), "{}", stderr(&output));
    wait_until("the project ends, for nothing can run", || project.orchs().is_empty());
    assert!(project.read(".orch/orch.log").contains("warning"));
}

/// Somebody holds the lock who is gone by its note: it is waited for.
fn held_up(project: &Project) -> std::fs::File {
    project.write(".orch/lock", format!("{} 1 other-boot\n", i32::MAX));
    let lock = OpenOptions::new().read(true).open(project.path(".orch/lock")).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    lock
}

#[test]
fn a_background_that_dies_before_it_has_begun_is_an_error() {
    let project = Project::new(ONE);
    let lock = held_up(&project);
    let mut front = project.up_with(&["--detach"]);
    let back = wait_for("the background", || project.orchs().into_iter().find(|pid| *pid != front.pid()));
    assert!(front.runs());
    kill_9(back);
    assert_eq!(front.exit_status().code(), Some(1));
    assert!(project.read("stderr").contains("ended by signal 9"), "{}", project.read("stderr"));
    drop(lock);
}

#[test]
fn nothing_runs_if_nobody_waits_for_its_beginning_any_more() {
    let project = Project::new(ONE);
    let lock = held_up(&project);
    let mut front = project.up_with(&["--detach"]);
    wait_until("both halves are there", || project.orchs().len() == 2);
    front.signal(Signal::INT);
    assert_eq!(front.exit_status().signal(), Some(2));
    drop(lock);
    wait_until("the background has ended", || project.orchs().is_empty());
    assert_eq!(project.starts("a"), 0);
}

#[test]
fn a_long_log_is_set_aside() {
    let project = Project::new(ONE);
    project.write(".orch/orch.log", vec![b'x'; (1 << 20) + 1]);
    let pid = detached(&project, &["--detach"]);
    end(&project, pid);
    assert!(project.read(".orch/orch.log").starts_with("orch: "));
    assert_eq!(project.read(".orch/orch.log.1").len(), (1 << 20) + 1);
    // A shorter one is continued.
    let pid = detached(&project, &["--detach"]);
    end(&project, pid);
    assert_eq!(project.read(".orch/orch.log").matches(" version ").count(), 2);
}

#[test]
fn a_log_that_becomes_long_is_set_aside_while_it_is_written() {
    let project = Project::new(ONE);
    let pid = detached(&project, &["--detach", "--no-watch"]);
    project.wait_ready("a", 1);
    append(&project.path(".orch/orch.log"), &"x".repeat(1 << 20));
    assert_eq!(project.run(&["restart", "a"]).status.code(), Some(0));
    let len = |name: &str| std::fs::metadata(project.path(name)).map_or(0, |meta| meta.len());
    wait_until("it is short again", || len(".orch/orch.log") < 1 << 10);
    assert!(len(".orch/orch.log.1") > 1 << 20);
    assert_eq!(project.run(&["stop", "a"]).status.code(), Some(0));
    wait_until("its words are in it", || {
        project.read(".orch/orch.log").contains("a: stopped")
            && !project.read(".orch/orch.log").contains("xxx")
    });
    end(&project, pid);
}

#[test]
fn another_image_goes_on_in_the_background() {
    let project = Project::new(ONE);
    let pid = detached(&project, &["--detach", "--no-watch"]);
    project.wait_ready("a", 1);
    let upgrade = project.run(&["upgrade"]);
    assert_eq!(upgrade.status.code(), Some(0), "{}", stderr(&upgrade));
    wait_until("it says so in its log", || project.read(".orch/orch.log").contains("this is the new image"));
    assert!(alive(pid) && project.starts("a") == 1);
    // It has no terminal, still: a hang-up is no end, and has the file read again.
    project.yaml("components: { a: { process: ./faulty }, b: { process: ./faulty } }");
    send(pid, Signal::HUP);
    project.wait_ready("b", 1);
    end(&project, pid);
}

#[test]
fn waiting_ends_when_all_is_ready_or_completed() {
    let project = Project::new(
        "
components:
  base: { process: ./faulty say up await go, ready: { log: up } }
  slow: { process: ./faulty await on say up, ready: { log: up }, depends_on: [base] }
  once: { process: ./faulty touch once exit 0, depends_on: [base] }
  other: { process: ./faulty, autostart: false }
",
    );
    let mut front = project.up_with(&["--wait"]);
    project.wait_state("slow", "starting");
    project.wait_state("once", "completed");
    // Another image in between is no end.
    let upgrade = project.run(&["upgrade"]);
    assert_eq!(upgrade.status.code(), Some(0), "{}", stderr(&upgrade));
    assert!(front.runs(), "{}", project.read("stderr"));
    project.write("on", "");
    assert_eq!(front.exit_status().code(), Some(0), "{}", project.read("stderr"));
    assert!(project.read("stderr").contains("all 3 components are up"), "{}", project.read("stderr"));
    let pid = daemon(&project);
    assert_eq!((project.state_of("slow").0, project.starts("other")), ("ready".to_owned(), 0));
    end(&project, pid);
}

/// The background, by the lock's note.
fn daemon(project: &Project) -> u32 {
    project.read(".orch/lock").split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn waiting_ends_with_1_once_one_has_failed_and_the_rest_runs_on() {
    let project = Project::new(
        "
components:
  bad: { process: ./faulty say so exit 3, restart: never }
  held: { process: ./faulty, depends_on: { bad: completed } }
  good: { process: ./faulty }
",
    );
    let output = project.run(&["up", "--wait"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("bad is failed: it ended with exit code 3\n  | so\n"), "{text}");
    assert!(text.contains("held is blocked: bad has failed") && text.contains("runs on"), "{text}");
    project.wait_ready("good", 1);
    let pid = daemon(&project);
    send(pid, Signal::TERM);
    wait_until("the background has ended", || !alive(pid));
    assert_eq!(project.units(), [0_u32; 0]);
}

#[test]
fn waiting_for_what_ends_at_once_tells_how_it_ended() {
    let project = Project::new("components: { a: { process: ./faulty exit 0 } }");
    let output = project.run(&["up", "--wait"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    wait_until("no orch is left", || project.orchs().is_empty());
    project.yaml("components: { a: { process: ./faulty exit 3, restart: never, ready: { file: never } } }");
    let output = project.run(&["up", "--wait"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!stderr(&output).contains("runs on"), "{}", stderr(&output));
    wait_until("no orch is left", || project.orchs().is_empty());
}

#[test]
fn whoever_ends_the_project_ends_the_waiting() {
    let project =
        Project::new("components: { a: { process: ./faulty, ready: { file: never, timeout: 10m } } }");
    for how in ["down", "kill"] {
        let mut front = project.up_with(&["--wait"]);
        project.wait_state("a", "starting");
        if how == "down" {
            assert_eq!(project.run(&["down"]).status.code(), Some(0));
        } else {
            kill_9(daemon(&project));
        }
        assert_eq!(front.exit_status().code(), Some(1));
        wait_until("no orch is left", || project.orchs().is_empty());
        assert!(!project.read("stderr").contains("runs on"), "{}", project.read("stderr"));
    }
    assert!(project.read("stderr").contains("ended by signal 9"), "{}", project.read("stderr"));
}

#[test]
fn an_interrupt_ends_the_waiting_alone() {
    let project =
        Project::new("components: { a: { process: ./faulty, ready: { file: never, timeout: 10m } } }");
    let mut front = project.up_with(&["--wait"]);
    project.wait_state("a", "starting");
    let pid = daemon(&project);
    wait_until("it listens to interrupts", || catches_interrupts(front.pid()));
    front.signal(Signal::INT);
    assert_eq!(front.exit_status().signal(), Some(2));
    assert!(project.read("stderr").contains("runs on in the background"), "{}", project.read("stderr"));
    assert!(alive(pid));
    end(&project, pid);
}

fn catches_interrupts(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & 0b10 != 0
}
