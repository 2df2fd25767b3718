//! The thread that reads all output: one epoll over all streams. Each stream has its turn, of bounded size;
//! one whose log does not take bytes is left unread, so that its writer waits, and no other does.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Instant;

use rustix::event::{Timespec, epoll};
use rustix::io::{Errno, read};
use rustix::termios::Winsize;

use super::digest::Digest;
use super::handover::{CaptureState, Fds, Taken};
use super::lend::Request;
use super::log::Logs;
use super::matcher::Matcher;
use super::pty;
use super::queue::{Manner, Source};
use super::screen::Screen;
use super::stream::{Read, Stream};
use super::{Bell, LogSpec, OutputReport, ReportSink, StreamSpec};
use crate::types::UnitId;

/// Bytes of one stream in one turn.
const TURN: usize = 256 << 10;

/// Streams in one turn of all.
const EVENTS: usize = 32;

/// Read of a stream that is closed while others may still write to it: no less than any pipe holds. Bytes.
const LAST: usize = 1 << 20;

/// The wake-up's place among the units' ids.
pub(super) const WAKE: u64 = u64::MAX;

/// What the thread is told.
pub(super) enum Command {
    Open(UnitId, StreamSpec, OwnedFd),
    Close(UnitId),
    Relog(UnitId, LogSpec),
    Ring(Bell),
    Resize(Winsize),
    HandOver(Request<Capture>),
    Finish,
}

pub(super) struct Capture {
    epoll: OwnedFd,
    wake: Arc<OwnedFd>,
    commands: Receiver<Command>,
    streams: BTreeMap<UnitId, Stream>,
    logs: Logs,
    screen: Arc<Screen>,
    sink: ReportSink,
    buffer: Vec<u8>,
    finishing: bool,
    /// Somebody asks for all this.
    request: Option<Request<Self>>,
    open_streams: Arc<AtomicUsize>,
    /// Rung when something was written to a log.
    bell: Option<Bell>,
}

/// What ties the thread to the others.
pub(super) struct Ties {
    pub(super) wake: Arc<OwnedFd>,
    pub(super) commands: Receiver<Command>,
    pub(super) screen: Arc<Screen>,
    pub(super) sink: ReportSink,
    pub(super) open_streams: Arc<AtomicUsize>,
}

impl Capture {
    /// Goes on with the streams and logs that were handed over.
    ///
    /// # Errors
    /// The system has no epoll left, or something is missing of what was handed over.
    pub(super) fn adopt(ties: Ties, state: CaptureState, fds: &mut Taken) -> io::Result<Self> {
        let Ties { wake, commands, screen, sink, open_streams } = ties;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &*wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        let mut logs = Logs::adopt(state.logs, fds, Instant::now())?;
        let paths = logs.paths();
        let mut streams = BTreeMap::new();
        for state in state.streams {
            let unit = state.unit;
            let stream = Stream::adopt(state, &paths, fds)?;
            stream.log.iter().for_each(|log| logs.rejoin(log));
            streams.insert(unit, stream);
        }
        open_streams.store(streams.len(), Ordering::Relaxed);
        let buffer = vec![0; TURN];
        Ok(Self {
            epoll,
            wake,
            commands,
            streams,
            logs,
            screen,
            sink,
            buffer,
            finishing: false,
            request: None,
            open_streams,
            bell: None,
        })
    }

    /// Leaves the streams and logs to another image.
    pub(super) fn leave(self, fds: &mut Fds) -> CaptureState {
        let paths = self.logs.paths();
        let streams =
            self.streams.into_iter().map(|(unit, stream)| stream.leave(unit, &paths, fds)).collect();
        CaptureState { streams, logs: self.logs.leave(fds, Instant::now()) }
    }

    /// Reads until [`Command::Finish`], or until it is handed over.
    pub(super) fn run(mut self) {
        self.begin();
        loop {
            self.read_on();
            match self.request.take() {
                Some(request) => match request.lend(self) {
                    Some(back) => self = back,
                    None => return,
                },
                None => break,
            }
        }
        let units: Vec<UnitId> = self.streams.keys().copied().collect();
        for unit in units {
            self.close(unit);
        }
    }

    /// Takes up the streams that it begins with.
    fn begin(&mut self) {
        let units: Vec<UnitId> = self.streams.keys().copied().collect();
        for unit in units {
            let Some(stream) = self.streams.get(&unit) else { continue };
            if !stream.pending.is_empty() {
                self.offer_pending(unit);
            } else if let Err(error) = self.watch(unit, stream) {
                self.fail(unit, &error);
            }
            self.tell_log_problems(unit);
        }
    }

    fn read_on(&mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        while !self.finishing && self.request.is_none() {
            events.clear();
            let timeout = self.logs.next_retry().map(until);
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                // The epoll itself is unusable: to read no more is worse than to let go of all.
                Err(_) => break,
            }
            for event in &events {
                match u32::try_from(event.data.u64()) {
                    Ok(unit) => self.turn(UnitId(unit)),
                    Err(_) => self.obey(),
                }
            }
            self.retry();
        }
    }

    fn obey(&mut self) {
        // It only wakes; how often it was written to does not matter.
        let _ = read(&*self.wake, &mut [0; 8]);
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Open(unit, spec, fd) => self.open(unit, spec, fd),
                Command::Close(unit) => self.close(unit),
                Command::Relog(unit, spec) => self.relog(unit, &spec),
                Command::Ring(bell) => self.bell = Some(bell),
                Command::Resize(size) => self.resize(size),
                Command::HandOver(request) => self.request = Some(request),
                Command::Finish => self.finishing = true,
            }
        }
    }

    fn open(&mut self, unit: UnitId, spec: StreamSpec, fd: OwnedFd) {
        self.close(unit);
        if let Some(log) = &spec.log {
            self.logs.open(log, Instant::now());
        }
        let stream = Stream::new(fd, spec);
        if stream.show {
            let manner = if stream.terminal { Manner::Drawn } else { Manner::Lines };
            self.screen.open(unit, stream.label.clone(), manner);
        }
        let watched = self.watch(unit, &stream);
        self.streams.insert(unit, stream);
        self.tell_log_problems(unit);
        if let Err(error) = watched {
            self.fail(unit, &error);
        }
    }

    fn watch(&self, unit: UnitId, stream: &Stream) -> io::Result<()> {
        let data = epoll::EventData::new_u64(u64::from(unit.0));
        Ok(epoll::add(&self.epoll, &stream.fd, data, epoll::EventFlags::IN)?)
    }

    fn turn(&mut self, unit: UnitId) {
        let Some(stream) = self.streams.get_mut(&unit) else { return };
        match stream.read(&mut self.buffer) {
            Read::Bytes(count) => self.take(unit, count),
            Read::Nothing => {}
            Read::End => self.end(unit),
            Read::Failed(error) => self.fail(unit, &error),
        }
    }

    /// The first `count` bytes of the buffer are the stream's.
    fn take(&mut self, unit: UnitId, count: usize) {
        let Some(stream) = self.streams.get_mut(&unit) else { return };
        let bytes = &self.buffer[..count];
        if stream.show {
            self.screen.bytes(Source::Unit(unit), bytes);
        }
        let mut done = count;
        if let Some(log) = &stream.log {
            done = self.logs.append(log, bytes, Instant::now());
            ring(self.bell.as_ref());
        }
        if stream.matcher.as_mut().is_some_and(|matcher| matcher.feed(bytes)) {
            stream.matcher = None;
            (self.sink)(OutputReport::Matched { unit });
        }
        if let Some(digest) = &mut stream.digest {
            digest.feed(bytes);
        }
        if done < count {
            stream.pending.extend_from_slice(&bytes[done..]);
            // No events at all: a hang-up would wake the thread again and again.
            let _ = epoll::delete(&self.epoll, &stream.fd);
        }
        self.tell_log_problems(unit);
    }

    /// The stream will bring no more, and what it has brought is in the log: while something waits for the
    /// log, the end is not even read.
    fn end(&mut self, unit: UnitId) {
        let Some(mut stream) = self.remove(unit) else { return };
        if stream.matcher.as_mut().is_some_and(Matcher::finish) {
            (self.sink)(OutputReport::Matched { unit });
        }
        if let Some((place, tail)) = stream.digest.take().map(Digest::finish) {
            (self.sink)(OutputReport::Remembered { unit, place, tail });
        }
        // Who hears of the end may rely on the descriptor being closed.
        drop(stream);
        (self.sink)(OutputReport::Ended { unit });
    }

    fn remove(&mut self, unit: UnitId) -> Option<Stream> {
        let stream = self.streams.remove(&unit)?;
        let _ = epoll::delete(&self.epoll, &stream.fd);
        self.open_streams.fetch_sub(1, Ordering::Relaxed);
        if stream.show {
            self.screen.close(unit);
        }
        self.leave_log(unit, stream.log.as_deref());
        Some(stream)
    }

    /// A stream that can't be read is closed: its writer gets an error then, and does not wait for good.
    fn fail(&mut self, unit: UnitId, error: &io::Error) {
        let message = format!("could not read the component's output: {error}; it is closed");
        (self.sink)(OutputReport::Problem { unit, message });
        self.end(unit);
    }

    fn close(&mut self, unit: UnitId) {
        let mut left = LAST;
        while left > 0 {
            self.give_up(unit);
            let Some(stream) = self.streams.get(&unit) else { return };
            match stream.read(&mut self.buffer) {
                Read::Bytes(count) => {
                    self.take(unit, count);
                    left = left.saturating_sub(count);
                }
                _ => break,
            }
        }
        self.give_up(unit);
        self.end(unit);
    }

    /// The log had its time: what it does not take now is lost.
    fn give_up(&mut self, unit: UnitId) {
        let Some(stream) = self.streams.get_mut(&unit) else { return };
        let pending = std::mem::take(&mut stream.pending);
        if let Some(log) = &stream.log {
            let done = self.logs.append(log, &pending, Instant::now());
            self.logs.give_up(log, &pending[done..]);
            ring(self.bell.as_ref());
        }
    }

    fn relog(&mut self, unit: UnitId, spec: &LogSpec) {
        let Some(stream) = self.streams.get_mut(&unit) else { return };
        self.logs.open(spec, Instant::now());
        let old = stream.log.replace(spec.path.clone());
        self.leave_log(unit, old.as_deref());
        self.offer_pending(unit);
        self.tell_log_problems(unit);
    }

    fn resize(&self, size: Winsize) {
        for (unit, stream) in self.streams.iter().filter(|(_, stream)| stream.terminal) {
            if pty::resize(&stream.fd, size) {
                (self.sink)(OutputReport::Resized { unit: *unit });
            }
        }
    }

    fn retry(&mut self) {
        if self.logs.next_retry().is_none() {
            return;
        }
        for path in self.logs.retry(Instant::now()) {
            let users = |stream: &Stream| stream.log.as_deref() == Some(path.as_path());
            let users: Vec<UnitId> =
                self.streams.iter().filter(|(_, stream)| users(stream)).map(|(unit, _)| *unit).collect();
            for unit in users {
                self.offer_pending(unit);
                self.tell_log_problems(unit);
            }
        }
    }

    /// Offers what waits to the log; if it takes all, the stream is read again.
    fn offer_pending(&mut self, unit: UnitId) {
        let Some(stream) = self.streams.get_mut(&unit) else { return };
        if stream.pending.is_empty() {
            return;
        }
        let done = match &stream.log {
            Some(log) => self.logs.append(log, &stream.pending, Instant::now()),
            None => stream.pending.len(),
        };
        ring(self.bell.as_ref());
        stream.pending.drain(..done);
        if !stream.pending.is_empty() {
            return;
        }
        stream.pending = Vec::new();
        if let Some(stream) = self.streams.get(&unit)
            && let Err(error) = self.watch(unit, stream)
        {
            self.fail(unit, &error);
        }
    }

    fn leave_log(&mut self, unit: UnitId, log: Option<&Path>) {
        let Some(log) = log else { return };
        for message in self.logs.close(log, Instant::now()) {
            (self.sink)(OutputReport::Problem { unit, message });
        }
        // It may have ended with a note.
        ring(self.bell.as_ref());
    }

    fn tell_log_problems(&mut self, unit: UnitId) {
        let Some(log) = self.streams.get(&unit).and_then(|stream| stream.log.as_deref()) else { return };
        for message in self.logs.take_problems(log) {
            (self.sink)(OutputReport::Problem { unit, message });
        }
    }
}

fn ring(bell: Option<&Bell>) {
    if let Some(bell) = bell {
        bell();
    }
}

fn until(moment: Instant) -> Timespec {
    let wait = moment.saturating_duration_since(Instant::now());
    Timespec::try_from(wait).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 })
}
