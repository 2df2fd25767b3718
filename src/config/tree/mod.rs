//! A YAML document as a tree that knows its bytes: twelve bytes a node, in one array, in the order of the
//! text. An alias is a node that points back, so nothing is copied, and dropping a tree is dropping arrays.

mod build;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

pub(crate) use build::build;

use super::source::Source;

/// How deep maps and lists may nest, aliases included.
pub(crate) const MAX_DEPTH: usize = 64;

/// A node of a [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(u32);

/// The words are: first byte, byte after the last, and three bits of [`Kind`] above 29 bits that depend on it.
#[derive(Debug, Clone, Copy)]
struct Node {
    start: u32,
    end: u32,
    meta: u32,
}

const PAYLOAD_BITS: u32 = 29;
const MAX_PAYLOAD: u32 = (1 << PAYLOAD_BITS) - 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Kind {
    /// The text is the span's.
    Plain,
    /// The text is the span's without the quotes.
    Quoted,
    /// The text is in `owned`, at the payload.
    OwnedPlain,
    /// Likewise.
    OwnedQuoted,
    /// The payload is the node after the last item.
    List,
    /// Keys and values in turn; the payload is the node after the last value.
    Map,
    /// The payload is the node meant.
    Alias,
    /// Already reported; nothing more is to be said about it.
    Broken,
}

/// A document.
#[derive(Debug)]
pub(crate) struct Tree {
    source: Arc<Source>,
    nodes: Vec<Node>,
    owned: Vec<Box<str>>,
    /// The nodes that aliases mean, with all below them: in order, and apart from each other.
    shared: Vec<Range<u32>>,
}

/// What a node is, aliases followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape<'t> {
    /// A scalar's text, escapes resolved, and whether it was written plain.
    Scalar(&'t str, bool),
    /// A list.
    List,
    /// A map.
    Map,
    /// Something already reported.
    Broken,
}

impl Tree {
    pub(crate) fn root(&self) -> NodeId {
        NodeId(0)
    }

    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// The bytes of a node as it is written: an alias's own.
    pub(crate) fn span(&self, node: NodeId) -> Range<usize> {
        let node = self.node(node);
        node.start as usize..node.end as usize
    }

    pub(crate) fn shape(&self, node: NodeId) -> Shape<'_> {
        let node = self.node(self.target(node));
        match node.kind() {
            Kind::Plain | Kind::OwnedPlain => Shape::Scalar(self.text(node), true),
            Kind::List => Shape::List,
            Kind::Map => Shape::Map,
            Kind::Broken | Kind::Alias => Shape::Broken,
            _ => Shape::Scalar(self.text(node), false),
        }
    }

    /// Whether it is written as an alias.
    pub(crate) fn is_alias(&self, node: NodeId) -> bool {
        self.node(node).kind() == Kind::Alias
    }

    /// Where the text of a scalar begins in the source, if it stands there byte for byte.
    pub(crate) fn verbatim(&self, node: NodeId) -> Option<usize> {
        let node = self.node(node);
        match node.kind() {
            Kind::Plain => Some(node.start as usize),
            Kind::Quoted => Some(node.start as usize + 1),
            _ => None,
        }
    }

    /// The items of a list; nothing for anything else.
    pub(crate) fn items(&self, list: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let list = self.target(list);
        let mut next = list.0 + 1;
        let end = self.inside(list, Kind::List);
        std::iter::from_fn(move || {
            let item = NodeId(next);
            (next < end).then(|| {
                next = self.after(item);
                item
            })
        })
    }

    /// The keys and values of a map as written, `<<` among them; nothing for anything else.
    pub(crate) fn pairs(&self, map: NodeId) -> impl Iterator<Item = (NodeId, NodeId)> + '_ {
        let map = self.target(map);
        let mut next = map.0 + 1;
        let end = self.inside(map, Kind::Map);
        std::iter::from_fn(move || {
            let key = NodeId(next);
            (next < end).then(|| {
                let value = NodeId(self.after(key));
                next = self.after(value);
                (key, value)
            })
        })
    }

    /// How many nodes the file has; what an alias means counts once.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The node itself, or what the alias means, if it may be met more than once: it is, or stands below,
    /// what an alias means.
    pub(crate) fn shared(&self, node: NodeId) -> Option<NodeId> {
        let target = self.target(node);
        let after = self.shared.partition_point(|range| range.start <= target.0);
        let range = self.shared.get(after.checked_sub(1)?)?;
        range.contains(&target.0).then_some(target)
    }

    fn inside(&self, node: NodeId, kind: Kind) -> u32 {
        let node = self.node(node);
        if node.kind() == kind { node.payload() } else { 0 }
    }

    fn after(&self, id: NodeId) -> u32 {
        let node = self.node(id);
        if matches!(node.kind(), Kind::List | Kind::Map) { node.payload() } else { id.0 + 1 }
    }

    fn target(&self, id: NodeId) -> NodeId {
        let node = self.node(id);
        if node.kind() == Kind::Alias { NodeId(node.payload()) } else { id }
    }

    fn text(&self, node: Node) -> &str {
        let (start, end) = (node.start as usize, node.end as usize);
        match node.kind() {
            Kind::Plain => &self.source.text()[start..end],
            Kind::Quoted => &self.source.text()[start + 1..end - 1],
            _ => self.owned.get(node.payload() as usize).map_or("", |text| text),
        }
    }

    fn node(&self, id: NodeId) -> Node {
        self.nodes[id.0 as usize]
    }
}

impl Node {
    fn new(span: &Range<usize>, kind: Kind, payload: u32) -> Self {
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            start: offset(span.start),
            end: offset(span.end),
            meta: (kind as u32) << PAYLOAD_BITS | payload,
        }
    }

    fn kind(self) -> Kind {
        match self.meta >> PAYLOAD_BITS {
            0 => Kind::Plain,
            1 => Kind::Quoted,
            2 => Kind::OwnedPlain,
            3 => Kind::OwnedQuoted,
            4 => Kind::List,
            5 => Kind::Map,
            6 => Kind::Alias,
            _ => Kind::Broken,
        }
    }

    fn payload(self) -> u32 {
        self.meta & MAX_PAYLOAD
    }
}
