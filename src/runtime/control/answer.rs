//! Answers, and the words of those that say no.

use std::convert::Infallible;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::api::{Method, Refusal};
use crate::runtime::clients::Unmet;

/// A body: one value, or lines as they come.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// An answer, or why there is none.
pub(super) type Answer = Result<Response<Body>, Refused>;

/// No.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    status: StatusCode,
    refusal: Refusal,
    allow: Option<Method>,
}

impl Refused {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, refusal: Refusal { error: error.into(), help: None }, allow: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.refusal.help = Some(help.into());
        self
    }

    /// What is asked for is there, by another method.
    pub(super) fn other_method(path: &str, allowed: Method) -> Self {
        let word = allowed.word();
        let mut refused = Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("{path} is asked for by {word}"));
        refused.allow = Some(allowed);
        refused
    }

    /// What can't be read as what it is to be.
    pub(super) fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// Whoever would answer is no more: the project has ended, or what was asked fell into a change of images.
    pub(super) fn ending() -> Self {
        Self::new(StatusCode::CONFLICT, "orch is ending, or becoming another image")
    }

    /// A limit is reached.
    pub(super) fn crowded(what: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, format!("{what} already"))
            .help("ask again when some of them have ended")
    }

    /// As an answer.
    pub(super) fn response(&self) -> Response<Body> {
        let mut response = json(self.status, &self.refusal);
        if let Some(allowed) = self.allow {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed.word()));
        }
        response
    }

    /// The whole answer as it goes over the wire, for those whose request is not read.
    pub(super) fn wire(&self) -> Vec<u8> {
        let body = serde_json::to_vec(&self.refusal).unwrap_or_default();
        let (code, reason) = (self.status.as_u16(), self.status.canonical_reason().unwrap_or_default());
        let head = format!(
            "HTTP/1.1 {code} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: \
             close\r\n\r\n",
            body.len()
        );
        [head.into_bytes(), body].concat()
    }
}

impl From<Unmet> for Refused {
    fn from(unmet: Unmet) -> Self {
        match unmet {
            Unmet::Unknown(name) => {
                Self::new(StatusCode::NOT_FOUND, format!("the project has no component `{name}`"))
            }
            Unmet::Ending => Self::ending(),
            Unmet::Crowded => Self::crowded("too much is waited for"),
            // That is an answer, not a refusal; whoever asks here gets it as one.
            Unmet::Failed(failed) => {
                let each = failed.into_iter().map(|(name, reason)| format!("{name}: {reason}"));
                Self::new(StatusCode::CONFLICT, each.collect::<Vec<_>>().join("; "))
            }
        }
    }
}

/// One value.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    // What is made of strings and numbers always serialises.
    bytes(status, serde_json::to_vec(value).unwrap_or_default().into())
}

/// One value that was written already.
pub(super) fn bytes(status: StatusCode, bytes: Bytes) -> Response<Body> {
    whole(status, Full::new(bytes).boxed_unsync(), "application/json")
}

/// Lines.
pub(super) fn lines(body: Body) -> Response<Body> {
    whole(StatusCode::OK, body, "application/x-ndjson")
}

fn whole(status: StatusCode, body: Body, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
