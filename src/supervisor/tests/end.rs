//! How the project ends, and with which exit code.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::play::{Act, Play, edit, ms, project};
use crate::config::model::OnFailure;
use crate::supervisor::{Event, Setup};

#[test]
fn it_ends_by_itself_when_nothing_can_come_any_more() {
    let cases: [(&str, Act, Option<u8>); 7] = [
        ("a; b: a completed", |play| (play.ends("a", 0), play.ends("b", 0)).1, Some(0)),
        ("a!; b: a completed", |play| play.ends("a", 1), Some(1)),
        ("a; b", |play| play.ends("a", 0), None),
        ("a", |play| play.ends("a", 1), None),
        ("a*", |play| play.ends("a", 0), None),
        ("a; b", |play| (play.stop("a"), play.gone("a"), play.ends("b", 0)).2, None),
        ("a?; b: a completed", |play| play.ready("a"), None),
    ];
    for (text, act, code) in cases {
        let mut play = Play::of(text);
        act(&mut play);
        assert_eq!(play.exit, code, "{text}: {}", play.states());
    }
}

#[test]
fn without_watching_a_watched_component_does_not_keep_it_going() {
    let project = project("a*");
    let chosen = project.components.iter().map(|spec| spec.name.clone()).collect();
    let incarnations = BTreeMap::new();
    let project = Arc::new(project);
    let mut play = Play::setup(Setup {
        project,
        chosen,
        watching: false,
        may_reexec: true,
        incarnations,
        first_seq: 1,
        seed: 1,
    });
    play.tell(Event::Up);
    play.ends("a", 0);
    assert_eq!(play.exit, Some(0));
}

#[test]
fn on_failure_shutdown_ends_everything_in_order_with_1() {
    let mut play = Play::with("db; api!; web: db", |project| {
        edit(project, "api", |spec| spec.on_failure = OnFailure::Shutdown);
    });
    play.took();
    play.ends("api", 3);
    assert_eq!(play.took(), "sweep api, stop web");
    play.gone("web");
    play.gone("db");
    assert_eq!(play.exit, Some(1));
}

#[test]
fn a_second_signal_kills_everything_and_a_third_does_not_wait() {
    let mut play = Play::of("db; api: db");
    play.took();
    play.down();
    play.after(100);
    play.down();
    assert_eq!(play.took(), "stop api, kill api, kill db");
    assert_eq!(play.reason("api"), "force-killed: it was asked for a second time");
    play.gone("db");
    assert_eq!((play.exit, play.took().as_str()), (None, "close db"));
    play.down();
    assert_eq!((play.exit, play.took().as_str()), (Some(1), "exit 1"));
}

#[test]
fn past_shutdown_timeout_all_that_is_left_is_killed() {
    let mut play = Play::with("db; api: db", |project| project.shutdown_timeout = ms(1_000));
    play.took();
    play.down();
    play.after(999);
    assert_eq!(play.took(), "stop api");
    play.after(1);
    assert_eq!(play.took(), "kill api, kill db");
    assert_eq!(play.reason("db"), "force-killed: the shutdown took longer than shutdown_timeout");
    play.gone("db");
    play.gone("api");
    assert_eq!(play.exit, Some(1));
}

#[test]
fn what_is_being_spawned_at_a_second_signal_is_killed_when_it_is_there() {
    let mut play = Play::quiet("api", |_| {});
    play.silent();
    play.tell(Event::Up);
    play.prepared("api");
    play.down();
    play.down();
    assert_eq!(play.took(), "spawn api");
    play.spawned("api");
    assert_eq!(play.took(), "kill api");
    play.gone("api");
    assert_eq!(play.exit, Some(1));
}

#[test]
fn a_force_kill_alone_is_no_failure_and_what_failed_before_is() {
    let mut play = Play::of("api; keep");
    play.down();
    play.gone("keep");
    play.after(5_000);
    play.gone("api");
    assert_eq!(play.exit, Some(0));

    for text in ["bad!; keep", "bad?!; blocked: bad; keep"] {
        let mut play = Play::of(text);
        play.ends("bad", 1);
        play.down();
        play.gone("keep");
        assert_eq!(play.exit, Some(1), "{text}");
    }
}

#[test]
fn a_crash_during_the_shutdown_is_no_failure() {
    let mut play = Play::of("db!; api: db");
    play.down();
    play.ends("db", 1);
    play.ends("api", 1);
    assert_eq!((play.exit, play.states().as_str()), (Some(0), "api=stopped db=stopped"));
}
