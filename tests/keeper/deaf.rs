//! A keeper that does not hear, or can't take what it is given: nobody waits for it.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use orch::runner::keeper::{Cgroups, Keeper, ProcessSpec};
use orch::runner::{ReportSink, Runner as _, RunnerReport as Report, Scope};
use orch::types::{Signal, UnitId};
use rustix::process::{Pid, Resource, Rlimit};

const PATIENCE: Duration = Duration::from_secs(60);

fn spec(program: &str) -> (std::io::PipeReader, ProcessSpec) {
    let (reader, writer) = std::io::pipe().unwrap();
    let spec = ProcessSpec {
        program: program.into(),
        argv: vec![program.into()],
        env: vec![],
        cwd: "/".into(),
        stdin: None,
        output: writer.into(),
        extra: Vec::new(),
    };
    (reader, spec)
}

/// Stops a process, and stops it again whenever somebody lets it go on, until this is dropped.
struct Frozen(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Frozen {
    fn new(pid: u32) -> Self {
        let thawed = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&thawed);
        let pid = Pid::from_raw(pid.cast_signed()).unwrap();
        let stop = move || {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::STOP);
        };
        stop();
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::SeqCst) {
                stop();
                std::thread::yield_now();
            }
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::CONT);
        });
        Self(thawed, Some(thread))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
        drop(self.1.take().map(std::thread::JoinHandle::join));
    }
}

/// Whatever is asked of it while it is stopped, no call waits; and in the end everything is done.
#[test]
fn nobody_waits_for_a_keeper_that_takes_nothing() {
    const MANY: u32 = 2000;
    let (sender, reports) = channel();
    let keeper = Keeper::launch(&[], Cgroups::Never, Arc::new(move |report| drop(sender.send(report))));
    let keeper = Arc::new(keeper.unwrap());
    let frozen = Frozen::new(keeper.pid());
    let (done, asked) = channel();
    let asker = Arc::clone(&keeper);
    std::thread::spawn(move || {
        // More than any socket holds.
        let named = (0..MANY).filter(|number| asker.main(UnitId(1000 + number), 1)).count();
        let again = (0..MANY).filter(|_| asker.main(UnitId(1000 + MANY - 1), 2)).count();
        let (_reader, spec) = spec("/bin/true");
        asker.spawn(UnitId(1), spec);
        for _ in 0..MANY {
            asker.signal(UnitId(2), Signal::TERM, Scope::Group);
        }
        asker.kill(UnitId(1));
        let _ = done.send((named, again));
    });
    let asked = asked.recv_timeout(PATIENCE);
    drop(frozen);
    let (named, again) = asked.expect("who asks waits");
    assert_eq!(named, MANY as usize, "each unit's first one has an answer of its own");
    let mut answers = 0;
    let (_reader, spec) = spec("/bin/true");
    keeper.spawn(UnitId(3), spec);
    loop {
        match reports.recv_timeout(PATIENCE).unwrap() {
            Report::Main { accepted: false, .. } => answers += 1,
            Report::Gone { unit: UnitId(3) } => break,
            // The first unit's start is withdrawn, or was taken in a moment in which the keeper could run.
            Report::Spawned { .. } | Report::Exited { .. } | Report::SpawnFailed { .. } => {}
            Report::Killed { .. } | Report::Gone { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(answers, named + again, "as many answers as were announced");
}

/// What is asked of it is known to this image alone, so it is not let go of.
#[test]
fn a_keeper_that_takes_nothing_is_not_handed_over() {
    const MANY: u32 = 2000;
    let (sender, reports) = channel();
    let sink: ReportSink = Arc::new(move |report| drop(sender.send(report)));
    let mut keeper = Keeper::launch(&[], Cgroups::Never, Arc::clone(&sink)).unwrap();
    let frozen = Frozen::new(keeper.pid());
    let (mut asked, begun) = (0, Instant::now());
    // Who asks lets it go on: now and then it takes all, before it is stopped again.
    let (keeper, error) = loop {
        for unit in (asked..asked + MANY).map(UnitId) {
            assert!(keeper.main(unit, 1));
        }
        asked += MANY;
        match keeper.hand_over() {
            Err(refused) => break *refused,
            Ok((handover, socket)) => keeper = Keeper::adopt(handover, socket, Arc::clone(&sink)).unwrap(),
        }
        assert!(begun.elapsed() < PATIENCE, "it is always handed over");
    };
    drop(frozen);
    assert!(error.to_string().contains("does not answer"), "{error}");
    for _ in 0..asked {
        assert!(matches!(reports.recv_timeout(PATIENCE), Ok(Report::Main { .. })));
    }
    assert!(keeper.shutdown(PATIENCE).complete);
}

/// A request that is too long for a packet comes in a file. Where there is no number for that, the unit's spawn
/// is answered all the same.
#[test]
fn a_spawn_whose_request_is_lost_is_answered() {
    let (sender, reports) = channel();
    let keeper =
        Keeper::launch(&[], Cgroups::Never, Arc::new(move |report| drop(sender.send(report)))).unwrap();
    let pid = Pid::from_raw(keeper.pid().cast_signed()).unwrap();
    let (_first, spec_of_first) = spec("/bin/true");
    keeper.spawn(UnitId(2), spec_of_first);
    while reports.recv_timeout(PATIENCE).unwrap() != (Report::Gone { unit: UnitId(2) }) {}
    // What it has open stays; one more there is not.
    let crowded = Rlimit { current: Some(3), maximum: Some(1024) };
    rustix::process::prlimit(Some(pid), Resource::Nofile, crowded).unwrap();
    let (_reader, mut long) = spec("/bin/true");
    long.env = vec![(OsString::from("LONG"), "x".repeat(100_000).into())];
    long.extra = vec![OwnedFd::from(std::fs::File::open("/dev/null").unwrap())];
    keeper.spawn(UnitId(1), long);
    let report = reports.recv_timeout(PATIENCE);
    let Ok(Report::SpawnFailed { unit: UnitId(1), error }) = report else { panic!("{report:?}") };
    assert!(error.contains("too many open files"), "{error}");
    assert!(keeper.shutdown(PATIENCE).complete);
}
