//! What orch says by itself while it runs: on the terminal, or, in the background, in its own log.

use super::announce::Paint;
use super::detach;
use super::driver::Driver;

/// So many processes that belong to no component are told of one by one.
const STRAYS: u32 = 20;

impl Driver {
    /// Tells of a process that belongs to no component. Who makes them without an end does not fill the terminal.
    pub(super) fn strayed(&mut self, pid: u32, command: &str) {
        self.strays = self.strays.saturating_add(1);
        let more = match self.strays {
            ..STRAYS => "",
            STRAYS => "; more of them are not told of",
            _ => return,
        };
        let text =
            format!("{command} (pid {pid}) belongs to no component; it is ended with the project{more}");
        self.say(Paint::Warn, &text);
    }

    /// Says a line, as a message of that kind.
    pub(crate) fn say(&self, paint: Paint, text: &str) {
        if !self.parts.options.foreground {
            match paint {
                Paint::Plain | Paint::Good => tracing::info!("{text}"),
                Paint::Warn | Paint::Bad => tracing::warn!("{text}"),
            }
        }
        self.put(&self.parts.announcer.painted(paint, text));
    }

    /// Says what is painted already.
    pub(super) fn put(&self, text: &str) {
        detach::bound_log(&self.parts.core.project().state_dir);
        self.parts.output.say(text);
    }
}
