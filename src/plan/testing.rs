//! What the tests of this layer share: projects from a line of text, and small seeded random ones.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::model::{
    Command, Component, Condition, Dependency, Env, Kind, Logs, OnFailure, Project, Restart, Stdin, Stop,
};
use crate::types::Name;

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(super) fn component(text: &str) -> Component {
    Component {
        name: name(text),
        description: None,
        kind: Kind::Process(Command::Words(vec![text.to_owned()])),
        cwd: Arc::new(PathBuf::from("/project")),
        env: Env::default(),
        stdin: Stdin::Null,
        autostart: true,
        profiles: Vec::new(),
        depends_on: Vec::new(),
        build: None,
        ready: None,
        health: None,
        restart: Arc::new(Restart::default()),
        on_failure: OnFailure::Continue,
        stop: Arc::new(Stop::default()),
        watch: None,
        state: None,
        sockets: Vec::new(),
        logs: Arc::new(Logs::default()),
    }
}

/// `web: api, db completed restart; api; @db`: names, their dependencies, `@` for a thread.
pub(super) fn project(text: &str) -> Project {
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    of(parts.map(parse).collect())
}

pub(super) fn of(components: Vec<Component>) -> Project {
    Project {
        name: "sample".into(),
        file: "/project/devmode.yaml".into(),
        dir: "/project".into(),
        state_dir: "/project/.orch".into(),
        env_files: Vec::new(),
        shutdown_timeout: Duration::from_secs(30),
        components: components.into_iter().map(Arc::new).collect(),
    }
}

fn parse(part: &str) -> Component {
    let (head, dependencies) = part.split_once(':').unwrap_or((part, ""));
    let mut parsed = component(head.trim_start_matches('@'));
    if head.starts_with('@') {
        parsed.kind =
            Kind::Thread { runner: "ticker".into(), with: serde_yaml::Value::Null, listens: Vec::new() };
    }
    let dependencies = dependencies.split(',').map(str::trim).filter(|text| !text.is_empty());
    parsed.depends_on = dependencies.map(dependency).collect();
    parsed
}

fn dependency(text: &str) -> Dependency {
    let words: Vec<&str> = text.split(' ').collect();
    let condition = match words.get(1) {
        Some(&"started") => Condition::Started,
        Some(&"completed") => Condition::Completed,
        _ => Condition::Ready,
    };
    Dependency { name: name(words[0]), condition, restart: words.contains(&"restart") }
}

pub(super) fn edit(project: &mut Project, which: &str, change: impl FnOnce(&mut Component)) {
    let found = project.components.iter_mut().find(|component| component.name.as_str() == which).unwrap();
    change(Arc::make_mut(found));
}

/// A small generator of numbers: the same ones for the same seed (xorshift64).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Below `limit`, which is not 0.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }

    pub(super) fn once_in(&mut self, limit: usize) -> bool {
        self.below(limit) == 0
    }

    /// A project without cycles: each component depends on some before it, then the file is shuffled.
    pub(super) fn project(&mut self, nodes: usize, most_dependencies: usize) -> Project {
        let mut components: Vec<Component> = (0..nodes).map(|at| component(&format!("c{at}"))).collect();
        for (at, component) in components.iter_mut().enumerate().skip(1) {
            for _ in 0..self.below(most_dependencies + 1) {
                let to = name(&format!("c{}", self.below(at)));
                if component.depends_on.iter().all(|known| known.name != to) {
                    component.depends_on.push(self.dependency(to));
                }
            }
        }
        for at in (1..nodes).rev() {
            let other = self.below(at + 1);
            components.swap(at, other);
        }
        of(components)
    }

    fn dependency(&mut self, name: Name) -> Dependency {
        let condition = [Condition::Started, Condition::Ready, Condition::Completed][self.below(3)];
        Dependency { name, condition, restart: self.once_in(4) }
    }
}
