//! One request: waits for who is behind, is sent, and is sent again where that is safe.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep, timeout};

use super::answer;
use super::body::{Answer, Lease, Outgoing, Passing};
use super::head;
use super::pool::{Pool, Sender};
use super::reach::{Away, Duplex, Reached, Way};

/// No request is sent to more incarnations than this: it may be the very one that they crash at.
const MOST_SENDS: u32 = 3;
/// A component that has closed a connection without an answer may be at its end, of which orch hears so soon.
const NEWS: Duration = Duration::from_secs(1);
/// A rest before the next try, where nothing tells when it is worth it.
const REST: Duration = Duration::from_millis(20);

/// What came of a request.
pub(super) enum Outcome {
    /// It is answered from behind.
    Answered(Response<Incoming>, Lease),
    /// The proxy answers.
    Own(Response<Answer>),
}

/// What became of one try.
enum Tried {
    Answered(Response<Incoming>),
    /// Nothing of it was sent.
    Unsent,
    Failed(hyper::Error),
}

/// Sends a request on, until it is answered or `hold` is over.
pub(super) async fn forward(
    request: Request<Incoming>,
    peer: IpAddr,
    way: &Arc<Way>,
    pool: &Pool,
) -> Outcome {
    let (mut head, body) = request.into_parts();
    head::request(&mut head, peer, &way.settings.to);
    let body = Outgoing::new(body);
    let safe = head::is_idempotent(&head.method);
    let mut deadline = Instant::now() + way.settings.hold;
    let (mut sends, mut kept_failed) = (0, false);
    loop {
        // What can't be sent again gets a connection of its own.
        let may_reuse = safe && !kept_failed && hyper::body::Body::is_end_stream(&body);
        let mut reused = false;
        let kept = |incarnation| {
            let found = may_reuse.then(|| pool.take(incarnation)).flatten();
            reused = found.is_some();
            found
        };
        let Reached { by: mut sender, incarnation, under_way } = match way.reach(deadline, kept, open).await {
            Ok(reached) => reached,
            Err(away) => return Outcome::Own(answer::away(way, &away)),
        };
        let error = match send(&mut sender, head.clone(), &body).await {
            Tried::Answered(answer) => {
                let (pool, way) = (pool.clone(), Arc::clone(way));
                let lease = Lease { sender, incarnation, pool, way, under_way: Some(under_way) };
                return Outcome::Answered(answer, lease);
            }
            Tried::Unsent if reused => continue,
            Tried::Unsent if Instant::now() < deadline => {
                drop(under_way);
                sleep(REST).await;
                continue;
            }
            Tried::Unsent => {
                let why = "it closes each connection at once".to_owned();
                return Outcome::Own(answer::away(way, &Away::Refused(why)));
            }
            Tried::Failed(error) => error,
        };
        drop(under_way);
        let why_not = if body.is_begun() {
            "it is not sent again, for a part of its body is gone"
        } else if !safe {
            "it is not sent again, for it may have been done"
        } else if error.is_parse() {
            "what came is no HTTP"
        } else if reused {
            // The server has closed a connection that it had kept long enough; a new one tells whether it was that.
            kept_failed = true;
            continue;
        } else {
            sends += 1;
            if sends < MOST_SENDS && next_is_worth_it(way, incarnation).await {
                // It is held from here on, however long it was under way.
                if way.light.seen().is_some() {
                    deadline = Instant::now() + way.settings.hold;
                }
                continue;
            }
            "nothing has ended it"
        };
        return Outcome::Own(answer::unanswered(way, &error, why_not));
    }
}

/// After a request that was not answered: waits until another incarnation is to be asked. False if the same one
/// goes on, and so would do the same again.
async fn next_is_worth_it(way: &Way, incarnation: u64) -> bool {
    if way.light.seen().is_some() {
        return timeout(NEWS, way.left(incarnation)).await.is_ok();
    }
    sleep(REST).await;
    true
}

async fn send(sender: &mut Sender, head: Parts, body: &Outgoing) -> Tried {
    match sender.try_send_request(Request::from_parts(head, body.clone())).await {
        Ok(answer) => Tried::Answered(answer),
        Err(mut error) => match error.take_message() {
            Some(_) => Tried::Unsent,
            None => Tried::Failed(error.into_error()),
        },
    }
}

/// Speaks HTTP on a new connection.
async fn open(stream: Duplex) -> io::Result<Sender> {
    let mut client = http1::Builder::new();
    client.preserve_header_case(true);
    let (sender, connection) = client.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        // Who waits for an answer hears of the error, too.
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
}

impl Outcome {
    /// The answer for a client that asks for nothing but that.
    pub(super) fn answer(self) -> Response<Answer> {
        match self {
            Self::Own(answer) => answer,
            Self::Answered(answer, mut lease) => {
                let (mut head, body) = answer.into_parts();
                // A stream of events has no end that could be waited for.
                if head.headers.get(CONTENT_TYPE).is_some_and(is_event_stream) {
                    lease.under_way = None;
                }
                head::response(&mut head, None);
                Response::from_parts(head, Answer::Passing(Passing::new(body, lease)))
            }
        }
    }
}

fn is_event_stream(value: &HeaderValue) -> bool {
    value.as_bytes().to_ascii_lowercase().starts_with(b"text/event-stream")
}
