//! Threads: whether there is such a one, and what only a process can have.

use std::net::SocketAddr;

use super::claim::{Claim, What};
use super::{Lowering, on};
use crate::config::code;
use crate::config::decode::{At, Section, Step, Text};
use crate::config::keys::ComponentKeys;
use crate::config::load::Threads;
use crate::config::model::{Component, Kind, Stdin, Terminal, WatchAction};
use crate::config::report::Mistake;
use crate::config::text::shown;
use crate::config::tree::{NodeId, Shape};

/// What is written of a thread and is a process's: where, what it is, and what to do.
struct Foreign {
    path: &'static [&'static str],
    node: NodeId,
    what: &'static str,
    help: &'static str,
}

/// What a thread is asked by.
const TOKEN: &str = "a thread is asked to stop by its stop token; delete the key, or write it in `defaults`, whose \
                     signals and commands are for processes";

impl<'t> Lowering<'t> {
    /// Whether there is such a thread that takes this `with`; gives where it will listen.
    pub(super) fn thread(
        &mut self,
        index: usize,
        thread: &At<Text>,
        written: Option<NodeId>,
        with: &serde_yaml::Value,
    ) -> Vec<SocketAddr> {
        let Some(registered) = &self.ground.threads else { return Vec::new() };
        let name = &thread.value.0;
        if !registered.names.contains(name) {
            self.unknown_thread(thread, registered);
            return Vec::new();
        }
        let why = match (registered.check)(name, with) {
            Ok(listens) => {
                self.claim_listens(index, written.unwrap_or(thread.node), listens.len());
                return listens;
            }
            Err(why) => why,
        };
        let mistake = Mistake::new(code::THREAD_WITH, format!("thread `{}`: {why}", shown(name)));
        match written {
            Some(with) => self.key("with", |lowering| lowering.mistake_in_with(with, &why, mistake)),
            None => self.key("thread", |lowering| lowering.mistake(thread.node, mistake)),
        }
        Vec::new()
    }

    /// No two components listen at one address.
    fn claim_listens(&mut self, index: usize, with: NodeId, listens: usize) {
        if listens == 0 {
            return;
        }
        let listen = self.entries_of(with).into_iter().find(|(text, ..)| *text == "listen");
        let node = listen.map_or(with, |(.., value)| value);
        for position in 0..listens {
            self.claims.push(Claim { component: index, what: What::Listen(position), node });
        }
    }

    fn entries_of(&mut self, with: NodeId) -> Vec<(&'t str, NodeId, NodeId)> {
        match self.decoder.tree.shape(with) {
            Shape::Map => self.decoder.entries(with, "a map").unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    fn unknown_thread(&mut self, thread: &At<Text>, registered: &Threads) {
        let name = &thread.value.0;
        let known = || registered.names.iter().map(String::as_str);
        let help = self.decoder.suggester.did_you_mean(name, known());
        let help =
            help.unwrap_or_else(|| format!("the threads are {}", known().collect::<Vec<_>>().join(", ")));
        let message = format!("no thread `{}` is built in or registered", shown(name));
        let mistake = Mistake::new(code::UNKNOWN_THREAD, message).help(help);
        self.key("thread", |lowering| lowering.mistake(thread.node, mistake));
    }

    /// What a thread says of its `with` begins with the key that it means, if it means one: `with.every: …`.
    fn mistake_in_with(&mut self, with: NodeId, message: &str, mistake: Mistake) {
        let said = message.strip_prefix("with.").unwrap_or_default();
        let entries = self.entries_of(with);
        let meant = |text: &str| said.strip_prefix(text).is_some_and(|rest| rest.starts_with(": "));
        let Some((text, key, value)) = entries.into_iter().find(|(text, ..)| meant(text)) else {
            return self.mistake(with, mistake);
        };
        let node = if message.contains("unknown field") { key } else { value };
        self.within(Step::Key(text), |lowering| lowering.mistake(node, mistake));
    }

    /// What is a process's alone is refused where a thread says it of itself, for nothing would come of it. What
    /// it shares with others (`defaults`, an anchor) is theirs, unless the thread could not do its work by it.
    pub(super) fn check_thread_keys(&mut self, component: &Component, keys: &ComponentKeys, map: NodeId) {
        let (Kind::Thread { .. }, Some(thread)) = (&component.kind, &keys.thread) else { return };
        let own = self.decoder.tree.span(map);
        let of_its_own = |foreign: &Foreign| {
            let span = self.decoder.tree.span(foreign.node);
            own.start <= span.start && span.end <= own.end
        };
        let idle: Vec<Foreign> = idle(keys).into_iter().flatten().filter(of_its_own).collect();
        let harmful = harmful(keys).into_iter().chain([signal_on_change(component, keys, thread.node)]);
        for Foreign { path, node, what, help } in idle.into_iter().chain(harmful.flatten()) {
            let message = format!("{what}, and this is a thread");
            for step in path {
                self.decoder.enter(Step::Key(step));
            }
            self.mistake(node, Mistake::new(code::OUT_OF_PLACE, message).help(help));
            for _ in path {
                self.decoder.leave();
            }
        }
    }
}

/// What says nothing of a thread.
fn idle(keys: &ComponentKeys) -> [Option<Foreign>; 6] {
    let stop = on(keys.stop.as_ref());
    let state = on(keys.state.as_ref());
    let snapshot = state.and_then(|state| on(state.snapshot.as_ref()));
    let stdin = keys.stdin.as_ref().filter(|stdin| stdin.value == Stdin::Open);
    let command = stop.and_then(|stop| stop.command.as_ref());
    let command = command.filter(|command| matches!(command.value, Section::On(_)));
    let terminal = on(keys.logs.as_ref()).and_then(|logs| logs.terminal.as_ref());
    let terminal = terminal.filter(|terminal| terminal.value == Terminal::Pty);
    [
        foreign(&["stdin"], stdin, "`stdin` is a process's", "a thread has none: delete the key"),
        foreign(
            &["stop", "signal"],
            stop.and_then(|stop| stop.signal.as_ref()),
            "`stop.signal` is sent to a process",
            TOKEN,
        ),
        foreign(&["stop", "command"], command, "`stop.command` stops a process", TOKEN),
        foreign(
            &["state", "restart_args"],
            state.and_then(|state| state.restart_args.as_ref()),
            "`restart_args` are appended to a command",
            "a thread has none; it is handed its restored state: delete the key",
        ),
        foreign(
            &["state", "snapshot", "signal"],
            snapshot.and_then(|snapshot| snapshot.signal.as_ref()),
            "`snapshot.signal` is sent to a process",
            "a thread is asked by its save token: delete the key",
        ),
        foreign(
            &["logs", "terminal"],
            terminal,
            "a pseudo-terminal is a process's",
            "a thread writes to a pipe: delete the key",
        ),
    ]
}

/// What a thread can't do its work by.
fn harmful(keys: &ComponentKeys) -> [Option<Foreign>; 2] {
    let sockets = keys.sockets.as_ref().filter(|sockets| matches!(sockets.value, Section::On(_)));
    [
        foreign(
            &["sockets"],
            sockets,
            "`sockets` are handed to a process",
            "a thread binds its own; the built-in proxies take an address as `listen`",
        ),
        foreign(
            &["health", "watchdog"],
            on(keys.health.as_ref()).and_then(|health| health.watchdog.as_ref()),
            "`watchdog` hears a process",
            "a thread can't say `WATCHDOG=1`, and would be restarted for ever; use `http`, `tcp` or `exec`",
        ),
    ]
}

/// A signal that a change sends, wherever it comes from: no change would do anything.
fn signal_on_change(component: &Component, keys: &ComponentKeys, thread: NodeId) -> Option<Foreign> {
    let watch = component.watch.as_ref()?;
    let WatchAction::Signal(_) = watch.action else { return None };
    let own = on(keys.watch.as_ref()).and_then(|watch| watch.action.as_ref());
    let (path, node): (&[&str], NodeId) = match (own, &keys.watch) {
        (Some(action), _) => (&["watch", "action"], action.node),
        (None, Some(section)) => (&["watch"], section.node),
        (None, None) => (&["thread"], thread),
    };
    let help = "write `action: restart`, `{run: …}` or `none` in its own `watch`";
    Some(Foreign { path, node, what: "`watch.action` is a signal to a process", help })
}

fn foreign<T>(
    path: &'static [&'static str],
    at: Option<&At<T>>,
    what: &'static str,
    help: &'static str,
) -> Option<Foreign> {
    at.map(|at| Foreign { path, node: at.node, what, help })
}
