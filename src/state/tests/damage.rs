//! Damaged generations and records.

use super::*;

/// A world whose newest state is the second of two, neither used.
fn two_states() -> World {
    let mut world = World::new();
    world.spec.max_age = None;
    world.hand_over("first");
    world.hand_over("second");
    world
}

/// Damages the second state and starts: it must be set aside, and the first stand in for it.
fn check(world: &mut World, damaged: &[u8], what: &str) {
    let file = world.generation(2);
    let sound = std::fs::read(&file).unwrap();
    let ledger = std::fs::read(world.shelf().join("ledger")).unwrap();
    std::fs::write(&file, damaged).unwrap();
    let restore = world.start();
    assert_eq!(from(&restore), Some((Handed::Backup, 1)), "{what}");
    assert_eq!(world.state().as_deref(), Some("first"), "{what}");
    let rejected = &restore.rejected[0];
    assert_eq!(rejected.generation, Some(2), "{what}");
    assert!(matches!(rejected.reason, Reason::Damaged(_)), "{what}");
    assert_eq!(std::fs::read(rejected.moved_to.as_ref().unwrap()).unwrap(), damaged, "{what}");
    assert_eq!(world.generations(), [1], "{what}");
    world.end(Ending::Crashed);
    std::fs::write(&file, sound).unwrap();
    std::fs::write(world.shelf().join("ledger"), ledger).unwrap();
    std::fs::remove_dir_all(world.shelf().join("quarantine")).unwrap();
    // As the restored ledger remembers it.
    std::fs::remove_file(&world.spec.file).unwrap();
}

#[test]
fn every_truncation_is_found() {
    let mut world = two_states();
    let sound = std::fs::read(world.generation(2)).unwrap();
    for length in 0..sound.len() {
        check(&mut world, &sound[..length], &format!("cut at {length}"));
    }
    assert_eq!(from(&world.start()), Some((Handed::Restart, 2)), "the sound one is restored");
}

#[test]
fn every_flipped_bit_is_found() {
    let mut world = two_states();
    let sound = std::fs::read(world.generation(2)).unwrap();
    for bit in 0..sound.len() * 8 {
        let mut damaged = sound.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        check(&mut world, &damaged, &format!("bit {bit}"));
    }
}

#[test]
fn damage_is_found_also_where_the_file_in_place_is_sound() {
    let mut world = two_states();
    let mut damaged = std::fs::read(world.generation(2)).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(world.generation(2), &damaged).unwrap();
    assert_eq!(world.state().as_deref(), Some("second"));
    assert_eq!(from(&world.start()), Some((Handed::Backup, 1)));
}

#[test]
fn crafted_files_are_found() {
    let mut world = two_states();
    let (first, second) =
        (std::fs::read(world.generation(1)).unwrap(), std::fs::read(world.generation(2)).unwrap());
    let longer = [second.as_slice(), b"x"].concat();
    let line = second.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let mixed = [&second[..line], b"first."].concat();
    let zeros = vec![0; second.len()];
    for (what, bytes) in [("another's", first), ("longer", longer), ("mixed", mixed), ("zeros", zeros)] {
        check(&mut world, &bytes, what);
    }
}

#[test]
fn what_is_no_file_is_set_aside_and_not_followed() {
    let mut world = two_states();
    let outside = world.folder.path().join("outside");
    std::fs::rename(world.generation(2), &outside).unwrap();
    std::os::unix::fs::symlink(&outside, world.generation(2)).unwrap();
    assert_eq!(from(&world.start()), Some((Handed::Backup, 1)));
    assert!(outside.exists());
}

#[test]
fn a_used_state_stands_in_for_a_damaged_one_also_after_a_crash() {
    let mut world = two_states();
    world.ready(&Restore::default());
    std::fs::write(world.generation(2), "rubbish").unwrap();
    for _ in 0..2 {
        let restore = world.start();
        assert_eq!(from(&restore), Some((Handed::Backup, 1)));
        assert!(!restore.lost);
        world.end(Ending::Crashed);
        world.reopen();
    }
    let restore = world.start();
    assert_eq!(restore.rejected[0].reason, Reason::Poisoned);
    assert!(restore.lost);
}

#[test]
fn a_damaged_state_that_was_used_up_brings_nothing_back() {
    let mut world = two_states();
    let restore = world.start();
    world.ready(&restore);
    world.end(Ending::Crashed);
    std::fs::write(world.generation(2), "rubbish").unwrap();
    let restore = world.start();
    assert_eq!((from(&restore), restore.lost), (None, false));
}

#[test]
fn that_all_is_lost_is_remembered_until_the_user_goes_on_without() {
    let mut world = World::new();
    world.hand_over("only");
    std::fs::write(world.generation(1), "rubbish").unwrap();
    for _ in 0..3 {
        let restore = world.start();
        assert!(restore.lost && restore.from.is_none());
        world.reopen();
    }
    world.store.restore(&world.name, &world.spec, 9, false).unwrap();
    assert!(!world.start().lost);
}

#[test]
fn a_read_error_leads_to_the_next_and_moves_nothing() {
    let mut at = 1;
    loop {
        let world = two_states();
        // Or the file in place would do without a copy.
        std::fs::remove_file(&world.spec.file).unwrap();
        let incarnation = world.store.next_incarnation(&world.name);
        world.vfs.fail_at(at, rustix::io::Errno::IO, false);
        let restore = world.store.restore(&world.name, &world.spec, incarnation, true);
        if !world.vfs.calm() {
            break;
        }
        if let Ok(restore) = restore
            && let Some(rejected) = restore.rejected.first()
            && matches!(rejected.reason, Reason::Unreadable(_))
        {
            assert_eq!((rejected.generation, &rejected.moved_to), (Some(2), &None));
            assert_eq!(from(&restore), Some((Handed::Backup, 1)));
            assert_eq!(world.generations(), [1, 2]);
            return;
        }
        at += 1;
    }
    panic!("no read of the generation has failed");
}

#[test]
fn a_damaged_record_is_reported_and_offers_rather_than_loses() {
    let mut world = two_states();
    let restore = world.start();
    world.ready(&restore);
    world.end(Ending::Ordered);
    std::fs::write(world.shelf().join("ledger"), "rubbish").unwrap();
    let restore = world.start();
    assert_eq!(restore.rejected[0].generation, None);
    assert!(restore.rejected[0].moved_to.as_ref().unwrap().exists());
    assert_eq!(from(&restore), Some((Handed::Restart, 2)));
}

#[test]
fn nothing_is_ever_deleted_from_quarantine() {
    let mut world = World::new();
    for round in 1..=15 {
        world.start();
        world.write(format!("torn {round}"));
        world.end(Ending::Crashed);
    }
    let quarantine = world.quarantine();
    assert_eq!(quarantine.len(), 15);
    let kept = std::fs::read_to_string(world.shelf().join("quarantine").join(&quarantine[0])).unwrap();
    assert_eq!(kept, "torn 1");
}
