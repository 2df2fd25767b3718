//! Which logs are meant: those that the YAML file declares, and those that lie in the state directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::api::Version;
use crate::cli::exit::Exit;
use crate::cli::target::Target;
use crate::cli::{check, complain};
use crate::config::render::harmless;
use crate::history::logs::Log;
use crate::types::{Name, nearest};

/// A running orch that takes longer is not asked which file it runs.
const LIMIT: Duration = Duration::from_secs(2);

/// The logs of these components; without names, of all that are declared, or of all that there are where that is not
/// known.
pub(super) fn choose(target: &Target, names: &[Name]) -> Result<Vec<Log>, Exit> {
    let declared = declared(target);
    let found = found(&target.state_dir);
    if names.is_empty() {
        return Ok(declared.unwrap_or_else(|| found.into_values().collect()));
    }
    let mut known = found;
    known.extend(declared.into_iter().flatten().map(|log| (log.component.clone(), log)));
    let mut chosen: Vec<Log> = Vec::new();
    for name in names {
        let Some(log) = known.get(name.as_str()) else { return Err(unknown(name, known.keys())) };
        if !chosen.contains(log) {
            chosen.push(log.clone());
        }
    }
    Ok(chosen)
}

/// Those that the file declares, in its order; `None`: it is not known, or not valid.
fn declared(target: &Target) -> Option<Vec<Log>> {
    let asked = || target.client().within(LIMIT).get::<Version>("/v1/version").ok();
    let file = target.file.clone().or_else(|| asked().map(|version| PathBuf::from(version.file)))?;
    let Some(project) = check::read(&file, Some(target.state_dir.clone())).project else {
        let shown = file.to_string_lossy();
        complain(&format!(
            "{} is not valid, so logs that `logs.file` names are not known here (see: orch validate)",
            harmless(&shown)
        ));
        return None;
    };
    Some(project.components.iter().map(|component| Log::of(component, &target.state_dir)).collect())
}

/// Those in the state directory, also of components that are not declared any more, by name.
fn found(state_dir: &Path) -> BTreeMap<String, Log> {
    let entries = std::fs::read_dir(state_dir.join("logs")).into_iter().flatten().flatten();
    let log = |file: std::fs::DirEntry| {
        let name = file.file_name().into_string().ok()?;
        let name = Name::new(name.strip_suffix(".log")?).ok()?;
        let component = name.as_str().to_owned();
        Some((component.clone(), Log { component, path: file.path(), drawn: false }))
    };
    entries.filter_map(log).collect()
}

fn unknown<'k>(name: &Name, known: impl Iterator<Item = &'k String>) -> Exit {
    let near = nearest(name.as_str(), known.map(String::as_str));
    let guess = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    complain(&format!("there is no component `{name}`, and no log of one{guess}"));
    Exit::Usage
}
