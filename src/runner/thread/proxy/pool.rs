//! Connections to who is behind that have answered, and are used again.
//!
//! Only for requests that may be sent again, for a server may close such a connection at the very moment at which the
//! next request is sent on it. Others get a connection of their own, which costs some tens of microseconds here.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::time::{Instant, sleep_until};

use super::super::lock;
use super::body::Outgoing;
use super::reach::Way;

/// The sending half of a connection.
pub(super) type Sender = SendRequest<Outgoing>;

/// So many are kept.
const MOST: usize = 64;
/// So long; servers for development keep them for two seconds and more.
const LIFE: Duration = Duration::from_millis(1500);

/// Those that are kept; cheap to clone, and each clone is the same pool.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Idle>>);

#[derive(Debug, Default)]
struct Idle {
    /// The last one is the freshest.
    kept: VecDeque<Kept>,
    /// Whether somebody sees to it that they are let go.
    swept: bool,
}

#[derive(Debug)]
struct Kept {
    sender: Sender,
    /// Of this incarnation.
    of: u64,
    until: Instant,
}

impl Pool {
    /// The freshest connection to this incarnation.
    pub(super) fn take(&self, incarnation: u64) -> Option<Sender> {
        let mut idle = lock(&self.0);
        while let Some(kept) = idle.kept.pop_back() {
            if kept.of == incarnation && kept.sender.is_ready() && kept.until > Instant::now() {
                return Some(kept.sender);
            }
        }
        None
    }

    /// Keeps a connection that has answered.
    pub(super) fn keep(&self, sender: Sender, incarnation: u64, way: &Arc<Way>) {
        let mut idle = lock(&self.0);
        if idle.kept.len() == MOST {
            idle.kept.pop_front();
        }
        idle.kept.push_back(Kept { sender, of: incarnation, until: Instant::now() + LIFE });
        if !std::mem::replace(&mut idle.swept, true) {
            tokio::spawn(self.clone().sweep(Arc::clone(way), incarnation));
        }
    }

    /// Lets them go when their time is over, and all when their component is not ready any more: to one that ends,
    /// nothing is sent, and it need not wait for those who might send. Ends when none is left.
    async fn sweep(self, way: Arc<Way>, incarnation: u64) {
        loop {
            let until = {
                let mut idle = lock(&self.0);
                let now = Instant::now();
                idle.kept.retain(|kept| kept.until > now && kept.sender.is_ready());
                let Some(oldest) = idle.kept.front() else {
                    idle.swept = false;
                    return;
                };
                oldest.until
            };
            tokio::select! {
                () = sleep_until(until) => {}
                () = way.left(incarnation) => {
                    let mut idle = lock(&self.0);
                    idle.kept.clear();
                    idle.swept = false;
                    return;
                }
            }
        }
    }
}
