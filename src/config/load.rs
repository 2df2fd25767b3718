//! Finding and loading a file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::code;
use super::decode::{At, Decoder, EnvFiles, Step, Value, Variables};
use super::lower::{self, EnvReader, Ground};
use super::model::{EnvOverlay, Project};
use super::report::{Mistake, Report};
use super::source::{Refused, Source, Sources};
use super::tree::{self, Shape, Tree};
use crate::types::Diagnostic;

/// The files that are looked for, in this order.
const NAMES: [&str; 2] = ["devmode.yaml", "orch.yaml"];

/// What a load needs to know beside the file.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Where the state directory is; `None`: `.orch` beside the YAML file.
    pub state_dir: Option<PathBuf>,
    /// orch's own environment.
    pub environment: BTreeMap<OsString, OsString>,
    /// The threads that are registered beside the built-in ones; `None`: unknown, so every name passes.
    pub threads: Option<Threads>,
}

/// The threads that are registered: their names, and what they say of their `with`.
#[derive(Clone)]
pub struct Threads {
    /// The names.
    pub names: Vec<String>,
    /// What a thread of that name says of that `with`.
    pub check: Arc<CheckWith>,
}

/// Says where a thread of this name, made from this `with`, will listen; or why it can't be made.
pub type CheckWith = dyn Fn(&str, &serde_yaml::Value) -> Result<Vec<SocketAddr>, String> + Send + Sync;

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Threads").field(&self.names).finish()
    }
}

/// What came of a load.
#[derive(Debug)]
pub struct Loaded {
    /// The project, if there is no error.
    pub project: Option<Project>,
    /// Everything that is wrong, and every warning, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts that were read.
    pub sources: Sources,
    /// Every env file that the file names, absolute; also those of a file with errors.
    pub env_files: Vec<PathBuf>,
}

/// Loads a file: reads it, checks all of it, and reports every mistake at once.
///
/// Never panics and never waits, whatever the file is; time and memory are linear in its size.
#[must_use]
pub fn load(file: &Path, options: &LoadOptions) -> Loaded {
    load_in_place_of(file, file, options)
}

/// Loads `given` as though it were saved in the place of `file`: relative paths, the state directory and the
/// project's name are what they would be there. Mistakes name `given`, where they are.
#[must_use]
pub fn load_in_place_of(given: &Path, file: &Path, options: &LoadOptions) -> Loaded {
    let mut report = Report::default();
    let mut sources = Sources::default();
    let tree = read(given, &mut sources, &mut report);
    of_tree(file, tree, sources, report, options)
}

/// The same, for a text that stands in the file's place.
#[must_use]
pub(crate) fn load_text(file: &Path, text: String, options: &LoadOptions) -> Loaded {
    let mut report = Report::default();
    let mut sources = Sources::default();
    let tree = parse(Source::new(file, text), &mut sources, &mut report);
    of_tree(file, tree, sources, report, options)
}

fn of_tree(
    file: &Path,
    tree: Option<Tree>,
    sources: Sources,
    report: Report,
    options: &LoadOptions,
) -> Loaded {
    let Some(tree) = tree else {
        let diagnostics = report.finish();
        return Loaded { project: None, diagnostics, sources, env_files: Vec::new() };
    };
    let ground = ground(file, options);
    let mut variables = Variables { environment: environment(options), ..Variables::default() };
    let reader = EnvReader::new(&ground.dir, file, sources);
    let (from_files, reader, report) = project_env(&tree, &mut variables, reader, report);
    let (project, reader, report) = lower::project(&tree, &variables, &ground, reader, from_files, report);
    let project = if report.has_errors() { None } else { project };
    let env_files = reader.files();
    let mut sources = reader.sources;
    sources.add(tree.source());
    Loaded { project, diagnostics: report.finish(), sources, env_files }
}

fn read(file: &Path, sources: &mut Sources, report: &mut Report) -> Option<Tree> {
    match Source::read(file) {
        Ok(source) => parse(source, sources, report),
        Err(Refused { why, place }) => {
            let message = format!("can't read {}: {why}", file.display());
            let mistake = Mistake::new(code::UNREADABLE, message);
            report.add(match place {
                Some((source, place)) => {
                    sources.add(&source);
                    mistake.at(Some(place), String::new())
                }
                None => mistake.of_file(file),
            });
            None
        }
    }
}

fn parse(source: Source, sources: &mut Sources, report: &mut Report) -> Option<Tree> {
    let source = Arc::new(source);
    sources.add(&source);
    report.make_room(source.text().len());
    tree::build(&source, report)
}

fn ground(file: &Path, options: &LoadOptions) -> Ground {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let root = Path::new("/");
    let file = lower::absolute(root, &absolute(file));
    let dir = file.parent().unwrap_or(root).to_path_buf();
    let state_dir = match &options.state_dir {
        Some(state_dir) => lower::absolute(root, &absolute(state_dir)),
        None => dir.join(".orch"),
    };
    let path =
        options.environment.get(&OsString::from("PATH")).map(|path| path.to_string_lossy().into_owned());
    Ground { file, dir, state_dir, threads: options.threads.clone(), path }
}

fn environment(options: &LoadOptions) -> BTreeMap<String, String> {
    let text = |text: &OsString| text.to_string_lossy().into_owned();
    options.environment.iter().map(|(name, value)| (text(name), text(value))).collect()
}

/// The project's env files come before all else: variables anywhere else may be theirs.
fn project_env<'g>(
    tree: &Tree,
    variables: &mut Variables,
    mut reader: EnvReader<'g>,
    report: Report,
) -> (EnvOverlay, EnvReader<'g>, Report) {
    let mut decoder = Decoder::new(tree, variables, report);
    let mut overlay = EnvOverlay::new();
    if tree.shape(tree.root()) == Shape::Map {
        let entries = decoder.entries(tree.root(), "a map").unwrap_or_default();
        if let Some((.., node)) = entries.into_iter().find(|(text, ..)| *text == "env_file") {
            let files = decoder.within(Step::Key("env_file"), |decoder| EnvFiles::decode(decoder, node));
            let files = files.map(|value| At { value, node });
            overlay = (*reader.overlay(&mut decoder, files.as_ref())).clone();
        }
    }
    let report = decoder.report;
    variables.env_file =
        overlay.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
    (overlay, reader, report)
}

/// The file meant: the one named, or the nearest `devmode.yaml` or `orch.yaml` at or above `cwd`.
///
/// # Errors
/// That there is none.
#[expect(clippy::result_large_err, reason = "it is made once in the life of a command")]
pub fn find(file: Option<&Path>, cwd: &Path) -> Result<PathBuf, Diagnostic> {
    if let Some(file) = file {
        return Ok(file.to_path_buf());
    }
    let candidates = cwd.ancestors().flat_map(|folder| NAMES.map(|name| folder.join(name)));
    let exists = |path: &PathBuf| path.symlink_metadata().is_ok();
    candidates.into_iter().find(exists).ok_or_else(|| {
        let message = format!("there is no devmode.yaml or orch.yaml in {} or above", cwd.display());
        let mistake =
            Mistake::new(code::UNREADABLE, message).help("name a file, or make one with `orch init`");
        mistake.at(None, String::new())
    })
}
