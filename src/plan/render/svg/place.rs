//! Coordinates. Everything is in pixels, from the upper left corner.

use super::layers::{Hop, Layers};
use super::order::Neighbours;
use crate::config::model::{Condition, Project};

/// Height of a box.
pub(super) const BOX: f64 = 36.0;
/// Height of a condition's label.
pub(super) const LABEL: f64 = 18.0;
/// From the left edge of a box to its name.
pub(super) const INDENT: f64 = 36.0;
/// Between what stands one below the other in a column.
const ROW_GAP: f64 = 14.0;
/// Around all.
const MARGIN: f64 = 20.0;
/// From a band's edge to what is in it.
const PADDING: f64 = 16.0;
/// Room for a band's heading.
const HEADING: f64 = 26.0;
/// Width of a character of a name, and of a label, in a monospaced font.
const NAME_CHARACTER: f64 = 7.9;
const LABEL_CHARACTER: f64 = 6.1;
/// Least and greatest room between columns; more where hops are steep.
const GAP: (f64, f64) = (52.0, 150.0);
/// How often rows are pulled towards what they are joined to.
const PULLS: usize = 14;
/// With more labels in one gap than this, they are not kept apart.
const LABELS_KEPT_APART: usize = 100;

/// A rectangle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A smooth line from left to right, and the level line that goes on from its end to `on_to`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) from: (f64, f64),
    pub(super) to: (f64, f64),
    pub(super) on_to: f64,
}

/// A finished drawing.
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    /// Of each node.
    pub(super) boxes: Vec<Rect>,
    /// One behind each wave.
    pub(super) bands: Vec<Rect>,
    pub(super) lines: Vec<Line>,
    pub(super) labels: Vec<(Rect, Condition)>,
    /// Where a dependency is pointed at.
    pub(super) heads: Vec<(f64, f64)>,
    /// Where a dependent's lines begin.
    pub(super) tails: Vec<(f64, f64)>,
}

impl Rect {
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.x < other.x + other.width
            && other.x < self.x + self.width
            && self.y < other.y + other.height
            && other.y < self.y + self.height
    }
}

pub(super) fn place(project: &Project, layers: Layers) -> Layout {
    let mut rows = rows(&layers);
    let edge = |row: f64, item: usize, sign: f64| row + sign * half(&layers, item);
    let items = || rows.iter().enumerate();
    let top = items().map(|(item, row)| edge(*row, item, -1.0)).fold(f64::INFINITY, f64::min);
    let bottom = items().map(|(item, row)| edge(*row, item, 1.0)).fold(f64::NEG_INFINITY, f64::max);
    let (top, height) = if layers.boxes == 0 { (0.0, 0.0) } else { (top, bottom - top) };
    rows.iter_mut().for_each(|row| *row += MARGIN + HEADING + PADDING - top);
    let spans = columns(project, &layers, &rows);
    let placed = Placed { layers, rows, spans };
    placed.layout(height + HEADING + 2.0 * PADDING)
}

/// Half the height of an item.
fn half(layers: &Layers, item: usize) -> f64 {
    if item < layers.boxes { BOX / 2.0 } else { 0.0 }
}

/// The least distance of the middles of two items, one below the other.
fn distance(layers: &Layers, above: usize, below: usize) -> f64 {
    half(layers, above) + ROW_GAP + half(layers, below)
}

/// The middle of each item, top to bottom.
fn rows(layers: &Layers) -> Vec<f64> {
    let neighbours = Neighbours::of(layers);
    let mut rows = vec![0.0; layers.column.len()];
    for column in &layers.columns {
        stack(layers, column, &mut rows);
    }
    for pull in 0..PULLS {
        for step in 0..layers.columns.len() {
            let to_the_right = pull % 2 == 0;
            let column = if to_the_right { step } else { layers.columns.len() - 1 - step };
            let (left, right) = (&neighbours.left, &neighbours.right);
            let wish = |item: usize| match (pull + 2 < PULLS, to_the_right) {
                (true, true) => middle(&rows, [&left[item], &[]]),
                (true, false) => middle(&rows, [&right[item], &[]]),
                (false, _) => middle(&rows, [&left[item], &right[item]]),
            };
            let wishes: Vec<Option<f64>> = layers.columns[column].iter().map(|item| wish(*item)).collect();
            settle(layers, &layers.columns[column], &wishes, &mut rows);
        }
    }
    rows
}

/// One below the other, their middle at 0.
fn stack(layers: &Layers, column: &[usize], rows: &mut [f64]) {
    let mut row = 0.0;
    for pair in column.windows(2) {
        row += distance(layers, pair[0], pair[1]);
        rows[pair[1]] = row;
    }
    for item in column {
        rows[*item] -= row / 2.0;
    }
}

fn middle(rows: &[f64], sides: [&[usize]; 2]) -> Option<f64> {
    let count = sides[0].len() + sides[1].len();
    let sum: f64 = sides.iter().flat_map(|side| side.iter()).map(|item| rows[*item]).sum();
    (count > 0).then(|| sum / count as f64)
}

/// Puts every item of a column as near to its wish as the others let it, in the least squares sense, the
/// order and the distances being kept: isotonic regression, by pooling neighbours that would collide.
fn settle(layers: &Layers, column: &[usize], wishes: &[Option<f64>], rows: &mut [f64]) {
    let joined = column.partition_point(|item| layers.alone.get(*item) != Some(&true));
    // A pool: how many items, their weight, and the weighted sum of their wishes less their offsets.
    let mut pools: Vec<(usize, f64, f64)> = Vec::with_capacity(joined);
    let mut offset = 0.0;
    for at in 0..joined {
        let item = column[at];
        offset += if at > 0 { distance(layers, column[at - 1], item) } else { 0.0 };
        let trunk = item >= layers.boxes;
        let weight = if wishes[at].is_none() {
            0.1
        } else if trunk {
            3.0
        } else {
            1.0
        };
        let mut pool = (1, weight, weight * (wishes[at].unwrap_or(rows[item]) - offset));
        while let Some(above) = pools.pop_if(|above| above.2 * pool.1 > pool.2 * above.1) {
            pool = (above.0 + pool.0, above.1 + pool.1, above.2 + pool.2);
        }
        pools.push(pool);
    }
    let starts = pools.iter().flat_map(|(count, weight, sum)| std::iter::repeat_n(sum / weight, *count));
    offset = 0.0;
    for (at, start) in starts.enumerate() {
        offset += if at > 0 { distance(layers, column[at - 1], column[at]) } else { 0.0 };
        rows[column[at]] = start + offset;
    }
    for at in joined.max(1)..column.len() {
        rows[column[at]] = rows[column[at - 1]] + distance(layers, column[at - 1], column[at]);
    }
}

/// Left and right edge of each column.
fn columns(project: &Project, layers: &Layers, rows: &[f64]) -> Vec<(f64, f64)> {
    let mut rise = vec![0.0f64; layers.columns.len()];
    let mut label = vec![0.0f64; layers.columns.len()];
    for hop in layers.hops.iter().filter(|hop| layers.is_short(hop)) {
        let gap = layers.column[hop.right];
        rise[gap] = rise[gap].max((rows[hop.left] - rows[hop.right]).abs());
        label[gap] = label[gap].max(label_width(hop).map_or(0.0, |width| width + 36.0));
    }
    let mut spans: Vec<(f64, f64)> = Vec::with_capacity(layers.columns.len());
    for (at, column) in layers.columns.iter().enumerate() {
        let boxes = column.iter().filter(|item| **item < layers.boxes);
        let longest = boxes.map(|node| project.components[*node].name.as_str().len()).max().unwrap_or(0);
        let room = (GAP.0 + rise[at] * 0.25).clamp(label[at].max(GAP.0), GAP.1.max(label[at]));
        let same_wave = at > 0 && layers.waves[at] == layers.waves[at - 1];
        let left = match spans.last() {
            None => MARGIN + PADDING,
            Some((_, right)) if same_wave => right + room,
            Some((_, right)) => right + room + 2.0 * PADDING,
        };
        spans.push((left, left + (INDENT + longest as f64 * NAME_CHARACTER + 14.0).max(90.0)));
    }
    spans
}

fn label_width(hop: &Hop) -> Option<f64> {
    match hop.condition? {
        Condition::Ready => None,
        Condition::Started => Some(7.0 * LABEL_CHARACTER + 16.0),
        Condition::Completed => Some(9.0 * LABEL_CHARACTER + 16.0),
    }
}

/// Layers with coordinates: the middle of each item, the edges of each column.
struct Placed {
    layers: Layers,
    rows: Vec<f64>,
    spans: Vec<(f64, f64)>,
}

impl Placed {
    fn layout(&self, band: f64) -> Layout {
        let width = self.spans.last().map_or(0.0, |span| span.1 + PADDING + MARGIN);
        let mut layout = Layout {
            width,
            height: band + 2.0 * MARGIN,
            boxes: (0..self.layers.boxes).map(|node| self.rect(node)).collect(),
            bands: self.bands(band),
            lines: self.layers.hops.iter().map(|hop| self.line(hop)).collect(),
            labels: Vec::new(),
            heads: Vec::new(),
            tails: Vec::new(),
        };
        self.ends(&mut layout);
        self.labels(&mut layout);
        layout
    }

    fn rect(&self, node: usize) -> Rect {
        let (left, right) = self.spans[self.layers.column[node]];
        Rect { x: left, y: self.rows[node] - BOX / 2.0, width: right - left, height: BOX }
    }

    fn bands(&self, height: f64) -> Vec<Rect> {
        let mut bands: Vec<Rect> = Vec::new();
        for (column, (left, right)) in self.spans.iter().enumerate() {
            let x = left - PADDING;
            match bands.last_mut() {
                Some(band) if self.layers.waves[column] == self.layers.waves[column - 1] => {
                    band.width = right + PADDING - band.x;
                }
                _ => bands.push(Rect { x, y: MARGIN, width: right + PADDING - x, height }),
            }
        }
        bands
    }

    fn line(&self, hop: &Hop) -> Line {
        let from = self.spans[self.layers.column[hop.left]].1;
        let (to, right) = self.spans[self.layers.column[hop.right]];
        let on_to = if hop.right < self.layers.boxes { to } else { right };
        Line { from: (from, self.rows[hop.left]), to: (to, self.rows[hop.right]), on_to }
    }

    fn ends(&self, layout: &mut Layout) {
        let mut ends: Vec<(bool, bool)> = vec![(false, false); self.layers.boxes];
        for hop in &self.layers.hops {
            if let Some(end) = ends.get_mut(hop.left) {
                end.0 = true;
            }
            if let Some(end) = ends.get_mut(hop.right) {
                end.1 = true;
            }
        }
        for (node, (is_needed, needs)) in ends.into_iter().enumerate() {
            let (left, right) = self.spans[self.layers.column[node]];
            layout.heads.extend(is_needed.then_some((right, self.rows[node])));
            layout.tails.extend(needs.then_some((left, self.rows[node])));
        }
    }

    /// Each label lies on its line, between the columns, and where possible clear of the other labels.
    fn labels(&self, layout: &mut Layout) {
        let mut in_gap: Vec<Vec<Rect>> = vec![Vec::new(); self.spans.len()];
        for (hop, line) in self.layers.hops.iter().zip(&layout.lines) {
            let (Some(width), Some(condition)) = (label_width(hop), hop.condition) else { continue };
            let others = &mut in_gap[self.layers.column[hop.right]];
            let at = |share: f64| {
                let (x, y) = line.at(share);
                Rect { x: x - width / 2.0, y: y - LABEL / 2.0, width, height: LABEL }
            };
            let inside = |rect: &Rect| rect.x > line.from.0 + 10.0 && rect.x + width < line.to.0 - 6.0;
            let clear = |rect: &Rect| !others.iter().any(|other| other.overlaps(rect));
            let places = [0.5, 0.58, 0.42, 0.66, 0.34, 0.72, 0.28].map(at);
            let found = places.into_iter().find(|rect| inside(rect) && clear(rect));
            let rect = if others.len() < LABELS_KEPT_APART { found } else { None }.unwrap_or(places[0]);
            others.push(rect);
            layout.labels.push((rect, condition));
        }
    }
}

impl Line {
    /// How far to the right both control points of the curve are.
    pub(super) fn bend(&self) -> f64 {
        (self.from.0 + self.to.0) / 2.0
    }

    /// The point at that share of the curve.
    fn at(&self, share: f64) -> (f64, f64) {
        let rest = 1.0 - share;
        let weights = [rest.powi(3), 3.0 * rest * rest * share, 3.0 * rest * share * share, share.powi(3)];
        let blend = |points: [f64; 4]| weights.iter().zip(points).map(|(weight, point)| weight * point).sum();
        let bend = self.bend();
        (blend([self.from.0, bend, bend, self.to.0]), blend([self.from.1, self.from.1, self.to.1, self.to.1]))
    }
}
