//! A new image of orch: a thread that does not return is ended by it, and processes notice nothing.
//!
//! The orch here is this test program itself, in a role of its own: it embeds orch with a thread component that
//! hangs when it is told to.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::harness::{Orch, Project, alive, wait_for, wait_until};

/// Set in the process that plays orch.
const PLAY: &str = "REEXEC_TEST_PLAY";

/// What the thread component counts, and carries over.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Count {
    count: u64,
}

#[derive(Debug, Deserialize)]
struct With {}

/// Counts, saves now and then, and does not return while there is a file `hang-NAME`.
fn stubborn(_: With, cx: orch::Context) -> Result<(), orch::BoxError> {
    let mut state: Count = cx.restored()?.unwrap_or_default();
    cx.println(&format!("{} from {}", cx.name(), state.count));
    cx.ready();
    while !cx.stop_token().wait(Duration::from_millis(2)) {
        state.count += 1;
        if state.count.is_multiple_of(10) {
            cx.save(&state)?;
        }
    }
    if Path::new(&format!("hang-{}", cx.name())).exists() {
        loop {
            std::thread::park();
        }
    }
    cx.save(&state)?;
    Ok(())
}

/// Not a test of its own: the orch of the others.
#[test]
#[expect(clippy::disallowed_methods, reason = "it ends as orch does, without the test harness's own words")]
fn play() {
    if std::env::var_os(PLAY).is_none() {
        return;
    }
    let allowed = !Path::new("no-reexec").exists();
    let outcome = orch::Orchestrator::from_file("devmode.yaml")
        .register_fn("stubborn", stubborn)
        .foreground(true)
        .signals(true)
        .reexec(allowed)
        .run();
    let code = outcome.map_or(9, |outcome| i32::from(!outcome.is_success()));
    std::process::exit(code);
}

const YAML: &str = "
components:
  loop: { thread: stubborn, with: {}, state: true, watch: [source], stop: { timeout: 300ms, join_timeout: 10s } }
  clock: { thread: ticker, with: { every: 10ms }, state: true }
  api:
    process: { shell: 'i=0; while :; do i=$((i+1)); echo line $i; sleep 0.002; done' }
  web: { process: ./faulty, depends_on: [loop] }
";

/// Starts this program in the role of orch.
pub(crate) fn up(project: &Project) -> Orch<'_> {
    let mut command = project.command(&[]);
    let arguments = command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)));
    let environment: Vec<_> = arguments.collect();
    std::fs::remove_file(project.path("orch")).unwrap();
    std::fs::hard_link(std::env::current_exe().unwrap(), project.path("orch")).unwrap();
    command.args(["reexec::play", "--exact", "--nocapture", "--test-threads=1"]).env(PLAY, "1");
    for (name, value) in environment {
        value.map(|value| command.env(name, value));
    }
    project.start(command)
}

/// The lines that a component has printed, by its log.
fn lines(project: &Project, name: &str) -> Vec<String> {
    project.read(&format!(".orch/logs/{name}.log")).lines().map(str::to_owned).collect()
}

pub(crate) fn images(project: &Project) -> usize {
    project
        .events()
        .iter()
        .filter(|event| event["event"] == "orch.reexec" && event["error"].is_null())
        .count()
}

/// The process that a component runs as, by the last word of it.
fn pid(project: &Project, name: &str) -> u32 {
    let spawned =
        |event: &serde_json::Value| event["event"] == "component.spawned" && event["component"] == name;
    project.events().into_iter().rev().find(spawned).unwrap()["pid"].as_u64().unwrap() as u32
}

/// Every line of the endless counter is there, once, in order.
fn nothing_is_missing(project: &Project) {
    let lines = lines(project, "api");
    for (at, line) in lines.iter().enumerate() {
        assert_eq!(*line, format!("line {}", at + 1));
    }
}

fn all_ready(project: &Project) {
    for name in ["loop", "clock", "api", "web"] {
        project.wait_told_ready(name, 1);
    }
}

#[test]
fn a_thread_that_hangs_is_ended_by_a_new_image_and_processes_run_on() {
    let project = Project::new(YAML);
    let mut orch = up(&project);
    all_ready(&project);
    let (api, web, keeper) = (pid(&project, "api"), pid(&project, "web"), orch.keeper());
    wait_until("some ticks are counted", || lines(&project, "clock").len() > 20);
    project.write("hang-loop", "");
    project.write("source", "new");
    wait_until("there is a new image", || images(&project) == 1);
    std::fs::remove_file(project.path("hang-loop")).unwrap();
    project.wait_told_ready("loop", 2);
    project.wait_told_ready("clock", 2);
    assert!(orch.runs() && alive(api) && alive(web));
    assert_eq!((pid(&project, "api"), pid(&project, "web"), orch.keeper()), (api, web, keeper));
    assert_eq!(project.starts("web"), 1);

    // The state goes on: what the hung one had saved last, and what the other one handed over.
    let from = wait_for("the loop goes on", || {
        let second = lines(&project, "loop").into_iter().nth(1)?;
        second.strip_prefix("loop from ")?.parse::<u64>().ok()
    });
    assert!(from > 0 && from.is_multiple_of(10), "{from}");
    let restored = |name: &str| {
        let is_it =
            |event: &serde_json::Value| event["event"] == "state.restored" && event["component"] == name;
        project.events().into_iter().find(is_it).map(|event| event["source"].as_str().unwrap().to_owned())
    };
    assert_eq!(
        (restored("loop").as_deref(), restored("clock").as_deref()),
        (Some("snapshot"), Some("restart"))
    );
    let ticks: Vec<u64> = lines(&project, "clock")
        .iter()
        .filter_map(|line| line.split_whitespace().last()?.parse().ok())
        .collect();
    assert!(ticks.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ticks:?}");

    // It is as good an orch as the first.
    project.write("source", "newer");
    project.wait_told_ready("loop", 3);
    orch.stop();
    nothing_is_missing(&project);
}

#[test]
fn again_and_again() {
    let project = Project::new(YAML);
    let mut orch = up(&project);
    all_ready(&project);
    let api = pid(&project, "api");
    project.write("hang-loop", "");
    for image in 1..=10 {
        project.write("source", format!("{image}"));
        wait_until("there is a new image", || images(&project) == image);
        project.wait_told_ready("loop", image as u64 + 1);
    }
    std::fs::remove_file(project.path("hang-loop")).unwrap();
    assert_eq!(pid(&project, "api"), api);
    orch.stop();
    nothing_is_missing(&project);
}

/// How often the load test upgrades; `ORCH_UPGRADES=200` for a long one.
fn upgrades() -> usize {
    std::env::var("ORCH_UPGRADES").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

/// Everything at once: a printer, one that is restarted by saves, one that ends again and again, one that is slow
/// to stop, states, a thread, a backoff under way.
const LOAD: &str = "
components:
  clock: { thread: ticker, with: { every: 5ms }, state: true }
  api:
    process: { shell: 'i=0; while :; do i=$((i+1)); echo line $i; sleep 0.002; done' }
  saved: { process: ./faulty load keep rename, state: state-of-saved.json, watch: [source] }
  slow: { process: ./faulty linger 150, watch: [source], stop: { timeout: 10s } }
  job:
    process: ./faulty exit 1
    restart: { backoff: { initial: 40ms, max: 40ms, jitter: 0 }, limit: { count: 1000000, within: 1h } }
  big: { process: ./faulty, depends_on: { slow: started } }
";

#[test]
fn upgrades_under_load_are_noticed_by_nobody() {
    let project = Project::new(LOAD);
    let mut orch = project.up();
    for name in ["clock", "api", "saved", "slow", "big"] {
        project.wait_told_ready(name, 1);
    }
    let (api, big, keeper) = (pid(&project, "api"), pid(&project, "big"), orch.keeper());
    for upgrade in 1..=upgrades() {
        if upgrade % 3 == 0 {
            project.write("source", format!("{upgrade}"));
        }
        let output = project.run(&["upgrade"]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(images(&project), upgrade);
    }
    assert!(orch.runs());
    assert_eq!((pid(&project, "api"), pid(&project, "big"), orch.keeper()), (api, big, keeper));
    wait_until("the last save is answered", || {
        ["slow", "saved"]
            .iter()
            .all(|name| project.state_of(name).0 == "ready" && project.state_of(name).1 > 1)
    });
    orch.stop();
    nothing_is_missing(&project);
    let ticks: Vec<u64> = lines(&project, "clock")
        .iter()
        .filter_map(|line| line.split_whitespace().last()?.parse().ok())
        .collect();
    assert!(ticks.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ticks:?}");
    // Each end of the job is one automatic restart later, none is forgotten, and none comes early.
    let runs: Vec<u64> = project.trace().of("job", "start").iter().map(|entry| entry.ns).collect();
    assert!(runs.windows(2).all(|pair| pair[1] - pair[0] >= 38_000_000), "a backoff was cut short");
    // A number and one for each run of it: none was lost, and none came twice.
    let counted: Vec<String> =
        project.trace().of("saved", "loaded").into_iter().map(|entry| entry.detail).collect();
    assert!(!counted.is_empty());
    for (at, number) in counted.iter().enumerate() {
        assert_eq!(*number, (at + 1).to_string(), "{counted:?}");
    }
    let shown = lines(&project, "api").len();
    let on_terminal = project.read("stdout").lines().filter(|line| line.contains("| line ")).count();
    assert_eq!(on_terminal, shown, "every line is shown once");
}

#[test]
fn what_is_no_orch_is_refused_and_nothing_happens() {
    let project = Project::new(YAML_OF_PROCESSES);
    let mut orch = project.up();
    project.wait_told_ready("api", 1);
    let api = pid(&project, "api");
    for (program, says) in [
        ("/bin/true", "does not say so"),
        ("/bin/echo", "it says"),
        ("/no/such/program", "No such file"),
        ("./devmode.yaml", "executable"),
    ] {
        let output = project.run(&["upgrade", program]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{program}: {said}");
        assert!(said.contains(says) && said.contains("goes on as it was"), "{program}: {said}");
    }
    assert!(orch.runs() && pid(&project, "api") == api && images(&project) == 0);
    // And it still can.
    assert_eq!(project.run(&["upgrade"]).status.code(), Some(0));
    assert_eq!(pid(&project, "api"), api);
    orch.stop();
    assert_eq!(project.run(&["upgrade"]).status.code(), Some(3), "nobody is there any more");
    nothing_is_missing(&project);
}

const YAML_OF_PROCESSES: &str = "
components:
  api:
    process: { shell: 'i=0; while :; do i=$((i+1)); echo line $i; sleep 0.002; done' }
";

#[test]
fn the_file_may_be_wrong_or_gone_when_the_image_changes() {
    let project = Project::new(YAML_OF_PROCESSES);
    let mut orch = project.up();
    project.wait_told_ready("api", 1);
    let api = pid(&project, "api");
    project.yaml("components: [");
    project.wait_event("the edit is refused", |event| event["event"] == "config.rejected");
    assert_eq!(project.run(&["upgrade"]).status.code(), Some(0));
    std::fs::remove_file(project.path("devmode.yaml")).unwrap();
    assert_eq!(project.run(&["upgrade", "--file", "devmode.yaml"]).status.code(), Some(0));
    assert_eq!((pid(&project, "api"), images(&project)), (api, 2));
    // An edit is heard by the new image, too.
    project.yaml("components:\n  other: { process: ./faulty }");
    project.wait_ready("other", 1);
    wait_until("what was removed is stopped", || !alive(api));
    orch.stop();
}

#[test]
fn a_signal_during_the_change_is_not_lost() {
    let project = Project::new(YAML_OF_PROCESSES);
    for moment in 0..15 {
        let mut orch = project.up();
        project.wait_told_ready("api", moment + 1);
        let mut upgrade = project.command(&["upgrade"]).stderr(std::process::Stdio::null()).spawn().unwrap();
        // At other moments each time: before, during and after.
        std::thread::sleep(Duration::from_millis(5 * moment));
        orch.signal(Signal::TERM);
        assert_eq!(orch.exit_status().code(), Some(0), "moment {moment}");
        upgrade.wait().unwrap();
        wait_until("its keeper ends", || project.orchs().is_empty());
    }
}

#[test]
fn a_killed_image_takes_all_along() {
    let project = Project::new(YAML_OF_PROCESSES);
    let mut orch = project.up();
    project.wait_told_ready("api", 1);
    let api = pid(&project, "api");
    assert_eq!(project.run(&["upgrade"]).status.code(), Some(0));
    orch.kill();
    wait_until("the guardian has done its work", || !alive(api));
    wait_until("it ends, too", || project.orchs().is_empty());
    let mut next = project.up();
    project.wait_told_ready("api", 2);
    next.stop();
}

#[test]
fn a_program_that_did_not_agree_is_not_replaced_and_the_thread_is_stuck() {
    let project = Project::new(YAML);
    project.write("no-reexec", "");
    let mut orch = up(&project);
    all_ready(&project);
    project.write("hang-loop", "");
    project.write("source", "new");
    project.wait_state("loop", "stuck");
    assert_eq!(images(&project), 0);
    orch.signal(Signal::TERM);
    assert_eq!(orch.exit_status().code(), Some(1));
}

#[test]
fn a_hung_thread_does_not_spoil_the_end() {
    let project = Project::new(YAML);
    let mut orch = up(&project);
    all_ready(&project);
    project.write("hang-loop", "");
    orch.stop();
    assert_eq!(images(&project), 1);
    nothing_is_missing(&project);
}
