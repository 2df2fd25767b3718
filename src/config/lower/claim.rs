//! Files and sockets that only one component can have.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Lowering, on};
use crate::config::code;
use crate::config::decode::{At, Step};
use crate::config::keys::ComponentKeys;
use crate::config::model::{Component, HostPort, SocketAddress};
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
}

/// A thing claimed.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Thing<'c> {
    File(&'c Path),
    Port(std::net::SocketAddr),
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
            SocketAddress::Tcp(address) if address.port() == 0 => None,
            SocketAddress::Tcp(address) => Some(Thing::Port(*address)),
        },
    }
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
        for claim in claims {
            let Some(component) = lowered.get(claim.component).and_then(Option::as_deref) else { continue };
            let Some(thing) = thing(component, claim.what) else { continue };
            let shown_thing = match &thing {
                Thing::File(path) => shown(&path.to_string_lossy()).into_owned(),
                Thing::Port(address) => address.to_string(),
            };
            let holders = held.entry(thing).or_default();
            if let Some(other) = holders.beside(component) {
                self.conflict(names, claim, other, &shown_thing);
            }
            holders.add(component, claim);
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
            SocketAddress::Tcp(address) => {
                address.port() == asked.port && same_host(address.ip(), &asked.host)
            }
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

/// Whether a connection to this host would reach a socket bound to this address.
fn same_host(bound: std::net::IpAddr, host: &str) -> bool {
    match host.parse::<std::net::IpAddr>() {
        Ok(asked) => {
            asked == bound || bound.is_unspecified() && (asked.is_loopback() || asked.is_unspecified())
        }
        Err(_) => host == "localhost" && (bound.is_loopback() || bound.is_unspecified()),
    }
}
