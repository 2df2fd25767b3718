//! A command line split into words as a shell would, without a shell: blanks, quotes and backslashes.

/// Why a text is not a list of words, and at which byte of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unbalanced {
    pub(crate) at: usize,
    pub(crate) what: &'static str,
}

/// Splits a text into words.
///
/// # Errors
/// [`Unbalanced`] for a quote that is not closed and a backslash at the end.
pub(crate) fn split(text: &str) -> Result<Vec<String>, Unbalanced> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => single(&mut chars, word.get_or_insert_default(), at)?,
            '"' => double(&mut chars, word.get_or_insert_default(), at)?,
            '\\' => match chars.next() {
                Some((_, '\n')) => {}
                Some((_, escaped)) => word.get_or_insert_default().push(escaped),
                None => return Err(Unbalanced { at, what: "nothing follows this backslash" }),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

type Chars<'t> = std::str::CharIndices<'t>;

fn single(chars: &mut Chars<'_>, word: &mut String, at: usize) -> Result<(), Unbalanced> {
    for (_, c) in chars {
        match c {
            '\'' => return Ok(()),
            c => word.push(c),
        }
    }
    Err(Unbalanced { at, what: "this single quote is never closed" })
}

/// Within double quotes, a backslash escapes only what a shell would otherwise act on.
fn double(chars: &mut Chars<'_>, word: &mut String, at: usize) -> Result<(), Unbalanced> {
    while let Some((_, c)) = chars.next() {
        match c {
            '"' => return Ok(()),
            '\\' => match chars.next() {
                Some((_, '\n')) => {}
                Some((_, escaped @ ('"' | '\\' | '$' | '`'))) => word.push(escaped),
                Some((_, other)) => word.extend(['\\', other]),
                None => break,
            },
            c => word.push(c),
        }
    }
    Err(Unbalanced { at, what: "this double quote is never closed" })
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_are_those_of_a_shell() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("  a  b\tc\n", &["a", "b", "c"]),
            ("a 'b c' d", &["a", "b c", "d"]),
            ("a \"b c\"d", &["a", "b cd"]),
            ("'' \"\"", &["", ""]),
            (r#"a\ b \'c "\"\\\$\n""#, &["a b", "'c", r#""\$\n"#]),
            ("a='x y'z", &["a=x yz"]),
            ("a\\\nb", &["ab"]),
            ("echo $HOME | cat; *", &["echo", "$HOME", "|", "cat;", "*"]),
            ("é '日 本'", &["é", "日 本"]),
        ];
        for (text, words) in cases {
            assert_eq!(split(text).unwrap(), *words, "{text}");
        }
    }

    #[test]
    fn what_is_open_is_found() {
        for (text, at) in [("a 'b", 2), ("a \"b\\\"", 2), ("a\\", 1), ("\"a\\", 0)] {
            assert_eq!(split(text).unwrap_err().at, at, "{text}");
        }
    }

    #[test]
    fn a_shell_agrees() {
        for text in [r#"a\ b "c\"d\e" 'f'g h\\i"#, "x'y'\"z\" ''", "a\\'b \"'\" '\"'"] {
            let script = format!("for word in {text}; do printf '%s\\0' \"$word\"; done");
            let output = std::process::Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
            let words: Vec<String> =
                String::from_utf8(output.stdout).unwrap().split_terminator('\0').map(String::from).collect();
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
    }
}
