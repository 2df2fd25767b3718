//! Odd things at the state file's path: answered at once, never followed, never read.

use std::time::Instant;

use rustix::fs::{CWD, Mode, mkfifoat};

use super::*;

fn rejected_quickly(put: impl Fn(&World), expected: &Reason) {
    for before_start in [true, false] {
        let mut world = World::new();
        std::fs::create_dir_all(world.spec.file.parent().unwrap()).unwrap();
        if !before_start {
            world.start();
        }
        put(&world);
        let begin = Instant::now();
        let (reason, path) = if before_start {
            let rejected = world.start().rejected.remove(0);
            (rejected.reason, rejected.moved_to.unwrap())
        } else {
            match world.end(Ending::Ordered) {
                Seal::Quarantined { reason, path } => (reason, path),
                other => panic!("{other:?}"),
            }
        };
        // The contract's 50 ms with room for a busy machine; reading what is meant here would take minutes,
        // or for ever.
        assert!(begin.elapsed() < Duration::from_millis(500), "{expected}");
        assert_eq!(reason, *expected);
        assert!(path.symlink_metadata().is_ok() && world.spec.file.symlink_metadata().is_err());
        assert_eq!(world.start().rejected, [], "and it is over");
    }
}

#[test]
fn a_symbolic_link() {
    let target = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(target.path(), "secret").unwrap();
    let put = |world: &World| std::os::unix::fs::symlink(target.path(), &world.spec.file).unwrap();
    rejected_quickly(put, &Reason::Symlink);
    assert_eq!(std::fs::read_to_string(target.path()).unwrap(), "secret");
}

#[test]
fn a_fifo() {
    let put = |world: &World| mkfifoat(CWD, &world.spec.file, Mode::RWXU).unwrap();
    rejected_quickly(put, &Reason::NotAFile);
}

#[test]
fn a_folder() {
    let put = |world: &World| std::fs::create_dir_all(world.spec.file.join("with/more")).unwrap();
    rejected_quickly(put, &Reason::NotAFile);
}

#[test]
fn a_socket() {
    let put = |world: &World| drop(std::os::unix::net::UnixListener::bind(&world.spec.file).unwrap());
    rejected_quickly(put, &Reason::NotAFile);
}

#[test]
fn a_huge_sparse_file() {
    let put = |world: &World| std::fs::File::create(&world.spec.file).unwrap().set_len(10 << 30).unwrap();
    rejected_quickly(put, &Reason::TooLarge { limit: 64 << 20 });
}

#[test]
fn another_users_file() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let put = |world: &World| {
        world.write("theirs");
        std::os::unix::fs::chown(&world.spec.file, Some(65534), None).unwrap();
    };
    rejected_quickly(put, &Reason::ForeignOwner);
}

#[test]
fn leftovers_of_a_crash_are_replaced() {
    let mut world = World::new();
    world.hand_over("sound");
    for name in [".generation.new", ".ledger.new", ".restore.new"] {
        std::fs::write(world.shelf().join(name), "half").unwrap();
    }
    std::fs::remove_file(&world.spec.file).unwrap();
    let restore = world.start();
    assert_eq!(from(&restore), Some((Handed::Restart, 1)));
    world.write("next");
    assert_eq!(world.end(Ending::Ordered), sealed(2, Source::Restart, 4));
    let all = names_in(&world.shelf());
    assert_eq!(all, ["00000000000000000001.orst", "00000000000000000002.orst", "ledger"]);
}

#[test]
fn the_folders_are_the_users_alone() {
    use std::os::unix::fs::PermissionsExt;
    let mut world = World::new();
    world.hand_over("x");
    let orch = world.folder.path().join(".orch");
    for folder in [orch.clone(), orch.join("state"), world.shelf()] {
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700, "{folder:?}");
    }
    assert_eq!(std::fs::metadata(world.generation(1)).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_planted_number_does_not_use_up_the_numbers() {
    let mut world = World::new();
    world.hand_over("one");
    std::fs::write(world.shelf().join("18446744073709551615.orst"), "planted").unwrap();
    assert_eq!(world.hand_over("two"), 2);
}

#[test]
fn the_numbers_of_incarnations_survive_their_file() {
    let mut world = World::new();
    world.hand_over("one");
    world.hand_over("two");
    std::fs::remove_file(world.folder.path().join(".orch/state/.incarnations")).unwrap();
    world.reopen();
    assert_eq!(world.store.next_incarnation(&world.name), 3);
    world.store.raise_incarnation(&world.name, 40);
    assert_eq!(world.store.next_incarnation(&world.name), 41);
}
