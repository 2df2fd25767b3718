use super::{layout, render};
use crate::config::model::{Condition, Project};
use crate::plan::graph;
use crate::plan::testing::{Random, edit, project};

fn picture(project: &Project) -> String {
    render(project, &graph::of(project))
}

fn check_layout(project: &Project) {
    let graph = graph::of(project);
    let found = layout(project, &graph);
    assert_eq!(found.boxes.len(), project.components.len());
    assert_eq!(found.bands.len(), graph.waves.iter().max().map_or(0, |last| last + 1));
    for (node, one) in found.boxes.iter().enumerate() {
        let band = &found.bands[graph.waves[node]];
        assert!(one.x >= band.x && one.x + one.width <= band.x + band.width, "{node} is inside its wave");
        assert!(one.y > band.y && one.y + one.height <= band.y + band.height, "{node} is inside its wave");
        assert!(one.x >= 0.0 && one.x + one.width <= found.width && one.y + one.height <= found.height);
        for other in &found.boxes[node + 1..] {
            assert!(!one.overlaps(other), "{one:?} and {other:?}");
        }
        for line in &found.lines {
            let passes = line.to.0 < one.x + one.width - 0.1 && line.on_to > one.x + 0.1;
            assert!(!passes || line.to.1 < one.y || line.to.1 > one.y + one.height, "{line:?} in {one:?}");
            let within_gap = line.from.0 >= one.x + one.width - 0.1 || line.to.0 <= one.x + 0.1;
            assert!(within_gap, "{line:?} under {one:?}");
        }
    }
    let labelled = graph.edges.iter().filter(|edge| edge.condition != Condition::Ready).count();
    assert_eq!(found.labels.len(), labelled);
}

#[test]
fn nothing_overlaps_and_no_line_runs_under_a_box() {
    for text in ["", "a", "a; b; c", "b: a; a", "d: b, c; b: a; c: a started; a", "a: b; b: a"] {
        check_layout(&project(text));
    }
    for seed in 0..150 {
        let mut random = Random::new(seed);
        let size = 1 + random.below(70);
        let most = random.below(4);
        check_layout(&random.project(size, most));
    }
}

#[test]
fn sixty_independent_components_are_no_tower() {
    let many: Vec<String> = (0..60).map(|at| format!("service-{at}: db")).collect();
    for text in [format!("db; {}", many.join("; ")), many.join("; ")] {
        let project = project(&text);
        let found = layout(&project, &graph::of(&project));
        assert!(found.height < 1200.0 && found.width < 2400.0, "{} by {}", found.width, found.height);
    }
}

/// Every element is closed in the right order, and nothing is left of a text that was not escaped.
fn check_xml(svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    for piece in svg.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').expect("a tag ends");
        assert!(!text.contains('>'), "{text}");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(svg.chars().all(|c| c == '\n' || !c.is_control()));
}

#[test]
fn the_picture_is_sound_xml_and_always_the_same() {
    let mut sample = project("web.x-1: api started; @api: db completed; db");
    sample.name = "<a & \"b\">\u{1b}".into();
    edit(&mut sample, "db", |c| c.description = Some("</svg>\u{0}'".into()));
    let svg = picture(&sample);
    check_xml(&svg);
    assert_eq!(svg, picture(&sample));
    assert!(svg.contains("<title>&lt;a &amp; &quot;b&quot;&gt;\u{fffd}: 3 components"), "{svg}");
    assert!(svg.contains("&lt;/svg&gt;\u{fffd}&#39;"));
    for (what, count) in
        [("class=\"thread\"", 1), ("class=\"process\"", 2), (">started<", 1), (">completed<", 1)]
    {
        assert_eq!(svg.matches(what).count(), count, "{what}");
    }
    check_xml(&picture(&project("")));
}

#[test]
fn ten_thousand_components_are_drawn() {
    let mut random = Random::new(7);
    check_xml(&picture(&random.project(10_000, 3)));
    let chain: Vec<String> = (1..10_000).map(|at| format!("c{at}: c{}, c{}, c0", at - 1, at / 2)).collect();
    let long = "c1: c0; ".to_owned() + &chain[1..].join("; ").replace("c1, c1,", "c1,") + "; c0";
    check_xml(&picture(&project(&long)));
}
