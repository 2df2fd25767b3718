//! What clients notice of a proxy that restarts itself, alone or with orch's image: a pause.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::{Bench, HEAD_END, LONG, OK, UNIT, get, read_until, seen};
use crate::runner::thread::{Kept, KeptHandover, Lamp, Parting};
use crate::runner::{Runner as _, RunnerReport, Scope};
use crate::types::{Name, Signal, State};

fn front() -> Name {
    Name::new("front").unwrap()
}

impl Bench {
    fn again(&mut self, thread: &str, hold: &str) {
        self.start(thread, hold);
        assert_eq!(self.next(), RunnerReport::Spawned { unit: UNIT, pid: None });
        assert_eq!(self.next(), RunnerReport::Ready { unit: UNIT });
    }

    /// Another image of orch goes on: with what is written down and descriptors, and nothing else.
    fn becomes_another_image(&mut self, patience: Duration, (thread, hold): (&str, &str)) {
        self.kept.part(&front(), Parting::Image, patience);
        self.end();
        let (written, fds) = self.kept.hand_over().unwrap();
        let written: KeptHandover = serde_json::from_str(&serde_json::to_string(&written).unwrap()).unwrap();
        self.kept = Kept::default();
        self.lamp = Lamp::new(self.lamp.light().seen());
        let declared = |_: &Name| Some((thread.to_owned(), self.with(hold), self.lamp.light()));
        self.kept.adopt(written, fds, declared).unwrap();
    }
}

const WEB_SOCKET: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const AGREED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const KEPT: &str = "GET /kept HTTP/1.1\r\nHost: a\r\n\r\n";

/// Both ends of a connection that has changed to another protocol.
fn web_socket(bench: &Bench) -> (TcpStream, TcpStream) {
    let mut client = bench.client();
    client.write_all(WEB_SOCKET.as_bytes()).unwrap();
    let mut server = bench.accept();
    read_until(&mut server, HEAD_END);
    server.write_all(AGREED).unwrap();
    read_until(&mut client, HEAD_END);
    (client, server)
}

fn both_ways(client: &mut TcpStream, server: &mut TcpStream) {
    client.write_all(b"ping").unwrap();
    assert_eq!(read_until(server, "ping"), "ping");
    server.write_all(b"pong").unwrap();
    assert_eq!(read_until(client, "pong"), "pong");
}

/// A client whose connection has carried a request, and may carry another one.
fn kept_client(bench: &Bench) -> TcpStream {
    let mut client = bench.client();
    client.write_all(KEPT.as_bytes()).unwrap();
    let mut server = bench.accept();
    read_until(&mut server, HEAD_END);
    server.write_all(OK).unwrap();
    assert!(read_until(&mut client, "ok").starts_with("HTTP/1.1 200 "));
    client
}

/// Answers what is held, and gives the heads of both requests.
fn answer_two(bench: &Bench) -> Vec<String> {
    let mut heads: Vec<String> = (0..2)
        .map(|_| {
            let mut server = bench.accept();
            let mut head = read_until(&mut server, HEAD_END);
            if head.starts_with("POST") {
                head += &read_until(&mut server, "body");
            }
            server.write_all(OK).unwrap();
            head
        })
        .collect();
    heads.sort();
    heads
}

/// Waits until so many are held.
fn until_held(bench: &Bench, count: usize) {
    let end = Instant::now() + LONG;
    while bench.kept.take(&front()).unwrap().held() < count {
        assert!(Instant::now() < end, "not held");
        std::thread::yield_now();
    }
}

#[test]
fn a_restart_of_the_proxy_touches_no_connection() {
    let mut bench = Bench::new("proxy", "60s", Lamp::new(seen(State::Ready, 1)));
    let (mut one, mut other) = web_socket(&bench);
    let asked = bench.ask(&get("/slow"));
    let mut slow = bench.accept();
    read_until(&mut slow, HEAD_END);
    slow.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf").unwrap();
    bench.lamp.show(seen(State::Starting, 2));
    let held =
        bench.ask("POST /held HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody");
    bench.end();
    // Between two runs: what is under way goes on, and nothing begins.
    both_ways(&mut one, &mut other);
    bench.lamp.show(seen(State::Ready, 2));
    let between = bench.ask(&get("/between"));
    bench.server.set_nonblocking(true).unwrap();
    std::thread::yield_now();
    assert!(bench.server.accept().is_err(), "nothing begins without a run");
    bench.server.set_nonblocking(false).unwrap();
    // It goes where the next run sends, whatever the last one would have done.
    bench.server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    bench.again("proxy", "50s");
    let heads = answer_two(&bench);
    assert!(heads[0].starts_with("GET /between ") && heads[1].starts_with("POST /held "), "{heads:?}");
    assert!(held.join().unwrap().ends_with("ok") && between.join().unwrap().ends_with("ok"));
    both_ways(&mut one, &mut other);
    slow.write_all(b"full").unwrap();
    assert!(asked.join().unwrap().ends_with("halffull"));
    bench.stop();
    assert_eq!(one.read(&mut [0]).unwrap_or_default(), 0, "and the end is the end");
}

#[test]
fn another_address_is_listened_at_and_the_old_one_no_more() {
    let mut bench = Bench::new("proxy", "60s", Lamp::new(seen(State::Ready, 1)));
    let mut kept = kept_client(&bench);
    let old = std::mem::replace(&mut bench.at, super::free());
    // At once: whoever accepts may not have seen that there was no run between.
    bench.end();
    bench.again("proxy", "60s");
    let end = Instant::now() + LONG;
    while TcpStream::connect(old).is_ok() {
        assert!(Instant::now() < end, "it is let go");
        std::thread::yield_now();
    }
    let mut new = bench.client();
    for client in [&mut new, &mut kept] {
        client.write_all(KEPT.as_bytes()).unwrap();
        let mut server = bench.accept();
        read_until(&mut server, HEAD_END);
        server.write_all(OK).unwrap();
        assert!(read_until(client, "ok").starts_with("HTTP/1.1 200 "));
    }
    bench.stop();
}

#[test]
fn without_a_run_hold_is_over_in_time_too() {
    let bench = Bench::new("proxy", "300ms", Lamp::new(seen(State::Ready, 1)));
    let client = bench.client();
    (&client).write_all(KEPT.as_bytes()).unwrap();
    let mut server = bench.accept();
    read_until(&mut server, HEAD_END);
    server.write_all(OK).unwrap();
    let mut client = client;
    read_until(&mut client, "ok");
    bench.end();
    client.write_all(get("/").as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("the proxy itself is restarted"),
        "{answer}"
    );
}

#[test]
fn another_image_goes_on_with_every_connection() {
    let mut bench = Bench::new("proxy", "60s", Lamp::new(seen(State::Ready, 1)));
    let (mut one, mut other) = web_socket(&bench);
    let mut idle = kept_client(&bench);
    let mut half = kept_client(&bench);
    half.write_all(b"GET /ha").unwrap();
    // Sent, unanswered, and safe to be sent again.
    let long = bench.ask(&get("/long"));
    let mut first_try = bench.accept();
    read_until(&mut first_try, HEAD_END);
    bench.lamp.show(seen(State::Starting, 2));
    let held =
        bench.ask("POST /held HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody");
    until_held(&bench, 1);
    bench.becomes_another_image(Duration::from_millis(200), ("proxy", "60s"));
    // What goes on by itself needs no run for that.
    both_ways(&mut one, &mut other);
    one.write_all(b"early").unwrap();
    let mut waits = bench.client();
    waits.write_all(get("/waits").as_bytes()).unwrap();
    bench.again("proxy", "60s");
    bench.lamp.show(seen(State::Ready, 2));
    let mut paths = Vec::new();
    for _ in 0..3 {
        let mut server = bench.accept();
        let head = read_until(&mut server, HEAD_END);
        if head.starts_with("POST") {
            read_until(&mut server, "body");
        }
        paths.push(head.split(' ').nth(1).unwrap().to_owned());
        server.write_all(OK).unwrap();
    }
    paths.sort();
    assert_eq!(paths, ["/held", "/long", "/waits"]);
    let mut answer = String::new();
    waits.read_to_string(&mut answer).unwrap();
    for answer in [held.join().unwrap(), long.join().unwrap(), answer] {
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok"), "{answer}");
    }
    for (client, rest) in [(&mut idle, KEPT), (&mut half, "lf HTTP/1.1\r\nHost: a\r\n\r\n")] {
        client.write_all(rest.as_bytes()).unwrap();
        let mut server = bench.accept();
        assert!(read_until(&mut server, HEAD_END).starts_with(if rest == KEPT {
            "GET /kept "
        } else {
            "GET /half "
        }));
        server.write_all(OK).unwrap();
        assert!(read_until(client, "ok").starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(read_until(&mut other, "early"), "early");
    both_ways(&mut one, &mut other);
    bench.stop();
}

/// The component behind, or one that the proxy needs, may be long in coming.
#[test]
fn in_another_image_hold_is_over_in_time_without_a_run_too() {
    let mut bench = Bench::new("proxy", "60s", Lamp::new(seen(State::Starting, 1)));
    let held = bench.ask(&get("/held"));
    until_held(&bench, 1);
    bench.becomes_another_image(LONG, ("proxy", "300ms"));
    let answer = held.join().unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("the proxy itself is restarted"),
        "{answer}"
    );
    bench.kept.release(&front());
}

/// A stream of events has no end, and can't be laid aside: nobody waits for it.
#[test]
fn what_has_no_end_does_not_hold_up_a_new_image() {
    let mut bench = Bench::new("proxy", "60s", Lamp::new(seen(State::Ready, 1)));
    let mut events = bench.client();
    events.write_all(get("/events").as_bytes()).unwrap();
    let mut server = bench.accept();
    read_until(&mut server, HEAD_END);
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n").unwrap();
    read_until(&mut events, "data: 1\n\n");
    // Nor does who has got an answer of the proxy's own.
    bench.lamp.show(seen(State::Failed, 1));
    let mut refused = bench.client();
    for request in ["GET / HTTP/1.1\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nno"] {
        refused.write_all(request.as_bytes()).unwrap();
        read_until(&mut refused, HEAD_END);
    }
    let began = Instant::now();
    bench.becomes_another_image(LONG, ("proxy", "60s"));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    bench.kept.release(&front());
}

#[test]
fn without_time_what_waits_is_laid_aside_all_the_same() {
    for thread in ["proxy", "tcp-proxy"] {
        let mut bench = Bench::new(thread, "60s", Lamp::new(seen(State::Starting, 1)));
        let held: Vec<_> = (0..8).map(|_| bench.ask(&get("/held"))).collect();
        until_held(&bench, held.len());
        bench.becomes_another_image(Duration::ZERO, (thread, "60s"));
        bench.again(thread, "60s");
        bench.lamp.show(seen(State::Ready, 1));
        for _ in &held {
            let mut server = bench.accept();
            read_until(&mut server, HEAD_END);
            server.write_all(OK).unwrap();
        }
        for answer in held {
            let answer = answer.join().unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{thread}: {answer}");
        }
        bench.stop();
    }
}

#[test]
fn requests_that_came_together_go_over_to_another_image() {
    let mut bench = Bench::new("proxy", "60s", Lamp::new(seen(State::Ready, 1)));
    const COUNT: usize = 300;
    let all = (0..COUNT).map(|at| format!("GET /{at} HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(80)));
    let asked = bench.ask(&(all.collect::<String>() + &get("/last")));
    // The first one is answered, so what is held is a later one of them.
    let mut server = bench.accept();
    read_until(&mut server, HEAD_END);
    bench.lamp.show(seen(State::Starting, 2));
    server.write_all(OK).unwrap();
    drop(server);
    until_held(&bench, 1);
    bench.becomes_another_image(LONG, ("proxy", "60s"));
    bench.again("proxy", "60s");
    bench.lamp.show(seen(State::Failed, 2));
    let answers = asked.join().unwrap();
    // One that hyper had begun can't be laid aside, and closes the connection; but none is passed over.
    let (good, refused) =
        (answers.matches("HTTP/1.1 200 ").count(), answers.matches("HTTP/1.1 503 ").count());
    assert_eq!((good, good + refused), (1, COUNT + 1), "{}", &answers[answers.len() - 300..]);
    bench.stop();
}

#[test]
fn what_is_declared_no_more_is_closed_when_no_run_has_it() {
    let mut bench = Bench::new("proxy", "60s", Lamp::new(seen(State::Ready, 1)));
    let mut kept = kept_client(&bench);
    let (name, old) = (front(), bench.at);
    let declare = |bench: &Bench, runner: &str, at: SocketAddr| {
        bench.kept.declare([(&name, runner, [at].as_slice())].into_iter());
    };
    // It moves: a run keeps its address to its end, and not longer.
    bench.at = super::free();
    declare(&bench, "proxy", bench.at);
    assert!(TcpStream::connect(old).is_ok());
    bench.end();
    let taken = TcpListener::bind(old).unwrap();
    bench.again("proxy", "60s");
    bench.client();
    // Between two runs it becomes another thing.
    bench.end();
    declare(&bench, "ticker", bench.at);
    assert!(TcpStream::connect(bench.at).is_err());
    assert_eq!(kept.read(&mut [0]).unwrap_or_default(), 0, "nobody is left to serve it");
    drop(taken);
}

#[test]
fn a_request_under_way_is_finished_before_another_image_comes() {
    let mut bench = Bench::new("proxy", "60s", Lamp::new(seen(State::Ready, 1)));
    let asked = bench.ask(&get("/").replace("GET", "POST"));
    let mut server = bench.accept();
    read_until(&mut server, HEAD_END);
    bench.kept.part(&front(), Parting::Image, LONG);
    bench.runner.stop(UNIT, Signal::TERM, Scope::Group);
    server.write_all(OK).unwrap();
    assert!(asked.join().unwrap().ends_with("ok"));
    assert!(matches!(bench.next(), RunnerReport::Exited { .. }));
    assert!(matches!(bench.next(), RunnerReport::Gone { .. }));
    // There is no other image after all: everything is as it was.
    let (_, fds) = bench.kept.hand_over().unwrap();
    drop(fds);
    bench.kept.stay();
    let mut waits = bench.client();
    waits.write_all(get("/").as_bytes()).unwrap();
    bench.again("proxy", "60s");
    let mut server = bench.accept();
    read_until(&mut server, HEAD_END);
    server.write_all(OK).unwrap();
    let mut answer = String::new();
    waits.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("ok"), "{answer}");
    bench.stop();
}

#[test]
fn tcp_connections_go_over_to_another_image_with_what_is_on_its_way() {
    let mut bench = Bench::new("tcp-proxy", "60s", Lamp::new(seen(State::Ready, 1)));
    let mut one = bench.client();
    let mut other = bench.accept();
    both_ways(&mut one, &mut other);
    // The server does not read: what no socket takes any more is in the proxy's hands.
    one.set_nonblocking(true).unwrap();
    let (mut sent, end) = (0_usize, Instant::now() + Duration::from_secs(1));
    let pattern: Vec<u8> = (0..=u8::MAX).collect();
    while Instant::now() < end {
        match one.write(&pattern[sent % 256..]) {
            Ok(written) => sent += written,
            Err(_) => std::thread::yield_now(),
        }
    }
    bench.lamp.show(seen(State::Starting, 2));
    let mut held = bench.client();
    held.write_all(b"held").unwrap();
    until_held(&bench, 1);
    bench.becomes_another_image(LONG, ("tcp-proxy", "60s"));
    bench.again("tcp-proxy", "60s");
    let mut got = vec![0; sent];
    other.read_exact(&mut got).unwrap();
    assert!(got.iter().enumerate().all(|(at, byte)| *byte == (at % 256) as u8), "in order, and whole");
    one.set_nonblocking(false).unwrap();
    both_ways(&mut one, &mut other);
    bench.lamp.show(seen(State::Ready, 2));
    let mut server = bench.accept();
    assert_eq!(read_until(&mut server, "held"), "held");
    bench.stop();
}

#[test]
fn what_has_no_end_does_not_hold_up_a_stop() {
    let bench = Bench::new("proxy", "60s", Lamp::new(seen(State::Ready, 1)));
    let (mut one, _other) = web_socket(&bench);
    let mut events = bench.client();
    events.write_all(get("/events").as_bytes()).unwrap();
    let mut server = bench.accept();
    read_until(&mut server, HEAD_END);
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n").unwrap();
    read_until(&mut events, "data: 1\n\n");
    let _idle = bench.client();
    let began = Instant::now();
    bench.stop();
    assert!(began.elapsed() < Duration::from_millis(300), "{:?}", began.elapsed());
    for client in [&mut one, &mut events] {
        // It ends, in whichever way.
        let _ = client.read_to_end(&mut Vec::new());
    }
}
