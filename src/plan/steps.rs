//! What an edit would do, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::diff::{Change, LayerCache, Reaction, diff_with};
use super::graph::{self, ProjectGraph, kind_word};
use crate::config::model::{Component, Project};
use crate::types::Name;

/// What the way from one project to another takes; empty if they are equal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Keys of the project itself that have changed, such as `shutdown_timeout`. None of them touches a
    /// process.
    pub project: Vec<String>,
    /// In the order in which they are applied: stops of what is removed, dependents first; then the rest,
    /// dependencies first.
    pub steps: Vec<Step>,
}

/// What happens to one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// To which one.
    pub component: Name,
    /// What.
    pub action: StepAction,
    /// The key paths that have changed, such as `process` or `stop.timeout`; empty for what is added,
    /// removed, or restarted only because a dependency is.
    pub changed: Vec<String>,
    /// Why, for people: a fragment of a sentence.
    pub reason: String,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepAction {
    /// It is new, and starts.
    Start,
    /// It is no longer there, and stops.
    Stop,
    /// It stops and starts.
    Restart,
    /// Its new declaration is effective when next used; no process is touched.
    Update,
}

impl StepAction {
    /// The contract's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Update => "update",
        }
    }
}

impl Plan {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.project.is_empty() && self.steps.is_empty()
    }
}

/// What the way from `old` to `new` takes, where everything that is new starts.
#[must_use]
pub fn plan(old: &Project, new: &Project) -> Plan {
    plan_where(old, new, |_| true)
}

/// As [`plan`], where of what is new only `chosen` starts (see [`chosen`](super::chosen)); the rest is an
/// update, which touches no process.
#[must_use]
pub fn plan_for(old: &Project, new: &Project, chosen: &BTreeSet<Name>) -> Plan {
    plan_where(old, new, |name| chosen.contains(name))
}

fn plan_where(old: &Project, new: &Project, starts: impl Fn(&Name) -> bool) -> Plan {
    let project = project_changes(old, new);
    let same = |(old, new): (&Arc<Component>, &Arc<Component>)| Arc::ptr_eq(old, new);
    if old.components.len() == new.components.len() && old.components.iter().zip(&new.components).all(same) {
        return Plan { project, steps: Vec::new() };
    }
    let mut steps = removals(old, new);
    steps.extend(changes(old, new, starts));
    Plan { project, steps }
}

/// Key paths of the project itself. Where its file and folders are is no key, and a change of theirs shows
/// in the components.
fn project_changes(old: &Project, new: &Project) -> Vec<String> {
    let Project { name, file: _, dir: _, state_dir: _, env_files, shutdown_timeout, components: _ } = new;
    let keys = [
        ("name", old.name != *name),
        ("env_file", old.env_files != *env_files),
        ("shutdown_timeout", old.shutdown_timeout != *shutdown_timeout),
    ];
    keys.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key.to_owned()).collect()
}

/// What is no longer there: dependents before what they depend on.
fn removals(old: &Project, new: &Project) -> Vec<Step> {
    let kept: BTreeSet<&Name> = new.components.iter().map(|component| &component.name).collect();
    if old.components.iter().all(|component| kept.contains(&component.name)) {
        return Vec::new();
    }
    let order = graph::of(old).start_order.into_iter().rev();
    let gone = order.map(|node| &old.components[node].name).filter(|name| !kept.contains(name));
    let stop = |name: &Name| step(name, StepAction::Stop, Vec::new(), "it is no longer in the file".into());
    gone.map(stop).collect()
}

/// What is new or has changed: dependencies before their dependents.
fn changes(old: &Project, new: &Project, starts: impl Fn(&Name) -> bool) -> Vec<Step> {
    let known: BTreeMap<&Name, &Component> = old.components.iter().map(|c| (&c.name, &**c)).collect();
    let mut layers = LayerCache::default();
    let mut steps: Vec<Option<Step>> = Vec::with_capacity(new.components.len());
    for component in &new.components {
        steps.push(match known.get(&component.name) {
            Some(before) => changed(component, diff_with(before, component, &mut layers)),
            None => Some(added(&component.name, starts(&component.name))),
        });
    }
    if steps.iter().all(Option::is_none) {
        return Vec::new();
    }
    let graph = graph::of(new);
    follow_restarts(new, &graph, &mut steps);
    graph.start_order.iter().filter_map(|node| steps[*node].take()).collect()
}

fn step(component: &Name, action: StepAction, changed: Vec<String>, reason: String) -> Step {
    Step { component: component.clone(), action, changed, reason }
}

fn added(name: &Name, starts: bool) -> Step {
    if starts {
        step(name, StepAction::Start, Vec::new(), "it is new in the file".into())
    } else {
        step(name, StepAction::Update, Vec::new(), "it is new in the file, and not started by itself".into())
    }
}

fn changed(component: &Component, change: Change) -> Option<Step> {
    let Change { reaction, changed } = change;
    match reaction {
        Reaction::Nothing => None,
        Reaction::Update => {
            let reason = "effective when next used".into();
            Some(step(&component.name, StepAction::Update, changed, reason))
        }
        Reaction::Restart => {
            let reason = restart_reason(component, &changed);
            Some(step(&component.name, StepAction::Restart, changed, reason))
        }
    }
}

/// Those with `restart: true` on what restarts, restart as well; going dependencies first, one pass finds all.
fn follow_restarts(new: &Project, graph: &ProjectGraph, steps: &mut [Option<Step>]) {
    let mut leads: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for edge in graph.edges.iter().filter(|edge| edge.restart) {
        leads.entry(edge.from).or_default().push(edge.to);
    }
    let restarts = |step: &Option<Step>| step.as_ref().is_some_and(|s| s.action == StepAction::Restart);
    for node in &graph.start_order {
        let Some(to) = leads.get(node).and_then(|to| to.iter().find(|to| restarts(&steps[**to]))) else {
            continue;
        };
        let reason = format!("it restarts whenever {} does", new.components[*to].name);
        match &mut steps[*node] {
            None => {
                let name = &new.components[*node].name;
                steps[*node] = Some(step(name, StepAction::Restart, Vec::new(), reason));
            }
            Some(step) if step.action == StepAction::Update && !step.changed.is_empty() => {
                step.action = StepAction::Restart;
                step.reason = reason;
            }
            Some(_) => {}
        }
    }
}

/// "its process and its environment changed".
fn restart_reason(component: &Component, changed: &[String]) -> String {
    if changed.iter().any(|path| path == "process") && changed.iter().any(|path| path == "thread") {
        return format!("it is a {} now", kind_word(&component.kind));
    }
    let mut causes: Vec<&str> = changed.iter().filter_map(|path| cause(path)).collect();
    causes.dedup();
    match causes.split_last() {
        None => "its declaration changed".into(),
        Some((only, [])) => format!("its {only} changed"),
        Some((last, rest)) => format!("its {} and {last} changed", rest.join(", ")),
    }
}

/// What people call the key at `path`, if it is one that restarts.
fn cause(path: &str) -> Option<&'static str> {
    let (section, _) = path.split_once('.').unwrap_or((path, ""));
    Some(match (section, path) {
        ("process", _) => "process",
        ("thread", _) => "thread",
        ("with", _) => "parameters",
        ("cwd", _) => "working directory",
        ("env", _) => "environment",
        ("stdin", _) => "standard input",
        ("sockets", _) => "sockets",
        (_, "state" | "state.file") => "state file",
        (_, "state.restart_args") => "restart arguments",
        (_, "logs.terminal") => "terminal",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
