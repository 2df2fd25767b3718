//! Where the system does not show processes: orch says so, or knows all the same. In a mount namespace of its own; a
//! machine that gives none says so and passes.

use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::harness::{Project, alive, wait_for, wait_until};

/// A command in a mount namespace of its own, or `None` where there is none to be had.
fn apart(inner: &Command) -> Option<Command> {
    let mut probe = Command::new("unshare");
    probe.args(["--mount", "mount", "-t", "tmpfs", "none", "/proc"]).stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        println!("not tested: nobody may mount anything here");
        return None;
    }
    let mut apart = Command::new("unshare");
    apart.arg("--mount").args([inner.get_program()]).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => apart.env(name, value),
            None => apart.env_remove(name),
        };
    }
    apart.current_dir(inner.get_current_dir().unwrap()).stdin(Stdio::null());
    Some(apart)
}

fn number(project: &Project, file: &str) -> u32 {
    wait_for(file, || project.read(file).trim().parse().ok())
}

/// A unit is gone, and orch ends, when nobody is left: also when nobody is shown.
#[test]
fn what_is_not_shown_is_not_taken_for_gone() {
    let project = Project::new(
        "components:\n  a: { process: { shell: 'setsid sleep 4321 & echo $! > left.new; mv left.new left; exec sleep 4321' }, \
         restart: never }\n  \
         b: { process: { shell: 'echo $$$$ > pid.new; mv pid.new pid; setsid sleep 4321 & exec sleep 4321' } }\n",
    );
    let Some(apart) = apart(&project.command(&["up"])) else { return };
    let mut orch = project.start(apart);
    project.wait_told_ready("a", 1);
    project.wait_told_ready("b", 1);
    let (left, leader) = (number(&project, "left"), number(&project, "pid"));
    let within = ["-t", &orch.pid().to_string(), "--mount", "mount", "-t", "tmpfs", "none", "/proc"];
    assert!(Command::new("nsenter").args(within).status().unwrap().success());
    // The leader's end is no proof that its unit is gone: the next one starts only then.
    crate::harness::send(leader, Signal::KILL);
    project.wait_told_ready("b", 2);
    orch.signal(Signal::TERM);
    orch.expect_exit(0);
    assert!(!alive(left), "{}", project.read("stderr"));
    project.wait_gone();
    wait_until("the keeper ends, too", || project.orchs().is_empty());
}

#[test]
fn where_no_process_is_shown_orch_does_not_start() {
    let project =
        Project::new("components:\n  a: { process: { shell: 'echo > started; exec sleep 4321' } }\n");
    let mut inner = Command::new("sh");
    inner.args(["-c", "mount -t tmpfs none /proc && exec \"$@\"", "sh"]);
    let up = project.command(&["up"]);
    inner.arg(up.get_program()).args(up.get_args()).current_dir(up.get_current_dir().unwrap());
    let Some(apart) = apart(&inner) else { return };
    let mut orch = project.start(apart);
    orch.expect_exit(1);
    let said = project.read("stderr");
    assert!(said.contains("/proc") && said.contains("mount -t proc"), "{said}");
    assert!(!project.path("started").exists());
}
