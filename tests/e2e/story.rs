//! What is told of what happened: `orch events`, `orch why`, `orch timeline`, while something runs and after it.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::process::Output;

use crate::harness::{Orch, Project, wait_until};

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn told(project: &Project, args: &[&str]) -> String {
    let output = project.run(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    text(&output)
}

fn refused(project: &Project, args: &[&str], code: i32) -> String {
    let output = project.run(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Follows the events into a file.
fn follow<'a>(project: &'a Project, args: &[&str], file: &str) -> Orch<'a> {
    let mut command = project.command(&[&["events", "-f"], args].concat());
    command.stdout(File::create(project.path(file)).unwrap());
    command.stderr(File::create(project.path("follow.err")).unwrap());
    Orch::of(project, command.spawn().unwrap())
}

#[test]
fn a_save_is_told_from_the_file_to_readiness_and_still_is_when_all_has_ended() {
    let project = Project::new("components:\n  a: { process: ./faulty, watch: [source] }");
    project.write("source", "0");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    let first = told(&project, &["why", "a"]);
    assert!(first.starts_with("a: ready: it runs\n"), "{first}");
    assert!(first.contains("  orch up (") && first.contains(") → start → ready at once\n"), "{first}");
    project.write("source", "1");
    project.wait_ready("a", 2);
    let second = told(&project, &["why", "a"]);
    let chain =
        second.lines().find(|line| line.contains("source changed")).unwrap_or_else(|| panic!("{second}"));
    let (saved, rest) = chain.split_once(" → ").unwrap();
    assert!(saved.starts_with("  source changed (saved ") && saved.ends_with(')'), "{chain}");
    assert!(rest.starts_with("stop ") && rest.ends_with(" → start → ready at once"), "{chain}");
    assert!(second.contains(", in run 2\n"), "{second}");
    orch.stop();
    let after = told(&project, &["why", "a"]);
    assert!(after.starts_with("a: the project does not run now; orch ended at "), "{after}");
    assert!(after.contains("it was last stopped"), "{after}");
    assert!(after.contains(&format!("  last start:{}", &chain[1..])), "{after}");
}

#[test]
fn what_a_component_waits_for_and_what_blocks_it_is_told() {
    let project = Project::new(
        "components:\n  db: { process: ./faulty exit 7, ready: { file: never }, restart: never }\n  \
         api: { process: ./faulty, depends_on: [db] }\n  slow: { process: ./faulty, ready: { file: go } }\n  \
         web: { process: ./faulty, depends_on: [slow] }",
    );
    let mut orch = project.up();
    project.wait_state("api", "blocked");
    project.wait_state("slow", "starting");
    let api = told(&project, &["why", "api"]);
    assert!(api.contains("blocked") && api.contains("db has failed"), "{api}");
    assert!(api.contains("db: ended by itself with exit code 7 ("), "{api}");
    let apo = refused(&project, &["events", "-f", "apo"], 2);
    assert!(apo.starts_with("orch: there is no component `apo`") && apo.contains("`api`?"), "{apo}");
    assert!(told(&project, &["events", "-n", "1", "api"]).contains("blocked: db has failed"));
    let db = told(&project, &["why", "db"]);
    assert!(db.contains("1 of its 1 run since orch came up at ") && db.contains("exit code 7"), "{db}");
    let web = told(&project, &["why", "web"]);
    assert!(web.starts_with("web: waiting for slow to be ready: probe file "), "{web}");
    project.write("go", "");
    project.wait_ready("web", 1);
    orch.signal(rustix::process::Signal::TERM);
    orch.expect_exit(1);
}

#[test]
fn the_critical_path_of_a_start_up_of_three_steps_is_found() {
    let step = |name: &str, needs: &str| {
        format!(
            "  {name}: {{ process: ./faulty wait 150 touch {name}.up, ready: {{ file: {name}.up }}{needs} }}\n"
        )
    };
    let project = Project::new(&format!(
        "components:\n{}{}{}  beside: {{ process: ./faulty }}",
        step("one", ""),
        step("two", ", depends_on: [one]"),
        step("three", ", depends_on: [two, beside]")
    ));
    let mut orch = project.up();
    project.wait_ready("three", 1);
    let running = told(&project, &["timeline"]);
    let path = running.lines().find(|line| line.starts_with("critical path of start-up: ")).unwrap();
    let names: Vec<&str> = path["critical path of start-up: ".len()..]
        .split(" → ")
        .map(|leg| leg.split(' ').next().unwrap())
        .collect();
    assert_eq!(names, ["one", "two", "three"], "{running}");
    assert!(running.contains("▸ three ") && running.contains("  beside "), "{running}");
    assert!(running.contains(" and runs\n"), "{running}");
    assert!(
        running.lines().all(|line| line.chars().count() <= 80 || line.starts_with("critical")),
        "{running}"
    );
    orch.stop();
    let after = told(&project, &["timeline"]);
    assert!(after.contains(path) && after.contains(" and ended at "), "{after}");
    let svg = told(&project, &["timeline", "--svg"]);
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.contains("three"), "{svg}");
    assert_eq!(svg, told(&project, &["timeline", "--svg"]), "the same record gives the same picture");
}

#[test]
fn a_follower_sees_a_restart_goes_on_over_an_upgrade_and_ends_with_orch() {
    let project = Project::new("components:\n  a: { process: ./faulty, watch: [source] }");
    project.write("source", "0");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    let mut json = follow(&project, &["--json"], "json");
    wait_until("what was before is shown", || project.read("json").contains("component.ready"));
    let mut human = follow(&project, &["-n", "1", "a"], "human");
    wait_until("in words, too", || project.read("human").ends_with("ready: it runs\n"));
    project.write("source", "1");
    project.wait_ready("a", 2);
    wait_until("the restart is seen", || project.read("json").contains("\"incarnation\":2"));
    wait_until("in words, too", || project.read("human").contains("source changed"));
    let upgraded = project.run(&["upgrade"]);
    assert!(upgraded.status.success(), "{upgraded:?}");
    project.write("source", "2");
    project.wait_ready("a", 3);
    wait_until("the restart after it is seen", || project.read("json").contains("\"incarnation\":3"));
    orch.stop();
    assert!(json.exit_status().success() && human.exit_status().success());
    assert_eq!(
        project.read("json"),
        project.read(".orch/events.ndjson"),
        "nothing is missing, nothing is twice"
    );
    assert_eq!(told(&project, &["events", "--json"]), project.read(".orch/events.ndjson"));
    let last = told(&project, &["events", "-n", "2", "a"]);
    assert!(last.lines().count() == 2 && last.ends_with("stopped: the project is shut down\n"), "{last}");
}

#[test]
fn where_nothing_is_recorded_that_is_said() {
    let project = Project::new("components:\n  server: { process: ./faulty }");
    for args in [&["events"][..], &["timeline"]] {
        assert!(refused(&project, args, 1).contains("nothing is recorded"), "{args:?}");
    }
    assert!(refused(&project, &["why", "server"], 1).contains("nothing is recorded of server"));
    assert!(refused(&project, &["why", "sever"], 2).contains("did you mean `server`?"));
    assert!(refused(&project, &["why", "a/b"], 2).contains("a/b"));
    assert!(refused(&project, &["events", "-f"], 3).contains("no orch runs"));
    let mut orch = project.up();
    project.wait_ready("server", 1);
    assert!(refused(&project, &["why", "sever"], 2).contains("did you mean `server`?"));
    orch.stop();
    assert!(refused(&project, &["why", "sever"], 2).contains("did you mean `server`?"));
    assert!(refused(&project, &["events", "-f"], 3).contains("no orch runs"));
}

/// A year's work: the file is nearly full, and ends within a line.
#[test]
fn a_full_file_is_rotated_under_all_who_read() {
    let project = Project::new("components:\n  a: { process: ./faulty, watch: [source] }");
    project.write("source", "0");
    project.write(".orch/events.ndjson", "");
    let mut old = OpenOptions::new().append(true).open(project.path(".orch/events.ndjson")).unwrap();
    let pad = "x".repeat(1000);
    let mut lines = String::new();
    let mut seq = 0;
    while lines.len() < (16 << 20) - 3000 {
        seq += 1;
        let time = "2026-01-01T00:00:00.000000Z";
        lines += &format!(
            "{{\"seq\":{seq},\"time\":\"{time}\",\"mono_ns\":1,\"event\":\"component.changed\",\"component\":\"a\",\
             \"incarnation\":null,\"cause\":null,\"paths\":[\"{pad}\"]}}\n"
        );
    }
    old.write_all(lines.as_bytes()).unwrap();
    old.write_all(b"{\"seq\":9999999,\"event\":\"comp").unwrap();
    let mut orch = project.up();
    project.wait_ready("a", 1);
    let mut follower = follow(&project, &["--json", "-n", "1"], "json");
    wait_until("it follows", || !project.read("json").is_empty());
    for run in 2..=4 {
        project.write("source", run.to_string());
        project.wait_ready("a", run);
    }
    assert!(project.path(".orch/events.ndjson.1").exists());
    assert!(project.read(".orch/events.ndjson").len() < 1 << 20);
    let chain = told(&project, &["why", "a"]);
    assert!(chain.contains("source changed (saved "), "{chain}");
    assert!(told(&project, &["timeline"]).contains("critical path of start-up: a "));
    orch.signal(rustix::process::Signal::TERM);
    assert!(orch.exit_status().success());
    assert!(follower.exit_status().success());
    let numbers = |text: &str| {
        let number =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap();
        text.lines().map(number).collect::<Vec<u64>>()
    };
    let followed = numbers(&project.read("json"));
    assert!(followed.windows(2).all(|two| two[0] + 1 == two[1]), "{followed:?}");
    assert!(followed.len() > 20, "{followed:?}");
    let all = numbers(&told(&project, &["events", "--json"]));
    assert_eq!(
        all,
        (1..=*followed.last().unwrap()).collect::<Vec<_>>(),
        "numbers go on, and nothing is lost"
    );
}
