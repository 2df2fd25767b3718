//! The difference of two declarations of one component, and what each changed key asks for.
//!
//! Every structure of the model is taken apart without `..`, so a new key does not compile until somebody has
//! decided here what its change does (contract, section 3, "Edits").

mod env;
mod sections;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) use env::LayerCache;

use crate::config::model::{Component, Kind, Socket, SocketAddress, State};

/// What a changed key asks for; the stronger one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Reaction {
    /// Nothing has changed.
    #[default]
    Nothing,
    /// It is effective when next used; nothing that runs is touched.
    Update,
    /// The component is restarted.
    Restart,
}

/// What differs between two declarations of one component.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// The strongest that a changed key asks for.
    pub reaction: Reaction,
    /// Key paths below the component, such as `process`, `stop.timeout` or `env.PORT`; each once, in the
    /// order of the model.
    pub changed: Vec<String>,
}

/// What differs between `old` and `new`, two declarations of one component.
#[must_use]
pub fn diff(old: &Component, new: &Component) -> Change {
    diff_with(old, new, &mut LayerCache::default())
}

/// As [`diff`]; `layers` remembers what it has found out about the environment that components share.
pub(super) fn diff_with(old: &Component, new: &Component, layers: &mut LayerCache) -> Change {
    let mut change = Change::default();
    if std::ptr::eq(old, new) {
        return change;
    }
    // The name is what the two were matched by.
    #[rustfmt::skip]
    let Component {
        name: _, description, kind, cwd, env, stdin, autostart, profiles, depends_on, build, ready, health,
        restart, on_failure, stop, watch, state, sockets, logs,
    } = new;
    change.key("description", &old.description, description, Reaction::Update);
    change.kind(&old.kind, kind);
    change
        .shared("cwd", &old.cwd, cwd, |change, path, old, new| change.key(path, old, new, Reaction::Restart));
    change.env(&old.env, env, layers);
    change.key("stdin", &old.stdin, stdin, Reaction::Restart);
    change.key("autostart", &old.autostart, autostart, Reaction::Update);
    change.key("profiles", &old.profiles, profiles, Reaction::Update);
    change.key("depends_on", &old.depends_on, depends_on, Reaction::Update);
    change.section("build", old.build.as_deref(), build.as_deref(), Change::build);
    change.section("ready", old.ready.as_deref(), ready.as_deref(), Change::ready);
    change.section("health", old.health.as_deref(), health.as_deref(), Change::health);
    change.shared("restart", &old.restart, restart, Change::restart);
    change.key("on_failure", &old.on_failure, on_failure, Reaction::Update);
    change.shared("stop", &old.stop, stop, Change::stop);
    change.section("watch", old.watch.as_deref(), watch.as_deref(), Change::watch);
    change.whole_state(old.state.as_deref(), state.as_deref());
    change.sockets(&old.sockets, sockets);
    change.shared("logs", &old.logs, logs, Change::logs);
    change
}

impl Change {
    /// Notes that the value at `path` has changed.
    fn note(&mut self, path: impl Into<String>, reaction: Reaction) {
        self.reaction = self.reaction.max(reaction);
        self.changed.push(path.into());
    }

    /// Compares the two values of one key.
    fn key<T: PartialEq + ?Sized>(&mut self, path: &str, old: &T, new: &T, reaction: Reaction) {
        if old != new {
            self.note(path, reaction);
        }
    }

    /// Compares a section that is always there and mostly shared: by the defaults, or by an unchanged model.
    fn shared<T>(
        &mut self,
        section: &str,
        old: &Arc<T>,
        new: &Arc<T>,
        inside: impl FnOnce(&mut Self, &str, &T, &T),
    ) {
        if !Arc::ptr_eq(old, new) {
            inside(self, section, old, new);
        }
    }

    /// Compares a section that may be off. Switching it on or off is an update.
    fn section<T>(
        &mut self,
        section: &str,
        old: Option<&T>,
        new: Option<&T>,
        inside: impl FnOnce(&mut Self, &str, &T, &T),
    ) {
        match (old, new) {
            (Some(old), Some(new)) => inside(self, section, old, new),
            (None, None) => {}
            _ => self.note(section, Reaction::Update),
        }
    }

    fn kind(&mut self, old: &Kind, new: &Kind) {
        match (old, new) {
            (Kind::Process(old), Kind::Process(new)) => self.key("process", old, new, Reaction::Restart),
            (
                Kind::Thread { runner: old_runner, with: old_with, listens: _ },
                Kind::Thread { runner: new_runner, with: new_with, listens: _ },
            ) => {
                self.key("thread", old_runner, new_runner, Reaction::Restart);
                self.key("with", old_with, new_with, Reaction::Restart);
            }
            (Kind::Process(_), Kind::Thread { runner: _, with, listens: _ })
            | (Kind::Thread { runner: _, with, listens: _ }, Kind::Process(_)) => {
                self.note("process", Reaction::Restart);
                self.note("thread", Reaction::Restart);
                self.key("with", with, &serde_yaml::Value::Null, Reaction::Restart);
            }
        }
    }

    /// A state that comes or goes changes `state.file`, which the component is told in its environment.
    fn whole_state(&mut self, old: Option<&State>, new: Option<&State>) {
        match (old, new) {
            (Some(old), Some(new)) => self.state("state", old, new),
            (None, None) => {}
            _ => self.note("state", Reaction::Restart),
        }
    }

    fn sockets(&mut self, old: &[Socket], new: &[Socket]) {
        if old == new {
            return;
        }
        let before = self.changed.len();
        let known = by_name(old);
        for Socket { name, address } in new {
            if known.get(name.as_str()) != Some(&address) {
                self.note(format!("sockets.{name}"), Reaction::Restart);
            }
        }
        let kept = by_name(new);
        for gone in old.iter().filter(|socket| !kept.contains_key(socket.name.as_str())) {
            self.note(format!("sockets.{}", gone.name), Reaction::Restart);
        }
        // Their order is the order of the descriptors that are handed over.
        if self.changed.len() == before {
            self.note("sockets", Reaction::Restart);
        }
    }
}

fn by_name(sockets: &[Socket]) -> BTreeMap<&str, &SocketAddress> {
    sockets.iter().map(|Socket { name, address }| (name.as_str(), address)).collect()
}

#[cfg(test)]
mod tests;
