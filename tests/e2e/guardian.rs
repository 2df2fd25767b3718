//! Whatever happens to orch: what it started is ended, what it did not start is left alone, and nobody else
//! runs the same project.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Orch, Project, SLACK, Stranger, alive, kill_9, send, wait_for, wait_until};

/// All kinds of units that don't want to end.
const STUBBORN: &str = "
components:
  deaf: { process: ./faulty deaf, stop: { timeout: 10m } }
  child: { process: ./faulty deaf-child, stop: { timeout: 10m } }
  daemon: { process: ./faulty daemon, stop: { timeout: 10m } }
  bare: { process: ./faulty bare-daemon, stop: { timeout: 10m } }
  comet: { process: ./faulty comet, stop: { timeout: 10m } }
  plain: { process: ./faulty }
";

fn up_stubborn(project: &Project) -> Orch<'_> {
    let orch = project.up();
    project.wait_trace("child", "child", 1);
    for name in ["daemon", "bare", "comet"] {
        project.wait_trace(name, "daemon", 1);
    }
    for name in ["deaf", "child", "daemon", "bare", "comet", "plain"] {
        project.wait_ready(name, 1);
    }
    orch
}

/// Contract, guarantee 5: within one second.
fn gone_within_the_second(project: &Project, since: Instant) {
    project.wait_gone();
    let took = since.elapsed();
    assert!(took < SLACK * Duration::from_secs(1), "it took {took:?}");
}

#[test]
fn when_orch_is_killed_all_is_gone_within_the_second() {
    let project = Project::new(STUBBORN);
    let mut orch = up_stubborn(&project);
    let since = Instant::now();
    orch.kill();
    gone_within_the_second(&project, since);
    wait_until("the keeper ends, too", || project.orchs().is_empty());
}

#[test]
fn when_orch_is_killed_during_a_slow_stop_all_is_gone_within_the_second() {
    let project = Project::new(STUBBORN);
    let mut orch = up_stubborn(&project);
    orch.signal(Signal::TERM);
    project.wait_trace("deaf", "got", 1);
    let since = Instant::now();
    orch.kill();
    gone_within_the_second(&project, since);
}

#[test]
fn when_the_keeper_is_killed_all_is_gone_and_orch_starts_everything_anew() {
    let project = Project::new(STUBBORN);
    let mut orch = up_stubborn(&project);
    let old = project.trace().0;
    let keeper = orch.keeper();
    kill_9(keeper);
    for name in ["deaf", "child", "daemon", "bare", "comet", "plain"] {
        project.wait_ready(name, 2);
    }
    let left: Vec<u32> = old.iter().map(|entry| entry.pid).filter(|pid| alive(*pid)).collect();
    assert_eq!(left, [0_u32; 0], "of the old units");
    assert_ne!(orch.keeper(), keeper);
    // The new keeper is as good as the old one.
    let since = Instant::now();
    orch.kill();
    gone_within_the_second(&project, since);
}

#[test]
fn what_orch_did_not_start_is_left_alone_though_it_looks_the_same() {
    let project = Project::new(
        "
components:
  a: { process: sleep 98765, watch: [source], stop: { timeout: 1m } }
  b: { process: ./faulty deaf, stop: { timeout: 300ms } }
",
    );
    let mut orch = project.up();
    project.wait_told_ready("a", 1);
    project.wait_ready("b", 1);
    // The same words and the same environment, also that of the incarnation to come.
    let mut strangers: Vec<Stranger> = ["1", "2"]
        .into_iter()
        .map(|incarnation| {
            let mut command = Command::new("sleep");
            command.arg("98765").current_dir(&project.dir).env("ORCH_COMPONENT", "a");
            let control = project.path(".orch/control.sock");
            command.env("ORCH_INCARNATION", incarnation).env("ORCH_CONTROL", control);
            Stranger::new(command.env("ORCH_PROJECT", project.dir.file_name().unwrap()))
        })
        .collect();
    project.write("source", "new");
    project.wait_told_ready("a", 2);
    orch.stop();
    let mut again = project.up();
    project.wait_told_ready("a", 3);
    again.kill();
    wait_until("the keeper is done", || project.orchs().is_empty());
    assert!(strangers.iter_mut().all(Stranger::lives));
}

#[test]
fn after_orch_and_keeper_were_killed_at_once_the_next_orch_ends_what_is_left_before_it_starts() {
    let project = Project::new(STUBBORN);
    let mut orch = up_stubborn(&project);
    let keeper = orch.keeper();
    // Stopped, neither sees the other's end.
    crate::harness::send(keeper, Signal::STOP);
    crate::harness::send(orch.pid(), Signal::STOP);
    let left: Vec<u32> = project.units();
    assert!(left.len() >= 7, "{left:?}");
    kill_9(keeper);
    orch.kill();
    wait_until("both are gone", || !alive(keeper));
    let mut next = project.up();
    let deaf = project.wait_trace("deaf", "start", 2)[1].pid;
    let left: Vec<u32> = left.into_iter().filter(|pid| alive(*pid) && *pid != deaf).collect();
    assert_eq!(left, [0_u32; 0]);
    for name in ["deaf", "child", "daemon", "bare", "comet", "plain"] {
        project.wait_ready(name, 2);
    }
    next.signal(Signal::TERM);
    project.wait_trace("deaf", "got", 1);
    next.signal(Signal::TERM);
    next.expect_exit(1);
}

const PLAIN: &str = "components:\n  a: { process: ./faulty }";

#[test]
fn a_second_orch_ends_with_3_and_harms_nothing_however_it_names_the_project() {
    let project = Project::new(PLAIN);
    let mut orch = project.up();
    project.wait_ready("a", 1);
    std::os::unix::fs::symlink(&project.dir, project.path("same")).unwrap();
    let before = project.read(".orch/events.ndjson");
    for args in [
        &["up"][..],
        &["up", "same/devmode.yaml"],
        &["up", "./devmode.yaml", "--only", "a"],
        &["up", "--state-dir", "elsewhere"],
        &["up", "same/devmode.yaml", "--state-dir", "same/elsewhere"],
    ] {
        let output = project.run(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{args:?}: {said}");
        assert!(said.contains("already runs"), "{said}");
    }
    assert_eq!(project.read(".orch/events.ndjson"), before);
    assert!(orch.runs());
    // The first one is as guarded as before: it can still be ended, and then started again.
    orch.stop();
    assert_eq!(project.starts("a"), 1);
    let mut next = project.up();
    project.wait_ready("a", 2);
    next.stop();
}

#[test]
fn a_second_orch_names_the_first() {
    let project = Project::new(PLAIN);
    let mut orch = project.up();
    project.wait_ready("a", 1);
    let said = String::from_utf8(project.run(&["up"]).stderr).unwrap();
    assert!(said.contains(&orch.pid().to_string()), "{said}");
    orch.stop();
}

#[test]
fn one_state_directory_serves_one_project_at_a_time() {
    let project = Project::new(PLAIN);
    project.write("other.yaml", "version: 1\ncomponents:\n  b: { process: ./faulty }\n");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    // Another file, the same state directory; then another one, and they don't disturb each other.
    assert_eq!(project.run(&["up", "other.yaml"]).status.code(), Some(3));
    let mut other = project.up_with(&["other.yaml", "--state-dir", "other-state"]);
    project.wait_trace("b", "start", 1);
    other.signal(Signal::TERM);
    assert_eq!(other.exit_status().code(), Some(0));
    assert!(orch.runs());
    assert_eq!(project.units().len(), 1);
    orch.stop();
}

#[test]
fn what_a_killed_orch_leaves_behind_hinders_nobody() {
    let project = Project::new(PLAIN);
    for run in 1..=3 {
        let mut orch = project.up();
        project.wait_ready("a", run);
        orch.kill();
    }
    // Files with the right names and wrong contents are no lock either.
    wait_until("the keeper is done", || project.orchs().is_empty());
    project.write(".orch/lock", "1 1 not-a-boot-id\n");
    project.save(".orch/control.sock", "");
    let mut orch = project.up();
    project.wait_ready("a", 4);
    orch.stop();
    let seq: Vec<u64> = project.events().iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert!(seq.windows(2).all(|pair| pair[0] + 1 == pair[1]), "numbers go on over runs");
}

#[test]
fn a_new_orch_waits_for_the_keeper_of_a_killed_one() {
    let project = Project::new(STUBBORN);
    let mut orch = up_stubborn(&project);
    let old = project.units();
    orch.kill();
    let mut next = project.up();
    project.wait_trace("plain", "start", 2);
    let left: Vec<u32> = old.into_iter().filter(|pid| alive(*pid)).collect();
    assert_eq!(left, [0_u32; 0]);
    next.kill();
    project.wait_gone();
}

/// A lock belongs to a file; the name goes on to another one.
#[test]
fn a_file_that_takes_the_place_of_the_old_one_is_locked_too() {
    for args in [&["--no-watch"][..], &[]] {
        let project = Project::new(PLAIN);
        let mut orch = project.up_with(args);
        project.wait_ready("a", 1);
        // The same bytes: with watching, too, nothing is reloaded.
        project.yaml(PLAIN.trim_end());
        project.yaml(PLAIN);
        // By the kernel's list: who tried to lock it would be in orch's way.
        let locked = || {
            let file = std::fs::metadata(project.path("devmode.yaml")).unwrap();
            let inode = format!(":{} ", std::os::unix::fs::MetadataExt::ino(&file));
            let locks = std::fs::read_to_string("/proc/locks").unwrap();
            locks.lines().any(|lock| lock.contains("FLOCK") && lock.contains(&inode))
        };
        wait_until("the new file is locked", locked);
        let second = project.run(&["up", "--state-dir", "elsewhere"]);
        assert_eq!(second.status.code(), Some(3), "{args:?}");
        assert_eq!(project.starts("a"), 1);
        // The keeper has it, too: it is held until what orch started is gone.
        orch.stop();
        wait_until("the lock is free", || !locked());
    }
}

/// Contract, section 6: a second Ctrl-C force-kills at once, whoever has stopped the keeper.
#[test]
fn a_stopped_keeper_is_woken_to_end_what_is_to_be_ended() {
    let project = Project::new("components:\n  a: { process: ./faulty deaf, stop: { timeout: 10m } }");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    let keeper = orch.keeper();
    send(keeper, Signal::STOP);
    orch.signal(Signal::TERM);
    project.wait_event("the first is heard", |event| event["event"] == "command");
    orch.signal(Signal::TERM);
    orch.expect_exit(1);

    let project = Project::new("components:\n  a: { process: ./faulty deaf, stop: { timeout: 300ms } }");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    send(orch.keeper(), Signal::STOP);
    orch.stop();
}

/// What a crash of the machine left of the last event.
#[test]
fn a_torn_last_event_is_no_line_for_good() {
    let project = Project::new(PLAIN);
    let mut orch = project.up();
    project.wait_ready("a", 1);
    orch.stop();
    let whole = project.read(".orch/events.ndjson");
    let half: String = whole.lines().last().unwrap().chars().take(40).collect();
    project.write(".orch/events.ndjson", format!("{whole}{half}"));
    let mut orch = project.up();
    project.wait_ready("a", 2);
    orch.stop();
    assert!(project.read(".orch/events.ndjson").starts_with(&whole), "nothing else is taken away");
}

#[test]
fn the_state_directory_is_private_and_ignored_by_git() {
    use std::os::unix::fs::PermissionsExt as _;
    let project = Project::new(PLAIN);
    let mut orch = project.up();
    project.wait_ready("a", 1);
    let mode = |name: &str| std::fs::metadata(project.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(".orch"), 0o700);
    assert_eq!(project.read(".orch/.gitignore").trim(), "*");
    orch.stop();
    // One that other hands made is closed, too.
    for lax in [0o755, 0o777, 0o750, 0o500] {
        std::fs::set_permissions(project.path(".orch"), std::fs::Permissions::from_mode(lax)).unwrap();
        let mut orch = project.up();
        wait_until("it is closed", || mode(".orch") == 0o700);
        wait_for("orch runs", || (!project.units().is_empty()).then_some(()));
        orch.stop();
    }
    // But a folder like /tmp is not taken from its users.
    std::fs::create_dir(project.path("shared")).unwrap();
    std::fs::set_permissions(project.path("shared"), std::fs::Permissions::from_mode(0o1777)).unwrap();
    let refused = project.run(&["up", "--state-dir", "shared"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("users share"), "{said}");
    assert_eq!(mode("shared"), 0o777);
    // Elsewhere, by the option and by the variable.
    for by_option in [true, false] {
        let name = if by_option { "by-option" } else { "by-variable" };
        let place = project.path(name);
        let mut command = match by_option {
            true => project.command(&["up", "--state-dir", name]),
            false => project.command(&["up"]),
        };
        if !by_option {
            command.env("ORCH_STATE_DIR", &place);
        }
        let mut orch = project.start(command);
        wait_for("its events are there", || {
            project.read(&format!("{name}/events.ndjson")).contains("component.ready").then_some(())
        });
        assert_eq!(mode(name), 0o700);
        orch.signal(Signal::TERM);
        assert_eq!(orch.exit_status().code(), Some(0));
    }
}
