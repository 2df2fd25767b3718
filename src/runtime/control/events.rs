//! `GET /v1/events`: the lines of events.ndjson, as they are.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use serde::Deserialize;

use super::Shared;
use super::answer::{Answer, Refused, lines};
use super::query::Query;
use super::stream::{Cursor, Following, body};

/// More than that is no event of orch's. Bytes.
const LONGEST_EVENT: usize = 16 << 20;

pub(super) fn answer(query: Option<&str>, shared: &Shared) -> Answer {
    let query = Query::parse(query, &["after", "follow"], &[])?;
    let (after, follow) = (query.number("after")?, query.truth("follow")?);
    let following = if follow { Some(Following::new(shared, &shared.events)?) } else { None };
    let path = shared.state_dir.join("events.ndjson");
    let file = match (follow, after) {
        (true, None) => Some(at_the_end(&path).map_err(|error| unreadable(&path, &error))?),
        _ => None,
    };
    Ok(lines(body(Events { path, file, after: after.unwrap_or(0), rest: Vec::new() }, following)))
}

fn at_the_end(path: &PathBuf) -> io::Result<File> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}

fn unreadable(path: &std::path::Path, error: &io::Error) -> Refused {
    let error = format!("can't read {}: {error}", path.display());
    Refused::new(hyper::StatusCode::INTERNAL_SERVER_ERROR, error)
}

/// A place in the events file.
#[derive(Debug)]
struct Events {
    path: PathBuf,
    /// Where it is read; `None`: not opened yet.
    file: Option<File>,
    /// Events up to this number are left out.
    after: u64,
    /// The beginning of a line whose end is not read yet.
    rest: Vec<u8>,
}

impl Cursor for Events {
    fn read(&mut self, most: usize) -> Result<Vec<u8>, String> {
        self.try_read(most).map_err(|error| format!("can't read {}: {error}", self.path.display()))
    }
}

impl Events {
    fn try_read(&mut self, most: usize) -> io::Result<Vec<u8>> {
        loop {
            let file = match &mut self.file {
                Some(file) => file,
                None => self.file.insert(File::open(&self.path)?),
            };
            let limit = u64::try_from(most).unwrap_or(u64::MAX);
            let count = file.take(limit).read_to_end(&mut self.rest)?;
            if count == 0 && !self.rotated()? {
                return Ok(Vec::new());
            }
            let Some(end) = memchr::memrchr(b'\n', &self.rest) else {
                if self.rest.len() > LONGEST_EVENT {
                    return Err(io::Error::other("a line of it has no end"));
                }
                continue;
            };
            let rest = self.rest.split_off(end + 1);
            let whole = std::mem::replace(&mut self.rest, rest);
            let wanted = self.wanted(whole);
            if !wanted.is_empty() {
                return Ok(wanted);
            }
        }
    }

    /// Goes over to the file that has the name now, if it is another one.
    fn rotated(&mut self) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        let (old, new) = (file.metadata()?, std::fs::metadata(&self.path)?);
        let rotated = (old.dev(), old.ino()) != (new.dev(), new.ino());
        if rotated {
            self.file = Some(File::open(&self.path)?);
            self.rest.clear();
        }
        Ok(rotated)
    }

    /// The lines without those up to the number.
    fn wanted(&self, lines: Vec<u8>) -> Vec<u8> {
        #[derive(Deserialize)]
        struct Numbered {
            seq: u64,
        }
        if self.after == 0 {
            return lines;
        }
        let later =
            |line: &&[u8]| serde_json::from_slice::<Numbered>(line).is_ok_and(|event| event.seq > self.after);
        lines.split_inclusive(|byte| *byte == b'\n').filter(later).flatten().copied().collect()
    }
}
