//! Whoever listens hears everything once; whoever waits is told, and forgotten when it goes away.

use std::sync::{Arc, Mutex};

use super::{Clients, REMEMBERED, Record, Subscriber};
use crate::supervisor::What;
use crate::types::Time;

fn record(seq: u64) -> Record {
    let (cause, component, incarnation) = (None, None, None);
    Record { seq, cause, at: Time(0), component, incarnation, what: What::ProjectUp }
}

/// A subscriber that wants so many, and what it has heard.
fn subscriber(wanted: usize) -> (Subscriber, Arc<Mutex<Vec<u64>>>) {
    let heard: Arc<Mutex<Vec<u64>>> = Arc::default();
    let hears = Arc::clone(&heard);
    let take = move |record: &Arc<Record>| {
        let mut heard = hears.lock().unwrap();
        heard.push(record.seq);
        heard.len() < wanted
    };
    (Subscriber(Box::new(take)), heard)
}

#[test]
fn who_comes_late_hears_what_is_remembered_first_and_nothing_twice() {
    let mut clients = Clients::default();
    let last = REMEMBERED as u64 + 10;
    (1..=last).for_each(|seq| clients.tell(record(seq)));
    let (all, heard_all) = subscriber(usize::MAX);
    let (some, heard_some) = subscriber(usize::MAX);
    clients.subscribe(0, all);
    clients.subscribe(last - 1, some);
    clients.tell(record(last + 1));
    assert_eq!(*heard_all.lock().unwrap(), (11..=last + 1).collect::<Vec<_>>());
    assert_eq!(*heard_some.lock().unwrap(), [last, last + 1]);
}

#[test]
fn who_wants_no_more_is_asked_no_more() {
    let mut clients = Clients::default();
    (1..=5).for_each(|seq| clients.tell(record(seq)));
    let ((past, heard_past), (live, heard_live)) = (subscriber(2), subscriber(3));
    clients.subscribe(0, past);
    clients.subscribe(4, live);
    (6..=9).for_each(|seq| clients.tell(record(seq)));
    assert_eq!(*heard_past.lock().unwrap(), [1, 2]);
    assert_eq!(*heard_live.lock().unwrap(), [5, 6, 7]);
    assert!(clients.subscribers.is_empty());
}
