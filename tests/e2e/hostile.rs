//! Clients of the control socket that say nothing, half of something, garbage, too much, or never read.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::harness::{Project, wait_until};
use crate::socket::{Reply, ask, connect};

/// So many components are declared that an answer about them does not fit into a socket's buffer.
const MANY: usize = 3000;

/// Makes what a client sends.
type Bytes = fn() -> Vec<u8>;

/// What clients send, before they fall silent and never read: what it is, how many do so, and the bytes.
const MISDEEDS: [(&str, usize, Bytes); 9] = [
    ("silent", 60, Vec::new),
    ("half a head", 40, || b"GET /v1/status HTTP/1.1\r\nhost: or".to_vec()),
    ("garbage", 40, || vec![0xfe; 5000]),
    ("a huge head", 20, || [b"GET /v1/status?".to_vec(), vec![b'x'; 200_000]].concat()),
    ("half a body", 20, || b"POST /v1/start HTTP/1.1\r\ncontent-length: 60000\r\n\r\n{".to_vec()),
    ("a huge body", 20, || {
        let head = b"POST /v1/start HTTP/1.1\r\ncontent-length: 5000000\r\n\r\n".to_vec();
        [head, vec![b' '; 300_000]].concat()
    }),
    ("a big answer, not read", 70, || b"GET /v1/status HTTP/1.1\r\n\r\n".to_vec()),
    ("a stream, not read", 70, || b"GET /v1/events?follow=true&after=0 HTTP/1.1\r\n\r\n".to_vec()),
    ("a wait for ever", 20, || {
        let body = r#"{"for":"stuck"}"#;
        format!("POST /v1/wait HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }),
];

fn misdeed(project: &Project, bytes: &[u8]) -> UnixStream {
    let mut stream = connect(project);
    stream.set_nonblocking(true).unwrap();
    // What does not fit is not sent.
    let _ = stream.write(bytes);
    stream
}

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// How often a thread of orch has gone to sleep.
fn rests(pid: u32, thread: &str) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let task = tasks
        .map(|task| task.unwrap().path())
        .find(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == thread));
    let status = std::fs::read_to_string(task.unwrap().join("status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn who_does_not_say_it_in_time_is_told_so_and_with_nobody_there_the_server_sleeps() {
    let project = Project::new("components:\n  a: { process: ./faulty }");
    let mut orch = project.up();
    let head = misdeed(&project, b"GET /v1/status HTTP/1.1\r\n");
    let body = misdeed(&project, b"POST /v1/start HTTP/1.1\r\ncontent-length: 10\r\n\r\n{");
    for (stream, what) in [(head, "the head"), (body, "the body")] {
        stream.set_nonblocking(false).unwrap();
        let reply = Reply::read(stream);
        let error = reply.json()["error"].as_str().unwrap().to_owned();
        assert_eq!(reply.status, 408);
        assert!(error.starts_with(what), "{error}");
    }
    // Workers that have read a file rest for a while before they end.
    let sleeps = || {
        let before = rests(orch.pid(), "orch-control");
        std::thread::sleep(Duration::from_secs(2));
        rests(orch.pid(), "orch-control") == before
    };
    wait_until("nothing wakes the server", sleeps);
    orch.stop();
}

/// With all descriptors used up by those who say nothing, one of them goes for whoever comes.
#[test]
fn whoever_comes_gets_in_when_descriptors_are_used_up() {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    let project = Project::new("components:\n  a: { process: ./faulty }");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    assert_eq!(ask(&project, "GET", "/v1/status", "").status, 200);
    let limit = Some(descriptors(orch.pid()) as u64 + 4);
    let pid = Pid::from_raw(orch.pid().cast_signed());
    // Whoever lowers the maximum can't raise it again.
    let maximum = getrlimit(Resource::Nofile).maximum;
    let before = prlimit(pid, Resource::Nofile, Rlimit { current: limit, maximum }).unwrap();
    let silent: Vec<UnixStream> = (0..20).map(|_| misdeed(&project, b"")).collect();
    for _ in 0..3 {
        assert_eq!(ask(&project, "GET", "/v1/status", "").status, 200);
    }
    prlimit(pid, Resource::Nofile, before).unwrap();
    drop(silent);
    orch.stop();
}

#[test]
fn three_hundred_bad_clients_keep_nobody_waiting_and_grow_nothing() {
    let mut yaml = "components:\n  a: { process: ./faulty, watch: [source] }\n".to_owned();
    for number in 0..MANY {
        writeln!(yaml, "  c{number}: {{ process: ./faulty, autostart: false }}").unwrap();
    }
    let project = Project::new(&yaml);
    project.write("source", "0");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    let status = || {
        let begin = Instant::now();
        let reply = ask(&project, "GET", "/v1/status", "");
        let took = begin.elapsed();
        assert_eq!(reply.status, 200, "{}", reply.head);
        let components = reply.json()["components"].as_array().unwrap().len();
        assert_eq!(components, MANY + 1);
        took
    };
    let alone = (0..5).map(|_| status()).max().unwrap();
    let (memory, open) = (resident(orch.pid()), descriptors(orch.pid()));

    let mut bad = Vec::new();
    let (mut worst, mut most) = ((Duration::ZERO, ""), memory);
    for (round, (what, count, bytes)) in MISDEEDS.iter().cycle().take(2 * MISDEEDS.len()).enumerate() {
        bad.extend((0..*count).map(|_| misdeed(&project, &bytes())));
        for _ in 0..3 {
            worst = worst.max((status(), *what));
        }
        most = most.max(resident(orch.pid()));
        if round % 3 == 0 {
            let run = project.starts("a") as u64 + 1;
            project.write("source", format!("round {round}"));
            project.wait_ready("a", run);
        }
        assert!(worst.0 < Duration::from_secs(2), "{worst:?}");
    }
    let grown = most.saturating_sub(memory);
    println!(
        "{} bad clients: a good one waits {worst:?} at the most ({alone:?} without them); orch grows by {grown} KiB",
        bad.len()
    );
    assert!(bad.len() > 600 && grown < 64 << 10, "{grown} KiB");
    assert!(descriptors(orch.pid()) < open + 300);
    drop(bad);
    wait_until("all descriptors are given back", || descriptors(orch.pid()) <= open);

    // One alone is in nobody's way, and is cut off all the same.
    let begin = Instant::now();
    let idle = misdeed(&project, b"GET /v1/status HTTP/1.1\r\n\r\n");
    wait_until("its answer is begun", || descriptors(orch.pid()) > open);
    while descriptors(orch.pid()) > open {
        assert!(
            begin.elapsed() < Duration::from_secs(90),
            "whoever takes nothing is waited for without an end"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(begin.elapsed() > Duration::from_secs(25), "{:?}", begin.elapsed());
    drop(idle);
    orch.stop();
}

/// Whoever asks for all logs and reads none of them takes neither the memory nor the files that components need,
/// and nobody who looks at the project waits for it.
#[test]
fn logs_that_nobody_reads_take_no_more_than_they_may() {
    let mut yaml = "components:\n  a: { process: ./faulty }\n".to_owned();
    for number in 0..100 {
        writeln!(yaml, "  c{number}: {{ process: ./faulty, autostart: false }}").unwrap();
    }
    let project = Project::new(&yaml);
    for number in 0..100 {
        project.write(&format!(".orch/logs/c{number}.log"), "a line like others\n".repeat(32 << 10));
    }
    let mut orch = project.up();
    project.wait_ready("a", 1);
    assert_eq!(ask(&project, "GET", "/v1/usage", "").status, 200);
    let (memory, open) = (resident(orch.pid()), descriptors(orch.pid()));
    let paths = ["/v1/logs", "/v1/logs?grep=nothing", "/v1/logs?follow=true"];
    let request = |path: &&str| format!("GET {path} HTTP/1.1\r\n\r\n").into_bytes();
    let idle: Vec<UnixStream> =
        paths.iter().cycle().take(150).map(|path| misdeed(&project, &request(path))).collect();
    let (mut worst, mut grown) = (Duration::ZERO, 0);
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        let begin = Instant::now();
        assert_eq!(ask(&project, "GET", "/v1/usage", "").status, 200);
        worst = worst.max(begin.elapsed());
        grown = grown.max(resident(orch.pid()).saturating_sub(memory));
    }
    println!("who looks waits {worst:?} at the most; orch grows by {grown} KiB");
    assert!(worst < Duration::from_secs(5) && grown < 300 << 10, "{worst:?}, {grown} KiB");
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX);
    assert!((descriptors(orch.pid()) as u64) < open as u64 + most / 2 + 300);
    assert_eq!(ask(&project, "POST", "/v1/start", r#"{"names": ["c1"]}"#).status, 200);
    drop(idle);
    wait_until("all descriptors are given back", || descriptors(orch.pid()) <= open + 4);
    orch.stop();
}

/// A name that is as long as a request may be is compared with none.
#[test]
fn a_name_without_an_end_is_refused_at_once() {
    let mut yaml = "components:\n  a: { process: ./faulty }\n".to_owned();
    for number in 0..MANY {
        writeln!(yaml, "  component-{number}: {{ process: ./faulty, autostart: false }}").unwrap();
    }
    let project = Project::new(&yaml);
    let mut orch = project.up();
    project.wait_ready("a", 1);
    let begin = Instant::now();
    let reply = ask(&project, "POST", "/v1/stop", &format!(r#"{{"names": ["{}"]}}"#, "x".repeat(60_000)));
    assert_eq!(reply.status, 404);
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    let reply = ask(&project, "POST", "/v1/stop", r#"{"names": ["component-12x"]}"#);
    assert!(
        reply.json()["help"].as_str().unwrap().starts_with("did you mean `component-12"),
        "{}",
        reply.head
    );
    orch.stop();
}
