//! Which components a run starts: profiles, `--only`, `autostart`.

use std::collections::BTreeSet;

use super::graph;
use crate::config::model::{Component, Project};
use crate::types::Name;

/// The components that `orch up` starts by itself, with these `--profile`s and these `--only`s (empty: the
/// option was not given). All others are stopped, until somebody starts them.
///
/// Chosen is what has no profile or one of the given; with `only`, exactly what it names. What is chosen and
/// has `autostart`, or is named by `only`, takes in all that it depends on, whatever their profile and
/// `autostart`.
///
/// # Errors
/// The first name in `only` that is no component's.
pub fn chosen(project: &Project, profiles: &[String], only: &[Name]) -> Result<BTreeSet<Name>, Name> {
    let graph = graph::of(project);
    let mut waiting: Vec<usize> = if only.is_empty() {
        let by_itself = |component: &Component| component.autostart && in_profile(component, profiles);
        (0..project.components.len()).filter(|node| by_itself(&project.components[*node])).collect()
    } else {
        let node = |name: &Name| graph.index.get(name).copied().ok_or_else(|| name.clone());
        only.iter().map(node).collect::<Result<_, _>>()?
    };
    let mut taken = vec![false; project.components.len()];
    while let Some(node) = waiting.pop() {
        if !std::mem::replace(&mut taken[node], true) {
            waiting.extend(graph.graph.dependencies(node));
        }
    }
    let components = project.components.iter().zip(taken);
    Ok(components.filter(|(_, taken)| *taken).map(|(component, _)| component.name.clone()).collect())
}

fn in_profile(component: &Component, profiles: &[String]) -> bool {
    component.profiles.is_empty() || component.profiles.iter().any(|profile| profiles.contains(profile))
}

#[cfg(test)]
mod tests {
    use super::chosen;
    use crate::config::model::Project;
    use crate::plan::testing::{edit, name, project};

    /// `full` and its dependency `cache` are in profiles; `tool` and its dependency `lib` wait to be asked for.
    fn sample() -> Project {
        let mut project =
            project("db; api: db; cache: db; full: cache; tool: lib; lib; late: db; user: late");
        edit(&mut project, "cache", |c| c.profiles = vec!["cached".into()]);
        edit(&mut project, "full", |c| c.profiles = vec!["full".into(), "all".into()]);
        for lazy in ["tool", "lib", "late"] {
            edit(&mut project, lazy, |c| c.autostart = false);
        }
        project
    }

    fn check(profiles: &[&str], only: &[&str], expected: &str) {
        let profiles: Vec<String> = profiles.iter().map(|p| (*p).to_owned()).collect();
        let only: Vec<_> = only.iter().map(|n| name(n)).collect();
        let found = match chosen(&sample(), &profiles, &only) {
            Ok(names) => names.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(" "),
            Err(unknown) => format!("unknown {unknown}"),
        };
        assert_eq!(found, expected, "profiles {profiles:?}, only {only:?}");
    }

    #[test]
    fn profiles_only_and_autostart() {
        check(&[], &[], "api db late user");
        check(&["full"], &[], "api cache db full late user");
        check(&["cached", "nobody's"], &[], "api cache db late user");
        check(&["full"], &["api"], "api db");
        check(&[], &["full"], "cache db full");
        check(&[], &["tool", "api"], "api db lib tool");
        check(&[], &["api", "nowhere"], "unknown nowhere");
    }
}
