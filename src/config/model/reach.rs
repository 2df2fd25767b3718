//! Which listener a connection comes to, as far as that can be told without asking anybody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::HostPort;

impl HostPort {
    /// Whether a connection to it would reach a socket of this machine that is bound to this address.
    #[must_use]
    pub fn reaches(&self, bound: SocketAddr) -> bool {
        self.port == bound.port() && same_host(bound.ip(), &self.host)
    }
}

fn same_host(bound: IpAddr, host: &str) -> bool {
    let bound = bound.to_canonical();
    let reaches = |asked: IpAddr| {
        // Whoever connects to no address in particular is connected to this machine.
        let asked = match asked.to_canonical() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            asked => asked,
        };
        let anywhere = match bound {
            IpAddr::V4(ip) => ip.is_unspecified() && asked.is_ipv4(),
            IpAddr::V6(ip) => ip.is_unspecified(),
        };
        asked == bound || anywhere && asked.is_loopback()
    };
    match host.parse::<IpAddr>() {
        Ok(asked) => reaches(asked),
        Err(_) if host.eq_ignore_ascii_case("localhost") => {
            reaches(Ipv4Addr::LOCALHOST.into()) || reaches(Ipv6Addr::LOCALHOST.into())
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::same_host;

    #[test]
    fn which_hosts_lead_to_a_socket() {
        let same = |bound: &str, host: &str| same_host(bound.parse().unwrap(), host);
        for (bound, host) in [
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", "LocalHost"),
            ("127.0.0.1", "0.0.0.0"),
            ("127.0.0.1", "::ffff:127.0.0.1"),
            ("0.0.0.0", "127.0.0.2"),
            ("0.0.0.0", "localhost"),
            ("::", "127.0.0.1"),
            ("::", "::1"),
            ("::", "localhost"),
            ("::1", "localhost"),
            ("::1", "::"),
        ] {
            assert!(same(bound, host), "{bound} {host}");
        }
        for (bound, host) in [
            ("127.0.0.1", "127.0.0.2"),
            ("127.0.0.1", "::1"),
            ("127.0.0.2", "localhost"),
            ("0.0.0.0", "::1"),
            ("::1", "127.0.0.1"),
            ("0.0.0.0", "192.0.2.1"),
            ("0.0.0.0", "example.org"),
        ] {
            assert!(!same(bound, host), "{bound} {host}");
        }
    }
}
