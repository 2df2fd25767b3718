//! Handing over: in one process, over and over, and through a real exec.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::AtomicU64;

use super::*;
use crate::output::OutputHandover;
use crate::output::handover::{Fds, Taken};
use crate::output::logfile::LogFile;

mod exec;

impl Rig {
    /// The hand that goes on in the place of this one, after all that it knows was text.
    fn pass_on(self, patience: Duration) -> Self {
        let Self { output, reports, reader, folder, ends, stdout, stderr } = self;
        let (handover, fds) = output.hand_over(patience).unwrap();
        let text = serde_json::to_vec(&handover).unwrap();
        drop(handover);
        let handover: OutputHandover = serde_json::from_slice(&text).unwrap();
        let sink = sink(&reports, &reader);
        let output = Output::adopt(OutputConfig::default(), twin(&ends), sink, handover, fds).unwrap();
        Self { output, reports, reader, folder, ends, stdout, stderr }
    }
}

fn count(reports: &[OutputReport], wanted: &OutputReport) -> usize {
    reports.iter().filter(|report| *report == wanted).count()
}

/// The lines of one writer, of all lengths, the numbers from 0 on.
fn line(writer: u32, number: u64) -> String {
    format!("writer {writer} line {number} {}\n", "x".repeat(usize::try_from(number % 97).unwrap()))
}

/// The log of all rotated files, the oldest first.
fn whole_log(path: &Path) -> Vec<u8> {
    let numbers = (1..).take_while(|number| beside(path, &format!(".{number}")).exists());
    let mut files: Vec<PathBuf> = numbers.map(|number| beside(path, &format!(".{number}"))).collect();
    files.reverse();
    files.push(path.to_owned());
    files.iter().flat_map(|file| fs::read(file).unwrap()).collect()
}

/// Counts the lines that a terminal shows until it is closed, and gives all of them in the end.
fn follow(terminal: OwnedFd, shown: Arc<AtomicU64>) -> JoinHandle<Vec<String>> {
    thread::spawn(move || {
        let lines = BufReader::new(File::from(terminal)).lines().map_while(Result::ok);
        lines.inspect(|_| _ = shown.fetch_add(1, Ordering::Relaxed)).collect()
    })
}

#[test]
fn a_hundred_times_under_load_every_byte_and_every_line_comes_once() {
    const WRITERS: u32 = 8;
    let mut rig = Rig::new();
    let shown_lines = Arc::new(AtomicU64::new(0));
    let terminal = follow(rig.stdout.take().unwrap(), Arc::clone(&shown_lines));
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let folder = rig.folder.path().to_owned();
    let log = |writer: u32| LogSpec {
        path: folder.join(format!("{writer}.log")),
        max_size: 200_000,
        keep: 100_000,
        overflow: Overflow::Block,
    };
    let writers: Vec<JoinHandle<u64>> = (0..WRITERS)
        .map(|writer| {
            let mut pipe = rig.open(writer, StreamSpec { log: Some(log(writer)), ..shown("w") });
            let (stop, written, shown) = (stop.clone(), written.clone(), shown_lines.clone());
            thread::spawn(move || {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    // The terminal must have shown nearly all: what is left out of it is not the question here.
                    if written.load(Ordering::Relaxed) > shown.load(Ordering::Relaxed) + 10_000 {
                        thread::yield_now();
                        continue;
                    }
                    let lines: String = (number..number + 100).map(|number| line(writer, number)).collect();
                    written.fetch_add(100, Ordering::Relaxed);
                    number += 100;
                    for piece in lines.as_bytes().chunks(1_237) {
                        pipe.write_all(piece).unwrap();
                    }
                }
                number
            })
        })
        .collect();
    for round in 0..100 {
        let before = written.load(Ordering::Relaxed);
        rig = rig.pass_on(if round % 2 == 0 { Duration::ZERO } else { LIMIT });
        rig.output.say(&format!("round {round}"));
        eventually("more output", || written.load(Ordering::Relaxed) > before + 500);
    }
    stop.store(true, Ordering::Relaxed);
    let lines: Vec<u64> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    (0..WRITERS).for_each(|writer| rig.wait_ended(writer));
    let logs: Vec<Vec<u8>> = (0..WRITERS).map(|writer| whole_log(&log(writer).path)).collect();
    let reports = rig.wait(|_| true);
    let (_, said) = rig.finish();
    assert_eq!(said, (0..100).map(|round| format!("round {round}\n")).collect::<String>());
    let all_shown = terminal.join().unwrap();
    for writer in 0..WRITERS {
        let count_of = lines[writer as usize];
        let expected: Vec<String> = (0..count_of).map(|number| line(writer, number)).collect();
        assert!(logs[writer as usize] == expected.concat().into_bytes(), "the log of writer {writer}");
        let own = format!("w | writer {writer} ");
        let shown = all_shown.iter().filter(|line| line.starts_with(&own));
        assert!(shown.map(|line| format!("{}\n", &line[4..])).eq(expected), "shown of writer {writer}");
        assert_eq!(count(&reports, &OutputReport::Ended { unit: UnitId(writer) }), 1);
    }
    assert_eq!(all_shown.len() as u64, lines.iter().sum::<u64>(), "and nothing else");
    assert_eq!(problems(&reports), Vec::<String>::new());
}

#[test]
fn between_any_two_bytes_lines_stay_whole_and_a_match_is_told_once() {
    let mut rig = Rig::new();
    let path = rig.folder.path().join(OsString::from_vec(b"l\xffgs\\/a\xfe.log".to_vec()));
    let log = LogSpec { path: path.clone(), max_size: 30, keep: 100, overflow: Overflow::Block };
    let matcher = Some(regex::bytes::Regex::new("^listening on \\d+$").unwrap());
    let mut pipe = rig.open(1, StreamSpec { log: Some(log), matcher, ..shown("a") });
    let output = b"not listening on 1\n\x1b[32mlistening\x1b[0m on 80\r\nlistening on 81\n\xffno end";
    for byte in output {
        pipe.write_all(&[*byte]).unwrap();
        // It may be read by this hand or by the next one.
        rig = rig.pass_on(Duration::ZERO);
    }
    rig.wait(|reports| !reports.is_empty());
    drop(pipe);
    rig.wait_ended(1);
    let reports = [OutputReport::Matched { unit: UnitId(1) }, OutputReport::Ended { unit: UnitId(1) }];
    assert_eq!(rig.wait(|_| true), reports);
    let bytes: Vec<u8> = [".2", ".1", ""]
        .iter()
        .map(|end| [path.as_os_str(), end.as_ref()].into_iter().collect::<OsString>())
        .flat_map(|path| fs::read(path).unwrap())
        .collect();
    assert_eq!(bytes, output);
    let expected = "a | not listening on 1\na | listening on 80\na | listening on 81\na | \\xffno end\n";
    assert_eq!(rig.finish().0, expected);
}

#[test]
fn what_writers_left_behind_is_read_to_its_end() {
    let mut rig = Rig::new();
    let mut gone = rig.open(1, StreamSpec { log: Some(rig.log()), ..shown("a") });
    let held = rig.open(2, spec(None));
    let (handover, fds) = rig.output.hand_over(LIMIT).unwrap();
    gone.write_all(b"one\nlast words").unwrap();
    drop(gone);
    let sink = sink(&rig.reports, &rig.reader);
    rig.output = Output::adopt(OutputConfig::default(), twin(&rig.ends), sink, handover, fds).unwrap();
    rig.wait_ended(1);
    assert_eq!(fs::read(rig.log().path).unwrap(), b"one\nlast words");
    // All that can be asked of the hand can be asked of this one.
    rig.output.close(UnitId(2));
    rig.wait_ended(2);
    drop(held);
    assert_eq!(rig.finish().0, "a | one\na | last words\n");
}

#[test]
fn a_terminal_that_takes_no_bytes_is_gone_on_with_where_it_stood() {
    let mut rig = Rig::new();
    let lines: String = (0..20_000).map(|number| line(1, number)).collect();
    let mut pipe = rig.open(1, shown("a"));
    pipe.write_all(lines.as_bytes()).unwrap();
    pipe.write_all(b"no end").unwrap();
    for round in 0..5 {
        let begin = Instant::now();
        rig = rig.pass_on(Duration::from_millis(20));
        assert!(begin.elapsed() < Duration::from_secs(4), "it did not wait for the terminal");
        rig.output.say(&format!("round {round}"));
    }
    drop(pipe);
    rig.wait_ended(1);
    let (stdout, stderr) = rig.finish();
    let expected: String = lines.lines().chain(["no end"]).map(|line| format!("a | {line}\n")).collect();
    assert!(stdout == expected);
    assert_eq!(stderr, "round 0\nround 1\nround 2\nround 3\nround 4\n");
}

#[test]
fn a_stopped_pseudo_terminal_is_gone_on_with_where_it_stood() {
    let mut rig = Rig::new();
    let (master, slave) = pseudo_terminal();
    rig.ends.stdout = slave;
    rig = rig.pass_on(LIMIT);
    rustix::termios::tcflow(&rig.ends.stdout, rustix::termios::Action::OOff).unwrap();
    let lines: String = (0..5_000).map(|number| line(1, number)).collect();
    let mut pipe = rig.open(1, shown("a"));
    pipe.write_all(lines.as_bytes()).unwrap();
    for _ in 0..5 {
        rig = rig.pass_on(Duration::from_millis(20));
    }
    rustix::termios::tcflow(&rig.ends.stdout, rustix::termios::Action::OOn).unwrap();
    let shown_lines = Arc::new(AtomicU64::new(0));
    let terminal = follow(master, Arc::clone(&shown_lines));
    // Some are passed on while the terminal is slow.
    eventually("lines", || shown_lines.load(Ordering::Relaxed) > 500);
    rig = rig.pass_on(Duration::ZERO);
    drop(pipe);
    rig.wait_ended(1);
    rig.finish();
    let shown = terminal.join().unwrap();
    let expected: Vec<String> = lines.lines().map(|line| format!("a | {line}")).collect();
    assert!(shown == expected);
}

#[test]
fn what_a_full_disk_did_not_take_is_handed_over_too() {
    let Some(disk) = SmallDisk::new() else { return };
    let mut rig = Rig::new();
    let mut pipe = rig.open(1, spec(Some(disk.log(Overflow::Block))));
    let writer = thread::spawn(move || pipe.write_all(&flood()).unwrap());
    rig.wait(|reports| !problems(reports).is_empty());
    for _ in 0..3 {
        rig = rig.pass_on(Duration::ZERO);
    }
    assert!(!writer.is_finished(), "the writer has to wait");
    disk.enlarge();
    writer.join().unwrap();
    rig.wait_ended(1);
    assert!(fs::read(disk.log(Overflow::Block).path).unwrap() == flood());
    assert_eq!(problems(&rig.wait(|_| true)).len(), 1, "told once");
    rig.finish();
}

#[test]
fn what_a_full_disk_cost_is_counted_once() {
    let Some(disk) = SmallDisk::new() else { return };
    let mut rig = Rig::new();
    let log = disk.log(Overflow::Drop);
    let mut pipe = rig.open(1, spec(Some(log.clone())));
    pipe.write_all(&flood()).unwrap();
    pipe.write_all(b"torn").unwrap();
    rig.wait(|reports| !problems(reports).is_empty());
    rig = rig.pass_on(Duration::ZERO);
    disk.enlarge();
    eventually("the note", || fs::read_to_string(&log.path).unwrap().contains("dropped]\n"));
    rig = rig.pass_on(Duration::ZERO);
    pipe.write_all(b" line\nwhole line\n").unwrap();
    drop(pipe);
    rig.wait_ended(1);
    let text = fs::read_to_string(&log.path).unwrap();
    let note = |line: &str| line.strip_prefix("[orch: ")?.split(' ').next()?.parse::<usize>().ok();
    let lost: usize = text.lines().filter_map(note).sum();
    let kept = text.lines().filter(|line| note(line).is_none()).count();
    assert_eq!(kept + lost, 60_002, "{lost} lost");
    rig.finish();
}

#[test]
fn a_log_that_others_touch_meanwhile_is_followed_by_its_path() {
    let mut rig = Rig::new();
    let path = rig.log().path;
    let mut pipe = rig.open(1, spec(Some(rig.log())));
    pipe.write_all(b"before\n").unwrap();
    eventually("the line", || fs::read(&path).is_ok_and(|bytes| bytes == b"before\n"));
    let (handover, fds) = rig.output.hand_over(LIMIT).unwrap();
    fs::rename(&path, beside(&path, ".old")).unwrap();
    let sink = sink(&rig.reports, &rig.reader);
    rig.output = Output::adopt(OutputConfig::default(), twin(&rig.ends), sink, handover, fds).unwrap();
    pipe.write_all(b"after\n").unwrap();
    drop(pipe);
    rig.wait_ended(1);
    assert_eq!(fs::read(beside(&path, ".old")).unwrap(), b"before\n");
    assert_eq!(fs::read(&path).unwrap(), b"after\n");
    rig.finish();
}

#[test]
fn where_a_logs_last_line_began_is_known_still() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    let mut file = LogFile::new(path.clone(), 0, 1);
    assert_eq!(file.append(b"whole\ntorn", Instant::now()).written, 10);
    let mut fds = Fds::default();
    let text = serde_json::to_string(&file.leave(&mut fds)).unwrap();
    let mut file = LogFile::adopt(serde_json::from_str(&text).unwrap(), &mut Taken::new(fds.0)).unwrap();
    assert_eq!(file.append(b" more", Instant::now()).written, 5);
    file.remove_torn_line();
    assert_eq!(fs::read(path).unwrap(), b"whole\n");
}

#[test]
fn what_is_remembered_goes_along_and_is_told_before_the_end() {
    let mut rig = Rig::new();
    let mut pipe = rig.open(1, StreamSpec { remember: true, ..spec(Some(rig.log())) });
    let text = b"a.c:3:5: error: x\nand\xff more";
    for part in text.chunks(7) {
        pipe.write_all(part).unwrap();
        rig = rig.pass_on(LIMIT);
    }
    drop(pipe);
    rig.wait_ended(1);
    let (unit, place) = (UnitId(1), Some("a.c:3:5".to_owned()));
    let tail = vec!["a.c:3:5: error: x".to_owned(), "and\\xff more".to_owned()];
    let remembered = OutputReport::Remembered { unit, place, tail };
    assert_eq!(rig.wait(|_| true), [remembered, OutputReport::Ended { unit }]);
    assert_eq!(fs::read(rig.log().path).unwrap(), text);
    rig.finish();
}

#[test]
fn a_reader_that_does_not_stop_is_left_alone() {
    let rig = Rig::new();
    let matcher = Some(regex::bytes::Regex::new("x").unwrap());
    let mut pipe = rig.open(1, StreamSpec { matcher, ..spec(Some(rig.log())) });
    let Rig { output, reports, reader, folder, ends, stdout, stderr } = rig;
    let held = reports.0.lock().unwrap();
    pipe.write_all(b"x\n").unwrap();
    eventually("the log", || fs::read(folder.path().join("logs/a.log")).is_ok_and(|log| log == b"x\n"));
    let refused = output.hand_over_within(Duration::from_millis(50), LIMIT).unwrap_err();
    assert!(refused.to_string().contains("goes on as before"), "{refused}");
    drop(held);
    let mut rig = Rig { output: refused.output, reports, reader, folder, ends, stdout, stderr };
    pipe.write_all(b"y\n").unwrap();
    rig = rig.pass_on(LIMIT);
    drop(pipe);
    rig.wait_ended(1);
    assert_eq!(fs::read(rig.log().path).unwrap(), b"x\ny\n");
    rig.finish();
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let rig = Rig::new();
    let _pipe = rig.open(1, spec(Some(rig.log())));
    let (handover, mut fds) = rig.output.hand_over(LIMIT).unwrap();
    fds.pop();
    let sink = sink(&rig.reports, &rig.reader);
    let refused = Output::adopt(OutputConfig::default(), twin(&rig.ends), sink, handover, fds).unwrap_err();
    assert!(refused.to_string().contains("not handed over"), "{refused}");
}
