//! The dependency graph, on bare indices: cycles, waves and orders. Pure, iterative (a chain of 100,000
//! components overflows no stack), linear in nodes and edges. The only file that imports petgraph.

mod cycles;

pub use cycles::Cycles;
use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};

/// Who depends on whom. Nodes are `0..nodes`; an edge runs from a component to what it depends on.
#[derive(Debug, Clone)]
pub struct Graph {
    edges: DiGraph<(), (), u32>,
}

impl Graph {
    /// A graph of so many nodes with these edges; each edge's ends are below `nodes`.
    #[must_use]
    pub fn new(nodes: usize, edges: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut graph = DiGraph::with_capacity(nodes, nodes);
        for _ in 0..nodes {
            graph.add_node(());
        }
        for (from, to) in edges {
            graph.add_edge(NodeIndex::new(from), NodeIndex::new(to), ());
        }
        Self { edges: graph }
    }

    /// What `node` depends on.
    pub fn dependencies(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        self.edges.neighbors(NodeIndex::new(node)).map(NodeIndex::index)
    }

    /// The wave of each node: 0 where it has no dependencies, else one more than its deepest dependency.
    /// `None` if there is a cycle.
    #[must_use]
    pub fn waves(&self) -> Option<Vec<usize>> {
        let order = toposort(&self.edges, None).ok()?;
        let mut waves = vec![0; order.len()];
        for node in order.into_iter().rev() {
            let deepest = self.dependencies(node.index()).map(|to| waves[to] + 1).max();
            waves[node.index()] = deepest.unwrap_or(0);
        }
        Some(waves)
    }

    /// The nodes by wave, and within a wave in their own order: everything comes after what it depends on.
    /// The stop order is the reverse. `None` if there is a cycle.
    #[must_use]
    pub fn start_order(&self) -> Option<Vec<usize>> {
        let waves = self.waves()?;
        let mut order: Vec<usize> = (0..waves.len()).collect();
        order.sort_by_key(|node| waves[*node]);
        Some(order)
    }
}

#[cfg(test)]
mod tests {
    use super::Graph;

    #[test]
    fn waves_and_orders() {
        let diamond = Graph::new(4, [(3, 1), (3, 2), (1, 0), (2, 0)]);
        assert_eq!(diamond.waves(), Some(vec![0, 1, 1, 2]));
        assert_eq!(diamond.start_order(), Some(vec![0, 1, 2, 3]));
        assert_eq!(diamond.cycles(), super::Cycles::default());
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_overflows_no_stack() {
        let last = 100_000;
        let chain = Graph::new(last + 1, (0..last).map(|node| (node, node + 1)));
        assert_eq!(chain.waves().map(|waves| waves[0]), Some(last));
        let ring = Graph::new(last, (0..last).map(|node| (node, (node + 1) % last)));
        assert_eq!(ring.cycles().whole.first().map(Vec::len), Some(last));
    }
}
