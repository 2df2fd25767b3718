//! `orch validate`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::{ReportFormat, ValidateArgs};
use super::exit::Exit;
use super::{colors, no_file, print, sought, state_dir};
use crate::config::{LoadOptions, Loaded, load, render};
use crate::runner::thread::Registry;
use crate::runtime::threads;
use crate::types::Severity;

pub(super) fn validate(args: &ValidateArgs) -> Exit {
    let file = match sought(args.file.as_deref()) {
        Ok(Ok(file)) => file,
        // A program that asked for a report gets one.
        Ok(Err(none)) => match args.format {
            ReportFormat::Json => {
                print(&render::json_text(&[none]));
                return Exit::Usage;
            }
            ReportFormat::Human => return no_file(&none),
        },
        Err(exit) => return exit,
    };
    let loaded = read(&file, state_dir());
    let printed = match args.format {
        ReportFormat::Json => print(&render::json_text(&loaded.diagnostics)),
        ReportFormat::Human => print(&human(&file, &loaded)),
    };
    if loaded.project.is_some() { printed } else { Exit::Usage }
}

/// Loads a file as `orch up` would, with this state directory.
pub(super) fn read(file: &Path, state_dir: Option<PathBuf>) -> Loaded {
    load(file, &load_options(state_dir))
}

/// What such a load is told, beside the file.
pub(super) fn load_options(state_dir: Option<PathBuf>) -> LoadOptions {
    LoadOptions {
        state_dir,
        environment: std::env::vars_os().collect(),
        threads: Some(threads(&Arc::new(Registry::builtin()))),
    }
}

fn human(file: &Path, loaded: &Loaded) -> String {
    let report = render::human(&loaded.diagnostics, &loaded.sources, colors(&std::io::stdout()));
    let warnings = loaded.diagnostics.iter().filter(|one| one.severity == Severity::Warning).count();
    // A folder's name may hold anything.
    let path = file.to_string_lossy();
    let file = render::harmless(&path);
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let verdict = match &loaded.project {
        None => {
            let errors = plural(loaded.diagnostics.len() - warnings, "error");
            format!("{file} is not valid: {errors}\n")
        }
        Some(project) => {
            let components = plural(project.components.len(), "component");
            let warned =
                if warnings > 0 { format!(", {}", plural(warnings, "warning")) } else { String::new() };
            format!("{file} is valid: {components}{warned}\n")
        }
    };
    format!("{report}{verdict}")
}
