//! One request: waits for who is behind, is sent, and is sent again where that is safe.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode, Version, ext};
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::answer::{self, Own};
use super::body::{Answer, Lease, Outgoing, Wanted};
use super::head;
use super::line::Line;
use super::pool::Sender;
use super::reach::{Away, Reached, Way};
use super::talk::{Stage, Talk};

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
    Own(Own),
}

/// What became of one try.
enum Tried {
    Answered(Response<Incoming>),
    /// Nothing of it was sent.
    Unsent,
    Failed(hyper::Error),
}

/// A request, as often as it is sent.
struct Requested {
    head: Parts,
    body: Outgoing,
    talk: Arc<Talk>,
    /// Whether it may be sent again.
    safe: bool,
    /// Told when the server asks for the body.
    asked: Arc<Notify>,
    /// Whether the client knows of interim answers.
    interim: bool,
}

/// Sends a request on, until it is answered or `hold` is over.
pub(super) async fn forward(
    request: Request<Incoming>,
    peer: IpAddr,
    way: &Arc<Way>,
    talk: &Arc<Talk>,
) -> Outcome {
    let (mut head, body) = request.into_parts();
    let interim = head.version == Version::HTTP_11;
    let (safe, asked) = (head::is_idempotent(&head.method), Arc::new(Notify::new()));
    let expects = (interim && head::expects(&head.headers)).then(|| Arc::clone(&asked));
    head::request(&mut head, peer, &way.plan().settings.to);
    let body = Outgoing::new(body, Arc::clone(talk), expects);
    let mut request = Requested { head, body, talk: Arc::clone(talk), safe, asked, interim };
    request.forward(way).await
}

impl Requested {
    async fn forward(&mut self, way: &Arc<Way>) -> Outcome {
        let (mut begun, mut kept_failed, mut sends, mut runs) = (Instant::now(), false, 0, BTreeSet::new());
        loop {
            self.talk.enter(Stage::Held);
            // What can't be sent again gets a connection of its own.
            let may_reuse = self.safe && !kept_failed && self.body.is_end_stream();
            let mut reused = false;
            let kept = |plan: &super::site::Plan, incarnation| {
                let found = may_reuse.then(|| plan.pool.take(incarnation)).flatten();
                reused = found.is_some();
                found
            };
            let Reached { by: mut sender, incarnation, plan, under_way } =
                match way.reach(begun, || self.talk.is_there(), kept, open).await {
                    Ok(reached) => reached,
                    Err(away) => return Outcome::Own(answer::away(way, &away)),
                };
            self.talk.enter(Stage::Sent);
            let error = match self.send(&mut sender).await {
                Tried::Answered(answer) => {
                    self.body.is_answered();
                    let (way, _wanted) = (Arc::clone(way), Wanted(self.body.clone()));
                    let lease = Lease { sender, incarnation, plan, way, _wanted, under_way: Some(under_way) };
                    return Outcome::Answered(answer, lease);
                }
                Tried::Unsent if reused => continue,
                Tried::Unsent if Instant::now() < begun + plan.settings.hold => {
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
            if self.body.is_broken() {
                let text = format!("the body of this request is none ({error}); it was not sent on whole");
                return Outcome::Own(answer::say(StatusCode::BAD_REQUEST, &text));
            }
            sends += 1;
            runs.insert(incarnation);
            let why_not = if self.body.is_begun() {
                "it is not sent again, for a part of its body is gone".to_owned()
            } else if !self.safe {
                let method = &self.head.method;
                format!("it is not sent again, for it is a {method}, and may have been done")
            } else if error.is_parse() {
                "what came is no HTTP".to_owned()
            } else if reused {
                // The server has closed a connection that it had kept long enough; a new one tells whether it was that.
                (kept_failed, sends) = (true, sends - 1);
                continue;
            } else if sends >= MOST_SENDS {
                said(sends, runs.len(), incarnation)
            } else if next_is_worth_it(way, incarnation).await {
                // It is held from here on, however long it was under way.
                if way.light.seen().is_some() {
                    begun = Instant::now();
                }
                continue;
            } else {
                "it goes on running, and would most likely do the same again".to_owned()
            };
            return Outcome::Own(answer::unanswered(way, &error, &why_not));
        }
    }

    async fn send(&self, sender: &mut Sender) -> Tried {
        let mut request = Request::from_parts(self.head.clone(), self.body.clone());
        let (talk, asked, interim) = (Arc::clone(&self.talk), Arc::clone(&self.asked), self.interim);
        ext::on_informational(&mut request, move |answer| {
            if answer.status() == StatusCode::CONTINUE {
                // The client is told so when its body is read.
                asked.notify_one();
            } else if interim {
                talk.interim(answer.status(), &head::interim(answer.headers()));
            }
        });
        match sender.try_send_request(request).await {
            Ok(answer) => Tried::Answered(answer),
            Err(mut error) => match error.take_message() {
                Some(_) => Tried::Unsent,
                None => Tried::Failed(error.into_error()),
            },
        }
    }
}

/// How often it was sent, and to whom; what nobody knows of is number 0.
fn said(sends: u32, runs: usize, incarnation: u64) -> String {
    match runs {
        _ if incarnation == 0 => format!("it was sent {sends} times, and never answered"),
        1 => format!("it was sent {sends} times to the same run, which never answered"),
        _ => format!("it was sent {sends} times, to {runs} runs, and none answered"),
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

/// Speaks HTTP on a new connection.
async fn open(stream: Line) -> io::Result<Sender> {
    let mut client = http1::Builder::new();
    client.preserve_header_case(true).max_headers(head::MOST_LINES);
    let (sender, connection) = client.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        // Who waits for an answer hears of the error, too.
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
}

impl Outcome {
    /// The answer for a client that asks for nothing but that.
    pub(super) fn answer(self, talk: &Arc<Talk>) -> Response<Answer> {
        let talk = Arc::clone(talk);
        match self {
            Self::Own(mut answer) => {
                // A connection on which a body is unread carries nothing more.
                if !talk.is_read() {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                answer.map(|body| Answer::own(body, talk))
            }
            Self::Answered(answer, lease) => {
                let (mut head, body) = answer.into_parts();
                // A stream of events has no end that could be waited for.
                let endless = head.headers.get(CONTENT_TYPE).is_some_and(is_event_stream);
                head::response(&mut head, None);
                Response::from_parts(head, Answer::passing(body, lease, endless, talk))
            }
        }
    }
}

fn is_event_stream(value: &HeaderValue) -> bool {
    value.as_bytes().to_ascii_lowercase().starts_with(b"text/event-stream")
}
