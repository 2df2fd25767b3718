//! The sections of a component, each taken apart without `..`.

use super::{Change, Reaction};
use crate::config::model::{
    Backoff, Build, Command, Health, HealthCheck, Limit, Logs, Probe, Ready, Restart, Snapshot, State, Stop,
    Watch,
};

/// Compares keys of one section: `update!(change, section, old, key, …)` where each `key` is a variable with
/// the new value.
macro_rules! update {
    ($change:ident, $section:ident, $old:ident, $($key:ident),+) => {
        $($change.inner($section, stringify!($key), &$old.$key, $key, Reaction::Update);)+
    };
}

impl Change {
    /// Compares one key of a section; its path is put together only when it has changed.
    fn inner<T: PartialEq>(&mut self, section: &str, key: &str, old: &T, new: &T, reaction: Reaction) {
        if old != new {
            self.note(format!("{section}.{key}"), reaction);
        }
    }

    pub(super) fn build(&mut self, section: &str, old: &Build, new: &Build) {
        let Build { command, timeout } = new;
        if old.command != *command {
            self.alternative(section, command_key(&old.command), command_key(command));
        }
        update!(self, section, old, timeout);
    }

    pub(super) fn ready(&mut self, section: &str, old: &Ready, new: &Ready) {
        let Ready { probe, interval, timeout, external } = new;
        if old.probe != *probe {
            self.alternative(section, probe_key(&old.probe), probe_key(probe));
        }
        update!(self, section, old, interval, timeout, external);
    }

    pub(super) fn health(&mut self, section: &str, old: &Health, new: &Health) {
        let Health { check, interval, timeout, retries } = new;
        if old.check != *check {
            self.alternative(section, check_key(&old.check), check_key(check));
        }
        update!(self, section, old, interval, timeout, retries);
    }

    pub(super) fn restart(&mut self, section: &str, old: &Restart, new: &Restart) {
        let Restart { policy, success_codes, backoff, limit } = new;
        update!(self, section, old, policy, success_codes);
        self.backoff(&format!("{section}.backoff"), &old.backoff, backoff);
        self.limit(&format!("{section}.limit"), &old.limit, limit);
    }

    fn backoff(&mut self, section: &str, old: &Backoff, new: &Backoff) {
        let Backoff { initial, max, factor, jitter } = new;
        update!(self, section, old, initial, max, factor, jitter);
    }

    fn limit(&mut self, section: &str, old: &Limit, new: &Limit) {
        let Limit { count, within } = new;
        update!(self, section, old, count, within);
    }

    pub(super) fn stop(&mut self, section: &str, old: &Stop, new: &Stop) {
        let Stop { signal, command, timeout, join_timeout, force_kill } = new;
        update!(self, section, old, signal, command, timeout, join_timeout, force_kill);
    }

    pub(super) fn watch(&mut self, section: &str, old: &Watch, new: &Watch) {
        let Watch { paths, ignore, gitignore, settle, action, poll } = new;
        update!(self, section, old, paths, ignore, gitignore, settle, action, poll);
    }

    pub(super) fn state(&mut self, section: &str, old: &State, new: &State) {
        let State { file, max_age, once, atomic, keep, max_size, snapshot, restart_args, required } = new;
        self.inner(section, "file", &old.file, file, Reaction::Restart);
        update!(self, section, old, max_age, once, atomic, keep, max_size);
        self.section(
            &format!("{section}.snapshot"),
            old.snapshot.as_ref(),
            snapshot.as_ref(),
            Self::snapshot,
        );
        self.inner(section, "restart_args", &old.restart_args, restart_args, Reaction::Restart);
        update!(self, section, old, required);
    }

    fn snapshot(&mut self, section: &str, old: &Snapshot, new: &Snapshot) {
        let Snapshot { every, signal } = new;
        update!(self, section, old, every, signal);
    }

    pub(super) fn logs(&mut self, section: &str, old: &Logs, new: &Logs) {
        let Logs { file, max_size, keep, overflow, terminal } = new;
        update!(self, section, old, file, max_size, keep, overflow);
        self.inner(section, "terminal", &old.terminal, terminal, Reaction::Restart);
    }

    /// A value that is written under one of several keys has changed: the old key, then the new one.
    fn alternative(&mut self, section: &str, old: &str, new: &str) {
        if old != new {
            self.note(format!("{section}.{old}"), Reaction::Update);
        }
        self.note(format!("{section}.{new}"), Reaction::Update);
    }
}

fn command_key(command: &Command) -> &'static str {
    match command {
        Command::Words(_) => "command",
        Command::Shell(_) => "shell",
    }
}

fn probe_key(probe: &Probe) -> &'static str {
    match probe {
        Probe::Http(_) => "http",
        Probe::Tcp(_) => "tcp",
        Probe::Exec(_) => "exec",
        Probe::Log(_) => "log",
        Probe::File(_) => "file",
        Probe::Notify => "notify",
        Probe::Delay(_) => "delay",
    }
}

fn check_key(check: &HealthCheck) -> &'static str {
    match check {
        HealthCheck::Http(_) => "http",
        HealthCheck::Tcp(_) => "tcp",
        HealthCheck::Exec(_) => "exec",
        HealthCheck::Watchdog(_) => "watchdog",
    }
}
