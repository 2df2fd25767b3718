//! Names of hosts to addresses, for whoever connects: probes and proxies.
//!
//! The system's resolver blocks for as long as it likes, and can't be told to stop. So it is asked on threads that
//! nobody waits for, and their number is limited: a name is asked for once at a time, however many want it, and
//! so many names at once. Nothing is kept beyond the answer: a name may lead elsewhere the next time.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// More addresses of one name are not told.
const ADDRESSES: usize = 16;
/// So many names are asked for at the same time; who asks for another one waits, as he would for its answer.
const AT_ONCE: usize = 16;

/// Every address of the host, each with this port. `localhost` needs no asking: it is both loopback addresses.
/// It waits for as long as the system does, so the caller limits it; dropping it is well at any time.
///
/// # Errors
/// That of the system; and that the name has no address.
pub(crate) async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    static SYSTEM: LazyLock<Resolver> =
        LazyLock::new(|| Resolver::new(AT_ONCE, |host| (host, 0).to_socket_addrs().map(Iterator::collect)));
    let of = |ip| SocketAddr::new(ip, port);
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![of(ip)]);
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![of(Ipv4Addr::LOCALHOST.into()), of(Ipv6Addr::LOCALHOST.into())]);
    }
    let mut found = SYSTEM.ask(host).await?;
    for address in &mut found {
        address.set_port(port);
    }
    Ok(found)
}

/// What comes of one asking; `None` so long as nothing has.
type Answer = Option<Result<Vec<SocketAddr>, Refused>>;
/// An error that many can have.
type Refused = (io::ErrorKind, String);
type Lookup = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// A bounded way to something that blocks.
struct Resolver {
    lookup: Arc<Lookup>,
    places: Arc<Semaphore>,
    under_way: Arc<Mutex<BTreeMap<String, watch::Receiver<Answer>>>>,
}

impl Resolver {
    fn new(
        at_once: usize,
        lookup: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        let places = Arc::new(Semaphore::new(at_once));
        Self { lookup: Arc::new(lookup), places, under_way: Arc::default() }
    }

    async fn ask(&self, host: &str) -> io::Result<Vec<SocketAddr>> {
        let joined = lock(&self.under_way).get(host).cloned();
        let mut answer = match joined {
            Some(answer) => answer,
            None => {
                let place = Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)?;
                self.begin(host, place)?
            }
        };
        let no_answer = |_| io::Error::other("the resolver gave no answer");
        let answer = answer.wait_for(Option::is_some).await.map_err(no_answer)?;
        match &*answer {
            Some(Ok(found)) if !found.is_empty() => Ok(found.clone()),
            Some(Err((kind, why))) => Err(io::Error::new(*kind, why.clone())),
            _ => Err(io::Error::other("the name has no address")),
        }
    }

    /// Asks on a thread that has this place until it is done; somebody else may have begun meanwhile.
    fn begin(&self, host: &str, place: OwnedSemaphorePermit) -> io::Result<watch::Receiver<Answer>> {
        let mut under_way = lock(&self.under_way);
        if let Some(joined) = under_way.get(host) {
            return Ok(joined.clone());
        }
        let (tell, answer) = watch::channel(None);
        let (lookup, all, host) = (Arc::clone(&self.lookup), Arc::clone(&self.under_way), host.to_owned());
        under_way.insert(host.clone(), answer.clone());
        let begun = Builder::new().name("orch-resolve".to_owned()).spawn({
            let host = host.clone();
            move || {
                let found = lookup(&host).map(|mut found| {
                    found.truncate(ADDRESSES);
                    found
                });
                // From here on the answer is old: who asks now asks anew.
                lock(&all).remove(&host);
                drop(place);
                tell.send_replace(Some(found.map_err(|error| (error.kind(), error.to_string()))));
            }
        });
        if let Err(error) = begun {
            under_way.remove(&host);
            return Err(error);
        }
        Ok(answer)
    }
}

/// What the lock guards is whole at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
