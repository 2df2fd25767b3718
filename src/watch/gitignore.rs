//! What git ignores: every `.gitignore` from the repository's top to a file, and `info/exclude`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::print::Stamp;

/// The rules of folders, read when first asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct GitRules {
    levels: HashMap<PathBuf, Level>,
}

#[derive(Debug, Clone)]
struct Level {
    /// From the most to the least specific.
    rules: Vec<Gitignore>,
    /// How the files were that may hold rules, just before they were read.
    read: Vec<Option<Stamp>>,
    /// The top of the repository that the folder is in.
    top: Option<PathBuf>,
}

impl GitRules {
    /// Whether git ignores `path`, taken for itself: that its parents aren't ignored is known. Outside of any
    /// repository the rules count from `floor` on.
    pub(super) fn ignores(&mut self, path: &Path, is_dir: bool, floor: &Path) -> bool {
        let Some(parent) = path.parent() else {
            return false;
        };
        let top = self.top(parent).unwrap_or_else(|| floor.to_owned());
        for folder in parent.ancestors().take_while(|folder| folder.starts_with(&top)) {
            let Some(level) = self.levels.get(folder) else {
                break;
            };
            for rules in &level.rules {
                match rules.matched(path, is_dir) {
                    Match::Ignore(_) => return true,
                    Match::Whitelist(_) => return false,
                    Match::None => {}
                }
            }
        }
        false
    }

    /// Whether rules that count in the tree at `path` are not any more what was read. Where no event tells of it,
    /// only this does.
    pub(super) fn is_stale(&self, path: &Path) -> bool {
        let concerned = |folder: &Path| folder.starts_with(path) || path.starts_with(folder);
        self.levels.iter().any(|(folder, level)| concerned(folder) && level.stamps(folder) != level.read)
    }

    /// The files that hold the rules known so far, as they are now.
    pub(super) fn stamps(&self) -> BTreeMap<PathBuf, Stamp> {
        let files = self.levels.iter().flat_map(|(folder, level)| level.sources(folder));
        files.filter_map(|file| Stamp::at(&file).map(|stamp| (file, stamp))).collect()
    }

    /// The top of the repository that `folder` is in. Afterwards the rules of all its parents are known.
    pub(super) fn top(&mut self, folder: &Path) -> Option<PathBuf> {
        let unknown: Vec<PathBuf> = folder
            .ancestors()
            .take_while(|parent| !self.levels.contains_key(*parent))
            .map(Path::to_owned)
            .collect();
        for parent in unknown.into_iter().rev() {
            let above = parent.parent().and_then(|above| self.levels.get(above)?.top.clone());
            let level = Level::read(&parent, above);
            self.levels.insert(parent, level);
        }
        self.levels.get(folder)?.top.clone()
    }
}

impl Level {
    fn read(folder: &Path, above: Option<PathBuf>) -> Self {
        let is_top = fs::symlink_metadata(folder.join(".git")).is_ok();
        let top = if is_top { Some(folder.to_owned()) } else { above };
        let mut level = Self { rules: Vec::new(), read: Vec::new(), top };
        level.read = level.stamps(folder);
        level.rules = level.sources(folder).iter().filter_map(|file| rules(folder, file)).collect();
        level
    }

    /// The files that may hold rules that count from `folder` on, whose level it is.
    fn sources(&self, folder: &Path) -> Vec<PathBuf> {
        let is_top = self.top.as_deref() == Some(folder);
        let exclude = is_top.then(|| exclude(&folder.join(".git")));
        std::iter::once(folder.join(".gitignore")).chain(exclude).collect()
    }

    fn stamps(&self, folder: &Path) -> Vec<Option<Stamp>> {
        self.sources(folder).iter().map(|file| Stamp::at(file)).collect()
    }
}

/// The rules of `file`, which count from `folder` on. A line that git would not understand is passed over.
fn rules(folder: &Path, file: &Path) -> Option<Gitignore> {
    if !fs::metadata(file).is_ok_and(|meta| meta.is_file()) {
        return None;
    }
    let mut builder = GitignoreBuilder::new(folder);
    let _ = builder.add(file);
    builder.build().ok().filter(|rules| !rules.is_empty())
}

/// The exclude file of a repository; the `.git` of a linked worktree is a file that leads to it.
fn exclude(git: &Path) -> PathBuf {
    let linked = || {
        let text = fs::read_to_string(git).ok()?;
        let folder = git.parent()?.join(text.strip_prefix("gitdir:")?.trim());
        let common = fs::read_to_string(folder.join("commondir")).ok();
        Some(common.map_or(folder.clone(), |common| folder.join(common.trim())))
    };
    let folder = if git.is_dir() { git.to_owned() } else { linked().unwrap_or_else(|| git.to_owned()) };
    folder.join("info/exclude")
}

#[cfg(test)]
mod tests {
    use super::GitRules;
    use std::fs;

    #[test]
    fn nested_rules_parents_and_exclude_count() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path();
        let app = top.join("app");
        fs::create_dir_all(top.join(".git/info")).unwrap();
        fs::create_dir_all(app.join("sub")).unwrap();
        fs::write(top.join(".git/info/exclude"), "*.local\n").unwrap();
        fs::write(top.join(".gitignore"), "*.log\n/app/out/\n").unwrap();
        fs::write(app.join("sub/.gitignore"), "!keep.log\n").unwrap();
        let mut git = GitRules::default();
        let mut ignored = |name: &str, is_dir| git.ignores(&app.join(name), is_dir, &app);
        assert!(ignored("a.log", false));
        assert!(ignored("sub/a.log", false));
        assert!(!ignored("sub/keep.log", false));
        assert!(ignored("x.local", false));
        assert!(ignored("out", true));
        assert!(!ignored("out", false));
        assert!(!ignored("a.rs", false));
    }

    #[test]
    fn without_a_repository_the_floor_is_the_end() {
        let top = tempfile::tempdir().unwrap();
        let app = top.path().join("app");
        fs::create_dir_all(&app).unwrap();
        fs::write(top.path().join(".gitignore"), "*.a\n").unwrap();
        fs::write(app.join(".gitignore"), "*.b\n").unwrap();
        let mut git = GitRules::default();
        assert!(!git.ignores(&app.join("x.a"), false, &app));
        assert!(git.ignores(&app.join("x.b"), false, &app));
    }

    #[test]
    fn a_linked_worktree_shares_the_exclude_file() {
        let top = tempfile::tempdir().unwrap();
        let main = top.path().join("main/.git");
        let tree = top.path().join("tree");
        fs::create_dir_all(main.join("worktrees/tree")).unwrap();
        fs::create_dir_all(main.join("info")).unwrap();
        fs::create_dir_all(&tree).unwrap();
        fs::write(main.join("info/exclude"), "*.local\n").unwrap();
        fs::write(main.join("worktrees/tree/commondir"), "../..\n").unwrap();
        fs::write(tree.join(".git"), format!("gitdir: {}\n", main.join("worktrees/tree").display())).unwrap();
        assert!(GitRules::default().ignores(&tree.join("x.local"), false, &tree));
    }
}
