//! Which real folders are watched, and what an event in one of them means to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::WatchKey;

/// One of the paths of one key's specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    pub(super) key: WatchKey,
    /// Its place in the specification's `paths`.
    pub(super) base: usize,
}

/// Whom an event concerns, and as which path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) owner: Owner,
    /// As the user spells it.
    pub(super) path: PathBuf,
    /// The event's name is one that `path` leads through, not an entry of a folder that is looked into.
    pub(super) is_link: bool,
}

/// Whether the system watches a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Armed {
    /// It does not.
    No,
    /// It does.
    Yes,
    /// It may still watch what was there before.
    Stale,
}

#[derive(Debug)]
struct Folder {
    armed: Armed,
    /// The owners that look into it, and the path by which each one does.
    views: BTreeSet<(Owner, PathBuf)>,
    /// Names in it on which it depends where an owner's path leads.
    links: BTreeMap<OsString, BTreeSet<(Owner, PathBuf)>>,
}

impl Folder {
    fn remove(&mut self, mark: &Mark, of: &(Owner, PathBuf)) {
        match mark {
            Mark::View(_) => {
                self.views.remove(of);
            }
            Mark::Link(_, name) => {
                let left = self.links.get_mut(name).map(|links| {
                    links.remove(of);
                    links.len()
                });
                if left == Some(0) {
                    self.links.remove(name);
                }
            }
        }
    }

    fn owners(&self) -> impl Iterator<Item = Owner> {
        self.views.iter().chain(self.links.values().flatten()).map(|(owner, _)| *owner)
    }
}

#[derive(Debug)]
enum Mark {
    View(PathBuf),
    Link(PathBuf, OsString),
}

/// The folders by their real paths, and for each owner's paths the marks that it left in them.
#[derive(Debug, Default)]
pub(super) struct Places {
    folders: BTreeMap<PathBuf, Folder>,
    marks: BTreeMap<(Owner, PathBuf), Vec<Mark>>,
    /// Folders to be watched by the system.
    unarmed: BTreeSet<PathBuf>,
    /// Folders that may have no mark left.
    doubtful: BTreeSet<PathBuf>,
}

impl Places {
    /// `owner` looks into the real folder `real` as `path`. False if it already does so by another path: a
    /// loop of links, or two ways to one folder.
    pub(super) fn add_view(&mut self, owner: Owner, path: &Path, real: &Path) -> bool {
        let folder = self.folder(real);
        let other = folder.views.range((owner, PathBuf::new())..).next();
        if other.is_some_and(|(who, known)| *who == owner && known != path) {
            self.doubtful.insert(real.to_owned());
            return false;
        }
        if folder.views.insert((owner, path.to_owned())) {
            self.marks.entry((owner, path.to_owned())).or_default().push(Mark::View(real.to_owned()));
        }
        true
    }

    /// Where `path` of `owner` leads depends on `name` in the real folder `real`.
    pub(super) fn add_link(&mut self, owner: Owner, path: &Path, real: PathBuf, name: OsString) {
        let link = (owner, path.to_owned());
        if self.folder(&real).links.entry(name.clone()).or_default().insert(link) {
            self.marks.entry((owner, path.to_owned())).or_default().push(Mark::Link(real, name));
        }
    }

    fn folder(&mut self, real: &Path) -> &mut Folder {
        self.folders.entry(real.to_owned()).or_insert_with(|| {
            self.unarmed.insert(real.to_owned());
            Folder { armed: Armed::No, views: BTreeSet::new(), links: BTreeMap::new() }
        })
    }

    /// Takes away the marks that `owner` left for `path` and all below it.
    pub(super) fn forget(&mut self, owner: Owner, path: &Path) {
        let paths: Vec<PathBuf> = self.below(owner, path).map(|(path, _)| path.clone()).collect();
        for path in paths {
            let key = (owner, path);
            let marks = self.marks.remove(&key).unwrap_or_default();
            for mark in marks {
                let (Mark::View(real) | Mark::Link(real, _)) = &mark;
                if let Some(folder) = self.folders.get_mut(real) {
                    folder.remove(&mark, &key);
                }
                self.doubtful.insert(real.clone());
            }
        }
    }

    fn below<'a>(&'a self, owner: Owner, path: &'a Path) -> impl Iterator<Item = (&'a PathBuf, &'a [Mark])> {
        let marks = self.marks.range((owner, path.to_owned())..);
        marks
            .take_while(move |((who, known), _)| *who == owner && known.starts_with(path))
            .map(|((_, known), marks)| (known, marks.as_slice()))
    }

    /// Whether `owner` has a mark for `path`: a folder that it looks into, or a link.
    pub(super) fn knows(&self, owner: Owner, path: &Path) -> bool {
        self.marks.contains_key(&(owner, path.to_owned()))
    }

    /// Whether `path` of `owner` leads through links.
    pub(super) fn is_link(&self, owner: Owner, path: &Path) -> bool {
        let marks = self.marks.get(&(owner, path.to_owned()));
        marks.is_some_and(|marks| marks.iter().any(|mark| matches!(mark, Mark::Link(..))))
    }

    /// The real folder that `owner` looks into as `path`.
    pub(super) fn real(&self, owner: Owner, path: &Path) -> Option<&Path> {
        self.marks.get(&(owner, path.to_owned()))?.iter().find_map(|mark| match mark {
            Mark::View(real) => Some(real.as_path()),
            Mark::Link(..) => None,
        })
    }

    /// Whom something that happened to `name` in the real folder `real` concerns.
    pub(super) fn targets(&self, real: &Path, name: &OsStr) -> BTreeSet<Target> {
        let Some(folder) = self.folders.get(real) else {
            return BTreeSet::new();
        };
        let views = folder.views.iter().map(|(owner, path)| Target {
            owner: *owner,
            path: path.join(name),
            is_link: false,
        });
        let links = folder.links.get(name).into_iter().flatten();
        let links = links.map(|(owner, path)| Target { owner: *owner, path: path.clone(), is_link: true });
        views.chain(links).collect()
    }

    /// The real folder `real` and those below it are not what they were. Returns who has marks in them.
    pub(super) fn lose(&mut self, real: &Path) -> BTreeSet<Owner> {
        let mut owners = BTreeSet::new();
        let lost = self.folders.range_mut(real.to_owned()..).take_while(|(path, _)| path.starts_with(real));
        for (path, folder) in lost {
            if folder.armed == Armed::Yes {
                folder.armed = Armed::Stale;
            }
            self.unarmed.insert(path.clone());
            owners.extend(folder.owners());
        }
        owners
    }

    /// Takes the folders that are to be watched by the system, those that `wanted` has a say in. The flag says
    /// that the system may still watch what was there before.
    pub(super) fn take_unarmed(&mut self, wanted: impl Fn(Owner) -> bool) -> Vec<(PathBuf, bool)> {
        let mut taken = Vec::new();
        for path in std::mem::take(&mut self.unarmed) {
            let Some(folder) = self.folders.get_mut(&path) else {
                continue;
            };
            if folder.owners().any(&wanted) {
                taken.push((path, folder.armed == Armed::Stale));
                folder.armed = Armed::Yes;
            } else {
                // Kept, for an owner that may come later.
                self.doubtful.insert(path);
            }
        }
        taken
    }

    /// The system refused to watch `real`. Returns who has marks in it, with the paths that they are for.
    pub(super) fn refused(&mut self, real: &Path) -> BTreeSet<(Owner, PathBuf)> {
        let Some(folder) = self.folders.get_mut(real) else {
            return BTreeSet::new();
        };
        folder.armed = Armed::No;
        self.doubtful.insert(real.to_owned());
        folder.views.iter().chain(folder.links.values().flatten()).cloned().collect()
    }

    /// Whose marks are in the folder `real`.
    pub(super) fn keys_in(&self, real: &Path) -> BTreeSet<WatchKey> {
        self.folders.get(real).into_iter().flat_map(Folder::owners).map(|owner| owner.key).collect()
    }

    /// Whose marks are in the folder `real` or below.
    pub(super) fn keys_below(&self, real: &Path) -> BTreeSet<WatchKey> {
        let below = self.folders.range(real.to_owned()..).take_while(|(path, _)| path.starts_with(real));
        below.flat_map(|(_, folder)| folder.owners()).map(|owner| owner.key).collect()
    }

    /// Whether anybody looks into the folder `real`.
    pub(super) fn has_marks_in(&self, real: &Path) -> bool {
        self.folders.contains_key(real)
    }

    /// Drops the folders that nobody has a mark in; returns those that the system still watches.
    pub(super) fn sweep(&mut self) -> Vec<PathBuf> {
        let mut left = Vec::new();
        for path in std::mem::take(&mut self.doubtful) {
            let Some(folder) = self.folders.get(&path) else {
                continue;
            };
            if folder.views.is_empty() && folder.links.is_empty() {
                let was = folder.armed;
                self.folders.remove(&path);
                self.unarmed.remove(&path);
                left.extend((was != Armed::No).then_some(path));
            } else if folder.armed != Armed::Yes {
                self.unarmed.insert(path);
            }
        }
        left
    }
}
