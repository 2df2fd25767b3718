//! A network folder that does not answer any more: a FUSE mount whose program is stopped.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Project, send, stays, wait_until};

/// A folder of the project seen through `bindfs`; unmounted when it is dropped.
struct Mount {
    at: std::path::PathBuf,
    program: Child,
}

impl Mount {
    /// Shows `far` at `mnt`. `None` where that can't be.
    fn new(project: &Project) -> Option<Self> {
        project.write("far/f", "old");
        let at = project.path("mnt");
        std::fs::create_dir(&at).unwrap();
        let mut command = Command::new("bindfs");
        command.args(["-f", "-o", "attr_timeout=0,entry_timeout=0"]).arg(project.path("far")).arg(&at);
        let program = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let skip =
            "SKIPPED: no `bindfs` here, or no FUSE; the unit tests have a dead file system of their own";
        let Ok(program) = program else {
            eprintln!("{skip}");
            return None;
        };
        let mut mount = Self { at, program };
        wait_until("it is mounted, or can't be", || {
            mount.at.join("f").exists() || mount.program.try_wait().unwrap().is_some()
        });
        if !mount.at.join("f").exists() {
            eprintln!("{skip}");
            return None;
        }
        Some(mount)
    }

    fn send(&self, signal: Signal) {
        send(self.program.id(), signal);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.send(Signal::CONT);
        let is_unmounted =
            |mut command: Command| command.arg(&self.at).output().is_ok_and(|it| it.status.success());
        let mut lazily = Command::new("umount");
        lazily.arg("-l");
        let mut as_user = Command::new("fusermount");
        as_user.arg("-uz");
        if !is_unmounted(lazily) {
            is_unmounted(as_user);
        }
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

const BEFORE: &str = "components:
  near: { process: ./faulty, watch: [src] }
  net: { process: ./faulty, watch: { paths: [mnt], poll: 300ms } }
";

#[test]
fn a_dead_network_folder_makes_nobody_else_deaf_and_holds_no_start_without_a_word() {
    let project = Project::new(BEFORE);
    project.write("src/a", "old");
    let Some(mount) = Mount::new(&project) else { return };
    let mut orch = project.up();
    project.wait_ready("near", 1);
    project.wait_ready("net", 1);
    project.save("far/f", "new");
    project.wait_ready("net", 2);

    mount.send(Signal::STOP);
    wait_until("it is said", || project.read("stderr").contains("mnt does not answer: until it does"));
    project.save("src/a", "new");
    project.wait_ready("near", 2);
    project.yaml(&format!(
        "{BEFORE}  late: {{ process: ./faulty, watch: [mnt] }}\n  vain: {{ process: ./faulty, watch: [mnt] }}\n  \
         other: {{ process: ./faulty, watch: [src] }}\n"
    ));
    project.wait_ready("other", 1);
    let why = || String::from_utf8(project.run(&["why", "vain"]).stdout).unwrap();
    wait_until("why tells what it waits for", || why().contains("mnt does not answer"));
    assert_eq!(project.run(&["stop", "vain"]).status.code(), Some(0));
    project.wait_state("vain", "stopped");
    project.wait_ready("late", 1);
    assert!(project.read("stderr").contains("it starts without a look at its files there"));
    assert_eq!(project.starts("vain"), 0);

    // Another image is as well off.
    assert_eq!(project.run(&["upgrade"]).status.code(), Some(0));
    project.save("src/a", "newer");
    project.wait_ready("near", 3);
    mount.send(Signal::CONT);
    stays("nothing has changed there", Duration::from_secs(2), || project.starts("late") == 1);
    project.save("far/f", "newer");
    project.wait_ready("net", 3);
    project.wait_ready("late", 2);
    orch.stop();
}
