//! What `proxy` and `tcp-proxy` take, checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_yaml::Value;

use super::super::ticker::duration;
use super::site::Protocol;
use crate::config::model::HostPort;

/// The keys, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "the keys `listen`, `to` and `hold`")]
pub(in super::super) struct With {
    listen: String,
    to: String,
    #[serde(deserialize_with = "duration", default = "ten_seconds")]
    hold: Duration,
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

/// The keys, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Settings {
    /// Where it listens: one address, or both of `localhost`.
    pub(super) listen: Vec<SocketAddr>,
    /// Whom it speaks to.
    pub(super) to: Target,
    /// So long somebody is kept waiting for who is behind.
    pub(super) hold: Duration,
}

/// Whom a proxy speaks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// By TCP.
    Tcp(HostPort),
    /// By a Unix socket; absolute.
    Unix(PathBuf),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(HostPort { host, port }) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(HostPort { host, port }) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Whom the built-in component `runner` speaks to by this `with`; `None` where it speaks to nobody, or that is
/// no valid one.
#[must_use]
pub fn target(runner: &str, with: &Value) -> Option<Target> {
    let protocol = Protocol::of(runner)?;
    to(with.get("to")?.as_str()?, protocol == Protocol::Http).ok()
}

/// What the built-in proxy `runner` is told by this `with`; `None` where it is none, or that is no valid one.
pub(in super::super) fn settings(runner: &str, with: &Value) -> Option<Settings> {
    let protocol = Protocol::of(runner)?;
    let with: With = serde_yaml::from_value(with.clone()).ok()?;
    with.settings(protocol == Protocol::Http).ok()
}

impl With {
    /// Checks what serde can't.
    pub(super) fn settings(self, http: bool) -> Result<Settings, String> {
        let listen = listen(&self.listen).map_err(|why| format!("with.listen: `{}`: {why}", self.listen))?;
        let to = to(&self.to, http).map_err(|why| format!("with.to: `{}`: {why}", self.to))?;
        if let Target::Tcp(at) = &to
            && listen.iter().any(|own| at.reaches(*own))
        {
            return Err(format!("with.to: `{}` is where it listens itself", self.to));
        }
        Ok(Settings { listen, to, hold: self.hold })
    }
}

fn listen(text: &str) -> Result<Vec<SocketAddr>, String> {
    let HostPort { host, port } = host_port(text, None)?;
    let ips = if host.eq_ignore_ascii_case("localhost") {
        vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
    } else {
        vec![host.parse().map_err(|_| "it listens at an IP address or `localhost`, not at a name")?]
    };
    Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

fn to(text: &str, http: bool) -> Result<Target, String> {
    if text.starts_with("https://") {
        return Err("https is not spoken; the component behind speaks plain http".to_owned());
    }
    let path = text.strip_prefix("unix:").unwrap_or(text);
    if path.starts_with('/') {
        return Ok(Target::Unix(PathBuf::from(path)));
    }
    let Some(rest) = text.strip_prefix("http://") else {
        return host_port(text, None).map(Target::Tcp);
    };
    if !http {
        return Err("a tcp-proxy speaks no http; write HOST:PORT, or use `thread: proxy`".to_owned());
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !path.is_empty() || authority.contains(['?', '#']) {
        return Err("the path is the request's own; write http://HOST:PORT".to_owned());
    }
    host_port(authority, Some(80)).map(Target::Tcp)
}

/// Splits `HOST:PORT`, with an IPv6 address in brackets.
fn host_port(text: &str, default: Option<u16>) -> Result<HostPort, String> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("the `[` is not closed")?;
        host.parse::<Ipv6Addr>().map_err(|_| "what is in brackets is no IPv6 address")?;
        (
            host,
            if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or("a port follows `]:`")?) },
        )
    } else {
        match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address stands in brackets".to_owned());
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
    if host.is_empty() || host.len() > 253 || !host.bytes().all(plain) {
        return Err("the host is missing, or has characters that a host name has not".to_owned());
    }
    let port = match port {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok(),
        Some(_) => None,
        None => Some(default.ok_or("a port is missing, such as in `127.0.0.1:8080`")?),
    };
    let port = port.filter(|port| *port != 0).ok_or("a port is a number from 1 to 65535")?;
    Ok(HostPort { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Settings, Target, With, target};
    use crate::config::model::HostPort;

    fn settings(yaml: &str, http: bool) -> Result<Settings, String> {
        serde_yaml::from_str::<With>(yaml).map_err(|error| error.to_string())?.settings(http)
    }

    #[test]
    fn addresses_are_understood() {
        let read = settings("{listen: 'localhost:80', to: 'http://[::1]:81/', hold: 2s}", true).unwrap();
        let expected = Settings {
            listen: vec!["127.0.0.1:80".parse().unwrap(), "[::1]:80".parse().unwrap()],
            to: Target::Tcp(HostPort { host: "::1".into(), port: 81 }),
            hold: Duration::from_secs(2),
        };
        assert_eq!(read, expected);
        let read = settings("{listen: '0.0.0.0:80', to: /run/a.sock}", false).unwrap();
        assert_eq!((read.to, read.hold), (Target::Unix("/run/a.sock".into()), Duration::from_secs(10)));
        let with = serde_yaml::from_str("{to: 'http://example'}").unwrap();
        assert_eq!(target("proxy", &with).unwrap().to_string(), "example:80");
        assert_eq!((target("ticker", &with), target("tcp-proxy", &with)), (None, None));
    }

    #[test]
    fn each_mistake_is_told() {
        for (yaml, expected) in [
            ("{to: 'a:1'}", "missing field `listen`"),
            ("{listen: 'a:1', to: 'a:2'}", "with.listen: `a:1`: it listens at an IP address"),
            ("{listen: '127.0.0.1', to: 'a:2'}", "with.listen: `127.0.0.1`: a port is missing"),
            ("{listen: '127.0.0.1:0', to: 'a:2'}", "a port is a number from 1 to 65535"),
            ("{listen: '127.0.0.1:65536', to: 'a:2'}", "a port is a number from 1 to 65535"),
            ("{listen: '127.0.0.1:1', to: 'https://a'}", "with.to: `https://a`: https is not spoken"),
            ("{listen: '127.0.0.1:1', to: 'http://a/b'}", "the path is the request's own"),
            ("{listen: '127.0.0.1:1', to: '::1:80'}", "stands in brackets"),
            ("{listen: '127.0.0.1:1', to: 'a b:1'}", "characters that a host name has not"),
            ("{listen: '127.0.0.1:1', to: 'localhost:1'}", "is where it listens itself"),
            ("{listen: '0.0.0.0:1', to: '127.0.0.1:1'}", "is where it listens itself"),
            ("{listen: '127.0.0.1:1', to: 'http://0.0.0.0:1'}", "is where it listens itself"),
            ("{listen: '[::]:1', to: '127.0.0.1:1'}", "is where it listens itself"),
            ("{listen: '127.0.0.1:1', to: '[::ffff:127.0.0.1]:1'}", "is where it listens itself"),
            ("{listen: '127.0.0.1:1', to: 'a:1', hold: 5}", "is no duration such as"),
            ("{listen: '127.0.0.1:1', to: 'a:1', held: 5s}", "unknown field `held`"),
        ] {
            let error = settings(yaml, true).unwrap_err();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
        let error = settings("{listen: '127.0.0.1:1', to: 'http://a:2'}", false).unwrap_err();
        assert!(error.contains("speaks no http"), "{error}");
    }
}
