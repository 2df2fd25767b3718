//! How things are said.

use std::fmt;
use std::time::Duration;

/// What the world around lends to a text: the pure layers know no time zone and no folder.
pub struct Words<'a> {
    /// Shows a time of the record (RFC 3339) as it is to be read.
    pub clock: &'a dyn Fn(&str) -> String,
    /// Makes a text of the record such that it can do a terminal no harm. Drawings are made of such alone; of a
    /// line of text the caller takes care.
    pub safe: &'a dyn Fn(&str) -> String,
    /// The project's folder, absolute: paths in it are shown without it.
    pub folder: &'a str,
}

impl fmt::Debug for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Words<'_> {
    /// A time as people read it.
    #[must_use]
    pub fn at(&self, time: &str) -> String {
        (self.clock)(time)
    }

    /// A path, within the project's folder if it is.
    #[must_use]
    pub fn path<'b>(&self, path: &'b str) -> &'b str {
        let inside = path.strip_prefix(self.folder).and_then(|rest| rest.strip_prefix('/'));
        inside.filter(|rest| !rest.is_empty() && !self.folder.is_empty()).unwrap_or(path)
    }

    /// Paths: the first one, and how many more there are.
    #[must_use]
    pub fn paths(&self, paths: &[String]) -> String {
        match paths {
            [] => "a file".to_owned(),
            [one] => self.path(one).to_owned(),
            [one, rest @ ..] => format!("{} and {} more", self.path(one), rest.len()),
        }
    }
}

/// How long something took, in words, to three digits or so: `0.4 ms`, `31 ms`, `1.137 s`, `2 min 3 s`.
#[must_use]
pub fn duration(time: Duration) -> String {
    let (micros, seconds) = (time.as_micros(), time.as_secs());
    match seconds {
        0 if micros < 1000 => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        0 => format!("{} ms", time.as_millis()),
        1..10 => format!("{seconds}.{:03} s", time.subsec_millis()),
        10..60 => format!("{seconds}.{} s", time.subsec_millis() / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// "one", or a number.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}
