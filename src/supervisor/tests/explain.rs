//! What `why` says.

use std::sync::Arc;

use super::play::{Play, edit, ms};
use crate::config::model::{HostPort, Probe};
use crate::supervisor::{Course, RunEvent, sentences};
use crate::types::Time;

fn why(play: &Play, of: &str) -> Vec<String> {
    let explanation = play.core.find(of).and_then(|cid| play.core.explain(cid)).unwrap();
    sentences(&explanation, play.now)
}

fn first(play: &Play, of: &str) -> String {
    why(play, of).remove(0)
}

fn asked(text: &str) -> Play {
    Play::with(text, |project| {
        edit(project, "db", |spec| {
            let probe = Probe::Tcp(HostPort { host: "127.0.0.1".to_owned(), port: 5432 });
            spec.ready.as_mut().unwrap().probe = probe;
        });
    })
}

fn refused(play: &mut Play, tries: u32, error: &str) {
    let error = format!("tcp 127.0.0.1:5432: {error}");
    play.says("db", RunEvent::NotYet { error, tries });
}

#[test]
fn a_probe_and_what_it_met() {
    let mut play = asked("db?; api: db; web: api");
    assert_eq!(
        first(&play, "api"),
        "waiting for db to be ready: probe tcp 127.0.0.1:5432 has not answered yet"
    );
    refused(&mut play, 1, "no answer within 1s");
    refused(&mut play, 2, "connection refused");
    refused(&mut play, 8, "connection refused");
    play.after(80);
    let met = "probe tcp 127.0.0.1:5432 refused 7 times, last 80 ms ago (after another failure)";
    assert_eq!(first(&play, "api"), format!("waiting for db to be ready: {met}"));
    assert_eq!(first(&play, "db"), format!("starting: {met}; it has failed if not ready in 9.9 s"));
    assert_eq!(
        why(&play, "web"),
        [
            "waiting for api to be ready, which waits itself".to_owned(),
            format!("api is waiting for db to be ready: {met}")
        ]
    );
}

#[test]
fn of_what_is_to_complete_and_runs_it_is_told_for_how_long() {
    let mut play = Play::of("job; api: job completed");
    play.after(2_300);
    assert_eq!(first(&play, "api"), "waiting for job to complete: it has been running for 2.3 s");
}

#[test]
fn what_is_held_by_what_a_command_has_stopped() {
    let mut play = Play::of("db; api: db; web: api");
    play.stop("db");
    assert_eq!(
        why(&play, "db"),
        [
            "to be stopped (stopped by command) when api is gone, which waits itself",
            "api is to be stopped (stopped by command) when web is gone, which is stopping: asked to stop 0 ms ago \
             (SIGTERM), force-killed in 5.0 s: stopped by command",
        ]
    );
    for of in ["web", "api", "db"] {
        play.gone(of);
    }
    assert_eq!(why(&play, "db"), ["stopped by command"]);
    play.restart("web");
    assert_eq!(why(&play, "web"), ["held: waits for api, which a command has stopped"]);
}

#[test]
fn what_backs_off_fails_and_blocks() {
    let mut play = Play::of("db; api: db; web: api; keep");
    for wait in [0, 100, 200] {
        play.after(wait);
        play.ends("db", 1);
    }
    play.after(100);
    let row = "backing off: starts again in 300 ms, after 3 failures in a row; it ended with exit code 1";
    assert_eq!(
        why(&play, "db"),
        [row, "it was restarted 2 times by itself since `orch up`, 3 of at most 5 within 1m"]
    );
}

#[test]
fn a_failure_for_good_and_whom_it_blocks() {
    let mut play = Play::with("bad!; api: bad; web: api; keep", |project| {
        edit(project, "bad", |spec| spec.ready = None);
        edit(project, "api", |spec| {
            spec.depends_on[0].condition = crate::config::model::Condition::Completed
        });
    });
    play.ends("bad", 3);
    assert_eq!(why(&play, "bad"), ["failed: it ended with exit code 3"]);
    assert_eq!(why(&play, "api"), ["blocked: bad has failed: it ended with exit code 3"]);
    assert_eq!(
        why(&play, "web"),
        ["blocked: api is blocked", "api is blocked: bad has failed: it ended with exit code 3"]
    );
}

#[test]
fn an_end_and_what_is_left_of_it() {
    let mut play = Play::with("api; odd", |project| {
        edit(project, "odd", |spec| Arc::make_mut(&mut spec.stop).force_kill = false);
    });
    play.stop("api");
    play.stop("odd");
    play.after(1_200);
    let asked = "stopping: asked to stop 1.2 s ago (SIGTERM)";
    assert_eq!(first(&play, "api"), format!("{asked}, force-killed in 3.8 s: stopped by command"));
    assert_eq!(
        first(&play, "odd"),
        format!("{asked}, not force-killed, for force_kill is off: stopped by command")
    );
    play.after(3_800);
    assert_eq!(
        first(&play, "api"),
        "stopping: force-killed: it did not stop within 5000 ms; given up in 2.0 s"
    );
    assert_eq!(
        first(&play, "odd"),
        "stuck since 0 ms: it did not stop within 5000 ms, and force_kill is off"
    );
    play.says("api", RunEvent::Gone);
    play.after(500);
    assert_eq!(first(&play, "api"), "stopping: it is gone; its output is read for 1.5 s at the most");
}

#[test]
fn a_leader_that_has_ended_and_left_something() {
    let mut play = Play::of("api; keep");
    play.exits("api", 2);
    play.after(300);
    assert_eq!(
        first(&play, "api"),
        "stopping: it ended with exit code 2 300 ms ago; the rest of it is force-killed in 4.7 s"
    );
}

#[test]
fn the_records_that_the_chain_begins_at() {
    let mut play = Play::of("api?");
    let explain = |play: &Play| play.core.find("api").and_then(|cid| play.core.explain(cid)).unwrap();
    let before = explain(&play);
    assert!(before.started.is_some() && before.started < before.last.map(|last| last + 1), "{before:?}");
    play.ready("api");
    let after = explain(&play);
    assert_eq!((after.started, after.incarnation), (before.started, 1));
    assert!(after.last > after.started);
    play.says("api", RunEvent::Status { text: "12 jobs".to_owned() });
    assert_eq!(why(&play, "api"), ["ready: its probe succeeded after 0 ms", "it says of itself: 12 jobs"]);
    play.after(ms(1).as_millis().try_into().unwrap());
}

/// The tries that nobody has told the core of.
#[test]
fn later_tries_are_counted() {
    let mut play = asked("db?");
    refused(&mut play, 3, "connection refused");
    let explain = |play: &Play| play.core.find("db").and_then(|cid| play.core.explain(cid)).unwrap();
    play.after(500);
    let mut explanation = explain(&play);
    let Course::Starting(Some(probing)) = &mut explanation.course else { panic!("{explanation:?}") };
    probing.tried(7, Time(0) + ms(420));
    assert_eq!(
        sentences(&explanation, play.now),
        [
            "starting: probe tcp 127.0.0.1:5432 refused 7 times, last 80 ms ago; it has failed if not ready in 9.5 s"
        ]
    );
}

/// The core is told of all that each probe meets, and of what the others wait for, in a row of any length.
#[test]
fn a_long_row_of_waits_overflows_no_stack() {
    let mut text = "c0?".to_owned();
    for at in 1..5_000 {
        text.push_str(&format!("; c{at}: c{}", at - 1));
    }
    let told = why(&Play::unchecked(&text), "c4999");
    assert!((10..=100).contains(&told.len()), "{}", told.len());
    assert!(told.last().unwrap().ends_with("to be ready (waiting)"), "{told:?}");
}

/// A hundred that all need each other would be told of for ever, were each not told of once.
#[test]
fn each_component_is_explained_once() {
    let needs = |at: usize| (0..at).map(|on| format!("c{on}")).collect::<Vec<_>>().join(", ");
    let text: Vec<String> =
        (0..60).map(|at| format!("c{at}{}: {}", if at == 0 { "?" } else { "" }, needs(at))).collect();
    let play = Play::of(&text.join("; "));
    assert!(why(&play, "c59").len() < 60 * 60);
}

#[test]
fn what_is_awaited_is_not_said_to_be_there() {
    // It is to be stopped, and another one has to go first.
    let mut play = Play::of("db; web: db restart; api: db, late; late?");
    play.restart("db");
    play.ready("late");
    assert_eq!(play.reason("api"), "waiting for db to be ready (about to be stopped)");
    let mut play = Play::of("db; api: db, late; late?");
    play.says("db", RunEvent::Notice(crate::types::Notice::Reloading));
    play.ready("late");
    assert_eq!(play.reason("api"), "waiting for db to be ready (reloading)");
    assert_eq!(first(&play, "api"), "waiting for db to be ready: it reloads its configuration");
    // Its files are not quiet, and it is shown as what it was.
    let mut play = Play::of("job*; late?; api: job completed, late");
    play.ends("job", 0);
    play.change("job");
    play.ready("late");
    assert_eq!(play.reason("api"), "waiting for job to complete (about to start)");
}
