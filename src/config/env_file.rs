//! Env files: `KEY=VALUE` lines, comments, quotes; no shell.

use std::ops::Range;

/// A line that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadLine {
    /// The bytes meant.
    pub(crate) at: Range<usize>,
    /// What is wrong, in a few words.
    pub(crate) what: &'static str,
}

/// One assignment.
pub(crate) type Assignment = (String, String);

/// Reads the text of an env file: all that can be read, and every line that can't.
///
/// A line is `NAME=VALUE`, with `export ` before it or not. A bare value ends before ` #`; one in single
/// quotes is taken as it stands; in double quotes, `\n`, `\r`, `\t`, `\"`, `\\`, `\$` are known. A quoted value may span lines.
pub(crate) fn parse(text: &str) -> (Vec<Assignment>, Vec<BadLine>) {
    let mut reader = Reader { text, at: 0 };
    let (mut values, mut bad) = (Vec::new(), Vec::new());
    while reader.at < text.len() {
        match reader.line() {
            Ok(assignment) => values.extend(assignment),
            Err(line) => bad.push(line),
        }
    }
    (values, bad)
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn line(&mut self) -> Result<Option<Assignment>, BadLine> {
        let start = self.at;
        let end = self.text[start..].find('\n').map_or(self.text.len(), |length| start + length);
        let line = &self.text[start..end];
        self.at = end + 1;
        let content = line.trim_start();
        let begin = start + (line.len() - content.len());
        if content.is_empty() || content.starts_with('#') {
            return Ok(None);
        }
        let bare = content.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t']));
        let pair = bare.map_or(content, str::trim_start);
        let whole = begin..begin + content.trim_end().len();
        let Some((name, value)) = pair.split_once('=') else {
            return Err(BadLine { at: whole, what: "a line is `NAME=VALUE`" });
        };
        let name = name.trim_end();
        if !is_name(name) {
            let what = "a name has letters, digits and `_`, and begins with no digit";
            return Err(BadLine { at: whole, what });
        }
        let value_at = end - value.len();
        let value = self.value(value_at, end)?;
        if value.contains('\0') {
            return Err(BadLine { at: whole, what: "a value holds no NUL byte" });
        }
        Ok(Some((name.into(), value)))
    }

    fn value(&mut self, start: usize, end: usize) -> Result<String, BadLine> {
        let text = &self.text[start..end];
        let trimmed = text.trim_start();
        let begin = start + (text.len() - trimmed.len());
        let (value, after) = match trimmed.chars().next() {
            Some('\'') => self.single(begin)?,
            Some('"') => self.double(begin)?,
            _ => return Ok(bare(text).into()),
        };
        let end = self.text[after..].find('\n').map_or(self.text.len(), |length| after + length);
        self.at = end + 1;
        let rest = self.text[after..end].trim_end();
        if rest.is_empty() || rest.trim_start().starts_with('#') && rest.starts_with([' ', '\t']) {
            return Ok(value);
        }
        Err(BadLine { at: after..after + rest.len(), what: "nothing but a comment follows a closing quote" })
    }

    fn single(&self, open: usize) -> Result<(String, usize), BadLine> {
        let inside = &self.text[open + 1..];
        match inside.find('\'') {
            Some(length) => Ok((inside[..length].into(), open + length + 2)),
            None => Err(BadLine { at: open..open + 1, what: "this quote is never closed" }),
        }
    }

    fn double(&self, open: usize) -> Result<(String, usize), BadLine> {
        let mut value = String::new();
        let mut chars = self.text[open + 1..].char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => return Ok((value, open + at + 2)),
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('n') => value.push('\n'),
                    Some('r') => value.push('\r'),
                    Some('t') => value.push('\t'),
                    Some('\n') => {}
                    Some(c @ ('"' | '\\' | '$' | '`')) => value.push(c),
                    Some(c) => value.extend(['\\', c]),
                    None => break,
                },
                c => value.push(c),
            }
        }
        Err(BadLine { at: open..open + 1, what: "this quote is never closed" })
    }
}

/// A value without quotes: to the end of the line, or to a `#` after a blank.
fn bare(text: &str) -> &str {
    let comment = text.char_indices().find(|(at, c)| *c == '#' && text[..*at].ends_with([' ', '\t']));
    text[..comment.map_or(text.len(), |(at, _)| at)].trim()
}

/// Whether a variable of an env file may have that name.
pub(crate) fn is_name(name: &str) -> bool {
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    !name.is_empty() && name.bytes().all(valid) && !name.as_bytes()[0].is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn values() {
        let cases = [
            ("A=1", "1"),
            ("A = 1 ", "1"),
            ("export A=1", "1"),
            ("  A=a b # c", "a b"),
            ("A=a#b", "a#b"),
            ("A=", ""),
            ("A=# c", "# c"),
            ("A= # c", ""),
            ("A='a \"b\" \\n $X' # c", "a \"b\" \\n $X"),
            ("A=\"a\\n\\\"b\\\" \\$X \\x\"", "a\n\"b\" $X \\x"),
            ("A=\"a\nb\"", "a\nb"),
            ("A='a\nb'\n", "a\nb"),
            ("A=it's", "it's"),
            ("A=1\r", "1"),
            ("A=\"1\"\r", "1"),
            ("A=b=c", "b=c"),
        ];
        for (text, value) in cases {
            let (values, bad) = parse(text);
            assert_eq!((values, bad), (vec![("A".into(), value.into())], vec![]), "{text:?}");
        }
        assert_eq!(parse("# c\n\nA=1\r\nB=2\n").0.len(), 2);
    }

    #[test]
    fn every_bad_line_is_told() {
        let text = "A\nB=1\n1C=2\n=3\nD='x\nE=4";
        let (values, bad) = parse(text);
        assert_eq!(values.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["B", "E"]);
        let places: Vec<_> = bad.iter().map(|line| &text[line.at.clone()]).collect();
        assert_eq!(places, ["A", "1C=2", "=3", "'"]);
        assert_eq!(parse("A='x' y").1[0].at, 5..7);
        assert_eq!(parse("export=1").0.len(), 1);
    }
}
