//! The graph for a terminal.

use std::fmt::Write;

use super::counted;
use crate::config::model::{Dependency, Project};
use crate::plan::graph::{ProjectGraph, condition_word, kind_word};

/// Names longer than this leave what follows them out of line.
const WIDEST_NAME: usize = 24;
/// What a component needs goes on in the next line before this column, where it can.
const LINE: usize = 100;

/// Waves in the order of the start; below each its components, with what they need.
pub(super) fn render(project: &Project, graph: &ProjectGraph) -> String {
    let waves = graph.waves.iter().max().map_or(0, |last| last + 1);
    let components = counted(project.components.len(), "component");
    let mut text = format!("{}: {components} in {}\n", printable(&project.name), counted(waves, "wave"));
    let names = project.components.iter().map(|component| component.name.as_str().len());
    let width = names.filter(|length| *length <= WIDEST_NAME).max().unwrap_or(0);
    let mut wave = None;
    for node in &graph.start_order {
        if wave.replace(graph.waves[*node]) != Some(graph.waves[*node]) {
            // Writing to a string does not fail.
            let _ = writeln!(text, "\nwave {}", graph.waves[*node]);
        }
        let component = &project.components[*node];
        let kind = kind_word(&component.kind);
        let head = format!("  {:width$}  {kind:7}", component.name);
        line(&mut text, &head, &component.depends_on);
    }
    text
}

fn line(text: &mut String, head: &str, dependencies: &[Dependency]) {
    text.push_str(head.trim_end());
    let mut column = head.len();
    for (at, dependency) in dependencies.iter().enumerate() {
        let comma = if at + 1 < dependencies.len() { "," } else { "" };
        let need = format!("{}{comma}", need(dependency));
        if at == 0 {
            text.push_str(&head[head.trim_end().len()..]);
            text.push_str("  needs ");
            column = head.len() + "  needs ".len();
        } else if column + 1 + need.len() > LINE {
            let indent = head.len() + "  needs ".len();
            let _ = write!(text, "\n{:indent$}", "");
            column = indent;
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(&need);
        column += need.len();
    }
    text.push('\n');
}

/// `db ready`, `migrate completed`, `api ready and restarts with it`.
fn need(dependency: &Dependency) -> String {
    let Dependency { name, condition, restart } = dependency;
    let word = condition_word(*condition);
    let with_it = if *restart { " (restarts with it)" } else { "" };
    format!("{name} {word}{with_it}")
}

/// A project's name may be a folder's, which may hold anything.
fn printable(name: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().collect() } else { c.to_string() };
    name.chars().map(escape).collect()
}
