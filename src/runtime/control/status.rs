//! What is, as it is shown. Those who ask at the same time get the same answer, for which the loop is asked
//! once, and which is written once: so it costs the loop the same whether one asks or all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::body::Bytes;
use tokio::sync::oneshot;

use crate::api::{ComponentStatus, Kind, Status, Why};
use crate::runtime::clients::{Control, Seen, Sockets};
use crate::runtime::clock;
use crate::runtime::inbox::Message;
use crate::runtime::shapes::exited;
use crate::supervisor::{Explanation, View, sentences};
use crate::types::Time;

/// Asks the loop on behalf of all who want to know.
#[derive(Debug, Clone, Default)]
pub(super) struct Lookout(Arc<Mutex<Asking>>);

#[derive(Debug, Default)]
struct Asking {
    /// Those who came since the loop was asked last.
    waiting: Vec<oneshot::Sender<Bytes>>,
    /// The loop is being asked.
    busy: bool,
}

impl Lookout {
    fn asking(&self) -> MutexGuard<'_, Asking> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The status, as it is after this call, written; `None` when the loop has ended.
    pub(super) async fn status(&self, control: &Control) -> Option<Bytes> {
        let (sender, answer) = oneshot::channel();
        let begin = {
            let mut asking = self.asking();
            asking.waiting.push(sender);
            !std::mem::replace(&mut asking.busy, true)
        };
        if begin {
            // For the others it must go on when this one goes away.
            tokio::spawn(self.clone().ask(control.clone()));
        }
        answer.await.ok()
    }

    async fn ask(self, control: Control) {
        loop {
            let waiting = {
                let mut asking = self.asking();
                asking.busy = !asking.waiting.is_empty();
                std::mem::take(&mut asking.waiting)
            };
            if waiting.is_empty() {
                return;
            }
            let Ok(seen) = control.ask(|reply| Message::Views { reply }).await else { continue };
            let bytes = Bytes::from(serde_json::to_vec(&status(seen)).unwrap_or_default());
            waiting.into_iter().for_each(|one| drop(one.send(bytes.clone())));
        }
    }
}

fn status(seen: Seen) -> Status {
    let Seen { project, generation, views, mut sockets, wall } = seen;
    let components = views.into_iter().map(|view| {
        let sockets = sockets.remove(&view.name);
        component(view, sockets, wall)
    });
    let components = components.collect();
    Status {
        project: project.name.clone(),
        pid: std::process::id(),
        config_generation: generation,
        components,
    }
}

fn component(view: View, sockets: Option<Sockets>, wall: i128) -> ComponentStatus {
    let View { name, thread, state, reason, since, pid, incarnation, restarts, exit, status, restored } =
        view;
    ComponentStatus {
        name: name.to_string(),
        kind: if thread { Kind::Thread } else { Kind::Process },
        state: state.word().to_owned(),
        pid,
        incarnation,
        restarts,
        exit: exit.as_ref().map(exited),
        since: time(since, wall),
        status,
        restored: restored.map(|source| source.word().to_owned()),
        reason: Some(reason).filter(|reason| !reason.is_empty()),
        sockets,
    }
}

/// Why a component is in its state, in words.
pub(super) fn why(explanation: &Explanation, wall: i128) -> Why {
    Why {
        component: explanation.name.to_string(),
        state: explanation.state.word().to_owned(),
        since: time(explanation.since, wall),
        reason: explanation.reason.clone(),
        sentences: sentences(explanation, clock::now()),
        incarnation: explanation.incarnation,
        started: explanation.started,
        last: explanation.last,
    }
}

/// As the journal writes it.
fn time(at: Time, wall: i128) -> Option<String> {
    if at == Time::default() {
        return None;
    }
    let then = jiff::Timestamp::from_nanosecond(wall + i128::from(at.0)).ok()?;
    Some(format!("{then:.6}"))
}
