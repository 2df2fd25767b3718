//! What a command concerns: what it takes along, and never another file's project.

use std::process::Stdio;

use super::ran;
use crate::harness::Project;

#[test]
fn a_command_is_done_when_what_it_takes_along_is_too() {
    let project = Project::new(
        "
components:
  db:
    process: { shell: 'until [ -e fall ]; do sleep 0.05; done; exit 3' }
    restart: { backoff: { initial: 1h, max: 1h }, policy: always }
  dep: { process: [./faulty, linger, '300'], depends_on: { db: started } }
  api: { process: ./faulty }
  web:
    process: [./faulty, wait, '300', touch, up]
    ready: { file: up }
    depends_on: { api: { condition: ready, restart: true } }
",
    );
    let mut orch = project.up();
    project.wait_ready("dep", 1);
    project.wait_ready("web", 1);
    project.write("fall", "");
    project.wait_state("db", "backoff");
    let (code, out, err) = ran(&project, &["restart", "api"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out, "api: restarted, ready\nweb: restarted, ready\n");
    let (code, out, err) = ran(&project, &["stop", "db"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out, "dep: stopped\ndb: stopped\n");
    assert!(project.trace().has("dep", "exit"), "answered when it is done");
    orch.stop();
}

#[test]
fn a_stop_that_somebody_revokes_ends_though_nothing_runs() {
    let project = Project::new(
        "
components:
  db: { process: [./faulty, linger, '300'] }
  api: { process: [./faulty, linger, '300'], depends_on: [db] }
",
    );
    let mut orch = project.up();
    project.wait_ready("api", 1);
    let mut stop = project.command(&["stop", "db", "api"]);
    let stop = stop.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    project.wait_state("api", "stopping");
    // It waits for db from now on, which is stopped by command.
    assert_eq!(ran(&project, &["restart", "api"]).0, Some(1));
    let output = stop.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("orch: api did not stop: somebody started it again: waiting for db"), "{told}");
    orch.stop();
}

#[test]
fn what_runs_for_another_file_of_the_folder_is_not_touched() {
    let project = Project::new("components: { a: { process: ./faulty } }");
    project.write("other.yaml", "version: 1\ncomponents: { b: { process: ./faulty } }\n");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    for args in [&["down"][..], &["ps"], &["plan"], &["wait"], &["restart", "a"]] {
        let (code, out, err) = ran(&project, &[args, &["--file", "other.yaml"]].concat());
        assert_eq!((code, out.as_str()), (Some(3), ""), "{args:?}");
        assert!(err.contains("other.yaml; the one in its state directory, pid "), "{err}");
    }
    let (code, _, err) = ran(&project, &["watch", "add", "b", "source", "--file", "other.yaml"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "the running orch has no part in it");
    assert!(orch.runs());
    // The same file by another way is the same project.
    std::os::unix::fs::symlink(project.path("devmode.yaml"), project.path("link.yaml")).unwrap();
    assert_eq!(ran(&project, &["wait", "--file", "link.yaml"]).0, Some(0));
    orch.stop();
}
