//! The one queue into the loop: everything that happens outside, in the order in which it is heard.

use tokio::sync::{mpsc, oneshot};

use crate::config::Loaded;
use crate::config::model::Command;
use crate::output::OutputReport;
use crate::probe::ProbeReport;
use crate::runner::RunnerReport;
use crate::supervisor::Event;
use crate::types::{Exit, RunId};
use crate::watch::WatchReport;

/// Something that happened outside.
#[derive(Debug)]
pub(crate) enum Message {
    /// For the core as it stands.
    Core(Event),
    /// A runner reports.
    Runner(RunnerReport),
    /// The output hand reports.
    Output(OutputReport),
    /// The watcher reports.
    Watch(WatchReport),
    /// A probe reports.
    Probe(ProbeReport),
    /// A command is to be run in a component's folder and environment, and into its log.
    Help {
        /// By this number it can be ended.
        ticket: u64,
        /// For which run.
        run: RunId,
        /// What.
        command: Command,
        /// Where its end is told.
        reply: oneshot::Sender<Result<Exit, String>>,
    },
    /// Such a command is to end.
    EndHelp {
        /// Which.
        ticket: u64,
    },
    /// The file was read again; `None`: reading it broke.
    Reloaded(Option<Box<Loaded>>),
}

/// Where messages go.
pub(crate) type Inbox = mpsc::UnboundedSender<Message>;
