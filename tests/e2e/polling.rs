//! Watching where the system gives no events, or not enough of them.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{Orch, Project, RUNTIME, stays, wait_until};

/// `orch up` where so many inotify watches are to be had: in a user namespace of its own, so that nobody else is
/// concerned. `None` where the system allows no such thing.
fn up_with_watches(project: &Project, limit: u32) -> Option<Orch<'_>> {
    let script = format!("echo {limit} >/proc/sys/user/max_inotify_watches && exec \"$0\" \"$@\"");
    let in_it = |words: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["-Ur", "sh", "-c", &script]).args(words).current_dir(&project.dir);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.env("XDG_RUNTIME_DIR", project.path(RUNTIME)).stdin(Stdio::null());
        command
    };
    if !in_it(&["true"]).output().is_ok_and(|tried| tried.status.success()) {
        eprintln!(
            "SKIPPED: no user namespaces here, or no `unshare`; the unit tests have a limit of their own"
        );
        return None;
    }
    Some(project.start(in_it(&["./orch", "up"])))
}

#[test]
fn beyond_the_systems_limit_files_are_polled_and_that_is_said_once() {
    let project = Project::new("components:\n  a: { process: ./faulty, watch: [src] }");
    (0..12).for_each(|at| project.write(&format!("src/d{at}/f"), "old"));
    let Some(mut orch) = up_with_watches(&project, 8) else { return };
    project.wait_ready("a", 1);
    let said = || project.read("stderr").matches("fs.inotify.max_user_watches").count();
    wait_until("it is said", || said() == 1);
    for (at, run) in (0..12).zip(2..) {
        project.write(&format!("src/d{at}/f"), "new");
        project.wait_ready("a", run);
    }
    // A new image polls on, and says nothing again.
    assert_eq!(project.run(&["upgrade"]).status.code(), Some(0));
    project.save("src/d11/f", "newer");
    project.wait_ready("a", 14);
    project.write("src/d11/deeper/still/g", "new");
    project.wait_ready("a", 15);
    stays("nothing else restarts it", Duration::from_millis(1500), || project.starts("a") == 15);
    assert_eq!(said(), 1, "{}", project.read("stderr"));
    orch.stop();
}

#[test]
fn who_asks_for_polling_gets_it_and_a_burst_is_one_restart() {
    let project =
        Project::new("components:\n  a: { process: ./faulty, watch: { paths: [src], poll: 300ms } }");
    (0..200).for_each(|at| project.write(&format!("src/f{at}"), "old"));
    let mut orch = project.up();
    project.wait_ready("a", 1);
    (0..200).for_each(|at| project.write(&format!("src/f{at}"), "new"));
    project.wait_ready("a", 2);
    stays("one or two looks see all of a burst", Duration::from_millis(1500), || project.starts("a") <= 3);
    let runs = project.starts("a");
    project.save("src/f7", "new");
    stays("the same bytes are no change", Duration::from_millis(1000), || project.starts("a") == runs);
    orch.stop();
}
