//! Just enough of Rust's grammar to see what a file names and how long its functions are: comments, strings
//! and characters are left out, the rest becomes words and single signs.

/// A word or a sign of a source file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// A path as the source names it, with braces spread out: `use a::{b, c::d}` gives `a::b` and `a::c::d`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
    /// Whether a `use` names it.
    pub(crate) imported: bool,
}

/// A function and the lines from its `fn` to its closing brace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

/// Splits a source text.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: source, line: 1, tokens: Vec::new() };
    while let Some(first) = lexer.rest.chars().next() {
        lexer.step(first);
    }
    lexer.tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn step(&mut self, first: char) {
        if self.rest.starts_with("//") {
            self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.skip(comment_length(self.rest));
        } else if let Some(length) = text_length(self.rest) {
            self.skip(length);
        } else if is_word(first) {
            let length = self.rest.find(|sign| !is_word(sign)).unwrap_or(self.rest.len());
            self.push(length);
        } else if first.is_whitespace() {
            self.skip(first.len_utf8());
        } else {
            self.push(first.len_utf8());
        }
    }

    fn push(&mut self, length: usize) {
        self.tokens.push(Token { text: self.rest[..length].to_owned(), line: self.line });
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        self.line += self.rest[..length].matches('\n').count();
        self.rest = &self.rest[length..];
    }
}

fn is_word(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_'
}

/// The length of the block comment that the text begins with; they nest.
fn comment_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of the string, character or lifetime that the text begins with, if it begins with one.
fn text_length(text: &str) -> Option<usize> {
    let prefix = text.find(|sign: char| !sign.is_ascii_lowercase()).unwrap_or(text.len());
    let body = &text[prefix..];
    match &text[..prefix] {
        "" | "b" | "c" if body.starts_with('"') => Some(prefix + quoted_length(body)),
        "r" | "br" | "cr" if body.starts_with(['"', '#']) => raw_length(body).map(|length| prefix + length),
        "" | "b" if body.starts_with('\'') => Some(prefix + tick_length(body)),
        _ => None,
    }
}

/// From one quotation mark to the next that no backslash precedes.
fn quoted_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, sign) in text.char_indices().skip(1) {
        match sign {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// `"…"` or `#"…"#`, after the `r`; `None` for a raw identifier.
fn raw_length(text: &str) -> Option<usize> {
    let hashes = text.find(|sign| sign != '#')?;
    let inner = text[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inner.find(&end).map_or(inner.len(), |at| at + end.len());
    Some(hashes + 1 + length)
}

/// A character in single quotation marks, or just the mark of a lifetime.
fn tick_length(text: &str) -> usize {
    let mut signs = text.char_indices().skip(1);
    match (signs.next(), signs.next()) {
        (Some((_, '\\')), Some((escaped, _))) => {
            let after = escaped + 1;
            text[after..].find('\'').map_or(1, |at| after + at + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

/// Every path that a file names.
pub(crate) fn paths(tokens: &[Token]) -> Vec<Named> {
    let mut named = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let imported = at > 0 && tokens[at - 1].text == "use";
        let before = named.len();
        if is_name(&tokens[at]) {
            at = path(tokens, at, &[], &mut named);
            // A single word outside an import is a local name, not a path.
            if !imported && named[before..].iter().all(|one| one.path.len() == 1) {
                named.truncate(before);
            }
            named[before..].iter_mut().for_each(|one| one.imported = imported);
        } else {
            at += 1;
        }
    }
    named
}

fn is_name(token: &Token) -> bool {
    token.text.starts_with(|sign: char| sign.is_alphabetic() || sign == '_')
}

/// Reads the path that begins at `at`, as it goes on after `prefix`; returns where it ends.
fn path(tokens: &[Token], mut at: usize, prefix: &[String], named: &mut Vec<Named>) -> usize {
    let mut path = prefix.to_vec();
    let line = tokens[at].line;
    while let Some(token) = tokens.get(at) {
        if token.text == "{" && !path.is_empty() {
            return group(tokens, at + 1, &path, named);
        }
        if !is_name(token) && token.text != "*" {
            break;
        }
        path.push(token.text.clone());
        at += 1;
        if !is_sign(tokens, at, "::") {
            break;
        }
        at += 2;
    }
    named.push(Named { path, line, imported: false });
    at
}

/// Reads what stands in the braces of a path.
fn group(tokens: &[Token], mut at: usize, prefix: &[String], named: &mut Vec<Named>) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "}" => return at + 1,
            "as" => at += 2,
            _ if is_name(token) => at = path(tokens, at, prefix, named),
            _ => at += 1,
        }
    }
    at
}

/// Whether the sign, which may be of several characters, stands at `at`.
fn is_sign(tokens: &[Token], at: usize, sign: &str) -> bool {
    sign.chars()
        .enumerate()
        .all(|(ahead, part)| tokens.get(at + ahead).is_some_and(|token| token.text == part.to_string()))
}

/// Every function with a body, those inside others too.
pub(crate) fn functions(tokens: &[Token]) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        let [word, name] = pair else { continue };
        if word.text != "fn" || !is_name(name) {
            continue;
        }
        if let Some(end) = body_end(tokens, at + 2) {
            let lines = tokens[end].line - word.line + 1;
            found.push(Function { name: name.text.clone(), line: word.line, lines });
        }
    }
    found
}

/// Where the braces that open next are closed; `None` for a declaration without a body.
fn body_end(tokens: &[Token], from: usize) -> Option<usize> {
    let mut inside = 0_usize;
    let open = (from..tokens.len()).find(|&at| {
        match tokens[at].text.as_str() {
            "(" | "[" => inside += 1,
            ")" | "]" => inside = inside.saturating_sub(1),
            _ => {}
        }
        inside == 0 && matches!(tokens[at].text.as_str(), "{" | ";")
    })?;
    (tokens[open].text == "{").then(|| closing(tokens, open))
}

fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len() - 1
}

/// Takes every `#[cfg(test)] mod … { }` out, and tells how many lines that were.
pub(crate) fn without_tests(mut tokens: Vec<Token>) -> (Vec<Token>, usize) {
    let mark = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    let mut lines = 0;
    let mut at = 0;
    while at + mark.len() < tokens.len() {
        let open = at + mark.len() + 1;
        let marked = mark.iter().enumerate().all(|(ahead, word)| tokens[at + ahead].text == *word);
        if marked && is_sign(&tokens, open, "{") {
            let end = closing(&tokens, open);
            lines += tokens[end].line - tokens[at].line + 1;
            tokens.drain(at..=end);
        } else {
            at += 1;
        }
    }
    (tokens, lines)
}

/// The paths of a file as they would be without its imports: `use std::thread; thread::spawn(…)` names
/// `std::thread::spawn`.
pub(crate) fn resolved(tokens: &[Token]) -> Vec<Named> {
    let mut named = paths(tokens);
    let imports: Vec<Vec<String>> =
        named.iter().filter(|one| one.imported).map(|one| one.path.clone()).collect();
    for one in named.iter_mut().filter(|one| !one.imported) {
        if let Some(import) = imports.iter().find(|import| import.last() == one.path.first()) {
            one.path.splice(..1, import.iter().cloned());
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        tokens(source).into_iter().map(|token| token.text).collect()
    }

    fn named(source: &str) -> Vec<String> {
        paths(&tokens(source)).into_iter().map(|one| one.path.join("::")).collect()
    }

    #[test]
    fn comments_texts_and_characters_are_left_out() {
        assert_eq!(words("a // b\nc /* d /* e */ f */ g"), ["a", "c", "g"]);
        assert_eq!(words(r#"a "b \" c" d"#), ["a", "d"]);
        assert_eq!(words("a r#\"b \" c\"# d br\"e\" f"), ["a", "d", "f"]);
        assert_eq!(words(r"a '{' '\'' '\u{7b}' b'}' z"), ["a", "z"]);
        assert_eq!(words("&'a T"), ["&", "a", "T"]);
        assert_eq!(words("r#type"), ["r", "#", "type"]);
    }

    #[test]
    fn lines_are_counted_through_what_is_left_out() {
        let last = tokens("\"two\nlines\" /* and\nmore */ word").pop().unwrap();
        assert_eq!(last, Token { text: "word".into(), line: 3 });
    }

    #[test]
    fn paths_are_spread_out() {
        let import = "use crate::{types::{Name, Time as T}, plan};";
        let spread = ["use", "crate::types::Name", "crate::types::Time", "crate::plan"];
        assert_eq!(named(import), &spread[1..]);
        assert_eq!(named("let x = std::fs::read(y);"), ["std::fs::read"]);
        assert_eq!(named("use petgraph;"), ["petgraph"]);
        assert_eq!(named("use crate::types::*;"), ["crate::types::*"]);
        assert!(named("let x = y; // crate::z").is_empty());
        assert!(named("let x = \"crate::z\";").is_empty());
    }

    #[test]
    fn functions_are_measured() {
        let source =
            "fn a() {\n  if x { y }\n}\nfn b();\nimpl X {\n  fn c(d: fn(u8) -> [u8; 2]) -> X {\n  }\n}\n";
        let found: Vec<_> = functions(&tokens(source)).into_iter().map(|one| (one.name, one.lines)).collect();
        assert_eq!(found, [("a".to_owned(), 3), ("c".to_owned(), 2)]);
    }

    #[test]
    fn test_modules_are_taken_out() {
        let source = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nc";
        let (rest, lines) = without_tests(tokens(source));
        assert_eq!((rest.last().unwrap().text.as_str(), rest.len(), lines), ("c", 7, 4));
        assert_eq!(without_tests(tokens("#[cfg(test)]\nmod tests;\n")).1, 0);
    }

    #[test]
    fn imports_are_resolved() {
        let names: Vec<_> = resolved(&tokens("use std::{fs, thread}; fn a() { thread::spawn(b); }"))
            .into_iter()
            .map(|one| one.path.join("::"))
            .collect();
        assert_eq!(names, ["std::fs", "std::thread", "std::thread::spawn"]);
    }
}
