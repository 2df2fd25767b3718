use std::sync::Arc;
use std::time::Duration;

use super::{Reaction, diff};
use crate::config::model::{
    Build, Command, Component, Health, HealthCheck, HostPort, Kind, OnFailure, Probe, Ready, Snapshot,
    Socket, SocketAddress, State, Stdin, Terminal, Watch, WatchAction,
};
use crate::plan::testing::{component, project};
use crate::types::Signal;

/// A component in which every section is on.
fn full() -> Component {
    let second = Duration::from_secs(1);
    let words = Command::Words(vec!["check".into()]);
    let at = HostPort { host: "127.0.0.1".into(), port: 80 };
    let mut full = component("api");
    full.build = Some(Box::new(Build { command: words.clone(), timeout: second }));
    full.ready =
        Some(Box::new(Ready { probe: Probe::Tcp(at), interval: second, timeout: second, external: false }));
    let check = HealthCheck::Exec(words);
    full.health = Some(Box::new(Health { check, interval: second, timeout: second, retries: 3 }));
    full.watch = Some(Arc::new(Watch {
        paths: vec!["src".into()],
        ignore: Vec::new(),
        gitignore: true,
        settle: second,
        action: WatchAction::Restart,
        poll: Default::default(),
    }));
    full.state = Some(Box::new(State {
        file: "/project/state.json".into(),
        max_age: None,
        once: true,
        atomic: false,
        keep: 3,
        max_size: 1 << 20,
        snapshot: Some(Snapshot { every: second, signal: Signal::HUP }),
        restart_args: Vec::new(),
        required: false,
    }));
    full.sockets = vec![socket("http", "/http.sock"), socket("admin", "/admin.sock")];
    own(&mut full, "PORT", Some("80"));
    full
}

fn socket(name: &str, path: &str) -> Socket {
    Socket { name: name.into(), address: SocketAddress::Unix(path.into()) }
}

fn own(component: &mut Component, name: &str, value: Option<&str>) {
    component.env.own.insert(name.into(), value.map(Into::into));
}

fn shared(component: &mut Component, name: &str, value: Option<&str>) {
    Arc::make_mut(&mut component.env.project).insert(name.into(), value.map(Into::into));
}

fn from_file(component: &mut Component, name: &str, value: &str) {
    Arc::make_mut(&mut component.env.files).insert(name.into(), Some(value.into()));
}

fn minute<T>(from: impl FnOnce(Duration) -> T) -> T {
    from(Duration::from_secs(60))
}

#[track_caller]
fn check(reaction: Reaction, changed: &str, edit: impl FnOnce(&mut Component)) {
    let old = full();
    let mut new = old.clone();
    edit(&mut new);
    let found = diff(&old, &new);
    assert_eq!((found.reaction, found.changed.join(" ").as_str()), (reaction, changed));
    let back = diff(&new, &old);
    assert_eq!(back.reaction, reaction, "the way back asks for the same");
    assert_eq!(back.changed.len(), found.changed.len());
}

#[test]
fn what_the_component_got_at_its_start_restarts_it() {
    let check = |changed: &str, edit: fn(&mut Component)| check(Reaction::Restart, changed, edit);
    check("process", |c| c.kind = Kind::Process(Command::Shell("api".into())));
    check("process thread", |c| {
        c.kind = Kind::Thread { runner: "ticker".into(), with: serde_yaml::Value::Null, listens: Vec::new() };
    });
    check("process thread with", |c| {
        c.kind = Kind::Thread {
            runner: "ticker".into(),
            with: serde_yaml::Value::Bool(true),
            listens: Vec::new(),
        };
    });
    check("cwd", |c| c.cwd = Arc::new("/elsewhere".into()));
    check("stdin", |c| c.stdin = Stdin::Open);
    check("state", |c| c.state = None);
    check("state.file", |c| c.state.as_mut().unwrap().file = "/other".into());
    check("state.restart_args", |c| c.state.as_mut().unwrap().restart_args.push("--restart".into()));
    check("logs.terminal", |c| Arc::make_mut(&mut c.logs).terminal = Terminal::Pty);
    check("sockets.http", |c| c.sockets[0] = socket("http", "/new.sock"));
    check("sockets.web sockets.http", |c| c.sockets[0] = socket("web", "/http.sock"));
    check("sockets", |c| c.sockets.reverse());
}

#[test]
fn threads_are_compared_by_runner_and_with() {
    let thread = |runner: &str, with: u64| {
        let mut made = component("clock");
        made.kind = Kind::Thread { runner: runner.into(), with: with.into(), listens: Vec::new() };
        made
    };
    assert_eq!(diff(&thread("ticker", 1), &thread("ticker", 1)).reaction, Reaction::Nothing);
    assert_eq!(diff(&thread("ticker", 1), &thread("ticker", 2)).changed, ["with"]);
    assert_eq!(diff(&thread("ticker", 1), &thread("proxy", 2)).changed, ["thread", "with"]);
}

#[test]
fn environments_are_compared_as_merged() {
    let restart = |changed: &str, edit: fn(&mut Component)| check(Reaction::Restart, changed, edit);
    restart("env.PORT", |c| own(c, "PORT", Some("81")));
    restart("env.PORT", |c| own(c, "PORT", None));
    restart("env.A env.PORT", |c| {
        own(c, "A", Some("1"));
        c.env.own.remove("PORT");
    });
    restart("env.LEVEL", |c| shared(c, "LEVEL", Some("info")));
    restart("env.HOME", |c| shared(c, "HOME", None));
    restart("env.LEVEL", |c| from_file(c, "LEVEL", "its file wins over the project"));
    restart("env.NEW", |c| from_file(c, "NEW", "1"));
    let nothing = |edit: fn(&mut Component)| check(Reaction::Nothing, "", edit);
    nothing(|c| from_file(c, "PORT", "the component's own wins"));
    nothing(|c| shared(c, "PORT", Some("the component's own wins")));
    nothing(|c| {
        c.env.own.remove("PORT");
        shared(c, "PORT", Some("80"));
    });
    nothing(|c| c.env.project = Arc::new((*c.env.project).clone()));
}

#[test]
fn every_other_key_is_an_update() {
    let check = |changed: &str, edit: fn(&mut Component)| check(Reaction::Update, changed, edit);
    check("description", |c| c.description = Some("HTTP API".into()));
    check("autostart", |c| c.autostart = false);
    check("profiles", |c| c.profiles.push("full".into()));
    check("depends_on", |c| c.depends_on = project("x: db").components[0].depends_on.clone());
    check("on_failure", |c| c.on_failure = OnFailure::Shutdown);
    check("build", |c| c.build = None);
    check("build.timeout", |c| c.build.as_mut().unwrap().timeout = minute(|d| d));
    check("build.command build.shell", |c| {
        c.build.as_mut().unwrap().command = Command::Shell("make".into());
    });
    check("ready", |c| c.ready = None);
    check("ready.tcp ready.notify", |c| c.ready.as_mut().unwrap().probe = Probe::Notify);
    check("ready.external", |c| c.ready.as_mut().unwrap().external = true);
    check("health.exec", |c| {
        c.health.as_mut().unwrap().check = HealthCheck::Exec(Command::Shell("true".into()));
    });
    check("health.exec health.watchdog health.retries", |c| {
        let health = c.health.as_mut().unwrap();
        (health.check, health.retries) = (minute(HealthCheck::Watchdog), 4);
    });
    check("restart.success_codes restart.backoff.max restart.limit.count", |c| {
        let restart = Arc::make_mut(&mut c.restart);
        restart.success_codes.push(3);
        restart.backoff.max = minute(|d| d);
        restart.limit.count = 9;
    });
    check("stop.timeout", |c| Arc::make_mut(&mut c.stop).timeout = minute(|d| d));
    check("stop.command", |c| Arc::make_mut(&mut c.stop).command = Some(Command::Shell("x".into())));
    check("watch", |c| c.watch = None);
    check("watch.paths watch.action", |c| {
        let watch = Arc::make_mut(c.watch.as_mut().unwrap());
        watch.paths.push("templates".into());
        watch.action = WatchAction::None;
    });
    check("state.max_age", |c| c.state.as_mut().unwrap().max_age = minute(Some));
    check("state.snapshot", |c| c.state.as_mut().unwrap().snapshot = None);
    check("state.snapshot.every", |c| {
        c.state.as_mut().unwrap().snapshot = minute(|every| Some(Snapshot { every, signal: Signal::HUP }));
    });
    check("logs.file logs.keep", |c| {
        let logs = Arc::make_mut(&mut c.logs);
        (logs.file, logs.keep) = (Some("/log".into()), 9);
    });
}

#[test]
fn equal_declarations_do_not_differ() {
    let same = full();
    assert_eq!(diff(&same, &same).reaction, Reaction::Nothing);
    let mut apart = same.clone();
    apart.stop = Arc::new((*apart.stop).clone());
    apart.env.project = Arc::new((*apart.env.project).clone());
    apart.cwd = Arc::new((*apart.cwd).clone());
    assert_eq!(diff(&same, &apart), Default::default());
}
