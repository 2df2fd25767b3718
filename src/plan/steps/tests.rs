use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Plan, StepAction, plan, plan_for};
use crate::config::model::{Kind, Project, Stdin};
use crate::plan::diff::{Reaction, diff};
use crate::plan::graph;
use crate::plan::testing::{Random, edit, name, project};
use crate::types::Name;

fn summary(plan: &Plan) -> String {
    let steps: Vec<String> =
        plan.steps.iter().map(|step| format!("{} {}", step.action.word(), step.component)).collect();
    steps.join(", ")
}

#[track_caller]
fn check(old: &Project, new: &Project, expected: &str) {
    assert_eq!(summary(&plan(old, new)), expected);
}

#[test]
fn stops_in_reverse_then_the_rest_in_order() {
    let old = project("web: api; api: db; db; log: api");
    check(&old, &project("log; other"), "stop web, stop api, stop db, update log, start other");
    check(&project(""), &old, "start db, start api, start web, start log");
    check(&old, &project(""), "stop log, stop web, stop api, stop db");
    check(&old, &old.clone(), "");
    check(&old, &project("db; api: db; log: api; web: api"), "");
}

#[test]
fn what_restarts_takes_along_those_with_restart_true() {
    let old = project("web: api restart; api: db restart; db; log: db; tool: web completed restart");
    let mut new = old.clone();
    edit(&mut new, "db", |c| c.stdin = Stdin::Open);
    edit(&mut new, "web", |c| c.description = Some("pages".into()));
    check(&old, &new, "restart db, restart api, restart web, restart tool");
    let found = plan(&old, &new);
    let web = found.steps.iter().find(|step| step.component == name("web")).unwrap();
    assert_eq!(
        (web.changed.as_slice(), web.reason.as_str()),
        (&["description".to_owned()][..], "it restarts whenever api does")
    );
    let mut update = old.clone();
    edit(&mut update, "db", |c| c.autostart = false);
    check(&old, &update, "update db");
}

#[test]
fn reasons_say_what_changed() {
    let reason = |edited: fn(&mut crate::config::model::Component)| {
        let old = project("api");
        let mut new = old.clone();
        edit(&mut new, "api", edited);
        plan(&old, &new).steps[0].reason.clone()
    };
    assert_eq!(reason(|c| c.stdin = Stdin::Open), "its standard input changed");
    assert_eq!(
        reason(|c| {
            c.stdin = Stdin::Open;
            c.autostart = false;
            c.cwd = Arc::new("/x".into());
            c.env.own.extend([("A".into(), None), ("B".into(), None)]);
        }),
        "its working directory, environment and standard input changed"
    );
    let thread = |c: &mut crate::config::model::Component| {
        c.kind = Kind::Thread { runner: "ticker".into(), with: serde_yaml::Value::Null, listens: Vec::new() };
    };
    assert_eq!(reason(thread), "it is a thread now");
    assert_eq!(reason(|c| c.autostart = false), "effective when next used");
}

#[test]
fn what_is_new_starts_only_if_chosen() {
    let (old, new) = (project("db"), project("db; api: db; tool"));
    let found = plan_for(&old, &new, &BTreeSet::from([name("db"), name("api")]));
    assert_eq!(summary(&found), "update tool, start api");
}

#[test]
fn keys_of_the_project_are_no_steps() {
    let old = project("db");
    let mut new = old.clone();
    new.shutdown_timeout *= 2;
    new.name = "other".into();
    new.file = "/project/other.yaml".into();
    let found = plan(&old, &new);
    assert_eq!(found.project, ["name", "shutdown_timeout"]);
    assert!(found.steps.is_empty() && !found.is_empty());
}

/// Some components changed, some gone, some new, some moved.
fn edited(random: &mut Random, old: &Project) -> Project {
    let size = old.components.len() + random.below(3);
    let mut new = random.project(size, 3);
    for component in &mut new.components {
        let same = old.components.iter().find(|known| known.name == component.name);
        let Some(same) = same.filter(|_| !random.once_in(4)) else { continue };
        let before = component.depends_on.clone();
        *component = Arc::clone(same);
        let component = Arc::make_mut(component);
        component.depends_on = before;
        match random.below(6) {
            0 => component.stdin = Stdin::Open,
            1 => component.description = Some("edited".into()),
            2 => component.env.project = Arc::new([("SHARED".into(), None)].into()),
            _ => {}
        }
    }
    new.components.retain(|_| !random.once_in(6));
    new
}

#[test]
fn plans_cover_exactly_what_differs_in_an_order_that_can_be_applied() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let size = 1 + random.below(20);
        let old = random.project(size, 3);
        let new = edited(&mut random, &old);
        covers(&old, &new);
        ordered(&old, &new);
        assert!(plan(&new, &new.clone()).is_empty());
        for component in &old.components {
            assert_eq!(diff(component, &Arc::new((**component).clone())), Default::default());
        }
    }
}

fn by_name(project: &Project) -> BTreeMap<&Name, &crate::config::model::Component> {
    project.components.iter().map(|component| (&component.name, &**component)).collect()
}

fn covers(old: &Project, new: &Project) {
    let (before, after) = (by_name(old), by_name(new));
    let found = plan(old, new);
    let steps: BTreeMap<&Name, StepAction> = found.steps.iter().map(|s| (&s.component, s.action)).collect();
    assert_eq!(steps.len(), found.steps.len(), "one step a component");
    for name in before.keys().chain(after.keys()) {
        let leads = |name: &Name| steps.get(name) == Some(&StepAction::Restart);
        let follows =
            after.get(name).is_some_and(|c| c.depends_on.iter().any(|d| d.restart && leads(&d.name)));
        let expected = match (before.get(name), after.get(name)) {
            (Some(_), None) => Some(StepAction::Stop),
            (None, _) => Some(StepAction::Start),
            (Some(_), Some(_)) if follows => Some(StepAction::Restart),
            (Some(a), Some(b)) => match diff(a, b).reaction {
                Reaction::Nothing => (a != b).then(|| panic!("{name} differs, and the diff is empty")),
                Reaction::Update => Some(StepAction::Update),
                Reaction::Restart => Some(StepAction::Restart),
            },
        };
        assert_eq!(steps.get(name).copied(), expected, "{name}");
    }
}

fn ordered(old: &Project, new: &Project) {
    let found = plan(old, new);
    let at: BTreeMap<&Name, usize> = found.steps.iter().zip(0..).map(|(s, at)| (&s.component, at)).collect();
    let stops = found.steps.iter().take_while(|s| s.action == StepAction::Stop).count();
    assert!(found.steps[stops..].iter().all(|s| s.action != StepAction::Stop), "stops come first");
    for (project, within) in [(old, 0..stops), (new, stops..found.steps.len())] {
        for edge in graph::of(project).edges {
            let place = |node: usize| at.get(&project.components[node].name).filter(|at| within.contains(at));
            let (Some(from), Some(to)) = (place(edge.from), place(edge.to)) else { continue };
            assert_eq!(from < to, within.start == 0 && stops > 0 && *from < stops, "{:?}", found.steps);
        }
    }
}
