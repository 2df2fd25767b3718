//! `orch timeline`.

use std::io;

use clap::Args;
use rustix::time::{ClockId, clock_gettime};

use super::exit::Exit;
use super::paint::Canvas;
use super::print;
use super::recorded::Record;
use super::target::TargetArgs;
use super::terminal::canvas;
use crate::api::Version;
use crate::history::events::{Backward, Cursor, Event, Read};
use crate::story::timeline::{Look, Recorder, Timeline};
use crate::types::recorded::Kind;

pub(super) const AFTER: &str = "\
Examples:
  orch timeline                       the last start-up, and the restarts since then
  orch timeline --svg > timeline.svg  the same as a picture

The critical path is what the whole waited for: to make it shorter, begin there.";

/// Without a terminal.
const WIDTH: usize = 80;
/// So much is read at once. Bytes.
const CHUNK: usize = 256 << 10;

#[derive(Debug, Args)]
pub(super) struct TimelineArgs {
    /// As a picture that stands for itself (SVG)
    #[arg(long)]
    svg: bool,
    #[command(flatten)]
    target: TargetArgs,
}

pub(super) fn timeline(args: &TimelineArgs) -> Exit {
    draw(args).unwrap_or_else(|exit| exit)
}

fn draw(args: &TimelineArgs) -> Result<Exit, Exit> {
    let record = Record::find(&args.target)?;
    let now = record.target.client().get::<Version>("/v1/version").is_ok().then(now);
    let recorder = read(&record).map_err(|error| record.unreadable(&error))?;
    let timeline = record.with_words(|words| recorder.timeline(now, words));
    let Some(timeline) = timeline else { return Err(record.nothing()) };
    Ok(print(&record.with_words(|words| if args.svg { timeline.svg(words) } else { text(&timeline, words) })))
}

fn text(timeline: &Timeline, words: &crate::story::Words<'_>) -> String {
    let Canvas { width, color } = canvas();
    let look = Look { width: width.unwrap_or(WIDTH), unicode: is_unicode(), color };
    timeline.text(look, words)
}

/// Reads what was recorded since the project came up last.
fn read(record: &Record) -> io::Result<Recorder> {
    let mut up = 0;
    for event in Backward::open(&record.target.state_dir)? {
        let event = event?;
        if matches!(event.kind, Kind::ProjectUp { .. }) {
            up = event.seq;
            break;
        }
    }
    let mut recorder = Recorder::default();
    let mut cursor = Cursor::after(&record.target.state_dir, up.saturating_sub(1))?;
    while let Read::Lines(lines) = cursor.read(CHUNK)? {
        let events = lines.split(|byte| *byte == b'\n').filter_map(Event::parse);
        events.for_each(|event| recorder.take(&event));
    }
    Ok(recorder)
}

/// Now, as the record has it.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

/// Whether what is shown may be more than ASCII: the first of these that is set decides, as in setlocale(3);
/// nothing set says nothing against it.
fn is_unicode() -> bool {
    let named = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter();
    let set = named.filter_map(std::env::var_os).find(|value| !value.is_empty());
    set.is_none_or(|value| {
        let value = value.to_string_lossy().to_ascii_lowercase();
        value.contains("utf-8") || value.contains("utf8")
    })
}
