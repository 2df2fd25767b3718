//! Which lines are asked for, and how that is written.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use regex::bytes::Regex;

use crate::paint::{plain, without_returns};

/// Which lines are asked for.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only the last ones, of all logs together, and of those that match.
    pub last: Option<u64>,
    /// Only what came then or later.
    pub since: Option<Timestamp>,
    /// Only what came then or earlier.
    pub until: Option<Timestamp>,
    /// Only lines that match, colours removed. Of a line that comes in pieces, each piece that does.
    pub grep: Option<Regex>,
    /// Whether times are wanted, also where nothing depends on them.
    pub times: bool,
}

impl Query {
    /// Whether the piece of a line is one that is asked for, by its bytes.
    pub(super) fn matches(&self, line: &[u8]) -> bool {
        self.grep.as_ref().is_none_or(|regex| regex.is_match(&plain(without_returns(line))))
    }

    /// Whether times have to be known.
    pub(super) fn is_timed(&self) -> bool {
        self.times || self.since.is_some() || self.until.is_some()
    }
}

/// Reads a moment: RFC 3339, a time of today such as `14:02` or `14:02:11.3`, or how long ago, such as `10m`.
///
/// # Errors
/// Why it is none.
pub fn moment(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    if text.contains(':')
        && let Ok(time) = text.parse::<Time>()
    {
        let today = now.to_zoned_datetime(zone.clone());
        let then = today.date().to_datetime(time).to_zoned_datetime(zone.clone());
        return then.map(|then| then.timestamp()).map_err(|error| error.to_string());
    }
    // Days and longer are written with their units, too: `2d`.
    let ago: Duration = humantime::parse_duration(text).map_err(|_| {
        format!(
            "`{text}` is no moment; write a time of today (14:02, 14:02:11.3), how long ago it was (10m, 1h 30m), or \
             all of it (2026-01-20T14:02:11Z)"
        )
    })?;
    now.checked_sub(ago).map_err(|_| format!("`{text}` ago there was no time yet"))
}
