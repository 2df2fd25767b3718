//! The proxies by themselves, before a server that is written out by hand: what it reads and what it answers are
//! bytes.

mod http;
mod restart;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::{Around, Kept, Lamp, Parting, Registry, Seen, ThreadRunner, ThreadSpec};
use crate::runner::{Runner, RunnerReport, Scope};
use crate::types::{Exit, Name, Signal, State, UnitId};

const LONG: Duration = Duration::from_secs(60);
const UNIT: UnitId = UnitId(1);

fn seen(state: State, incarnation: u64) -> Option<Seen> {
    Some(Seen { name: Name::new("app").unwrap(), state, reason: state.word().to_owned(), incarnation })
}

/// A proxy that runs, and what is behind it.
struct Bench {
    runner: ThreadRunner,
    reports: Receiver<RunnerReport>,
    lamp: Lamp,
    kept: Kept,
    server: TcpListener,
    at: SocketAddr,
    _output: OwnedFd,
}

/// An address at which nobody listens.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Bench {
    fn new(thread: &str, hold: &str, lamp: Lamp) -> Self {
        let (sender, reports) = mpsc::channel();
        let sender = Mutex::new(sender);
        let sink = Arc::new(move |report| drop(sender.lock().unwrap().send(report)));
        let runner = ThreadRunner::start(sink, Registry::builtin());
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let (read, _) = rustix::pipe::pipe().unwrap();
        let mut bench =
            Self { runner, reports, lamp, kept: Kept::default(), server, at: free(), _output: read };
        bench.start(thread, hold);
        assert_eq!(bench.next(), RunnerReport::Spawned { unit: UNIT, pid: None });
        assert_eq!(bench.next(), RunnerReport::Ready { unit: UNIT });
        bench
    }

    fn with(&self, hold: &str) -> serde_yaml::Value {
        let to = self.server.local_addr().unwrap();
        serde_yaml::from_str(&format!("{{ listen: '{}', to: '{to}', hold: {hold} }}", self.at)).unwrap()
    }

    fn start(&mut self, thread: &str, hold: &str) {
        let (read, output) = rustix::pipe::pipe().unwrap();
        self._output = read;
        self.runner.spawn(
            UNIT,
            ThreadSpec {
                name: Name::new("front").unwrap(),
                runner: thread.to_owned(),
                with: self.with(hold),
                output,
                incarnation: 1,
                state: None,
                around: Around {
                    light: self.lamp.light(),
                    holder: Some(Arc::new(|at| Some(format!("somebody at {at}")))),
                    kept: self.kept.clone(),
                },
            },
        );
    }

    fn next(&self) -> RunnerReport {
        self.reports.recv_timeout(LONG).unwrap()
    }

    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.at).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        client
    }

    /// Sends this on a connection of its own, and gives all that is answered until the proxy closes.
    fn ask(&self, request: &str) -> JoinHandle<String> {
        let (mut client, request) = (self.client(), request.to_owned());
        std::thread::spawn(move || {
            client.write_all(request.as_bytes()).unwrap();
            let mut answer = Vec::new();
            // A reset is the end, too.
            let _ = client.read_to_end(&mut answer);
            String::from_utf8_lossy(&answer).into_owned()
        })
    }

    /// The next connection to the server.
    fn accept(&self) -> TcpStream {
        let (server, _) = self.server.accept().unwrap();
        server.set_read_timeout(Some(LONG)).unwrap();
        server
    }

    /// The end: no run follows.
    fn stop(&self) {
        self.kept.part(&Name::new("front").unwrap(), Parting::Rest, LONG);
        self.end();
    }

    /// The end of a run, which another one follows.
    fn end(&self) {
        self.runner.stop(UNIT, Signal::TERM, Scope::Group);
        assert_eq!(self.next(), RunnerReport::Exited { unit: UNIT, exit: Exit::Code(0) });
        assert_eq!(self.next(), RunnerReport::Gone { unit: UNIT });
    }
}

/// Reads up to and with this text.
fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(end.as_bytes()) {
        let read = stream.read(&mut byte).unwrap_or_else(|error| {
            panic!("{error} after {:?}", String::from_utf8_lossy(&text));
        });
        assert_ne!(read, 0, "it ended after {:?}", String::from_utf8_lossy(&text));
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

const HEAD_END: &str = "\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: example.test:1234\r\nConnection: close\r\n\r\n")
}

#[test]
fn a_request_waits_for_the_light_and_its_head_is_a_proxys() {
    let bench = Bench::new("proxy", "60s", Lamp::new(seen(State::Starting, 1)));
    bench.server.set_nonblocking(true).unwrap();
    let asked = bench.ask(
        "GET http://other.test/a?b HTTP/1.1\r\nHost: example.test\r\nConnection: close, X-Hop, Host\r\nX-Hop: 1\r\n\
         TE: trailers\r\nKeep-Alive: 3\r\nX-Forwarded-For: 10.0.0.1\r\nX-MiXed: 1\r\n\r\n",
    );
    // A second one goes away while it waits: its place is given back, and nobody waits for it.
    let gone = bench.client();
    (&gone).write_all(get("/gone").as_bytes()).unwrap();
    std::thread::yield_now();
    assert!(bench.server.accept().is_err(), "nothing is sent to what is not ready");
    drop(gone);
    bench.server.set_nonblocking(false).unwrap();
    bench.lamp.show(seen(State::Ready, 1));
    // For the one that went away a connection may be made before that is seen; nothing comes by it then.
    let mut head = String::new();
    while !head.contains("/a?b") {
        let mut server = bench.accept();
        if server.peek(&mut [0]).unwrap() > 0 {
            head = read_until(&mut server, HEAD_END);
            server.write_all(OK).unwrap();
        }
    }
    assert!(head.starts_with("GET /a?b HTTP/1.1\r\n"), "{head}");
    for line in ["Host: other.test", "x-forwarded-for: 10.0.0.1, 127.0.0.1", "X-MiXed: 1", "te: trailers"] {
        assert!(head.to_lowercase().contains(&format!("\r\n{}\r\n", line.to_lowercase())), "{line}: {head}");
    }
    assert!(head.contains("X-MiXed"), "names keep their form: {head}");
    assert!(!head.contains("X-Hop") && !head.contains("Keep-Alive"), "{head}");
    let answer = asked.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
    bench.stop();
}

#[test]
fn an_answer_that_tells_two_lengths_is_framed_anew() {
    let bench = Bench::new("proxy", "60s", Lamp::new(seen(State::Ready, 1)));
    let asked = bench.ask(&get("/"));
    let mut server = bench.accept();
    read_until(&mut server, HEAD_END);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
    server.write_all(&[head.as_slice(), b"2\r\nok\r\n0\r\n\r\n"].concat()).unwrap();
    let answer = asked.join().unwrap().to_ascii_lowercase();
    assert!(!answer.contains("content-length") && answer.ends_with("\r\n2\r\nok\r\n0\r\n\r\n"), "{answer}");
    bench.stop();
}

#[test]
fn what_a_dying_incarnation_did_not_answer_is_sent_again_only_if_that_is_safe() {
    let bench = Bench::new("proxy", "60s", Lamp::new(seen(State::Ready, 1)));
    let (safe, other) = (bench.ask(&get("/safe")), bench.ask(&get("/other").replace("GET", "POST")));
    for _ in 0..2 {
        let mut server = bench.accept();
        read_until(&mut server, HEAD_END);
        drop(server);
    }
    let refused = other.join().unwrap();
    assert!(refused.starts_with("HTTP/1.1 502 ") && refused.contains("may have been done"), "{refused}");
    bench.lamp.show(seen(State::Stopping, 1));
    bench.lamp.show(seen(State::Ready, 2));
    let mut server = bench.accept();
    assert!(read_until(&mut server, HEAD_END).starts_with("GET /safe "));
    server.write_all(OK).unwrap();
    assert!(safe.join().unwrap().ends_with("ok"));
    drop(server);

    // The same incarnation goes on: it would do the same again.
    let again = bench.ask(&get("/again"));
    let mut server = bench.accept();
    read_until(&mut server, HEAD_END);
    drop(server);
    let refused = again.join().unwrap();
    assert!(
        refused.starts_with("HTTP/1.1 502 ")
            && refused.contains("app was sent this request and did not answer"),
        "{refused}"
    );
    bench.stop();
}

#[test]
fn a_server_that_closes_at_once_is_given_up_when_hold_is_over() {
    let bench = Bench::new("proxy", "300ms", Lamp::new(seen(State::Ready, 1)));
    let asked = bench.ask(&get("/").replace("GET", "POST"));
    bench.server.set_nonblocking(true).unwrap();
    let end = Instant::now() + LONG;
    while !asked.is_finished() && Instant::now() < end {
        // Unread, so that it is a reset.
        drop(bench.server.accept());
        std::thread::yield_now();
    }
    let answer = asked.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 50"), "{answer}");
    bench.stop();
}

#[test]
fn an_answer_that_breaks_off_is_not_given_as_whole() {
    let bench = Bench::new("proxy", "60s", Lamp::new(None));
    for head in ["Content-Length: 10\r\n\r\nok", "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"] {
        let asked = bench.ask(&get("/"));
        let mut server = bench.accept();
        read_until(&mut server, HEAD_END);
        server.write_all(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes()).unwrap();
        drop(server);
        let answer = asked.join().unwrap();
        assert!(answer.contains("ok") && !answer.contains("0\r\n\r\n"), "{answer}");
    }
    bench.stop();
}

#[test]
fn hold_ends_with_a_503_that_says_why() {
    let bench = Bench::new("proxy", "300ms", Lamp::new(seen(State::Starting, 1)));
    let before = Instant::now();
    let answer = bench.ask(&get("/")).join().unwrap();
    assert!(before.elapsed() >= Duration::from_millis(300));
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.to_lowercase().contains("retry-after: 1\r\n"),
        "{answer}"
    );
    let says = "orch: app is starting; this request waited 300ms (`hold`) and was not sent;";
    assert!(answer.contains(says), "{answer}");
    bench.stop();

    let bench = Bench::new("proxy", "60s", Lamp::new(seen(State::Failed, 1)));
    let answer = bench.ask(&get("/")).join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("orch: app is failed;"), "{answer}");
    // One that waits is told when it comes to that, or when the proxy stops.
    bench.lamp.show(seen(State::Starting, 2));
    let (first, _) = (bench.ask(&get("/")), bench.client());
    bench.lamp.show(seen(State::Blocked, 2));
    assert!(first.join().unwrap().contains("orch: app is blocked;"));
    bench.lamp.show(seen(State::Starting, 3));
    let mut waiting = bench.client();
    waiting.write_all(get("/").as_bytes()).unwrap();
    bench.stop();
    let mut answer = String::new();
    // It may have come too late to be let in.
    bench.kept.release(&Name::new("front").unwrap());
    if waiting.read_to_string(&mut answer).is_ok() && !answer.is_empty() {
        assert!(answer.contains("orch: the proxy is stopped;"), "{answer}");
    }
}

#[test]
fn nobody_known_behind_means_that_the_connection_decides() {
    let mut bench = Bench::new("proxy", "60s", Lamp::new(None));
    let behind = bench.server.local_addr().unwrap();
    bench.server = TcpListener::bind("127.0.0.1:0").unwrap();
    let asked = bench.ask(&get("/"));
    bench.server = TcpListener::bind(behind).unwrap();
    let mut server = bench.accept();
    read_until(&mut server, HEAD_END);
    server.write_all(OK).unwrap();
    assert!(asked.join().unwrap().ends_with("ok"));
    bench.stop();
}

#[test]
fn head_pipelining_http_1_0_trailers_and_bad_requests() {
    let bench = Bench::new("proxy", "60s", Lamp::new(seen(State::Ready, 1)));
    // Two requests in one packet, answered in order. The second one is given a connection of its own.
    let second = get("/2").replace("GET", "POST");
    let asked = bench.ask(&format!("HEAD /1 HTTP/1.1\r\nHost: a\r\n\r\n{second}"));
    let mut server = bench.accept();
    assert!(read_until(&mut server, HEAD_END).starts_with("HEAD /1 "));
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n").unwrap();
    drop(server);
    let mut server = bench.accept();
    assert!(read_until(&mut server, HEAD_END).starts_with("POST /2 "));
    server.write_all(OK).unwrap();
    let answer = asked.join().unwrap();
    let (first, second) = answer.split_once(HEAD_END).unwrap();
    assert!(first.to_lowercase().contains("content-length: 12345"), "{answer}");
    assert!(second.starts_with("HTTP/1.1 200 ") && second.ends_with("ok"), "{answer}");
    drop(server);

    let asked = bench.ask("GET /old HTTP/1.0\r\n\r\n");
    let mut server = bench.accept();
    let head = read_until(&mut server, HEAD_END);
    assert!(
        head.starts_with("GET /old HTTP/1.1\r\n") && head.to_lowercase().contains("host: 127.0.0.1:"),
        "{head}"
    );
    server.write_all(b"HTTP/1.0 200 OK\r\n\r\nto the end").unwrap();
    drop(server);
    let answer = asked.join().unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 ") && answer.ends_with("\r\n\r\nto the end"), "{answer}");

    let asked = bench.ask(&get("/t").replace("Connection: close", "TE: trailers\r\nConnection: close, te"));
    let mut server = bench.accept();
    read_until(&mut server, HEAD_END);
    let head = "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked";
    server.write_all(format!("{head}\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n").as_bytes()).unwrap();
    let answer = asked.join().unwrap();
    assert!(answer.to_lowercase().ends_with("2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n"), "{answer}");

    let huge = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(1 << 18));
    for (bad, code) in [
        ("nonsense\r\n\r\n", "400"),
        (huge.as_str(), "431"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "501"),
    ] {
        let answer = bench.ask(bad).join().unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{code}: {answer}");
    }
    bench.stop();
}

#[test]
fn a_request_of_two_lengths_is_one_request_behind_too() {
    let bench = Bench::new("proxy", "60s", Lamp::new(seen(State::Ready, 1)));
    let smuggled = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
                    0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    bench.server.set_nonblocking(true).unwrap();
    let asked = bench.ask(smuggled);
    let mut paths = Vec::new();
    let end = Instant::now() + LONG;
    while !asked.is_finished() && Instant::now() < end {
        let Ok((mut server, _)) = bench.server.accept() else {
            std::thread::yield_now();
            continue;
        };
        server.set_nonblocking(false).unwrap();
        let head = read_until(&mut server, HEAD_END);
        let lengths = ["content-length", "transfer-encoding"].map(|name| head.to_lowercase().contains(name));
        assert_ne!(lengths, [true, true], "{head}");
        if lengths[1] {
            read_until(&mut server, "0\r\n\r\n");
        }
        paths.push(head.split(' ').nth(1).unwrap().to_owned());
        server.write_all(OK).unwrap();
    }
    let answer = asked.join().unwrap();
    // It is refused, or it is two requests to both.
    assert_eq!(answer.matches("HTTP/1.1 200").count(), paths.len(), "{paths:?}: {answer}");
    bench.stop();
}

#[test]
fn an_upgrade_is_a_tunnel_and_each_direction_ends_by_itself() {
    let bench = Bench::new("proxy", "60s", Lamp::new(seen(State::Ready, 1)));
    let mut client = bench.client();
    let asked =
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nfirst";
    client.write_all(asked.as_bytes()).unwrap();
    let mut server = bench.accept();
    let head = read_until(&mut server, HEAD_END).to_lowercase();
    assert!(head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n"), "{head}");
    let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";
    server.write_all(agreed.as_bytes()).unwrap();
    let head = read_until(&mut client, HEAD_END).to_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && head.contains("upgrade: websocket\r\n"), "{head}");
    assert_eq!(read_until(&mut client, "hello"), "hello");
    assert_eq!(read_until(&mut server, "first"), "first");
    client.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    server.read_to_string(&mut rest).unwrap();
    server.write_all(b"after the end").unwrap();
    drop(server);
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "after the end");
    bench.stop();
}

#[test]
fn what_is_under_way_can_be_waited_for_and_nothing_begins_when_the_light_is_off() {
    let bench = Bench::new("proxy", "60s", Lamp::new(seen(State::Ready, 1)));
    let asked = bench.ask(&get("/").replace("GET", "POST"));
    let mut server = bench.accept();
    read_until(&mut server, HEAD_END);
    bench.lamp.show(seen(State::Stopping, 1));
    let idle = bench.lamp.idle().expect("a request is under way");
    let held = bench.ask(&get("/held"));
    server.write_all(OK).unwrap();
    assert!(asked.join().unwrap().ends_with("ok"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(LONG, idle).await }).unwrap();
    bench.lamp.show(seen(State::Ready, 2));
    let mut server = bench.accept();
    read_until(&mut server, HEAD_END);
    // A stream of events is not waited for.
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n").unwrap();
    let end = Instant::now() + LONG;
    while bench.lamp.idle().is_some() {
        assert!(Instant::now() < end);
        std::thread::yield_now();
    }
    drop(server);
    assert!(held.join().unwrap().contains("data: 1"));
    bench.stop();
}

#[test]
fn the_socket_outlives_a_run_and_a_port_in_use_is_named() {
    let mut bench = Bench::new("tcp-proxy", "60s", Lamp::new(seen(State::Ready, 1)));
    bench.end();
    let mut between = bench.client();
    between.write_all(b"ping").unwrap();
    bench.start("tcp-proxy", "60s");
    assert_eq!(bench.next(), RunnerReport::Spawned { unit: UNIT, pid: None });
    let mut server = bench.accept();
    assert_eq!(read_until(&mut server, "ping"), "ping");
    between.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    server.read_to_string(&mut rest).unwrap();
    server.write_all(b"pong").unwrap();
    drop(server);
    between.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "pong");
    assert_eq!(bench.next(), RunnerReport::Ready { unit: UNIT });
    bench.stop();

    bench.kept.release(&Name::new("front").unwrap());
    assert!(TcpStream::connect(bench.at).is_err(), "let go");
    let taken = TcpListener::bind(bench.at).unwrap();
    bench.start("proxy", "1s");
    let RunnerReport::SpawnFailed { error, .. } = bench.next() else { panic!("it is in use") };
    let port = bench.at.port();
    assert!(error.contains(&format!("port {port} is in use by somebody at {}", bench.at)), "{error}");
    drop(taken);
}
