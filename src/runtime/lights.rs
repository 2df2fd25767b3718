//! What each built-in proxy is told of the component behind it, as the core says it.
//!
//! Records are carried out in the order of the core's decisions, and that a component is stopping is recorded before
//! it is asked to stop. So a proxy knows that a component is at its end before the component does.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::driver::Driver;
use super::inbox::Message;
use crate::config::model::{
    Component, Condition, HealthCheck, HostPort, Kind, Probe, Project, SocketAddress,
};
use crate::probe;
use crate::runner::Scope;
use crate::runner::thread::{Around, Kept, KeptHandover, Lamp, Parting, Seen, Target, target};
use crate::supervisor::{Record, Supervisor, What};
use crate::types::{Cid, Name, RunId, Signal, TaskId, TaskKind};

/// So long the loop waits for proxies that could not be asked before.
const LEAVE: Duration = Duration::from_millis(200);

/// How a run is asked to stop.
pub(super) enum Asking {
    Signal(Signal, Scope),
    /// By its `stop.command`.
    Command {
        task: TaskId,
        spec: Arc<Component>,
        timeout: Duration,
    },
}

/// The lamps of the proxies, and what outlives their runs.
#[derive(Default)]
pub(crate) struct Lights {
    /// Of each proxy that has started.
    lamps: BTreeMap<Name, Lit>,
    /// For which project that is.
    of: Option<Arc<Project>>,
    /// What is asked to stop when nothing is under way to it any more, and how.
    draining: BTreeMap<RunId, Asking>,
    kept: Kept,
    /// A run of a proxy was told that another image follows.
    leaving: bool,
}

impl Lights {
    /// Lays aside the clients of all proxies, for another image. What this would still finish has mostly had its time:
    /// the runs of the proxies have ended.
    pub(crate) async fn leave(&mut self) {
        self.leaving = true;
        self.kept.leave(LEAVE).await;
    }

    /// What another image needs to go on with the clients of proxies. They stay here, too.
    ///
    /// # Errors
    /// Descriptors are used up.
    pub(crate) fn hand_over(&self) -> io::Result<(KeptHandover, Vec<OwnedFd>)> {
        self.kept.hand_over()
    }
}

/// A proxy's lamp.
struct Lit {
    lamp: Lamp,
    /// Who may be behind: more than one where profiles keep them apart, or one stands in for another.
    behind: Vec<Name>,
    /// Whom it shows.
    shown: Option<Name>,
    /// Whom it showed while what may still be under way began.
    before: Vec<Name>,
}

impl Lit {
    fn new(core: &Supervisor, behind: Vec<Name>) -> Self {
        let seen = look(core, &behind);
        let shown = seen.as_ref().map(|seen| seen.name.clone());
        Self { lamp: Lamp::new(seen), behind, shown, before: Vec::new() }
    }

    /// Others may be behind.
    fn turn_to(&mut self, core: &Supervisor, behind: Vec<Name>) {
        if behind != self.behind {
            self.turn(look(core, &behind));
            self.behind = behind;
        }
    }

    fn turn(&mut self, seen: Option<Seen>) {
        let shown = seen.as_ref().map(|seen| seen.name.clone());
        if self.shown != shown {
            self.before.extend(std::mem::replace(&mut self.shown, shown));
        }
        self.lamp.show(seen);
    }

    /// Completes when nothing is under way to `name`; `None`: nothing is. (Or to whoever came after it, which costs the
    /// one that is stopped no more than its time.)
    fn idle(&mut self, name: &Name) -> Option<impl Future<Output = ()> + Send + use<>> {
        let idle = self.lamp.idle();
        if idle.is_none() {
            self.before.clear();
        }
        idle.filter(|_| self.shown.as_ref() == Some(name) || self.before.contains(name))
    }

    /// Shows it of one that may be behind, unless it rests and another one is shown.
    fn show(&mut self, seen: Seen) {
        if !seen.state.rests() || self.shown.as_ref().is_none_or(|shown| *shown == seen.name) {
            self.turn(Some(seen));
        }
    }
}

impl Driver {
    /// Goes on with the clients of proxies that another image has handed over, though no run of them has begun.
    ///
    /// # Errors
    /// Descriptors are missing, or the system has no thread left.
    pub(super) fn adopt_clients(&mut self, from: KeptHandover, fds: Vec<OwnedFd>) -> io::Result<()> {
        let (project, kept) = (Arc::clone(self.parts.core.project()), self.lights.kept.clone());
        kept.adopt(from, fds, |name| {
            let spec = project.components.iter().find(|spec| spec.name == *name)?;
            let Kind::Thread { runner, with, .. } = &spec.kind else { return None };
            Some((runner.clone(), with.clone(), self.around(spec).light))
        })
    }

    /// What is around a thread component.
    pub(super) fn around(&mut self, spec: &Component) -> Around {
        let core = &self.parts.core;
        let holder = Arc::new(probe::holder);
        let kept = self.lights.kept.clone();
        let Kind::Thread { runner, with, .. } = &spec.kind else { return Around::default() };
        if target(runner, with).is_none() {
            return Around { holder: Some(holder), kept, ..Around::default() };
        }
        let behind = behind(core.project(), spec);
        // One lamp for all its runs, for what serves clients goes on from one to the next.
        let lit = match self.lights.lamps.entry(spec.name.clone()) {
            Entry::Vacant(entry) => entry.insert(Lit::new(core, behind)),
            Entry::Occupied(entry) => {
                let lit = entry.into_mut();
                lit.turn_to(core, behind);
                lit
            }
        };
        Around { light: lit.lamp.light(), holder: Some(holder), kept }
    }

    /// Tells a proxy that is to stop what comes after.
    pub(super) fn part(&mut self, run: RunId) {
        let (Some(life), Some(spec)) = (self.lives.get(&run), self.observed.get(&run.component)) else {
            return;
        };
        let core = &self.parts.core;
        let parting = match (core.is_last(run), core.is_replacing()) {
            (true, _) => Parting::Rest,
            (false, true) => Parting::Image,
            (false, false) => Parting::Again,
        };
        self.lights.leaving |= parting == Parting::Image;
        self.lights.kept.part(&life.spec.name, parting, spec.stop.timeout);
    }

    /// Asks a run to stop, when nothing is under way to it by a proxy, or after `drain`.
    pub(super) fn stop_drained(&mut self, run: RunId, asking: Asking, drain: Duration) {
        let name = self.lives.get(&run).map(|life| &life.spec.name).filter(|_| !drain.is_zero());
        let lamps = self.lights.lamps.values_mut();
        let busy: Vec<_> =
            name.map(|name| lamps.filter_map(|lit| lit.idle(name)).collect()).unwrap_or_default();
        if busy.is_empty() {
            return self.ask_to_stop(run, asking);
        }
        if let Some(life) = self.lives.get_mut(&run) {
            life.asked_to_stop();
        }
        self.lights.draining.insert(run, asking);
        let inbox = self.parts.inbox.clone();
        tokio::spawn(async move {
            let all = async {
                for idle in busy {
                    idle.await;
                }
            };
            let _ = tokio::time::timeout(drain, all).await;
            let _ = inbox.send(Message::Drained { run });
        });
    }

    /// That time is over.
    pub(super) fn drained(&mut self, run: RunId) {
        if let Some(asking) = self.lights.draining.remove(&run) {
            self.ask_to_stop(run, asking);
        }
    }

    /// It is over for all, for this image of orch ends.
    pub(super) fn drained_all(&mut self) {
        while let Some((run, asking)) = self.lights.draining.pop_first() {
            self.ask_to_stop(run, asking);
        }
    }

    /// A stop command is not wanted any more; whether it had not begun.
    pub(super) fn put_off_no_more(&mut self, id: TaskId) -> bool {
        let before = self.lights.draining.len();
        let is_it = |asking: &Asking| matches!(asking, Asking::Command { task, .. } if *task == id);
        self.lights.draining.retain(|_, asking| !is_it(asking));
        self.lights.draining.len() < before
    }

    fn ask_to_stop(&mut self, run: RunId, asking: Asking) {
        match asking {
            Asking::Signal(signal, scope) => self.stop(run, signal, scope),
            Asking::Command { task, spec, timeout } => {
                self.run_task(task, TaskKind::Stop, &spec, Some(run), timeout);
            }
        }
    }

    /// What a component has left open for its next run is closed: there is none.
    pub(super) fn darken(&mut self, component: Cid) {
        let Some(spec) = self.observed.get(&component) else { return };
        self.lights.kept.release(&spec.name);
        if self.parts.core.find(spec.name.as_str()).is_none() {
            self.lights.lamps.remove(&spec.name);
        }
    }

    /// Tells the proxies what has happened, before it has consequences.
    pub(super) fn shine(&mut self, record: &Record) {
        let (Some(name), What::State { state, reason }) = (&record.component, &record.what) else { return };
        for lit in self.lights.lamps.values_mut().filter(|lit| lit.behind.contains(name)) {
            let incarnation = record.incarnation.unwrap_or_default();
            lit.show(Seen { name: name.clone(), state: *state, reason: reason.clone(), incarnation });
        }
    }

    /// There is no other image after all, whatever has hindered it: clients that were laid aside for it go on.
    pub(super) fn stay(&mut self) {
        if !self.parts.core.is_replacing() && std::mem::take(&mut self.lights.leaving) {
            self.lights.kept.stay();
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
        self.lights.kept.declare(project.components.iter().filter_map(|spec| match &spec.kind {
            Kind::Thread { runner, listens, .. } => Some((&spec.name, runner.as_str(), listens.as_slice())),
            Kind::Process(_) => None,
        }));
        let find = |name: &Name| project.components.iter().find(|spec| spec.name == *name);
        for (name, lit) in &mut self.lights.lamps {
            // The lamp of one that is declared no more stays as it is until that is at rest.
            if let Some(spec) = find(name) {
                lit.turn_to(core, behind(project, spec));
            }
        }
    }
}

/// How it is with the first of these that does not rest, or with the first.
fn look(core: &Supervisor, names: &[Name]) -> Option<Seen> {
    let views = || names.iter().filter_map(|name| core.view(core.find(name.as_str())?));
    let view = views().find(|view| !view.state.rests()).or_else(|| views().next())?;
    Some(Seen { name: view.name, state: view.state, reason: view.reason, incarnation: view.incarnation })
}

/// Who may be behind a proxy: the components that say of where the proxy sends its clients that it is their own, by a
/// socket or by `ready`; else by a `health` check; else the only one that the proxy depends on and that goes on running.
/// Else nobody is known, and the connection alone decides.
fn behind(project: &Project, proxy: &Component) -> Vec<Name> {
    let Kind::Thread { runner, with, .. } = &proxy.kind else { return Vec::new() };
    let Some(to) = target(runner, with) else { return Vec::new() };
    let those = |owns: fn(&Component, &Target) -> bool| -> Vec<Name> {
        let others = project.components.iter().filter(|other| other.name != proxy.name);
        others.filter(|other| owns(other, &to)).map(|other| other.name.clone()).collect()
    };
    let mut found = those(owns);
    if found.is_empty() {
        found = those(checks);
    }
    match proxy.depends_on.as_slice() {
        [only] if found.is_empty() && only.condition != Condition::Completed => vec![only.name.clone()],
        _ => found,
    }
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
    socket || ready
}

/// Whether a component has itself looked after at this address.
fn checks(component: &Component, to: &Target) -> bool {
    let Target::Tcp(to) = to else { return false };
    component.health.as_ref().is_some_and(|health| match &health.check {
        HealthCheck::Http(url) => same(&url.at, to),
        HealthCheck::Tcp(at) => same(at, to),
        HealthCheck::Exec(_) | HealthCheck::Watchdog(_) => false,
    })
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

    use super::{Lamp, Lit, Name, Seen, behind};
    use crate::config::{LoadOptions, load};
    use crate::types::State;

    /// Who is behind the proxy `front` with this `to`, of these components.
    fn found(to: &str, others: &str, needs: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("devmode.yaml");
        let with = format!("{{ listen: '127.0.0.1:1', to: '{to}' }}");
        let needs = if needs.starts_with('{') { needs.to_owned() } else { format!("[{needs}]") };
        let front = format!("front: {{ thread: proxy, with: {with}, depends_on: {needs} }}");
        fs::write(&file, format!("version: 1\ncomponents:\n  {front}\n{others}")).unwrap();
        let loaded = load(&file, &LoadOptions::default());
        let project = loaded.project.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
        behind(&project, &project.components[0]).first().map(ToString::to_string)
    }

    #[test]
    fn of_those_that_may_be_behind_the_one_that_runs_is_shown() {
        let names = ["api", "debug"].map(|name| Name::new(name).unwrap());
        let mut lit = Lit { lamp: Lamp::new(None), behind: names.to_vec(), shown: None, before: Vec::new() };
        let [api, debug] = names;
        let moments = [
            (&api, State::Stopped, "api"),
            (&debug, State::Starting, "debug"),
            (&api, State::Failed, "debug"),
            (&debug, State::Stopped, "debug"),
            (&api, State::Starting, "api"),
        ];
        for (name, state, shown) in moments {
            lit.show(Seen { name: name.clone(), state, reason: String::new(), incarnation: 1 });
            let seen = lit.lamp.light().seen().map(|seen| seen.name.to_string());
            assert_eq!(seen.as_deref(), Some(shown), "{name} is {state}");
        }
    }

    #[test]
    fn what_is_under_way_to_one_that_is_shown_no_more_is_waited_for() {
        let [old, new] = ["api", "api2"].map(|name| Name::new(name).unwrap());
        let seen = |name: &Name| {
            Some(Seen { name: name.clone(), state: State::Ready, reason: String::new(), incarnation: 1 })
        };
        let shown = Some(old.clone());
        let mut lit = Lit { lamp: Lamp::new(seen(&old)), behind: Vec::new(), shown, before: Vec::new() };
        let under_way = lit.lamp.light().under_way();
        lit.turn(seen(&new));
        assert!(lit.idle(&old).is_some() && lit.idle(&new).is_some());
        drop(under_way);
        assert!(lit.idle(&old).is_none());
        let _under_way = lit.lamp.light().under_way();
        assert!(lit.idle(&old).is_none() && lit.idle(&new).is_some(), "what began later is the new one's");
    }

    #[test]
    fn who_calls_the_address_its_own_is_behind() {
        let others = "
  db: { process: sleep 9, ready: { tcp: '127.0.0.1:5432' } }
  api: { process: sleep 9, ready: { http: 'http://localhost:8080/health' } }
  old: { process: sleep 9, health: { tcp: '0.0.0.0:8081' } }
  far: { process: sleep 9, ready: { tcp: '127.0.0.1:8082', external: true } }
  asks: { process: sleep 9, health: { tcp: '127.0.0.1:8084' } }
  tried: { process: sleep 9, ready: { tcp: '127.0.0.1:8084' } }
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
        assert_eq!(found("127.0.0.1:9", others, "{ db: completed }").as_deref(), None, "it does not go on");
        assert_eq!(
            found("127.0.0.1:8084", others, "").as_deref(),
            Some("tried"),
            "`ready` says more than `health`"
        );
    }
}
