//! `orch plan`, `orch reload`: what an edit would do, and what it does.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::exit::Exit;
use super::progress::{Interrupted, awaited, left_alone};
use super::target::{Target, TargetArgs, unanswered};
use super::{check, colors, complain, pretty, print, tell};
use crate::api::{Mistake, PlanReport, PlanRequest, Version};
use crate::client::{Client, ClientError};
use crate::config::render::{self, harmless};
use crate::plan::{Row, steps_text};

pub(super) const AFTER_PLAN: &str = "\
Examples:
  orch plan                        what saving the YAML file would do, or what `orch reload` would
  orch plan --against other.yaml   what it would do if it were this file
  orch plan --json                 for programs: {\"valid\", \"errors\", \"steps\"}

Nothing is done. The steps are listed in the order in which they would be applied:
  stop      it is no longer there
  start     it is new
  restart   its process can't go on with the new declaration
  update    effective when next used; no process is touched

Ends with 2 if the file is not valid.";

pub(super) const AFTER_RELOAD: &str = "\
Reads the YAML file and its env files again, now, and applies what has changed. There is no need for it while
files are watched: a save does the same. Returns when the new declaration is in force; what it starts may not
be ready yet (see: orch wait).

Ends with 2 if the file is not valid; then nothing changes.";

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// Another file, read as though it were saved in the YAML file's place
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    against: Option<PathBuf>,
    /// As one JSON object, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    target: TargetArgs,
}

pub(super) fn plan(args: &PlanArgs) -> Exit {
    let target = match args.target.find() {
        Ok(target) => target,
        Err(exit) => return exit,
    };
    let against = match args.against.as_deref().map(std::path::absolute).transpose() {
        Ok(against) => against,
        Err(error) => return complain(&format!("can't tell which file is meant: {error}")),
    };
    let Some(request) = request(against.as_deref()) else {
        return complain("can't ask about the file: its path is not UTF-8");
    };
    match target.client().post::<PlanReport>("/v1/plan", &request) {
        Ok(report) if args.json => {
            let PlanReport { valid, errors, steps, .. } = &report;
            worse(print(&pretty(&json!({"valid": valid, "errors": errors, "steps": steps}))), *valid)
        }
        Ok(report) => show(&target, &report, against.as_deref()),
        Err(error) => unanswered(&error),
    }
}

fn request(against: Option<&Path>) -> Option<PlanRequest> {
    match against {
        None => Some(PlanRequest { against: None }),
        Some(path) => Some(PlanRequest { against: Some(path.to_str()?.to_owned()) }),
    }
}

pub(super) fn reload(args: &ReloadArgs) -> Exit {
    let target = match args.target.find() {
        Ok(target) => target,
        Err(exit) => return exit,
    };
    let client = target.client();
    let asked = client.clone();
    let asking = move || reloaded(&asked);
    match awaited(&client, |_| "reading the file".to_owned(), asking) {
        Ok(Ok(report)) => {
            let exit = show(&target, &report, None);
            if !report.valid {
                complain("everything goes on as it was");
            }
            exit
        }
        Ok(Err(error)) => unanswered(&error),
        Err(Interrupted) => {
            left_alone("with it");
            Exit::Failed
        }
    }
}

fn reloaded(client: &Client) -> Result<PlanReport, ClientError> {
    match client.post("/v1/reload", &json!({})) {
        // Another image has taken over; it reads the file once more, and nothing is applied twice.
        Err(ClientError::Ended) => client.post("/v1/reload", &json!({})),
        answer => answer,
    }
}

fn show(target: &Target, report: &PlanReport, against: Option<&Path>) -> Exit {
    if !report.valid {
        tell(&mistakes(target, report, against));
        return Exit::Usage;
    }
    let rows = report.steps.iter().map(|step| Row {
        action: &step.action,
        component: &step.component,
        changed: &step.changed,
        reason: &step.reason,
    });
    print(&steps_text(&report.project, rows))
}

fn worse(printed: Exit, valid: bool) -> Exit {
    if printed == Exit::Done && !valid { Exit::Usage } else { printed }
}

/// The mistakes under their source lines, as `orch validate` shows them; where the file reads otherwise here than
/// for the running orch (it has another environment), as that has told them.
fn mistakes(target: &Target, report: &PlanReport, against: Option<&Path>) -> String {
    let color = colors(&std::io::stderr());
    let file = against.map(Path::to_path_buf).or_else(|| target.file.clone()).or_else(|| file_of(target));
    let here = file.map(|file| check::read(&file, Some(target.state_dir.clone())));
    let same = here.filter(|loaded| {
        let here = render::json(&loaded.diagnostics);
        loaded.project.is_none() && here["errors"] == json!(report.errors)
    });
    match same {
        Some(loaded) => render::human(&loaded.diagnostics, &loaded.sources, color),
        None => report.errors.iter().map(told).collect(),
    }
}

fn file_of(target: &Target) -> Option<PathBuf> {
    target.client().get::<Version>("/v1/version").ok().map(|version| version.file.into())
}

/// A mistake without its source line.
fn told(mistake: &Mistake) -> String {
    let mut text = format!("error[{}]: {}\n", harmless(&mistake.code), harmless(&mistake.message));
    if let Some(file) = &mistake.file {
        let place = match (mistake.line, mistake.column) {
            (Some(line), Some(column)) => format!(":{line}:{column}"),
            _ => String::new(),
        };
        text += &format!(" --> {}{place}\n", harmless(file));
    }
    if let Some(help) = &mistake.help {
        text += &format!("  = help: {}\n", harmless(help));
    }
    text
}
