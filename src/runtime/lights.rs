//! What each built-in proxy is told of the component behind it, as the core says it.
//!
//! Records are carried out in the order of the core's decisions, and that a component is stopping is recorded before
//! it is asked to stop. So a proxy knows that a component is at its end before the component does.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::driver::Driver;
use crate::config::model::{Component, HealthCheck, HostPort, Kind, Probe, Project, SocketAddress};
use crate::probe;
use crate::runner::thread::{Around, Kept, Lamp, Seen, Target, target};
use crate::supervisor::{Record, Supervisor, What};
use crate::types::{Cid, Name};

/// The lamps of the proxies.
#[derive(Default)]
pub(crate) struct Lights {
    /// Of each proxy that has started: its lamp, and who is behind it.
    lamps: BTreeMap<Name, (Lamp, Option<Name>)>,
    /// For which project that is.
    of: Option<Arc<Project>>,
    kept: Kept,
}

impl Driver {
    /// What is around a thread component.
    pub(super) fn around(&mut self, spec: &Component) -> Around {
        let core = &self.parts.core;
        let holder = Arc::new(probe::holder);
        let kept = self.lights.kept.clone();
        let Kind::Thread { runner, with } = &spec.kind else { return Around::default() };
        if target(runner, with).is_none() {
            return Around { holder: Some(holder), kept, ..Around::default() };
        }
        let behind = behind(core.project(), spec);
        let lamp = Lamp::new(behind.as_ref().and_then(|name| look(core, name)));
        let light = lamp.light();
        self.lights.lamps.insert(spec.name.clone(), (lamp, behind));
        Around { light, holder: Some(holder), kept }
    }

    /// What a component has left open for its next run is closed: there is none.
    pub(super) fn darken(&mut self, component: Cid) {
        if let Some(spec) = self.observed.get(&component) {
            self.lights.kept.release(&spec.name);
        }
    }

    /// Tells the proxies what has happened, before it has consequences.
    pub(super) fn shine(&mut self, record: &Record) {
        let (Some(name), What::State { state, reason }) = (&record.component, &record.what) else { return };
        for (lamp, behind) in self.lights.lamps.values() {
            if behind.as_ref() == Some(name) {
                let incarnation = record.incarnation.unwrap_or_default();
                let seen = Seen { name: name.clone(), state: *state, reason: reason.clone(), incarnation };
                lamp.show(Some(seen));
            }
        }
    }

    /// After an edit: another component may be behind.
    pub(super) fn relight(&mut self) {
        let core = &self.parts.core;
        let project = core.project();
        if self.lights.of.as_ref().is_some_and(|known| Arc::ptr_eq(known, project)) {
            return;
        }
        self.lights.of = Some(Arc::clone(project));
        let find = |name: &Name| project.components.iter().find(|spec| spec.name == *name);
        self.lights.lamps.retain(|name, _| find(name).is_some());
        for (name, (lamp, known)) in &mut self.lights.lamps {
            let now = find(name).and_then(|spec| behind(project, spec));
            if now != *known {
                lamp.show(now.as_ref().and_then(|name| look(core, name)));
                *known = now;
            }
        }
    }
}

/// How a component is now.
fn look(core: &Supervisor, name: &Name) -> Option<Seen> {
    let view = core.view(core.find(name.as_str())?)?;
    Some(Seen { name: view.name, state: view.state, reason: view.reason, incarnation: view.incarnation })
}

/// Who is behind a proxy: the component that says of where the proxy sends its clients that it is its own (by a
/// socket, a `ready` or a `health` check); else the only one that the proxy depends on; else nobody is known, and the
/// connection alone decides.
fn behind(project: &Project, proxy: &Component) -> Option<Name> {
    let Kind::Thread { runner, with } = &proxy.kind else { return None };
    let to = target(runner, with)?;
    let mut others = project.components.iter().filter(|other| other.name != proxy.name);
    let owner = others.find(|other| owns(other, &to));
    owner.map(|owner| owner.name.clone()).or_else(|| match proxy.depends_on.as_slice() {
        [only] => Some(only.name.clone()),
        _ => None,
    })
}

/// Whether a component says of an address that it is its own.
fn owns(component: &Component, to: &Target) -> bool {
    let socket = component.sockets.iter().any(|socket| match (&socket.address, to) {
        (SocketAddress::Tcp(bound), Target::Tcp(at)) => {
            let host = bound.ip().to_string();
            same(&HostPort { host, port: bound.port() }, at)
        }
        (SocketAddress::Unix(bound), Target::Unix(path)) => bound == path,
        _ => false,
    });
    let Target::Tcp(to) = to else { return socket };
    let ready =
        component.ready.as_ref().filter(|ready| !ready.external).is_some_and(|ready| match &ready.probe {
            Probe::Http(url) => same(&url.at, to),
            Probe::Tcp(at) => same(at, to),
            Probe::Exec(_) | Probe::Log(_) | Probe::File(_) | Probe::Notify | Probe::Delay(_) => false,
        });
    let health = component.health.as_ref().is_some_and(|health| match &health.check {
        HealthCheck::Http(url) => same(&url.at, to),
        HealthCheck::Tcp(at) => same(at, to),
        HealthCheck::Exec(_) | HealthCheck::Watchdog(_) => false,
    });
    socket || ready || health
}

/// Whether two addresses mean the same listener: this machine has many names for itself.
fn same(a: &HostPort, b: &HostPort) -> bool {
    let here = |at: &HostPort| match at.host.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback() || ip.is_unspecified(),
        Err(_) => at.host.eq_ignore_ascii_case("localhost"),
    };
    a.port == b.port && (here(a) && here(b) || a.host.eq_ignore_ascii_case(&b.host))
}
