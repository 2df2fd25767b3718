//! What processes say of themselves: their sockets before the spawn, their words to the core, and the end of a
//! process only when all that it said before has been heard. What that end means is the core's.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::announce::Paint;
use super::driver::{Driver, Purpose};
use super::inbox::{Inbox, Message};
use crate::config::model::{Component, HealthCheck, Probe};
use crate::notice::{Belongs, Judge, NoticeReport, NoticeSink};
use crate::runner::RunnerReport;
use crate::runner::keeper::Keeper;
use crate::supervisor::{Event, RunEvent};
use crate::types::{Cid, Name, Notice, RunId, UnitId};

/// A unit that has a notify socket.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Talk {
    /// What its runner has reported from its main process's end on, in order: not passed on yet.
    held: Vec<RunnerReport>,
    /// So often the reader was asked for all that it said before that, and has not answered.
    flushing: u32,
    /// So many answers of the keeper are awaited, on whether another process is the main one now.
    named: u32,
    /// It has said meanwhile that it is ready: that is for the process that it named.
    ready: bool,
    /// It was said that a process that it named is none of its own.
    complained: bool,
}

impl Talk {
    /// Whether all is heard that was said before the end that is held.
    fn is_heard(&self) -> bool {
        self.flushing == 0 && self.named == 0
    }
}

/// By unit.
pub(crate) type Talks = BTreeMap<UnitId, Talk>;

/// Tells whose a process is, by what this keeper's are known by.
pub(super) fn judge(keeper: &Keeper) -> Judge {
    let membership = keeper.membership();
    Arc::new(move |unit, pid| match membership.unit_of(pid) {
        None => Belongs::Gone,
        Some(found) if found == Some(unit) => Belongs::Yes,
        Some(_) => Belongs::No,
    })
}

pub(super) fn sink(inbox: &Inbox) -> NoticeSink {
    let reports = inbox.clone();
    Arc::new(move |report| drop(reports.send(Message::Notice(report))))
}

impl Driver {
    /// Makes the notify socket of a run that may have one, and tells it so in its environment.
    ///
    /// There is no WATCHDOG_PID: the contract has none, any process of the unit may ping, and in a shell form
    /// without `exec` it would name the shell, and a program that looks at it would not ping at all.
    pub(super) fn open_notices(
        &mut self,
        unit: UnitId,
        spec: &Component,
        env: &mut Vec<(OsString, OsString)>,
    ) -> Result<(), String> {
        let asked = spec.ready.as_ref().is_some_and(|ready| ready.probe == Probe::Notify);
        let watchdog = spec.health.as_ref().and_then(|health| match health.check {
            HealthCheck::Watchdog(every) => Some(every),
            _ => None,
        });
        if !asked && watchdog.is_none() {
            // An edit may have taken away by what an earlier run has stored something.
            self.parts.notices.release(&spec.name);
            return Ok(());
        }
        let path = self.parts.notices.open(unit, &spec.name, watchdog)?;
        self.talks.insert(unit, Talk::default());
        let watchdog = watchdog.map(|every| ("WATCHDOG_USEC", every.as_micros().to_string().into()));
        for (name, value) in [("NOTIFY_SOCKET", path.into_os_string())].into_iter().chain(watchdog) {
            env.retain(|(known, _)| known != name);
            env.push((name.into(), value));
        }
        Ok(())
    }

    /// The unit is gone, or was never started.
    pub(super) fn close_notices(&mut self, unit: UnitId) {
        if self.talks.remove(&unit).is_some() {
            self.parts.notices.close(unit);
        }
    }

    /// Takes a runner's report: at once, but for the end of one whose words have to be heard first.
    pub(super) fn runner_heard(&mut self, report: RunnerReport) {
        match &report {
            RunnerReport::Exited { unit, .. } => {
                let unit = *unit;
                let Some(talk) = self.talks.get_mut(&unit) else { return self.runner_reports(report) };
                talk.held.push(report);
                talk.flushing += u32::from(self.parts.notices.flush(unit));
                self.let_end(unit);
            }
            RunnerReport::Gone { unit } | RunnerReport::Lost { unit } | RunnerReport::Killed { unit, .. } => {
                let unit = *unit;
                match self.talks.get_mut(&unit).filter(|talk| !talk.held.is_empty()) {
                    Some(talk) => {
                        talk.held.push(report);
                        self.let_end(unit);
                    }
                    None => self.pass(report),
                }
            }
            RunnerReport::KeeperLost => {
                // Nobody answers any more who was asked about a main process.
                self.runner_reports(report);
                self.parts.notices.judged_by(judge(&self.parts.keeper));
                let units: Vec<UnitId> = self.talks.keys().copied().collect();
                for unit in units {
                    self.talks.entry(unit).and_modify(|talk| talk.named = 0);
                    self.main_answered(unit);
                }
            }
            _ => self.pass(report),
        }
    }

    fn pass(&mut self, report: RunnerReport) {
        match &report {
            RunnerReport::Spawned { unit, pid: Some(pid) } if self.talks.contains_key(unit) => {
                let (unit, pid) = (*unit, *pid);
                // The core hears first that it runs, then what it says.
                self.runner_reports(report);
                self.parts.notices.runs(unit, pid);
            }
            RunnerReport::SpawnFailed { unit, .. }
            | RunnerReport::Gone { unit }
            | RunnerReport::Lost { unit } => {
                self.close_notices(*unit);
                self.runner_reports(report);
            }
            _ => self.runner_reports(report),
        }
    }

    /// Passes the end of a unit's main process on, if nothing that came before it is outstanding.
    fn let_end(&mut self, unit: UnitId) {
        let Some(talk) = self.talks.get_mut(&unit) else { return };
        if talk.is_heard() {
            for report in std::mem::take(&mut talk.held) {
                self.pass(report);
            }
        }
    }

    /// Takes what the notify sockets' reader reports.
    pub(super) fn notice_reports(&mut self, report: NoticeReport) {
        match report {
            NoticeReport::Said { unit, notice: Notice::MainPid(pid) } => {
                if let Some(talk) = self.talks.get_mut(&unit) {
                    talk.named += u32::from(self.parts.keeper.main(unit, pid));
                }
            }
            NoticeReport::Said { unit, notice } => self.noticed(unit, notice),
            NoticeReport::Ignored { unit, text } => {
                if let Some(name) = self.name_of(unit) {
                    let text = format!("{name}: ignored on its notify socket: {text}");
                    self.say(Paint::Warn, &text);
                }
            }
            NoticeReport::Flushed { unit } => {
                if let Some(talk) = self.talks.get_mut(&unit) {
                    talk.flushing = talk.flushing.saturating_sub(1);
                    self.let_end(unit);
                }
            }
        }
    }

    fn noticed(&mut self, unit: UnitId, notice: Notice) {
        if notice == Notice::Ready
            && let Some(talk) = self.talks.get_mut(&unit).filter(|talk| talk.named > 0)
        {
            talk.ready = true;
            return;
        }
        let Some(Purpose::Run(run)) = self.units.get(&unit) else { return };
        let run = *run;
        self.step(Event::Run(run, RunEvent::Notice(notice)));
    }

    /// No answer of the keeper is awaited any more, or one less.
    fn main_answered(&mut self, unit: UnitId) {
        let heard = self.talks.get_mut(&unit).filter(|talk| talk.named == 0);
        if heard.is_some_and(|talk| std::mem::take(&mut talk.ready)) {
            self.noticed(unit, Notice::Ready);
        }
        self.let_end(unit);
    }

    /// The keeper says whether a process is a unit's main one now. If it is, the end of the one before is not the
    /// unit's.
    pub(super) fn main_named(&mut self, unit: UnitId, pid: u32, accepted: bool) {
        let mut said_already = false;
        if let Some(talk) = self.talks.get_mut(&unit) {
            talk.named = talk.named.saturating_sub(1);
            if accepted {
                talk.held.retain(|report| !matches!(report, RunnerReport::Exited { .. }));
            } else {
                said_already = std::mem::replace(&mut talk.complained, true);
            }
        }
        if accepted {
            self.noticed(unit, Notice::MainPid(pid));
        } else if let Some(name) = self.name_of(unit).filter(|_| !said_already) {
            let text = format!("{name}: MAINPID={pid} is ignored: that is no living process of it");
            self.say(Paint::Warn, &text);
        }
        self.main_answered(unit);
    }

    /// What earlier runs of a component have stored.
    ///
    /// # Errors
    /// Descriptors are used up; as a fragment of a sentence.
    pub(super) fn stored(&self, spec: &Component) -> Result<Vec<(String, OwnedFd)>, String> {
        let stored = self.parts.notices.stored(&spec.name);
        stored.map_err(|error| format!("can't hand it the descriptors that it has stored: {error}"))
    }

    /// Lets go of the descriptors that a component has stored.
    pub(super) fn release_stored(&self, component: Cid) {
        if let Some(spec) = self.observed.get(&component) {
            self.parts.notices.release(&spec.name);
        }
    }

    fn name_of(&self, unit: UnitId) -> Option<Name> {
        let Some(Purpose::Run(RunId { component, .. })) = self.units.get(&unit) else { return None };
        self.observed.get(component).map(|spec| spec.name.clone())
    }
}
