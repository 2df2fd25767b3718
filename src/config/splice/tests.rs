//! `watch` in every layout that people write, before and after; and in layouts that nobody does.

mod random;

use std::path::PathBuf;

use crate::config::{Edited, LoadOptions, NotEdited, watch_more};
use crate::types::Name;

/// No such file is there; its folder is.
fn file() -> PathBuf {
    std::env::temp_dir().join("devmode.yaml")
}

fn options() -> LoadOptions {
    let mut options = LoadOptions::default();
    options.environment.insert("PATH".into(), "/usr/bin:/bin".into());
    options
}

fn edit(text: &str, name: &str, paths: &[&str]) -> Result<Edited, NotEdited> {
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    watch_more(&file(), text, &Name::new(name).unwrap(), &paths, &options())
}

fn edited(text: &str, paths: &[&str]) -> String {
    let edited = edit(text, "api", paths).unwrap_or_else(|error| panic!("{text}\n{error:?}"));
    edited.text.unwrap_or_else(|| panic!("nothing to be done:\n{text}"))
}

/// Adds `new` to `api`.
fn check(cases: &[(&str, &str)]) {
    for (before, after) in cases {
        let (before, after) = (format!("version: 1\n{before}"), format!("version: 1\n{after}"));
        assert_eq!(edited(&before, &["new"]), after, "of:\n{before}");
    }
}

fn refused(text: &str) -> String {
    match edit(text, "api", &["new"]) {
        Err(NotEdited::Refused(why)) => why,
        other => panic!("{text}\n{other:?}"),
    }
}

#[test]
fn a_flow_list_grows_in_its_layout() {
    check(&[
        (
            "components: { api: { process: cat, watch: [src] } }\n",
            "components: { api: { process: cat, watch: [src, new] } }\n",
        ),
        (
            "components:\n  api:\n    watch: [ src , \"a b\", ]   # why\n    process: cat",
            "components:\n  api:\n    watch: [ src , \"a b\", new, ]   # why\n    process: cat",
        ),
        (
            "components:\n  api:\n    process: cat\n    watch: [\n      src,    # one\n      lib,    # two\n      # three\n    ]\n",
            "components:\n  api:\n    process: cat\n    watch: [\n      src,    # one\n      lib,    # two\n      new,\n      # three\n    ]\n",
        ),
        (
            "components:\n  api:\n    process: cat\n    watch: [\n      src,\n      lib    # two\n    ]\n",
            "components:\n  api:\n    process: cat\n    watch: [\n      src,\n      lib,    # two\n      new\n    ]\n",
        ),
        (
            "components:\n  api:\n    process: cat\n    watch: [\n      src,\n      lib ]\n",
            "components:\n  api:\n    process: cat\n    watch: [\n      src,\n      lib, new ]\n",
        ),
        (
            "components:\n  api:\n    process: cat\n    watch: [src,\n      lib   # two\n      , ]\n",
            "components:\n  api:\n    process: cat\n    watch: [src,\n      lib,   # two\n      new\n      , ]\n",
        ),
    ]);
}

#[test]
fn a_block_list_grows_in_its_layout() {
    check(&[
        (
            "components:\n  api:\n    process: cat\n    watch:\n      - src  # one\n      # - old\n    restart: always\n",
            "components:\n  api:\n    process: cat\n    watch:\n      - src  # one\n      - new\n      # - old\n    restart: always\n",
        ),
        (
            "components:\n  api:\n    process: cat\n    watch:\n    -   src\n    -   'lib'",
            "components:\n  api:\n    process: cat\n    watch:\n    -   src\n    -   'lib'\n    -   new",
        ),
        (
            "components:\r\n  api:\r\n    process: cat\r\n    watch:\r\n      - &x src\r\n",
            "components:\r\n  api:\r\n    process: cat\r\n    watch:\r\n      - &x src\r\n      - new\r\n",
        ),
        (
            "components:\n  api:\n    process: cat\n    watch:\n      - >-\n        src\n\n    restart: always\n",
            "components:\n  api:\n    process: cat\n    watch:\n      - >-\n        src\n      - new\n\n    restart: always\n",
        ),
    ]);
}

#[test]
fn a_section_without_a_list_gets_one() {
    check(&[
        (
            "components:\n  api:\n    process: cat\n    watch: { paths: [src], settle: 1s } # why\n",
            "components:\n  api:\n    process: cat\n    watch: { paths: [src, new], settle: 1s } # why\n",
        ),
        (
            "components:\n  api:\n    process: cat\n    watch:\n      settle: 1s\n      paths:\n      - src\n      gitignore: false\n",
            "components:\n  api:\n    process: cat\n    watch:\n      settle: 1s\n      paths:\n      - src\n      - new\n      gitignore: false\n",
        ),
        (
            "defaults: { watch: [src, \"*.rs\"] }\ncomponents:\n  api:\n    process: cat\n    watch: { settle: 1s }\n",
            "defaults: { watch: [src, \"*.rs\"] }\ncomponents:\n  api:\n    process: cat\n    watch: { settle: 1s, paths: [src, \"*.rs\", new] }\n",
        ),
        (
            "components:\n  api:\n    process: cat\n    watch: false # off\n",
            "components:\n  api:\n    process: cat\n    watch: [new] # off\n",
        ),
    ]);
}

#[test]
fn a_component_without_the_section_gets_one() {
    check(&[
        (
            "components:\n  web: { process: cat }\n  api:\n    process: cat   # a cat\n\n  other: { process: cat }\n",
            "components:\n  web: { process: cat }\n  api:\n    process: cat   # a cat\n    watch: [new]\n\n  other: { process: cat }\n",
        ),
        ("components:\n  api: {process: cat}", "components:\n  api: {process: cat, watch: [new]}"),
        (
            "components:\n  \"api\" :   { \"process\":\"cat\" }\n",
            "components:\n  \"api\" :   { \"process\":\"cat\", watch: [new] }\n",
        ),
        (
            "components:\n  api: {\n    process: cat,   # a cat\n  }\n",
            "components:\n  api: {\n    process: cat,   # a cat\n    watch: [new],\n  }\n",
        ),
        (
            "components:\n  api:\n      process: cat\n      ready:\n        exec:\n        - 'true'  # always\n        # none\n",
            "components:\n  api:\n      process: cat\n      ready:\n        exec:\n        - 'true'  # always\n      watch: [new]\n        # none\n",
        ),
        (
            "components:\n  api:\n    process: cat\n    description: |+\n      many\n\n      lines\n\n# end\n",
            "components:\n  api:\n    watch: [new]\n    process: cat\n    description: |+\n      many\n\n      lines\n\n# end\n",
        ),
        (
            "components:\n  api:\n    process: cat\n    description: |\n      many\n      lines\n\n# end\n",
            "components:\n  api:\n    process: cat\n    description: |\n      many\n      lines\n    watch: [new]\n\n# end\n",
        ),
    ]);
}

#[test]
fn what_comes_from_elsewhere_is_written_out_and_left_alone_there() {
    check(&[
        (
            "defaults: { watch: { paths: [src, '${X:-1}x'], settle: 1s } }\ncomponents:\n  api: { process: cat }\n",
            "defaults: { watch: { paths: [src, '${X:-1}x'], settle: 1s } }\ncomponents:\n  api: { process: cat, watch: [src, \"${X:-1}x\", new] }\n",
        ),
        (
            "x-w: &w [src]\ncomponents:\n  api: { process: cat, watch: *w }\n  web: { process: cat, watch: *w }\n",
            "x-w: &w [src]\ncomponents:\n  api: { process: cat, watch: [src, new] }\n  web: { process: cat, watch: *w }\n",
        ),
        (
            "x-w: &w {paths: &p [src], settle: 1s, action: SIGHUP}\ncomponents:\n  api: { process: cat, watch: *w }\n  web: { process: cat, watch: {<<: *w, paths: *p} }\n",
            "x-w: &w {paths: &p [src], settle: 1s, action: SIGHUP}\ncomponents:\n  api: { process: cat, watch: {settle: 1s, action: SIGHUP, paths: [src, new]} }\n  web: { process: cat, watch: {<<: *w, paths: *p} }\n",
        ),
        (
            "x-p: &p [src]\ncomponents:\n  api: { process: cat, watch: {paths: *p, settle: 1s} }\n  web: { process: cat, watch: *p }\n",
            "x-p: &p [src]\ncomponents:\n  api: { process: cat, watch: {paths: [src, new], settle: 1s} }\n  web: { process: cat, watch: *p }\n",
        ),
        (
            "x-b: &b\n  watch: {paths: [src], gitignore: false}\n  process: cat\ncomponents:\n  api:\n    <<: *b\n  web: *b\n",
            "x-b: &b\n  watch: {paths: [src], gitignore: false}\n  process: cat\ncomponents:\n  api:\n    <<: *b\n    watch: {gitignore: false, paths: [src, new]}\n  web: *b\n",
        ),
        (
            "x-b: &b {process: cat, watch: [src]}\ncomponents:\n  api: *b # as web\n  web: *b\n",
            "x-b: &b {process: cat, watch: [src]}\ncomponents:\n  api: {<<: *b, watch: [src, new]} # as web\n  web: *b\n",
        ),
        (
            "defaults: {watch: [all]}\ncomponents:\n  api: &a { process: cat, watch: false }\n",
            "defaults: {watch: [all]}\ncomponents:\n  api: &a { process: cat, watch: [new] }\n",
        ),
    ]);
    let taken =
        edit("version: 1\ndefaults: {watch: [a, b]}\ncomponents: {api: {process: cat}}\n", "api", &["new"]);
    assert_eq!(taken.unwrap().taken, 2);
    let own = edit("version: 1\ncomponents: {api: {process: cat, watch: [a]}}\n", "api", &["new"]);
    assert_eq!(own.unwrap().taken, 0);
}

#[test]
fn what_others_take_over_is_not_changed() {
    let shared = "version: 1\ncomponents:\n  api: &a\n    process: cat\n    watch: [src]\n  web: {<<: *a}\n";
    let why = refused(shared);
    assert!(why.contains("`web`, too") && why.contains("of its own first"), "{why}");
    // Once it has one, it is another thing.
    let own = shared.replace("<<: *a", "<<: *a, watch: [src]");
    assert_eq!(edited(&own, &["new"]), own.replacen("[src]", "[src, new]", 1));
    let anchored =
        "version: 1\ncomponents:\n  api: {process: cat, watch: &w [src]}\n  web: {process: cat, watch: *w}\n";
    assert!(refused(anchored).contains("`web`, too"));
    let merged =
        "version: 1\nx: 1\nx-c: &c {api: {process: cat}}\ncomponents: {<<: *c, web: {process: cat}}\n";
    let merged = merged.replace("x: 1\n", "");
    assert!(refused(&merged).contains("by `<<`"));
}

#[test]
fn a_path_is_written_as_yaml_needs_it() {
    let text = "version: 1\ncomponents:\n  api:\n    process: cat\n    watch:\n      - src\n";
    let cases = [
        ("src/x.rs", "src/x.rs"),
        ("../x", "../x"),
        ("src/*.rs", "src/*.rs"),
        ("**/*.html", "\"**/*.html\""),
        ("!x", "\"!x\""),
        ("#x", "\"#x\""),
        ("a #b", "\"a #b\""),
        ("a: b", "\"a: b\""),
        ("c:", "\"c:\""),
        ("a,b", "\"a,b\""),
        ("{a,b}", "\"{a,b}\""),
        ("[ab]", "\"[ab]\""),
        ("-x", "\"-x\""),
        ("&x", "\"&x\""),
        ("%x", "\"%x\""),
        ("@x", "\"@x\""),
        ("true", "\"true\""),
        ("null", "\"null\""),
        ("12", "\"12\""),
        ("1e3", "\"1e3\""),
        ("0x1f", "\"0x1f\""),
        (".5", "\".5\""),
        ("~", "\"~\""),
        ("...", "\"...\""),
        (" x ", "\" x \""),
        ("größe/ö", "größe/ö"),
        ("a\"b", "'a\"b'"),
        ("it's", "\"it's\""),
        ("it's \"x\"", "'it''s \"x\"'"),
        ("a\tb\nc", "\"a\\tb\\nc\""),
        ("a\u{85}b\u{2028}\u{202e}", "\"a\\u0085b\\u2028\\u202e\""),
        ("$HOME", "\"$$HOME\""),
        ("a${X}", "\"a$${X}\""),
        ("a$b", "a$$b"),
    ];
    for (path, written) in cases {
        let after = edited(text, &[path]);
        assert_eq!(after, format!("{text}      - {written}\n"), "{path:?}");
        // Each is known then.
        assert!(edit(&after, "api", &[path]).unwrap().text.is_none(), "{path:?}");
    }
}

#[test]
fn the_quotes_of_a_list_are_kept_up() {
    let json = "{\"version\":1,\"components\":{\"api\":{\"process\":\"cat\",\"watch\":[\"src\"]}}}";
    assert_eq!(edited(json, &["new"]), json.replace("\"src\"", "\"src\", \"new\""));
    let single = "version: 1\ncomponents: {api: {process: cat, watch: ['src', 'b']}}";
    assert_eq!(edited(single, &["it's"]), single.replace("'b'", "'b', 'it''s'"));
    let mixed = "version: 1\ncomponents: {api: {process: cat, watch: ['src', b]}}";
    assert_eq!(edited(mixed, &["new"]), mixed.replace(", b", ", b, new"));
}

#[test]
fn a_byte_order_mark_stays() {
    let text = "\u{feff}version: 1\r\ncomponents:\r\n  api:\r\n    process: cat";
    assert_eq!(edited(text, &["new"]), format!("{text}\r\n    watch: [new]"));
}

#[test]
fn what_is_watched_already_is_not_added_again() {
    let text = "version: 1\ncomponents: {api: {process: cat, watch: [src, ./lib/]}}";
    let both = edit(text, "api", &["lib", "src", "new", "new"]).unwrap();
    assert_eq!((both.known, both.added), (vec!["lib".to_owned(), "src".to_owned()], vec!["new".to_owned()]));
    assert_eq!(both.text.unwrap(), text.replace("./lib/", "./lib/, new"));
    assert!(edit(text, "api", &["src"]).unwrap().text.is_none());
}

#[test]
fn what_is_not_valid_before_or_after_is_refused() {
    let unknown = edit("version: 1\ncomponents: {api: {process: cat}}", "apu", &["x"]);
    assert!(matches!(unknown, Err(NotEdited::Unknown(Some(help))) if help.contains("`api`")));
    for invalid in ["version: 1\ncomponents: {api: {process: cat, watch: ~}}", "a: [", ""] {
        assert!(matches!(edit(invalid, "api", &["x"]), Err(NotEdited::Invalid(_))), "{invalid}");
    }
    let glob = edit("version: 1\ncomponents: {api: {process: cat}}", "api", &["[x"]);
    assert!(matches!(glob, Err(NotEdited::Meaningless(why)) if why.contains("not a valid glob")));
}
