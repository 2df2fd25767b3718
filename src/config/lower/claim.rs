//! Files and sockets that only one component can have.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use super::{Lowering, on};
use crate::config::code;
use crate::config::decode::{At, Step};
use crate::config::keys::ComponentKeys;
use crate::config::model::{Component, HostPort, Kind, SocketAddress};
use crate::config::report::Mistake;
use crate::config::text::shown;
use crate::config::tree::NodeId;

/// That a component has something for itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    pub(super) component: usize,
    pub(super) what: What,
    pub(super) node: NodeId,
}

/// What it has.
#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    State,
    Log,
    Socket(usize),
    /// Where a thread listens.
    Listen(usize),
}

impl What {
    fn section(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Log => "logs",
            Self::Socket(_) => "sockets",
            Self::Listen(_) => "with",
        }
    }
}

/// A thing claimed.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Thing<'c> {
    /// A name in a folder.
    File(Folder<'c>, &'c OsStr),
    Port(SocketAddr),
    /// A port of any IPv4 address, of whichever.
    SomeV4(u16),
    /// A port of any address.
    Some(u16),
}

/// A folder as it is on the disk, whatever links lead to it; by its name if it is not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Folder<'c> {
    /// Device and inode.
    Node(u64, u64),
    Name(&'c Path),
}

/// The folders that were looked at, each once.
#[derive(Default)]
struct Folders<'c>(BTreeMap<&'c Path, Folder<'c>>);

impl<'c> Folders<'c> {
    fn file(&mut self, path: &'c Path) -> Option<Thing<'c>> {
        let (folder, name) = (path.parent()?, path.file_name()?);
        let folder = self.0.entry(folder).or_insert_with(|| match std::fs::metadata(folder) {
            Ok(metadata) => Folder::Node(metadata.dev(), metadata.ino()),
            Err(_) => Folder::Name(folder),
        });
        Some(Thing::File(*folder, name))
    }
}

impl Thing<'_> {
    /// The things that one who has this would share with whoever has them.
    fn contested(&self) -> Vec<Self> {
        let Self::Port(address) = self else { return Vec::new() };
        let (ip, port) = (address.ip(), address.port());
        let all = |ip: IpAddr| Self::Port(SocketAddr::new(ip, port));
        match ip {
            // `[::]` takes in every address, of both kinds.
            IpAddr::V6(ip) if ip.is_unspecified() => vec![Self::Some(port)],
            IpAddr::V4(ip) if ip.is_unspecified() => {
                vec![Self::SomeV4(port), all(Ipv6Addr::UNSPECIFIED.into())]
            }
            IpAddr::V4(_) => vec![all(Ipv4Addr::UNSPECIFIED.into()), all(Ipv6Addr::UNSPECIFIED.into())],
            IpAddr::V6(_) => vec![all(Ipv6Addr::UNSPECIFIED.into())],
        }
    }

    /// As what it is held, beside itself.
    fn also(&self) -> Vec<Self> {
        match self {
            Self::Port(address) if address.is_ipv4() => {
                vec![Self::SomeV4(address.port()), Self::Some(address.port())]
            }
            Self::Port(address) => vec![Self::Some(address.port())],
            Self::File(..) | Self::SomeV4(_) | Self::Some(_) => Vec::new(),
        }
    }
}

/// Who holds a thing, such that a conflict is found without comparing all with all.
#[derive(Default)]
struct Holders<'c> {
    /// One that is always chosen.
    always: Option<Claim>,
    any: Option<Claim>,
    by_profile: BTreeMap<&'c str, Claim>,
}

impl<'c> Holders<'c> {
    /// One that may run together with this component.
    fn beside(&self, component: &Component) -> Option<Claim> {
        if component.profiles.is_empty() {
            return self.any;
        }
        let same = || component.profiles.iter().find_map(|profile| self.by_profile.get(profile.as_str()));
        self.always.or_else(|| same().copied())
    }

    fn add(&mut self, component: &'c Component, claim: Claim) {
        self.any.get_or_insert(claim);
        if component.profiles.is_empty() {
            self.always.get_or_insert(claim);
        }
        for profile in &component.profiles {
            self.by_profile.entry(profile).or_insert(claim);
        }
    }
}

/// The file that it is, and where: absent for what is none.
pub(super) fn file_of(component: &Component, what: What) -> Option<&Path> {
    match what {
        What::State => component.state.as_ref().map(|state| state.file.as_path()),
        What::Log => component.logs.file.as_deref(),
        What::Socket(position) => match &component.sockets.get(position)?.address {
            SocketAddress::Unix(path) => Some(path),
            SocketAddress::Tcp(_) => None,
        },
        What::Listen(_) => None,
    }
}

/// The address that it is.
fn address_of(component: &Component, what: What) -> Option<SocketAddr> {
    match (what, &component.kind) {
        (What::Socket(position), _) => match component.sockets.get(position)?.address {
            SocketAddress::Tcp(address) => Some(address),
            SocketAddress::Unix(_) => None,
        },
        (What::Listen(position), Kind::Thread { listens, .. }) => listens.get(position).copied(),
        _ => None,
    }
}

/// A port that the system chooses is nobody's before.
fn port(address: SocketAddr) -> Option<Thing<'static>> {
    (address.port() != 0).then(|| Thing::Port(SocketAddr::new(address.ip().to_canonical(), address.port())))
}

impl<'t> Lowering<'t> {
    /// No two components claim one file or socket, where no profile keeps them apart.
    pub(super) fn check_claims(&mut self, names: &[&'t str], lowered: &[Option<Arc<Component>>]) {
        let claims = std::mem::take(&mut self.claims);
        let mut held: BTreeMap<Thing<'_>, Holders<'_>> = BTreeMap::new();
        let mut folders = Folders::default();
        // `localhost` is two addresses, and one mistake.
        let mut told = None;
        for claim in claims {
            let Some(component) = lowered.get(claim.component).and_then(Option::as_deref) else { continue };
            let (file, address) = (file_of(component, claim.what), address_of(component, claim.what));
            let thing = file.and_then(|path| folders.file(path)).or_else(|| port(address?));
            let Some(thing) = thing else { continue };
            let shown_thing = match file {
                Some(path) => shown(&path.to_string_lossy()).into_owned(),
                None => address.map(|address| address.to_string()).unwrap_or_default(),
            };
            let others = thing.contested();
            let mut others = std::iter::once(&thing).chain(&others).filter_map(|thing| held.get(thing));
            let place = (claim.component, claim.node);
            if told != Some(place)
                && let Some(other) = others.find_map(|holders| holders.beside(component))
            {
                self.conflict(names, claim, other, &shown_thing);
                told = Some(place);
            }
            for thing in thing.also().into_iter().chain([thing]) {
                held.entry(thing).or_default().add(component, claim);
            }
        }
    }

    fn conflict(&mut self, names: &[&'t str], claim: Claim, other: Claim, thing: &str) {
        let (name, holder) = (names[claim.component], names[other.component]);
        let message = if claim.component == other.component {
            format!("`{name}` claims {thing} twice")
        } else {
            format!("`{name}` and `{holder}` both claim {thing}")
        };
        let place = self.decoder.tree.source().place(self.decoder.tree.span(other.node));
        let mistake = Mistake::new(code::CLAIMED_TWICE, message)
            .related(place, format!("claimed by `{holder}` here"))
            .help("give each its own, or profiles that are never chosen together");
        self.mistake_of(names, claim, mistake);
    }

    pub(super) fn mistake_of(&mut self, names: &[&'t str], claim: Claim, mistake: Mistake) {
        self.within(Step::Key(names[claim.component]), |lowering| {
            lowering.key(claim.what.section(), |lowering| lowering.mistake(claim.node, mistake));
        });
    }

    /// A `tcp` probe on one of the component's own sockets would always succeed.
    pub(super) fn check_own_sockets(&mut self, component: &Component, keys: &ComponentKeys) {
        if let Some(tcp) = on(keys.ready.as_ref()).and_then(|ready| ready.tcp.as_ref()) {
            self.check_own_socket(component, "ready", tcp);
        }
        if let Some(tcp) = on(keys.health.as_ref()).and_then(|health| health.tcp.as_ref()) {
            self.check_own_socket(component, "health", tcp);
        }
    }

    fn check_own_socket(&mut self, component: &Component, section: &'static str, probe: &At<HostPort>) {
        let asked = &probe.value;
        let own = component.sockets.iter().find(|socket| match socket.address {
            SocketAddress::Tcp(address) => asked.reaches(address),
            SocketAddress::Unix(_) => false,
        });
        let Some(own) = own else { return };
        let message = format!(
            "`tcp` on the component's own socket `{}` says nothing: the backlog always answers",
            own.name
        );
        let mistake = Mistake::new(code::OWN_SOCKET, message).help("use `http`, `exec` or `notify`");
        self.key(section, |lowering| {
            lowering.key("tcp", |lowering| lowering.mistake(probe.node, mistake));
        });
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::port;

    /// Whether the second of two claims would be a mistake.
    fn clash(first: SocketAddr, second: SocketAddr) -> bool {
        let held = |address| {
            let thing = port(address).unwrap();
            thing.also().into_iter().chain([thing]).collect::<Vec<_>>()
        };
        let sought = |address| {
            let thing = port(address).unwrap();
            thing.contested().into_iter().chain([thing]).collect::<Vec<_>>()
        };
        let held = held(first);
        sought(second).iter().any(|thing| held.contains(thing))
    }

    /// What is a mistake is what the kernel refuses, and nothing else.
    #[test]
    fn two_listeners_clash_where_the_kernel_says_so() {
        const IPS: [&str; 7] = [
            "127.0.0.1",
            "127.0.0.2",
            "0.0.0.0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:127.0.0.2]",
        ];
        let (mut judged, mut refused) = (0, 0);
        for first in IPS {
            let Ok(held) = TcpListener::bind(format!("{first}:0")) else { continue };
            let first = held.local_addr().unwrap();
            for second in IPS {
                let second: SocketAddr = format!("{second}:{}", first.port()).parse().unwrap();
                let kernel = match TcpListener::bind(second) {
                    Ok(_) => false,
                    Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => true,
                    Err(_) => continue,
                };
                assert_eq!(clash(first, second), kernel, "{first} and {second}");
                judged += 1;
                refused += i32::from(kernel);
            }
        }
        assert!(judged >= 9 && refused >= 5 && refused < judged, "{refused} of {judged}");
    }
}
