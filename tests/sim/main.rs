//! The supervisor in a seeded world that misbehaves: slow and failing preparations, crashes, runs that
//! ignore being stopped, outlive their force-kill, are never ready, hold their output open; files that change
//! in bursts, edits, commands, late answers. After every step the guarantees of the contract's section 3 are
//! checked against the world's own facts, not against what the core believes.
//!
//! `ORCH_SIM_SEEDS=10000` runs more seeds, `ORCH_SIM_SEED=42` one alone, with its trace.

#![expect(clippy::unwrap_used, reason = "a world that can't be made is a failed test")]

mod checks;
mod dice;
mod edits;
mod projects;
mod tasks;
mod world;

use world::World;

/// So many seeds in `cargo test`.
const SEEDS: u64 = 400;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn the_guarantees_hold_in_every_order_of_events() {
    if let Some(seed) = number("ORCH_SIM_SEED") {
        let mut world = World::new(seed, true);
        world.play();
        return;
    }
    let (mut steps, mut images) = (0, 0);
    let mut reached = std::collections::BTreeSet::new();
    for seed in 0..number("ORCH_SIM_SEEDS").unwrap_or(SEEDS) {
        let mut world = World::new(seed, false);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.play()));
        assert!(
            outcome.is_ok(),
            "seed {seed} fails: ORCH_SIM_SEED={seed} cargo test --test sim shows its trace"
        );
        // Every tenth, for time's sake.
        if seed % 10 == 0 {
            let replay = world.replayed();
            assert_eq!(replay.contradictions(), Vec::<String>::new(), "seed {seed}, gone through again");
        }
        steps += world.steps();
        images += world.images();
        reached.extend(world.states_seen());
    }
    println!("{steps} steps, {images} new images, states seen: {reached:?}");
    // A world that never gets there tests nothing.
    for state in ["waiting", "starting", "ready", "stopping", "stopped", "completed", "backoff", "failed"] {
        assert!(reached.contains(state), "no seed reached {state}");
    }
    assert!(images > 0, "no seed made a new image");
    for state in ["blocked", "stuck", "building", "unhealthy"] {
        assert!(reached.contains(state), "no seed reached {state}");
    }
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..20 {
        let (mut one, mut other) = (World::new(seed, false), World::new(seed, false));
        one.play();
        other.play();
        assert_eq!(one.trace(), other.trace(), "seed {seed}");
    }
}
