//! What is handed over to orch's next image, so that it goes on to the byte where this one stopped.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use serde::{Deserialize, Serialize};

use super::capture::{Capture, Command, Ties};
use super::lend;
use super::log::LogState;
use super::paint::{Painter, PainterState};
use super::pty::Room;
use super::queue::{Queue, QueueState};
use super::screen::{Held, Screen, Unwritten};
use super::stream::StreamState;
use super::{Output, OutputConfig, READER_LIMIT, ReportSink, Terminal};

/// All that the hand knows, for [`Output::adopt`]. Descriptors are named by their place in the list that comes
/// with it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct OutputHandover {
    capture: CaptureState,
    screen: ScreenState,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct CaptureState {
    pub(super) streams: Vec<StreamState>,
    pub(super) logs: Vec<LogState>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct ScreenState {
    painter: PainterState,
    queue: QueueState,
    stdout: Unwritten,
    stderr: Unwritten,
}

/// Why [`Output::hand_over`] gave nothing away.
#[derive(Debug)]
pub struct NotHandedOver {
    /// The hand, which goes on as if it had not been asked.
    pub output: Output,
    reason: &'static str,
}

/// The descriptors that are handed over.
#[derive(Debug, Default)]
pub(super) struct Fds(pub(super) Vec<OwnedFd>);

/// The descriptors that were handed over, each to be taken once.
#[derive(Debug)]
pub(super) struct Taken(Vec<Option<OwnedFd>>);

impl Fds {
    /// Its place.
    pub(super) fn add(&mut self, fd: OwnedFd) -> usize {
        self.0.push(fd);
        self.0.len() - 1
    }
}

impl Taken {
    pub(super) fn new(fds: Vec<OwnedFd>) -> Self {
        Self(fds.into_iter().map(Some).collect())
    }

    /// The descriptor at that place.
    ///
    /// # Errors
    /// There is none, or it was taken.
    pub(super) fn take(&mut self, at: usize) -> io::Result<OwnedFd> {
        let missing = || io::Error::new(io::ErrorKind::InvalidData, "a descriptor was not handed over");
        self.0.get_mut(at).and_then(Option::take).ok_or_else(missing)
    }
}

impl Output {
    /// Stops both threads between two bytes, and gives all that is needed to go on: in another image that
    /// `exec` puts in this one's place, or in this one with [`Output::adopt`]. Every report that was due has
    /// been made when it returns. Writers wait meanwhile, as soon as their pipes are full.
    ///
    /// The descriptors close on exec, as all do. What the terminal does not take within `patience` is handed
    /// over, too; so nothing is lost with none.
    ///
    /// # Errors
    /// A thread does not stop within 5 s, because of a disk that stands still. The hand is given back then, and
    /// goes on.
    pub fn hand_over(self, patience: Duration) -> Result<(OutputHandover, Vec<OwnedFd>), NotHandedOver> {
        self.hand_over_within(READER_LIMIT, patience)
    }

    pub(super) fn hand_over_within(
        self,
        limit: Duration,
        patience: Duration,
    ) -> Result<(OutputHandover, Vec<OwnedFd>), NotHandedOver> {
        let (request, asked) = lend::ask();
        self.tell(Command::HandOver(request));
        let Some(capture) = asked.wait(limit) else {
            return Err(NotHandedOver { output: self, reason: "the logs' disk does not answer" });
        };
        let Some((painter, held)) = self.screen.hand_over(patience) else {
            capture.give_back();
            return Err(NotHandedOver { output: self, reason: "the terminal does not answer" });
        };
        let mut fds = Fds::default();
        let capture = capture.keep().leave(&mut fds);
        let [stdout, stderr] = held.sinks;
        let screen = ScreenState { painter: painter.leave(), queue: held.queue.leave(), stdout, stderr };
        Ok((OutputHandover { capture, screen }, fds.0))
    }

    /// Goes on where [`Output::hand_over`] stopped, whether in another image or in the same one: no byte is
    /// lost or comes twice, no line is torn or shown twice, and no report is made again. Streams whose writers
    /// are gone meanwhile are read to their end first. `fds` are the descriptors that came with `handover`, in
    /// the same order, whatever their numbers; `terminal` leads to where it led before.
    ///
    /// # Errors
    /// When the system has no thread or descriptor left, or when the two arguments don't belong together.
    pub fn adopt(
        config: OutputConfig,
        terminal: Terminal,
        sink: ReportSink,
        handover: OutputHandover,
        fds: Vec<OwnedFd>,
    ) -> io::Result<Self> {
        let mut fds = Taken::new(fds);
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let open_streams = Arc::new(AtomicUsize::new(0));
        let (commands, received) = mpsc::channel();
        let (alive, reader) = mpsc::channel();
        let room = Room::new(&terminal.stdout, config.prefix_width);
        let screen = handover.screen.start(config, terminal)?;
        let ties = Ties {
            wake: Arc::clone(&wake),
            commands: received,
            screen: Arc::clone(&screen),
            sink,
            open_streams: Arc::clone(&open_streams),
        };
        let run = Capture::adopt(ties, handover.capture, &mut fds).and_then(|capture| {
            thread::Builder::new().name("orch-output".to_owned()).spawn(move || {
                let _alive: mpsc::Sender<()> = alive;
                capture.run();
            })
        });
        run.inspect_err(|_| screen.close_all())?;
        let output = Self { commands, wake, screen, reader: Mutex::new(reader), open_streams, room };
        // It may have changed between the two.
        output.resize();
        Ok(output)
    }
}

impl ScreenState {
    fn start(self, config: OutputConfig, terminal: Terminal) -> io::Result<Arc<Screen>> {
        let painter = Painter::adopt(config.color, config.prefix_width, self.painter);
        let held = Held { queue: Queue::adopt(self.queue), sinks: [self.stdout, self.stderr] };
        Screen::start(config, terminal, painter, held)
    }
}

impl fmt::Display for NotHandedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not hand over the components' output: {}; it goes on as before", self.reason)
    }
}

impl std::error::Error for NotHandedOver {}
