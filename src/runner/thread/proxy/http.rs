//! One client of the proxy: its requests in turn, and what it changes to.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use super::super::lock;
use super::answer::{say, who};
use super::body::Answer;
use super::forward::{Outcome, forward};
use super::head;
use super::pool::Pool;
use super::reach::Way;

/// A client may take so long to send the head of its next request.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// A longer head is refused. Bytes.
const MOST_HEAD: usize = 128 << 10;

/// Both ends of a connection that has changed to something else, such as WebSocket.
type Tunnel = Arc<Mutex<Option<(OnUpgrade, OnUpgrade)>>>;

/// Serves a client until it goes away, or the proxy stops and its request is answered.
pub(super) async fn serve(stream: TcpStream, peer: SocketAddr, way: Arc<Way>, pool: Pool) {
    let tunnel = Tunnel::default();
    let service = service_fn(|request| {
        let (way, pool, tunnel) = (Arc::clone(&way), pool.clone(), Arc::clone(&tunnel));
        async move { Ok::<_, hyper::Error>(attend(request, peer.ip(), way, pool, tunnel).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    // A client that says no more counts as gone: a place that it holds while it waits is another's then.
    server.preserve_header_case(true).max_buf_size(MOST_HEAD);
    let mut serving = std::pin::pin!(server.serve_connection(TokioIo::new(stream), service).with_upgrades());
    // What a client does wrong is told to it by hyper, and is nobody else's business.
    let served = tokio::select! {
        served = &mut serving => served,
        () = way.closed() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    let changed = lock(&tunnel).take();
    if let (Ok(()), Some((client, server))) = (served, changed) {
        tokio::select! {
            () = pass(client, server) => {}
            () = way.closed() => {}
        }
    }
}

/// Bytes both ways; each direction ends by itself.
async fn pass(client: OnUpgrade, server: OnUpgrade) {
    let (Ok(client), Ok(server)) = tokio::join!(client, server) else { return };
    // An error of either side ends both: each sees its connection closed.
    let _ = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(server)).await;
}

async fn attend(
    mut request: Request<Incoming>,
    peer: IpAddr,
    way: Arc<Way>,
    pool: Pool,
    tunnel: Tunnel,
) -> Response<Answer> {
    if request.method() == Method::CONNECT {
        return say(
            StatusCode::NOT_IMPLEMENTED,
            "orch: this proxy stands before a server; it connects to no other",
        );
    }
    let asked = head::upgrade(request.version(), request.headers());
    let client = asked.is_some().then(|| hyper::upgrade::on(&mut request));
    match forward(request, peer, &way, &pool).await {
        Outcome::Answered(answer, _) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let Some(client) = client else {
                let text = format!("orch: {} changes to another protocol unasked", who(&way));
                return say(StatusCode::BAD_GATEWAY, &text);
            };
            change(answer, client, &tunnel)
        }
        outcome => outcome.answer(),
    }
}

/// Lets both connections change to what they have agreed on.
fn change(mut answer: Response<Incoming>, client: OnUpgrade, tunnel: &Tunnel) -> Response<Answer> {
    let server = hyper::upgrade::on(&mut answer);
    *lock(tunnel) = Some((client, server));
    let to = answer.headers().get(hyper::header::UPGRADE).cloned();
    let (mut head, _) = answer.into_parts();
    head::response(&mut head, to);
    Response::from_parts(head, Answer::Own(Full::new(Bytes::new())))
}
