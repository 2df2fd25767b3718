use std::fs;
use std::path::{Path, PathBuf};

use super::super::Journal;
use super::{events, fitting};
use crate::history::events::{Backward, Cursor, Read};
use crate::supervisor::{Record, What};
use crate::types::Time;

/// A few events are a file.
const MOST: u64 = 1000;

fn write(journal: &mut Journal, count: usize) -> Option<String> {
    for _ in 0..count {
        let seq = journal.next_seq();
        let (cause, component, incarnation) = (None, None, None);
        journal.add(&Record { seq, cause, at: Time(0), component, incarnation, what: What::ProjectUp });
    }
    journal.write()
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = events::path(dir.path());
    (dir, path)
}

/// The numbers of all events, from the oldest on, as readers find them.
fn numbers(dir: &Path) -> Vec<u64> {
    let mut numbers: Vec<u64> = Backward::open(dir).unwrap().map(|event| event.unwrap().seq).collect();
    numbers.reverse();
    let mut cursor = Cursor::after(dir, 0).unwrap();
    let mut forward = Vec::new();
    while let Read::Lines(lines) = cursor.read(100).unwrap() {
        forward.extend(lines.split(|byte| *byte == b'\n').filter_map(events::seq));
    }
    assert_eq!(forward, numbers, "both ways tell the same");
    numbers
}

fn is_run(numbers: &[u64]) -> bool {
    numbers.windows(2).all(|two| two[0] + 1 == two[1])
}

#[test]
fn what_is_kept_is_bounded_and_without_a_gap() {
    let (dir, path) = place();
    let mut journal = Journal::with_parts(&path, MOST).unwrap();
    for round in 0..200 {
        assert_eq!(write(&mut journal, 1 + round % 3), None);
    }
    let sizes: Vec<u64> =
        (0..=events::KEEP).map(|n| fs::metadata(events::older(&path, n)).unwrap().len()).collect();
    assert!(sizes.iter().all(|size| *size <= MOST), "{sizes:?}");
    assert!(!events::older(&path, events::KEEP + 1).exists());
    let numbers = numbers(dir.path());
    assert!(is_run(&numbers), "{numbers:?}");
    assert_eq!(numbers.last(), Some(&(journal.next_seq() - 1)));
    assert!(numbers.len() > 15, "{numbers:?}");
}

/// A step that makes more than a file holds is cut between lines, and a line that is longer gets its own file.
#[test]
fn a_large_step_takes_several_files_and_no_line_is_cut() {
    let (dir, path) = place();
    let mut journal = Journal::with_parts(&path, MOST).unwrap();
    assert_eq!(write(&mut journal, 12), None);
    assert_eq!(numbers(dir.path()), (1..=12).collect::<Vec<_>>());
    for number in 0..2 {
        let text = fs::read_to_string(events::older(&path, number)).unwrap();
        assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{text}");
    }
    let mut tiny = Journal::with_parts(&path, 10).unwrap();
    assert_eq!(write(&mut tiny, 3), None);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
    assert_eq!(fitting(b"ab\ncd\n", 5), 3);
    assert_eq!(fitting(b"ab\ncd\n", 6), 6);
    assert_eq!(fitting(b"abcdef\ncd\n", 2), 7);
    assert_eq!(fitting(b"abc", 1), 3);
}

#[test]
fn numbers_go_on_where_the_newest_file_is_empty_or_missing() {
    let (dir, path) = place();
    let mut journal = Journal::with_parts(&path, MOST).unwrap();
    write(&mut journal, 12);
    let next = journal.next_seq();
    fs::write(&path, "").unwrap();
    let older = numbers(dir.path()).last().copied().unwrap();
    assert!(older < next);
    assert_eq!(Journal::with_parts(&path, MOST).unwrap().next_seq(), older + 1);
    fs::remove_file(&path).unwrap();
    assert_eq!(Journal::with_parts(&path, MOST).unwrap().next_seq(), older + 1);
    fs::write(&path, "{\"se").unwrap();
    assert_eq!(Journal::with_parts(&path, MOST).unwrap().next_seq(), older + 1);
}

/// As it is after a kill behind each of the renames.
#[test]
fn a_kill_between_two_renames_loses_nothing() {
    for done in 0..=events::KEEP {
        let (dir, path) = place();
        let mut journal = Journal::with_parts(&path, MOST).unwrap();
        while !events::older(&path, events::KEEP).exists() {
            write(&mut journal, 1);
        }
        let kept = fs::read(events::older(&path, events::KEEP)).unwrap();
        let oldest = kept.split(|byte| *byte == b'\n').filter_map(events::seq).next_back().unwrap();
        for number in (events::KEEP - done..events::KEEP).rev() {
            fs::rename(events::older(&path, number), events::older(&path, number + 1)).unwrap();
        }
        let next = journal.next_seq();
        let mut after = Journal::with_parts(&path, MOST).unwrap();
        assert_eq!(after.next_seq(), next, "{done} renames");
        let before = numbers(dir.path());
        let first = if done == 0 { 1 } else { oldest + 1 };
        assert_eq!(before, (first..next).collect::<Vec<_>>(), "{done} renames");
        // The next rotation closes the gap, and takes nothing for it.
        let gap = (0..=events::KEEP).any(|number| !events::older(&path, number).exists());
        for _ in 0..6 {
            write(&mut after, 1);
        }
        let kept = numbers(dir.path());
        assert!(is_run(&kept) && (!gap || kept[0] == first), "{done} renames: {kept:?}");
    }
}

#[test]
fn what_can_not_be_rotated_grows_and_is_told_of_once() {
    let (dir, path) = place();
    for number in 1..=events::KEEP {
        fs::create_dir_all(events::older(&path, number).join("full")).unwrap();
    }
    let mut journal = Journal::with_parts(&path, MOST).unwrap();
    let told: Vec<String> = (0..9).filter_map(|_| write(&mut journal, 1)).collect();
    assert!(told.len() == 1 && told[0].contains("can't begin a new events.ndjson"), "{told:?}");
    assert_eq!(numbers(dir.path()), (1..=9).collect::<Vec<_>>());
    // Tried again when it has grown by as much.
    for number in 1..=events::KEEP {
        fs::remove_dir_all(events::older(&path, number)).unwrap();
    }
    (0..9).for_each(|_| drop(write(&mut journal, 1)));
    assert!(events::older(&path, 1).exists());
    assert_eq!(numbers(dir.path()), (1..=18).collect::<Vec<_>>());
}

#[test]
fn a_deleted_file_is_made_anew() {
    let (dir, path) = place();
    let mut journal = Journal::with_parts(&path, MOST).unwrap();
    write(&mut journal, 2);
    fs::remove_file(&path).unwrap();
    write(&mut journal, 2);
    assert_eq!(numbers(dir.path()), [3, 4]);
}

#[test]
fn a_link_is_not_followed_and_a_pipe_not_waited_for() {
    let (dir, path) = place();
    let target = dir.path().join("target");
    fs::write(&target, "mine").unwrap();
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    std::os::unix::fs::symlink(&target, &path).unwrap();
    assert!(Journal::open(&path).is_err());
    fs::remove_file(&path).unwrap();
    fs::rename(&pipe, &path).unwrap();
    assert!(Journal::open(&path).is_err());
    // In the place of an older part they are moved on like any.
    fs::rename(&path, events::older(&path, 2)).unwrap();
    std::os::unix::fs::symlink(&target, events::older(&path, 1)).unwrap();
    let mut journal = Journal::with_parts(&path, MOST).unwrap();
    assert_eq!(write(&mut journal, 9), None);
    assert_eq!(numbers(dir.path()), (1..=9).collect::<Vec<_>>());
    assert_eq!(fs::read_to_string(&target).unwrap(), "mine");
}
