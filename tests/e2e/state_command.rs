//! `orch state`: what is told, that nothing is changed by it, and what is cleared.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::{Project, wait_until};

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Runs `orch state …`, which must end with this code.
fn state(project: &Project, args: &[&str], expected: i32) -> Output {
    let words: Vec<&str> = std::iter::once("state").chain(args.iter().copied()).collect();
    let output = project.run(&words);
    assert_eq!(code(&output), Some(expected), "{args:?}: {} {}", text(&output.stdout), text(&output.stderr));
    output
}

/// Number and present meaning of each generation of a component.
fn fates(project: &Project, name: &str) -> Vec<(u64, String)> {
    let listed = json_of(&state(project, &["list", name, "--json"], 0));
    let generations = listed["components"][0]["generations"].as_array().unwrap();
    let pair = |it: &Value| (it["generation"].as_u64().unwrap(), it["is"].as_str().unwrap().to_owned());
    generations.iter().map(pair).collect()
}

fn fate(number: u64, is: &str) -> (u64, String) {
    (number, is.to_owned())
}

fn generation(project: &Project, name: &str, number: u64) -> PathBuf {
    project.path(&format!(".orch/state/{name}/{number:020}.orst"))
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}

/// A run of everything until it is ready, and its ordered end.
fn run_once(project: &Project, name: &str, run: u64) {
    let mut orch = project.up();
    project.wait_ready(name, run);
    orch.stop();
}

/// What the last run found.
fn last_found(project: &Project, name: &str) -> String {
    let trace = project.trace();
    let found = trace.0.iter().rfind(|it| it.name == name && ["loaded", "fresh"].contains(&&*it.event));
    found.map(|it| format!("{} {}", it.event, it.detail).trim().to_owned()).unwrap()
}

/// Names, identities, sizes and times of all below a folder.
fn everything(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let meta = path.symlink_metadata().unwrap();
            let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
            found.push(format!("{} {} {} {times:?}", path.display(), meta.ino(), meta.len()));
            if meta.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

const COUNTER: &str = "
components:
  a: { process: ./faulty load keep place, state: { file: data/s.json, max_age: never } }
  plain: { process: ./faulty }
";

#[test]
fn where_nothing_was_saved_nothing_is_made() {
    let project = Project::new(COUNTER);
    for args in [&["list"][..], &["list", "a"], &["verify"], &["verify", "plain"], &["clear", "a"]] {
        state(&project, args, 0);
    }
    state(&project, &["clear", "--all"], 0);
    let shown = state(&project, &["show", "a"], 1);
    assert!(shown.stdout.is_empty() && text(&shown.stderr).contains("nothing is saved of `a`"));
    assert!(!project.path(".orch").exists() && !project.path("data").exists());
    let listed = json_of(&state(&project, &["list", "--json"], 0));
    assert_eq!(keys(&listed), ["project", "state_dir", "components"]);
    assert_eq!(listed["components"].as_array().unwrap().len(), 1, "those with a state");
}

#[test]
fn generations_are_listed_and_shown() {
    let project = Project::new(COUNTER);
    let bytes: Vec<u8> = (0..=255).chain([b'\n', 0, 0xff]).collect();
    project.write("data/s.json", &bytes);
    let mut orch = project.up();
    project.wait_told_ready("a", 1);
    wait_until("it was sealed as it was found", || generation(&project, "a", 1).exists());
    orch.stop();
    let shown = state(&project, &["show", "a", "--generation", "1"], 0);
    assert_eq!(shown.stdout, bytes, "exactly");
    assert!(text(&shown.stderr).contains("generation 1 of a"));
    run_once(&project, "a", 2);
    assert_eq!(fates(&project, "a").last(), Some(&fate(3, "next")));

    let listed = json_of(&state(&project, &["list", "--json"], 0));
    let a = &listed["components"][0];
    let expected = ["name", "declared", "record", "running", "given", "file", "generations", "quarantine"];
    assert_eq!(keys(a), expected);
    assert_eq!((&a["name"], &a["declared"], &a["record"]), (&"a".into(), &true.into(), &"sound".into()));
    assert!(a["running"].is_null());
    assert_eq!(keys(&a["file"]), ["path", "is", "generation", "bytes", "modified", "reason"]);
    assert_eq!((&a["file"]["is"], &a["file"]["generation"]), (&"sealed".into(), &3.into()));
    let newest = a["generations"].as_array().unwrap().last().unwrap();
    let expected = [
        "generation",
        "source",
        "incarnation",
        "time",
        "age_s",
        "bytes",
        "is",
        "restored_as",
        "offers",
        "reason",
        "checked",
        "path",
    ];
    assert_eq!(keys(newest), expected);
    assert_eq!((&newest["source"], &newest["incarnation"]), (&"restart".into(), &2.into()));
    assert_eq!((&newest["restored_as"], &newest["checked"]), (&"restart".into(), &true.into()));
    assert_eq!(newest["path"], generation(&project, "a", 3).to_str().unwrap());
    let human = text(&state(&project, &["list"], 0).stdout);
    let row = human.lines().find(|line| line.trim_start().starts_with("3 ")).unwrap();
    assert!(row.contains("restart") && row.ends_with("next"), "{human}");
    assert!(!human.contains('\u{1b}'), "no colours where no terminal is");

    let shown = state(&project, &["show", "a"], 0);
    assert_eq!(text(&shown.stdout), project.read("data/s.json"));
    let header = json_of(&state(&project, &["show", "a", "--json"], 0));
    let expected = ["component", "incarnation", "generation", "source", "time", "bytes", "restored_as"];
    assert_eq!(keys(&header), expected);
    assert_eq!(header["generation"], 3);
    assert!(text(&state(&project, &["show", "a", "--generation", "9"], 1).stderr).contains("1, 2, 3"));
}

#[test]
fn damage_is_found_named_and_never_shown() {
    let project = Project::new(COUNTER);
    for run in 1..=3 {
        run_once(&project, "a", run);
    }
    let sound = json_of(&state(&project, &["verify", "--json"], 0));
    assert_eq!(keys(&sound), ["sound", "generations", "ledgers", "bytes", "flaws"]);
    assert_eq!(
        (&sound["sound"], &sound["generations"], &sound["ledgers"]),
        (&true.into(), &3.into(), &1.into())
    );
    assert!(sound["bytes"].as_u64().unwrap() > 600);
    damage(&generation(&project, "a", 3));
    let before = everything(&project.path(".orch"));
    let verified = state(&project, &["verify"], 1);
    let said = text(&verified.stdout);
    assert!(said.contains("a: generation 3 is damaged") && said.contains("1 flaw"), "{said}");
    assert!(said.contains(generation(&project, "a", 3).to_str().unwrap()), "{said}");
    let shown = state(&project, &["show", "a", "--generation", "3"], 1);
    assert!(shown.stdout.is_empty() && text(&shown.stderr).contains("damaged"));
    let shown = state(&project, &["show", "a"], 0);
    assert_eq!(text(&shown.stdout), "2", "what stands in for it");
    assert_eq!(fates(&project, "a"), [fate(1, "used"), fate(2, "next"), fate(3, "damaged")]);
    assert_eq!(everything(&project.path(".orch")), before, "looking changes nothing");

    run_once(&project, "a", 4);
    assert_eq!(last_found(&project, "a"), "loaded 2", "as foretold");
    let listed = json_of(&state(&project, &["list", "--json"], 0));
    assert_eq!(listed["components"][0]["quarantine"].as_array().unwrap().len(), 1);
    fs::write(project.path(".orch/state/a/ledger"), "garbage").unwrap();
    let verified = json_of(&state(&project, &["verify", "a", "--json"], 1));
    assert!(verified["flaws"][0]["generation"].is_null());
    assert!(project.path(".orch/state/a/ledger").exists(), "it is left where it is");
}

#[test]
fn beside_a_running_orch_everything_can_be_seen_and_nothing_be_cleared() {
    let project = Project::new(COUNTER);
    run_once(&project, "a", 1);
    let mut orch = project.up();
    project.wait_ready("a", 2);
    // It is noted a moment after it is ready.
    wait_until("its state is used up", || fates(&project, "a") == [fate(1, "used")]);
    let listed = json_of(&state(&project, &["list", "a", "--json"], 0));
    assert_eq!(listed["components"][0]["running"], 2);
    let before = everything(&project.path(".orch/state"));
    for args in [&["list"][..], &["verify"], &["show", "a"], &["list", "--json"]] {
        state(&project, args, 0);
    }
    for args in [&["clear", "a"][..], &["clear", "--all"]] {
        let refused = state(&project, args, 3);
        assert!(text(&refused.stderr).contains("stop it first"), "{}", text(&refused.stderr));
    }
    assert_eq!(everything(&project.path(".orch/state")), before);
    assert!(orch.runs());
    orch.stop();

    let cleared = text(&state(&project, &["clear", "a"], 0).stderr);
    assert!(cleared.contains("removed generations 1, 2") && cleared.contains("cleared-s.json"), "{cleared}");
    assert!(fates(&project, "a").is_empty() && !project.path("data/s.json").exists());
    assert_eq!(project.read(".orch/state/a/quarantine/000001-cleared-s.json"), "2");
    run_once(&project, "a", 3);
    assert_eq!(last_found(&project, "a"), "fresh");
    assert_eq!(fates(&project, "a"), [fate(3, "next")], "no number comes twice");
}

#[test]
fn names_are_known_from_the_file_and_from_what_is_saved() {
    let project = Project::new(COUNTER);
    run_once(&project, "a", 1);
    for args in [&["list", "plian"][..], &["show", "plian"], &["verify", "plian"], &["clear", "a", "plian"]] {
        let refused = state(&project, args, 2);
        assert!(text(&refused.stderr).contains("did you mean `plain`?"), "{}", text(&refused.stderr));
        assert!(refused.stdout.is_empty());
    }
    for args in [&[][..], &["clear"], &["show"], &["list", "a/b"], &["clear", "--all", "a"], &["nonsense"]] {
        state(&project, args, 2);
    }
    assert_eq!(fates(&project, "a"), [fate(1, "next")], "nothing was cleared");

    project.yaml("components:\n  other: { process: ./faulty }");
    assert_eq!(fates(&project, "a"), [fate(1, "kept")], "it is no longer declared");
    assert_eq!(text(&state(&project, &["show", "a"], 0).stdout), "1");
    project.write("devmode.yaml", "version: 1\ncomponents: [");
    let listed = state(&project, &["list"], 0);
    assert!(text(&listed.stdout).contains("a:") && text(&listed.stderr).contains("not valid"));
    assert_eq!(text(&state(&project, &["show", "a"], 0).stdout), "1");
    state(&project, &["clear", "a"], 2);
    assert!(generation(&project, "a", 1).exists());

    project.yaml("components:\n  other: { process: ./faulty }");
    let cleared = text(&state(&project, &["clear", "--all"], 0).stderr);
    assert!(cleared.contains("removed generation 1") && cleared.contains("data/s.json"), "{cleared}");
}

#[test]
fn the_project_is_found_as_by_other_commands() {
    let project = Project::new(COUNTER);
    let mut orch = project.up_with(&["--state-dir", "elsewhere"]);
    wait_until("it runs", || project.starts("a") == 1 && !project.trace().of("a", "fresh").is_empty());
    orch.signal(rustix::process::Signal::TERM);
    assert_eq!(orch.exit_status().code(), Some(0));
    let shown = state(&project, &["show", "a", "--state-dir", "elsewhere"], 0);
    assert_eq!(text(&shown.stdout), "1");
    state(&project, &["--state-dir", "elsewhere", "show", "a"], 0);
    state(&project, &["show", "a"], 1);
    let (yaml, dir) = (project.path("devmode.yaml"), project.path("elsewhere"));
    let run =
        |args: &[&str]| project.command(args).current_dir("/").env("ORCH_STATE_DIR", &dir).output().unwrap();
    let shown = run(&["state", "show", "a", "--file", yaml.to_str().unwrap()]);
    assert_eq!((code(&shown), text(&shown.stdout)), (Some(0), "1".to_owned()));
    assert_eq!(code(&run(&["state", "list"])), Some(2), "no file here");
    assert_eq!(code(&run(&["state", "list", "--file", "/no/such.yaml"])), Some(2));
}

#[test]
fn help_is_asked_for() {
    let project = Project::new(COUNTER);
    for args in
        [&["--help"][..], &["list", "--help"], &["show", "-h"], &["verify", "-h"], &["clear", "--help"]]
    {
        assert!(!state(&project, args, 0).stdout.is_empty());
    }
}

/// The programs on docs/state.md, each with the name of its language.
fn examples() -> Vec<(String, String)> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/state.md")).unwrap();
    let mut found: Vec<(String, String)> = Vec::new();
    let mut open = false;
    for line in page.lines() {
        match (line.strip_prefix("```"), open) {
            (Some(language), false) => {
                found.push((language.to_owned(), String::new()));
                open = true;
            }
            (Some(_), true) => open = false,
            (None, true) => found.last_mut().unwrap().1 += &format!("{line}\n"),
            (None, false) => {}
        }
    }
    found.retain(|(language, _)| ["python", "js", "rust"].contains(&&**language));
    found
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

#[test]
fn the_programs_of_the_page_keep_their_state() {
    let examples = examples();
    let languages: Vec<&str> = examples.iter().map(|(language, _)| &**language).collect();
    assert_eq!(languages, ["python", "js", "rust"]);
    for (language, program) in examples {
        assert!(program.lines().filter(|line| !line.is_empty()).count() <= 13, "{language}: short");
        let (tool, file, command) = match &*language {
            "python" => ("python3", "app.py", "python3 app.py"),
            "js" => ("node", "app.mjs", "node app.mjs"),
            _ => ("rustc", "app.rs", "./app"),
        };
        if !is_there(tool) {
            // Not by a macro: the harness keeps what those print to itself while a test passes.
            let _ =
                writeln!(std::io::stderr(), "SKIPPED: the {language} program of docs/state.md: no {tool}");
            continue;
        }
        let project = Project::new(&format!(
            "components:\n  app: {{ process: {command}, state: {{ file: data/s, max_age: never }} }}"
        ));
        project.write(file, program);
        if tool == "rustc" {
            let built =
                Command::new(tool).args(["--edition", "2024", "app.rs"]).current_dir(&project.dir).output();
            let built = built.unwrap();
            assert!(built.status.success(), "{}", text(&built.stderr));
        }
        for run in 1..=3 {
            let mut command = project.command(&["up"]);
            command.env("PATH", std::env::var_os("PATH").unwrap());
            let mut orch = project.start(command);
            let line = format!("run {run}\n");
            wait_until(&format!("{language}: {line}"), || {
                project.read(".orch/logs/app.log").ends_with(&line)
            });
            orch.stop();
        }
    }
}
