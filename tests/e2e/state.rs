//! State: what the next run finds, and what it must never find.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Entry, Project, kill_9, wait_for, wait_until};

/// What each run found: where from, and the content.
fn found(project: &Project, name: &str) -> Vec<(String, String)> {
    let trace = project.trace();
    let of = |event: &str| -> Vec<Entry> {
        trace.0.iter().filter(|entry| entry.name == name && entry.event == event).cloned().collect()
    };
    let restored = of("restored");
    let what =
        trace.0.iter().filter(|entry| entry.name == name && ["loaded", "fresh"].contains(&&*entry.event));
    let what: Vec<String> =
        what.map(|entry| format!("{} {}", entry.event, entry.detail).trim().to_owned()).collect();
    restored.into_iter().map(|entry| entry.detail).zip(what).collect()
}

fn wait_found(project: &Project, name: &str, run: usize) -> (String, String) {
    wait_for(&format!("run {run} of {name} has looked for its state"), || {
        found(project, name).get(run - 1).cloned()
    })
}

fn pair(from: &str, what: &str) -> (String, String) {
    (from.to_owned(), what.to_owned())
}

/// The generations on disk: header and payload.
fn generations(project: &Project, name: &str) -> Vec<(String, String)> {
    let folder = project.path(&format!(".orch/state/{name}"));
    let mut files: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "orst"));
    files.sort();
    let split = |path: &std::path::PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        text.split_once('\n').map(|(header, payload)| (header.to_owned(), payload.to_owned())).unwrap()
    };
    files.iter().map(split).collect()
}

fn quarantined(project: &Project, name: &str) -> usize {
    let mut found = 0;
    let mut folders = vec![project.path(".orch")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().contains("quarantine") && path.to_str().unwrap().contains(name) {
                found += 1;
            }
        }
    }
    found
}

fn save(project: &Project, text: &str) {
    project.write("source", text);
}

#[test]
fn a_state_is_carried_over_restarts_and_over_runs_of_orch() {
    for how in ["place", "rename"] {
        let project = Project::new(&format!(
            "
components:
  a: {{ process: ./faulty load keep {how}, watch: [source], state: data/state.json }}
"
        ));
        let mut orch = project.up();
        assert_eq!(wait_found(&project, "a", 1), pair("nothing", "fresh"));
        project.wait_ready("a", 1);
        save(&project, "1");
        assert_eq!(wait_found(&project, "a", 2), pair("restart", "loaded 1"));
        project.wait_ready("a", 2);
        save(&project, "2");
        assert_eq!(wait_found(&project, "a", 3), pair("restart", "loaded 2"));
        project.wait_ready("a", 3);
        orch.stop();
        let mut orch = project.up();
        assert_eq!(wait_found(&project, "a", 4), pair("restart", "loaded 3"));
        project.wait_ready("a", 4);
        orch.stop();
        let last = generations(&project, "a").pop().unwrap();
        assert_eq!(last.1, "4");
        let (seal, json) = last.0.strip_prefix("ORST1 ").unwrap().split_once(' ').unwrap();
        assert!(seal.len() == 64 && seal.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let header: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!((&header["component"], &header["incarnation"]), (&"a".into(), &4.into()));
        assert_eq!((&header["source"], &header["restart_marker"]), (&"restart".into(), &true.into()));
        assert_eq!(header["payload_len"], 1);
        let events = project.events();
        let count = |event: &str| events.iter().filter(|it| it["event"] == event).count();
        assert_eq!((count("state.sealed"), count("state.restored")), (4, 3));
    }
}

#[test]
fn restart_args_are_added_when_a_state_is_restored() {
    let project = Project::new(
        "
components:
  a:
    process: ./faulty load keep rename
    watch: [source]
    state: { file: s.json, restart_args: [note, --restart] }
",
    );
    let mut orch = project.up();
    project.wait_ready("a", 1);
    wait_found(&project, "a", 1);
    save(&project, "1");
    assert_eq!(project.wait_trace("a", "note", 1)[0].detail, "--restart");
    project.wait_ready("a", 2);
    orch.stop();
    assert_eq!(project.trace().of("a", "note").len(), 1, "not at the first start");
}

#[test]
fn without_restoring_it_starts_afresh_and_what_was_saved_is_kept() {
    let project = Project::new("components:\n  a: { process: ./faulty load keep place, state: true }");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    orch.stop();
    let mut orch = project.up_with(&["--no-restore"]);
    assert_eq!(wait_found(&project, "a", 2), pair("nothing", "fresh"));
    project.wait_ready("a", 2);
    assert!(!generations(&project, "a").is_empty());
    orch.stop();
}

#[test]
fn a_file_written_in_place_is_not_used_after_a_force_kill_but_set_aside() {
    let project = Project::new(
        "
components:
  a:
    process: ./faulty load deaf wait 100 save place 7 note saved
    watch: [source]
    state: s.json
    stop: { timeout: 100ms }
",
    );
    let mut orch = project.up();
    project.wait_trace("a", "note", 1);
    project.wait_ready("a", 1);
    save(&project, "1");
    assert_eq!(wait_found(&project, "a", 2), pair("nothing", "fresh"));
    let rejected = project.wait_event("it is told", |event| event["event"] == "state.rejected");
    assert!(rejected["reason"].is_string());
    assert_eq!(quarantined(&project, "a"), 1);
    project.wait_trace("a", "note", 2);
    orch.signal(Signal::TERM);
    orch.expect_exit(0);
}

#[test]
fn a_file_torn_in_the_middle_of_a_save_is_never_used() {
    let project = Project::new(
        "
components:
  a:
    process: ./faulty load keep rename
    watch: [source]
    state: { file: s.json, once: false }
    stop: { timeout: 200ms }
",
    );
    let mut orch = project.up();
    wait_found(&project, "a", 1);
    project.wait_ready("a", 1);
    // From now on it hangs in the middle of writing a long text in place.
    project.yaml(
        "
components:
  a:
    process: ./faulty load deaf save torn 123456789012345678901234567890
    watch: [source]
    state: { file: s.json, once: false }
    stop: { timeout: 200ms }
",
    );
    assert_eq!(wait_found(&project, "a", 2), pair("restart", "loaded 1"));
    project.wait_trace("a", "torn", 1);
    save(&project, "1");
    assert_eq!(wait_found(&project, "a", 3), pair("restart", "loaded 1"));
    project.wait_trace("a", "torn", 2);
    orch.signal(Signal::TERM);
    orch.expect_exit(0);
}

#[test]
fn what_always_comes_by_rename_is_a_snapshot_after_orch_was_killed() {
    // Without `atomic: true` nobody would know how the file came: orch was not there to see it.
    let project = Project::new(
        "
components:
  a:
    process: ./faulty load save rename 5 note saved
    state: { file: s.json, atomic: true }
",
    );
    let mut orch = project.up();
    project.wait_trace("a", "note", 1);
    orch.kill();
    project.wait_gone();
    let mut orch = project.up();
    assert_eq!(wait_found(&project, "a", 2), pair("snapshot", "loaded 5"));
    project.wait_trace("a", "note", 2);
    orch.stop();
}

#[test]
fn what_came_by_rename_right_before_a_crash_counts_and_what_was_written_in_place_does_not() {
    for (how, expected) in [("rename", pair("snapshot", "loaded 5")), ("place", pair("nothing", "fresh"))] {
        let project = Project::new(&format!(
            "
components:
  a:
    process: ./faulty load wait 100 save {how} 5 note saved
    restart: {{ backoff: {{ initial: 10ms, max: 10ms }} }}
    state: s.json
"
        ));
        let mut orch = project.up();
        let pid = project.wait_trace("a", "note", 1)[0].pid;
        kill_9(pid);
        assert_eq!(wait_found(&project, "a", 2), expected, "{how}");
        project.wait_trace("a", "note", 2);
        orch.signal(Signal::TERM);
        assert!(orch.exit_status().code().is_some());
    }
}

#[test]
fn with_atomic_a_file_counts_after_any_crash() {
    let project = Project::new(
        "
components:
  a:
    process: ./faulty load deaf save place 7 note saved
    watch: [source]
    state: { file: s.json, atomic: true }
    stop: { timeout: 100ms }
",
    );
    let mut orch = project.up();
    project.wait_trace("a", "note", 1);
    project.wait_ready("a", 1);
    save(&project, "1");
    assert_eq!(wait_found(&project, "a", 2), pair("snapshot", "loaded 7"));
    project.wait_trace("a", "note", 2);
    orch.stop();
}

#[test]
fn one_older_than_max_age_is_not_restored() {
    let yaml = |age: &str| {
        format!(
            "components:\n  a: {{ process: ./faulty load keep rename, state: {{ file: s.json, max_age: {age} }} }}"
        )
    };
    let project = Project::new(&yaml("1ms"));
    let mut orch = project.up();
    project.wait_ready("a", 1);
    wait_found(&project, "a", 1);
    orch.stop();
    let mut orch = project.up();
    assert_eq!(wait_found(&project, "a", 2), pair("nothing", "fresh"));
    project.wait_ready("a", 2);
    orch.stop();
    project.yaml(&yaml("never"));
    let mut orch = project.up();
    assert_eq!(wait_found(&project, "a", 3).0, "restart");
    project.wait_ready("a", 3);
    orch.stop();
}

#[test]
fn once_means_until_a_run_has_become_ready_with_it() {
    for (once, second) in [(true, pair("nothing", "fresh")), (false, pair("restart", "loaded 1"))] {
        let project = Project::new(&format!(
            "
components:
  a:
    process: ./faulty load keep rename
    watch: [source]
    restart: {{ backoff: {{ initial: 10ms, max: 10ms }} }}
    state: {{ file: s.json, once: {once} }}
"
        ));
        let mut orch = project.up();
        wait_found(&project, "a", 1);
        project.wait_ready("a", 1);
        save(&project, "1");
        assert_eq!(wait_found(&project, "a", 2), pair("restart", "loaded 1"));
        project.wait_ready("a", 2);
        // A crash after it was ready: the state is used up, and there is no newer one.
        kill_9(project.trace().of("a", "start")[1].pid);
        assert_eq!(wait_found(&project, "a", 3), second, "once: {once}");
        project.wait_ready("a", 3);
        orch.stop();
    }
}

#[test]
fn a_state_that_crashes_its_component_twice_is_set_aside_as_poisoned() {
    let project = Project::new(
        "
components:
  a:
    process: ./faulty load fresh-only keep rename
    watch: [source]
    restart: { policy: on-failure, success_codes: [7], backoff: { initial: 10ms, max: 10ms } }
    ready: { file: s-is-ready, timeout: 1m, interval: 10ms }
    state: s.json
",
    );
    let mut orch = project.up();
    wait_found(&project, "a", 1);
    project.wait_state("a", "starting");
    project.write("s-is-ready", "1");
    project.wait_ready("a", 1);
    save(&project, "1");
    // Two runs get it, and end before they are ready; the third starts afresh.
    assert_eq!(wait_found(&project, "a", 2), pair("restart", "loaded 1"));
    assert_eq!(wait_found(&project, "a", 3), pair("restart", "loaded 1"));
    assert_eq!(wait_found(&project, "a", 4).1, "fresh");
    project.write("s-is-ready", "2");
    project.wait_ready("a", 4);
    let reasons: Vec<String> = project
        .events()
        .iter()
        .filter(|event| event["event"] == "state.rejected")
        .filter_map(|event| event["reason"].as_str().map(str::to_owned))
        .collect();
    assert!(reasons.iter().any(|reason| reason.contains("poison")), "{reasons:?}");
    orch.stop();
}

#[test]
fn a_damaged_generation_is_never_used_and_the_one_before_it_is() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty load keep rename, watch: [source], state: { file: s.json, once: false, max_age: never } }
",
    );
    let mut orch = project.up();
    wait_found(&project, "a", 1);
    project.wait_ready("a", 1);
    save(&project, "1");
    wait_found(&project, "a", 2);
    project.wait_ready("a", 2);
    orch.stop();
    let folder = project.path(".orch/state/a");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "orst"));
    files.sort();
    let newest = files.last().unwrap();
    let mut bytes = fs::read(newest).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(newest, mode).unwrap();
    fs::write(newest, bytes).unwrap();
    // The state file itself would be sealed as the newest otherwise.
    fs::remove_file(project.path("s.json")).unwrap();
    let mut orch = project.up();
    assert_eq!(wait_found(&project, "a", 3), pair("backup", "loaded 1"));
    assert!(project.events().iter().any(|event| event["event"] == "state.rejected"));
    assert!(quarantined(&project, "a") >= 1);
    project.wait_ready("a", 3);
    orch.stop();
}

#[test]
fn a_file_that_is_there_before_the_first_run_is_taken_over() {
    let project = Project::new("components:\n  a: { process: ./faulty load, state: s.json }");
    project.write("s.json", "41");
    let mut orch = project.up();
    let (_, what) = wait_found(&project, "a", 1);
    assert_eq!(what, "loaded 41");
    project.wait_ready("a", 1);
    assert_eq!(generations(&project, "a").len(), 1);
    orch.stop();
}

#[test]
fn a_thread_counts_on_where_it_was() {
    let project = Project::new(
        "
components:
  clock: { thread: ticker, with: { every: 5ms, message: 'tick {n}' }, watch: [source], state: true }
",
    );
    let mut orch = project.up();
    let ticks = || project.read(".orch/logs/clock.log").lines().count();
    for run in 1..=3_u64 {
        project.wait_told_ready("clock", run);
        let before = ticks();
        wait_until("it ticks", || ticks() > before + 3);
        save(&project, &run.to_string());
    }
    project.wait_told_ready("clock", 4);
    orch.stop();
    let mut orch = project.up();
    project.wait_told_ready("clock", 5);
    let before = ticks();
    wait_until("it ticks", || ticks() > before + 3);
    orch.stop();
    let log = project.read(".orch/logs/clock.log");
    for (line, number) in log.lines().zip(1..) {
        assert_eq!(line, format!("tick {number}"), "no tick is lost and none counted twice");
    }
}

#[test]
fn a_required_state_that_is_lost_fails_the_start() {
    let project = Project::new(
        "
components:
  a:
    process: ./faulty load keep rename
    restart: never
    state: { file: s.json, required: true, max_age: never }
",
    );
    let mut orch = project.up();
    // There was none ever, so this is no loss.
    assert_eq!(wait_found(&project, "a", 1), pair("nothing", "fresh"));
    project.wait_ready("a", 1);
    orch.stop();
    fs::remove_file(project.path("s.json")).unwrap();
    for entry in fs::read_dir(project.path(".orch/state/a")).unwrap().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|end| end == "orst") {
            fs::remove_file(&path).unwrap();
            fs::write(&path, "ORST1 nonsense\n").unwrap();
        }
    }
    project.up().expect_exit(1);
    assert_eq!(project.starts("a"), 1);
    assert_eq!(project.state_of("a").0, "failed");
    assert!(project.events().iter().any(|event| event["event"] == "state.rejected"), "and it is told why");
    // What somebody puts there by hand is as good as any.
    fs::write(project.path("s.json"), "77").unwrap();
    let mut orch = project.up();
    assert_eq!(wait_found(&project, "a", 2).1, "loaded 77");
    orch.stop();
}

/// The sources of the generations that were sealed of a component, in order.
fn sealed(project: &Project, name: &str) -> Vec<String> {
    let of = |event: &Value| event["event"] == "state.sealed" && event["component"] == name;
    let events = project.events().into_iter().filter(of);
    events.map(|event| event["source"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_replaced_while_its_component_runs_is_sealed_at_once_and_survives_orch() {
    let project = Project::new("components:\n  a: { process: ./faulty load save rename 41, state: true }");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    wait_until("it is sealed while it runs", || sealed(&project, "a") == ["snapshot"]);
    orch.kill();
    project.wait_gone();
    let mut next = project.up();
    let loaded = project.wait_trace("a", "loaded", 1);
    assert_eq!(loaded[0].detail, "41");
    assert_eq!(project.trace().of("a", "restored")[1].detail, "snapshot");
    next.stop();
}

#[test]
fn a_component_is_asked_for_its_state_and_a_crash_costs_one_period_at_most() {
    // The shell is the leader, and alone gets the signal.
    let script = "n=$(cat $ORCH_STATE_FILE 2>/dev/null || echo 0); echo from $n $ORCH_RESTORED
        trap 'n=$((n+1)); echo $n > new; mv new $ORCH_STATE_FILE' USR1
        while :; do sleep 0.02; done";
    let project = Project::new(&format!(
        "components:
  a:
    process: {{ shell: {script:?} }}
    state: {{ snapshot: {{ every: 60ms, signal: SIGUSR1 }} }}
    restart: {{ backoff: {{ initial: 1ms }} }}"
    ));
    let mut orch = project.up();
    wait_until("it was asked often", || sealed(&project, "a").len() >= 4);
    assert!(sealed(&project, "a").iter().all(|source| source == "snapshot"));
    let spawned = |event: &Value| event["event"] == "component.spawned";
    let leader = project.events().iter().rev().find(|event| spawned(event)).unwrap()["pid"].as_u64().unwrap();
    kill_9(u32::try_from(leader).unwrap());
    let log = || project.read(".orch/logs/a.log");
    wait_until("it goes on", || log().lines().count() >= 2);
    let second = log().lines().nth(1).unwrap().to_owned();
    let number: u64 = second.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(number >= 4 && second.ends_with("snapshot"), "{second}");
    orch.stop();
}

#[test]
fn an_ordered_stop_hands_over_also_what_was_sealed_already() {
    let project = Project::new(
        "components:\n  a: { process: ./faulty load save rename 7, state: true, watch: [source] }",
    );
    let mut orch = project.up();
    project.wait_ready("a", 1);
    wait_until("it is sealed while it runs", || sealed(&project, "a") == ["snapshot"]);
    project.write("source", "new");
    project.wait_ready("a", 2);
    assert_eq!(sealed(&project, "a")[1], "restart");
    assert_eq!(project.trace().of("a", "restored")[1].detail, "restart");
    orch.stop();
}
