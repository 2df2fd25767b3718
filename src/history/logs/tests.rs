//! Logs as `output` writes them, read in every way, against a plain reading of the same bytes.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{Begin, Log, Note, PIECE_MAX, Place, Query, Reader, Span, Step, moment};

/// A log that a test writes.
struct Writer {
    _dir: tempfile::TempDir,
    path: PathBuf,
    keep: u32,
}

/// A moment, in seconds.
fn at(second: i64) -> Timestamp {
    "2026-01-20T10:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(second)
}

impl Writer {
    fn new(keep: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { path: dir.path().join("a.log"), _dir: dir, keep }
    }

    fn named(&self, number: u32, end: &str) -> PathBuf {
        let number = if number == 0 { String::new() } else { format!(".{number}") };
        PathBuf::from(format!("{}{number}{end}", self.path.display()))
    }

    fn append(&self, bytes: impl AsRef<[u8]>, time: Timestamp) {
        let offset = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        self.index(&format!("{{\"offset\":{offset},\"time\":\"{time}\"}}\n"));
        self.append_untimed(bytes);
    }

    fn append_untimed(&self, bytes: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path).unwrap();
        file.write_all(bytes.as_ref()).unwrap();
    }

    fn index(&self, text: &str) {
        let path = self.named(0, ".times");
        OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn rotate(&self) {
        for end in ["", ".times"] {
            if self.keep == 0 {
                fs::remove_file(self.named(0, end)).unwrap();
            }
            for number in (0..self.keep).rev() {
                drop(fs::rename(self.named(number, end), self.named(number + 1, end)));
            }
        }
    }

    fn log(&self) -> Log {
        Log { component: "a".to_owned(), path: self.path.clone(), drawn: false }
    }
}

/// A line as a test compares it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Got {
    log: usize,
    time: Option<Timestamp>,
    bytes: Vec<u8>,
    ends: bool,
    place: Option<Place>,
}

/// All that there is at this moment.
fn drain(reader: &mut Reader) -> Vec<Got> {
    let (got, notes) = drain_all(reader);
    assert_eq!(notes, []);
    got
}

/// The same, and what is told beside it, with the number of lines before it.
fn drain_all(reader: &mut Reader) -> (Vec<Got>, Vec<(usize, Note)>) {
    let (mut got, mut notes) = (Vec::new(), Vec::new());
    loop {
        match reader.step() {
            Step::Line(line) => {
                let bytes = line.bytes.to_vec();
                got.push(Got { log: line.log, time: line.time, bytes, ends: line.ends, place: line.place });
            }
            Step::Note(note) => notes.push((got.len(), note)),
            Step::Busy => {}
            Step::Dry => return (got, notes),
        }
    }
}

fn whole(logs: &[Log], query: Query) -> Reader {
    let logs: Vec<(Log, Span)> = logs.iter().map(|log| (log.clone(), Span::default())).collect();
    Reader::of(&logs, query)
}

fn read(logs: &[Log], query: Query) -> Vec<Got> {
    let mut reader = whole(logs, query);
    drain(&mut reader)
}

/// The bytes as they were.
fn joined(got: &[Got]) -> Vec<u8> {
    got.iter().flat_map(|got| got.bytes.iter().copied().chain(got.ends.then_some(b'\n'))).collect()
}

fn texts(got: &[Got]) -> Vec<String> {
    got.iter().map(|got| String::from_utf8_lossy(&got.bytes).into_owned()).collect()
}

fn timed() -> Query {
    Query { times: true, ..Query::default() }
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[test]
fn every_byte_comes_once_and_in_order_over_rotated_files() {
    let writer = Writer::new(5);
    let mut all = Vec::new();
    for number in 0..4_u8 {
        let bytes = [&[number, 0, 0xff, b'\n', 0x1b, b'\r', b'\n', b'\n'][..], "é\n".as_bytes()].concat();
        writer.append(&bytes, at(number.into()));
        all.extend(bytes);
        writer.rotate();
    }
    writer.append("no end", at(9));
    all.extend(b"no end");
    let got = read(&[writer.log()], timed());
    assert_eq!(joined(&got), all);
    assert_eq!((got[0].time, got.last().unwrap().time), (Some(at(0)), Some(at(9))));
    assert!(!got.last().unwrap().ends);
}

#[test]
fn a_line_of_any_length_comes_in_pieces_and_takes_bounded_memory() {
    let writer = Writer::new(1);
    let line = "€".repeat(8 << 20);
    writer.append(format!("short\n{line}\nshort"), at(0));
    let mut reader = whole(&[writer.log()], Query::default());
    let got = drain(&mut reader);
    assert!(got.iter().all(|got| got.bytes.len() <= PIECE_MAX && std::str::from_utf8(&got.bytes).is_ok()));
    assert_eq!(joined(&got), format!("short\n{line}\nshort").into_bytes());
    assert!(reader.cursors[0].capacity() <= 1 << 20, "{}", reader.cursors[0].capacity());
    // It counts as one line.
    let last = read(&[writer.log()], Query { last: Some(2), ..Query::default() });
    assert_eq!(joined(&last), format!("{line}\nshort").into_bytes());
}

#[test]
fn a_line_that_is_longer_than_a_file_goes_on_in_the_next_one() {
    let writer = Writer::new(3);
    writer.append("first\nbegin", at(0));
    writer.rotate();
    writer.append("middle", at(1));
    writer.rotate();
    writer.append("end\nlast\n", at(2));
    let got = read(&[writer.log()], timed());
    assert_eq!(joined(&got), b"first\nbeginmiddleend\nlast\n");
    assert_eq!(got[1..4].iter().map(|got| got.time).collect::<Vec<_>>(), [Some(at(0)); 3]);
    let last = read(&[writer.log()], Query { last: Some(2), ..Query::default() });
    assert_eq!(joined(&last), b"beginmiddleend\nlast\n");
}

#[test]
fn logs_are_merged_by_time_and_lines_are_not_torn() {
    let (one, two) = (Writer::new(1), Writer::new(1));
    let long = "x".repeat(3 * PIECE_MAX);
    one.append("one 0\n", at(0));
    two.append("two 1\ntwo 1b\n", at(1));
    one.append(format!("{long}\n"), at(1));
    one.append("one 3\n", at(3));
    two.append("two 2\n", at(2));
    two.rotate();
    two.append("two 3\n", at(3));
    let got = read(&[one.log(), two.log()], Query::default());
    let begun: Vec<String> = texts(&got).into_iter().map(|text| text.chars().take(6).collect()).collect();
    assert_eq!(begun, ["one 0", "xxxxxx", "xxxxxx", "xxxxxx", "two 1", "two 1b", "two 2", "one 3", "two 3"]);
    let last = read(&[one.log(), two.log()], Query { last: Some(3), ..Query::default() });
    assert_eq!(texts(&last), ["two 2", "one 3", "two 3"]);
}

#[test]
fn what_is_wrong_with_the_times_costs_times_and_nothing_else() {
    let line = |number: i64| format!("line {number}\n");
    let writer = Writer::new(3);
    // No index at all: the file's own time orders it, and is not told.
    writer.append_untimed(line(0));
    writer.rotate();
    // Nothing is known of the first line; then garbage, a torn entry, one that goes on after it.
    writer.append_untimed(line(1));
    writer.index(&format!("\0\u{ff}garbage\n{{\"offset\":7,\"time\":\"{}\"}}\n{{\"offset\":14,\"ti", at(5)));
    writer.append_untimed(line(2));
    writer.append_untimed(line(3));
    writer.index(&format!("\n{{\"offset\":21,\"time\":\"{}\"}}\n{{}}\n", at(6)));
    writer.append_untimed(line(4));
    let got = read(&[writer.log()], timed());
    assert_eq!(joined(&got), (0..5).map(line).collect::<String>().into_bytes());
    let times: Vec<_> = got.iter().map(|got| got.time).collect();
    assert_eq!(times, [None, None, Some(at(5)), Some(at(5)), Some(at(6))]);
    // Every prefix of it is read, too.
    let index = fs::read(writer.named(0, ".times")).unwrap();
    for len in 0..index.len() {
        fs::write(writer.named(0, ".times"), &index[..len]).unwrap();
        for query in [timed(), Query { last: Some(2), since: Some(at(6)), ..Query::default() }] {
            let got = read(&[writer.log()], query.clone());
            assert!(got.len() == 5 || query.since.is_some());
        }
    }
}

#[test]
fn since_and_until_include_their_moments() {
    let writer = Writer::new(3);
    for second in 0..6 {
        writer.append(format!("{second}a\n{second}b\n"), at(second));
        if second % 2 == 1 {
            writer.rotate();
        }
    }
    let between = |since: Option<i64>, until: Option<i64>| {
        let query = Query { since: since.map(at), until: until.map(at), ..Query::default() };
        texts(&read(&[writer.log()], query)).concat()
    };
    assert_eq!(between(Some(4), None), "4a4b5a5b");
    assert_eq!(between(Some(1), Some(2)), "1a1b2a2b");
    assert_eq!(between(None, Some(0)), "0a0b");
    assert_eq!(between(Some(-5), None).len(), 24);
    assert_eq!(between(Some(9), None), "");
    assert_eq!(between(None, Some(-1)), "");
}

#[test]
fn a_pattern_is_tried_without_colours() {
    let writer = Writer::new(1);
    writer.append("\x1b[31mERR\x1b[0mOR one\r\nfine\n\x1b]0;ERROR\x07fine\nERROR two\n", at(0));
    let query = |pattern: &str, last| {
        let grep = Some(regex::bytes::Regex::new(pattern).unwrap());
        joined(&read(&[writer.log()], Query { grep, last, ..Query::default() }))
    };
    assert_eq!(query("^ERROR (one|two)$", None), b"\x1b[31mERR\x1b[0mOR one\r\nERROR two\n");
    assert_eq!(query("^ERROR", Some(1)), b"ERROR two\n");
    assert_eq!(query("^fine$", Some(1)), b"\x1b]0;ERROR\x07fine\n");
}

/// Random lines in random files: whatever is asked for is what a plain reading picks out.
#[test]
fn every_question_is_answered_as_by_a_plain_reading() {
    let mut random = Random(7);
    let pattern = regex::bytes::Regex::new("^[0-2] ").unwrap();
    for round in 0..30 {
        let writers = [Writer::new(9), Writer::new(9)];
        let mut second = 0;
        for _ in 0..random.below(200) {
            let writer = &writers[usize::try_from(random.below(2)).unwrap()];
            let fill = "é".repeat(usize::try_from(random.below([3, 300, 5_000][round % 3])).unwrap());
            second += i64::try_from(random.below(2)).unwrap();
            writer.append(format!("{} {fill}\n", random.below(5)), at(second));
            if random.below(40) == 0 {
                writer.rotate();
            }
        }
        let logs: Vec<Log> = writers.iter().map(Writer::log).collect();
        let all = read(&logs, timed());
        assert!(all.is_sorted_by_key(|got| got.time));
        for _ in 0..20 {
            let mut moment = || {
                let second = random.below(u64::try_from(second).unwrap() + 2);
                (random.below(2) == 0).then(|| at(i64::try_from(second).unwrap() - 1))
            };
            let (since, until) = (moment(), moment());
            let last = (random.below(2) == 0).then(|| random.below(40));
            let grep = (random.below(2) == 0).then(|| pattern.clone());
            let fits = |got: &&Got| {
                since.is_none_or(|since| got.time >= Some(since))
                    && until.is_none_or(|until| got.time <= Some(until))
                    && grep.as_ref().is_none_or(|grep| grep.is_match(&got.bytes))
            };
            let mut expected: Vec<Got> = all.iter().filter(fits).cloned().collect();
            let most = last.map_or(usize::MAX, |last| usize::try_from(last).unwrap());
            expected.drain(..expected.len().saturating_sub(most));
            let query = Query { last, since, until, grep, times: true };
            let got = read(&logs, query.clone());
            assert!(got == expected, "round {round}, {query:?}: {} for {}", got.len(), expected.len());
        }
    }
}

/// Writes, rotations, looks, and new readers that go on at the places of the last one: in a random order.
#[test]
fn a_follower_gets_every_byte_once_whatever_happens_meanwhile() {
    for seed in 0..60 {
        let mut random = Random(seed);
        // A reader that keeps up needs no rotated files at all.
        let (writer, keeps_up) = (Writer::new([0, 1, 50][usize::try_from(seed % 3).unwrap()]), seed % 3 != 2);
        let mut reader = Reader::follow(&[(writer.log(), Begin::Asked)], Query::default());
        let (mut written, mut got) = (Vec::new(), Vec::new());
        let look = |reader: &mut Reader, got: &mut Vec<Got>| {
            reader.wake();
            got.extend(drain(reader));
        };
        for step in 0..300 {
            match random.below(6) {
                0 if writer.path.exists() => {
                    if keeps_up {
                        look(&mut reader, &mut got);
                    }
                    writer.rotate();
                    if keeps_up {
                        writer.append(format!("{step} new\n"), at(step));
                        written.extend(format!("{step} new\n").into_bytes());
                        look(&mut reader, &mut got);
                    }
                }
                1 => look(&mut reader, &mut got),
                2 if !keeps_up => {
                    look(&mut reader, &mut got);
                    let place: Option<Place> =
                        reader.places()[0].map(|place| place.to_string().parse().unwrap());
                    let begin = place.map_or(Begin::Asked, Begin::At);
                    reader = Reader::follow(&[(writer.log(), begin)], Query::default());
                }
                _ => {
                    let end = if random.below(4) == 0 { "" } else { "\n" };
                    let text =
                        format!("{step} {}{end}", "x".repeat(usize::try_from(random.below(200)).unwrap()));
                    writer.append(&text, at(step));
                    written.extend(text.into_bytes());
                }
            }
        }
        reader.finish();
        look(&mut reader, &mut got);
        assert!(joined(&got) == written, "seed {seed}");
    }
}

#[test]
fn a_follower_whose_place_is_gone_is_told_and_goes_on_with_the_oldest_line() {
    let writer = Writer::new(1);
    writer.append("read\n", at(0));
    let mut reader = Reader::follow(&[(writer.log(), Begin::Asked)], Query::default());
    assert_eq!(texts(&drain(&mut reader)), ["read"]);
    let place = reader.places()[0].unwrap();
    for number in 1..=3 {
        writer.rotate();
        // Births have the grain of the kernel's clock.
        std::thread::sleep(std::time::Duration::from_millis(20));
        writer.append(format!("{number}\n"), at(number));
    }
    reader.wake();
    let (got, notes) = drain_all(&mut reader);
    assert_eq!(texts(&got), ["2", "3"]);
    assert!(matches!(&notes[..], [(0, note)] if note.text.contains("missing") && !note.failed), "{notes:?}");

    let mut late = Reader::follow(&[(writer.log(), Begin::At(place))], Query::default());
    let (got, same) = drain_all(&mut late);
    assert_eq!((texts(&got), same), (vec!["2".to_owned(), "3".to_owned()], notes));
}

#[test]
fn a_log_that_was_emptied_is_followed_from_its_beginning() {
    let writer = Writer::new(1);
    writer.append("one\ntwo\n", at(0));
    let mut reader = Reader::follow(&[(writer.log(), Begin::Asked)], Query { last: Some(1), ..timed() });
    assert_eq!(texts(&drain(&mut reader)), ["two"]);
    fs::write(&writer.path, "").unwrap();
    fs::write(writer.named(0, ".times"), "").unwrap();
    reader.wake();
    assert_eq!(drain(&mut reader), []);
    writer.append("new\n", at(1));
    reader.wake();
    let got = drain(&mut reader);
    assert_eq!((texts(&got), got[0].time), (vec!["new".to_owned()], Some(at(1))));
}

#[test]
fn a_log_that_can_not_be_read_hinders_no_other() {
    let (good, bad) = (Writer::new(1), Writer::new(1));
    good.append("good\n", at(0));
    fs::create_dir(&bad.path).unwrap();
    let link = Writer::new(1);
    std::os::unix::fs::symlink(&good.path, &link.path).unwrap();
    let logs = [bad.log(), good.log(), link.log()];
    assert_eq!(texts(&read(&logs, Query::default())), ["good"], "neither a folder nor a link is a log");
    let long =
        Log { component: "x".to_owned(), path: PathBuf::from("/").join("x".repeat(300)), drawn: false };
    let mut reader = whole(&[long, good.log()], Query::default());
    let (got, notes) = drain_all(&mut reader);
    assert_eq!(texts(&got), ["good"]);
    assert!(matches!(&notes[..], [(_, note)] if note.failed && note.log == 0), "{notes:?}");
}

#[test]
fn moments_are_read_as_people_write_them() {
    let now: Timestamp = "2026-01-20T10:00:00Z".parse().unwrap();
    let zone = TimeZone::fixed(jiff::tz::offset(2));
    let read = |text: &str| moment(text, now, &zone).map(|moment| moment.to_string());
    assert_eq!(read("2026-01-19T23:00:00.5+01:00").unwrap(), "2026-01-19T22:00:00.5Z");
    assert_eq!(read("08:02").unwrap(), "2026-01-20T06:02:00Z");
    assert_eq!(read("08:02:11.3").unwrap(), "2026-01-20T06:02:11.3Z");
    assert_eq!(read("10m").unwrap(), "2026-01-20T09:50:00Z");
    assert_eq!(read("1h 30m").unwrap(), "2026-01-20T08:30:00Z");
    assert_eq!(read("2d").unwrap(), "2026-01-18T10:00:00Z");
    for bad in ["", "yesterday", "25:00", "10", "-5m", "9999999999h"] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

#[test]
fn places_are_read_as_they_are_written() {
    let place = Place { file: super::chain::FileId { inode: 7, born: 1 << 70 }, offset: u64::MAX };
    assert_eq!(place.to_string().parse(), Ok(place));
    for bad in ["", "1.2", "1.2.3.4", "x.2.3", "1.2.-3"] {
        assert!(bad.parse::<Place>().is_err(), "{bad}");
    }
}
