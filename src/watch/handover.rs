//! What is handed over to orch's next image, so that no save is missed and none is told twice. The system's
//! events end with the image; what happened until the next one listens shows in the files themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::engine::Engine;
use super::ground::Reach;
use super::judge::Entry;
use super::native::{Native, What};
use super::places::Owner;
use super::print::{Print, Stamp};
use super::rules::Rules;
use super::{WatchKey, WatchReport, WatchSpec, Watcher};
use crate::config::model::Poll;
use crate::types::escaped;

/// All that a watcher knows, for [`Watcher::adopt`].
#[derive(Debug, Serialize, Deserialize)]
pub struct WatchHandover {
    /// What is never watched for components, with the project's folder.
    excluded: Option<(PathText, Vec<PathText>)>,
    parts: Vec<Part>,
}

/// What one engine knows.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Part {
    /// The mounts that it may touch.
    reach: Vec<PathText>,
    specs: Vec<SpecState>,
    /// `None`: it did not answer.
    known: Option<Known>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Known {
    files: Vec<FileState>,
    /// Where the rules of git were read.
    git: Vec<(PathText, Stamp)>,
    /// Problems that were said.
    said: Vec<(Option<WatchKey>, String)>,
    /// When it was written, since the epoch.
    moment: Duration,
}

#[derive(Debug, Serialize, Deserialize)]
struct SpecState {
    key: WatchKey,
    root: PathText,
    paths: Vec<String>,
    ignore: Vec<String>,
    gitignore: bool,
    poll: Option<Duration>,
    settle: Duration,
    mark: Option<PathText>,
}

/// A known file. Who watches it follows from the specifications.
#[derive(Debug, Serialize, Deserialize)]
struct FileState {
    path: PathText,
    print: Print,
    awaited: Option<Awaited>,
}

/// What happened to the file is not judged yet.
#[derive(Debug, Serialize, Deserialize)]
struct Awaited {
    left: Duration,
    is_away: bool,
    /// The file at the moment of the handover.
    stamp: Option<Stamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
struct PathText(#[serde(with = "escaped")] Vec<u8>);

/// Why [`Watcher::hand_over`] gave nothing away.
#[derive(Debug)]
pub struct NotHandedOver {
    /// The watcher, which goes on as if it had not been asked.
    pub watcher: Watcher,
}

impl Watcher {
    /// Ends the watcher, and gives all that is needed to go on: in another image that `exec` puts in this one's
    /// place, or in this one with [`Watcher::adopt`]. All that was asked of it before is answered when this
    /// returns: every [`WatchReport::Ready`] and [`WatchReport::Sifted`] is made, and what was due is judged
    /// and reported. What is yet to be judged is handed over. All this is not so of what [`Watcher::silent`] tells
    /// of: of that, nothing but the specifications is left, and its files are looked at anew.
    ///
    /// # Errors
    /// The watcher did not answer within `patience`: it looks through many files, or at a dead disk. It is given
    /// back then, and goes on.
    pub fn hand_over(self, patience: Duration) -> Result<WatchHandover, NotHandedOver> {
        match self.routes.hand_over(patience) {
            Some(left) => Ok(left),
            None => Err(NotHandedOver { watcher: self }),
        }
    }

    /// Goes on where [`Watcher::hand_over`] ended, with the same specifications and baselines. Returns at once;
    /// the watcher's thread then looks at every file's stamp, and reads those that differ. A file whose bytes
    /// changed in between, that came or that is gone is reported as [`WatchReport::Changed`] once; a rewrite
    /// with the same bytes is not. What was about to be judged is judged when its time has come, counted anew
    /// where the file was written meanwhile.
    ///
    /// Neither [`WatchReport::Ready`] nor [`WatchReport::Sifted`] is made for what was set and asked before:
    /// the baselines are those that were known then, and must not be taken anew. [`WatchReport::Busy`] tells
    /// of files that are yet to be judged, as ever; problems that were said are not said again.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn adopt(sink: Arc<dyn Fn(WatchReport) + Send + Sync>, handover: WatchHandover) -> io::Result<Self> {
        Self::adopt_with(sink, Native::start, handover)
    }
}

impl WatchHandover {
    pub(super) fn new(excluded: Option<(PathBuf, Vec<PathBuf>)>, parts: Vec<Part>) -> Self {
        let text = |path: &PathBuf| path.as_path().into();
        let excluded = excluded.map(|(root, paths)| (text(&root), paths.iter().map(text).collect()));
        Self { excluded, parts }
    }

    pub(super) fn into_parts(self) -> (Option<(PathBuf, Vec<PathBuf>)>, Vec<Part>) {
        let paths = |(root, paths): (PathText, Vec<PathText>)| {
            (PathBuf::from(root), paths.into_iter().map(PathBuf::from).collect())
        };
        (self.excluded.map(paths), self.parts)
    }
}

impl Part {
    /// Of an engine that does not answer.
    pub(super) fn unknown<'a>(reach: &Reach, specs: impl Iterator<Item = (WatchKey, &'a WatchSpec)>) -> Self {
        let specs = specs.map(|(key, spec)| SpecState::new(key, spec)).collect();
        Self { reach: reach.iter().map(|path| path.as_path().into()).collect(), specs, known: None }
    }

    pub(super) fn is_known(&self) -> bool {
        self.known.is_some()
    }

    pub(super) fn reach(&self) -> Reach {
        self.reach.iter().cloned().map(PathBuf::from).collect()
    }

    pub(super) fn specs(&self) -> impl Iterator<Item = (WatchKey, WatchSpec)> {
        self.specs.iter().map(|state| (state.key, state.spec()))
    }
}

impl Engine {
    /// Judges what is due, and leaves all else to another watcher.
    pub(super) fn leave(&mut self) -> Part {
        self.catch_up();
        self.round(false);
        let now = Instant::now();
        let awaited = |path: &Path, entry: &Entry| {
            let left = self.timers.of(path)?.saturating_duration_since(now);
            Some(Awaited { left, is_away: entry.is_away, stamp: Stamp::at(path) })
        };
        let files = self.files.iter().map(|(path, entry)| FileState {
            path: path.as_path().into(),
            print: entry.print,
            awaited: awaited(path, entry),
        });
        let git = self.git.stamps();
        let known = Known {
            files: files.collect(),
            git: git.iter().map(|(path, stamp)| (path.as_path().into(), *stamp)).collect(),
            said: self.reports.said(),
            moment: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
        };
        let specs = self.specs.iter().map(|(key, spec)| (*key, spec));
        Part { known: Some(known), ..Part::unknown(self.ground.reach(), specs) }
    }

    /// Goes on with what another watcher left, and finds what happened since. Folders are watched before they
    /// are looked through, and files are compared after, so nothing falls in between.
    pub(super) fn take_over(&mut self, left: Part) {
        match left.known {
            Some(known) => self.go_on(left.specs, known),
            None => {
                left.specs.iter().for_each(|state| self.set_from(state.key, state.spec(), BTreeSet::new()))
            }
        }
        self.part_with_others();
    }

    fn go_on(&mut self, specs: Vec<SpecState>, left: Known) {
        self.reports.recall(left.said);
        let mut awaited = Vec::new();
        for file in left.files {
            let path = PathBuf::from(file.path);
            self.files.insert(path.clone(), Entry::left(file.print));
            awaited.extend(file.awaited.map(|awaited| (path, awaited)));
        }
        let mut unknown = Vec::new();
        for state in specs {
            unknown.extend(self.set_again(state.key, state.spec()));
        }
        let same_rules = self.has_same_rules(left.git);
        self.own_lost();
        self.compare(awaited);
        for (owner, path) in unknown {
            // Under other rules, it may only be covered now; that is no change.
            let came = || Stamp::at(&path).is_some_and(|stamp| stamp.is_since(left.moment));
            let is_new = same_rules || came();
            self.begin(owner, &path, is_new);
            if is_new {
                // It may be being written just now.
                self.on_file(&path, What::Touched);
            }
        }
    }

    /// Whether git's rules are those that were left, as far as they still count.
    fn has_same_rules(&self, left: Vec<(PathText, Stamp)>) -> bool {
        let left: BTreeMap<PathBuf, Stamp> =
            left.into_iter().map(|(path, stamp)| (path.into(), stamp)).collect();
        let is_there = left.keys().all(|path| Stamp::at(path).is_some());
        is_there && self.git.stamps().iter().all(|(path, stamp)| left.get(path) == Some(stamp))
    }

    /// Watches what the specification covers; gives the files that were not known.
    fn set_again(&mut self, key: WatchKey, spec: WatchSpec) -> Vec<(Owner, PathBuf)> {
        let rules = self.compile(key, &spec);
        self.specs.insert(key, spec);
        self.set_polling(key, &rules);
        let bases = rules.bases.len();
        self.rules.insert(key, rules);
        let mut unknown = Vec::new();
        for owner in (0..bases).map(|base| Owner { key, base }) {
            for path in self.find(owner, None) {
                match self.files.get_mut(&path) {
                    Some(entry) => drop(entry.owners.insert(owner)),
                    None => unknown.push((owner, path)),
                }
            }
        }
        unknown
    }

    /// Gives the known files that were not found to those who cover them; the others are not watched any more.
    fn own_lost(&mut self) {
        let owners: Vec<(Owner, Arc<Rules>)> = self
            .rules
            .iter()
            .flat_map(|(key, rules)| {
                (0..rules.bases.len()).map(|base| (Owner { key: *key, base }, Arc::clone(rules)))
            })
            .collect();
        let git = &mut self.git;
        self.files.retain(|path, entry| {
            if entry.owners.is_empty() {
                let own = owners.iter().filter(|(owner, rules)| rules.covers(git, owner.base, path));
                entry.owners = own.map(|(owner, _)| *owner).collect();
            }
            !entry.owners.is_empty()
        });
    }

    /// Has those judged that were written since, or were about to be.
    fn compare(&mut self, awaited: Vec<(PathBuf, Awaited)>) {
        let mut seen = BTreeSet::new();
        for (path, awaited) in awaited {
            let entry = self.files.get_mut(&path).filter(|_| Stamp::at(&path) == awaited.stamp);
            if let Some(entry) = entry {
                entry.is_away = awaited.is_away;
                self.judge_at(&path, Instant::now() + awaited.left);
                seen.insert(path);
            }
        }
        let paths: Vec<PathBuf> = self.files.keys().filter(|path| !seen.contains(*path)).cloned().collect();
        for path in paths {
            let Some(entry) = self.files.get(&path) else { continue };
            if entry.print.may_differ(&path) {
                let what = if Stamp::at(&path).is_none() { What::Gone } else { What::Touched };
                self.on_file(&path, what);
            } else if entry.print.is_unread() {
                self.unread.push_back(path);
            }
        }
    }
}

impl SpecState {
    fn new(key: WatchKey, spec: &WatchSpec) -> Self {
        Self {
            key,
            root: spec.root.as_path().into(),
            paths: spec.paths.clone(),
            ignore: spec.ignore.clone(),
            gitignore: spec.gitignore,
            poll: match spec.poll {
                Poll::Auto => None,
                Poll::Every(every) => Some(every),
            },
            settle: spec.settle,
            mark: spec.mark.as_deref().map(Into::into),
        }
    }

    fn spec(&self) -> WatchSpec {
        WatchSpec {
            root: self.root.clone().into(),
            paths: self.paths.clone(),
            ignore: self.ignore.clone(),
            gitignore: self.gitignore,
            poll: self.poll.map_or(Poll::Auto, Poll::Every),
            settle: self.settle,
            mark: self.mark.clone().map(Into::into),
        }
    }
}

impl From<&Path> for PathText {
    fn from(path: &Path) -> Self {
        Self(path.as_os_str().as_bytes().to_vec())
    }
}

impl From<PathText> for PathBuf {
    fn from(text: PathText) -> Self {
        OsString::from_vec(text.0).into()
    }
}

impl fmt::Display for NotHandedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "could not hand over the watched files: the watcher does not answer; it goes on as before",
        )
    }
}

impl std::error::Error for NotHandedOver {}
