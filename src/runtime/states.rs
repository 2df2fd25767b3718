//! `orch state`: what a project has saved, also when nothing runs. Looking takes no lock and changes nothing;
//! clearing takes the project's lock, as a run does.

use std::path::{Path, PathBuf};

use super::home::{Home, HomeError};
use super::prepare::why;
use crate::config::model::{Project, State};
use crate::state::clear::{OwnFile, clear};
use crate::types::{Name, nearest};

pub use crate::state::clear::Cleared;
pub use crate::state::inspect::{
    Entry, Fate, FlawFound, InPlace, Inspector, Inventory, NoPayload, Payload, Record, SetAside, Verified,
    What,
};
pub use crate::state::{Handed, Header, WrongAge};

/// The states of a project.
pub struct SavedStates {
    project: Option<Project>,
    file: PathBuf,
    state_dir: PathBuf,
    inspector: Inspector,
}

/// Why states can't be shown or cleared.
#[derive(Debug)]
pub enum StatesError {
    /// An orch runs the project.
    Taken(String),
    /// No such component; the name that is nearest to it, if one is near.
    Unknown(Name, Option<Name>),
    /// Something could not be done.
    Failed(String),
}

impl SavedStates {
    /// Opens the states of a project. `project` is `None` for a file that is not valid: where its states are
    /// follows from where it is, and only what it declares is unknown then.
    ///
    /// # Errors
    /// When the state directory can't be read. That there is none is no error.
    pub fn open(
        project: Option<Project>,
        file: &Path,
        state_dir: Option<&Path>,
    ) -> Result<Self, StatesError> {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let file = absolute(file);
        let state_dir = match (&project, state_dir) {
            (Some(project), _) => project.state_dir.clone(),
            (None, Some(named)) => absolute(named),
            (None, None) => file.with_file_name(".orch"),
        };
        let inspector = Inspector::open(&state_dir).map_err(|error| StatesError::Failed(why(&error)))?;
        Ok(Self { project, file, state_dir, inspector })
    }

    /// The project's name, if its file is valid.
    #[must_use]
    pub fn project(&self) -> Option<&str> {
        self.project.as_ref().map(|project| project.name.as_str())
    }

    /// The state directory.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// What the project declares of a component's state.
    #[must_use]
    pub fn declared(&self, name: &Name) -> Option<&State> {
        let component = self.project.as_ref()?.components.iter().find(|spec| spec.name == *name)?;
        component.state.as_deref()
    }

    /// The components that have a state, or had one: those of the file in its order, then the others by name.
    ///
    /// # Errors
    /// When the state directory can't be read.
    pub fn names(&self) -> Result<Vec<Name>, StatesError> {
        let specs = self.project.iter().flat_map(|project| &project.components);
        let mut names: Vec<Name> =
            specs.filter(|spec| spec.state.is_some()).map(|spec| spec.name.clone()).collect();
        let saved = self.inspector.components().map_err(|error| StatesError::Failed(why(&error)))?;
        let others: Vec<Name> = saved.into_iter().filter(|name| !names.contains(name)).collect();
        names.extend(others);
        Ok(names)
    }

    /// Checks that there is such a component, in the file or in the store.
    ///
    /// # Errors
    /// [`StatesError::Unknown`] if there is none.
    pub fn known(&self, name: &Name) -> Result<(), StatesError> {
        let specs = self.project.iter().flat_map(|project| &project.components);
        let mut names: Vec<Name> = specs.map(|spec| spec.name.clone()).collect();
        names.extend(self.names()?);
        if names.contains(name) {
            Ok(())
        } else {
            let near = nearest(name.as_str(), names.iter().map(Name::as_str));
            let near = near.and_then(|near| Name::new(near).ok());
            Err(StatesError::Unknown(name.clone(), near))
        }
    }

    /// Lists what is saved of a component.
    ///
    /// # Errors
    /// When its folder can't be read; the text says why.
    pub fn look(&self, name: &Name) -> Result<Inventory, String> {
        self.inspector.look(name, self.declared(name)).map_err(|error| why(&error))
    }

    /// Checks the checksums of a component's generations and ledger.
    ///
    /// # Errors
    /// When its folder can't be read; the text says why.
    pub fn verify(&self, name: &Name) -> Result<Verified, String> {
        self.inspector.verify(name).map_err(|error| why(&error))
    }

    /// Opens a generation that is sound: the one named, else what the next start would be offered, else the newest.
    ///
    /// # Errors
    /// When there is none; the text says why.
    pub fn payload(&self, name: &Name, generation: Option<u64>) -> Result<Payload, String> {
        let found = self.inspector.payload(name, self.declared(name), generation);
        found.map_err(|none| no_payload(name, generation, &none))
    }

    /// Writes a payload, exactly.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub fn copy(&self, payload: &Payload, into: &mut dyn std::io::Write) -> std::io::Result<()> {
        self.inspector.copy(payload, into)
    }

    /// Clears these components, so that their next start is afresh; each that is done is told at once.
    ///
    /// # Errors
    /// [`StatesError::Taken`] while an orch runs the project; what can't be removed. What was told is done.
    pub fn clear(&self, names: &[Name], mut done: impl FnMut(&Name, Cleared)) -> Result<(), StatesError> {
        let others = |name: &Name| -> Vec<PathBuf> {
            let specs = self.project.iter().flat_map(|project| &project.components);
            let specs = specs.filter(|spec| spec.name != *name);
            specs.filter_map(|spec| Some(spec.state.as_ref()?.file.clone())).collect()
        };
        let in_place = |name| self.declared(name).is_some_and(|spec| spec.file.symlink_metadata().is_ok());
        if !self.state_dir.exists() && !names.iter().any(in_place) {
            // Whoever has no state directory needs none for this.
            names.iter().for_each(|name| done(name, Cleared::default()));
            return Ok(());
        }
        let _home = Home::enter(&self.state_dir, &self.file).map_err(|error| match error {
            HomeError::Taken { .. } => StatesError::Taken(error.to_string()),
            HomeError::Io { .. } => StatesError::Failed(error.to_string()),
        })?;
        for name in names {
            let others = others(name);
            let own = match self.declared(name) {
                Some(spec) => OwnFile::Declared(&spec.file),
                None => OwnFile::AsRecorded { others: &others },
            };
            let cleared = clear(&self.state_dir, name, own);
            done(name, cleared.map_err(|error| StatesError::Failed(why(&error)))?);
        }
        Ok(())
    }
}

fn no_payload(name: &Name, wanted: Option<u64>, none: &NoPayload) -> String {
    match (none, wanted) {
        (NoPayload::Missing(there), None) if there.is_empty() => format!("nothing is saved of `{name}`"),
        (NoPayload::Missing(there), Some(wanted)) if there.is_empty() => {
            format!("`{name}` has no generation {wanted}: nothing is saved of it")
        }
        (NoPayload::Missing(_), None) => {
            format!("the generations of `{name}` were removed meanwhile; try again")
        }
        (NoPayload::Missing(there), Some(wanted)) => {
            let there: Vec<String> = there.iter().map(ToString::to_string).collect();
            format!("`{name}` has no generation {wanted}; there are: {}", there.join(", "))
        }
        (NoPayload::Flawed(generation, reason), Some(_)) => {
            format!("generation {generation} of `{name}` is not shown, it is {reason}")
        }
        (NoPayload::Flawed(generation, reason), None) => {
            format!("no generation of `{name}` is sound; the first that was tried, {generation}, is {reason}")
        }
        (NoPayload::Failed(error), _) => why(error),
    }
}
