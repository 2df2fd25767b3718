//! Durations and sizes, as the contract writes them. The only file that imports humantime.

use std::time::Duration;

/// The longest duration: ten years.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

const UNITS: &[&str] = &[
    "ns", "nsec", "us", "µs", "usec", "ms", "msec", "millis", "s", "sec", "secs", "second", "seconds", "m",
    "min", "mins", "minute", "minutes", "h", "hr", "hrs", "hour", "hours", "d", "day", "days", "w", "wk",
    "wks", "week", "weeks",
];

/// Reads a duration such as `1m 30s`. Months and years are refused: they have no fixed length.
///
/// # Errors
/// Why it is none, in a few words.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let units = text.split(|c: char| !c.is_alphabetic()).filter(|unit| !unit.is_empty());
    for unit in units {
        if matches!(unit, "M" | "month" | "months" | "mo" | "mos" | "y" | "year" | "years" | "yr" | "yrs") {
            return Err(format!("`{unit}` has no fixed length; use days or weeks"));
        }
        if !UNITS.contains(&unit) {
            let unit = super::text::shown(unit);
            return Err(format!("`{unit}` is not a unit; the units are ns, us, ms, s, m, h, d and w"));
        }
    }
    let explain = |error: humantime::DurationError| match error {
        humantime::DurationError::UnknownUnit { unit, value, .. } if unit.is_empty() => {
            format!("a unit is missing, such as in `{value}s` or `{value}ms`")
        }
        humantime::DurationError::Empty => "it is empty".into(),
        humantime::DurationError::InvalidCharacter(_) | humantime::DurationError::NumberExpected(_) => {
            "a duration is numbers with units, such as `250ms`, `5s` or `1m 30s`".into()
        }
        _ => "the number is too large, or finer than a nanosecond".into(),
    };
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        return Err(format!("a unit is missing, such as in `{text}s` or `{text}ms`"));
    }
    let read = humantime::parse_duration(text.trim()).map_err(explain)?;
    if read > MAX_DURATION { Err("it is longer than ten years".into()) } else { Ok(read) }
}

/// A duration as the contract writes it.
pub(crate) fn show(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Reads a size such as `64KiB`; a bare number is bytes.
///
/// # Errors
/// Why it is none, in a few words.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        unit => return Err(unit_help(unit)),
    };
    let Ok(number) = number.parse::<u64>() else {
        return Err(if number.is_empty() {
            "a number is missing".into()
        } else {
            "the number is too large".into()
        });
    };
    match number.checked_mul(1 << shift) {
        Some(bytes) if i64::try_from(bytes).is_ok() => Ok(bytes),
        _ => Err("the number is too large".into()),
    }
}

fn unit_help(unit: &str) -> String {
    let units = "the units are B, KiB, MiB, GiB and TiB (each 1024 of the one before)";
    match unit.chars().next() {
        Some('.') => "a size is a whole number with a unit, such as `64KiB`".into(),
        _ => format!("`{}` is not a unit; {units}", super::text::shown(unit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ms = Duration::from_millis;
        let good = [
            ("250ms", 250),
            ("5s", 5_000),
            ("1m 30s", 90_000),
            ("1.5s", 1_500),
            ("2h", 7_200_000),
            ("0s", 0),
            ("1w", 604_800_000),
        ];
        for (text, expected) in good {
            assert_eq!(duration(text), Ok(ms(expected)), "{text}");
        }
        let bad = [
            "",
            " ",
            "5",
            "0",
            "s",
            "-1s",
            "5 x",
            "1month",
            "1M",
            "1y",
            "11years",
            "99999999999999999999s",
            "0.1ns",
            "5s!",
            "٣s",
            "3651d",
        ];
        for text in bad {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(duration("10").unwrap_err().contains("`10s`"));
        assert_eq!(show(ms(90_000)), "1m 30s");
    }

    #[test]
    fn sizes() {
        for (text, expected) in
            [("64KiB", 65_536), ("10MiB", 10_485_760), ("7", 7), ("7B", 7), ("1 GiB", 1 << 30)]
        {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        for text in ["", "KiB", "1.5MiB", "1KB", "1k", "-1", "99999999999999999999", "9000000TiB", "1 2"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
