//! Edits of what is built, and of what is run, at any moment of a build. The plan shows what then happens.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::play::{Play, edit, ms};
use crate::config::model::{Command as Line, Component, Kind};
use crate::plan::Plan;
use crate::supervisor::{Action, Event, What};
use crate::types::{Name, TaskEnd, TaskKind};

fn mended(spec: &mut Component) {
    spec.build.as_mut().unwrap().command = Line::Words(vec!["make".to_owned(), "all".to_owned()]);
}

fn without(spec: &mut Component) {
    spec.build = None;
}

fn added(spec: &mut Component) {
    spec.build = super::play::project("api+").components[0].build.clone();
}

fn rerun(spec: &mut Component) {
    spec.kind = Kind::Process(Line::Words(vec!["v2".to_owned()]));
}

fn moved(spec: &mut Component) {
    spec.cwd = Arc::new("/q".into());
}

fn in_another_environment(spec: &mut Component) {
    spec.env.own.insert("MODE".to_owned(), Some("fast".to_owned()));
}

fn both(spec: &mut Component) {
    mended(spec);
    rerun(spec);
}

fn rerun_without(spec: &mut Component) {
    without(spec);
    rerun(spec);
}

type Edit = fn(&mut Component);

/// A play that comes to a moment at which `api` is built.
type Moment = fn() -> Play;

/// Its first build runs.
fn first() -> Play {
    Play::of("api+*!")
}

fn good() -> Play {
    let mut play = first();
    play.built("api");
    play
}

/// It is ready, and built anew.
fn ready() -> Play {
    let mut play = good();
    play.change("api");
    play.after(5);
    play
}

fn completed() -> Play {
    let mut play = good();
    play.ends("api", 0);
    play.change("api");
    play.after(5);
    play
}

fn backoff() -> Play {
    let mut play = Play::of("api+*");
    play.built("api");
    play.ends("api", 1);
    play.change("api");
    play.after(5);
    play
}

/// It failed while it was built.
fn failing() -> Play {
    let mut play = ready();
    play.ends("api", 3);
    play
}

/// What was built last is to be started.
fn again() -> Play {
    let mut play = good();
    play.change("api");
    play.after(5);
    play.built("api");
    play.change("api");
    play.ends("api", 0);
    play.after(5);
    play
}

fn failed(moment: Moment) -> Play {
    let mut play = moment();
    play.build_fails("api");
    play
}

/// Does an edit; gives the action planned for `api`.
fn do_edit(play: &mut Play, change: Edit) -> &'static str {
    let mut project = (**play.core.project()).clone();
    edit(&mut project, "api", change);
    let chosen: BTreeSet<Name> = project.components.iter().map(|spec| spec.name.clone()).collect();
    let plan: Plan = play.core.plan(&project, &chosen);
    play.took();
    play.edit(|project| edit(project, "api", change));
    plan.steps.first().map_or("", |step| step.action.word())
}

/// What runs of the build is ended, and whatever is then built ends so; also what has to stop does.
fn goes_on(play: &mut Play, is_good: bool) -> String {
    if play.took_part().contains("end build api") {
        play.task("api", TaskKind::Build, TaskEnd::Ended);
        play.after(5);
    }
    if play.state("api") == "stopping" {
        play.ends("api", 0);
    }
    play.after(0);
    if play.is_built("api") {
        if is_good { play.built("api") } else { play.build_fails("api") }
    }
    if play.state("api") == "stopping" {
        play.ends("api", 0);
    }
    let took = play.took();
    let starts = took.contains("spawn api");
    format!("{}{}", play.state("api"), if starts { ", started" } else { "" })
}

/// For each moment and edit: what is planned, and what comes of it if the next build is good, and if it is bad.
#[test]
fn each_edit_at_each_moment_of_a_build() {
    let table: [(&str, Moment, &str, Edit, [&str; 3]); 38] = [
        ("first", first, "mended", mended, ["update", "ready, started", "failed"]),
        ("first", first, "without", without, ["restart", "ready, started", "ready, started"]),
        ("first", first, "rerun", rerun, ["update", "ready, started", "failed"]),
        ("first", first, "moved", moved, ["update", "ready, started", "failed"]),
        ("first", first, "both", both, ["update", "ready, started", "failed"]),
        ("first", first, "rerun without", rerun_without, ["restart", "ready, started", "ready, started"]),
        ("ready", ready, "mended", mended, ["update", "ready, started", "ready"]),
        ("ready", ready, "without", without, ["restart", "ready, started", "ready, started"]),
        ("ready", ready, "rerun", rerun, ["restart", "ready, started", "ready, started"]),
        ("ready", ready, "both", both, ["restart", "ready, started", "ready"]),
        ("good", good, "mended", mended, ["update", "ready", "ready"]),
        ("good", good, "rerun", rerun, ["restart", "ready, started", "ready, started"]),
        ("good", good, "both", both, ["restart", "ready, started", "ready"]),
        ("good", good, "moved", moved, ["restart", "ready, started", "ready"]),
        ("ready", ready, "rerun without", rerun_without, ["restart", "ready, started", "ready, started"]),
        ("completed", completed, "mended", mended, ["update", "ready, started", "completed"]),
        ("completed", completed, "without", without, ["restart", "ready, started", "ready, started"]),
        ("completed", completed, "rerun", rerun, ["restart", "ready, started", "ready, started"]),
        ("completed", completed, "both", both, ["restart", "ready, started", "completed"]),
        ("backoff", backoff, "mended", mended, ["update", "ready, started", "backoff"]),
        ("backoff", backoff, "without", without, ["restart", "ready, started", "ready, started"]),
        ("backoff", backoff, "rerun", rerun, ["restart", "ready, started", "ready, started"]),
        ("failing", failing, "mended", mended, ["update", "ready, started", "failed"]),
        ("failing", failing, "rerun", rerun, ["restart", "ready, started", "ready, started"]),
        ("failing", failing, "without", without, ["restart", "ready, started", "ready, started"]),
        ("again", again, "mended", mended, ["update", "ready, started", "ready, started"]),
        ("again", again, "rerun", rerun, ["update", "ready, started", "ready, started"]),
        ("again", again, "without", without, ["restart", "ready, started", "ready, started"]),
        ("first failed", || failed(first), "mended", mended, ["restart", "ready, started", "failed"]),
        (
            "first failed",
            || failed(first),
            "without",
            without,
            ["restart", "ready, started", "ready, started"],
        ),
        ("first failed", || failed(first), "rerun", rerun, ["restart", "ready, started", "failed"]),
        ("ready failed", || failed(ready), "mended", mended, ["restart", "ready, started", "ready"]),
        ("ready failed", || failed(ready), "without", without, ["update", "ready", "ready"]),
        ("ready failed", || failed(ready), "both", both, ["restart", "ready, started", "ready"]),
        (
            "completed failed",
            || failed(completed),
            "mended",
            mended,
            ["restart", "ready, started", "completed"],
        ),
        ("completed failed", || failed(completed), "both", both, ["restart", "ready, started", "completed"]),
        (
            "failing failed",
            || failed(failing),
            "without",
            without,
            ["restart", "ready, started", "ready, started"],
        ),
        ("backoff failed", || failed(backoff), "mended", mended, ["restart", "ready, started", "backoff"]),
    ];
    for (at, moment, what, change, expected) in table {
        for (is_good, then) in [(true, expected[1]), (false, expected[2])] {
            let mut play = moment();
            let planned = do_edit(&mut play, change);
            let came = goes_on(&mut play, is_good);
            assert_eq!([planned, &came], [expected[0], then], "{at}, {what}, then a good build: {is_good}");
        }
    }
}

#[test]
fn what_is_built_after_an_edit_is_built_as_declared() {
    for (moment, change) in [
        (first as Moment, mended as Edit),
        (ready, moved),
        (first, moved),
        (completed, both),
        (first, in_another_environment),
    ] {
        let mut play = moment();
        do_edit(&mut play, change);
        assert!(play.took().contains("end build api"), "the build that runs is not what is declared");
    }
    let mut play = first();
    do_edit(&mut play, rerun);
    assert_eq!(play.took(), "", "it builds the same");
}

#[test]
fn a_build_that_is_added_is_for_the_next_start_and_an_old_failure_is_none_of_it() {
    let mut play = failed(ready);
    do_edit(&mut play, without);
    assert_eq!(do_edit(&mut play, added), "update");
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", ""));
    assert_eq!(play.reason("api"), "it runs");
    play.change("api");
    play.after(5);
    assert_eq!(play.took(), "build api");
}

#[test]
fn who_waits_for_a_failed_build_gets_the_new_one_at_its_next_start() {
    let mut play = Play::of("db; api+*!: db");
    play.built("api");
    play.ends("api", 0);
    play.change("api");
    play.after(5);
    play.stop("api");
    play.start("api");
    play.task("api", TaskKind::Build, TaskEnd::Ended);
    play.build_fails("api");
    assert_eq!(play.state("api"), "failed");
    // The reason is that of the edit.
    play.reasons.clear();
    do_edit(&mut play, mended);
    play.built("api");
    assert_eq!(play.state("api"), "ready");
}

#[test]
fn followers_go_down_with_an_edit_that_comes_while_it_is_built() {
    let mut play = Play::of("api+*; web: api completed restart");
    play.built("api");
    play.ends("api", 0);
    play.change("api");
    play.after(5);
    assert_eq!(play.states(), "api=building web=ready");
    do_edit(&mut play, rerun);
    assert_eq!(play.took(), "stop web");
    play.build_fails("api");
    assert_eq!(play.states(), "api=waiting web=stopping", "it starts when its followers are down");
    play.ends("web", 0);
    assert_eq!(play.state("api"), "ready");
}

#[test]
fn the_edit_is_what_led_to_it() {
    let mut play = failed(first);
    let mut project = (**play.core.project()).clone();
    edit(&mut project, "api", mended);
    let chosen = project.components.iter().map(|spec| spec.name.clone()).collect();
    let led = play.causes(Event::Edit { project: Arc::new(project), chosen });
    assert_eq!(led, "reloaded< api.building<reloaded api.task_started<api.building");
}

#[test]
fn a_plan_says_what_becomes_of_the_build() {
    let reason = |mut play: Play, change: Edit| {
        let mut project = (**play.core.project()).clone();
        edit(&mut project, "api", change);
        let chosen = project.components.iter().map(|spec| spec.name.clone()).collect();
        let actions = play.core.step(play.now + ms(1), Event::Edit { project: Arc::new(project), chosen });
        let told = actions.into_iter().find_map(|action| match action {
            Action::Record(record) => match record.what {
                What::ConfigReloaded { plan } => Some(plan.steps[0].reason.clone()),
                _ => None,
            },
            _ => None,
        });
        told.unwrap()
    };
    assert_eq!(reason(first(), mended), "its build begins anew");
    assert_eq!(reason(first(), without), "it waits for no build any more");
    assert_eq!(reason(failed(first), mended), "it is built again, for its last build failed");
    assert_eq!(reason(first(), rerun), "its process changed, effective at its next start: it is being built");
    assert_eq!(reason(good(), mended), "effective when next used");
    assert_eq!(reason(failed(first), rerun), "its process changed, it is built before it starts");
}

#[test]
fn what_it_is_built_in_builds_again_what_failed_before_anything_stops() {
    let mut play = failed(ready);
    assert_eq!(do_edit(&mut play, moved), "restart");
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", "build api"));
    play.built("api");
    assert_eq!(play.took(), "stop api");
    play.ends("api", 0);
    assert_eq!(play.state("api"), "ready");
}

#[test]
fn a_build_that_was_ended_for_good_is_not_under_way() {
    let mut play = first();
    do_edit(&mut play, without);
    play.took();
    do_edit(&mut play, added);
    play.task("api", TaskKind::Build, TaskEnd::Ended);
    play.after(100);
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", ""), "it is for the next start");
}

#[test]
fn an_edit_counts_for_one_start() {
    let mut play = completed();
    do_edit(&mut play, rerun);
    play.build_fails("api");
    assert_eq!(play.state("api"), "ready");
    play.ends("api", 0);
    play.change("api");
    play.after(5);
    play.build_fails("api");
    assert_eq!(play.state("api"), "completed");
}

#[test]
fn what_crashes_while_it_is_built_well_is_started_although_it_would_have_failed() {
    let mut play = ready();
    play.exits("api", 3);
    assert_eq!(play.state("api"), "stopping");
    play.built("api");
    play.gone("api");
    assert_eq!(play.state("api"), "ready");
}

/// Somebody else may have it now, who waits for the end of the run that has it.
#[test]
fn what_gives_up_a_file_waits_for_no_good_build() {
    fn gives_up(spec: &mut Component) {
        moved(spec);
        spec.logs =
            Arc::new(crate::config::model::Logs { file: Some("/p/api.log".into()), ..(*spec.logs).clone() });
    }
    let mut play = good();
    assert_eq!(do_edit(&mut play, gives_up), "restart");
    assert_eq!((play.state("api"), play.took().as_str()), ("stopping", "stop api"));
    play.ends("api", 0);
    assert_eq!(play.state("api"), "building");
    play.build_fails("api");
    assert_eq!(play.state("api"), "ready", "what was built last is started");
}

/// It waited without a build for a while, and nothing was made meanwhile.
#[test]
fn a_build_that_was_taken_away_and_given_back_has_made_nothing() {
    let mut play = Play::of("db; api+*!; web: db completed");
    let api = play.core.project().components.iter().find(|spec| spec.name.as_str() == "api").cloned();
    let waits = play.core.project().components.iter().find(|spec| spec.name.as_str() == "web").cloned();
    let (api, waits) = (api.unwrap(), waits.unwrap());
    play.edit(|project| {
        edit(project, "api", |spec| {
            without(spec);
            spec.depends_on = waits.depends_on.clone();
        });
    });
    play.task("api", TaskKind::Build, TaskEnd::Ended);
    assert_eq!(play.state("api"), "waiting");
    play.edit(|project| edit(project, "api", |spec| *spec = (*api).clone()));
    assert_eq!(play.state("api"), "building");
    play.build_fails("api");
    assert_eq!(play.state("api"), "failed");
}
