//! The order within the columns: barycentre sweeps, the best order found is kept.

use super::layers::Layers;

/// How often all columns are gone through, to the right and to the left in turn.
const SWEEPS: usize = 16;

/// Reorders each column so that few hops cross. Boxes without edges come last.
pub(super) fn reduce_crossings(layers: &mut Layers) {
    let neighbours = Neighbours::of(layers);
    let mut columns = layers.columns.clone();
    let mut position = positions(&columns, layers.column.len());
    let mut least = usize::MAX;
    for sweep in 0..SWEEPS {
        let to_the_right = sweep % 2 == 0;
        let side = if to_the_right { &neighbours.left } else { &neighbours.right };
        for step in 0..columns.len() {
            let column = if to_the_right { step } else { columns.len() - 1 - step };
            sort(&mut columns[column], &mut position, side, layers);
        }
        let crossings = crossings(layers, &neighbours, &columns);
        if crossings < least {
            least = crossings;
            layers.columns.clone_from(&columns);
        }
        if crossings == 0 {
            break;
        }
    }
}

/// The items to which each item has hops.
pub(super) struct Neighbours {
    pub(super) left: Vec<Vec<usize>>,
    pub(super) right: Vec<Vec<usize>>,
}

impl Neighbours {
    pub(super) fn of(layers: &Layers) -> Self {
        let items = layers.column.len();
        let mut found = Self { left: vec![Vec::new(); items], right: vec![Vec::new(); items] };
        for hop in layers.hops.iter().filter(|hop| layers.is_short(hop)) {
            found.left[hop.right].push(hop.left);
            found.right[hop.left].push(hop.right);
        }
        found
    }
}

/// Where each item stands in its column, as a share of the column's height.
fn positions(columns: &[Vec<usize>], items: usize) -> Vec<f64> {
    let mut position = vec![0.0; items];
    for column in columns {
        number(column, &mut position);
    }
    position
}

fn number(column: &[usize], position: &mut [f64]) {
    for (at, item) in column.iter().enumerate() {
        position[*item] = (at as f64 + 0.5) / column.len() as f64;
    }
}

/// Sorts one column by the middle of each item's neighbours; an item without any keeps its place.
fn sort(column: &mut [usize], position: &mut [f64], side: &[Vec<usize>], layers: &Layers) {
    let middle = |item: usize| match side[item].as_slice() {
        _ if layers.alone.get(item) == Some(&true) => f64::INFINITY,
        [] => position[item],
        some => some.iter().map(|other| position[*other]).sum::<f64>() / some.len() as f64,
    };
    let mut keyed: Vec<(f64, usize)> = column.iter().map(|item| (middle(*item), *item)).collect();
    keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (slot, (_, item)) in column.iter_mut().zip(keyed) {
        *slot = item;
    }
    number(column, position);
}

/// How many pairs of hops cross, in all gaps.
fn crossings(layers: &Layers, neighbours: &Neighbours, columns: &[Vec<usize>]) -> usize {
    let mut rank = vec![0; layers.column.len()];
    for column in columns {
        for (at, item) in column.iter().enumerate() {
            rank[*item] = at;
        }
    }
    let mut count = 0;
    for gap in columns.windows(2) {
        let mut ends = Vec::new();
        for left in &gap[0] {
            let from = ends.len();
            ends.extend(neighbours.right[*left].iter().map(|right| rank[*right]));
            ends[from..].sort_unstable();
        }
        count += inversions(&ends, gap[1].len());
    }
    count
}

/// How many pairs stand in the wrong order; each number is below `limit`. (A Fenwick tree counts, for each
/// number, those before it that are greater.)
fn inversions(numbers: &[usize], limit: usize) -> usize {
    let mut tree = vec![0usize; limit + 1];
    let mut count = 0;
    for (before, number) in numbers.iter().enumerate() {
        let mut not_greater = 0;
        let mut at = number + 1;
        while at > 0 {
            not_greater += tree[at];
            at &= at - 1;
        }
        count += before - not_greater;
        at = number + 1;
        while at <= limit {
            tree[at] += 1;
            at += at & at.wrapping_neg();
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::inversions;

    #[test]
    fn pairs_in_the_wrong_order_are_counted() {
        for (numbers, count) in
            [(vec![], 0), (vec![0, 1, 2], 0), (vec![2, 1, 0], 3), (vec![1, 1], 0), (vec![3, 0, 3, 1], 3)]
        {
            assert_eq!(inversions(&numbers, 4), count, "{numbers:?}");
        }
    }
}
