//! Which place the output of compilers, linkers, test runners and interpreters names as at fault. Pure, and of
//! bounded memory: it reads along, line by line, for the first mistake may stand far above the last lines.
//!
//! It is a help for people, so it need not be right about every tool, but it must not be wrong about the common
//! ones: a warning's place is none.

mod patterns;
#[cfg(test)]
mod tests;

use regex::Captures;
use serde::{Deserialize, Serialize};

use patterns::{Patterns, patterns};

/// So much of a line is looked at: a place stands at its beginning. Bytes.
const LOOKED_AT: usize = 1024;
/// So many lines after node's line with a place the error's name is awaited.
const NODE_LINES: u8 = 8;

/// Looks for the place that an output names as the first at fault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finder {
    /// The first place that was certainly called an error.
    certain: Option<String>,
    /// The first one that may be meant.
    likely: Option<String>,
    context: Context,
}

/// What earlier lines say about the next ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Context {
    #[default]
    Nothing,
    /// An error was told of, and its place may follow: rustc, esbuild, a stack trace.
    Error,
    /// The innermost frame so far, of a Python traceback.
    Frame(String),
    /// A place alone on its line; a line of the next ones may call it an error.
    Node(String, u8),
    /// A file alone on its line; its mistakes may follow.
    File(String),
}

impl Finder {
    /// Takes the next line, without its end, colours and control characters.
    pub fn line(&mut self, line: &str) {
        if self.certain.is_some() {
            return;
        }
        let line = head(line);
        // They are well-formed, as a test holds.
        let Some(patterns) = patterns() else { return };
        if let Some(place) = self.with_context(patterns, line) {
            self.certain = Some(place);
            return;
        }
        // No place without a number.
        if !line.bytes().any(|byte| byte.is_ascii_digit()) {
            return;
        }
        let found = patterns.certain.iter().find_map(|pattern| place(&pattern.captures(line)?));
        if found.is_some() {
            self.certain = found;
        } else if self.likely.is_none() && !patterns.harmless.is_match(line) {
            self.likely = patterns.likely.iter().find_map(|pattern| place(&pattern.captures(line)?));
        }
    }

    /// The place: `src/main.rs:3:5`, `Makefile:7`.
    #[must_use]
    pub fn place(self) -> Option<String> {
        let last = match self.context {
            Context::Frame(place) => Some(place),
            Context::Nothing | Context::Error | Context::Node(..) | Context::File(_) => None,
        };
        self.certain.or(last).or(self.likely)
    }

    /// A place that is certain by what came before; remembers what this line says about the next ones.
    fn with_context(&mut self, patterns: &Patterns, line: &str) -> Option<String> {
        let (next, found) = match std::mem::take(&mut self.context) {
            Context::Error => {
                let found = patterns.after_error.iter().find_map(|pattern| place(&pattern.captures(line)?));
                (self.stays(patterns, line), found)
            }
            Context::Frame(frame) => match patterns.frame.captures(line).as_ref().and_then(place) {
                Some(inner) => (Context::Frame(inner), None),
                None if line.is_empty() || line.starts_with([' ', '\t', '|']) => {
                    (Context::Frame(frame), None)
                }
                None if patterns.harmless.is_match(line) => (Context::Nothing, None),
                None => (Context::Nothing, Some(frame)),
            },
            Context::Node(at, _) if patterns.thrown.is_match(line) => (Context::Nothing, Some(at)),
            Context::Node(at, left) => {
                (left.checked_sub(1).map_or(Context::Nothing, |left| Context::Node(at, left)), None)
            }
            Context::File(file) => {
                let listed = patterns.listed.captures(line).map(|found| written(&file, &found));
                let stays = line.starts_with([' ', '\t']);
                (if stays { Context::File(file) } else { Context::Nothing }, listed)
            }
            Context::Nothing => (Context::Nothing, None),
        };
        self.context = if next == Context::Nothing { self.opened(patterns, line) } else { next };
        found
    }

    /// The context that a line opens by itself.
    fn opened(&mut self, patterns: &Patterns, line: &str) -> Context {
        if patterns.error.is_match(line) && !patterns.harmless.is_match(line) {
            return Context::Error;
        }
        if let Some(frame) = patterns.frame.captures(line).as_ref().and_then(place) {
            return Context::Frame(frame);
        }
        if let Some(at) = patterns.alone.captures(line).as_ref().and_then(place) {
            self.likely.get_or_insert_with(|| at.clone());
            return Context::Node(at, NODE_LINES);
        }
        if patterns.file.is_match(line) { Context::File(line.to_owned()) } else { Context::Nothing }
    }

    /// Whether the place of an error may still follow this line.
    fn stays(&self, patterns: &Patterns, line: &str) -> Context {
        if patterns.harmless.is_match(line) { Context::Nothing } else { Context::Error }
    }
}

/// The beginning of a line.
fn head(line: &str) -> &str {
    &line[..line.floor_char_boundary(LOOKED_AT)]
}

/// The place that a pattern has found: its groups are the path, the line and perhaps the column.
fn place(found: &Captures<'_>) -> Option<String> {
    let path = found.name("path")?.as_str();
    let path = path.strip_prefix("file://").unwrap_or(path);
    is_file(path).then(|| written(path, found))
}

fn written(path: &str, found: &Captures<'_>) -> String {
    let group = |name| found.name(name).map(|group| group.as_str());
    let mut text = path.to_owned();
    for number in [group("line"), group("column")].into_iter().flatten() {
        text.push(':');
        text.push_str(number);
    }
    text
}

/// Whether it looks like a file of the project's, and not like a host, a time or a program's name.
fn is_file(path: &str) -> bool {
    const NAMES: [&str; 8] =
        ["Makefile", "makefile", "GNUmakefile", "Dockerfile", "Rakefile", "Gemfile", "Justfile", "justfile"];
    const SHELLS: [&str; 6] = ["sh", "bash", "dash", "zsh", "ksh", "busybox"];
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    let is_named = extension.is_some_and(|it| it.starts_with(|c: char| c.is_ascii_alphabetic()));
    let is_inside = path.starts_with("node:") || path.contains("://") || path.starts_with('<');
    !is_inside
        && (is_named
            || NAMES.contains(&name)
            || path.contains('/') && !SHELLS.contains(&name) && !name.is_empty())
}
