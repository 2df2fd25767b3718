//! Clients that ask without pause, while what they ask is restarted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use crate::harness::wait_until;
use crate::net::get;

/// How many ask at the same time.
pub(crate) const CLIENTS: usize = 4;

/// The clients, each with one request after another on connections of their own.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    answered: AtomicU32,
}

impl Load {
    pub(crate) fn begin(port: u16, path: &'static str) -> Self {
        let shared = Arc::new(Shared::default());
        let client = |shared: Arc<Shared>| {
            std::thread::spawn(move || {
                let mut failed = Vec::new();
                while !shared.over.load(Ordering::Relaxed) {
                    match get(port, path) {
                        Ok(_) => drop(shared.answered.fetch_add(1, Ordering::Relaxed)),
                        Err(why) => failed.push(why),
                    }
                }
                failed
            })
        };
        let clients = (0..CLIENTS).map(|_| client(Arc::clone(&shared))).collect();
        Self { shared, clients }
    }

    /// Waits until some more requests have been answered.
    pub(crate) fn goes_on(&self) {
        let begun = self.shared.answered.load(Ordering::Relaxed);
        wait_until("requests are answered", || self.shared.answered.load(Ordering::Relaxed) >= begun + 8);
    }

    /// Ends it, and gives why requests failed, if any did.
    pub(crate) fn end(self) -> Vec<String> {
        self.shared.over.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}
