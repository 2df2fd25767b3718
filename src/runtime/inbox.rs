//! The one queue into the loop: everything that happens outside, in the order in which it is heard.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::clients::{Commanded, Proposal, Reloaded, Reply, Seen, Subscriber, Unmet, Waited};
use super::control::Units;
use super::helpers::NoExit;
use crate::config::Loaded;
use crate::config::model::{Command, Project};
use crate::notice::NoticeReport;
use crate::output::OutputReport;
use crate::plan::Plan;
use crate::probe::{Baseline, ProbeReport};
use crate::runner::RunnerReport;
use crate::supervisor::{self, Event, Explanation, State};
use crate::types::{Exit, Name, RunId};
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
    /// The state file of a running component was replaced.
    Replaced {
        /// Whose.
        name: Name,
        /// In which run.
        incarnation: u64,
    },
    /// How the file that a run's probe asks for was before its start; its preparation is told next.
    Before {
        /// Of which run.
        run: RunId,
        /// How it was.
        baseline: Baseline,
    },
    /// Nothing more is under way to a run that is to stop, or not for long enough: now it is asked to.
    Drained {
        /// Which.
        run: RunId,
    },
    /// Somebody else answers where the health of a component will be asked.
    Stranger {
        /// Whose.
        name: Name,
        /// Who answers.
        holder: String,
    },
    /// A probe reports.
    Probe(ProbeReport),
    /// The reader of the notify sockets reports.
    Notice(NoticeReport),
    /// A command is to be run in a component's folder and environment, and into its log.
    Help {
        /// By this number it can be ended.
        ticket: u64,
        /// For which run.
        run: RunId,
        /// What.
        command: Command,
        /// Where its end is told.
        reply: oneshot::Sender<Result<Exit, NoExit>>,
    },
    /// Such a command is to end.
    EndHelp {
        /// Which.
        ticket: u64,
    },
    /// Somebody commands, and wants to know when it is done, or can't be any more.
    Command {
        /// What; not the shutdown, which has a message of its own.
        command: supervisor::Command,
        /// Where that is told; dropped untold when the project has ended.
        reply: Reply<Result<Commanded, Unmet>>,
    },
    /// The project is to end. Unlike a second Ctrl-C, a second request in order changes nothing.
    Shutdown {
        /// Whether everything is to be force-killed.
        force: bool,
    },
    /// Somebody wants to see every component.
    Views {
        /// Where they are told.
        reply: Reply<Seen>,
    },
    /// Somebody wants to know what the components take.
    Usage {
        /// Where it is told how to look.
        reply: Reply<Units>,
    },
    /// Somebody waits until something has come of components.
    Wait {
        /// Which ones; none: all that are not stopped, or with a state all.
        names: Vec<Name>,
        /// The state that is waited for; `None`: ready or completed.
        state: Option<State>,
        /// Where it is told, when it has come or can't any more.
        reply: Reply<Result<Vec<Waited>, Unmet>>,
    },
    /// Somebody wants to know what is declared.
    Declared {
        /// Where it is told.
        reply: Reply<Arc<Project>>,
    },
    /// Somebody wants to know why a component is in its state.
    Why {
        /// Which.
        name: Name,
        /// Where it is told, with the wall clock as in `Seen`; `None`: there is none of that name.
        reply: Reply<Option<(Explanation, i128)>>,
    },
    /// The file is to be read again, and somebody wants to know what comes of it.
    Reload {
        /// Where that is told.
        reply: Reply<Result<Reloaded, Unmet>>,
    },
    /// Somebody wants to know what an edit would do.
    Plan {
        /// The edit; `None`: none, for one that is not valid.
        proposal: Option<Proposal>,
        /// Where it is told, with the number of the declaration that runs.
        reply: Reply<(Plan, u64)>,
    },
    /// Somebody wants to hear of what happens from now on, and of what is remembered.
    Subscribe {
        /// Only of records with higher numbers.
        after: u64,
        /// Who.
        subscriber: Subscriber,
    },
    /// Somebody wants orch to become another program.
    Upgrade {
        /// Which.
        program: PathBuf,
        /// Where it is told why it did not.
        reply: oneshot::Sender<String>,
    },
    /// That program was asked whether it can take over.
    Candidate {
        /// Which.
        program: PathBuf,
        /// Its answer.
        verdict: Result<(), String>,
    },
    /// The file was read again; `None`: reading it broke.
    Reloaded(Option<Box<Loaded>>),
}

/// Where messages go.
pub(crate) type Inbox = mpsc::UnboundedSender<Message>;
