//! What the core is told, written down as it comes, so that the same history can be gone through once more:
//! with `ORCH_RECORD=FILE` in orch's environment. For tests, and for whoever hunts a mistake in the core; see
//! [`Replay`](crate::supervisor::Replay).

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use serde::Serialize;

use crate::supervisor::{Event, Setup};
use crate::types::Time;

/// Where the environment says that this is wanted.
pub(crate) const VARIABLE: &str = "ORCH_RECORD";

/// The file, open for appending: a new image of orch goes on in it, and so does another `orch up`.
#[derive(Debug)]
pub(crate) struct Recorder {
    file: File,
    line: Vec<u8>,
}

/// As [`Recorded`](crate::supervisor::Recorded), borrowed.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Line<'a> {
    Setup(&'a Setup),
    Step { now: Time, event: &'a Event },
}

impl Recorder {
    /// The recorder that the environment wants, if it wants one and the file can be opened.
    pub(crate) fn wanted() -> Option<Self> {
        let path = std::env::var_os(VARIABLE).filter(|path| !path.is_empty())?;
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        let file = file.inspect_err(|error| tracing::warn!(%error, ?path, "nothing is recorded"));
        Some(Self { file: file.ok()?, line: Vec::new() })
    }

    /// What the core is made from.
    pub(crate) fn setup(&mut self, setup: &Setup) {
        self.write(&Line::Setup(setup));
    }

    /// What it is told next.
    pub(crate) fn step(&mut self, now: Time, event: &Event) {
        self.write(&Line::Step { now, event });
    }

    fn write(&mut self, line: &Line<'_>) {
        self.line.clear();
        let made = serde_json::to_writer(&mut self.line, line).map_err(std::io::Error::from);
        self.line.push(b'\n');
        if let Err(error) = made.and_then(|()| self.file.write_all(&self.line)) {
            tracing::warn!(%error, "a step is not recorded, so that the rest can't be gone through again");
        }
    }
}
