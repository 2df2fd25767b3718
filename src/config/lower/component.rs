//! One component.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::claim::{Claim, What};
use super::{Lowering, absolute, on, plain, sections};
use crate::config::code;
use crate::config::decode::{At, Dependencies, PathText, Section, SocketText, Step, Value};
use crate::config::keys::ComponentKeys;
use crate::config::model::{
    Build, Command, Component, Dependency, Env, EnvOverlay, Kind, Logs, Restart, Socket, SocketAddress,
    State, Stop, Watch,
};
use crate::config::report::Mistake;
use crate::config::text::shown;
use crate::config::tree::NodeId;
use crate::types::Name;

/// The longest path of a unix socket.
const MAX_SOCKET_PATH: usize = 107;

impl Lowering<'_> {
    /// One component; `None` if it is wrong in a way that leaves nothing to work with.
    pub(super) fn component(
        &mut self,
        index: usize,
        name: Option<Name>,
        key: NodeId,
        value: NodeId,
    ) -> Option<Arc<Component>> {
        let keys = ComponentKeys::decode(&mut self.decoder, value)?;
        let depends_on = self.depends_on(index, keys.depends_on.as_ref());
        let env = self.env(&keys);
        let cwd = self.cwd(keys.cwd.as_ref());
        let kind = self.kind(&keys, index, key, value);
        let restart = self.restart(&keys);
        let stop = self.stop(&keys);
        let watch = self.watch(&keys);
        let logs = self.logs(&keys, index);
        let ready = on(keys.ready.as_ref()).zip(keys.ready.as_ref());
        let ready = ready.and_then(|(ready, at)| self.ready(ready, at.node));
        let health = on(keys.health.as_ref()).zip(keys.health.as_ref());
        let health = health.and_then(|(health, at)| self.health(health, at.node));
        let sockets = self.sockets(&keys, index);
        let build = on(keys.build.as_ref()).map(|build| {
            let timeout = plain(build.timeout.as_ref()).map_or(Duration::from_secs(600), |timeout| timeout.0);
            Box::new(Build { command: build.command.0.clone(), timeout })
        });
        let (name, kind) = (name?, kind?);
        let state = self.state(&keys, index, &name);
        let component = Component {
            name,
            description: plain(keys.description.as_ref()).map(|text| text.0),
            kind,
            cwd,
            env,
            stdin: plain(keys.stdin.as_ref()).unwrap_or_default(),
            autostart: plain(keys.autostart.as_ref()).unwrap_or(true),
            profiles: self.profiles(&keys),
            depends_on,
            build,
            ready,
            health,
            restart,
            on_failure: plain(keys.on_failure.as_ref()).unwrap_or_default(),
            stop,
            watch,
            state,
            sockets,
            logs,
        };
        self.check_thread_keys(&component, &keys, value);
        self.check_programs(&component, &keys);
        self.check_own_sockets(&component, &keys);
        Some(Arc::new(component))
    }

    fn kind(&mut self, keys: &ComponentKeys, index: usize, key: NodeId, value: NodeId) -> Option<Kind> {
        match (&keys.process, &keys.thread) {
            (Some(process), Some(_)) => {
                let mistake = Mistake::new(code::EXCLUSIVE, "`process` and `thread` exclude each other");
                self.key("thread", |lowering| {
                    lowering.mistake(process.node, mistake.help("keep one of them"))
                });
                None
            }
            (Some(process), None) => {
                if let Some(with) = &keys.with {
                    let mistake = Mistake::new(
                        code::OUT_OF_PLACE,
                        "`with` is handed to a thread, and this is a process",
                    );
                    self.key("with", |lowering| lowering.mistake(with.node, mistake));
                }
                Some(Kind::Process(process.value.0.clone()))
            }
            (None, Some(thread)) => {
                let with = plain(keys.with.as_ref()).map_or(serde_yaml::Value::Null, |with| with.0);
                let listens = self.thread(index, thread, keys.with.as_ref().map(|with| with.node), &with);
                Some(Kind::Thread { runner: thread.value.0.clone(), with, listens })
            }
            (None, None) => {
                if !self.decoder.has_key_like(value, &["process", "thread"]) {
                    let mistake = Mistake::new(code::MISSING_KEY, "`process` or `thread` is missing");
                    self.mistake(key, mistake.help("say what it runs, such as `process: ./serve`"));
                }
                None
            }
        }
    }

    /// The working directory, shared by all that name it.
    fn cwd(&mut self, cwd: Option<&At<PathText>>) -> Arc<PathBuf> {
        let Some(cwd) = cwd else { return Arc::clone(&self.root) };
        let written = &cwd.value.0;
        if !self.folders.contains_key(written) {
            let path = absolute(&self.ground.dir, Path::new(written));
            let exists = path.is_dir();
            self.folders.insert(written.clone(), (Arc::new(path), exists));
        }
        let (path, exists) = self.folders.get(written).cloned().unwrap_or_default();
        if exists {
            return path;
        }
        let what = if path.exists() { "is not a folder" } else { "does not exist" };
        let message = format!("the folder `{}` {what}", shown(written));
        let help = format!("it is sought at {}", shown(&path.to_string_lossy()));
        let mistake = Mistake::new(code::FOLDER_MISSING, message).help(help);
        self.key("cwd", |lowering| lowering.mistake(cwd.node, mistake));
        path
    }

    fn env(&mut self, keys: &ComponentKeys) -> Env {
        let files = self.env.overlay(&mut self.decoder, keys.env_file.as_ref());
        let project = Arc::clone(&self.project_env);
        let Some(env) = &keys.env else { return Env { project, files, own: EnvOverlay::new() } };
        let files = self.env.over(&mut self.decoder, env, files);
        Env { project, files, own: env.value.own.clone() }
    }

    fn profiles(&mut self, keys: &ComponentKeys) -> Vec<String> {
        let profiles = keys.profiles.as_ref().map(|list| &list.value.0);
        profiles.into_iter().flatten().map(|profile| profile.value.0.clone()).collect()
    }

    fn restart(&mut self, keys: &ComponentKeys) -> Arc<Restart> {
        let Some(own) = keys.restart.clone() else { return Arc::clone(&self.shared.restart) };
        let merged = At::over(Some(own), self.shared.keys.restart.as_ref());
        let restart = sections::restart(&mut self.decoder, merged.as_ref());
        share(&mut self.last.restart, restart)
    }

    fn stop(&mut self, keys: &ComponentKeys) -> Arc<Stop> {
        let Some(own) = keys.stop.clone() else { return Arc::clone(&self.shared.stop) };
        let merged = At::over(Some(own), self.shared.keys.stop.as_ref());
        share(&mut self.last.stop, sections::stop(merged.as_ref()))
    }

    fn watch(&mut self, keys: &ComponentKeys) -> Option<Arc<Watch>> {
        let Some(own) = keys.watch.clone() else { return self.shared.watch.clone() };
        let merged = At::over(Some(own), self.shared.keys.watch.as_ref());
        let watch = sections::watch(&mut self.decoder, merged.as_ref(), true)?;
        Some(share(&mut self.last.watch, watch))
    }

    fn logs(&mut self, keys: &ComponentKeys, index: usize) -> Arc<Logs> {
        let merged = At::over(keys.logs.clone(), self.shared.keys.logs.as_ref());
        if let Some(file) = on(merged.as_ref()).and_then(|keys| keys.file.as_ref()) {
            self.claims.push(Claim { component: index, what: What::Log, node: file.node });
        }
        if keys.logs.is_none() {
            return Arc::clone(&self.shared.logs);
        }
        share(&mut self.last.logs, sections::logs(merged.as_ref(), &self.ground.dir))
    }

    fn state(&mut self, keys: &ComponentKeys, index: usize, name: &Name) -> Option<Box<State>> {
        let section = keys.state.as_ref();
        let state = on(section)?;
        let default_file = || self.ground.state_dir.join("data").join(name.as_str());
        self.decoder.enter(Step::Key("state"));
        let lowered = sections::state(&mut self.decoder, state, &self.ground.dir, default_file);
        let shell = keys.process.as_ref().is_some_and(|process| matches!(process.value.0, Command::Shell(_)));
        if let Some(args) = &state.restart_args
            && shell
        {
            let mistake =
                Mistake::new(code::OUT_OF_PLACE, "`restart_args` can't be appended to a shell form");
            self.key("restart_args", |lowering| {
                lowering.mistake(
                    args.node,
                    mistake.help("write the command without a shell, or read ORCH_RESTORED"),
                );
            });
        }
        self.decoder.leave();
        let node = state.file.as_ref().map_or(section?.node, |file| file.node);
        self.claims.push(Claim { component: index, what: What::State, node });
        Some(Box::new(lowered))
    }

    fn sockets(&mut self, keys: &ComponentKeys, index: usize) -> Vec<Socket> {
        let Some(Section::On(sockets)) = plain(keys.sockets.as_ref()) else { return Vec::new() };
        let mut lowered = Vec::new();
        for (position, (name, address)) in sockets.0.into_iter().enumerate() {
            let address_lowered = match address.value {
                SocketText::Tcp(address) => SocketAddress::Tcp(address),
                SocketText::Path(path) => {
                    let path = absolute(&self.ground.dir, Path::new(&path));
                    if path.as_os_str().len() > MAX_SOCKET_PATH {
                        let message = format!("the path of a socket has at most {MAX_SOCKET_PATH} bytes");
                        let help = format!("it is {}", shown(&path.to_string_lossy()));
                        self.mistake(address.node, Mistake::new(code::ADDRESS, message).help(help));
                    }
                    SocketAddress::Unix(path)
                }
            };
            self.claims.push(Claim { component: index, what: What::Socket(position), node: address.node });
            lowered.push(Socket { name, address: address_lowered });
        }
        lowered
    }

    fn depends_on(&mut self, index: usize, written: Option<&At<Dependencies>>) -> Vec<Dependency> {
        let Some(At { value, .. }) = written else { return Vec::new() };
        let mut lowered = Vec::with_capacity(value.entries.len());
        let mut seen = std::collections::BTreeSet::new();
        self.decoder.enter(Step::Key("depends_on"));
        for (position, entry) in value.entries.iter().enumerate() {
            lowered.extend(self.dependency(index, value.listed, position, entry, &mut seen));
        }
        self.decoder.leave();
        lowered
    }
}

/// One allocation for values that are equal one after the other, as generated files have them.
fn share<T: PartialEq>(last: &mut Option<Arc<T>>, value: T) -> Arc<T> {
    if let Some(last) = last
        && **last == value
    {
        return Arc::clone(last);
    }
    Arc::clone(last.insert(Arc::new(value)))
}
