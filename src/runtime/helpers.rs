//! Helpers: short commands that run for a component (exec probes), as units of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use super::inbox::{Inbox, Message};
use crate::config::model::Command;
use crate::probe::{ExecFuture, ExecRunner};
use crate::types::RunId;

/// Asks the loop to run commands for one run of a component.
#[derive(Debug, Clone)]
pub(crate) struct Helpers {
    inbox: Inbox,
    run: RunId,
    tickets: Arc<AtomicU64>,
}

impl Helpers {
    pub(crate) fn new(inbox: Inbox, run: RunId, tickets: Arc<AtomicU64>) -> Self {
        Self { inbox, run, tickets }
    }
}

impl ExecRunner for Helpers {
    fn run(&self, command: &Command, timeout: Duration) -> ExecFuture {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let (reply, end) = oneshot::channel();
        let (run, command, inbox) = (self.run, command.clone(), self.inbox.clone());
        Box::pin(async move {
            // However this ends, also by being dropped, the command ends with it.
            let _end = Ender { inbox: inbox.clone(), ticket };
            if inbox.send(Message::Help { ticket, run, command, reply }).is_err() {
                return Err("orch is ending".to_owned());
            }
            match tokio::time::timeout(timeout, end).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err("it was ended".to_owned()),
                Err(_) => Err(format!("no end within {} ms", timeout.as_millis())),
            }
        })
    }
}

struct Ender {
    inbox: Inbox,
    ticket: u64,
}

impl Drop for Ender {
    fn drop(&mut self) {
        // A loop that has ended has ended its helpers, too.
        let _ = self.inbox.send(Message::EndHelp { ticket: self.ticket });
    }
}
