//! One declaration per key: from it come the decoder, the schema and the docs string.

use serde_json::{Value as Json, json};

use super::{Decoder, Value};
use crate::config::code;
use crate::config::report::Mistake;
use crate::config::text::{Core, shown};
use crate::config::tree::{NodeId, Shape};

/// Keys of other tools, and what to do instead.
const REFUSED: &[&str] = &["include", "extends", "replicas", "schedule", "user", "limits"];

/// Declares the keys of one map. Each key has its docs, its name, its type, and its default if it has one;
/// the struct that comes out holds what was written.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident {
            $( $(#[doc = $doc:literal])+ $key:ident: $type:ty $(= $default:tt)?, )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Default)]
        pub(crate) struct $name {
            $( $(#[doc = $doc])+ pub(crate) $key: Option<$crate::config::decode::At<$type>>, )+
        }

        impl $crate::config::decode::Value for $name {
            fn decode(
                decoder: &mut $crate::config::decode::Decoder<'_>,
                node: $crate::config::tree::NodeId,
            ) -> Option<Self> {
                let mut section = Self::default();
                for (text, key, node) in decoder.entries(node, "a map")? {
                    let step = $crate::config::decode::Step::Key(text);
                    match text {
                        $( stringify!($key) => section.$key = decoder.within(step, |decoder| {
                            let value = <$type as $crate::config::decode::Value>::decode(decoder, node)?;
                            Some($crate::config::decode::At { value, node })
                        }), )+
                        _ => decoder.within(step, |decoder| {
                            decoder.unknown_key(key, text, &[$(stringify!($key)),+]);
                        }),
                    }
                }
                Some(section)
            }

            fn schema() -> serde_json::Value {
                let mut properties = serde_json::Map::new();
                $(
                    let docs = [$($doc),+];
                    let default: &[serde_json::Value] = &[$(serde_json::json!($default))?];
                    let schema = <$type as $crate::config::decode::Value>::schema();
                    let key = $crate::config::decode::Section::<()>::key(schema, &docs, default);
                    properties.insert(stringify!($key).into(), key);
                )+
                serde_json::json!({
                    "type": "object",
                    "properties": properties,
                    "additionalProperties": false,
                })
            }

            fn over(self, below: &Self) -> Self {
                Self { $( $key: $crate::config::decode::At::over(self.$key, below.$key.as_ref()), )+ }
            }
        }
    };
}
pub(crate) use section;

/// A section that can be switched off by `false`.
#[derive(Debug, Clone)]
pub(crate) enum Section<T> {
    /// `false`.
    Off,
    /// Its keys.
    On(T),
}

/// What a section may be written as, beside the map of its keys.
pub(crate) trait Short: Value {
    /// What is expected, in words.
    const EXPECTED: &'static str = "a map";
    /// Keys that the map must have, for the schema.
    const REQUIRED: &'static [&'static str] = &[];

    /// Reads a short form; `None` if it is not written in one.
    fn short(_decoder: &mut Decoder<'_>, _node: NodeId) -> Option<Option<Self>> {
        None
    }
    /// The schemas of the short forms.
    fn short_schemas() -> Vec<Json> {
        Vec::new()
    }
}

impl<T: Short> Value for Section<T> {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        if let Shape::Scalar(..) = decoder.tree.shape(node)
            && decoder.scalar(node, T::EXPECTED)?.core == Core::Bool(false)
        {
            return Some(Self::Off);
        }
        if let Some(short) = T::short(decoder, node) {
            return short.map(Self::On);
        }
        if decoder.tree.shape(node) != Shape::Map {
            return decoder.wrong_type(node, T::EXPECTED);
        }
        T::decode(decoder, node).map(Self::On)
    }

    fn schema() -> Json {
        let mut map = T::schema();
        if !T::REQUIRED.is_empty() {
            map["required"] = json!(T::REQUIRED);
        }
        let mut forms = vec![map];
        forms.extend(T::short_schemas());
        forms.push(json!({ "const": false }));
        forms.push(json!({ "$ref": "#/$defs/interpolated" }));
        json!({ "anyOf": forms })
    }

    fn over(self, below: &Self) -> Self {
        match (self, below) {
            (Self::On(own), Self::On(below)) => Self::On(own.over(below)),
            (own, _) => own,
        }
    }
}

impl<T> super::At<T>
where
    T: Value,
{
    /// What is written here, over what is written below.
    pub(crate) fn over(own: Option<Self>, below: Option<&Self>) -> Option<Self> {
        match (own, below) {
            (Some(own), Some(below)) => Some(Self { value: own.value.over(&below.value), node: own.node }),
            (own, below) => own.or_else(|| below.cloned()),
        }
    }
}

impl Section<()> {
    /// The schema of a key: its value's, with docs and default.
    pub(crate) fn key(mut schema: Json, docs: &[&str], default: &[Json]) -> Json {
        let description = docs.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        schema["description"] = description.into();
        if let [default] = default {
            schema["default"] = default.clone();
        }
        schema
    }
}

impl Decoder<'_> {
    /// Whether one of these keys is written, or one that was meant to be it and is reported as unknown.
    pub(crate) fn has_key_like(&mut self, map: NodeId, keys: &[&str]) -> bool {
        let entries = self.entries(map, "a map").unwrap_or_default();
        entries.iter().any(|(text, ..)| self.suggester.nearest(text, keys.iter().copied()).is_some())
    }

    pub(crate) fn unknown_key(&mut self, key: NodeId, text: &str, known: &[&str]) {
        let at_top = known.contains(&"version");
        if at_top && text.starts_with("x-") {
            return;
        }
        if REFUSED.contains(&text) {
            let mistake = Mistake::new(code::NOT_IN_VERSION_1, format!("`{text}` is not in version 1"));
            return self.mistake(key, mistake.help("delete the key"));
        }
        let help = self.suggester.did_you_mean(text, known.iter().copied());
        let help = help.unwrap_or_else(|| format!("the keys here are {}", known.join(", ")));
        let mistake = Mistake::new(code::UNKNOWN_KEY, format!("unknown key `{}`", shown(text))).help(help);
        self.mistake(key, mistake);
    }
}
