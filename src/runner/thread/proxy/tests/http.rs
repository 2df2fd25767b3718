//! The corners of HTTP/1.1.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::{Bench, HEAD_END, LONG, OK, get, read_until, seen};
use crate::runner::thread::Lamp;
use crate::types::State;

fn ready() -> Bench {
    Bench::new("proxy", "60s", Lamp::new(seen(State::Ready, 1)))
}

fn rest(client: &mut TcpStream) -> String {
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    rest
}

#[test]
fn a_request_says_once_for_whom_it_is() {
    let bench = ready();
    for (lines, says) in [
        ("Connection: close", "no `Host`"),
        ("Connection: close\r\nHost: a\r\nHost: a", "more than one `Host`"),
        ("Connection: close\r\nHost: a b", "is no host"),
        ("Connection: close\r\nHost: b@a", "is no host"),
    ] {
        let answer = bench.ask(&format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n")).join().unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains(says), "{lines}: {answer}");
    }
    let answer = bench.ask("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n").join().unwrap();
    assert!(answer.contains(" 400 "), "{answer}");
    for host in ["", "a_b:80", "[::1]:80"] {
        let asked = bench.ask(&format!("GET / HTTP/1.1\r\nConnection: close\r\nHost: {host}\r\n\r\n"));
        let mut server = bench.accept();
        let head = read_until(&mut server, HEAD_END);
        assert!(head.replace(' ', "").contains(&format!("\nHost:{host}\r\n")), "{head}");
        server.write_all(OK).unwrap();
        asked.join().unwrap();
    }
    bench.stop();
}

#[test]
fn a_body_that_is_none_is_the_clients_fault() {
    let bench = ready();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
    let asked = bench.ask(&format!("{head}nonsense\r\n"));
    let mut server = bench.accept();
    read_until(&mut server, "ok\r\n");
    let answer = asked.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("body of this request"), "{answer}");
    // The server must not take the part for the whole.
    let mut more = Vec::new();
    let _ = server.read_to_end(&mut more);
    assert!(!String::from_utf8_lossy(&more).contains("0\r\n\r\n"), "{more:?}");
    bench.stop();
}

#[test]
fn interim_answers_pass() {
    let bench = ready();
    for (version, passes) in [("1.1", true), ("1.0", false)] {
        let mut client = bench.client();
        write!(client, "GET / HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut server = bench.accept();
        read_until(&mut server, HEAD_END);
        let hints =
            "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x\r\nX: 1\r\n\r\n";
        server.write_all(hints.as_bytes()).unwrap();
        if passes {
            // It is there before the answer is.
            let head = read_until(&mut client, HEAD_END);
            assert!(head.starts_with("HTTP/1.1 103 Early Hints\r\nlink: </a.css>"), "{head}");
            assert!(!head.contains("x: 1") && !head.contains("onnection"), "each side has its own: {head}");
        }
        server.write_all(OK).unwrap();
        let answer = rest(&mut client);
        assert!(answer.starts_with(&format!("HTTP/{version} 200 ")) && answer.ends_with("ok"), "{answer}");
    }
    bench.stop();
}

#[test]
fn who_waits_to_be_told_to_go_on_is_told_by_the_server() {
    const ASKS: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\
                        Connection: close\r\n\r\n";
    let bench = ready();
    let (mut client, mut refused) = (bench.client(), bench.client());
    client.write_all(ASKS.as_bytes()).unwrap();
    let mut server = bench.accept();
    assert!(read_until(&mut server, HEAD_END).to_lowercase().contains("expect: 100-continue"));
    server.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
    assert_eq!(read_until(&mut client, HEAD_END), "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"body").unwrap();
    assert_eq!(read_until(&mut server, "body"), "body");
    server.write_all(OK).unwrap();
    assert!(rest(&mut client).starts_with("HTTP/1.1 200 "));

    refused.write_all(ASKS.as_bytes()).unwrap();
    let mut server = bench.accept();
    read_until(&mut server, HEAD_END);
    server.write_all(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n").unwrap();
    let answer = rest(&mut refused);
    assert!(answer.starts_with("HTTP/1.1 417 "), "nobody has told it to go on: {answer}");

    // A server that knows nothing of it gets the body after a while.
    let mut client = bench.client();
    client.write_all(ASKS.as_bytes()).unwrap();
    let mut server = bench.accept();
    read_until(&mut server, HEAD_END);
    assert_eq!(read_until(&mut client, HEAD_END), "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"body").unwrap();
    assert_eq!(read_until(&mut server, "body"), "body");
    server.write_all(OK).unwrap();
    assert!(rest(&mut client).ends_with("ok"));
    bench.stop();
}

#[test]
fn a_client_that_says_no_more_is_answered_but_nothing_is_done_for_one_that_may_be_gone() {
    let bench = ready();
    let mut client = bench.client();
    client.write_all(get("/half").replace("GET", "POST").as_bytes()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut server = bench.accept();
    assert!(read_until(&mut server, HEAD_END).starts_with("POST /half "));
    server.write_all(OK).unwrap();
    assert!(rest(&mut client).ends_with("ok"));

    // Held: what is safe is still sent, what is not isn't.
    bench.lamp.show(seen(State::Starting, 2));
    let (mut safe, mut other) = (bench.client(), bench.client());
    safe.write_all(get("/safe").as_bytes()).unwrap();
    other.write_all(get("/other").replace("GET", "POST").as_bytes()).unwrap();
    other.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut other), "");
    safe.shutdown(Shutdown::Write).unwrap();
    bench.lamp.show(seen(State::Ready, 2));
    let mut server = bench.accept();
    assert!(read_until(&mut server, HEAD_END).starts_with("GET /safe "));
    server.write_all(OK).unwrap();
    assert!(rest(&mut safe).ends_with("ok"));
    drop(server);

    // What it does not wait for is not gone on with for ever.
    let mut client = bench.client();
    client.write_all(get("/gone").as_bytes()).unwrap();
    let mut server = bench.accept();
    read_until(&mut server, HEAD_END);
    drop(client);
    assert_eq!(server.read(&mut [0]).unwrap(), 0, "the server hears that nobody waits");
    bench.stop();
}

#[test]
fn a_head_of_the_longest_length_passes_and_a_longer_one_does_not() {
    let bench = ready();
    let head = |length: usize| {
        let rest = get("/").replace(HEAD_END, "\r\nX: ");
        let filled = length - rest.len() - HEAD_END.len();
        format!("{rest}{}{HEAD_END}", "x".repeat(filled))
    };
    let asked = bench.ask(&head(128 << 10));
    let mut server = bench.accept();
    assert!(read_until(&mut server, HEAD_END).len() > 128 << 10);
    server.write_all(OK).unwrap();
    assert!(asked.join().unwrap().ends_with("ok"));
    let answer = bench.ask(&head((128 << 10) + 1)).join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    bench.stop();
}

#[test]
fn a_head_of_many_lines_passes_both_ways() {
    let bench = ready();
    let lines: String = (0..1000).map(|at| format!("X-{at}: {at}\r\n")).collect();
    let asked = bench.ask(&get("/").replace(HEAD_END, &format!("\r\n{lines}\r\n")));
    let mut server = bench.accept();
    assert!(read_until(&mut server, HEAD_END).contains("X-999: 999\r\n"));
    server.write_all(format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nok").as_bytes()).unwrap();
    let answer = asked.join().unwrap();
    assert!(answer.contains("X-999: 999\r\n") && answer.ends_with("ok"), "{answer}");
    bench.stop();
}

#[test]
fn of_many_requests_that_come_together_none_is_passed_over() {
    const COUNT: usize = 300;
    let bench = ready();
    bench.lamp.show(seen(State::Failed, 1));
    let all = (0..COUNT).map(|at| format!("GET /{at} HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(80)));
    let answers = bench.ask(&(all.collect::<String>() + &get("/last"))).join().unwrap();
    assert_eq!(answers.matches("HTTP/1.1 503 ").count(), COUNT + 1);
    bench.stop();
}

#[test]
fn what_was_sent_three_times_is_told_so() {
    let bench = ready();
    let asked = bench.ask(&get("/"));
    for run in 1..=3 {
        let mut server = bench.accept();
        read_until(&mut server, HEAD_END);
        drop(server);
        bench.lamp.show(seen(State::Stopping, run));
        if run < 3 {
            bench.lamp.show(seen(State::Ready, run + 1));
        }
    }
    let answer = asked.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.contains("it was sent 3 times, to 3 runs, and none answered"), "{answer}");
    bench.stop();
}

#[test]
fn two_requests_in_one_packet_are_answered_in_turn_also_when_the_second_waits() {
    let bench = ready();
    let asked = bench.ask(&format!("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n{}", get("/2")));
    let mut server = bench.accept();
    read_until(&mut server, HEAD_END);
    bench.lamp.show(seen(State::Starting, 2));
    server.write_all(OK).unwrap();
    drop(server);
    let end = Instant::now() + LONG;
    while bench.kept.take(&crate::types::Name::new("front").unwrap()).unwrap().held() < 1 {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(1));
    }
    bench.lamp.show(seen(State::Ready, 2));
    let mut server = bench.accept();
    assert!(read_until(&mut server, HEAD_END).starts_with("GET /2 "));
    server.write_all(OK).unwrap();
    assert_eq!(asked.join().unwrap().matches("HTTP/1.1 200 ").count(), 2);
    bench.stop();
}
