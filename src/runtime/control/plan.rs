//! What an edit would do, or has done. The file is read on a worker thread, one at a time.

use std::path::PathBuf;
use std::sync::Arc;

use hyper::StatusCode;

use super::Shared;
use super::answer::{Answer, Refused, json};
use crate::api::{Mistake, PlanReport};
use crate::config::model::Project;
use crate::plan::Plan;
use crate::runtime::clients::{Proposal, Reloaded};
use crate::runtime::inbox::Message;
use crate::runtime::shapes;
use crate::types::{Diagnostic, Severity};

/// Reads the file, or another one in its place, and says what that would change.
pub(super) async fn planned(shared: &Shared, against: Option<PathBuf>) -> Answer {
    // Many at once would be nothing but slower, and each holds a whole file.
    let _turn = shared.planning.acquire().await.map_err(|_| Refused::ending())?;
    let reading = shared.reading.clone();
    let read = tokio::task::spawn_blocking(move || {
        let loaded = reading.read(against.as_deref());
        let proposal = loaded.project.map(|project| proposal(project, |project| reading.chosen(project)));
        (proposal, mistakes(&loaded.diagnostics))
    });
    let (proposal, errors) = read.await.map_err(|_| broken())?;
    let valid = proposal.is_some();
    let plan = shared.control.ask(|reply| Message::Plan { proposal, reply });
    let (plan, generation) = plan.await.map_err(|_| Refused::ending())?;
    Ok(json(StatusCode::OK, &report(valid, errors, &plan, generation)))
}

fn proposal(
    project: Project,
    chosen: impl Fn(&Project) -> std::collections::BTreeSet<crate::types::Name>,
) -> Proposal {
    let chosen = chosen(&project);
    Proposal { project: Arc::new(project), chosen }
}

/// Says what a reload has changed.
pub(super) fn applied(reloaded: Reloaded) -> Answer {
    let report = match reloaded {
        Reloaded::Applied(plan, generation) => report(true, Vec::new(), &plan, generation),
        Reloaded::Rejected(errors, generation) => {
            report(false, mistakes(&errors), &Plan::default(), generation)
        }
        Reloaded::Broken => return Err(broken()),
    };
    Ok(json(StatusCode::OK, &report))
}

fn broken() -> Refused {
    Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "a fault in orch: reading the file has broken off")
}

fn report(valid: bool, errors: Vec<Mistake>, plan: &Plan, config_generation: u64) -> PlanReport {
    let steps = plan.steps.iter().map(shapes::step);
    PlanReport { valid, errors, steps: steps.collect(), project: plan.project.clone(), config_generation }
}

fn mistakes(diagnostics: &[Diagnostic]) -> Vec<Mistake> {
    diagnostics.iter().filter(|one| one.severity == Severity::Error).map(mistake).collect()
}

fn mistake(diagnostic: &Diagnostic) -> Mistake {
    let place = diagnostic.place.as_ref();
    let file = place.map(|place| &place.file).or(diagnostic.file.as_ref());
    let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    Mistake {
        code: diagnostic.code.to_owned(),
        message: diagnostic.message.clone(),
        file: file.map(|file| file.to_string_lossy().into_owned()),
        line: place.map(|place| number(place.line)),
        column: place.map(|place| number(place.column)),
        path: Some(diagnostic.path.clone()).filter(|path| !path.is_empty()),
        help: diagnostic.help.clone(),
    }
}
