//! The graph for Mermaid.

use std::fmt::Write;

use crate::config::model::{Condition, Kind, Project};
use crate::plan::graph::{ProjectGraph, condition_word};

pub(super) fn render(project: &Project, graph: &ProjectGraph) -> String {
    // Dependencies stand to the left of what needs them, so the picture reads in the order of the start.
    let mut text = String::from("flowchart RL\n");
    // Mermaid has words that are no identifiers, such as `end`, so the names are labels only. Their pattern
    // admits nothing that a quoted label would have to escape. Writing to a string does not fail.
    for (node, component) in project.components.iter().enumerate() {
        let name = &component.name;
        let _ = match component.kind {
            Kind::Process(_) => writeln!(text, "    c{node}[\"{name}\"]"),
            Kind::Thread { .. } => writeln!(text, "    c{node}([\"{name}\"])"),
        };
    }
    for edge in &graph.edges {
        let (from, to) = (edge.from, edge.to);
        let _ = match edge.condition {
            Condition::Ready => writeln!(text, "    c{from} --> c{to}"),
            other => writeln!(text, "    c{from} -->|{}| c{to}", condition_word(other)),
        };
    }
    text
}
