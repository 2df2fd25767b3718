//! The build gate: what runs goes on until something good is built; and what else runs beside a component.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Project, address, alive, kill_9, stays, wait_for, wait_until};

/// A build that keeps a diary: it notes its beginning and its end, and whoever of its kind lives beside it. It goes
/// on when there is a file `go-SOURCE`, and fails, naming a place, when the source is bad.
const BUILD: &str = "#!/bin/sh
source=$(cat source)
for other in $(cat pids 2>/dev/null); do kill -0 $other 2>/dev/null && echo overlap >> diary; done
echo $$ >> pids
echo \"begin $source\" >> diary
echo \"building $source\"
while [ ! -e \"go-$source\" ]; do sleep 0.01; done
case $source in bad*)
    printf '\\033[1;31merror\\033[0m: no\\n  --> src/main.rs:3:5\\n' >&2
    for i in 1 2 3; do echo \"remark $i\"; done
    exit 7
esac
echo \"end $source\" >> diary
";

/// A component `api` with that build, and more of its keys; the sources in `goes` are built without a wait.
fn project(more: &str, source: &str, goes: &[&str]) -> Project {
    let project =
        Project::new(&format!("components:\n  api: {{ build: ./build.sh, watch: [source], {more} }}"));
    project.write("build.sh", BUILD);
    std::fs::set_permissions(project.path("build.sh"), PermissionsExt::from_mode(0o755)).unwrap();
    project.write("source", source);
    goes.iter().for_each(|source| go(&project, source));
    project
}

fn go(project: &Project, source: &str) {
    project.write(&format!("go-{source}"), "");
}

fn diary(project: &Project) -> Vec<String> {
    project.read("diary").lines().map(str::to_owned).collect()
}

fn wait_diary(project: &Project, line: &str) {
    wait_until(&format!("the diary has {line}"), || diary(project).iter().any(|it| it == line));
}

fn count(project: &Project, event: &str) -> usize {
    project.events().iter().filter(|it| it["event"] == event).count()
}

fn wait_nth(project: &Project, event: &str, number: usize) -> Value {
    wait_for(&format!("{number} × {event}"), || {
        project.events().into_iter().filter(|it| it["event"] == event).nth(number - 1)
    })
}

/// Asks over and over, each time by a new connection; counts what was not answered well while that matters.
struct Visitor {
    matters: Arc<AtomicBool>,
    bad: Arc<AtomicU64>,
    good: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Visitor {
    fn new(at: &str) -> Self {
        let at = at.to_owned();
        let (matters, stop) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let (bad, good) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let shared = (Arc::clone(&matters), Arc::clone(&stop), Arc::clone(&bad), Arc::clone(&good));
        let thread = std::thread::spawn(move || {
            let (matters, stop, bad, good) = shared;
            while !stop.load(Ordering::SeqCst) {
                let is_good = visit(&at);
                if is_good {
                    good.fetch_add(1, Ordering::SeqCst);
                } else if matters.load(Ordering::SeqCst) {
                    bad.fetch_add(1, Ordering::SeqCst);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { matters, bad, good, stop, thread: Some(thread) }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(self.thread.take().map(std::thread::JoinHandle::join));
    }
}

fn visit(at: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(at) else { return false };
    let asked = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let mut answer = [0; 12];
    asked.is_ok() && stream.read_exact(&mut answer).is_ok() && answer.starts_with(b"HTTP/1.1 200")
}

#[test]
fn what_runs_goes_on_until_a_good_build_is_there() {
    let at = address();
    let more = format!("process: './faulty http {at} 200', ready: {{ http: 'http://{at}/' }}");
    let project = project(&more, "one", &["one", "bad", "worse", "bad-again"]);
    let mut orch = project.up();
    project.wait_ready("api", 1);
    let pid = project.trace().of("api", "start")[0].pid;
    let visitor = Visitor::new(&at);
    for (number, bad) in [(1, "bad"), (2, "bad-again")] {
        project.save("source", bad);
        let failed = wait_nth(&project, "build.failed", number);
        assert!(failed["reason"].as_str().unwrap().contains("exit code 7"), "{failed}");
        assert_eq!(failed["place"], "src/main.rs:3:5");
        let tail: Vec<&str> = failed["tail"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let building = format!("building {bad}");
        let whole =
            [building.as_str(), "error: no", "  --> src/main.rs:3:5", "remark 1", "remark 2", "remark 3"];
        assert_eq!(tail, whole);
    }
    assert!(alive(pid) && project.state_of("api") == ("ready".to_owned(), 1));
    assert_eq!(count(&project, "component.stop_requested"), 0);
    // While the good one is being built, too.
    project.save("source", "two");
    wait_diary(&project, "begin two");
    let before = visitor.good.load(Ordering::SeqCst);
    wait_until("it answers beside its build", || visitor.good.load(Ordering::SeqCst) > before + 3);
    assert_eq!((count(&project, "component.stop_requested"), alive(pid)), (0, true));
    assert_eq!(visitor.bad.load(Ordering::SeqCst), 0, "it answered all the while");
    visitor.matters.store(false, Ordering::SeqCst);
    go(&project, "two");
    project.wait_ready("api", 2);
    assert!(!alive(pid));
    let built = wait_nth(&project, "build.succeeded", 2);
    let stopped = wait_nth(&project, "component.stop_requested", 1);
    assert!(built["seq"].as_u64() < stopped["seq"].as_u64(), "{built} {stopped}");
    drop(visitor);
    let shown = project.read("stderr");
    for words in [
        "api: building",
        "api: built in ",
        "; see src/main.rs:3:5",
        "\n    remark 3\n",
        "the one that runs stays",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(project.read("stdout").contains("building bad"), "it is shown as the component's");
    assert!(project.read(".orch/logs/api.log").contains("building bad"), "and in its log");
    orch.stop();
    assert_eq!(project.starts("api"), 2);
}

#[test]
fn a_first_build_that_fails_is_mended_by_a_save() {
    let project = project("process: ./faulty", "bad", &["bad", "good"]);
    let mut orch = project.up();
    project.wait_state("api", "failed");
    assert_eq!((project.starts("api"), count(&project, "component.spawned")), (0, 0));
    let why = project.run(&["why", "api"]);
    let why = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(why.contains("build") && why.contains("exit code 7"), "{why}");
    project.save("source", "good");
    project.wait_ready("api", 1);
    orch.stop();
    assert_eq!(diary(&project), ["begin bad", "begin good", "end good"]);
}

#[test]
fn a_change_during_a_build_starts_it_again() {
    let project = project("process: ./faulty", "1", &["1"]);
    let mut orch = project.up();
    project.wait_ready("api", 1);
    for source in ["2", "3", "4"] {
        project.save("source", source);
        wait_diary(&project, &format!("begin {source}"));
    }
    assert_eq!(project.starts("api"), 1);
    // What was begun before must not be finished, though it could.
    go(&project, "2");
    go(&project, "3");
    go(&project, "4");
    project.wait_ready("api", 2);
    orch.stop();
    assert_eq!(
        diary(&project),
        ["begin 1", "end 1", "begin 2", "begin 3", "begin 4", "end 4"],
        "and one at a time"
    );
}

#[test]
fn a_build_that_takes_too_long_is_killed_with_its_descendants() {
    let project = Project::new(
        "
components:
  api:
    process: ./faulty
    build: { shell: 'echo begun; setsid sh -c \"echo \\$\\$ > daemon; exec sleep 1000\" & echo $$$$ > own; sleep 1000', timeout: 1s }
",
    );
    let mut orch = project.up();
    project.wait_state("api", "failed");
    let failed = wait_nth(&project, "build.failed", 1);
    assert_eq!(failed["reason"], "it did not end within 1s, and was killed");
    assert_eq!(failed["tail"], serde_json::json!(["begun"]));
    for pid in ["own", "daemon"].map(|name| project.read(name).trim().parse::<u32>().unwrap()) {
        assert!(!alive(pid), "its answer comes when nothing of it is left");
    }
    orch.expect_exit(1);
}

#[test]
fn what_a_build_leaves_behind_ends_with_it_and_an_open_output_is_not_waited_for() {
    let project = Project::new(
        "
components:
  api:
    process: ./faulty
    build: { shell: 'setsid sh -c \"echo \\$\\$ > daemon; exec sleep 1000\" & while [ ! -s daemon ]; do sleep 0.01; done; echo done' }
",
    );
    let mut orch = project.up();
    project.wait_ready("api", 1);
    assert!(!alive(project.read("daemon").trim().parse().unwrap()));
    orch.stop();
}

#[test]
fn a_restart_of_what_cannot_be_built_says_so_and_leaves_it() {
    let project = project("process: ./faulty", "1", &["1", "bad"]);
    let mut orch = project.up_with(&["--no-watch"]);
    project.wait_ready("api", 1);
    project.save("source", "bad");
    let output = project.run(&["restart", "api"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("exit code 7") || said.contains("build"), "{said}");
    assert_eq!((project.state_of("api"), project.starts("api")), (("ready".to_owned(), 1), 1));
    project.save("source", "1");
    assert_eq!(project.run(&["restart", "api"]).status.code(), Some(0));
    project.wait_ready("api", 2);
    orch.stop();
}

#[test]
fn a_program_that_is_not_there_is_a_build_that_failed() {
    let project = Project::new(
        "
components:
  api: { process: ./faulty, build: [./builder, there], autostart: false }
  other: { process: ./faulty }
",
    );
    // It is there when the file is read, or that would be refused.
    project.write("builder", "#!/bin/sh\n");
    std::fs::set_permissions(project.path("builder"), PermissionsExt::from_mode(0o755)).unwrap();
    let mut orch = project.up();
    project.wait_ready("other", 1);
    std::fs::remove_file(project.path("builder")).unwrap();
    let output = project.run(&["start", "api"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let failed = wait_nth(&project, "build.failed", 1);
    assert!(failed["reason"].as_str().unwrap().contains("builder"), "{failed}");
    assert_eq!(project.state_of("api").0, "failed");
    orch.signal(rustix::process::Signal::TERM);
    assert_eq!(orch.exit_status().code(), Some(1));
}

#[test]
fn a_build_sees_what_the_component_sees_and_nothing_of_orch() {
    let project = Project::new(
        "
components:
  api:
    process: ./faulty
    env: { OWN: word }
    cwd: inner
    build: ./faulty describe ../told exit 0
",
    );
    project.write("inner/faulty", "");
    std::fs::remove_file(project.path("inner/faulty")).unwrap();
    std::fs::hard_link(project.path("faulty"), project.path("inner/faulty")).unwrap();
    let mut command = project.command(&["up"]);
    command.env("NOTIFY_SOCKET", "/nowhere").env("LISTEN_FDS", "1").env("WATCHDOG_USEC", "1");
    let mut orch = project.start(command);
    project.wait_told_ready("api", 1);
    let told = project.read("told");
    let has = |line: &str| told.lines().any(|it| it.starts_with(line));
    for there in ["OWN=word", "ORCH_COMPONENT=api", "ORCH_CONTROL=/", "ORCH_PROJECT="] {
        assert!(has(&format!("env {there}")), "{there}: {told}");
    }
    for absent in ["NOTIFY_SOCKET", "LISTEN_", "WATCHDOG_", "ORCH_INCARNATION", "ORCH_HANDOVER"] {
        assert!(!has(&format!("env {absent}")), "{absent}: {told}");
    }
    assert!(has("fd 0 /dev/null") && has("fd 1 pipe:") && has("fd 2 pipe:"), "{told}");
    assert_eq!(told.lines().filter(|line| line.starts_with("fd ")).count(), 3, "{told}");
    assert!(has(&format!("cwd {}", project.path("inner").display())), "{told}");
    orch.signal(rustix::process::Signal::TERM);
    assert_eq!(orch.exit_status().code(), Some(0));
}

#[test]
fn a_killed_orch_takes_its_builds_along() {
    let project = Project::new(
        "
components:
  api:
    process: ./faulty
    build: { shell: 'setsid sh -c \"echo \\$\\$ > daemon; exec sleep 1000\" & echo $$$$ > own; sleep 1000' }
",
    );
    let mut orch = project.up();
    let pids = wait_for("the build runs", || {
        let pid = |name| project.read(name).trim().parse::<u32>().ok();
        Some([pid("own")?, pid("daemon")?])
    });
    assert!(pids.iter().all(|pid| alive(*pid)));
    orch.kill();
    wait_until("nothing of it is left", || !pids.iter().any(|pid| alive(*pid)));
    wait_until("nor of orch", || project.orchs().is_empty());
}

#[test]
fn a_build_goes_on_over_a_new_image() {
    let project = project("process: ./faulty", "1", &["1"]);
    let mut orch = project.up();
    project.wait_ready("api", 1);
    for (source, state) in [("bad", "build.failed"), ("2", "build.succeeded")] {
        project.save("source", source);
        wait_diary(&project, &format!("begin {source}"));
        let upgraded = project.run(&["upgrade"]);
        assert_eq!(upgraded.status.code(), Some(0), "{}", String::from_utf8_lossy(&upgraded.stderr));
        stays("it is still built", Duration::from_millis(200), || project.starts("api") == 1);
        go(&project, source);
        project.wait_event("the new image has its end", |event| {
            event["event"] == state && event["cause"].as_u64() > Some(4)
        });
    }
    let failed = wait_nth(&project, "build.failed", 1);
    assert_eq!((&failed["tail"][0], &failed["place"]), (&"building bad".into(), &"src/main.rs:3:5".into()));
    project.wait_ready("api", 2);
    orch.stop();
    assert_eq!(diary(&project), ["begin 1", "end 1", "begin bad", "begin 2", "end 2"]);
}

#[test]
fn what_a_change_runs_runs_once_for_a_burst_and_again_for_a_change_meanwhile() {
    let project = Project::new(
        "components:\n  api: { process: ./faulty, watch: { paths: [tree], action: { run: [sh, run.sh] } } }",
    );
    project.write("run.sh", "echo begin >> diary; while [ ! -e go ]; do sleep 0.01; done; echo end >> diary");
    for number in 0..100 {
        project.write(&format!("tree/{number}"), "old");
    }
    let mut orch = project.up();
    project.wait_ready("api", 1);
    for number in 0..100 {
        project.write(&format!("tree/{number}"), "new");
    }
    wait_diary(&project, "begin");
    stays("a burst is one", Duration::from_millis(800), || diary(&project) == ["begin"]);
    project.write("tree/1", "meanwhile");
    project.write("tree/2", "meanwhile");
    stays("one at a time", Duration::from_millis(800), || diary(&project) == ["begin"]);
    project.write("go", "");
    wait_until("once more", || diary(&project) == ["begin", "end", "begin", "end"]);
    stays("and no more", Duration::from_millis(500), || diary(&project).len() == 4);
    assert_eq!(project.starts("api"), 1);
    orch.stop();
}

#[test]
fn a_first_build_that_is_lost_with_the_keeper_begins_anew() {
    let project = project("process: sleep 1000", "one", &[]);
    let orch = project.up();
    wait_diary(&project, "begin one");
    kill_9(orch.keeper());
    let ended = wait_nth(&project, "build.ended", 1);
    assert_eq!(ended["reason"], "the keeper of the processes was killed");
    wait_until("it is built again", || diary(&project) == ["begin one", "begin one"]);
    let why = String::from_utf8(project.run(&["why", "api"]).stdout).unwrap();
    assert!(why.contains("the keeper of the processes was killed"), "{why}");
    go(&project, "one");
    project.wait_told_ready("api", 1);
    let counted = ["build.started", "build.failed", "component.failed"].map(|event| count(&project, event));
    assert_eq!(counted, [2, 0, 0]);
}

#[test]
fn a_later_build_and_an_exec_check_outlive_the_keeper() {
    let check = "health: { exec: [./check.sh], interval: 20ms, retries: 1, timeout: 10s }";
    let tick = format!("  tick: {{ thread: ticker, {check} }}");
    let project = Project::new(&format!(
        "components:\n  api: {{ build: ./build.sh, watch: [source], process: sleep 1000 }}\n{tick}"
    ));
    project.write("build.sh", BUILD);
    project.write("check.sh", "#!/bin/sh\necho $$ >> checks\nwhile [ -e hang ]; do sleep 0.01; done\n");
    for script in ["build.sh", "check.sh"] {
        std::fs::set_permissions(project.path(script), PermissionsExt::from_mode(0o755)).unwrap();
    }
    project.write("source", "one");
    go(&project, "one");
    let orch = project.up();
    project.wait_told_ready("api", 1);
    project.wait_told_ready("tick", 1);
    project.save("source", "two");
    wait_diary(&project, "begin two");
    project.write("hang", "");
    let checks = || project.read("checks").lines().count();
    let hanging = || project.read("checks").lines().last().and_then(|pid| pid.parse().ok());
    wait_until("a check hangs", || {
        let before = hanging();
        std::thread::sleep(Duration::from_millis(100));
        before == hanging() && before.is_some_and(alive)
    });
    let before = checks();
    kill_9(orch.keeper());
    wait_until("it is asked again", || checks() > before);
    std::fs::remove_file(project.path("hang")).unwrap();
    wait_until("it is asked on", || checks() > before + 3);
    go(&project, "two");
    project.wait_told_ready("api", 2);
    assert_eq!(project.state_of("tick"), ("ready".to_owned(), 1), "one check that was lost says nothing");
}

#[test]
fn an_edit_of_a_first_build_that_failed_helps_by_itself() {
    let yaml =
        |build: &str| format!("components:\n  api: {{ {build} watch: [source], process: sleep 1000 }}");
    let project = Project::new(&yaml("build: 'false',"));
    project.write("source", "one");
    let _orch = project.up();
    project.wait_state("api", "failed");
    project.yaml(&yaml("build: sh -c 'exit 3',"));
    wait_nth(&project, "component.failed", 2);
    project.yaml(&yaml("build: sleep 1000,"));
    wait_nth(&project, "build.started", 3);
    project.yaml(&yaml("build: 'true',"));
    project.wait_told_ready("api", 1);
    assert_eq!(count(&project, "build.ended"), 1);

    let project = Project::new(&yaml("build: 'false',"));
    project.write("source", "one");
    let _orch = project.up();
    project.wait_state("api", "failed");
    project.yaml(&yaml(""));
    project.wait_told_ready("api", 1);
}
