//! Small things about texts: core types, showing, suggesting.

use std::borrow::Cow;

use crate::types::nearest;

/// The YAML 1.2 core type of a scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Core {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// Everything else; `no` and `yes` among it.
    Text,
}

impl Core {
    /// The type of a plain scalar's text.
    pub(crate) fn of(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "true" | "True" | "TRUE" => Self::Bool(true),
            "false" | "False" | "FALSE" => Self::Bool(false),
            _ => Self::number(text).unwrap_or(Self::Text),
        }
    }

    fn number(text: &str) -> Option<Self> {
        let first = *text.as_bytes().first()?;
        if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
            return None;
        }
        let based = |digits: &str, base| {
            let valid = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            valid.then(|| i128::from_str_radix(digits, base).ok().map(Self::Int)).flatten()
        };
        if let Some(digits) = text.strip_prefix("0x") {
            return based(digits, 16);
        }
        if let Some(digits) = text.strip_prefix("0o") {
            return based(digits, 8);
        }
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        if !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Some(text.parse().map_or(Self::Float(f64::INFINITY), Self::Int));
        }
        match digits {
            ".inf" | ".Inf" | ".INF" => {
                let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
                return Some(Self::Float(sign * f64::INFINITY));
            }
            ".nan" | ".NaN" | ".NAN" if digits == text => return Some(Self::Float(f64::NAN)),
            _ => {}
        }
        let numeric = digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
        if !numeric { None } else { text.parse().ok().map(Self::Float) }
    }
}

/// A text of the file as messages show it: short, and without what could play tricks on a terminal.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    const LONGEST: usize = 80;
    let safe = |c: char| !c.is_control() && !is_direction(c);
    let short = text.len() <= LONGEST;
    if short && text.chars().all(safe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    for c in text.chars().take(LONGEST) {
        if safe(c) { out.push(c) } else { out.extend(c.escape_default()) }
    }
    if text.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    Cow::Owned(out)
}

/// Whether a character turns the direction of the text around it.
pub(crate) fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Finds what was meant, without ever taking long.
#[derive(Debug)]
pub(crate) struct Suggester {
    comparisons_left: usize,
}

impl Default for Suggester {
    fn default() -> Self {
        Self { comparisons_left: 300_000 }
    }
}

impl Suggester {
    /// The known text nearest to `written`, if it is near enough to be a slip.
    pub(crate) fn nearest<'a>(
        &mut self,
        written: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Option<&'a str> {
        let (mut known, mut compared) = (known.into_iter(), 0);
        let affordable = known.by_ref().take(self.comparisons_left).inspect(|_| compared += 1);
        let near = nearest(written, affordable);
        self.comparisons_left -= compared;
        // Where some were not looked at, one of those may be nearer.
        near.filter(|_| known.next().is_none())
    }

    /// `did you mean …?` for [`Suggester::nearest`].
    pub(crate) fn did_you_mean<'a>(
        &mut self,
        written: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Option<String> {
        self.nearest(written, known).map(|name| format!("did you mean `{name}`?"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_types_are_those_of_yaml_1_2() {
        for text in
            ["no", "yes", "on", "y", "0b1", "1_000", "1:30", "0x", "+-1", "nullx", "1.2.3", ".", "-", "e1"]
        {
            assert_eq!(Core::of(text), Core::Text, "{text}");
        }
        for text in ["", "~", "null"] {
            assert_eq!(Core::of(text), Core::Null);
        }
        for (text, value) in [("0", 0), ("-7", -7), ("+12", 12), ("0x1F", 31), ("0o17", 15), ("007", 7)] {
            assert_eq!(Core::of(text), Core::Int(value), "{text}");
        }
        for (text, value) in
            [("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("1.", 1.0), ("-.inf", f64::NEG_INFINITY)]
        {
            assert_eq!(Core::of(text), Core::Float(value), "{text}");
        }
        assert!(matches!(Core::of(".nan"), Core::Float(nan) if nan.is_nan()));
    }

    #[test]
    fn suggestions_are_near_and_bounded() {
        let mut suggester = Suggester::default();
        let keys = ["depends_on", "description", "watch"];
        assert_eq!(suggester.nearest("depend_on", keys), Some("depends_on"));
        assert_eq!(suggester.nearest("Watch", keys), Some("watch"));
        assert_eq!(suggester.nearest("volumes", keys), None);
        assert_eq!(suggester.nearest("b", ["a"]), None);
        suggester.comparisons_left = 2;
        assert_eq!(suggester.nearest("wacth", keys), None);
    }

    #[test]
    fn what_is_shown_is_short_and_harmless() {
        assert_eq!(shown("plain"), "plain");
        assert_eq!(shown("a\u{1b}[31m\n"), "a\\u{1b}[31m\\n");
        assert_eq!(shown(&"x".repeat(1000)).chars().count(), 81);
    }
}
