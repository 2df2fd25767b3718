//! Guarantee 1, conditions, probes, and what is prepared but not spawned.

use super::play::{Play, edit};
use crate::config::model::{Project, State};
use crate::supervisor::{Event, Restored, RunEvent, Sealed, Source};
use crate::types::{Exit, Signal};

#[test]
fn each_condition_opens_in_its_state_and_independent_ones_start_together() {
    let mut play = Play::of("db?; fast: db started; api: db; after: db completed; other");
    assert_eq!(play.took(), "spawn db, spawn other, spawn fast");
    assert_eq!(play.states(), "after=waiting api=waiting db=starting fast=ready other=ready");
    play.ready("db");
    assert_eq!((play.took().as_str(), play.state("after")), ("spawn api", "waiting"));
    play.ends("db", 0);
    assert_eq!((play.took().as_str(), play.state("db")), ("sweep db, spawn after", "completed"));
}

#[test]
fn what_has_completed_meets_every_condition() {
    let mut play = Play::of("job; late: mid; mid: job completed; mid2: job started");
    play.ends("job", 0);
    play.stop("late");
    play.gone("late");
    play.start("late");
    play.restart("mid2");
    play.gone("mid2");
    assert_eq!(play.states(), "job=completed late=ready mid=ready mid2=ready");
}

#[test]
fn a_time_out_never_counts_as_ready() {
    let mut play = Play::of("db?!; api: db");
    play.says("db", RunEvent::NotYet { error: "refused".to_owned(), tries: 1 });
    play.after(9_999);
    assert_eq!((play.took().as_str(), play.state("db")), ("spawn db", "starting"));
    play.after(1);
    assert_eq!((play.took().as_str(), play.state("db")), ("stop db", "stopping"));
    play.ready("db");
    assert_eq!(play.states(), "api=waiting db=stopping");
    play.ends("db", 0);
    assert_eq!(play.states(), "api=blocked db=failed");
    assert_eq!(play.reason("db"), "not ready within 10000 ms; last try: refused");
}

#[test]
fn one_that_ends_before_its_probe_succeeded_has_failed() {
    let mut play = Play::of("job?!; next: job completed");
    play.ends("job", 0);
    assert_eq!(play.states(), "job=failed next=blocked");
    assert_eq!(play.reason("job"), "it ended with exit code 0 before it was ready");
}

#[test]
fn an_automatic_restart_waits_for_its_dependencies_too() {
    let mut play = Play::of("db?; api: db");
    play.ready("db");
    play.after(1_000);
    play.ends("db", 1);
    assert_eq!(
        (play.took().as_str(), play.state("api")),
        ("spawn db, spawn api, sweep db, spawn db", "ready")
    );
    play.ends("api", 1);
    assert_eq!(
        (play.state("api"), play.took().as_str()),
        ("waiting", "sweep api"),
        "db is not ready in this run"
    );
    play.ready("db");
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", "spawn api"));
}

#[test]
fn what_is_prepared_is_spawned_only_if_it_still_may_be() {
    let mut play = Play::of("db; api: db");
    play.ends("api", 1);
    play.silent();
    play.after(100);
    play.took();
    play.exits("db", 1);
    play.prepared("api");
    assert_eq!((play.took().as_str(), play.state("api")), ("sweep db", "waiting"));
    assert_eq!(play.run("api").incarnation, 1, "a run that nobody has seen does not count");
}

fn with_state(project: &mut Project) {
    edit(project, "api", |spec| {
        spec.state = Some(Box::new(State {
            file: "/p/state".into(),
            max_age: None,
            once: true,
            atomic: false,
            keep: 3,
            max_size: 1 << 20,
            snapshot: None,
            restart_args: Vec::new(),
            required: false,
        }));
    });
}

/// A state that was put in place for a run that never was must not count as tried: it would be poisoned.
#[test]
fn a_state_put_in_place_for_nothing_is_handed_back() {
    let restored = || {
        let restored = Some(Restored { source: Source::Restart, generation: 4 });
        RunEvent::Prepared { restored, rejected: Vec::new(), sealed: None }
    };
    let mut play = Play::quiet("db; api: db", with_state);
    play.silent();
    play.tell(Event::Up);
    play.prepared("db");
    play.spawned("db");
    play.exits("db", 1);
    play.says("api", restored());
    assert_eq!(play.took(), "spawn db, sweep db, take back api", "taken back");
    assert_eq!(play.state("api"), "starting");
    play.says("api", RunEvent::Sealed(Sealed::Nothing));
    assert_eq!(play.state("api"), "waiting");

    let mut play = Play::quiet("api", with_state);
    play.silent();
    play.tell(Event::Up);
    play.says("api", restored());
    play.says("api", RunEvent::SpawnFailed { error: "no such file".to_owned() });
    assert_eq!(play.took(), "spawn api, take back api", "not spawned");
    play.says("api", RunEvent::Sealed(Sealed::Nothing));
    assert_eq!(
        (play.state("api"), play.reason("api").as_str()),
        ("backoff", "no such file; starting again in 100 ms")
    );
}

#[test]
fn a_state_is_used_up_when_the_run_is_ready_with_it() {
    let mut play = Play::quiet("api?", with_state);
    play.silent();
    play.tell(Event::Up);
    let restored = Some(Restored { source: Source::Restart, generation: 4 });
    play.says("api", RunEvent::Prepared { restored, rejected: Vec::new(), sealed: None });
    play.spawned("api");
    assert_eq!(play.took(), "spawn api");
    play.ready("api");
    assert_eq!(play.took(), "use api");
}

#[test]
fn a_state_tells_how_the_run_ended() {
    let table = [
        ("ended", "Succeeded"),
        ("failed", "Crashed"),
        ("asked", "Ordered"),
        ("heeded", "Ordered"),
        ("shot", "Crashed"),
        ("killed", "Crashed"),
    ];
    for (what, end) in table {
        let mut play = Play::with("api!", with_state);
        match what {
            "ended" => play.ends("api", 0),
            "failed" => play.ends("api", 1),
            "asked" => {
                play.stop("api");
                play.ends("api", 1);
            }
            "heeded" | "shot" => {
                let signal = if what == "shot" { Signal::KILL } else { Signal::TERM };
                play.stop("api");
                play.says("api", RunEvent::Exited(Exit::Signal(signal)));
                play.gone("api");
            }
            _ => {
                play.stop("api");
                play.after(5_000);
                play.gone("api");
            }
        }
        let took = play.took();
        assert!(took.contains(&format!("seal api {end}")), "{what}: {took}");
    }
}

#[test]
fn a_late_answer_changes_nothing() {
    let mut play = Play::of("api?");
    let old = play.run("api");
    play.restart("api");
    play.gone("api");
    play.took();
    for event in [RunEvent::Ready, RunEvent::Exited(Exit::Code(0)), RunEvent::Gone, RunEvent::Unkillable] {
        play.tell(Event::Run(old, event));
    }
    assert_eq!((play.state("api"), play.took().as_str()), ("starting", ""));
}

#[test]
fn blocked_until_what_failed_starts_again() {
    let mut play = Play::of("db!; api: db; keep; web: api");
    play.stop("api");
    play.gone("web");
    play.gone("api");
    play.ends("db", 1);
    play.restart("web");
    assert_eq!(play.states(), "api=stopped db=failed keep=ready web=waiting");
    play.restart("api");
    assert_eq!(play.states(), "api=blocked db=failed keep=ready web=blocked");
    assert_eq!((play.reason("api"), play.reason("web")), ("db has failed".into(), "api is blocked".into()));
    play.start("db");
    assert_eq!(play.states(), "api=ready db=ready keep=ready web=ready");
}
