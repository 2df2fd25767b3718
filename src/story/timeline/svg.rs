//! The timeline as a picture that stands for itself, in the manner of `orch graph --format svg`.

use std::fmt::{self, Write as _};

use super::rows::{Panel, Row};
use super::{Span, Timeline};
use crate::paint::Escaped;
use crate::story::words::{Words, counted, duration};
use crate::types::State;

/// Colours for light and dark surroundings.
const STYLE: &str = include_str!("style.css");
/// More components than this are not drawn; the slowest are.
const ROWS: usize = 200;
/// So many restarts are drawn, the last ones.
const DRAWN: usize = 12;
/// Pixels.
const WIDTH: u64 = 960;
const MARGIN: u64 = 16;
const ROW: u64 = 20;
const HEAD: u64 = 66;
const FOOT: u64 = 34;
const NOTE: u64 = 76;
/// A character of a name, and the longest name that is shown whole.
const CHARACTER: u64 = 8;
const NAME: usize = 28;
/// What is shorter can't be seen. Tenths of a pixel.
const LEAST: u64 = 10;

impl Timeline {
    /// The picture: the same timeline gives the same bytes.
    #[must_use]
    pub fn svg(&self, words: &Words<'_>) -> String {
        let mut panels = Vec::new();
        if self.whole {
            panels.push(self.start_up_panel(ROWS));
        }
        let from = self.restarts.len().saturating_sub(DRAWN);
        let restarts = self.restarts.get(from..).unwrap_or_default();
        panels.extend(restarts.iter().map(|course| self.restart_panel(course, ROWS)));
        let mut svg = String::new();
        // Writing to a string does not fail.
        let _ = self.draw(&mut svg, &panels, from, words);
        svg
    }

    fn draw(&self, svg: &mut String, panels: &[Panel<'_>], older: usize, words: &Words<'_>) -> fmt::Result {
        let heights: Vec<u64> = panels.iter().map(height).collect();
        let top = 52;
        let total = top + heights.iter().map(|height| height + MARGIN).sum::<u64>() + 8;
        let components = counted(self.shown() as u64, "component", "components");
        let restarts = counted(self.restarts.len() as u64, "restart", "restarts");
        let title = format!("Timeline from {}: {components}, {restarts}", words.at(&self.began));
        writeln!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{total}\" \
             viewBox=\"0 0 {WIDTH} {total}\" role=\"img\" aria-labelledby=\"title desc\">"
        )?;
        writeln!(svg, "<title id=\"title\">{}</title>", Escaped(&title))?;
        writeln!(svg, "<desc id=\"desc\">{}</desc>", Escaped(&self.described()))?;
        writeln!(svg, "<style>\n{STYLE}</style>")?;
        writeln!(svg, "<rect class=\"page\" width=\"{WIDTH}\" height=\"{total}\" rx=\"10\"/>")?;
        writeln!(svg, "<text class=\"head\" x=\"{MARGIN}\" y=\"26\">{}</text>", Escaped(&title))?;
        legend(svg, panels, older)?;
        let mut y = top;
        for (panel, height) in panels.iter().zip(heights) {
            self.draw_panel(svg, panel, y, height)?;
            y += height + MARGIN;
        }
        svg.push_str("</svg>\n");
        Ok(())
    }

    /// For those who do not see the picture.
    fn described(&self) -> String {
        let start_up = match &self.start_up {
            Some(course) => format!("Critical path of start-up: {}.", course.path()),
            None if self.whole => "Nothing has become ready.".to_owned(),
            None => "The start-up is not recorded any more.".to_owned(),
        };
        let from = self.restarts.len().saturating_sub(DRAWN);
        let restarts = self.restarts.get(from..).unwrap_or_default().iter();
        restarts.fold(start_up, |text, course| format!("{text} {} → {}.", course.root, course.path()))
    }

    fn draw_panel(&self, svg: &mut String, panel: &Panel<'_>, y: u64, height: u64) -> fmt::Result {
        let width = WIDTH - 2 * MARGIN;
        writeln!(
            svg,
            "<rect class=\"band\" x=\"{MARGIN}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"8\"/>"
        )?;
        let took = duration(std::time::Duration::from_nanos(panel.to - panel.from));
        let is_start_up = panel.course.is_none_or(|course| course.root.is_empty());
        let head = match panel.course {
            Some(course) if !is_start_up => format!("{} ({took})", course.root),
            _ => format!("start-up ({took})"),
        };
        let path = panel.course.map(|course| format!("critical path: {}", course.path()));
        let [x, head_y, path_y] = [MARGIN + 12, y + 22, y + 39];
        writeln!(svg, "<text class=\"head\" x=\"{x}\" y=\"{head_y}\">{}</text>", Escaped(&cut(&head, 110)))?;
        if let Some(path) = path {
            writeln!(
                svg,
                "<text class=\"small\" x=\"{x}\" y=\"{path_y}\">{}</text>",
                Escaped(&cut(&path, 135))
            )?;
        }
        let longest = panel.rows.iter().map(|row| row.lane.name.chars().count()).max().unwrap_or(0);
        let name = longest.min(NAME) as u64 * CHARACTER + 12;
        let (left, right) = (MARGIN + 12 + name, WIDTH - MARGIN - NOTE);
        let scale = Scale { from: panel.from, to: panel.to, left, right };
        grid(svg, &scale, y, height)?;
        for (at, row) in panel.rows.iter().enumerate() {
            bar(svg, row, &scale, y + HEAD + at as u64 * ROW)?;
        }
        if let Some((count, slowest)) = &panel.left_out {
            let text = format!("… and {count} more, none of which took longer than {slowest}");
            let text_y = y + HEAD + panel.rows.len() as u64 * ROW + 14;
            writeln!(svg, "<text class=\"small\" x=\"{x}\" y=\"{text_y}\">{text}</text>")?;
        }
        Ok(())
    }
}

fn height(panel: &Panel<'_>) -> u64 {
    let rows = panel.rows.len() + usize::from(panel.left_out.is_some());
    HEAD + rows as u64 * ROW + FOOT - 20
}

/// From time to pixels.
struct Scale {
    from: u64,
    to: u64,
    left: u64,
    right: u64,
}

impl Scale {
    /// In tenths of a pixel.
    fn place(&self, at: u64) -> u64 {
        let length = u128::from((self.to - self.from).max(1));
        let share =
            u128::from(at.clamp(self.from, self.to) - self.from) * u128::from(self.right - self.left) * 10;
        self.left * 10 + u64::try_from(share / length).unwrap_or(0)
    }
}

/// Lines at round times.
fn grid(svg: &mut String, scale: &Scale, y: u64, height: u64) -> fmt::Result {
    let length = scale.to - scale.from;
    let mut step = 1_000_000;
    while length / step > 8 {
        // 1, 2, 5, 10 …
        let first: u64 = step.to_string().bytes().next().map_or(1, |digit| u64::from(digit - b'0'));
        step = if first == 2 { step / 2 * 5 } else { step * 2 };
    }
    for count in 0..=length / step {
        let x = Tenths(scale.place(scale.from + count * step));
        let [top, bottom, text] = [y + HEAD - 6, y + height - 10, y + HEAD - 10];
        let time = std::time::Duration::from_nanos(count * step);
        let label = if count == 0 { "0".to_owned() } else { duration(time) };
        writeln!(
            svg,
            "<path class=\"grid\" d=\"M{x} {top}V{bottom}\"/>\
             <text class=\"small\" x=\"{x}\" y=\"{text}\" text-anchor=\"middle\">{label}</text>"
        )?;
    }
    Ok(())
}

fn bar(svg: &mut String, row: &Row<'_>, scale: &Scale, y: u64) -> fmt::Result {
    let class = if row.critical { "critical" } else { "plain" };
    let [name_y, bar_y, thin_y] = [y + 13, y + 3, y + 7];
    let name = cut(&row.lane.name, NAME);
    let critical = if row.critical { ", on the critical path" } else { "" };
    let title = format!("{}: {}{critical}", row.lane.name, row.note);
    write!(
        svg,
        "<g class=\"{class}\"><title>{}</title><text class=\"name\" x=\"{}\" y=\"{name_y}\">{}</text>",
        Escaped(&title),
        MARGIN + 12,
        Escaped(&name)
    )?;
    // Each is drawn at least as wide as can be seen, so what is drawn later must not cover what was at work.
    let spans: Vec<Span> = row.lane.within(scale.from, scale.to).collect();
    for span in spans.iter().filter(|span| !matches!(span.state, State::Stopped | State::Completed)) {
        let (from, to) = (scale.place(span.from), scale.place(span.to));
        let width = Tenths((to - from).max(LEAST));
        let quiet = matches!(span.state, State::Waiting | State::Ready);
        let (top, height) = if quiet { (thin_y, 6) } else { (bar_y, 14) };
        let x = Tenths(from);
        let word = span.state.word();
        write!(
            svg,
            "<rect class=\"{word}\" x=\"{x}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"2\"/>"
        )?;
    }
    let x = WIDTH - MARGIN - 10;
    writeln!(
        svg,
        "<text class=\"note\" x=\"{x}\" y=\"{name_y}\" text-anchor=\"end\">{}</text></g>",
        Escaped(&row.note)
    )
}

/// What the colours mean that are there.
fn legend(svg: &mut String, panels: &[Panel<'_>], older: usize) -> fmt::Result {
    let rows = || panels.iter().flat_map(|panel| panel.rows.iter().map(move |row| (panel, row)));
    let is_there = |state: &State| {
        rows().any(|(panel, row)| row.lane.within(panel.from, panel.to).any(|span| span.state == *state))
    };
    let mut x = MARGIN;
    let mut entry = |svg: &mut String, class: &str, word: &str| {
        let text = x + 15;
        let written = writeln!(
            svg,
            "<g{class}<rect class=\"{}\" x=\"{x}\" y=\"35\" width=\"10\" height=\"10\" rx=\"2\"/>\
             <text class=\"small\" x=\"{text}\" y=\"44\">{word}</text></g>",
            if class == ">" { word } else { "starting" }
        );
        x = text + word.len() as u64 * 7 + 14;
        written
    };
    let hidden = |state: &State| matches!(state, State::Stopped | State::Completed);
    for state in State::ALL.iter().filter(|state| !hidden(state) && is_there(state)) {
        entry(svg, ">", state.word())?;
    }
    if rows().any(|(_, row)| row.critical) {
        entry(svg, " class=\"critical\">", "starting, on the critical path")?;
    }
    if older > 0 {
        let text = format!("{} before the last are not drawn", counted(older as u64, "restart", "restarts"));
        writeln!(svg, "<text class=\"small\" x=\"{x}\" y=\"44\">{text}</text>")?;
    }
    Ok(())
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A length in tenths of a pixel, written in pixels.
#[derive(Clone, Copy)]
struct Tenths(u64);

impl fmt::Display for Tenths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 % 10 {
            0 => write!(f, "{}", self.0 / 10),
            rest => write!(f, "{}.{rest}", self.0 / 10),
        }
    }
}
