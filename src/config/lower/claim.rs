//! Files and sockets that only one component can have.

use std::collections::BTreeMap;
use std::path::Path;
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

impl<'t> Lowering<'t> {
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
