//! Events that were lost. The engine is driven by hand here, and the system tells it nothing.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;

use super::*;
use crate::watch::Message;
use crate::watch::engine::{Engine, Inbox};
use crate::watch::ground::{Ground, Reach};
use crate::watch::native::{BACKLOG_LIMIT, Backlog, Happening, What};

pub(super) struct Hand {
    pub(super) engine: Engine,
    /// As the system fills it.
    pub(super) queue: Sender<Message>,
    backlog: Arc<Backlog>,
    _reports: Receiver<WatchReport>,
}

impl Hand {
    pub(super) fn new() -> Self {
        let (sink, reports) = channel();
        let sink = std::sync::Mutex::new(sink);
        let sink: Sink = Arc::new(move |report| drop(sink.lock().unwrap().send(report)));
        let (queue, messages) = channel();
        let backlog = Arc::new(Backlog::default());
        let (native, _) = Native::start(channel().0, Arc::default());
        let inbox = Inbox::new(messages, VecDeque::new(), Arc::clone(&backlog));
        let routes = Arc::new(Routes::new(Arc::clone(&sink), Native::start));
        let rest = (Ground::new(Reach::new()), routes, Arc::default());
        Self { engine: Engine::new(sink, inbox, native, rest), queue, backlog, _reports: reports }
    }

    /// Takes what waits, and acts upon it.
    pub(super) fn turn(&mut self) {
        while let Some(message) = self.engine.inbox.arrived() {
            self.engine.take(message);
        }
        self.engine.round(false);
    }
}

#[test]
fn an_edit_of_gits_rules_of_which_no_event_told_counts() {
    let bench = Bench::new();
    ["src/a", "src/gen/b", ".git/HEAD"].iter().for_each(|name| bench.write(name, "old"));
    bench.write(".gitignore", "/src/gen/\n");
    let mut hand = Hand::new();
    hand.engine.set(A, bench.spec(&["src"]));
    let hidden = bench.path("src/gen/b");
    assert!(!hand.engine.files.contains_key(&hidden));
    bench.write(".gitignore", "/src/a\n");
    hand.engine.is_lost = true;
    hand.engine.round(false);
    assert!(hand.engine.files.contains_key(&hidden), "it is not hidden any more");
    assert!(!hand.engine.files.contains_key(&bench.path("src/a")), "but this is");
}

#[test]
fn a_flood_is_passed_over_at_once() {
    let bench = Bench::new();
    bench.write("src/a", "old");
    let mut hand = Hand::new();
    hand.engine.set(A, bench.spec(&["src"]));
    let what = What::Written;
    let send = || {
        let is_admitted = hand.backlog.admit();
        let path = bench.path("src/a");
        is_admitted.then(|| hand.queue.send(Message::Happened(vec![Happening { what, path }])).unwrap())
    };
    while send().is_some() {}
    hand.queue.send(Message::Sift(A)).unwrap();
    hand.engine.round(false);
    assert!((0..BACKLOG_LIMIT).all(|_| send().is_some()), "there is room again for as many");
    assert!(!hand.backlog.take_lost(), "and nothing of it is lost");
}
