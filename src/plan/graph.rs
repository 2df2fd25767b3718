//! A project's dependency graph: names and conditions put to the bare indices of [`crate::graph`].

use std::collections::BTreeMap;

use crate::config::model::{Condition, Kind, Project};
use crate::graph::Graph;
use crate::types::Name;

/// One entry of a `depends_on`, by the places of its ends in [`Project::components`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// The component that depends.
    pub from: usize,
    /// What it depends on.
    pub to: usize,
    /// What must hold before its start.
    pub condition: Condition,
    /// Whether it is restarted whenever the dependency is.
    pub restart: bool,
}

/// The graph of a project. A node is the component at that place in [`Project::components`].
#[derive(Debug, Clone)]
pub struct ProjectGraph {
    /// The same graph on bare indices.
    pub graph: Graph,
    /// The node of each name.
    pub index: BTreeMap<Name, usize>,
    /// In the order of the file.
    pub edges: Vec<Edge>,
    /// The wave of each node: 0 where it has no dependencies, else one more than its deepest dependency's.
    pub waves: Vec<usize>,
    /// The nodes by wave, and within a wave in the order of the file; reversed, it is the stop order.
    pub start_order: Vec<usize>,
}

/// The graph of `project`.
///
/// A loaded project has neither unknown dependencies nor cycles. For one put together by hand, unknown
/// dependencies are passed over, and with a cycle every node is in wave 0.
#[must_use]
pub fn of(project: &Project) -> ProjectGraph {
    let components = &project.components;
    let index: BTreeMap<Name, usize> =
        components.iter().enumerate().map(|(at, component)| (component.name.clone(), at)).collect();
    let mut edges = Vec::new();
    for (from, component) in components.iter().enumerate() {
        edges.extend(component.depends_on.iter().filter_map(|dependency| {
            let to = *index.get(&dependency.name)?;
            Some(Edge { from, to, condition: dependency.condition, restart: dependency.restart })
        }));
    }
    let graph = Graph::new(components.len(), edges.iter().map(|edge| (edge.from, edge.to)));
    let waves = graph.waves().unwrap_or_else(|| vec![0; components.len()]);
    let mut start_order: Vec<usize> = (0..components.len()).collect();
    start_order.sort_by_key(|node| waves[*node]);
    ProjectGraph { graph, index, edges, waves, start_order }
}

/// The contract's word for a condition.
pub(crate) fn condition_word(condition: Condition) -> &'static str {
    match condition {
        Condition::Started => "started",
        Condition::Ready => "ready",
        Condition::Completed => "completed",
    }
}

/// The contract's word for a kind.
pub(crate) fn kind_word(kind: &Kind) -> &'static str {
    match kind {
        Kind::Process(_) => "process",
        Kind::Thread { .. } => "thread",
    }
}

#[cfg(test)]
mod tests {
    use super::of;
    use crate::config::model::Condition;
    use crate::plan::testing::{name, project};

    #[test]
    fn names_conditions_waves_and_orders() {
        let graph = of(&project("web: api; api: queue started, db completed; db; queue"));
        assert_eq!(graph.index[&name("db")], 2);
        assert_eq!(graph.waves, [2, 1, 0, 0]);
        assert_eq!(graph.start_order, [2, 3, 1, 0]);
        let edges: Vec<_> = graph.edges.iter().map(|edge| (edge.from, edge.to, edge.condition)).collect();
        let expected = [(0, 1, Condition::Ready), (1, 3, Condition::Started), (1, 2, Condition::Completed)];
        assert_eq!(edges, expected);
    }

    #[test]
    fn what_no_loaded_project_has_does_no_harm() {
        let graph = of(&project("a: b; b: a; c: nowhere"));
        assert_eq!((graph.waves, graph.start_order), (vec![0, 0, 0], vec![0, 1, 2]));
        assert!(of(&project("")).edges.is_empty());
    }
}
