//! The graph for scripts. It is written from what borrows of the project: a large graph is not held twice.

use serde::Serialize;

use crate::config::model::Project;
use crate::plan::graph::{ProjectGraph, condition_word, kind_word};

/// The shape of the contract, section 6.
#[derive(Serialize)]
struct Whole<'p> {
    nodes: Vec<Node<'p>>,
    edges: Vec<Edge<'p>>,
    start_order: Vec<&'p str>,
    stop_order: Vec<&'p str>,
}

#[derive(Serialize)]
struct Node<'p> {
    name: &'p str,
    kind: &'static str,
    wave: usize,
}

#[derive(Serialize)]
struct Edge<'p> {
    from: &'p str,
    to: &'p str,
    condition: &'static str,
}

pub(super) fn render(project: &Project, graph: &ProjectGraph) -> String {
    let name = |node: usize| project.components[node].name.as_str();
    let nodes = project.components.iter().zip(&graph.waves).map(|(component, wave)| Node {
        name: component.name.as_str(),
        kind: kind_word(&component.kind),
        wave: *wave,
    });
    let edges = graph.edges.iter().map(|edge| Edge {
        from: name(edge.from),
        to: name(edge.to),
        condition: condition_word(edge.condition),
    });
    let start_order: Vec<&str> = graph.start_order.iter().map(|at| name(*at)).collect();
    let stop_order = start_order.iter().rev().copied().collect();
    let whole = Whole { nodes: nodes.collect(), edges: edges.collect(), start_order, stop_order };
    // Neither texts nor numbers can fail to be written.
    serde_json::to_string_pretty(&whole).unwrap_or_default() + "\n"
}
