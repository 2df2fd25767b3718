use serde_json::json;

use super::{GraphFormat, render_graph};
use crate::config::model::Project;
use crate::plan::testing::{name, project};

fn sample() -> Project {
    project("web: api; api: queue started, migrate completed restart; migrate; @queue; a.b-c")
}

#[test]
fn json_is_the_contracts() {
    let text = render_graph(&sample(), GraphFormat::Json);
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expected = json!({
        "nodes": [
            {"name": "web", "kind": "process", "wave": 2},
            {"name": "api", "kind": "process", "wave": 1},
            {"name": "migrate", "kind": "process", "wave": 0},
            {"name": "queue", "kind": "thread", "wave": 0},
            {"name": "a.b-c", "kind": "process", "wave": 0},
        ],
        "edges": [
            {"from": "web", "to": "api", "condition": "ready"},
            {"from": "api", "to": "queue", "condition": "started"},
            {"from": "api", "to": "migrate", "condition": "completed"},
        ],
        "start_order": ["migrate", "queue", "a.b-c", "api", "web"],
        "stop_order": ["web", "api", "a.b-c", "queue", "migrate"],
    });
    assert_eq!(found, expected);
    let keys: Vec<&String> = found.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["nodes", "edges", "start_order", "stop_order"]);
}

#[test]
fn text_reads_in_the_order_of_the_start() {
    let expected = "\
sample: 5 components in 3 waves

wave 0
  migrate  process
  queue    thread
  a.b-c    process

wave 1
  api      process  needs queue started, migrate completed (restarts with it)

wave 2
  web      process  needs api ready
";
    assert_eq!(render_graph(&sample(), GraphFormat::Text), expected);
    assert_eq!(render_graph(&project(""), GraphFormat::Text), "sample: 0 components in 0 waves\n");
}

#[test]
fn long_lists_of_needs_go_on_below() {
    let names: Vec<String> = (0..12).map(|at| format!("dependency-{at}")).collect();
    let text = render_graph(
        &project(&format!("all: {}; {}", names.join(", "), names.join("; "))),
        GraphFormat::Text,
    );
    let last: Vec<&str> = text.lines().skip_while(|line| !line.contains("all")).collect();
    assert_eq!(last.len(), 4, "{text}");
    assert!(last.iter().all(|line| line.len() <= 101), "{text}");
    let column = last[0].find("dependency-0").unwrap();
    assert!(last[1..].iter().all(|line| line.find("dependency") == Some(column)), "{text}");
}

#[test]
fn dot_quotes_what_it_must() {
    let mut sample = sample();
    sample.name = "a \"b\" \\ c\n".into();
    let expected = r#"digraph "a \"b\" \\ c " {
    rankdir=RL;
    node [shape=box, style=rounded, fontname="sans-serif"];
    edge [fontname="sans-serif", fontsize=10];
    "web";
    "api";
    "migrate";
    "queue" [style="rounded,dashed"];
    "a.b-c";
    "web" -> "api";
    "api" -> "queue" [label="started"];
    "api" -> "migrate" [label="completed"];
}
"#;
    assert_eq!(render_graph(&sample, GraphFormat::Dot), expected);
}

#[test]
fn mermaid_has_safe_identifiers() {
    let expected = r#"flowchart RL
    c0["end"]
    c1["a.b-c"]
    c2(["queue"])
    c0 -->|completed| c1
    c0 --> c2
"#;
    let mut sample = project("end: a.b-c completed, queue; a.b-c; @queue");
    assert_eq!(render_graph(&sample, GraphFormat::Mermaid), expected);
    sample.components.clear();
    assert_eq!(render_graph(&sample, GraphFormat::Mermaid), "flowchart RL\n");
    assert_eq!(name("end").as_str(), "end");
}
