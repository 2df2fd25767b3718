//! What an edit of a large project costs: what it touches, not what there is.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use super::play::{Play, edit};
use crate::config::model::Project;
use crate::supervisor::{Action, Command, Event};
use crate::types::Name;

/// Five thousand that run, in rows of ten; and the same read again with one watched path more.
fn large() -> (Play, Arc<Project>, BTreeSet<Name>) {
    let mut text = String::new();
    for at in 0..5_000 {
        let needs = if at % 10 == 0 { String::new() } else { format!(": c{}", at - 1) };
        write!(text, "{}c{at}*{needs}", if at == 0 { "" } else { "; " }).unwrap();
    }
    let play = Play::unchecked(&text);
    let mut project = super::play::project(&text);
    edit(&mut project, "c2500", |spec| Arc::make_mut(spec.watch.as_mut().unwrap()).paths.push("more".into()));
    let chosen = project.components.iter().map(|spec| spec.name.clone()).collect();
    (play, Arc::new(project), chosen)
}

#[test]
fn one_watched_path_more_touches_one_component_and_no_process() {
    let (mut play, project, chosen) = large();
    let plan = play.core.plan(&project, &chosen);
    assert_eq!(plan.steps.len(), 1);
    let mut observed = 0;
    for action in play.core.step(play.now, Event::Edit { project, chosen }) {
        match action {
            Action::Observe { spec, .. } => {
                assert_eq!(spec.name.as_str(), "c2500");
                observed += 1;
            }
            Action::Record(record) => assert_eq!(record.component, None, "{record:?}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(observed, 1);
    play.core.check().unwrap();
}

/// A command costs what it names and what goes down with that, not the one times the other: else this takes
/// seconds.
#[test]
fn a_command_to_all_and_one_that_takes_all_along_concern_all() {
    let (mut play, project, _) = large();
    let all: Vec<Name> = project.components.iter().map(|spec| spec.name.clone()).collect();
    let command = Command::Restart(all);
    assert_eq!(play.core.affected(&command).len(), 5_000);
    play.core.step(play.now, Event::Command(command));

    let mut text = "c0".to_owned();
    for at in 1..5_000 {
        write!(text, "; c{at}: c0 ready restart").unwrap();
    }
    let mut play = Play::unchecked(&text);
    let command = Command::Restart(vec![Name::new("c0").unwrap()]);
    assert_eq!(play.core.affected(&command).len(), 5_000);
    play.core.step(play.now, Event::Command(command));
}
