//! The hand as a whole: real pipes, files and threads.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use sha2::{Digest, Sha256};

use super::{LogSpec, Output, OutputConfig, OutputReport, ReportSink, StreamSpec, Terminal};
use crate::config::model::Overflow;
use crate::types::UnitId;

mod handover;

/// Nothing takes as long, unless it is broken.
const LIMIT: Duration = Duration::from_secs(60);

type Reports = Arc<(Mutex<Vec<OutputReport>>, Condvar)>;

/// An output hand whose terminal is two pipes.
struct Rig {
    output: Output,
    reports: Reports,
    /// The reading thread's id, known from its first report on.
    reader: Arc<AtomicI32>,
    folder: tempfile::TempDir,
    /// What the hand writes to, for another hand that goes on.
    ends: Terminal,
    stdout: Option<OwnedFd>,
    stderr: JoinHandle<Vec<u8>>,
}

fn twin(terminal: &Terminal) -> Terminal {
    let Terminal { stdout, stderr } = terminal;
    Terminal { stdout: stdout.try_clone().unwrap(), stderr: stderr.try_clone().unwrap() }
}

fn pipe() -> (OwnedFd, OwnedFd) {
    pipe_with(PipeFlags::CLOEXEC).unwrap()
}

fn read_all(fd: OwnedFd) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        File::from(fd).read_to_end(&mut bytes).unwrap();
        bytes
    })
}

fn sink(reports: &Reports, reader: &Arc<AtomicI32>) -> ReportSink {
    let (reports, reader) = (Arc::clone(reports), Arc::clone(reader));
    Arc::new(move |report| {
        reader.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::Relaxed);
        reports.0.lock().unwrap().push(report);
        reports.1.notify_all();
    })
}

impl Rig {
    fn new() -> Self {
        let ((stdout, out), (stderr, err)) = (pipe(), pipe());
        let reports = Reports::default();
        let reader = Arc::new(AtomicI32::new(0));
        let sink = sink(&reports, &reader);
        let ends = Terminal { stdout: out, stderr: err };
        let output = Output::start(OutputConfig::default(), twin(&ends), sink).unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self { output, reports, reader, folder, ends, stdout: Some(stdout), stderr: read_all(stderr) }
    }

    fn log(&self) -> LogSpec {
        let path = self.folder.path().join("logs/a.log");
        LogSpec { path, max_size: 1 << 40, keep: 3, overflow: Overflow::Block }
    }

    fn open(&self, unit: u32, spec: StreamSpec) -> File {
        File::from(self.output.open(UnitId(unit), spec).unwrap())
    }

    /// The reports, as soon as `enough` of them have come.
    fn wait(&self, enough: impl Fn(&[OutputReport]) -> bool) -> Vec<OutputReport> {
        let reports = self.reports.0.lock().unwrap();
        let (reports, waited) =
            self.reports.1.wait_timeout_while(reports, LIMIT, |reports| !enough(reports)).unwrap();
        assert!(!waited.timed_out(), "it did not come: {reports:?}");
        reports.clone()
    }

    fn wait_ended(&self, unit: u32) {
        self.wait(|reports| reports.contains(&OutputReport::Ended { unit: UnitId(unit) }));
    }

    /// What was shown on stdout and stderr.
    fn finish(mut self) -> (String, String) {
        let stdout = self.stdout.take().map(read_all);
        assert!(self.output.finish(LIMIT));
        drop(self.ends);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (stdout.map_or_else(String::new, |out| text(out.join().unwrap())), text(self.stderr.join().unwrap()))
    }
}

fn spec(log: Option<LogSpec>) -> StreamSpec {
    StreamSpec { label: "a".to_owned(), log, matcher: None, show: false, remember: false }
}

fn shown(label: &str) -> StreamSpec {
    StreamSpec { label: label.to_owned(), log: None, matcher: None, show: true, remember: false }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < until, "{what} never came");
        thread::sleep(Duration::from_millis(1));
    }
}

fn random(len: usize) -> Vec<u8> {
    let mut seed = 7_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn pseudo_terminal() -> (OwnedFd, OwnedFd) {
    let (mut master, mut slave) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: both places are writable, and the other arguments may be null.
    let opened = unsafe { libc::openpty(&raw mut master, &raw mut slave, null, null.cast(), null.cast()) };
    assert_eq!(opened, 0);
    // SAFETY: `openpty` has just made both descriptors, and nobody else owns them.
    unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

fn problems(reports: &[OutputReport]) -> Vec<String> {
    let problem = |report: &OutputReport| match report {
        OutputReport::Problem { message, .. } => Some(message.clone()),
        _ => None,
    };
    reports.iter().filter_map(problem).collect()
}

#[test]
fn the_log_holds_the_bytes_exactly_and_over_incarnations() {
    let rig = Rig::new();
    let bytes = random(3 << 20);
    for (unit, part) in bytes.chunks(1 << 20).enumerate() {
        let unit = u32::try_from(unit).unwrap();
        let mut pipe = rig.open(unit, spec(Some(rig.log())));
        for piece in part.chunks(70_001) {
            pipe.write_all(piece).unwrap();
        }
        drop(pipe);
        rig.wait_ended(unit);
    }
    let log = fs::read(rig.log().path).unwrap();
    assert_eq!(Sha256::digest(&log), Sha256::digest(&bytes));
    assert_eq!(fs::metadata(rig.log().path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(problems(&rig.wait(|_| true)), Vec::<String>::new());
    rig.finish();
}

#[test]
fn what_a_thread_and_a_child_write_to_one_pipe_stays_in_order() {
    let rig = Rig::new();
    let pipe = rig.open(1, spec(Some(rig.log())));
    let mut shell = std::process::Command::new("/bin/sh");
    shell.args(["-c", "for i in 1 2 3; do echo out $i; echo err $i >&2; done"]);
    let status = shell.stdout(pipe.try_clone().unwrap()).stderr(pipe).status().unwrap();
    assert!(status.success());
    drop(shell);
    rig.wait_ended(1);
    assert_eq!(fs::read_to_string(rig.log().path).unwrap(), "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n");
    rig.finish();
}

#[test]
fn a_rotated_log_is_cut_at_line_ends_and_loses_nothing_within_keep() {
    let rig = Rig::new();
    let log = LogSpec { max_size: 10_000, keep: 20, ..rig.log() };
    let mut bytes = Vec::new();
    for number in 0..2_000 {
        writeln!(bytes, "line {number} {}", "x".repeat(number % 90)).unwrap();
    }
    let mut pipe = rig.open(1, spec(Some(log.clone())));
    for piece in bytes.chunks(1_237) {
        pipe.write_all(piece).unwrap();
    }
    drop(pipe);
    rig.wait_ended(1);
    let numbers: Vec<u32> = (1..=20).filter(|n| beside(&log.path, &format!(".{n}")).exists()).collect();
    assert!(numbers.len() > 5 && numbers.len() < 20, "{numbers:?}");
    let mut all = Vec::new();
    for number in numbers.iter().rev() {
        let part = fs::read(beside(&log.path, &format!(".{number}"))).unwrap();
        assert!(part.len() <= 10_000 && part.len() > 8_000, "{}", part.len());
        all.extend(part);
    }
    all.extend(fs::read(&log.path).unwrap());
    assert_eq!(all, bytes);
    assert!(beside(&log.path, ".1.times").exists());
    rig.finish();
}

#[test]
fn one_large_write_is_cut_at_line_ends_only() {
    let rig = Rig::new();
    let log = LogSpec { max_size: 1_000, keep: 5, ..rig.log() };
    let bytes: Vec<u8> = (0..50).flat_map(|n| format!("line {n:040}\n").into_bytes()).collect();
    rig.open(1, spec(Some(log.clone()))).write_all(&bytes).unwrap();
    rig.wait_ended(1);
    for name in ["", ".1", ".2"] {
        let part = fs::read(beside(&log.path, name)).unwrap();
        assert!(part.len() <= 1_000 && part.ends_with(b"\n") && part.starts_with(b"line "));
    }
    rig.finish();
}

#[test]
fn no_more_than_keep_is_kept_and_a_relog_holds_at_once() {
    let rig = Rig::new();
    let log = LogSpec { max_size: 100, keep: 4, ..rig.log() };
    let mut pipe = rig.open(1, spec(Some(log.clone())));
    let line = [b'x'; 99];
    let mut write_until = |what: &str, holds: &dyn Fn() -> bool| {
        eventually(what, || {
            pipe.write_all(&line).unwrap();
            pipe.write_all(b"\n").unwrap();
            holds()
        });
    };
    let there = |number: u32| beside(&log.path, &format!(".{number}")).exists();
    write_until("the fourth", &|| there(4));
    write_until("the first anew", &|| there(1));
    assert!(!there(5));
    rig.output.relog(UnitId(1), LogSpec { keep: 1, ..log.clone() });
    write_until("removal", &|| !there(2) && !there(3) && !there(4) && there(1));
    rig.output.relog(UnitId(1), LogSpec { keep: 0, ..log.clone() });
    write_until("removal of all", &|| !there(1));
    let other = LogSpec { path: rig.folder.path().join("other.log"), ..log.clone() };
    rig.output.relog(UnitId(1), other.clone());
    write_until("the other log", &|| fs::metadata(&other.path).is_ok_and(|file| file.len() == 100));
    rig.finish();
}

#[test]
fn a_log_that_was_removed_renamed_or_emptied_is_followed_by_its_path() {
    let rig = Rig::new();
    let path = rig.log().path;
    let mut pipe = rig.open(1, spec(Some(rig.log())));
    let mut write_until_there = |what: &str| {
        eventually(what, || {
            writeln!(pipe, "{what}").unwrap();
            fs::read_to_string(&path).is_ok_and(|text| text.contains(what))
        });
    };
    write_until_there("first");
    fs::remove_file(&path).unwrap();
    write_until_there("after removal");
    fs::rename(&path, path.with_extension("old")).unwrap();
    write_until_there("after renaming");
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    write_until_there("after removal of the folder");
    File::create(&path).unwrap();
    write_until_there("after emptying");
    assert!(!fs::read(&path).unwrap().contains(&0));
    assert_eq!(problems(&rig.wait(|_| true)), Vec::<String>::new());
    rig.finish();
}

#[test]
fn a_log_that_is_no_file_holds_up_nothing_and_is_told_once() {
    type Make = fn(&Path);
    let make: [(&str, Make); 3] = [
        ("a symbolic link", |path| std::os::unix::fs::symlink("/dev/null", path).unwrap()),
        ("a fifo", |path| {
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).unwrap();
        }),
        ("directory", |path| fs::create_dir(path).unwrap()),
    ];
    for (what, make) in make {
        let rig = Rig::new();
        let path = rig.log().path;
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        make(&path);
        let mut pipe = rig.open(1, spec(Some(rig.log())));
        pipe.write_all(&b"line\n".repeat(500_000)).unwrap();
        let told = problems(&rig.wait(|reports| !problems(reports).is_empty()));
        assert!(told.len() == 1 && told[0].contains(what), "{told:?}");
        // Repaired, it is gone on with, and the loss is noted.
        if path.is_dir() {
            fs::remove_dir(&path).unwrap()
        } else {
            fs::remove_file(&path).unwrap()
        }
        let mut again = 0;
        eventually("the log", || {
            writeln!(pipe, "again").unwrap();
            again += 1;
            fs::read_to_string(&path).is_ok_and(|text| text.ends_with("again\n"))
        });
        drop(pipe);
        rig.wait_ended(1);
        let text = fs::read_to_string(&path).unwrap();
        let note = text.lines().next().unwrap();
        let lost: usize = note.strip_prefix("[orch: ").unwrap().split(' ').next().unwrap().parse().unwrap();
        assert_eq!(lost + text.lines().count() - 1, 500_000 + again, "{note}");
        rig.finish();
    }
}

#[test]
fn a_match_is_told_once_and_before_the_end() {
    let rig = Rig::new();
    let matcher = Some(regex::bytes::Regex::new("^listening on [0-9]+$").unwrap());
    let mut pipe = rig.open(1, StreamSpec { matcher, ..spec(None) });
    let matched = OutputReport::Matched { unit: UnitId(1) };
    pipe.write_all(b"not listening on 1\n\x1b[32mliste").unwrap();
    pipe.write_all(b"ning\x1b[0m on 80\nlistening on 81\n").unwrap();
    rig.wait(|reports| reports.contains(&matched));
    drop(pipe);
    rig.wait_ended(1);
    assert_eq!(rig.wait(|_| true), [matched, OutputReport::Ended { unit: UnitId(1) }]);
    rig.finish();
}

#[test]
fn a_closed_stream_ends_though_somebody_holds_and_fills_it() {
    let rig = Rig::new();
    let mut pipe = rig.open(1, spec(Some(rig.log())));
    pipe.write_all(b"the last words").unwrap();
    rig.output.close(UnitId(1));
    rig.wait_ended(1);
    assert_eq!(fs::read(rig.log().path).unwrap(), b"the last words");
    // A process that another test is just starting has a copy of the read end until its exec.
    eventually("the broken pipe", || {
        pipe.write(b"x").is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    });

    let mut flood = rig.open(2, spec(Some(LogSpec { max_size: 1 << 20, ..rig.log() })));
    let writer = thread::spawn(move || while flood.write_all(&[b'y'; 4096]).is_ok() {});
    rig.output.close(UnitId(2));
    rig.wait_ended(2);
    writer.join().unwrap();
    rig.finish();
}

#[test]
fn a_stream_that_can_not_be_read_is_closed_and_told() {
    let rig = Rig::new();
    let file = File::create(rig.folder.path().join("file")).unwrap();
    rig.output.attach(UnitId(1), spec(None), file.into()).unwrap();
    rig.wait_ended(1);
    // A write end is an event as soon as nobody reads, and every read of it fails.
    let (read_end, write_end) = pipe();
    rig.output.attach(UnitId(2), spec(None), write_end).unwrap();
    drop(read_end);
    rig.wait_ended(2);
    assert_eq!(problems(&rig.wait(|_| true)).len(), 2);
    rig.finish();
}

#[test]
fn a_pseudo_terminal_ends_when_its_last_holder_closes_it() {
    let rig = Rig::new();
    let (master, slave) = pseudo_terminal();
    rig.output.attach(UnitId(1), spec(Some(rig.log())), master).unwrap();
    let mut slave = File::from(slave);
    writeln!(slave, "line").unwrap();
    eventually("the line", || fs::read(rig.log().path).is_ok_and(|text| text == b"line\r\n"));
    drop(slave);
    rig.wait_ended(1);
    assert_eq!(problems(&rig.wait(|_| true)), Vec::<String>::new());
    rig.finish();
}

#[test]
fn a_unit_gets_a_terminal_that_changes_nothing_and_is_closed_though_somebody_holds_it() {
    let rig = Rig::new();
    let slave = rig.output.open_terminal(UnitId(1), spec(Some(rig.log()))).unwrap();
    assert!(rustix::termios::isatty(&slave));
    let size = rustix::termios::tcgetwinsize(&slave).unwrap();
    assert_eq!((size.ws_col, size.ws_row), (80, 24), "orch has no terminal here");
    // As much as it holds before anybody reads, and every byte there is.
    let bytes: Vec<u8> = (0..=255).cycle().take(3_000).collect();
    let mut holder = File::from(slave.try_clone().unwrap());
    holder.write_all(&bytes).unwrap();
    rig.output.close(UnitId(1));
    rig.wait_ended(1);
    assert!(fs::read(rig.log().path).unwrap() == bytes);
    eventually("an error for who writes on", || holder.write(b"x").is_err());

    let mut second = File::from(rig.output.open_terminal(UnitId(2), spec(Some(rig.log()))).unwrap());
    let large = random(3 << 20);
    second.write_all(&large).unwrap();
    drop(second);
    rig.wait_ended(2);
    assert!(fs::read(rig.log().path).unwrap() == [bytes, large].concat());
    assert_eq!(problems(&rig.wait(|_| true)), Vec::<String>::new());
    rig.finish();
}

#[test]
fn a_line_without_an_end_goes_through() {
    let rig = Rig::new();
    let matcher = Some(regex::bytes::Regex::new("y$").unwrap());
    let mut pipe = rig.open(1, StreamSpec { matcher, show: true, ..spec(Some(rig.log())) });
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..64 {
        pipe.write_all(&piece).unwrap();
    }
    pipe.write_all(b"y").unwrap();
    drop(pipe);
    rig.wait_ended(1);
    assert!(rig.wait(|_| true).contains(&OutputReport::Matched { unit: UnitId(1) }));
    assert_eq!(fs::metadata(rig.log().path).unwrap().len(), (64 << 20) + 1);
    let (stdout, _) = rig.finish();
    assert!(stdout.contains("[orch: the line goes on]\n") && stdout.contains("[orch: 1 line not shown]\n"));
}

#[test]
fn a_terminal_that_others_made_non_blocking_is_waited_for() {
    let mut rig = Rig::new();
    let ((stdout, out), (_, err)) = (pipe(), pipe());
    rustix::fs::fcntl_setfl(&out, rustix::fs::OFlags::NONBLOCK).unwrap();
    let sink = sink(&rig.reports, &rig.reader);
    let terminal = Terminal { stdout: out, stderr: err };
    rig.output = Output::start(OutputConfig::default(), twin(&terminal), sink).unwrap();
    rig.ends = terminal;
    rig.stdout = Some(stdout);
    rig.open(1, shown("a")).write_all(&b"line\n".repeat(100_000)).unwrap();
    rig.wait_ended(1);
    assert_eq!(rig.finish().0.lines().count(), 100_000);
}

#[test]
fn a_quiet_one_is_heard_among_fifty_that_flood() {
    let rig = Rig::new();
    let stop = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> =
        (10..60)
            .map(|unit| {
                let mut pipe = rig.open(unit, spec(None));
                let stop = Arc::clone(&stop);
                thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) && pipe.write_all(&[b'y'; 65536]).is_ok() {}
                })
            })
            .collect();
    let mut slowest = Duration::ZERO;
    let matcher = Some(regex::bytes::Regex::new("hello").unwrap());
    for unit in 1..10 {
        let mut pipe = rig.open(unit, StreamSpec { matcher: matcher.clone(), ..spec(Some(rig.log())) });
        let begin = Instant::now();
        pipe.write_all(b"hello\n").unwrap();
        rig.wait(|reports| reports.contains(&OutputReport::Matched { unit: UnitId(unit) }));
        slowest = slowest.max(begin.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    for flood in floods {
        flood.join().unwrap();
    }
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    rig.finish();
}

#[test]
fn shown_output_and_orchs_own_lines_keep_their_order_on_one_terminal() {
    let (terminal, end) = pipe();
    let reports = Reports::default();
    let sink = sink(&reports, &Arc::default());
    let both = Terminal { stdout: end.try_clone().unwrap(), stderr: end };
    let output = Output::start(OutputConfig::default(), both, sink).unwrap();
    let shown_text = read_all(terminal);
    for unit in 0..50 {
        let mut pipe = File::from(output.open(UnitId(unit), shown("api")).unwrap());
        write!(pipe, "line {unit}\nno end").unwrap();
        drop(pipe);
        let ended =
            |reports: &mut Vec<OutputReport>| !reports.contains(&OutputReport::Ended { unit: UnitId(unit) });
        drop(reports.1.wait_timeout_while(reports.0.lock().unwrap(), LIMIT, ended).unwrap());
        output.say(&format!("api has ended {unit}\x1b]0;x\x07"));
    }
    assert!(output.finish(LIMIT));
    let expected: String = (0..50)
        .map(|unit| format!("api | line {unit}\napi | no end\napi has ended {unit}\\x1b]0;x\\x07\n"))
        .collect();
    assert_eq!(String::from_utf8(shown_text.join().unwrap()).unwrap(), expected);
}

#[test]
fn a_terminal_that_takes_no_bytes_holds_up_nothing_and_the_loss_is_shown() {
    let rig = Rig::new();
    let mut pipe = rig.open(1, StreamSpec { show: true, ..spec(Some(rig.log())) });
    let mut quiet = rig.open(2, shown("quiet"));
    let line = [&[b'x'; 99][..], b"\n"].concat();
    let (count, chunk) = (300_000, line.repeat(1_000));
    for _ in 0..count / 1_000 {
        pipe.write_all(&chunk).unwrap();
    }
    drop(pipe);
    rig.wait_ended(1);
    assert_eq!(fs::metadata(rig.log().path).unwrap().len(), count * 100);
    writeln!(quiet, "quiet line").unwrap();
    drop(quiet);
    rig.wait_ended(2);
    let (stdout, _) = rig.finish();
    let lines = stdout.lines().filter(|line| line.ends_with('x')).count();
    let note = stdout.lines().find(|line| line.contains("not shown]")).unwrap();
    let lost: usize = note.split(' ').find_map(|word| word.parse().ok()).unwrap();
    assert_eq!(lines + lost, usize::try_from(count).unwrap(), "{note}");
    assert!(lost > 100_000 && stdout.contains("quiet | quiet line\n"));
}

#[test]
fn a_terminal_that_is_gone_is_no_trouble() {
    let mut rig = Rig::new();
    drop(rig.stdout.take());
    let mut pipe = rig.open(1, StreamSpec { show: true, ..spec(Some(rig.log())) });
    pipe.write_all(&random(1 << 20)).unwrap();
    drop(pipe);
    rig.wait_ended(1);
    assert_eq!(fs::metadata(rig.log().path).unwrap().len(), 1 << 20);
    rig.output.say("still there");
    assert_eq!(rig.finish().1, "still there\n");
}

#[test]
fn finishing_waits_no_longer_for_a_stuck_terminal_than_told() {
    let rig = Rig::new();
    let mut pipe = rig.open(1, shown("a"));
    pipe.write_all(&b"line\n".repeat(100_000)).unwrap();
    drop(pipe);
    rig.wait_ended(1);
    let begin = Instant::now();
    assert!(!rig.output.finish(Duration::from_millis(50)));
    assert!(begin.elapsed() < Duration::from_secs(10));
    drop(rig.stdout);
}

#[test]
fn the_times_beside_a_log_point_into_it() {
    let rig = Rig::new();
    let mut pipe = rig.open(1, spec(Some(rig.log())));
    let times = super::times::path(&rig.log().path);
    let entries = || fs::read_to_string(&times).unwrap_or_default().lines().count();
    for number in 0..3 {
        eventually("a time", || {
            writeln!(pipe, "line").unwrap();
            entries() > number
        });
    }
    drop(pipe);
    rig.wait_ended(1);
    let mut last = None;
    for line in fs::read_to_string(&times).unwrap().lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        let offset = entry["offset"].as_u64().unwrap();
        let time: jiff::Timestamp = entry["time"].as_str().unwrap().parse().unwrap();
        assert!(offset.is_multiple_of(5) && Some((offset, time)) > last);
        last = Some((offset, time));
    }
    rig.finish();
}

#[test]
fn an_idle_hand_uses_no_processor_though_a_stream_has_ended() {
    let rig = Rig::new();
    drop(rig.open(1, spec(None)));
    let held = rig.open(2, spec(None));
    rig.wait_ended(1);
    let turns = |task: &Path| -> u64 {
        let status = fs::read_to_string(task.join("status")).unwrap_or_default();
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    };
    let task = PathBuf::from(format!("/proc/self/task/{}", rig.reader.load(Ordering::Relaxed)));
    // It may have gone through all so far in one turn.
    eventually("it sleeps", || turns(&task) > 0);
    let before = turns(&task);
    thread::sleep(Duration::from_millis(300));
    let after = turns(&task);
    assert!(after - before <= 1, "woken {} times for nothing", after - before);
    drop(held);
    rig.wait_ended(2);
    rig.finish();
}

/// A disk of 64 KiB, if one may be mounted here.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = mount(&["-t", "tmpfs", "-o", "size=64k", "tmpfs"], folder.path());
        if !mounted {
            eprintln!("SKIPPED: no disk can be mounted here, so a full one is not tested");
        }
        mounted.then_some(Self(folder))
    }

    fn log(&self, overflow: Overflow) -> LogSpec {
        LogSpec { path: self.0.path().join("a.log"), max_size: 1 << 40, keep: 1, overflow }
    }

    fn enlarge(&self) {
        assert!(mount(&["-o", "remount,size=64m"], self.0.path()));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn mount(arguments: &[&str], on: &Path) -> bool {
    std::process::Command::new("mount").args(arguments).arg(on).status().is_ok_and(|status| status.success())
}

/// Lines that together are larger than the disk, a pipe and a turn.
fn flood() -> Vec<u8> {
    (0..60_000).flat_map(|number| format!("line {number:030}\n").into_bytes()).collect()
}

#[test]
fn with_block_a_full_disk_is_waited_for_and_nothing_is_lost() {
    let Some(disk) = SmallDisk::new() else { return };
    let rig = Rig::new();
    let mut pipe = rig.open(1, spec(Some(disk.log(Overflow::Block))));
    let writer = thread::spawn(move || pipe.write_all(&flood()).unwrap());
    let told = problems(&rig.wait(|reports| !problems(reports).is_empty()));
    assert!(told[0].contains("wait"), "{told:?}");
    // Others go on meanwhile.
    rig.open(2, spec(Some(rig.log()))).write_all(b"not hindered").unwrap();
    rig.wait_ended(2);
    assert!(!writer.is_finished(), "the writer has to wait");
    disk.enlarge();
    writer.join().unwrap();
    rig.wait_ended(1);
    assert!(fs::read(disk.log(Overflow::Block).path).unwrap() == flood());
    assert_eq!(problems(&rig.wait(|_| true)).len(), 1, "told once");
    rig.finish();
}

#[test]
fn with_drop_a_full_disk_costs_whole_lines_which_are_counted() {
    let Some(disk) = SmallDisk::new() else { return };
    let rig = Rig::new();
    let log = disk.log(Overflow::Drop);
    let mut pipe = rig.open(1, spec(Some(log.clone())));
    pipe.write_all(&flood()).unwrap();
    pipe.write_all(b"torn").unwrap();
    rig.wait(|reports| !problems(reports).is_empty());
    disk.enlarge();
    eventually("the note", || fs::read_to_string(&log.path).unwrap().contains("dropped]\n"));
    pipe.write_all(b" line\nwhole line\n").unwrap();
    drop(pipe);
    rig.wait_ended(1);
    let text = fs::read_to_string(&log.path).unwrap();
    let (mut lines, mut lost) = (0, 0);
    for line in text.lines() {
        match line.strip_prefix("[orch: ") {
            Some(note) => lost += note.split(' ').next().unwrap().parse::<usize>().unwrap(),
            None => lines += 1,
        }
        let whole =
            line.len() == 35 || ["torn line", "whole line"].contains(&line) || line.ends_with("dropped]");
        assert!(whole, "{line:?}");
    }
    assert_eq!(lines + lost, 60_002, "{lost} lost");
    assert!(lost > 1_000);
    rig.finish();
}

#[test]
fn a_stream_is_closed_though_its_disk_is_full() {
    let Some(disk) = SmallDisk::new() else { return };
    let rig = Rig::new();
    let mut pipe = rig.open(1, spec(Some(disk.log(Overflow::Block))));
    let writer = thread::spawn(move || while pipe.write_all(&flood()).is_ok() {});
    rig.wait(|reports| !problems(reports).is_empty());
    rig.output.close(UnitId(1));
    rig.wait_ended(1);
    writer.join().unwrap();
    let told = problems(&rig.wait(|_| true));
    assert!(told.last().unwrap().contains("lines"), "{told:?}");
    rig.finish();
}
