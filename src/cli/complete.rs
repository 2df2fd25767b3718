//! What a shell may complete: names of components, profiles. A completion is asked for between two keys, so it
//! is quick, and says nothing of what goes wrong.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{CompleteEnv, EnvCompleter, Shells};

use super::args::Cli;
use super::exit::Exit;
use super::target::TargetArgs;
use super::{check, complain, print_bytes};
use crate::api::{ComponentStatus, Status};
use crate::client::Client;
use crate::config::model::Project;

/// By this variable a shell asks for completions; its value is the shell's name.
const ASKED_BY: &str = "COMPLETE";

/// A running orch that takes longer is not asked.
const LIMIT: Duration = Duration::from_millis(200);

/// Answers a shell that asks for completions; whether one did.
pub(super) fn answered() -> bool {
    let shells = Shells::builtins();
    // The variable's name is anybody's: any other value means somebody else.
    let asked = std::env::var(ASKED_BY).is_ok_and(|shell| shells.completer(&shell).is_some());
    if !asked {
        return false;
    }
    let cwd = std::env::current_dir().ok();
    let asking = CompleteEnv::with_factory(Cli::command).var(ASKED_BY);
    // Whatever is wrong, a prompt is no place to tell it.
    asking.try_complete(std::env::args_os(), cwd.as_deref()).unwrap_or(true)
}

/// Prints what has the shell ask.
pub(super) fn registration(shell: Shell) -> Exit {
    let shells = Shells::builtins();
    let mut text = Vec::new();
    let written = match shells.completer(&shell.to_string()) {
        Some(completer) => register(completer, &mut text),
        None => {
            clap_complete::generate(shell, &mut Cli::command(), "orch", &mut text);
            Ok(())
        }
    };
    match written {
        Ok(()) => print_bytes(&text),
        Err(error) => complain(&format!("can't make the completions: {error}")),
    }
}

fn register(completer: &dyn EnvCompleter, text: &mut Vec<u8>) -> std::io::Result<()> {
    // The one that is found by its name is found again after it was replaced.
    let mut program = PathBuf::from(std::env::args_os().next().unwrap_or_else(|| "orch".into()));
    if program.components().count() > 1 {
        program = std::path::absolute(program)?;
    }
    completer.write_registration(ASKED_BY, "orch", "orch", &program.to_string_lossy(), text)?;
    text.flush()
}

/// Completes names of components: of the project that runs, else of the YAML file.
pub(super) fn components() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates().unwrap_or_default())
}

/// Completes profiles, of the YAML file.
pub(super) fn profiles() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let declared = declared();
        let components = declared.iter().flat_map(|project| &project.components);
        let profiles: BTreeSet<&String> = components.flat_map(|component| &component.profiles).collect();
        profiles.into_iter().map(CompletionCandidate::new).collect()
    })
}

fn candidates() -> Option<Vec<CompletionCandidate>> {
    match running() {
        Some(status) => Some(status.components.iter().map(of_running).collect()),
        None => Some(
            declared()?
                .components
                .iter()
                .map(|component| {
                    let candidate = CompletionCandidate::new(component.name.as_str());
                    candidate.help(component.description.clone().map(Into::into))
                })
                .collect(),
        ),
    }
}

fn of_running(component: &ComponentStatus) -> CompletionCandidate {
    CompletionCandidate::new(&component.name).help(Some(component.state.clone().into()))
}

fn running() -> Option<Status> {
    let target = meant().quietly()?;
    Client::new(&target.state_dir).within(LIMIT).get("/v1/status").ok()
}

/// The project of the file, valid or not at all.
fn declared() -> Option<Project> {
    let target = meant().quietly()?;
    check::read(&target.file?, Some(target.state_dir)).project
}

/// Which project the line means that is being completed.
fn meant() -> TargetArgs {
    let words: Vec<OsString> = std::env::args_os().collect();
    let value = |option: &str| {
        let separate = words.windows(2).find(|pair| pair[0] == option).map(|pair| pair[1].clone());
        let prefix = format!("{option}=");
        let joined =
            || words.iter().find_map(|word| word.to_str()?.strip_prefix(&prefix).map(OsString::from));
        separate.or_else(joined).filter(|value| !value.is_empty()).map(PathBuf::from)
    };
    TargetArgs::new(value("--file"), value("--state-dir"))
}
