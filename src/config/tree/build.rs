//! From the parser's events to a [`Tree`]. Iterative; an alias points back, and nothing is copied.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::{Kind, MAX_DEPTH, MAX_PAYLOAD, Node, NodeId, Shape, Tree};
use crate::config::code::{self, Code};
use crate::config::report::{Mistake, Report};
use crate::config::source::Source;
use crate::config::step::{Step, key_path};

/// What aliases may stand for before it is weighed against the file. They cost nothing here; what the decoder
/// copies, it counts by itself. This is for bombs, wherever they are.
const FREE_GROWTH: u64 = 1_000_000;
/// How many times its own nodes a file may stand for.
const GROWTH: u64 = 256;

/// Parses the source. `None` if there is nothing to look at; what is wrong is in the report.
pub(crate) fn build(source: &Arc<Source>, report: &mut Report) -> Option<Tree> {
    let mut options = granit_parser::options! {
        emit_unresolved_aliases: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    options.set_emit_comments(false);
    let tree = Tree { source: Arc::clone(source), nodes: Vec::new(), owned: Vec::new(), shared: Vec::new() };
    let mut builder =
        Builder { tree, open: Vec::new(), anchors: Vec::new(), growth: 0, documents: 0, report };
    for event in Parser::new_from_str_with_options(source.text(), options) {
        let step = match event {
            Ok((event, span)) => builder.event(event, &span),
            Err(error) => Err(builder.syntax(&error)),
        };
        if step.is_err() {
            return None;
        }
        if builder.documents > 1 {
            break;
        }
    }
    builder.finish()
}

/// The mistake is in the report, and reading on is of no use.
struct Stop;

struct Open {
    node: usize,
    anchor: usize,
    weight: Weight,
    /// How many nodes it has so far, and the last one: in a map, keys and values in turn.
    children: usize,
    last: Option<NodeId>,
}

/// What a node stands for once its aliases are followed.
#[derive(Clone, Copy)]
struct Weight {
    nodes: u64,
    height: usize,
}

struct Builder<'r> {
    tree: Tree,
    open: Vec<Open>,
    /// By anchor id; `None` while the anchored node is still open.
    anchors: Vec<Option<(NodeId, Weight)>>,
    growth: u64,
    documents: usize,
    report: &'r mut Report,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), Stop> {
        let bytes = span.byte_range().unwrap_or(0..0);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let more = Mistake::new(code::DOCUMENTS, "a second YAML document begins here");
                    self.mistake(more.help("keep one document: delete this `---` and what follows"), bytes);
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(text, style, anchor, tag.as_deref(), &bytes)
            }
            Event::SequenceStart(_, anchor, tag) => self.start(Kind::List, anchor, tag.as_deref(), &bytes),
            Event::MappingStart(_, anchor, tag) => self.start(Kind::Map, anchor, tag.as_deref(), &bytes),
            Event::SequenceEnd | Event::MappingEnd => {
                self.end(bytes.end);
                Ok(())
            }
            Event::Alias(anchor) => self.alias(anchor, bytes),
            Event::UnresolvedAlias(name) => {
                let unknown =
                    Mistake::new(code::ALIAS, format!("no anchor `&{name}` stands before this alias"));
                self.mistake(unknown, bytes.clone());
                self.leaf(&bytes, Kind::Broken, 0, 0)
            }
            _ => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        span: &Range<usize>,
    ) -> Result<(), Stop> {
        self.check_tag(tag, span);
        let source = self.tree.source.text();
        let forced = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
        let plain = style == ScalarStyle::Plain && !forced;
        let verbatim =
            if plain { source.get(span.clone()) } else { source.get(span.start + 1..span.end.max(1) - 1) };
        let quoted = matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted);
        // The parser makes up a `~` where nothing is written.
        if plain && span.is_empty() {
            return self.leaf(span, Kind::Plain, 0, anchor);
        }
        if (plain || quoted) && verbatim == Some(&*text) {
            return self.leaf(span, if plain { Kind::Plain } else { Kind::Quoted }, 0, anchor);
        }
        let at = u32::try_from(self.tree.owned.len()).unwrap_or(u32::MAX);
        self.tree.owned.push(text.into());
        self.leaf(span, if plain { Kind::OwnedPlain } else { Kind::OwnedQuoted }, at, anchor)
    }

    fn start(
        &mut self,
        kind: Kind,
        anchor: usize,
        tag: Option<&Tag>,
        span: &Range<usize>,
    ) -> Result<(), Stop> {
        self.check_tag(tag, span);
        if self.open.len() >= MAX_DEPTH {
            return Err(self.too_deep(span.clone()));
        }
        let node = self.tree.nodes.len();
        self.push(Node::new(span, kind, 0))?;
        self.remember(anchor, None);
        let weight = Weight { nodes: 1, height: 1 };
        self.open.push(Open { node, anchor, weight, children: 0, last: None });
        Ok(())
    }

    fn end(&mut self, end: usize) {
        let Some(Open { node, anchor, weight, .. }) = self.open.pop() else { return };
        let after = u32::try_from(self.tree.nodes.len()).unwrap_or(u32::MAX);
        let old = self.tree.nodes[node];
        let id = NodeId(u32::try_from(node).unwrap_or(u32::MAX));
        self.tree.nodes[node] = Node::new(&(old.start as usize..end), old.kind(), after);
        self.check_keys(id);
        self.close(id, anchor, weight);
    }

    fn alias(&mut self, anchor: usize, span: Range<usize>) -> Result<(), Stop> {
        let Some((target, weight)) = self.anchors.get(anchor).copied().flatten() else {
            self.mistake(
                Mistake::new(code::ALIAS, "this alias stands inside the node that it means"),
                span.clone(),
            );
            return self.leaf(&span, Kind::Broken, 0, 0);
        };
        if self.open.len() + weight.height > MAX_DEPTH {
            return Err(self.too_deep(span));
        }
        self.growth = self.growth.saturating_add(weight.nodes);
        if self.growth > FREE_GROWTH + GROWTH * self.tree.nodes.len() as u64 {
            let message = "aliases make this file many times larger than it is";
            return Err(
                self.limit(Mistake::new(code::LIMIT, message).help("use fewer or smaller anchors"), span)
            );
        }
        let id = self.push(Node::new(&span, Kind::Alias, target.0))?;
        self.tree.shared.push(target.0..self.tree.after(target));
        self.close(id, 0, weight);
        Ok(())
    }

    fn leaf(&mut self, span: &Range<usize>, kind: Kind, payload: u32, anchor: usize) -> Result<(), Stop> {
        let id = self.push(Node::new(span, kind, payload))?;
        self.close(id, anchor, Weight { nodes: 1, height: 0 });
        Ok(())
    }

    fn push(&mut self, node: Node) -> Result<NodeId, Stop> {
        match u32::try_from(self.tree.nodes.len()) {
            Ok(id) if id < MAX_PAYLOAD => {
                self.tree.nodes.push(node);
                Ok(NodeId(id))
            }
            _ => {
                Err(self
                    .limit(Mistake::new(code::LIMIT, "the file has too many values"), node.start as usize..0))
            }
        }
    }

    /// A node is complete: its weight counts in its parent, and its anchor can be used.
    fn close(&mut self, id: NodeId, anchor: usize, weight: Weight) {
        if let Some(parent) = self.open.last_mut() {
            parent.weight.nodes = parent.weight.nodes.saturating_add(weight.nodes);
            parent.weight.height = parent.weight.height.max(weight.height + 1);
            parent.children += 1;
            parent.last = Some(id);
        }
        self.remember(anchor, Some((id, weight)));
    }

    fn remember(&mut self, anchor: usize, node: Option<(NodeId, Weight)>) {
        if anchor > 0 {
            self.anchors.resize(self.anchors.len().max(anchor + 1), None);
            self.anchors[anchor] = node;
        }
    }

    /// Keys are texts, and each is there once. Sorting finds the equal ones in little memory.
    fn check_keys(&mut self, map: NodeId) {
        let mut keys = Vec::new();
        let mut wrong = Vec::new();
        for (key, _) in self.tree.pairs(map) {
            match self.tree.shape(key) {
                Shape::Scalar(..) => keys.push(key),
                Shape::Broken => {}
                Shape::List | Shape::Map => wrong.push(key),
            }
        }
        for key in wrong {
            let help = "put the text of the key into quotes if it begins with `{` or `[`";
            let mistake = Mistake::new(code::WRONG_TYPE, "a key is a text, not a list or a map").help(help);
            let span = self.tree.span(key);
            self.mistake(mistake, span);
        }
        let text = |key: &NodeId| match self.tree.shape(*key) {
            Shape::Scalar(text, _) => text,
            _ => "",
        };
        keys.sort_by(|one, other| text(one).cmp(text(other)));
        let equal = |pair: &[NodeId]| (text(&pair[0]) == text(&pair[1])).then_some((pair[0], pair[1]));
        let repeated: Vec<_> = keys.windows(2).filter_map(equal).collect();
        for (first, second) in repeated {
            self.repeated_key(first, second);
        }
    }

    fn repeated_key(&mut self, first: NodeId, second: NodeId) {
        let Shape::Scalar(text, _) = self.tree.shape(second) else { return };
        let message = format!("`{}` is written twice in one map", crate::config::text::shown(text));
        let place = self.tree.source.place(self.tree.span(first));
        let mistake = Mistake::new(code::DUPLICATE_KEY, message).related(place, "first written here");
        let span = self.tree.span(second);
        let path = key_path(self.steps().chain([Step::Key(text)]));
        self.report.add(mistake.at(Some(self.tree.source.place(span)), path));
    }

    /// The way to what is being read.
    fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        self.open.iter().filter_map(|open| match self.tree.nodes[open.node].kind() {
            Kind::List => Some(Step::Index(open.children)),
            _ if open.children % 2 == 0 => None,
            _ => match self.tree.shape(open.last?) {
                Shape::Scalar(key, _) => Some(Step::Key(key)),
                _ => None,
            },
        })
    }

    fn check_tag(&mut self, tag: Option<&Tag>, span: &Range<usize>) {
        if let Some(tag) = tag
            && !tag.is_yaml_core_schema()
        {
            let shown = crate::config::text::shown(&tag.original()).into_owned();
            let mistake = Mistake::new(code::SYNTAX, format!("the tag `{shown}` means nothing here"));
            self.mistake(mistake.help("delete the tag"), span.clone());
        }
    }

    fn too_deep(&mut self, span: Range<usize>) -> Stop {
        let message = format!("maps and lists nest more than {MAX_DEPTH} deep");
        self.limit(Mistake::new(code::LIMIT, message), span)
    }

    fn limit(&mut self, mistake: Mistake, span: Range<usize>) -> Stop {
        self.mistake(mistake, span);
        Stop
    }

    fn syntax(&mut self, error: &ScanError) -> Stop {
        let mut at = error.marker().byte_offset().unwrap_or(0);
        if *error.kind() == ErrorKind::RecursionLimitExceeded {
            return self.too_deep(at..at + 1);
        }
        let (code, message, help) = explain(error.kind());
        if message == TAB {
            at = self.nearest_tab(at);
        }
        let help = if self.line_has_variable(at) {
            Some("inside `{ }` and `[ ]`, put a value with `${…}` into quotes")
        } else {
            help
        };
        self.mistake(Mistake::new(code, message).maybe_help(help.map(String::from)), at..at + 1);
        Stop
    }

    /// A `{` begins a map wherever it stands inside another one, which people do not expect of `${`.
    fn line_has_variable(&self, at: usize) -> bool {
        let source = &self.tree.source;
        let line = source.line(source.place(at..at).line - 1);
        let end = source.text().floor_char_boundary(at + 1).clamp(line.start, line.end);
        source.text()[line.start..end].contains("${") && !self.open.is_empty()
    }

    /// The parser tells where the line, or the text before it, went wrong; the tab is near.
    fn nearest_tab(&self, at: usize) -> usize {
        let text = self.tree.source.text().as_bytes();
        let blanks =
            text[..at.min(text.len())].iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let begin = at - blanks;
        memchr::memchr(b'\t', &text[begin..]).map_or(at, |tab| begin + tab)
    }

    fn mistake(&mut self, mistake: Mistake, span: Range<usize>) {
        let path = key_path(self.steps());
        self.report.add(mistake.at(Some(self.tree.source.place(span)), path));
    }

    fn finish(mut self) -> Option<Tree> {
        if self.tree.nodes.is_empty() {
            let empty = Mistake::new(code::DOCUMENTS, "the file is empty: it holds no YAML document");
            self.mistake(empty.help("`orch init` writes a file to begin with"), 0..0);
            return None;
        }
        self.tree.nodes.shrink_to_fit();
        self.tree.shared = merged(std::mem::take(&mut self.tree.shared));
        Some(self.tree)
    }
}

/// The ranges in order, those within others left out: nodes are nested or apart.
fn merged(mut ranges: Vec<Range<u32>>) -> Vec<Range<u32>> {
    ranges.sort_unstable_by_key(|range| (range.start, std::cmp::Reverse(range.end)));
    let mut outer: Vec<Range<u32>> = Vec::new();
    for range in ranges {
        if outer.last().is_none_or(|last| last.end <= range.start) {
            outer.push(range);
        }
    }
    outer
}

const TAB: &str = "a tab stands where YAML allows only spaces";

/// The parser's errors in the words of this tool; tabs are the ones that people meet.
fn explain(kind: &ErrorKind) -> (Code, String, Option<&'static str>) {
    match kind {
        ErrorKind::TabInIndentation
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabNotAllowed
        | ErrorKind::TabInPlainScalar
        | ErrorKind::TabAtBlockScalarStart => (code::SYNTAX, TAB.into(), Some("indent with spaces")),
        ErrorKind::UnclosedQuotedScalar => (code::SYNTAX, "this quote is never closed".into(), None),
        ErrorKind::UnclosedFlowCollection { open } => {
            (code::SYNTAX, format!("this `{open}` is never closed"), None)
        }
        ErrorKind::MappingValueNotAllowed => {
            let help = "put a text that holds `: ` into quotes, or mend the indentation";
            (code::SYNTAX, "a `:` stands where no value can begin".into(), Some(help))
        }
        other => (code::SYNTAX, format!("this is not YAML: {other}"), None),
    }
}
