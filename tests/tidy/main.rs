//! The rules of docs/ARCHITECTURE.md, held by a test: imports go one way, each outside thing has one owner,
//! files and functions stay short, links lead somewhere, and nothing names a place on somebody's machine.

mod rules;
mod rust;
mod shape;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rust::{Named, Token};

/// A tracked file.
struct Source {
    /// Its path from the top of the repository, with slashes.
    path: String,
    text: String,
}

impl Source {
    fn tokens(&self) -> Vec<Token> {
        rust::tokens(&self.text)
    }

    /// The folder of `src` that it is in; none for `lib.rs` and `main.rs`, which only name the folders.
    fn layer(&self) -> Option<&str> {
        self.path.strip_prefix("src/")?.split_once('/').map(|(layer, _)| layer)
    }

    /// Whether all of it is test code.
    fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.ends_with("/tests.rs")
            || self.path.ends_with("/testing.rs")
            || self.path.contains("/tests/")
    }
}

#[test]
fn imports_go_one_way() {
    check(wrong_imports);
}

#[test]
fn every_folder_has_its_layer() {
    let known: BTreeSet<_> = rules::LAYERS.iter().map(|(layer, _)| *layer).collect();
    let sources = rust_sources();
    let present: BTreeSet<_> = sources.iter().filter_map(Source::layer).collect();
    assert_eq!(present, known, "the folders of src and rules::LAYERS differ");
}

#[test]
fn the_pure_layers_are_pure() {
    check(impurities);
}

#[test]
fn every_outside_thing_has_one_owner() {
    check(intruders);
}

#[test]
fn unsafe_stays_where_it_is_needed() {
    check(unsafe_elsewhere);
}

#[test]
fn files_are_short() {
    check(|source| {
        let (_, in_tests) = rust::without_tests(source.tokens());
        let lines = source.text.lines().count() - in_tests;
        let long = !source.is_test() && lines > rules::FILE_LINES;
        long.then(|| format!("{}: {lines} lines; the limit is {}", source.path, rules::FILE_LINES))
            .into_iter()
            .collect()
    });
}

#[test]
fn functions_are_short() {
    let mut excused: Vec<_> = rules::LONG_FUNCTIONS.to_vec();
    check(|source| long_functions(source, &mut excused));
    assert!(excused.is_empty(), "no longer as long as listed; lower or drop the entry: {excused:?}");
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for source in tracked(|path| path.ends_with(".md")) {
        let folder = root().join(&source.path).parent().map(Path::to_path_buf).unwrap_or_default();
        for link in links(&source.text) {
            if !folder.join(&link).exists() {
                broken.push(format!("{}: {link}", source.path));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn nothing_names_a_place_on_somebodys_machine() {
    let mut found = Vec::new();
    for source in tracked(|_| true) {
        for (number, line) in source.text.lines().enumerate() {
            if names_a_home(line) {
                found.push(format!("{}:{}: {line}", source.path, number + 1));
            }
        }
    }
    assert!(found.is_empty(), "paths of one machine:\n{}", found.join("\n"));
}

/// Applies a rule to every Rust file.
fn check(mut rule: impl FnMut(&Source) -> Vec<String>) {
    let wrong: Vec<String> = rust_sources().iter().flat_map(&mut rule).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn wrong_imports(source: &Source) -> Vec<String> {
    let Some(layer) = source.layer() else { return Vec::new() };
    let allowed =
        rules::LAYERS.iter().find(|(name, _)| *name == layer).map_or(&[][..], |(_, allowed)| allowed);
    let may = |path: &str| under(path, layer) || allowed.iter().any(|one| under(path, one));
    rust::paths(&source.tokens())
        .iter()
        .filter_map(|named| from_the_crate(source, named).map(|path| (named.line, path)))
        .filter(|(_, path)| !may(path))
        .map(|(line, path)| format!("{}:{line}: {layer} may not import {path}", source.path))
        .collect()
}

/// The path from the top of the crate, if it names one of its layers.
fn from_the_crate(source: &Source, named: &Named) -> Option<String> {
    let climbs = named.path.iter().take_while(|segment| *segment == "super").count();
    let rest = match named.path.first().map(String::as_str) {
        Some("crate") => &named.path[1..],
        // Enough steps up from `src/plan/diff/env.rs` are at the top of the crate.
        Some("super") if climbs >= depth(&source.path) => &named.path[climbs..],
        _ => return None,
    };
    let layer = rest.first()?;
    let known = rules::LAYERS.iter().any(|(name, _)| name == layer);
    (known || named.path[0] == "crate").then(|| rest.join("::"))
}

/// How deep the module of a file is: 1 for `src/plan/mod.rs`, 2 for `src/plan/diff.rs`.
fn depth(path: &str) -> usize {
    path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod").split('/').count()
}

fn impurities(source: &Source) -> Vec<String> {
    if !source.layer().is_some_and(|layer| rules::PURE.contains(&layer)) {
        return Vec::new();
    }
    rust::paths(&source.tokens())
        .iter()
        .map(|named| (named.line, named.path.join("::")))
        .filter(|(_, path)| rules::IMPURE.iter().any(|one| under(path, one)))
        .map(|(line, path)| format!("{}:{line}: {path} in a pure layer", source.path))
        .collect()
}

fn intruders(source: &Source) -> Vec<String> {
    if !source.path.starts_with("src/") || source.is_test() {
        return Vec::new();
    }
    let (tokens, _) = rust::without_tests(source.tokens());
    let mut found = Vec::new();
    for named in rust::resolved(&tokens) {
        let path = named.path.join("::");
        let Some((thing, homes)) = rules::OWNERS.iter().find(|(thing, _)| under(&path, thing)) else {
            continue;
        };
        if !homes.iter().any(|home| source.path.starts_with(home)) {
            found.push(format!("{}:{}: {thing} belongs to {homes:?}", source.path, named.line));
        }
    }
    found
}

fn unsafe_elsewhere(source: &Source) -> Vec<String> {
    if source.is_test() || rules::UNSAFE.iter().any(|home| source.path.starts_with(home)) {
        return Vec::new();
    }
    let lines = source.tokens().into_iter().filter(|token| token.text == "unsafe").map(|token| token.line);
    lines.map(|line| format!("{}:{line}: unsafe is not at home here", source.path)).collect()
}

/// The functions beyond the limit that are not excused; an excuse that is needed is taken off the list.
fn long_functions(source: &Source, excused: &mut Vec<(&str, &str, usize)>) -> Vec<String> {
    let mut found = Vec::new();
    for function in rust::functions(&source.tokens()) {
        if function.lines <= rules::FUNCTION_LINES {
            continue;
        }
        let excuse = (source.path.as_str(), function.name.as_str(), function.lines);
        if let Some(at) = excused.iter().position(|one| *one == excuse) {
            excused.remove(at);
        } else {
            let (path, name, lines) = excuse;
            found.push(format!("{path}:{}: `{name}` has {lines} lines", function.line));
        }
    }
    found
}

/// Whether a path is this one or inside it.
fn under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The files that a Markdown page links to; addresses and places on the page itself are left out.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut code = false;
    for line in text.lines() {
        code ^= line.trim_start().starts_with("```");
        if code {
            continue;
        }
        for part in line.split("](").skip(1) {
            let target = part.split([')', ' ', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                found.push(target.to_owned());
            }
        }
    }
    found
}

/// Whether a line has the path of somebody's home or workspace in it.
fn names_a_home(line: &str) -> bool {
    // Put together here, so that this file does not accuse itself.
    ["home", "root", "Users", "work"].iter().any(|folder| {
        let place = format!("/{folder}/");
        line.match_indices(&place).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + place.len()..].chars().next();
            before.is_none_or(|sign| !sign.is_alphanumeric() && !"./-_~}".contains(sign))
                && after.is_some_and(char::is_alphanumeric)
        })
    })
}

fn rust_sources() -> Vec<Source> {
    let sources = tracked(|path| path.ends_with(".rs"));
    assert!(sources.len() > 100, "the sources were not found");
    sources
}

/// The files of the repository that are text, by git where it is there, else by looking.
fn tracked(wanted: impl Fn(&str) -> bool) -> Vec<Source> {
    let git = std::process::Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let paths = match git {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => {
            String::from_utf8_lossy(&output.stdout).split_terminator('\0').map(str::to_owned).collect()
        }
        _ => walk(&root()),
    };
    let readable = paths.into_iter().filter(|path| wanted(path)).filter_map(|path| {
        let text = fs::read_to_string(root().join(&path)).ok()?;
        Some(Source { path, text })
    });
    readable.collect()
}

/// Every file below a folder, without build results and hidden folders.
fn walk(top: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![top.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let skipped = name == "target" || name == "data" || name.to_string_lossy().starts_with('.');
            match path.strip_prefix(top) {
                Ok(_) if skipped => {}
                Ok(_) if path.is_dir() => folders.push(path),
                Ok(relative) => files.push(relative.to_string_lossy().into_owned()),
                Err(_) => {}
            }
        }
    }
    files
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Each rule must be able to fail.
mod the_rules_bite {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    #[test]
    fn on_an_import_upwards() {
        let wrong = |path, text| wrong_imports(&source(path, text)).len();
        assert_eq!(wrong("src/types/a.rs", "use crate::config::model::Project;"), 1);
        assert_eq!(wrong("src/plan/a.rs", "use crate::{types::Name, supervisor::{Event, Action}};"), 2);
        assert_eq!(wrong("src/runner/a.rs", "fn a() { crate::output::paint(); }"), 1);
        assert_eq!(wrong("src/runner/a.rs", "use super::super::supervisor::Event;"), 1);
        assert_eq!(wrong("src/watch/a.rs", "use crate::config::load;"), 1);
        assert_eq!(
            wrong("src/watch/a.rs", "use crate::config::model::WatchSpec; use crate::watch::rules;"),
            0
        );
        assert_eq!(wrong("src/plan/diff/env.rs", "use super::super::graph::Graph;"), 0);
    }

    #[test]
    fn on_a_clock_in_the_core() {
        let wrong = |path, text| impurities(&source(path, text)).len();
        assert_eq!(wrong("src/supervisor/a.rs", "use std::time::{Duration, Instant};"), 1);
        assert_eq!(wrong("src/plan/a.rs", "fn a() { std::fs::read(b); }"), 1);
        assert_eq!(wrong("src/supervisor/a.rs", "use std::collections::HashMap;"), 1);
        assert_eq!(wrong("src/watch/a.rs", "use std::time::Instant;"), 0);
    }

    #[test]
    fn on_an_intruder() {
        let wrong = |path, text| intruders(&source(path, text)).len();
        assert_eq!(wrong("src/plan/a.rs", "use petgraph::graph::DiGraph;"), 1);
        assert_eq!(wrong("src/watch/engine.rs", "notify::recommended_watcher(a)"), 1);
        assert_eq!(wrong("src/watch/native.rs", "use notify::Watcher;"), 0);
        assert_eq!(wrong("src/plan/a.rs", "let notify = 1; // notify::x"), 0);
        assert_eq!(wrong("src/watch/a.rs", "use std::thread; fn a() { thread::spawn(b); }"), 1);
        assert_eq!(
            wrong("src/watch/a.rs", "#[cfg(test)] mod tests { fn a() { std::thread::spawn(b); } }"),
            0
        );
    }

    #[test]
    fn on_unsafe_elsewhere() {
        assert_eq!(unsafe_elsewhere(&source("src/plan/a.rs", "unsafe { a() }")).len(), 1);
        assert_eq!(unsafe_elsewhere(&source("src/plan/a.rs", "// unsafe\n\"unsafe\"")).len(), 0);
    }

    #[test]
    fn on_a_long_function() {
        let text = format!("fn long() {{\n{}}}\n", "a();\n".repeat(rules::FUNCTION_LINES));
        let lines = rules::FUNCTION_LINES + 2;
        let long = source("src/plan/a.rs", &text);
        assert_eq!(long_functions(&long, &mut Vec::new()).len(), 1);
        let mut excused = vec![("src/plan/a.rs", "long", lines)];
        assert!(long_functions(&long, &mut excused).is_empty() && excused.is_empty());
        let mut stale = vec![("src/plan/a.rs", "long", lines + 1)];
        assert_eq!((long_functions(&long, &mut stale).len(), stale.len()), (1, 1));
    }

    #[test]
    fn on_links_and_homes() {
        assert_eq!(links("[a](b.md#c) [d](https://e) [f](#g)\n```\n[h](i)\n```\n"), ["b.md"]);
        let place = |folder: &str| names_a_home(&format!("see /{folder}/someone/x"));
        assert!(place("home") && place("Users") && !place("usr"));
    }
}
