//! The built-in proxies before real servers that bind their own ports (`tests/fixtures/served.py`).

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::{Project, address, append, wait_for, wait_until};

pub(crate) const LONG: Duration = Duration::from_secs(60);
pub(crate) const HEAD_END: &str = "\r\n\r\n";

/// A server behind a proxy.
struct Fronted {
    project: Project,
    front: String,
}

fn fronted(thread: &str, kind: &str, hold: &str) -> Fronted {
    let (front, back) = (address(), address());
    let project = Project::new(&format!(
        "
components:
  app:
    process: python3 served.py {back} {kind}
    watch: [served.py]
    ready: {{ tcp: '{back}', timeout: 1m, interval: 10ms }}
    restart: {{ backoff: {{ initial: 10ms }} }}
  front: {{ thread: {thread}, with: {{ listen: '{front}', to: '{back}', hold: {hold} }} }}
"
    ));
    project.write("served.py", include_str!("../fixtures/served.py"));
    Fronted { project, front }
}

impl Fronted {
    fn client(&self) -> TcpStream {
        let client = wait_for("the proxy listens", || TcpStream::connect(&self.front).ok());
        client.set_read_timeout(Some(LONG)).unwrap();
        client
    }

    /// One request on a connection of its own.
    fn ask(&self, request: &str) -> String {
        let mut client = self.client();
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
}

/// Reads up to and with this text.
pub(crate) fn read_until(stream: &mut TcpStream, end: &str) -> Result<String, String> {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(end.as_bytes()) {
        match stream.read(&mut byte) {
            Ok(1) => text.push(byte[0]),
            Ok(_) => return Err(format!("it ended after {:?}", String::from_utf8_lossy(&text))),
            Err(error) => return Err(format!("{error} after {:?}", String::from_utf8_lossy(&text))),
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A request on a connection that is kept, and the body of its answer.
pub(crate) fn exchange(stream: &mut TcpStream, request: &str) -> Result<String, String> {
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let head = read_until(stream, HEAD_END)?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(head);
    }
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.and_then(|length| length.parse().ok()).ok_or_else(|| head.clone())?];
    stream.read_exact(&mut body).map_err(|error| format!("{error} in the body"))?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

#[test]
fn four_clients_without_pause_see_no_failure_over_restarts_by_saves() {
    const RESTARTS: u64 = 10;
    let fronted = fronted("proxy", "http", "60s");
    let mut orch = fronted.project.up();
    let (over, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failures = std::thread::scope(|scope| {
        let requests = [get("/a"), "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody".to_owned()];
        let go = |request: String| {
            let (fronted, over, answers) = (&fronted, &over, &answers);
            move || {
                let (mut client, mut failures) = (fronted.client(), Vec::new());
                while !over.load(Ordering::Relaxed) {
                    if let Err(error) = exchange(&mut client, &request) {
                        failures.push(error);
                        client = fronted.client();
                    }
                    answers.fetch_add(1, Ordering::Relaxed);
                }
                failures
            }
        };
        let requests = requests.map(|request| request.replace("Connection: close\r\n", ""));
        let clients: Vec<_> = (0..4).map(|number| scope.spawn(go(requests[number % 2].clone()))).collect();
        for run in 1..=RESTARTS {
            fronted.project.wait_told_ready("app", run);
            let before = answers.load(Ordering::Relaxed);
            wait_until("requests are answered", || answers.load(Ordering::Relaxed) > before + 40);
            append(&fronted.project.path("served.py"), &format!("# {run}\n"));
        }
        fronted.project.wait_told_ready("app", RESTARTS + 1);
        over.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(failures, Vec::<String>::new(), "of {}", answers.into_inner());
    orch.stop();
}

#[test]
fn events_pass_one_by_one_and_a_web_socket_both_ways() {
    let fronted = fronted("proxy", "http", "60s");
    let mut orch = fronted.project.up();
    let mut events = fronted.client();
    events.write_all(get("/events").as_bytes()).unwrap();
    read_until(&mut events, "data: 1\n\n").unwrap();
    fronted.project.write("next", "");
    read_until(&mut events, "data: 2\n\n").unwrap();

    let mut socket = fronted.client();
    let asked = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(asked.as_bytes()).unwrap();
    let head = read_until(&mut socket, HEAD_END).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    // A text, and then the end: masked with zeros, as a client must.
    for (first, text) in [(0x81, "hello"), (0x81, "again"), (0x88, "")] {
        let mut frame = vec![first, 0x80 | text.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        socket.write_all(&frame).unwrap();
        let mut answer = vec![0; 2 + text.len()];
        socket.read_exact(&mut answer).unwrap();
        assert_eq!((answer[0], &answer[2..]), (first, text.as_bytes()));
    }
    assert_eq!(socket.read(&mut [0]).unwrap(), 0, "the server's end is the client's");
    orch.stop();
}

/// Kibibytes that a process has taken at most.
fn most_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn an_upload_takes_no_memory() {
    const CHUNKS: usize = 50 << 4;
    let fronted = fronted("proxy", "http", "60s");
    let mut orch = fronted.project.up();
    assert!(fronted.ask(&get("/")).starts_with("HTTP/1.1 200 "));
    let before = most_memory(orch.pid());
    let mut client = fronted.client();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    let chunk = [b"10000\r\n".as_slice(), &vec![b'x'; 1 << 16], b"\r\n"].concat();
    for _ in 0..CHUNKS {
        client.write_all(&chunk).unwrap();
    }
    client.write_all(b"0\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with(&(CHUNKS << 16).to_string()), "{answer}");
    let grown = most_memory(orch.pid()) - before;
    assert!(grown < 16 << 10, "{grown} KiB");
    orch.stop();
}

#[test]
fn what_is_not_there_is_told_with_its_reason() {
    let fronted = fronted("proxy", "http", "500ms");
    let mut orch = fronted.project.up();
    assert!(fronted.ask(&get("/")).starts_with("HTTP/1.1 "));
    fronted.project.wait_told_ready("app", 1);
    assert_eq!(fronted.project.run(&["stop", "app"]).status.code(), Some(0));
    let answer = fronted.ask(&get("/"));
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("orch: app is stopped"), "{answer}");
    // It can't start any more, so that it fails for good.
    fronted.project.write("served.py", "raise SystemExit('broken')\n");
    fronted.project.run(&["start", "app"]);
    fronted.project.wait_state("app", "failed");
    let answer = fronted.ask(&get("/"));
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("orch: app is failed: "), "{answer}");
    // And now it starts, but is not ready in time.
    fronted.project.write("served.py", "import time\ntime.sleep(1000)\n");
    fronted.project.wait_state("app", "starting");
    let answer = fronted.ask(&get("/"));
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("this request waited 500ms"), "{answer}");
    orch.stop();
}

#[test]
fn a_tcp_client_that_comes_during_a_restart_is_served() {
    let fronted = fronted("tcp-proxy", "echo", "60s");
    let mut orch = fronted.project.up();
    let mut first = fronted.client();
    first.write_all(b"one\n").unwrap();
    let before = read_until(&mut first, ": one\n").unwrap();
    append(&fronted.project.path("served.py"), "# saved\n");
    fronted.project.wait_event("it stops", |event| event["event"] == "component.stopping");
    let mut second = fronted.client();
    second.write_all(b"two\n").unwrap();
    // The first run ends when its client does.
    first.shutdown(Shutdown::Write).unwrap();
    read_until(&mut first, "bye\n").unwrap();
    let after = read_until(&mut second, ": two\n").unwrap();
    assert_ne!(before.split(':').next(), after.split(':').next(), "another run");
    second.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    second.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "bye\n");
    orch.stop();
}

#[test]
fn a_proxy_is_ready_when_it_listens_and_says_who_does_instead() {
    let at = address();
    let taken = TcpListener::bind(&at).unwrap();
    let project = Project::new(&format!(
        "
components:
  front:
    thread: proxy
    with: {{ listen: '{at}', to: '127.0.0.1:1' }}
    restart: {{ backoff: {{ initial: 10ms, max: 50ms }}, limit: {{ count: 1000, within: 1s }} }}
  after: {{ process: ./faulty, depends_on: [front] }}
"
    ));
    let mut orch = project.up();
    let failed = project.wait_event("it fails", |event| event["event"] == "component.backoff");
    let reason = failed["reason"].as_str().unwrap();
    let port = at.rsplit(':').next().unwrap();
    assert!(reason.contains(&format!("port {port} is in use by ")), "{reason}");
    assert_eq!(project.starts("after"), 0);
    drop(taken);
    project.wait_ready("after", 1);
    assert!(TcpStream::connect(&at).is_ok());
    orch.stop();
    assert!(TcpStream::connect(&at).is_err());
}

#[test]
fn each_mistake_of_with_is_told_by_validate() {
    let project = Project::new("\ncomponents: {}\n");
    for (with, expected) in [
        ("{ to: '127.0.0.1:1' }", "missing field `listen`"),
        // None of the keys that are there is at fault.
        ("{ listen: '127.0.0.1:80' }", "thread `proxy`: with: missing field `to`"),
        ("{ listen: ':80', to: '127.0.0.1:1' }", "with.listen: `:80`"),
        ("{ listen: '127.0.0.1:80', to: 'https://a' }", "https is not spoken"),
        ("{ listen: '127.0.0.1:80', to: '127.0.0.1:1', hold: soon }", "`soon` is no duration"),
        ("{ listen: '127.0.0.1:80', to: '127.0.0.1:1', helo: 1s }", "unknown field `helo`"),
    ] {
        project.yaml(&format!("\ncomponents:\n  front: {{ thread: proxy, with: {with} }}\n"));
        let checked = project.run(&["validate"]);
        let told =
            String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.code() == Some(2) && told.contains(expected), "{with}: {told}");
    }
}

/// Its listener stays open while it restarts, and is no stranger's.
#[test]
fn a_proxy_that_is_asked_whether_it_is_ready_restarts() {
    let front = address();
    let project = Project::new(&format!(
        "
components:
  front:
    thread: tcp-proxy
    with: {{ listen: '{front}', to: '127.0.0.1:9' }}
    ready: {{ tcp: '{front}', timeout: 1m }}
"
    ));
    let mut orch = project.up();
    project.wait_told_ready("front", 1);
    let restarted = project.run(&["restart", "front"]);
    assert!(restarted.status.success(), "{restarted:?}");
    assert_eq!(project.state_of("front"), ("ready".to_owned(), 2));
    orch.stop();
}
