//! `depends_on`: a list of names, or a map of conditions.

use serde_json::{Value as Json, json};

use super::{At, Decoder, Step, Value, section};
use crate::config::model::Condition;
use crate::config::tree::{NodeId, Shape};

/// One entry of `depends_on`.
#[derive(Debug, Clone)]
pub(crate) struct Depends {
    /// On whom, as written; `None` if that was wrong.
    pub(crate) name: Option<String>,
    /// Where the name stands.
    pub(crate) node: NodeId,
    pub(crate) condition: Condition,
    pub(crate) restart: bool,
}

/// `depends_on`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dependencies {
    pub(crate) entries: Vec<Depends>,
    /// Whether it is written as a list.
    pub(crate) listed: bool,
}

section! {
    /// A dependency as a map.
    DependencyKeys {
        /// What must hold before the start.
        condition: Condition = "ready",
        /// Whether the component is restarted whenever the dependency is.
        restart: bool = false,
    }
}

impl Value for Dependencies {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        let expected = "a list of names, or a map of names to conditions";
        match decoder.tree.shape(node) {
            Shape::List => Self::list(decoder, node),
            Shape::Map => Self::map(decoder, node),
            _ => decoder.wrong_type(node, expected),
        }
    }

    fn schema() -> Json {
        let mut condition = DependencyKeys::schema();
        condition["description"] =
            "A condition, and whether a restart of the dependency is one of the component.".into();
        json!({ "anyOf": [
            { "type": "array", "items": { "type": "string" } },
            { "type": "object", "additionalProperties": { "anyOf": [Condition::schema(), condition] } },
        ] })
    }
}

impl Dependencies {
    fn list(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        let tree = decoder.tree;
        let mut entries = Vec::new();
        for (index, node) in tree.items(node).enumerate() {
            if !decoder.spend(node, 1) {
                return None;
            }
            let name = decoder.within(Step::Index(index), |decoder| decoder.text(node, "a component's name"));
            // An item that is wrong keeps its index, so that the others keep theirs.
            let name = name.map(std::borrow::Cow::into_owned);
            entries.push(Depends { name, node, condition: Condition::Ready, restart: false });
        }
        Some(Self { entries, listed: true })
    }

    fn map(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        let mut entries = Vec::new();
        for (name, key, value) in decoder.entries(node, "a map")? {
            let (condition, restart) = decoder
                .within(Step::Key(name), |decoder| Self::condition(decoder, value))
                .unwrap_or_default();
            entries.push(Depends { name: Some(name.into()), node: key, condition, restart });
        }
        Some(Self { entries, listed: false })
    }

    fn condition(decoder: &mut Decoder<'_>, node: NodeId) -> Option<(Condition, bool)> {
        if decoder.tree.shape(node) != Shape::Map {
            return Condition::decode(decoder, node).map(|condition| (condition, false));
        }
        let DependencyKeys { condition, restart } = DependencyKeys::decode(decoder, node)?;
        let value = |restart: At<bool>| restart.value;
        Some((condition.map(|condition| condition.value).unwrap_or_default(), restart.is_some_and(value)))
    }
}
