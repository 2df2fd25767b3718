//! The keeper of the processes is killed, and with it all that runs: what it says is nobody's failure but the keeper's.

use super::play::{Play, edit};
use crate::config::model::{Command as Line, WatchAction};
use crate::supervisor::RunEvent;
use crate::types::{TaskEnd, TaskKind};

const WHY: &str = "the keeper of the processes was killed";

fn build_lost(play: &mut Play) {
    play.task("api", TaskKind::Build, TaskEnd::Lost);
}

#[test]
fn a_first_build_that_is_lost_begins_anew_and_says_why() {
    let mut play = Play::of("api+*; web: api");
    play.took();
    build_lost(&mut play);
    assert_eq!((play.states().as_str(), play.took().as_str()), ("api=building web=waiting", "build api"));
    assert_eq!(play.reason("api"), format!("{WHY}, and its build with it, which begins anew"));
    play.built("api");
    assert_eq!(play.states(), "api=ready web=ready");
}

#[test]
fn a_build_that_is_lost_twice_in_a_row_has_failed() {
    let mut play = Play::of("api+*");
    build_lost(&mut play);
    build_lost(&mut play);
    assert_eq!(play.state("api"), "failed");
    assert_eq!(play.reason("api"), format!("its build failed: {WHY}, and it with it"));
    // The next one is the first again.
    play.change("api");
    play.after(5);
    build_lost(&mut play);
    assert_eq!(play.state("api"), "building");
    play.built("api");
    play.change("api");
    play.after(5);
    build_lost(&mut play);
    assert_eq!(play.state("api"), "ready");
}

#[test]
fn a_later_build_that_is_lost_still_leads_to_the_restart() {
    let mut play = Play::of("api+*");
    play.built("api");
    play.change("api");
    play.after(5);
    play.took();
    play.says("api", RunEvent::Lost);
    play.says("api", RunEvent::OutputEnded);
    build_lost(&mut play);
    assert_eq!((play.state("api"), play.took().as_str()), ("building", "build api"));
    play.built("api");
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", "spawn api"));
}

#[test]
fn a_change_that_came_before_the_loss_is_built_once() {
    let mut play = Play::of("api+*");
    play.change("api");
    play.took();
    build_lost(&mut play);
    play.after(5);
    assert_eq!(play.took(), "build api", "the one that was told to end has ended");
}

#[test]
fn a_run_that_is_lost_is_a_failure_that_names_the_keeper() {
    let mut play = Play::of("api; once!");
    for name in ["api", "once"] {
        play.says(name, RunEvent::Lost);
        play.says(name, RunEvent::OutputEnded);
    }
    assert_eq!(play.states(), "api=backoff once=failed");
    assert_eq!(play.reason("once"), format!("{WHY}, and it with it"));
    assert_eq!(play.reason("api"), format!("{WHY}, and it with it; starting again in 100 ms"));
    play.after(100);
    assert_eq!(play.state("api"), "ready");
}

#[test]
fn a_run_that_is_lost_before_it_is_there_names_the_keeper_too() {
    let mut play = Play::quiet("api", |_| {});
    play.silent();
    play.tell(crate::supervisor::Event::Up);
    play.prepared("api");
    play.says("api", RunEvent::Lost);
    assert_eq!(play.reason("api"), format!("{WHY}, and it with it; starting again in 100 ms"));
}

#[test]
fn what_a_change_runs_for_a_thread_begins_anew_and_for_a_process_goes_with_it() {
    for (marks, then) in [("api@*", "run api"), ("api*", "")] {
        let mut play = Play::with(marks, |project| {
            edit(project, "api", |it| {
                let action = WatchAction::Run(Line::Words(vec!["ctl".to_owned()]));
                std::sync::Arc::make_mut(it.watch.as_mut().unwrap()).action = action;
            });
        });
        play.change("api");
        play.after(5);
        play.took();
        play.task("api", TaskKind::OnChange, TaskEnd::Lost);
        assert_eq!((play.state("api"), play.took().as_str()), ("ready", then));
    }
}

#[test]
fn a_stop_command_that_is_lost_with_its_run_holds_nothing_up() {
    let mut play = Play::with("api", |project| {
        edit(project, "api", |it| {
            std::sync::Arc::make_mut(&mut it.stop).command = Some(Line::Words(vec!["ctl".to_owned()]));
        });
    });
    play.stop("api");
    play.took();
    play.task("api", TaskKind::Stop, TaskEnd::Lost);
    play.says("api", RunEvent::Lost);
    play.says("api", RunEvent::OutputEnded);
    assert_eq!((play.state("api"), play.took().as_str()), ("stopped", ""));
}
