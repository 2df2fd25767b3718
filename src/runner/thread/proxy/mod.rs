//! The built-in `proxy` and `tcp-proxy`: they stand before a component, and keep clients waiting while it restarts
//! (`docs/design/proxy.md`).
//!
//! - `with`: what they take;
//! - `site`: what serves clients, over all runs of a proxy until it rests; `run`: one of these runs; `listen`: where
//!   clients come in;
//! - `line`: one connection; `reach`: the way to who is behind, and the waiting for it;
//! - `tcp`: bytes both ways;
//! - `http`: one client's requests; `talk`: how far one of them is; `forward`: sends it, and again where that is safe;
//!   `head`: what is changed in its head, and in the answer's; `body`: bodies that pass; `pool`: connections that are
//!   used again; `answer`: what the proxy says itself.

mod answer;
mod body;
mod forward;
mod head;
mod http;
mod line;
mod listen;
mod pool;
mod reach;
mod run;
mod site;
mod talk;
mod tcp;
mod with;

#[cfg(test)]
mod tests;

pub use with::{Target, target};

pub(super) use site::{Parked, Protocol, Site};
pub(super) use with::settings;

use std::net::SocketAddr;

use super::around::Around;
use super::context::Context;
use super::registry::{BoxError, Listening};
use crate::types::Name;
use run::Open;
use with::{Settings, With};

/// A reverse proxy for HTTP/1.1 and WebSocket.
pub(super) struct Proxy(Settings);

/// A proxy for whatever speaks TCP.
pub(super) struct TcpProxy(Settings);

impl Listening for Proxy {
    type With = With;
    type Open = Open;

    fn new(with: With) -> Result<Self, BoxError> {
        Ok(Self(with.settings(true)?))
    }

    fn listens(&self) -> Vec<SocketAddr> {
        self.0.listen.clone()
    }

    fn open(self, name: &Name, around: Around) -> Result<Open, String> {
        Open::new(Protocol::Http, self.0, name, around)
    }

    fn run(open: Open, cx: Context) -> Result<(), BoxError> {
        open.run(&cx)
    }
}

impl Listening for TcpProxy {
    type With = With;
    type Open = Open;

    fn new(with: With) -> Result<Self, BoxError> {
        Ok(Self(with.settings(false)?))
    }

    fn listens(&self) -> Vec<SocketAddr> {
        self.0.listen.clone()
    }

    fn open(self, name: &Name, around: Around) -> Result<Open, String> {
        Open::new(Protocol::Tcp, self.0, name, around)
    }

    fn run(open: Open, cx: Context) -> Result<(), BoxError> {
        open.run(&cx)
    }
}
