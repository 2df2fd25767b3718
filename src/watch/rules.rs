//! A specification, compiled: which paths it covers.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use globset::{GlobBuilder, GlobMatcher};
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::WatchSpec;
use super::excluded::Excluded;
use super::gitignore::GitRules;
use super::ground::Ground;
use crate::config::model::Poll;

/// The compiled form of a [`WatchSpec`].
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) root: PathBuf,
    pub(super) bases: Vec<Base>,
    pub(super) gitignore: bool,
    pub(super) poll: Poll,
    pub(super) settle: Duration,
    ignore: Gitignore,
    /// What is never watched, for anybody.
    pub(super) excluded: Arc<Excluded>,
    mark: Option<PathBuf>,
}

/// One of the `paths`.
#[derive(Debug, Clone)]
pub(super) struct Base {
    /// The file or folder that is named; of a glob, the folder that it begins in.
    pub(super) path: PathBuf,
    glob: Option<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    matcher: GlobMatcher,
    /// How many names below the base a match has at most.
    depth: usize,
    /// It asks for temporary names, as `*.tmp` does.
    temporary: bool,
}

impl Rules {
    /// Compiles `spec`; what can't be understood is passed over and named.
    pub(super) fn new(spec: &WatchSpec, excluded: &Arc<Excluded>, ground: &Ground) -> (Self, Vec<String>) {
        let mut problems = Vec::new();
        let mut bases = Vec::new();
        for text in &spec.paths {
            match Base::new(&spec.root, text, ground) {
                Ok(base) => bases.push(base),
                Err(error) => problems.push(format!("can't watch `{text}`: {error}; mend the glob")),
            }
        }
        let ignore = ignored(&spec.root, &spec.ignore, &mut problems);
        let rules = Self {
            root: normal(&spec.root),
            bases,
            gitignore: spec.gitignore,
            poll: spec.poll,
            settle: spec.settle,
            ignore,
            excluded: Arc::clone(excluded),
            mark: spec.mark.as_deref().map(normal),
        };
        (rules, problems)
    }

    /// Whether base `at` covers `path`, the folders between the two being covered: a file is watched, a
    /// folder is looked into.
    pub(super) fn admits(&self, git: &mut GitRules, at: usize, path: &Path, is_dir: bool) -> bool {
        let (Some(base), Some(name)) = (self.bases.get(at), path.file_name()) else {
            return false;
        };
        if self.excluded.has(path)
            || self.mark.as_deref() == Some(path)
            || self.is_ignored(base, path, is_dir)
        {
            return false;
        }
        if path == base.path {
            return is_dir || base.glob.is_none();
        }
        let name = name.to_string_lossy();
        let unfit = is_repository(&name) || (!is_dir && is_temporary(&name) && !base.wants_temporary());
        !unfit && base.fits(path, is_dir) && !(self.gitignore && git.ignores(path, is_dir, self.floor(base)))
    }

    /// Whether base `at` covers the file `path`, all folders between the two included.
    pub(super) fn covers(&self, git: &mut GitRules, at: usize, path: &Path) -> bool {
        let Some(below) = self.bases.get(at).and_then(|base| path.strip_prefix(&base.path).ok()) else {
            return false;
        };
        let mut folders = below.ancestors().skip(1).filter(|part| !part.as_os_str().is_empty());
        let base = self.bases.get(at).map(|base| base.path.clone()).unwrap_or_default();
        folders.all(|part| self.admits(git, at, &base.join(part), true)) && self.admits(git, at, path, false)
    }

    /// Whether git ignores the folder that base `at` names, or one between it and the project's folder.
    pub(super) fn is_hidden(&self, git: &mut GitRules, at: usize) -> bool {
        let Some(base) = self.bases.get(at).filter(|_| self.gitignore) else {
            return false;
        };
        let parts =
            base.path.ancestors().take_while(|part| *part != self.root && part.starts_with(&self.root));
        parts.into_iter().any(|part| git.ignores(part, true, &self.root))
    }

    fn is_ignored(&self, base: &Base, path: &Path, is_dir: bool) -> bool {
        let below = path.strip_prefix(&self.root).or_else(|_| path.strip_prefix(&base.path));
        below.is_ok_and(|below| {
            !below.as_os_str().is_empty() && self.ignore.matched(below, is_dir).is_ignore()
        })
    }

    fn floor<'a>(&'a self, base: &'a Base) -> &'a Path {
        if base.path.starts_with(&self.root) { &self.root } else { &base.path }
    }
}

impl Base {
    fn new(root: &Path, text: &str, ground: &Ground) -> Result<Self, globset::Error> {
        let (root, whole) = (normal(root), normal(&root.join(text)));
        let special =
            |part: &Component<'_>| part.as_os_str().to_string_lossy().contains(['*', '?', '[', '{', '\\']);
        // The project's folder is no glob, whatever its name. Nor is a file whose name looks like one, such as
        // `[id].tsx`.
        let fixed = if whole.starts_with(&root) { root.components().count() } else { 0 };
        let glob = whole.components().skip(fixed).position(|part| special(&part));
        let Some(at) = glob.map(|at| fixed + at) else {
            return Ok(Self { path: whole, glob: None });
        };
        if ground.has(&whole) {
            return Ok(Self { path: whole, glob: None });
        }
        let path: PathBuf = whole.components().take(at).collect();
        let pattern: PathBuf = whole.components().skip(at).collect();
        let pattern = pattern.to_string_lossy();
        let matcher = GlobBuilder::new(&pattern).literal_separator(true).build()?.compile_matcher();
        let endless = pattern.contains("**") || pattern.contains('{');
        let depth = if endless { usize::MAX } else { pattern.split('/').count() };
        let temporary =
            pattern.rsplit('/').next().is_some_and(|name| is_temporary(&name.replace(['*', '?'], "x")));
        Ok(Self { path, glob: Some(Pattern { matcher, depth, temporary }) })
    }

    /// Whether its glob matches temporary names because it is written so, and not because it matches all.
    fn wants_temporary(&self) -> bool {
        self.glob.as_ref().is_some_and(|glob| glob.temporary)
    }

    /// Whether the glob, if it is one, matches the file, or may match something in the folder.
    fn fits(&self, path: &Path, is_dir: bool) -> bool {
        let Ok(below) = path.strip_prefix(&self.path) else {
            return false;
        };
        match &self.glob {
            None => true,
            Some(glob) if is_dir => below.components().count() < glob.depth,
            Some(glob) => glob.matcher.is_match(below),
        }
    }
}

fn ignored(root: &Path, lines: &[String], problems: &mut Vec<String>) -> Gitignore {
    let mut builder = GitignoreBuilder::new(root);
    for line in lines {
        let within = Path::new(line).strip_prefix(root).ok().map(|rest| format!("/{}", rest.display()));
        let line = within.as_deref().unwrap_or_else(|| line.strip_prefix("./").unwrap_or(line));
        if let Err(error) = builder.add_line(None, line) {
            problems.push(format!("can't ignore `{line}`: {error}; mend the glob"));
        }
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

/// The path without `.` and, as far as the text tells, without `..`.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}

/// The folders of version control systems.
fn is_repository(name: &str) -> bool {
    matches!(name, ".git" | ".hg" | ".jj" | ".svn")
}

/// The names that editors give to files that are about to replace another one, to locks and to backups.
fn is_temporary(name: &str) -> bool {
    let hidden = name.starts_with('.');
    let swap = hidden && name.rsplit_once(".sw").is_some_and(|(_, end)| (1..=2).contains(&end.len()));
    let known = ["~", ".tmp", "___jb_tmp___", "___jb_old___"].iter().any(|end| name.ends_with(end));
    let begun = [".#", ".tmp", ".goutputstream-"].iter().any(|start| name.starts_with(start));
    let emacs = name.len() > 1 && name.starts_with('#') && name.ends_with('#');
    name == "4913" || swap || known || begun || emacs || name.contains(".tmp.")
}

#[cfg(test)]
mod tests {
    use super::{Arc, Excluded, Rules, WatchSpec, is_temporary};
    use crate::config::model::Poll;
    use crate::watch::gitignore::GitRules;
    use crate::watch::ground::{Ground, Reach};
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    fn ground() -> Ground {
        Ground::new(Reach::new())
    }

    fn rules(paths: &[&str], ignore: &[&str]) -> Rules {
        let spec = WatchSpec {
            root: "/no/project".into(),
            paths: paths.iter().map(ToString::to_string).collect(),
            ignore: ignore.iter().map(ToString::to_string).collect(),
            gitignore: false,
            poll: Poll::Auto,
            settle: Duration::ZERO,
            mark: None,
        };
        let excluded = ["/no/project/.orch".into(), "/no/project/logs/a.log".into()];
        let excluded = Arc::new(Excluded::new(&spec.root, &excluded, &ground()));
        let (rules, problems) = Rules::new(&spec, &excluded, &ground());
        assert_eq!(problems, Vec::<String>::new());
        rules
    }

    fn covers(rules: &Rules, path: &str) -> bool {
        rules.covers(&mut GitRules::default(), 0, &Path::new("/no/project").join(path))
    }

    #[test]
    fn globs_have_a_fixed_beginning_and_a_depth() {
        let all = rules(&["templates/**/*.html"], &[]);
        assert_eq!(all.bases[0].path, PathBuf::from("/no/project/templates"));
        assert!(covers(&all, "templates/a.html") && covers(&all, "templates/x/y/a.html"));
        assert!(!covers(&all, "templates/a.css") && !covers(&all, "a.html"));
        let flat = rules(&["./src/../*.py"], &[]);
        assert!(covers(&flat, "a.py") && !covers(&flat, "sub/a.py"));
        let mut git = GitRules::default();
        assert!(!flat.admits(&mut git, 0, Path::new("/no/project/sub"), true));
    }

    #[test]
    fn the_projects_folder_is_no_glob() {
        let root = PathBuf::from("/no/{a,b}[1]");
        let base = |text: &str| super::Base::new(&root, text, &ground()).unwrap();
        for plain in ["later", "/no/{a,b}[1]/later"] {
            assert!(base(plain).glob.is_none() && base(plain).path == root.join("later"), "{plain}");
        }
        let glob = base("src/*.py");
        assert!(glob.path == root.join("src") && glob.fits(&root.join("src/a.py"), false));
    }

    #[test]
    fn ignored_folders_are_pruned() {
        let all = rules(&["."], &["node_modules", "**/*.log", "/build", "./gen/x"]);
        for covered in ["a.rs", "src/build", "x/gen/x"] {
            assert!(covers(&all, covered), "{covered}");
        }
        for ignored in ["node_modules/a.js", "x/node_modules/b.js", "a.log", "x/y.log", "build/a", "gen/x"] {
            assert!(!covers(&all, ignored), "{ignored}");
        }
    }

    #[test]
    fn state_and_logs_are_never_covered() {
        let all = rules(&["."], &[]);
        let times = ["logs/a.log.times", "logs/a.log.1.times"];
        for excluded in [".orch/x", "logs/a.log", "logs/a.log.1", ".git/HEAD"].into_iter().chain(times) {
            assert!(!covers(&all, excluded), "{excluded}");
        }
        for covered in ["logs/a.log.old", "logs/b.log", "logs/b.log.times"] {
            assert!(covers(&all, covered), "{covered}");
        }
        assert!(!covers(&rules(&["logs/a.log"], &[]), "logs/a.log"));
    }

    #[test]
    fn temporary_names_are_those_of_editors() {
        for name in ["4913", ".#a", "a~", ".a.swp", ".a.swpx", "a.tmp", "a.tmp.77", "#a#", ".tmpAb12"] {
            assert!(is_temporary(name), "{name}");
        }
        for name in ["a", ".env", "a.swift", "tmp", "#", "Makefile"] {
            assert!(!is_temporary(name), "{name}");
        }
        assert!(covers(&rules(&["a.tmp"], &[]), "a.tmp") && !covers(&rules(&["."], &[]), "a.tmp"));
        for (glob, file) in
            [("*.tmp", "a.tmp"), ("x/**/*.tmp.?", "x/y/a.tmp.1"), (".#*", ".#a"), ("src/*~", "src/a~")]
        {
            assert!(covers(&rules(&[glob], &[]), file), "{glob} asks for {file}");
        }
        for (glob, file) in [("*", "a.tmp"), ("**/*.tmp*", "x/a.tmp"), ("src/**", "src/a~")] {
            assert!(!covers(&rules(&[glob], &[]), file), "{glob} does not ask for {file}");
        }
    }

    #[test]
    fn a_bad_glob_is_a_problem_and_no_more() {
        let mut spec = WatchSpec {
            root: "/no/project".into(),
            paths: vec!["a[".into(), "b".into()],
            ignore: vec![],
            gitignore: true,
            poll: Poll::Auto,
            settle: Duration::ZERO,
            mark: None,
        };
        let (rules, problems) = Rules::new(&spec, &Arc::default(), &ground());
        assert_eq!((rules.bases.len(), problems.len()), (1, 1));
        spec.paths.remove(0);
        assert!(Rules::new(&spec, &Arc::default(), &ground()).1.is_empty());
    }
}
