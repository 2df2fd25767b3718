//! Addresses: `HOST:PORT`, `http://…`, and what sockets are bound to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value as Json, json};

use super::leaf::or_interpolated;
use super::{At, Decoder, Step, Value};
use crate::config::code;
use crate::config::model::{HostPort, HttpUrl};
use crate::config::report::Mistake;
use crate::config::text::shown;
use crate::config::tree::NodeId;
use crate::types::Name;

/// Splits `HOST:PORT`, with an IPv6 address in brackets.
fn host_port(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("the `[` is not closed")?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| "what is in brackets is no IPv6 address")?;
        let port = match rest {
            "" => None,
            rest => Some(rest.strip_prefix(':').ok_or("a port follows `]:`")?),
        };
        (host, port)
    } else {
        match text.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err("an IPv6 address stands in brackets".into()),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
    if host.is_empty() || host.len() > 253 || !host.bytes().all(plain) {
        return Err("the host is missing, or has characters that a host name has not".into());
    }
    let port = port.map(self::port).transpose()?;
    Ok((host.into(), port))
}

fn port(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.then(|| text.parse().ok()).flatten();
    port.ok_or_else(|| "a port is a number from 1 to 65535".into())
}

fn connectable(text: &str) -> Result<HostPort, String> {
    match host_port(text)? {
        (_, None) => Err("a port is missing, such as in `127.0.0.1:8080`".into()),
        (_, Some(0)) => Err("a port is a number from 1 to 65535".into()),
        (host, Some(port)) => Ok(HostPort { host, port }),
    }
}

impl Value for HostPort {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        decoder.parsed(node, "an address `HOST:PORT`", code::ADDRESS, connectable)
    }
    fn schema() -> Json {
        or_interpolated(
            json!({ "type": "string", "pattern": "^(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9._-]+):[0-9]+$" }),
        )
    }
}

impl Value for HttpUrl {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        decoder.parsed(node, "an address `http://HOST:PORT/PATH`", code::ADDRESS, url)
    }
    fn schema() -> Json {
        or_interpolated(json!({ "type": "string", "pattern": "^http://[^/?#@ ]+([/?][^# ]*)?$" }))
    }
}

fn url(text: &str) -> Result<HttpUrl, String> {
    let Some(rest) = text.strip_prefix("http://") else {
        let secure = text.starts_with("https://");
        return Err(if secure {
            "https is not spoken; use `http://`, `tcp` or `exec`"
        } else {
            "it begins with no `http://`"
        }
        .into());
    };
    if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(
            "it holds a blank, a control character, or one that is not ASCII; write those as %XX".into()
        );
    }
    if rest.contains('#') {
        return Err("a `#` part is never sent".into());
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    if authority.contains('@') {
        return Err("a user name is not sent".into());
    }
    let (host, port) = host_port(authority)?;
    let port = port.unwrap_or(80);
    if port == 0 {
        return Err("a port is a number from 1 to 65535".into());
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok(HttpUrl { at: HostPort { host, port }, target: format!("{slash}{target}") })
}

/// What a socket is bound to, the path not yet made absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SocketText {
    Tcp(SocketAddr),
    Path(String),
}

impl Value for SocketText {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        decoder.parsed(node, "an address `IP:PORT` or a path with a `/`", code::ADDRESS, socket)
    }
    fn schema() -> Json {
        or_interpolated(json!({ "type": "string", "pattern": "[/:]" }))
    }
}

fn socket(text: &str) -> Result<SocketText, String> {
    if text.starts_with("unix:") {
        return Err("a path stands without `unix:`".into());
    }
    if text.contains('/') {
        return Ok(SocketText::Path(text.into()));
    }
    let (host, port) = host_port(text)?;
    let port = port.ok_or("a port is missing; port 0 lets the system choose")?;
    let address = match host.as_str() {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.parse().map_err(|_| "a socket is bound to an IP address, not to a name")?,
    };
    Ok(SocketText::Tcp(SocketAddr::new(address, port)))
}

/// A component has so many sockets at the most: with what it may store (64), they go over in one message, which carries
/// 253 (SCM_MAX_FD).
const SOCKETS: usize = 128;

/// `sockets`, in the order of the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sockets(pub(crate) Vec<(String, At<SocketText>)>);

impl Value for Sockets {
    fn decode(decoder: &mut Decoder<'_>, node: NodeId) -> Option<Self> {
        let mut sockets = Vec::new();
        let entries = decoder.entries(node, "a map of names to addresses")?;
        if entries.len() > SOCKETS {
            let message = format!("a component can have {SOCKETS} sockets, and here are {}", entries.len());
            decoder.mistake(node, Mistake::new(code::RANGE, message));
            return None;
        }
        for (name, key, node) in entries {
            decoder.within(Step::Key(name), |decoder| {
                if Name::new(name).is_err() {
                    let message = format!("`{}` can't be the name of a socket", shown(name));
                    decoder.mistake(
                        key,
                        Mistake::new(code::NAME, message).help(crate::types::InvalidName.to_string()),
                    );
                } else if let Some(value) = SocketText::decode(decoder, node) {
                    sockets.push((name.into(), At { value, node }));
                }
            });
        }
        Some(Self(sockets))
    }

    fn schema() -> Json {
        json!({
            "type": "object",
            "maxProperties": SOCKETS,
            "propertyNames": { "$ref": "#/$defs/name" },
            "additionalProperties": SocketText::schema(),
        })
    }
}

impl super::Short for Sockets {
    const EXPECTED: &'static str = "a map of names to addresses";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (text, host, port) in [
            ("localhost:80", "localhost", 80),
            ("127.0.0.1:1", "127.0.0.1", 1),
            ("[::1]:65535", "::1", 65535),
        ] {
            assert_eq!(connectable(text), Ok(HostPort { host: host.into(), port }), "{text}");
        }
        for text in
            ["", ":80", "a", "a:", "a:0", "a:65536", "a:+1", "a:1:2", "[::1]", "[a]:1", "a b:1", "::1:80"]
        {
            assert!(connectable(text).is_err(), "{text}");
        }
    }

    #[test]
    fn urls() {
        let good = [
            ("http://a", "a", 80, "/"),
            ("http://a:1/b?c", "a", 1, "/b?c"),
            ("http://[::1]:8080?x", "::1", 8080, "/?x"),
        ];
        for (text, host, port, target) in good {
            let expected = HttpUrl { at: HostPort { host: host.into(), port }, target: target.into() };
            assert_eq!(url(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "a",
            "https://a",
            "http://",
            "http:///a",
            "http://a@b/",
            "http://a/ b",
            "http://a:0/",
            "http://a/#b",
        ] {
            assert!(url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sockets() {
        assert_eq!(socket("./a.sock"), Ok(SocketText::Path("./a.sock".into())));
        assert_eq!(socket("[::1]:0"), Ok(SocketText::Tcp("[::1]:0".parse().unwrap())));
        assert_eq!(socket("localhost:1"), Ok(SocketText::Tcp("127.0.0.1:1".parse().unwrap())));
        for text in ["a.sock", "example.org:80", "127.0.0.1", ":80"] {
            assert!(socket(text).is_err(), "{text}");
        }
    }
}
