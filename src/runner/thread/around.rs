//! What a built-in component needs to know of the project around it; one that a program registers does not.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use super::light::Light;
use super::lock;
use crate::types::Name;

/// Who holds a port, in words; it may look for a while.
pub type Holder = Arc<dyn Fn(SocketAddr) -> Option<String> + Send + Sync>;

/// What is around a built-in component.
#[derive(Clone, Default)]
pub struct Around {
    /// How the component behind it is.
    pub light: Light,
    /// Whom to ask who holds a port.
    pub holder: Option<Holder>,
    /// What stays open from one run to the next.
    pub kept: Kept,
}

impl fmt::Debug for Around {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Around").field("light", &self.light).finish_non_exhaustive()
    }
}

/// Listening sockets that outlive a run, so that whoever connects while a component restarts waits in their
/// backlog. They are let go when the component comes to rest.
#[derive(Debug, Clone, Default)]
pub struct Kept(Arc<Mutex<BTreeMap<Name, Vec<TcpListener>>>>);

impl Kept {
    /// Gives what the last run of `name` had left, once.
    pub(super) fn take(&self, name: &Name) -> Vec<TcpListener> {
        lock(&self.0).remove(name).unwrap_or_default()
    }

    pub(super) fn keep(&self, name: &Name, listeners: Vec<TcpListener>) {
        lock(&self.0).insert(name.clone(), listeners);
    }

    /// Closes what is kept for `name`.
    pub fn release(&self, name: &Name) {
        lock(&self.0).remove(name);
    }
}
