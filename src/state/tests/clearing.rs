//! Clearing: the next start is afresh, numbers go on, and what was the component's own is not deleted.

use rustix::io::Errno;

use super::*;
use crate::state::clear::{Cleared, OwnFile, clear_on};

impl World {
    fn clear(&self) -> Result<Cleared, StateError> {
        self.clear_as(OwnFile::Declared(&self.spec.file))
    }

    fn clear_as(&self, own: OwnFile<'_>) -> Result<Cleared, StateError> {
        clear_on(&self.vfs, &self.clock, &self.folder.path().join(".orch"), &self.name, own)
    }
}

#[test]
fn the_next_start_is_afresh_and_numbers_go_on() {
    for changed in [false, true] {
        let mut world = World::new();
        for state in ["one", "two", "three"] {
            world.hand_over(state);
        }
        if changed {
            world.write("by hand");
        }
        world.spec.required = true;
        let cleared = world.clear().unwrap();
        let numbers: Vec<u64> = cleared.generations.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [1, 2, 3]);
        let (from_path, to) = cleared.set_aside.unwrap();
        assert_eq!(from_path, world.spec.file);
        let expected = if changed { "by hand" } else { "three" };
        assert_eq!(std::fs::read_to_string(to).unwrap(), expected);
        assert_eq!(world.quarantine(), ["000001-cleared-state.json"]);
        assert_eq!((world.generations(), world.state()), (vec![], None));
        world.reopen();
        let restore = world.start();
        assert_eq!((from(&restore), restore.lost, world.state()), (None, false, None));
        assert!(restore.rejected.is_empty(), "{restore:?}");
        assert_eq!(world.incarnation, 4, "and so do the numbers of the runs");
        world.write("new");
        assert_eq!(world.end(Ending::Ordered), sealed(4, Source::Restart, 3));
    }
}

#[test]
fn numbers_go_on_though_the_ledger_is_lost() {
    let mut world = World::new();
    for state in ["one", "two", "three"] {
        world.hand_over(state);
    }
    std::fs::create_dir_all(world.shelf().join("quarantine")).unwrap();
    let aside = world.shelf().join("quarantine/000001-damaged-00000000000000000007.orst");
    std::fs::rename(world.generation(3), aside).unwrap();
    std::fs::write(world.shelf().join("ledger"), "garbage").unwrap();
    let cleared = world.clear().unwrap();
    assert!(cleared.record.is_some_and(|path| path.exists()));
    assert_eq!(cleared.generations.len(), 2);
    world.reopen();
    world.start();
    world.write("new");
    assert_eq!(world.end(Ending::Ordered), sealed(8, Source::Restart, 3));
}

#[test]
fn whatever_bears_the_file_s_name_is_out_of_the_way() {
    for kind in ["symlink", "folder", "fifo", "unseen"] {
        let mut world = World::new();
        if kind != "unseen" {
            world.hand_over("one");
            std::fs::remove_file(&world.spec.file).unwrap();
        }
        let file = &world.spec.file;
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        match kind {
            "symlink" => std::os::unix::fs::symlink("/etc/passwd", file).unwrap(),
            "folder" => std::fs::create_dir(file).unwrap(),
            "fifo" => {
                let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
                rustix::fs::mknodat(rustix::fs::CWD, file, rustix::fs::FileType::Fifo, mode, 0).unwrap();
            }
            _ => std::fs::write(file, "from before the first run").unwrap(),
        }
        let cleared = world.clear().unwrap();
        assert!(cleared.set_aside.is_some_and(|(_, to)| to.symlink_metadata().is_ok()), "{kind}");
        assert_eq!(world.quarantine(), ["000001-cleared-state.json"], "{kind}");
        let restore = world.start();
        assert_eq!((from(&restore), restore.rejected.len()), (None, 0), "{kind}");
    }
}

#[test]
fn a_file_that_may_be_somebody_else_s_is_left_alone() {
    let mut world = World::new();
    world.hand_over("one");
    let others = [world.spec.file.clone()];
    let cleared = world.clear_as(OwnFile::AsRecorded { others: &others }).unwrap();
    assert_eq!((cleared.left.as_deref(), cleared.generations.len()), (Some(&*world.spec.file), 1));
    assert_eq!(world.state().as_deref(), Some("one"));

    world.hand_over("two");
    let cleared = world.clear_as(OwnFile::AsRecorded { others: &[] }).unwrap();
    assert!(cleared.set_aside.is_some() && world.state().is_none(), "it is as orch has left it");

    world.hand_over("three");
    world.write("changed");
    let cleared = world.clear_as(OwnFile::AsRecorded { others: &[] }).unwrap();
    assert_eq!(cleared.left.as_deref(), Some(&*world.spec.file));
    assert_eq!(world.state().as_deref(), Some("changed"));
}

#[test]
fn where_there_is_nothing_nothing_is_made() {
    let world = World::new();
    assert_eq!(world.clear().unwrap(), Cleared::default());
    assert!(!world.shelf().exists());
}

/// Whatever of its operations fails, once or for good: afterwards a start is afresh or as it would have been, no
/// state is in between, and clearing once more completes it.
#[test]
fn cut_short_anywhere_it_has_happened_or_not_and_can_be_repeated() {
    let mut outcomes = std::collections::BTreeSet::new();
    for case in 0..8 {
        let (for_good, again, used) = (case & 1 > 0, case & 2 > 0, case & 4 > 0);
        for at in 1.. {
            assert!(at < 1000);
            let what = format!("operation {at}, for good: {for_good}, again: {again}, used: {used}");
            let mut world = World::new();
            world.hand_over("one");
            world.hand_over("two");
            if used {
                let restore = world.start();
                world.ready(&restore);
                world.end(Ending::Ordered);
            }
            world.vfs.fail_at(at, Errno::IO, for_good);
            let failed = world.clear().is_err();
            if !world.vfs.calm() {
                assert!(!failed && at > 20, "{what}");
                break;
            }
            if again {
                world.clear().unwrap();
            }
            outcomes.insert(starts_afresh_or_as_before(&mut world, failed && !again && !used, &what));
        }
    }
    assert_eq!(outcomes.len(), 2, "both ends are met: {outcomes:?}");
}

/// Starts it; gives whether the state was restored, which only a clear that has not happened admits.
fn starts_afresh_or_as_before(world: &mut World, admitted: bool, what: &str) -> bool {
    world.reopen();
    let restored = from(&world.start());
    match restored {
        None => assert_eq!(world.state(), None, "{what}"),
        Some(found) => {
            assert!(admitted, "{what}: {found:?}");
            assert_eq!((found, world.state().as_deref()), ((Handed::Restart, 2), Some("two")), "{what}");
        }
    }
    world.write("new");
    match world.end(Ending::Ordered) {
        Seal::Sealed(sealed) => assert!(sealed.generation > 2, "{what}: {sealed:?} is used twice"),
        other => panic!("{what}: {other:?}"),
    }
    restored.is_some()
}
