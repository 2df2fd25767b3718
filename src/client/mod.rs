//! The other end of the control socket: asks a running orch, and waits for the answer.
//!
//! Made for a command line: calls block, and each makes its own connection. HTTP is hyper's; what is here is
//! the way to the socket, and what the answers mean.

mod address;
mod lines;

use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use crate::api::Refusal;

pub use address::{Address, SOCKET};
pub use lines::Lines;

/// Asks the orch that runs the project of one state directory.
#[derive(Debug, Clone)]
pub struct Client {
    state_dir: PathBuf,
    limit: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientError {
    /// No orch runs the project.
    NotRunning,
    /// orch says no: with this status, and for this reason.
    Refused(u16, Refusal),
    /// The connection ended without an answer: orch has ended, or has become another image.
    Ended,
    /// The time limit has passed.
    TimedOut,
    /// Something could not be done: what, and why.
    Failed(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning => f.write_str("no orch runs this project"),
            Self::Refused(_, refusal) => f.write_str(&refusal.error),
            Self::Ended => f.write_str("orch ended before it answered"),
            Self::TimedOut => f.write_str("the running orch has not answered in time"),
            Self::Failed(error) => write!(f, "can't ask the running orch: {error}"),
        }
    }
}

impl Client {
    /// Means the project of this state directory. Nothing is asked yet.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_path_buf(), limit: None }
    }

    /// The same, where an answer that takes longer is [`ClientError::TimedOut`].
    #[must_use]
    pub fn within(&self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self.clone() }
    }

    /// Asks for what is at `path`, such as `/v1/status`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, Bytes::new())
    }

    /// Has something done.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.ask(Method::POST, path, serde_json::to_vec(body).map_err(|error| failed(&error))?.into())
    }

    /// Asks for a stream of lines. The time limit is for its beginning.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn lines(&self, path: &str) -> Result<Lines, ClientError> {
        let runtime = runtime()?;
        let body = self.limited(&runtime, async {
            let response = self.send(Method::GET, path, Bytes::new()).await?;
            if response.status().is_success() {
                Ok(response.into_body())
            } else {
                Err(refusal(response).await)
            }
        })?;
        Ok(Lines::new(runtime, body))
    }

    fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, ClientError> {
        let runtime = runtime()?;
        self.limited(&runtime, async {
            let response = self.send(method, path, body).await?;
            if !response.status().is_success() {
                return Err(refusal(response).await);
            }
            let body = response.into_body().collect().await.map_err(|_| ClientError::Ended)?.to_bytes();
            serde_json::from_slice(&body)
                .map_err(|error| failed(&format!("its answer can't be read: {error}")))
        })
    }

    fn limited<T>(
        &self,
        runtime: &Runtime,
        asking: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        runtime.block_on(async {
            match self.limit {
                None => asking.await,
                Some(limit) => {
                    tokio::time::timeout(limit, asking).await.unwrap_or(Err(ClientError::TimedOut))
                }
            }
        })
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|error| failed(&error))?;
        request.headers_mut().insert(HOST, HeaderValue::from_static("orch"));
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let stream = self.connect().await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning,
            _ => failed(&error),
        })?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|_| ClientError::Ended)
    }

    async fn connect(&self) -> io::Result<UnixStream> {
        let address = Address::of(&self.state_dir)?;
        UnixStream::connect(address.path()).await
    }
}

fn runtime() -> Result<Runtime, ClientError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))
}

fn failed(error: &dyn fmt::Display) -> ClientError {
    ClientError::Failed(error.to_string())
}

async fn refusal(response: Response<Incoming>) -> ClientError {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let refusal = serde_json::from_slice(&body)
        .unwrap_or_else(|_| Refusal { error: format!("it answers {status}, and not why"), help: None });
    ClientError::Refused(status, refusal)
}
