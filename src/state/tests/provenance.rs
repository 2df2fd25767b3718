//! What counts after a crash: every way in which a file comes to be, with the kernel's own events.

use std::fs::{File, OpenOptions, hard_link, remove_file, rename};
use std::io::Write as _;

use super::*;

type Pattern = (&'static str, fn(&World), bool);

fn sibling(world: &World) -> PathBuf {
    world.spec.file.with_extension("new")
}

const PATTERNS: &[Pattern] = &[
    ("rename", |world| world.replace("new"), true),
    (
        "rename, then closed",
        |world| {
            let mut file = File::create(sibling(world)).unwrap();
            file.write_all(b"new").unwrap();
            rename(sibling(world), &world.spec.file).unwrap();
        },
        true,
    ),
    (
        "rename, then written",
        |world| {
            let mut file = File::create(sibling(world)).unwrap();
            file.write_all(b"ne").unwrap();
            rename(sibling(world), &world.spec.file).unwrap();
            file.write_all(b"w").unwrap();
        },
        false,
    ),
    (
        "link",
        |world| {
            std::fs::write(sibling(world), "new").unwrap();
            remove_file(&world.spec.file).ok();
            hard_link(sibling(world), &world.spec.file).unwrap();
        },
        true,
    ),
    ("in place", |world| world.write("new"), false),
    (
        "in place, held open",
        |world| {
            let mut file = OpenOptions::new().create(true).append(true).open(&world.spec.file).unwrap();
            file.write_all(b"more").unwrap();
            std::mem::forget(file);
        },
        false,
    ),
    (
        "unlink and create",
        |world| {
            remove_file(&world.spec.file).ok();
            world.write("new");
        },
        false,
    ),
    (
        "in place, then rename",
        |world| {
            world.write("torn");
            world.replace("new");
        },
        true,
    ),
    (
        "rename, then in place",
        |world| {
            world.replace("new");
            world.write("torn");
        },
        false,
    ),
    (
        "rename while the old one is written",
        |world| {
            let mut old = OpenOptions::new().create(true).append(true).open(&world.spec.file).unwrap();
            world.replace("new");
            old.write_all(b"late").unwrap();
        },
        true,
    ),
    (
        "the folder made anew",
        |world| {
            let folder = world.spec.file.parent().unwrap();
            std::fs::remove_dir_all(folder).unwrap();
            std::fs::create_dir(folder).unwrap();
            world.replace("new");
        },
        false,
    ),
];

#[test]
fn only_what_came_whole_counts_after_a_crash() {
    for (what, act, counts) in PATTERNS {
        for fresh in [true, false] {
            for atomic in [false, true] {
                let mut world = World::on_disk();
                world.spec.atomic = atomic;
                if !fresh {
                    world.hand_over("old");
                }
                world.start();
                act(&world);
                let seal = world.end(Ending::Crashed);
                let label = format!("{what}, fresh: {fresh}, atomic: {atomic}: {seal:?}");
                match seal {
                    Seal::Sealed(sealed) => {
                        assert!(*counts || atomic, "{label}");
                        assert_eq!(sealed.source, Source::Snapshot, "{label}");
                    }
                    Seal::Quarantined { reason, path } => {
                        assert!(!counts && !atomic, "{label}");
                        assert_eq!(reason, Reason::WrittenInPlace);
                        assert!(path.exists() && !world.spec.file.exists(), "{label}");
                    }
                    _ => panic!("{label}"),
                }
            }
        }
    }
}

#[test]
fn after_an_ordered_stop_every_way_of_writing_counts() {
    for (what, act, _) in PATTERNS {
        let mut world = World::on_disk();
        world.hand_over("old");
        world.start();
        act(&world);
        let seal = world.end(Ending::Ordered);
        assert!(matches!(seal, Seal::Sealed(Sealed { source: Source::Restart, .. })), "{what}: {seal:?}");
    }
}

#[test]
fn reading_touching_and_opening_are_not_writing() {
    let acts: [fn(&World); 4] = [
        |world| drop(std::fs::read(&world.spec.file).unwrap()),
        |world| drop(OpenOptions::new().write(true).open(&world.spec.file).unwrap()),
        |world| {
            let file = File::open(&world.spec.file).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        },
        |world| {
            rename(&world.spec.file, sibling(world)).unwrap();
            rename(sibling(world), &world.spec.file).unwrap();
        },
    ];
    for (number, act) in acts.iter().enumerate() {
        let mut world = World::on_disk();
        world.hand_over("old");
        world.start();
        act(&world);
        assert_eq!(world.end(Ending::Crashed), Seal::Untouched, "act {number}");
    }
}

#[test]
fn many_events_beside_it_hide_nothing() {
    let mut world = World::on_disk();
    world.start();
    world.replace("whole");
    let (one, two) = (sibling(&world), world.spec.file.with_extension("other"));
    for _ in 0..12_000 {
        std::fs::write(&one, "").unwrap();
        std::fs::write(&two, "").unwrap();
    }
    // More than the kernel's queue holds have come; the thread may or may not have kept up.
    let seal = world.end(Ending::Crashed);
    let sound = match &seal {
        Seal::Sealed(sealed) => sealed.source == Source::Snapshot,
        Seal::Quarantined { reason, .. } => *reason == Reason::WrittenInPlace,
        _ => false,
    };
    assert!(sound, "{seal:?}");
}

#[test]
fn after_orch_was_killed_a_changed_file_is_of_unknown_provenance() {
    for atomic in [false, true] {
        let mut world = World::on_disk();
        world.spec.atomic = atomic;
        world.hand_over("sealed");
        world.start();
        world.replace("nobody saw it");
        world.reopen();
        let restore = world.start();
        if atomic {
            let sealed = restore.sealed_aside.unwrap();
            assert_eq!((sealed.generation, sealed.source), (2, Source::Snapshot));
        } else {
            assert_eq!(restore.rejected[0].reason, Reason::UnknownProvenance);
            assert_eq!(world.quarantine().len(), 1);
        }
        assert_eq!(from(&restore), Some((Handed::Restart, 1)), "not used yet");
    }
}

#[test]
fn after_orch_was_killed_an_untouched_file_is_known() {
    let mut world = World::on_disk();
    world.hand_over("sealed");
    world.start();
    world.reopen();
    let restore = world.start();
    assert_eq!(from(&restore), Some((Handed::Restart, 1)));
    assert_eq!((restore.sealed_aside, restore.rejected), (None, vec![]));
}

#[test]
fn a_new_observer_takes_up_where_nothing_is_in_doubt() {
    let mut world = World::on_disk();
    world.hand_over("sealed");
    world.start();
    world.reopen();
    world.store.track(&world.name, &world.spec, world.incarnation).unwrap();
    assert_eq!(world.end(Ending::Crashed), Seal::Untouched);
    world.start();
    world.replace("unseen");
    world.reopen();
    world.store.track(&world.name, &world.spec, world.incarnation).unwrap();
    let seal = world.end(Ending::Crashed);
    assert!(matches!(seal, Seal::Quarantined { reason: Reason::WrittenInPlace, .. }), "{seal:?}");
}

#[test]
fn what_somebody_puts_there_between_two_runs_is_sealed() {
    let mut world = World::on_disk();
    world.hand_over("sealed");
    world.write("edited by hand");
    let restore = world.start();
    let sealed = restore.sealed_aside.unwrap();
    assert_eq!((sealed.generation, sealed.source), (2, Source::Restart));
    world.end(Ending::Ordered);
    world.write("torn by a crash of the machine");
    world.reboot();
    let restore = world.start();
    assert_eq!(restore.rejected[0].reason, Reason::UnknownProvenance);
}

#[test]
fn it_does_not_matter_whether_observation_begins_before_the_restore() {
    let mut world = World::on_disk();
    world.hand_over("sealed");
    world.incarnation = world.store.next_incarnation(&world.name);
    world.store.track(&world.name, &world.spec, world.incarnation).unwrap();
    let restore = world.store.restore(&world.name, &world.spec, world.incarnation, true).unwrap();
    assert_eq!(from(&restore), Some((Handed::Restart, 1)));
    // The store's own rename must not count as the component's. Both times at once give no event of a write.
    let (file, epoch) = (File::open(&world.spec.file).unwrap(), std::time::SystemTime::UNIX_EPOCH);
    file.set_times(std::fs::FileTimes::new().set_accessed(epoch).set_modified(epoch)).unwrap();
    assert_eq!(world.end(Ending::Crashed), Seal::Untouched);
}

#[test]
fn a_folder_that_took_the_watched_ones_place_is_not_vouched_for() {
    let mut world = World::on_disk();
    world.spec.file = world.folder.path().join("upper/lower/state");
    world.start();
    world.replace("whole");
    let upper = world.folder.path().join("upper");
    rename(&upper, world.folder.path().join("away")).unwrap();
    std::fs::create_dir_all(upper.join("lower")).unwrap();
    world.write("torn");
    let seal = world.end(Ending::Crashed);
    assert!(matches!(seal, Seal::Quarantined { reason: Reason::WrittenInPlace, .. }), "{seal:?}");
}
