//! The control socket: `<state directory>/control.sock`, HTTP/1.1 with JSON under `/v1/` (contract, section 6).
//! What it understands so far: `GET /v1/version`, `POST /v1/upgrade`.
//!
//! Its listener goes from image to image, so that whoever connects during an exec is only answered later.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

use super::inbox::{Inbox, Message};
use crate::client::{Address, SOCKET};

/// A longer request is refused. Bytes.
const LONGEST: usize = 64 << 10;

/// Makes the socket in a state directory that is ours alone: what lies there is a dead orch's.
///
/// # Errors
/// The system's.
pub(crate) fn listen(state_dir: &Path) -> io::Result<OwnedFd> {
    let address = Address::of(state_dir)?;
    let path = address.path();
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(&path)?;
    // The folder keeps others out until this is done.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener.into())
}

/// Takes the socket away, at the orderly end.
pub(crate) fn remove(state_dir: &Path) {
    let _ = std::fs::remove_file(state_dir.join(SOCKET));
}

/// Serves, until the runtime ends.
pub(crate) fn serve(listener: &OwnedFd, inbox: &Inbox, images: u64) -> io::Result<()> {
    let listener = std::os::unix::net::UnixListener::from(listener.try_clone()?);
    listener.set_nonblocking(true)?;
    let (listener, inbox) = (UnixListener::from_std(listener)?, inbox.clone());
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) if is_own_user(&stream) => {
                    drop(tokio::spawn(answer(stream, inbox.clone(), images)))
                }
                Ok(_) => {}
                // Descriptors are used up; some will be free again.
                Err(error) => {
                    tracing::warn!(%error, "nobody can connect to the control socket");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(())
}

fn is_own_user(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw())
}

async fn answer(stream: UnixStream, inbox: Inbox, images: u64) {
    let service = service_fn(|request| route(request, inbox.clone(), images));
    // Who goes away before the answer has a reason.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

type Answer = Result<Response<Full<Bytes>>, Infallible>;

async fn route(request: Request<Incoming>, inbox: Inbox, images: u64) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/v1/version") => Ok(Response::new(Full::from(version(images).to_string()))),
        (&Method::POST, "/v1/upgrade") => upgrade(request, &inbox).await,
        (_, path) => refuse(StatusCode::NOT_FOUND, &format!("there is no {path}")),
    }
}

/// Which orch this is; `images` tells two apart that are the same program.
fn version(images: u64) -> Value {
    json!({"version": env!("CARGO_PKG_VERSION"), "pid": std::process::id(), "images": images})
}

/// Answered only if it fails: else the connection ends with the image.
async fn upgrade(request: Request<Incoming>, inbox: &Inbox) -> Answer {
    let body = Limited::new(request.into_body(), LONGEST).collect().await;
    let body = body.ok().and_then(|body| serde_json::from_slice::<Value>(&body.to_bytes()).ok());
    let Some(program) = body.as_ref().and_then(|body| body["path"].as_str()) else {
        return refuse(StatusCode::BAD_REQUEST, "the body has no `path`");
    };
    if !Path::new(program).is_absolute() {
        return refuse(StatusCode::BAD_REQUEST, "`path` is not absolute");
    }
    let (reply, failed) = oneshot::channel();
    drop(inbox.send(Message::Upgrade { program: program.into(), reply }));
    let error = failed.await.unwrap_or_else(|_| "orch is ending".to_owned());
    refuse(StatusCode::CONFLICT, &error)
}

fn refuse(status: StatusCode, error: &str) -> Answer {
    let mut response = Response::new(Full::from(json!({"error": error}).to_string()));
    *response.status_mut() = status;
    Ok(response)
}
