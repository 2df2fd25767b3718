//! What each built-in proxy is told of the component behind it, as the core says it.
//!
//! Records are carried out in the order of the core's decisions, and that a component is stopping is recorded before
//! it is asked to stop. So a proxy knows that a component is at its end before the component does.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::driver::Driver;
use super::inbox::Message;
use crate::config::model::{Component, HealthCheck, HostPort, Kind, Probe, Project, SocketAddress};
use crate::probe;
use crate::runner::Scope;
use crate::runner::thread::{Around, Kept, Lamp, Seen, Target, target};
use crate::supervisor::{Record, Supervisor, What};
use crate::types::{Cid, Name, RunId, Signal, State};

/// So long a component is not asked to stop for what a proxy has under way to it. Nothing more is begun
/// meanwhile, so what takes milliseconds is answered whole, by a server that would just fall over, too; and a save
/// is not held up by what takes long.
const DRAIN: Duration = Duration::from_millis(200);

/// The lamps of the proxies.
#[derive(Default)]
pub(crate) struct Lights {
    /// Of each proxy that has started: its lamp, and who is behind it.
    lamps: BTreeMap<Name, (Lamp, Option<Name>)>,
    /// For which project that is.
    of: Option<Arc<Project>>,
    /// What is asked to stop when nothing is under way to it any more, and how.
    draining: BTreeMap<RunId, (Signal, Scope)>,
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

    /// Asks a run to stop, when nothing is under way to it by a proxy.
    pub(super) fn stop_drained(&mut self, run: RunId, signal: Signal, scope: Scope) {
        let name = self.lives.get(&run).map(|life| &life.spec.name);
        let of = |(lamp, behind): &(Lamp, Option<Name>)| lamp.idle().filter(|_| behind.as_ref() == name);
        // The leader is asked once; what is asked later is asked of what its end has left.
        let busy: Vec<_> = match scope {
            Scope::Group if name.is_some() => self.lights.lamps.values().filter_map(of).collect(),
            _ => Vec::new(),
        };
        if busy.is_empty() {
            return self.stop(run, signal, scope);
        }
        if let Some(life) = self.lives.get_mut(&run) {
            life.asked_to_stop();
        }
        self.lights.draining.insert(run, (signal, scope));
        let inbox = self.parts.inbox.clone();
        tokio::spawn(async move {
            let all = async {
                for idle in busy {
                    idle.await;
                }
            };
            let _ = tokio::time::timeout(DRAIN, all).await;
            let _ = inbox.send(Message::Drained { run });
        });
    }

    /// That time is over.
    pub(super) fn drained(&mut self, run: RunId) {
        if let Some((signal, scope)) = self.lights.draining.remove(&run) {
            self.stop(run, signal, scope);
        }
    }

    /// It is over for all, for this image of orch ends.
    pub(super) fn drained_all(&mut self) {
        while let Some((run, (signal, scope))) = self.lights.draining.pop_first() {
            self.stop(run, signal, scope);
        }
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
        if matches!(state, State::Stopped | State::Completed | State::Failed | State::Blocked) {
            self.lights.kept.release(name);
        }
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

/// Whether two addresses mean the same listener: this machine has some names for itself, and a listener may be at all
/// of its addresses.
fn same(a: &HostPort, b: &HostPort) -> bool {
    let names = ["localhost", "127.0.0.1", "::1"];
    let ip = |at: &HostPort| at.host.parse::<IpAddr>().ok();
    let everywhere = |at: &HostPort| ip(at).is_some_and(|ip| ip.is_unspecified());
    let usual = |at: &HostPort| names.contains(&at.host.to_ascii_lowercase().as_str());
    let here = |at: &HostPort| usual(at) || ip(at).is_some_and(|ip| ip.is_loopback() || ip.is_unspecified());
    let hosts = a.host.eq_ignore_ascii_case(&b.host)
        || usual(a) && usual(b)
        || (everywhere(a) || everywhere(b)) && here(a) && here(b);
    a.port == b.port && hosts
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::behind;
    use crate::config::{LoadOptions, load};

    /// Who is behind the proxy `front` with this `to`, of these components.
    fn found(to: &str, others: &str, needs: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("devmode.yaml");
        let with = format!("{{ listen: '127.0.0.1:1', to: '{to}' }}");
        let front = format!("front: {{ thread: proxy, with: {with}, depends_on: [{needs}] }}");
        fs::write(&file, format!("version: 1\ncomponents:\n  {front}\n{others}")).unwrap();
        let loaded = load(&file, &LoadOptions::default());
        let project = loaded.project.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
        behind(&project, &project.components[0]).map(|name| name.to_string())
    }

    #[test]
    fn who_calls_the_address_its_own_is_behind() {
        let others = "
  db: { process: sleep 9, ready: { tcp: '127.0.0.1:5432' } }
  api: { process: sleep 9, ready: { http: 'http://localhost:8080/health' } }
  old: { process: sleep 9, health: { tcp: '0.0.0.0:8081' } }
  far: { process: sleep 9, ready: { tcp: '127.0.0.1:8082', external: true } }
  own: { process: sleep 9, sockets: { http: '127.0.0.1:8083', more: ./a.sock } }
";
        for (to, expected) in [
            ("http://127.0.0.1:8080", Some("api")),
            ("localhost:5432", Some("db")),
            ("127.0.0.3:8081", Some("old")),
            ("127.0.0.3:8080", None),
            ("127.0.0.1:8082", None),
            ("[::1]:8083", Some("own")),
            ("127.0.0.1:9", None),
        ] {
            assert_eq!(found(to, others, "").as_deref(), expected, "{to}");
        }
        assert_eq!(found("127.0.0.1:9", others, "db").as_deref(), Some("db"), "the only one it needs");
        assert_eq!(found("127.0.0.1:9", others, "db, api"), None);
        assert_eq!(found("127.0.0.1:8080", others, "db").as_deref(), Some("api"), "an address says more");
    }
}
