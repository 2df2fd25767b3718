//! Looking at the store: what is told of each generation is what a restore then does, and nothing changes by it.

use std::os::unix::fs::MetadataExt as _;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;
use crate::state::header::Source;
use crate::state::inspect::{Fate, Inspector, Inventory, NoPayload, Record, What};
use crate::state::ledger::{Given, Ledger};

impl World {
    fn inspector(&self) -> Inspector<Faulty> {
        let clock = Box::new(self.clock.clone());
        Inspector::with(self.vfs.clone(), clock, &self.folder.path().join(".orch")).unwrap()
    }

    fn look(&self) -> Inventory {
        self.inspector().look(&self.name, Some(&self.spec)).unwrap()
    }

    fn fates(&self) -> Vec<(u64, &'static str)> {
        let inventory = self.look();
        inventory.generations.iter().map(|entry| (entry.generation, entry.fate.as_str())).collect()
    }

    fn ledger(&self) -> Ledger {
        Ledger::decode(&std::fs::read(self.shelf().join("ledger")).unwrap()).unwrap()
    }

    fn set_ledger(&self, ledger: &Ledger) {
        std::fs::write(self.shelf().join("ledger"), ledger.encode()).unwrap();
    }

    fn damage(&self, generation: u64) {
        let path = self.generation(generation);
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(path, bytes).unwrap();
    }

    /// Everything below the folder: names, identities, sizes, times, modes, and the bytes of small files.
    fn everything(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let (path, meta) = (entry.path(), entry.path().symlink_metadata().unwrap());
                let bytes = if meta.is_file() && meta.len() < 1 << 20 {
                    std::fs::read(&path).unwrap()
                } else {
                    Vec::new()
                };
                let identity = (meta.ino(), meta.mode(), meta.len());
                let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
                found.push(format!("{} {identity:?} {times:?} {bytes:?}", path.display()));
                if meta.is_dir() {
                    folders.push(path);
                }
            }
        }
        found.sort();
        found
    }
}

#[test]
fn a_generation_is_next_then_used_then_stands_in() {
    let mut world = World::new();
    assert!(world.look().generations.is_empty());
    assert_eq!(world.look().record, Record::None);
    world.hand_over("one");
    world.hand_over("two");
    assert_eq!(world.fates(), [(1, "used"), (2, "next")]);
    let entry = world.look().generations.pop().unwrap();
    assert_eq!(entry.fate, Fate::Next(Handed::Restart));
    assert_eq!((entry.offers, entry.checked, entry.header.unwrap().payload_len), (0, true, 3));
    assert!(matches!(world.look().file.unwrap().what, What::Known { generation: 2, bytes: 3 }));

    let restore = world.start();
    let inventory = world.look();
    assert_eq!((inventory.running, inventory.given), (Some(3), Some(2)));
    assert_eq!(inventory.generations[1].offers, 1);
    world.ready(&restore);
    assert_eq!(world.fates(), [(1, "used"), (2, "used")]);
    world.write("three");
    assert!(matches!(world.look().file.unwrap().what, What::Changed { bytes: 5, .. }));
    world.end(Ending::Ordered);
    world.damage(3);
    assert_eq!(world.fates(), [(1, "used"), (2, "next"), (3, "damaged")]);
    assert_eq!(world.look().generations[1].fate, Fate::Next(Handed::Backup));
    assert_eq!(from(&world.start()), Some((Handed::Backup, 2)), "a restore agrees");
    assert_eq!(world.look().quarantine.len(), 1);
}

#[test]
fn ages_offers_and_what_is_laid_aside_are_told() {
    let mut world = World::new();
    world.hand_over("one");
    world.pass(31);
    assert_eq!(world.fates(), [(1, "too-old")]);
    assert_eq!(world.look().generations[0].age, Some(Duration::from_secs(31)));
    world.clock.boottime_s.store(999_999, Ordering::Relaxed);
    assert_eq!(world.fates(), [(1, "future")]);
    world.clock.boottime_s.store(1_000_001, Ordering::Relaxed);
    for run in 1..=2 {
        world.start();
        assert_eq!(world.look().generations[0].offers, run);
        world.end(Ending::Crashed);
    }
    assert_eq!(world.fates(), [(1, "poisoned")]);

    let mut world = World::new();
    world.hand_over("one");
    world.store.restore(&world.name, &world.spec, 2, false).unwrap();
    assert_eq!(world.fates(), [(1, "laid-aside")]);
    let nobody = world.inspector().look(&world.name, None).unwrap();
    assert_eq!((nobody.file, nobody.generations.len()), (None, 1));
}

/// The oracle is the store: in each of these worlds, a restore does what was foretold.
#[test]
fn what_is_next_is_what_a_restore_then_gives() {
    let mut foretold = std::collections::BTreeMap::new();
    for case in 0..512_u64 {
        let bit = |at: u64| case >> at & 1 == 1;
        let mut world = World::new();
        world.spec.once = bit(8);
        for (generation, state) in [(1, "one"), (2, "two"), (3, "three")] {
            let restore = world.start();
            world.ready(&restore);
            world.replace(state);
            let ending = if bit(generation - 1) { Ending::Ordered } else { Ending::Crashed };
            assert!(matches!(world.end(ending), Seal::Sealed(_)));
        }
        let mut ledger = world.ledger();
        let used = (case >> 3) & 3;
        let source = if used > 0 && bit(used - 1) { Source::Restart } else { Source::Snapshot };
        ledger.used = (used > 0).then_some(Given { generation: used, source });
        ledger.offers = [(3, u32::from(bit(5)) * 2)].into();
        world.set_ledger(&ledger);
        // Two bits for four of the eight sets of damaged ones, the newest among them most of the time.
        let damaged: &[u64] = [&[][..], &[3], &[2, 3], &[1, 2, 3]][usize::try_from(case >> 6 & 3).unwrap()];
        damaged.iter().for_each(|generation| world.damage(*generation));

        let next = world.look().generations.into_iter().find_map(|entry| match entry.fate {
            Fate::Next(handed) => Some((handed, entry.generation)),
            _ => None,
        });
        let shown = world.inspector().payload(&world.name, Some(&world.spec), None);
        let shown = shown.ok().and_then(|payload| Some((payload.next?, payload.header.generation)));
        assert_eq!(shown, next, "case {case}: show and list agree");
        let restored = from(&world.start());
        assert_eq!(next, restored, "case {case}: used {used}, damaged {damaged:?}, {ledger:?}");
        *foretold.entry(format!("{restored:?}")).or_insert(0) += 1;
    }
    assert!(foretold.len() >= 7, "the cases are no longer different: {foretold:?}");
}

#[test]
fn nothing_changes_and_nothing_blocks_whatever_is_there() {
    let mut world = World::new();
    for state in ["one", "two", "three"] {
        world.hand_over(state);
    }
    world.damage(2);
    let shelf = world.shelf();
    let fifo = |path: &Path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    fifo(&world.generation(7));
    std::os::unix::fs::symlink("/dev/zero", world.generation(8)).unwrap();
    std::fs::create_dir(world.generation(9)).unwrap();
    std::fs::write(world.generation(10), "ORST1 no header").unwrap();
    std::fs::write(world.generation(12), "").unwrap();
    // A sound header, and a length that nobody could read in this time.
    std::fs::copy(world.generation(3), world.generation(11)).unwrap();
    std::fs::OpenOptions::new().write(true).open(world.generation(11)).unwrap().set_len(1 << 42).unwrap();
    for leftover in [".generation.new", ".restore.new", ".ledger.new", "quarantine/000009-damaged-x"] {
        std::fs::create_dir_all(shelf.join("quarantine")).unwrap();
        std::fs::write(shelf.join(leftover), "x").unwrap();
    }
    std::fs::remove_file(&world.spec.file).unwrap();
    fifo(&world.spec.file);
    let fates = |world: &World| world.fates().into_iter().map(|(_, fate)| fate).collect::<Vec<_>>();
    let before = world.everything();
    let expected =
        ["used", "damaged", "next", "damaged", "damaged", "damaged", "damaged", "damaged", "damaged"];
    // An unreadable kind of thing is as bad as a damaged one, by whatever word.
    let mild = |fates: Vec<&'static str>| -> Vec<&str> {
        fates.into_iter().map(|fate| if fate == "unreadable" { "damaged" } else { fate }).collect()
    };
    assert_eq!(mild(fates(&world)), expected);
    assert!(matches!(world.look().file.unwrap().what, What::Refused(Reason::NotAFile)));
    let verified = world.inspector().verify(&world.name).unwrap();
    assert_eq!((verified.generations, verified.records, verified.flaws.len()), (9, 1, 7));
    assert!(verified.bytes < 1 << 20, "it reads no further than it must");
    let payload = world.inspector().payload(&world.name, Some(&world.spec), None).unwrap();
    assert_eq!((payload.next, payload.header.generation), (Some(Handed::Backup), 3));
    assert_eq!(world.everything(), before, "nothing is changed");

    for ledger in ["fifo", "symlink", "garbage", "folder"] {
        let path = shelf.join("ledger");
        std::fs::remove_file(&path).unwrap();
        match ledger {
            "fifo" => fifo(&path),
            "symlink" => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
            "garbage" => std::fs::write(&path, vec![b'x'; 2 << 20]).unwrap(),
            _ => std::fs::create_dir(&path).unwrap(),
        }
        let before = world.everything();
        assert_eq!(world.look().record, Record::Lost, "{ledger}");
        let verified = world.inspector().verify(&world.name).unwrap();
        assert_eq!((verified.records, verified.flaws.len()), (0, 8), "{ledger}");
        assert_eq!(world.everything(), before, "{ledger}");
    }
}

#[test]
fn a_flipped_bit_anywhere_is_a_flaw_and_its_payload_is_not_shown() {
    let mut world = World::new();
    world.hand_over("some state");
    let sound = std::fs::read(world.generation(1)).unwrap();
    let verified = world.inspector().verify(&world.name).unwrap();
    assert_eq!((verified.generations, verified.records, verified.flaws.len()), (1, 1, 0));
    assert!(verified.bytes > sound.len() as u64);
    for at in 0..sound.len() {
        let mut bent = sound.clone();
        bent[at] ^= 1 << (at % 8);
        std::fs::write(world.generation(1), bent).unwrap();
        let verified = world.inspector().verify(&world.name).unwrap();
        assert_eq!((verified.flaws.len(), verified.flaws[0].generation), (1, Some(1)), "byte {at}");
        let shown = world.inspector().payload(&world.name, Some(&world.spec), Some(1));
        assert!(matches!(shown, Err(NoPayload::Flawed(1, _))), "byte {at}");
    }
    std::fs::write(world.generation(1), &sound).unwrap();
    let inspector = world.inspector();
    let payload = inspector.payload(&world.name, Some(&world.spec), Some(1)).unwrap();
    let mut bytes = Vec::new();
    inspector.copy(&payload, &mut bytes).unwrap();
    assert_eq!(bytes, b"some state");
    let missing = inspector.payload(&world.name, Some(&world.spec), Some(2));
    assert!(matches!(missing, Err(NoPayload::Missing(there)) if there == [1]));
}

#[test]
fn a_large_generation_is_listed_unread_and_verified_whole() {
    let mut world = World::new();
    let state = vec![b'x'; (8 << 20) + 1];
    let restore = world.start();
    world.ready(&restore);
    world.write(&state);
    world.end(Ending::Ordered);
    world.damage(1);
    let entry = world.look().generations.pop().unwrap();
    assert_eq!((entry.checked, entry.fate.as_str()), (false, "next"));
    assert_eq!(world.inspector().verify(&world.name).unwrap().flaws.len(), 1);
    let shown = world.inspector().payload(&world.name, Some(&world.spec), None);
    assert!(matches!(shown, Err(NoPayload::Flawed(1, _))), "show reads all of it");
}

#[test]
fn beside_a_store_at_work_nothing_is_ever_flawed() {
    use std::sync::atomic::AtomicBool;
    let mut world = World::new();
    world.spec.keep = 1;
    world.hand_over("first");
    let (done, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    let (folder, name, spec) = (world.folder.path().join(".orch"), world.name.clone(), world.spec.clone());
    let clock = world.clock.clone();
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let inspector = Inspector::with(Os, Box::new(clock.clone()), &folder).unwrap();
            while !done.load(Ordering::Relaxed) {
                let verified = inspector.verify(&name).unwrap();
                assert_eq!((verified.records, verified.flaws), (1, vec![]));
                let inventory = inspector.look(&name, Some(&spec)).unwrap();
                assert_eq!(inventory.record, Record::Sound);
                for entry in inventory.generations {
                    assert!(matches!(entry.fate, Fate::Next(_) | Fate::Kept | Fate::Used), "{entry:?}");
                }
                looks.fetch_add(1, Ordering::Relaxed);
            }
        });
        // So many looks, and so many runs beside them.
        let mut runs = 0_u32;
        while !looking.is_finished() && (looks.load(Ordering::Relaxed) < 300 || runs < 300) {
            world.hand_over("more");
            runs += 1;
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn where_there_is_nothing_there_is_nothing_to_tell() {
    let world = World::new();
    let nowhere = world.folder.path().join("nowhere");
    let inspector = Inspector::with(Os, Box::new(world.clock.clone()), &nowhere).unwrap();
    assert!(inspector.components().unwrap().is_empty());
    assert!(inspector.look(&world.name, Some(&world.spec)).unwrap().generations.is_empty());
    assert_eq!(inspector.verify(&world.name).unwrap().generations, 0);
    assert!(matches!(inspector.payload(&world.name, None, None), Err(NoPayload::Missing(_))));
    assert!(!nowhere.exists());
}
