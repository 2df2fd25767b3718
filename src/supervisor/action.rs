//! What the core wants done, in this order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::record::{End, Record, Source};
use crate::config::model::Component;
use crate::types::{Cid, RunId, Scope, Signal, TaskId, TaskKind};

/// What the core wants done. Actions never fail towards the core: failures come back as events.
#[derive(Debug, Clone)]
pub enum Action {
    /// Put the state in place, look whether its address is free, find the program.
    /// Answer: `Prepared` or `PrepareFailed`.
    Prepare {
        /// For which run.
        run: RunId,
        /// As declared.
        spec: Arc<Component>,
    },
    /// Start it. Answer: `Spawned` or `SpawnFailed`.
    Spawn {
        /// Which run.
        run: RunId,
        /// As declared.
        spec: Arc<Component>,
        /// Where the content of its state file comes from.
        restored: Option<Source>,
    },
    /// Ask its readiness probe until it succeeds. Answer: `Ready`. Ends with the run.
    Probe {
        /// Which run.
        run: RunId,
        /// As declared.
        spec: Arc<Component>,
    },
    /// Ask over and over whether it is healthy, as declared, in place of what was asked before: nothing any more, if
    /// nothing is declared, or a watchdog. Answers:
    /// `Unwell` for each try that fails, `Well` for the first good one after it. Ends with the run, and when it
    /// is asked to stop.
    CheckHealth {
        /// Which run.
        run: RunId,
        /// As declared.
        spec: Arc<Component>,
        /// For the answers: those to what was asked before say nothing of what is asked now.
        asked: u64,
    },
    /// Run a command of this component. Answer: `Event::Task`, when nothing of it is left. A stop task comes in
    /// place of `Stop`.
    RunTask {
        /// Which task.
        task: TaskId,
        /// What it is for, and so what is run.
        kind: TaskKind,
        /// As declared.
        spec: Arc<Component>,
        /// For which run, if it is for one.
        run: Option<RunId>,
        /// It is killed with its descendants, and has failed, after so long.
        timeout: Duration,
        /// One that is to stop a run begins so much later at the most, while a proxy has something under way to that.
        drain: Duration,
    },
    /// Kill a task with its descendants. It still answers.
    EndTask {
        /// Which.
        task: TaskId,
    },
    /// Nothing of this component runs, nor will by itself: let go of what was held over its restarts, its sockets
    /// and stored descriptors. Harmless when nothing is.
    Release {
        /// Which component.
        component: Cid,
    },
    /// Ask its unit to stop: a signal, then SIGCONT; a thread is asked by its own means.
    Stop {
        /// Which run.
        run: RunId,
        /// What.
        signal: Signal,
        /// To whom.
        scope: Scope,
        /// So long at the most it is asked later, while a proxy has something under way to it.
        drain: Duration,
    },
    /// Send its unit a signal that is no request to stop (`watch.action`), then SIGCONT.
    Signal {
        /// Which run.
        run: RunId,
        /// What.
        signal: Signal,
        /// To whom.
        scope: Scope,
    },
    /// Force-kill its unit. Answers: `Killed` or `Unkillable`, then `Gone`.
    Kill {
        /// Which run.
        run: RunId,
    },
    /// Read no more of its output than what is there. Answer: `OutputEnded`.
    CloseOutput {
        /// Which run.
        run: RunId,
    },
    /// Seal its state file. Answer: `Sealed`.
    Seal {
        /// Which run.
        run: RunId,
        /// As it was declared for this run.
        spec: Arc<Component>,
        /// How the run ended.
        end: End,
    },
    /// What was prepared for this run is not used: it was not started after all, so that the state counts as
    /// not offered. Answer: `Sealed`.
    TakeBack {
        /// Which run.
        run: RunId,
        /// As declared.
        spec: Arc<Component>,
    },
    /// The run has become ready with this generation: it is used up.
    UseState {
        /// Which run.
        run: RunId,
        /// As declared.
        spec: Arc<Component>,
        /// Which generation.
        generation: u64,
    },
    /// Its state file came whole, and it runs on: make a generation of it. Answer: `Snapshot`.
    Snapshot {
        /// Which run.
        run: RunId,
        /// As it was declared for this run.
        spec: Arc<Component>,
    },
    /// Ask it to write its state file: its leader by this signal, a thread by its own means.
    AskState {
        /// Which run.
        run: RunId,
        /// What.
        signal: Signal,
    },
    /// Replace orch's own image, and hand everything over. Answer: `Reexeced`, from the new image, or
    /// `ReexecFailed`.
    Reexec {
        /// The new program; `None`: the one that runs.
        program: Option<PathBuf>,
    },
    /// Watch what this component declares, instead of what it declared before; keep logs as it declares.
    Observe {
        /// Which component.
        component: Cid,
        /// As declared.
        spec: Arc<Component>,
    },
    /// Report what has happened to this component's files up to now. Answer: `Sifted`, behind all of it.
    Sift {
        /// Which component.
        component: Cid,
    },
    /// The component is no more.
    Forget {
        /// Which component.
        component: Cid,
    },
    /// Tell the world what happened.
    Record(Record),
    /// The project has ended; the last action.
    Exit {
        /// The exit code of `orch up`.
        code: u8,
    },
}
