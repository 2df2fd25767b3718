//! What orch asks of the keeper. Nobody waits for a keeper that does not take it: what has no room in the socket waits
//! here, and the thread that reads the keeper's reports sends it on.
//!
//! What waits has an end by itself: of each unit one spawn, one kill, one main process, and each of its signals once.
//! A kill takes back the spawn before it, so who asks over and over leaves nothing behind.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::EventfdFlags;

use crate::types::UnitId;

use super::protocol::Request;
use super::socket;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Posted {
    /// It is in the socket.
    Sent,
    /// It waits until the keeper takes something.
    Waits,
    /// One like it waits already, or waited, and is not sent in its place: there is one answer to both.
    Merged,
    /// It was the end of a unit that the keeper had not been asked for yet, and is not any more.
    Withdrawn,
}

/// The way to a keeper.
#[derive(Debug)]
pub(super) struct Post {
    socket: OwnedFd,
    /// Shows that something has begun to wait.
    bell: OwnedFd,
    waiting: Mutex<VecDeque<Letter>>,
}

/// A request with what goes beside it.
#[derive(Debug)]
struct Letter {
    request: Request,
    fds: Vec<OwnedFd>,
}

impl Post {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        let bell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { socket, bell, waiting: Mutex::default() })
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    pub(super) fn bell(&self) -> &OwnedFd {
        &self.bell
    }

    /// Silences the bell: for the thread that listens to it.
    pub(super) fn hush(&self) {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Letter>> {
        // The queue is whole after every statement, so a panic elsewhere does not spoil it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the keeper has been sent all that it was asked.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting().is_empty()
    }

    /// Sends a request, or has it wait. Never blocks.
    pub(super) fn send(&self, request: Request, fds: &[BorrowedFd<'_>]) -> io::Result<Posted> {
        let mut waiting = self.waiting();
        if waiting.is_empty() && self.deliver(&request, fds)? {
            return Ok(Posted::Sent);
        }
        let posted = make_room(&mut waiting, &request);
        if posted == Posted::Withdrawn || posted == Posted::Merged && !matches!(request, Request::Main { .. })
        {
            return Ok(posted);
        }
        let fds = fds.iter().map(BorrowedFd::try_clone_to_owned).collect::<io::Result<_>>()?;
        waiting.push_back(Letter { request, fds });
        drop(waiting);
        // One that is full rings already.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        Ok(posted)
    }

    /// Sends what waits, as far as there is room; gives what can't be sent, with why.
    pub(super) fn send_on(&self) -> Vec<(Request, io::Error)> {
        let (mut waiting, mut failed) = (self.waiting(), Vec::new());
        while let Some(letter) = waiting.front() {
            let fds: Vec<BorrowedFd<'_>> = letter.fds.iter().map(|fd| fd.as_fd()).collect();
            match self.deliver(&letter.request, &fds) {
                Ok(false) => break,
                Ok(true) => drop(waiting.pop_front()),
                Err(error) => failed.extend(waiting.pop_front().map(|letter| (letter.request, error))),
            }
        }
        failed
    }

    /// Puts a request into the socket; false: it has no room now.
    fn deliver(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> io::Result<bool> {
        let bytes = request.encode();
        let sent = if bytes.len() <= socket::MAX_PACKET {
            socket::send(&self.socket, &bytes, fds)
        } else {
            let body = rustix::fs::memfd_create("request", rustix::fs::MemfdFlags::CLOEXEC)?;
            let mut body = std::fs::File::from(body);
            body.write_all(&bytes)?;
            let fds: Vec<_> = std::iter::once(body.as_fd()).chain(fds.iter().copied()).collect();
            socket::send(&self.socket, &request.spilled(), &fds)
        };
        match sent {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Takes out what a request makes needless; tells what becomes of the request itself.
fn make_room(waiting: &mut VecDeque<Letter>, request: &Request) -> Posted {
    let before = waiting.len();
    match request {
        Request::Kill { unit } if is_unborn(waiting, *unit) => {
            waiting.retain(|letter| letter.request.unit() != Some(*unit));
            return Posted::Withdrawn;
        }
        Request::Kill { .. } | Request::Signal { .. } => {
            if waiting.iter().any(|letter| letter.request == *request) {
                return Posted::Merged;
            }
        }
        Request::Main { unit, .. } => {
            let is_other = |letter: &Letter| !matches!(letter.request, Request::Main { unit: other, .. } if other == *unit);
            waiting.retain(is_other);
        }
        Request::Hold => waiting.retain(|letter| letter.request != Request::Hold),
        // All else is needless then.
        Request::Shutdown => waiting.clear(),
        Request::Spawn(_) => {}
    }
    let merged = waiting.len() < before && matches!(request, Request::Main { .. });
    if merged { Posted::Merged } else { Posted::Waits }
}

fn is_unborn(waiting: &VecDeque<Letter>, unit: UnitId) -> bool {
    waiting.iter().any(|letter| matches!(&letter.request, Request::Spawn(launch) if launch.unit == unit))
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::super::super::Scope;
    use super::super::protocol::Launch;
    use super::*;

    fn spawn(unit: u32) -> Request {
        let text = || CString::new("/bin/true").unwrap();
        let (argv, env) = (vec![text()], Vec::new());
        let (unit, stdin, open_files) = (UnitId(unit), false, 9);
        Request::Spawn(Launch { unit, program: text(), argv, env, cwd: text(), stdin, open_files })
    }

    /// A post whose other end takes nothing, and which is full.
    fn full() -> (Post, OwnedFd) {
        let (ours, theirs) = socket::pair().unwrap();
        let post = Post::new(ours).unwrap();
        while post.send(Request::Main { unit: UnitId(0), pid: 2 }, &[]).unwrap() == Posted::Sent {}
        (post, theirs)
    }

    fn waiting(post: &Post) -> Vec<Request> {
        post.waiting().iter().map(|letter| letter.request.clone()).collect()
    }

    /// What comes out at the other end, in its order.
    fn received(post: &Post, theirs: &OwnedFd) -> Vec<Request> {
        let (mut buffer, mut all) = (vec![0; socket::MAX_PACKET], Vec::new());
        loop {
            assert!(post.send_on().is_empty());
            match socket::receive(theirs, &mut buffer, false) {
                Ok(Some(packet)) => all.push(Request::decode(&buffer[..packet.length]).unwrap()),
                Ok(None) => panic!("it is open"),
                Err(_) => return all,
            }
        }
    }

    #[test]
    fn what_waits_is_bounded_however_often_it_is_asked() {
        let (post, theirs) = full();
        let unit = UnitId(7);
        let term = Request::Signal { unit, signal: 15, scope: Scope::Group };
        for pid in 8..500 {
            let named = post.send(Request::Main { unit, pid }, &[]).unwrap();
            assert_eq!(named, if pid == 8 { Posted::Waits } else { Posted::Merged });
            for request in [term.clone(), Request::Kill { unit }, Request::Hold] {
                post.send(request, &[post.bell().as_fd()]).unwrap();
            }
            assert_eq!(post.send(spawn(pid), &[]).unwrap(), Posted::Waits);
            assert_eq!(post.send(Request::Kill { unit: UnitId(pid) }, &[]).unwrap(), Posted::Withdrawn);
        }
        let all = waiting(&post);
        assert!(all.len() < 8, "{all:?}");
        assert_eq!(all.last(), Some(&Request::Hold));
        let received = received(&post, &theirs);
        assert_eq!(received[received.len() - all.len()..], all);
        assert!(post.is_empty());
        assert_eq!(post.send(term, &[]).unwrap(), Posted::Sent);
    }

    #[test]
    fn at_the_end_nothing_else_is_asked() {
        let (post, theirs) = full();
        post.send(spawn(1), &[]).unwrap();
        post.send(Request::Shutdown, &[]).unwrap();
        assert_eq!(waiting(&post), [Request::Shutdown]);
        assert_eq!(received(&post, &theirs).last(), Some(&Request::Shutdown));
    }
}
