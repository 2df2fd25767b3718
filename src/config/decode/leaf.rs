//! Values without parts: texts, numbers, durations, sizes, signals, patterns.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{At, Decoder, Value};
use crate::config::code::{self, Code};
use crate::config::report::Mistake;
use crate::config::text::{Core, shown};
use crate::config::tree::{NodeId, Shape};
use crate::config::unit;
use crate::types::Signal;

/// The schema of a value that may also be a text with variables in it.
pub(crate) fn or_interpolated(schema: Json) -> Json {
    json!({ "anyOf": [schema, { "$ref": "#/$defs/interpolated" }] })
}

impl Decoder<'_> {
    /// A text that `read` can make something of.
    pub(crate) fn parsed<T>(
        &mut self,
        node: NodeId,
        expected: &str,
        code: Code,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(node, expected)?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(why) => {
                let message = format!("`{}` is not {expected}: {why}", shown(&text));
                self.mistake(node, Mistake::new(code, message));
                None
            }
        }
    }
}

/// A text, not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

impl Value for Text {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        Some(Self(decoder.text(node, "a text")?.into_owned()))
    }
    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

/// A path, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathText(pub(crate) String);

impl Value for PathText {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        let text = decoder.text(node, "a path")?;
        if text.is_empty() {
            decoder.mistake(node, Mistake::new(code::TEXT, "a path is not empty"));
            return None;
        }
        Some(Self(text.into_owned()))
    }
    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

impl Value for bool {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        match decoder.scalar(node, "`true` or `false`")?.core {
            Core::Bool(value) => Some(value),
            _ => decoder.wrong_type(node, "`true` or `false`"),
        }
    }
    fn schema() -> Json {
        or_interpolated(json!({ "type": "boolean" }))
    }
}

/// A key that is `true` or not written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct True;

impl Value for True {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        match decoder.scalar(node, "`true`")?.core {
            Core::Bool(true) => Some(Self),
            _ => decoder.wrong_type(node, "`true`"),
        }
    }
    fn schema() -> Json {
        or_interpolated(json!({ "const": true }))
    }
}

/// A whole number in a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Int<const MIN: u32, const MAX: u32>(pub(crate) u32);

impl<const MIN: u32, const MAX: u32> Value for Int<MIN, MAX> {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        let Core::Int(value) = decoder.scalar(node, "a whole number")?.core else {
            return decoder.wrong_type(node, "a whole number");
        };
        match u32::try_from(value) {
            Ok(value) if (MIN..=MAX).contains(&value) => Some(Self(value)),
            _ => {
                let message = format!("{value} is out of range: from {MIN} to {MAX}");
                decoder.mistake(node, Mistake::new(code::RANGE, message));
                None
            }
        }
    }
    fn schema() -> Json {
        or_interpolated(json!({ "type": "integer", "minimum": MIN, "maximum": MAX }))
    }
}

/// A number in a range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Real<const MIN: u32, const MAX: u32>(pub(crate) f64);

impl<const MIN: u32, const MAX: u32> Value for Real<MIN, MAX> {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        let scalar = decoder.scalar(node, "a number")?;
        let value = match scalar.core {
            Core::Int(_) | Core::Float(_) => scalar.text.parse::<f64>().unwrap_or(f64::NAN),
            _ => return decoder.wrong_type(node, "a number"),
        };
        if (f64::from(MIN)..=f64::from(MAX)).contains(&value) {
            return Some(Self(value));
        }
        let message = format!("{} is out of range: from {MIN} to {MAX}", shown(&scalar.text));
        decoder.mistake(node, Mistake::new(code::RANGE, message));
        None
    }
    fn schema() -> Json {
        or_interpolated(json!({ "type": "number", "minimum": MIN, "maximum": MAX }))
    }
}

/// `version`, which is 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Version;

impl Value for Version {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        match decoder.scalar(node, "the number `1`")?.core {
            Core::Int(1) => Some(Self),
            Core::Int(other) => {
                let message = format!("version {other} is not known to this orch");
                decoder.mistake(node, Mistake::new(code::VERSION, message).help("write `version: 1`"));
                None
            }
            _ => decoder.wrong_type(node, "the number `1`"),
        }
    }
    fn schema() -> Json {
        or_interpolated(json!({ "const": 1 }))
    }
}

/// A duration of at least so many milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span<const MIN_MS: u64>(pub(crate) Duration);

impl<const MIN_MS: u64> Value for Span<MIN_MS> {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        decoder.duration(node, "a duration", MIN_MS).map(Self)
    }
    fn schema() -> Json {
        json!({ "$ref": "#/$defs/duration" })
    }
}

impl Decoder<'_> {
    /// A duration of at least so many milliseconds.
    pub(crate) fn duration(&mut self, node: NodeId, expected: &str, min_ms: u64) -> Option<Duration> {
        if let Shape::Scalar(..) = self.tree.shape(node)
            && let scalar = self.scalar(node, expected)?
            && let Core::Int(_) | Core::Float(_) = scalar.core
        {
            let message = format!(
                "expected {expected}, found the number `{0}`: a unit is missing",
                shown(&scalar.text)
            );
            let help = format!("did you mean `{}s`?", shown(&scalar.text));
            self.mistake(node, Mistake::new(code::DURATION, message).help(help));
            return None;
        }
        let min = Duration::from_millis(min_ms);
        self.parsed(node, expected, code::DURATION, |text| match unit::duration(text)? {
            read if read < min => Err(format!("it is shorter than {}", unit::show(min))),
            read => Ok(read),
        })
    }
}

/// A size in bytes, at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl Value for Size {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        let scalar = decoder.scalar(node, "a size")?;
        if !matches!(scalar.core, Core::Int(_) | Core::Text) {
            return decoder.wrong_type(node, "a size");
        }
        let read = unit::size(&scalar.text).and_then(|bytes| match bytes {
            0 => Err("it is nothing".into()),
            bytes => Ok(bytes),
        });
        match read {
            Ok(bytes) => Some(Self(bytes)),
            Err(why) => {
                let message = format!("`{}` is not a size: {why}", shown(&scalar.text));
                decoder.mistake(node, Mistake::new(code::SIZE, message));
                None
            }
        }
    }
    fn schema() -> Json {
        json!({ "$ref": "#/$defs/size" })
    }
}

impl Value for Signal {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        let text = decoder.text(node, "a signal's name")?;
        if let Some(signal) = signal(&text) {
            return Some(signal);
        }
        let names: Vec<String> = Self::names().collect();
        let full = if text.to_ascii_uppercase().starts_with("SIG") {
            text.to_string()
        } else {
            format!("SIG{text}")
        };
        let help = decoder.suggester.did_you_mean(&full, names.iter().map(String::as_str));
        let message = format!("there is no signal `{}`", shown(&text));
        decoder.mistake(node, Mistake::new(code::SIGNAL, message).maybe_help(help));
        None
    }
    fn schema() -> Json {
        json!({ "$ref": "#/$defs/signal" })
    }
}

/// The signal of that name; real-time ones are `SIGRTMIN+n`.
pub(crate) fn signal(name: &str) -> Option<Signal> {
    let real_time = || {
        let number = name.strip_prefix("SIG").unwrap_or(name).strip_prefix("RTMIN+")?;
        let number = number.parse::<u8>().ok()?;
        Signal::from_number(34 + i32::from(number))
    };
    Signal::from_name(name).or_else(real_time)
}

/// A regular expression that is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(pub(crate) String);

impl Value for Pattern {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        let mut patterns = std::mem::take(&mut decoder.patterns);
        let check = |text: &str| patterns.check(text).map(|()| Self(text.into()));
        let pattern = decoder.parsed(node, "a regular expression", code::PATTERN, check);
        decoder.patterns = patterns;
        pattern
    }
    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

/// The patterns that were looked at, each once: to compile a large one takes tens of milliseconds, and a small text
/// may be a large one.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    known: BTreeMap<String, Result<(), String>>,
    /// How many of them were large.
    large: usize,
}

/// A pattern that compiles to less is not large. Bytes.
const SMALL_PATTERN: usize = 1 << 16;
/// And to more than that it may not. Bytes.
const LARGEST_PATTERN: usize = 1 << 20;
/// So many large ones a file may have.
const LARGE_PATTERNS: usize = 64;

impl Patterns {
    fn check(&mut self, text: &str) -> Result<(), String> {
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        let verdict = match compiled(text, SMALL_PATTERN) {
            Err(regex::Error::CompiledTooBig(_)) if self.large == LARGE_PATTERNS => {
                Err(format!("it is large, as are {LARGE_PATTERNS} others of the file"))
            }
            Err(regex::Error::CompiledTooBig(_)) => {
                self.large += 1;
                compiled(text, LARGEST_PATTERN)
                    .map_err(|error| if_too_big(&error).unwrap_or_else(|| last_line(&error.to_string())))
            }
            small => small.map_err(|error| last_line(&error.to_string())),
        };
        self.known.insert(text.to_owned(), verdict.clone());
        verdict
    }
}

fn compiled(text: &str, limit: usize) -> Result<(), regex::Error> {
    regex::RegexBuilder::new(text).size_limit(limit).build().map(drop)
}

fn if_too_big(error: &regex::Error) -> Option<String> {
    matches!(error, regex::Error::CompiledTooBig(_)).then(|| "it is too large".into())
}

/// The regex crate draws a picture; its last line says what is wrong.
fn last_line(error: &str) -> String {
    let line = error.lines().last().unwrap_or(error);
    line.strip_prefix("error: ").unwrap_or(line).into()
}

/// A list whose items may be wrong one by one.
#[derive(Debug, Clone)]
pub(crate) struct List<T>(pub(crate) Vec<At<T>>);

impl<T: Value> Value for List<T> {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        decoder.list(node, "a list").map(Self)
    }
    fn schema() -> Json {
        json!({ "type": "array", "items": T::schema() })
    }
}

/// Any value, for somebody else to read.
#[derive(Debug, Clone)]
pub(crate) struct Anything(pub(crate) serde_yaml::Value);

impl Value for Anything {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        decoder.anything(node).map(Self)
    }
    fn schema() -> Json {
        json!({})
    }
}

impl<'t> Decoder<'t> {
    /// Any value, its variables put in. Nesting is limited, so this recursion is.
    fn anything(&mut self, node: NodeId) -> Option<serde_yaml::Value> {
        match self.tree.shape(node) {
            Shape::Scalar(..) => self.any_scalar(node),
            Shape::List => {
                let items: Vec<At<Anything>> = self.list(node, "a list")?;
                Some(serde_yaml::Value::Sequence(items.into_iter().map(|item| item.value.0).collect()))
            }
            Shape::Map => {
                let mut map = serde_yaml::Mapping::new();
                for (text, _, value) in self.entries(node, "a map")? {
                    if let Some(value) =
                        self.within(super::Step::Key(text), |decoder| decoder.anything(value))
                    {
                        map.insert(text.into(), value);
                    }
                }
                Some(serde_yaml::Value::Mapping(map))
            }
            Shape::Broken => None,
        }
    }

    fn any_scalar(&mut self, node: NodeId) -> Option<serde_yaml::Value> {
        if !self.spend(node, super::COPY_OF_ANYTHING) {
            return None;
        }
        let scalar = self.scalar(node, "a value")?;
        Some(match scalar.core {
            Core::Null => serde_yaml::Value::Null,
            Core::Bool(value) => value.into(),
            Core::Int(value) => match (i64::try_from(value), u64::try_from(value)) {
                (Ok(value), _) => value.into(),
                (_, Ok(value)) => value.into(),
                _ => scalar.text.parse::<f64>().unwrap_or(f64::INFINITY).into(),
            },
            Core::Float(value) => value.into(),
            Core::Text => scalar.text.into_owned().into(),
        })
    }
}

/// `components`, read one by one later.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Components(pub(crate) NodeId);

impl Value for Components {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        if decoder.tree.shape(node) == Shape::Map {
            return Some(Self(node));
        }
        decoder.wrong_type(node, "a map of components")
    }
    fn schema() -> Json {
        json!({ "$ref": "#/$defs/components" })
    }
}
