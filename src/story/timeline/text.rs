//! The timeline for a terminal.

use std::fmt::{self, Write as _};

use super::Timeline;
use super::course::time;
use super::rows::{Panel, Row, shown};
use crate::story::words::{Words, counted};
use crate::types::State;

/// More components than this are not listed; the slowest are.
const ROWS: usize = 30;
/// So many restarts are drawn, the last ones, and so many listed.
const DRAWN: usize = 3;
const LISTED: usize = 20;
/// A longer name is cut.
const NAME: usize = 24;
/// For how long something took.
const NOTE: usize = 10;
/// A bar is never narrower.
const BAR: usize = 10;

/// How it is to look.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// In characters.
    pub width: usize,
    /// Whether what shows it knows more than ASCII.
    pub unicode: bool,
    /// Whether what shows it knows colours.
    pub color: bool,
}

impl Timeline {
    /// The start-up and the last restarts as bars, and what each waited for. Names are shown as they are.
    #[must_use]
    pub fn text(&self, look: Look, words: &Words<'_>) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text, look, words);
        if look.unicode { text } else { text.replace('→', "->").replace('…', "...").replace('·', ".") }
    }

    fn write(&self, out: &mut String, look: Look, words: &Words<'_>) -> fmt::Result {
        let components = counted(self.shown() as u64, "component", "components");
        let began = words.at(&self.began);
        let since = if self.whole { "came up at" } else { "was recorded from" };
        let until = match &self.ended {
            Some(ended) => format!("ended at {}", words.at(ended)),
            None if self.runs => "runs".to_owned(),
            None => format!("does not run; the last that was recorded is of {}", words.at(&self.newest)),
        };
        writeln!(out, "{components}; the project {since} {began}, and {until}\n")?;
        let mut used = Vec::new();
        if self.whole {
            writeln!(
                out,
                "start-up, {}",
                time(0, self.start_up.as_ref().map_or(self.length, |course| course.to))
            )?;
            let panel = self.start_up_panel(ROWS);
            draw(out, &panel, look, &mut used)?;
            match &self.start_up {
                Some(course) => writeln!(out, "critical path of start-up: {}", course.path())?,
                // What became ready did so after a change or a command: that is told below.
                None if !self.restarts.is_empty() => {
                    writeln!(out, "nothing became ready by the start-up alone")?
                }
                None => writeln!(out, "nothing has become ready")?,
            }
        } else {
            writeln!(out, "the start-up is not recorded any more")?;
        }
        self.restarts(out, look, &mut used)?;
        legend(out, look, &used)
    }

    fn restarts(&self, out: &mut String, look: Look, used: &mut Vec<State>) -> fmt::Result {
        let drawn = self.restarts.len().saturating_sub(DRAWN);
        let listed = drawn.saturating_sub(LISTED);
        if drawn > 0 {
            writeln!(out, "\n{} before the last:", counted(drawn as u64, "restart", "restarts"))?;
            if listed > 0 {
                writeln!(out, "  … and {listed} older ones")?;
            }
        }
        for course in self.restarts.get(listed..drawn).unwrap_or_default() {
            writeln!(out, "  {} → {}", course.root, course.path())?;
        }
        for course in self.restarts.get(drawn..).unwrap_or_default() {
            writeln!(out, "\nrestart, {}: {}", time(course.from, course.to), course.root)?;
            draw(out, &self.restart_panel(course, ROWS), look, used)?;
            writeln!(out, "critical path: {}", course.path())?;
        }
        Ok(())
    }
}

fn draw(out: &mut String, panel: &Panel<'_>, look: Look, used: &mut Vec<State>) -> fmt::Result {
    let longest = panel.rows.iter().map(|row| row.lane.name.chars().count()).max().unwrap_or(0);
    let name = longest.min(NAME);
    let bar = look.width.saturating_sub(2 + name + 2 + 1 + NOTE).max(BAR);
    for row in &panel.rows {
        self::row(out, panel, row, (name, bar), look, used)?;
    }
    if let Some((count, slowest)) = &panel.left_out {
        writeln!(out, "  … and {count} more, none of which took longer than {slowest}")?;
    }
    Ok(())
}

fn row(
    out: &mut String,
    panel: &Panel<'_>,
    row: &Row<'_>,
    (name, bar): (usize, usize),
    look: Look,
    used: &mut Vec<State>,
) -> fmt::Result {
    let mark = match (row.critical, look.unicode) {
        (true, true) => "▸",
        (true, false) => ">",
        (false, _) => " ",
    };
    let shown_name = cut(&row.lane.name, name);
    write!(out, "{mark} {shown_name:name$}  ")?;
    let length = panel.to - panel.from;
    let place = |cell: usize| {
        let share = u128::from(length) * cell as u128 / bar as u128;
        panel.from + u64::try_from(share).unwrap_or(length)
    };
    let mut paint = None;
    for cell in 0..bar {
        let state = shown(row.lane, place(cell), place(cell + 1).max(place(cell) + 1));
        if let Some(state) = state.filter(|state| !used.contains(state)) {
            used.push(state);
        }
        let wanted = state.and_then(|state| color(state, row.critical)).filter(|_| look.color);
        if wanted != paint {
            out.push_str(if paint.is_some() { "\u{1b}[0m" } else { "" });
            if let Some(code) = wanted {
                write!(out, "\u{1b}[{code}m")?;
            }
            paint = wanted;
        }
        out.push(state.map_or(' ', |state| glyph(state, look.unicode)));
    }
    out.push_str(if paint.is_some() { "\u{1b}[0m" } else { "" });
    writeln!(out, " {:>NOTE$}", row.note)
}

fn cut(name: &str, width: usize) -> String {
    if name.chars().count() <= width {
        return name.to_owned();
    }
    name.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// What stands for a state.
fn glyph(state: State, unicode: bool) -> char {
    let (block, plain) = match state {
        State::Waiting => ('·', '.'),
        State::Building => ('▒', '%'),
        State::Starting => ('█', '#'),
        State::Ready => ('─', '-'),
        State::Unhealthy => ('╍', '!'),
        State::Stopping => ('░', ':'),
        State::Stopped | State::Completed => (' ', ' '),
        State::Backoff => ('╌', '~'),
        State::Failed => ('×', 'x'),
        State::Blocked => ('⊘', 'o'),
        State::Stuck => ('▚', '&'),
    };
    if unicode { block } else { plain }
}

fn color(state: State, critical: bool) -> Option<&'static str> {
    match state {
        State::Starting | State::Building if critical => Some("1;33"),
        State::Starting | State::Building => Some("36"),
        State::Ready => Some("32"),
        State::Waiting | State::Stopping => Some("2"),
        State::Unhealthy | State::Failed | State::Blocked | State::Stuck => Some("31"),
        State::Backoff => Some("33"),
        State::Stopped | State::Completed => None,
    }
}

/// What the characters mean that were used.
fn legend(out: &mut String, look: Look, used: &[State]) -> fmt::Result {
    let mut states: Vec<State> = used.to_vec();
    states.sort_unstable();
    let visible = states.into_iter().filter(|state| glyph(*state, look.unicode) != ' ');
    let each: Vec<String> =
        visible.map(|state| format!("{} {}", glyph(state, look.unicode), state.word())).collect();
    if each.is_empty() {
        return Ok(());
    }
    let mark = if look.unicode { '▸' } else { '>' };
    writeln!(out, "\n{}   {mark} on the critical path", each.join("   "))
}
