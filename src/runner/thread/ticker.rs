//! The built-in `ticker`: prints a line each time, and counts on over restarts.

use std::fmt;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use super::ask::Wake;
use super::context::Context;
use super::registry::{BoxError, ThreadComponent};

/// Prints `message` at once and then after every `every`.
pub(super) struct Ticker {
    with: With,
}

/// What the ticker takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "the keys `every`, `message` and `count`")]
pub(super) struct With {
    /// From one line to the next.
    #[serde(deserialize_with = "duration")]
    every: Duration,
    /// The line; `{n}` in it is the number of the tick, from 1.
    message: String,
    /// It ends by itself at each multiple of so many ticks: a restart in between changes nothing, and one
    /// that has ended and is started again does as many once more.
    count: Option<NonZeroU64>,
}

impl Default for With {
    fn default() -> Self {
        Self { every: Duration::from_secs(1), message: "tick {n}".to_owned(), count: None }
    }
}

/// What is carried over.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    ticks: u64,
}

impl ThreadComponent for Ticker {
    type With = With;

    fn new(with: With) -> Result<Self, BoxError> {
        if with.every.is_zero() {
            return Err("with.every: must be longer than nothing".into());
        }
        Ok(Self { with })
    }

    fn run(self, cx: Context) -> Result<(), BoxError> {
        let mut state = restored(&cx)?;
        cx.ready();
        let last = self.with.last_tick(state.ticks);
        while !cx.stop_token().is_stopped() {
            state.ticks += 1;
            cx.println(&self.with.message.replace("{n}", &state.ticks.to_string()));
            if state.ticks >= last || pause(&cx, self.with.every, &state) {
                break;
            }
        }
        if cx.state_file().is_some() {
            cx.save(&state)?;
        }
        Ok(())
    }
}

/// Waits for the next tick, and saves meanwhile if it is asked to; whether the ticker is to stop.
fn pause(cx: &Context, every: Duration, state: &State) -> bool {
    let begun = Instant::now();
    loop {
        match cx.wait(every.saturating_sub(begun.elapsed())) {
            Wake::Stop => return true,
            Wake::Timeout => return false,
            // What can't be saved now is saved at the end; without a state file, nobody asks.
            Wake::Save => {
                if let Err(error) = cx.save(state) {
                    cx.println(&format!("error: {error}"));
                    return cx.stop_token().wait(every.saturating_sub(begun.elapsed()));
                }
            }
        }
    }
}

impl With {
    fn last_tick(&self, done: u64) -> u64 {
        self.count.map_or(u64::MAX, |count| (done / count).saturating_add(1).saturating_mul(count.get()))
    }
}

fn restored(cx: &Context) -> Result<State, BoxError> {
    let state: State = cx.restored()?.unwrap_or_default();
    if state.ticks == u64::MAX {
        return Err("the restored state counts as far as there are numbers".into());
    }
    Ok(state)
}

/// A duration as the project's file writes them.
pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = Duration;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as `250ms` or `1m 30s`")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            humantime::parse_duration(text)
                .map_err(|error| E::custom(format!("`{text}` is no duration such as `250ms`: {error}")))
        }
    }
    from.deserialize_str(Text)
}
