//! What a built-in component is told of the one behind it: whether it is ready, and else how it is. And what it
//! tells: how much is under way to that one.

use std::sync::Arc;

use tokio::sync::watch;

use crate::types::{Name, State};

/// How the component behind is. Each change is another value, so nobody acts on a state that has moved on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its name.
    pub name: Name,
    /// Its state.
    pub state: State,
    /// Why it is in it, as a fragment of a sentence.
    pub reason: String,
    /// The number of its last run.
    pub incarnation: u64,
}

/// The end that is set, by who knows the states.
#[derive(Debug)]
pub struct Lamp {
    seen: watch::Sender<Option<Seen>>,
    under_way: Arc<watch::Sender<usize>>,
}

/// The end that is looked at. `None` means that nobody knows who is behind.
#[derive(Debug, Clone)]
pub struct Light {
    seen: watch::Receiver<Option<Seen>>,
    under_way: Arc<watch::Sender<usize>>,
}

/// Something is under way to the component behind, until this is dropped.
#[derive(Debug)]
pub struct UnderWay(Arc<watch::Sender<usize>>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Lamp {
    /// A lamp that shows `seen`.
    #[must_use]
    pub fn new(seen: Option<Seen>) -> Self {
        Self { seen: watch::Sender::new(seen), under_way: Arc::new(watch::Sender::new(0)) }
    }

    /// The other end; there may be many.
    #[must_use]
    pub fn light(&self) -> Light {
        Light { seen: self.seen.subscribe(), under_way: Arc::clone(&self.under_way) }
    }

    /// Shows `seen` from now on; who waits for a change wakes.
    pub fn show(&self, seen: Option<Seen>) {
        self.seen.send_if_modified(|shown| {
            let news = *shown != seen;
            *shown = seen;
            news
        });
    }

    /// Completes when nothing is under way; `None`: nothing is. After a component is shown as not ready, nothing
    /// more begins.
    #[must_use]
    pub fn idle(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let mut under_way = self.under_way.subscribe();
        let busy = *under_way.borrow() > 0;
        busy.then_some(async move {
            // An error means that the other end is gone.
            let _ = under_way.wait_for(|count| *count == 0).await;
        })
    }
}

impl Default for Light {
    /// Of nobody.
    fn default() -> Self {
        Lamp::new(None).light()
    }
}

impl Light {
    /// Notes that something is under way. To be called before the look that says that one is ready: so either this
    /// look is told that none is, or whoever shows that hears of what is under way.
    #[must_use]
    pub fn under_way(&self) -> UnderWay {
        self.under_way.send_modify(|count| *count += 1);
        UnderWay(Arc::clone(&self.under_way))
    }

    /// What it shows now.
    #[must_use]
    pub fn seen(&self) -> Option<Seen> {
        self.seen.borrow().clone()
    }

    /// The incarnation that is ready; `Err` where it is known that none is. What nobody knows of is number 0.
    ///
    /// # Errors
    /// How the component is instead.
    pub fn ready(&self) -> Result<u64, Seen> {
        match &*self.seen.borrow() {
            None => Ok(0),
            Some(seen) if seen.state == State::Ready => Ok(seen.incarnation),
            Some(seen) => Err(seen.clone()),
        }
    }

    /// Whether both look at the same lamp.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.seen.same_channel(&other.seen)
    }

    /// Completes when `done` with what it shows.
    pub async fn until(&mut self, mut done: impl FnMut(Option<&Seen>) -> bool) {
        if self.seen.wait_for(|seen| done(seen.as_ref())).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
