//! A client of the control socket that owes nothing to orch's own: bytes out, bytes in.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use orch::client::Address;
use serde_json::Value;

use crate::harness::{PATIENCE, Project, wait_for};

/// What was answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Reads a connection to its end.
    pub(crate) fn read(mut stream: UnixStream) -> Self {
        let mut bytes = Vec::new();
        // Who is closed on while there is something that was not read gets an error behind the answer.
        let _ = stream.read_to_end(&mut bytes);
        Self::of(&bytes)
    }

    fn of(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut body = bytes[end + 4..].to_vec();
        if head.to_lowercase().contains("transfer-encoding: chunked") {
            body = unchunked(&body);
        }
        Self { status, head, body }
    }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        let chunk = &bytes[end + 2..];
        if length == 0 || chunk.len() < length + 2 {
            break;
        }
        body.extend_from_slice(&chunk[..length]);
        bytes = &chunk[length + 2..];
    }
    body
}

pub(crate) fn connect(project: &Project) -> UnixStream {
    let connected = || UnixStream::connect(Address::of(&project.path(".orch")).ok()?.path()).ok();
    let stream = wait_for("the control socket is there", connected);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends a request, and gives the connection.
pub(crate) fn send(project: &Project, method: &str, path: &str, body: &str) -> UnixStream {
    let mut stream = connect(project);
    let length = body.len();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: orch\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

pub(crate) fn ask(project: &Project, method: &str, path: &str, body: &str) -> Reply {
    Reply::read(send(project, method, path, body))
}

/// The lines of a stream, as they come; `None` at its end.
pub(crate) struct Following {
    stream: UnixStream,
    bytes: Vec<u8>,
    taken: usize,
}

impl Following {
    pub(crate) fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Self { stream, bytes: Vec::new(), taken: 0 }
    }

    /// The lines that have come since the last call, and whether the stream has ended.
    pub(crate) fn lines(&mut self) -> (Vec<Value>, bool) {
        let mut buffer = vec![0; 64 << 10];
        let ended = match self.stream.read(&mut buffer) {
            Ok(0) => true,
            Ok(count) => {
                self.bytes.extend_from_slice(&buffer[..count]);
                false
            }
            Err(_) => false,
        };
        let body = if self.bytes.windows(4).any(|four| four == b"\r\n\r\n") {
            Reply::of(&self.bytes).body
        } else {
            Vec::new()
        };
        let end = body.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let new = &body[self.taken.min(end)..end];
        self.taken = end;
        let lines = new.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        (lines.map(|line| serde_json::from_slice(line).unwrap()).collect(), ended)
    }
}
