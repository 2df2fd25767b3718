//! Rules that take more than one value, or the world, to judge.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Duration;

use super::{Folder, codes, component, project_in, project_of, render};
use crate::config::model::State;
use crate::config::{LoadOptions, Loaded, Threads, load};

fn load_of(yaml: &str) -> Loaded {
    Folder::new(&[("devmode.yaml", yaml)]).load(&[])
}

#[test]
fn a_state_file_is_a_file_of_the_components_own() {
    let folder = Folder::new(&[("p.env", "A=1\n"), ("a.env", "A=1\n"), ("data.json", "{}"), ("real", "")]);
    std::fs::create_dir_all(folder.path("src")).unwrap();
    symlink("real", folder.path("link")).unwrap();
    symlink("nowhere", folder.path("dangling")).unwrap();
    symlink(".", folder.path("here")).unwrap();
    std::fs::hard_link(folder.path("p.env"), folder.path("other-name")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.path("fifo"), rustix::fs::Mode::RUSR).unwrap();
    let bad = [
        "src",
        "link",
        "dangling",
        "fifo",
        "devmode.yaml",
        "./src/../devmode.yaml",
        "here/devmode.yaml",
        "p.env",
        "a.env",
        "other-name",
        ".",
        "..",
        "/",
        ".orch",
        ".orch/data",
        ".orch/events.ndjson",
        ".orch/logs/a.log",
        ".orch/state/a/1.orst",
    ];
    for file in bad {
        let yaml = format!(
            "version: 1\nenv_file: p.env\ncomponents:\n  a: {{ process: sh, state: {{ file: {file:?} }} }}\n  b: {{ process: sh, env_file: a.env }}\n"
        );
        std::fs::write(folder.path("devmode.yaml"), yaml).unwrap();
        let loaded = folder.load(&[]);
        let shown = render::human(&loaded.diagnostics, &loaded.sources, false);
        assert_eq!(codes(&loaded), ["E213"], "{file}: {shown}");
        let [one] = &loaded.diagnostics[..] else { panic!("{shown}") };
        assert_eq!(
            (one.path.as_str(), one.place.as_ref().unwrap().line),
            ("components.a.state", 4),
            "{shown}"
        );
        assert!(one.help.is_some());
    }
    for file in ["data.json", "new/state.json", ".orch/data/b", "../elsewhere.json", "srcs"] {
        let yaml = format!(
            "version: 1\ncomponents:\n  a: {{ process: sh, state: {file} }}\n  b: {{ process: sh, state: true }}\n"
        );
        std::fs::write(folder.path("devmode.yaml"), yaml).unwrap();
        if file != ".orch/data/b" {
            let _: Option<&State> = component(&project_in(&folder, &[]), "a").state.as_deref();
        } else {
            assert_eq!(codes(&folder.load(&[])), ["E210"]);
        }
    }
}

#[test]
fn one_file_by_two_ways_is_one_file() {
    let folder = Folder::new(&[]);
    std::fs::create_dir_all(folder.path("real")).unwrap();
    symlink("real", folder.path("link")).unwrap();
    let loaded = |yaml: &str| {
        std::fs::write(folder.path("devmode.yaml"), format!("version: 1\ncomponents:\n{yaml}")).unwrap();
        folder.load(&[])
    };
    for (a, b) in [
        ("sockets: { s: real/x }", "sockets: { s: link/x }"),
        ("state: real/x", "state: link/x"),
        ("logs: { file: real/x }", "logs: { file: ./link/../link/x }"),
        ("state: link/x", "logs: { file: real/x }"),
        ("state: new/x", "logs: { file: ./new/y/../x }"),
    ] {
        let yaml = format!("  a: {{ process: sh, {a} }}\n  b: {{ process: sh, {b} }}\n");
        assert_eq!(codes(&loaded(&yaml)), ["E210"], "{yaml}");
    }
    let apart = "  a: { process: sh, state: real/x }\n  b: { process: sh, state: new/x }\n";
    assert!(codes(&loaded(apart)).is_empty());
}

#[test]
fn cycles_that_share_a_component_are_all_told() {
    let loaded = load_of(
        "version: 1\ncomponents:\n  a: { thread: ticker, depends_on: [b, c] }\n  \
         b: { thread: ticker, depends_on: [a] }\n  c: { thread: ticker, depends_on: [d] }\n  \
         d: { thread: ticker, depends_on: [a] }\n",
    );
    let messages: Vec<&str> = loaded.diagnostics.iter().map(|one| one.message.as_str()).collect();
    let cycle = "components depend on each other in a cycle: ";
    assert_eq!(messages, [format!("{cycle}a → b → a"), format!("{cycle}a → c → d → a")]);
    let paths: Vec<&str> = loaded.diagnostics.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(paths, ["components.a.depends_on[0]", "components.a.depends_on[1]"]);
}

#[test]
fn a_long_cycle_is_shown_whole() {
    let mut yaml = String::from("version: 1\ncomponents:\n");
    for n in 0..5_000 {
        yaml += &format!("  c{n}: {{ thread: ticker, depends_on: [c{}] }}\n", (n + 1) % 5_000);
    }
    let loaded = load_of(&yaml);
    assert_eq!(codes(&loaded), ["E203"]);
    let message = &loaded.diagnostics[0].message;
    assert!((0..5_000).all(|n| message.contains(&format!(" c{n} → "))));
    assert_eq!(loaded.diagnostics[0].path, "components.c0.depends_on[0]");
}

#[test]
fn many_large_patterns_are_not_all_compiled() {
    let of = |count: usize, pattern: &dyn Fn(usize) -> String| {
        let lines =
            (0..count).map(|n| format!("  a{n}: {{ process: sh, ready: {{ log: '{}' }} }}\n", pattern(n)));
        load_of(&format!("version: 1\ncomponents:\n{}", lines.collect::<String>()))
    };
    let loaded = of(200, &|n| format!("(\\pL{{50}}){{20}}{n}"));
    let said = |text: &str| loaded.diagnostics.iter().filter(|one| one.message.contains(text)).count();
    assert_eq!((said("it is too large"), said("it is large, as are 64 others")), (64, 136));
    // The same one is one, and what is a good one stays so.
    assert!(codes(&of(1_000, &|_| "\\pL{6}".to_owned())).is_empty());
    assert!(codes(&of(5_000, &|n| format!("listening on port {n}"))).is_empty());
}

#[test]
fn a_delay_that_is_never_over_is_a_mistake() {
    let ready =
        |ready: &str| load_of(&format!("version: 1\ncomponents:\n  a: {{ process: sh, ready: {ready} }}\n"));
    for bad in ["{ delay: 30s }", "{ delay: 10s }", "{ delay: 2s, timeout: 1s }"] {
        let loaded = ready(bad);
        assert_eq!(codes(&loaded), ["E112"], "{bad}");
        assert_eq!(loaded.diagnostics[0].path, "components.a.ready.delay");
    }
    for good in ["{ delay: 9s }", "{ delay: 30s, timeout: 31s }"] {
        assert!(codes(&ready(good)).is_empty(), "{good}");
    }
}

#[test]
fn the_first_wait_is_no_longer_than_the_longest() {
    let backoff = |defaults: &str, own: &str| {
        load_of(&format!(
            "version: 1\ndefaults: {{ restart: {{ backoff: {{ {defaults} }} }} }}\ncomponents:\n  \
             a: {{ process: sh, restart: {{ backoff: {{ {own} }} }} }}\n"
        ))
    };
    for (defaults, own) in [("", "initial: 20s"), ("initial: 20s", ""), ("max: 5s", "initial: 6s")] {
        assert_eq!(codes(&backoff(defaults, own)), ["E112"], "{defaults}; {own}");
    }
    assert!(codes(&backoff("", "initial: 20s, max: 30s")).is_empty());
    assert!(codes(&backoff("max: 30s", "initial: 20s")).is_empty());
    let project = backoff("", "max: 50ms").project.unwrap();
    let restart = &component(&project, "a").restart;
    assert_eq!(restart.backoff.initial, Duration::from_millis(50));
}

#[test]
fn one_env_file_may_be_a_map() {
    let project = project_of(
        "version: 1\nenv_file: { path: x.env, required: false }\ncomponents:\n  \
         a: { process: sh, env_file: { path: y.env, required: false } }\n",
    );
    assert_eq!(project.env_files.len(), 2);
    let loaded = load_of("version: 1\nenv_file: { path: x.env }\ncomponents:\n  a: { process: sh }\n");
    assert_eq!(codes(&loaded), ["E209"]);
    assert_eq!(loaded.diagnostics[0].path, "env_file");
}

fn with_threads(yaml: &str) -> Loaded {
    let folder = Folder::new(&[("devmode.yaml", yaml)]);
    let names = ["mine", "ticker", "picky"].map(String::from).to_vec();
    let check = Arc::new(|name: &str, _: &serde_yaml::Value| match name {
        "picky" => Err("with.every: no duration".to_owned()),
        "mine" => Err("with.evry: unknown field `evry`, expected `every`".to_owned()),
        _ => Ok(Vec::new()),
    });
    let options = LoadOptions { threads: Some(Threads { names, check }), ..LoadOptions::default() };
    load(&folder.path("devmode.yaml"), &options)
}

#[test]
fn what_a_thread_says_of_its_with_is_put_at_its_key() {
    let loaded = with_threads(
        "version: 1\ncomponents:\n  a:\n    thread: mine\n    with: { evry: 1s }\n  b:\n    thread: picky\n    \
         with: { every: soon }\n  c: { thread: picky }\n",
    );
    let places: Vec<_> = loaded
        .diagnostics
        .iter()
        .map(|one| (one.path.as_str(), one.place.as_ref().map(|place| (place.line, place.column)).unwrap()))
        .collect();
    let expected = [
        ("components.a.with.evry", (5, 13)),
        ("components.b.with.every", (8, 20)),
        ("components.c.thread", (9, 16)),
    ];
    assert_eq!(places, expected);
}

#[test]
fn threads_are_listed_once_each() {
    let loaded = with_threads("version: 1\ncomponents:\n  a: { thread: nothing-like-it }\n");
    let help = loaded.diagnostics[0].help.as_deref();
    assert_eq!(help, Some("the threads are mine, ticker, picky"));
}
