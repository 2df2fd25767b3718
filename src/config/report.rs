//! The mistakes found so far: each once, and no more than can be of use.

use super::code::{self, Code};
use crate::types::{Diagnostic, Place, Severity};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

/// So many diagnostics are kept whatever the file is; more are counted, so that a hostile file can't fill the
/// memory with them. No file that people write has so many.
const KEPT: usize = 250_000;
/// One more is kept for each so many bytes of the file: the memory stays a small multiple of it.
const BYTES_EACH: usize = 64;

/// Collects diagnostics.
#[derive(Debug, Default)]
pub(crate) struct Report {
    kept: Vec<Diagnostic>,
    /// Hashes of place, code and message: small, whatever the messages are.
    seen: BTreeSet<u64>,
    more_room: usize,
    omitted: usize,
    errors: usize,
    closed: bool,
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
        Diagnostic { severity, code: code.id, message, place, file: None, related, path, help }
    }

    /// The whole diagnostic, of a file that has no place to show.
    pub(crate) fn of_file(self, file: &Path) -> Diagnostic {
        Diagnostic { file: Some(file.into()), ..self.at(None, String::new()) }
    }
}

impl Report {
    /// A text of so many bytes is looked at; a large one may have more mistakes.
    pub(crate) fn make_room(&mut self, bytes: usize) {
        self.more_room += bytes / BYTES_EACH;
    }

    /// Keeps a diagnostic, unless the same one is there.
    pub(crate) fn add(&mut self, diagnostic: Diagnostic) {
        if self.closed {
            return;
        }
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        if self.kept.len() >= KEPT + self.more_room {
            self.omitted += 1;
            return;
        }
        let seen = |place: &Place| !self.seen.insert(Self::hash(place, &diagnostic));
        if !diagnostic.place.as_ref().is_some_and(seen) {
            self.kept.push(diagnostic);
        }
    }

    /// Keeps this one and nothing more: reading on is of no use, and what would be found is not to be trusted.
    pub(crate) fn close_with(&mut self, diagnostic: Diagnostic) {
        self.add(diagnostic);
        self.closed = true;
    }

    fn hash(place: &Place, diagnostic: &Diagnostic) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&place.file, place.span.start, diagnostic.code, &diagnostic.message).hash(&mut hasher);
        hasher.finish()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_mistakes_than_the_memory_is_for_are_counted() {
        let mut report = Report::default();
        report.make_room(640);
        for number in 0..KEPT + 15 {
            report.add(Mistake::new(code::DUPLICATE_KEY, number.to_string()).at(None, String::new()));
        }
        let all = report.finish();
        assert_eq!(all.len(), KEPT + 11);
        let last = all.last().unwrap();
        assert_eq!((last.code, last.message.as_str()), ("E007", "5 more are not shown"));
    }

    #[test]
    fn a_closed_report_takes_nothing_more() {
        let mut report = Report::default();
        let limit = || Mistake::new(code::LIMIT, "a limit").at(None, String::new());
        report.close_with(limit());
        report.add(limit());
        assert!(report.has_errors());
        assert_eq!(report.finish().len(), 1);
    }
}
