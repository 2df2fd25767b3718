//! What a command says that it does is what it does.

use super::play::{Play, name};
use crate::supervisor::{Action, Command, Event, What};

fn told(play: &Play, command: &Command) -> String {
    let affected = play.core.affected(command);
    let each = affected.iter().map(|one| format!("{} {}", one.effect.word(), one.component));
    each.collect::<Vec<_>>().join(", ")
}

fn start(names: &[&str]) -> Command {
    Command::Start(names.iter().map(|of| name(of)).collect())
}

fn stop(names: &[&str]) -> Command {
    Command::Stop(names.iter().map(|of| name(of)).collect())
}

fn restart(names: &[&str]) -> Command {
    Command::Restart(names.iter().map(|of| name(of)).collect())
}

#[test]
fn a_start_brings_what_it_needs_first() {
    let mut play = Play::of("db; api: db; web: api; other");
    assert_eq!(told(&play, &start(&["web"])), "none web", "all of it is there");
    play.stop("db");
    assert_eq!(told(&play, &start(&["web"])), "start db, start api, start web", "it is on its way out");
    for of in ["web", "api", "db"] {
        play.gone(of);
    }
    assert_eq!(told(&play, &start(&["api", "db", "api", "other"])), "start db, start api, none other");
    play.took();
    play.tell(Event::Command(start(&["web"])));
    assert_eq!(play.took(), "spawn db, spawn api, spawn web");
}

#[test]
fn a_start_runs_again_what_has_completed_only_if_it_is_named() {
    let mut play = Play::of("job!; api: job completed; keep");
    play.ends("job", 0);
    assert_eq!(told(&play, &start(&["api"])), "none api");
    assert_eq!(told(&play, &start(&["job"])), "start job");
    let mut play = Play::of("job!; api: job completed restart; keep");
    play.ends("job", 0);
    assert_eq!(told(&play, &start(&["job"])), "start job, restart api");
}

#[test]
fn a_stop_takes_what_runs_and_needs_it_first() {
    let mut play = Play::of("db; api: db; web: api; job?: db; lazy: job completed");
    play.ready("job");
    assert_eq!(told(&play, &stop(&["db"])), "stop web, stop api, stop job, stop db", "lazy never ran");
    play.stop("api");
    assert_eq!(told(&play, &stop(&["api", "db"])), "none api, stop job, stop db", "web is going already");
    play.gone("web");
    play.gone("api");
    assert_eq!(told(&play, &stop(&["api", "lazy"])), "none api, stop lazy", "what waits does so no more");
}

#[test]
fn a_restart_takes_its_followers_along() {
    let mut play = Play::of("db; api: db ready restart; web: api ready restart; other: db");
    assert_eq!(told(&play, &restart(&["db"])), "restart db, restart api, restart web");
    play.stop("api");
    assert_eq!(told(&play, &restart(&["db"])), "restart db", "what a command stops is nobody's follower");
    play.gone("web");
    play.gone("api");
    assert_eq!(told(&play, &restart(&["api", "db"])), "start api, restart db");
}

#[test]
fn the_record_of_a_command_says_whom_it_affects() {
    let mut play = Play::of("db; api: db");
    let expected = play.core.affected(&stop(&["db"]));
    let actions = play.core.step(play.now, Event::Command(stop(&["db"])));
    let Some(Action::Record(record)) = actions.into_iter().next() else { panic!("no record") };
    let What::Command { name, args, affects } = record.what else { panic!("{:?}", record.what) };
    assert_eq!((name, args.len(), affects.len()), ("stop", 1, 2));
    assert_eq!(affects, expected);
}

#[test]
fn nothing_is_started_or_stopped_singly_at_the_end() {
    let mut play = Play::of("db; api: db");
    play.down();
    for command in [start(&["db"]), stop(&["db"]), restart(&["db"])] {
        assert_eq!(told(&play, &command), "");
    }
    assert_eq!(told(&play, &Command::Shutdown), "");
}
