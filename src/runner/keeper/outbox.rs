//! What the keeper has to say, kept until orch takes it: the keeper never waits for a reader.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;

use super::super::RunnerReport;
use super::protocol::Event;
use super::socket;
use super::wire::Writer;

/// A packet is closed once it has grown to this; with the longest single event it stays below
/// [`socket::MAX_PACKET`].
const ENOUGH: usize = 16 * 1024;

/// Limits that keep a single event below 36 KiB.
const MAX_PIDS: usize = 8000;
const MAX_TEXT: usize = 8 * 1024;
const MAX_LEFTOVERS: usize = 1000;

/// Events on their way to orch, oldest first.
#[derive(Debug, Default)]
pub(super) struct Outbox(VecDeque<Event>);

impl Outbox {
    pub(super) fn push(&mut self, mut event: Event) {
        match &mut event {
            Event::Report(RunnerReport::Killed { pids, .. }) => pids.truncate(MAX_PIDS),
            Event::Report(RunnerReport::SpawnFailed { error, .. }) => {
                error.truncate(error.floor_char_boundary(MAX_TEXT));
            }
            Event::Drained(left) => left.truncate(MAX_LEFTOVERS),
            _ => {}
        }
        self.0.push_back(event);
    }

    pub(super) fn report(&mut self, report: RunnerReport) {
        self.push(Event::Report(report));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sends as much as the socket takes now.
    pub(super) fn flush(&mut self, to: impl AsFd) -> io::Result<()> {
        while !self.0.is_empty() {
            let (mut packet, mut count) = (Writer::default(), 0);
            for event in &self.0 {
                if packet.len() >= ENOUGH {
                    break;
                }
                event.encode(&mut packet);
                count += 1;
            }
            match socket::send(&to, &packet.finish(), &[]) {
                Ok(()) => drop(self.0.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
