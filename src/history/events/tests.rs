use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{Backward, Cursor, Event, LONGEST_LINE, Read, older, path, seq};
use crate::types::recorded::Kind;

fn line(seq: u64) -> String {
    format!("{{\"seq\":{seq},\"event\":\"component.ready\",\"component\":\"api\"}}\n")
}

fn lines(seqs: impl IntoIterator<Item = u64>) -> String {
    seqs.into_iter().map(line).collect()
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = path(dir.path());
    (dir, path)
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn backward(dir: &Path) -> Vec<u64> {
    Backward::open(dir).unwrap().map(|event| event.unwrap().seq).collect()
}

/// Reads on as far as it goes; the numbers, and how it ended.
fn drain(cursor: &mut Cursor, most: usize) -> (Vec<u64>, Read) {
    let mut numbers = Vec::new();
    loop {
        match cursor.read(most).unwrap() {
            Read::Lines(lines) => {
                assert!(lines.is_empty() || lines.ends_with(b"\n"));
                numbers.extend(lines.split_inclusive(|byte| *byte == b'\n').map(|line| seq(line).unwrap()));
            }
            end => return (numbers, end),
        }
    }
}

fn shift(path: &Path) {
    for number in (0..super::KEEP).rev() {
        let _ = fs::rename(older(path, number), older(path, number + 1));
    }
}

#[test]
fn garbage_is_passed_over_wherever_it_is() {
    let (dir, path) = place();
    let garbage =
        "hello\n\n{\"seq\":\"5\"}\n[1]\n{}\n\0\0\0\n\u{1b}[31m{\"seq\":3\n{\"seq\":99999999999999999}\n";
    fs::write(older(&path, 1), format!("{}{garbage}{}{{\"seq\":3,\"ev", line(1), line(2))).unwrap();
    let mut newest = format!("{garbage}{}", line(4)).into_bytes();
    newest.extend_from_slice(b"{\"seq\":5,\"event\":\"\xff\"}\n\xff\xfe\n");
    newest.extend_from_slice(format!("{}{{\"seq\":7,\"event\":\"comp", line(6)).as_bytes());
    fs::write(&path, newest).unwrap();
    assert_eq!(backward(dir.path()), [6, 4, 2, 1]);
    for most in [1, 7, 64, 1 << 16] {
        let mut cursor = Cursor::after(dir.path(), 0).unwrap();
        assert_eq!(drain(&mut cursor, most), (vec![1, 2, 4, 6], Read::End), "{most}");
        assert_eq!(cursor.last(), 6);
    }
}

#[test]
fn a_line_without_its_end_is_given_when_it_has_one() {
    let (dir, path) = place();
    let (whole, part) = (line(1), line(2));
    fs::write(&path, format!("{whole}{}", &part[..10])).unwrap();
    let mut cursor = Cursor::after(dir.path(), 0).unwrap();
    assert_eq!(drain(&mut cursor, 100), (vec![1], Read::End));
    append(&path, &part[10..]);
    assert_eq!(drain(&mut cursor, 100), (vec![2], Read::End));
}

#[test]
fn nothing_recorded_is_nothing_and_what_comes_is_found() {
    let (dir, path) = place();
    assert!(backward(dir.path()).is_empty());
    let mut cursor = Cursor::at_end(dir.path()).unwrap();
    assert_eq!(drain(&mut cursor, 100), (vec![], Read::End));
    append(&path, &line(1));
    assert_eq!(drain(&mut cursor, 100), (vec![1], Read::End));
}

#[test]
fn a_cursor_begins_behind_a_number_in_whichever_part() {
    let (dir, path) = place();
    fs::write(older(&path, 3), lines(10..20)).unwrap();
    fs::write(older(&path, 2), lines(20..30)).unwrap();
    fs::write(&path, lines(30..40)).unwrap();
    for after in [0, 9, 10, 19, 20, 25, 29, 30, 38, 39, 50] {
        let wanted: Vec<u64> = (10..40).filter(|number| *number > after).collect();
        let mut cursor = Cursor::after(dir.path(), after).unwrap();
        assert_eq!(drain(&mut cursor, 50), (wanted, Read::End), "after {after}");
    }
    assert!(drain(&mut Cursor::at_end(dir.path()).unwrap(), 50).0.is_empty());
    let newest_first: Vec<u64> = (10..40).rev().collect();
    assert_eq!(backward(dir.path()), newest_first);
}

#[test]
fn a_place_in_a_large_part_is_found_without_reading_it_all() {
    let (dir, path) = place();
    fs::write(&path, lines(1..40_000)).unwrap();
    for after in [0, 1, 17_777, 39_990] {
        let mut cursor = Cursor::after(dir.path(), after).unwrap();
        let Read::Lines(first) = cursor.read(1 << 20).unwrap() else { panic!("{after}") };
        assert_eq!(seq(first.split_inclusive(|byte| *byte == b'\n').next().unwrap()), Some(after + 1));
    }
    let at = Cursor::after(dir.path(), 39_990).unwrap().offset();
    assert!(at > fs::metadata(&path).unwrap().len() / 2, "{at}");
}

/// Whatever is written before and after each rename, whenever the reader looks: it misses nothing.
#[test]
fn a_cursor_survives_rotation() {
    for look in 0..8 {
        let (dir, path) = place();
        append(&path, &lines(1..4));
        let mut cursor = Cursor::after(dir.path(), 0).unwrap();
        let mut seen = drain(&mut cursor, 30).0;
        for round in 0..3 {
            let base = 4 + round * 4;
            append(&path, &lines(base..base + 2));
            if look & 1 > 0 {
                seen.extend(drain(&mut cursor, 30).0);
            }
            shift(&path);
            if look & 2 > 0 {
                let (more, end) = drain(&mut cursor, 30);
                seen.extend(more);
                assert_eq!(end, Read::End, "between two renames");
            }
            append(&path, &lines(base + 2..base + 4));
            if look & 4 > 0 {
                seen.extend(drain(&mut cursor, 30).0);
            }
        }
        seen.extend(drain(&mut cursor, 30).0);
        assert_eq!(seen, (1..16).collect::<Vec<_>>(), "look {look}");
    }
}

#[test]
fn a_place_that_was_rotated_away_is_told() {
    let (dir, path) = place();
    append(&path, &lines(1..4));
    let mut slow = Cursor::after(dir.path(), 0).unwrap();
    let mut slower = Cursor::after(dir.path(), 0).unwrap();
    assert_eq!(drain(&mut slow, 30).0, [1, 2, 3]);
    for round in 1..=5_u64 {
        shift(&path);
        append(&path, &lines([round * 10]));
    }
    // What it held it may read to its end; what followed is beyond what is kept, or may be.
    assert_eq!(drain(&mut slow, 30), (vec![], Read::Gone));
    assert_eq!(drain(&mut slow, 30), (vec![], Read::Gone));
    assert_eq!(drain(&mut slower, 30), (vec![1, 2, 3], Read::Gone));
    // Where the numbers go on without a gap, nothing was missed.
    let (dir, path) = place();
    append(&path, &lines(1..4));
    let mut lucky = Cursor::after(dir.path(), 0).unwrap();
    for number in 4..9 {
        shift(&path);
        append(&path, &lines([number]));
    }
    assert_eq!(drain(&mut lucky, 30), ((1..9).collect(), Read::End));
}

#[test]
fn a_file_that_was_cut_off_is_told() {
    let (dir, path) = place();
    append(&path, &lines(1..4));
    let mut cursor = Cursor::after(dir.path(), 0).unwrap();
    drain(&mut cursor, 30);
    fs::write(&path, "").unwrap();
    assert_eq!(drain(&mut cursor, 30), (vec![], Read::Gone));
}

#[test]
fn long_lines_are_read_and_endless_ones_passed_over() {
    let (dir, path) = place();
    let long = |seq: u64, length: usize| {
        format!("{{\"seq\":{seq},\"event\":\"x\",\"pad\":\"{}\"}}\n", "x".repeat(length))
    };
    append(&path, &format!("{}{}{}", line(1), long(2, 1 << 20), line(3)));
    append(&path, &format!("{}{}", long(4, 3 * LONGEST_LINE), line(5)));
    assert_eq!(backward(dir.path()), [5, 3, 2, 1]);
    let mut cursor = Cursor::after(dir.path(), 0).unwrap();
    assert_eq!(drain(&mut cursor, 4096), (vec![1, 2, 3, 5], Read::End));
}

#[test]
fn links_and_pipes_are_nothing() {
    let (dir, path) = place();
    let target = dir.path().join("target");
    fs::write(&target, line(1)).unwrap();
    std::os::unix::fs::symlink(&target, &path).unwrap();
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, older(&path, 1), kind, mode, 0).unwrap();
    fs::create_dir(older(&path, 2)).unwrap();
    append(&older(&path, 3), &line(7));
    assert_eq!(backward(dir.path()), [7]);
    assert_eq!(drain(&mut Cursor::after(dir.path(), 0).unwrap(), 30).0, [7]);
}

#[test]
fn what_is_not_known_is_an_event_nevertheless() {
    let text = br#"{"seq":7,"time":"t","mono_ns":5,"event":"component.dancing","component":"api","incarnation":2,"cause":6,"more":[1]}"#;
    let event = Event::parse(text).unwrap();
    assert_eq!((event.seq, event.cause, event.incarnation), (7, Some(6), Some(2)));
    assert_eq!(event.kind, Kind::Other { event: "component.dancing".into() });
    let odd = br#"{"seq":7,"event":"component.changed","paths":"x","component":5,"mono_ns":-1,"cause":null}"#;
    let event = Event::parse(odd).unwrap();
    assert_eq!((event.component, event.mono_ns, event.kind), (None, 0, Kind::Changed { paths: vec![] }));
    assert_eq!(Event::parse(b"{\"seq\":7}"), None);
    let exit = |json: &str| match Event::parse(json.as_bytes()).unwrap().kind {
        Kind::Exited { how } => how,
        other => panic!("{other:?}"),
    };
    assert_eq!(exit(r#"{"seq":1,"event":"component.exited","code":3}"#), "exit code 3");
    assert_eq!(exit(r#"{"seq":1,"event":"component.exited","signal":"SIGKILL"}"#), "SIGKILL");
    assert_eq!(exit(r#"{"seq":1,"event":"component.exited","panic":"oh"}"#), "panic: oh");
    assert_eq!(exit(r#"{"seq":1,"event":"component.exited"}"#), "");
}
