//! Texts written as YAML: bare where that is safe anywhere, else in quotes.

use super::find::entries;
use crate::config::text::Core;
use crate::config::tree::{NodeId, Shape, Tree};

/// Writes scalars, with the quotes that those around them have.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Writer {
    quotes: Option<char>,
}

impl Writer {
    /// For further items of a list: where all have the same quotes, these are used, too.
    pub(super) fn like(tree: &Tree, list: NodeId) -> Self {
        let text = tree.source().text();
        let mut quotes = tree.items(list).map(|item| text[tree.span(item)].chars().next());
        let first = quotes.next().flatten().filter(|first| matches!(first, '"' | '\''));
        Self { quotes: first.filter(|first| quotes.all(|other| other == Some(*first))) }
    }

    /// A path: nothing in it is a variable.
    pub(super) fn path(&mut self, path: &str) -> String {
        self.scalar(&path.replace('$', "$$"))
    }

    /// A value that stands in the file, written on one line, what its aliases mean in it.
    pub(super) fn node(&mut self, tree: &Tree, node: NodeId) -> String {
        match tree.shape(node) {
            // What is no text would become one in quotes.
            Shape::Scalar("", true) | Shape::Broken => "null".to_owned(),
            Shape::Scalar(text, true) if Core::of(text) != Core::Text => text.to_owned(),
            Shape::Scalar(text, true) => Self { quotes: None }.scalar(text),
            Shape::Scalar(text, false) => Self { quotes: self.quotes.or(Some('"')) }.scalar(text),
            Shape::List => {
                let items: Vec<String> = tree.items(node).map(|item| self.node(tree, item)).collect();
                format!("[{}]", items.join(", "))
            }
            Shape::Map => {
                let pairs = entries(tree, node).into_iter().map(|(key, value)| {
                    format!("{}: {}", Self::default().scalar(key), self.node(tree, value))
                });
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn scalar(self, text: &str) -> String {
        match self.quotes {
            None if is_plain(text) => text.to_owned(),
            _ if !text.chars().all(is_printable) => double(text),
            Some('\'') => format!("'{}'", text.replace('\'', "''")),
            None if text.contains(['"', '\\']) => format!("'{}'", text.replace('\'', "''")),
            _ => double(text),
        }
    }
}

/// Whether it means itself without quotes, wherever it stands.
fn is_plain(text: &str) -> bool {
    let first = text.chars().next().is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '/' | '_'));
    let safe = |c: char| c.is_alphanumeric() || "._-/+@*?=%~^$()".contains(c);
    first && text.chars().all(safe) && text != "..." && Core::of(text) == Core::Text
}

/// What may stand in a line of YAML as it is.
fn is_printable(c: char) -> bool {
    let hidden = |c: char| {
        c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    !hidden(c) && !crate::config::text::is_direction(c)
}

fn double(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if is_printable(c) => out.push(c),
            c => out.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}
