//! What is never watched for a component. All components share it, so it is there once.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::WatchKey;
use super::engine::Engine;
use super::ground::Ground;
use super::rules::{Rules, normal};

/// The state directory, all state and log files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Excluded {
    /// As they are given, and as they really are if a link leads to the project's folder.
    paths: HashSet<PathBuf>,
}

impl Excluded {
    /// `paths` are absolute; `root` is the project's folder.
    pub(super) fn new(root: &Path, paths: &[PathBuf], ground: &Ground) -> Self {
        if paths.is_empty() {
            return Self::default();
        }
        let real = ground.real(root).ok().flatten().filter(|real| real != root);
        let twin = |path: &PathBuf| Some(real.as_ref()?.join(path.strip_prefix(root).ok()?));
        Self { paths: paths.iter().flat_map(|path| [Some(normal(path)), twin(path)]).flatten().collect() }
    }

    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.paths.iter()
    }

    /// Whether `path` is one of them, a rotated log file or the times beside one, or below one of them.
    pub(super) fn has(&self, path: &Path) -> bool {
        let excluded = |path: &Path| {
            path.ancestors().any(|part| self.paths.contains(part))
                || unrotated(path).is_some_and(|log| self.paths.contains(&log))
        };
        let is_times = path.extension().is_some_and(|extension| extension == "times");
        !self.paths.is_empty() && (excluded(path) || (is_times && excluded(&path.with_extension(""))))
    }

    fn without(&self, other: &Self) -> Self {
        Self { paths: self.paths.difference(&other.paths).cloned().collect() }
    }
}

impl Engine {
    /// Leaves out `excluded` from now on, in place of what was left out before. What it adds is forgotten, without a
    /// look at anything; where it gives something back, those who look into that folder look at all of theirs.
    pub(super) fn exclude(&mut self, excluded: Arc<Excluded>) {
        let old = std::mem::replace(&mut self.excluded, Arc::clone(&excluded));
        let (added, given_back) = (excluded.without(&old), old.without(&excluded));
        // A folder with all that is watched in it can't be left out by forgetting files.
        let folders = added.paths().filter(|path| self.places.has_marks_in(path));
        let whose: BTreeSet<WatchKey> = given_back
            .paths()
            .filter_map(|path| path.parent())
            .chain(folders.map(PathBuf::as_path))
            .flat_map(|folder| self.places.keys_in(folder))
            .filter(|key| key.leaves_out())
            .collect();
        let before: Vec<(WatchKey, Arc<Rules>)> =
            whose.iter().filter_map(|key| Some((*key, Arc::clone(self.rules.get(key)?)))).collect();
        for (_, rules) in self.rules.iter_mut().filter(|(key, _)| key.leaves_out()) {
            Arc::make_mut(rules).excluded = Arc::clone(&excluded);
        }
        self.files.retain(|path, entry| {
            if added.has(path) {
                entry.owners.retain(|owner| !owner.key.leaves_out());
            }
            !entry.owners.is_empty()
        });
        for (key, old) in before {
            self.install_again(key, old);
        }
    }
}

impl WatchKey {
    /// Whether what is excluded is not watched for it. The project's own files are named one by one.
    pub(super) fn leaves_out(self) -> bool {
        match self {
            Self::Component(_) => true,
            Self::Project => false,
        }
    }
}

/// The log file of which `path` is a rotated one: `.1`, `.2`, …
fn unrotated(path: &Path) -> Option<PathBuf> {
    let (log, number) = path.file_name()?.to_str()?.rsplit_once('.')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| path.with_file_name(log))
}
