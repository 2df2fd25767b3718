//! Diagnostics shown: to people in their source lines, and to programs as JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;
use serde_json::Value as Json;

use super::source::{Source, Sources};
use super::text::is_direction;
use crate::types::{Diagnostic, Place, Severity};

/// How many errors, and how many warnings, the short form shows.
const SHOWN: usize = 20;
/// How much of a long line is shown on either side of the place.
const AROUND: usize = 60;

/// How many further places of one mistake the short form lists.
const PLACES: usize = 8;

/// All the diagnostics for people: each with its file, line and column, the source line with the place
/// underlined, its code, and its help.
#[must_use]
pub fn human(diagnostics: &[Diagnostic], sources: &Sources, color: bool) -> String {
    let renderer = renderer(color);
    let mut out = String::new();
    for severity in [Severity::Error, Severity::Warning] {
        for diagnostic in diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity) {
            let _ = writeln!(out, "{}\n", one(diagnostic, &[], sources, &renderer));
        }
    }
    ended(out)
}

/// The diagnostics in a short form, for a terminal that shows other things, too: a mistake that is made in
/// many places (a program that is not installed) is shown once, with the places, and of many mistakes the first
/// ones are shown.
#[must_use]
pub fn brief(diagnostics: &[Diagnostic], sources: &Sources, color: bool) -> String {
    let renderer = renderer(color);
    let mut out = String::new();
    for severity in [Severity::Error, Severity::Warning] {
        let of_this = alike(diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity));
        for (diagnostic, again) in of_this.iter().take(SHOWN) {
            let _ = writeln!(out, "{}\n", one(diagnostic, again, sources, &renderer));
        }
        let what = if severity == Severity::Error { "error" } else { "warning" };
        let more = of_this.len().saturating_sub(SHOWN);
        if more > 0 {
            let plural = if more == 1 { "" } else { "s" };
            let _ = writeln!(out, "and {more} more {what}{plural}: `orch validate` shows all\n");
        }
    }
    ended(out)
}

fn renderer(color: bool) -> Renderer {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    renderer.decor_style(DecorStyle::Ascii)
}

fn ended(mut out: String) -> String {
    out.truncate(out.trim_end().len());
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// Each mistake with the further places where it is made, in the order of the first place.
fn alike<'d>(diagnostics: impl Iterator<Item = &'d Diagnostic>) -> Vec<(&'d Diagnostic, Vec<&'d Place>)> {
    let mut groups: Vec<(&Diagnostic, Vec<&Place>)> = Vec::new();
    let mut known = BTreeMap::new();
    for diagnostic in diagnostics {
        let Diagnostic { code, message, help, .. } = diagnostic;
        let place = diagnostic.place.as_ref().filter(|_| diagnostic.related.is_none());
        match (known.get(&(code, message, help)), place) {
            (Some(at), Some(place)) => {
                let group: &mut (&Diagnostic, Vec<&Place>) = &mut groups[*at];
                group.1.push(place);
            }
            (None | Some(_), _) => {
                if place.is_some() {
                    known.insert((code, message, help), groups.len());
                }
                groups.push((diagnostic, Vec::new()));
            }
        }
    }
    groups
}

/// The further places of a mistake, in words.
fn places(again: &[&Place]) -> Option<String> {
    if again.is_empty() {
        return None;
    }
    let listed = again.iter().take(PLACES);
    let listed: Vec<String> = listed.map(|place| format!("{}:{}", place.line, place.column)).collect();
    let more = again.len().saturating_sub(PLACES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("the same at {}{more}", listed.join(", ")))
}

/// The diagnostics for programs: `{"valid", "errors", "warnings"}`, as the contract has it.
#[must_use]
pub fn json(diagnostics: &[Diagnostic]) -> Json {
    serde_json::to_value(Report::of(diagnostics)).unwrap_or_default()
}

/// The same as a text with line feeds, made without holding it twice.
#[must_use]
pub fn json_text(diagnostics: &[Diagnostic]) -> String {
    serde_json::to_string_pretty(&Report::of(diagnostics)).unwrap_or_default() + "\n"
}

/// The shape of the contract, section 6.
#[derive(Serialize)]
struct Report<'d> {
    valid: bool,
    errors: Vec<Entry<'d>>,
    warnings: Vec<Entry<'d>>,
}

#[derive(Serialize)]
struct Entry<'d> {
    code: &'d str,
    message: &'d str,
    file: Option<Cow<'d, str>>,
    line: Option<usize>,
    column: Option<usize>,
    path: Option<&'d str>,
    help: Option<&'d str>,
}

impl<'d> Report<'d> {
    fn of(diagnostics: &'d [Diagnostic]) -> Self {
        let of = |severity| -> Vec<Entry<'d>> {
            diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).map(Entry::of).collect()
        };
        let errors = of(Severity::Error);
        Self { valid: errors.is_empty(), errors, warnings: of(Severity::Warning) }
    }
}

impl<'d> Entry<'d> {
    fn of(diagnostic: &'d Diagnostic) -> Self {
        let place = diagnostic.place.as_ref();
        let file = place.map(|place| &place.file).or(diagnostic.file.as_ref());
        Self {
            code: diagnostic.code,
            message: &diagnostic.message,
            file: file.map(|file| file.to_string_lossy()),
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            path: Some(diagnostic.path.as_str()).filter(|path| !path.is_empty()),
            help: diagnostic.help.as_deref(),
        }
    }
}

fn one(diagnostic: &Diagnostic, again: &[&Place], sources: &Sources, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(harmless(&diagnostic.message)).id(diagnostic.code);
    let main = diagnostic.place.as_ref().and_then(|place| Window::of(place, sources));
    let related = diagnostic.related.as_ref();
    let related = related.and_then(|(place, label)| Some((Window::of(place, sources)?, harmless(label))));
    let mut group = Group::with_title(title);
    if let Some(window) = &main {
        group = group.element(window.snippet(AnnotationKind::Primary, None));
    }
    if let Some((window, label)) = &related {
        group = group.element(window.snippet(AnnotationKind::Context, Some(label)));
    }
    if let Some(places) = places(again) {
        group = group.element(Level::NOTE.message(places));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(harmless(help)));
    }
    let rendered = renderer.render(&[group]);
    let windows = main.iter().chain(related.iter().map(|(window, _)| window));
    windows.fold(rendered, |rendered, window| window.with_true_column(rendered))
}

/// One line of a source, cut to what is near the place: the renderer need not scan the whole file.
struct Window {
    text: String,
    line: usize,
    column: usize,
    span: Range<usize>,
    file: String,
}

impl Window {
    fn of(place: &Place, sources: &Sources) -> Option<Self> {
        let source = sources.get(&place.file)?;
        let (text, span) = Self::cut(source, place);
        let file = harmless(&place.file.to_string_lossy()).into_owned();
        Some(Self { text, line: place.line, column: place.column, span, file })
    }

    fn cut(source: &Source, place: &Place) -> (String, Range<usize>) {
        let line = source.line(place.line - 1);
        let text = source.text();
        let start = place.span.start.min(line.end);
        let end = place.span.end.clamp(start, line.end);
        let from = text.floor_char_boundary(start.saturating_sub(AROUND)).max(line.start);
        let to = text.ceil_char_boundary(end.min(start + AROUND) + AROUND).min(line.end);
        let end = text.floor_char_boundary(end.min(to));
        let mut shown = String::from(if from > line.start { "… " } else { "" });
        shown.push_str(&plain(&text[from..start]));
        let begin = shown.len();
        shown.push_str(&plain(&text[start..end]));
        let finish = shown.len();
        shown.push_str(&plain(&text[end..to]));
        if to < line.end {
            shown.push_str(" …");
        }
        (shown, begin..finish.max(begin))
    }

    /// The renderer counts the columns of the cut line; this puts in those of the file.
    fn with_true_column(&self, rendered: String) -> String {
        let counted = self.text[..self.span.start].chars().count() + 1;
        if counted == self.column {
            return rendered;
        }
        let at = format!("{}:{}:", self.file, self.line);
        rendered.replacen(&format!("{at}{counted}"), &format!("{at}{}", self.column), 1)
    }

    fn snippet<'a>(
        &'a self,
        kind: AnnotationKind,
        label: Option<&'a str>,
    ) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let annotation = kind.span(self.span.clone()).label(label);
        Snippet::source(self.text.as_str())
            .line_start(self.line)
            .path(self.file.as_str())
            .annotation(annotation)
    }
}

/// Control characters take part in no terminal's doings.
fn plain(text: &str) -> String {
    let character = |c| match c {
        '\t' => ' ',
        c if c.is_control() || is_direction(c) => '\u{fffd}',
        c => c,
    };
    text.chars().map(character).collect()
}

/// A text such that it can do a terminal no harm: control characters are replaced.
#[must_use]
pub fn harmless(text: &str) -> Cow<'_, str> {
    if text.chars().any(|c| c.is_control() || is_direction(c)) {
        Cow::Owned(
            text.chars().map(|c| if c.is_control() || is_direction(c) { '\u{fffd}' } else { c }).collect(),
        )
    } else {
        Cow::Borrowed(text)
    }
}
