//! What a thread is asked: to stop, to save its state. And how it waits for that without polling.

use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::lock;

/// Both questions to one component. They share a condition, so that it can wait for both at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Asks(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    asked: Mutex<Asked>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Asked {
    to_stop: bool,
    /// How often it was asked to save, and how many of these the last save answered.
    to_save: u64,
    answered: u64,
    wakers: Vec<Waker>,
}

impl Asked {
    fn saves(&self) -> bool {
        self.to_save > self.answered
    }
}

impl Asks {
    /// Asks to stop; every waiter wakes at once.
    pub(super) fn stop(&self) {
        self.ask(|asked| asked.to_stop = true);
    }

    /// Asks for a save; every waiter wakes at once.
    pub(super) fn save(&self) {
        self.ask(|asked| asked.to_save += 1);
    }

    /// How often a save was asked for. A save that begins now answers all of these, and none that comes later.
    pub(super) fn saves(&self) -> u64 {
        lock(&self.0.asked).to_save
    }

    /// A save has answered so many.
    pub(super) fn answer(&self, saves: u64) {
        let mut asked = lock(&self.0.asked);
        asked.answered = asked.answered.max(saves);
    }

    pub(super) fn stop_token(&self) -> StopToken {
        StopToken(self.clone())
    }

    pub(super) fn save_token(&self) -> SaveToken {
        SaveToken(self.clone())
    }

    /// Sleeps for `at_most`, or until the component is asked something.
    pub(super) fn wait(&self, at_most: Duration) -> Wake {
        let asked = self.wait_while(at_most, |asked| !asked.to_stop && !asked.saves());
        match (asked.to_stop, asked.saves()) {
            (true, _) => Wake::Stop,
            (false, true) => Wake::Save,
            (false, false) => Wake::Timeout,
        }
    }

    fn ask(&self, what: impl FnOnce(&mut Asked)) {
        let wakers = {
            let mut asked = lock(&self.0.asked);
            what(&mut asked);
            std::mem::take(&mut asked.wakers)
        };
        self.0.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn wait_while(
        &self,
        at_most: Duration,
        mut idle: impl FnMut(&Asked) -> bool,
    ) -> std::sync::MutexGuard<'_, Asked> {
        let asked = lock(&self.0.asked);
        let waited = self.0.changed.wait_timeout_while(asked, at_most, |asked| idle(asked));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    async fn until(&self, done: impl Fn(&Asked) -> bool) {
        poll_fn(|task| {
            let mut asked = lock(&self.0.asked);
            if done(&asked) {
                return Poll::Ready(());
            }
            if !asked.wakers.iter().any(|known| known.will_wake(task.waker())) {
                asked.wakers.push(task.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// Why [`Context::wait`](super::Context::wait) returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wake {
    /// The component is asked to stop.
    Stop,
    /// It is asked to save its state, and has not saved since.
    Save,
    /// The time is over.
    Timeout,
}

/// Set once, when the component is asked to stop; never taken back. Cheap to clone, and every clone is the
/// same token, so a component can hand it to threads of its own.
#[derive(Debug, Clone)]
pub struct StopToken(Asks);

impl StopToken {
    /// Whether the component has been asked to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        lock(&self.0.0.asked).to_stop
    }

    /// Sleeps for `at_most`, or until the component is asked to stop. True if it has been.
    #[must_use]
    pub fn wait(&self, at_most: Duration) -> bool {
        self.0.wait_while(at_most, |asked| !asked.to_stop).to_stop
    }

    /// Sleeps until the component is asked to stop.
    pub fn wait_forever(&self) {
        let asked = lock(&self.0.0.asked);
        drop(self.0.0.changed.wait_while(asked, |asked| !asked.to_stop));
    }

    /// Completes when the component is asked to stop: for a component with an event loop of its own.
    pub async fn stopped(&self) {
        self.0.until(|asked| asked.to_stop).await;
    }
}

/// Set while the component is asked to save its state (`state.snapshot`), until it does. Cheap to clone.
///
/// To save when asked bounds what a crash costs. Not to save is allowed.
#[derive(Debug, Clone)]
pub struct SaveToken(Asks);

impl SaveToken {
    /// Whether a save was asked for since the last one began.
    #[must_use]
    pub fn is_set(&self) -> bool {
        lock(&self.0.0.asked).saves()
    }

    /// Sleeps for `at_most`, or until a save is asked for, or the component is asked to stop. True if a save
    /// is asked for.
    #[must_use]
    pub fn wait(&self, at_most: Duration) -> bool {
        self.0.wait_while(at_most, |asked| !asked.to_stop && !asked.saves()).saves()
    }

    /// Completes when a save is asked for: for a component with an event loop of its own.
    pub async fn requested(&self) {
        self.0.until(Asked::saves).await;
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::{Asks, Wake};

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_waiter_wakes_at_once_and_a_time_out_is_not_a_stop() {
        let asks = Asks::default();
        let token = asks.stop_token();
        assert!(!token.wait(Duration::from_millis(1)));
        let (short, long) = (token.clone(), token.clone());
        let forever = thread::spawn(move || long.wait_forever());
        let timed = thread::spawn(move || short.wait(Duration::MAX));
        asks.stop();
        assert!(timed.join().unwrap());
        forever.join().unwrap();
        let before = Instant::now();
        assert!(token.is_stopped() && token.wait(LONG));
        assert!(before.elapsed() < LONG / 2);
    }

    #[test]
    fn a_save_is_asked_for_until_one_that_began_later_is_done() {
        let asks = Asks::default();
        let token = asks.save_token();
        assert_eq!((token.is_set(), asks.wait(Duration::from_millis(1))), (false, Wake::Timeout));
        let waiting = thread::spawn(move || token.wait(LONG));
        asks.save();
        assert!(waiting.join().unwrap());
        assert_eq!((asks.wait(LONG), asks.stop_token().is_stopped()), (Wake::Save, false));

        let begun = asks.saves();
        asks.save();
        asks.answer(begun);
        assert!(asks.save_token().is_set(), "asked again while it saved");
        asks.answer(asks.saves());
        assert!(!asks.save_token().is_set());

        asks.save();
        asks.stop();
        assert_eq!(asks.wait(LONG), Wake::Stop, "the stop goes first");
    }

    #[tokio::test]
    async fn a_task_wakes_too() {
        let asks = Asks::default();
        let (stop, save) = (asks.stop_token(), asks.save_token());
        let waiting = tokio::spawn(async move {
            save.requested().await;
            stop.stopped().await;
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let asker = asks.clone();
        thread::spawn(move || asker.save()).join().unwrap();
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "a save is no stop");
        thread::spawn(move || asks.stop()).join().unwrap();
        tokio::time::timeout(LONG, waiting).await.unwrap().unwrap();
    }
}
