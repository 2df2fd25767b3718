//! Which generation is chosen, and how often.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// A run that was given a state, became ready, saved by rename, and crashed.
fn crash_with(world: &mut World, state: &str) -> u64 {
    let restore = world.start();
    world.ready(&restore);
    world.replace(state);
    // Both times at once give no event of a write.
    let now = world.clock.real_s.load(Ordering::Relaxed).unsigned_abs();
    let now = std::time::UNIX_EPOCH + Duration::from_secs(now);
    let times = std::fs::FileTimes::new().set_accessed(now).set_modified(now);
    std::fs::File::open(&world.spec.file).unwrap().set_times(times).unwrap();
    match world.end(Ending::Crashed) {
        Seal::Sealed(Sealed { generation, source: Source::Snapshot, .. }) => generation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_state_is_poisoned_after_two_offers() {
    let mut world = World::new();
    world.hand_over("bad");
    for _ in 0..2 {
        assert_eq!(from(&world.start()), Some((Handed::Restart, 1)));
        assert_eq!(world.state().as_deref(), Some("bad"));
        assert_eq!(world.end(Ending::Crashed), Seal::Untouched);
        world.reopen();
    }
    let restore = world.start();
    assert_eq!((from(&restore), world.state()), (None, None));
    assert_eq!(restore.rejected.len(), 1);
    assert_eq!(restore.rejected[0].reason, Reason::Poisoned);
    assert!(restore.lost);
    assert!(world.quarantine()[0].contains("poisoned"));
    assert_eq!(world.generations(), [0_u64; 0]);
}

#[test]
fn an_orch_that_is_killed_right_after_a_run_was_ready_gives_its_state_to_no_other() {
    for (note, next) in [(true, None), (false, Some((Handed::Restart, 1)))] {
        let mut world = World::new();
        world.hand_over("once");
        let restore = world.start();
        assert_eq!(from(&restore), Some((Handed::Restart, 1)));
        if note {
            world.store.note_ready(&world.name, world.incarnation, 1);
        }
        // Killed before `used` was called.
        world.reopen();
        assert_eq!(from(&world.start()), next);
        // Another kill right after that changes nothing: what is used up stays so, and the other is poisoned now.
        world.reopen();
        assert_eq!(from(&world.start()), None);
    }
}

#[test]
fn the_note_of_a_use_says_nothing_of_a_later_run() {
    let mut world = World::new();
    world.hand_over("first");
    let restore = world.start();
    world.store.note_ready(&world.name, world.incarnation, 1);
    world.ready(&restore);
    assert_eq!(world.end(Ending::Crashed), Seal::Untouched);
    let number = world.hand_over("second");
    for _ in 0..2 {
        assert_eq!(from(&world.start()), Some((Handed::Restart, number)));
        world.reopen();
    }
}

#[test]
fn a_stop_before_it_was_ready_says_nothing_against_a_state() {
    let mut world = World::new();
    world.hand_over("good");
    for _ in 0..5 {
        assert_eq!(from(&world.start()), Some((Handed::Restart, 1)));
        assert_eq!(world.end(Ending::Ordered), Seal::Untouched);
    }
}

#[test]
fn what_is_taken_back_was_not_offered() {
    let mut world = World::new();
    world.hand_over("good");
    for _ in 0..5 {
        assert_eq!(from(&world.start()), Some((Handed::Restart, 1)));
        world.store.take_back(&world.name, world.incarnation).unwrap();
        world.reopen();
    }
    assert_eq!(from(&world.start()), Some((Handed::Restart, 1)));
    assert_eq!(world.state().as_deref(), Some("good"));
}

#[test]
fn taking_back_what_was_not_restored_makes_no_torn_file_count() {
    let mut world = World::new();
    world.hand_over("good");
    world.start();
    world.write("tor");
    world.reopen();
    let next = world.store.next_incarnation(&world.name);
    world.store.take_back(&world.name, next).unwrap();
    assert_eq!(from(&world.start()), Some((Handed::Restart, 1)));
    assert_eq!(world.state().as_deref(), Some("good"));
    assert_eq!(world.quarantine().len(), 1, "the torn file");
}

#[test]
fn becoming_ready_clears_the_count() {
    let mut world = World::new();
    crash_with(&mut world, "snapshot");
    for _ in 0..4 {
        assert_eq!(from(&world.start()), Some((Handed::Snapshot, 1)));
        world.end(Ending::Crashed);
        let restore = world.start();
        assert_eq!(from(&restore), Some((Handed::Snapshot, 1)), "a snapshot is not used up");
        world.ready(&restore);
        world.end(Ending::Crashed);
    }
}

#[test]
fn without_once_it_is_restored_again_and_again() {
    let mut world = World::new();
    world.spec.once = false;
    world.hand_over("forever");
    for round in 0..5 {
        let restore = world.start();
        assert_eq!(from(&restore), Some((Handed::Restart, 1)), "round {round}");
        if round % 2 == 0 {
            world.ready(&restore);
        }
        world.end(Ending::Crashed);
    }
    let snapshot = crash_with(&mut world, "newer");
    assert_eq!(from(&world.start()), Some((Handed::Snapshot, snapshot)), "the newest wins");
}

#[test]
fn what_a_stop_handed_over_goes_before_newer_snapshots_until_it_is_used() {
    let mut world = World::new();
    world.hand_over("handed over");
    assert_eq!(from(&world.start()), Some((Handed::Restart, 1)));
    world.replace("saved before it was ready");
    assert_eq!(world.end(Ending::Crashed), sealed(2, Source::Snapshot, 25));
    let restore = world.start();
    assert_eq!(from(&restore), Some((Handed::Restart, 1)), "a crash before that restores it again");
    world.ready(&restore);
    world.end(Ending::Crashed);
    assert_eq!(from(&world.start()), Some((Handed::Snapshot, 2)));
}

#[test]
fn what_is_older_than_a_used_state_does_not_come_back() {
    let mut world = World::new();
    crash_with(&mut world, "old");
    world.hand_over("handed over");
    let restore = world.start();
    assert_eq!(from(&restore), Some((Handed::Restart, 2)));
    world.ready(&restore);
    world.end(Ending::Crashed);
    assert_eq!(from(&world.start()), None);
}

#[test]
fn age_is_taken_from_the_boottime_clock() {
    let mut world = World::new();
    world.hand_over("x");
    world.clock.real_s.fetch_add(1_000_000, Ordering::Relaxed);
    world.clock.boottime_s.fetch_add(30, Ordering::Relaxed);
    world.reopen();
    let restore = world.start();
    assert_eq!(restore.from.clone().unwrap().age, Duration::from_secs(30));
    world.end(Ending::Ordered);
    world.clock.boottime_s.fetch_add(1, Ordering::Relaxed);
    let restore = world.start();
    assert_eq!(from(&restore), None);
    let age = Duration::from_secs(31);
    assert_eq!(restore.passed_over, [PassedOver { generation: 1, why: WrongAge::TooOld { age } }]);
    assert!(!restore.lost && restore.rejected.is_empty());
    assert_eq!((world.state(), world.generations()), (None, vec![1]));
    world.spec.max_age = None;
    assert_eq!(from(&world.start()), Some((Handed::Restart, 1)));
}

#[test]
fn across_boots_age_is_taken_from_the_wall_clock() {
    let mut world = World::new();
    world.hand_over("x");
    world.pass(20);
    world.reboot();
    assert_eq!(world.start().from.unwrap().age, Duration::from_secs(20));
    world.end(Ending::Ordered);
    world.pass(11);
    assert_eq!(from(&world.start()), None);
}

#[test]
fn a_state_from_the_future_is_passed_over() {
    let mut world = World::new();
    world.spec.max_age = None;
    crash_with(&mut world, "now");
    world.pass(100);
    crash_with(&mut world, "later");
    world.clock.boottime_s.fetch_sub(50, Ordering::Relaxed);
    let restore = world.start();
    assert_eq!(from(&restore), Some((Handed::Snapshot, 1)));
    assert_eq!(restore.passed_over, [PassedOver { generation: 2, why: WrongAge::Future }]);
    world.reboot();
    world.clock.real_s.fetch_sub(50, Ordering::Relaxed);
    assert_eq!(from(&world.start()), Some((Handed::Snapshot, 1)));
}

#[test]
fn nothing_is_restored_against_the_users_will() {
    let mut world = World::new();
    world.hand_over("unwanted");
    world.incarnation = world.store.next_incarnation(&world.name);
    let restore = world.store.restore(&world.name, &world.spec, world.incarnation, false).unwrap();
    assert_eq!(restore, Restore::default());
    assert_eq!((world.state(), world.generations()), (None, vec![1]));
    world.end(Ending::Crashed);
    assert_eq!(from(&world.start()), None, "not later, either");
}

#[test]
fn the_restored_file_has_the_mode_of_the_last_one() {
    let mode = |world: &World| std::fs::metadata(&world.spec.file).unwrap().permissions().mode() & 0o777;
    let mut world = World::new();
    world.start();
    world.write("x");
    std::fs::set_permissions(&world.spec.file, std::fs::Permissions::from_mode(0o640)).unwrap();
    world.end(Ending::Ordered);
    world.reopen();
    world.start();
    assert_eq!(mode(&world), 0o640);
}

#[test]
fn a_file_that_has_the_sealed_bytes_still_is_left_in_place() {
    use std::os::unix::fs::MetadataExt;
    let inode = |world: &World| std::fs::metadata(&world.spec.file).unwrap().ino();
    let mut world = World::new();
    world.hand_over("state");
    let left = inode(&world);
    for _ in 0..2 {
        assert_eq!(from(&world.start()), Some((Handed::Restart, 1)));
        assert_eq!(inode(&world), left, "it is not copied");
        assert_eq!(world.end(Ending::Crashed), Seal::Untouched);
    }
    assert_eq!(world.start().rejected[0].reason, Reason::Poisoned, "each time counts all the same");
}

#[test]
fn another_file_system_is_no_obstacle() {
    let mut world = World::new();
    world.vfs.faults.lock().unwrap().apart = true;
    world.hand_over("far away");
    for _ in 0..2 {
        assert_eq!(from(&world.start()), Some((Handed::Restart, 1)));
        assert_eq!(world.state().as_deref(), Some("far away"));
        assert_eq!(world.end(Ending::Crashed), Seal::Untouched);
    }
    let restore = world.start();
    assert_eq!(restore.rejected[0].reason, Reason::Poisoned);
    world.write("torn");
    let Seal::Quarantined { path, .. } = world.end(Ending::Crashed) else { panic!() };
    assert_eq!(std::fs::read_to_string(path).unwrap(), "torn");
    std::os::unix::fs::symlink("/nowhere", &world.spec.file).unwrap();
    let Seal::Quarantined { path, .. } = world.end(Ending::Crashed) else { panic!() };
    assert_eq!(path.parent(), world.spec.file.parent(), "what can't be copied is renamed");
    assert_eq!(names_in(&world.folder.path().join("data")), [".orch-aside-api-1"]);
}

#[test]
fn a_changed_path_carries_the_state_over() {
    let mut world = World::new();
    world.hand_over("moved");
    world.spec.file = world.folder.path().join("elsewhere/state");
    std::fs::create_dir(world.folder.path().join("elsewhere")).unwrap();
    world.write("was here before");
    let restore = world.start();
    assert_eq!(from(&restore), Some((Handed::Restart, 1)));
    assert_eq!(restore.sealed_aside.unwrap().source, Source::Snapshot);
    assert_eq!(world.state().as_deref(), Some("moved"));
}
