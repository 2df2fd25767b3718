//! What of built-in components outlives their runs: the sites of proxies.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::light::Light;
use super::lock;
use super::proxy::{Parked, Protocol, Site, settings};
use crate::types::Name;

/// More of what clients have sent, and nobody has taken yet, is not handed over to another image: who is left then is
/// cut off. Bytes, of all proxies.
const MOST: usize = 8 << 20;

/// Sites that outlive a run of their proxies, so that whoever is connected notices nothing of a restart but a pause.
/// They are closed when the component comes to rest, or is another thing by now. Every clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Kept(Arc<Mutex<All>>);

#[derive(Debug, Default)]
struct All {
    sites: BTreeMap<Name, Stay>,
    /// The proxies that are declared, where that was said.
    declared: Option<BTreeMap<Name, Declared>>,
}

/// What a proxy is declared as.
#[derive(Debug, PartialEq, Eq)]
struct Declared {
    protocol: Protocol,
    listen: Vec<SocketAddr>,
}

#[derive(Debug)]
struct Stay {
    site: Arc<Site>,
    /// Whether a run has it: then it is this run that acts on what is declared, at its end.
    runs: bool,
    /// How the present run is to end, and how long it has.
    parting: Option<(Parting, Duration)>,
}

impl All {
    /// Whether the next run of `name`, if there is one, is of a proxy that can go on with this site.
    fn goes_on(&self, name: &Name, site: &Site) -> bool {
        let declared = |all: &BTreeMap<Name, Declared>| {
            all.get(name).is_some_and(|declared| declared.protocol == site.protocol)
        };
        self.declared.as_ref().is_none_or(declared)
    }

    /// Closes of what no run has whatever is declared no more.
    fn settle(&mut self, name: &Name) {
        let Some(stay) = self.sites.get(name).filter(|stay| !stay.runs) else { return };
        if !self.goes_on(name, &stay.site) {
            return self.release(name);
        }
        if let Some(declared) = self.declared.as_ref().and_then(|all| all.get(name)) {
            stay.site.listen_only_at(&declared.listen);
        }
    }

    fn release(&mut self, name: &Name) {
        if let Some(stay) = self.sites.remove(name) {
            stay.site.close(Duration::from_millis(100));
        }
    }
}

/// A run has a site, until this is dropped.
#[derive(Debug)]
pub(super) struct Having {
    kept: Kept,
    name: Name,
}

impl Having {
    /// What follows, and the longest that the end may take. Without the runtime's word it is another run.
    pub(super) fn parting(&self) -> (Parting, Duration) {
        let mut all = lock(&self.kept.0);
        let said = all.sites.get_mut(&self.name).and_then(|stay| stay.parting.take());
        let (parting, patience) = said.unwrap_or((Parting::Again, Duration::ZERO));
        let goes_on = all.sites.get(&self.name).is_some_and(|stay| all.goes_on(&self.name, &stay.site));
        (if goes_on { parting } else { Parting::Rest }, patience)
    }

    /// Closes the site: no run follows.
    pub(super) fn release(&self) {
        self.kept.release(&self.name);
    }
}

impl Drop for Having {
    fn drop(&mut self) {
        let mut all = lock(&self.kept.0);
        if let Some(stay) = all.sites.get_mut(&self.name) {
            stay.runs = false;
        }
        all.settle(&self.name);
    }
}

/// What follows a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// Another one.
    Again,
    /// Another one, in another image of orch.
    Image,
    /// None.
    Rest,
}

/// What is handed over, written down. Its descriptors follow each other in the same order: of each proxy its
/// listeners, then of each client the one to it, and the one from there on.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct KeptHandover(Vec<WrittenSite>);

#[derive(Debug, Serialize, Deserialize)]
struct WrittenSite {
    name: Name,
    http: bool,
    listeners: usize,
    clients: Vec<WrittenClient>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WrittenClient {
    read: Text,
    /// What was read from where it is connected to, if it is.
    back: Option<Text>,
}

/// Bytes as text: each is the character of its number.
#[derive(Debug, Serialize, Deserialize)]
struct Text(String);

impl Text {
    fn of(bytes: &[u8]) -> Self {
        Self(bytes.iter().copied().map(char::from).collect())
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.chars().filter_map(|character| u8::try_from(character).ok()).collect()
    }
}

impl Kept {
    /// What there is for a run of `name`.
    pub(super) fn take(&self, name: &Name) -> Option<Arc<Site>> {
        let mut all = lock(&self.0);
        let stay = all.sites.get_mut(name)?;
        stay.parting = None;
        Some(Arc::clone(&stay.site))
    }

    /// Keeps the site of a run that begins.
    pub(super) fn keep(&self, name: &Name, site: &Arc<Site>) -> Having {
        let stay = Stay { site: Arc::clone(site), runs: true, parting: None };
        lock(&self.0).sites.insert(name.clone(), stay);
        Having { kept: self.clone(), name: name.clone() }
    }

    /// These proxies are declared: each with what it is registered as, and where it listens. Whatever another one may
    /// bind by now is closed: at once, or when the run that has it is over.
    pub fn declare<'a>(&self, proxies: impl Iterator<Item = (&'a Name, &'a str, &'a [SocketAddr])>) {
        let declared = proxies.filter_map(|(name, runner, listen)| {
            let protocol = Protocol::of(runner)?;
            Some((name.clone(), Declared { protocol, listen: listen.to_vec() }))
        });
        let mut all = lock(&self.0);
        all.declared = Some(declared.collect());
        let names: Vec<Name> = all.sites.keys().cloned().collect();
        names.iter().for_each(|name| all.settle(name));
    }

    /// Says what follows the present run of `name`, before that is asked to stop; the longest that its end may take.
    pub fn part(&self, name: &Name, parting: Parting, patience: Duration) {
        if let Some(stay) = lock(&self.0).sites.get_mut(name) {
            stay.parting = Some((parting, patience));
        }
    }

    /// Closes what is kept for `name`: no run follows.
    pub fn release(&self, name: &Name) {
        lock(&self.0).release(name);
    }

    // ── Images ─────────────────────────────────────────────────────────────────────────────────────────

    /// Lays aside whatever can be handed over; what is under way may take so long to its end.
    pub async fn leave(&self, patience: Duration) {
        let sites: Vec<_> = lock(&self.0).sites.values().map(|stay| Arc::clone(&stay.site)).collect();
        let mut all = JoinSet::new();
        for site in sites {
            all.spawn(async move { site.leave(patience).await });
        }
        while all.join_next().await.is_some() {}
    }

    /// There is no other image after all.
    pub fn stay(&self) {
        lock(&self.0).sites.values().for_each(|stay| stay.site.stay());
    }

    /// What another image needs to go on. It stays here, too, for the case that there is none.
    ///
    /// # Errors
    /// Descriptors are used up.
    pub fn hand_over(&self) -> io::Result<(KeptHandover, Vec<OwnedFd>)> {
        let (mut written, mut fds, mut room) = (Vec::new(), Vec::new(), MOST);
        for (name, stay) in &lock(&self.0).sites {
            let (protocol, (listeners, clients)) = (stay.site.protocol, stay.site.hand_over()?);
            let mut one = WrittenSite {
                name: name.clone(),
                http: protocol == Protocol::Http,
                listeners: listeners.len(),
                clients: Vec::new(),
            };
            fds.extend(listeners.into_iter().map(OwnedFd::from));
            for Parked { client, read, onward } in clients {
                let size = read.len() + onward.as_ref().map_or(0, |(_, back)| back.len());
                let Some(less) = room.checked_sub(size) else { continue };
                room = less;
                fds.push(client);
                let back = onward.map(|(fd, back)| {
                    fds.push(fd);
                    Text::of(&back)
                });
                one.clients.push(WrittenClient { read: Text::of(&read), back });
            }
            written.push(one);
        }
        Ok((KeptHandover(written), fds))
    }

    /// Goes on with what another image has handed over, at once, though no run has begun yet. `declared` says as what a
    /// proxy is registered, with which `with`, and what it looks at; one that is declared no more is closed.
    ///
    /// # Errors
    /// A descriptor is missing, or one too many is there; the system has no thread left.
    pub fn adopt(
        &self,
        from: KeptHandover,
        fds: Vec<OwnedFd>,
        mut declared: impl FnMut(&Name) -> Option<(String, serde_yaml::Value, Light)>,
    ) -> io::Result<()> {
        let mut fds = fds.into_iter();
        let mut next =
            || fds.next().ok_or_else(|| io::Error::other("fewer descriptors than are written down"));
        for WrittenSite { name, http, listeners, clients } in from.0 {
            let listeners =
                (0..listeners).map(|_| next().map(TcpListener::from)).collect::<Result<_, _>>()?;
            let one = |WrittenClient { read, back }| {
                let client = next()?;
                let onward =
                    back.map(|back: Text| Ok::<_, io::Error>((next()?, back.bytes()))).transpose()?;
                Ok::<_, io::Error>(Parked { client, read: read.bytes(), onward })
            };
            let clients = clients.into_iter().map(one).collect::<Result<_, _>>()?;
            let protocol = if http { Protocol::Http } else { Protocol::Tcp };
            let Some((runner, with, light)) = declared(&name) else { continue };
            let Some(settings) = settings(&runner, &with).filter(|_| Protocol::of(&runner) == Some(protocol))
            else {
                continue;
            };
            let site = Arc::new(Site::resume(&name, protocol, settings, light, (listeners, clients))?);
            lock(&self.0).sites.insert(name, Stay { site, runs: false, parting: None });
        }
        if fds.next().is_some() {
            return Err(io::Error::other("more descriptors than are written down"));
        }
        Ok(())
    }
}
