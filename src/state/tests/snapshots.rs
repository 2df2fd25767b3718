//! Snapshots of running components, and the store across a re-exec.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
/// More than two pauses of the observing thread.
const QUIET: Duration = Duration::from_millis(100);

/// A world whose store tells of replacements.
fn told() -> (World, Receiver<(Name, u64)>) {
    let mut world = World::on_disk();
    let receiver = listen(&mut world);
    (world, receiver)
}

fn listen(world: &mut World) -> Receiver<(Name, u64)> {
    let (sink, receiver) = sink();
    let state_dir = world.folder.path().join(".orch");
    world.store = Store::with(world.vfs.clone(), Box::new(world.clock.clone()), &state_dir, sink).unwrap();
    receiver
}

fn sink() -> (ReplacedSink, Receiver<(Name, u64)>) {
    let (sender, receiver) = channel();
    (Arc::new(move |name, incarnation| drop(sender.send((name, incarnation)))), receiver)
}

fn snapshot(world: &World) -> Seal {
    world.store.snapshot(&world.name, &world.spec, world.incarnation).unwrap()
}

#[test]
fn a_replaced_file_is_told_of_once_and_sealed_while_it_runs() {
    let (mut world, told) = told();
    world.start();
    for round in 1..=3_u64 {
        world.replace(format!("state {round}"));
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), (world.name.clone(), 1));
        world.replace(format!("again {round}"));
        assert_eq!(told.recv_timeout(QUIET), Err(RecvTimeoutError::Timeout), "one at a time");
        assert_eq!(snapshot(&world), sealed(round, Source::Snapshot, 7));
        assert_eq!(snapshot(&world), Seal::Untouched, "it is sealed already");
    }
    assert_eq!(world.end(Ending::Crashed), Seal::Untouched, "a crash does not seal it twice");
    let restore = world.start();
    assert_eq!(from(&restore), Some((Handed::Snapshot, 3)));
    assert_eq!(world.state().as_deref(), Some("again 3"));
}

#[test]
fn an_ordered_stop_makes_a_restart_of_what_a_snapshot_has_saved() {
    let (mut world, _told) = told();
    world.start();
    world.replace("saved");
    assert_eq!(snapshot(&world), sealed(1, Source::Snapshot, 5));
    assert_eq!(world.end(Ending::Ordered), sealed(2, Source::Restart, 5));
    let restore = world.start();
    assert_eq!(from(&restore), Some((Handed::Restart, 2)));
    assert_eq!(world.end(Ending::Ordered), Seal::Untouched, "restored and untouched");
}

#[test]
fn after_a_kill_of_orch_a_saved_file_counts_and_is_not_sealed_again() {
    let (mut world, _told) = told();
    world.start();
    world.replace("saved");
    snapshot(&world);
    world.reopen();
    let restore = world.start();
    assert_eq!(from(&restore), Some((Handed::Snapshot, 1)));
    assert_eq!((restore.sealed_aside, world.generations()), (None, vec![1]));
}

#[test]
fn what_is_written_in_place_is_neither_told_of_nor_sealed() {
    let (mut world, told) = told();
    world.start();
    world.write("in place");
    assert_eq!(told.recv_timeout(QUIET), Err(RecvTimeoutError::Timeout));
    assert_eq!(snapshot(&world), Seal::Untouched);
    world.replace("whole");
    world.write("torn");
    assert_eq!(snapshot(&world), Seal::Untouched);
    std::fs::remove_file(&world.spec.file).unwrap();
    assert_eq!(snapshot(&world), Seal::Absent);
    assert_eq!(world.generations(), [0_u64; 0]);
}

#[test]
fn a_link_is_told_of_and_an_empty_new_file_is_not_sealed() {
    let (mut world, told) = told();
    world.start();
    let other = world.spec.file.with_extension("other");
    std::fs::write(&other, "linked").unwrap();
    std::fs::hard_link(&other, &world.spec.file).unwrap();
    told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(snapshot(&world), sealed(1, Source::Snapshot, 6));
    std::fs::remove_file(&world.spec.file).unwrap();
    let file = std::fs::File::create(&world.spec.file).unwrap();
    assert_eq!(snapshot(&world), Seal::Untouched);
    drop(file);
}

#[test]
fn a_program_that_renames_first_and_flushes_afterwards_is_not_torn() {
    use std::io::Write as _;
    let (mut world, told) = told();
    world.start();
    let new = world.spec.file.with_extension("new");
    let mut file = std::fs::File::create(&new).unwrap();
    file.write_all(b"half").unwrap();
    std::fs::rename(&new, &world.spec.file).unwrap();
    file.write_all(b" and half").unwrap();
    drop(file);
    assert_eq!(told.recv_timeout(QUIET), Err(RecvTimeoutError::Timeout));
    assert_eq!(snapshot(&world), Seal::Untouched);
    assert_eq!(world.end(Ending::Ordered), sealed(1, Source::Restart, 13));
}

#[test]
fn a_run_that_has_ended_and_another_runs_number_get_no_snapshot() {
    let (mut world, told) = told();
    world.start();
    world.replace("saved");
    let (api, spec) = (&world.name, &world.spec);
    assert_eq!(world.store.snapshot(api, spec, 2).unwrap(), Seal::Untouched);
    world.store.cancel_snapshots(api, 1);
    assert_eq!(world.store.snapshot(api, spec, 1).unwrap(), Seal::Untouched);
    assert_eq!(world.end(Ending::Crashed), sealed(1, Source::Snapshot, 5));
    assert_eq!(snapshot(&world), Seal::Untouched);
    world.replace("by hand");
    while told.try_recv().is_ok() {}
    assert_eq!(told.recv_timeout(QUIET), Err(RecvTimeoutError::Timeout), "nobody runs");
}

#[test]
fn what_can_not_be_sealed_stays_for_the_running_component() {
    let (mut world, _told) = told();
    world.start();
    world.spec.max_size = 3;
    world.replace("large");
    let error = world.store.snapshot(&world.name, &world.spec, 1).unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("max_size"), "{error:?}");
    assert_eq!(world.state().as_deref(), Some("large"));
}

#[test]
fn a_file_that_changes_while_it_is_copied_is_never_published_torn() {
    // Whole files of one byte's repetition, replaced without end: a mix of two would be a torn one.
    let (mut world, _told) = told();
    world.spec.keep = 100;
    world.start();
    world.replace(vec![b'a'; 300_000]);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let payloads = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0_u8;
            while !stop.load(Ordering::Relaxed) {
                round = round.wrapping_add(1);
                let byte = b'a' + round % 26;
                if round.is_multiple_of(3) {
                    world.write(vec![byte; 200_000]);
                } else {
                    world.replace(vec![byte; 300_000]);
                }
            }
        });
        let mut payloads = Vec::new();
        let begun = std::time::Instant::now();
        // How many come through depends on who is scheduled when; one is needed, twenty are enough.
        for attempt in 0_u32.. {
            if attempt >= 300 && !payloads.is_empty() || begun.elapsed().as_secs() > 30 {
                break;
            }
            if let Ok(Seal::Sealed(sealed)) = world.store.snapshot(&world.name, &world.spec, 1) {
                let bytes = std::fs::read(world.generation(sealed.generation)).unwrap();
                let line = memchr::memchr(b'\n', &bytes).unwrap() + 1;
                payloads.push(bytes[line..].to_vec());
            }
            if payloads.len() == 20 {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        payloads
    });
    assert!(!payloads.is_empty());
    for payload in payloads {
        assert_eq!(payload.len(), 300_000, "only what was renamed");
        assert!(payload.iter().all(|byte| *byte == payload[0]), "torn");
    }
}

/// A store of the machine's own kind, since only that is handed over.
fn own(folder: &Path, sink: ReplacedSink) -> Store {
    Store::open(&folder.join("own"), sink).unwrap()
}

/// As it goes through a file between two images.
fn through_text(handover: &StoreHandover) -> StoreHandover {
    serde_json::from_str(&serde_json::to_string(handover).unwrap()).unwrap()
}

#[test]
fn what_is_replaced_during_a_re_exec_is_told_of_after_it() {
    let world = World::on_disk();
    let (sink_a, first) = sink();
    let store = own(world.folder.path(), sink_a);
    let number = store.next_incarnation(&world.name);
    store.restore(&world.name, &world.spec, number, true).unwrap();
    store.track(&world.name, &world.spec, number).unwrap();
    let (handover, descriptors) = store.hand_over();
    assert_eq!(descriptors.len(), 1);
    world.replace("during the exec");
    let (sink_b, second) = sink();
    let state_dir = world.folder.path().join("own");
    let store = Store::adopt(&state_dir, sink_b, through_text(&handover), descriptors).unwrap();
    assert_eq!(second.recv_timeout(PATIENCE).unwrap(), (world.name.clone(), number));
    assert_eq!(store.snapshot(&world.name, &world.spec, number).unwrap(), sealed(1, Source::Snapshot, 15));
    assert!(first.try_recv().is_err(), "the old image is not told");
    assert_eq!(store.next_incarnation(&world.name), number + 1);
}

#[test]
fn what_came_whole_before_a_re_exec_counts_after_a_crash_after_it() {
    let world = World::on_disk();
    let (sink_a, told) = sink();
    let store = own(world.folder.path(), sink_a);
    store.restore(&world.name, &world.spec, 1, true).unwrap();
    store.track(&world.name, &world.spec, 1).unwrap();
    world.replace("before the exec");
    told.recv_timeout(PATIENCE).unwrap();
    let (handover, descriptors) = store.hand_over();
    let (sink_b, again) = sink();
    let state_dir = world.folder.path().join("own");
    let store = Store::adopt(&state_dir, sink_b, handover, descriptors).unwrap();
    again.recv_timeout(PATIENCE).expect("what was told and not answered is told again");
    let seal = store.seal(&world.name, &world.spec, 1, Ending::Crashed).unwrap();
    assert_eq!(seal, sealed(1, Source::Snapshot, 15));
}

#[test]
fn a_store_that_observes_nothing_is_handed_over_too() {
    let world = World::on_disk();
    let (sink_a, _told) = sink();
    let (handover, descriptors) = own(world.folder.path(), Arc::clone(&sink_a)).hand_over();
    assert!(descriptors.is_empty());
    let state_dir = world.folder.path().join("own");
    let store = Store::adopt(&state_dir, sink_a, through_text(&handover), descriptors).unwrap();
    store.restore(&world.name, &world.spec, 1, true).unwrap();
    store.track(&world.name, &world.spec, 1).unwrap();
}
