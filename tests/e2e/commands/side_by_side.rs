//! Two worktrees of one repository, and all the projects of a user.

use std::path::Path;

use serde_json::Value;

use super::{code, json_of, text};
use crate::harness::{Orch, Project, RUNTIME};

const STACK: &str = "
name: shop
components:
  db: { process: ./faulty, ready: { file: up } , state: true }
  api: { process: ./faulty, depends_on: { db: started } }
";

/// What `orch ps --all --json` tells of projects that are these copies' and no other test's, asked in this one.
fn all(project: &Project, notes: &Path) -> Vec<Value> {
    let output = project.command(&["ps", "--all", "--json"]).env("XDG_RUNTIME_DIR", notes).output().unwrap();
    assert_eq!((code(&output), text(&output.stderr)), (Some(0), String::new()));
    let noted = std::fs::read_dir(notes.join("orch")).into_iter().flatten().flatten();
    let noted: String = noted.map(|entry| std::fs::read_to_string(entry.path()).unwrap()).collect();
    let mut found = json_of(&text(&output.stdout))["projects"].as_array().unwrap().clone();
    found.retain(|one| noted.contains(one["file"].as_str().unwrap()));
    found
}

fn up<'p>(project: &'p Project, notes: &Path) -> Orch<'p> {
    let mut command = project.command(&["up"]);
    command.env("XDG_RUNTIME_DIR", notes);
    let orch = project.start(command);
    project.wait_ready("api", 1);
    orch
}

#[test]
fn two_copies_run_without_meeting_and_each_is_told_of() {
    let (one, other) = (Project::new(STACK), Project::new(STACK));
    let notes = one.path(RUNTIME);
    let (mut first, mut second) = (up(&one, &notes), up(&other, &notes));
    let found = all(&one, &notes);
    assert_eq!(found, all(&other, &notes), "wherever it is asked");
    let mut expected = [(one.path("devmode.yaml"), first.pid()), (other.path("devmode.yaml"), second.pid())];
    expected.sort();
    let told: Vec<(&str, u64)> =
        found.iter().map(|one| (one["file"].as_str().unwrap(), one["pid"].as_u64().unwrap())).collect();
    let expected: Vec<(&str, u64)> =
        expected.iter().map(|(file, pid)| (file.to_str().unwrap(), u64::from(*pid))).collect();
    assert_eq!(told, expected);
    assert!(
        found.iter().all(|one| one["project"] == "shop" && one["components"]["ready"].is_u64()),
        "{found:?}"
    );

    let output = one.command(&["ps", "--all"]).env("XDG_RUNTIME_DIR", &notes).output().unwrap();
    let table = text(&output.stdout);
    let folders = [&one, &other].map(|project| project.dir.to_str().unwrap().to_owned());
    assert!(folders.iter().all(|folder| table.contains(folder.as_str())), "{table}");

    // A command means its own folder's project alone.
    assert_eq!(code(&one.run(&["restart", "api"])), Some(0));
    assert_eq!((one.starts("api"), other.starts("api")), (2, 1));
    assert_eq!(code(&one.run(&["down"])), Some(0));
    assert_eq!((first.exit_status().code(), one.units().len()), (Some(0), 0));
    assert_eq!(other.units().len(), 2);
    let left = all(&one, &notes);
    assert_eq!((left.len(), left[0]["pid"].as_u64()), (1, Some(second.pid().into())));
    second.stop();
    assert!(all(&one, &notes).is_empty());
}

#[test]
fn one_that_was_killed_is_forgotten_when_somebody_looks() {
    let project = Project::new(STACK);
    let notes = project.path(RUNTIME);
    let mut orch = up(&project, &notes);
    orch.kill();
    let entries = || std::fs::read_dir(notes.join("orch")).unwrap().count();
    assert_eq!(entries(), 1);
    crate::harness::wait_until("its keeper is done", || project.orchs().is_empty());
    assert!(all(&project, &notes).is_empty());
    assert_eq!(entries(), 0);
}

#[test]
fn a_new_image_is_the_same_project_and_up_for_as_long() {
    let project = Project::new(STACK);
    let notes = project.path(RUNTIME);
    let mut orch = up(&project, &notes);
    let before = all(&project, &notes);
    assert_eq!(code(&project.run(&["upgrade"])), Some(0));
    assert_eq!(before[0]["since"], all(&project, &notes)[0]["since"]);
    assert_eq!(all(&project, &notes).len(), 1);
    orch.stop();
}

#[test]
fn where_nothing_can_be_noted_orch_runs_all_the_same() {
    let project = Project::new(STACK);
    project.write("file", "");
    let notes = project.path("file");
    let mut orch = up(&project, &notes);
    assert_eq!(code(&project.run(&["ps"])), Some(0));
    orch.stop();
}
