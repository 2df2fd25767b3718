//! What of built-in components outlives their runs: the sites of proxies.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lock;
use super::proxy::{Parked, Protocol, Site};
use crate::types::Name;

/// More of what clients have sent, and nobody has taken yet, is not handed over to another image: who is left then is
/// cut off. Bytes, of all proxies.
const MOST: usize = 8 << 20;

/// Sites that outlive a run of their proxies, so that whoever is connected notices nothing of a restart but a pause.
/// They are closed when the component comes to rest. Every clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Kept(Arc<Mutex<BTreeMap<Name, Stay>>>);

#[derive(Debug, Default)]
struct Stay {
    site: Option<Arc<Site>>,
    left: Option<Left>,
    /// How the present run is to end, and how long it has.
    parting: Option<(Parting, Duration)>,
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

/// What another image of orch has left for a proxy, until its first run here.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) protocol: Protocol,
    pub(super) listeners: Vec<TcpListener>,
    pub(super) clients: Vec<Parked>,
}

impl Left {
    pub(super) fn nothing(protocol: Protocol) -> Self {
        Self { protocol, listeners: Vec::new(), clients: Vec::new() }
    }
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
    /// What there is for a run of `name`; what another image has left is given once.
    pub(super) fn take(&self, name: &Name) -> (Option<Arc<Site>>, Option<Left>) {
        let mut all = lock(&self.0);
        let Some(stay) = all.get_mut(name) else { return (None, None) };
        stay.parting = None;
        (stay.site.clone(), stay.left.take())
    }

    pub(super) fn keep(&self, name: &Name, site: &Arc<Site>) {
        lock(&self.0).entry(name.clone()).or_default().site = Some(Arc::clone(site));
    }

    /// Says what follows the present run of `name`, before that is asked to stop; the longest that its end may take.
    pub fn part(&self, name: &Name, parting: Parting, patience: Duration) {
        if let Some(stay) = lock(&self.0).get_mut(name) {
            stay.parting = Some((parting, patience));
        }
    }

    pub(super) fn parting(&self, name: &Name) -> (Parting, Duration) {
        let said = lock(&self.0).get_mut(name).and_then(|stay| stay.parting.take());
        said.unwrap_or((Parting::Again, Duration::ZERO))
    }

    /// Closes what is kept for `name`: no run follows.
    pub fn release(&self, name: &Name) {
        let stay = lock(&self.0).remove(name);
        if let Some(site) = stay.and_then(|stay| stay.site) {
            site.close(Duration::from_millis(100));
        }
    }

    // ── Images ─────────────────────────────────────────────────────────────────────────────────────────

    /// Lays aside whatever can be handed over; what is under way may take so long to its end.
    pub async fn leave(&self, patience: Duration) {
        let sites: Vec<_> = lock(&self.0).values().filter_map(|stay| stay.site.clone()).collect();
        // All at once: the first one's time is everybody's.
        let end = tokio::time::Instant::now() + patience;
        for site in sites {
            site.leave(end.saturating_duration_since(tokio::time::Instant::now())).await;
        }
    }

    /// There is no other image after all.
    pub fn stay(&self) {
        lock(&self.0).values().filter_map(|stay| stay.site.as_ref()).for_each(|site| site.stay());
    }

    /// What another image needs to go on. It stays here, too, for the case that there is none.
    ///
    /// # Errors
    /// Descriptors are used up.
    pub fn hand_over(&self) -> io::Result<(KeptHandover, Vec<OwnedFd>)> {
        let (mut written, mut fds, mut room) = (Vec::new(), Vec::new(), MOST);
        for (name, stay) in lock(&self.0).iter() {
            let (protocol, listeners, clients) = match (&stay.site, &stay.left) {
                (Some(site), _) => {
                    let (listeners, clients) = site.hand_over()?;
                    (site.protocol, listeners, clients)
                }
                (None, Some(left)) => {
                    let listeners =
                        left.listeners.iter().map(TcpListener::try_clone).collect::<Result<_, _>>()?;
                    let clients = left.clients.iter().map(Parked::try_clone).collect::<Result<_, _>>()?;
                    (left.protocol, listeners, clients)
                }
                (None, None) => continue,
            };
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

    /// Goes on with what another image has handed over.
    ///
    /// # Errors
    /// A descriptor is missing, or one too many is there.
    pub fn adopt(&self, from: KeptHandover, fds: Vec<OwnedFd>) -> io::Result<()> {
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
            let left = Some(Left { protocol, listeners, clients });
            lock(&self.0).insert(name, Stay { left, ..Stay::default() });
        }
        if fds.next().is_some() {
            return Err(io::Error::other("more descriptors than are written down"));
        }
        Ok(())
    }
}
