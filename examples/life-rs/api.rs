//! The API server: a page, what it shows as JSON, and what can be asked for. Plain `std`, one thread for each
//! connection; all of them end before `run` returns.
//!
//! ```text
//! GET  /                the page
//! GET  /health          200 while it lives
//! GET  /state           everything, as JSON
//! POST /events          an event: {"kind": "food", "intensity": 0.8}
//! POST /restart/NAME    stops and starts a thread
//! POST /panic/NAME      has a thread panic
//! POST /hang/NAME       has a thread hang, so that it does not stop when it is asked to
//! ```

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use orch::{BoxError, ComponentView, Context};
use serde::Deserialize;
use serde_json::{Value, json};

use super::world::{Event, Fault, World};

/// So long a client may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest request line, header or body.
const LONGEST: u64 = 16 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct With {
    port: u16,
    page: String,
}

/// What all connections of one run share.
struct Server<'a> {
    cx: &'a Context,
    world: &'a Arc<World>,
    page: Vec<u8>,
    began: Instant,
    served: AtomicU64,
}

pub(crate) fn run(with: &With, cx: &Context, world: &Arc<World>) -> Result<(), BoxError> {
    let page = world.path(&with.page);
    let page = std::fs::read(&page).map_err(|error| format!("read {}: {error}", page.display()))?;
    let served = AtomicU64::new(cx.restored()?.unwrap_or(0));
    let listener = TcpListener::bind(("127.0.0.1", with.port))
        .map_err(|error| format!("listen on port {} of 127.0.0.1: {error}", with.port))?;
    let address = listener.local_addr()?;
    cx.println(&format!("the life is at http://{address}/"));
    cx.ready();
    let server = Server { cx, world, page, began: Instant::now(), served };
    thread::scope(|scope| {
        // A connection wakes the loop that waits for one.
        scope.spawn(|| {
            cx.stop_token().wait_forever();
            drop(TcpStream::connect(address));
        });
        while !cx.stop_token().is_stopped() {
            world.pass(cx.name());
            match listener.accept() {
                Ok((stream, _)) => {
                    let server = &server;
                    // A client that has gone away is no error.
                    scope.spawn(move || drop(server.answer(&stream)));
                }
                Err(error) => {
                    cx.println(&format!("accept: {error}"));
                    let _ = cx.stop_token().wait(PATIENCE);
                }
            }
        }
    });
    cx.save(&server.served.load(Ordering::Relaxed))?;
    Ok(())
}

impl Server<'_> {
    fn answer(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream.take(2 * LONGEST));
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split_ascii_whitespace();
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
        let body = body(&mut reader)?;
        self.served.fetch_add(1, Ordering::Relaxed);
        let (status, kind, text) = match (method, path) {
            ("GET", "/") => ("200 OK", "text/html; charset=utf-8", self.page.clone()),
            ("GET", "/health") => plain("200 OK", json!({"alive": true})),
            ("GET", "/state") => plain("200 OK", self.picture()),
            ("POST", "/events") => self.take_event(&body),
            ("POST", _) => self.command(path),
            _ => plain("404 Not Found", json!({"error": format!("there is no {path}")})),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
             Connection: close\r\n\r\n",
            text.len()
        );
        let mut stream = stream;
        stream.write_all(head.as_bytes())?;
        stream.write_all(&text)
    }

    fn picture(&self) -> Value {
        let components = self.world.project().map(orch::Handle::components).unwrap_or_default();
        json!({
            "pid": std::process::id(),
            "uptime": self.began.elapsed().as_secs(),
            "served": self.served.load(Ordering::Relaxed),
            "incarnation": self.cx.incarnation(),
            "components": components.iter().map(component).collect::<Vec<_>>(),
            "board": self.world.board(),
        })
    }

    fn take_event(&self, body: &[u8]) -> (&'static str, &'static str, Vec<u8>) {
        match serde_json::from_slice::<Event>(body) {
            Err(error) => plain("400 Bad Request", json!({"error": error.to_string()})),
            Ok(event) if self.world.arrivals.offer(event.clone()) => {
                plain("202 Accepted", json!({"accepted": 1}))
            }
            Ok(_) => {
                plain("503 Service Unavailable", json!({"error": "the queue takes nothing now; try again"}))
            }
        }
    }

    fn command(&self, path: &str) -> (&'static str, &'static str, Vec<u8>) {
        let unknown = || plain("404 Not Found", json!({"error": format!("there is no {path}")}));
        let Some((what, name)) = path.trim_start_matches('/').split_once('/') else { return unknown() };
        let project = self.world.project();
        let Some(project) = project.filter(|project| project.component(name).is_some()) else {
            return unknown();
        };
        match what {
            "hang" => self.world.spoil(name, Fault::Hang),
            "panic" => self.world.spoil(name, Fault::Panic),
            "restart" => {
                // On a thread of the world's: a restart of this component must not wait for this connection.
                let (project, name) = (project.clone(), name.to_owned());
                let restart = move || {
                    if let Err(error) = project.restart([&name]) {
                        eprintln!("life: restart {name}: {error}");
                    }
                };
                drop(thread::Builder::new().name("restart".to_owned()).spawn(restart));
            }
            _ => return unknown(),
        }
        plain("202 Accepted", json!({"accepted": what}))
    }
}

/// The body of a request; its headers are passed over, but for the length.
fn body(reader: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = Vec::new();
    reader.take(LONGEST.min(length)).read_to_end(&mut body)?;
    Ok(body)
}

fn plain(status: &'static str, document: Value) -> (&'static str, &'static str, Vec<u8>) {
    (status, "application/json", format!("{document}\n").into_bytes())
}

fn component(view: &ComponentView) -> Value {
    json!({
        "name": view.name, "state": view.state.word(), "incarnation": view.incarnation, "status": view.status,
        "restarts": view.restarts, "restored": view.restored.map(orch::Source::word), "reason": view.reason,
    })
}
