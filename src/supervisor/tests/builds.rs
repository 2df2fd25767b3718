//! The build gate (contract, section 3, "Builds").

use super::play::{Play, edit, name};
use crate::config::model::{OnFailure, WatchAction};
use crate::supervisor::{Command, Event};
use crate::types::{TaskEnd, TaskKind};

/// `api` is built, ready and watched.
fn up() -> Play {
    let mut play = Play::of("api+*");
    play.built("api");
    assert_eq!((play.states().as_str(), play.took().as_str()), ("api=ready", "build api, spawn api"));
    play
}

/// What clients that command are told by.
fn refused(play: &Play) -> u64 {
    let cid = play.core.find("api").unwrap();
    play.core.glance(cid, &play.core.held()).unwrap().refused
}

#[test]
fn a_first_start_waits_for_what_it_needs_then_is_built_then_starts() {
    let mut play = Play::of("db?; api+: db");
    assert_eq!(play.states(), "api=waiting db=starting");
    play.ready("db");
    assert_eq!(
        (play.states().as_str(), play.took().as_str()),
        ("api=building db=ready", "spawn db, build api")
    );
    play.built("api");
    assert_eq!((play.states().as_str(), play.took().as_str()), ("api=ready db=ready", "spawn api"));
}

#[test]
fn the_gate_is_asked_again_after_the_build() {
    let mut play = Play::of("db; api+: db");
    play.ends("db", 1);
    play.built("api");
    assert_eq!(play.states(), "api=waiting db=backoff");
    play.took();
    play.after(100);
    assert_eq!((play.states().as_str(), play.took().as_str()), ("api=ready db=ready", "spawn db, spawn api"));
}

#[test]
fn a_change_while_it_waits_makes_what_was_built_stale() {
    let mut play = Play::of("db; api+*: db");
    play.ends("db", 1);
    play.built("api");
    play.took();
    play.change("api");
    assert_eq!((play.state("api"), play.took().as_str()), ("waiting", ""));
    play.after(100);
    assert_eq!((play.state("api"), play.took().as_str()), ("building", "spawn db, build api"));
}

#[test]
fn a_change_builds_while_the_old_run_goes_on_and_only_a_good_build_stops_it() {
    let mut play = up();
    play.change("api");
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", ""), "the files are not quiet");
    play.after(5);
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", "build api"));
    play.after(60_000);
    play.built("api");
    assert_eq!((play.state("api"), play.took().as_str()), ("stopping", "stop api"));
    play.ends("api", 0);
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", "sweep api, spawn api"));
    assert_eq!(play.core.view(play.run("api").component).unwrap().restarts, 0);
}

#[test]
fn a_burst_costs_one_build() {
    let mut play = up();
    for _ in 0..20 {
        play.change("api");
        play.after(3);
    }
    assert_eq!(play.took(), "");
    play.after(500);
    assert_eq!(play.took(), "build api");
}

#[test]
fn a_later_build_that_fails_leaves_all_as_it_is_and_says_so_until_one_succeeds() {
    let mut play = up();
    play.change("api");
    play.after(5);
    play.build_fails("api");
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", "build api"));
    let why = "its build failed: it ended with exit code 101 (src/main.rs:3:5)";
    assert_eq!(play.reason("api"), format!("ready; {why}"));
    play.after(60_000);
    play.change("api");
    play.after(5);
    play.built("api");
    play.ends("api", 0);
    assert_eq!(play.took(), "build api, stop api, sweep api, spawn api");
    assert_eq!(play.reason("api"), "it runs");
}

#[test]
fn a_first_build_that_fails_is_a_failure_until_a_change_or_a_command() {
    for again in [Play::change as fn(&mut Play, &str), Play::start, Play::restart] {
        let mut play = Play::of("api+*; web: api");
        play.build_fails("api");
        assert_eq!(play.states(), "api=failed web=blocked");
        assert_eq!(play.reason("api"), "its build failed: it ended with exit code 101 (src/main.rs:3:5)");
        play.took();
        play.after(100_000);
        assert_eq!(play.took(), "", "nothing is tried again by itself");
        again(&mut play, "api");
        play.after(5);
        assert_eq!((play.states().as_str(), play.took().as_str()), ("api=building web=waiting", "build api"));
        play.build_fails("api");
        assert_eq!(play.states(), "api=failed web=blocked");
        again(&mut play, "api");
        play.after(5);
        play.built("api");
        assert_eq!(play.states(), "api=ready web=ready");
    }
}

#[test]
fn on_failure_holds_for_a_first_build() {
    let mut play =
        Play::with("api+", |project| edit(project, "api", |it| it.on_failure = OnFailure::Shutdown));
    play.build_fails("api");
    assert_eq!(play.exit, Some(1));
}

#[test]
fn a_change_during_a_build_starts_it_again_and_never_two_at_once() {
    for first in [true, false] {
        let mut play = if first { Play::of("api+*") } else { up() };
        if !first {
            play.change("api");
            play.after(5);
        }
        assert_eq!(play.took(), "build api");
        play.change("api");
        play.change("api");
        play.after(1_000);
        assert_eq!(play.took(), "end build api", "the old one is not gone");
        // It was done before it could be ended; but that was not what there is now.
        play.built("api");
        assert_eq!(play.took(), "build api");
        play.change("api");
        play.task("api", TaskKind::Build, TaskEnd::Ended);
        assert_eq!(play.took(), "end build api", "the files are not quiet");
        play.after(5);
        play.built("api");
        let then = if first { "build api, spawn api" } else { "build api, stop api" };
        assert_eq!(play.took(), then);
    }
}

#[test]
fn a_change_while_the_old_run_is_stopped_builds_again_before_the_next_starts() {
    let mut play = up();
    play.change("api");
    play.after(5);
    play.built("api");
    play.change("api");
    play.ends("api", 0);
    assert_eq!(play.state("api"), "building");
    play.took();
    play.after(5);
    assert_eq!(play.took(), "build api");
    // What the good build made is there to be started.
    play.build_fails("api");
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", "spawn api"));
}

#[test]
fn a_change_while_it_is_prepared_takes_that_back_and_builds() {
    let mut play = Play::of("api+*");
    play.silent();
    play.built("api");
    play.change("api");
    play.prepared("api");
    assert_eq!(play.took(), "build api");
    play.after(5);
    assert_eq!((play.state("api"), play.took().as_str()), ("building", "build api"));
}

#[test]
fn a_crash_builds_nothing() {
    let mut play = up();
    play.ends("api", 1);
    play.after(100);
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", "sweep api, spawn api"));
}

#[test]
fn a_crash_during_a_build_waits_for_it() {
    for (good, expected) in [(true, "spawn api"), (false, "")] {
        let mut play = up();
        play.change("api");
        play.after(5);
        play.ends("api", 1);
        assert_eq!(play.state("api"), "building");
        play.after(50);
        play.took();
        if good {
            play.built("api")
        } else {
            play.build_fails("api")
        }
        assert_eq!(play.took(), expected);
        let view = |play: &Play| play.core.view(play.run("api").component).unwrap();
        if good {
            assert_eq!((play.state("api"), view(&play).restarts), ("ready", 0));
        } else {
            assert_eq!(play.state("api"), "backoff");
            play.after(50);
            assert_eq!((play.state("api"), view(&play).restarts), ("ready", 1));
        }
    }
}

#[test]
fn what_would_have_failed_for_good_is_started_by_a_good_build_and_fails_with_a_bad_one() {
    for good in [true, false] {
        let mut play = Play::of("api+*!");
        play.built("api");
        play.change("api");
        play.after(5);
        play.ends("api", 3);
        assert_eq!(play.state("api"), "building");
        if good {
            play.built("api")
        } else {
            play.build_fails("api")
        }
        assert_eq!(play.state("api"), if good { "ready" } else { "failed" });
        if !good {
            let reason =
                "it ended with exit code 3; its build failed: it ended with exit code 101 (src/main.rs:3:5)";
            assert_eq!(play.reason("api"), reason);
        }
    }
}

#[test]
fn what_has_completed_stays_so_if_the_build_that_a_change_asked_for_fails() {
    let mut play = up();
    play.ends("api", 0);
    assert_eq!(play.state("api"), "completed");
    play.change("api");
    play.after(5);
    assert_eq!(play.state("api"), "building");
    play.build_fails("api");
    assert_eq!(play.state("api"), "completed");
    play.change("api");
    play.after(5);
    play.built("api");
    assert_eq!(play.state("api"), "ready");
}

#[test]
fn what_backs_off_builds_on_a_change_and_goes_on_backing_off_if_that_fails() {
    let mut play = up();
    play.ends("api", 1);
    play.change("api");
    play.after(5);
    assert_eq!(play.state("api"), "building");
    play.build_fails("api");
    assert_eq!(play.state("api"), "backoff");
    play.after(95);
    assert_eq!(play.state("api"), "ready");
}

#[test]
fn start_and_restart_build() {
    let mut play = up();
    play.stop("api");
    play.ends("api", 0);
    play.took();
    play.start("api");
    assert_eq!((play.state("api"), play.took().as_str()), ("building", "build api"));
    play.built("api");
    play.took();
    play.restart("api");
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", "build api"));
    play.built("api");
    assert_eq!(play.took(), "stop api");
}

#[test]
fn a_restart_whose_build_fails_is_refused() {
    let mut play = up();
    let before = play.core.failed_builds(play.run("api").component);
    play.restart("api");
    assert_eq!(refused(&play), 0);
    play.build_fails("api");
    assert!(refused(&play) > before);
    play.change("api");
    play.after(5);
    assert_eq!(refused(&play), 0, "another one is under way");
    assert_eq!(play.state("api"), "ready");
}

#[test]
fn a_dependency_that_restarts_has_nothing_built() {
    let mut play = Play::of("db; api+: db restart");
    play.built("api");
    play.took();
    play.restart("db");
    play.ends("api", 0);
    play.ends("db", 0);
    assert_eq!((play.state("api"), play.took().contains("build")), ("ready", false));
}

#[test]
fn those_that_restart_with_it_go_on_while_it_is_built() {
    let mut play = Play::of("api+*; web: api restart");
    play.built("api");
    play.took();
    play.change("api");
    play.after(5);
    assert_eq!((play.states().as_str(), play.took().as_str()), ("api=ready web=ready", "build api"));
    play.built("api");
    assert_eq!(play.took(), "stop web");
}

#[test]
fn an_edit_of_other_keys_builds_nothing_and_one_of_build_is_an_update() {
    let mut play = up();
    play.edit(|project| edit(project, "api", |it| it.stdin = crate::config::model::Stdin::Open));
    play.ends("api", 0);
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", "stop api, sweep api, spawn api"));
    play.edit(|project| edit(project, "api", |it| it.build.as_mut().unwrap().timeout = super::play::ms(5)));
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", ""));
    play.edit(|project| edit(project, "api", |it| it.build = None));
    play.change("api");
    assert_eq!(play.took(), "stop api", "there is no build any more");
}

#[test]
fn a_change_after_an_edit_during_a_build_is_in_what_runs_next() {
    let mut play = up();
    play.change("api");
    play.after(5);
    play.edit(|project| edit(project, "api", |it| it.stdin = crate::config::model::Stdin::Open));
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", "build api"), "it waits for the build");
    play.change("api");
    assert_eq!(play.took(), "end build api");
    play.task("api", TaskKind::Build, TaskEnd::Ended);
    play.after(5);
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", "build api"));
    play.build_fails("api");
    assert_eq!(play.took(), "stop api", "the edit is of nothing that is built");
    play.ends("api", 0);
    assert_eq!(play.state("api"), "ready");
}

/// What is built is built in the component's folder and environment, and what is to run may be what is built.
#[test]
fn an_edit_of_what_is_built_and_restarts_stops_nothing_before_the_build_is_good() {
    let edits: [fn(&mut crate::config::model::Component); 2] = [
        |it| it.cwd = std::sync::Arc::new("/q".into()),
        |it| {
            it.build.as_mut().unwrap().timeout = super::play::ms(5);
            it.stdin = crate::config::model::Stdin::Open;
        },
    ];
    for change in edits {
        let mut play = up();
        play.edit(|project| edit(project, "api", change));
        assert_eq!((play.state("api"), play.took().as_str()), ("ready", "build api"));
        play.build_fails("api");
        assert_eq!((play.state("api"), play.took().as_str()), ("ready", ""), "what runs goes on");
        play.change("api");
        play.after(5);
        play.built("api");
        assert_eq!(play.took(), "build api, stop api");
        play.ends("api", 0);
        assert_eq!(play.state("api"), "ready");
    }
}

#[test]
fn an_edit_comes_true_although_the_build_of_a_restart_after_it_fails() {
    let mut play = Play::of("api+*; web: api restart");
    play.built("api");
    play.took();
    play.edit(|project| edit(project, "api", |it| it.stdin = crate::config::model::Stdin::Open));
    assert_eq!(play.took(), "stop web");
    play.restart("api");
    play.build_fails("api");
    play.ends("web", 0);
    assert!(play.took().contains("stop api"), "what was declared before does not run on");
}

#[test]
fn an_edit_that_takes_the_build_away_lets_go_of_what_waits_for_it() {
    let mut play = Play::quiet("api+*", |_| {});
    let api = play.core.find("api").unwrap();
    play.tell(Event::Changed { component: api, paths: vec!["/p/a".into()] });
    play.tell(Event::Up);
    assert_eq!((play.state("api"), play.took().as_str()), ("building", ""));
    play.edit(|project| edit(project, "api", |it| it.build = None));
    play.after(5);
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", "spawn api"));
}

#[test]
fn an_added_component_is_built_first() {
    let mut play = Play::of("db");
    play.edit(|project| project.components.extend(super::play::project("api+").components));
    assert_eq!(play.state("api"), "building");
}

#[test]
fn who_is_stopped_removed_or_shut_down_ends_its_build_and_waits_for_that() {
    let mut play = Play::of("api+; db");
    play.stop("api");
    assert_eq!((play.state("api"), play.took().as_str()), ("stopped", "build api, spawn db, end build api"));
    play.start("api");
    assert_eq!((play.state("api"), play.took().as_str()), ("building", ""), "never two at once");
    play.task("api", TaskKind::Build, TaskEnd::Ended);
    assert_eq!(play.took(), "build api");
    play.edit(|project| project.components.retain(|it| it.name == name("db")));
    assert_eq!((play.state("api"), play.took().as_str()), ("stopped", "end build api"));
    play.task("api", TaskKind::Build, TaskEnd::Ended);
    assert_eq!(play.state("api"), "none");

    let mut play = Play::of("api+");
    play.took();
    play.down();
    assert_eq!((play.exit, play.took().as_str()), (None, "end build api"));
    play.task("api", TaskKind::Build, TaskEnd::Ended);
    assert_eq!(play.exit, Some(0));
}

#[test]
fn a_build_that_does_not_end_holds_nobody_up_for_ever() {
    let mut play = Play::of("api+");
    play.down();
    play.after(1_999);
    assert_eq!(play.exit, None);
    play.after(1);
    assert_eq!(play.exit, Some(1));
}

#[test]
fn a_build_is_carried_over_a_new_image() {
    let mut play = up();
    play.change("api");
    play.after(5);
    play.tell(Event::Command(Command::Upgrade("/new/orch".into())));
    play.new_image();
    play.took();
    play.built("api");
    assert_eq!(play.took(), "stop api");
}

#[test]
fn files_that_settle_for_a_build_are_asked_after_again_by_a_new_image() {
    let mut play = up();
    play.change("api");
    play.tell(Event::Command(Command::Upgrade("/new/orch".into())));
    play.new_image();
    play.after(5);
    assert!(play.took().ends_with("build api"));
}

#[test]
fn other_actions_than_a_restart_build_nothing() {
    let action = WatchAction::Signal(crate::types::Signal::HUP);
    let mut play = Play::with("api+*", |project| {
        edit(project, "api", |it| std::sync::Arc::make_mut(it.watch.as_mut().unwrap()).action = action);
    });
    play.built("api");
    play.took();
    play.change("api");
    play.after(100);
    assert_eq!(play.took(), "signal api SIGHUP");
}

#[test]
fn a_change_leads_to_the_build_and_that_to_the_stop() {
    let mut play = up();
    play.change("api");
    play.now = play.now + super::play::ms(5);
    let began = play.causes(Event::Deadline);
    assert_eq!(began, "", "the watcher is asked first");
    let component = play.core.find("api").unwrap();
    assert_eq!(play.causes(Event::Sifted { component }), "api.task_started<api.changed");
    let task = crate::types::TaskId { component, number: 2 };
    let led = "api.task_succeeded<api.task_started api.stop_requested<api.task_succeeded \
               api.stopping<api.stop_requested";
    assert_eq!(play.causes(Event::Task(task, TaskEnd::Done)), led);
}

#[test]
fn a_late_answer_changes_nothing() {
    let mut play = up();
    let component = play.core.find("api").unwrap();
    let before = format!("{:?}", play.core);
    play.tell(Event::Task(crate::types::TaskId { component, number: 1 }, super::play::failed("late")));
    assert_eq!(before, format!("{:?}", play.core));
}
