//! Random projects: acyclic, of one to twelve components, with every rule that the core knows.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use orch::config::model::{
    Backoff, Build, Command, Component, Condition, Dependency, Env, Health, HealthCheck, HostPort, Kind,
    Limit, Logs, OnFailure, Poll, Probe, Project, Ready, Restart, RestartPolicy, Snapshot, State, Stdin,
    Stop, Watch, WatchAction,
};
use orch::types::{Name, Signal};

use super::dice::Dice;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A project with `count` components named c0, c1, …
pub(crate) fn project(dice: &mut Dice) -> Project {
    let count = 1 + dice.upto(11);
    let components = (0..count).map(|index| Arc::new(component(dice, index))).collect();
    Project {
        name: "sim".to_owned(),
        file: PathBuf::from("/p/devmode.yaml"),
        dir: PathBuf::from("/p"),
        state_dir: PathBuf::from("/p/.orch"),
        env_files: Vec::new(),
        shutdown_timeout: ms(3_000 + dice.upto(30_000)),
        components,
    }
}

/// An edit of it: some components other, removed, added, or renamed, and state files that change hands.
pub(crate) fn edited(dice: &mut Dice, project: &Project) -> Project {
    let mut next = project.clone();
    let mut components: Vec<Arc<Component>> = Vec::new();
    for old in &project.components {
        let number: u64 = old.name.as_str()[1..].parse().unwrap();
        match dice.upto(12) {
            0 => {}
            4 => components.push(Arc::new(built_otherwise(dice, old))),
            5 if old.build.is_some() => {
                let mut new = built_otherwise(dice, old);
                if dice.percent(30) {
                    new.kind = Kind::Process(Command::Words(vec![format!("v{}", dice.next())]));
                }
                components.push(Arc::new(new));
            }
            1 => components.push(Arc::new(component(dice, number))),
            2 => {
                let mut new = (**old).clone();
                new.kind = match dice.upto(4) {
                    0 => thread(),
                    _ => Kind::Process(Command::Words(vec![format!("v{}", dice.next())])),
                };
                components.push(Arc::new(new));
            }
            3 => {
                let mut new = (**old).clone();
                new.stop = Arc::new(stop(dice));
                components.push(Arc::new(new));
            }
            _ => components.push(Arc::clone(old)),
        }
    }
    for number in 0..12 {
        let absent = !components.iter().any(|c| c.name.as_str() == format!("c{number}"));
        if absent && dice.percent(10) {
            components.push(Arc::new(component(dice, number)));
        }
    }
    rename(dice, &mut components);
    swap_states(dice, &mut components);
    share_no_state(&mut components);
    // What an edit left dangling would not be valid.
    let names: Vec<Name> = components.iter().map(|c| c.name.clone()).collect();
    for spec in &mut components {
        if spec.depends_on.iter().any(|edge| !names.contains(&edge.name)) {
            Arc::make_mut(spec).depends_on.retain(|edge| names.contains(&edge.name));
        }
    }
    next.components = components;
    next
}

/// Its build is added, taken away, or another one; or what it runs in is.
fn built_otherwise(dice: &mut Dice, old: &Component) -> Component {
    let mut new = old.clone();
    let timeout = ms(500 + dice.upto(5_000));
    match dice.upto(3) {
        0 => new.build = None,
        1 => new.cwd = Arc::new(PathBuf::from(format!("/p/{}", dice.upto(3)))),
        _ => {
            let command = Command::Words(vec!["make".to_owned(), format!("v{}", dice.next())]);
            new.build = Some(Box::new(Build { command, timeout }));
        }
    }
    new
}

/// What has another name is another component, which wants all that the old one had.
fn rename(dice: &mut Dice, components: &mut [Arc<Component>]) {
    for at in 0..components.len() {
        let number: u64 = components[at].name.as_str()[1..].parse().unwrap();
        // A higher one: what depends on it comes behind what it depends on.
        let name = Name::new(&format!("c{}", number + 1 + dice.upto(20))).unwrap();
        if dice.percent(12) && !components.iter().any(|other| other.name == name) {
            let old = std::mem::replace(&mut Arc::make_mut(&mut components[at]).name, name.clone());
            if dice.percent(50) {
                follow(components, &old, &name);
            }
        }
    }
}

/// Those with higher numbers that depended on it still do.
fn follow(components: &mut [Arc<Component>], old: &Name, new: &Name) {
    let number = |name: &Name| name.as_str()[1..].parse::<u64>().unwrap();
    for spec in components.iter_mut().filter(|spec| number(&spec.name) > number(new)) {
        if spec.depends_on.iter().any(|edge| edge.name == *new) {
            continue;
        }
        for edge in &mut Arc::make_mut(spec).depends_on {
            if edge.name == *old {
                edge.name = new.clone();
            }
        }
    }
}

/// Two state files change hands.
fn swap_states(dice: &mut Dice, components: &mut [Arc<Component>]) {
    let stateful: Vec<usize> = (0..components.len()).filter(|at| components[*at].state.is_some()).collect();
    let (Some(one), Some(other)) = (dice.pick(&stateful).copied(), dice.pick(&stateful).copied()) else {
        return;
    };
    if one != other && dice.percent(30) {
        let first = Arc::make_mut(&mut components[one]).state.take();
        let second = std::mem::replace(&mut Arc::make_mut(&mut components[other]).state, first);
        Arc::make_mut(&mut components[one]).state = second;
    }
}

/// A file in which two components claim one state file is not valid.
fn share_no_state(components: &mut [Arc<Component>]) {
    let mut seen = BTreeSet::new();
    for spec in components {
        if spec.state.as_ref().is_some_and(|state| !seen.insert(state.file.clone())) {
            Arc::make_mut(spec).state = None;
        }
    }
}

fn component(dice: &mut Dice, index: u64) -> Component {
    let mut depends_on = Vec::new();
    for on in 0..index {
        if dice.percent(25) {
            let condition = match dice.upto(5) {
                0 => Condition::Started,
                1 => Condition::Completed,
                _ => Condition::Ready,
            };
            let name = Name::new(&format!("c{on}")).unwrap();
            depends_on.push(Dependency { name, condition, restart: dice.percent(30) });
        }
    }
    let policy = match dice.upto(3) {
        0 => RestartPolicy::Never,
        1 => RestartPolicy::Always,
        _ => RestartPolicy::OnFailure,
    };
    let probed = dice.percent(50);
    Component {
        name: Name::new(&format!("c{index}")).unwrap(),
        description: None,
        kind: if dice.percent(25) { thread() } else { Kind::Process(Command::Words(vec!["v0".to_owned()])) },
        cwd: Arc::new(PathBuf::from("/p")),
        env: Env::default(),
        stdin: Stdin::Null,
        autostart: !dice.percent(8),
        profiles: Vec::new(),
        depends_on,
        build: dice.percent(30).then(|| {
            let timeout = ms(500 + dice.upto(5_000));
            Box::new(Build { command: Command::Words(vec!["make".to_owned()]), timeout })
        }),
        ready: probed.then(|| {
            let (interval, timeout) = (ms(100), ms(200 + dice.upto(5_000)));
            let probe = if dice.percent(30) { Probe::Notify } else { Probe::Delay(ms(1)) };
            Box::new(Ready { probe, interval, timeout, external: false })
        }),
        health: dice.percent(30).then(|| Box::new(health(dice))),
        restart: Arc::new(Restart {
            policy,
            success_codes: vec![0],
            backoff: Backoff { initial: ms(100), max: ms(2_000), factor: 2.0, jitter: 0.1 },
            limit: Limit { count: u32::try_from(dice.upto(6)).unwrap(), within: ms(20_000) },
        }),
        on_failure: if dice.percent(3) { OnFailure::Shutdown } else { OnFailure::Continue },
        stop: Arc::new(stop(dice)),
        watch: dice.percent(60).then(|| Arc::new(watch(dice))),
        state: dice.percent(40).then(|| Box::new(state(index))),
        sockets: Vec::new(),
        logs: Arc::new(Logs::default()),
    }
}

fn thread() -> Kind {
    Kind::Thread { runner: "ticker".to_owned(), with: serde_yaml::Value::Null, listens: Vec::new() }
}

fn stop(dice: &mut Dice) -> Stop {
    Stop {
        signal: Signal::TERM,
        command: dice.percent(20).then(|| Command::Words(vec!["ctl".to_owned()])),
        timeout: ms(dice.upto(3_000)),
        join_timeout: ms(dice.upto(2_000)),
        force_kill: !dice.percent(10),
    }
}

fn watch(dice: &mut Dice) -> Watch {
    Watch {
        paths: vec!["src".to_owned()],
        ignore: Vec::new(),
        gitignore: true,
        settle: ms(dice.upto(50)),
        action: match dice.upto(19) {
            0 => WatchAction::None,
            1 => WatchAction::Signal(Signal::HUP),
            2..4 => WatchAction::Run(Command::Words(vec!["ctl".to_owned()])),
            _ => WatchAction::Restart,
        },
        poll: Poll::Auto,
    }
}

fn health(dice: &mut Dice) -> Health {
    let check = match dice.upto(2) {
        0 => HealthCheck::Watchdog(ms(200 + dice.upto(3_000))),
        _ => HealthCheck::Tcp(HostPort { host: "localhost".to_owned(), port: 80 }),
    };
    let retries = 1 + u32::try_from(dice.upto(3)).unwrap();
    Health { check, interval: ms(500), timeout: ms(100), retries }
}

fn state(index: u64) -> State {
    State {
        file: PathBuf::from(format!("/p/state{index}")),
        max_age: Some(ms(30_000)),
        once: true,
        atomic: false,
        keep: 3,
        max_size: 1 << 20,
        snapshot: index.is_multiple_of(3).then(|| Snapshot { every: ms(700), signal: Signal::HUP }),
        restart_args: Vec::new(),
        required: false,
    }
}
