use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::sync::mpsc::{UnboundedReceiver, error::TryRecvError, unbounded_channel};
use tokio::time::{Instant, timeout};

use super::{
    Baseline, Check, ExecFuture, ExecRunner, HealthHandle, HealthReport, HealthSink, ProbeHandle,
    ProbeReport, ProbeSink, Rhythm, TRY, check_once, net, occupied, start, watch_over,
};
use crate::config::model::{Command, HealthCheck, HostPort, HttpUrl, Probe};
use crate::types::{Exit, Signal, UnitId};

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(100);
const OFTEN: Duration = Duration::from_millis(5);
const UNIT: UnitId = UnitId(3);

/// Answers with each of these in turn, and then with the last.
struct Exec(Mutex<Vec<Result<Exit, String>>>);

impl Exec {
    fn answering(mut answers: Vec<Result<Exit, String>>) -> Arc<Self> {
        answers.reverse();
        Arc::new(Self(Mutex::new(answers)))
    }
    fn none() -> Arc<Self> {
        Self::answering(vec![])
    }
}

impl ExecRunner for Exec {
    fn run(&self, _command: &Command, limit: Duration) -> ExecFuture {
        assert!(limit <= TRY);
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop() } else { answers.last().cloned() };
        Box::pin(async move { answer.unwrap() })
    }
}

fn sink() -> (ProbeSink, UnboundedReceiver<ProbeReport>) {
    let (sender, reports) = unbounded_channel();
    (Arc::new(move |report| drop(sender.send(report))), reports)
}

fn begin(probe: &Probe, before: Baseline) -> (ProbeHandle, UnboundedReceiver<ProbeReport>) {
    let (sink, reports) = sink();
    (start(UNIT, probe, OFTEN, before, Exec::none(), sink), reports)
}

async fn next(reports: &mut UnboundedReceiver<ProbeReport>) -> ProbeReport {
    timeout(LONG, reports.recv()).await.unwrap().unwrap()
}

async fn failure(reports: &mut UnboundedReceiver<ProbeReport>) -> String {
    match next(reports).await {
        ProbeReport::Tried { id: UNIT, error, .. } => error,
        other => panic!("{other:?}"),
    }
}

fn at(host: &str, port: u16) -> HostPort {
    HostPort { host: host.to_owned(), port }
}

fn http(port: u16) -> HttpUrl {
    HttpUrl { at: at("127.0.0.1", port), target: "/health?deep=1".to_owned() }
}

/// A port that nobody listens on, nor can take while the socket is held.
fn free_port() -> (u16, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (socket.local_addr().unwrap().port(), socket)
}

/// Serves each connection with `serve`, on a thread that lives as long as the test's process.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    server_at("127.0.0.1:0", serve)
}

fn server_at(address: &str, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind(address).unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
    port
}

fn request(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

fn answering(answer: &'static [u8]) -> u16 {
    server(move |mut stream| {
        request(&mut stream);
        let _ = stream.write_all(answer);
    })
}

async fn once(check: &Check, limit: Duration) -> Result<(), String> {
    timeout(LONG, check_once(check, limit, &*Exec::none())).await.unwrap()
}

async fn get(answer: &'static [u8]) -> Result<(), String> {
    let port = answering(answer);
    let result = once(&Check::Http(http(port)), LONG).await;
    let from = format!("http://127.0.0.1:{port}/health?deep=1: ");
    result.map_err(|error| error.strip_prefix(&from).unwrap_or_else(|| panic!("{error}")).to_owned())
}

#[tokio::test]
async fn http_is_good_from_200_to_399_and_follows_nothing() {
    assert_eq!(get(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await, Ok(()));
    assert_eq!(get(b"HTTP/1.0 204 No Content\r\n\r\n").await, Ok(()));
    // Port 9 of nowhere: following would fail.
    assert_eq!(get(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\n\r\n").await, Ok(()));
    assert_eq!(get(b"HTTP/1.1 399 Odd\r\n\r\n").await, Ok(()));
    assert_eq!(get(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n").await, Ok(()));
    assert_eq!(
        get(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").await,
        Err("status 503 Service Unavailable".into())
    );
    assert_eq!(get(b"HTTP/1.1 400 Bad Request\r\n\r\n").await, Err("status 400 Bad Request".into()));
}

#[tokio::test]
async fn what_is_not_http_is_an_error_in_words() {
    assert_eq!(get(b"220 smtp ready\r\n").await, Err("invalid HTTP version parsed".into()));
    assert_eq!(get(b"").await, Err("connection closed before message completed".into()));
    assert_eq!(get(b"HTTP/1.1 2").await, Err("connection closed before message completed".into()));
    get(b"\x00\xff\x16\x03\x01").await.unwrap_err();
    let endless = server(|mut stream| {
        request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ");
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let error = once(&Check::Http(http(endless)), LONG).await.unwrap_err();
    assert!(error.ends_with(": message head is too large"), "{error}");
}

#[tokio::test]
async fn http_asks_as_a_server_expects_and_lets_it_finish() {
    let (seen, mut asked) = unbounded_channel();
    let port = server(move |mut stream| {
        let text = request(&mut stream);
        // The header, then the body in a second write: closing at once would break it.
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n").unwrap();
        thread::sleep(Duration::from_millis(20));
        let written = stream.write_all(b"abc").and_then(|()| {
            thread::sleep(Duration::from_millis(20));
            stream.write_all(b"def")
        });
        drop(stream.shutdown(std::net::Shutdown::Write));
        let closed = stream.read(&mut [0]).unwrap();
        seen.send((text, written.is_ok(), closed)).unwrap();
    });
    assert_eq!(once(&Check::Http(http(port)), LONG).await, Ok(()));
    let (text, written, closed) = timeout(LONG, asked.recv()).await.unwrap().unwrap();
    assert!(text.starts_with("GET /health?deep=1 HTTP/1.1\r\n"), "{text}");
    assert!(text.to_ascii_lowercase().contains(&format!("\r\nhost: 127.0.0.1:{port}\r\n")), "{text}");
    assert!(written && closed == 0, "the body was taken, and the connection closed");
}

#[tokio::test]
async fn a_body_without_end_is_left() {
    let (done, mut ended) = unbounded_channel();
    let port = server(move |mut stream| {
        request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
        done.send(()).unwrap();
    });
    assert_eq!(once(&Check::Http(http(port)), LONG).await, Ok(()));
    timeout(LONG, ended.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_that_says_nothing_costs_the_limit_and_its_connection_is_closed() {
    let (done, mut ended) = unbounded_channel();
    let port = server(move |mut stream| {
        request(&mut stream);
        done.send(stream.read(&mut [0]).unwrap()).unwrap();
    });
    assert_eq!(once(&Check::Tcp(at("127.0.0.1", port)), LONG).await, Ok(()), "tcp asks no more than that");
    assert_eq!(timeout(LONG, ended.recv()).await.unwrap(), Some(0));
    let begun = Instant::now();
    let error = once(&Check::Http(http(port)), SHORT).await.unwrap_err();
    assert!(error.ends_with(": no answer within 100ms"), "{error}");
    assert!(begun.elapsed() >= SHORT && begun.elapsed() < LONG);
    assert_eq!(timeout(LONG, ended.recv()).await.unwrap(), Some(0));
}

#[tokio::test]
async fn a_started_try_takes_a_second_at_most() {
    let connections = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&connections);
    let port = server(move |mut stream| {
        request(&mut stream);
        if counted.fetch_add(1, Ordering::SeqCst) == 0 {
            let _ = stream.read(&mut [0]);
        } else {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        }
    });
    let begun = Instant::now();
    let (_handle, mut reports) = begin(&Probe::Http(http(port)), Baseline::default());
    assert!(failure(&mut reports).await.ends_with(": no answer within 1s"));
    assert!(begun.elapsed() >= TRY);
    assert_eq!(next(&mut reports).await, ProbeReport::Succeeded { id: UNIT });
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn tcp_is_tried_until_somebody_listens() {
    let (port, socket) = free_port();
    let (_handle, mut reports) = begin(&Probe::Tcp(at("127.0.0.1", port)), Baseline::default());
    assert_eq!(
        next(&mut reports).await,
        ProbeReport::Tried { id: UNIT, error: format!("tcp 127.0.0.1:{port}: connection refused"), tries: 1 }
    );
    let _listener = socket.listen(8).unwrap();
    loop {
        match next(&mut reports).await {
            ProbeReport::Succeeded { id: UNIT } => break,
            ProbeReport::Tried { tries, .. } => assert!(tries > 1),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(timeout(LONG, reports.recv()).await.unwrap(), None, "and is then over");
}

#[tokio::test]
async fn the_same_failure_is_told_once_a_second() {
    let (port, _socket) = free_port();
    let (_handle, mut reports) = begin(&Probe::Tcp(at("127.0.0.1", port)), Baseline::default());
    failure(&mut reports).await;
    let first = Instant::now();
    let ProbeReport::Tried { tries, .. } = next(&mut reports).await else { panic!() };
    assert!(first.elapsed() > Duration::from_millis(900) && tries > 2, "{tries} in {:?}", first.elapsed());
}

#[tokio::test]
async fn ipv6_and_localhost_by_either_family() {
    let serve = |mut stream: TcpStream| {
        request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    };
    let six = server_at("[::1]:0", serve);
    let url = HttpUrl { at: at("::1", six), target: "/".to_owned() };
    assert_eq!(once(&Check::Http(url), LONG).await, Ok(()));
    assert_eq!(once(&Check::Tcp(at("localhost", six)), LONG).await, Ok(()));
    assert_eq!(once(&Check::Tcp(at("LOCALHOST", server(|_| ()))), LONG).await, Ok(()));
    let (port, _socket) = free_port();
    let error = once(&Check::Tcp(at("127.0.0.1", port)), LONG).await;
    assert_eq!(error, Err(format!("tcp 127.0.0.1:{port}: connection refused")));
    let error = once(&Check::Tcp(at("localhost", port)), LONG).await;
    assert_eq!(error, Err(format!("tcp localhost:{port}: connection refused")));
}

#[tokio::test]
async fn a_name_without_an_address_says_so() {
    for host in ["no-such-host.invalid", "", "a b", "nul\0byte"] {
        let error = once(&Check::Tcp(at(host, 80)), LONG).await.unwrap_err();
        assert!(error.starts_with(&format!("tcp {host}:80: the name can't be resolved: ")), "{error}");
    }
    let odd = HttpUrl { at: at("127.0.0.1", server(|_| ())), target: "/a b\n".to_owned() };
    let error = once(&Check::Http(odd), LONG).await.unwrap_err();
    assert!(error.contains("the address can't be asked: invalid"), "{error}");
}

#[tokio::test]
async fn a_socket_connected_to_itself_is_nobody_listening() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let own = socket.local_addr().unwrap();
    let stream = socket.connect(own).await.unwrap();
    assert!(net::is_self_connected(&stream));
    let port = server(|_| ());
    let other = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    assert!(!net::is_self_connected(&other));
}

#[tokio::test]
async fn exec_is_good_with_exit_0() {
    let words = Command::Words(vec!["./check".into(), "-q".into()]);
    let (sink, mut reports) = sink();
    let answers = vec![
        Ok(Exit::Code(3)),
        Ok(Exit::Signal(Signal::KILL)),
        Err("killed after 1s".to_owned()),
        Ok(Exit::Code(0)),
    ];
    let exec = Exec::answering(answers);
    let _handle = start(UNIT, &Probe::Exec(words), OFTEN, Baseline::default(), exec, sink);
    for expected in ["exit code 3", "SIGKILL", "killed after 1s"] {
        assert_eq!(failure(&mut reports).await, format!("exec ./check -q: {expected}"));
    }
    assert_eq!(next(&mut reports).await, ProbeReport::Succeeded { id: UNIT });
}

#[tokio::test]
async fn file_is_made_or_changed_since_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pid");
    let probe = Probe::File(path.clone());
    let made = async |write: fn(&Path)| {
        let before = Baseline::take(&probe).await.unwrap();
        write(&path);
        before.changed(&path, TRY).await
    };
    assert_eq!(made(|_| ()).await, Err("does not exist yet".to_owned()));
    assert_eq!(made(|path| std::fs::write(path, "1").unwrap()).await, Ok(()));
    assert_eq!(made(|_| ()).await, Err("not changed since the start".to_owned()));
    assert_eq!(
        made(|path| drop(std::fs::read(path).unwrap())).await,
        Err("not changed since the start".to_owned())
    );
    assert_eq!(made(|path| std::fs::write(path, "22").unwrap()).await, Ok(()));
    assert_eq!(
        made(|path| {
            let other = path.with_extension("new");
            std::fs::write(&other, "33").unwrap();
            std::fs::rename(other, path).unwrap();
        })
        .await,
        Ok(())
    );
    assert_eq!(made(|path| std::fs::remove_file(path).unwrap()).await, Err("does not exist yet".to_owned()));
    assert_eq!(made(|path| std::fs::create_dir(path).unwrap()).await, Ok(()));
    let through = Probe::File(path.join("deeper"));
    assert_eq!(Baseline::take(&through).await.unwrap(), Baseline::default());
}

#[tokio::test]
async fn a_file_probe_waits_for_the_change_and_sees_one_made_before_it_began() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ready");
    std::fs::write(&path, "of the last run").unwrap();
    let probe = Probe::File(path.clone());
    let before = Baseline::take(&probe).await.unwrap();
    let (handle, mut reports) = begin(&probe, before);
    assert_eq!(failure(&mut reports).await, format!("file {}: not changed since the start", path.display()));
    std::fs::write(&path, "of this").unwrap();
    while next(&mut reports).await != (ProbeReport::Succeeded { id: UNIT }) {}
    drop(handle);
    let (_handle, mut reports) = begin(&probe, before);
    assert_eq!(next(&mut reports).await, ProbeReport::Succeeded { id: UNIT });
}

#[tokio::test]
async fn a_delay_is_slept() {
    let begun = Instant::now();
    let (_handle, mut reports) = begin(&Probe::Delay(SHORT), Baseline::default());
    assert_eq!(next(&mut reports).await, ProbeReport::Succeeded { id: UNIT });
    assert!(begun.elapsed() >= SHORT);
}

#[tokio::test]
async fn a_dropped_probe_is_silent_and_what_others_hear_is_not_asked() {
    let (handle, mut reports) = begin(&Probe::Delay(Duration::ZERO), Baseline::default());
    drop(handle);
    assert_eq!(timeout(LONG, reports.recv()).await.unwrap(), None);
    for probe in [Probe::Log("x".into()), Probe::Notify] {
        let (_handle, mut reports) = begin(&probe, Baseline::default());
        assert_eq!(reports.try_recv(), Err(TryRecvError::Disconnected));
    }
    assert_eq!(Check::of_health(&HealthCheck::Watchdog(LONG)), None);
    assert_eq!(Check::of_health(&HealthCheck::Http(http(1))), Some(Check::Http(http(1))));
}

#[tokio::test]
async fn a_free_address_is_not_occupied() {
    let (port, _socket) = free_port();
    let begun = Instant::now();
    assert_eq!(occupied(&at("127.0.0.1", port), &[]).await, None);
    assert_eq!(occupied(&at("localhost", port), &[]).await, None);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn an_occupied_address_names_its_holder() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let bound: SocketAddr = listener.local_addr().unwrap();
    let port = bound.port();
    let probe = at("127.0.0.1", port);
    let me = std::process::id();
    let text = occupied(&probe, &[]).await.unwrap();
    assert_eq!(text, format!("port {port} is in use by orch itself (pid {me})"));
    assert_eq!(occupied(&probe, &[bound]).await, None, "the component's own socket");
    assert_eq!(occupied(&probe, &[SocketAddr::new([0, 0, 0, 0].into(), port)]).await, None);

    let shared: std::os::fd::OwnedFd = listener.try_clone().unwrap().into();
    let mut other = Process::new("sleep").arg("60").stdin(Stdio::from(shared)).spawn().unwrap();
    let pid = other.id();
    let expected = format!("port {port} is in use by sleep (pid {pid})");
    let text = occupied(&at("localhost", port), &[]).await.unwrap();
    drop(listener);
    let alone = occupied(&probe, &[]).await.unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(text.starts_with(&expected), "{text}");
    assert!(alone.starts_with(&expected), "{alone}");
}

#[tokio::test]
async fn a_listener_whose_backlog_is_full_still_occupies() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    while let Ok(Ok(stream)) = timeout(SHORT, tokio::net::TcpStream::connect(address)).await {
        held.push(stream);
    }
    let text = occupied(&at("127.0.0.1", address.port()), &[]).await.unwrap();
    assert!(text.contains("is in use by orch itself"), "{text}");
}

/// Health, asked each few milliseconds with these answers.
fn health(
    answers: Vec<Result<Exit, String>>,
    interval: Duration,
    unwell: bool,
) -> (HealthHandle, UnboundedReceiver<HealthReport>, Arc<AtomicBool>) {
    let (sender, reports) = unbounded_channel();
    let sink: HealthSink = Arc::new(move |report| drop(sender.send(report)));
    let check = Check::Exec(Command::Words(vec!["./check".into()]));
    let rhythm = Rhythm { interval, timeout: TRY };
    let state = Arc::new(AtomicBool::new(unwell));
    let handle = watch_over(check, rhythm, Exec::answering(answers), Arc::clone(&state), sink);
    (handle, reports, state)
}

#[tokio::test]
async fn each_try_that_fails_is_told_and_the_first_good_one_after() {
    let (bad, good) = (Ok(Exit::Code(1)), Ok(Exit::Code(0)));
    let answers = vec![good.clone(), bad.clone(), bad.clone(), good.clone(), good, bad];
    let (_handle, mut reports, state) = health(answers, OFTEN, false);
    let unwell = HealthReport::Unwell("exec ./check: exit code 1".to_owned());
    for expected in [&unwell, &unwell, &HealthReport::Well, &unwell] {
        assert_eq!(timeout(LONG, reports.recv()).await.unwrap().as_ref(), Some(expected));
    }
    assert!(state.load(Ordering::SeqCst));
    let (_handle, mut reports, _) = health(vec![Ok(Exit::Code(0))], OFTEN, true);
    assert_eq!(
        timeout(LONG, reports.recv()).await.unwrap(),
        Some(HealthReport::Well),
        "it goes on from before"
    );
}

#[tokio::test]
async fn the_first_try_comes_after_one_interval_and_none_after_its_end() {
    let begun = Instant::now();
    let (handle, mut reports, _) = health(vec![Ok(Exit::Code(1))], SHORT, false);
    timeout(LONG, reports.recv()).await.unwrap().unwrap();
    assert!(begun.elapsed() >= SHORT);
    drop(handle);
    while timeout(LONG, reports.recv()).await.unwrap().is_some() {}
}

/// Takes longer than the interval, and counts how many do at the same time.
struct Slow {
    now: Arc<AtomicU32>,
    most: Arc<AtomicU32>,
}

impl ExecRunner for Slow {
    fn run(&self, _command: &Command, _limit: Duration) -> ExecFuture {
        let (now, most) = (Arc::clone(&self.now), Arc::clone(&self.most));
        Box::pin(async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(OFTEN * 4).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(Exit::Code(1))
        })
    }
}

#[tokio::test]
async fn tries_that_take_longer_than_the_interval_do_not_pile_up() {
    let (sender, mut reports) = unbounded_channel();
    let sink: HealthSink = Arc::new(move |report| drop(sender.send(report)));
    let slow = Slow { now: Arc::default(), most: Arc::default() };
    let most = Arc::clone(&slow.most);
    let check = Check::Exec(Command::Words(vec!["./check".into()]));
    let rhythm = Rhythm { interval: OFTEN, timeout: TRY };
    let begun = Instant::now();
    let _handle = watch_over(check, rhythm, Arc::new(slow), Arc::default(), sink);
    for _ in 0..5 {
        timeout(LONG, reports.recv()).await.unwrap().unwrap();
    }
    assert!(begun.elapsed() >= OFTEN * 4 * 5);
    assert_eq!(most.load(Ordering::SeqCst), 1);
}
