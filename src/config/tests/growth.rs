//! Aliases: what many components share costs little, and a bomb costs little, too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Folder, codes, component, project_in, project_of};
use crate::config::Loaded;

fn load_of(yaml: &str) -> Loaded {
    Folder::new(&[("devmode.yaml", yaml)]).load(&[])
}

/// A base of 40 variables and some sections.
fn base() -> String {
    let variables: String = (0..40).map(|n| format!("    VAR_{n}: value {n}\n")).collect();
    format!(
        "version: 1\nx-base: &base\n  env:\n{variables}  restart: {{ backoff: {{ initial: 100ms, max: 5s }} }}\n  \
         stop: {{ timeout: 3s, signal: SIGINT }}\n  logs: {{ keep: 2, max_size: 1MiB }}\n"
    )
}

#[test]
fn a_base_may_be_large_and_merged_everywhere() {
    for (text, count) in
        [("{ <<: *base, thread: ticker }", 2_000), ("{ <<: *base, thread: ticker, env: { A: b } }", 20_000)]
    {
        let components: String = (0..count).map(|n| format!("  c{n}: {text}\n")).collect();
        let loaded = load_of(&format!("{}components:\n{components}", base()));
        assert!(codes(&loaded).is_empty(), "{text}");
        assert_eq!(loaded.project.unwrap().components.len(), count);
    }
}

#[test]
fn an_alias_may_stand_for_whole_components() {
    let components: String = (0..20_000).map(|n| format!("  c{n}: *c\n")).collect();
    let base = base() + "  process: sh\n";
    let loaded = load_of(&format!("{}components:\n{components}", base.replace("&base", "&c")));
    assert!(codes(&loaded).is_empty());
}

#[test]
fn environments_that_are_taken_from_one_place_are_one() {
    let project = project_of(
        "version: 1\nx-e: &e { A: '1', B: '2', N: null }\nx-f: &f { B: '3', C: '4' }\ncomponents:\n  \
         a: { process: sh, env: *e }\n  b: { process: sh, env: *e }\n  c: { process: sh, env: { <<: *e, B: own } }\n  \
         d: { process: sh, env: { <<: [*f, *e], D: '5' } }\n  g: { process: sh, env: { <<: [*f, *e], D: '6' } }\n",
    );
    let env = |name: &str| &component(&project, name).env;
    assert!(Arc::ptr_eq(&env("a").files, &env("b").files) && Arc::ptr_eq(&env("a").files, &env("c").files));
    assert!(Arc::ptr_eq(&env("d").files, &env("g").files));
    let merged = |name: &str| -> Vec<(String, Option<String>)> { env(name).merged().into_iter().collect() };
    let is = |values: &[(&str, Option<&str>)]| -> Vec<(String, Option<String>)> {
        values.iter().map(|(name, value)| ((*name).into(), value.map(String::from))).collect()
    };
    assert_eq!(merged("a"), is(&[("A", Some("1")), ("B", Some("2")), ("N", None)]));
    assert_eq!(merged("c"), is(&[("A", Some("1")), ("B", Some("own")), ("N", None)]));
    let d = [("A", Some("1")), ("B", Some("3")), ("C", Some("4")), ("D", Some("5")), ("N", None)];
    assert_eq!(merged("d"), is(&d));
}

/// An `env` wins over an env file, also where it is taken from elsewhere.
#[test]
fn what_is_taken_from_elsewhere_wins_over_env_files() {
    let folder = Folder::new(&[
        ("a.env", "A=file\nB=file\nC=file\n"),
        (
            "devmode.yaml",
            "version: 1\nx-e: &e { A: taken, B: taken }\nenv: { <<: *e, B: project, D: project }\ncomponents:\n  \
             a: { process: sh, env_file: a.env, env: { <<: *e, B: own } }\n  \
             b: { process: sh, env_file: a.env, env: { <<: *e } }\n  c: { process: sh }\n",
        ),
    ]);
    let project = project_in(&folder, &[]);
    let values = |name: &str| -> Vec<String> {
        component(&project, name).env.merged().into_values().map(Option::unwrap).collect()
    };
    assert_eq!(values("a"), ["taken", "own", "file", "project"]);
    assert_eq!(values("b"), ["taken", "taken", "file", "project"]);
    assert_eq!(values("c"), ["taken", "project", "project"]);
    let files = |name: &str| &component(&project, name).env.files;
    assert!(Arc::ptr_eq(files("a"), files("b")));
}

/// The mistakes of what is shared are told once, and those of each component all the same.
#[test]
fn mistakes_in_a_shared_environment_are_told_once() {
    let loaded = load_of(
        "version: 1\nx-e: &e { A: [1] }\ncomponents:\n  a: { process: sh, env: *e }\n  \
         b: { process: sh, env: { <<: *e, B: [2] } }\n",
    );
    assert_eq!(codes(&loaded), ["E102", "E102"]);
}

#[test]
fn bombs_end_at_once_with_one_error() {
    let levels = |count: usize| -> String {
        let level = |n: usize| format!("x-{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", "));
        "version: 1\nx-0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned()
            + &(1..count).map(level).collect::<String>()
    };
    let keys: String = (0..2_000).map(|n| format!("K{n}: v, ")).collect();
    let many = |count: usize, text: &str| -> String {
        "components:\n".to_owned()
            + &(0..count)
                .map(|n| format!("  c{n}: {}\n", text.replace('#', &n.to_string())))
                .collect::<String>()
    };
    let bombs = [
        levels(9) + "components: {}\n",
        levels(5) + &many(200, "{ thread: ticker, with: { x: *a4 } }"),
        levels(5) + &many(200, "{ process: *a4 }"),
        format!("version: 1\nx-e: &e {{ {keys} }}\n")
            + &many(20_000, "{ thread: ticker, with: { <<: *e, A: '#' } }"),
        format!("version: 1\nx-e: &e {{ {keys} }}\n")
            + &many(20_000, "{ thread: ticker, env: { <<: [*e, { A: '#' }] } }"),
        format!("version: 1\nx-e: &e [{}]\n", "{ <<: {} }, ".repeat(3_000))
            + &many(20_000, "{ thread: ticker, <<: *e }"),
    ];
    let long = "long ".repeat(200_000);
    let bombs = [
        format!("version: 1\nx-e: &e {long}\n") + &many(2_000, "{ thread: ticker, description: *e }"),
        format!("version: 1\nx-e: &e {{ ? {long}\n: 1 }}\n") + &many(2_000, "{ thread: ticker, with: *e }"),
    ]
    .into_iter()
    .chain(bombs)
    .collect::<Vec<_>>();
    for (number, bomb) in bombs.iter().enumerate() {
        let begin = Instant::now();
        let loaded = load_of(bomb);
        let errors = codes(&loaded);
        assert_eq!(
            errors.iter().filter(|code| code.starts_with('E')).collect::<Vec<_>>(),
            [&"E003"],
            "{number}"
        );
        assert!(begin.elapsed() < Duration::from_secs(20), "{number}");
    }
}
