//! `orch validate`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::{ReportFormat, ValidateArgs};
use super::exit::Exit;
use super::{colors, file, pretty, print, state_dir};
use crate::config::{LoadOptions, Loaded, load, render};
use crate::runner::thread::Registry;
use crate::runtime::threads;
use crate::types::Severity;

pub(super) fn validate(args: &ValidateArgs) -> Exit {
    let file = match file(args.file.as_deref()) {
        Ok(file) => file,
        Err(exit) => return exit,
    };
    let loaded = read(&file, state_dir());
    let printed = match args.format {
        ReportFormat::Json => print(&pretty(&render::json(&loaded.diagnostics))),
        ReportFormat::Human => print(&human(&file, &loaded)),
    };
    if loaded.project.is_some() { printed } else { Exit::Usage }
}

/// Loads a file as `orch up` would, with this state directory.
pub(super) fn read(file: &Path, state_dir: Option<PathBuf>) -> Loaded {
    let options = LoadOptions {
        state_dir,
        environment: std::env::vars_os().collect(),
        threads: Some(threads(&Arc::new(Registry::builtin()))),
    };
    load(file, &options)
}

fn human(file: &Path, loaded: &Loaded) -> String {
    let report = render::human(&loaded.diagnostics, &loaded.sources, colors(&std::io::stdout()));
    let warnings = loaded.diagnostics.iter().filter(|one| one.severity == Severity::Warning).count();
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let verdict = match &loaded.project {
        None => {
            let errors = plural(loaded.diagnostics.len() - warnings, "error");
            format!("{} is not valid: {errors}\n", file.display())
        }
        Some(project) => {
            let components = plural(project.components.len(), "component");
            let warned =
                if warnings > 0 { format!(", {}", plural(warnings, "warning")) } else { String::new() };
            format!("{} is valid: {components}{warned}\n", file.display())
        }
    };
    format!("{report}{verdict}")
}
