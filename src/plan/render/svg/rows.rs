//! How far down everything stands.

use super::layers::Layers;
use super::order::Neighbours;
use super::place::BOX;

/// Between what stands one below the other in a column.
const ROW_GAP: f64 = 14.0;
/// How often rows are pulled towards what they are joined to.
const PULLS: usize = 14;

/// Half the height of an item.
pub(super) fn half(layers: &Layers, item: usize) -> f64 {
    if item < layers.boxes { BOX / 2.0 } else { 0.0 }
}

/// The least distance of the middles of two items, one below the other.
fn distance(layers: &Layers, above: usize, below: usize) -> f64 {
    half(layers, above) + ROW_GAP + half(layers, below)
}

/// The middle of each item, top to bottom.
pub(super) fn rows(layers: &Layers) -> Vec<f64> {
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
    centre_alone(layers, &mut rows);
    rows
}

/// Columns in which nothing is joined to anything go to the middle of what is.
fn centre_alone(layers: &Layers, rows: &mut [f64]) {
    let is_alone = |item: &usize| layers.alone.get(*item) == Some(&true);
    let (mut top, mut bottom) = (f64::INFINITY, f64::NEG_INFINITY);
    for item in (0..rows.len()).filter(|item| !is_alone(item)) {
        (top, bottom) = (top.min(rows[item]), bottom.max(rows[item]));
    }
    if top > bottom {
        return;
    }
    for column in layers.columns.iter().filter(|column| column.iter().all(is_alone)) {
        stack(layers, column, rows);
        column.iter().for_each(|item| rows[*item] += f64::midpoint(top, bottom));
    }
}

/// One below the other, their middle at 0.
fn stack(layers: &Layers, column: &[usize], rows: &mut [f64]) {
    let mut row = 0.0;
    for (at, item) in column.iter().enumerate() {
        row += if at > 0 { distance(layers, column[at - 1], *item) } else { 0.0 };
        rows[*item] = row;
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
