//! `env` and `env_file`.

use std::sync::Arc;

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
pub(crate) struct EnvMap {
    /// What stands in the map itself; wins.
    pub(crate) own: EnvOverlay,
    /// What it takes from elsewhere by aliases and merges, shared by all that take the same.
    pub(crate) taken: Arc<EnvOverlay>,
}

impl Value for EnvMap {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        if decoder.tree.shape(node) != Shape::Map {
            return decoder.wrong_type(node, "a map of names to values");
        }
        if let Some(shared) = decoder.tree.shared(node) {
            return Some(Self { own: EnvOverlay::new(), taken: Self::taken(decoder, vec![shared])? });
        }
        let mut merges = Vec::new();
        let own = decoder.own_entries(node, &mut merges);
        decoder.spend(node, own.len()).then_some(())?;
        let own = Self::read(decoder, own);
        Some(Self { own, taken: Self::taken(decoder, merges)? })
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
    /// What these maps say together, the first one first; read once, however often it is asked for.
    fn taken(decoder: &mut Decoder<'_>, merges: Vec<NodeId>) -> Option<Arc<EnvOverlay>> {
        if merges.is_empty() {
            return Some(Arc::default());
        }
        let tree = decoder.tree;
        let maps: Vec<NodeId> = match merges[..] {
            // A list of maps is known by them.
            [list] if tree.items(list).all(|item| tree.shape(item) != Shape::List) => {
                if tree.shape(list) == Shape::List { tree.items(list).collect() } else { merges }
            }
            _ => merges,
        };
        let maps: Vec<NodeId> = maps.into_iter().map(|map| tree.shared(map).unwrap_or(map)).collect();
        if !decoder.spend(*maps.first()?, maps.len()) {
            return None;
        }
        if let Some(known) = decoder.shared_env.get(&maps) {
            return Some(Arc::clone(known));
        }
        let entries = decoder.merged(&maps)?;
        let overlay = Arc::new(Self::read(decoder, entries));
        decoder.shared_env.insert(maps, Arc::clone(&overlay));
        Some(overlay)
    }

    fn read<'t>(decoder: &mut Decoder<'t>, entries: Vec<(&'t str, NodeId, NodeId)>) -> EnvOverlay {
        let mut env = EnvOverlay::new();
        for (name, key, value) in entries {
            decoder.within(Step::Key(name), |decoder| {
                if name.is_empty() || name.contains(['=', '\0']) {
                    let message = format!("`{}` can't be the name of a variable", shown(name));
                    decoder.mistake(key, Mistake::new(code::ENV_NAME, message));
                } else if let Some(value) = Self::value(decoder, value) {
                    env.insert(name.into(), value);
                }
            });
        }
        env
    }

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
    EnvFileKeys {
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

/// `env_file`: a list, or one file in either of its forms.
#[derive(Debug, Clone, Default)]
pub(crate) struct EnvFiles(pub(crate) Vec<At<EnvFile>>);

impl Value for EnvFiles {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        if decoder.tree.shape(node) == Shape::List {
            return decoder.list(node, "a list of files").map(Self);
        }
        EnvFile::decode(decoder, node).map(|value| Self(vec![At { value, node }]))
    }

    fn schema() -> Json {
        let mut forms = EnvFile::schema();
        if let Some(forms) = forms["anyOf"].as_array_mut() {
            forms.push(json!({ "type": "array", "items": EnvFile::schema() }));
        }
        forms
    }
}
