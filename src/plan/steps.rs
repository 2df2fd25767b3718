//! What an edit would do, step by step.

use std::cell::OnceCell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::diff::{Change, LayerCache, Reaction, diff_with};
use super::graph::{self, kind_word};
use super::rebuild::{Builds, Rebuild};
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
    /// What becomes of its builds.
    pub rebuild: Rebuild,
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

/// How a component stands when an edit comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Whether there is a run of it, or one is being made.
    pub runs: bool,
    /// Whether it goes down with what it follows (`restart: true`).
    pub follows: bool,
    /// Why no edit starts it anew, if that is so: it takes what is declared when it starts.
    pub rests: Option<&'static str>,
    /// How its builds stand.
    pub builds: Builds,
}

impl Now {
    /// It is up, and nothing is to end it.
    const UP: Self = Self { runs: true, follows: true, rests: None, builds: Builds::Rest };
}

/// What the way from `old` to `new` takes, where everything that is new starts, and everything else is up.
#[must_use]
pub fn plan(old: &Project, new: &Project) -> Plan {
    plan_where(old, new, |_| true, |_| Now::UP)
}

/// As [`plan`], where of what is new only `chosen` starts (see [`chosen`](super::chosen)); the rest is an
/// update, which touches no process.
#[must_use]
pub fn plan_for(old: &Project, new: &Project, chosen: &BTreeSet<Name>) -> Plan {
    plan_where(old, new, |name| chosen.contains(name), |_| Now::UP)
}

/// As [`plan_for`], where `now` tells how each component of `old` stands. A step that would touch no process is an
/// update, and says so.
#[must_use]
pub fn plan_live(old: &Project, new: &Project, chosen: &BTreeSet<Name>, now: impl Fn(&Name) -> Now) -> Plan {
    plan_where(old, new, |name| chosen.contains(name), now)
}

fn plan_where(
    old: &Project,
    new: &Project,
    starts: impl Fn(&Name) -> bool,
    now: impl Fn(&Name) -> Now,
) -> Plan {
    let project = project_changes(old, new);
    let same = |(old, new): (&Arc<Component>, &Arc<Component>)| Arc::ptr_eq(old, new);
    if old.components.len() == new.components.len() && old.components.iter().zip(&new.components).all(same) {
        return Plan { project, steps: Vec::new() };
    }
    let pairs = Pairs::of(old, new);
    let mut steps = removals(old, &pairs, &now);
    steps.extend(changes(new, &pairs, starts, now));
    Plan { project, steps }
}

/// Which components of two projects have the same name.
struct Pairs<'a> {
    /// For each component of the new project, the old one.
    before: Vec<Option<&'a Component>>,
    /// For each component of the old project, whether the new one has it, too.
    kept: Vec<bool>,
}

impl<'a> Pairs<'a> {
    /// Most edits leave the components in their order, so the next one is tried before the name is sought.
    fn of(old: &'a Project, new: &Project) -> Self {
        let by_name = || old.components.iter().enumerate().map(|(at, component)| (&component.name, at));
        let index: OnceCell<BTreeMap<&Name, usize>> = OnceCell::new();
        let mut kept = vec![false; old.components.len()];
        let mut next = 0;
        let before = (new.components.iter()).map(|component| {
            let at = match old.components.get(next) {
                Some(same) if same.name == component.name => next,
                _ => *index.get_or_init(|| by_name().collect()).get(&component.name)?,
            };
            (kept[at], next) = (true, at + 1);
            Some(&*old.components[at])
        });
        Self { before: before.collect(), kept }
    }
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
fn removals(old: &Project, pairs: &Pairs<'_>, now: impl Fn(&Name) -> Now) -> Vec<Step> {
    if pairs.kept.iter().all(|kept| *kept) {
        return Vec::new();
    }
    let order = graph::of(old).start_order.into_iter().rev();
    let gone = order.filter(|node| !pairs.kept[*node]).map(|node| &old.components[node].name);
    let remove = |name: &Name| match now(name).runs {
        true => step(name, StepAction::Stop, Vec::new(), "it is no longer in the file".into()),
        false => {
            let reason = "it is no longer in the file, and nothing of it runs".into();
            step(name, StepAction::Update, Vec::new(), reason)
        }
    };
    gone.map(remove).collect()
}

/// What is new or has changed: dependencies before their dependents.
fn changes(
    new: &Project,
    pairs: &Pairs<'_>,
    starts: impl Fn(&Name) -> bool,
    now: impl Fn(&Name) -> Now,
) -> Vec<Step> {
    let mut layers = LayerCache::default();
    let mut steps: BTreeMap<usize, Step> = BTreeMap::new();
    for ((node, component), before) in new.components.iter().enumerate().zip(&pairs.before) {
        let step = match before {
            Some(before) => changed(component, diff_with(before, component, &mut layers), &now),
            None => Some(added(&component.name, starts(&component.name))),
        };
        steps.extend(step.map(|step| (node, step)));
    }
    follow_restarts(new, &mut steps, now);
    if steps.len() < 2 {
        return steps.into_values().collect();
    }
    graph::of(new).start_order.iter().filter_map(|node| steps.remove(node)).collect()
}

fn step(component: &Name, action: StepAction, changed: Vec<String>, reason: String) -> Step {
    Step { component: component.clone(), action, changed, reason, rebuild: Rebuild::Nothing }
}

fn added(name: &Name, starts: bool) -> Step {
    if starts {
        step(name, StepAction::Start, Vec::new(), "it is new in the file".into())
    } else {
        step(name, StepAction::Update, Vec::new(), "it is new in the file, and not started by itself".into())
    }
}

fn changed(component: &Component, change: Change, now: impl Fn(&Name) -> Now) -> Option<Step> {
    let Change { reaction, changed } = change;
    let restarts = match reaction {
        Reaction::Nothing => return None,
        Reaction::Update => false,
        Reaction::Restart => true,
    };
    let Now { rests, builds, .. } = now(&component.name);
    let rebuild = Rebuild::of(builds, component, &changed, restarts);
    let action = match rebuild {
        Rebuild::Without => StepAction::Restart,
        Rebuild::Mended if rests.is_none() => StepAction::Restart,
        _ if restarts && rests.is_none() => StepAction::Restart,
        _ => StepAction::Update,
    };
    let mut reasons = Vec::new();
    if restarts {
        reasons.push(restart_reason(component, &changed));
    }
    reasons.extend(rebuild.told().map(str::to_owned));
    match rests.filter(|_| restarts && action == StepAction::Update) {
        Some(rests) => reasons.push(format!("effective at its next start: {rests}")),
        None if reasons.is_empty() => reasons.push("effective when next used".to_owned()),
        None => {}
    }
    let reason = reasons.join(", ");
    Some(Step { component: component.name.clone(), action, changed, reason, rebuild })
}

/// Those with `restart: true` on what restarts, restart as well, and so on.
fn follow_restarts(new: &Project, steps: &mut BTreeMap<usize, Step>, now: impl Fn(&Name) -> Now) {
    let restarting = steps.iter().filter(|(_, step)| step.action == StepAction::Restart);
    let mut leading: Vec<usize> = restarting.map(|(node, _)| *node).collect();
    if leading.is_empty() {
        return;
    }
    let mut followers: BTreeMap<&Name, Vec<usize>> = BTreeMap::new();
    for (node, component) in new.components.iter().enumerate() {
        for dependency in component.depends_on.iter().filter(|dependency| dependency.restart) {
            followers.entry(&dependency.name).or_default().push(node);
        }
    }
    while let Some(node) = leading.pop() {
        let lead = &new.components[node].name;
        for follower in followers.get(lead).into_iter().flatten() {
            let name = &new.components[*follower].name;
            if now(name).follows && follow(steps, *follower, name, lead) {
                leading.push(*follower);
            }
        }
    }
}

/// Makes the step of `node` a restart after `lead`'s; false if it is one already, or nothing of it runs.
fn follow(steps: &mut BTreeMap<usize, Step>, node: usize, name: &Name, lead: &Name) -> bool {
    let reason = format!("it restarts whenever {lead} does");
    match steps.entry(node) {
        Entry::Vacant(free) => {
            free.insert(step(name, StepAction::Restart, Vec::new(), reason));
            true
        }
        Entry::Occupied(mut taken) => {
            let step = taken.get_mut();
            // Only what is new is an update without changed keys.
            let follows = step.action == StepAction::Update && !step.changed.is_empty();
            if follows {
                (step.action, step.reason) = (StepAction::Restart, reason);
            }
            follows
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
