//! Columns of boxes, and edges cut into hops between neighbouring columns.

use crate::config::model::Condition;
use crate::plan::graph::{Edge, ProjectGraph};

/// A wave of at most so many components is one column; of more, as many as make the picture about as high as
/// it is wide.
const COLUMN: usize = 12;
/// With more trunk points than this (only graphs of thousands of components can have them), edges that span
/// several columns are drawn straight.
const MOST_TRUNK_POINTS: usize = 50_000;

/// What stands in a column: the first items are the boxes of the nodes, the others points of trunks.
///
/// All edges to one dependency share one trunk. It leaves the dependency to the right and passes every
/// column at one point, up to the last of its dependents.
pub(super) struct Layers {
    /// How many of the items are boxes.
    pub(super) boxes: usize,
    /// The column of each item.
    pub(super) column: Vec<usize>,
    /// The items of each column, from top to bottom.
    pub(super) columns: Vec<Vec<usize>>,
    /// The wave of each column.
    pub(super) waves: Vec<usize>,
    /// From left to right.
    pub(super) hops: Vec<Hop>,
    /// Whether the box has no edges.
    pub(super) alone: Vec<bool>,
}

/// A piece of an edge, between neighbouring columns.
pub(super) struct Hop {
    /// The item at its left end: the dependency, or a point of its trunk.
    pub(super) left: usize,
    /// The item at its right end: a dependent, or the next point of the trunk.
    pub(super) right: usize,
    /// The condition, where it ends at a dependent.
    pub(super) condition: Option<Condition>,
}

impl Layers {
    /// Whether the hop ends in neighbouring columns; others are the straight ones of huge graphs.
    pub(super) fn is_short(&self, hop: &Hop) -> bool {
        self.column[hop.left] + 1 == self.column[hop.right]
    }
}

pub(super) fn layers(graph: &ProjectGraph) -> Layers {
    let nodes = graph.waves.len();
    let mut alone = vec![true; nodes];
    for edge in &graph.edges {
        (alone[edge.from], alone[edge.to]) = (false, false);
    }
    let mut layers = Layers {
        boxes: nodes,
        column: vec![0; nodes],
        columns: Vec::new(),
        waves: Vec::new(),
        hops: Vec::new(),
        alone,
    };
    layers.stand_in_columns(&graph.waves);
    layers.lay_trunks(&graph.edges);
    layers
}

impl Layers {
    fn stand_in_columns(&mut self, waves: &[usize]) {
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); waves.iter().max().map_or(0, |last| last + 1)];
        for (node, wave) in waves.iter().enumerate() {
            members[*wave].push(node);
        }
        let most = COLUMN.max(waves.len().isqrt() * 3 / 2);
        for (wave, mut nodes) in members.into_iter().enumerate() {
            // Those without edges go to the left, out of the way of the hops to the next wave.
            nodes.sort_by_key(|node| !self.alone[*node]);
            let parts = nodes.len().div_ceil(most).max(1);
            for part in nodes.chunks(nodes.len().div_ceil(parts).max(1)) {
                for node in part {
                    self.column[*node] = self.columns.len();
                }
                self.columns.push(part.to_vec());
                self.waves.push(wave);
            }
        }
    }

    fn lay_trunks(&mut self, edges: &[Edge]) {
        let mut dependents: Vec<Vec<&Edge>> = vec![Vec::new(); self.boxes];
        // In a graph without cycles every edge goes to the left.
        for edge in edges.iter().filter(|edge| self.column[edge.from] > self.column[edge.to]) {
            dependents[edge.to].push(edge);
        }
        let furthest = |edges: &[&Edge]| edges.iter().map(|edge| self.column[edge.from]).max();
        let ends: Vec<Option<usize>> = dependents.iter().map(|edges| furthest(edges)).collect();
        let length = |(to, end): (usize, &Option<usize>)| end.map_or(0, |end| end - self.column[to] - 1);
        let points: usize = ends.iter().enumerate().map(length).sum();
        for (to, edges) in dependents.iter().enumerate() {
            let trunk = match ends[to] {
                Some(end) if points <= MOST_TRUNK_POINTS => self.trunk(to, end),
                _ => vec![to],
            };
            for edge in edges {
                let before = self.column[edge.from] - self.column[to] - 1;
                let left = trunk.get(before).copied().unwrap_or(to);
                self.hops.push(Hop { left, right: edge.from, condition: Some(edge.condition) });
            }
        }
        self.centre_trunks();
    }

    /// Trunks begin in the middle of each column, so that those which nothing pulls elsewhere run level.
    fn centre_trunks(&mut self) {
        for column in &mut self.columns {
            let boxes = column.partition_point(|item| *item < self.boxes);
            column[boxes / 2..].rotate_left(boxes - boxes / 2);
        }
    }

    /// The items of the trunk of `to`, itself first, up to the column before `end`.
    fn trunk(&mut self, to: usize, end: usize) -> Vec<usize> {
        let mut trunk = vec![to];
        for column in self.column[to] + 1..end {
            let point = self.column.len();
            self.column.push(column);
            self.columns[column].push(point);
            self.hops.push(Hop { left: trunk[trunk.len() - 1], right: point, condition: None });
            trunk.push(point);
        }
        trunk
    }
}
