//! What is shown to newcomers works: every example, the file that `orch init` writes, the YAML of the pages,
//! and the Python program that `devmode.yaml` runs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn orch(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orch"));
    command.args(args).current_dir(folder).env_remove("ORCH_STATE_DIR").output().unwrap()
}

/// What `orch validate --format json` says.
fn verdict(folder: &Path, file: &str) -> Value {
    let output = orch(folder, &["validate", file, "--format", "json"]);
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(if verdict["valid"] == true { 0 } else { 2 }), "{file}");
    verdict
}

/// Its codes, messages and lines.
fn complaints(verdict: &Value, kind: &str) -> Vec<String> {
    let each = verdict[kind].as_array().unwrap().iter();
    each.map(|one| format!("{} {} (line {})", text(&one["code"]), text(&one["message"]), one["line"]))
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn examples() -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(root().join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    assert!(!files.is_empty(), "there are examples");
    files.push(root().join("devmode.yaml"));
    files
}

#[test]
fn every_example_is_valid() {
    for file in examples() {
        let errors = complaints(&verdict(root(), file.to_str().unwrap()), "errors");
        assert!(errors.is_empty(), "{}: {errors:#?}", file.display());
    }
}

#[test]
fn the_main_example_uses_only_what_is_in_effect() {
    let warnings = complaints(&verdict(root(), "devmode.yaml"), "warnings");
    assert!(warnings.is_empty(), "{warnings:#?}");
}

#[test]
fn what_init_writes_is_valid_and_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(orch(folder.path(), &["init"]).status.code(), Some(0));
    let wrong = verdict(folder.path(), "devmode.yaml");
    assert_eq!(wrong["valid"], true, "{wrong:#}");

    std::fs::write(folder.path().join("devmode.yaml"), "mine").unwrap();
    assert_eq!(orch(folder.path(), &["init"]).status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(folder.path().join("devmode.yaml")).unwrap(), "mine");
}

#[test]
fn the_yaml_of_the_pages_is_valid() {
    let mut wrong = Vec::new();
    for page in ["README.md", "docs/yaml.md", "docs/state.md", "docs/embedding.md"] {
        let blocks = yaml_blocks(&std::fs::read_to_string(root().join(page)).unwrap());
        assert!(!blocks.is_empty(), "{page} shows some YAML");
        for (line, block) in blocks {
            let found = whole(&block).iter().flat_map(|file| mistakes(file)).collect::<Vec<_>>();
            wrong.extend(found.into_iter().map(|one| format!("{page}, the block at line {line}: {one}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The blocks of YAML on a page, each with its line.
fn yaml_blocks(page: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in page.lines().enumerate() {
        match (&mut open, line.trim_end()) {
            (None, "```yaml") => open = Some((index + 1, String::new())),
            (Some(_), "```") => blocks.extend(open.take()),
            (Some((_, block)), line) => {
                block.push_str(line);
                block.push('\n');
            }
            _ => {}
        }
    }
    blocks
}

/// Makes files of what a page shows of one. Keys of a component stand there indented, and one that comes again
/// is another way to write it: each is then tried by itself.
fn whole(block: &str) -> Vec<String> {
    const COMPONENT: &str = "version: 1\ncomponents:\n  a:\n    process: sleep 1000\n";
    if block.starts_with("    ") {
        return entries(block).iter().map(|entry| format!("{COMPONENT}{entry}")).collect();
    }
    let has = |key: &str| block.lines().any(|line| line.starts_with(key));
    let version = if has("version:") { "" } else { "version: 1\n" };
    let components = if has("components:") { "" } else { "components: { a: { process: sleep 1 } }\n" };
    vec![format!("{version}{components}{block}")]
}

/// Splits at the lines that are indented by four.
fn entries(block: &str) -> Vec<String> {
    let mut entries: Vec<String> = Vec::new();
    for line in block.lines() {
        let begins = line.strip_prefix("    ").is_some_and(|rest| !rest.starts_with([' ', '#']));
        if begins || entries.is_empty() {
            entries.push(String::new());
        }
        if let Some(entry) = entries.last_mut() {
            entry.push_str(line);
            entry.push('\n');
        }
    }
    entries
}

/// The mistakes in a text, but for the components, threads, folders, programs and files that only the reader
/// has.
fn mistakes(yaml: &str) -> Vec<String> {
    const ABSENT: &[&str] = &["E201", "E206", "E207", "E208", "E209"];
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("devmode.yaml"), yaml).unwrap();
    let found = complaints(&verdict(folder.path(), "devmode.yaml"), "errors");
    found.into_iter().filter(|one| !ABSENT.iter().any(|code| one.starts_with(code))).collect()
}

#[test]
fn a_mistake_on_a_page_is_found() {
    let found = |block: &str| whole(block).iter().map(|file| mistakes(file).len()).collect::<Vec<_>>();
    assert_eq!(found("components:\n  a: { process: sleep 1 }\n"), [0]);
    assert_eq!(found("components:\n  a: { proces: sleep 1 }\n"), [1]);
    assert_eq!(found("    restart: always\n    restart:\n      policy: sometimes\n"), [0, 1]);
}

#[test]
fn the_python_example_passes_its_own_tests() {
    let life = root().join("examples/life");
    let mut python = Command::new("python3");
    let tests = ["-B", "-m", "unittest", "discover", "-s", "tests", "-t", "."];
    match python.args(tests).current_dir(life).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
            assert!(!said.contains("Ran 0 tests"), "{said}");
        }
        // Not by a macro: the harness keeps what those print to itself while a test passes.
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: the tests of examples/life: python3: {error}");
        }
    }
}
