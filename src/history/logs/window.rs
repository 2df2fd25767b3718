//! Where to begin, so that what is read are the last lines, or those since a moment: found from the end, without
//! reading what lies before.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use jiff::Timestamp;

use super::chain::{self, Link, Place};
use super::cursor::{Cursor, Found, PIECE_MAX};
use super::index::Index;
use super::query::Query;

/// So much of the end of a log is looked at first, then four times as much, and so on. Bytes.
const FIRST: u64 = 64 << 10;

/// The last lines of one log.
#[derive(Debug)]
pub(super) struct Window {
    /// Reads them.
    pub(super) cursor: Cursor,
    /// How many lines it gives: all that were wanted, perhaps some more, or all there are.
    pub(super) lines: u64,
}

/// Where a log ends at this moment; `None`: it has no file.
///
/// # Errors
/// What the system says.
pub(super) fn end(path: &Path) -> io::Result<Option<Place>> {
    let links = chain::list(path)?;
    Ok(links.last().map(|link| Place { file: link.facts.id, offset: link.facts.size }))
}

/// Where the last line that has ended ends, if it is not longer than a piece; else, where the log ends.
///
/// # Errors
/// What the system says.
pub(super) fn last_line_end(path: &Path) -> io::Result<Option<Place>> {
    let Some(end) = end(path)? else { return Ok(None) };
    let Some((file, _)) = chain::open_both(path, end.file)? else { return Ok(Some(end)) };
    let begin = end.offset.saturating_sub(PIECE_MAX as u64);
    let mut bytes = vec![0; PIECE_MAX];
    let count = file.read_at(&mut bytes, begin)?;
    let known = usize::try_from(end.offset - begin).unwrap_or(count).min(count);
    let offset = match memchr::memrchr(b'\n', &bytes[..known]) {
        Some(at) => begin + at as u64 + 1,
        None if begin == 0 => 0,
        None => end.offset,
    };
    Ok(Some(Place { offset, ..end }))
}

/// A way through the log's lines that came at `since` or later, up to `end`.
///
/// # Errors
/// What the system says.
pub(super) fn since(
    path: &Path,
    end: Option<Place>,
    since: Option<Timestamp>,
    chunk: usize,
) -> io::Result<Cursor> {
    let cursor = Cursor::new(path, chunk).since(since);
    let mut cursor = match end {
        Some(end) => cursor.until(end),
        None => cursor,
    };
    if let Some(since) = since
        && let Some(place) = first_since(path, since)?
    {
        cursor.align(place)?;
    }
    Ok(cursor)
}

/// A way through the last `wanted` lines of those that are asked for.
///
/// # Errors
/// What the system says.
pub(super) fn last(path: &Path, end: Place, wanted: u64, query: &Query, chunk: usize) -> io::Result<Window> {
    let mut links = chain::list(path)?;
    if let Some(since) = query.since
        && let Some(place) = first_since(path, since)?
        && let Some(at) = links.iter().position(|link| link.facts.id == place.file)
    {
        links.drain(..at);
    }
    let begin = |back: u64| -> io::Result<Cursor> {
        let mut cursor = since(path, Some(end), None, chunk)?.since(query.since);
        match before_end(&links, end, back) {
            Some(place) => cursor.align(place)?,
            None => {
                if let Some(first) = links.first() {
                    cursor.align(Place { file: first.facts.id, offset: 0 })?;
                }
            }
        }
        Ok(cursor)
    };
    let mut back = FIRST;
    // To count needs no times, but to know which lines are asked for.
    let counting = Query { times: false, ..query.clone() };
    loop {
        let lines = count(begin(back)?, &counting)?;
        if lines >= wanted || before_end(&links, end, back).is_none() {
            return Ok(Window { cursor: begin(back)?, lines });
        }
        back = back.saturating_mul(4);
    }
}

/// The place that lies `back` bytes before `end`; `None`: there are not so many.
fn before_end(links: &[Link], end: Place, mut back: u64) -> Option<Place> {
    for link in links.iter().rev() {
        let size = if link.facts.id == end.file { end.offset } else { link.facts.size };
        if back < size {
            return Some(Place { file: link.facts.id, offset: size - back });
        }
        back -= size;
    }
    None
}

/// Where the bytes begin that came at `since` or later, or a little earlier; `None`: with the oldest.
fn first_since(path: &Path, since: Timestamp) -> io::Result<Option<Place>> {
    // The newest file that begins before.
    for link in chain::list(path)?.into_iter().rev() {
        let Some((_, index)) = chain::open_both(path, link.facts.id)? else { continue };
        if let Some(entry) = Index::new(index).before(since) {
            return Ok(Some(Place { file: link.facts.id, offset: entry.offset }));
        }
    }
    Ok(None)
}

/// How many of the lines are asked for.
fn count(mut cursor: Cursor, query: &Query) -> io::Result<u64> {
    let (mut lines, mut budget) = (0, usize::MAX);
    loop {
        match cursor.advance(query, &mut budget)? {
            Found::Piece => lines += u64::from(is_counted(&cursor, query)),
            Found::Dry => return Ok(lines),
            Found::Busy => {}
        }
    }
}

/// Whether the cursor's piece counts as a line. Pieces of a line that were picked out are lines of their own.
pub(super) fn is_counted(cursor: &Cursor, query: &Query) -> bool {
    query.grep.is_some() || cursor.piece().is_some_and(|piece| piece.begins)
}
