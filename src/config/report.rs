//! The mistakes found so far: each once, and no more than can be of use.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::code::{self, Code};
use crate::types::{Diagnostic, Place, Severity};

/// More diagnostics than this are counted, not kept: a hostile file must not fill the memory with them.
const KEPT: usize = 10_000;

/// Collects diagnostics.
#[derive(Debug, Default)]
pub(crate) struct Report {
    kept: Vec<Diagnostic>,
    seen: BTreeSet<(Arc<Path>, usize, &'static str, String)>,
    omitted: usize,
    errors: usize,
}

/// A diagnostic without what the report knows itself.
#[derive(Debug)]
pub(crate) struct Mistake {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) related: Option<(Place, String)>,
}

impl Mistake {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: None, related: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = self.help.or(help);
        self
    }

    pub(crate) fn related(mut self, place: Place, label: impl Into<String>) -> Self {
        self.related = Some((place, label.into()));
        self
    }

    /// The whole diagnostic.
    pub(crate) fn at(self, place: Option<Place>, path: String) -> Diagnostic {
        let severity = if self.code.id.starts_with('W') { Severity::Warning } else { Severity::Error };
        let Self { code, message, help, related } = self;
        Diagnostic { severity, code: code.id, message, place, related, path, help }
    }
}

impl Report {
    /// Whether there is room for one more; saves making what would not be kept.
    pub(crate) fn add(&mut self, diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        if self.kept.len() >= KEPT {
            self.omitted += 1;
            return;
        }
        let unseen = match &diagnostic.place {
            Some(place) => {
                let key =
                    (Arc::clone(&place.file), place.span.start, diagnostic.code, diagnostic.message.clone());
                self.seen.insert(key)
            }
            None => true,
        };
        if unseen {
            self.kept.push(diagnostic);
        }
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Everything, by place.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.kept.sort_by(|one, other| Self::order(one).cmp(&Self::order(other)));
        if self.omitted > 0 {
            let more = Mistake::new(code::TOO_MANY, format!("{} more are not shown", self.omitted));
            self.kept.push(more.at(None, String::new()));
        }
        self.kept
    }

    fn order(diagnostic: &Diagnostic) -> (Option<(&Path, usize)>, &str) {
        let place = diagnostic.place.as_ref().map(|place| (&*place.file, place.span.start));
        (place, diagnostic.code)
    }
}
