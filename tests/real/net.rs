//! The little that the tests need of HTTP.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::harness::PATIENCE;

/// The body of what a server answers with 200 to a GET on a connection of its own.
///
/// # Errors
///
/// Why there is none, in words.
pub(crate) fn get(port: u16, path: &str) -> Result<String, String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| format!("connect: {error}"))?;
    let told = |error: std::io::Error| format!("after the connection was accepted: {error}");
    stream.set_read_timeout(Some(PATIENCE)).map_err(told)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")
        .map_err(told)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(told)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => Err(format!("no good answer: {answer:?}")),
    }
}
