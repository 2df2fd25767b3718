//! One connection: one request, one answer.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::Shared;
use super::answer::{Answer, Body, Refused};
use super::calls::{self, Asked};
use super::head::{self, Line, NoHead};
use super::limits::{BODY_TIME, HEAD_TIME, LINGER, LONGEST_BODY, LONGEST_HEAD};
use super::table::Seat;
use crate::api::{Found, find};

/// Answers whoever is at the other end, until it is cut off in favour of another one.
pub(super) async fn attend(stream: UnixStream, seat: Seat, shared: Arc<Shared>) {
    tokio::select! {
        () = seat.cut() => {}
        () = attended(stream, &seat, &shared) => {}
    }
}

async fn attended(mut stream: UnixStream, seat: &Seat, shared: &Arc<Shared>) {
    if !is_own_user(&stream) {
        // A client that is answered before it has asked does not know what to make of it.
        let _ = timeout(LINGER, stream.read(&mut [0; 4096])).await;
        return refuse(stream, &another_user()).await;
    }
    let head = match timeout(HEAD_TIME, head::read(&mut stream)).await {
        Ok(Ok(head)) => head,
        Ok(Err(NoHead::Gone)) => return,
        Ok(Err(NoHead::TooLong)) => return refuse(stream, &long_head()).await,
        Ok(Err(NoHead::Garbage)) => {
            let refused = Refused::bad("what was sent is not a request of HTTP/1.1");
            return refuse(stream, &refused).await;
        }
        Err(_) => return refuse(stream, &late("the head of the request", HEAD_TIME.as_secs())).await,
    };
    let service = service_fn(async |request| respond(request, seat, shared).await);
    let line = TokioIo::new(Line::new(stream, head, seat));
    let mut connection = http1::Builder::new();
    connection.keep_alive(false).max_buf_size(2 * LONGEST_HEAD);
    // Whoever goes away before the answer has a reason.
    let _ = connection.serve_connection(line, service).await;
}

/// Whether who has connected is the user for whom orch runs. Nobody else is, root neither.
fn is_own_user(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw())
}

fn another_user() -> Refused {
    Refused::new(StatusCode::FORBIDDEN, "this orch is another user's").help("ask as the user that runs it")
}

fn long_head() -> Refused {
    let kibibytes = LONGEST_HEAD >> 10;
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    Refused::new(status, format!("the head of the request is longer than {kibibytes} KiB"))
}

fn late(what: &str, seconds: u64) -> Refused {
    Refused::new(StatusCode::REQUEST_TIMEOUT, format!("{what} did not come within {seconds} s"))
}

/// Refuses whoever finds no room: a try, without waiting.
pub(super) fn turn_away(stream: &UnixStream) {
    let refused =
        if is_own_user(stream) { Refused::crowded("too many are connected") } else { another_user() };
    let _ = stream.try_write(&refused.wire());
}

/// Refuses without a look at what was sent. What is still being sent is taken, for a while, and dropped: who is
/// closed on while it sends does not get to reading why.
async fn refuse(mut stream: UnixStream, refused: &Refused) {
    let spoken = async {
        stream.write_all(&refused.wire()).await?;
        stream.shutdown().await?;
        let mut dropped = [0; 4096];
        while stream.read(&mut dropped).await? > 0 {}
        std::io::Result::Ok(())
    };
    let _ = timeout(LINGER, spoken).await;
}

async fn respond(
    request: Request<Incoming>,
    seat: &Seat,
    shared: &Arc<Shared>,
) -> Result<Response<Body>, Infallible> {
    Ok(answered(request, seat, shared).await.unwrap_or_else(|refused| refused.response()))
}

async fn answered(request: Request<Incoming>, seat: &Seat, shared: &Arc<Shared>) -> Answer {
    let (parts, body) = request.into_parts();
    let body = whole(body).await?;
    seat.has_asked();
    let path = parts.uri.path();
    let (route, name) = match find(parts.method.as_str(), path) {
        Found::Route(route, name) => (route, name),
        Found::OtherMethod(method) => return Err(Refused::other_method(path, method)),
        Found::Nothing => {
            let refused = Refused::new(StatusCode::NOT_FOUND, format!("there is no {path}"));
            return Err(refused.help("GET /v1/openapi.json tells what there is"));
        }
    };
    let (name, query) = (name.map(str::to_owned), parts.uri.query().map(str::to_owned));
    let asked = Asked { call: route.call, name, query, body };
    calls::answer(&asked, shared, seat).await
}

/// The body of a request.
async fn whole(mut body: Incoming) -> Result<Vec<u8>, Refused> {
    let long = || {
        let kibibytes = LONGEST_BODY >> 10;
        let error = format!("the body of the request is longer than {kibibytes} KiB");
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    };
    let longest = u64::try_from(LONGEST_BODY).unwrap_or(u64::MAX);
    if body.size_hint().lower() > longest {
        drain(&mut body).await;
        return Err(long());
    }
    match timeout(BODY_TIME, Limited::new(&mut body, LONGEST_BODY).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes().to_vec()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            drain(&mut body).await;
            Err(long())
        }
        Ok(Err(error)) => Err(Refused::bad(format!("the body of the request can't be read: {error}"))),
        Err(_) => Err(late("the body of the request", BODY_TIME.as_secs())),
    }
}

/// Takes what is still being sent, for a while, and drops it.
async fn drain(body: &mut Incoming) {
    let _ = timeout(LINGER, async { while let Some(Ok(_)) = body.frame().await {} }).await;
}
