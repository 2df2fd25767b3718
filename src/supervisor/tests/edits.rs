//! Edits of the file, and profiles.

use std::sync::Arc;

use super::play::{Play, edit, ms, name, project};
use crate::config::model::{Command as Line, Component, Condition, Dependency, Kind, Project};

fn rerun(project: &mut Project, which: &str) {
    edit(project, which, |spec| spec.kind = Kind::Process(Line::Words(vec!["v2".to_owned()])));
}

fn remove(project: &mut Project, which: &str) {
    project.components.retain(|spec| spec.name.as_str() != which);
}

fn add(project: &mut Project, text: &str) {
    project.components.extend(self::project(text).components);
}

fn needs(spec: &mut Component, on: &str) {
    spec.depends_on.push(Dependency { name: name(on), condition: Condition::Ready, restart: false });
}

#[test]
fn what_runs_is_restarted_and_nothing_else_is_touched() {
    let mut play = Play::of("db; api: db; other");
    play.took();
    play.edit(|project| rerun(project, "api"));
    assert_eq!(play.took(), "stop api");
    play.gone("api");
    assert_eq!(play.took(), "spawn api");

    let update: fn(&mut Component) = |spec| {
        let stop = Arc::make_mut(&mut spec.stop);
        (stop.timeout, spec.description) = (ms(100), Some("api".to_owned()));
        Arc::make_mut(&mut spec.restart).limit.count = 1;
    };
    play.edit(|project| edit(project, "api", update));
    assert_eq!(play.took(), "");
    play.stop("api");
    play.after(100);
    assert_eq!(play.took(), "stop api, kill api", "effective when next used");
}

#[test]
fn added_ones_start_and_removed_ones_stop_in_order() {
    let mut play = Play::of("db; api: db; keep");
    play.took();
    play.edit(|project| {
        remove(project, "db");
        remove(project, "api");
        add(project, "new2: new; new");
    });
    assert_eq!(play.took(), "stop api, spawn new, spawn new2");
    play.gone("api");
    assert_eq!(play.took(), "stop db");
    assert_eq!(play.states(), "db=stopping keep=ready new=ready new2=ready");
    play.gone("db");
    assert_eq!(play.states(), "keep=ready new=ready new2=ready");
}

#[test]
fn removed_and_added_again_is_a_new_run_with_its_number() {
    let mut play = Play::of("api; keep");
    play.edit(|project| remove(project, "api"));
    play.edit(|project| add(project, "api"));
    play.gone("api");
    assert_eq!((play.state("api"), play.run("api").incarnation), ("ready", 2));
    play.edit(|project| remove(project, "api"));
    play.gone("api");
    assert_eq!(play.state("api"), "none");
    play.edit(|project| add(project, "api"));
    assert_eq!((play.state("api"), play.run("api").incarnation), ("ready", 3), "numbers go on");
}

#[test]
fn an_edit_starts_what_has_failed_or_completed_or_is_being_prepared_anew() {
    for (code, state) in [(0, "completed"), (1, "failed")] {
        let mut play = Play::of("api!; keep");
        play.ends("api", code);
        assert_eq!(play.state("api"), state);
        play.edit(|project| rerun(project, "api"));
        assert_eq!(play.state("api"), "ready");
    }
    let mut play = Play::quiet("api", |_| {});
    play.silent();
    play.tell(crate::supervisor::Event::Up);
    play.edit(|project| rerun(project, "api"));
    play.prepared("api");
    assert_eq!(play.took(), "", "what was prepared is not what is declared");
    play.prepared("api");
    assert_eq!(play.took(), "spawn api");
}

#[test]
fn a_new_edge_counts_from_the_next_use() {
    let mut play = Play::of("db?; api");
    play.took();
    play.edit(|project| edit(project, "api", |spec| needs(spec, "db")));
    assert_eq!((play.took().as_str(), play.state("api")), ("", "ready"));
    play.restart("api");
    play.gone("api");
    assert_eq!(play.state("api"), "waiting");
    play.ready("db");
    play.took();
    play.down();
    assert_eq!(play.took(), "stop api");
}

/// The stop of `db` waits for `old`; now `new` needs it, too, and would hold it up for ever.
#[test]
fn a_dependent_that_an_edit_gave_to_what_is_to_stop_is_stopped_first() {
    let mut play = Play::of("db; old: db; new");
    play.took();
    play.stop("db");
    play.edit(|project| edit(project, "new", |spec| needs(spec, "db")));
    assert_eq!(play.took(), "stop old, stop new");
    play.gone("new");
    play.gone("old");
    assert_eq!(play.took(), "stop db");
}

#[test]
fn an_edge_that_an_edit_took_away_holds_nobody_up() {
    let mut play = Play::of("db; api: db; top");
    play.took();
    play.stop("db");
    assert_eq!(play.took(), "stop api");
    play.edit(|project| edit(project, "api", |spec| spec.depends_on.clear()));
    assert_eq!(play.took(), "stop db");
}

#[test]
fn what_was_not_chosen_is_taken_in_by_what_needs_it() {
    let lazy = |project: &mut Project| {
        for of in ["db", "tool"] {
            edit(project, of, |spec| spec.autostart = false);
        }
    };
    let mut play = Play::with("db; tool: db; api", lazy);
    assert_eq!(play.states(), "api=ready db=stopped tool=stopped");
    play.edit(|project| add(project, "new: tool"));
    assert_eq!(play.states(), "api=ready db=ready new=ready tool=ready");

    let mut play = Play::with("db; tool: db; api", lazy);
    play.edit(|project| edit(project, "api", |spec| needs(spec, "tool")));
    assert_eq!(play.states(), "api=ready db=stopped tool=stopped", "an update touches no process");
    play.restart("api");
    play.gone("api");
    assert_eq!(play.states(), "api=ready db=ready tool=ready");
}

#[test]
fn what_was_stopped_by_command_is_not_taken_in() {
    let mut play = Play::of("db; api");
    play.stop("db");
    play.gone("db");
    play.edit(|project| add(project, "new: db"));
    assert_eq!(play.states(), "api=ready db=stopped new=waiting");
}
