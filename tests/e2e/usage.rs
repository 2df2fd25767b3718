//! What the components take, as `GET /v1/usage` tells it: all of each unit, and nobody else's.

use std::process::Command;

use orch::api::{ComponentUsage, Usage};
use orch::client::Client;

use crate::harness::{Project, Stranger, wait_until};

fn usage(project: &Project) -> Usage {
    Client::new(&project.path(".orch")).get("/v1/usage").unwrap()
}

fn of(project: &Project, name: &str) -> Option<ComponentUsage> {
    usage(project).components.into_iter().find(|one| one.name == name)
}

fn processes(project: &Project, name: &str) -> u32 {
    of(project, name).map_or(0, |one| one.processes)
}

#[test]
fn all_processes_of_a_unit_are_counted_also_those_that_left_it() {
    let project = Project::new(
        "
components:
  plain: { process: ./faulty }
  child: { process: ./faulty deaf-child, stop: { timeout: 10ms } }
  daemon: { process: ./faulty daemon, stop: { timeout: 10ms } }
  bare: { process: ./faulty bare-daemon, stop: { timeout: 10ms } }
  busy: { process: { shell: 'while :; do :; done' } }
  thread: { thread: ticker }
  done: { process: ./faulty exit 0 }
  off: { process: ./faulty, autostart: false }
",
    );
    let mut orch = project.up();
    // A process of the same program that is nobody's.
    let mut stranger = Stranger::new(Command::new(project.path("faulty")).current_dir(&project.dir));
    for name in ["plain", "child", "daemon", "bare"] {
        project.wait_ready(name, 1);
    }
    for (name, count) in [("plain", 1), ("child", 2), ("daemon", 2), ("bare", 2), ("busy", 1)] {
        wait_until(&format!("{name} has {count} processes"), || processes(&project, name) == count);
    }
    project.wait_state("done", "completed");
    let names: Vec<String> = usage(&project).components.into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["bare", "busy", "child", "daemon", "plain"]);
    let plain = of(&project, "plain").unwrap();
    assert!(plain.memory > 100 << 10 && plain.memory < 1 << 30, "{plain:?}");
    wait_until("what is busy has worked", || of(&project, "busy").unwrap().cpu_ms > 100);
    assert!(of(&project, "plain").unwrap().cpu_ms < 100);
    assert!(stranger.lives());
    drop(stranger);
    orch.stop();
}
