//! From tree to values: every mistake is reported at its place, and decoding goes on.

mod command;
mod dependency;
mod environment;
mod leaf;
mod network;
mod section;
mod word;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value as Json;

pub(crate) use command::{Build, CommandForm, Run, Word, command_schema, one_of, words_schema};
pub(crate) use dependency::{Dependencies, Depends};
pub(crate) use environment::{EnvFile, EnvFiles, EnvMap};
pub(crate) use leaf::{
    Anything, Components, Int, List, PathText, Pattern, Patterns, Real, Size, Span, Text, True, Version,
};
pub(crate) use network::{SocketText, Sockets};
pub(crate) use section::{Section, Short, section};
pub(crate) use word::{Action, MaxAge, PollForm};

use super::code;
use super::expand::{self, ProblemKind};
use super::model::EnvOverlay;
use super::report::{Mistake, Report};
pub(crate) use super::step::Step;
use super::step::key_path;
use super::text::{Core, Suggester, shown};
use super::tree::{NodeId, Shape, Tree};

/// A value of the file: how it is read, and how an editor is told of it.
pub(crate) trait Value: Sized + Clone {
    /// Reads it; `None` if it is wrong, which is then in the report.
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self>;
    /// Its JSON schema.
    fn schema() -> Json;
    /// This, with what it leaves open taken from `below`.
    #[must_use]
    fn over(self, _below: &Self) -> Self {
        self
    }
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) node: NodeId,
}

/// A scalar with its variables put in.
#[derive(Debug)]
pub(crate) struct Scalar<'t> {
    pub(crate) text: Cow<'t, str>,
    pub(crate) core: Core,
}

/// What `${NAME}` may stand for; the first that has the name wins.
#[derive(Debug, Default)]
pub(crate) struct Variables {
    /// orch's own environment.
    pub(crate) environment: BTreeMap<String, String>,
    /// The project's env files.
    pub(crate) env_file: BTreeMap<String, String>,
}

/// Reads values out of a tree.
pub(crate) struct Decoder<'t> {
    pub(crate) tree: &'t Tree,
    pub(crate) variables: &'t Variables,
    pub(crate) report: Report,
    pub(crate) suggester: Suggester,
    patterns: Patterns,
    path: Vec<Step<'t>>,
    growth_left: usize,
    copies_left: usize,
    /// What `env` maps that are met again and again say, by what they are: read once, and shared.
    shared_env: BTreeMap<Vec<NodeId>, Arc<EnvOverlay>>,
}

/// What all expansions together may add to a file.
const FREE_GROWTH: usize = 16 << 20;
/// How many values may be read again, by aliases, before they are weighed against the file.
const FREE_COPIES: usize = 1_000_000;
/// How many times its own values a file may make orch read.
const COPIES: usize = 16;
/// How many values one of a `with` counts for: it is kept as it stands, and not in a form of orch's own.
const COPY_OF_ANYTHING: usize = 4;

/// How many values a text counts for: a long one is as much as many short ones.
fn weight(text: &str) -> usize {
    text.len() / 64
}

/// How many values these entries count for.
fn weigh(entries: &[(&str, NodeId, NodeId)]) -> usize {
    entries.iter().map(|(key, ..)| 1 + weight(key)).sum()
}

impl<'t> Decoder<'t> {
    pub(crate) fn new(tree: &'t Tree, variables: &'t Variables, report: Report) -> Self {
        Self {
            tree,
            variables,
            report,
            suggester: Suggester::default(),
            patterns: Patterns::default(),
            path: Vec::new(),
            growth_left: FREE_GROWTH + tree.source().text().len(),
            copies_left: FREE_COPIES + COPIES * (tree.len() + weight(tree.source().text())),
            shared_env: BTreeMap::new(),
        }
    }

    /// Counts values that are read; whether reading goes on. What is met once in the file is never too much.
    pub(crate) fn spend(&mut self, node: NodeId, values: usize) -> bool {
        let left = self.copies_left.checked_sub(values);
        self.copies_left = left.unwrap_or(0);
        if left.is_none() {
            let message = "aliases make this file many times larger than it is";
            let mistake = Mistake::new(code::LIMIT, message).help("use fewer or smaller anchors");
            let place = self.tree.source().place(self.tree.span(node));
            self.report.close_with(mistake.at(Some(place), self.path()));
        }
        left.is_some()
    }

    /// Runs `read` one step further down the key path.
    pub(crate) fn within<T>(&mut self, step: Step<'t>, read: impl FnOnce(&mut Self) -> T) -> T {
        self.enter(step);
        let read = read(self);
        self.leave();
        read
    }

    /// Goes one step down the key path; `leave` must follow.
    pub(crate) fn enter(&mut self, step: Step<'t>) {
        self.path.push(step);
    }

    /// Goes one step up the key path.
    pub(crate) fn leave(&mut self) {
        self.path.pop();
    }

    /// The key path of where decoding is.
    pub(crate) fn path(&self) -> String {
        key_path(self.path.iter().copied())
    }

    /// Reports a mistake at a node.
    pub(crate) fn mistake(&mut self, node: NodeId, mistake: Mistake) {
        self.mistake_at(self.tree.span(node), mistake);
    }

    /// Reports what is missing in the whole file.
    pub(crate) fn mistake_at_start(&mut self, mistake: Mistake) {
        let start = self.tree.span(self.tree.root()).start;
        self.mistake_at(start..start, mistake);
    }

    fn mistake_at(&mut self, span: Range<usize>, mistake: Mistake) {
        let place = self.tree.source().place(span);
        self.report.add(mistake.at(Some(place), self.path()));
    }

    /// Reports a value of the wrong type; always `None`.
    pub(crate) fn wrong_type<T>(&mut self, node: NodeId, expected: &str) -> Option<T> {
        let found = self.describe(node)?;
        self.mistake(node, Mistake::new(code::WRONG_TYPE, format!("expected {expected}, found {found}")));
        None
    }

    /// What stands there, in words; `None` if it was reported before.
    fn describe(&self, node: NodeId) -> Option<String> {
        let (text, plain) = match self.tree.shape(node) {
            Shape::Scalar(text, plain) => (text, plain),
            Shape::List => return Some("a list".into()),
            Shape::Map => return Some("a map".into()),
            Shape::Broken => return None,
        };
        Some(match if plain { Core::of(text) } else { Core::Text } {
            Core::Null => "nothing".into(),
            Core::Bool(_) => format!("`{text}`"),
            Core::Int(_) | Core::Float(_) => format!("the number `{}`", shown(text)),
            Core::Text => format!("the text `{}`", shown(text)),
        })
    }

    /// A scalar, expanded and typed; `None` without a report if there is no scalar, or with one if it can't
    /// be expanded.
    pub(crate) fn scalar(&mut self, node: NodeId, expected: &str) -> Option<Scalar<'t>> {
        let Shape::Scalar(raw, plain) = self.tree.shape(node) else {
            return self.wrong_type(node, expected);
        };
        if !self.spend(node, weight(raw)) {
            return None;
        }
        let variables = self.variables;
        let expanded = expand::expand(raw, &|name| variables.get(name));
        let mut sound = true;
        for problem in expanded.problems {
            sound &= self.expansion(node, problem, raw.len());
        }
        if let Cow::Owned(text) = &expanded.text {
            sound &= self.grow(node, text.len());
        }
        let text = expanded.text;
        // What was a text before its variables were put in stays one if they were empty.
        let core = match &text {
            text if !plain || (text.is_empty() && !raw.is_empty()) => Core::Text,
            text => Core::of(text),
        };
        sound.then_some(Scalar { text, core })
    }

    fn grow(&mut self, node: NodeId, bytes: usize) -> bool {
        let left = self.growth_left.checked_sub(bytes);
        self.growth_left = left.unwrap_or(0);
        if left.is_none() {
            let message = "the variables make this file many times larger than it is";
            self.mistake(node, Mistake::new(code::LIMIT, message));
        }
        left.is_some()
    }

    /// Reports what is wrong with an expansion; whether its result can be used.
    fn expansion(&mut self, node: NodeId, problem: expand::Problem, length: usize) -> bool {
        let span = match self.tree.verbatim(node) {
            Some(start) => start + problem.at.start..start + problem.at.end.min(length),
            None => self.tree.span(node),
        };
        let mistake = match problem.kind {
            ProblemKind::Unset(name) => {
                let name = shown(&name).into_owned();
                let help = format!("set it, or write `${{{name}:-}}` if nothing is meant");
                let message = format!("the variable `{name}` is not set, and stands for nothing");
                self.mistake_at(span, Mistake::new(code::UNSET_VARIABLE, message).help(help));
                return true;
            }
            ProblemKind::Malformed(why) => Mistake::new(code::EXPANSION, format!("malformed `${{`: {why}"))
                .help("write `$${` for a `${` that stands for itself"),
            ProblemKind::Required(name, message) => {
                let because =
                    if message.is_empty() { String::new() } else { format!(": {}", shown(&message)) };
                let message = format!("the variable `{}` is required and not set{because}", shown(&name));
                Mistake::new(code::REQUIRED_VARIABLE, message)
            }
            ProblemKind::TooLong => {
                Mistake::new(code::LIMIT, "its variables make this text longer than 1 MiB")
            }
        };
        self.mistake_at(span, mistake);
        false
    }

    /// A text: a scalar that is no number, no bool and not nothing.
    pub(crate) fn text(&mut self, node: NodeId, expected: &str) -> Option<Cow<'t, str>> {
        let scalar = self.scalar(node, expected)?;
        if scalar.core != Core::Text {
            let found = self.describe(node)?;
            let mut mistake = Mistake::new(code::WRONG_TYPE, format!("expected {expected}, found {found}"));
            if !matches!(scalar.core, Core::Null) {
                mistake = mistake.help(format!("if the text is meant: \"{}\"", shown(&scalar.text)));
            }
            self.mistake(node, mistake);
            return None;
        }
        self.no_nul(node, scalar.text)
    }

    /// The system knows no NUL byte in a text.
    pub(crate) fn no_nul(&mut self, node: NodeId, text: Cow<'t, str>) -> Option<Cow<'t, str>> {
        if memchr::memchr(0, text.as_bytes()).is_none() {
            return Some(text);
        }
        self.mistake(
            node,
            Mistake::new(code::TEXT, "this text holds a NUL byte, which the system can't take"),
        );
        None
    }

    /// The keys and values of a map, merged ones after its own; `None` with a report if it is none.
    pub(crate) fn entries(&mut self, map: NodeId, expected: &str) -> Option<Vec<(&'t str, NodeId, NodeId)>> {
        if self.tree.shape(map) != Shape::Map {
            return self.wrong_type(map, expected);
        }
        let mut merges = Vec::new();
        let mut entries = self.own_entries(map, &mut merges);
        if !merges.is_empty() {
            let mut present: BTreeSet<&str> = entries.iter().map(|(text, ..)| *text).collect();
            for merge in merges {
                self.merge(merge, &mut entries, &mut present);
            }
        }
        self.spend(map, weigh(&entries)).then_some(entries)
    }

    /// The keys and values of maps that are merged, of each the first.
    pub(super) fn merged(&mut self, maps: &[NodeId]) -> Option<Vec<(&'t str, NodeId, NodeId)>> {
        let (mut entries, mut present) = (Vec::new(), BTreeSet::new());
        for map in maps {
            self.merge(*map, &mut entries, &mut present);
        }
        let first = maps.first()?;
        self.spend(*first, weigh(&entries)).then_some(entries)
    }

    pub(super) fn own_entries(
        &self,
        map: NodeId,
        merges: &mut Vec<NodeId>,
    ) -> Vec<(&'t str, NodeId, NodeId)> {
        let mut entries = Vec::new();
        for (key, value) in self.tree.pairs(map) {
            match self.tree.shape(key) {
                Shape::Scalar("<<", true) => merges.push(value),
                Shape::Scalar(text, _) => entries.push((text, key, value)),
                _ => {}
            }
        }
        entries
    }

    fn merge(
        &mut self,
        from: NodeId,
        entries: &mut Vec<(&'t str, NodeId, NodeId)>,
        present: &mut BTreeSet<&'t str>,
    ) {
        if !self.spend(from, 1) {
            return;
        }
        match self.tree.shape(from) {
            Shape::Map => {
                let mut merges = Vec::new();
                let own = self.own_entries(from, &mut merges);
                entries.extend(own.into_iter().filter(|(text, ..)| present.insert(text)));
                for merge in merges {
                    self.merge(merge, entries, present);
                }
            }
            Shape::List => {
                let items: Vec<NodeId> = self.tree.items(from).collect();
                for item in items {
                    if self.tree.shape(item) == Shape::List {
                        let _: Option<()> = self.not_merged(item);
                    } else {
                        self.merge(item, entries, present);
                    }
                }
            }
            Shape::Scalar(..) => {
                let _: Option<()> = self.not_merged(from);
            }
            Shape::Broken => {}
        }
    }

    fn not_merged(&mut self, node: NodeId) -> Option<()> {
        let found = self.describe(node)?;
        self.mistake(node, Mistake::new(code::ALIAS, format!("`<<` merges maps, and this is {found}")));
        None
    }

    /// Reads each item of a list; wrong ones are left out.
    pub(crate) fn list<T: Value>(&mut self, list: NodeId, expected: &str) -> Option<Vec<At<T>>> {
        if self.tree.shape(list) != Shape::List {
            return self.wrong_type(list, expected);
        }
        let tree = self.tree;
        let mut items = Vec::new();
        for (index, node) in tree.items(list).enumerate() {
            if !self.spend(node, 1) {
                return None;
            }
            let item = self.within(Step::Index(index), |decoder| T::decode(decoder, node));
            items.extend(item.map(|value| At { value, node }));
        }
        Some(items)
    }
}

impl Variables {
    fn get(&self, name: &str) -> Option<&str> {
        self.environment.get(name).or_else(|| self.env_file.get(name)).map(String::as_str)
    }
}
