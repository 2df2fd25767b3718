//! The head of a request: read before hyper sees it, so that whoever sends half of one, none, a huge one or
//! garbage is refused in words.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::{Instant, Sleep};

use super::limits::{LONGEST_HEAD, TAKING_TIME};
use super::table::Seat;

/// Clients of this socket send a handful.
const MOST_HEADERS: usize = 64;

/// Why there is no request.
#[derive(Debug)]
pub(super) enum NoHead {
    /// Nobody is there any more.
    Gone,
    /// It does not end.
    TooLong,
    /// It is none.
    Garbage,
}

/// Reads to the end of the head; what came behind it is there, too.
pub(super) async fn read(stream: &mut UnixStream) -> Result<Vec<u8>, NoHead> {
    let mut head = Vec::with_capacity(1024);
    loop {
        let known = head.len();
        match stream.read_buf(&mut head).await {
            Ok(0) | Err(_) => return Err(NoHead::Gone),
            Ok(_) => {}
        }
        // The end may have come in two parts.
        if let Some(end) = end(&head, known.saturating_sub(3)) {
            if end > LONGEST_HEAD {
                return Err(NoHead::TooLong);
            }
            return if is_request(&head[..end]) { Ok(head) } else { Err(NoHead::Garbage) };
        }
        if head.len() > LONGEST_HEAD {
            return Err(NoHead::TooLong);
        }
        // What does not begin like a request does not become one.
        if !head.first().is_some_and(u8::is_ascii_uppercase) {
            return Err(NoHead::Garbage);
        }
    }
}

/// Where the head ends, if it does.
fn end(bytes: &[u8], from: usize) -> Option<usize> {
    memchr::memmem::find(&bytes[from..], b"\r\n\r\n").map(|at| from + at + 4)
}

/// Whether it has the form of a request, so that hyper, which then reads it, has nothing to refuse: it would do so
/// without a word.
fn is_request(head: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(head) else { return false };
    let mut lines = text.trim_end().split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, path, version) = (words.next(), words.next(), words.next());
    let request = method.is_some_and(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase()))
        && path.is_some_and(|path| path.parse::<hyper::Uri>().is_ok())
        && matches!(version, Some("HTTP/1.1" | "HTTP/1.0"))
        && words.next().is_none();
    let headers: Option<Vec<(&str, &str)>> = lines.map(header).collect();
    request && headers.is_some_and(|headers| headers.len() <= MOST_HEADERS && has_one_length(&headers))
}

/// The name and the value of a header.
fn header(line: &str) -> Option<(&str, &str)> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let (name, value) = line.split_once(':')?;
    let good = !name.is_empty() && name.bytes().all(is_token);
    let good = good && value.chars().all(|c| c == '\t' || !c.is_control());
    good.then_some((name, value.trim()))
}

/// Whether it is clear where the body ends.
fn has_one_length(headers: &[(&str, &str)]) -> bool {
    let all = |wanted: &str| -> Vec<&str> {
        headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| *value)
            .collect()
    };
    let is_number = |text: &&str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u64>().is_ok()
    };
    match (all("content-length").as_slice(), all("transfer-encoding").as_slice()) {
        ([], []) => true,
        ([length], []) => is_number(length),
        ([], [coding]) => coding.eq_ignore_ascii_case("chunked"),
        _ => false,
    }
}

/// A connection whose first bytes were read already, and on which a client that takes nothing is not waited
/// for without an end.
#[derive(Debug)]
pub(super) struct Line<'a> {
    stream: UnixStream,
    seat: &'a Seat,
    /// What was read, from `at` on.
    head: Vec<u8>,
    at: usize,
    /// When the client must have taken something, while it is being waited for.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<'a> Line<'a> {
    pub(super) fn new(stream: UnixStream, head: Vec<u8>, seat: &'a Seat) -> Self {
        Self { stream, seat, head, at: 0, patience: None }
    }

    /// What comes of a try to write: taken, or to be tried again before the patience is at an end.
    fn written<T>(&mut self, cx: &mut Context<'_>, tried: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if tried.is_ready() {
            if self.patience.take().is_some() {
                self.seat.takes();
            }
            return tried;
        }
        let limit = |from: Instant, time: Duration| Box::pin(tokio::time::sleep_until(from + time));
        let patience = self.patience.get_or_insert_with(|| {
            self.seat.stalls();
            limit(Instant::now(), TAKING_TIME)
        });
        match patience.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Line<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &self.head[self.at..];
        if rest.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, into);
        }
        let count = rest.len().min(into.remaining());
        into.put_slice(&rest[..count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, tried)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.written(cx, tried)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_HEADERS, end, is_request};

    #[test]
    fn a_head_ends_with_an_empty_line() {
        assert_eq!(end(b"GET / HTTP/1.1\r\n\r\nrest", 0), Some(18));
        assert_eq!(end(b"GET / HTTP/1.1\r\n\r\nrest", 15), None);
        assert_eq!(end(b"GET / HTTP/1.1\r\n", 0), None);
    }

    #[test]
    fn what_is_no_request_is_told_from_what_is_one() {
        for good in ["GET /v1/status HTTP/1.1\r\n\r\n", "POST /v1/x?y=z HTTP/1.0\r\nHost: a\r\nX-Y:\r\n\r\n"]
        {
            assert!(is_request(good.as_bytes()), "{good}");
        }
        for bad in [
            "\r\n\r\n",
            "GET\r\n\r\n",
            "get / HTTP/1.1\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "GET / HTTP/1.1 x\r\n\r\n",
            "GET / HTTP/1.1\r\nno header\r\n\r\n",
            "GET / HTTP/1.1\r\n: x\r\n\r\n",
            "GET /\u{7f} HTTP/1.1\r\n\r\n",
            "GET :// HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\na: \u{1}\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\ncontent-length: 2\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        ] {
            assert!(!is_request(bad.as_bytes()), "{bad}");
        }
        assert!(!is_request(b"GET /\xff HTTP/1.1\r\n\r\n"));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MOST_HEADERS + 1));
        assert!(!is_request(many.as_bytes()));
    }
}
