//! One GET.

use std::error::Error;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::net;
use crate::config::model::HttpUrl;

/// A longer response header is refused. Bytes.
const HEADER: usize = 64 << 10;
/// Of the body, so much is taken before the connection is closed. Bytes.
const BODY: usize = 64 << 10;
/// And for so long.
const LEAVE: Duration = Duration::from_secs(1);

/// GETs the address; good is a status of 200 to 399. No redirect is followed.
pub(super) async fn get(url: &HttpUrl) -> Result<(), String> {
    let request = request(url)?;
    let stream = net::reach(&url.at).await?;
    let (response, connection) = send(request, stream).await.map_err(|error| not_http(&error))?;
    let status = response.status();
    tokio::spawn(leave(response.into_body(), connection));
    if (200..400).contains(&status.as_u16()) { Ok(()) } else { Err(format!("status {status}")) }
}

fn request(url: &HttpUrl) -> Result<Request<Empty<Bytes>>, String> {
    let whole = net::shown(&url.at);
    let host = whole.strip_suffix(":80").unwrap_or(&whole);
    Request::get(&url.target)
        .header(HOST, host)
        .header(USER_AGENT, concat!("orch/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| format!("the address can't be asked: {error}"))
}

type Connection = JoinSet<hyper::Result<()>>;

/// Sends the request and waits for the response's header. The connection lives in a task that ends with the
/// set, so that a try which is given up closes it.
async fn send(
    request: Request<Empty<Bytes>>,
    stream: TcpStream,
) -> hyper::Result<(Response<Incoming>, Connection)> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEADER);
    let (mut sender, driver) = builder.handshake(TokioIo::new(stream)).await?;
    let mut connection = JoinSet::new();
    connection.spawn(driver);
    let response = sender.send_request(request).await?;
    Ok((response, connection))
}

/// Takes a bounded part of the body before the connection is closed. Its content means nothing; but closing
/// at once would break the server's next write, and many a server prints a stack trace for that.
async fn leave(mut body: Incoming, connection: Connection) {
    let mut left = BODY;
    let _ = timeout(LEAVE, async {
        while left > 0 {
            let Some(Ok(frame)) = body.frame().await else { break };
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        }
    })
    .await;
    drop(connection);
}

fn not_http(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let said = deeper.downcast_ref().map_or_else(|| deeper.to_string(), net::plain);
        text = format!("{text}: {said}");
        cause = deeper.source();
    }
    text
}
