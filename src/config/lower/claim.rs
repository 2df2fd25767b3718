//! Files and sockets that only one component can have.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
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

/// A thing claimed.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Thing<'c> {
    File(&'c Path),
    Port(SocketAddr),
    /// A port of any IPv4 address, of whichever.
    SomeV4(u16),
    /// A port of any address.
    Some(u16),
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
            Self::File(_) | Self::SomeV4(_) | Self::Some(_) => Vec::new(),
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

fn thing(component: &Component, what: What) -> Option<Thing<'_>> {
    match what {
        What::State => component.state.as_ref().map(|state| Thing::File(&state.file)),
        What::Log => component.logs.file.as_deref().map(Thing::File),
        What::Socket(position) => match &component.sockets.get(position)?.address {
            SocketAddress::Unix(path) => Some(Thing::File(path)),
            SocketAddress::Tcp(address) => port(*address),
        },
        What::Listen(position) => match &component.kind {
            Kind::Thread { listens, .. } => port(*listens.get(position)?),
            Kind::Process(_) => None,
        },
    }
}

/// A port that the system chooses is nobody's before.
fn port(address: SocketAddr) -> Option<Thing<'static>> {
    (address.port() != 0).then(|| Thing::Port(SocketAddr::new(address.ip().to_canonical(), address.port())))
}

/// Files that a component can't have for its own, by their names and by what they are on the disk.
struct Taken {
    /// The YAML file and every env file, with what they are.
    files: BTreeMap<PathBuf, &'static str>,
    /// Device and inode: a second name of one file is the same file.
    nodes: BTreeMap<(u64, u64), &'static str>,
}

impl Taken {
    fn new(yaml: &Path, env_files: Vec<PathBuf>) -> Self {
        let env_files = env_files.into_iter().map(|file| (file, "an env file"));
        let files: BTreeMap<PathBuf, &str> =
            env_files.chain([(yaml.to_path_buf(), "the YAML file")]).collect();
        let node = |(file, what): (&PathBuf, &&'static str)| {
            let metadata = std::fs::metadata(file).ok()?;
            Some(((metadata.dev(), metadata.ino()), *what))
        };
        let nodes = files.iter().filter_map(node).collect();
        Self { files, nodes }
    }

    /// Why the file can't be a component's state file, and what to do.
    fn why_not(&self, file: &Path, dir: &Path, state_dir: &Path) -> Option<(String, &'static str)> {
        const OWN: &str = "name a file that only this component writes, such as data/state.json";
        if dir.starts_with(file) {
            return Some(("it is the project's folder, or a folder above it".into(), OWN));
        }
        if state_dir.starts_with(file) {
            return Some(("it is the state directory, or a folder above it".into(), OWN));
        }
        if file.starts_with(state_dir)
            && (!file.starts_with(state_dir.join("data")) || file == state_dir.join("data"))
        {
            let help = "write `state: true` for a file in the state directory's own place for them";
            return Some(("it lies among orch's own files in the state directory".into(), help));
        }
        let metadata = std::fs::symlink_metadata(file).ok();
        let node = metadata.as_ref().map(|metadata| (metadata.dev(), metadata.ino()));
        let known = self.files.get(file).or_else(|| self.nodes.get(&node?));
        if let Some(what) = known {
            return Some((format!("it is {what}"), OWN));
        }
        let kind = metadata?.file_type();
        let what = match kind {
            kind if kind.is_file() => return None,
            kind if kind.is_dir() => "it is a folder",
            kind if kind.is_symlink() => "it is a symbolic link",
            _ => "it is no regular file",
        };
        Some((what.into(), OWN))
    }
}

impl<'t> Lowering<'t> {
    /// A state file is moved away, put back and replaced: nothing else may stand in its place.
    pub(super) fn check_state_files(&mut self, names: &[&'t str], lowered: &[Option<Arc<Component>>]) {
        let ground = self.ground;
        let mut taken = None;
        for claim in self.claims.clone() {
            if !matches!(claim.what, What::State) {
                continue;
            }
            let component = lowered.get(claim.component).and_then(Option::as_deref);
            let Some(state) = component.and_then(|component| component.state.as_ref()) else { continue };
            let taken = taken.get_or_insert_with(|| Taken::new(&ground.file, self.env.files()));
            let Some((why, help)) = taken.why_not(&state.file, &ground.dir, &ground.state_dir) else {
                continue;
            };
            let file = shown(&state.file.to_string_lossy()).into_owned();
            let message = format!("{file} can't be a state file: {why}");
            let mistake = Mistake::new(code::STATE_FILE, message).help(help);
            self.within(Step::Key(names[claim.component]), |lowering| {
                lowering.key("state", |lowering| lowering.mistake(claim.node, mistake));
            });
        }
    }

    /// No two components claim one file or socket, where no profile keeps them apart.
    pub(super) fn check_claims(&mut self, names: &[&'t str], lowered: &[Option<Arc<Component>>]) {
        let claims = std::mem::take(&mut self.claims);
        let mut held: BTreeMap<Thing<'_>, Holders<'_>> = BTreeMap::new();
        // `localhost` is two addresses, and one mistake.
        let mut told = None;
        for claim in claims {
            let Some(component) = lowered.get(claim.component).and_then(Option::as_deref) else { continue };
            let Some(thing) = thing(component, claim.what) else { continue };
            let shown_thing = match &thing {
                Thing::File(path) => shown(&path.to_string_lossy()).into_owned(),
                Thing::Port(address) => address.to_string(),
                Thing::SomeV4(port) | Thing::Some(port) => port.to_string(),
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
        let section = match claim.what {
            What::State => "state",
            What::Log => "logs",
            What::Socket(_) => "sockets",
            What::Listen(_) => "with",
        };
        self.within(Step::Key(name), |lowering| {
            lowering.key(section, |lowering| lowering.mistake(claim.node, mistake));
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
