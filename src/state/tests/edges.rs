//! What is easily forgotten: ages of what is sealed late, uses that could not be written, runs that never began.

use rustix::io::Errno;

use super::*;

fn set_time(world: &World, seconds_ago: u64) {
    let now = world.clock.real_s.load(Ordering::Relaxed).unsigned_abs();
    let then = std::time::UNIX_EPOCH + Duration::from_secs(now - seconds_ago);
    // Both times at once give no event of a write.
    let times = std::fs::FileTimes::new().set_accessed(then).set_modified(then);
    std::fs::File::open(&world.spec.file).unwrap().set_times(times).unwrap();
}

#[test]
fn what_is_sealed_after_a_crash_is_as_old_as_its_file() {
    for (seconds_ago, restored) in [(20, true), (40, false)] {
        for killed in [false, true] {
            let mut world = World::new();
            world.spec.atomic = true;
            world.start();
            world.replace("saved");
            set_time(&world, seconds_ago);
            if killed {
                world.reopen();
            } else {
                world.end(Ending::Crashed);
            }
            let restore = world.start();
            assert_eq!(restore.from.is_some(), restored, "{seconds_ago} s, orch killed: {killed}");
            assert_eq!(world.generations(), [1]);
        }
    }
}

#[test]
fn a_wall_clock_that_was_set_back_makes_no_state_one_of_the_future() {
    let mut world = World::new();
    world.start();
    world.replace("saved");
    world.clock.real_s.fetch_sub(3_600, Ordering::Relaxed);
    world.end(Ending::Crashed);
    assert_eq!(from(&world.start()), Some((Handed::Snapshot, 1)));
}

#[test]
fn a_use_that_could_not_be_written_is_written_with_the_next_call() {
    let mut world = World::new();
    world.hand_over("one");
    assert_eq!(from(&world.start()), Some((Handed::Restart, 1)));
    world.vfs.fail_at(1, Errno::NOSPC, true);
    world.store.used(&world.name, 1).unwrap_err();
    world.vfs.calm();
    world.end(Ending::Crashed);
    world.reopen();
    assert_eq!(from(&world.start()), None, "it is used up");
}

#[test]
fn without_once_no_offer_keeps_a_state_beyond_the_number() {
    let mut world = World::new();
    (world.spec.once, world.spec.keep) = (false, 1);
    world.hand_over("one");
    for number in 2..=4 {
        world.start();
        world.write(format!("state {number}"));
        world.end(Ending::Ordered);
        assert_eq!(world.generations(), [number]);
    }
}

#[test]
fn what_is_put_there_after_a_start_that_failed_counts() {
    let mut world = World::new();
    world.hand_over("one");
    let restore = world.start();
    world.ready(&restore);
    world.write("two");
    world.end(Ending::Ordered);
    std::fs::remove_file(&world.spec.file).unwrap();
    // It fails only when the run is on record: at the rename.
    let mut at = 1;
    loop {
        world.vfs.fail_at(at, Errno::ACCESS, true);
        let failed = world.store.restore(&world.name, &world.spec, 3, true).is_err();
        world.vfs.calm();
        if !failed {
            break;
        }
        at += 1;
    }
    world.store.take_back(&world.name, 3).unwrap();
    world.reopen();
    world.write("by hand");
    let restore = world.start();
    assert!(restore.rejected.is_empty(), "{restore:?}");
    assert_eq!(restore.sealed_aside.unwrap().generation, 3);
}

#[test]
fn a_restore_that_fails_leaves_no_run_behind() {
    let mut world = World::new();
    world.hand_over("one");
    std::fs::remove_file(&world.spec.file).unwrap();
    let mut at = 1;
    loop {
        world.vfs.fail_at(at, Errno::NOSPC, false);
        let failed = world.store.restore(&world.name, &world.spec, 2, true).is_err();
        if !world.vfs.calm() {
            break;
        }
        if failed {
            let shelf = world.store.shelf(&world.name).unwrap();
            assert_eq!((shelf.ledger.running, shelf.ledger.offers(1)), (None, 0), "operation {at}");
        } else {
            world.store.take_back(&world.name, 2).unwrap();
        }
        std::fs::remove_file(&world.spec.file).ok();
        at += 1;
    }
    assert!(at > 20);
}
