//! What a changed file does, and in which state.

use std::sync::Arc;

use super::play::{Act, Play, edit};
use crate::config::model::WatchAction;
use crate::supervisor::{Event, RunEvent};

#[test]
fn it_is_stopped_at_once_and_started_when_gone_and_quiet() {
    let mut play = Play::of("api*");
    play.took();
    play.change("api");
    assert_eq!((play.took().as_str(), play.state("api")), ("stop api", "stopping"));
    play.after(20);
    play.change("api");
    play.gone("api");
    assert_eq!((play.took().as_str(), play.state("api")), ("", "stopping"), "not quiet for settle yet");
    play.after(4);
    play.change("api");
    play.after(4);
    assert_eq!((play.took().as_str(), play.state("api")), ("", "stopping"));
    play.after(1);
    assert_eq!((play.took().as_str(), play.state("api")), ("spawn api", "ready"));
    assert!(!play.reasons.iter().any(|reason| reason.contains("stopped")), "{:?}", play.reasons);
}

#[test]
fn a_burst_of_files_waits_longer() {
    let mut play = Play::of("api*");
    let component = play.core.find("api").unwrap();
    play.tell(Event::Changed { component, paths: vec!["/p/src/a".into(); 100] });
    play.gone("api");
    play.took();
    play.after(199);
    assert_eq!(play.took(), "");
    play.after(1);
    assert_eq!(play.took(), "spawn api");
}

#[test]
fn in_each_state_it_does_what_the_contract_says() {
    let check = |what: &str, mut play: Play, state: &str, then: &str| {
        assert_eq!(play.state("api"), state, "{what}");
        play.took();
        play.change("api");
        play.after(5);
        assert_eq!(
            (play.took().as_str(), play.state("api")),
            (if then == state { "" } else { "spawn api" }, then),
            "{what}"
        );
    };
    let after = |text: &str, act: Act| {
        let mut play = Play::of(text);
        act(&mut play);
        play
    };
    check("waiting", after("db?; api*: db", |_| {}), "waiting", "waiting");
    check("blocked", after("db?!; api*: db; other", |play| play.ends("db", 1)), "blocked", "blocked");
    check("stopped", after("api*", |play| (play.stop("api"), play.gone("api")).1), "stopped", "stopped");
    check("completed", after("api*", |play| play.ends("api", 0)), "completed", "ready");
    check("failed", after("api*!", |play| play.ends("api", 1)), "failed", "ready");
    check("backoff", after("api*", |play| play.ends("api", 1)), "backoff", "ready");

    let mut play = Play::of("api*?");
    play.took();
    play.change("api");
    assert_eq!((play.took().as_str(), play.state("api")), ("stop api", "stopping"), "starting");
}

#[test]
fn a_backing_off_one_keeps_its_counts() {
    let mut play = Play::of("api*");
    play.ends("api", 1);
    play.change("api");
    play.after(5);
    play.ends("api", 1);
    assert_eq!(play.reason("api"), "it ended with exit code 1; starting again in 200 ms");
}

#[test]
fn an_end_of_its_own_while_a_change_waits_is_absorbed() {
    let mut play = Play::of("api*!; follows: api ready restart");
    play.change("api");
    play.ends("api", 1);
    play.gone("follows");
    play.after(5);
    assert_eq!(play.states(), "api=ready follows=ready");
}

#[test]
fn nothing_starts_on_files_that_are_not_quiet() {
    // Changed while it was prepared.
    let mut play = Play::quiet("api*", |_| {});
    play.silent();
    play.tell(Event::Up);
    play.change("api");
    play.prepared("api");
    assert_eq!((play.took().as_str(), play.state("api")), ("", "starting"));
    play.after(5);
    play.prepared("api");
    assert_eq!(play.took(), "spawn api");

    // Changed while it waited, just before it may start.
    let mut play = Play::of("db?; api*: db");
    play.took();
    play.change("api");
    play.ready("db");
    assert_eq!((play.took().as_str(), play.state("api")), ("", "waiting"));
    play.after(5);
    assert_eq!(play.took(), "spawn api");

    // Somebody writes while it is being stopped.
    let mut play = Play::of("api*");
    play.change("api");
    play.after(50);
    let component = play.core.find("api").unwrap();
    play.tell(Event::Busy { component });
    play.took();
    play.gone("api");
    assert_eq!(play.took(), "");
    play.after(5);
    assert_eq!(play.took(), "spawn api");
}

#[test]
fn a_preparation_that_failed_before_a_change_is_made_again() {
    let mut play = Play::quiet("api*!", |_| {});
    play.silent();
    play.tell(Event::Up);
    play.change("api");
    play.says("api", RunEvent::PrepareFailed { error: "no such program".to_owned() });
    play.after(5);
    play.prepared("api");
    assert_eq!(play.took(), "spawn api");
    play.spawned("api");
    play.ends("api", 0);
    assert_eq!(play.state("api"), "completed", "and then it is forgotten");
}

#[test]
fn other_actions_restart_nothing() {
    let signal = WatchAction::Signal(crate::types::Signal::HUP);
    for (action, took) in [(signal, "signal api SIGHUP"), (WatchAction::None, "")] {
        let mut play = Play::with("api*", |project| {
            edit(project, "api", |spec| Arc::make_mut(spec.watch.as_mut().unwrap()).action = action);
        });
        play.took();
        play.change("api");
        assert_eq!((play.took().as_str(), play.state("api")), (took, "ready"));
    }
}

#[test]
fn during_a_shutdown_nothing_starts() {
    let mut play = Play::of("db*; api*: db");
    play.took();
    play.down();
    play.change("api");
    play.change("db");
    play.restart("api");
    play.start("api");
    play.gone("api");
    play.gone("db");
    assert_eq!(play.took(), "stop api, stop db, exit 0");
}
