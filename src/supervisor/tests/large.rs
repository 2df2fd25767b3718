//! What an edit of a large project costs: what it touches, not what there is.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use super::play::{Play, edit};
use crate::config::model::Project;
use crate::supervisor::{Action, Event};
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
