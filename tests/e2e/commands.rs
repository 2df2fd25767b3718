//! The commands on a running project: what they do, what they say, where, and how they end.

mod along;
mod side_by_side;
mod terminal;

use std::process::Output;
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Orch, PATIENCE, Project, wait_until, yaml_text};

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Exit code, stdout, stderr.
fn ran(project: &Project, args: &[&str]) -> (Option<i32>, String, String) {
    let output = project.run(args);
    (code(&output), text(&output.stdout), text(&output.stderr))
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The components of `orch ps --json`: name and state.
fn states(project: &Project) -> Vec<(String, String)> {
    let (code, out, err) = ran(project, &["ps", "--json"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let components = json_of(&out)["components"].as_array().unwrap().clone();
    let word = |component: &Value, key: &str| component[key].as_str().unwrap().to_owned();
    components.iter().map(|component| (word(component, "name"), word(component, "state"))).collect()
}

fn state(name: &str, state: &str) -> (String, String) {
    (name.to_owned(), state.to_owned())
}

/// `api` needs `db`; `lazy` needs `late`, and neither starts by itself.
const SHOP: &str = "
name: shop
components:
  db: { process: ./faulty }
  api: { process: ./faulty, depends_on: [db] }
  once: { process: [./faulty, exit, '0'] }
  tick: { thread: ticker, with: { every: 1h } }
  late: { process: ./faulty, autostart: false }
  lazy: { process: ./faulty, autostart: false, depends_on: [late] }
  bad: { process: [./faulty, exit, '3'], ready: { file: never }, autostart: false, restart: never }
";

fn shop(project: &Project) -> Orch<'_> {
    let orch = project.up();
    project.wait_ready("api", 1);
    project.wait_told_ready("tick", 1);
    project.wait_state("once", "completed");
    orch
}

#[test]
fn where_nothing_runs_every_command_says_so_and_ends_with_3() {
    let project = Project::new(SHOP);
    for args in [
        &["ps"][..],
        &["ps", "--json"],
        &["ps", "--watch"],
        &["start", "api"],
        &["stop", "api"],
        &["restart", "api", "db"],
        &["wait"],
        &["wait", "api", "--for", "stopped", "--timeout", "1s"],
        &["plan"],
        &["reload"],
        &["down"],
        &["down", "--force"],
    ] {
        let (code, out, err) = ran(&project, args);
        assert_eq!((code, out.as_str()), (Some(3), ""), "{args:?}: {err}");
        assert_eq!(err, "orch: no orch runs this project; start one with `orch up`\n", "{args:?}");
    }
    // What else the user runs is told in any case.
    let (code, out, err) = ran(&project, &["ps", "--all"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(!out.is_empty() && !out.contains(project.dir.to_str().unwrap()), "{out}");
    assert!(!project.path(".orch").exists(), "asking makes nothing");
}

#[test]
fn ps_shows_what_runs_to_people_and_in_the_shape_of_the_contract() {
    let project = Project::new(SHOP);
    let mut orch = shop(&project);
    let (code, out, err) = ran(&project, &["ps", "--json"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let status = json_of(&out);
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&status), ["project", "pid", "config_generation", "components"]);
    assert_eq!((&status["project"], &status["pid"]), (&json!("shop"), &json!(orch.pid())));
    for component in status["components"].as_array().unwrap() {
        let expected = [
            "name",
            "kind",
            "state",
            "pid",
            "incarnation",
            "restarts",
            "exit",
            "since",
            "status",
            "restored",
            "reason",
            "sockets",
        ];
        assert_eq!(keys(component), expected);
    }
    let once = status["components"].as_array().unwrap().iter().find(|one| one["name"] == "once").unwrap();
    assert_eq!((&once["exit"], &once["pid"]), (&json!({"code": 0}), &json!(null)));

    let (code, out, err) = ran(&project, &["ps"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(!out.contains('\u{1b}'), "{out:?}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 2 + 7, "{out}");
    let head = format!("shop · pid {} · up ", orch.pid());
    assert!(lines[0].starts_with(&head) && lines[0].contains("3 ready, 1 completed, 3 stopped"), "{out}");
    assert!(lines[1].starts_with("NAME  STATE"), "{out}");
    let api = lines.iter().find(|line| line.starts_with("api ")).unwrap();
    let pid = project.trace().of("api", "start")[0].pid.to_string();
    assert!(api.contains("● ready") && api.split_whitespace().any(|word| word == pid), "{out}");
    orch.stop();
}

#[test]
fn start_brings_what_it_needs_and_says_so() {
    let project = Project::new(SHOP);
    let mut orch = shop(&project);
    let (code, out, err) = ran(&project, &["start", "lazy", "lazy", "api"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3, "each once: {out}");
    for line in ["late: started, ready", "lazy: started, ready", "api: ready already"] {
        assert!(lines.contains(&line), "{line} in: {out}");
    }
    for name in ["late", "lazy", "api"] {
        project.wait_trace(name, "start", 1);
        assert_eq!(project.starts(name), 1);
    }
    // Answered when it is done, not before.
    assert!(states(&project).contains(&state("lazy", "ready")));
    let (code, out, err) = ran(&project, &["start", "bad"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.starts_with("orch: bad did not get ready: ") && err.contains('3'), "{err}");
    let (code, out, err) = ran(&project, &["start", "lasy"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("lasy") && err.contains("did you mean `lazy`?"), "{err}");
    assert_eq!(ran(&project, &["start"]).0, Some(2));
    assert_eq!(ran(&project, &["start", "no/name"]).0, Some(2));
    orch.signal(rustix::process::Signal::TERM);
    orch.expect_exit(1);
}

#[test]
fn stop_takes_dependents_first_and_says_so() {
    let project = Project::new(SHOP);
    let mut orch = shop(&project);
    let (code, out, err) = ran(&project, &["stop", "db"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out, "api: stopped\ndb: stopped\n");
    assert!(project.trace().at("api", "exit") < project.trace().at("db", "got"), "{:#?}", project.trace());
    assert_eq!(project.units(), [0_u32; 0], "answered when it is done");
    let (code, out, _) = ran(&project, &["stop", "db"]);
    assert_eq!((code, out.as_str()), (Some(0), "db: stopped already\n"));
    // Those that were taken along do not come back by themselves.
    let (code, out, _) = ran(&project, &["start", "db"]);
    assert_eq!((code, out.as_str()), (Some(0), "db: started, ready\n"));
    assert!(states(&project).contains(&state("api", "stopped")));
    orch.stop();
}

#[test]
fn restart_is_done_when_the_new_run_is_ready() {
    let project = Project::new(SHOP);
    let mut orch = shop(&project);
    let (code, out, err) = ran(&project, &["restart", "db", "tick"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out, "db: restarted, ready\ntick: restarted, ready\n");
    assert_eq!((project.starts("db"), project.starts("api")), (2, 1), "the named alone");
    let (code, _, err) = ran(&project, &["restart", "bad"]);
    assert_eq!(code, Some(1));
    assert!(err.starts_with("orch: bad did not get ready: "), "{err}");
    orch.signal(rustix::process::Signal::TERM);
    orch.expect_exit(1);
}

#[test]
fn wait_ends_in_each_of_its_ways() {
    let project = Project::new(
        "
components:
  good: { process: [./faulty, wait, '300'], ready: { file: up } }
  slow: { process: [./faulty, await, go, touch, up], ready: { file: up, timeout: 60s } }
  bad: { process: [./faulty, exit, '3'], ready: { file: never }, restart: never }
  held: { process: ./faulty, depends_on: [bad] }
  lazy: { process: ./faulty, autostart: false }
",
    );
    let mut orch = project.up();
    project.wait_state("bad", "failed");
    let (code, out, err) = ran(&project, &["wait"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("orch: bad is failed, and will not be ready: "), "{err}");
    assert!(err.contains("orch: held is blocked, and will not be ready: "), "{err}");
    let begun = Instant::now();
    let (code, out, err) = ran(&project, &["wait", "slow", "--timeout", "200ms"]);
    assert_eq!((code, out.as_str()), (Some(4), ""));
    assert!(err.starts_with("orch: not within 0.2 s: slow: starting "), "{err}");
    assert!(begun.elapsed() < PATIENCE / 3);
    // Met while it is waited for.
    let mut waiting = project.command(&["wait", "slow", "good"]).spawn().unwrap();
    project.write("go", "");
    assert_eq!(waiting.wait().unwrap().code(), Some(0));
    assert!(states(&project).contains(&state("slow", "ready")));
    for args in [
        &["wait", "lazy", "--for", "stopped"][..],
        &["wait", "bad", "--for", "failed", "--timeout", "20s"],
        &["wait", "slow", "--for", "ready"],
    ] {
        assert_eq!(ran(&project, args), (Some(0), String::new(), String::new()), "{args:?}");
    }
    for args in [
        &["wait", "nobody"][..],
        &["wait", "slow", "--for", "happy"],
        &["wait", "--timeout", "soon"],
        &["wait", "--timeout", "5"],
    ] {
        let (code, out, err) = ran(&project, args);
        assert_eq!((code, out.as_str(), err.is_empty()), (Some(2), "", false), "{args:?}");
    }
    orch.signal(rustix::process::Signal::TERM);
    orch.expect_exit(1);
}

#[test]
fn down_returns_when_everything_is_gone() {
    let project = Project::new(
        "
components:
  db: { process: [./faulty, linger, '300'] }
  api: { process: ./faulty, depends_on: [db] }
",
    );
    for _ in 0..2 {
        let mut orch = project.up();
        let runs = u64::try_from(project.starts("api")).unwrap();
        wait_until("api runs", || states_or_none(&project).contains(&state("api", "ready")));
        let (code, out, err) = ran(&project, &["down"]);
        assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
        assert!(err.contains("is down, and nothing of it is left"), "{err}");
        // All of it: processes, orch itself, and its lock.
        assert_eq!((project.units(), project.orchs()), (vec![], vec![]), "{runs}");
        assert_eq!(orch.exit_status().code(), Some(0));
    }
    let trace = project.trace();
    let last = |name, event| trace.of(name, event).last().unwrap().ns;
    assert!(last("api", "exit") < last("db", "got"), "in order: {trace:#?}");
}

fn states_or_none(project: &Project) -> Vec<(String, String)> {
    if code(&project.run(&["ps"])) == Some(0) { states(project) } else { Vec::new() }
}

#[test]
fn down_by_force_does_not_wait_for_the_deaf() {
    let project = Project::new(
        "components:\n  a: { process: ./faulty deaf, stop: { timeout: 10m } }\nshutdown_timeout: 10m",
    );
    let mut orch = project.up();
    project.wait_ready("a", 1);
    let begun = Instant::now();
    let (code, _, err) = ran(&project, &["down", "--force"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!((project.units(), project.orchs()), (vec![], vec![]));
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(orch.exit_status().code(), Some(1));
}

#[test]
fn a_plan_before_saving_says_what_saving_does() {
    let project = Project::new(SHOP);
    let mut orch = project.up_with(&["--no-watch"]);
    project.wait_ready("api", 1);
    assert_eq!(ran(&project, &["plan"]), (Some(0), "nothing changes\n".to_owned(), String::new()));
    let edited = SHOP
        .replace("api: { process: ./faulty,", "api: { process: ./faulty, env: { A: '1' },")
        .replace("  once:", "  new: { process: ./faulty }\n  once:")
        .replace("  tick: { thread: ticker, with: { every: 1h } }\n", "");
    project.write("other.yaml", yaml_text(&edited));
    let (code, planned, err) = ran(&project, &["plan", "--against", "other.yaml"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let line =
        |start: &str, end: &str| planned.lines().any(|line| line.starts_with(start) && line.ends_with(end));
    assert!(line("stop     tick", "it is no longer in the file"), "{planned}");
    assert!(line("restart  api   env.A", "its environment changed"), "{planned}");
    assert!(line("start    new", "it is new in the file"), "{planned}");
    let (code, out, _) = ran(&project, &["plan", "--against", "other.yaml", "--json"]);
    let report = json_of(&out);
    assert_eq!(
        (code, report.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>()),
        (Some(0), vec!["valid", "errors", "steps"])
    );
    let restart = report["steps"].as_array().unwrap().iter().find(|step| step["component"] == "api").unwrap();
    assert_eq!(
        *restart,
        json!({"component": "api", "action": "restart", "changed": ["env.A"], "reason": "its environment changed"})
    );
    assert_eq!((project.starts("api"), project.starts("new")), (1, 0), "a plan does nothing");

    // What is planned is done, in the same words.
    project.yaml(&edited);
    assert_eq!(ran(&project, &["plan"]).1, planned);
    assert_eq!(ran(&project, &["reload"]), (Some(0), planned, String::new()));
    project.wait_ready("api", 2);
    project.wait_ready("new", 1);
    assert_eq!(ran(&project, &["plan"]).1, "nothing changes\n");
    orch.stop();
}

#[test]
fn an_invalid_file_is_told_as_validate_tells_it_and_changes_nothing() {
    let project = Project::new(SHOP);
    let mut orch = project.up_with(&["--no-watch"]);
    project.wait_ready("api", 1);
    let broken = SHOP.replace("depends_on: [db]", "depnds_on: [db]");
    project.write("other.yaml", yaml_text(&broken));
    let (code, out, err) = ran(&project, &["plan", "--against", "other.yaml"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    for part in ["other.yaml:6:", "depnds_on: [db]", "^^^", "did you mean `depends_on`?"] {
        assert!(err.contains(part), "{part} in:\n{err}");
    }
    let (code, out, _) = ran(&project, &["plan", "--against", "other.yaml", "--json"]);
    let report = json_of(&out);
    assert_eq!((code, &report["valid"], &report["steps"]), (Some(2), &json!(false), &json!([])));
    assert_eq!(report["errors"][0]["path"], "components.api.depnds_on");
    project.yaml(&broken);
    let (code, out, err) = ran(&project, &["reload"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("depnds_on: [db]") && err.contains("everything goes on as it was"), "{err}");
    let (code, _, err) = ran(&project, &["plan", "--against", "missing.yaml"]);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("missing.yaml"), "{err}");
    assert_eq!(project.starts("api"), 1);
    orch.stop();
}

/// What an image of orch was asked, the next one answers: the commands see to it.
#[test]
fn a_command_outlives_the_image_that_heard_it() {
    let project = Project::new(
        "
components:
  slow: { process: [./faulty, await, go, touch, up], ready: { file: up, timeout: 60s }, autostart: false }
  lame: { process: [./faulty, hold, end], stop: { timeout: 60s } }
  base: { process: ./faulty }
  user: { process: [./faulty, hold, end], stop: { timeout: 60s }, depends_on: [base] }
  tick: { thread: ticker, with: { every: 1h } }
",
    );
    let mut orch = project.up();
    project.wait_ready("lame", 1);
    project.wait_ready("user", 1);
    let begun = |args: &[&str]| {
        let mut command = project.command(args);
        command.stdout(std::process::Stdio::piped()).spawn().unwrap()
    };
    let (start, restart) = (begun(&["start", "slow"]), begun(&["restart", "lame"]));
    wait_until("both are heard", || {
        let found = states(&project);
        found.contains(&state("slow", "starting")) && found.contains(&state("lame", "stopping"))
    });
    let stop = begun(&["stop", "base"]);
    wait_until("that, too", || states(&project).contains(&state("user", "stopping")));
    let mut children = [start, begun(&["wait", "slow"]), restart, stop];
    assert_eq!(ran(&project, &["upgrade"]).0, Some(0));
    assert!(children.iter_mut().all(|child| child.try_wait().unwrap().is_none()), "nothing has come yet");
    project.write("go", "");
    project.write("end", "");
    let told = children.map(|child| child.wait_with_output().unwrap());
    assert_eq!(told.each_ref().map(code), [Some(0); 4]);
    assert_eq!(
        told.map(|output| text(&output.stdout)),
        ["slow: started, ready\n", "", "lame: restarted, ready\n", "base: stopped\nuser: stopped\n"]
    );
    assert_eq!((project.starts("slow"), project.starts("lame")), (1, 2), "nothing was done twice");
    orch.stop();
}

/// A component may command its own project, wherever it is.
#[test]
fn inside_a_component_its_own_project_is_meant() {
    let project = Project::new(SHOP);
    let mut orch = shop(&project);
    let mut command = project.command(&["ps", "--json"]);
    command.current_dir("/").env("ORCH_CONTROL", project.path(".orch/control.sock"));
    let output = command.output().unwrap();
    assert_eq!(code(&output), Some(0), "{}", text(&output.stderr));
    assert_eq!(json_of(&text(&output.stdout))["project"], "shop");
    for args in [&["wait", "api"][..], &["state", "list"], &["state", "verify", "api"]] {
        let mut command = project.command(args);
        command.current_dir("/").env("ORCH_CONTROL", project.path(".orch/control.sock"));
        assert_eq!(code(&command.output().unwrap()), Some(0), "{args:?}");
    }
    // A file that is named goes before.
    let mut command = project.command(&["ps", "--file", "none/devmode.yaml"]);
    command.env("ORCH_CONTROL", project.path(".orch/control.sock"));
    assert_eq!(code(&command.output().unwrap()), Some(3));
    orch.stop();
}

// ── Completion ─────────────────────────────────────────────────────────────────────────────────────────────

/// What a shell is told that completes the last of these words.
fn completed(project: &Project, words: &[&str]) -> Vec<String> {
    let args: Vec<&str> = ["--", "orch"].iter().chain(words).copied().collect();
    let mut command = project.command(&args);
    command.env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", words.len().to_string());
    command.env("_CLAP_IFS", "\n").env("_CLAP_COMPLETE_COMP_TYPE", "9").env("_CLAP_COMPLETE_SPACE", "true");
    let output = command.output().unwrap();
    assert_eq!((code(&output), text(&output.stderr)), (Some(0), String::new()), "{words:?}");
    text(&output.stdout).lines().map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn names_are_completed_by_the_running_project_else_by_the_file() {
    let project = Project::new(&SHOP.replace("lazy: {", "lazy: { profiles: [full],"));
    let begun = Instant::now();
    assert_eq!(completed(&project, &["restart", "l"]), ["late", "lazy"]);
    assert!(begun.elapsed() < PATIENCE / 10);
    assert_eq!(completed(&project, &["stop", "api", "d"]), ["db"]);
    assert_eq!(completed(&project, &["wait", "--for", "sto"]), ["stopping", "stopped"]);
    assert_eq!(completed(&project, &["up", "--profile", "f"]), ["full"]);
    assert_eq!(completed(&project, &["up", "--only", "a"]), ["api"]);
    assert_eq!(completed(&project, &["resta"]), ["restart"]);
    assert_eq!(completed(&project, &["why", "l"]), ["late", "lazy"]);
    assert_eq!(completed(&project, &["events", "l"]), ["late", "lazy"]);
    let mut orch = shop(&project);
    // What runs counts, whatever the file says by now.
    project.write("devmode.yaml", "version: 1\ncomponents: [\n");
    assert_eq!(completed(&project, &["restart", "l"]), ["late", "lazy"]);
    orch.stop();
    // A file that is not valid, or not there, is no reason to disturb anybody.
    assert!(!completed(&project, &["restart", "l"]).contains(&"late".to_owned()));
    std::fs::remove_file(project.path("devmode.yaml")).unwrap();
    assert!(completed(&project, &["restart", "l"]).is_empty());
}

#[test]
fn a_variable_that_means_somebody_else_completes_nothing() {
    let project = Project::new(SHOP);
    for value in ["1", "", "true", "/usr/bin/complete"] {
        let output = project.command(&["validate"]).env("COMPLETE", value).output().unwrap();
        assert_eq!(code(&output), Some(0));
        assert!(text(&output.stdout).contains("is valid"), "{value}");
    }
    for (shell, sign) in
        [("bash", "complete "), ("zsh", "compdef"), ("fish", "complete "), ("elvish", "edit:")]
    {
        let (code, out, err) = ran(&project, &["completions", shell]);
        assert_eq!((code, err.as_str()), (Some(0), ""));
        assert!(out.contains("COMPLETE") && out.contains(sign), "{shell}: {out}");
    }
}

#[test]
fn the_manual_has_every_command_and_a_page_for_each() {
    let project = Project::new(SHOP);
    let (code, page, _) = ran(&project, &["man"]);
    assert_eq!(code, Some(0));
    let (_, help, _) = ran(&project, &["--help"]);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            line.strip_prefix("  ")?.split_whitespace().next().filter(|_| !line.starts_with("   "))
        })
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.contains(&"restart") && commands.len() > 10, "{commands:?}");
    for name in &commands {
        assert!(page.contains(&format!(".SH \"ORCH {}\"", name.to_uppercase())), "{name}");
    }
    assert!(page.contains("Exit codes:") && !page.contains("takes\\-over"));
    assert_eq!(ran(&project, &["man", "--out", "man/man1"]).0, Some(0));
    for name in commands {
        let own = project.read(&format!("man/man1/orch-{name}.1"));
        assert!(own.contains(".TH") && own.contains("SYNOPSIS"), "{name}");
    }
}
