//! The graph as a picture that stands for itself: a layered drawing, waves from left to right.
//!
//! [`layers`] puts boxes into columns and cuts edges into hops from one column to the next,
//! [`order`] orders each column so that few hops cross, [`place`] and [`rows`] give everything its
//! coordinates, [`draw`] writes it down. Each is linear, or nearly so, and the same project gives the same picture.

mod draw;
mod layers;
mod order;
mod place;
mod rows;
#[cfg(test)]
mod tests;

use crate::config::model::Project;
use crate::plan::graph::ProjectGraph;

pub(super) fn render(project: &Project, graph: &ProjectGraph) -> String {
    draw::draw(project, &layout(project, graph))
}

fn layout(project: &Project, graph: &ProjectGraph) -> place::Layout {
    let mut layers = layers::layers(graph);
    order::reduce_crossings(&mut layers);
    place::place(project, layers)
}
