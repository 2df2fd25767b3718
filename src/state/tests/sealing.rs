//! What becomes a generation, and what it looks like.

use sha2::{Digest, Sha256};

use super::*;

#[test]
fn a_handed_over_state_comes_back_to_the_byte() {
    let mut world = World::new();
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    assert_eq!(world.start(), Restore::default());
    world.write(&bytes);
    assert_eq!(world.end(Ending::Ordered), sealed(1, Source::Restart, 300_000));
    world.pass(7);
    let restore = world.start();
    let restored = restore.from.clone().unwrap();
    assert_eq!((restored.source, restored.incarnation), (Handed::Restart, 1));
    assert_eq!(restored.age, Duration::from_secs(7));
    assert_eq!(std::fs::read(&world.spec.file).unwrap(), bytes);
    world.ready(&restore);
    world.end(Ending::Crashed);
    assert_eq!(world.start(), Restore::default(), "used up");
    assert_eq!(world.state(), None, "and taken away");
}

#[test]
fn a_generation_is_the_contracts_format() {
    let mut world = World::new();
    world.clock.real_s.store(1_768_903_200, Ordering::Relaxed);
    world.hand_over("{\"n\":1}");
    let file = std::fs::read(world.generation(1)).unwrap();
    let digest: String = Sha256::digest(&file[70..]).iter().map(|byte| format!("{byte:02x}")).collect();
    let header = concat!(
        r#" {"component":"api","incarnation":1,"generation":1,"source":"restart","restart_marker":true,"#,
        r#""timestamp":"2026-01-20T10:00:00.000000Z","boot_id":"boot-1","boottime_ns":1000000000000000,"#,
        r#""payload_len":7}"#,
    );
    assert_eq!(String::from_utf8(file).unwrap(), format!("ORST1 {digest}{header}\n{{\"n\":1}}"));
}

#[test]
fn an_empty_state_is_a_state() {
    let mut world = World::new();
    world.start();
    world.write("");
    assert_eq!(world.end(Ending::Succeeded), sealed(1, Source::Restart, 0));
    assert_eq!(from(&world.start()), Some((Handed::Restart, 1)));
    assert_eq!(world.state().as_deref(), Some(""));
}

#[test]
fn the_writing_is_in_the_contracts_order() {
    let mut world = World::new();
    world.start();
    world.write("x");
    world.vfs.log();
    world.end(Ending::Ordered);
    let steps = ["create", "write", "sync", "rename", "sync_dir"];
    let mut log = world.vfs.log();
    log.retain(|step| steps.contains(step));
    log.dedup();
    assert_eq!(log[..5], steps, "the generation");
}

#[test]
fn an_untouched_file_is_not_sealed_again() {
    let mut world = World::new();
    world.hand_over("one");
    world.start();
    assert_eq!(world.end(Ending::Ordered), Seal::Untouched);
    assert_eq!(world.generations(), [1]);
}

#[test]
fn the_same_bytes_written_anew_are_a_new_state() {
    let mut world = World::new();
    world.hand_over("one");
    let restore = world.start();
    world.ready(&restore);
    world.replace("one");
    assert_eq!(world.end(Ending::Ordered), sealed(2, Source::Restart, 3));
}

#[test]
fn no_file_is_no_state() {
    let mut world = World::new();
    world.start();
    assert_eq!(world.end(Ending::Ordered), Seal::Absent);
    std::fs::remove_dir(world.folder.path().join("data")).unwrap();
    assert_eq!(world.end(Ending::Crashed), Seal::Absent);
}

#[test]
fn so_many_are_kept_and_numbers_are_never_used_again() {
    let mut world = World::new();
    for number in 1..=5 {
        assert_eq!(world.hand_over(&format!("state {number}")), number);
    }
    assert_eq!(world.generations(), [3, 4, 5]);
    world.spec.keep = 1;
    world.hand_over("state 6");
    assert_eq!(world.generations(), [6]);
    std::fs::write(world.generation(6), "rubbish").unwrap();
    world.start();
    assert_eq!(world.generations(), [0_u64; 0]);
    world.reopen();
    assert_eq!(world.hand_over("state 7"), 7);
}

#[test]
fn a_state_that_is_still_to_be_used_is_kept_beyond_the_number() {
    let mut world = World::new();
    world.spec.keep = 1;
    world.hand_over("handed over");
    assert_eq!(from(&world.start()), Some((Handed::Restart, 1)));
    world.replace("before it was ready");
    assert_eq!(world.end(Ending::Crashed), sealed(2, Source::Snapshot, 19));
    assert_eq!(world.generations(), [1, 2], "the first has been offered, and nobody was ready with it");
}

#[test]
fn a_file_that_is_there_before_the_first_start_is_as_old_as_its_time_says() {
    for (age, restored) in [(20, true), (40, false)] {
        let mut world = World::new();
        std::fs::create_dir(world.folder.path().join("data")).unwrap();
        world.write("brought along");
        let now = std::fs::metadata(&world.spec.file).unwrap().modified().unwrap();
        let now = Timestamp::try_from(now).unwrap().as_second();
        world.clock.real_s.store(now + age, Ordering::Relaxed);
        let restore = world.start();
        assert_eq!(restore.sealed_aside, Some(Sealed { generation: 1, source: Source::Snapshot, bytes: 13 }));
        assert_eq!(restore.from.is_some(), restored);
        assert_eq!(world.state().is_some(), restored);
        assert_eq!(world.generations(), [1], "nothing is deleted");
    }
}

#[test]
fn a_seal_that_failed_is_made_up_for_before_the_next_start() {
    let mut world = World::new();
    world.start();
    world.write("in order");
    world.vfs.fail_at(1, rustix::io::Errno::NOSPC, true);
    let failed = world.store.seal(&world.name, &world.spec, 1, Ending::Ordered).unwrap_err();
    assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
    world.vfs.calm();
    let restore = world.start();
    assert_eq!(from(&restore), Some((Handed::Restart, 1)));
    assert_eq!(world.state().as_deref(), Some("in order"));
}

#[test]
fn components_are_sealed_in_parallel() {
    let world = World::new();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let world = &world;
            scope.spawn(move || {
                let name = Name::new(&format!("c{number}")).unwrap();
                let file = world.folder.path().join(format!("data/{number}"));
                let spec = State { file: file.clone(), ..world.spec.clone() };
                for round in 1..=20_u64 {
                    assert_eq!(world.store.next_incarnation(&name), round);
                    let restore = world.store.restore(&name, &spec, round, true).unwrap();
                    let expected = (round > 1).then_some((Handed::Restart, round - 1));
                    assert_eq!(from(&restore), expected);
                    world.store.track(&name, &spec, round).unwrap();
                    std::fs::write(&file, format!("{number} {round}")).unwrap();
                    let seal = world.store.seal(&name, &spec, round, Ending::Ordered).unwrap();
                    assert!(matches!(seal, Seal::Sealed(_)), "{seal:?}");
                }
            });
        }
    });
}

#[test]
fn the_machines_own_clock_and_disk_serve() {
    let world = World::on_disk();
    let (api, state_dir) = (&world.name, world.folder.path().join("own"));
    let store = Store::open(&state_dir, Arc::new(|_, _| {})).unwrap();
    let number = store.next_incarnation(api);
    assert!(store.restore(api, &world.spec, number, true).unwrap().from.is_none());
    store.track(api, &world.spec, number).unwrap();
    world.replace(vec![b'x'; 1 << 20]);
    let seal = store.seal(api, &world.spec, number, Ending::Crashed).unwrap();
    assert_eq!(seal, sealed(1, Source::Snapshot, 1 << 20));
    store.close().unwrap();
    drop(store);
    let store = Store::open(&state_dir, Arc::new(|_, _| {})).unwrap();
    let number = store.next_incarnation(api);
    let restored = store.restore(api, &world.spec, number, true).unwrap().from.unwrap();
    assert_eq!((number, restored.source, restored.incarnation), (2, Handed::Snapshot, 1));
    assert!(restored.age > Duration::ZERO && restored.age < Duration::from_secs(20));
    assert_eq!(std::fs::read(&world.spec.file).unwrap(), vec![b'x'; 1 << 20]);
}
