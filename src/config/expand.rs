//! `${NAME}`, `${NAME:-default}`, `${NAME:?message}` and `$$` in values.

use std::borrow::Cow;
use std::ops::Range;

/// How deep defaults may hold variables of their own.
const MAX_DEPTH: usize = 8;
/// The longest text that a scalar may become.
const MAX_BYTES: usize = 1 << 20;

/// What is wrong with a text, and which bytes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) at: Range<usize>,
    pub(crate) kind: ProblemKind,
}

/// What is wrong with an expansion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    /// A `${` that is none of the known forms; why.
    Malformed(&'static str),
    /// `${NAME:?message}` where NAME is unset or empty.
    Required(String, String),
    /// `${NAME}` where NAME is unset.
    Unset(String),
    /// The result is too long.
    TooLong,
}

/// A text with its variables put in, and what was wrong with it.
#[derive(Debug)]
pub(crate) struct Expanded<'a> {
    /// Borrowed if there was nothing to expand.
    pub(crate) text: Cow<'a, str>,
    /// In the order of the text.
    pub(crate) problems: Vec<Problem>,
}

/// Expands a text; `lookup` knows the variables.
pub(crate) fn expand<'a, 'v>(text: &'a str, lookup: &dyn Fn(&str) -> Option<&'v str>) -> Expanded<'a> {
    if memchr::memchr(b'$', text.as_bytes()).is_none() {
        return Expanded { text: Cow::Borrowed(text), problems: Vec::new() };
    }
    let mut expander = Expander { lookup, out: String::with_capacity(text.len()), problems: Vec::new() };
    expander.text(text, 0, 0);
    if expander.out.len() > MAX_BYTES.max(text.len()) {
        expander.problems.push(Problem { at: 0..text.len(), kind: ProblemKind::TooLong });
        expander.out.clear();
    }
    Expanded { text: Cow::Owned(expander.out), problems: expander.problems }
}

struct Expander<'l, 'v> {
    lookup: &'l dyn Fn(&str) -> Option<&'v str>,
    out: String,
    problems: Vec<Problem>,
}

impl<'v> Expander<'_, 'v> {
    /// Expands `text`, which begins at `base` of the whole.
    fn text(&mut self, text: &str, base: usize, depth: usize) {
        let mut rest = 0;
        while let Some(found) = memchr::memchr(b'$', &text.as_bytes()[rest..]) {
            let at = rest + found;
            self.push(&text[rest..at]);
            let after = &text[at + 1..];
            rest = if after.starts_with('$') {
                self.push("$");
                at + 2
            } else if after.starts_with('{') {
                at + self.braced(&text[at..], base + at, depth)
            } else {
                self.push("$");
                at + 1
            };
        }
        self.push(&text[rest..]);
    }

    /// Expands the `${…}` that `text` begins with; returns its length.
    fn braced(&mut self, text: &str, base: usize, depth: usize) -> usize {
        let Some(length) = closing(text) else {
            self.problem(base..base + text.len(), ProblemKind::Malformed("it is never closed by `}`"));
            return text.len();
        };
        let inside = &text[2..length - 1];
        let name_length = inside.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        let (name, form) = inside.split_at(name_length);
        let whole = base..base + length;
        if name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
            self.problem(whole, ProblemKind::Malformed("no name of a variable follows `${`"));
        } else if form.is_empty() {
            match (self.lookup)(name) {
                Some(value) => self.push(value),
                None => self.problem(whole, ProblemKind::Unset(name.into())),
            }
        } else if let Some(default) = form.strip_prefix(":-") {
            self.or_default(name, default, base + 2 + name_length + 2, depth);
        } else if let Some(message) = form.strip_prefix(":?") {
            match self.set(name) {
                Some(value) => self.push(value),
                None => self.problem(whole, ProblemKind::Required(name.into(), message.into())),
            }
        } else {
            self.problem(
                whole,
                ProblemKind::Malformed("after the name comes `}`, `:-default}` or `:?message}`"),
            );
        }
        length
    }

    fn or_default(&mut self, name: &str, default: &str, base: usize, depth: usize) {
        match self.set(name) {
            Some(value) => self.push(value),
            None if depth >= MAX_DEPTH => {
                self.problem(base..base + default.len(), ProblemKind::Malformed("defaults nest too deep"));
            }
            None => self.text(default, base, depth + 1),
        }
    }

    /// A variable that is set and not empty.
    fn set(&self, name: &str) -> Option<&'v str> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    fn push(&mut self, text: &str) {
        // One piece past the limit is enough to know; more would only fill the memory.
        if self.out.len() <= MAX_BYTES {
            self.out.push_str(text);
        }
    }

    fn problem(&mut self, at: Range<usize>, kind: ProblemKind) {
        self.problems.push(Problem { at, kind });
    }
}

/// The length of the `${…}` that `text` begins with, braces of inner ones matched.
fn closing(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut open = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                open += 1;
                at += 1;
            }
            b'$' if bytes.get(at + 1) == Some(&b'$') => at += 1,
            b'}' => {
                open -= 1;
                if open == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> (String, Vec<ProblemKind>) {
        let lookup = |name: &str| match name {
            "A" => Some("1"),
            "EMPTY" => Some(""),
            _ => None,
        };
        let expanded = expand(text, &lookup);
        (expanded.text.into_owned(), expanded.problems.into_iter().map(|problem| problem.kind).collect())
    }

    #[test]
    fn the_forms_of_the_contract() {
        for (text, result) in [
            ("plain", "plain"),
            ("a${A}b", "a1b"),
            ("$$A $${A}", "$A ${A}"),
            ("$A $ $", "$A $ $"),
            ("${A:-x}", "1"),
            ("${B:-x y}", "x y"),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY}", ""),
            ("${B:-}", ""),
            ("${B:-${A}}!", "1!"),
            ("${B:-${C:-${A}}}", "1"),
            ("${A:?needed}", "1"),
            ("${B:-$$}", "$"),
            ("}${A}{", "}1{"),
        ] {
            assert_eq!(run(text), (result.into(), vec![]), "{text}");
        }
    }

    #[test]
    fn problems() {
        assert_eq!(run("a${B}c"), ("ac".into(), vec![ProblemKind::Unset("B".into())]));
        assert_eq!(run("${B:?no b}").1, vec![ProblemKind::Required("B".into(), "no b".into())]);
        assert_eq!(run("${EMPTY:?}").1, vec![ProblemKind::Required("EMPTY".into(), String::new())]);
        for text in ["${", "${}", "${A", "${1}", "${A-x}", "${A:x}", "${A b}", "${ A}", "${A:-${B}"] {
            assert!(matches!(run(text).1[..], [ProblemKind::Malformed(_)]), "{text}");
        }
        assert_eq!(run("${B} ${C}").1.len(), 2);
    }

    #[test]
    fn neither_depth_nor_length_runs_away() {
        let deep = format!("{}x{}", "${B:-".repeat(100_000), "}".repeat(100_000));
        assert!(matches!(run(&deep).1[..], [ProblemKind::Malformed(_)]));
        let big = "x".repeat(1 << 19);
        let lookup = |_: &str| Some(big.as_str());
        let expanded = expand("${A}${A}${A}${A}", &lookup);
        assert_eq!(expanded.problems[0].kind, ProblemKind::TooLong);
    }
}
