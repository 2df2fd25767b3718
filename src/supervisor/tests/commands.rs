//! `start`, `stop`, `restart`.

use std::sync::Arc;

use super::play::{Act, Play, edit, ms, name};
use crate::supervisor::{Command, Event, RunEvent};

#[test]
fn start_brings_what_it_needs_and_nothing_else() {
    let mut play = Play::of("db; mid: db; api: mid, db; other: db");
    play.stop("db");
    for of in ["api", "mid", "other", "db"] {
        play.gone(of);
    }
    assert_eq!(play.states(), "api=stopped db=stopped mid=stopped other=stopped");
    play.took();
    play.reasons.clear();
    play.start("api");
    assert_eq!(play.took(), "spawn db, spawn mid, spawn api");
    assert_eq!(
        play.states(),
        "api=ready db=ready mid=ready other=stopped",
        "dependents are not brought back"
    );
}

/// Whatever the order of the names, nothing is said to be blocked by what is about to start.
#[test]
fn start_begins_with_what_is_needed_first() {
    for needs in ["a, b", "b, a"] {
        let mut play = Play::of(&format!("keep; b!; a!: b; top!: {needs}"));
        for of in ["top", "a", "b"] {
            play.ends(of, 1);
        }
        play.reasons.clear();
        play.start("top");
        assert_eq!(play.states(), "a=ready b=ready keep=ready top=ready");
        assert!(!play.reasons.iter().any(|reason| reason.contains("failed")), "{needs}: {:?}", play.reasons);
    }
}

#[test]
fn start_does_nothing_to_what_is_ready_and_runs_again_what_has_completed() {
    let mut play = Play::of("job; need; api: need completed");
    play.ends("need", 0);
    play.took();
    play.start("api");
    assert_eq!((play.took().as_str(), play.state("need")), ("", "completed"));
    play.ends("job", 0);
    play.took();
    play.start("job");
    assert_eq!(play.took(), "spawn job");
}

#[test]
fn start_of_what_is_ending_by_itself_is_not_lost() {
    for code in [0, 1] {
        let mut play = Play::of("api!");
        play.exits("api", code);
        play.start("api");
        play.gone("api");
        assert_eq!(play.state("api"), "ready", "after {code}");
    }
}

#[test]
fn stop_and_start_before_it_was_told_is_a_new_run() {
    let mut play = Play::of("db; api: db");
    play.took();
    play.stop("db");
    play.start("db");
    assert_eq!(play.took(), "stop api");
    play.gone("api");
    assert_eq!(play.took(), "stop db");
    play.gone("db");
    assert_eq!((play.took().as_str(), play.states().as_str()), ("spawn db", "api=stopped db=ready"));
    assert_eq!(play.run("db").incarnation, 2, "what it runs may have changed while it was to stop");
}

#[test]
fn stop_makes_stopped_what_waits_backs_off_or_has_failed() {
    let cases: [(&str, Act); 4] = [
        ("keep; db?; api: db", |_| {}),
        ("keep; api", |play| play.ends("api", 1)),
        ("keep; api!", |play| play.ends("api", 1)),
        ("keep; db?!; api: db", |play| play.ends("db", 1)),
    ];
    for (text, act) in cases {
        let mut play = Play::of(text);
        act(&mut play);
        play.stop("api");
        assert_eq!(
            (play.state("api"), play.reason("api").as_str()),
            ("stopped", "stopped by command"),
            "{text}"
        );
    }
}

#[test]
fn what_was_stopped_stays_so_under_edits_and_changes() {
    let mut play = Play::of("api*");
    play.stop("api");
    play.gone("api");
    play.took();
    play.change("api");
    play.edit(|project| edit(project, "api", |spec| spec.cwd = std::sync::Arc::new("/q".into())));
    play.after(10_000);
    assert_eq!((play.took().as_str(), play.state("api"), play.exit), ("", "stopped", None));
    play.start("api");
    assert_eq!(play.took(), "spawn api");
}

#[test]
fn a_stop_while_it_is_being_made_wins() {
    let mut play = Play::quiet("api", |_| {});
    play.silent();
    play.tell(Event::Up);
    play.stop("api");
    play.prepared("api");
    assert_eq!((play.took().as_str(), play.state("api")), ("", "stopped"));

    let mut play = Play::quiet("api?", |_| {});
    play.silent();
    play.tell(Event::Up);
    play.prepared("api");
    play.stop("api");
    assert_eq!(play.took(), "spawn api");
    play.spawned("api");
    assert_eq!(play.took(), "stop api");
    play.gone("api");
    assert_eq!(play.state("api"), "stopped");
}

#[test]
fn a_second_wish_while_it_stops_is_kept() {
    let mut play = Play::of("api*");
    play.stop("api");
    play.restart("api");
    play.gone("api");
    assert_eq!(play.state("api"), "ready", "restart after stop");
    play.restart("api");
    play.stop("api");
    play.gone("api");
    assert_eq!(play.state("api"), "stopped", "stop after restart");
    play.start("api");
    play.stop("api");
    play.start("api");
    play.gone("api");
    assert_eq!(play.state("api"), "ready", "start after stop");
}

#[test]
fn restart_is_of_the_named_alone() {
    let mut play = Play::of("db; api: db; follows: db ready restart");
    play.took();
    play.restart("db");
    assert_eq!(play.took(), "stop follows");
    play.gone("follows");
    play.gone("db");
    assert_eq!(play.states(), "api=ready db=ready follows=ready");
    assert_eq!(play.took(), "stop db, spawn db, spawn follows");

    play.stop("db");
    for of in ["api", "follows", "db"] {
        play.gone(of);
    }
    play.restart("api");
    assert_eq!(play.states(), "api=waiting db=stopped follows=stopped");
}

#[test]
fn what_was_removed_is_nobodys_to_command() {
    let commands = [Command::Stop, Command::Restart, Command::Start];
    for command in commands {
        let mut play = Play::of("api; keep");
        play.edit(|project| drop(project.components.remove(0)));
        play.tell(Event::Command(command(vec![name("api")])));
        play.gone("api");
        assert_eq!(play.states(), "keep=ready");
    }
}

#[test]
fn causes_lead_back_to_what_was_commanded() {
    let mut play = Play::of("db; follows: db ready restart; other*");
    let causes = play.causes(Event::Command(Command::Restart(vec![name("db")])));
    assert_eq!(causes, "command< follows.stop_requested<command follows.stopping<follows.stop_requested");
    let causes = play.causes(Event::Command(Command::Stop(vec![name("other")])));
    assert_eq!(causes, "command< other.stop_requested<command other.stopping<other.stop_requested");
    play.change("other");
    let end = Event::Run(play.run("other"), RunEvent::Exited(crate::types::Exit::Code(0)));
    assert_eq!(
        play.causes(end),
        "other.exited<other.stopping",
        "a change that does nothing leads to nothing"
    );
    play.says("follows", RunEvent::Gone);
}

/// A second `down` leads to the force-kill, also of what was stuck, and to the end.
#[test]
fn a_second_down_is_the_cause_of_what_it_does() {
    let mut play = Play::with("asked; spared; base; over: base", |project| {
        edit(project, "spared", |spec| Arc::make_mut(&mut spec.stop).force_kill = false);
    });
    play.stop("spared");
    play.after(5_000);
    assert_eq!(play.state("spared"), "stuck");
    play.down();
    let second = play.causes(Event::Command(Command::Shutdown));
    assert_eq!(second, "command< base.stopping<command spared.stopping<command");
    for of in ["asked", "base", "over", "spared"] {
        let killed = Event::Run(play.run(of), RunEvent::Killed { pids: vec![7] });
        let (causes, before) =
            (play.causes(killed), if matches!(of, "asked" | "over") { "command" } else { of });
        let before = if before == of { format!("{of}.stopping") } else { before.to_owned() };
        assert_eq!(causes, format!("{of}.force_killed<{before}"));
    }
    let third = play.causes(Event::Command(Command::Shutdown));
    assert_eq!(third, "command< down<command");
}

#[test]
fn the_end_that_comes_by_itself_is_led_to_by_the_last_end() {
    let mut play = Play::of("job; other");
    play.ends("job", 0);
    let run = play.run("other");
    play.tell(Event::Run(run, RunEvent::Exited(crate::types::Exit::Code(0))));
    play.tell(Event::Run(run, RunEvent::Gone));
    let causes = play.causes(Event::Run(run, RunEvent::OutputEnded));
    assert_eq!(causes, "other.completed<other.stopping down<other.completed");
}

/// What comes while a run is ending leads to what follows it, and not to its end.
#[test]
fn what_comes_meanwhile_leads_to_what_follows() {
    let meanwhile: [(&str, Act, &str); 4] = [
        ("command", |play| play.restart("api"), "starting"),
        ("api.changed", |play| play.change("api"), "starting"),
        ("command", |play| play.stop("api"), "stopped"),
        (
            "reloaded",
            |play| {
                let mut old = None;
                play.edit(|project| old = Some(project.components.remove(0)));
                play.edit(|project| project.components.extend(old));
            },
            "starting",
        ),
    ];
    for (cause, act, then) in meanwhile {
        let mut play = Play::of("api*; keep");
        play.change("api");
        act(&mut play);
        let run = play.run("api");
        let exited = play.causes(Event::Run(run, RunEvent::Exited(crate::types::Exit::Code(0))));
        assert_eq!(exited, "api.exited<api.stopping");
        play.tell(Event::Run(run, RunEvent::Gone));
        let mut over = play.causes(Event::Run(run, RunEvent::OutputEnded));
        play.now = play.now + ms(20);
        over.push_str(&play.causes(Event::Deadline));
        let api = play.core.find("api").unwrap();
        over.push_str(&play.causes(Event::Sifted { component: api }));
        assert!(over.contains(&format!("api.{then}<{cause}")), "{over}");
    }
}
