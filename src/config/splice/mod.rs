//! Edits of a YAML text that leave every byte as it is but those that they are about.
//!
//! The tree tells where things stand; an edit is a range of bytes and what takes its place. Nothing is written
//! out of the tree again, so comments, layout, quotes and line ends stay. What YAML makes of the result is for the
//! caller to see: several ways to do the same are given, and the first that means what was meant is taken.

mod find;
mod insert;
#[cfg(test)]
mod tests;
mod write;

use std::ops::Range;

use super::tree::{NodeId, Shape, Tree};
use find::{Found, Layer, lookup};
use insert::Spot;
use write::Writer;

/// What takes the place of a range of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) at: Range<usize>,
    pub(crate) text: String,
}

/// Why there is nothing to edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nowhere {
    /// The file has no component of that name.
    Unknown,
    /// The component is not written among the components, but merged into them.
    Merged,
}

/// How something can be done.
#[derive(Debug)]
pub(crate) struct Ways {
    /// The best first; each is a list of edits that belong together.
    pub(crate) ways: Vec<Vec<Edit>>,
    /// How many paths are written out in the component that it took from elsewhere.
    pub(crate) taken: usize,
}

/// Ways to have these paths watched by a component.
///
/// A path is a text as it is to be read: it is written so that nothing in it is expanded.
pub(crate) fn watch_more(tree: &Tree, name: &str, paths: &[String]) -> Result<Ways, Nowhere> {
    let components = lookup(tree, tree.root(), "components").ok_or(Nowhere::Unknown)?.value();
    let component = match lookup(tree, components, name).ok_or(Nowhere::Unknown)? {
        Found::Own(component) => component,
        Found::Merged(_) => return Err(Nowhere::Merged),
    };
    let own = lookup(tree, component, "watch");
    let layers = [
        own.map_or(Layer::Absent, |found| Layer::of(tree, found.value())),
        lookup(tree, tree.root(), "defaults")
            .and_then(|defaults| lookup(tree, defaults.value(), "watch"))
            .map_or(Layer::Absent, |found| Layer::of(tree, found.value())),
    ];
    let more = More { tree, paths, layers };
    let is_own = |list: &NodeId| matches!(own, Some(Found::Own(_))) && insert::holds(tree, component, *list);
    let taken = match find::list(tree, &layers).filter(|list| !is_own(list)) {
        Some(list) => tree.items(list).count(),
        None => 0,
    };
    let ways = more.ways(component, own);
    Ok(Ways { ways, taken })
}

/// The text with the edits in it. They are apart from each other.
pub(crate) fn apply(text: &str, edits: &[Edit]) -> String {
    let mut edits: Vec<&Edit> = edits.iter().collect();
    edits.sort_by_key(|edit| edit.at.start);
    let mut out = String::with_capacity(text.len() + edits.iter().map(|edit| edit.text.len()).sum::<usize>());
    let mut done = 0;
    for edit in edits {
        out.push_str(&text[done..edit.at.start]);
        out.push_str(&edit.text);
        done = edit.at.end;
    }
    out.push_str(&text[done..]);
    out
}

/// Paths that are to be watched beside those that are.
struct More<'t> {
    tree: &'t Tree,
    paths: &'t [String],
    /// What the component says of `watch`, and what `defaults` say.
    layers: [Layer; 2],
}

impl More<'_> {
    fn ways(&self, component: NodeId, own: Option<Found>) -> Vec<Vec<Edit>> {
        if self.tree.is_alias(component) {
            // What the alias means is others', too.
            let alias = &self.tree.source().text()[self.tree.span(component)];
            return self.instead(component, format!("{{<<: {alias}, watch: {}}}", self.section()));
        }
        match own {
            Some(Found::Own(watch)) => self.in_section(watch),
            Some(Found::Merged(_)) | None => insert::key(self.tree, component, "watch", &self.section()),
        }
    }

    /// Where the component's own section stands.
    fn in_section(&self, watch: NodeId) -> Vec<Vec<Edit>> {
        if self.tree.is_alias(watch) {
            return self.instead(watch, self.section());
        }
        match self.tree.shape(watch) {
            Shape::List => self.in_list(watch),
            Shape::Map => match lookup(self.tree, watch, "paths") {
                Some(Found::Own(paths)) if self.tree.is_alias(paths) => self.instead(paths, self.list()),
                Some(Found::Own(paths)) => self.in_list(paths),
                Some(Found::Merged(_)) | None => insert::key(self.tree, watch, "paths", &self.list()),
            },
            // It is off.
            Shape::Scalar(..) | Shape::Broken => self.instead(watch, self.section()),
        }
    }

    fn in_list(&self, list: NodeId) -> Vec<Vec<Edit>> {
        let mut writer = Writer::like(self.tree, list);
        let items = self.paths.iter().map(|path| writer.path(path)).collect::<Vec<_>>();
        insert::items(self.tree, list, &items)
    }

    fn instead(&self, node: NodeId, text: String) -> Vec<Vec<Edit>> {
        vec![vec![Edit { at: self.tree.span(node), text }]]
    }

    /// The value of `watch`, written out: all that it says now, and more paths.
    fn section(&self) -> String {
        match self.layers[0] {
            Layer::Absent | Layer::Off | Layer::List(_) => self.list(),
            Layer::Map(map) => {
                let mut writer = Writer::default();
                let entries = find::entries(self.tree, map).into_iter().filter(|(key, _)| *key != "paths");
                let entries =
                    entries.map(|(key, value)| format!("{key}: {}, ", writer.node(self.tree, value)));
                format!("{{{}paths: {}}}", entries.collect::<String>(), self.list())
            }
        }
    }

    /// The list of paths, written out: all that are watched now, and more.
    fn list(&self) -> String {
        let mut writer = Writer::default();
        let held = find::list(self.tree, &self.layers);
        let held =
            held.into_iter().flat_map(|list| self.tree.items(list)).map(|item| writer.node(self.tree, item));
        let mut items: Vec<String> = held.collect();
        items.extend(self.paths.iter().map(|path| writer.path(path)));
        format!("[{}]", items.join(", "))
    }
}

/// Where something can be put in; for a tree's own text.
fn spot(tree: &Tree, container: NodeId) -> Spot<'_> {
    Spot::new(tree, container)
}
