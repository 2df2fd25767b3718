//! Threads inside orch. Each unit is one thread that runs a component known to the [`Registry`].
//!
//! What the reports mean for a thread:
//! - `Spawned`: the component is made from its `with`, a built-in one that listens does so, and its `run` is
//!   called next;
//! - `Exited`: `run` has returned, or panicked and was unwound, so all that it owned is dropped. From here
//!   on nothing more is heard of it, and its output is closed;
//! - `Gone`: the thread is joined, so its thread-local values are dropped, too. A second, sleeping thread
//!   does the joining: a thread can't join itself, and one that joined all in turn would let a unit that
//!   hangs in its last destructor hide the end of others;
//! - `Unkillable`: the answer to every `kill`. A thread ends by itself or not at all.
//!
//! A thread can be asked two things: to stop, and to save its state. Signals are for processes: none reaches it,
//! so that one which only means "read your configuration again" does not stop it.

mod around;
mod ask;
mod context;
mod kept;
mod light;
mod output;
mod panics;
mod proxy;
mod registry;
mod state;
mod ticker;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

pub use around::{Around, Holder};
pub use ask::{SaveToken, StopToken, Wake};
pub use context::Context;
pub use kept::{Kept, KeptHandover, Parting};
pub use light::{Lamp, Light, Seen};
pub use output::Output;
pub use proxy::{Target, target};
pub use registry::{BoxError, Registry, ThreadComponent};
pub use state::{StateReader, ThreadState};

use super::{ReportSink, Runner, RunnerReport, Scope};
use crate::types::{Exit, Name, Signal, UnitId};
use ask::Asks;
use context::Ties;
use state::Stored;

/// Runs thread components, and reports what becomes of them.
pub struct ThreadRunner {
    sink: ReportSink,
    registry: Arc<Registry>,
    units: Units,
}

type Units = Arc<Mutex<Living>>;

/// The units that are not gone.
#[derive(Default)]
struct Living {
    units: BTreeMap<UnitId, Asks>,
    /// Dropped with the last of them.
    held: Option<Box<dyn Send>>,
}

impl Living {
    fn remove(&mut self, unit: UnitId) {
        self.units.remove(&unit);
        if self.units.is_empty() {
            self.held = None;
        }
    }
}

/// What a unit runs.
pub struct ThreadSpec {
    /// The component's name, and the thread's.
    pub name: Name,
    /// What it is registered as.
    pub runner: String,
    /// Handed to it as it stands.
    pub with: serde_yaml::Value,
    /// The write end of a pipe, where its lines go.
    pub output: OwnedFd,
    /// The number of this run.
    pub incarnation: u64,
    /// Its state, if it is declared with `state`.
    pub state: Option<ThreadState>,
    /// What a built-in one is told of the project.
    pub around: Around,
}

impl ThreadRunner {
    /// A runner of what `registry` knows.
    #[must_use]
    pub fn start(sink: ReportSink, registry: impl Into<Arc<Registry>>) -> Self {
        Self { sink, registry: registry.into(), units: Units::default() }
    }

    /// Sets the process's panic hook, once in its life: from then on a component's panic is printed to its
    /// output, with place and backtrace; other panics still reach the hook that was there. Without it, a
    /// component's output has the panic's message alone, and the present hook says the rest.
    pub fn hook_panics() {
        panics::install_hook();
    }

    /// Asks a thread to save its state (`state.snapshot`). Harmless for one that is gone.
    pub fn ask_state(&self, unit: UnitId) {
        if let Some(asks) = self.asks(unit) {
            asks.save();
        }
    }

    /// Ends the runner, and keeps `what` until no thread is left; in most cases that is at once. What stands for
    /// the right to run these components is not given away while one of them may still run.
    pub fn outlive(self, what: impl Send + 'static) {
        let mut living = lock(&self.units);
        if !living.units.is_empty() {
            living.held = Some(Box::new(what));
        }
    }

    fn asks(&self, unit: UnitId) -> Option<Asks> {
        lock(&self.units).units.get(&unit).cloned()
    }

    /// Starts a thread, and returns at once.
    pub fn spawn(&self, unit: UnitId, spec: ThreadSpec) {
        let ties = Arc::new(Ties {
            unit,
            name: spec.name,
            sink: Arc::clone(&self.sink),
            incarnation: spec.incarnation,
            asks: Asks::default(),
            output: Output::new(spec.output),
            state: spec.state.map(Stored::new),
            life: Mutex::default(),
        });
        lock(&self.units).units.insert(unit, ties.asks.clone());
        let (registry, units) = (Arc::clone(&self.registry), Arc::clone(&self.units));
        let around = spec.around;
        let job = move |name: &Name| {
            let make = registry.make(&spec.runner, &spec.with)?;
            panics::contain(|| make(name, around)).unwrap_or_else(|panic| Err(format!("panicked: {panic}")))
        };
        let attended = Builder::new().name("orch-join".to_owned()).spawn({
            let ties = Arc::clone(&ties);
            move || attend(&ties, &units, job)
        });
        if let Err(error) = attended {
            lock(&self.units).remove(unit);
            let error = format!("start a thread for `{}`: {error}", ties.name);
            (self.sink)(RunnerReport::SpawnFailed { unit, error });
        }
    }
}

impl Runner for ThreadRunner {
    fn signal(&self, _unit: UnitId, _signal: Signal, _scope: Scope) {}

    fn stop(&self, unit: UnitId, _signal: Signal, _scope: Scope) {
        if let Some(asks) = self.asks(unit) {
            asks.stop();
        }
    }

    fn kill(&self, unit: UnitId) {
        // Reported under the lock: `Gone` comes after the unit is taken out under the same.
        let living = lock(&self.units);
        if living.units.contains_key(&unit) {
            (self.sink)(RunnerReport::Unkillable { unit });
        }
    }
}

/// Starts the component's thread, and joins it.
fn attend<J>(ties: &Arc<Ties>, units: &Units, job: J)
where
    J: FnOnce(&Name) -> Result<registry::Run, String> + Send + 'static,
{
    let unit = ties.unit;
    let thread = Builder::new().name(ties.name.to_string()).spawn({
        let ties = Arc::clone(ties);
        move || live(&ties, job)
    });
    let lived = match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(lived)) => lived,
        // Only a sink that panics comes here; the thread is gone all the same.
        Ok(Err(_)) => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    ties.output.close();
    lock(units).remove(unit);
    let report = match lived {
        Ok(()) => RunnerReport::Gone { unit },
        Err(why) => {
            RunnerReport::SpawnFailed { unit, error: format!("start the thread `{}`: {why}", ties.name) }
        }
    };
    ties.report(report);
}

/// The life of a component, on its own thread. An error means that it never began.
fn live(ties: &Arc<Ties>, job: impl FnOnce(&Name) -> Result<registry::Run, String>) -> Result<(), String> {
    panics::print_to(ties.output.clone());
    let job = job(&ties.name)?;
    if let Some(state) = &ties.state {
        state.take();
    }
    ties.report(RunnerReport::Spawned { unit: ties.unit, pid: None });
    let exit = panics::contain(|| {
        let returned = job(Context::new(Arc::clone(ties)));
        returned.map_err(|error| ties.output.line(&format!("error: {}", registry::chain(&*error))))
    });
    ties.end();
    let exit = match exit {
        Ok(Ok(())) => Exit::Code(0),
        Ok(Err(())) => Exit::Code(1),
        Err(message) => {
            if !panics::hooked() {
                ties.output.line(&format!("panicked: {message}"));
            }
            Exit::Panic(message)
        }
    };
    ties.report(RunnerReport::Exited { unit: ties.unit, exit });
    ties.output.close();
    Ok(())
}

/// A lock that a panic of somebody else does not take away: what these locks guard is whole at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
