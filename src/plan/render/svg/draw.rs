//! The picture, written down.

use std::fmt::{self, Write};

use super::place::{BOX, INDENT, LABEL, Layout, Line, Rect};
use crate::config::model::{Component, Kind, Project};
use crate::paint::Escaped;
use crate::plan::graph::{condition_word, kind_word};
use crate::plan::render::counted;

/// Colours for light and dark surroundings.
const STYLE: &str = include_str!("style.css");
/// In a box of its own, 14 by 14: a prompt for a process, a thread for a thread.
const PROCESS_ICON: &str = "M2 3l4 4l-4 4M8 11.5h4.5";
const THREAD_ICON: &str = "M1 9.5c2.5-9 4-9 6-2.5s3.5 6.5 6-2.5";

pub(super) fn draw(project: &Project, layout: &Layout) -> String {
    // Writing to a string does not fail.
    let mut svg = String::new();
    let _ = head(&mut svg, project, layout);
    let _ = bands(&mut svg, layout);
    let _ = lines(&mut svg, layout);
    let _ = labels(&mut svg, layout);
    for (component, rect) in project.components.iter().zip(&layout.boxes) {
        let _ = component_box(&mut svg, component, rect);
    }
    svg.push_str("</svg>\n");
    svg
}

fn head(svg: &mut String, project: &Project, layout: &Layout) -> fmt::Result {
    let (width, height) = (Px(layout.width), Px(layout.height));
    let name = Escaped(&project.name);
    let components = counted(project.components.len(), "component");
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">"
    )?;
    writeln!(svg, "<title>{name}: {components}, and what each one needs</title>")?;
    writeln!(svg, "<style>\n{STYLE}</style>")?;
    writeln!(svg, "<rect class=\"page\" width=\"{width}\" height=\"{height}\" rx=\"10\"/>")
}

fn bands(svg: &mut String, layout: &Layout) -> fmt::Result {
    for (wave, Rect { x, y, width, height }) in layout.bands.iter().enumerate() {
        let [x, y, width, height, middle] = [*x, *y, *width, *height, x + width / 2.0].map(Px);
        let heading = Px(y.0 + 20.0);
        writeln!(
            svg,
            "<rect class=\"band\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"8\"/>\
             <text class=\"wave\" x=\"{middle}\" y=\"{heading}\" text-anchor=\"middle\">wave {wave}</text>"
        )?;
    }
    Ok(())
}

fn lines(svg: &mut String, layout: &Layout) -> fmt::Result {
    for line in &layout.lines {
        let Line { from, to, on_to } = line;
        let [x1, y1, bend, x2, y2, end] = [from.0, from.1, line.bend(), to.0, to.1, *on_to].map(Px);
        write!(svg, "<path class=\"line\" d=\"M{x1} {y1}C{bend} {y1} {bend} {y2} {x2} {y2}")?;
        if on_to > &to.0 {
            write!(svg, "H{end}")?;
        }
        writeln!(svg, "\"/>")?;
    }
    for (x, y) in &layout.heads {
        writeln!(svg, "<path class=\"end\" d=\"M{} {}l9 -4.5v9z\"/>", Px(*x), Px(*y))?;
    }
    for (x, y) in &layout.tails {
        writeln!(svg, "<circle class=\"end\" cx=\"{}\" cy=\"{}\" r=\"2.5\"/>", Px(*x), Px(*y))?;
    }
    Ok(())
}

fn labels(svg: &mut String, layout: &Layout) -> fmt::Result {
    for (Rect { x, y, width, height }, condition) in &layout.labels {
        let [x, y, width, height, radius] = [*x, *y, *width, *height, LABEL / 2.0].map(Px);
        let [middle, baseline] = [x.0 + width.0 / 2.0, y.0 + 12.5].map(Px);
        let word = condition_word(*condition);
        writeln!(
            svg,
            "<g class=\"{word}\"><rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"{radius}\"/>\
             <text class=\"label\" x=\"{middle}\" y=\"{baseline}\" text-anchor=\"middle\">{word}</text></g>"
        )?;
    }
    Ok(())
}

fn component_box(svg: &mut String, component: &Component, rect: &Rect) -> fmt::Result {
    let kind = kind_word(&component.kind);
    let icon = match component.kind {
        Kind::Process(_) => PROCESS_ICON,
        Kind::Thread { .. } => THREAD_ICON,
    };
    let Rect { x, y, width, height } = *rect;
    let [icon_x, icon_y] = [x + 13.0, y + BOX / 2.0 - 7.0].map(Px);
    let [text_x, text_y] = [x + INDENT, y + BOX / 2.0 + 4.5].map(Px);
    let [x, y, width, height] = [x, y, width, height].map(Px);
    let name = &component.name;
    writeln!(
        svg,
        "<g class=\"{kind}\"><title>{}</title>\
         <rect class=\"box\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"8\"/>\
         <path class=\"icon\" transform=\"translate({icon_x} {icon_y})\" d=\"{icon}\"/>\
         <text class=\"name\" x=\"{text_x}\" y=\"{text_y}\">{name}</text></g>",
        Escaped(&tooltip(component))
    )
}

/// `api (process): HTTP API`, then a line for each dependency.
fn tooltip(component: &Component) -> String {
    let mut text = format!("{} ({})", component.name, kind_word(&component.kind));
    if let Some(description) = &component.description {
        text.push_str(": ");
        text.push_str(description);
    }
    for dependency in &component.depends_on {
        let when = condition_word(dependency.condition);
        let with_it = if dependency.restart { ", restarts with it" } else { "" };
        let _ = write!(text, "\nneeds {} {when}{with_it}", dependency.name);
    }
    text
}

/// A length, to a tenth of a pixel.
#[derive(Clone, Copy)]
struct Px(f64);

impl fmt::Display for Px {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Adding 0 makes a negative zero positive.
        write!(f, "{}", (self.0 * 10.0).round() / 10.0 + 0.0)
    }
}
