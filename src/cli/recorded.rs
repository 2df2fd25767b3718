//! What was recorded of a project, for the commands that tell of it.

use std::io;
use std::path::Path;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

use super::complain;
use super::exit::Exit;
use super::target::{Target, TargetArgs};
use crate::config::render::harmless;
use crate::history::events;
use crate::story::Words;

/// A project, and how its record is put into words.
pub(super) struct Record {
    pub(super) target: Target,
    folder: String,
    zone: TimeZone,
    today: ZonedDateTime,
}

impl Record {
    pub(super) fn find(target: &TargetArgs) -> Result<Self, Exit> {
        let target = target.place()?;
        let file = target.file.as_deref().and_then(|file| file.parent());
        let folder = file.or_else(|| target.state_dir.parent()).unwrap_or(&target.state_dir);
        let folder = folder.display().to_string();
        let zone = TimeZone::system();
        Ok(Self { folder, today: Timestamp::now().to_zoned_datetime(zone.clone()), zone, target })
    }

    /// Calls `tell` with the words for stories: of today the time is enough, else the day stands before it.
    pub(super) fn with_words<T>(&self, tell: impl FnOnce(&Words<'_>) -> T) -> T {
        let clock = |time: &str| self.clock(time, false);
        let safe = |text: &str| harmless(text).into_owned();
        tell(&Words { clock: &clock, safe: &safe, folder: &self.folder })
    }

    /// A time of the record, here: `14:02:11.318`, or with its day `Nov 26 14:02:11.318`. What is no time is
    /// shown as it is.
    pub(super) fn clock(&self, time: &str, with_day: bool) -> String {
        let Ok(then) = time.parse::<Timestamp>() else { return harmless(time).into_owned() };
        let then = then.to_zoned_datetime(self.zone.clone());
        let format = if with_day || then.date() != self.today.date() {
            if then.year() == self.today.year() { "%b %d %H:%M:%S%.3f" } else { "%Y-%m-%d %H:%M:%S%.3f" }
        } else {
            "%H:%M:%S%.3f"
        };
        then.strftime(format).to_string()
    }

    /// Says that nothing is recorded.
    pub(super) fn nothing(&self) -> Exit {
        let path = events::path(&self.target.state_dir);
        complain(&format!("nothing is recorded: there is no event in {}; `orch up` records", shown(&path)))
    }

    /// Says why the record can't be read.
    pub(super) fn unreadable(&self, error: &io::Error) -> Exit {
        let path = events::path(&self.target.state_dir);
        complain(&format!("can't read {} or its older parts: {error}", shown(&path)))
    }
}

fn shown(path: &Path) -> String {
    harmless(&path.display().to_string()).into_owned()
}
