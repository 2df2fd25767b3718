use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::{Registry, name};

fn registry(folders: &[&Path]) -> Registry {
    Registry { places: folders.iter().map(|folder| folder.join("orch")).collect() }
}

#[test]
fn a_project_is_noted_found_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry(&[dir.path()]);
    let bad = Path::new(std::ffi::OsStr::from_bytes(b"/p\xff/.orch"));
    registry.enter(Path::new("/a/.orch"), Path::new("/a/devmode.yaml"));
    registry.enter(bad, Path::new("/p/orch.yaml"));
    let mode = fs::metadata(dir.path().join("orch")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let mut entries = registry.entries();
    entries.sort_by(|one, other| one.file.cmp(&other.file));
    assert_eq!(entries.len(), 2);
    assert_eq!((&*entries[0].state_dir, entries[0].pid), (Path::new("/a/.orch"), std::process::id()));
    assert_eq!(entries[1].state_dir, bad);
    assert!(fs::read_dir(dir.path().join("orch")).unwrap().count() == 2, "nothing is left beside");
    registry.leave(Path::new("/a/.orch"));
    registry.leave(Path::new("/never/.orch"));
    assert_eq!(registry.entries(), [entries[1].clone()]);
    registry.forget(&entries[1]);
    assert!(registry.entries().is_empty());
}

#[test]
fn a_new_image_leaves_the_time_as_it_was_and_another_process_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry(&[dir.path()]);
    let state_dir = Path::new("/a/.orch");
    registry.enter(state_dir, Path::new("/a/devmode.yaml"));
    let path = dir.path().join("orch").join(name(state_dir));
    let since = |text: &str| {
        let entry = registry.entry(state_dir).unwrap();
        fs::write(&path, fs::read_to_string(&path).unwrap().replace(&entry.since, text)).unwrap();
    };
    since("2001-01-01T00:00:00Z");
    registry.enter(state_dir, Path::new("/a/devmode.yaml"));
    assert_eq!(registry.entry(state_dir).unwrap().since, "2001-01-01T00:00:00Z");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(&format!("\"pid\":{}", std::process::id()), "\"pid\":1")).unwrap();
    // Somebody else's: not ours to take away.
    registry.leave(state_dir);
    assert_eq!(registry.entry(state_dir).unwrap().pid, 1);
    registry.enter(state_dir, Path::new("/a/devmode.yaml"));
    assert_ne!(registry.entry(state_dir).unwrap().since, "2001-01-01T00:00:00Z");
}

#[test]
fn a_folder_that_others_could_have_filled_is_passed_over() {
    let (dir, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = dir.path().join("orch");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o770)).unwrap();
    let both = registry(&[dir.path(), second.path()]);
    both.enter(Path::new("/a/.orch"), Path::new("/a/devmode.yaml"));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    assert_eq!((both.entries().len(), registry(&[dir.path()]).entries().len()), (1, 0));
    // A link to a good one is none.
    fs::remove_dir(&folder).unwrap();
    symlink(second.path().join("orch"), &folder).unwrap();
    let first = registry(&[dir.path()]);
    first.enter(Path::new("/b/.orch"), Path::new("/b/devmode.yaml"));
    assert!(first.entries().is_empty());
    assert_eq!(both.entries().len(), 1);
    // Nowhere at all: nothing happens.
    registry(&[]).enter(Path::new("/a/.orch"), Path::new("/a/devmode.yaml"));
}

#[test]
fn what_is_no_entry_is_passed_over_and_each_project_is_told_once() {
    let (dir, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [dir.path(), second.path()] {
        registry(&[folder]).enter(Path::new("/a/.orch"), Path::new("/a/devmode.yaml"));
        let folder = folder.join("orch");
        fs::write(folder.join("x.json"), "{\"state_dir\": 7").unwrap();
        fs::write(folder.join("notes.txt"), "{}").unwrap();
        fs::create_dir(folder.join("dir.json")).unwrap();
        symlink("/proc/self/environ", folder.join("link.json")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, folder.join("pipe.json"), rustix::fs::Mode::RUSR).unwrap();
    }
    assert_eq!(registry(&[dir.path(), second.path(), Path::new("/nowhere")]).entries().len(), 1);
}
