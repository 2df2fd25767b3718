//! Env files: read once each, however many components name them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::absolute;
use crate::config::code;
use crate::config::decode::{At, Decoder, EnvFile, EnvFiles, EnvMap, Step};
use crate::config::env_file;
use crate::config::model::EnvOverlay;
use crate::config::report::Mistake;
use crate::config::source::{Source, Sources};
use crate::config::text::shown;
use crate::config::tree::NodeId;

/// What is known of an env file.
type Read = Result<Arc<Vec<(String, String)>>, String>;

/// Reads env files.
#[derive(Debug)]
pub(crate) struct EnvReader<'g> {
    dir: &'g Path,
    /// The YAML file's folder, as the user named it.
    shown_dir: PathBuf,
    read: BTreeMap<PathBuf, Read>,
    /// By the files named, so that those who name the same share it.
    overlays: BTreeMap<Vec<PathBuf>, Arc<EnvOverlay>>,
    /// What components take from elsewhere over their env files, by the addresses of the two, which live here.
    both: BTreeMap<(usize, usize), [Arc<EnvOverlay>; 3]>,
    pub(crate) sources: Sources,
}

impl<'g> EnvReader<'g> {
    pub(crate) fn new(dir: &'g Path, file: &Path, sources: Sources) -> Self {
        let shown_dir = file.parent().unwrap_or(Path::new("")).to_path_buf();
        let (read, overlays, both) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { dir, shown_dir, read, overlays, both, sources }
    }

    /// What `upper` says, and below it what `files` say: one layer, shared by all that have the same two.
    pub(crate) fn over(
        &mut self,
        decoder: &mut Decoder<'_>,
        env: &At<EnvMap>,
        files: Arc<EnvOverlay>,
    ) -> Arc<EnvOverlay> {
        let upper = &env.value.taken;
        if upper.is_empty() {
            return files;
        }
        if files.is_empty() {
            return Arc::clone(upper);
        }
        let address = |layer: &Arc<EnvOverlay>| Arc::as_ptr(layer) as usize;
        let key = (address(upper), address(&files));
        if let Some([both, ..]) = self.both.get(&key) {
            return Arc::clone(both);
        }
        if !decoder.spend(env.node, upper.len() + files.len()) {
            return files;
        }
        let mut both = (*files).clone();
        both.extend(upper.iter().map(|(name, value)| (name.clone(), value.clone())));
        let both = Arc::new(both);
        self.both.insert(key, [Arc::clone(&both), Arc::clone(upper), files]);
        both
    }

    /// Every file named so far, absolute; missing ones, too.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.read.keys().cloned().collect()
    }

    /// What these files say together; later ones win.
    pub(crate) fn overlay(
        &mut self,
        decoder: &mut Decoder<'_>,
        files: Option<&At<EnvFiles>>,
    ) -> Arc<EnvOverlay> {
        let Some(At { value: EnvFiles(files), node }) = files else { return Arc::default() };
        let paths: Vec<PathBuf> =
            files.iter().map(|file| absolute(self.dir, Path::new(&file.value.path))).collect();
        decoder.enter(Step::Key("env_file"));
        let listed = decoder.tree.shape(*node) == crate::config::tree::Shape::List;
        let mut overlay = EnvOverlay::new();
        let known = self.overlays.get(&paths).cloned();
        for (index, (file, path)) in files.iter().zip(&paths).enumerate() {
            if listed {
                decoder.enter(Step::Index(index));
            }
            let values = self.file(decoder, file, path);
            if known.is_none() {
                overlay.extend(
                    values.iter().flat_map(|all| all.iter()).map(|(k, v)| (k.clone(), Some(v.clone()))),
                );
            }
            if listed {
                decoder.leave();
            }
        }
        decoder.leave();
        known.unwrap_or_else(|| Arc::clone(self.overlays.entry(paths).or_insert(Arc::new(overlay))))
    }

    fn file(
        &mut self,
        decoder: &mut Decoder<'_>,
        file: &At<EnvFile>,
        path: &Path,
    ) -> Option<Arc<Vec<(String, String)>>> {
        if !self.read.contains_key(path) {
            let read = self.read_file(decoder, &file.value.path, path);
            self.read.insert(path.into(), read);
        }
        match self.read.get(path)? {
            Ok(values) => Some(Arc::clone(values)),
            Err(_) if !file.value.required && !path.exists() => None,
            Err(why) => {
                let message = format!("can't read the env file `{}`: {why}", shown(&file.value.path));
                let help = "make the file, or write {path: …, required: false}";
                let why = why.clone();
                self.missing(decoder, file.node, message, help, &why);
                None
            }
        }
    }

    fn missing(&self, decoder: &mut Decoder<'_>, node: NodeId, message: String, help: &str, why: &str) {
        let mistake = Mistake::new(code::ENV_FILE_MISSING, message);
        let missing = why.contains("No such file");
        decoder.mistake(node, if missing { mistake.help(help) } else { mistake });
    }

    fn read_file(&mut self, decoder: &mut Decoder<'_>, written: &str, path: &Path) -> Read {
        let source =
            Source::read(path).map_err(|refused| refused.why)?.renamed(&self.shown_dir.join(written));
        let source = Arc::new(source);
        self.sources.add(&source);
        let (values, bad) = env_file::parse(source.text());
        for line in bad {
            let mistake = Mistake::new(code::ENV_FILE_SYNTAX, line.what);
            decoder.report.add(mistake.at(Some(source.place(line.at)), decoder.path()));
        }
        Ok(Arc::new(values))
    }
}
