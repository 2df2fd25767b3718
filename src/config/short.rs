//! The short forms of sections.

use serde_json::{Value as Json, json};

use super::decode::{At, Decoder, Int, List, PathText, Short, Value};
use super::keys::{
    HealthKeys, LogsKeys, ReadyKeys, RestartKeys, SnapshotKeys, StateKeys, StopKeys, WatchKeys,
};
use super::model::RestartPolicy;
use super::text::Core;
use super::tree::{NodeId, Shape};

/// `restart: always` is short for `{policy: always}`.
impl Short for RestartKeys {
    const EXPECTED: &'static str = "a policy, or a map";

    fn short(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Option<Self>> {
        let Shape::Scalar(..) = decoder.tree.shape(node) else { return None };
        let policy = RestartPolicy::decode(decoder, node);
        Some(policy.map(|value| Self { policy: Some(At { value, node }), ..Self::default() }))
    }
    fn short_schemas() -> Vec<Json> {
        vec![RestartPolicy::schema()]
    }
}

/// A list of paths and globs is short for `{paths: …}`.
impl Short for WatchKeys {
    const EXPECTED: &'static str = "a list of paths and globs, or a map";

    fn short(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Option<Self>> {
        let Shape::List = decoder.tree.shape(node) else { return None };
        let paths = List::<PathText>::decode(decoder, node);
        Some(paths.map(|value| Self { paths: Some(At { value, node }), ..Self::default() }))
    }
    fn short_schemas() -> Vec<Json> {
        vec![List::<PathText>::schema()]
    }
}

/// A path is short for `{file: …}`; `true` takes every default.
impl Short for StateKeys {
    const EXPECTED: &'static str = "a path, `true`, or a map";

    fn short(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Option<Self>> {
        let Shape::Scalar(..) = decoder.tree.shape(node) else { return None };
        Some(match decoder.scalar(node, Self::EXPECTED)?.core {
            Core::Bool(true) => Some(Self::default()),
            Core::Text => PathText::decode(decoder, node)
                .map(|value| Self { file: Some(At { value, node }), ..Self::default() }),
            _ => decoder.wrong_type(node, Self::EXPECTED),
        })
    }
    fn short_schemas() -> Vec<Json> {
        vec![json!({ "const": true }), PathText::schema()]
    }
}

impl Short for ReadyKeys {}
impl Short for HealthKeys {}
impl Short for StopKeys {}
impl Short for SnapshotKeys {
    const REQUIRED: &'static [&'static str] = &["every"];
}
impl Short for LogsKeys {}

/// Exit codes as the model has them.
pub(crate) fn codes(list: &List<Int<0, 255>>) -> Vec<i32> {
    list.0.iter().filter_map(|code| i32::try_from(code.value.0).ok()).collect()
}
