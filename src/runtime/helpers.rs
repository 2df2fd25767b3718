//! Helpers: short commands that run for a component (exec probes), as units of their own; and the health checks
//! that need them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use super::act::process;
use super::driver::{Driver, Life, Purpose};
use super::inbox::{Inbox, Message};
use crate::config::model::{Command, Component};
use crate::probe::{self, Check, ExecFuture, ExecRunner, HealthReport, ProbeReport, Rhythm};
use crate::runner::Runner as _;
use crate::supervisor::{Event, RunEvent};
use crate::types::{Exit, RunId, UnitId};

/// So long the end of a command is waited for that is killed; what can't be killed must not silence who asks.
const KILLED: Duration = Duration::from_secs(1);

/// Asks the loop to run commands for one run of a component.
#[derive(Debug, Clone)]
pub(crate) struct Helpers {
    inbox: Inbox,
    run: RunId,
    tickets: Arc<AtomicU64>,
}

impl Helpers {
    pub(crate) fn new(inbox: Inbox, run: RunId, tickets: Arc<AtomicU64>) -> Self {
        Self { inbox, run, tickets }
    }
}

/// Why a command has no exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoExit {
    /// The keeper of the processes was killed, and the command with it.
    Lost,
    /// It could not be started, or was killed: as a fragment of a sentence.
    Because(String),
}

impl fmt::Display for NoExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => f.write_str("the keeper of the processes was killed, and it with it"),
            Self::Because(reason) => f.write_str(reason),
        }
    }
}

impl Helpers {
    async fn once(&self, command: Command, timeout: Duration) -> Result<Exit, NoExit> {
        let because = |text: &str| Err(NoExit::Because(text.to_owned()));
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let (reply, mut end) = oneshot::channel();
        let (run, inbox) = (self.run, &self.inbox);
        // However this ends, also by being dropped, the command ends with it.
        let _end = Ender { inbox: inbox.clone(), ticket };
        if inbox.send(Message::Help { ticket, run, command, reply }).is_err() {
            return because("orch is ending");
        }
        match tokio::time::timeout(timeout, &mut end).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => because("it was ended"),
            Err(_) => {
                // The next try does not begin beside one that is being killed.
                let _ = inbox.send(Message::EndHelp { ticket });
                if let Ok(Ok(Err(NoExit::Because(why)))) = tokio::time::timeout(KILLED, end).await {
                    // It had not been started yet.
                    return because(&why);
                }
                because(&format!("no end within {} ms", timeout.as_millis()))
            }
        }
    }
}

impl ExecRunner for Helpers {
    fn run(&self, command: &Command, timeout: Duration) -> ExecFuture {
        let (helpers, command) = (self.clone(), command.clone());
        Box::pin(async move {
            // What was lost with the keeper says nothing of the component: it is asked again, of the next one.
            let result = match helpers.once(command.clone(), timeout).await {
                Err(NoExit::Lost) => helpers.once(command, timeout).await,
                result => result,
            };
            result.map_err(|error| error.to_string())
        })
    }
}

struct Ender {
    inbox: Inbox,
    ticket: u64,
}

impl Drop for Ender {
    fn drop(&mut self) {
        // A loop that has ended has ended its helpers, too.
        let _ = self.inbox.send(Message::EndHelp { ticket: self.ticket });
    }
}

impl Driver {
    /// Asks a run over and over whether it is well, as declared, in place of what was asked before.
    pub(super) fn check_health(&mut self, run: RunId, spec: &Component, asked: u64) {
        let inbox = self.parts.inbox.clone();
        let Some(life) = self.lives.get_mut(&run) else { return };
        // Not two at a time: the command of the first is ended before the next one is begun.
        life.health = None;
        let Some(health) = spec.health.as_deref() else { return };
        // The watchdog is not asked, but heard.
        let Some(check) = Check::of_health(&health.check) else { return };
        let rhythm = Rhythm { interval: health.interval, timeout: health.timeout };
        let helpers = Arc::new(Helpers::new(inbox.clone(), run, Arc::clone(&self.tickets)));
        let sink = Arc::new(move |report| {
            let event = match report {
                HealthReport::Unwell(error) => RunEvent::Unwell { asked, error },
                HealthReport::Well => RunEvent::Well { asked },
            };
            drop(inbox.send(Message::Core(Event::Run(run, event))));
        });
        life.health = Some(probe::watch_over(check, rhythm, helpers, Arc::clone(&life.unwell), sink));
    }

    pub(super) fn help(
        &mut self,
        ticket: u64,
        run: RunId,
        command: &Command,
        reply: oneshot::Sender<Result<Exit, NoExit>>,
    ) {
        let Some(spec) = self.lives.get(&run).map(|life| Arc::clone(&life.spec)) else { return };
        let unit = self.new_unit(Purpose::Help { ticket, reply: Some(reply) });
        self.helping.insert(ticket, unit);
        let started = self.invocation(run, &spec, command, &[], None).and_then(|invocation| {
            let output = self.open_output(unit, &spec, false)?;
            self.parts.keeper.spawn(unit, process(invocation, None, output));
            Ok(())
        });
        if let Err(error) = started {
            self.spawn_failed(unit, error);
        }
    }

    pub(super) fn end_help(&mut self, ticket: u64) {
        if let Some(unit) = self.helping.get(&ticket) {
            self.parts.keeper.kill(*unit);
        }
    }

    pub(super) fn spawn_failed(&mut self, unit: UnitId, error: String) {
        match self.units.remove(&unit) {
            Some(Purpose::Run(run)) => {
                self.lives.remove(&run);
                self.step(Event::Run(run, RunEvent::SpawnFailed { error }));
            }
            Some(Purpose::Task(task)) => self.task_not_started(task, error),
            Some(Purpose::Help { ticket, reply }) => {
                self.helping.remove(&ticket);
                if let Some(reply) = reply {
                    let _ = reply.send(Err(NoExit::Because(error)));
                }
            }
            None => {}
        }
    }

    /// Ends what asks for others, and is asked again by the next image.
    pub(crate) fn let_go_of_helpers(&mut self) {
        self.drained_all();
        self.lives.values_mut().for_each(Life::asked_to_stop);
        for unit in self.helping.values() {
            self.parts.keeper.kill(*unit);
        }
    }

    pub(super) fn probe_reports(&mut self, report: ProbeReport) {
        match report {
            ProbeReport::Succeeded { id } => self.tell(id, RunEvent::Ready),
            ProbeReport::Tried { id, error, tries } => self.tell(id, RunEvent::NotYet { error, tries }),
        }
    }
}
