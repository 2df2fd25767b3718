//! The thread that writes to the terminal. It alone may wait for it; whoever has something to show only
//! hands it over.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, write};
use rustix::process::setpriority_process;

use super::escape::escape_line;
use super::gap;
use super::paint::Painter;
use super::queue::{Item, Queue, Source};
use super::{OutputConfig, Terminal};
use crate::types::UnitId;

/// So many painted bytes are written at once.
const BATCH: usize = 64 << 10;

/// Under load, reading the components' output comes before showing it.
const NICENESS: i32 = 10;

/// The queue to the thread, for all who have something to show.
#[derive(Debug)]
pub(super) struct Screen {
    state: Mutex<State>,
    /// There is something to show, or nothing will come any more.
    filled: Condvar,
    /// All is shown, or the thread has ended.
    drained: Condvar,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// The thread holds something that is not written yet.
    busy: bool,
    closing: bool,
    ended: bool,
}

impl Screen {
    pub(super) fn start(config: OutputConfig, terminal: Terminal) -> io::Result<Arc<Self>> {
        let state = State { queue: Queue::new(), busy: false, closing: false, ended: false };
        let screen =
            Arc::new(Self { state: Mutex::new(state), filled: Condvar::new(), drained: Condvar::new() });
        let writer = Writer {
            screen: Arc::clone(&screen),
            painter: Painter::new(config.color, config.prefix_width),
            color_messages: config.color_messages,
            stdout: Sink { fd: terminal.stdout, dead: false, painted: Vec::new() },
            stderr: Sink { fd: terminal.stderr, dead: false, painted: Vec::new() },
        };
        thread::Builder::new().name("orch-terminal".to_owned()).spawn(move || writer.run())?;
        Ok(screen)
    }

    pub(super) fn open(&self, unit: UnitId, label: String) {
        self.put(|queue| queue.open(unit, label));
    }

    pub(super) fn bytes(&self, source: Source, bytes: &[u8]) {
        self.put(|queue| queue.bytes(source, bytes));
    }

    pub(super) fn close(&self, unit: UnitId) {
        self.put(|queue| queue.close(unit));
    }

    fn put(&self, change: impl FnOnce(&mut Queue)) {
        let mut state = self.lock();
        if !state.ended {
            change(&mut state.queue);
            self.filled.notify_one();
        }
    }

    /// Waits until all is shown, for at most `limit`; whether it is.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut state = self.lock();
        while !(state.ended || state.queue.is_empty() && !state.busy) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.drained.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Nothing more is to be shown: the thread ends when it has shown all there is.
    pub(super) fn close_all(&self) {
        self.lock().closing = true;
        self.filled.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread owns.
struct Writer {
    screen: Arc<Screen>,
    painter: Painter,
    color_messages: bool,
    stdout: Sink,
    stderr: Sink,
}

struct Sink {
    fd: OwnedFd,
    /// Nobody reads it any more; what would go there is dropped.
    dead: bool,
    painted: Vec<u8>,
}

/// Tells the others that the thread is gone, by whatever way.
struct EndGuard(Arc<Screen>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.drained.notify_all();
    }
}

impl Writer {
    fn run(mut self) {
        let _guard = EndGuard(Arc::clone(&self.screen));
        // Without the right to it, the thread is as important as any.
        let _ = setpriority_process(None, NICENESS);
        while let Some(item) = self.next() {
            self.show(item);
            if self.stdout.painted.len() >= BATCH {
                self.stdout.write();
            }
        }
    }

    /// The next item; writes what is painted before it waits for one.
    fn next(&mut self) -> Option<Item> {
        let screen = Arc::clone(&self.screen);
        let mut state = screen.lock();
        loop {
            if let Some(item) = state.queue.pop() {
                state.busy = true;
                return Some(item);
            }
            if !self.stdout.painted.is_empty() {
                drop(state);
                self.stdout.write();
                state = screen.lock();
                continue;
            }
            state.busy = false;
            screen.drained.notify_all();
            if state.closing {
                return None;
            }
            state = screen.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn show(&mut self, item: Item) {
        let out = &mut self.stdout.painted;
        match item {
            Item::Open(unit, label) => self.painter.open(unit, &label),
            Item::Close(unit) => self.painter.close(unit, out),
            Item::Bytes(Source::Unit(_), _) if self.stdout.dead => {}
            Item::Bytes(Source::Unit(unit), bytes) => self.painter.bytes(unit, &bytes, out),
            Item::Omitted(Source::Unit(unit), lines) => self.painter.note(unit, &omitted(lines), out),
            Item::Bytes(Source::Orch, text) => self.say(&text),
            Item::Omitted(Source::Orch, lines) => self.say(omitted(lines).as_bytes()),
        }
    }

    /// orch's own lines, after all that came before them.
    fn say(&mut self, text: &[u8]) {
        self.stdout.write();
        for line in text.strip_suffix(b"\n").unwrap_or(text).split(|byte| *byte == b'\n') {
            escape_line(line, self.color_messages, &mut self.stderr.painted);
            self.stderr.painted.push(b'\n');
        }
        self.stderr.write();
    }
}

fn omitted(count: u64) -> String {
    format!("[orch: {} not shown]", gap::lines(count))
}

impl Sink {
    fn write(&mut self) {
        let mut rest = self.painted.as_slice();
        while !rest.is_empty() && !self.dead {
            match write(&self.fd, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                // Others who have the same terminal open may have made it non-blocking.
                Err(Errno::AGAIN) => self.dead = wait_writable(&self.fd).is_err(),
                Err(_) => self.dead = true,
            }
        }
        self.painted.clear();
    }
}

fn wait_writable(fd: &OwnedFd) -> rustix::io::Result<()> {
    loop {
        match poll(&mut [PollFd::new(fd, PollFlags::OUT)], None) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
}
