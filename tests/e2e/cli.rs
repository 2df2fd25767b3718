//! The other commands: what they print, where, and how they end.

use std::process::Output;
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Project};

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stdout)))
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

const GOOD: &str = "
components:
  a: { process: ./faulty }
  b: { thread: ticker, depends_on: { a: started } }
  c: { process: ./faulty, depends_on: [a, b] }
";

#[test]
fn a_valid_file_is_told_to_be_so() {
    let project = Project::new(GOOD);
    let output = project.run(&["validate"]);
    assert_eq!((code(&output), text(&output.stderr)), (Some(0), String::new()));
    assert!(text(&output.stdout).contains("valid"));
    let output = project.run(&["validate", "--format", "json"]);
    assert_eq!(code(&output), Some(0));
    assert_eq!(json_of(&output), json!({"valid": true, "errors": [], "warnings": []}));
    assert!(!project.path(".orch").exists(), "looking makes nothing");
}

#[test]
fn all_errors_are_told_at_once_each_at_its_place() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty, depnds_on: [b] }
  b: { process: ./faulty, depends_on: [bb] }
  c: { process: ./faulty, depends_on: [d], stop: { timeout: soon } }
  d: { process: ./missing, depends_on: [c], ready: { log: '(' } }
",
    );
    let output = project.run(&["validate", "--format", "json"]);
    assert_eq!(code(&output), Some(2));
    let report = json_of(&output);
    assert_eq!(report["valid"], false);
    let errors = report["errors"].as_array().unwrap();
    let mut found: Vec<(u64, &str)> =
        errors.iter().map(|it| (it["line"].as_u64().unwrap(), it["path"].as_str().unwrap())).collect();
    found.sort_unstable();
    let expected = [
        (4, "components.a.depnds_on"),
        (5, "components.b.depends_on[0]"),
        (6, "components.c.depends_on[0]"),
        (6, "components.c.stop.timeout"),
        (7, "components.d.process"),
        (7, "components.d.ready.log"),
    ];
    assert_eq!(found, expected);
    for error in errors {
        assert_eq!(keys(error), ["code", "message", "file", "line", "column", "path", "help"]);
        assert!(error["code"].as_str().unwrap().starts_with('E') && error["column"].as_u64().unwrap() >= 1);
        assert_eq!(error["file"], project.path("devmode.yaml").to_str().unwrap());
    }
    let human = project.run(&["validate"]);
    assert_eq!(code(&human), Some(2));
    let human = text(&human.stdout);
    for part in ["depnds_on: [b]", "did you mean `depends_on`?", "c → d → c", "devmode.yaml:6:"] {
        assert!(human.contains(part), "{part} in:\n{human}");
    }
    // Nothing of it is started.
    let output = project.run(&["up"]);
    assert_eq!((code(&output), project.trace().0.len()), (Some(2), 0));
    assert!(text(&output.stderr).contains("did you mean"));
    assert!(!project.path(".orch").exists());
}

#[test]
fn keys_without_effect_are_warned_of_and_do_not_make_a_file_invalid() {
    let project = Project::new("components:\n  a: { process: ./faulty, env: { X: '${NOT_SET_ANYWHERE}' } }");
    let output = project.run(&["validate", "--format", "json"]);
    assert_eq!(code(&output), Some(0));
    let report = json_of(&output);
    assert_eq!((&report["valid"], report["warnings"].as_array().unwrap().len()), (&json!(true), 1));
    assert_eq!(report["warnings"][0]["path"], "components.a.env.X");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    assert!(project.read("stderr").contains("NOT_SET_ANYWHERE"), "`up` warns, too");
    orch.stop();
}

#[test]
fn a_file_is_found_in_the_folders_above_and_its_absence_is_an_error() {
    let project = Project::new(GOOD);
    project.write("sub/deeper/.keep", "");
    let at = |folder: &str, args: &[&str]| {
        let mut command = project.command(args);
        command.current_dir(project.path(folder)).output().unwrap()
    };
    assert_eq!(code(&at("sub/deeper", &["validate"])), Some(0));
    project.write("sub/orch.yaml", "version: 2\n");
    assert_eq!(code(&at("sub/deeper", &["validate"])), Some(2), "the nearest one counts");
    project.write("sub/devmode.yaml", "version: 1\ncomponents:\n  a: { process: sleep 1 }\n");
    assert_eq!(code(&at("sub/deeper", &["validate"])), Some(0), "devmode.yaml goes before orch.yaml");
    let output = at("sub", &["validate", "no-such.yaml"]);
    assert_eq!(code(&output), Some(2));
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(said.contains("no-such.yaml"), "{said}");
    for command in ["up", "validate", "graph"] {
        let output = project.command(&[command]).current_dir("/").output().unwrap();
        assert_eq!(code(&output), Some(2), "{command}");
        assert!(text(&output.stderr).contains("devmode.yaml"), "{}", text(&output.stderr));
    }
}

#[test]
fn a_program_that_asks_for_a_report_gets_one_also_where_there_is_no_file() {
    let project = Project::new(GOOD);
    for (folder, args) in
        [("/", vec!["validate", "--format", "json"]), (".", vec!["validate", "--format", "json", "none"])]
    {
        let output = project.command(&args).current_dir(project.dir.join(folder)).output().unwrap();
        assert_eq!(code(&output), Some(2));
        let report = json_of(&output);
        assert_eq!((&report["valid"], &report["errors"][0]["code"]), (&json!(false), &json!("E001")));
        assert_eq!(
            (&report["errors"][0]["line"], &report["errors"][0]["path"]),
            (&json!(null), &json!(null))
        );
        assert_eq!(report["errors"].as_array().unwrap().len(), 1);
    }
}

/// A folder may have any name; the terminal takes part in none of it.
#[test]
fn the_name_of_a_folder_does_a_terminal_no_harm() {
    let project = Project::new(GOOD);
    let folder = "b\u{1b}[31md";
    for (yaml, verdict) in [("version: 1\n", 0), ("version: 2\n", 2)] {
        project.write(&format!("{folder}/devmode.yaml"), yaml);
        for args in [vec!["validate"], vec!["validate", "missing.yaml"]] {
            let output = project.command(&args).current_dir(project.path(folder)).output().unwrap();
            assert_eq!(code(&output), Some(if args.len() > 1 { 2 } else { verdict }));
            let said = text(&output.stdout) + &text(&output.stderr);
            assert!(!said.is_empty() && !said.contains('\u{1b}'), "{said:?}");
        }
        let output = project.command(&["graph"]).current_dir(project.path(folder)).output().unwrap();
        assert!(!(text(&output.stdout) + &text(&output.stderr)).contains('\u{1b}'));
    }
}

#[test]
fn a_graph_is_told_in_the_shape_of_the_contract() {
    let project = Project::new(GOOD);
    let output = project.run(&["graph", "--format", "json"]);
    assert_eq!(code(&output), Some(0));
    let expected = json!({
        "nodes": [
            {"name": "a", "kind": "process", "wave": 0},
            {"name": "b", "kind": "thread", "wave": 1},
            {"name": "c", "kind": "process", "wave": 2},
        ],
        "edges": [
            {"from": "b", "to": "a", "condition": "started"},
            {"from": "c", "to": "a", "condition": "ready"},
            {"from": "c", "to": "b", "condition": "ready"},
        ],
        "start_order": ["a", "b", "c"],
        "stop_order": ["c", "b", "a"],
    });
    assert_eq!(json_of(&output), expected);
    for (format, sign) in [("text", "wave 2"), ("dot", "digraph"), ("mermaid", "flowchart"), ("svg", "<svg")]
    {
        let output = project.run(&["graph", "--format", format]);
        assert_eq!(code(&output), Some(0));
        let shown = text(&output.stdout);
        assert!(shown.contains(sign) && ["a", "b", "c"].iter().all(|name| shown.contains(name)), "{shown}");
    }
    project.yaml("components:\n  a: { process: ./faulty, depends_on: [a] }");
    assert_eq!(code(&project.run(&["graph"])), Some(2));
}

#[test]
fn init_writes_a_valid_file_and_never_over_another_one() {
    let project = Project::new(GOOD);
    let output = project.run(&["init"]);
    assert_eq!(code(&output), Some(1), "there is one already");
    assert!(project.read("devmode.yaml").contains("ticker"));
    std::fs::remove_file(project.path("devmode.yaml")).unwrap();
    assert_eq!(code(&project.run(&["init"])), Some(0));
    assert!(project.read("devmode.yaml").contains('#'), "it is commented");
    let output = project.run(&["validate", "--format", "json"]);
    assert_eq!(code(&output), Some(0), "{}", text(&output.stdout));
}

#[test]
fn the_schema_is_printed_and_is_the_one_in_the_repository() {
    let project = Project::new(GOOD);
    for (args, name) in [(&["schema"][..], "devmode.schema.json"), (&["schema", "--api"], "openapi.json")] {
        let output = project.run(args);
        assert_eq!(code(&output), Some(0));
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(name);
        let kept: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(json_of(&output), kept);
    }
}

#[test]
fn help_is_asked_for_and_wrong_usage_is_2() {
    let project = Project::new(GOOD);
    for args in [&["--help"][..], &["up", "--help"], &["--version"], &["completions", "bash"], &["man"]] {
        let output = project.run(args);
        assert_eq!(code(&output), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}");
    }
    for args in
        [&[][..], &["nonsense"], &["up", "--nonsense"], &["graph", "--format", "jpeg"], &["up", "--only"]]
    {
        let output = project.run(args);
        assert_eq!(code(&output), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn hostile_files_are_errors_soon_and_never_a_crash() {
    let project = Project::new("");
    let laughs: String = (1..=12)
        .map(|level| format!("x-{level}: &a{level} [{}]\n", format!("*a{}, ", level - 1).repeat(9)))
        .collect();
    let files: [(&str, Vec<u8>); 9] = [
        ("deep", "[".repeat(200_000).into_bytes()),
        (
            "deep map",
            (0..20_000).map(|level| format!("{}a:\n", " ".repeat(level % 1_000))).collect::<String>().into(),
        ),
        ("laughs", format!("version: 1\nx-0: &a0 lol\n{laughs}components: {{}}\n").into_bytes()),
        ("empty", Vec::new()),
        ("nul", b"version: 1\0\n".to_vec()),
        ("utf-16", "version: 1".encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("not utf-8", b"version: 1\nname: \xff\xfe\n".to_vec()),
        ("two documents", b"version: 1\n---\nversion: 1\n".to_vec()),
        ("scalar", vec![b'x'; 1 << 20]),
    ];
    for (what, bytes) in files {
        project.write("devmode.yaml", bytes);
        let start = Instant::now();
        let output = project.run(&["validate", "--format", "json"]);
        assert_eq!(code(&output), Some(2), "{what}: {:?} {}", output.status, text(&output.stderr));
        assert_eq!(json_of(&output)["valid"], false, "{what}");
        assert!(start.elapsed() < PATIENCE / 3, "{what} took {:?}", start.elapsed());
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let project = Project::new(GOOD);
    for args in [&["schema"][..], &["validate"], &["--help"], &["graph"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output =
            project.command(args).stdout(writer).stderr(std::process::Stdio::piped()).output().unwrap();
        assert_eq!((code(&output), text(&output.stderr)), (Some(0), String::new()), "{args:?}");
    }
}
