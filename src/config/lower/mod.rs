//! From what was written to the typed model: defaults, absolute paths, and the rules that need the world.

mod claim;
mod component;
mod edge;
mod env;
mod files;
mod paths;
mod probe;
mod program;
mod sections;
mod thread;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(crate) use env::EnvReader;
pub use paths::absolute;
pub(crate) use probe::{HEALTH_CHECKS, READY_PROBES};
pub(crate) use sections::glob_mistake;

use super::code;
use super::decode::{At, Decoder, Section, Step, Value, Variables};
use super::keys::{DefaultsKeys, ProjectKeys};
use super::load::Threads;
use super::model::{Component, EnvOverlay, Logs, Project, Restart, Stop, Watch};
use super::report::{Mistake, Report};
use super::text::shown;
use super::tree::{NodeId, Tree};
use crate::types::Name;

/// What a file is read against.
#[derive(Debug)]
pub(crate) struct Ground {
    /// The YAML file, absolute.
    pub(crate) file: PathBuf,
    /// Its folder.
    pub(crate) dir: PathBuf,
    pub(crate) state_dir: PathBuf,
    /// Registered threads beside the built-in ones; `None`: unknown, so that any name may be one.
    pub(crate) threads: Option<Threads>,
    /// orch's own PATH.
    pub(crate) path: Option<String>,
}

/// The sections that components share, made once.
struct Shared {
    keys: DefaultsKeys,
    restart: Arc<Restart>,
    stop: Arc<Stop>,
    watch: Option<Arc<Watch>>,
    logs: Arc<Logs>,
}

/// The last section of each kind that a component wrote itself.
#[derive(Default)]
struct Last {
    restart: Option<Arc<Restart>>,
    stop: Option<Arc<Stop>>,
    watch: Option<Arc<Watch>>,
    logs: Option<Arc<Logs>>,
}

/// The state of one lowering.
struct Lowering<'t> {
    decoder: Decoder<'t>,
    ground: &'t Ground,
    env: EnvReader<'t>,
    project_env: Arc<EnvOverlay>,
    /// Every component's place among the components, by name.
    names: BTreeMap<&'t str, usize>,
    shared: Shared,
    last: Last,
    folders: BTreeMap<String, (Arc<PathBuf>, bool)>,
    programs: program::Programs,
    edges: Vec<edge::Edge>,
    claims: Vec<claim::Claim>,
    root: Arc<PathBuf>,
}

/// The project of a tree: `None` if it is no map at all. It may be used only if the report has no errors.
pub(crate) fn project<'t>(
    tree: &'t Tree,
    variables: &'t Variables,
    ground: &'t Ground,
    env: EnvReader<'t>,
    from_files: EnvOverlay,
    report: Report,
) -> (Option<Project>, EnvReader<'t>, Report) {
    let mut decoder = Decoder::new(tree, variables, report);
    let Some(keys) = ProjectKeys::decode(&mut decoder, tree.root()) else {
        return (None, env, decoder.report);
    };
    if keys.version.is_none() && !decoder.has_key_like(tree.root(), &["version"]) {
        let missing =
            Mistake::new(code::MISSING_KEY, "`version` is missing").help("write `version: 1` at the top");
        decoder.mistake_at_start(missing);
    }
    let mut project_env = from_files;
    for env in keys.env.into_iter().map(|env| env.value) {
        project_env.extend(env.taken.iter().map(|(name, value)| (name.clone(), value.clone())));
        project_env.extend(env.own);
    }
    let mut lowering = Lowering {
        shared: Shared::new(&mut decoder, keys.defaults.map(|at| at.value).unwrap_or_default(), &ground.dir),
        decoder,
        ground,
        env,
        project_env: Arc::new(project_env),
        names: BTreeMap::new(),
        last: Last::default(),
        folders: BTreeMap::new(),
        programs: program::Programs::default(),
        edges: Vec::new(),
        claims: Vec::new(),
        root: Arc::new(ground.dir.clone()),
    };
    let components = lowering.components(keys.components.map(|at| at.value.0));
    let name = lowering.project_name(keys.name);
    let project = Project {
        name,
        file: ground.file.clone(),
        dir: ground.dir.clone(),
        state_dir: ground.state_dir.clone(),
        env_files: lowering.env.files(),
        shutdown_timeout: keys.shutdown_timeout.map_or(Duration::from_secs(30), |at| at.value.0),
        components,
    };
    (Some(project), lowering.env, lowering.decoder.report)
}

impl<'t> Lowering<'t> {
    /// Runs `lower` one key further down the key path.
    fn within<T>(&mut self, step: Step<'t>, lower: impl FnOnce(&mut Self) -> T) -> T {
        self.decoder.enter(step);
        let lowered = lower(self);
        self.decoder.leave();
        lowered
    }

    fn key<T>(&mut self, key: &'static str, lower: impl FnOnce(&mut Self) -> T) -> T {
        self.within(Step::Key(key), lower)
    }

    fn mistake(&mut self, node: NodeId, mistake: Mistake) {
        self.decoder.mistake(node, mistake);
    }

    fn project_name(&mut self, written: Option<At<super::decode::Text>>) -> String {
        let folder = || {
            self.ground.dir.file_name().map_or("project".into(), |name| name.to_string_lossy().into_owned())
        };
        let Some(At { value, node }) = written else { return folder() };
        let bad = value.0.is_empty() || value.0.chars().any(char::is_control);
        if bad {
            let message = format!("`{}` can't be the name of a project", shown(&value.0));
            self.key("name", |lowering| lowering.mistake(node, Mistake::new(code::NAME, message)));
        }
        value.0
    }

    fn components(&mut self, map: Option<NodeId>) -> Vec<Arc<Component>> {
        let entries =
            map.and_then(|map| self.decoder.entries(map, "a map of components")).unwrap_or_default();
        if entries.is_empty() && !self.decoder.report.has_errors() {
            let none = Mistake::new(code::NO_COMPONENTS, "the file declares no components");
            self.decoder.mistake_at_start(none);
        }
        self.names = entries.iter().enumerate().map(|(index, (name, ..))| (*name, index)).collect();
        self.decoder.enter(Step::Key("components"));
        let mut lowered = Vec::with_capacity(entries.len());
        for (index, (text, key, value)) in entries.iter().copied().enumerate() {
            lowered.push(self.within(Step::Key(text), |lowering| {
                let name = lowering.component_name(text, key);
                lowering.component(index, name, key, value)
            }));
        }
        let names: Vec<&str> = entries.iter().map(|(name, ..)| *name).collect();
        self.check_edges(&names, &lowered);
        self.check_own_files(&names, &lowered);
        self.check_claims(&names, &lowered);
        self.decoder.leave();
        lowered.into_iter().flatten().collect()
    }

    fn component_name(&mut self, text: &str, key: NodeId) -> Option<Name> {
        match Name::new(text) {
            Ok(name) => Some(name),
            Err(why) => {
                let message = format!("`{}` can't be the name of a component", shown(text));
                self.mistake(key, Mistake::new(code::NAME, message).help(why.to_string()));
                None
            }
        }
    }
}

impl Shared {
    fn new(decoder: &mut Decoder<'_>, keys: DefaultsKeys, dir: &Path) -> Self {
        decoder.enter(Step::Key("defaults"));
        let restart = sections::restart(decoder, keys.restart.as_ref());
        let stop = sections::stop(keys.stop.as_ref());
        let watch = sections::watch(decoder, keys.watch.as_ref(), false);
        let logs = sections::logs(keys.logs.as_ref(), dir);
        decoder.leave();
        let (restart, stop, logs) = (Arc::new(restart), Arc::new(stop), Arc::new(logs));
        Self { keys, restart, stop, watch: watch.map(Arc::new), logs }
    }
}

/// What is written, if it is not switched off.
fn on<T>(section: Option<&At<Section<T>>>) -> Option<&T> {
    match &section?.value {
        Section::On(keys) => Some(keys),
        Section::Off => None,
    }
}

/// What is written, without its place.
fn plain<T: Clone>(written: Option<&At<T>>) -> Option<T> {
    written.map(|at| at.value.clone())
}
