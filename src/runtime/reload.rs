//! Reading the file again when it, or an env file, was saved.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::inbox::{Inbox, Message};
use super::up::UpOptions;
use crate::config::model::{Poll, Project};
use crate::config::{LoadOptions, Loaded, load_in_place_of, render};
use crate::plan::chosen;
use crate::supervisor::Event;
use crate::types::{Diagnostic, Name, Severity};
use crate::watch::WatchSpec;

/// How long a file that is held open must be quiet before it is read again.
const SETTLE: Duration = Duration::from_millis(50);

/// So many reads in a row are passed over because the file was saved meanwhile, or somebody has asked again. The
/// next one counts all the same: whoever saves or asks all the time keeps nobody waiting.
const PASSED_OVER: u32 = 3;

/// What is needed to read the file as `up` read it.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    file: PathBuf,
    load: LoadOptions,
    profiles: Vec<String>,
    only: Vec<Name>,
}

impl Reading {
    /// Reads the file; or another one, as though that were saved in its place.
    pub(crate) fn read(&self, instead: Option<&Path>) -> Loaded {
        load_in_place_of(instead.unwrap_or(&self.file), &self.file, &self.load)
    }

    /// Which components run by themselves. A name of `--only` that is no more chooses nothing.
    pub(crate) fn chosen(&self, project: &Project) -> BTreeSet<Name> {
        let known = |name: &&Name| project.components.iter().any(|spec| spec.name == **name);
        let only: Vec<Name> = self.only.iter().filter(known).cloned().collect();
        if only.is_empty() && !self.only.is_empty() {
            return BTreeSet::new();
        }
        chosen(project, &self.profiles, &only).unwrap_or_default()
    }
}

/// Reads the file again when it is to be, and keeps in mind what that is for.
#[derive(Debug)]
pub(crate) struct Reloader {
    how: Reading,
    color: bool,
    /// Whether it is being read, and whether it was saved again meanwhile.
    reading: bool,
    again: bool,
    /// The number of the last read that was begun.
    reads: u64,
    /// So many reads in a row were not looked at, for the file was saved again meanwhile.
    passed_over: u32,
    /// The env files watched now; also those of a version with errors.
    env_files: Vec<PathBuf>,
    /// How the file was when it was read first, until it is watched.
    unwatched: Option<Stamp>,
    /// The texts that were read last, if they are applied: whoever reads them again finds nothing new.
    applied: Option<u64>,
}

/// What differs after every write and every replacement: inode, size, time of the last change. `None`: gone.
type Stamp = Option<(u64, u64, i64, i64)>;

fn stamp(file: &Path) -> Stamp {
    let meta = std::fs::metadata(file).ok()?;
    Some((meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec()))
}

/// How a read ended.
#[derive(Debug)]
pub(crate) enum Read {
    /// The file was saved meanwhile, and is being read again.
    Again,
    /// By a fault. Each of these has the number of the read.
    Broken(u64),
    /// With what is applied already: a request and the watcher may have read one save.
    Known(u64),
    /// With something else.
    News(u64, Outcome),
}

/// What follows from a read.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// For the core.
    pub(crate) event: Event,
    /// For the user.
    pub(crate) message: Option<String>,
}

impl Reloader {
    pub(crate) fn new(options: &UpOptions, load: LoadOptions, color: bool) -> Self {
        Self {
            unwatched: Some(stamp(&options.file)),
            how: Reading {
                file: options.file.clone(),
                load,
                profiles: options.profiles.clone(),
                only: options.only.clone(),
            },
            color,
            reading: false,
            again: false,
            reads: 0,
            passed_over: 0,
            env_files: Vec::new(),
            applied: None,
        }
    }

    /// Reads the file for the first time.
    pub(crate) fn read(&mut self) -> Loaded {
        let loaded = self.how.read(None);
        self.applied = texts(&loaded);
        loaded
    }

    /// How it is read.
    pub(crate) fn how(&self) -> &Reading {
        &self.how
    }

    /// The file is watched from now on; whether it was saved between the first read and this.
    pub(crate) fn missed_an_edit(&mut self) -> bool {
        self.unwatched.take().is_some_and(|read| read != stamp(&self.how.file))
    }

    /// Reads the file on a worker thread; one read at a time, the last save counts. Gives the number of the read
    /// that begins now or, where one is under way, after it.
    pub(crate) fn begin(&mut self, inbox: &Inbox) -> u64 {
        if std::mem::replace(&mut self.reading, true) {
            self.again = true;
            return self.reads + 1;
        }
        self.reads += 1;
        let (how, inbox) = (self.how.clone(), inbox.clone());
        tokio::spawn(async move {
            let loaded = tokio::task::spawn_blocking(move || Box::new(how.read(None))).await;
            drop(inbox.send(Message::Reloaded(loaded.ok())));
        });
        self.reads
    }

    /// Whether the file is being read.
    pub(crate) fn is_reading(&self) -> bool {
        self.reading
    }

    /// It is being read, in vain, and is to be read once more.
    pub(crate) fn begin_again(&mut self) {
        (self.reading, self.again) = (true, true);
    }

    /// What is watched is as another image had it: nothing was missed in between.
    pub(crate) fn watched_already(&mut self, env_files: Vec<PathBuf>) {
        self.unwatched = None;
        self.env_files = env_files;
    }

    /// The env files that are watched now.
    pub(crate) fn env_files(&self) -> Vec<PathBuf> {
        self.env_files.clone()
    }

    /// Takes what was read.
    pub(crate) fn end(&mut self, loaded: Option<Box<Loaded>>, inbox: &Inbox) -> Read {
        self.reading = false;
        let number = self.reads;
        if std::mem::take(&mut self.again) {
            self.begin(inbox);
            self.passed_over += 1;
            if self.passed_over <= PASSED_OVER {
                return Read::Again;
            }
        }
        self.passed_over = 0;
        let Some(loaded) = loaded else { return Read::Broken(number) };
        let loaded = *loaded;
        let texts = texts(&loaded);
        let known = texts.is_some() && self.applied == texts;
        self.applied = texts;
        if known {
            return Read::Known(number);
        }
        self.env_files.clone_from(&loaded.env_files);
        let message = render::brief(&loaded.diagnostics, &loaded.sources, self.color);
        let message = Some(message.trim_end().to_owned()).filter(|text| !text.is_empty());
        let event = match loaded.project {
            Some(project) => {
                let chosen = self.how.chosen(&project);
                Event::Edit { project: Arc::new(project), chosen }
            }
            None => Event::EditRejected { errors: Arc::new(errors(loaded.diagnostics)) },
        };
        Read::News(number, Outcome { event, message })
    }

    /// What is watched for the project itself.
    pub(crate) fn watched(&mut self, project: &Project) -> WatchSpec {
        if self.env_files.is_empty() {
            self.env_files.clone_from(&project.env_files);
        }
        let paths = std::iter::once(&project.file).chain(&self.env_files);
        WatchSpec {
            root: project.dir.clone(),
            paths: paths.map(|path| below(&project.dir, path)).collect(),
            ignore: Vec::new(),
            gitignore: false,
            poll: Poll::Auto,
            settle: SETTLE,
            mark: None,
        }
    }
}

/// A path as the watcher takes it. Relative where that can be: a folder's name need not be UTF-8.
fn below(dir: &Path, path: &Path) -> String {
    path.strip_prefix(dir).unwrap_or(path).to_string_lossy().into_owned()
}

/// What stands for the texts of a valid file and its env files.
fn texts(loaded: &Loaded) -> Option<u64> {
    loaded.project.is_some().then(|| loaded.sources.digest())
}

fn errors(diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    diagnostics.into_iter().filter(|one| one.severity == Severity::Error).collect()
}
