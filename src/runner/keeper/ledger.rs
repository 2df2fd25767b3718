//! What orch knows of the keeper's units: enough to answer for each of them when the keeper is killed.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::UnitId;

use super::super::RunnerReport;
use super::client::ShutDown;
use super::proc;
use super::protocol::{Event, Leftover};

/// How orch and the keeper stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// At work.
    Live,
    /// The keeper is to end.
    Closing,
    /// The keeper is dead, and what it has left is cleaned up.
    Closed,
    /// The end of each unit is told, or about to be.
    Told,
    /// All that it left is cleaned up and told.
    Ended,
    /// The keeper is another value's now.
    HandedOver,
}

/// How far a unit is that is not gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Its spawn is asked for and not answered.
    Asked,
    /// Its leader runs, with this process id.
    Running(u32),
    /// Its leader has ended.
    Exited,
}

#[derive(Debug)]
struct Book {
    phase: Phase,
    units: BTreeMap<UnitId, Standing>,
    /// Strays, with their start time.
    strays: Vec<(u32, u64)>,
    /// With so many it is looked who of them has ended.
    look_at: usize,
    killed: Vec<Leftover>,
    drained: bool,
}

/// So many strays are remembered before it is looked who of them is still there.
const STRAYS: usize = 64;

impl Book {
    /// Remembers a stray; who has ended is forgotten, so there are as many as the system has processes at the most.
    fn note_stray(&mut self, pid: u32, start: u64) {
        self.strays.push((pid, start));
        // Where nothing is shown, nobody is known to have ended.
        if self.strays.len() >= self.look_at && proc::check().is_ok() {
            self.strays.retain(|(pid, start)| proc::stat(*pid).is_some_and(|stat| stat.start == *start));
            self.look_at = STRAYS.max(2 * self.strays.len());
        }
    }
}

/// What was true when the keeper ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Close {
    /// Nobody had asked for it.
    pub(super) lost: bool,
    /// It said that nothing is left.
    pub(super) drained: bool,
}

/// Shared by those who ask and the thread that reads the answers.
#[derive(Debug)]
pub(super) struct Ledger {
    book: Mutex<Book>,
    ended: Condvar,
}

impl Ledger {
    pub(super) fn new(units: Vec<(UnitId, Standing)>, strays: Vec<(u32, u64)>) -> Self {
        let units = units.into_iter().collect();
        let book =
            Book { phase: Phase::Live, units, strays, look_at: STRAYS, killed: Vec::new(), drained: false };
        Self { book: Mutex::new(book), ended: Condvar::new() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // The book is whole after every statement, so a panic elsewhere does not spoil it.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a unit that is about to be asked for; else tells what is to be reported of it. What is asked of a dead
    /// keeper is told behind its death, by the reader: only then can another keeper be asked.
    pub(super) fn ask(&self, unit: UnitId) -> Result<(), RunnerReport> {
        let mut book = self.book();
        match book.phase {
            Phase::Live | Phase::Closed => {
                book.units.insert(unit, Standing::Asked);
                Ok(())
            }
            Phase::Told | Phase::Ended => Err(RunnerReport::Lost { unit }),
            Phase::Closing | Phase::HandedOver => Err(RunnerReport::SpawnFailed {
                unit,
                error: "can't start it: the keeper is gone".to_owned(),
            }),
        }
    }

    /// Takes a unit out that could not be asked for; false: it was answered for meanwhile.
    pub(super) fn withdraw(&self, unit: UnitId) -> bool {
        self.book().units.remove(&unit).is_some()
    }

    /// Goes to a phase from a live keeper; false: it was not live.
    pub(super) fn enter(&self, phase: Phase) -> bool {
        let mut book = self.book();
        let live = book.phase == Phase::Live;
        if live {
            book.phase = phase;
        }
        live
    }

    /// The units that are not gone.
    pub(super) fn units(&self) -> Vec<(UnitId, Standing)> {
        self.book().units.iter().map(|(unit, standing)| (*unit, *standing)).collect()
    }

    /// The strays that were reported, with their start time.
    pub(super) fn strays(&self) -> Vec<(u32, u64)> {
        self.book().strays.clone()
    }

    /// Notes what the keeper says, and gives what is to be reported of it.
    pub(super) fn note(&self, event: Event) -> Option<RunnerReport> {
        let mut book = self.book();
        match &event {
            Event::Report(RunnerReport::Spawned { unit, pid: Some(pid) }) => {
                book.units.insert(*unit, Standing::Running(*pid));
            }
            Event::Report(RunnerReport::Main { unit, pid, accepted: true }) => {
                book.units.insert(*unit, Standing::Running(*pid));
            }
            Event::Report(RunnerReport::Exited { unit, .. }) => {
                book.units.insert(*unit, Standing::Exited);
            }
            Event::Report(RunnerReport::Gone { unit } | RunnerReport::SpawnFailed { unit, .. }) => {
                book.units.remove(unit);
            }
            _ => {}
        }
        match event {
            Event::Report(report) => Some(report),
            Event::Stray { pid, start, command } => {
                book.note_stray(pid, start);
                Some(RunnerReport::Stray { pid, command })
            }
            Event::Drained(killed) => {
                (book.killed, book.drained) = (killed, true);
                None
            }
        }
    }

    /// The keeper is dead: nothing more can be asked of it.
    pub(super) fn close(&self) -> Close {
        let mut book = self.book();
        let lost = book.phase == Phase::Live;
        book.phase = Phase::Closed;
        Close { lost, drained: book.drained }
    }

    /// All is cleaned up and told.
    pub(super) fn end(&self) {
        self.book().phase = Phase::Ended;
        self.ended.notify_all();
    }

    /// The leaders that run.
    pub(super) fn leaders(&self) -> Vec<u32> {
        let leader =
            |standing: &Standing| if let Standing::Running(pid) = standing { Some(*pid) } else { None };
        self.book().units.values().filter_map(leader).collect()
    }

    /// The last reports about every unit, after a keeper that was killed, when all are dead.
    pub(super) fn last_words(&self) -> Vec<RunnerReport> {
        let mut book = self.book();
        book.phase = Phase::Told;
        let units = std::mem::take(&mut book.units);
        units.into_keys().map(|unit| RunnerReport::Lost { unit }).collect()
    }

    /// Waits for [`Ledger::end`], so long at the most.
    pub(super) fn wait_for_end(&self, limit: Duration) -> ShutDown {
        let open = |book: &mut Book| book.phase != Phase::Ended;
        let waited = self.ended.wait_timeout_while(self.book(), limit, open);
        let (mut book, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        ShutDown { killed: std::mem::take(&mut book.killed), complete: !timeout.timed_out() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strays_that_have_ended_are_forgotten() {
        let ledger = Ledger::new(Vec::new(), Vec::new());
        let me = proc::stat(std::process::id()).unwrap();
        let stray = |pid, start| Event::Stray { pid, start, command: String::new() };
        assert!(ledger.note(stray(me.pid, me.start)).is_some());
        for start in 0..10_000 {
            // An id that lives, of a process that does not.
            assert!(ledger.note(stray(1, u64::MAX - start)).is_some());
        }
        let strays = ledger.strays();
        assert!(strays.len() <= STRAYS, "{}", strays.len());
        assert_eq!(strays[0], (me.pid, me.start));
    }
}
