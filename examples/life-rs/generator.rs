//! The generator: makes events, and holds each until it is taken.

use std::time::Duration;

use orch::{BoxError, Context, Wake};
use serde::{Deserialize, Serialize};

use super::world::{Event, World};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct With {
    /// The file that says how often what happens.
    weather: String,
}

#[derive(Deserialize)]
struct Weather {
    pace_ms: u64,
    kinds: Vec<String>,
}

/// What is carried over a restart.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Made {
    count: u64,
    held: Option<Event>,
}

pub(crate) fn run(with: &With, cx: &Context, world: &World) -> Result<(), BoxError> {
    let file = world.path(&with.weather);
    let text = std::fs::read(&file).map_err(|error| format!("read {}: {error}", file.display()))?;
    let weather: Weather =
        serde_json::from_slice(&text).map_err(|error| format!("understand {}: {error}", file.display()))?;
    let mut made: Made = cx.restored()?.unwrap_or_default();
    cx.println(&format!("generating events; {} made so far", made.count));
    cx.ready();
    loop {
        world.pass(cx.name());
        if let Some(event) = made.held.take_if(|event| world.arrivals.offer(event.clone())) {
            cx.status(&format!("{} made, the last one {}", made.count, event.kind));
        }
        match cx.wait(Duration::from_millis(weather.pace_ms.max(1))) {
            Wake::Stop => break,
            Wake::Save => cx.save(&made)?,
            _ if made.held.is_none() => made.make(&weather.kinds),
            _ => {}
        }
    }
    cx.save(&made)?;
    Ok(())
}

impl Made {
    /// Makes the next event. Chance would do as well; so the same life can be lived again.
    fn make(&mut self, kinds: &[String]) {
        self.count += 1;
        let mixed = self.count.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let kind = usize::try_from(mixed).ok().and_then(|at| kinds.get(at % kinds.len().max(1)));
        let intensity = f64::from(u8::try_from(mixed % 10).unwrap_or(0) + 1) / 10.0;
        self.held = kind.map(|kind| Event { kind: kind.clone(), intensity });
    }
}
