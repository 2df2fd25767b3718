//! The thread that writes to the terminal. It alone may wait for it; whoever has something to show only
//! hands it over.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};
use rustix::process::setpriority_process;
use serde::{Deserialize, Serialize};

use super::gap;
use super::lend::{self, Lent, Request};
use super::paint::Painter;
use super::queue::{Item, Manner, Queue, Source};
use super::sink::Sink;
use super::{OutputConfig, Terminal};
use crate::paint::escape_line;
use crate::types::{UnitId, escaped};

/// So many painted bytes are written at once.
const BATCH: usize = 64 << 10;

/// Under load, reading the components' output comes before showing it.
const NICENESS: i32 = 10;

/// How long the thread has to stop; it never waits for the terminal without hearing of it.
const WRITER_LIMIT: Duration = Duration::from_secs(5);

/// The queue to the thread, for all who have something to show.
#[derive(Debug)]
pub(super) struct Screen {
    state: Mutex<State>,
    /// There is something to show, or nothing will come any more.
    filled: Condvar,
    /// All is shown, or the thread has ended.
    drained: Condvar,
    /// Can be read while somebody asks for the thread's work: a wait for the terminal ends then.
    stop: OwnedFd,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// The thread holds something that is not written yet.
    busy: bool,
    closing: bool,
    ended: bool,
    /// Somebody asks for the thread's work.
    request: Option<Request<Writer>>,
}

/// What the thread holds between two items.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// What waits to be shown.
    pub(super) queue: Queue,
    /// The components' output, and orch's own messages after it.
    pub(super) sinks: [Unwritten; 2],
}

/// What is painted, and the terminal did not take yet.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Unwritten {
    #[serde(with = "escaped")]
    pub(super) painted: Vec<u8>,
    /// The terminal is gone.
    pub(super) dead: bool,
}

impl Screen {
    /// Starts the thread, going on with `held`.
    pub(super) fn start(
        config: OutputConfig,
        terminal: Terminal,
        painter: Painter,
        held: Held,
    ) -> io::Result<Arc<Self>> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let [out, err] = held.sinks;
        let busy = !(out.painted.is_empty() && err.painted.is_empty());
        let state = State { queue: held.queue, busy, closing: false, ended: false, request: None };
        let (filled, drained) = (Condvar::new(), Condvar::new());
        let screen = Arc::new(Self { state: Mutex::new(state), filled, drained, stop });
        let writer = Writer {
            screen: Arc::clone(&screen),
            painter,
            color_messages: config.color_messages,
            stdout: Sink::new(terminal.stdout, out),
            stderr: Sink::new(terminal.stderr, err),
        };
        thread::Builder::new().name("orch-terminal".to_owned()).spawn(move || writer.run())?;
        Ok(screen)
    }

    /// Stops the thread when all is shown, or after `patience`. `None`: it does not stop, and goes on.
    pub(super) fn hand_over(&self, patience: Duration) -> Option<(Painter, Held)> {
        self.flush(patience);
        let (request, asked) = lend::ask();
        let mut state = self.lock();
        state.request = Some(request);
        // An eventfd takes that much.
        let _ = write(&self.stop, &1_u64.to_ne_bytes());
        self.filled.notify_one();
        drop(state);
        let Some(writer) = asked.wait(WRITER_LIMIT).map(Lent::keep) else {
            self.take_request(&mut self.lock());
            return None;
        };
        let queue = std::mem::take(&mut self.lock().queue);
        let sinks = [writer.stdout.leave(), writer.stderr.leave()];
        Some((writer.painter, Held { queue, sinks }))
    }

    fn take_request(&self, state: &mut State) -> Option<Request<Writer>> {
        let request = state.request.take()?;
        let _ = read(&self.stop, &mut [0; 8]);
        Some(request)
    }

    pub(super) fn open(&self, unit: UnitId, label: String, manner: Manner) {
        self.put(|queue| queue.open(unit, label, manner));
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

/// What the thread does next.
enum Next {
    Show(Item),
    /// Show what components are drawing, as it is just now.
    Glimpse(Instant),
    Lend(Request<Writer>),
    End,
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
        loop {
            match self.next() {
                Next::Show(item) => {
                    self.show(item);
                    if self.stdout.painted.len() >= BATCH {
                        self.write();
                    }
                }
                Next::Glimpse(now) => self.painter.glimpse(now, &mut self.stdout.painted),
                Next::Lend(request) => match request.lend(self) {
                    Some(back) => self = back,
                    None => return,
                },
                Next::End => return,
            }
        }
    }

    /// What to do next; writes what is painted before it waits for something.
    fn next(&mut self) -> Next {
        let screen = Arc::clone(&self.screen);
        let mut state = screen.lock();
        loop {
            if let Some(request) = screen.take_request(&mut state) {
                return Next::Lend(request);
            }
            let due = self.painter.due();
            if let Some(now) = due.and_then(reached) {
                return Next::Glimpse(now);
            }
            // What orch says comes before all that follows it.
            let item = if self.stderr.painted.is_empty() { state.queue.pop() } else { None };
            if let Some(item) = item {
                state.busy = true;
                return Next::Show(item);
            }
            if !(self.stdout.painted.is_empty() && self.stderr.painted.is_empty()) {
                drop(state);
                self.write();
                state = screen.lock();
                continue;
            }
            state.busy = false;
            screen.drained.notify_all();
            if state.closing {
                return Next::End;
            }
            state = match due.map(|due| due.saturating_duration_since(Instant::now())) {
                None => screen.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    screen.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn show(&mut self, item: Item) {
        let out = &mut self.stdout.painted;
        match item {
            Item::Open(unit, label, manner) => self.painter.open(unit, &label, manner),
            Item::Close(unit) => self.painter.close(unit, out),
            Item::Bytes(Source::Unit(_), _) if self.stdout.dead => {}
            Item::Bytes(Source::Unit(unit), bytes) => {
                self.painter.bytes(unit, &bytes, Instant::now(), out);
            }
            Item::Omitted(Source::Unit(unit), lines) => self.painter.note(unit, &omitted(lines), out),
            Item::Bytes(Source::Orch, text) => self.say(&text),
            Item::Omitted(Source::Orch, lines) => self.say(omitted(lines).as_bytes()),
        }
    }

    /// orch's own lines, after all that came before them.
    fn say(&mut self, text: &[u8]) {
        for line in text.strip_suffix(b"\n").unwrap_or(text).split(|byte| *byte == b'\n') {
            escape_line(line, self.color_messages, &mut self.stderr.painted);
            self.stderr.painted.push(b'\n');
        }
        self.write();
    }

    /// Writes what is painted: on stderr only when all is written on stdout. A request ends it early.
    fn write(&mut self) {
        self.stdout.write(&self.screen.stop);
        if self.stdout.painted.is_empty() {
            self.stderr.write(&self.screen.stop);
        }
    }
}

/// The present, if that moment is not to come.
fn reached(moment: Instant) -> Option<Instant> {
    let now = Instant::now();
    (moment <= now).then_some(now)
}

fn omitted(count: u64) -> String {
    format!("[orch: {} not shown]", gap::lines(count))
}
