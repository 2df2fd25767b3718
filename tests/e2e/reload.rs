//! Live edits of the YAML and of env files: what they change at once, and what they leave alone.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{PATIENCE, Project, address, stays, wait_until, yaml_text};

fn count(project: &Project, event: &str) -> usize {
    project.events().iter().filter(|it| it["event"] == event).count()
}

/// Edits the YAML, and waits until that is done.
fn edit(project: &Project, yaml: &str) -> Value {
    let before = count(project, "config.reloaded");
    project.yaml(yaml);
    wait_until("the edit is taken", || count(project, "config.reloaded") > before);
    let of = |event: &Value| event["event"] == "config.reloaded";
    project.events().into_iter().rfind(of).unwrap()
}

/// The steps of an edit: component and action.
fn steps(reloaded: &Value) -> Vec<(String, String)> {
    let word = |step: &Value, key: &str| step[key].as_str().unwrap().to_owned();
    let steps = reloaded["steps"].as_array().or_else(|| reloaded["steps"]["steps"].as_array()).unwrap();
    steps.iter().map(|step| (word(step, "component"), word(step, "action"))).collect()
}

fn step(component: &str, action: &str) -> (String, String) {
    (component.to_owned(), action.to_owned())
}

#[test]
fn an_added_watch_path_touches_no_process_and_is_watched() {
    let project =
        Project::new("components:\n  a: { process: ./faulty }\n  b: { process: ./faulty, watch: [one] }");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    project.wait_ready("b", 1);
    let reloaded = edit(
        &project,
        "components:\n  a: { process: ./faulty, watch: [two] }\n  b: { process: ./faulty, watch: [one, two] }",
    );
    assert_eq!(steps(&reloaded), [step("a", "update"), step("b", "update")]);
    assert_eq!((project.starts("a"), project.starts("b")), (1, 1));
    project.write("two", "1");
    project.wait_ready("a", 2);
    project.wait_ready("b", 2);
    // What was watched before is so still; what is no more, is not.
    project.write("one", "1");
    project.wait_ready("b", 3);
    assert_eq!(project.starts("a"), 2);
    edit(&project, "components:\n  a: { process: ./faulty }\n  b: { process: ./faulty, watch: [one] }");
    project.write("two", "2");
    stays("`two` is watched no more", Duration::from_millis(300), || {
        project.starts("a") == 2 && project.starts("b") == 3
    });
    orch.stop();
}

#[test]
fn a_changed_process_restarts_that_component_alone() {
    let project = Project::new(
        "
components:
  base: { process: ./faulty }
  a: { process: ./faulty say one, depends_on: [base] }
  over: { process: ./faulty, depends_on: [a] }
",
    );
    let mut orch = project.up();
    project.wait_ready("over", 1);
    let reloaded = edit(
        &project,
        "
components:
  base: { process: ./faulty, description: 'a comment changes nothing' } # nor does this one
  a: { process: ./faulty say two, depends_on: [base] }
  over: { process: ./faulty, depends_on: [a] }
",
    );
    assert!(steps(&reloaded).contains(&step("a", "restart")), "{reloaded}");
    project.wait_ready("a", 2);
    assert_eq!((project.starts("base"), project.starts("over")), (1, 1));
    assert!(!project.trace().has("base", "got") && !project.trace().has("over", "got"));
    wait_until("both are logged", || project.read(".orch/logs/a.log") == "one\ntwo\n");
    orch.stop();
}

#[test]
fn added_components_start_and_removed_ones_stop_in_order() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty }
  b: { process: ./faulty, depends_on: [a] }
  c: { process: ./faulty, depends_on: [b] }
",
    );
    let mut orch = project.up();
    project.wait_ready("c", 1);
    edit(
        &project,
        "
components:
  a: { process: ./faulty }
  x: { process: ./faulty wait 50 say up, ready: { log: up, timeout: 1m }, depends_on: [a] }
  y: { process: ./faulty, depends_on: [x] }
",
    );
    project.wait_ready("y", 1);
    wait_until("the removed ones are gone", || project.units().len() == 3);
    let trace = project.trace();
    assert!(trace.at("c", "exit") < trace.at("b", "got"), "dependents go first");
    assert!(trace.at("x", "start") < trace.at("y", "start"));
    assert_eq!(trace.of("a", "start").len(), 1);
    assert!(!trace.has("a", "got"));
    // And back again: the numbers of the runs go on.
    edit(
        &project,
        "
components:
  a: { process: ./faulty }
  b: { process: ./faulty, depends_on: [a] }
",
    );
    project.wait_ready("b", 2);
    wait_until("the removed ones are gone", || project.units().len() == 2);
    orch.stop();
}

#[test]
fn a_bad_edit_changes_nothing_is_shown_and_recorded_and_the_mended_one_applies() {
    let good = "components:\n  a: { process: ./faulty }\n";
    let project = Project::new(good);
    let mut orch = project.up();
    project.wait_ready("a", 1);
    let bad = [
        "components:\n  a: { process: ./faulty deaf, depnds_on: [b] }\n",
        "components:\n  a: { process: ./faulty deaf, depends_on: [b] }\n",
        "components:\n  a: { process: ./not-there }\n",
        "components:\n  a: { process: [./faulty\n",
        "",
    ];
    for (number, yaml) in bad.into_iter().enumerate() {
        project.save("devmode.yaml", if yaml.is_empty() { String::new() } else { yaml_text(yaml) });
        wait_until(&format!("bad edit {number} is refused"), || count(&project, "config.rejected") > number);
    }
    std::fs::remove_file(project.path("devmode.yaml")).unwrap();
    stays("nothing happens", Duration::from_millis(300), || orch.runs() && project.starts("a") == 1);
    assert!(!project.trace().has("a", "got"));
    assert_eq!(count(&project, "config.reloaded"), 0);
    let rejected = project.wait_event("the first refusal", |event| event["event"] == "config.rejected");
    let error = &rejected["errors"][0];
    assert!(error["code"].as_str().unwrap().starts_with('E'), "{error}");
    assert_eq!((&error["line"], &error["path"]), (&3.into(), &"components.a.depnds_on".into()));
    assert!(error["help"].as_str().unwrap().contains("depends_on"), "{error}");
    let shown = project.read("stderr");
    assert!(shown.contains("did you mean") && shown.contains("depnds_on"), "{shown}");
    project.yaml("components:\n  a: { process: ./faulty say mended }\n");
    project.wait_ready("a", 2);
    wait_until("it says so", || project.read(".orch/logs/a.log") == "mended\n");
    orch.stop();
}

#[test]
fn a_half_written_file_stops_nothing() {
    let yaml =
        "components:\n  a: { process: ./faulty }\n  b: { process: ./faulty }\n  c: { process: ./faulty }\n";
    let project = Project::new(yaml);
    let mut orch = project.up();
    ["a", "b", "c"].iter().for_each(|name| project.wait_ready(name, 1));
    // The file as it is saved by what truncates first: open, and without its end, though it would be valid.
    let whole = yaml_text(&format!("{yaml}  d: {{ process: ./faulty }}\n"));
    let cut = whole.find("  b:").unwrap();
    let mut file = std::fs::File::create(project.path("devmode.yaml")).unwrap();
    std::io::Write::write_all(&mut file, &whole.as_bytes()[..cut]).unwrap();
    std::io::Write::write_all(&mut file, &whole.as_bytes()[cut..]).unwrap();
    drop(file);
    project.wait_ready("d", 1);
    assert!(
        ["a", "b", "c"].iter().all(|name| project.starts(name) == 1 && !project.trace().has(name, "got"))
    );
    orch.stop();
}

#[test]
fn an_edit_of_an_env_file_restarts_those_that_see_it() {
    let project = Project::new(
        "
env_file: [{ path: all.env, required: false }]
components:
  a: { process: './faulty note ${COLOR:-none}', env_file: [a.env] }
  b: { process: ./faulty }
",
    );
    project.write("a.env", "ONE=1\n");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    project.wait_ready("b", 1);
    project.write("a.env", "ONE=2\n");
    project.wait_ready("a", 2);
    project.save("a.env", "ONE=2\n# a comment\n");
    project.write("all.env", "COLOR=red\n");
    project.wait_ready("a", 3);
    project.wait_ready("b", 2);
    wait_until("it sees it", || project.trace().of("a", "note").last().unwrap().detail == "red");
    orch.stop();
}

#[test]
fn sighup_without_a_terminal_is_a_reload() {
    let project = Project::new("components:\n  a: { process: ./faulty }");
    let mut orch = project.up_with(&["--no-watch"]);
    project.wait_ready("a", 1);
    project.yaml("components:\n  a: { process: ./faulty say two }\n  b: { process: ./faulty }");
    orch.signal(Signal::HUP);
    project.wait_ready("a", 2);
    project.wait_ready("b", 1);
    project.yaml("components: 7");
    orch.signal(Signal::HUP);
    wait_until("it is refused", || count(&project, "config.rejected") == 1);
    assert!(orch.runs());
    orch.stop();
}

#[test]
fn keys_that_are_updates_take_effect_without_a_restart() {
    let project =
        Project::new("components:\n  a: { process: ./faulty deaf say one, stop: { timeout: 10m } }");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    let reloaded = edit(
        &project,
        "components:\n  a: { process: ./faulty deaf say one, stop: { timeout: 200ms }, restart: never, logs: { max_size: 1MiB } }",
    );
    assert_eq!(steps(&reloaded), [step("a", "update")]);
    assert_eq!(project.starts("a"), 1);
    orch.stop();
}

#[test]
fn a_new_dependency_does_not_restart_what_runs() {
    let project = Project::new("components:\n  a: { process: ./faulty }");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    edit(&project, "components:\n  a: { process: ./faulty, depends_on: [b] }\n  b: { process: ./faulty }");
    project.wait_ready("b", 1);
    assert_eq!(project.starts("a"), 1);
    orch.stop();
    // But it counts: at the stop `a` goes before `b`.
    let trace = project.trace();
    assert!(trace.at("a", "exit") < trace.at("b", "got"));
}

#[test]
fn edits_one_after_the_other_end_with_the_last_one() {
    let project = Project::new("components:\n  a: { process: ./faulty note 0 }");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    for number in 1..=20 {
        project.yaml(&format!("components:\n  a: {{ process: ./faulty note {number} }}"));
    }
    wait_until("the last one runs", || project.trace().of("a", "note").last().unwrap().detail == "20");
    orch.stop();
}

/// The new one has the old one's state file and address, and must not meet it.
#[test]
fn a_component_by_another_name_starts_when_the_old_one_is_gone() {
    let at = address();
    let of = |name: &str| {
        format!(
            "components:\n  {name}: {{ process: ./faulty load listen {at} keep place hold go, ready: {{ tcp: '{at}' }}, \
             state: shared }}"
        )
    };
    let project = Project::new(&of("old"));
    let mut orch = project.up();
    project.wait_ready("old", 1);
    edit(&project, &of("new"));
    project.wait_trace("old", "got", 1);
    stays("the new one waits", Duration::from_millis(200), || project.state_of("new").0 == "waiting");
    project.write("go", "");
    project.wait_ready("new", 1);
    let trace = project.trace();
    assert!(trace.has("new", "loaded"), "what the old one wrote at its end: {trace:?}");
    assert!(trace.at("old", "got") < trace.at("new", "start"));
    let last = |name: &str| project.events().iter().rposition(|it| it["component"] == name).unwrap();
    let first = project
        .events()
        .iter()
        .position(|it| it["event"] == "component.starting" && it["component"] == "new");
    assert!(last("old") < first.unwrap(), "the new one starts after the last of the old one");
    orch.stop();
}

/// Whoever has the file read again all the time, and does not wait for what comes of it, keeps no save from being
/// applied, and nobody else from an answer.
#[test]
fn requests_without_end_keep_no_edit_waiting() {
    let many: String =
        (0..3000).map(|n| format!("  c{n}: {{ process: ./faulty, autostart: false }}\n")).collect();
    let yaml = format!("components:\n  a: {{ process: ./faulty }}\n{many}");
    let project = Project::new(&yaml);
    let mut orch = project.up();
    project.wait_ready("a", 1);
    let client = orch::client::Client::new(&project.path(".orch"));
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let hasty = client.within(Duration::from_millis(5));
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    drop(hasty.post::<serde_json::Value>("/v1/reload", &serde_json::json!({})));
                }
            });
        }
        let ended = End(&over);
        project.yaml(&format!("{yaml}  late: {{ process: ./faulty }}\n"));
        project.wait_ready("late", 1);
        let answer = client.within(PATIENCE).post::<serde_json::Value>("/v1/reload", &serde_json::json!({}));
        assert!(answer.is_ok(), "{answer:?}");
        drop(ended);
    });
    orch.stop();
}

/// Ends the others, also when the test fails.
struct End<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
