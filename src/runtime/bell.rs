//! A bell that whoever writes a file rings, for those who read on in it: nothing is handed over, and with
//! nobody there ringing costs a look at a counter.

use tokio::sync::watch;

/// Rung after something was written.
#[derive(Debug, Clone)]
pub(crate) struct Bell(watch::Sender<()>);

/// Hears it. What was rung between [`Bell::listen`] and [`Listener::rung`] is heard, too, once.
#[derive(Debug)]
pub(crate) struct Listener(watch::Receiver<()>);

impl Default for Bell {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl Bell {
    /// Rings.
    pub(crate) fn ring(&self) {
        if self.0.receiver_count() > 0 {
            self.0.send_replace(());
        }
    }

    /// Hears from now on: to be called before the first look at what is written.
    pub(crate) fn listen(&self) -> Listener {
        Listener(self.0.subscribe())
    }
}

impl Listener {
    /// Waits for the next time; false: it is rung no more.
    pub(crate) async fn rung(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}
