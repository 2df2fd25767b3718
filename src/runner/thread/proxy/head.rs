//! What a proxy changes in the head of a request and of an answer (RFC 9110, section 7.6; RFC 9112, section 3.2).
//!
//! `Host` stays as the browser sent it: servers for development compare it with what they allow.

use std::net::IpAddr;

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use hyper::http::uri::Authority;
use hyper::http::{request, response};
use hyper::{Method, Uri, Version};

use super::with::Target;

/// A head of more lines is refused: a request with 431, an answer as no HTTP.
pub(super) const MOST_LINES: usize = 1024;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What a request asks to change to (`websocket`), if it asks properly.
pub(super) fn upgrade(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = version == Version::HTTP_11 && tokens(headers, &CONNECTION).any(|token| token == "upgrade");
    headers.get(UPGRADE).filter(|_| asked).cloned()
}

/// Makes the head of a request the one that is sent on.
pub(super) fn request(head: &mut request::Parts, peer: IpAddr, to: &Target) {
    let upgrade = upgrade(head.version, &head.headers);
    let trailers = tokens(&head.headers, &TE).any(|token| token == "trailers");
    strip(&mut head.headers);
    if let Some(to) = upgrade {
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, to);
    } else if trailers {
        head.headers.insert(CONNECTION, HeaderValue::from_static("te"));
        head.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    // What is asked of a proxy by its whole address is asked of the server by its path; the address wins.
    if let Some(authority) = head.uri.authority() {
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        if let Ok(host) = HeaderValue::from_str(host) {
            head.headers.insert(HOST, host);
        }
        let path = head.uri.path_and_query().cloned();
        head.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    }
    if !head.headers.contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(&host(to))
    {
        head.headers.insert(HOST, host);
    }
    forwarded(&mut head.headers, peer);
    head.version = Version::HTTP_11;
}

/// Makes the head of an answer the one that is given to the client; `upgraded` is what it changes to.
pub(super) fn response(head: &mut response::Parts, upgraded: Option<HeaderValue>) {
    strip(&mut head.headers);
    if let Some(to) = upgraded {
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, to);
    }
    head.version = Version::HTTP_11;
}

/// Whether a request says as it must for whom it is, and does so once (RFC 9112, section 3.2); else why not.
pub(super) fn addressed(version: Version, headers: &HeaderMap) -> Result<(), &'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (_, Some(_)) => Err("it has more than one `Host`"),
        (None, None) if version == Version::HTTP_11 => Err("it has no `Host`, which HTTP/1.1 requires"),
        (None, None) => Ok(()),
        (Some(host), None) if is_host(host) => Ok(()),
        (Some(_), None) => Err("its `Host` is no host"),
    }
}

/// Whether it is a name or an address, with or without a port; it may be empty.
fn is_host(value: &HeaderValue) -> bool {
    let authority = |bytes: &[u8]| Authority::try_from(bytes).is_ok() && !bytes.contains(&b'@');
    value.is_empty() || authority(value.as_bytes())
}

/// Whether the client waits with its body until it is told to go on.
pub(super) fn expects(headers: &HeaderMap) -> bool {
    tokens(headers, &EXPECT).any(|token| token == "100-continue")
}

/// The fields of an interim answer that are the client's.
pub(super) fn interim(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    strip(&mut headers);
    headers
}

/// Takes away what was meant for this connection alone. How a body is framed is said anew for the next one.
fn strip(headers: &mut HeaderMap) {
    // RFC 9112, section 6.3: who passes it on takes the length away.
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    let listed: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .collect();
    // A list that names these is a mistake or an attack: without them it would be another request.
    let needed = |name: &HeaderName| *name == HOST || *name == CONTENT_LENGTH;
    for name in listed.iter().filter(|name| !needed(name)) {
        headers.remove(name);
    }
    for name in [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}

/// Says for whom and how it was asked.
fn forwarded(headers: &mut HeaderMap, peer: IpAddr) {
    let peer = peer.to_canonical().to_string();
    let before: Vec<&str> =
        headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    let line = before.into_iter().chain([peer.as_str()]).collect::<Vec<_>>().join(", ");
    if let Ok(value) = HeaderValue::from_str(&line) {
        headers.insert(FORWARDED_FOR, value);
    }
    headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    if let Some(host) = headers.get(HOST).cloned() {
        headers.entry(FORWARDED_HOST).or_insert(host);
    }
}

fn host(to: &Target) -> String {
    match to {
        Target::Tcp(_) => to.to_string(),
        Target::Unix(_) => "localhost".to_owned(),
    }
}

/// The words of a list, in small letters.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = String> + 'a {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|token| token.trim().to_ascii_lowercase())
}

/// Whether a request may be sent twice with the same effect (RFC 9110, section 9.2.2).
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}
