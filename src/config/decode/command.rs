//! Commands: a text that is split into words, the words themselves, `{command: …}` and `{shell: …}`.

use serde_json::{Value as Json, json};

use super::leaf::{Span, Text};
use super::{At, Decoder, Step, Value, section};
use crate::config::code;
use crate::config::model::Command;
use crate::config::report::Mistake;
use crate::config::text::{Core, shown};
use crate::config::tree::{NodeId, Shape};
use crate::config::words;

const EXPECTED: &str = "a command: a text, a list of words, `{shell: …}` or `{command: …}`";

/// A command in any form.
#[derive(Debug, Clone)]
pub(crate) struct CommandForm(pub(crate) Command);

/// Words, in a text or in a list.
#[derive(Debug, Clone)]
pub(crate) struct Words(Vec<String>);

/// One word of a command.
#[derive(Debug, Clone)]
pub(crate) struct Word(pub(crate) String);

/// `build`: a command, and in its map form a time limit.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    pub(crate) command: CommandForm,
    pub(crate) timeout: Option<At<Span<1>>>,
}

section! {
    /// A command as a map.
    CommandKeys {
        /// A text that `/bin/sh -c` runs.
        shell: Text,
        /// The program and its arguments; no shell runs.
        command: Words,
    }
}

section! {
    /// `watch.action` as a map.
    Run {
        /// The command that a change runs.
        run: CommandForm,
    }
}

section! {
    /// `build` as a map.
    BuildKeys {
        /// A text that `/bin/sh -c` runs.
        shell: Text,
        /// The program and its arguments; no shell runs.
        command: Words,
        /// Past it, the build is killed and has failed.
        timeout: Span<1> = "10m",
    }
}

impl Value for Words {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        let words = match decoder.tree.shape(node) {
            Shape::List => list(decoder, node)?,
            _ => split(decoder, node)?,
        };
        let empty = words.first().is_none_or(String::is_empty);
        if empty {
            decoder
                .mistake(node, Mistake::new(code::COMMAND, "a command has at least the name of a program"));
        }
        (!empty).then_some(Self(words))
    }

    fn schema() -> Json {
        json!({ "$ref": "#/$defs/words" })
    }
}

impl Value for Word {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        decoder.word(node).map(Self)
    }

    fn schema() -> Json {
        json!({ "type": ["string", "number", "boolean"] })
    }
}

fn split(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Vec<String>> {
    let scalar = decoder.scalar(node, EXPECTED)?;
    // `true` and `false` are programs, and people write them without quotes.
    if !matches!(scalar.core, Core::Text | Core::Bool(_)) {
        return decoder.wrong_type(node, EXPECTED);
    }
    let text = decoder.no_nul(node, scalar.text)?;
    match words::split(&text) {
        Ok(words) => Some(words),
        Err(unbalanced) => {
            let rest = shown(&text[unbalanced.at..]).into_owned();
            let mistake = Mistake::new(code::COMMAND, format!("{} in `{rest}`", unbalanced.what));
            decoder.mistake(node, mistake.help("close it, or give the words as a list"));
            None
        }
    }
}

fn list(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Vec<String>> {
    let tree = decoder.tree;
    let mut words = Vec::new();
    let mut sound = true;
    for (index, item) in tree.items(node).enumerate() {
        let word = decoder.within(Step::Index(index), |decoder| decoder.word(item));
        sound &= word.is_some();
        words.extend(word);
    }
    sound.then_some(words)
}

impl Decoder<'_> {
    /// A word: any scalar as it is written, but not nothing.
    pub(crate) fn word(&mut self, node: NodeId) -> Option<String> {
        let scalar = self.scalar(node, "a word")?;
        if scalar.core == Core::Null {
            return self.wrong_type(node, "a word");
        }
        self.no_nul(node, scalar.text).map(std::borrow::Cow::into_owned)
    }

    fn one_command(
        &mut self,
        node: NodeId,
        shell: Option<At<Text>>,
        command: Option<At<Words>>,
    ) -> Option<CommandForm> {
        let mistake = match (shell, command) {
            (Some(shell), None) if shell.value.0.trim().is_empty() => {
                self.mistake(shell.node, Mistake::new(code::COMMAND, "the shell is given nothing to run"));
                return None;
            }
            (Some(shell), None) => return Some(CommandForm(Command::Shell(shell.value.0))),
            (None, Some(command)) => return Some(CommandForm(Command::Words(command.value.0))),
            (Some(_), Some(_)) => Mistake::new(code::EXCLUSIVE, "`shell` and `command` exclude each other"),
            (None, None) if self.has_key(node, &["shell", "command"]) => return None,
            (None, None) => Mistake::new(code::MISSING_KEY, "`shell` or `command` is missing"),
        };
        self.mistake(node, mistake);
        None
    }

    /// Whether one of these keys is written, right or wrong.
    pub(crate) fn has_key(&mut self, map: NodeId, keys: &[&str]) -> bool {
        self.entries(map, "a map").is_some_and(|entries| entries.iter().any(|(text, ..)| keys.contains(text)))
    }
}

impl Value for CommandForm {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        if decoder.tree.shape(node) == Shape::Map {
            let CommandKeys { shell, command } = CommandKeys::decode(decoder, node)?;
            return decoder.one_command(node, shell, command);
        }
        Words::decode(decoder, node).map(|words| Self(Command::Words(words.0)))
    }

    fn schema() -> Json {
        json!({ "$ref": "#/$defs/command" })
    }
}

/// The schema of a command in any form.
pub(crate) fn command_schema() -> Json {
    json!({ "anyOf": [Words::schema(), one_of(CommandKeys::schema(), &["shell", "command"])] })
}

/// Adds to a map's schema that exactly one of these keys is written.
pub(crate) fn one_of(mut schema: Json, keys: &[&str]) -> Json {
    schema["oneOf"] = keys.iter().map(|key| json!({ "required": [key] })).collect();
    schema
}

/// The schema of words.
pub(crate) fn words_schema() -> Json {
    let list = json!({ "type": "array", "minItems": 1, "items": Word::schema() });
    json!({ "anyOf": [{ "type": "string", "pattern": "\\S" }, { "type": "boolean" }, list] })
}

impl Value for Build {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        if decoder.tree.shape(node) == Shape::Map {
            let BuildKeys { shell, command, timeout } = BuildKeys::decode(decoder, node)?;
            return Some(Self { command: decoder.one_command(node, shell, command)?, timeout });
        }
        CommandForm::decode(decoder, node).map(|command| Self { command, timeout: None })
    }

    fn schema() -> Json {
        json!({ "anyOf": [Words::schema(), one_of(BuildKeys::schema(), &["shell", "command"])] })
    }
}

impl super::Short for Build {
    const EXPECTED: &'static str = EXPECTED;

    fn short(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Option<Self>> {
        (decoder.tree.shape(node) != Shape::Map).then(|| Self::decode(decoder, node))
    }
}

impl super::Short for CommandForm {
    const EXPECTED: &'static str = EXPECTED;

    fn short(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Option<Self>> {
        (decoder.tree.shape(node) != Shape::Map).then(|| Self::decode(decoder, node))
    }
}
