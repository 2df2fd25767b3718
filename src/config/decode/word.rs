//! Keys that know a few words.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::leaf::{or_interpolated, signal};
use super::{Decoder, Run, Value};
use crate::config::code;
use crate::config::model::{Condition, OnFailure, Overflow, RestartPolicy, Stdin, Terminal, WatchAction};
use crate::config::report::Mistake;
use crate::config::text::{Core, shown};
use crate::config::tree::{NodeId, Shape};
use crate::types::Signal;

/// Declares the words of an enum.
macro_rules! words {
    ($type:ident { $($word:literal => $variant:ident,)+ }) => {
        impl Value for $type {
            fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
                let words = [$($word),+];
                match decoder.choice(node, &words)? {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
            fn schema() -> Json {
                or_interpolated(json!({ "enum": [$($word),+] }))
            }
        }
    };
}

words! { RestartPolicy { "never" => Never, "on-failure" => OnFailure, "always" => Always, } }
words! { OnFailure { "continue" => Continue, "shutdown" => Shutdown, } }
words! { Condition { "started" => Started, "ready" => Ready, "completed" => Completed, } }
words! { Overflow { "block" => Block, "drop" => Drop, } }
words! { Terminal { "pipe" => Pipe, "pty" => Pty, } }

impl<'t> Decoder<'t> {
    /// One of a few words.
    fn choice(&mut self, node: NodeId, words: &[&'static str]) -> Option<&'static str> {
        let expected = format!("one of `{}`", words.join("`, `"));
        let text = self.text(node, &expected)?;
        let known = words.iter().find(|word| **word == text).copied();
        if known.is_none() {
            let help = self.suggester.did_you_mean(&text, words.iter().copied());
            let message = format!("expected {expected}, found `{}`", shown(&text));
            self.mistake(node, Mistake::new(code::CHOICE, message).maybe_help(help));
        }
        known
    }

    /// Whether a word stands there, for keys that also take other things.
    fn is_word(&mut self, node: NodeId, word: &str) -> bool {
        matches!(self.tree.shape(node), Shape::Scalar(..))
            && self.scalar(node, word).is_some_and(|scalar| scalar.text == word)
    }
}

/// The contract writes `"null"`; a null without quotes means the same.
impl Value for Stdin {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        if decoder.scalar(node, "`null` or `open`")?.core == Core::Null {
            return Some(Self::Null);
        }
        match decoder.choice(node, &["null", "open"])? {
            "open" => Some(Self::Open),
            _ => Some(Self::Null),
        }
    }
    fn schema() -> Json {
        or_interpolated(json!({ "enum": ["null", "open", null] }))
    }
}

/// `state.max_age`: a duration, or `never`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MaxAge(pub(crate) Option<Duration>);

impl Value for MaxAge {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        if decoder.is_word(node, "never") {
            return Some(Self(None));
        }
        decoder.duration(node, "a duration or `never`", 0).map(|age| Self(Some(age)))
    }
    fn schema() -> Json {
        json!({ "anyOf": [{ "const": "never" }, { "$ref": "#/$defs/duration" }] })
    }
}

/// `watch.poll`: `auto`, or a duration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PollForm(pub(crate) Option<Duration>);

impl Value for PollForm {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        if decoder.is_word(node, "auto") {
            return Some(Self(None));
        }
        decoder.duration(node, "a duration or `auto`", 1).map(|every| Self(Some(every)))
    }
    fn schema() -> Json {
        json!({ "anyOf": [{ "const": "auto" }, { "$ref": "#/$defs/duration" }] })
    }
}

/// `watch.action`.
#[derive(Debug, Clone)]
pub(crate) struct Action(pub(crate) WatchAction);

impl Value for Action {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        let expected = "`restart`, `none`, a signal's name or `{run: …}`";
        match decoder.tree.shape(node) {
            Shape::Map => {
                let Run { run } = Run::decode(decoder, node)?;
                let Some(run) = run else {
                    if !decoder.has_key(node, &["run"]) {
                        decoder.mistake(node, Mistake::new(code::MISSING_KEY, "`run` is missing"));
                    }
                    return None;
                };
                Some(Self(WatchAction::Run(run.value.0)))
            }
            Shape::Scalar(..) => Self::named(decoder, node, expected),
            _ => decoder.wrong_type(node, expected),
        }
    }
    fn schema() -> Json {
        let mut run = Run::schema();
        run["required"] = json!(["run"]);
        json!({ "anyOf": [{ "enum": ["restart", "none"] }, { "$ref": "#/$defs/signal" }, run] })
    }
}

impl Action {
    fn named(decoder: &mut Decoder<'_>, node: NodeId, expected: &str) -> Option<Self> {
        let text = decoder.text(node, expected)?;
        let action = match &*text {
            "restart" => WatchAction::Restart,
            "none" => WatchAction::None,
            name => match signal(name) {
                Some(signal) => WatchAction::Signal(signal),
                None => {
                    let signals: Vec<String> = Signal::names().collect();
                    let words = ["restart", "none"].into_iter().chain(signals.iter().map(String::as_str));
                    let help = decoder.suggester.did_you_mean(name, words);
                    let message = format!("expected {expected}, found `{}`", shown(name));
                    decoder.mistake(node, Mistake::new(code::CHOICE, message).maybe_help(help));
                    return None;
                }
            },
        };
        Some(Self(action))
    }
}
