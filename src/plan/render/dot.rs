//! The graph for Graphviz.

use std::fmt::Write;

use crate::config::model::{Condition, Kind, Project};
use crate::plan::graph::{ProjectGraph, condition_word};

pub(super) fn render(project: &Project, graph: &ProjectGraph) -> String {
    let mut text = format!("digraph {} {{\n", quoted(&project.name));
    // Dependencies stand to the left of what needs them, so the picture reads in the order of the start.
    text.push_str("    rankdir=RL;\n");
    text.push_str("    node [shape=box, style=rounded, fontname=\"sans-serif\"];\n");
    text.push_str("    edge [fontname=\"sans-serif\", fontsize=10];\n");
    // Writing to a string does not fail.
    for component in &project.components {
        let thread = match component.kind {
            Kind::Process(_) => "",
            Kind::Thread { .. } => " [style=\"rounded,dashed\"]",
        };
        let _ = writeln!(text, "    {}{thread};", quoted(component.name.as_str()));
    }
    for edge in &graph.edges {
        let [from, to] = [edge.from, edge.to].map(|node| quoted(project.components[node].name.as_str()));
        let label = match edge.condition {
            Condition::Ready => String::new(),
            other => format!(" [label={}]", quoted(condition_word(other))),
        };
        let _ = writeln!(text, "    {from} -> {to}{label};");
    }
    text.push_str("}\n");
    text
}

/// A quoted identifier. Names need the quotes for their `.` and `-`; a project's name may hold anything.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => quoted.push(' '),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
