//! Which project a command means.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::exit::Exit;
use super::{complain, file, state_dir};
use crate::api::Version;
use crate::client::{Client, ClientError};
use crate::config::render::harmless;

/// An orch that has not answered a look for so long stands still; it is stopped (SIGSTOP), or its disk is.
const STILL: Duration = Duration::from_secs(10);
/// So long it is awaited which file runs.
const LOOK: Duration = Duration::from_millis(500);

/// The words by which a command is told.
#[derive(Debug, Args)]
pub(super) struct TargetArgs {
    /// The YAML file; without it, that of the orch that runs this command, else devmode.yaml or orch.yaml here,
    /// or in the nearest folder above
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Where orch keeps its own files [default: .orch beside the YAML file] [env: ORCH_STATE_DIR]
    #[arg(long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    state_dir: Option<PathBuf>,
}

/// The project that is meant.
#[derive(Debug)]
pub(super) struct Target {
    /// The YAML file; unknown where the project was found by its state directory alone.
    pub(super) file: Option<PathBuf>,
    /// Absolute.
    pub(super) state_dir: PathBuf,
}

impl TargetArgs {
    /// As though they had been given.
    pub(super) fn new(file: Option<PathBuf>, state_dir: Option<PathBuf>) -> Self {
        Self { file, state_dir }
    }

    /// The same as [`TargetArgs::find`], without a word where there is none.
    pub(super) fn quietly(&self) -> Option<Target> {
        let cwd = std::env::current_dir().ok()?;
        let is_there = self.file.is_some() || self.state_dir.is_some() || own_project().is_some();
        if !is_there && crate::config::find(None, &cwd).is_err() {
            return None;
        }
        self.place().ok()
    }

    /// Finds the project: as named; else, inside a component, that of the orch that runs it; else the nearest.
    /// Ends with 3 where an orch runs another file with the same state directory.
    pub(super) fn find(&self) -> Result<Target, Exit> {
        let target = self.place()?;
        target.is_what_runs()?;
        Ok(target)
    }

    /// The same, whatever runs there now.
    pub(super) fn place(&self) -> Result<Target, Exit> {
        let own = own_project().filter(|_| self.file.is_none());
        if let Some(dir) = self.state_dir.clone().filter(|_| self.file.is_none()).or(own) {
            return Ok(Target { file: None, state_dir: absolute(dir)? });
        }
        let file = absolute(file(self.file.as_deref())?)?;
        let state_dir = match self.state_dir.clone().or_else(state_dir) {
            Some(named) => absolute(named)?,
            None => file.with_file_name(".orch"),
        };
        Ok(Target { file: Some(file), state_dir })
    }
}

impl Target {
    /// The project of the orch that runs this command, inside a component.
    pub(super) fn own() -> Option<Self> {
        own_project().map(|state_dir| Self { file: None, state_dir })
    }

    /// The same, for a look, which takes milliseconds: an orch that stands still is not waited for without end.
    pub(super) fn looking(&self) -> Client {
        self.client().within(STILL)
    }

    /// The YAML file; that of a project which is known by its state directory is asked for.
    pub(super) fn yaml(&self) -> Result<PathBuf, Exit> {
        match &self.file {
            Some(file) => Ok(file.clone()),
            None => {
                let version: Version =
                    self.client().get("/v1/version").map_err(|error| unanswered(&error))?;
                Ok(PathBuf::from(version.file))
            }
        }
    }

    /// The orch that runs another file there: two in one folder have one state directory.
    pub(super) fn other(&self) -> Option<Version> {
        let file = self.file.as_deref()?;
        // Who does not answer is asked again by the command itself.
        let version = self.client().within(LOOK).get::<Version>("/v1/version").ok()?;
        // Where one is gone, or its name is not UTF-8, that can't be told.
        let (meant, runs) = (file.canonicalize().ok()?, Path::new(&version.file).canonicalize().ok()?);
        (meant != runs).then_some(version)
    }

    /// Says so if there is one.
    fn is_what_runs(&self) -> Result<(), Exit> {
        let (Some(file), Some(Version { file: runs, pid, .. })) = (&self.file, self.other()) else {
            return Ok(());
        };
        let text = format!(
            "no orch runs {}; the one in its state directory, pid {pid}, runs {runs}",
            file.display()
        );
        complain(&harmless(&text));
        Err(Exit::Taken)
    }

    /// The way to whoever runs it.
    pub(super) fn client(&self) -> Client {
        Client::new(&self.state_dir)
    }
}

/// Says why a running orch did not answer.
pub(super) fn unanswered(error: &ClientError) -> Exit {
    let help = match error {
        ClientError::NotRunning => Some("start one with `orch up`"),
        ClientError::Refused(_, refusal) => refusal.help.as_deref(),
        ClientError::Ended | ClientError::TimedOut | ClientError::Failed(_) => None,
    };
    // Words of the running orch's, which may hold a path or what a program has said.
    complain(&harmless(&match help {
        Some(help) => format!("{error}; {help}"),
        None => error.to_string(),
    }));
    match error {
        ClientError::NotRunning => Exit::Taken,
        ClientError::TimedOut => Exit::Late,
        // What was asked for can't be: a name that there is not, a word that means nothing.
        ClientError::Refused(400 | 404, _) => Exit::Usage,
        ClientError::Refused(..) | ClientError::Ended | ClientError::Failed(_) => Exit::Failed,
    }
}

/// The state directory of the orch that this process is a component of.
fn own_project() -> Option<PathBuf> {
    let socket = std::env::var_os("ORCH_CONTROL").filter(|path| !path.is_empty())?;
    Some(PathBuf::from(socket).parent()?.to_path_buf())
}

fn absolute(path: PathBuf) -> Result<PathBuf, Exit> {
    std::path::absolute(path).map_err(|error| complain(&format!("can't tell the folder: {error}")))
}
