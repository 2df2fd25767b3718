//! The graph for scripts.

use serde_json::{Value, json};

use crate::config::model::Project;
use crate::plan::graph::{ProjectGraph, condition_word, kind_word};

pub(super) fn render(project: &Project, graph: &ProjectGraph) -> String {
    let name = |node: usize| project.components[node].name.as_str();
    let node = |(component, wave): (&std::sync::Arc<crate::config::model::Component>, &usize)| json!({"name": component.name.as_str(), "kind": kind_word(&component.kind), "wave": wave});
    let nodes: Vec<Value> = project.components.iter().zip(&graph.waves).map(node).collect();
    let edges: Vec<Value> = (graph.edges.iter())
        .map(|edge| {
            let condition = condition_word(edge.condition);
            json!({"from": name(edge.from), "to": name(edge.to), "condition": condition})
        })
        .collect();
    let start: Vec<&str> = graph.start_order.iter().map(|at| name(*at)).collect();
    let stop: Vec<&str> = start.iter().rev().copied().collect();
    let whole = json!({"nodes": nodes, "edges": edges, "start_order": start, "stop_order": stop});
    format!("{whole:#}\n")
}
