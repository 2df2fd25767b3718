//! The pages of `docs/guides` show the files of `examples/guides` as they are, and those are valid.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{root, source};

/// The guides: each has a page and a folder.
const GUIDES: &[&str] = &["cargo", "gunicorn", "node", "postgresql", "redis", "uvicorn", "vite"];

#[test]
fn every_guide_has_its_page_and_its_folder() {
    let names = |folder: &Path, end: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        entries.filter_map(|name| Some(name.to_str()?.strip_suffix(end)?.to_owned())).collect()
    };
    let guides: BTreeSet<String> = GUIDES.iter().map(|name| (*name).to_owned()).collect();
    let mut pages = names(&root().join("docs/guides"), ".md");
    assert!(pages.remove("README"), "the guides have a first page");
    assert_eq!(pages, guides);
    assert_eq!(names(&root().join("examples/guides"), ""), guides);
    for (index, to) in [("docs/README.md", "guides/"), ("docs/guides/README.md", "")] {
        let text = fs::read_to_string(root().join(index)).unwrap();
        for name in GUIDES {
            assert!(text.contains(&format!("({to}{name}.md)")), "{index} links {name}");
        }
    }
}

#[test]
fn pages_quote_the_files() {
    for name in GUIDES {
        let page = fs::read_to_string(root().join(format!("docs/guides/{name}.md"))).unwrap();
        let mut quoted = Vec::new();
        for (path, block) in quotes(&page) {
            let file = root().join("docs/guides").join(&path);
            assert!(file.starts_with(root()), "{path}");
            let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{name}.md: {path}: {error}"));
            assert_eq!(block, text, "{name}.md, the quote of {path}, is not what the file says");
            quoted.push(fs::canonicalize(file).unwrap());
        }
        assert!(quoted.contains(&source(name).join("devmode.yaml")), "{name}.md quotes its devmode.yaml");
    }
}

#[test]
fn a_quote_is_what_follows_a_link_in_a_line_of_its_own() {
    let page = "See [a](a.md):\n\n```\nno quote\n```\n\n[`b`](../b.yaml):\n\n```yaml\none\n\ntwo\n```\n";
    assert_eq!(quotes(page), [("../b.yaml".to_owned(), "one\n\ntwo\n".to_owned())]);
}

/// The blocks that stand below a line which is a link and a colon, each with what the link leads to.
fn quotes(page: &str) -> Vec<(String, String)> {
    let mut quotes = Vec::new();
    let mut lines = page.lines();
    let mut link = None;
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            let block: String =
                lines.by_ref().take_while(|line| *line != "```").flat_map(|line| [line, "\n"]).collect();
            quotes.extend(link.take().map(|path| (path, block)));
        } else if !line.is_empty() {
            let path = line.starts_with('[').then(|| line.strip_suffix("):")?.split_once("](")).flatten();
            link = path.map(|(_, path)| path.to_owned());
        }
    }
    quotes
}

#[test]
fn the_files_are_valid_and_all_that_they_say_is_in_effect() {
    for name in GUIDES {
        let output = Command::new(env!("CARGO_BIN_EXE_orch"))
            .args(["validate", "--format", "json"])
            .current_dir(source(name))
            .env_remove("ORCH_STATE_DIR")
            .output()
            .unwrap();
        let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
        let complaints =
            ["errors", "warnings"].map(|kind| verdict[kind].as_array().unwrap().clone()).concat();
        // Programs may be missing here; the guides' own tests say so.
        let here = |one: &&Value| one["code"] == "E208" || one["code"] == "W003";
        let real: Vec<_> = complaints.iter().filter(|one| !here(one)).collect();
        assert!(real.is_empty(), "{name}: {real:#?}");
    }
}
