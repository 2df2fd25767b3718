//! One client of the proxy: its requests in turn, and what it changes to.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Parts};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Instant, sleep, timeout};

use super::super::lock;
use super::answer::{say, who};
use super::body::Answer;
use super::forward::{Outcome, forward};
use super::head;
use super::line::Line;
use super::reach::Way;
use super::site::{Busy, Phase, Shared};
use super::talk::{Stage, Talk, Tap};
use super::tcp;

/// A client may take so long to send the head of a request, and to begin the next one.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// A longer head is refused. Bytes.
const MOST_HEAD: usize = 128 << 10;

/// A client that says no more, and has taken nothing for so long, is gone.
const LINGER: Duration = Duration::from_secs(5);
/// So often it is looked whether it takes something.
const LOOK: Duration = Duration::from_millis(50);

/// The server's end of a connection that has changed to something else, such as WebSocket.
type Tunnel = Arc<Mutex<Option<OnUpgrade>>>;

/// What follows a request.
enum Next {
    /// Nothing.
    End,
    /// Another request, of which this was read already.
    Request(Bytes),
    /// The connection has changed to something else, of which this was read already.
    Changed(OnUpgrade, Bytes),
}

/// What a look at a request brings.
enum Turn {
    /// hyper has done with the connection.
    Served(hyper::Result<()>),
    /// The request is answered, and the connection ready for the next one.
    Answered,
    /// It was laid aside: what was read.
    Aside(Vec<u8>),
    /// Nothing is owed to the client.
    End,
}

/// Serves a client until it goes away, or the proxy comes to rest and its request is answered.
pub(super) async fn serve(mut busy: Busy, client: Line, read: Vec<u8>, shared: &Arc<Shared>) {
    let peer = client.peer().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let (mut post, mut ahead) = (shared.way.post(), Bytes::from(read));
    loop {
        let phase = post.borrow_and_update().phase;
        let next = match phase {
            Phase::Closing(_) => return,
            Phase::Leaving | Phase::Left => {
                busy = shared.park(busy, (&client, &ahead), None).await;
                continue;
            }
            Phase::Open | Phase::Paused if ahead.is_empty() => tokio::select! {
                readable = timeout(HEAD_TIME, client.readable()) => match readable {
                    Ok(Ok(())) => converse(&client, peer, Bytes::new(), shared).await,
                    Ok(Err(_)) | Err(_) => return,
                },
                changed = post.changed() => if changed.is_ok() { continue } else { return },
            },
            Phase::Open | Phase::Paused => converse(&client, peer, ahead, shared).await,
        };
        ahead = match next {
            Next::Request(read) => read,
            Next::Changed(server, read) => {
                let Ok(Ok(Parts { io, read_buf, .. })) =
                    server.await.map(|server| server.downcast::<TokioIo<Line>>())
                else {
                    return;
                };
                let server = (io.into_inner(), read_buf.to_vec());
                return tcp::pass(busy, (client, read.to_vec()), server, shared).await;
            }
            Next::End => return client.end(),
        };
    }
}

/// Reads one request and answers it. (More than one, if they come in one packet.)
async fn converse(client: &Line, peer: IpAddr, ahead: Bytes, shared: &Shared) -> Next {
    let (talk, tunnel) = (Arc::new(Talk::default()), Tunnel::default());
    let service = service_fn(|request| {
        let (way, talk, tunnel) = (Arc::clone(&shared.way), Arc::clone(&talk), Arc::clone(&tunnel));
        Box::pin(async move { Ok::<_, Infallible>(attend(request, peer, &way, &talk, &tunnel).await) })
    });
    let tap = Tap::new(client.clone(), ahead, Arc::clone(&talk));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).preserve_header_case(true);
    server
        .max_headers(head::MOST_LINES)
        .max_header_size(MOST_HEAD)
        .max_buf_size(2 * MOST_HEAD)
        .half_close(true);
    let mut connection = server.serve_connection(TokioIo::new(tap), service);
    let (mut lost, mut post) = (pin!(lost(client, &talk)), shared.way.post());
    let turn = loop {
        let phase = post.borrow_and_update().phase;
        if matches!(phase, Phase::Closing(_)) {
            Pin::new(&mut connection).graceful_shutdown();
        }
        let turn = poll_fn(|task| {
            if let Poll::Ready(Err(_)) = talk.poll_interim(task, client) {
                return Poll::Ready(Turn::End);
            }
            match connection.poll_without_shutdown(task) {
                Poll::Ready(served) => Poll::Ready(Turn::Served(served)),
                Poll::Pending => look(&talk, phase).map_or(Poll::Pending, Poll::Ready),
            }
        });
        tokio::select! {
            turn = turn => break turn,
            changed = post.changed() => if changed.is_err() { break Turn::End },
            () = &mut lost => break Turn::End,
        }
    };
    match (turn, lock(&tunnel).take()) {
        (Turn::Served(Ok(())), Some(behind)) => Next::Changed(behind, unread(connection.into_parts())),
        // What a client does wrong is told to it by hyper, and is nobody else's business.
        (Turn::Served(_) | Turn::End, _) => Next::End,
        (Turn::Answered, _) => Next::Request(unread(connection.into_parts())),
        (Turn::Aside(read), _) => Next::Request(read.into()),
    }
}

/// What was read of a connection, and is not hyper's any more.
fn unread<S>(parts: http1::Parts<TokioIo<Tap>, S>) -> Bytes {
    parts.io.into_inner().unread(parts.read_buf)
}

/// What becomes of a request that hyper waits for.
fn look(talk: &Talk, phase: Phase) -> Option<Turn> {
    if talk.is_over() {
        return Some(Turn::Answered);
    }
    match phase {
        Phase::Open | Phase::Paused => None,
        // What has no end, and can't be laid aside, is not waited for.
        Phase::Leaving | Phase::Left if talk.stage() == Stage::Streaming => Some(Turn::End),
        Phase::Leaving => talk.lay_aside(false).map(Turn::Aside),
        Phase::Left => talk.lay_aside(true).map(Turn::Aside),
        Phase::Closing(_) => matches!(talk.stage(), Stage::Reading | Stage::Streaming).then_some(Turn::End),
    }
}

/// Completes when the client is gone. One that has closed its sending side may still wait for its answer, or have gone
/// away: it counts as gone when it takes nothing for a while, and soon while it waits for something that must not be done
/// for nobody.
async fn lost(client: &Line, talk: &Talk) {
    client.ended().await;
    let (mut since, mut written) = (Instant::now(), talk.written());
    loop {
        sleep(LOOK).await;
        if written != talk.written() {
            (since, written) = (Instant::now(), talk.written());
        }
        if since.elapsed() > LINGER || talk.waits_unsafely() {
            return;
        }
    }
}

async fn attend(
    mut request: Request<Incoming>,
    peer: IpAddr,
    way: &Arc<Way>,
    talk: &Arc<Talk>,
    tunnel: &Tunnel,
) -> Response<Answer> {
    talk.begin(head::is_idempotent(request.method()), request.body().is_end_stream());
    let own = |status, text: &str| Outcome::Own(say(status, text)).answer(talk);
    if request.method() == Method::CONNECT {
        return own(
            StatusCode::NOT_IMPLEMENTED,
            "this proxy stands before one server and connects to no other; ask for a path of that server",
        );
    }
    if let Err(why) = head::addressed(request.version(), request.headers()) {
        return own(StatusCode::BAD_REQUEST, &format!("this request was not sent on, for {why}"));
    }
    let asked = head::upgrade(request.version(), request.headers()).is_some();
    // The connection is taken from hyper when it is done with it.
    request.extensions_mut().remove::<OnUpgrade>();
    match forward(request, peer, way, talk).await {
        Outcome::Answered(answer, _) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
            if !asked {
                let text =
                    format!("{} changes to another protocol, for which this request did not ask", who(way));
                return own(StatusCode::BAD_GATEWAY, &text);
            }
            change(answer, tunnel, talk)
        }
        outcome => outcome.answer(talk),
    }
}

/// Lets both connections change to what they have agreed on.
fn change(mut answer: Response<Incoming>, tunnel: &Tunnel, talk: &Arc<Talk>) -> Response<Answer> {
    *lock(tunnel) = Some(hyper::upgrade::on(&mut answer));
    let to = answer.headers().get(hyper::header::UPGRADE).cloned();
    let (mut head, _) = answer.into_parts();
    head::response(&mut head, to);
    Response::from_parts(head, Answer::own(Full::new(Bytes::new()), Arc::clone(talk)))
}
