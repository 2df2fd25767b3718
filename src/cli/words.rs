//! Spans of time and amounts, as people say them.

use std::time::{Duration, SystemTime};

/// A span that need not be exact: `3 s`, `2 min`, `4 h`, `5 d`.
pub(super) fn span(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// A span that somebody sits through: `0.4 s`, `12 s`, `2 min 5 s`.
pub(super) fn waited(span: Duration) -> String {
    match span.as_secs() {
        0..10 => format!("{:.1} s", span.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// The moment that a text in RFC 3339 means.
pub(super) fn moment(time: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(time).ok()
}

/// How long ago a time in RFC 3339 was; nothing, if it is yet to come by this clock.
pub(super) fn ago(time: &str, now: SystemTime) -> Option<Duration> {
    let time = moment(time)?;
    Some(now.duration_since(time).unwrap_or_default())
}

/// An amount of memory: `640 KiB`, `12.3 MiB`, `1.4 GiB`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn memory(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{} KiB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

/// Processor time: `340 ms`, `12.0 s`, `5 min`.
pub(super) fn worked(milliseconds: u64) -> String {
    let time = Duration::from_millis(milliseconds);
    match milliseconds {
        0..1000 => format!("{milliseconds} ms"),
        1000..60_000 => format!("{:.1} s", time.as_secs_f64()),
        _ => span(time),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{ago, memory, span, waited, worked};

    #[test]
    fn spans_and_amounts_are_short_and_round_down() {
        let spans =
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (200_000, "2 d")];
        for (seconds, text) in spans {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        let waits = [(0, "0.0 s"), (1234, "1.2 s"), (12_900, "12 s"), (125_000, "2 min 5 s")];
        for (milliseconds, text) in waits {
            assert_eq!(waited(Duration::from_millis(milliseconds)), text);
        }
        let amounts =
            [(4096, "4 KiB"), (0x10_0000, "1.0 MiB"), (13_000_000, "12.4 MiB"), (1 << 31, "2.0 GiB")];
        for (bytes, text) in amounts {
            assert_eq!(memory(bytes), text);
        }
        for (milliseconds, text) in [(7, "7 ms"), (1500, "1.5 s"), (125_000, "2 min")] {
            assert_eq!(worked(milliseconds), text);
        }
    }

    #[test]
    fn a_time_is_told_from_now_and_one_to_come_is_now() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(90_500);
        assert_eq!(ago("1970-01-01T00:00:30.25Z", now), Some(Duration::from_millis(60_250)));
        assert_eq!(ago("1970-01-01T01:00:00Z", now), Some(Duration::ZERO));
        assert_eq!(ago("soon", now), None);
    }
}
