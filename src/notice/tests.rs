//! The hand by itself: sockets in a folder of its own, and a judge that the test is.

use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::*;

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
const UNIT: UnitId = UnitId(7);

/// A hand, what it reports, and what its judge says of everybody.
struct Ear {
    notices: Option<Notices>,
    reports: Receiver<NoticeReport>,
    verdict: Arc<AtomicU8>,
    sink: NoticeSink,
    dir: tempfile::TempDir,
}

fn name() -> Name {
    Name::new("web").unwrap()
}

fn judge(verdict: &Arc<AtomicU8>) -> Judge {
    let verdict = Arc::clone(verdict);
    Arc::new(move |unit, pid| {
        assert_eq!((matches!(unit, UnitId(7 | 8)), pid), (true, std::process::id()));
        match verdict.load(Ordering::SeqCst) {
            0 => Belongs::Yes,
            1 => Belongs::No,
            _ => Belongs::Gone,
        }
    })
}

impl Ear {
    fn new() -> Self {
        let (dir, verdict) = (tempfile::tempdir().unwrap(), Arc::new(AtomicU8::new(0)));
        let (sender, reports) = channel();
        let sink: NoticeSink = Arc::new(move |report| drop(sender.send(report)));
        let notices = Notices::new(dir.path(), judge(&verdict), Arc::clone(&sink));
        Self { notices: Some(notices), reports, verdict, sink, dir }
    }

    fn notices(&mut self) -> &mut Notices {
        self.notices.as_mut().unwrap()
    }

    /// One with a unit that is heard; where to write to it.
    fn with_unit() -> (Self, PathBuf) {
        let mut ear = Self::new();
        let path = ear.notices().open(UNIT, &name(), None).unwrap();
        ear.notices().runs(UNIT, 1);
        (ear, path)
    }

    fn next(&self) -> NoticeReport {
        self.reports.recv_timeout(PATIENCE).unwrap()
    }

    /// What comes up to the answer to a flush.
    fn flushed(&mut self) -> Vec<NoticeReport> {
        assert!(self.notices().flush(UNIT));
        let reports = std::iter::from_fn(|| Some(self.next()));
        reports.take_while(|report| *report != NoticeReport::Flushed { unit: UNIT }).collect()
    }
}

fn said(notice: Notice) -> NoticeReport {
    NoticeReport::Said { unit: UNIT, notice }
}

fn status(text: &str) -> NoticeReport {
    said(Notice::Status(text.to_owned()))
}

fn send(path: &Path, text: impl AsRef<[u8]>) {
    UnixDatagram::unbound().unwrap().send_to(text.as_ref(), path).unwrap();
}

fn send_with(path: &Path, text: &str, fds: &[BorrowedFd<'_>]) {
    let socket = UnixDatagram::unbound().unwrap();
    socket.connect(path).unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    assert!(beside.push(SendAncillaryMessage::ScmRights(fds)));
    let parts = [std::io::IoSlice::new(text.as_bytes())];
    rustix::net::sendmsg(&socket, &parts, &mut beside, SendFlags::empty()).unwrap();
}

/// Waits until every copy of the other end is closed.
fn closes(mut end: UnixStream) {
    end.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(end.read(&mut [0]).unwrap(), 0);
}

#[test]
fn what_is_said_before_the_leader_is_known_is_not_lost() {
    let mut ear = Ear::new();
    let path = ear.notices().open(UNIT, &name(), None).unwrap();
    send(&path, "READY=1\nSTATUS=up");
    assert_eq!(ear.reports.try_recv().ok(), None);
    // As if it had ended since: it is the leader.
    ear.verdict.store(2, Ordering::SeqCst);
    ear.notices().runs(UNIT, std::process::id());
    assert_eq!((ear.next(), ear.next()), (status("up"), said(Notice::Ready)));
    ear.notices().close(UNIT);
    let begun = Instant::now();
    while path.exists() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}

#[test]
fn who_does_not_belong_is_ignored_and_that_is_said_once() {
    for verdict in [1, 2] {
        let (mut ear, path) = Ear::with_unit();
        ear.verdict.store(verdict, Ordering::SeqCst);
        let (mine, other) = UnixStream::pair().unwrap();
        send_with(&path, "READY=1\nFDSTORE=1", &[other.as_fd()]);
        drop(other);
        closes(mine);
        send(&path, "STATUS=x");
        let reports = ear.flushed();
        assert!(matches!(reports.as_slice(), [NoticeReport::Ignored { .. }]), "{reports:?}");
        assert_eq!(ear.notices().stored(&name()).unwrap().len(), 0);
    }
}

#[test]
fn a_message_that_is_too_long_is_refused_whole() {
    let (mut ear, path) = Ear::with_unit();
    let (mine, other) = UnixStream::pair().unwrap();
    let long = format!("READY=1\nFDSTORE=1\nX={}", "x".repeat(receive::LONGEST));
    send_with(&path, &long, &[other.as_fd()]);
    drop(other);
    closes(mine);
    assert!(matches!(ear.flushed().as_slice(), [NoticeReport::Ignored { .. }]));
    let longest = format!("READY=1\nX={}", "x".repeat(receive::LONGEST - 10));
    send(&path, longest);
    assert_eq!(ear.flushed(), [said(Notice::Ready)]);
}

#[test]
fn descriptors_that_nobody_wants_are_closed_however_many() {
    let (mut ear, path) = Ear::with_unit();
    for text in ["READY=1", "READY=1\nFDSTORE=1", ""] {
        let (mine, other) = UnixStream::pair().unwrap();
        send_with(&path, text, &[other.as_fd(); 253]);
        drop(other);
        if text.contains("FDSTORE") {
            // One file is kept once.
            drop(ear.flushed());
            assert_eq!(ear.notices().stored(&name()).unwrap().len(), 1);
            ear.notices().release(&name());
        }
        closes(mine);
    }
}

#[test]
fn a_barrier_is_lifted_when_all_before_it_is_heard() {
    let (ear, path) = Ear::with_unit();
    for number in 0..100 {
        send(&path, format!("STATUS={number}"));
    }
    let (mine, other) = UnixStream::pair().unwrap();
    send_with(&path, "BARRIER=1", &[other.as_fd()]);
    drop(other);
    closes(mine);
    assert_eq!(ear.reports.try_iter().last(), Some(status("99")));
}

#[test]
fn stored_descriptors_come_back_by_name_until_they_are_let_go_of() {
    let (mut ear, path) = Ear::with_unit();
    let (mine, other) = UnixStream::pair().unwrap();
    let (mine_too, another) = UnixStream::pair().unwrap();
    send_with(&path, "FDSTORE=1\nFDNAME=a", &[other.as_fd()]);
    send_with(&path, "FDSTORE=1", &[another.as_fd()]);
    drop((other, another));
    assert_eq!(ear.flushed(), []);
    ear.notices().close(UNIT);
    let names = |ear: &mut Ear| -> Vec<String> {
        ear.notices().stored(&name()).unwrap().into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(&mut ear), ["a", "stored"]);
    // The other end of one goes away.
    drop(mine_too);
    let begun = Instant::now();
    while names(&mut ear) != ["a"] {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    ear.notices().release(&name());
    assert_eq!(names(&mut ear).len(), 0);
    closes(mine);
}

#[test]
fn a_descriptor_is_taken_out_by_its_name() {
    let (mut ear, path) = Ear::with_unit();
    let (mine, other) = UnixStream::pair().unwrap();
    send_with(&path, "FDSTORE=1\nFDNAME=a", &[other.as_fd()]);
    drop(other);
    send(&path, "FDSTOREREMOVE=1\nFDNAME=b");
    drop(ear.flushed());
    assert_eq!(ear.notices().stored(&name()).unwrap().len(), 1);
    send(&path, "FDSTOREREMOVE=1\nFDNAME=a");
    closes(mine);
}

#[test]
fn a_flood_is_bounded_and_the_last_word_counts() {
    let (mut ear, path) = Ear::with_unit();
    let socket = UnixDatagram::unbound().unwrap();
    let begun = Instant::now();
    for number in 0..20_000 {
        socket.send_to(format!("STATUS={number}\nWATCHDOG=1").as_bytes(), &path).unwrap();
    }
    let mut reports = ear.flushed();
    // 20 in a row, 20 a second, each with its ping.
    let most = 2 * (22 + 21 * begun.elapsed().as_secs() as usize + 20);
    assert!(reports.len() <= most, "{} reports, not {most}", reports.len());
    reports.retain(|report| *report != said(Notice::Watchdog));
    assert_eq!(reports.last(), Some(&status("19999")));
}

#[test]
fn another_image_goes_on_where_this_one_stopped() {
    let (mut ear, path) = Ear::with_unit();
    let (mine, other) = UnixStream::pair().unwrap();
    send_with(&path, "STATUS=before\nFDSTORE=1\nFDNAME=kept\nFDPOLL=0", &[other.as_fd()]);
    drop(other);
    assert_eq!(ear.flushed(), [status("before")]);
    let (handover, fds) = ear.notices.take().unwrap().hand_over();
    send(&path, "READY=1");
    let written = serde_json::to_vec(&handover).unwrap();
    let handover: NoticeHandover = serde_json::from_slice(&written).unwrap();
    // The sender was seen in the unit before, and may be gone by now.
    ear.verdict.store(2, Ordering::SeqCst);
    let sink = Arc::clone(&ear.sink);
    let adopted = Notices::adopt(ear.dir.path(), judge(&ear.verdict), sink, handover, fds).unwrap();
    ear.notices = Some(adopted);
    assert_eq!(ear.next(), said(Notice::Ready));
    let stored: Vec<(String, OwnedFd)> = ear.notices().stored(&name()).unwrap();
    assert_eq!(stored[0].0, "kept");
    drop(stored);
    ear.notices = None;
    closes(mine);
    assert!(!path.exists(), "nothing is left at the end");
}

#[test]
fn what_a_killed_orch_has_left_hinders_nobody() {
    let (mut ear, path) = Ear::with_unit();
    std::mem::forget(ear.notices.take());
    assert!(path.exists());
    let mut notices = Notices::new(ear.dir.path(), judge(&ear.verdict), Arc::clone(&ear.sink));
    assert_eq!(notices.open(UNIT, &name(), None).unwrap(), path);
    notices.runs(UNIT, 1);
    send(&path, "READY=1");
    assert_eq!(ear.next(), said(Notice::Ready));
}

/// A TCP socket that takes longer to close than any test may take: its other end does not read.
fn lingering() -> (OwnedFd, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut ours = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    rustix::net::sockopt::set_socket_linger(&ours, Some(3 * PATIENCE)).unwrap();
    ours.set_nonblocking(true).unwrap();
    while std::io::Write::write(&mut ours, &[0; 65536]).is_ok() {}
    (ours.into(), theirs)
}

/// Has one stored whose only descriptor is the store's then; its other end.
fn store_lingering(ear: &mut Ear, path: &Path) -> std::net::TcpStream {
    let (slow, unread) = lingering();
    send_with(path, "FDSTORE=1\nFDNAME=slow", &[slow.as_fd()]);
    assert_eq!(ear.flushed(), []);
    unread
}

#[test]
fn what_takes_long_to_close_holds_nobody_up() {
    const OTHER: UnitId = UnitId(8);
    let begun = Instant::now();
    let mut ear = Ear::new();
    let path = ear.notices().open(UNIT, &name(), None).unwrap();
    let other = ear.notices().open(OTHER, &Name::new("other").unwrap(), None).unwrap();
    // This one's only descriptor is in the message when that is read.
    let (beside, unread) = lingering();
    send_with(&path, "STATUS=1", &[beside.as_fd(), beside.as_fd()]);
    drop(beside);
    ear.notices().runs(UNIT, std::process::id());
    ear.notices().runs(OTHER, std::process::id());
    assert_eq!(ear.next(), status("1"));
    let unread_too = store_lingering(&mut ear, &path);
    send(&path, "READY=1\nFDSTOREREMOVE=1\nFDNAME=slow");
    assert_eq!(ear.next(), said(Notice::Ready));
    send(&path, "STATUS=2");
    assert_eq!(ear.flushed(), [status("2")]);
    send(&other, "READY=1");
    assert_eq!(ear.next(), NoticeReport::Said { unit: OTHER, notice: Notice::Ready });
    ear.notices().close(UNIT);
    ear.notices().release(&name());
    drop(ear.notices.take());
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    drop((unread, unread_too));
}

/// A component whose descriptors can't be closed is not read any more once it has many of them; others are.
#[test]
fn what_is_not_closed_yet_has_an_end() {
    const OTHER: UnitId = UnitId(8);
    let (mut ear, path) = Ear::with_unit();
    let other = ear.notices().open(OTHER, &Name::new("other").unwrap(), None).unwrap();
    ear.notices().runs(OTHER, std::process::id());
    let unread = store_lingering(&mut ear, &path);
    send(&path, "FDSTOREREMOVE=1\nFDNAME=slow");
    for _ in 0..4 {
        let (_mine, junk) = UnixStream::pair().unwrap();
        send_with(&path, "X=", &[junk.as_fd(); 40]);
    }
    send(&path, "STATUS=last");
    assert_eq!(ear.flushed(), []);
    send(&other, "READY=1");
    assert_eq!(ear.next(), NoticeReport::Said { unit: OTHER, notice: Notice::Ready });
    drop(unread);
    assert_eq!(ear.next(), status("last"));
}

#[test]
fn what_is_read_of_a_closed_unit_is_let_go_of_with_the_rest() {
    let (mut ear, path) = Ear::with_unit();
    let (mine, other) = UnixStream::pair().unwrap();
    // Read, if at all, behind what the unit said before: as it is when the end and the words come together.
    for number in 0..500 {
        send(&path, format!("STATUS={number}"));
    }
    send_with(&path, "FDSTORE=1\nFDPOLL=0", &[other.as_fd()]);
    drop(other);
    ear.notices().release(&name());
    ear.notices().close(UNIT);
    ear.notices().release(&name());
    closes(mine);
    assert_eq!(ear.notices().stored(&name()).unwrap().len(), 0);
}

/// Another image looks at the other ends at once, and not when next it is woken.
#[test]
fn what_was_stored_is_looked_after_by_another_image() {
    let (mut ear, path) = Ear::with_unit();
    let (mine, other) = UnixStream::pair().unwrap();
    send_with(&path, "FDSTORE=1", &[other.as_fd()]);
    drop(other);
    assert_eq!(ear.flushed(), []);
    let (handover, fds) = ear.notices.take().unwrap().hand_over();
    let sink = Arc::clone(&ear.sink);
    let adopted = Notices::adopt(ear.dir.path(), judge(&ear.verdict), sink, handover, fds).unwrap();
    ear.notices = Some(adopted);
    drop(mine);
    let begun = Instant::now();
    while !ear.notices().stored(&name()).unwrap().is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}
