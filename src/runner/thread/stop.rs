//! The stop token: how a thread is asked to stop, and how it waits without polling.

use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::lock;

/// Set once, when the component is asked to stop; never taken back. Cheap to clone, and every clone is the
/// same token, so a component can hand it to threads of its own.
#[derive(Debug, Clone, Default)]
pub struct StopToken(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    wakers: Vec<Waker>,
}

impl StopToken {
    /// Asks to stop; every waiter wakes at once.
    pub(super) fn stop(&self) {
        let wakers = {
            let mut state = lock(&self.0.state);
            state.stopped = true;
            std::mem::take(&mut state.wakers)
        };
        self.0.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether the component has been asked to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        lock(&self.0.state).stopped
    }

    /// Sleeps for `at_most`, or until the component is asked to stop. True if it has been.
    #[must_use]
    pub fn wait(&self, at_most: Duration) -> bool {
        let state = lock(&self.0.state);
        let waited = self.0.changed.wait_timeout_while(state, at_most, |state| !state.stopped);
        waited.unwrap_or_else(std::sync::PoisonError::into_inner).0.stopped
    }

    /// Sleeps until the component is asked to stop.
    pub fn wait_forever(&self) {
        let state = lock(&self.0.state);
        drop(self.0.changed.wait_while(state, |state| !state.stopped));
    }

    /// Completes when the component is asked to stop: for a component with an event loop of its own.
    pub async fn stopped(&self) {
        poll_fn(|task| {
            let mut state = lock(&self.0.state);
            if state.stopped {
                return Poll::Ready(());
            }
            if !state.wakers.iter().any(|known| known.will_wake(task.waker())) {
                state.wakers.push(task.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::StopToken;

    #[test]
    fn a_waiter_wakes_at_once_and_a_time_out_is_not_a_stop() {
        let token = StopToken::default();
        assert!(!token.wait(Duration::from_millis(1)));
        let (short, long) = (token.clone(), token.clone());
        let forever = thread::spawn(move || long.wait_forever());
        let timed = thread::spawn(move || short.wait(Duration::MAX));
        token.stop();
        assert!(timed.join().unwrap());
        forever.join().unwrap();
        let before = Instant::now();
        assert!(token.is_stopped() && token.wait(Duration::from_secs(60)));
        assert!(before.elapsed() < Duration::from_secs(30));
    }

    #[tokio::test]
    async fn a_task_wakes_too() {
        let token = StopToken::default();
        let waiting = tokio::spawn({
            let token = token.clone();
            async move { token.stopped().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        thread::spawn(move || token.stop()).join().unwrap();
        tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap().unwrap();
    }
}
