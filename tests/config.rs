//! The configuration against a corpus of files.

use std::path::Path;

use orch::config::{LoadOptions, load, render};

#[test]
fn look() {
    for file in std::env::var("LOOK").unwrap_or_default().split_whitespace() {
        let options = LoadOptions {
            environment: std::env::vars_os().collect(),
            threads: Some(vec![]),
            ..LoadOptions::default()
        };
        let loaded = load(Path::new(file), &options);
        println!("{}", render::human(&loaded.diagnostics, &loaded.sources, false));
        println!("{:#?}", loaded.project);
    }
}
