//! Clients of the control socket that say nothing, half of something, garbage, too much, or never read.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::harness::{Project, wait_until};
use crate::socket::{ask, connect};

/// So many components are declared that an answer about them does not fit into a socket's buffer.
const MANY: usize = 3000;

/// What one client sends, before it falls silent and never reads.
const MISDEEDS: [(&str, usize, fn() -> Vec<u8>); 9] = [
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
        assert_eq!(reply.status, 200, "{}", reply.head);
        let components = reply.json()["components"].as_array().unwrap().len();
        assert_eq!(components, MANY + 1);
        begin.elapsed()
    };
    let alone = (0..5).map(|_| status()).max().unwrap();
    let (memory, open) = (resident(orch.pid()), descriptors(orch.pid()));

    let mut bad = Vec::new();
    let (mut worst, mut most) = (Duration::ZERO, memory);
    for (round, (what, count, bytes)) in MISDEEDS.iter().cycle().take(2 * MISDEEDS.len()).enumerate() {
        bad.extend((0..*count).map(|_| misdeed(&project, &bytes())));
        for _ in 0..3 {
            worst = worst.max(status());
        }
        most = most.max(resident(orch.pid()));
        if round % 3 == 0 {
            let run = project.starts("a") as u64 + 1;
            project.write("source", format!("round {round}"));
            project.wait_ready("a", run);
        }
        assert!(worst < Duration::from_secs(2), "{what}: {worst:?}");
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
    orch.stop();
}
