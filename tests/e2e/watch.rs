//! Watching: what a save does, and what it doesn't.

use std::fs;
use std::time::Duration;

use crate::harness::{Project, append, stays, wait_until};

/// Longer than anything that follows from a save takes, when nothing is to follow.
const QUIET: Duration = Duration::from_millis(600);

fn changes(project: &Project) -> usize {
    project.events().iter().filter(|event| event["event"] == "component.changed").count()
}

#[test]
fn a_save_is_one_restart_and_one_only() {
    let project = Project::new("components:\n  a: { process: ./faulty, watch: [source] }");
    project.write("source", "0");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    // In place, appended, by rename, deleted and made anew: each is a save.
    let saves: [(&str, &dyn Fn()); 5] = [
        ("in place", &|| project.write("source", "1")),
        ("appended", &|| append(&project.path("source"), "+")),
        ("by rename", &|| project.save("source", "2")),
        ("by rename again", &|| project.save("source", "3")),
        ("anew", &|| {
            fs::remove_file(project.path("source")).unwrap();
            project.write("source", "4");
        }),
    ];
    for ((how, save), run) in saves.into_iter().zip(2..) {
        save();
        project.wait_ready("a", run);
        stays(how, QUIET / 2, || project.starts("a") == run as usize);
    }
    let reasons =
        project.events().iter().filter(|event| event["event"] == "component.stop_requested").count();
    assert_eq!(reasons, 5);
    orch.stop();
    assert_eq!(project.starts("a"), 6);
    let states: Vec<String> =
        project.events().iter().filter_map(|event| event["event"].as_str().map(str::to_owned)).collect();
    let stopped = states.iter().filter(|event| *event == "component.stopped").count();
    assert_eq!(stopped, 1, "a restart never shows `stopped`: {states:?}");
}

#[test]
fn a_write_that_leaves_the_bytes_as_they_were_restarts_nothing() {
    // What writes in place empties the file first, which must not count however late the bytes come.
    let project = Project::new(
        "components:\n  a: { process: ./faulty, watch: { paths: [source, folder], settle: 1s } }",
    );
    project.write("source", "same");
    project.write("folder/file", "same");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    let now = std::time::SystemTime::now();
    fs::File::options().append(true).open(project.path("source")).unwrap().set_modified(now).unwrap();
    project.write("source", "same");
    project.save("source", "same");
    project.write("folder/file", "same");
    project.save("folder/file", "same");
    fs::set_permissions(project.path("source"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    stays("nothing has changed", QUIET, || project.starts("a") == 1 && changes(&project) == 0);
    project.write("folder/file", "other");
    project.wait_ready("a", 2);
    orch.stop();
}

#[test]
fn two_thousand_files_in_a_burst_are_one_restart() {
    let project = Project::new("components:\n  a: { process: ./faulty, watch: [tree] }");
    let name = |number: usize| format!("tree/{}/{number}.txt", number % 40);
    for number in 0..2_000 {
        project.write(&name(number), "old");
    }
    let mut orch = project.up();
    project.wait_ready("a", 1);
    for number in 0..2_000 {
        project.write(&name(number), "new");
    }
    let written = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let written = written.tv_sec as u64 * 1_000_000_000 + written.tv_nsec as u64;
    project.wait_ready("a", 2);
    stays("one restart", 2 * QUIET, || project.starts("a") == 2);
    let trace = project.trace();
    assert!(trace.of("a", "start")[1].ns > written, "it starts when all is written");
    assert!(trace.of("a", "got")[0].ns < written, "it stops at the first one");
    orch.stop();
}

#[test]
fn five_saves_during_a_slow_stop_are_one_restart_more() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty hold go, watch: [source], stop: { timeout: 1m } }
",
    );
    project.write("source", "0");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    project.write("source", "1");
    project.wait_trace("a", "got", 1);
    for save in 2..=6 {
        project.save("source", save.to_string());
        std::thread::sleep(Duration::from_millis(20));
    }
    project.write("go", "");
    project.wait_ready("a", 2);
    stays("one restart", QUIET, || project.starts("a") == 2);
    orch.stop();
}

#[test]
fn a_file_that_is_not_there_yet_is_followed_also_in_a_folder_that_is_not_there_yet() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty, watch: [later.txt, deep/er/later.txt, 'globbed/**/*.html'] }
",
    );
    let mut orch = project.up();
    project.wait_ready("a", 1);
    project.write("later.txt", "made");
    project.wait_ready("a", 2);
    project.write("deep/er/later.txt", "made");
    project.wait_ready("a", 3);
    project.write("globbed/x/y/page.html", "made");
    project.wait_ready("a", 4);
    project.write("globbed/x/y/page.css", "made");
    fs::remove_dir_all(project.path("deep")).unwrap();
    project.wait_ready("a", 5);
    project.write("deep/er/later.txt", "made anew");
    project.wait_ready("a", 6);
    orch.stop();
}

#[test]
fn ignored_files_restart_nothing_but_a_file_named_itself_does() {
    let project = Project::new(
        "
components:
  a:
    process: ./faulty
    watch: { paths: [src, src/named.gen], ignore: ['**/*.log'] }
  b: { process: ./faulty, watch: { paths: [src], gitignore: false } }
",
    );
    fs::create_dir(project.path(".git")).unwrap();
    project.write(".gitignore", "*.gen\nbuilt/\n");
    project.write("src/main.txt", "0");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    project.wait_ready("b", 1);
    project.write("src/one.log", "x");
    project.write("src/one.gen", "x");
    project.write("src/built/two", "x");
    wait_until("b restarts", || project.starts("b") >= 2);
    stays("a does not", QUIET, || project.starts("a") == 1);
    project.write("src/named.gen", "x");
    project.wait_ready("a", 2);
    project.write("src/main.txt", "1");
    project.wait_ready("a", 3);
    orch.stop();
}

#[test]
fn state_and_log_files_and_the_state_directory_are_never_watched() {
    let project = Project::new(
        "
components:
  a:
    process: ./faulty load say hello save place 1 wait 50 save rename 2 keep place
    watch: [.]
    state: data/state.json
    logs: { file: out/a.log }
",
    );
    // What a component is, is of no interest; what it writes, is.
    project.write(".gitignore", "trace\nstdout\nstderr\n");
    let mut orch = project.up();
    project.wait_trace("a", "saved", 2);
    project.wait_ready("a", 1);
    wait_until("it has logged", || project.read("out/a.log") == "hello\n");
    stays("it does not restart itself", QUIET, || project.starts("a") == 1);
    project.write("data/other.json", "x");
    project.wait_ready("a", 2);
    orch.stop();
}

#[test]
fn a_change_starts_what_has_completed_or_failed_and_cuts_a_backoff_short() {
    let project = Project::new(
        "
components:
  done: { process: ./faulty exit 0, watch: [source] }
  failed: { process: ./faulty end 1 exit 1, restart: never, watch: [source] }
  later:
    process: ./faulty end 1 exit 1
    restart: { backoff: { initial: 10m, max: 10m } }
    watch: [source]
",
    );
    project.write("source", "0");
    let mut orch = project.up();
    project.wait_state("done", "completed");
    project.wait_state("failed", "failed");
    project.wait_state("later", "backoff");
    project.write("source", "1");
    for name in ["done", "failed", "later"] {
        project.wait_trace(name, "start", 2);
    }
    wait_until("they are where they were", || {
        project.state_of("done") == ("completed".into(), 2)
            && project.state_of("failed") == ("failed".into(), 2)
            && project.state_of("later") == ("backoff".into(), 2)
    });
    orch.signal(rustix::process::Signal::TERM);
    orch.expect_exit(1);
}

#[test]
fn the_action_may_be_a_signal_or_nothing() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty, watch: { paths: [source], action: SIGHUP } }
  b: { process: ./faulty, watch: { paths: [source], action: none } }
  c: { process: ./faulty, watch: [source] }
",
    );
    project.write("source", "0");
    let mut orch = project.up();
    ["a", "b", "c"].iter().for_each(|name| project.wait_ready(name, 1));
    project.write("source", "1");
    assert_eq!(project.wait_trace("a", "got", 1)[0].detail, "HUP");
    project.wait_ready("c", 2);
    assert_eq!((project.starts("a"), project.starts("b")), (1, 1));
    assert!(!project.trace().has("b", "got"));
    orch.stop();
}

#[test]
fn a_change_while_it_starts_restarts_it_and_while_it_waits_does_nothing() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty, ready: { file: a-is-ready, timeout: 1m }, watch: [source] }
  b: { process: ./faulty, depends_on: [a], watch: [source] }
",
    );
    let mut orch = project.up();
    project.wait_trace("a", "start", 1);
    project.wait_state("a", "starting");
    project.write("source", "1");
    project.wait_trace("a", "start", 2);
    project.write("a-is-ready", "");
    project.wait_ready("b", 1);
    assert_eq!(project.starts("b"), 1);
    orch.stop();
}
