//! What a built-in component is told of the one behind it: whether it is ready, and else how it is.

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
pub struct Lamp(watch::Sender<Option<Seen>>);

/// The end that is looked at. `None` means that nobody knows who is behind.
#[derive(Debug, Clone)]
pub struct Light(watch::Receiver<Option<Seen>>);

impl Lamp {
    /// A lamp that shows `seen`.
    #[must_use]
    pub fn new(seen: Option<Seen>) -> Self {
        Self(watch::Sender::new(seen))
    }

    /// The other end; there may be many.
    #[must_use]
    pub fn light(&self) -> Light {
        Light(self.0.subscribe())
    }

    /// Shows `seen` from now on; who waits for a change wakes.
    pub fn show(&self, seen: Option<Seen>) {
        self.0.send_if_modified(|shown| {
            let news = *shown != seen;
            *shown = seen;
            news
        });
    }
}

impl Default for Light {
    /// Of nobody.
    fn default() -> Self {
        Lamp::new(None).light()
    }
}

impl Light {
    /// What it shows now.
    #[must_use]
    pub fn seen(&self) -> Option<Seen> {
        self.0.borrow().clone()
    }

    /// The incarnation that is ready; `Err` where it is known that none is. What nobody knows of is number 0.
    ///
    /// # Errors
    /// How the component is instead.
    pub fn ready(&self) -> Result<u64, Seen> {
        match &*self.0.borrow() {
            None => Ok(0),
            Some(seen) if seen.state == State::Ready => Ok(seen.incarnation),
            Some(seen) => Err(seen.clone()),
        }
    }

    /// Completes when it shows something else than at the last look that waited.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody sets it any more.
            std::future::pending::<()>().await;
        }
    }

    /// Completes when `done` with what it shows.
    pub async fn until(&mut self, mut done: impl FnMut(Option<&Seen>) -> bool) {
        if self.0.wait_for(|seen| done(seen.as_ref())).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
