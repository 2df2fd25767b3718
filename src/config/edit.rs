//! Edits of a YAML file that are checked before anybody sees them: what they say is what was meant, and nothing
//! else says anything else than before.

use std::path::Path;
use std::sync::Arc;

use super::load::{LoadOptions, Loaded, load_text};
use super::lower::{absolute, glob_mistake};
use super::model::{Component, Project, Watch};
use super::report::Report;
use super::source::Source;
use super::splice::{Nowhere, apply, watch_more as splice};
use super::text::{Suggester, shown};
use super::tree;
use crate::types::{Name, Severity};

/// A file's text with more paths in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// The whole text; `None`: it stays as it is.
    pub text: Option<String>,
    /// The paths that are new.
    pub added: Vec<String>,
    /// Those that were watched already.
    pub known: Vec<String>,
    /// How many paths the component had taken from elsewhere (`defaults`, an alias, `<<`), which stand in it now.
    pub taken: usize,
}

/// Why a file stays as it is.
#[derive(Debug)]
pub enum NotEdited {
    /// It is not valid as it stands.
    Invalid(Box<Loaded>),
    /// It has no component of that name; which one was meant, if that can be told.
    Unknown(Option<String>),
    /// A path means nothing: why.
    Meaningless(String),
    /// It can't be done: why, and what to do.
    Refused(String),
}

/// Has `paths`, relative to the file's folder, watched by a component, beside those that are.
///
/// # Errors
/// See [`NotEdited`].
pub fn watch_more(
    file: &Path,
    text: &str,
    name: &Name,
    paths: &[String],
    options: &LoadOptions,
) -> Result<Edited, NotEdited> {
    let mut loaded = load_text(file, text.to_owned(), options);
    let Some(before) = loaded.project.take() else { return Err(NotEdited::Invalid(Box::new(loaded))) };
    let Some(component) = before.components.iter().find(|component| component.name == *name) else {
        let names = before.components.iter().map(|component| component.name.as_str());
        return Err(NotEdited::Unknown(Suggester::default().did_you_mean(name.as_str(), names)));
    };
    let (known, added) = split(&before.dir, component.watch.as_deref(), paths);
    if added.is_empty() {
        return Ok(Edited { text: None, added, known, taken: 0 });
    }
    for path in &added {
        if let Some(why) = glob_mistake(path) {
            return Err(NotEdited::Meaningless(format!("`{}` is not a valid glob: {why}", shown(path))));
        }
    }
    let source = Arc::new(Source::new(file, text.to_owned()));
    let tree = tree::build(&source, &mut Report::default());
    let tree = tree.ok_or_else(|| NotEdited::Refused("the file can't be read again".to_owned()))?;
    let ways = splice(&tree, name.as_str(), &added).map_err(|nowhere| refused(nowhere, name))?;
    let mark = &text[..text.len() - source.text().len()];
    let mut why = None;
    for way in &ways.ways {
        let text = format!("{mark}{}", apply(source.text(), way));
        let after = load_text(file, text.clone(), options);
        match difference(&before, after, name, &added) {
            None => return Ok(Edited { text: Some(text), added, known, taken: ways.taken }),
            Some(difference) => why = why.or(Some(difference)),
        }
    }
    let why = why.unwrap_or_else(|| "there is no place for it".to_owned());
    Err(NotEdited::Refused(format!("{why}; nothing was written")))
}

fn refused(nowhere: Nowhere, name: &Name) -> NotEdited {
    match nowhere {
        Nowhere::Unknown => NotEdited::Unknown(None),
        Nowhere::Merged => NotEdited::Refused(format!(
            "`{name}` comes into `components` by `<<`, and stands elsewhere; write `{name}:` with a `watch` of its own"
        )),
    }
}

/// Which of the paths are watched already, and which are not; each once.
fn split(dir: &Path, watch: Option<&Watch>, paths: &[String]) -> (Vec<String>, Vec<String>) {
    let meant = |path: &String| absolute(dir, Path::new(path));
    let mut seen: Vec<_> = watch.into_iter().flat_map(|watch| &watch.paths).map(meant).collect();
    let before = seen.len();
    let (mut known, mut added) = (Vec::new(), Vec::new());
    for path in paths {
        match seen.iter().position(|other| *other == meant(path)) {
            Some(at) if at < before => known.push(path.clone()),
            Some(_) => {}
            None => {
                seen.push(meant(path));
                added.push(path.clone());
            }
        }
    }
    (known, added)
}

/// What would be other than meant; `None`: nothing.
fn difference(before: &Project, after: Loaded, name: &Name, added: &[String]) -> Option<String> {
    let Some(after_project) = after.project else {
        let errors = after.diagnostics.iter().filter(|one| one.severity == Severity::Error);
        let first = errors.map(|one| one.message.clone()).next().unwrap_or_default();
        return Some(format!("the file would not be valid any more: {first}"));
    };
    let expected = expected(before, &after_project, name, added);
    if expected == after_project {
        return None;
    }
    let same_names = |one: &Project, other: &Project| {
        one.components.iter().map(|it| &it.name).eq(other.components.iter().map(|it| &it.name))
    };
    let pairs = expected.components.iter().zip(&after_project.components);
    let mut others = pairs.filter(|(one, other)| one != other && one.name != *name);
    if same_names(&expected, &after_project)
        && let Some((other, _)) = others.next()
    {
        let other = &other.name;
        return Some(format!(
            "this would change `{other}`, too, which takes what it watches from the same place; give `{other}` a \
             `watch` of its own first"
        ));
    }
    let watched = |project: &Project| {
        let component = project.components.iter().find(|component| component.name == *name);
        component.and_then(|component| component.watch.clone()).map(|watch| watch.paths.clone())
    };
    let paths = watched(&after_project).unwrap_or_default().join(", ");
    Some(format!(
        "it would not say what is meant (`{name}` would watch: {}); add the path by hand",
        shown(&paths)
    ))
}

/// The project as it is meant to be. Where nothing was watched, how it is watched follows from the defaults.
fn expected(before: &Project, after: &Project, name: &Name, added: &[String]) -> Project {
    let watch_of = |project: &Project| {
        let component = project.components.iter().find(|component| component.name == *name);
        component.and_then(|component| component.watch.clone())
    };
    let watch = match (watch_of(before), watch_of(after)) {
        (Some(watch), _) => {
            let paths = watch.paths.iter().chain(added).cloned().collect();
            Some(Arc::new(Watch { paths, ..(*watch).clone() }))
        }
        (None, after) => after.map(|watch| Arc::new(Watch { paths: added.to_vec(), ..(*watch).clone() })),
    };
    let mut project = before.clone();
    for component in &mut project.components {
        if component.name == *name {
            *component = Arc::new(Component { watch: watch.clone(), ..(**component).clone() });
        }
    }
    project
}
