//! The event queue: where events wait until the runtime takes them. None is lost when it restarts.

use std::collections::VecDeque;
use std::time::Duration;

use orch::{BoxError, Context};
use serde::Deserialize;
use serde_json::json;

use super::world::{Event, World};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct With {
    /// So many wait at the most; then the makers of events have to wait.
    limit: usize,
}

pub(crate) fn run(with: &With, cx: &Context, world: &World) -> Result<(), BoxError> {
    let mut waiting: VecDeque<Event> = cx.restored()?.unwrap_or_default();
    cx.println(&format!("{} events wait", waiting.len()));
    world.arrivals.open(true);
    cx.ready();
    while !cx.stop_token().is_stopped() {
        world.pass(cx.name());
        if waiting.len() < with.limit {
            waiting.extend(world.arrivals.take(Duration::from_millis(50)));
        } else {
            let _ = cx.stop_token().wait(Duration::from_millis(50));
        }
        while waiting.front().is_some_and(|event| world.servings.offer(event.clone())) {
            waiting.pop_front();
        }
        cx.status(&format!("{} events wait", waiting.len()));
        world.show(cx.name(), json!(waiting));
        if cx.save_requested().is_set() {
            cx.save(&waiting)?;
        }
    }
    // From here on, whoever has an event keeps it; what is on the belts is carried over.
    world.arrivals.open(false);
    let served = world.servings.take_all();
    let all: Vec<Event> = served.into_iter().chain(waiting).chain(world.arrivals.take_all()).collect();
    cx.save(&all)?;
    Ok(())
}
