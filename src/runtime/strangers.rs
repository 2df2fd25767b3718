//! Who else answers, before a component is started, where it will be asked whether it is ready, and whether it lives.
//!
//! What `ready` asks is the component's own, unless it says `external: true`; so a stranger there fails the start.
//! What `health` asks may well be somebody else's. So a stranger there is only told of, and only where one would be
//! taken for the component: on this machine, at an address that the file gives to nobody.

use std::net::{IpAddr, SocketAddr};

use super::announce::Paint;
use super::driver::Driver;
use crate::config::model::{Component, HealthCheck, HostPort, Kind, Probe, Project, Ready, SocketAddress};
use crate::probe;
use crate::types::Name;

/// What is looked at before a component's start.
#[derive(Debug, Default)]
pub(super) struct Looks {
    ready: Option<HostPort>,
    health: Option<HostPort>,
    /// Where it may listen already: what a proxy's last run has left open.
    own: Vec<SocketAddr>,
}

impl Looks {
    pub(super) fn of(spec: &Component) -> Self {
        let asked = spec.ready.as_ref().and_then(|ready| Some((asks(ready)?, ready.external)));
        let health = spec.health.as_ref().and_then(|health| match &health.check {
            HealthCheck::Http(url) => Some(&url.at),
            HealthCheck::Tcp(at) => Some(at),
            HealthCheck::Exec(_) | HealthCheck::Watchdog(_) => None,
        });
        let health = health.filter(|at| is_here(at) && !asked.is_some_and(|(ready, _)| same(ready, at)));
        let own = match &spec.kind {
            Kind::Thread { listens, .. } => listens.clone(),
            Kind::Process(_) => Vec::new(),
        };
        let ready = asked.filter(|(_, external)| !external).map(|(at, _)| at.clone());
        Self { ready, health: health.cloned(), own }
    }

    pub(super) fn is_none(&self) -> bool {
        self.ready.is_none() && self.health.is_none()
    }

    /// Looks, `bound` being the sockets that are bound for the component.
    ///
    /// # Errors
    /// Who answers in the component's place.
    pub(super) async fn look(
        mut self,
        bound: &[SocketAddr],
        spec: &Component,
        project: &Project,
    ) -> Result<Option<String>, String> {
        self.own.extend(bound);
        if let Some(at) = self.ready
            && let Some(holder) = probe::occupied(&at, &self.own).await
        {
            let help = "stop it, or set `external: true` if it is what the probe is to ask";
            return Err(format!("{holder}; {help}"));
        }
        let Some(at) = self.health else { return Ok(None) };
        let Some(holder) = probe::occupied(&at, &self.own).await else { return Ok(None) };
        let others = project.components.iter().filter(|other| other.name != spec.name);
        Ok(others.into_iter().all(|other| !has(other, &at)).then_some(holder))
    }
}

/// Whom `ready` asks, if it asks at an address.
fn asks(ready: &Ready) -> Option<&HostPort> {
    match &ready.probe {
        Probe::Http(url) => Some(&url.at),
        Probe::Tcp(at) => Some(at),
        Probe::Exec(_) | Probe::Log(_) | Probe::File(_) | Probe::Notify | Probe::Delay(_) => None,
    }
}

/// Whether the address is this component's, as far as the file says it.
fn has(component: &Component, at: &HostPort) -> bool {
    let bound = component.sockets.iter().any(|socket| match socket.address {
        SocketAddress::Tcp(bound) => at.reaches(bound),
        SocketAddress::Unix(_) => false,
    });
    let listens = match &component.kind {
        Kind::Thread { listens, .. } => listens.iter().any(|bound| at.reaches(*bound)),
        Kind::Process(_) => false,
    };
    let ready = component.ready.as_ref().filter(|ready| !ready.external);
    bound || listens || ready.and_then(|ready| asks(ready)).is_some_and(|own| same(own, at))
}

/// Whether it is an address that only this machine answers at.
fn is_here(at: &HostPort) -> bool {
    let here = |ip: IpAddr| ip.to_canonical().is_loopback() || ip.is_unspecified();
    at.host.eq_ignore_ascii_case("localhost") || at.host.parse().is_ok_and(here)
}

/// Whether two addresses may mean the same listener.
fn same(a: &HostPort, b: &HostPort) -> bool {
    a.port == b.port && (a.host.eq_ignore_ascii_case(&b.host) || is_here(a) && is_here(b))
}

impl Driver {
    /// Tells of a stranger where a component's health will be asked: once, and again if it is another one.
    pub(super) fn stranger(&mut self, name: Name, holder: String) {
        let told = self.strangers.insert(name.clone(), holder.clone());
        if told.as_ref() != Some(&holder) {
            let text = format!(
                "{name}: {holder} before the start, and its `health` asks there: what answers may be no word of it"
            );
            self.say(Paint::Warn, &text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HostPort, Looks, has};
    use crate::config::model::Project;
    use crate::config::{LoadOptions, load};

    fn project(components: &str) -> Project {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("devmode.yaml");
        std::fs::write(&file, format!("version: 1\ncomponents:\n{components}")).unwrap();
        let registry = std::sync::Arc::new(crate::runner::thread::Registry::builtin());
        let threads = Some(super::super::threads(&registry));
        let loaded = load(&file, &LoadOptions { threads, ..LoadOptions::default() });
        loaded.project.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics))
    }

    #[test]
    fn what_is_looked_at() {
        let asked = |text: &str| {
            let looks = Looks::of(&project(&format!("  a: {{ process: sh, {text} }}\n")).components[0]);
            let shown = |at: Option<HostPort>| at.map(|at| format!("{}:{}", at.host, at.port));
            (shown(looks.ready), shown(looks.health))
        };
        let some = |text: &str| Some(text.to_owned());
        for (text, expected) in [
            ("health: { tcp: '127.0.0.1:1' }", (None, some("127.0.0.1:1"))),
            ("health: { http: 'http://localhost:1/x' }", (None, some("localhost:1"))),
            ("health: { tcp: '192.0.2.1:1' }", (None, None)),
            ("health: { tcp: 'db:1' }", (None, None)),
            ("health: { exec: [sh] }", (None, None)),
            ("ready: { tcp: 'localhost:1' }, health: { tcp: '127.0.0.1:1' }", (some("localhost:1"), None)),
            ("ready: { tcp: '[::1]:2' }, health: { tcp: '[::1]:1' }", (some("::1:2"), some("::1:1"))),
            ("ready: { tcp: 'h:1', external: true }", (None, None)),
            ("ready: { tcp: '0.0.0.0:1', external: true }, health: { tcp: '127.0.0.1:1' }", (None, None)),
        ] {
            assert_eq!(asked(text), expected, "{text}");
        }
    }

    #[test]
    fn whose_an_address_is() {
        let project = project(
            "  ready: { process: sh, ready: { http: 'http://localhost:1/' } }
  socket: { process: sh, sockets: { s: '0.0.0.0:2' } }
  proxy: { thread: proxy, with: { listen: 'localhost:3', to: '127.0.0.1:9' } }
  other: { process: sh, ready: { tcp: '127.0.0.1:4', external: true } }
",
        );
        let whose = |port| {
            let at = HostPort { host: "127.0.0.1".to_owned(), port };
            let found = project.components.iter().find(|component| has(component, &at));
            found.map(|component| component.name.as_str())
        };
        let found = [1, 2, 3, 4, 9].map(whose);
        assert_eq!(found, [Some("ready"), Some("socket"), Some("proxy"), None, None]);
    }
}
