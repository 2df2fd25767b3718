//! The name of a component.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of a component: `[A-Za-z0-9][A-Za-z0-9_.-]{0,62}` (contract, section 2). Cheap to clone.
///
/// The pattern admits no path separator, no control character and no leading dot, so a name is safe as a
/// file name and as the prefix of a line of output.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Name(Arc<str>);

/// Why a text is not a component's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidName;

impl Name {
    /// Checks `text` against the pattern.
    ///
    /// # Errors
    /// [`InvalidName`] when it does not match.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let bytes = text.as_bytes();
        let head = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
        let tail = bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if head && tail && bytes.len() <= 63 { Ok(Self(text.into())) } else { Err(InvalidName) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.as_str().to_owned()
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(&text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a name has up to 63 letters, digits, `_`, `.` or `-`, and begins with a letter or a digit",
        )
    }
}

impl std::error::Error for InvalidName {}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn the_pattern_is_the_contracts() {
        for good in ["a", "0", "api", "a.b-c_d", &"x".repeat(63)] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".a", "-a", "_a", "a/b", "a b", "ä", "a\n", &"x".repeat(64)] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }
}
