//! What is wrong with a file, and where.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Deserializer, Serialize};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// The file is not valid.
    Error,
    /// The file is valid; the user should know.
    Warning,
}

/// A place in a source file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file, as the user named it.
    pub file: Arc<Path>,
    /// The bytes meant.
    pub span: Range<usize>,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// One mistake, with everything that a person, an editor or a script needs to mend it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Stable: `E…` for errors, `W…` for warnings. docs/errors.md lists them.
    pub code: &'static str,
    /// One sentence without a full stop, in lower case.
    pub message: String,
    /// Where; `None` if the whole file is meant and it could not be read.
    pub place: Option<Place>,
    /// The file meant, where there is no place in it: it is missing, or no text.
    pub file: Option<Arc<Path>>,
    /// A second place that belongs to it ("first defined here"), with its label.
    pub related: Option<(Place, String)>,
    /// The key path, such as `components.api.depends_on[0]`; empty for the whole file.
    pub path: String,
    /// What to do ("did you mean `depends_on`?").
    pub help: Option<String>,
}

/// As it is read in again.
#[derive(Deserialize)]
struct Written {
    severity: Severity,
    code: String,
    message: String,
    place: Option<Place>,
    file: Option<Arc<Path>>,
    related: Option<(Place, String)>,
    path: String,
    help: Option<String>,
}

impl<'de> Deserialize<'de> for Diagnostic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written { severity, code, message, place, file, related, path, help } =
            Written::deserialize(deserializer)?;
        Ok(Self { severity, code: stable(code), message, place, file, related, path, help })
    }
}

/// The code as a text that stays: there are few, and each is kept once.
fn stable(code: String) -> &'static str {
    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known.get(code.as_str()) {
        return known;
    }
    let code: &'static str = code.leak();
    known.insert(code);
    code
}
