//! Edits alone: from a project at rest, an edit and the edit back at any moment of its application end with only
//! those restarted that the first one had to restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use orch::config::model::{Project, RestartPolicy};
use orch::plan::{Plan, StepAction};
use orch::supervisor::Standing;
use orch::types::Name;

use super::world::World;

/// So many seeds in `cargo test`.
const SEEDS: u64 = 300;

/// What is there of each component: in which run it is, and how.
type Standings = BTreeMap<Name, (u64, Standing)>;

fn standings(world: &World) -> Standings {
    let of = |view: orch::supervisor::View| {
        let cid = world.core.find(view.name.as_str())?;
        Some((view.name, (view.incarnation, world.core.standing(cid)?)))
    };
    world.core.views().filter_map(of).collect()
}

/// Those that an edit starts, stops or restarts, or takes away (then they are new when they come back), and those
/// that follow one of them by either file.
fn touched(plan: &Plan, files: [&Project; 2]) -> BTreeSet<Name> {
    let steps = plan.steps.iter().filter(|step| step.action != StepAction::Update);
    let mut touched: BTreeSet<Name> = steps.map(|step| step.component.clone()).collect();
    let gone = |name: &&Name| !files[1].components.iter().any(|spec| spec.name == **name);
    touched.extend(files[0].components.iter().map(|spec| &spec.name).filter(gone).cloned());
    loop {
        let specs = files.iter().flat_map(|file| &file.components);
        let follows = |spec: &&Arc<orch::config::model::Component>| {
            spec.depends_on.iter().any(|edge| edge.restart && touched.contains(&edge.name))
        };
        let more: BTreeSet<Name> = specs.filter(follows).map(|spec| spec.name.clone()).collect();
        if more.is_subset(&touched) {
            return touched;
        }
        touched.extend(more);
    }
}

/// Nothing of it ends and starts for ever.
fn comes_to_rest(mut project: Project) -> Project {
    for spec in &mut project.components {
        let spec = Arc::make_mut(spec);
        Arc::make_mut(&mut spec.restart).policy = RestartPolicy::OnFailure;
        // A thread that is force-killed takes the others along.
        let stop = Arc::make_mut(&mut spec.stop);
        (stop.force_kill, stop.timeout) = (true, Duration::from_secs(3));
    }
    project
}

/// One play; how many were restarted, and how many there were.
fn there_and_back(seed: u64) -> (usize, usize) {
    let mut world = World::at_rest(seed, super::number("ORCH_SIM_EDIT_SEED").is_some(), comes_to_rest);
    if world.exited.is_some() {
        return (0, 0);
    }
    let (file, before) = (Arc::clone(&world.project), standings(&world));
    let other = Arc::new(comes_to_rest(world.some_edit()));
    let plan = world.plan(&other);
    world.edit_to(Arc::clone(&other));
    let wait = world.some_time();
    world.run_for(wait);
    if world.exited.is_some() {
        return (0, 0);
    }
    world.edit_to(Arc::clone(&file));
    world.run_for(Duration::from_secs(300));
    let after = standings(&world);
    let touched = touched(&plan, [&file, &other]);
    if world.exited.is_none() {
        assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    }
    let mut restarted = 0;
    for (name, (incarnation, standing)) in &before {
        let Some((then, stands)) = after.get(name) else { continue };
        // What waited or had been stopped may have got what it waited for.
        let ran = matches!(standing, Standing::Up | Standing::Completed);
        if ran && !touched.contains(name) {
            assert_eq!(
                (then, stands),
                (incarnation, standing),
                "{name} is none of those that were to restart"
            );
        }
        if ran {
            assert!(*then <= incarnation + 2, "{name} ran {} times for two edits", then - incarnation);
            assert_ne!(*stands, Standing::Stopped, "{name} was not brought back");
        }
        restarted += usize::from(then > incarnation);
    }
    (restarted, before.len())
}

#[test]
fn there_and_back_restarts_only_what_the_way_there_had_to() {
    if let Some(seed) = super::number("ORCH_SIM_EDIT_SEED") {
        there_and_back(seed);
        return;
    }
    let (mut restarted, mut all) = (0, 0);
    for seed in 0..super::number("ORCH_SIM_SEEDS").unwrap_or(SEEDS) {
        let outcome = std::panic::catch_unwind(|| there_and_back(seed));
        let (some, of) = outcome.unwrap_or_else(|_| {
            panic!("seed {seed} fails: ORCH_SIM_EDIT_SEED={seed} cargo test --test sim there shows it")
        });
        (restarted, all) = (restarted + some, all + of);
    }
    println!("{restarted} of {all} components were restarted");
    assert!(restarted > 0 && restarted < all / 2, "{restarted} of {all}: this tests nothing");
}
