//! `orch upgrade`.

use std::path::Path;

use super::args::UpgradeArgs;
use super::exit::Exit;
use super::target::unanswered;
use super::{complain, tell};
use crate::api::{UpgradeRequest, Version};
use crate::client::{Client, ClientError};
use crate::runtime::answer;

pub(super) fn upgrade(args: &UpgradeArgs) -> Exit {
    let program = match args.program.clone().map_or_else(std::env::current_exe, std::path::absolute) {
        Ok(program) => program,
        Err(error) => return complain(&format!("can't tell which program is meant: {error}")),
    };
    let client = match args.target.find() {
        Ok(target) => target.client(),
        Err(exit) => return exit,
    };
    match become_program(&client, &program) {
        Ok(version) => {
            let program = program.display();
            tell(&format!("orch: {program} (version {version}) has taken over; every process runs on\n"));
            Exit::Done
        }
        Err(ClientError::Refused(_, refusal)) => {
            complain(&format!("the running orch goes on as it was: {}", refusal.error))
        }
        Err(error) => unanswered(&error),
    }
}

/// Has the running orch become `program`; gives the version of the new image, when that serves.
fn become_program(client: &Client, program: &Path) -> Result<String, ClientError> {
    let failed = |error: &str| ClientError::Failed(error.to_owned());
    let path = program.to_str().ok_or_else(|| failed("the program's path is not UTF-8"))?.to_owned();
    let before: Version = client.get("/v1/version")?;
    match client.post::<serde_json::Value>("/v1/upgrade", &UpgradeRequest { path }) {
        // The old image has ended without a word.
        Err(ClientError::Ended) => {}
        Err(error) => return Err(error),
        Ok(_) => return Err(failed("it answers, and does not become another image")),
    }
    // The new one serves when it answers.
    let after: Version = client.get("/v1/version")?;
    let next = after.images > before.images;
    next.then_some(after.version).ok_or_else(|| failed("the new image does not answer"))
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
