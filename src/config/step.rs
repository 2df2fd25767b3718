//! Key paths, such as `components.api.depends_on[0]`.

use std::fmt::Write as _;

/// The longest key path that is shown: names may be of any length, and mistakes below them many.
const LONGEST: usize = 512;

/// One step of a key path.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step<'t> {
    Key(&'t str),
    Index(usize),
}

/// The steps as a text; empty for the whole file.
pub(crate) fn key_path<'t>(steps: impl IntoIterator<Item = Step<'t>>) -> String {
    let mut path = String::new();
    for step in steps {
        let dot = if path.is_empty() { "" } else { "." };
        let _ = match step {
            Step::Key(key) => write!(path, "{dot}{}", &key[..key.floor_char_boundary(LONGEST)]),
            Step::Index(index) => write!(path, "[{index}]"),
        };
        if path.len() > LONGEST {
            path.truncate(path.floor_char_boundary(LONGEST));
            path.push('…');
            break;
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::{Step, key_path};

    #[test]
    fn paths_are_short_whatever_the_names_are() {
        assert_eq!(key_path([Step::Key("a"), Step::Index(0), Step::Key("b.c")]), "a[0].b.c");
        assert_eq!(key_path([]), "");
        let long = "é".repeat(10_000);
        assert_eq!(key_path([Step::Key(&long); 64]).len(), 512 + '…'.len_utf8());
        assert_eq!(key_path([Step::Key("a"), Step::Key(&long)]).chars().last(), Some('…'));
    }
}
