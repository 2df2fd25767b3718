//! The small life of `examples/life`, once more: one Rust program, four threads, the same kind of YAML.
//!
//! ```sh
//! cargo run --example life            # then look at http://127.0.0.1:8766/
//! ```
//!
//! Save `examples/life-rs/effects.json`: the thread `runtime` alone is stopped, its state sealed and restored, and
//! a new one started; the other threads, and the process, stay. `examples/life-rs/README.md` has more to try.

#[path = "life-rs/api.rs"]
mod api;
#[path = "life-rs/generator.rs"]
mod generator;
#[path = "life-rs/queue.rs"]
mod queue;
#[path = "life-rs/runtime.rs"]
mod runtime;
#[path = "life-rs/world.rs"]
pub(crate) mod world;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use orch::Orchestrator;
use world::World;

fn main() -> ExitCode {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/life-rs/devmode.yaml");
    match live(&file) {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("life: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs until Ctrl-C, or until the project ends otherwise; gives the exit code.
fn live(file: &Path) -> Result<u8, orch::Error> {
    let world = Arc::new(World::new(file));
    // All opt-ins: the terminal and the signals are for orch, and a thread that hangs may be ended by a re-exec.
    let project = orchestrator(file, &world).foreground(true).signals(true).reexec(true).start()?;
    world.run_by(project.clone());
    Ok(project.wait()?.code)
}

/// The four components. Each closure holds the world, which outlives every run of every thread, so that a
/// restarted thread finds its neighbours again.
pub(crate) fn orchestrator(file: &Path, world: &Arc<World>) -> Orchestrator {
    let held = || Arc::clone(world);
    let (for_queue, for_runtime, for_generator, for_api) = (held(), held(), held(), held());
    Orchestrator::from_file(file)
        .register_fn("queue", move |with, cx| queue::run(&with, &cx, &for_queue))
        .register_fn("runtime", move |with, cx| runtime::run(&with, &cx, &for_runtime))
        .register_fn("generator", move |with, cx| generator::run(&with, &cx, &for_generator))
        .register_fn("api", move |with, cx| api::run(&with, &cx, &for_api))
}
