//! Every operation fails in turn, once or from then on: no state is torn, none is lost, and no number is
//! used twice.

use rustix::io::Errno;

use super::*;

const ERRORS: [Errno; 4] = [Errno::IO, Errno::NOSPC, Errno::MFILE, Errno::ROFS];

/// Runs `act` with each of its operations failing in turn, on a fresh world each time.
fn sweep(prepare: impl Fn() -> World, act: impl Fn(&mut World), check: impl Fn(&mut World, &str)) {
    for errno in ERRORS {
        for for_good in [false, true] {
            let mut at = 1;
            loop {
                let mut world = prepare();
                world.vfs.fail_at(at, errno, for_good);
                act(&mut world);
                if !world.vfs.calm() {
                    assert!(at > 10, "the sweep has not met the operations");
                    break;
                }
                check(&mut world, &format!("operation {at}, {errno:?}, for good: {for_good}"));
                at += 1;
            }
        }
    }
}

/// A component that runs with the first state and has written the second at its stop.
fn stopping() -> World {
    let mut world = World::new();
    world.hand_over("first");
    let restore = world.start();
    world.ready(&restore);
    world.write("second");
    world
}

fn seal(world: &mut World) {
    let sealed = world.store.seal(&world.name, &world.spec, world.incarnation, Ending::Ordered);
    if let Ok(Seal::Sealed(sealed)) = sealed {
        assert!(world.generation(sealed.generation).exists(), "reported, so it is there");
    }
}

#[test]
fn a_seal_loses_nothing() {
    sweep(stopping, seal, |world, what| {
        assert_eq!(std::fs::read_to_string(&world.spec.file).unwrap(), "second", "{what}");
        let restore = world.start();
        let (source, generation) = from(&restore).unwrap_or_else(|| panic!("{what}: {restore:?}"));
        assert_eq!(source, Handed::Restart, "{what}");
        assert!(generation >= 2, "{what}");
        assert_eq!(world.state().as_deref(), Some("second"), "{what}");
        assert!(restore.rejected.is_empty(), "{what}: {restore:?}");
    });
}

#[test]
fn a_seal_that_a_kill_of_orch_follows_loses_nothing() {
    sweep(stopping, seal, |world, what| {
        world.reopen();
        let restore = world.start();
        let in_quarantine = restore.rejected.iter().any(|rejected| {
            rejected.moved_to.as_ref().is_some_and(|path| std::fs::read(path).unwrap() == b"second")
        });
        let restored = world.state().as_deref() == Some("second");
        assert!(restored || in_quarantine, "{what}: {restore:?}");
    });
}

#[test]
fn a_restore_loses_nothing_and_a_failed_one_does_not_count() {
    let prepare = || {
        let mut world = World::new();
        world.hand_over("state");
        world
    };
    let act = |world: &mut World| {
        for _ in 0..3 {
            let restored = world.store.restore(&world.name, &world.spec, 2, true);
            if restored.is_ok() {
                break;
            }
        }
    };
    sweep(prepare, act, |world, what| {
        world.reopen();
        let restore = world.start();
        let (source, _) = from(&restore).unwrap_or_else(|| panic!("{what}: {restore:?}"));
        assert_eq!(source, Handed::Restart, "{what}");
        assert_eq!(world.state().as_deref(), Some("state"), "{what}");
    });
}

#[test]
fn a_restore_that_takes_a_foreign_file_away_loses_nothing() {
    let prepare = || {
        let world = stopping();
        world.end(Ending::Ordered);
        world.write("by hand");
        world
    };
    let act = |world: &mut World| {
        let _ = world.store.restore(&world.name, &world.spec, 3, true);
    };
    sweep(prepare, act, |world, what| {
        world.start();
        let anywhere = |folder: &Path| {
            names_in(folder)
                .iter()
                .any(|name| std::fs::read(folder.join(name)).is_ok_and(|bytes| bytes.ends_with(b"by hand")))
        };
        let shelf = world.shelf();
        assert!(anywhere(&shelf) || anywhere(&shelf.join("quarantine")), "{what}");
    });
}

#[test]
fn a_crash_loses_no_torn_file_and_no_older_state() {
    let prepare = || {
        let mut world = World::new();
        world.hand_over("first");
        world.start();
        world.write("torn");
        world
    };
    let act = |world: &mut World| {
        let _ = world.store.seal(&world.name, &world.spec, world.incarnation, Ending::Crashed);
    };
    sweep(prepare, act, |world, what| {
        let restore = world.start();
        assert_eq!(from(&restore), Some((Handed::Restart, 1)), "{what}");
        let shelf = world.shelf().join("quarantine");
        let kept = names_in(&shelf).iter().any(|name| std::fs::read(shelf.join(name)).unwrap() == b"torn");
        assert!(kept, "{what}");
    });
}

#[test]
fn use_is_all_or_nothing() {
    let prepare = || {
        let mut world = World::new();
        world.hand_over("first");
        world.start();
        world
    };
    let act = |world: &mut World| {
        let _ = world.store.used(&world.name, 1);
    };
    sweep(prepare, act, |world, what| {
        world.end(Ending::Crashed);
        let restore = world.start();
        assert!(matches!(from(&restore), None | Some((Handed::Restart, 1))), "{what}");
        assert!(restore.rejected.is_empty(), "{what}");
    });
}

#[test]
fn a_damaged_state_is_set_aside_whatever_fails() {
    let prepare = || {
        let mut world = World::new();
        world.hand_over("first");
        world.hand_over("second");
        std::fs::write(world.generation(2), "rubbish").unwrap();
        world
    };
    let act = |world: &mut World| {
        let _ = world.store.restore(&world.name, &world.spec, 3, true);
    };
    sweep(prepare, act, |world, what| {
        world.reopen();
        assert_eq!(from(&world.start()), Some((Handed::Backup, 1)), "{what}");
        let restore = world.store.restore(&world.name, &world.spec, 4, false).unwrap();
        assert!(restore.from.is_none(), "{what}");
        assert_eq!(world.hand_over("third"), 3, "{what}: the number is not used again");
    });
}

#[test]
fn after_one_failed_fsync_a_fresh_file_is_tried_once() {
    let operation = |what: &str| {
        let mut world = stopping();
        world.vfs.log();
        seal(&mut world);
        world.vfs.log().iter().position(|step| *step == what).unwrap() as u64 + 1
    };
    let at = operation("sync");
    let world = stopping();
    world.vfs.fail_at(at, Errno::IO, false);
    assert_eq!(world.end(Ending::Ordered), sealed(2, Source::Restart, 6));
    assert!(world.vfs.calm());
    let world = stopping();
    world.vfs.fail_at(at, Errno::IO, true);
    assert!(world.store.seal(&world.name, &world.spec, 2, Ending::Ordered).is_err());
    assert_eq!(world.generations(), [1], "nothing half made is left under a number");
}
