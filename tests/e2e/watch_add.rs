//! `orch watch add`: an edit of the YAML file that leaves all else alone, and takes effect at once.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::process::Output;

use crate::harness::Project;

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn add(project: &Project, args: &[&str]) -> (Option<i32>, String) {
    let output = project.run(&[&["watch", "add"], args].concat());
    (output.status.code(), text(&output))
}

const YAML: &str =
    "# mine\ncomponents:\n  a: { process: ./faulty, watch: [one] }   # why\n  b:\n    process: ./faulty\n";

#[test]
fn a_running_project_takes_it_at_once_and_restarts_nothing() {
    let project = Project::new(YAML);
    let mut orch = project.up();
    project.wait_ready("a", 1);
    project.wait_ready("b", 1);
    let (code, told) = add(&project, &["b", "two"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("b watches two now") && told.contains("has taken the edit"), "{told}");
    assert_eq!(project.read("devmode.yaml"), format!("version: 1\n{YAML}    watch: [two]\n\n"));
    assert_eq!((project.starts("a"), project.starts("b")), (1, 1));
    project.write("two", "1");
    project.wait_ready("b", 2);
    assert_eq!(project.starts("a"), 1);
    // The command and the watcher both have it read; it is one edit.
    let edits = project.events().iter().filter(|event| event["event"] == "config.reloaded").count();
    assert_eq!(edits, 1);
    // Once more, nothing is written.
    let before = std::fs::metadata(project.path("devmode.yaml")).unwrap().ino();
    let (code, told) = add(&project, &["b", "./two"]);
    assert!(code == Some(0) && told.contains("b watches two already"), "{told}");
    assert_eq!(std::fs::metadata(project.path("devmode.yaml")).unwrap().ino(), before);
    orch.stop();
}

#[test]
fn a_link_and_the_mode_stay_and_paths_come_from_where_the_user_is() {
    let project = Project::new(YAML);
    std::fs::rename(project.path("devmode.yaml"), project.path("real.yaml")).unwrap();
    symlink("real.yaml", project.path("devmode.yaml")).unwrap();
    std::fs::set_permissions(project.path("real.yaml"), std::fs::Permissions::from_mode(0o604)).unwrap();
    std::fs::create_dir(project.path("sub")).unwrap();
    let mut command = project.command(&["watch", "add", "a", "x.c", "../*.h", "../../far"]);
    let output = command.current_dir(project.path("sub")).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let expected = format!("version: 1\n{}\n", YAML.replace("[one]", "[one, sub/x.c, \"*.h\", ../far]"));
    assert_eq!(project.read("real.yaml"), expected);
    let link = std::fs::symlink_metadata(project.path("devmode.yaml")).unwrap();
    let real = std::fs::metadata(project.path("real.yaml")).unwrap();
    assert!(link.is_symlink() && real.mode() & 0o7777 == 0o604);
}

#[test]
fn what_can_not_be_done_changes_nothing() {
    let project = Project::new(YAML);
    let before = project.read("devmode.yaml");
    for (args, code, told) in [
        (&["c", "x"][..], 2, "no component `c`"),
        (&["bb", "x"], 2, "did you mean `b`?"),
        (&["b", "[x"], 2, "not a valid glob"),
        (&["b", ""], 2, "a value is required"),
        (&["b"], 2, "PATH"),
        (&["b", "x", "--file", "none.yaml"], 2, "can't read"),
    ] {
        let (found, text) = add(&project, args);
        assert!(found == Some(code) && text.contains(told), "{args:?}: {found:?} {text}");
    }
    assert_eq!(project.read("devmode.yaml"), before);
    project.yaml("components: { b: { proces: ./faulty } }");
    let (code, told) = add(&project, &["b", "x"]);
    assert!(code == Some(2) && told.contains("did you mean `process`?"), "{told}");
    assert!(told.contains("stays as it is"), "{told}");
}

#[test]
fn many_at_once_lose_nothing() {
    let project = Project::new(YAML);
    let paths: Vec<String> = (0..8).map(|number| format!("p{number}")).collect();
    let start = |path: &String| project.start(project.command(&["watch", "add", "b", path]));
    let mut adders: Vec<_> = paths.iter().map(start).collect();
    for adder in &mut adders {
        assert_eq!(adder.exit_status().code(), Some(0), "{}", project.read("stderr"));
    }
    let after = project.read("devmode.yaml");
    let line = after.lines().find(|line| line.contains("watch: [p")).unwrap();
    let inside = line.trim().trim_start_matches("watch: [").trim_end_matches(']');
    let mut found: Vec<&str> = inside.split(", ").collect();
    found.sort_unstable();
    assert_eq!(found, paths);
}

#[test]
fn a_lock_that_is_never_given_back_is_not_waited_for_for_ever() {
    let project = Project::new(YAML);
    let before = project.read("devmode.yaml");
    let folder = std::fs::File::open(project.path(".")).unwrap();
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (code, told) = add(&project, &["b", "x"]);
    assert!(code == Some(4) && told.contains("has had a lock on the folder of"), "{code:?} {told}");
    assert_eq!(project.read("devmode.yaml"), before);
    drop(folder);
    assert_eq!(add(&project, &["b", "x"]).0, Some(0));
}
