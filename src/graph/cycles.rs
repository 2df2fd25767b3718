//! The cycles of a graph: so many, each whole, that whoever breaks them all has no cycle left that uses an edge
//! which closes one, in time and space linear in the graph.

use petgraph::algo::kosaraju_scc;
use petgraph::graph::NodeIndex;
use std::collections::{BTreeSet, VecDeque};

use super::Graph;

/// How many times the graph the searches for shortest cycles may look at, all together. Beyond it, a cycle is
/// shown as it was met.
const SEARCHES: usize = 32;
/// What is looked at, and what is shown, is free up to this: small graphs have all their cycles shown.
const FREE: usize = 100_000;
/// How many times the graph all shown cycles may be.
const SHOWN: usize = 8;

/// What keeps a graph from having an order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cycles {
    /// Whole cycles, in order: `[a, b, c]` means a → b → c → a, and `a` is the smallest. Self-dependencies are
    /// cycles of one. Every edge that closes a cycle is in one of them, or in `more`.
    pub whole: Vec<Vec<usize>>,
    /// Edges that close further cycles, which are not shown: all together they would be many times as long as the
    /// graph.
    pub more: Vec<(usize, usize)>,
}

impl Graph {
    /// The cycles: for each edge that closes one and is in none of those found before, a shortest one.
    #[must_use]
    pub fn cycles(&self) -> Cycles {
        let mut finder = Finder::new(self);
        for knot in kosaraju_scc(&self.edges) {
            let mut knot: Vec<usize> = knot.into_iter().map(NodeIndex::index).collect();
            if knot.len() > 1 || self.dependencies(knot[0]).any(|to| to == knot[0]) {
                knot.sort_unstable();
                finder.knot(&knot);
            }
        }
        let Finder { mut found, .. } = finder;
        found.whole.sort();
        found.more.sort_unstable();
        found
    }

    /// What `node` depends on, in the order in which the edges were given.
    fn ordered(&self, node: usize) -> Vec<usize> {
        let mut to: Vec<usize> = self.dependencies(node).collect();
        to.reverse();
        to
    }
}

struct Finder<'g> {
    graph: &'g Graph,
    /// By node: the number of its knot, from 1; 0 before.
    knots: Vec<u32>,
    number: u32,
    /// By node, while its knot is searched: the depth first search's.
    depth: Vec<usize>,
    parent: Vec<usize>,
    /// By node: whether the search has left it, so that it is no longer on the way.
    left: Vec<bool>,
    /// By node: the last breadth first search that met it, and from where.
    met: Vec<(u32, usize)>,
    searches: u32,
    looks_left: usize,
    shown_left: usize,
    covered: BTreeSet<(usize, usize)>,
    found: Cycles,
}

/// A node on the way of the depth first search.
struct Visit {
    node: usize,
    next: std::vec::IntoIter<usize>,
}

impl<'g> Finder<'g> {
    fn new(graph: &'g Graph) -> Self {
        let nodes = graph.edges.node_count();
        let size = nodes + graph.edges.edge_count();
        Self {
            graph,
            knots: vec![0; nodes],
            number: 0,
            depth: vec![0; nodes],
            parent: vec![0; nodes],
            left: vec![false; nodes],
            met: vec![(0, 0); nodes],
            searches: 0,
            looks_left: FREE + SEARCHES * size,
            shown_left: FREE + SHOWN * size,
            covered: BTreeSet::new(),
            found: Cycles::default(),
        }
    }

    fn knot(&mut self, knot: &[usize]) {
        self.number += 1;
        for node in knot {
            self.knots[*node] = self.number;
        }
        let mut closing = self.closing(knot[0]);
        // The shortest first, so that as many as possible are shown.
        closing.sort_by_key(|(from, to)| self.depth[*from] - self.depth[*to]);
        for (from, to) in closing {
            if !self.covered.contains(&(from, to)) {
                self.close(from, to);
            }
        }
    }

    /// The edges back to a node on the way, depth first: without them the knot has no cycle.
    fn closing(&mut self, start: usize) -> Vec<(usize, usize)> {
        let mut closing = Vec::new();
        let graph = self.graph;
        let visit = |node: usize| Visit { node, next: graph.ordered(node).into_iter() };
        let mut way = vec![visit(start)];
        self.depth[start] = 1;
        while let Some(Visit { node, next }) = way.last_mut() {
            let from = *node;
            let Some(to) = next.next() else {
                self.left[from] = true;
                way.pop();
                continue;
            };
            if self.knots[to] != self.number || self.left[to] {
                continue;
            }
            if self.depth[to] == 0 {
                self.depth[to] = way.len() + 1;
                self.parent[to] = from;
                way.push(visit(to));
            } else {
                closing.push((from, to));
            }
        }
        closing
    }

    /// Shows a cycle with this closing edge, if there is room.
    fn close(&mut self, from: usize, to: usize) {
        let mut cycle = self.shortest(to, from).unwrap_or_default();
        if cycle.is_empty() {
            let length = self.depth[from] + 1 - self.depth[to];
            if length > self.shown_left {
                self.found.more.push((from, to));
                return;
            }
            cycle = self.back(from, to, |finder, node| finder.parent[node]);
        }
        let Some(left) = self.shown_left.checked_sub(cycle.len()) else {
            self.found.more.push((from, to));
            return;
        };
        self.shown_left = left;
        let smallest = cycle.iter().enumerate().min_by_key(|(_, node)| **node).map_or(0, |(at, _)| at);
        cycle.rotate_left(smallest);
        let after = cycle.iter().skip(1).chain(cycle.first());
        self.covered.extend(cycle.iter().copied().zip(after.copied()));
        self.found.whole.push(cycle);
    }

    /// A shortest way from `start` to `end` within the knot: breadth first. `None` if the time is up.
    fn shortest(&mut self, start: usize, end: usize) -> Option<Vec<usize>> {
        self.searches += 1;
        let search = self.searches;
        self.met[start] = (search, start);
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            if node == end {
                return Some(self.back(end, start, |finder, node| finder.met[node].1));
            }
            for next in self.graph.dependencies(node) {
                self.looks_left = self.looks_left.checked_sub(1)?;
                if self.knots[next] == self.number && self.met[next].0 != search {
                    self.met[next] = (search, node);
                    queue.push_back(next);
                }
            }
        }
        None
    }

    /// The way from `start` to `end`, by what each node was reached from.
    fn back(&self, end: usize, start: usize, before: impl Fn(&Self, usize) -> usize) -> Vec<usize> {
        let mut way = vec![end];
        let mut node = end;
        while node != start {
            node = before(self, node);
            way.push(node);
        }
        way.reverse();
        way
    }
}

#[cfg(test)]
mod tests {
    use super::{Cycles, Graph};

    fn cycles(nodes: usize, edges: &[(usize, usize)]) -> Cycles {
        Graph::new(nodes, edges.iter().copied()).cycles()
    }

    #[test]
    fn every_knot_shows_its_cycles_whole() {
        let found = cycles(7, &[(0, 1), (1, 2), (2, 0), (2, 3), (4, 4), (5, 6), (6, 5), (1, 0)]);
        assert_eq!(found.whole, vec![vec![0, 1], vec![0, 1, 2], vec![4], vec![5, 6]]);
        assert!(found.more.is_empty());
    }

    #[test]
    fn cycles_that_share_a_node_are_told_apart() {
        let found = cycles(3, &[(0, 1), (1, 0), (0, 2), (2, 0)]);
        assert_eq!(found.whole, vec![vec![0, 1], vec![0, 2]]);
        // One edge closes both ways round, and the shorter one is shown.
        let found = cycles(4, &[(0, 1), (1, 2), (2, 3), (3, 0), (0, 3)]);
        assert_eq!(found.whole, vec![vec![0, 3]]);
    }

    /// Every node of a long chain points back to its begin: all cycles together would be five billion nodes.
    #[test]
    fn what_is_shown_is_bounded_and_nothing_is_left_out() {
        let last = 100_000;
        let chain = (0..last).map(|node| (node, node + 1));
        let found = Graph::new(last + 1, chain.chain((1..=last).map(|node| (node, 0)))).cycles();
        assert_eq!(found.whole.len() + found.more.len(), last);
        assert!(found.whole.len() > 1_000);
        assert!(found.whole.iter().map(Vec::len).sum::<usize>() < 26 * last);
    }
}
