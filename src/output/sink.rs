//! Where painted bytes go. Nothing here is ever held up inside a write, so it can always be stopped, and it
//! is known to the byte what was taken: what is handed over to another image is neither lost nor shown twice.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, makedev, open};
use rustix::io::{Errno, write};
use rustix::net::{SendFlags, send};

use super::screen::Unwritten;

/// After a promise of room that was none.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// A pipe that has room for one byte has room for so many.
const PIECE: usize = 4096;

/// A terminal, or what stands in its place.
pub(super) struct Sink {
    fd: OwnedFd,
    way: Way,
    /// Nobody reads it any more; what would go there is dropped.
    pub(super) dead: bool,
    /// What is to be written.
    pub(super) painted: Vec<u8>,
}

/// How to write without waiting. The flag that says so belongs to the open terminal, which others share: it
/// is not orch's to set.
enum Way {
    /// Files take what they get.
    File,
    Socket,
    /// The same terminal or pipe, opened once more, for orch alone.
    Own(OwnedFd),
    /// It can't be opened once more: no more is written at once than there is room for.
    Careful,
}

/// What came of waiting.
enum Waited {
    Room,
    Stop,
    Failed,
}

impl Sink {
    /// Goes on with what is `left` to be written.
    pub(super) fn new(fd: OwnedFd, left: Unwritten) -> Self {
        let way = Way::of(&fd);
        Self { fd, way, dead: left.dead, painted: left.painted }
    }

    /// What is left to be written.
    pub(super) fn leave(self) -> Unwritten {
        Unwritten { painted: self.painted, dead: self.dead }
    }

    /// Writes what is painted, waiting as long as it takes, until `stop` can be read. What is left is painted
    /// still.
    pub(super) fn write(&mut self, stop: &OwnedFd) {
        let mut done = 0;
        let mut promised = false;
        while done < self.painted.len() && !self.dead {
            match self.put(done, promised) {
                Ok(count) => (done, promised) = (done + count, false),
                Err(Errno::INTR) => {}
                // A terminal may promise room, and yet have too little for the next character.
                Err(Errno::AGAIN) => match wait((!promised).then_some(self.target()), stop) {
                    Waited::Room => promised = !promised,
                    Waited::Stop => break,
                    Waited::Failed => self.dead = true,
                },
                Err(_) => self.dead = true,
            }
        }
        if self.dead {
            self.painted.clear();
        }
        self.painted.drain(..done.min(self.painted.len()));
    }

    /// Writes what there is room for at once; `promised`: there was room a moment ago.
    fn put(&self, done: usize, promised: bool) -> rustix::io::Result<usize> {
        let rest = &self.painted[done..];
        match &self.way {
            Way::File => write(&self.fd, rest),
            Way::Socket => send(&self.fd, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Way::Own(own) => write(own, rest),
            Way::Careful if !promised => Err(Errno::AGAIN),
            Way::Careful => write(&self.fd, &rest[..rest.len().min(PIECE)]),
        }
    }

    fn target(&self) -> &OwnedFd {
        match &self.way {
            Way::Own(own) => own,
            _ => &self.fd,
        }
    }
}

impl Way {
    fn of(fd: &OwnedFd) -> Self {
        let Ok(stat) = fstat(fd) else { return Self::Careful };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Self::File,
            FileType::Socket => Self::Socket,
            // Opening the master of pseudo-terminals makes a new one.
            FileType::CharacterDevice if stat.st_rdev == makedev(5, 2) => Self::Careful,
            _ => reopened(fd).map_or(Self::Careful, Self::Own),
        }
    }
}

fn reopened(fd: &OwnedFd) -> Option<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let own = open(path, flags, Mode::empty()).ok()?;
    let (one, two) = (fstat(fd).ok()?, fstat(&own).ok()?);
    ((one.st_dev, one.st_ino) == (two.st_dev, two.st_ino)).then_some(own)
}

/// Waits until `fd` has room, or, without one, for a moment; or until `stop` can be read.
fn wait(fd: Option<&OwnedFd>, stop: &OwnedFd) -> Waited {
    loop {
        let timeout = fd.is_none().then_some(&PAUSE);
        let mut fds = vec![PollFd::new(stop, PollFlags::IN)];
        fds.extend(fd.map(|fd| PollFd::new(fd, PollFlags::OUT)));
        match poll(&mut fds, timeout) {
            Err(Errno::INTR) => {}
            Err(_) => return Waited::Failed,
            Ok(_) if !fds[0].revents().is_empty() => return Waited::Stop,
            Ok(_) => return Waited::Room,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    use rustix::event::{EventfdFlags, eventfd};
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::{Sink, Unwritten, Way};

    /// Whether `sink` can be stopped while nobody reads, and shows all once and in order when somebody does.
    fn check(mut sink: Sink, end: OwnedFd) {
        let text: Vec<u8> = (0..300_000).flat_map(|number: u32| format!("{number}\n").into_bytes()).collect();
        sink.painted.clone_from(&text);
        let stop = eventfd(1, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        let begun = Instant::now();
        for _ in 0..3 {
            sink.write(&stop);
            let left = sink.painted.len();
            assert!(left > 0 && (left < text.len() || matches!(sink.way, Way::Careful)), "{left}");
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
        let reader = std::thread::spawn(move || {
            let mut seen = Vec::new();
            File::from(end).read_to_end(&mut seen).unwrap();
            seen
        });
        // A careful one does nothing while it is to stop.
        while sink.painted.len() > text.len() / 2 && !matches!(sink.way, Way::Careful) {
            sink.write(&stop);
        }
        rustix::io::read(&stop, &mut [0; 8]).unwrap();
        sink.write(&stop);
        assert!(sink.painted.is_empty() && !sink.dead);
        drop(sink);
        assert!(reader.join().unwrap() == text);
    }

    #[test]
    fn every_kind_of_terminal_is_stopped_at_a_known_byte() {
        let (read_end, write_end) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let sink = Sink::new(write_end, Unwritten::default());
        assert!(matches!(sink.way, Way::Own(_)));
        check(sink, read_end);

        let (one, two) = UnixStream::pair().unwrap();
        let sink = Sink::new(one.into(), Unwritten::default());
        assert!(matches!(sink.way, Way::Socket));
        check(sink, two.into());

        let (read_end, write_end) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let sink = Sink { fd: write_end, way: Way::Careful, dead: false, painted: Vec::new() };
        check(sink, read_end);
    }

    #[test]
    fn a_file_is_appended_to_where_others_left_off() {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, b"before\n").unwrap();
        let left = Unwritten { painted: b"after\n".to_vec(), dead: false };
        let mut sink = Sink::new(file.try_clone().unwrap().into(), left);
        sink.write(&eventfd(0, EventfdFlags::CLOEXEC).unwrap());
        let mut text = String::new();
        std::io::Seek::rewind(&mut file).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "before\nafter\n");
    }
}
