//! What components write.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One object of a stream of logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LogEntry {
    /// A line.
    Line(LogLine),
    /// Something in the place of lines.
    Note(LogNote),
    /// With `exact`: where following begins.
    Marks(LogMarks),
    /// The end, before its time.
    Error(StreamError),
}

/// A line that a component wrote, or a piece of 64 KiB of a longer one: `orch logs --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// Whose.
    pub component: String,
    /// When it came, give or take 10 ms; null where that is not known.
    pub time: Option<String>,
    /// The line without its end; what is not UTF-8 is U+FFFD.
    pub line: String,
    /// false: the line does not end here. It goes on in the component's next one, or has no end so far. Left out
    /// otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<bool>,
    /// With `exact`: the bytes, each as the character of its number, where they are not UTF-8. Left out otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    /// With `exact`: the place in the log behind it. Left out otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// Something to be told in the place of lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogNote {
    /// Whose log it is about.
    pub component: String,
    /// What.
    pub note: String,
}

/// Where the following of some logs begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogMarks {
    /// Each of them.
    pub marks: Vec<LogMark>,
}

/// Where the following of a log begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogMark {
    /// Whose log.
    pub component: String,
    /// The file that is written; those that were rotated away lie beside it.
    pub path: String,
    /// The place; null: there is no such file yet, and it begins with its first line.
    pub at: Option<String>,
    /// true: it is written as to a terminal, so a line may hold what draws over it, or over others. Left out otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drawn: bool,
}

/// Why a stream ends before its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamError {
    /// Why.
    pub error: String,
}

impl LogLine {
    /// The line's bytes as they were, as far as they were told.
    #[must_use]
    pub fn exact(&self) -> Vec<u8> {
        match &self.bytes {
            Some(bytes) => bytes.chars().map(|character| character as u8).collect(),
            None => self.line.as_bytes().to_vec(),
        }
    }

    /// The line of these bytes; `exact`: so that [`LogLine::exact`] gives them back.
    #[must_use]
    pub fn of(component: &str, time: Option<String>, bytes: &[u8], ends: bool, exact: bool) -> Self {
        let line = String::from_utf8_lossy(bytes);
        let is_lossy = matches!(line, std::borrow::Cow::Owned(_));
        let bytes = (exact && is_lossy).then(|| bytes.iter().map(|byte| char::from(*byte)).collect());
        let (component, line) = (component.to_owned(), line.into_owned());
        Self { component, time, line, ends: (!ends).then_some(false), bytes, at: None }
    }
}
