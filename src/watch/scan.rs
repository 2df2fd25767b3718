//! Looking through folders: what is there, what came and what went.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::engine::Engine;
use super::gitignore::GitRules;
use super::judge::Entry;
use super::native::What;
use super::places::Owner;
use super::print::Print;
use super::rules::Rules;
use super::trace::{End, trace, trace_entry};
use super::{WatchKey, WatchSpec};

/// A walk through the folders of one base.
struct Walk {
    owner: Owner,
    rules: Arc<Rules>,
    /// The project's real folder.
    root: PathBuf,
    /// Folders to look into next: as the user knows them, and really.
    next: Vec<(PathBuf, PathBuf)>,
    /// Folders reached by links. They come last, so that a folder reached both ways keeps its own name.
    linked: Vec<(PathBuf, PathBuf)>,
    found: BTreeSet<PathBuf>,
}

/// What was covered before an edit of the specification or of a `.gitignore`.
struct Covered {
    rules: Arc<Rules>,
    git: GitRules,
}

impl Covered {
    fn covers(&mut self, path: &Path) -> bool {
        (0..self.rules.bases.len()).any(|at| self.rules.covers(&mut self.git, at, path))
    }
}

impl Engine {
    pub(super) fn set(&mut self, key: WatchKey, spec: WatchSpec) {
        self.reports.forget(key);
        self.set_from(key, spec, BTreeSet::new());
        self.answer(key);
    }

    /// The same, without an answer. `known` is what was watched for it elsewhere until now.
    pub(super) fn set_from(&mut self, key: WatchKey, spec: WatchSpec, known: BTreeSet<PathBuf>) {
        self.look_again();
        let rules = self.compile(key, &spec);
        self.specs.insert(key, spec);
        let old =
            self.rules.get(&key).cloned().map(|rules| Covered { rules, git: std::mem::take(&mut self.git) });
        self.install(key, rules, old, known);
    }

    /// The rules of a specification; what is wrong with it is said.
    pub(super) fn compile(&mut self, key: WatchKey, spec: &WatchSpec) -> Arc<Rules> {
        let excluded = if key.leaves_out() { Arc::clone(&self.excluded) } else { Arc::default() };
        let (rules, problems) = Rules::new(spec, &excluded, &self.ground);
        for problem in problems {
            self.reports.problem(Some(key), problem);
        }
        Arc::new(rules)
    }

    /// Looks at all of `key` anew, whose rules were `old`. Files that are covered only now are no change.
    pub(super) fn install_again(&mut self, key: WatchKey, old: Arc<Rules>) {
        let Some(rules) = self.rules.get(&key).cloned() else { return };
        let old = Covered { rules: old, git: self.git.clone() };
        self.install(key, rules, Some(old), BTreeSet::new());
    }

    pub(super) fn remove(&mut self, key: WatchKey) {
        self.disown(key);
        self.rules.remove(&key);
        self.specs.remove(&key);
        self.polls.remove(key);
        self.beyond.remove(&key);
        self.reports.forget(key);
        self.files.retain(|_, entry| !entry.owners.is_empty());
    }

    /// Puts `rules` in place for `key`. What `old` covered already is new if it was not known.
    fn install(
        &mut self,
        key: WatchKey,
        rules: Arc<Rules>,
        mut old: Option<Covered>,
        known: BTreeSet<PathBuf>,
    ) {
        let mut before = self.disown(key);
        before.extend(known);
        self.set_polling(key, &rules);
        self.rules.insert(key, Arc::clone(&rules));
        for base in 0..rules.bases.len() {
            let owner = Owner { key, base };
            let found = self.find(owner, None);
            for path in found {
                let was_covered = old.as_mut().is_some_and(|old| old.covers(&path));
                self.begin(owner, &path, was_covered && !before.contains(&path));
            }
            before.iter().for_each(|path| self.keep(owner, &rules, path));
        }
        self.files.retain(|_, entry| !entry.owners.is_empty());
    }

    /// A file that was watched and is covered still, but was not found, is gone, and that is yet to be judged.
    fn keep(&mut self, owner: Owner, rules: &Rules, path: &Path) {
        let entry = self.files.get_mut(path).filter(|entry| !entry.owners.contains(&owner));
        if let Some(entry) = entry
            && rules.covers(&mut self.git, owner.base, path)
        {
            entry.owners.insert(owner);
            self.on_file(path, What::Gone);
        }
    }

    /// Takes `key` from all files and folders; returns the files that it had.
    fn disown(&mut self, key: WatchKey) -> BTreeSet<PathBuf> {
        let Some(rules) = self.rules.get(&key) else {
            return BTreeSet::new();
        };
        for (base, it) in rules.bases.iter().enumerate() {
            self.places.forget(Owner { key, base }, &it.path);
        }
        self.rescans.retain(|(owner, _)| owner.key != key);
        let mine = self.files.iter_mut().filter(|(_, entry)| entry.is_of(key));
        mine.map(|(path, entry)| {
            entry.owners.retain(|owner| owner.key != key);
            path.clone()
        })
        .collect()
    }

    /// `owner` watches `path` from now on; `is_new`: the file has come since it was last looked for.
    pub(super) fn begin(&mut self, owner: Owner, path: &Path, is_new: bool) {
        if let Some(entry) = self.files.get_mut(path) {
            entry.owners.insert(owner);
            return;
        }
        self.pulse.beat();
        let print = if is_new { Print::Absent } else { Print::glance(path) };
        if print.is_unread() {
            self.unread.push_back(path.to_owned());
        }
        self.files.insert(path.to_owned(), Entry::new(print, owner));
        if is_new {
            self.on_file(path, What::Placed);
        }
    }

    /// Reads every `.gitignore` anew. Files that are covered only now are no change.
    pub(super) fn reload_git(&mut self) {
        self.look_again();
        let old = std::mem::take(&mut self.git);
        let concerned = self.rules.iter().filter(|(_, rules)| rules.gitignore);
        for (key, rules) in concerned.map(|(key, rules)| (*key, Arc::clone(rules))).collect::<Vec<_>>() {
            let old = Covered { rules: Arc::clone(&rules), git: old.clone() };
            self.install(key, rules, Some(old), BTreeSet::new());
        }
    }

    /// Events were lost: looks at all there is, for one report.
    pub(super) fn look_everywhere(&mut self) {
        self.reports.at_once = true;
        self.is_git_stale |= self.git.is_stale(Path::new("/"));
        self.places.lose(Path::new("/"));
        for key in self.rules.keys().copied().collect::<Vec<_>>() {
            self.look_at(key);
        }
        self.look_again();
    }

    /// Looks at all of `key` at the next occasion.
    pub(super) fn look_at(&mut self, key: WatchKey) {
        let bases = self.rules.get(&key).map_or(0, |rules| rules.bases.len());
        (0..bases).for_each(|base| self.look_at_base(Owner { key, base }));
    }

    pub(super) fn look_at_base(&mut self, owner: Owner) {
        let base = self.rules.get(&owner.key).and_then(|rules| rules.bases.get(owner.base));
        if let Some(base) = base {
            self.rescans.insert((owner, base.path.clone()));
        }
    }

    /// Looks at `path` of `owner` at the next occasion; at all of its base if `path` leads through links, since
    /// another path may lead to the same folder.
    pub(super) fn rescan(&mut self, owner: Owner, path: &Path) {
        if self.places.is_link(owner, path) {
            self.look_at_base(owner);
        } else {
            self.rescans.insert((owner, path.to_owned()));
        }
    }

    /// Looks where names came, went or moved, and compares with what is known.
    pub(super) fn look_again(&mut self) {
        let mut last: Option<(Owner, PathBuf)> = None;
        for (owner, path) in std::mem::take(&mut self.rescans) {
            let is_done = last.as_ref().is_some_and(|(who, above)| *who == owner && path.starts_with(above));
            if !is_done {
                let found = self.find(owner, Some(&path));
                self.contrast(owner, &path, &found);
                last = Some((owner, path));
            }
        }
    }

    /// What `owner` watches at and below `path`, against what was known of it.
    fn contrast(&mut self, owner: Owner, path: &Path, found: &BTreeSet<PathBuf>) {
        let Some(rules) = self.rules.get(&owner.key).cloned() else {
            return;
        };
        let below = self.files.range(path.to_owned()..).take_while(|(known, _)| known.starts_with(path));
        // A look that no event led to may come in the middle of a save.
        let changed = if self.polls.covers(owner, path) { What::Touched } else { What::Written };
        let known: BTreeSet<PathBuf> = below
            .filter(|(_, entry)| entry.owners.contains(&owner))
            .map(|(known, _)| known.clone())
            .collect();
        for path in &known {
            self.pulse.beat();
            let is_awaited = self.timers.of(path).is_some() && !self.reports.at_once;
            if !found.contains(path) {
                self.missing(owner, &rules, path, is_awaited);
            } else if !is_awaited && self.files.get(path).is_some_and(|entry| entry.print.may_differ(path)) {
                self.polls.leads_to(owner, path);
                self.on_file(path, changed);
            }
        }
        for path in found.difference(&known) {
            self.polls.leads_to(owner, path);
            self.begin(owner, path, true);
        }
    }

    /// A known file was not found: it is gone, or not covered any more.
    fn missing(&mut self, owner: Owner, rules: &Rules, path: &Path, is_awaited: bool) {
        if rules.covers(&mut self.git, owner.base, path) {
            // Waiting for it to come back is not begun anew by every look.
            if !is_awaited {
                self.on_file(path, What::Gone);
            }
        } else if let Some(entry) = self.files.get_mut(path) {
            entry.owners.remove(&owner);
            if entry.owners.is_empty() {
                self.files.remove(path);
            }
        }
    }

    /// Marks, watches and lists what `owner` covers, below `path` or in all. Every folder is watched before it
    /// is listed, so nothing that is made meanwhile is missed.
    pub(super) fn find(&mut self, owner: Owner, path: Option<&Path>) -> BTreeSet<PathBuf> {
        let Some(rules) = self.rules.get(&owner.key).cloned() else {
            return BTreeSet::new();
        };
        let Some(base) = rules.bases.get(owner.base) else {
            return BTreeSet::new();
        };
        let root = match self.ground.real(&rules.root) {
            Ok(real) => real.unwrap_or_else(|| rules.root.clone()),
            Err(mount) => return self.leads_beyond(owner.key, mount),
        };
        let (next, linked, found) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut walk = Walk { owner, rules: Arc::clone(&rules), root, next, linked, found };
        let path = path.unwrap_or(&base.path);
        self.pulse.beat();
        self.places.forget(owner, path);
        if path == base.path {
            self.begin_base(&mut walk, path);
        } else if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
            let real = self.places.real(owner, parent).map(|real| real.join(name));
            if let Some(mount) = real.as_ref().and_then(|real| self.ground.beyond(real)) {
                return self.leads_beyond(owner.key, mount);
            }
            let kind = real.as_ref().and_then(|real| fs::symlink_metadata(real).ok());
            if let (Some(real), Some(kind)) = (real, kind) {
                self.entry(&mut walk, path, &real, kind.file_type());
            }
        }
        self.walk(&mut walk);
        walk.found
    }

    /// Follows the path of a base until where it leads and what is watched agree.
    fn begin_base(&mut self, walk: &mut Walk, path: &Path) {
        let mut now = trace(path, &walk.rules.root, &self.ground);
        for _ in 0..3 {
            for (folder, name) in now.links.iter().cloned() {
                self.check_device(walk.owner, path, &folder);
                self.places.add_link(walk.owner, path, folder, name);
            }
            self.arm();
            let again = trace(path, &walk.rules.root, &self.ground);
            if again == now {
                break;
            }
            now = again;
        }
        match now.end {
            End::Folder(real) => self.begin_folder(walk, path, real),
            End::File if walk.rules.admits(&mut self.git, walk.owner.base, path, false) => {
                walk.found.insert(path.to_owned());
            }
            End::Beyond(mount) => drop(self.leads_beyond(walk.owner.key, mount)),
            _ => {}
        }
    }

    /// Not all of `key` may be looked at here: somebody else is to.
    fn leads_beyond(&mut self, key: WatchKey, mount: PathBuf) -> BTreeSet<PathBuf> {
        self.beyond.entry(key).or_default().insert(mount);
        BTreeSet::new()
    }

    fn begin_folder(&mut self, walk: &mut Walk, path: &Path, real: PathBuf) {
        let base = walk.owner.base;
        if walk.rules.gitignore {
            self.follow_git(walk, path);
        }
        if walk.rules.is_hidden(&mut self.git, base) {
            let advice = "nothing in it is watched; name the files themselves, or set `gitignore: false`";
            let message = format!("git ignores {}: {advice}", path.display());
            self.reports.problem(Some(walk.owner.key), message);
        } else if walk.rules.admits(&mut self.git, base, path, true) && !walk.rules.excluded.has(&real) {
            walk.next.push((path.to_owned(), real));
        }
    }

    /// Marks the `.gitignore` files above a base.
    fn follow_git(&mut self, walk: &Walk, path: &Path) {
        let Some(parent) = path.parent() else {
            return;
        };
        let top = self.git.top(parent).unwrap_or_else(|| walk.rules.root.clone());
        for folder in parent.ancestors().take_while(|folder| folder.starts_with(&top)) {
            if let Ok(real) = fs::canonicalize(folder) {
                self.places.add_link(walk.owner, path, real, ".gitignore".into());
            }
        }
    }

    fn walk(&mut self, walk: &mut Walk) {
        loop {
            let mut level = std::mem::take(&mut walk.next);
            if level.is_empty() {
                level.extend(walk.linked.pop());
            }
            if level.is_empty() {
                return;
            }
            level.retain(|(path, real)| self.places.add_view(walk.owner, path, real));
            self.arm();
            for (path, real) in level {
                self.check_device(walk.owner, &path, &real);
                for entry in fs::read_dir(&real).into_iter().flatten().flatten() {
                    self.listed(walk, &path, &entry);
                }
            }
        }
    }

    fn listed(&mut self, walk: &mut Walk, folder: &Path, entry: &DirEntry) {
        if let Ok(kind) = entry.file_type() {
            self.entry(walk, &folder.join(entry.file_name()), &entry.path(), kind);
        }
    }

    fn entry(&mut self, walk: &mut Walk, path: &Path, real: &Path, kind: fs::FileType) {
        let base = walk.owner.base;
        let mut admits = |is_dir| walk.rules.admits(&mut self.git, base, path, is_dir);
        if kind.is_dir() {
            if admits(true) && !walk.rules.excluded.has(real) {
                match self.ground.beyond(real) {
                    Some(mount) => drop(self.leads_beyond(walk.owner.key, mount)),
                    None => walk.next.push((path.to_owned(), real.to_owned())),
                }
            }
        } else if kind.is_file() {
            if admits(false) {
                walk.found.insert(path.to_owned());
            }
        } else if kind.is_symlink() && (admits(true) || admits(false)) {
            self.link(walk, path, real);
        }
    }

    fn link(&mut self, walk: &mut Walk, path: &Path, real: &Path) {
        let (Some(folder), Some(name)) = (real.parent(), real.file_name()) else {
            return;
        };
        let base = walk.owner.base;
        let traced = trace_entry(folder, Path::new(name), &walk.root, &self.ground);
        for (folder, name) in traced.links {
            self.places.add_link(walk.owner, path, folder, name);
        }
        match traced.end {
            // A link to a folder that the project is in would lead through everything.
            End::Folder(real)
                if !walk.root.starts_with(&real)
                    && !walk.rules.excluded.has(&real)
                    && walk.rules.admits(&mut self.git, base, path, true) =>
            {
                walk.linked.push((path.to_owned(), real));
            }
            End::File if walk.rules.admits(&mut self.git, base, path, false) => {
                walk.found.insert(path.to_owned());
            }
            End::Beyond(mount) => drop(self.leads_beyond(walk.owner.key, mount)),
            _ => {}
        }
    }
}
