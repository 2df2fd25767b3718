//! What is done when the keeper of the processes is lost.

use super::announce::Paint;
use super::driver::{Driver, Purpose};
use super::helpers::NoExit;
use super::up;
use crate::supervisor::{Event, RunEvent};
use crate::types::UnitId;

impl Driver {
    /// The keeper was killed, and with it all processes: another one takes over, before the core hears of each end.
    pub(super) fn renew_keeper(&mut self) {
        self.say(
            Paint::Bad,
            "the keeper of the processes was killed, and they with it; starting another one",
        );
        match up::keeper(&self.parts.home, &self.parts.options, &self.parts.inbox) {
            Ok(keeper) => {
                // The old note stays good until this one is written.
                if let Err(error) = self.parts.home.note(&keeper) {
                    tracing::warn!(%error, "the lock's note is not renewed");
                }
                self.parts.keeper = keeper;
            }
            Err(error) => self.say(Paint::Bad, &format!("nothing more can be started: {error}")),
        }
    }

    /// A unit is gone with its keeper, or was not started for that.
    pub(super) fn lost(&mut self, unit: UnitId) {
        match self.units.get_mut(&unit) {
            Some(Purpose::Run(run)) => {
                let run = *run;
                if let Some(life) = self.lives.get_mut(&run) {
                    life.asked_to_stop();
                }
                self.step(Event::Run(run, RunEvent::Lost));
            }
            Some(Purpose::Task(task)) => {
                let task = *task;
                self.task_lost(task);
            }
            Some(Purpose::Help { reply, .. }) => {
                if let Some(reply) = reply.take() {
                    let _ = reply.send(Err(NoExit::Lost));
                }
                self.gone(unit);
            }
            None => {}
        }
    }
}
