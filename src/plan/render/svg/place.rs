//! Coordinates. Everything is in pixels, from the upper left corner.

use super::layers::{Hop, Layers};
use super::rows::{half, rows};
use crate::config::model::{Condition, Project};

/// Height of a box.
pub(super) const BOX: f64 = 36.0;
/// Height of a condition's label.
pub(super) const LABEL: f64 = 18.0;
/// From the left edge of a box to its name.
pub(super) const INDENT: f64 = 36.0;
/// Around all.
const MARGIN: f64 = 20.0;
/// From a band's edge to what is in it.
const PADDING: f64 = 14.0;
/// Room for a band's heading.
const HEADING: f64 = 26.0;
/// Width of a character of a name, and of a label, in a monospaced font.
const NAME_CHARACTER: f64 = 7.9;
const LABEL_CHARACTER: f64 = 6.1;
/// Room for a label to move along its line.
const LABEL_ROOM: f64 = 40.0;
/// Least and greatest room between columns; more where hops are steep.
const GAP: (f64, f64) = (38.0, 150.0);
/// Between the ends of two lines on one side of a box, at the most.
const PORTS_APART: f64 = 9.0;
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
    /// Where a dependent's lines begin, one point for each of its dependencies.
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

/// Left and right edge of each column.
fn columns(project: &Project, layers: &Layers, rows: &[f64]) -> Vec<(f64, f64)> {
    let mut rise = vec![0.0f64; layers.columns.len()];
    let mut label = vec![0.0f64; layers.columns.len()];
    for hop in layers.hops.iter().filter(|hop| layers.is_short(hop)) {
        let gap = layers.column[hop.right];
        rise[gap] = rise[gap].max((rows[hop.left] - rows[hop.right]).abs());
        label[gap] = label[gap].max(label_width(hop).map_or(0.0, |width| width + LABEL_ROOM));
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
            lines: self.lines(),
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

    fn lines(&self) -> Vec<Line> {
        let hops = &self.layers.hops;
        let ports = self.ports();
        let line = |(hop, port): (&Hop, f64)| {
            let from = self.spans[self.layers.column[hop.left]].1;
            let (to, right) = self.spans[self.layers.column[hop.right]];
            let on_to = if hop.right < self.layers.boxes { to } else { right };
            Line { from: (from, self.rows[hop.left]), to: (to, self.rows[hop.right] + port), on_to }
        };
        hops.iter().zip(ports).map(line).collect()
    }

    /// How far below the middle of its right end each hop ends: what comes to one box is spread over its
    /// side, in the order in which it comes.
    fn ports(&self) -> Vec<f64> {
        let hops = &self.layers.hops;
        let mut ports = vec![0.0; hops.len()];
        let mut coming: Vec<Vec<usize>> = vec![Vec::new(); self.layers.boxes];
        for (at, hop) in hops.iter().enumerate().filter(|(_, hop)| hop.right < self.layers.boxes) {
            coming[hop.right].push(at);
        }
        for mut at in coming {
            at.sort_by(|a, b| self.rows[hops[*a].left].total_cmp(&self.rows[hops[*b].left]));
            let steps = at.len().saturating_sub(1) as f64;
            let apart = if steps > 0.0 { PORTS_APART.min((BOX - 12.0) / steps) } else { 0.0 };
            for (place, hop) in at.into_iter().enumerate() {
                ports[hop] = (place as f64 - steps / 2.0) * apart;
            }
        }
        ports
    }

    fn ends(&self, layout: &mut Layout) {
        let mut needed = vec![false; self.layers.boxes];
        for (hop, line) in self.layers.hops.iter().zip(&layout.lines) {
            if let Some(needed) = needed.get_mut(hop.left) {
                *needed = true;
            }
            layout.tails.extend(hop.condition.map(|_| line.to));
        }
        for (node, _) in needed.iter().enumerate().filter(|(_, needed)| **needed) {
            layout.heads.push((self.spans[self.layers.column[node]].1, self.rows[node]));
        }
    }

    /// Each label lies on its line, between the columns, and where possible clear of the other labels. Steep
    /// lines come last: on them a label has the most places to go.
    fn labels(&self, layout: &mut Layout) {
        let hops = self.layers.hops.iter().zip(&layout.lines);
        let mut labelled: Vec<(&Hop, &Line, Condition, f64)> =
            hops.filter_map(|(hop, line)| Some((hop, line, hop.condition?, label_width(hop)?))).collect();
        labelled.sort_by(|a, b| a.1.rise().total_cmp(&b.1.rise()));
        let mut in_gap: Vec<Vec<Rect>> = vec![Vec::new(); self.spans.len()];
        for (hop, line, condition, width) in labelled {
            let others = &mut in_gap[self.layers.column[hop.right]];
            let rect = label_place(line, width, others);
            others.push(rect);
            layout.labels.push((rect, condition));
        }
    }
}

fn label_place(line: &Line, width: f64, others: &[Rect]) -> Rect {
    let at = |share: f64| {
        let (x, y) = line.at(share);
        Rect { x: x - width / 2.0, y: y - LABEL / 2.0, width, height: LABEL }
    };
    let inside = |rect: &Rect| rect.x > line.from.0 + 10.0 && rect.x + width < line.to.0 - 6.0;
    let clear = |rect: &Rect| !others.iter().any(|other| other.overlaps(rect));
    let mut places = [0.5, 0.57, 0.43, 0.64, 0.36, 0.71, 0.29, 0.78, 0.22].into_iter().map(at);
    let found = places.find(|rect| others.len() < LABELS_KEPT_APART && inside(rect) && clear(rect));
    found.unwrap_or_else(|| at(0.5))
}

impl Line {
    /// How far to the right both control points of the curve are.
    pub(super) fn bend(&self) -> f64 {
        (self.from.0 + self.to.0) / 2.0
    }

    fn rise(&self) -> f64 {
        (self.from.1 - self.to.1).abs()
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
