//! What orch says by itself while it runs: on the terminal, or, in the background, in its own log.

use super::announce::Paint;
use super::detach;
use super::driver::Driver;

impl Driver {
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
