//! `env` and `env_file`.

use serde_json::{Value as Json, json};

use super::leaf::PathText;
use super::{At, Decoder, Step, Value, section};
use crate::config::code;
use crate::config::model::EnvOverlay;
use crate::config::report::Mistake;
use crate::config::text::{Core, shown};
use crate::config::tree::{NodeId, Shape};

/// `env`.
#[derive(Debug, Clone, Default)]
pub(crate) struct EnvMap(pub(crate) EnvOverlay);

impl Value for EnvMap {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        let mut env = EnvOverlay::new();
        for (name, key, value) in decoder.entries(node, "a map of names to values")? {
            decoder.within(Step::Key(name), |decoder| {
                if name.is_empty() || name.contains(['=', '\0']) {
                    let message = format!("`{}` can't be the name of a variable", shown(name));
                    decoder.mistake(key, Mistake::new(code::ENV_NAME, message));
                } else if let Some(value) = Self::value(decoder, value) {
                    env.insert(name.into(), value);
                }
            });
        }
        Some(Self(env))
    }

    fn schema() -> Json {
        json!({
            "type": "object",
            "propertyNames": { "pattern": "^[^=]+$" },
            "additionalProperties": { "type": ["string", "number", "boolean", "null"] },
        })
    }
}

impl EnvMap {
    /// Any scalar as it is written (`1.10` stays `1.10`); `None` takes the name away.
    #[expect(clippy::option_option, reason = "the outer one tells what is wrong, the inner one what is null")]
    fn value(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Option<String>> {
        let scalar = decoder.scalar(node, "a text, a number, `true`, `false` or `null`")?;
        if scalar.core == Core::Null {
            return Some(None);
        }
        decoder.no_nul(node, scalar.text).map(|text| Some(text.into_owned()))
    }
}

section! {
    /// An env file as a map.
    EnvFileKeys as "env_file" {
        /// The file.
        path: PathText,
        /// Whether it is an error if the file is missing.
        required: bool = true,
    }
}

/// One of `env_file`.
#[derive(Debug, Clone)]
pub(crate) struct EnvFile {
    pub(crate) path: String,
    pub(crate) required: bool,
}

impl Value for EnvFile {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        if decoder.tree.shape(node) != Shape::Map {
            return PathText::decode(decoder, node).map(|path| Self { path: path.0, required: true });
        }
        let EnvFileKeys { path, required } = EnvFileKeys::decode(decoder, node)?;
        let Some(path) = path else {
            if !decoder.has_key(node, &["path"]) {
                decoder.mistake(node, Mistake::new(code::MISSING_KEY, "`path` is missing"));
            }
            return None;
        };
        Some(Self { path: path.value.0, required: required.is_none_or(|required| required.value) })
    }

    fn schema() -> Json {
        let mut keys = EnvFileKeys::schema();
        keys["required"] = json!(["path"]);
        json!({ "anyOf": [PathText::schema(), keys] })
    }
}

/// `env_file`: a list, or one file.
#[derive(Debug, Clone, Default)]
pub(crate) struct EnvFiles(pub(crate) Vec<At<EnvFile>>);

impl Value for EnvFiles {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        if decoder.tree.shape(node) == Shape::List {
            return decoder.list(node, "a list of files").map(Self);
        }
        if let Shape::Map = decoder.tree.shape(node) {
            return decoder.wrong_type(node, "a list of files");
        }
        EnvFile::decode(decoder, node).map(|value| Self(vec![At { value, node }]))
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "type": "string", "minLength": 1 }, { "type": "array", "items": EnvFile::schema() }] })
    }
}
