//! orch is killed right at each system call of a save and a restore: strace attaches to it, waits for the n-th
//! call of a kind on one of the store's files, and kills orch instead of it. The keeper and the components are
//! no threads of orch and no children that it makes from then on, so strace does not see them.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::verify;
use crate::harness::{Orch, Project, SLACK, send, wait_for, wait_until};

/// What a seal, a restore and a use are made of.
const CALLS: [&str; 14] = [
    "openat",
    "open",
    "newfstatat",
    "fstat",
    "getdents64",
    "pread64",
    "pwrite64",
    "fchmod",
    "fsync",
    "renameat",
    "renameat2",
    "unlinkat",
    "inotify_add_watch",
    "close",
];

const YAML: &str = "
components:
  a:
    process: ./faulty live rename 0
    watch: { paths: [source], settle: 5ms }
    state: { file: a.state, atomic: true, max_age: never }
    ready: { file: a.ready, interval: 10ms, timeout: 1m }
";

/// Every so many calls; each one in a long run.
fn stride() -> usize {
    if std::env::var_os("ORCH_KILLS").is_some() { 1 } else { 9 }
}

#[test]
fn orch_is_killed_at_each_system_call_of_a_save_and_a_restore() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: there is no strace");
        return;
    }
    let project = Project::new(YAML);
    let mut orch = project.up();
    let (mut kills, mut used_up, mut turn) = (0_usize, 0_usize, 0_usize);
    for call in CALLS {
        for nth in 1.. {
            turn += 1;
            if turn % stride() != 0 && nth > 1 {
                if nth > 40 {
                    break;
                }
                continue;
            }
            let run = settled(&project, 0);
            let Some(killed) = kill_at(&project, &mut orch, (call, nth), run) else { break };
            kills += 1;
            used_up += usize::from(killed.used_up);
            orch = project.up();
            let next = settled(&project, run + u64::from(killed.used_up));
            killed.judge(&project, next);
        }
    }
    orch.stop();
    verify(&project);
    project.check_books();
    eprintln!("{kills} kills at a system call; in {used_up} the state was used up already");
    assert!(kills >= 10, "{kills}");
}

/// The last run, once one after this is ready and has looked for its state.
fn settled(project: &Project, after: u64) -> u64 {
    wait_for("the last run is ready, and has said so", || {
        let (state, run) = project.state_of("a");
        let trace = project.trace();
        let pid = trace.of("a", "start").iter().find(|start| start.detail == run.to_string())?.pid;
        let given = trace.of("a", "given").iter().any(|given| given.pid == pid);
        (state == "ready" && run > after && given).then_some(run)
    })
}

/// A kill that has come.
struct Killed {
    at: String,
    /// The state that the run under way has put in place, if it came to that.
    saved: Option<String>,
    /// Whether a run after it was ready with that.
    used_up: bool,
}

/// Saves the source, so that the component is restarted, and has orch killed at that call; `None`: there is
/// none such.
fn kill_at(project: &Project, orch: &mut Orch<'_>, (call, nth): (&str, usize), run: u64) -> Option<Killed> {
    let before = project.trace().of("a", "saved").len();
    let mut strace = attach(project, orch.pid(), (call, nth));
    project.write("source", format!("{call} {nth}"));
    // It ends, or the next run is ready and what follows from that is written down.
    wait_for("orch is killed, or the restart is done", || {
        (!orch.runs() || project.state_of("a") == ("ready".to_owned(), run + 1)).then_some(())
    });
    let end = Instant::now() + Duration::from_millis(150);
    while orch.runs() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    let killed = !orch.runs();
    if !killed {
        send(strace.id(), Signal::TERM);
    }
    strace.wait().unwrap();
    if !killed {
        return None;
    }
    let since = Instant::now();
    project.wait_gone();
    assert!(since.elapsed() < SLACK * Duration::from_secs(1), "the units outlived orch");
    verify(project);
    let saved = project.trace().of("a", "saved").get(before).map(|entry| entry.detail.clone());
    let used_up = project.state_of("a") == ("ready".to_owned(), run + 1);
    Some(Killed { at: format!("{call} {nth}"), saved, used_up })
}

/// Attaches strace to orch, with all its threads.
fn attach(project: &Project, orch: u32, (call, nth): (&str, usize)) -> Child {
    let folder = project.path(".orch/state/a");
    let newest = std::fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path());
    let mut paths: Vec<_> = newest.filter(|path| path.extension().is_some_and(|end| end == "orst")).collect();
    for name in [".generation.new", ".ledger.new", ".restore.new", "ledger", ""] {
        paths.push(if name.is_empty() { folder.clone() } else { folder.join(name) });
    }
    paths.extend([project.path("a.state"), project.dir.clone(), project.path(".orch/state/.incarnations")]);
    let said = project.path("strace.said");
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:signal=SIGKILL:when={nth}"), "-p", &orch.to_string()]);
    for path in &paths {
        command.arg("-P").arg(path);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&said).unwrap());
    let mut strace = command.spawn().unwrap();
    wait_until("strace is attached", || {
        let said = std::fs::read_to_string(&said).unwrap_or_default();
        assert!(strace.try_wait().unwrap().is_none(), "strace has ended: {said}");
        said.contains("attached")
    });
    strace
}

impl Killed {
    /// What the run after it was given. The component vouches for its file, so nothing that is in place is lost.
    fn judge(&self, project: &Project, next: u64) {
        let trace = project.trace();
        let given = trace.of("a", "given").pop().unwrap().detail;
        let given = given.split_once(' ').unwrap().0;
        assert_eq!(trace.of("a", "bad"), [], "killed at {}", self.at);
        match (&self.saved, self.used_up) {
            (Some(saved), false) => assert_eq!(given, saved, "run {next}, after a kill at {}", self.at),
            (Some(_), true) => {
                assert_eq!(given, "nothing", "run {next}, after a kill at {}: used twice", self.at)
            }
            (None, _) => {}
        }
    }
}
