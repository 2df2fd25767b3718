//! What the components take. It is looked up when somebody asks, on a worker thread, and for all who ask within a
//! moment once: neither the loop nor the keeper has a part in it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::body::Bytes;
use tokio::sync::Mutex;

use super::Shared;
use super::answer::{Answer, Refused, bytes};
use super::table::Seat;
use crate::api::{ComponentUsage, Usage};
use crate::runner::keeper::{Survey, Used};
use crate::runtime::driver::Driver;
use crate::runtime::inbox::Message;
use crate::types::{Name, UnitId};

/// What was looked up so short a time ago is told again.
const FRESH: Duration = Duration::from_millis(100);

/// The last answer. Who holds it, looks; the others wait for what that one sees.
#[derive(Debug, Default)]
pub(super) struct Last(Mutex<Option<(Instant, Bytes)>>);

/// What has to be known before anything is looked up.
#[derive(Debug)]
pub(crate) struct Units {
    survey: Survey,
    /// Of the components that have one.
    units: Vec<(Name, UnitId)>,
}

impl Driver {
    /// The units of the components that run as processes.
    pub(crate) fn surveyed(&self) -> Units {
        let processes = self.lives.iter().filter(|(_, life)| !life.thread);
        let units = processes.map(|(_, life)| (life.spec.name.clone(), life.unit)).collect();
        Units { survey: self.parts.keeper.survey(), units }
    }
}

/// Answers.
pub(super) async fn answer(shared: &Shared, seat: &Seat) -> Answer {
    let mut last = shared.usage.0.lock().await;
    let told = match last.as_ref().filter(|(when, _)| when.elapsed() < FRESH) {
        Some((_, told)) => told.clone(),
        None => {
            let asked = shared.control.ask(|reply| Message::Usage { reply });
            let units = asked.await.map_err(|_| Refused::ending())?;
            let looked = tokio::task::spawn_blocking(move || written(&units));
            let told = looked.await.map_err(|_| Refused::ending())?;
            *last = Some((Instant::now(), told.clone()));
            told
        }
    };
    seat.owes(told.len());
    Ok(bytes(StatusCode::OK, told))
}

fn written(units: &Units) -> Bytes {
    let used = units.survey.take();
    // A unit that is on its way out and the next one are one component's.
    let mut components: BTreeMap<&str, Used> = BTreeMap::new();
    for (name, unit) in &units.units {
        if let Some(used) = used.get(unit) {
            components.entry(name.as_str()).or_default().add(*used);
        }
    }
    let component = |(name, used): (&str, Used)| ComponentUsage {
        name: name.to_owned(),
        processes: used.processes,
        cpu_ms: used.cpu_ms,
        memory: used.memory,
    };
    let usage = Usage { components: components.into_iter().map(component).collect() };
    Bytes::from(serde_json::to_vec(&usage).unwrap_or_default())
}
