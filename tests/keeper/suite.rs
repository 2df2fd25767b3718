//! The tests that hold in both ways; `module_path!` tells which one this is.
//!
//! The oracle is the kernel: processes are counted by the mark that they inherit, read here by other means
//! than the keeper's own.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use orch::runner::keeper::{Cgroups, Keeper, ProcessSpec, sweep};
use orch::runner::{Runner as _, RunnerReport as Report, Scope};
use orch::types::{Exit, Signal, UnitId};

/// Far more than anything here takes; only a failing test gets near it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Set in the process that plays orch in the tests that kill orch.
const PLAY: &str = "KEEPER_TEST_PLAY";

/// Whether the units of these tests get cgroups.
fn cgroups() -> Cgroups {
    if module_path!().ends_with("by_cgroup") { Cgroups::WherePossible } else { Cgroups::Never }
}

/// A keeper and its reports.
pub(crate) struct Bench {
    keeper: Option<Keeper>,
    reports: Receiver<Report>,
    pub(crate) instance: u32,
    next: u32,
    /// Reports that came while another was waited for.
    backlog: RefCell<VecDeque<Report>>,
    /// Read by nobody, but open: a unit that writes must not find it closed.
    outputs: Vec<std::io::PipeReader>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let (sender, reports) = channel();
        let keeper =
            Keeper::launch(&[], cgroups(), Arc::new(move |report| drop(sender.send(report)))).unwrap();
        let instance = keeper.instance();
        Self {
            keeper: Some(keeper),
            reports,
            instance,
            next: 1,
            backlog: RefCell::default(),
            outputs: Vec::new(),
        }
    }

    pub(crate) fn keeper(&self) -> &Keeper {
        self.keeper.as_ref().unwrap()
    }

    pub(crate) fn id(&mut self) -> UnitId {
        self.next += 1;
        UnitId(self.next)
    }

    /// Asks for a unit of these words, and gives its output.
    pub(crate) fn ask(&mut self, words: &[&str]) -> (UnitId, std::io::PipeReader) {
        let unit = self.id();
        let (reader, spec) = spec(words);
        self.keeper().spawn(unit, spec);
        (unit, reader)
    }

    /// Runs the fixture in a mode, until it runs.
    pub(crate) fn run(&mut self, mode: &[&str]) -> (UnitId, u32) {
        let fixture = fixture().display().to_string();
        let words: Vec<&str> = std::iter::once(&*fixture).chain(mode.iter().copied()).collect();
        let (unit, reader) = self.ask(&words);
        self.outputs.push(reader);
        let mut others = VecDeque::new();
        loop {
            match self.next_report() {
                Report::Spawned { unit: of, pid: Some(pid) } if of == unit => {
                    self.backlog.get_mut().append(&mut others);
                    return (unit, pid);
                }
                Report::SpawnFailed { error, .. } => panic!("{error}"),
                other => others.push_back(other),
            }
        }
    }

    /// As `run`, and until the fixture says that it is set up.
    pub(crate) fn run_ready(&mut self, mode: &[&str]) -> (UnitId, u32) {
        let started = self.run(mode);
        let mut up = [0; 3];
        self.outputs.last_mut().unwrap().read_exact(&mut up).unwrap();
        assert_eq!(&up, b"up\n");
        started
    }

    pub(crate) fn next_report(&self) -> Report {
        if let Some(report) = self.backlog.borrow_mut().pop_front() {
            return report;
        }
        match self.reports.recv_timeout(PATIENCE) {
            Ok(report) => report,
            Err(error) => panic!("no report: {error}"),
        }
    }

    /// Nothing may come for a while: the one thing that can only be waited for.
    pub(crate) fn expect_silence(&self) {
        assert!(self.backlog.borrow().is_empty(), "{:?}", self.backlog);
        let got = self.reports.recv_timeout(Duration::from_millis(150));
        assert_eq!(got, Err(RecvTimeoutError::Timeout));
    }

    pub(crate) fn expect_exit(&self, unit: UnitId, exit: Exit) {
        assert_eq!(self.next_report(), Report::Exited { unit, exit });
    }

    pub(crate) fn expect_gone(&self, unit: UnitId) {
        assert_eq!(self.next_report(), Report::Gone { unit });
    }

    /// Kills and hears of it; gives who was killed.
    pub(crate) fn kill(&self, unit: UnitId) -> Vec<u32> {
        self.keeper().kill(unit);
        let Report::Killed { unit: of, pids } = self.next_report() else { panic!("not killed") };
        assert_eq!(of, unit);
        pids
    }

    fn tagged(&self) -> Vec<u32> {
        tagged(self.instance)
    }

    fn wait_until_tagged(&self, wanted: impl Fn(usize) -> bool) {
        wait_until("processes come or go", || wanted(self.tagged().len()));
    }

    pub(crate) fn close(mut self) -> orch::runner::keeper::ShutDown {
        self.keeper.take().unwrap().shutdown(PATIENCE)
    }
}

impl Drop for Bench {
    /// No test leaves anything, also not one that fails.
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.shutdown(PATIENCE);
        }
        if !std::thread::panicking() {
            assert_eq!(self.tagged(), [0_u32; 0]);
        }
    }
}

fn spec(words: &[&str]) -> (std::io::PipeReader, ProcessSpec) {
    let (reader, writer) = std::io::pipe().unwrap();
    let spec = ProcessSpec {
        program: PathBuf::from(words[0]),
        argv: words.iter().map(OsString::from).collect(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        cwd: "/".into(),
        stdin: None,
        output: writer.into(),
        extra: Vec::new(),
    };
    (reader, spec)
}

pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The living processes of one keeper, by the text in /proc that shows their mark.
pub(crate) fn tagged(instance: u32) -> Vec<u32> {
    let ids = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|pid| is_tagged(*pid, instance) && is_alive(*pid)).collect()
}

fn is_tagged(pid: u32, instance: u32) -> bool {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max realtime timeout"));
    let limit = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    limit.is_some_and(|limit| limit >> 32 == (1 << 30) | u64::from(instance))
}

pub(crate) fn is_alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z') && !line.contains('X'))
}

/// The C fixture, compiled once.
fn fixture() -> &'static Path {
    static FIXTURE: OnceLock<PathBuf> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/unit.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        // Two of these modules are in one process.
        let made = folder.join(format!("unit-{}-{}", std::process::id(), module_path!().replace("::", "-")));
        let status = Command::new("cc").args(["-O1", "-o"]).arg(&made).arg(source).status().unwrap();
        assert!(status.success(), "the fixture does not compile");
        // One name for all later runs: replaced whole, since others may be running it.
        let program = folder.join("unit");
        std::fs::rename(&made, &program).unwrap();
        program
    })
}

fn read_all(mut reader: std::io::PipeReader) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

// ---- What is told ----

#[test]
fn exit_codes_and_signals_are_told_and_then_the_end() {
    let mut bench = Bench::new();
    for code in [0, 1, 42, 255] {
        let (unit, ..) = bench.run(&["exit", &code.to_string()]);
        bench.expect_exit(unit, Exit::Code(code));
        bench.expect_gone(unit);
    }
    for number in [1, 9, 11, 15, 40] {
        let (unit, ..) = bench.run(&["raise", &number.to_string()]);
        bench.expect_exit(unit, Exit::Signal(Signal::from_number(number).unwrap()));
        bench.expect_gone(unit);
    }
    bench.expect_silence();
}

#[test]
fn a_signal_ends_a_unit_and_later_ones_are_harmless() {
    let mut bench = Bench::new();
    let (unit, ..) = bench.run_ready(&["idle"]);
    bench.keeper().signal(unit, Signal::TERM, Scope::Group);
    bench.expect_exit(unit, Exit::Signal(Signal::TERM));
    bench.expect_gone(unit);
    bench.keeper().signal(unit, Signal::TERM, Scope::Unit);
    bench.keeper().kill(unit);
    bench.keeper().kill(UnitId(999_999));
    bench.expect_silence();
}

#[test]
fn a_stopped_process_is_woken_to_take_its_signal() {
    let mut bench = Bench::new();
    let (unit, pid) = bench.run_ready(&["idle"]);
    bench.keeper().signal(unit, Signal::from_name("STOP").unwrap(), Scope::Group);
    let _ = pid;
    bench.keeper().signal(unit, Signal::TERM, Scope::Group);
    bench.expect_exit(unit, Exit::Signal(Signal::TERM));
    bench.expect_gone(unit);
}

#[test]
fn failures_to_start_say_which_step_and_why() {
    let mut bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let mut expect = |program: &str, cwd: &str, parts: &[&str]| {
        let unit = bench.id();
        let (_reader, mut spec) = spec(&[program]);
        spec.cwd = cwd.into();
        bench.keeper().spawn(unit, spec);
        let Report::SpawnFailed { unit: of, error } = bench.next_report() else { panic!("it started") };
        assert_eq!(of, unit);
        for part in parts {
            assert!(error.contains(part), "{error:?} does not say {part:?}");
        }
    };
    expect("/no/such/program", "/", &["can't run /no/such/program: No such file"]);
    expect("/bin/true", "/no/such/folder", &["can't change to folder /no/such/folder: No such file"]);
    expect(&file("plain", "#!/bin/sh\n", 0o644), "/", &["can't run", "Permission denied", "executable"]);
    expect(&file("text", "hello\n", 0o755), "/", &["can't run", "Exec format error", "#!"]);
    expect(&file("lost", "#!/no/such/shell\n", 0o755), "/", &["No such file", "interpreter"]);
    expect("/bin/true\0x", "/", &["NUL"]);
    bench.expect_silence();
}

#[test]
fn an_environment_beyond_the_systems_limit_is_a_failure_to_start() {
    let mut bench = Bench::new();
    let unit = bench.id();
    let (_reader, mut spec) = spec(&["/bin/true"]);
    spec.env = (0..100).map(|at| (format!("V{at}").into(), "x".repeat(100_000).into())).collect();
    bench.keeper().spawn(unit, spec);
    let Report::SpawnFailed { error, .. } = bench.next_report() else { panic!("it started") };
    assert!(error.contains("too large"), "{error}");
}

// ---- What a unit sees ----

#[test]
fn a_unit_sees_three_descriptors_clean_signals_and_its_own_group() {
    let mut bench = Bench::new();
    let (_, reader) =
        bench.ask(&["/bin/sh", "-c", "ls /proc/self/fd; cat /proc/self/status; cat /proc/$$/stat"]);
    let text = read_all(reader);
    // ls itself has the folder open, as 3.
    assert!(text.starts_with("0\n1\n2\n3\nName:"), "{text}");
    for name in ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"] {
        assert!(text.contains(&format!("{name}:\t0000000000000000")), "{name}: {text}");
    }
    let stat: Vec<&str> = text.lines().last().unwrap().split(' ').collect();
    assert_eq!(stat[0], stat[4], "it leads its own group");
}

#[test]
fn stdin_is_null_unless_given_and_extra_descriptors_come_in_order() {
    let mut bench = Bench::new();
    let (_, reader) = bench.ask(&["/bin/readlink", "/proc/self/fd/0"]);
    assert_eq!(read_all(reader), "/dev/null\n");

    let unit = bench.id();
    let (reader, mut spec) = spec(&["/bin/sh", "-c", "cat; cat <&3; cat <&4; echo $LISTEN_PID $$"]);
    let filled = |text: &str| -> OwnedFd {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(text.as_bytes()).unwrap();
        reader.into()
    };
    spec.stdin = Some(filled("in "));
    spec.extra = vec![filled("three "), filled("four ")];
    spec.env.push(("LISTEN_PID".into(), "me".into()));
    bench.keeper().spawn(unit, spec);
    let text = read_all(reader);
    let ids = text.strip_prefix("in three four ").unwrap();
    let (listen_pid, own) = ids.trim_end().split_once(' ').unwrap();
    assert_eq!(listen_pid, own);
}

#[test]
fn a_large_environment_arrives_whole() {
    let mut bench = Bench::new();
    let unit = bench.id();
    let (reader, mut spec) = spec(&["/usr/bin/env"]);
    let value = "v".repeat(10_000);
    spec.env = (0..100).map(|at| (format!("V{at:03}").into(), value.clone().into())).collect();
    bench.keeper().spawn(unit, spec);
    let text = read_all(reader);
    assert_eq!(text.len(), 100 * (4 + 1 + 10_000 + 1));
    assert!(text.lines().enumerate().all(|(at, line)| line.starts_with(&format!("V{at:03}=vvv"))));
}

#[test]
fn a_unit_gets_the_open_file_limit_that_orch_was_started_with() {
    let mut bench = Bench::new();
    let (_, reader) = bench.ask(&["/bin/sh", "-c", "ulimit -Sn"]);
    let own = std::fs::read_to_string("/proc/self/limits").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    assert_eq!(read_all(reader).trim(), own.split_whitespace().next().unwrap());
}

// ---- What belongs to a unit, and how it ends ----

#[test]
fn a_unit_is_not_gone_while_a_deaf_child_of_the_group_lives() {
    let mut bench = Bench::new();
    let (unit, ..) = bench.run_ready(&["deaf-child"]);
    bench.keeper().signal(unit, Signal::TERM, Scope::Group);
    bench.expect_exit(unit, Exit::Signal(Signal::TERM));
    bench.expect_silence();
    // The leader is reaped; its group is now reached member by member.
    bench.keeper().signal(unit, Signal::TERM, Scope::Group);
    bench.expect_silence();
    assert_eq!(bench.tagged().len(), 1);
    assert_eq!(bench.kill(unit).len(), 1);
    bench.expect_gone(unit);
}

#[test]
fn a_group_signal_after_the_leaders_end_reaches_the_rest_of_the_group() {
    let mut bench = Bench::new();
    let (unit, ..) = bench.run_ready(&["deaf-child"]);
    bench.keeper().signal(unit, Signal::TERM, Scope::Group);
    bench.expect_exit(unit, Exit::Signal(Signal::TERM));
    bench.keeper().signal(unit, Signal::INT, Scope::Group);
    bench.expect_gone(unit);
}

#[test]
fn daemons_belong_to_the_unit_also_without_an_environment() {
    for mode in ["daemon-and-exit", "bare-daemon-and-exit"] {
        let mut bench = Bench::new();
        let (unit, ..) = bench.run(&[mode]);
        bench.expect_exit(unit, Exit::Code(0));
        bench.expect_silence();
        assert_eq!(bench.tagged().len(), 1, "{mode}");
        // Not in the group: this reaches nobody.
        bench.keeper().signal(unit, Signal::TERM, Scope::Group);
        bench.expect_silence();
        let pids = bench.kill(unit);
        assert_eq!(pids.len(), 1, "{mode}");
        bench.expect_gone(unit);
    }
}

#[test]
fn scopes_reach_whom_they_name() {
    let mut bench = Bench::new();
    let (unit, leader) = bench.run_ready(&["daemon"]);
    bench.wait_until_tagged(|count| count == 2);
    bench.keeper().signal(unit, Signal::TERM, Scope::Escaped);
    bench.wait_until_tagged(|count| count == 1);
    assert_eq!(bench.tagged(), [leader]);
    bench.keeper().signal(unit, Signal::TERM, Scope::Unit);
    bench.expect_exit(unit, Exit::Signal(Signal::TERM));
    bench.expect_gone(unit);

    let (unit, ..) = bench.run_ready(&["daemon"]);
    bench.keeper().signal(unit, Signal::TERM, Scope::Unit);
    bench.expect_exit(unit, Exit::Signal(Signal::TERM));
    bench.expect_gone(unit);
}

#[test]
fn without_the_tag_group_output_and_descent_still_tell() {
    for mode in ["untagged-child-and-exit", "untagged-writer-and-exit"] {
        let mut bench = Bench::new();
        let (unit, ..) = bench.run(&[mode]);
        bench.expect_exit(unit, Exit::Code(0));
        bench.expect_silence();
        assert_eq!(bench.kill(unit).len(), 1, "{mode}");
        bench.expect_gone(unit);
    }
    let mut bench = Bench::new();
    let (unit, ..) = bench.run_ready(&["untagged-grandchild"]);
    let pids = bench.kill(unit);
    assert_eq!(pids.len(), 2);
    bench.expect_exit(unit, Exit::Signal(Signal::KILL));
    bench.expect_gone(unit);
    assert!(pids.into_iter().all(|pid| !is_alive(pid)));
}

#[test]
fn a_terminal_of_its_own_tells_whose_a_process_is() {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
    let mut bench = Bench::new();
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ends = [0; 2].map(|_| {
        let master = openpt(flags).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        (master, slave)
    });
    let [(_first, one), (_second, two)] = ends;
    // A neighbour on another terminal has no part in it.
    let other = bench.id();
    bench.keeper().spawn(other, ProcessSpec { output: two, ..spec(&["/bin/sleep", "1000"]).1 });
    assert!(matches!(bench.next_report(), Report::Spawned { .. }));
    let unit = bench.id();
    let program = fixture().display().to_string();
    let words = [&*program, "untagged-writer-and-exit"];
    bench.keeper().spawn(unit, ProcessSpec { output: one, ..spec(&words).1 });
    assert!(matches!(bench.next_report(), Report::Spawned { .. }));
    bench.expect_exit(unit, Exit::Code(0));
    bench.expect_silence();
    assert_eq!(bench.kill(unit).len(), 1);
    bench.expect_gone(unit);
}

#[test]
fn a_stray_is_told_hinders_nobody_and_ends_with_the_keeper() {
    let mut bench = Bench::new();
    if bench.keeper().cgroup().is_some() {
        return; // Nobody is a stray there: see `cgroups`.
    }
    let (unit, ..) = bench.run(&["stray-and-exit"]);
    bench.expect_exit(unit, Exit::Code(0));
    let Report::Stray { pid, command } = bench.next_report() else { panic!("no stray") };
    assert_eq!(command, "unit");
    bench.expect_gone(unit);
    let (other, ..) = bench.run(&["exit", "3"]);
    bench.expect_exit(other, Exit::Code(3));
    bench.expect_gone(other);
    assert!(is_alive(pid));
    let end = bench.close();
    assert!(end.complete);
    assert_eq!(end.killed.iter().map(|it| it.pid).collect::<Vec<_>>(), [pid]);
    assert!(!is_alive(pid));
}

#[test]
fn a_comet_does_not_escape() {
    for mode in ["comet", "comet-and-exit"] {
        let mut bench = Bench::new();
        let (unit, ..) = bench.run(&[mode]);
        bench.wait_until_tagged(|count| count > 0);
        bench.keeper().kill(unit);
        let deadline = Instant::now() + PATIENCE;
        while bench.next_report() != (Report::Gone { unit }) {
            assert!(Instant::now() < deadline);
        }
        assert_eq!(bench.tagged(), [0_u32; 0]);
    }
}

#[test]
fn a_comet_among_many_ends_and_the_many_stay() {
    let mut bench = Bench::new();
    let null = OwnedFd::from(std::fs::File::options().write(true).open("/dev/null").unwrap());
    for _ in 0..400 {
        let unit = bench.id();
        let (_, mut spec) = spec(&["/bin/sleep", "1000"]);
        spec.output = null.try_clone().unwrap();
        bench.keeper().spawn(unit, spec);
        assert!(matches!(bench.next_report(), Report::Spawned { .. }));
    }
    let (unit, _) = bench.run_ready(&["comet"]);
    let start = Instant::now();
    bench.keeper().kill(unit);
    while bench.next_report() != (Report::Gone { unit }) {}
    println!("a comet among 400 units: gone after {:?}", start.elapsed());
    assert_eq!(bench.tagged().len(), 400);
}

#[test]
fn trees_and_fork_storms_end() {
    let mut bench = Bench::new();
    let (unit, ..) = bench.run(&["tree", "7"]);
    bench.wait_until_tagged(|count| count == 255);
    assert_eq!(bench.kill(unit).len(), 255);
    bench.expect_exit(unit, Exit::Signal(Signal::KILL));
    bench.expect_gone(unit);
    assert_eq!(bench.tagged(), [0_u32; 0]);

    let (unit, ..) = bench.run(&["storm", "5"]);
    bench.wait_until_tagged(|count| count > 50);
    bench.kill(unit);
    bench.expect_exit(unit, Exit::Signal(Signal::KILL));
    bench.expect_gone(unit);
    assert_eq!(bench.tagged(), [0_u32; 0]);
}

#[test]
fn a_kill_ends_one_unit_and_leaves_the_others() {
    let mut bench = Bench::new();
    let (first, ..) = bench.run_ready(&["daemon"]);
    let (second, leader) = bench.run_ready(&["daemon"]);
    bench.wait_until_tagged(|count| count == 4);
    assert_eq!(bench.kill(first).len(), 2);
    bench.expect_exit(first, Exit::Signal(Signal::KILL));
    bench.expect_gone(first);
    assert_eq!(bench.tagged().len(), 2);
    assert!(is_alive(leader));
    assert_eq!(bench.kill(second).len(), 2);
}

#[test]
fn a_thousand_units_start_and_stop() {
    let mut bench = Bench::new();
    let count: u32 = 1000;
    let null = OwnedFd::from(std::fs::File::options().write(true).open("/dev/null").unwrap());
    let start = Instant::now();
    for unit in 0..count {
        let (_, mut spec) = spec(&["/bin/sleep", "1000"]);
        spec.output = null.try_clone().unwrap();
        bench.keeper().spawn(UnitId(unit), spec);
    }
    for unit in 0..count {
        assert!(matches!(bench.next_report(), Report::Spawned { unit: UnitId(of), .. } if of == unit));
    }
    let started = start.elapsed();
    assert_eq!(bench.tagged().len(), 1000);
    let start = Instant::now();
    for unit in 0..count {
        let (unit, keeper) = (UnitId(unit), bench.keeper());
        // Some by a signal, some by force.
        if unit.0 % 2 == 0 { keeper.signal(unit, Signal::TERM, Scope::Unit) } else { keeper.kill(unit) }
    }
    let (mut exited, mut gone) = (0, 0);
    while gone < count {
        match bench.next_report() {
            Report::Exited { .. } => exited += 1,
            Report::Gone { .. } => gone += 1,
            Report::Killed { pids, .. } => assert_eq!(pids.len(), 1),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(exited, count);
    println!("1000 units: started in {started:?}, stopped in {:?}", start.elapsed());
    bench.next = count;
}

#[test]
fn a_spawn_takes_little_time() {
    let mut bench = Bench::new();
    let null = OwnedFd::from(std::fs::File::options().write(true).open("/dev/null").unwrap());
    let mut times = Vec::new();
    for _ in 0..300 {
        let unit = bench.id();
        let (_, mut spec) = spec(&["/bin/true"]);
        spec.output = null.try_clone().unwrap();
        let start = Instant::now();
        bench.keeper().spawn(unit, spec);
        assert!(matches!(bench.next_report(), Report::Spawned { .. }));
        times.push(start.elapsed());
        bench.expect_exit(unit, Exit::Code(0));
        bench.expect_gone(unit);
    }
    times.sort();
    println!("spawn round trip: median {:?}, p95 {:?}", times[150], times[285]);
    assert!(times[150] < Duration::from_millis(50), "{:?}", times[150]);
}

// ---- The keeper itself ----

#[test]
fn the_keeper_hides_from_a_kill_by_name_and_from_the_terminal() {
    let bench = Bench::new();
    let pid = bench.keeper().pid();
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    wait_until("the keeper takes its name", || read("cmdline").starts_with("keeper"));
    assert_eq!(read("comm"), "keeper\n");
    assert_eq!(read("cmdline").trim_end_matches('\0'), "keeper");
    let stat = read("stat");
    let session = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap().to_owned();
    assert_eq!(session, pid.to_string());
    for name in ["-INT", "-TERM", "-HUP", "-QUIT", "-TSTP"] {
        let status = Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
        assert!(status.success());
    }
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    wait_until("the keeper sheds what orch had open", || {
        std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() == 5
    });
    drop(fds);
    bench.expect_silence();
    assert!(is_alive(pid));
}

#[test]
fn an_idle_keeper_sleeps() {
    let mut bench = Bench::new();
    let (..) = bench.run_ready(&["idle"]);
    let status = format!("/proc/{}/status", bench.keeper().pid());
    let switches = || {
        let text = std::fs::read_to_string(&status).unwrap();
        let line = text.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    bench.expect_silence();
    let before = switches();
    bench.expect_silence();
    assert_eq!(switches(), before);
}

#[test]
fn what_the_keeper_holds_stays_open_until_its_end() {
    let mut bench = Bench::new();
    let (earlier, its_writer) = std::io::pipe().unwrap();
    bench.keeper().hold(&[its_writer.as_fd()]).unwrap();
    drop(its_writer);
    let (reader, writer) = std::io::pipe().unwrap();
    bench.keeper().hold(&[writer.as_fd()]).unwrap();
    let (unit, ..) = bench.run_ready(&["idle"]);
    drop(writer);
    assert_eq!(read_all(earlier), "", "what is held replaces what was");
    let ended = std::thread::spawn(move || read_all(reader));
    bench.expect_silence();
    assert!(!ended.is_finished());
    bench.kill(unit);
    bench.expect_exit(unit, Exit::Signal(Signal::KILL));
    bench.expect_gone(unit);
    assert!(!ended.is_finished());
    assert!(bench.close().complete);
    assert_eq!(ended.join().unwrap(), "");
}

#[test]
fn a_shutdown_ends_all_units_and_tells_of_each() {
    let mut bench = Bench::new();
    let (unit, leader) = bench.run_ready(&["daemon"]);
    bench.wait_until_tagged(|count| count == 2);
    let end = bench.keeper.take().unwrap().shutdown(PATIENCE);
    assert!(end.complete);
    assert_eq!(end.killed.len(), 2);
    assert!(end.killed.iter().any(|it| it.pid == leader && it.command == "unit"));
    bench.expect_exit(unit, Exit::Signal(Signal::KILL));
    bench.expect_gone(unit);
}

#[test]
fn a_killed_keeper_takes_its_units_along_and_each_is_told_of() {
    let mut bench = Bench::new();
    let (first, ..) = bench.run_ready(&["daemon"]);
    let (second, _) = bench.run(&["comet"]);
    // Without cgroups it leaves a stray; with them, what it leaves is of the unit.
    let (third, ..) = bench.run(&["stray-and-exit"]);
    bench.expect_exit(third, Exit::Code(0));
    let stray = match bench.keeper().cgroup() {
        Some(_) => None,
        None => {
            let Report::Stray { pid, .. } = bench.next_report() else { panic!("no stray") };
            bench.expect_gone(third);
            Some(pid)
        }
    };
    bench.wait_until_tagged(|count| count >= 3);
    let keeper = bench.keeper().pid().to_string();
    let start = Instant::now();
    assert!(Command::new("kill").args(["-KILL", &keeper]).status().unwrap().success());
    // First of all, so that another keeper is there when the first of them is to begin again.
    assert_eq!(bench.next_report(), Report::KeeperLost);
    for unit in [first, second].into_iter().chain(stray.is_none().then_some(third)) {
        assert_eq!(bench.next_report(), Report::Lost { unit });
    }
    println!("after the keeper's death: all gone and told in {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(bench.tagged(), [0_u32; 0]);
    assert!(stray.is_none_or(|pid| !is_alive(pid)));

    let late = bench.id();
    bench.keeper().spawn(late, spec(&["/bin/true"]).1);
    assert_eq!(bench.next_report(), Report::Lost { unit: late });
    assert!(bench.close().complete);
}

#[test]
fn a_keeper_handed_over_goes_on_with_its_units() {
    let mut bench = Bench::new();
    let (unit, pid) = bench.run_ready(&["idle"]);
    let Ok((handover, socket)) = bench.keeper.take().unwrap().hand_over() else { panic!("not handed over") };
    assert_eq!(handover.units.len(), 1);
    // Ends while nobody listens.
    assert!(Command::new("kill").arg(pid.to_string()).status().unwrap().success());
    let (sender, reports) = channel();
    let sink = Arc::new(move |report| drop(sender.send(report)));
    bench.keeper = Some(Keeper::adopt(handover, socket, sink).unwrap());
    bench.reports = reports;
    bench.expect_exit(unit, Exit::Signal(Signal::TERM));
    bench.expect_gone(unit);
    let (other, ..) = bench.run(&["exit", "7"]);
    bench.expect_exit(other, Exit::Code(7));
    bench.expect_gone(other);
}

#[test]
fn a_keeper_does_not_wait_for_a_slow_reader_and_loses_nothing() {
    let (sender, reports) = channel();
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap();
    let sink = Arc::clone(&gate);
    let keeper = Keeper::launch(
        &[],
        cgroups(),
        Arc::new(move |report| {
            drop(sink.lock().unwrap());
            drop(sender.send(report));
        }),
    )
    .unwrap();
    let count = 600;
    let (last_output, mut words) = (std::io::pipe().unwrap(), vec!["/bin/true"; count]);
    words[count - 1] = "/bin/echo";
    for (unit, word) in words.iter().enumerate() {
        let (_, mut spec) = spec(&[word]);
        spec.output = last_output.1.try_clone().unwrap().into();
        keeper.spawn(UnitId(u32::try_from(unit).unwrap()), spec);
    }
    drop(last_output.1);
    // The last one has run though nobody has taken a report. What the keeper could not take at once is sent on by the
    // thread that waits here for its reader, or with the next request.
    let output = std::thread::spawn(move || read_all(last_output.0));
    wait_until("the last one runs", || {
        keeper.signal(UnitId(u32::MAX), Signal::TERM, Scope::Leader);
        output.is_finished()
    });
    assert_eq!(output.join().unwrap(), "\n");
    assert!(reports.try_recv().is_err());
    drop(closed);
    let mut told = vec![0; count];
    while told.iter().any(|steps| *steps < 3) {
        let (unit, step) = match reports.recv_timeout(PATIENCE).unwrap() {
            Report::Spawned { unit, .. } => (unit, 0),
            Report::Exited { unit, exit: Exit::Code(0) } => (unit, 1),
            Report::Gone { unit } => (unit, 2),
            other => panic!("{other:?}"),
        };
        assert_eq!(told[unit.0 as usize], step, "out of order");
        told[unit.0 as usize] += 1;
    }
    assert!(keeper.shutdown(PATIENCE).complete);
}

#[test]
fn a_dropped_keeper_ends_its_units() {
    let mut bench = Bench::new();
    bench.run_ready(&["deaf"]);
    let pid = bench.keeper().pid();
    drop(bench.keeper.take());
    wait_until("the keeper has ended and is reaped", || !Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(bench.tagged(), [0_u32; 0]);
}

#[test]
fn a_stranger_with_a_reused_id_is_never_signalled() {
    let mut bench = Bench::new();
    let (unit, leader) = bench.run(&["daemon-and-exit"]);
    bench.expect_exit(unit, Exit::Code(0));
    // The kernel gives the leader's id, and so its group's, to a process that is not of the unit.
    let mut stranger = None;
    for _ in 0..500 {
        if std::fs::write("/proc/sys/kernel/ns_last_pid", (leader - 1).to_string()).is_err() {
            eprintln!("only root can choose the next process id: not tested");
            return;
        }
        let mut sleeper = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        if sleeper.id() == leader {
            stranger = Some(sleeper);
            break;
        }
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    }
    let mut stranger = stranger.expect("the id is free");
    for scope in [Scope::Group, Scope::Unit] {
        bench.keeper().signal(unit, Signal::from_name("USR1").unwrap(), scope);
    }
    // The second reached the daemon, which so ends the unit.
    bench.expect_gone(unit);
    bench.keeper().kill(unit);
    bench.keeper().signal(unit, Signal::KILL, Scope::Group);
    bench.expect_silence();
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger was hit");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn an_orch_inside_a_unit_is_of_the_unit_with_all_its_own() {
    let mut bench = Bench::new();
    fixture();
    let unit = bench.id();
    let exe = std::env::current_exe().unwrap().display().to_string();
    let (reader, mut spec) = spec(&[&exe, &play_orch_name(), "--exact", "--nocapture", "--test-threads=1"]);
    spec.env.push((PLAY.into(), "daemon,bare-daemon-and-exit,comet-and-exit,tree 3".into()));
    bench.keeper().spawn(unit, spec);
    assert!(matches!(bench.next_report(), Report::Spawned { .. }));
    let (inner, keeper, _) = names(reader);
    wait_until("the inner units run", || tagged(inner).len() > 10);
    bench.keeper().kill(unit);
    while bench.next_report() != (Report::Gone { unit }) {}
    assert_eq!(tagged(inner), [0_u32; 0]);
    assert!(!is_alive(keeper));
}

// ---- The death of orch ----

/// Not a test of its own: the process that plays orch. It starts what it is told to, says so, and waits to be
/// killed.
#[test]
fn play_orch() {
    let Ok(modes) = std::env::var(PLAY) else { return };
    let mut bench = Bench::new();
    for mode in modes.split(',').filter(|mode| *mode != "spawning") {
        let words: Vec<&str> = mode.split(' ').collect();
        let speaks = !words[0].ends_with("exit") && words[0] != "tree";
        if speaks {
            bench.run_ready(&words)
        } else {
            bench.run(&words)
        };
    }
    let cgroup = bench.keeper().cgroup().unwrap_or(Path::new("")).display().to_string();
    println!("instance {} keeper {} cgroup {cgroup}", bench.instance, bench.keeper().pid());
    if modes != "spawning" {
        loop {
            std::thread::park();
        }
    }
    loop {
        let (_, spec) = spec(&[&fixture().display().to_string(), "daemon"]);
        let unit = bench.id();
        bench.keeper().spawn(unit, spec);
    }
}

pub(crate) struct Play {
    pub(crate) orch: std::process::Child,
    pub(crate) instance: u32,
    pub(crate) keeper: u32,
    pub(crate) cgroup: Option<PathBuf>,
}

/// Starts a process that plays orch, and waits until its units run.
pub(crate) fn play(modes: &str) -> Play {
    fixture();
    let mut orch = Command::new(std::env::current_exe().unwrap())
        .args([&play_orch_name(), "--exact", "--nocapture", "--test-threads=1"])
        .env(PLAY, modes)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (instance, keeper, cgroup) = names(orch.stdout.take().unwrap());
    Play { orch, instance, keeper, cgroup }
}

/// By this name the test program runs `play_orch`.
fn play_orch_name() -> String {
    let (_, module) = module_path!().split_once("::").unwrap();
    format!("{module}::play_orch")
}

/// What `play_orch` says when its units run: the instance, the keeper and the cgroup.
fn names(output: impl std::io::Read) -> (u32, u32, Option<PathBuf>) {
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(output));
    let line = lines.find_map(|line| Some(line.ok()?.split_once("instance ")?.1.to_owned())).unwrap();
    let (instance, rest) = line.split_once(" keeper ").unwrap();
    let (keeper, cgroup) = rest.split_once(" cgroup ").unwrap();
    let cgroup = Some(PathBuf::from(cgroup)).filter(|path| path.is_absolute());
    (instance.parse().unwrap(), keeper.parse().unwrap(), cgroup)
}

impl Drop for Play {
    /// A failing test leaves nothing either: the keeper ends with its orch.
    fn drop(&mut self) {
        let _ = self.orch.kill();
        let _ = self.orch.wait();
    }
}

impl Play {
    /// Kills orch and its keeper in one moment.
    pub(crate) fn kill_both(&mut self) {
        let ids = [self.orch.id().to_string(), self.keeper.to_string()];
        // Stopped first, so that neither outlives the other by a moment.
        assert!(Command::new("kill").arg("-STOP").args(&ids).status().unwrap().success());
        assert!(Command::new("kill").arg("-KILL").args(&ids).status().unwrap().success());
        self.orch.wait().unwrap();
        wait_until("the keeper is dead", || !is_alive(self.keeper));
    }
}

pub(crate) const ZOO: &str = "idle,deaf,deaf-child,daemon,bare-daemon-and-exit,comet,comet-and-exit,tree 4";

#[test]
fn when_orch_is_killed_all_is_gone_within_a_second() {
    for _ in 0..3 {
        let mut play = play(&format!("{ZOO},stray"));
        wait_until("the zoo is complete", || tagged(play.instance).len() > 35);
        let start = Instant::now();
        play.orch.kill().unwrap();
        play.orch.wait().unwrap();
        wait_until("all is gone", || !is_alive(play.keeper));
        let took = start.elapsed();
        assert_eq!(tagged(play.instance), [0_u32; 0]);
        println!("after orch's death: all gone in {took:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}

#[test]
fn when_orch_is_killed_while_it_starts_units_none_slips_through() {
    for delay in 0..6 {
        let mut play = play("spawning");
        std::thread::sleep(Duration::from_millis(5 * delay));
        play.orch.kill().unwrap();
        play.orch.wait().unwrap();
        wait_until("the keeper is done", || !is_alive(play.keeper));
        assert_eq!(tagged(play.instance), [0_u32; 0]);
    }
}

#[test]
fn when_orch_and_its_keeper_are_killed_at_once_a_sweep_ends_the_rest() {
    let mut play = play(ZOO);
    wait_until("the zoo is complete", || tagged(play.instance).len() > 35);
    let stranger = Command::new("sleep").arg("1000").spawn().unwrap();
    play.kill_both();
    assert!(!tagged(play.instance).is_empty(), "there is something to sweep");
    let start = Instant::now();
    let swept = sweep(play.instance, play.cgroup.as_deref());
    println!("swept {} processes in {:?}", swept.len(), start.elapsed());
    assert_eq!(tagged(play.instance), [0_u32; 0]);
    assert_eq!(sweep(play.instance, play.cgroup.as_deref()), [0_u32; 0]);
    let mut stranger = stranger;
    assert!(stranger.try_wait().unwrap().is_none(), "a stranger was hit");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}
