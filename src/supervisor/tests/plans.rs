//! A plan is true for what runs now, and it is what the edit then does.

use std::sync::Arc;

use super::play::{Play, edit, name};
use crate::config::model::{Command as Line, Component, Kind, Project};
use crate::plan::Plan;
use crate::supervisor::{Action, Event, RunEvent, What};

fn rerun(spec: &mut Component) {
    spec.kind = Kind::Process(Line::Words(vec!["v2".to_owned(), spec.name.to_string()]));
}

fn edited(play: &Play, change: impl FnOnce(&mut Project)) -> Arc<Project> {
    let mut project = (**play.core.project()).clone();
    change(&mut project);
    Arc::new(project)
}

fn told(plan: &Plan) -> String {
    let each = plan.steps.iter().map(|step| format!("{} {}", step.action.word(), step.component));
    each.collect::<Vec<_>>().join(", ")
}

/// Plans an edit, applies it, and gives the plan: the applied one is the same.
fn planned(play: &mut Play, change: impl FnOnce(&mut Project)) -> Plan {
    let project = edited(play, change);
    let chosen = project.components.iter().map(|spec| spec.name.clone()).collect();
    let plan = play.core.plan(&project, &chosen);
    let generation = play.core.generation();
    let actions = play.core.step(play.now, Event::Edit { project, chosen });
    let applied = actions.into_iter().find_map(|action| match action {
        Action::Record(record) => match record.what {
            What::ConfigReloaded { plan } => Some(plan),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(applied.as_deref(), Some(&plan), "what is planned is what is applied");
    assert_eq!(play.core.generation(), generation + 1);
    play.core.check().unwrap();
    plan
}

fn rerun_all(project: &mut Project) {
    let names: Vec<_> = project.components.iter().map(|spec| spec.name.clone()).collect();
    for of in names {
        edit(project, of.as_str(), rerun);
    }
}

#[test]
fn what_does_not_run_is_updated_and_says_why() {
    let mut play = Play::of("up; down; gone!; waits: idle; bad?!; blocked: bad; idle?");
    play.stop("down");
    play.gone("down");
    play.ends("gone", 0);
    play.ends("bad", 3);
    let plan = planned(&mut play, rerun_all);
    assert_eq!(
        told(&plan),
        "restart up, update down, restart gone, restart bad, restart idle, update waits, update blocked"
    );
    let reason = |of: &str| {
        plan.steps.iter().find(|step| step.component == name(of)).map(|step| step.reason.as_str()).unwrap()
    };
    assert_eq!(reason("down"), "its process changed, effective at its next start: it was stopped by command");
    assert_eq!(reason("waits"), "its process changed, effective at its next start: it waits");
    assert_eq!(reason("up"), "its process changed");
    assert_eq!(play.state("down"), "stopped");
}

#[test]
fn a_follower_that_is_not_up_is_not_restarted() {
    let text = "db; api: db ready restart; web: api ready restart; job!: db ready restart";
    let mut play = Play::of(text);
    play.ends("job", 0);
    let rerun_db = |project: &mut Project| edit(project, "db", rerun);
    let project = edited(&play, rerun_db);
    let chosen = project.components.iter().map(|spec| spec.name.clone()).collect();
    assert_eq!(told(&play.core.plan(&project, &chosen)), "restart db, restart api, restart web");
    play.stop("api");
    play.gone("web");
    play.gone("api");
    assert_eq!(told(&planned(&mut play, rerun_db)), "restart db");
}

#[test]
fn what_is_being_prepared_is_updated() {
    let mut play = Play::quiet("db", |_| {});
    play.silent();
    play.tell(Event::Up);
    assert_eq!(told(&planned(&mut play, rerun_all)), "update db");
    play.says("db", RunEvent::PrepareFailed { error: "no such program".to_owned() });
    play.prepared("db");
    assert_eq!(play.took(), "spawn db", "it failed as it was, and starts at once as it is");
}

#[test]
fn the_removal_of_what_does_not_run_touches_no_process() {
    let mut play = Play::of("db; api; keep");
    play.stop("api");
    play.gone("api");
    let plan = planned(&mut play, |project| project.components.retain(|spec| spec.name.as_str() == "keep"));
    assert_eq!(told(&plan), "update api, stop db");
    assert_eq!(play.states(), "db=stopping keep=ready");
}

/// The edit that removed it is not done yet, and the next one has it again, but does not choose it.
#[test]
fn what_is_on_its_way_out_and_declared_again_is_not_forgotten() {
    let mut play = Play::of("db; keep");
    let with = Arc::clone(play.core.project());
    play.edit(|project| project.components.retain(|spec| spec.name.as_str() == "keep"));
    let chosen = [name("keep")].into();
    play.tell(Event::Edit { project: with, chosen });
    play.gone("db");
    assert_eq!(play.states(), "db=stopped keep=ready");
    play.start("db");
    assert_eq!(play.states(), "db=ready keep=ready");
}

#[test]
fn nothing_starts_by_an_edit_at_the_end() {
    let mut play = Play::of("db; keep");
    play.down();
    let plan = planned(&mut play, |project| {
        edit(project, "db", rerun);
        project.components.extend(super::play::project("new").components);
    });
    assert_eq!(told(&plan), "update db, update new");
}
