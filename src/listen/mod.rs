//! Sockets that are bound for components, and stay open across their restarts.
//!
//! A socket is known by its address, so one that an edit gives to another component, or under another name, is the
//! same one, and nobody who connects meanwhile is refused. Whose it is at the moment is noted beside it; who is to
//! have it, and when it is let go of, is the caller's to say.

mod bind;
#[cfg(test)]
mod tests;
mod unix;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use bind::{Why, bind};

use crate::config::model::{Component, SocketAddress};
use crate::types::{Cid, Name};
use unix::FileId;

/// What a socket is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// A TCP address with a port.
    Tcp(SocketAddr),
    /// A TCP address whose port the system chooses: of this component, by this name.
    Any(SocketAddr, Name, String),
    /// A path.
    Unix(PathBuf),
}

impl Key {
    /// The keys of a component's sockets, each with the socket's name, in the order of the file.
    pub fn of(spec: &Component) -> impl Iterator<Item = (&str, Self)> {
        spec.sockets.iter().map(|socket| {
            let key = match &socket.address {
                SocketAddress::Tcp(address) if address.port() == 0 => {
                    Self::Any(*address, spec.name.clone(), socket.name.clone())
                }
                SocketAddress::Tcp(address) => Self::Tcp(*address),
                SocketAddress::Unix(path) => Self::Unix(path.clone()),
            };
            (socket.name.as_str(), key)
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) | Self::Any(address, ..) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A socket that listens. Dropping it closes it, and takes its file away if that is still the one it made.
#[derive(Debug)]
pub struct Bound {
    fd: OwnedFd,
    at: At,
}

/// Where it listens.
#[derive(Debug)]
enum At {
    Tcp(SocketAddr),
    Unix(PathBuf, FileId),
}

impl Bound {
    /// Whether letting go of it may take time: a file is to be taken away.
    #[must_use]
    pub fn has_a_file(&self) -> bool {
        matches!(self.at, At::Unix(..))
    }

    /// Whether whoever connects to its address gets to it: a file may have been taken away, or replaced.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        match &self.at {
            At::Tcp(_) => true,
            At::Unix(path, id) => id.is_at(path),
        }
    }

    /// The address, with the port that the system has chosen; or the path.
    fn shown(&self) -> String {
        match &self.at {
            At::Tcp(address) => address.to_string(),
            At::Unix(path, _) => path.display().to_string(),
        }
    }

    /// A descriptor of it for a new run. What an earlier run has set on it is not left: it blocks, as it did at
    /// first.
    ///
    /// # Errors
    /// Descriptors are used up.
    fn for_a_run(&self) -> io::Result<OwnedFd> {
        let flags = rustix::fs::fcntl_getfl(&self.fd)?;
        rustix::fs::fcntl_setfl(&self.fd, flags - rustix::fs::OFlags::NONBLOCK)?;
        self.fd.as_fd().try_clone_to_owned()
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let At::Unix(path, id) = &self.at {
            id.remove(path);
        }
    }
}

/// The sockets that are bound, and whose they are.
#[derive(Debug, Default)]
pub struct Sockets(BTreeMap<Key, (Cid, Bound)>);

/// Whether two addresses can't both have one port: they are the same, or one of them is all of them.
fn meet(one: IpAddr, other: IpAddr) -> bool {
    let takes_in = |all: IpAddr, one: IpAddr| match all {
        IpAddr::V4(ip) => ip.is_unspecified() && one.is_ipv4(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    let (one, other) = (one.to_canonical(), other.to_canonical());
    one == other || takes_in(one, other) || takes_in(other, one)
}

/// The written form of [`Sockets`], for another image of this process; the descriptors go beside it, in this order.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct SocketsHandover(Vec<(Key, Cid, Option<FileId>)>);

impl Sockets {
    /// Whose it is, if it is bound.
    #[must_use]
    pub fn owner(&self, key: &Key) -> Option<Cid> {
        self.0.get(key).map(|(owner, _)| *owner)
    }

    /// Every socket that is bound, and whose it is.
    pub fn owners(&self) -> impl Iterator<Item = (&Key, Cid)> {
        self.0.iter().map(|(key, (owner, _))| (key, *owner))
    }

    /// Notes a new one.
    pub fn add(&mut self, key: Key, owner: Cid, bound: Bound) {
        self.0.insert(key, (owner, bound));
    }

    /// Gives it to this component, if it is bound.
    pub fn give(&mut self, key: &Key, to: Cid) {
        if let Some((owner, _)) = self.0.get_mut(key) {
            *owner = to;
        }
    }

    /// Whose socket keeps others from this TCP address.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Option<Cid> {
        let excludes = |bound: &Bound| match &bound.at {
            At::Tcp(own) => own.port() == address.port() && meet(own.ip(), address.ip()),
            At::Unix(..) => false,
        };
        self.0.values().find(|(_, bound)| excludes(bound)).map(|(owner, _)| *owner)
    }

    /// Takes it out; whoever drops it closes it.
    pub fn take(&mut self, key: &Key) -> Option<Bound> {
        self.0.remove(key).map(|(_, bound)| bound)
    }

    /// All of them, taken out.
    pub fn take_all(&mut self) -> Vec<Bound> {
        std::mem::take(&mut self.0).into_values().map(|(_, bound)| bound).collect()
    }

    /// The TCP addresses that are bound for a component.
    #[must_use]
    pub fn addresses(&self, of: Cid) -> Vec<SocketAddr> {
        let own = self.0.values().filter(|(owner, _)| *owner == of);
        own.filter_map(|(_, bound)| match &bound.at {
            At::Tcp(address) => Some(*address),
            At::Unix(..) => None,
        })
        .collect()
    }

    /// The component's sockets by name, each with its address: the real one, or nothing where the system is yet
    /// to choose the port.
    #[must_use]
    pub fn shown(&self, spec: &Component) -> BTreeMap<String, Option<String>> {
        let shown = |key: &Key| match (self.0.get(key), key) {
            (Some((_, bound)), _) => Some(bound.shown()),
            (None, Key::Any(..)) => None,
            (None, Key::Tcp(_) | Key::Unix(_)) => Some(key.to_string()),
        };
        Key::of(spec).map(|(name, key)| (name.to_owned(), shown(&key))).collect()
    }

    /// Descriptors for a run of this component, each with its name, in the order of the file.
    ///
    /// # Errors
    /// One is not bound, or descriptors are used up; as a fragment of a sentence.
    pub fn for_a_run(&self, spec: &Component) -> Result<Vec<(String, OwnedFd)>, String> {
        let one = |(name, key): (&str, Key)| {
            let (_, bound) = self.0.get(&key).ok_or_else(|| format!("its socket `{name}` is not bound"))?;
            let fd =
                bound.for_a_run().map_err(|error| format!("can't hand over its socket `{name}`: {error}"))?;
            Ok((name.to_owned(), fd))
        };
        Key::of(spec).map(one).collect()
    }

    /// What another image needs to go on with them. They stay here, too.
    ///
    /// # Errors
    /// Descriptors are used up.
    pub fn hand_over(&self) -> io::Result<(SocketsHandover, Vec<OwnedFd>)> {
        let one = |(key, (owner, bound)): (&Key, &(Cid, Bound))| {
            let file = match &bound.at {
                At::Tcp(_) => None,
                At::Unix(_, id) => Some(*id),
            };
            Ok(((key.clone(), *owner, file), bound.fd.as_fd().try_clone_to_owned()?))
        };
        let both: Vec<_> = self.0.iter().map(one).collect::<io::Result<_>>()?;
        let (written, fds) = both.into_iter().unzip();
        Ok((SocketsHandover(written), fds))
    }

    /// Goes on with what another image has handed over.
    ///
    /// # Errors
    /// A descriptor is missing, or is no such socket.
    pub fn adopt(from: SocketsHandover, fds: Vec<OwnedFd>) -> io::Result<Self> {
        if from.0.len() != fds.len() {
            return Err(io::Error::other("not as many descriptors as sockets"));
        }
        let one = |((key, owner, file), fd): ((Key, Cid, Option<FileId>), OwnedFd)| {
            let at = match (&key, file) {
                (Key::Unix(path), Some(id)) => At::Unix(path.clone(), id),
                (Key::Unix(_), None) => return Err(io::Error::other("a socket's file is not known")),
                (Key::Tcp(_) | Key::Any(..), _) => At::Tcp(bind::local(&fd)?),
            };
            Ok((key, (owner, Bound { fd, at })))
        };
        Ok(Self(from.0.into_iter().zip(fds).map(one).collect::<io::Result<_>>()?))
    }
}
