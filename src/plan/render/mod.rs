//! The graph of a project as text, for tools, and as a picture.

mod dot;
mod json;
mod mermaid;
mod svg;
mod text;

use super::graph;
use crate::config::model::Project;

/// What `orch graph --format` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum GraphFormat {
    /// For a terminal.
    #[default]
    Text,
    /// For Graphviz.
    Dot,
    /// For Mermaid, as in Markdown.
    Mermaid,
    /// A picture that stands for itself.
    Svg,
    /// For scripts (contract, section 6).
    Json,
}

/// The graph of `project` in that format, ending with a line feed. The same project gives the same text.
///
/// In every format an edge runs from a component to what it depends on.
#[must_use]
pub fn render_graph(project: &Project, format: GraphFormat) -> String {
    let graph = graph::of(project);
    match format {
        GraphFormat::Text => text::render(project, &graph),
        GraphFormat::Dot => dot::render(project, &graph),
        GraphFormat::Mermaid => mermaid::render(project, &graph),
        GraphFormat::Svg => svg::render(project, &graph),
        GraphFormat::Json => json::render(project, &graph),
    }
}

/// `1 component`, `2 components`.
fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests;
