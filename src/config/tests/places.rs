//! How mistakes are told: all of them, each at its place, to people and to programs.

use std::path::Path;

use super::{Folder, codes, render};
use crate::config::{LoadOptions, load};

fn report_of(yaml: &[u8]) -> serde_json::Value {
    let folder = Folder::new(&[]);
    std::fs::write(folder.path("devmode.yaml"), yaml).unwrap();
    render::json(&folder.load(&[]).diagnostics)
}

/// The first error: line, column and path.
fn first(yaml: &[u8]) -> (serde_json::Value, serde_json::Value, serde_json::Value) {
    let report = report_of(yaml);
    let error = &report["errors"][0];
    assert!(error["file"].as_str().is_some_and(|file| file.ends_with("/devmode.yaml")), "{error}");
    (error["line"].clone(), error["column"].clone(), error["path"].clone())
}

#[test]
fn every_mistake_is_shown_with_its_line() {
    let mut yaml = String::from("version: 1\ncomponents:\n");
    for n in 0..60 {
        yaml += &format!("  c{n}: {{ process: no-such-program }}\n");
    }
    for n in 0..40 {
        yaml += &format!("  d{n}: {{ thread: ticker, depends_on: [unknown-{n}] }}\n");
    }
    let loaded = Folder::new(&[("devmode.yaml", &yaml)]).load(&[]);
    let shown = render::human(&loaded.diagnostics, &loaded.sources, false);
    assert_eq!(shown.matches("error[E208]").count(), 60);
    assert_eq!(shown.matches("error[E201]").count(), 40);
    for line in 3..103 {
        assert!(shown.contains(&format!("devmode.yaml:{line}:")), "line {line}");
        assert!(
            shown.contains(&format!("\n{line} |")) || shown.contains(&format!("\n{line}  |")),
            "line {line}"
        );
    }
    assert!(!shown.contains("more") && !shown.contains("the same at"));
}

#[test]
fn the_short_form_says_how_many_more_there_are() {
    let mut yaml = String::from("version: 1\ncomponents:\n");
    for n in 0..30 {
        yaml += &format!("  c{n}: {{ process: no-such-program, depends_on: [unknown-{n}] }}\n");
    }
    let loaded = Folder::new(&[("devmode.yaml", &yaml)]).load(&[]);
    let shown = render::brief(&loaded.diagnostics, &loaded.sources, false);
    assert_eq!(shown.matches("error[E208]").count(), 1);
    assert!(shown.contains("the same at 4:"), "{shown}");
    assert!(shown.ends_with("and 11 more errors: `orch validate` shows all\n"), "{shown}");
}

#[test]
fn ten_thousands_of_mistakes_are_all_told() {
    let yaml = "version: 1\n".to_owned() + &"x-a: 1\n".repeat(50_000);
    let loaded = Folder::new(&[("devmode.yaml", &yaml)]).load(&[]);
    assert!(codes(&loaded) == vec!["E004"; 49_999], "{}", loaded.diagnostics.len());
}

#[test]
fn what_yaml_says_wrong_has_a_path_too() {
    let yaml = b"version: 1\ncomponents:\n  db:\n    process: sh\n    process: sh\n";
    assert_eq!(first(yaml), (5.into(), 5.into(), "components.db.process".into()));
    let yaml = b"version: 1\ncomponents:\n  db: { process: [sh, *none] }\n";
    assert_eq!(first(yaml), (3.into(), 23.into(), "components.db.process[1]".into()));
    let yaml = b"version: 1\nx-a: [{ b: 1 }, { b: 1, b: 2 }]\n";
    assert_eq!(first(yaml).2, "x-a[1].b");
    let (open, close) = ("[".repeat(40), "]".repeat(40));
    let yaml = format!("version: 1\nx-a: &a {open}{close}\nx-b: {{ c: {open}*a{close} }}\n");
    assert!(first(yaml.as_bytes()).2.as_str().is_some_and(|path| path.starts_with("x-b.c[0][0]")));
}

/// The contract: absent values are null.
#[test]
fn what_is_not_there_is_null() {
    assert_eq!(first(b"version: 1\n---\nversion: 1\n").2, serde_json::Value::Null);
    assert_eq!(first(b"components: {}\n").2, serde_json::Value::Null);
    let loaded = load(Path::new("/nowhere/devmode.yaml"), &LoadOptions::default());
    let report = render::json(&loaded.diagnostics);
    let error = &report["errors"][0];
    assert_eq!((&error["code"], &error["file"]), (&"E001".into(), &"/nowhere/devmode.yaml".into()));
    for key in ["line", "column", "path"] {
        assert_eq!(error[key], serde_json::Value::Null, "{key}");
    }
}

#[test]
fn what_is_no_utf8_has_its_place() {
    let (line, column, _) = first(b"\xef\xbb\xbfversion: 1\ncomponents:\n  \xc3\xa9\xff: 1\n");
    assert_eq!((line, column), (3.into(), 4.into()));
    let folder = Folder::new(&[]);
    std::fs::write(folder.path("devmode.yaml"), b"a: 1\r\nb: '\xff'\r\nc: 2\n").unwrap();
    let loaded = folder.load(&[]);
    let shown = render::human(&loaded.diagnostics, &loaded.sources, false);
    assert!(shown.contains("devmode.yaml:2:5\n") && shown.contains("b: '\u{fffd}'"), "{shown}");
}

#[test]
fn a_carriage_return_ends_a_line() {
    let (line, column, _) = first(b"version: 1\rcomponents:\r  a: { thread: ticker, depnds_on: [b] }\r");
    assert_eq!((line, column), (3.into(), 24.into()));
}
