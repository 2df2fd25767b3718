//! A thread's work, lent to somebody who asks for it: the thread stands still then, with nothing half done, and
//! either goes on with what it gets back or ends.

use std::fmt;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::time::Duration;

/// The asking, for the thread.
pub(super) struct Request<T>(SyncSender<Lent<T>>);

/// The asking, for the one who waits.
pub(super) struct Asked<T>(Receiver<Lent<T>>);

/// What a thread has lent.
pub(super) struct Lent<T> {
    work: T,
    back: Sender<T>,
}

/// Both ends of one asking.
pub(super) fn ask<T>() -> (Request<T>, Asked<T>) {
    // Without room in the channel, a thread hands over to somebody who is still waiting, or not at all.
    let (request, asked) = mpsc::sync_channel(0);
    (Request(request), Asked(asked))
}

impl<T> Request<T> {
    /// Lends `work`, for good or until it comes back. `Some` is to be gone on with: it came back, or nobody
    /// waits for it any more.
    pub(super) fn lend(self, work: T) -> Option<T> {
        let (back, returned) = mpsc::channel();
        match self.0.send(Lent { work, back }) {
            Ok(()) => returned.recv().ok(),
            Err(refused) => Some(refused.0.work),
        }
    }
}

impl<T> Asked<T> {
    /// What the thread lends, if it does within `limit`; else it goes on as if nobody had asked.
    pub(super) fn wait(self, limit: Duration) -> Option<Lent<T>> {
        self.0.recv_timeout(limit).ok()
    }
}

impl<T> Lent<T> {
    /// The thread ends.
    pub(super) fn keep(self) -> T {
        self.work
    }

    /// The thread goes on.
    pub(super) fn give_back(self) {
        // A thread that lends waits, so it is there.
        let _ = self.back.send(self.work);
    }
}

impl<T> fmt::Debug for Request<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Request")
    }
}

#[cfg(test)]
mod tests {
    use super::ask;
    use std::thread;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn work_is_kept_or_comes_back_or_was_not_wanted_any_more() {
        let (request, asked) = ask();
        let owner = thread::spawn(move || request.lend(1));
        assert_eq!(asked.wait(LONG).map(super::Lent::keep), Some(1));
        assert_eq!(owner.join().unwrap(), None);

        let (request, asked) = ask();
        let owner = thread::spawn(move || request.lend(2));
        asked.wait(LONG).unwrap().give_back();
        assert_eq!(owner.join().unwrap(), Some(2));

        let (request, asked) = ask::<u8>();
        assert!(asked.wait(Duration::ZERO).is_none());
        assert_eq!(request.lend(3), Some(3));
    }
}
