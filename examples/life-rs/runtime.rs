//! The runtime loop: the life itself. A tick takes events from the queue and lets them change it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use orch::{BoxError, Context, Wake};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::world::{Event, World};

/// Where stability settles when nothing happens.
const CALM: f64 = 60.0;
/// Points of history that are kept, and impressions.
const HISTORY: usize = 180;
const MEMORY: usize = 12;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct With {
    /// From one tick to the next, in milliseconds.
    tick_ms: u64,
    /// The file that says what an event does.
    effects: String,
}

/// What an event of full intensity does to energy, stability and adaptation.
type Effects = BTreeMap<String, [f64; 3]>;

/// All that is carried over a restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Life {
    pub(crate) ticks: u64,
    pub(crate) vitals: [f64; 3],
    history: VecDeque<[f64; 3]>,
    memory: VecDeque<Event>,
}

impl Default for Life {
    fn default() -> Self {
        Self { ticks: 0, vitals: [70.0, CALM, 20.0], history: VecDeque::new(), memory: VecDeque::new() }
    }
}

impl Life {
    fn apply(&mut self, event: Event, effects: &Effects) {
        for (vital, effect) in self.vitals.iter_mut().zip(effects.get(&event.kind).unwrap_or(&[0.0; 3])) {
            *vital = (*vital + effect * event.intensity).clamp(0.0, 100.0);
        }
        remember(&mut self.memory, event, MEMORY);
    }

    /// Living costs energy, calm returns, what isn't used is forgotten.
    fn tick(&mut self) {
        let [energy, stability, adaptation] = self.vitals;
        self.vitals = [energy * 0.96, stability + (CALM - stability) * 0.04, adaptation * 0.98];
        self.ticks += 1;
        remember(&mut self.history, self.vitals, HISTORY);
    }
}

fn remember<T>(past: &mut VecDeque<T>, thing: T, room: usize) {
    past.push_back(thing);
    while past.len() > room {
        past.pop_front();
    }
}

pub(crate) fn run(with: &With, cx: &Context, world: &World) -> Result<(), BoxError> {
    let effects = effects(with, world)?;
    let mut life: Life = cx.restored()?.unwrap_or_default();
    cx.println(&format!("goes on at tick {}, energy {:.1}", life.ticks, life.vitals[0]));
    let interval = Duration::from_millis(with.tick_ms.max(1));
    show(cx, world, &life);
    cx.ready();
    let mut due = Instant::now() + interval;
    loop {
        world.pass(cx.name());
        match cx.wait(due.saturating_duration_since(Instant::now())) {
            Wake::Stop => break,
            Wake::Save => cx.save(&life)?,
            _ => {
                for event in world.servings.take_all() {
                    life.apply(event, &effects);
                }
                life.tick();
                show(cx, world, &life);
                due += interval;
            }
        }
    }
    cx.save(&life)?;
    cx.println(&format!("stopped at tick {}", life.ticks));
    Ok(())
}

fn effects(with: &With, world: &World) -> Result<Effects, BoxError> {
    let file = world.path(&with.effects);
    let text = std::fs::read(&file).map_err(|error| format!("read {}: {error}", file.display()))?;
    Ok(serde_json::from_slice(&text).map_err(|error| format!("understand {}: {error}", file.display()))?)
}

fn show(cx: &Context, world: &World, life: &Life) {
    cx.status(&format!("tick {}, energy {:.1}", life.ticks, life.vitals[0]));
    world.show(cx.name(), json!(life));
}
