//! What a key means, and where that is written: in the map itself, or in one that is merged into it.

use std::collections::BTreeSet;

use crate::config::tree::{NodeId, Shape, Tree};

/// The value of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It is written in the map.
    Own(NodeId),
    /// It comes by `<<`.
    Merged(NodeId),
}

impl Found {
    pub(super) fn value(self) -> NodeId {
        match self {
            Self::Own(value) | Self::Merged(value) => value,
        }
    }
}

/// Finds what a key of a map means; `None` also for what is no map.
pub(super) fn lookup(tree: &Tree, map: NodeId, wanted: &str) -> Option<Found> {
    let is_wanted = |key: NodeId| matches!(tree.shape(key), Shape::Scalar(text, _) if text == wanted);
    let own = tree.pairs(map).find(|(key, _)| is_wanted(*key) && !is_merge(tree, *key));
    if let Some((_, value)) = own {
        return Some(Found::Own(value));
    }
    merged_maps(tree, map)
        .into_iter()
        .find_map(|map| lookup(tree, map, wanted))
        .map(|found| Found::Merged(found.value()))
}

/// All keys and values of a map, merged ones after its own, each key once.
pub(super) fn entries(tree: &Tree, map: NodeId) -> Vec<(&str, NodeId)> {
    let mut present = BTreeSet::new();
    let mut all = Vec::new();
    collect(tree, map, &mut present, &mut all);
    all
}

fn collect<'t>(
    tree: &'t Tree,
    map: NodeId,
    present: &mut BTreeSet<&'t str>,
    all: &mut Vec<(&'t str, NodeId)>,
) {
    for (key, value) in tree.pairs(map).filter(|(key, _)| !is_merge(tree, *key)) {
        if let Shape::Scalar(text, _) = tree.shape(key)
            && present.insert(text)
        {
            all.push((text, value));
        }
    }
    for map in merged_maps(tree, map) {
        collect(tree, map, present, all);
    }
}

/// The maps that are merged into one, in the order in which they are asked.
fn merged_maps(tree: &Tree, map: NodeId) -> Vec<NodeId> {
    let merges = tree.pairs(map).filter(|(key, _)| is_merge(tree, *key));
    merges
        .flat_map(|(_, value)| match tree.shape(value) {
            Shape::List => tree.items(value).collect(),
            _ => vec![value],
        })
        .collect()
}

fn is_merge(tree: &Tree, key: NodeId) -> bool {
    tree.shape(key) == Shape::Scalar("<<", true)
}

/// What one place says of `watch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    /// Nothing.
    Absent,
    /// `false`.
    Off,
    /// The paths alone.
    List(NodeId),
    /// A map of keys.
    Map(NodeId),
}

impl Layer {
    pub(super) fn of(tree: &Tree, value: NodeId) -> Self {
        match tree.shape(value) {
            Shape::List => Self::List(value),
            Shape::Map => Self::Map(value),
            Shape::Scalar(..) | Shape::Broken => Self::Off,
        }
    }
}

/// The list of paths that is in effect: the first layer's that has one.
pub(super) fn list(tree: &Tree, layers: &[Layer]) -> Option<NodeId> {
    for layer in layers {
        match layer {
            Layer::Off => return None,
            Layer::Absent => {}
            Layer::List(list) => return Some(*list),
            Layer::Map(map) => {
                if let Some(found) = lookup(tree, *map, "paths") {
                    return Some(found.value());
                }
            }
        }
    }
    None
}
