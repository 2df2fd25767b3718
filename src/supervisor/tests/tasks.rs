//! `stop.command`, and what a change runs; and when what was held for a component is let go of.

use std::sync::Arc;

use super::play::{Play, edit, failed, ms};
use crate::config::model::{Command as Line, WatchAction};
use crate::supervisor::{Action, Command, Event, RunEvent};
use crate::types::{Name, Notice, TaskEnd, TaskKind};

fn words() -> Line {
    Line::Words(vec!["./ctl".to_owned()])
}

/// `api` is stopped by a command.
fn by_command(text: &str) -> Play {
    let mut play = Play::with(text, |project| {
        edit(project, "api", |it| Arc::make_mut(&mut it.stop).command = Some(words()));
    });
    play.took();
    play
}

/// A change of `api` runs something.
fn runs() -> Play {
    let mut play = Play::with("api*", |project| {
        edit(project, "api", |it| {
            Arc::make_mut(it.watch.as_mut().unwrap()).action = WatchAction::Run(words());
        });
    });
    play.took();
    play
}

#[test]
fn a_command_asks_in_place_of_the_signal_and_nothing_follows_before_its_end() {
    let mut play = by_command("api");
    play.restart("api");
    assert_eq!((play.state("api"), play.took().as_str()), ("stopping", "stop_command api"));
    play.exits("api", 0);
    assert_eq!(play.took(), "sweep api");
    play.gone("api");
    assert_eq!((play.state("api"), play.took().as_str()), ("stopping", "end stop_command api"));
    play.task("api", TaskKind::Stop, TaskEnd::Ended);
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", "spawn api"));
}

#[test]
fn one_that_fails_is_followed_by_the_signal_and_one_that_succeeds_is_not() {
    let mut play = by_command("api");
    play.stop("api");
    play.task("api", TaskKind::Stop, failed("it ended with exit code 1"));
    assert_eq!(play.took(), "stop_command api, stop api");
    play.exits("api", 0);
    play.gone("api");
    assert_eq!((play.state("api"), play.took().as_str()), ("stopped", "sweep api"));

    let mut play = by_command("api");
    play.stop("api");
    play.task("api", TaskKind::Stop, TaskEnd::Done);
    play.after(4_999);
    assert_eq!(play.took(), "stop_command api");
    play.after(1);
    assert_eq!(play.took(), "kill api");
}

#[test]
fn the_force_kill_ends_the_command_too() {
    let mut play = by_command("api");
    play.down();
    play.after(5_000);
    assert_eq!(play.took(), "stop_command api, kill api, end stop_command api");
    play.task("api", TaskKind::Stop, failed("too late"));
    assert_eq!(play.took(), "");
    play.ends("api", 0);
    assert_eq!(play.exit, Some(0));
}

#[test]
fn a_command_has_the_time_that_the_stop_has_as_extended() {
    let mut play = by_command("api");
    let own = Event::Command(Command::Stop(vec![Name::new("api").unwrap()]));
    let limit = play.core.step(play.now, own).into_iter().find_map(|action| match action {
        Action::RunTask { kind: TaskKind::Stop, timeout, .. } => Some(timeout),
        _ => None,
    });
    assert!(limit.unwrap() > ms(3_600_000), "the stop's own deadline ends it");
    let mut play = by_command("api");
    play.stop("api");
    play.took();
    play.says("api", RunEvent::Notice(Notice::Extend(ms(60_000))));
    play.after(59_999);
    assert_eq!((play.state("api"), play.took().as_str()), ("stopping", ""));
    play.after(1);
    assert_eq!(play.took(), "kill api, end stop_command api");
}

#[test]
fn a_command_that_does_not_end_holds_nobody_up_for_ever() {
    let mut play = by_command("api");
    play.restart("api");
    play.ends("api", 0);
    play.after(1_999);
    assert_eq!(play.state("api"), "stopping");
    play.after(1);
    assert_eq!(play.state("api"), "ready");
}

#[test]
fn what_is_not_to_be_killed_gets_the_signal_when_the_command_has_had_its_time() {
    let mut play = Play::with("api", |project| {
        edit(project, "api", |it| {
            let stop = Arc::make_mut(&mut it.stop);
            (stop.command, stop.force_kill) = (Some(words()), false);
        });
    });
    play.took();
    play.stop("api");
    play.after(5_000);
    assert_eq!(
        (play.state("api"), play.took().as_str()),
        ("stuck", "stop_command api, end stop_command api, stop api")
    );
}

#[test]
fn a_thread_is_asked_by_its_token() {
    let mut play = by_command("api@");
    play.stop("api");
    assert_eq!(play.took(), "stop api");
}

#[test]
fn an_end_by_itself_runs_no_command() {
    let mut play = by_command("api");
    play.exits("api", 1);
    assert_eq!(play.took(), "sweep api");
}

#[test]
fn a_change_runs_a_command_when_the_files_are_quiet_and_once_more_after_it() {
    let mut play = runs();
    play.change("api");
    assert_eq!(play.took(), "");
    play.after(5);
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", "run api"));
    play.change("api");
    play.change("api");
    play.after(1_000);
    assert_eq!(play.took(), "", "never two at once");
    play.task("api", TaskKind::OnChange, TaskEnd::Done);
    assert_eq!(play.took(), "run api");
    play.task("api", TaskKind::OnChange, TaskEnd::Done);
    assert_eq!(play.took(), "");
}

#[test]
fn one_that_fails_is_shown_until_one_succeeds_and_changes_nothing() {
    let mut play = runs();
    play.change("api");
    play.after(5);
    play.task("api", TaskKind::OnChange, failed("it ended with exit code 1"));
    let reason = "ready; what a change runs failed: it ended with exit code 1 (src/main.rs:3:5)";
    assert_eq!((play.state("api"), play.reason("api").as_str()), ("ready", reason));
    play.change("api");
    play.after(5);
    play.task("api", TaskKind::OnChange, TaskEnd::Done);
    assert_eq!(play.reason("api"), "it runs");
}

#[test]
fn a_change_runs_nothing_for_what_does_not_run_and_its_end_ends_it() {
    let mut play = runs();
    play.change("api");
    play.after(5);
    play.took();
    play.exits("api", 1);
    assert_eq!(play.took(), "end run api, sweep api");
    play.change("api");
    play.gone("api");
    play.task("api", TaskKind::OnChange, TaskEnd::Ended);
    play.after(1_000);
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", "spawn api"));
}

/// Whose sockets and descriptors are let go of by this event.
fn released(play: &mut Play, event: Event) -> usize {
    let actions = play.core.step(play.now, event);
    actions.iter().filter(|action| matches!(action, Action::Release { .. })).count()
}

#[test]
fn what_comes_to_rest_lets_go_and_what_restarts_does_not() {
    use crate::supervisor::RunEvent;
    use crate::types::Exit;
    for (code, policy, lets_go) in [(0, "api", 1), (1, "api", 0), (1, "api!", 1)] {
        let mut play = Play::of(policy);
        let run = play.run("api");
        play.exits("api", code);
        play.says("api", RunEvent::Gone);
        assert_eq!(released(&mut play, Event::Run(run, RunEvent::OutputEnded)), lets_go, "{policy} {code}");
        assert_eq!(play.core.view(run.component).unwrap().exit, Some(Exit::Code(code)));
    }
    let mut play = Play::of("api");
    play.stop("api");
    let run = play.run("api");
    play.exits("api", 0);
    play.says("api", RunEvent::Gone);
    assert_eq!(released(&mut play, Event::Run(run, RunEvent::OutputEnded)), 1);
}

#[test]
fn a_build_that_waits_for_one_that_does_not_end_says_so() {
    let mut play = Play::of("api+*");
    play.change("api");
    play.after(1_999);
    assert_eq!(play.reason("api"), "its build is under way");
    play.after(1);
    let why = "the next build waits for the last one: it was killed, and has not ended";
    assert_eq!((play.state("api"), play.reason("api").as_str()), ("building", why));
    play.took();
    play.task("api", TaskKind::Build, TaskEnd::Ended);
    assert_eq!(play.took(), "build api");
    assert_eq!(play.reason("api"), "its build is under way");
}

#[test]
fn each_beginning_of_a_build_has_one_record_of_its_end() {
    let ends = |play: &mut Play, event: Event| play.causes(event);
    let mut play = Play::of("api+*; db");
    let component = play.core.find("api").unwrap();
    let task = |number| crate::types::TaskId { component, number };
    play.stop("api");
    let ended = "api.task_ended<api.task_started";
    assert_eq!(ends(&mut play, Event::Task(task(1), TaskEnd::Done)), ended, "it was told to end");
    assert_eq!(ends(&mut play, Event::Task(task(1), TaskEnd::Done)), "");
    play.start("api");
    play.down();
    // Given up, and no word of it afterwards.
    play.now = play.now + ms(2_000);
    let last = ends(&mut play, Event::Deadline);
    assert!(last.starts_with(ended), "{last}");
}

#[test]
fn a_build_that_nobody_waits_for_at_the_end_has_its_record_too() {
    let mut play = Play::of("api+");
    play.down();
    play.down();
    let last = play.causes(Event::Command(Command::Shutdown));
    assert!(last.contains("api.task_ended<command") && last.contains("down<command"), "{last}");
}
