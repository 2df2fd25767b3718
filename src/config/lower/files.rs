//! Files that orch makes, moves and takes away for a component: each has to be the component's own.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Lowering;
use super::claim::{What, file_of};
use crate::config::code;
use crate::config::model::Component;
use crate::config::report::Mistake;
use crate::config::text::shown;

/// Files that no component can have for its own, by their names and by what they are on the disk.
struct Taken {
    /// The YAML file and every env file, with what they are.
    files: BTreeMap<PathBuf, &'static str>,
    /// Device and inode: a second name of one file is the same file.
    nodes: BTreeMap<(u64, u64), &'static str>,
}

impl Taken {
    fn new(yaml: &Path, env_files: Vec<PathBuf>) -> Self {
        let env_files = env_files.into_iter().map(|file| (file, "an env file"));
        let files: BTreeMap<PathBuf, &str> =
            env_files.chain([(yaml.to_path_buf(), "the YAML file")]).collect();
        let node = |(file, what): (&PathBuf, &&'static str)| {
            let metadata = std::fs::metadata(file).ok()?;
            Some(((metadata.dev(), metadata.ino()), *what))
        };
        let nodes = files.iter().filter_map(node).collect();
        Self { files, nodes }
    }

    /// Why the file can't be the component's.
    fn why_not(&self, file: &Path, what: What, dir: &Path, state_dir: &Path) -> Option<&'static str> {
        if dir.starts_with(file) {
            return Some("the project's folder, or a folder above it");
        }
        if state_dir.starts_with(file) {
            return Some("the state directory, or a folder above it");
        }
        if file.strip_prefix(state_dir).is_ok_and(|below| is_orchs(below, what)) {
            return Some("among orch's own files in the state directory");
        }
        let metadata = std::fs::symlink_metadata(file).ok();
        let node = metadata.as_ref().map(|metadata| (metadata.dev(), metadata.ino()));
        let known = self.files.get(file).or_else(|| self.nodes.get(&node?));
        if let Some(known) = known {
            return Some(known);
        }
        let kind = metadata?.file_type();
        match (what, kind) {
            (_, kind) if kind.is_dir() => Some("a folder"),
            // Whatever it is, it may be gone by the start, which looks again.
            (What::Socket(_) | What::Listen(_), _) => None,
            (What::State | What::Log, kind) if kind.is_file() => None,
            (_, kind) if kind.is_symlink() => Some("a symbolic link"),
            _ => Some("no regular file"),
        }
    }
}

/// Whether a path in the state directory is one where orch keeps something itself.
fn is_orchs(below: &Path, what: What) -> bool {
    let mut parts = below.iter().map(|part| part.to_string_lossy());
    let first = parts.next().unwrap_or_default();
    let is_within = parts.next().is_some();
    match (what, first.as_ref()) {
        (What::State, "data") | (What::Log, "logs") => !is_within,
        (What::State, _) => true,
        (_, "data" | "logs" | "state" | "notify" | "control.sock" | "lock" | ".gitignore") => true,
        (_, name) => name.starts_with("events.ndjson") || name.starts_with("orch.log"),
    }
}

/// Whether no profile keeps them apart.
fn together(a: &Component, b: &Component) -> bool {
    let always = a.profiles.is_empty() || b.profiles.is_empty();
    always || a.profiles.iter().any(|profile| b.profiles.contains(profile))
}

impl<'t> Lowering<'t> {
    /// The component that is logged to this file without saying so.
    fn whose_log<'c>(&self, file: &Path, lowered: &'c [Option<Arc<Component>>]) -> Option<&'c Component> {
        let name =
            file.strip_prefix(self.ground.state_dir.join("logs")).ok()?.to_str()?.strip_suffix(".log")?;
        let other = lowered.get(*self.names.get(name)?)?.as_deref()?;
        other.logs.file.is_none().then_some(other)
    }

    /// A state file is moved away, put back and replaced, a log is written and renamed, a socket is made and taken
    /// away: nothing else may stand in their place.
    pub(super) fn check_own_files(&mut self, names: &[&'t str], lowered: &[Option<Arc<Component>>]) {
        let ground = self.ground;
        let mut taken = None;
        for claim in self.claims.clone() {
            let component = lowered.get(claim.component).and_then(Option::as_deref);
            let Some(file) = component.and_then(|component| file_of(component, claim.what)) else { continue };
            if let (What::Log, Some(component)) = (claim.what, component)
                && let Some(other) = self.whose_log(file, lowered).filter(|other| together(component, other))
            {
                let file = shown(&file.to_string_lossy()).into_owned();
                let message = format!("{file} is the log of `{}`, which names no other", other.name);
                let mistake = Mistake::new(code::CLAIMED_TWICE, message).help("give each its own");
                self.mistake_of(names, claim, mistake);
                continue;
            }
            let taken = taken.get_or_insert_with(|| Taken::new(&ground.file, self.env.files()));
            let Some(is) = taken.why_not(file, claim.what, &ground.dir, &ground.state_dir) else { continue };
            let (kind, help) = match claim.what {
                What::State if file.starts_with(&ground.state_dir) => (
                    "a state file",
                    "write `state: true` for a file in the state directory's own place for them",
                ),
                What::State => {
                    ("a state file", "name a file that only this component writes, such as data/state.json")
                }
                What::Log => {
                    ("a log file", "name a file that only this log is written to, such as logs/api.log")
                }
                What::Socket(_) | What::Listen(_) => ("a socket", "name a path where nothing else is"),
            };
            let file = shown(&file.to_string_lossy()).into_owned();
            let mistake = Mistake::new(code::OWN_FILE, format!("{file} can't be {kind}: it is {is}"));
            self.mistake_of(names, claim, mistake.help(help));
        }
    }
}
