//! `orch upgrade`.

use std::path::{Path, PathBuf};

use super::args::UpgradeArgs;
use super::exit::Exit;
use super::{complain, file, state_dir, tell};
use crate::config::{LoadOptions, load};
use crate::runtime::{UpgradeError, answer, upgrade as run};

pub(super) fn upgrade(args: &UpgradeArgs) -> Exit {
    let program = match args.program.clone().map_or_else(std::env::current_exe, std::path::absolute) {
        Ok(program) => program,
        Err(error) => return complain(&format!("can't tell which program is meant: {error}")),
    };
    let named =
        args.state_dir.clone().or_else(|| own_project().filter(|_| args.file.is_none())).or_else(state_dir);
    let dir = match named.map_or_else(|| file(args.file.as_deref()).map(project_state_dir), Ok) {
        Ok(dir) => dir,
        Err(exit) => return exit,
    };
    match run(&dir, &program) {
        Ok(version) => {
            let program = program.display();
            tell(&format!("orch: {program} (version {version}) has taken over; every process runs on\n"));
            Exit::Done
        }
        Err(UpgradeError::NotRunning) => {
            complain("no orch runs this project; start one with `orch up`");
            Exit::Taken
        }
        Err(UpgradeError::Refused(error)) => {
            complain(&format!("the running orch goes on as it was: {error}"))
        }
        Err(UpgradeError::Failed(error)) => complain(&format!("can't ask the running orch: {error}")),
    }
}

/// The state directory of the orch that this process is a component of.
fn own_project() -> Option<PathBuf> {
    PathBuf::from(std::env::var_os("ORCH_CONTROL")?).parent().map(Path::to_path_buf)
}

/// As the file has it; one with mistakes has it beside itself.
fn project_state_dir(file: PathBuf) -> PathBuf {
    let project = load(&file, &LoadOptions::default()).project;
    project.map_or_else(|| file.with_file_name(".orch"), |project| project.state_dir)
}

/// The answer to a running orch that wants to become this program.
pub(super) fn takes_over() -> Exit {
    match answer() {
        Ok(()) => Exit::Done,
        Err(error) => {
            // On standard output: there the asker reads.
            println!("no: {error}");
            Exit::Failed
        }
    }
}
