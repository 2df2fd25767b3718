//! What is done when the keeper of the processes is lost.

use super::announce::Paint;
use super::driver::Driver;
use super::up;

impl Driver {
    /// The keeper was killed, and with it all processes: another one takes over, and the core has heard of
    /// each end already.
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
}
