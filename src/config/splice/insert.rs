//! Where items and keys are put in: behind the last one, in its layout.

use super::{Edit, spot};
use crate::config::tree::{NodeId, Shape, Tree};

/// Puts items at the end of a list that has some.
pub(super) fn items(tree: &Tree, list: NodeId, items: &[String]) -> Vec<Vec<Edit>> {
    let Some(last) = tree.items(list).last() else { return Vec::new() };
    let spot = spot(tree, list);
    let end = spot.end_of(last);
    if spot.is_flow {
        return vec![spot.in_flow(end, tree.span(last).start, items)];
    }
    vec![spot.in_block(end, &spot.lines(items))]
}

/// Puts a key with its value into a map that has some: at its end, or, where that is no good place, at its
/// beginning.
pub(super) fn key(tree: &Tree, map: NodeId, key: &str, value: &str) -> Vec<Vec<Edit>> {
    let (Some(first), Some(last)) = (tree.pairs(map).next(), tree.pairs(map).last()) else {
        return Vec::new();
    };
    let spot = spot(tree, map);
    let end = match tree.span(last.1) {
        // Nothing is written.
        span if span.is_empty() => spot.behind_colon(tree.span(last.0).end),
        _ => spot.end_of(last.1),
    };
    let text = format!("{key}: {value}");
    if spot.is_flow {
        return vec![spot.in_flow(end, tree.span(last.0).start, &[text])];
    }
    let begin = tree.span(first.0).start;
    let at_begin = Edit { at: begin..begin, text: format!("{text}{}", spot.new_line(begin)) };
    vec![spot.in_block(end, &[text]), vec![at_begin]]
}

/// A list or a map, as it is laid out.
pub(super) struct Spot<'t> {
    tree: &'t Tree,
    text: &'t str,
    is_flow: bool,
    /// How far its keys or dashes are indented, in characters.
    column: usize,
    /// Where its first child, or the dash before that, begins.
    begin: usize,
}

impl<'t> Spot<'t> {
    pub(super) fn new(tree: &'t Tree, container: NodeId) -> Self {
        let text = tree.source().text();
        let span = tree.span(container);
        let is_flow = is_flow(tree, container);
        let first = tree.items(container).next().or_else(|| tree.pairs(container).next().map(|(key, _)| key));
        let mut begin = first.map_or(span.start, |first| tree.span(first).start);
        if !is_flow && tree.shape(container) == Shape::List {
            // From the first item back to its dash: a property of the item may stand between.
            let line = line_start(text, begin);
            let before = &text[line..begin];
            begin = before.find('-').map_or(span.start, |dash| line + dash);
        }
        Self { tree, text, is_flow, column: text[line_start(text, begin)..begin].chars().count(), begin }
    }

    /// Where what is written of a node ends; of what is laid out in lines, its last word.
    pub(super) fn end_of(&self, node: NodeId) -> usize {
        let tree = self.tree;
        let last = match tree.shape(node) {
            _ if tree.is_alias(node) || is_flow(tree, node) => None,
            Shape::List => tree.items(node).last(),
            Shape::Map => tree.pairs(node).last().map(|(key, value)| match tree.span(value) {
                span if span.is_empty() => key,
                _ => value,
            }),
            Shape::Scalar(..) | Shape::Broken => None,
        };
        match last {
            Some(last) => self.end_of(last),
            // A text in lines of its own goes on to the next thing.
            None => self.text[..tree.span(node).end].trim_end_matches([' ', '\t', '\r', '\n']).len(),
        }
    }

    /// Behind the colon of a key that has no value.
    fn behind_colon(&self, key: usize) -> usize {
        let rest = &self.text[key..];
        let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        if rest[blank..].starts_with(':') { key + blank + 1 } else { key }
    }

    /// The items of a list of lines, each after its dash.
    fn lines(&self, items: &[String]) -> Vec<String> {
        let behind = &self.text[self.begin + 1..];
        let gap = &behind[..behind.len() - behind.trim_start_matches([' ', '\t']).len()];
        let gap = if gap.is_empty() { " " } else { gap };
        items.iter().map(|item| format!("-{gap}{item}")).collect()
    }

    /// Lines behind the one where the last child ends, its comment included.
    fn in_block(&self, end: usize, lines: &[String]) -> Vec<Edit> {
        let at = line_end(self.text, end);
        let text = lines.iter().map(|line| format!("{}{line}", self.new_line(end))).collect();
        vec![Edit { at: at..at, text }]
    }

    /// Children behind the last one, which begins at `begin` and ends at `end`: on its line, or, where each has a
    /// line of its own, on lines of their own.
    fn in_flow(&self, end: usize, begin: usize, children: &[String]) -> Vec<Edit> {
        let line = line_start(self.text, begin);
        let indent = &self.text[line..begin];
        let comma = self.comma(end);
        let behind = comma.map_or(end, |comma| comma + 1);
        let at = line_end(self.text, end);
        let alone = indent.chars().all(|c| c == ' ' || c == '\t') && line > 0;
        // A comment is what may follow on its line.
        let rest = self.text.get(behind..at).map(str::trim_start);
        if !alone || !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('#')) {
            let text = children.iter().map(|child| format!(", {child}")).collect();
            return vec![Edit { at: end..end, text }];
        }
        let new_line = format!("{}{indent}", self.line_break(end));
        let lines = children.iter().map(|child| format!("{new_line}{child}")).collect::<Vec<_>>().join(",");
        match comma {
            Some(_) => vec![Edit { at: at..at, text: format!("{lines},") }],
            None => vec![Edit { at: end..end, text: ",".to_owned() }, Edit { at: at..at, text: lines }],
        }
    }

    /// The comma behind the last child, if there is one on its line.
    fn comma(&self, end: usize) -> Option<usize> {
        let rest = &self.text[end..];
        let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        rest[blank..].starts_with(',').then_some(end + blank)
    }

    /// A line's end, and the indentation of the next.
    fn new_line(&self, near: usize) -> String {
        format!("{}{}", self.line_break(near), " ".repeat(self.column))
    }

    /// The kind of line's end that the text has there; at its end, the kind that it begins with.
    fn line_break(&self, near: usize) -> &'static str {
        let kind = |at: usize| match self.text.as_bytes().get(at..)? {
            [b'\r', b'\n', ..] => Some("\r\n"),
            [b'\n', ..] => Some("\n"),
            [b'\r', ..] => Some("\r"),
            _ => None,
        };
        kind(line_end(self.text, near)).or_else(|| kind(line_end(self.text, 0))).unwrap_or("\n")
    }
}

/// Whether something is written within something else.
pub(super) fn holds(tree: &Tree, outer: NodeId, inner: NodeId) -> bool {
    let (outer, inner) = (tree.span(outer), tree.span(inner));
    outer.start <= inner.start && inner.end <= outer.end
}

/// Whether a list or a map is written in brackets.
fn is_flow(tree: &Tree, node: NodeId) -> bool {
    let bracket = match tree.shape(node) {
        Shape::List => '[',
        Shape::Map => '{',
        Shape::Scalar(..) | Shape::Broken => return false,
    };
    tree.source().text()[tree.span(node)].starts_with(bracket)
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind(['\n', '\r']).map_or(0, |end| end + 1)
}

fn line_end(text: &str, at: usize) -> usize {
    text[at..].find(['\n', '\r']).map_or(text.len(), |length| at + length)
}
