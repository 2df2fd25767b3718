//! Trees of small texts, and of hostile ones.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{NodeId, Shape, Tree, build};
use crate::config::report::Report;
use crate::config::source::Source;
use crate::types::Diagnostic;

fn parse(text: &str) -> (Option<Tree>, Vec<Diagnostic>) {
    let mut report = Report::default();
    let tree = build(&Arc::new(Source::new(Path::new("t.yaml"), text.into())), &mut report);
    (tree, report.finish())
}

fn tree(text: &str) -> Tree {
    let (tree, diagnostics) = parse(text);
    assert!(diagnostics.is_empty(), "{text}: {diagnostics:?}");
    tree.unwrap()
}

/// The tree in one line: plain scalars bare, others quoted.
fn show(tree: &Tree, node: NodeId) -> String {
    match tree.shape(node) {
        Shape::Scalar(text, true) => text.into(),
        Shape::Scalar(text, false) => format!("{text:?}"),
        Shape::List => {
            format!("[{}]", tree.items(node).map(|item| show(tree, item)).collect::<Vec<_>>().join(","))
        }
        Shape::Map => {
            let pairs =
                tree.pairs(node).map(|(key, value)| format!("{}:{}", show(tree, key), show(tree, value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
        }
        Shape::Broken => "!".into(),
    }
}

#[test]
fn shapes() {
    let cases = [
        ("a: 1\nb: [x, 'y z', \"t\\tu\"]\n", r#"{a:1,b:[x,"y z","t\tu"]}"#),
        ("a:\r\n  - b\r\n  - c: d\r\n", "{a:[b,{c:d}]}"),
        ("\u{feff}a: é\n", "{a:é}"),
        ("a: |\n  x\n  y\nb: >-\n  x\n  y\n", r#"{a:"x\ny\n",b:"x y"}"#),
        ("a: &x [1, 2]\nb: *x\nc: *x\n", "{a:[1,2],b:[1,2],c:[1,2]}"),
        ("a: &x 1\nb: &x 2\nc: *x\n", "{a:1,b:2,c:2}"),
        ("a: !!str 1\nb: !!int 2\n", "{a:\"1\",b:2}"),
        ("a:\nb: ~\n", "{a:,b:~}"),
        ("---\na: 1\n...\n", "{a:1}"),
        ("a: x\n  y\n", "{a:x y}"),
        ("{a: 'it''s', b: \"\"}", r#"{a:"it's",b:""}"#),
        ("plain", "plain"),
    ];
    for (text, shown) in cases {
        let tree = tree(text);
        assert_eq!(show(&tree, tree.root()), shown, "{text:?}");
    }
}

#[test]
fn spans_are_the_bytes() {
    let text = "ä: 'b c'\nd: [e, &f g, *f]\n";
    let tree = tree(text);
    let spans: Vec<_> =
        tree.pairs(tree.root()).map(|(key, value)| (tree.span(key), tree.span(value))).collect();
    assert_eq!(&text[spans[0].0.clone()], "ä");
    assert_eq!(&text[spans[0].1.clone()], "'b c'");
    assert_eq!(&text[spans[1].1.clone()], "[e, &f g, *f]");
    let list = tree.pairs(tree.root()).nth(1).unwrap().1;
    let items: Vec<_> = tree.items(list).map(|item| &text[tree.span(item)]).collect();
    assert_eq!(items, ["e", "g", "*f"]);
}

#[test]
fn mistakes() {
    let cases = [
        ("", "E006", 1, 1),
        ("# only a comment\n", "E006", 1, 1),
        ("a: 1\n---\nb: 2\n", "E006", 2, 1),
        ("a: 1\nb: 2\na: 3\n", "E004", 3, 1),
        ("a: {b: 1, 'b': 2}\n", "E004", 1, 11),
        ("a: *x\n", "E005", 1, 4),
        ("a: &x [*x]\n", "E005", 1, 8),
        ("a:\n\t- b\n", "E002", 2, 1),
        ("a:\n  b: 1\n\tc: 2\n", "E002", 3, 1),
        ("a: 'b\n", "E002", 1, 4),
        ("a: [b\n", "E002", 1, 4),
        ("a: b: c\n", "E002", 1, 5),
        ("a: !x 1\n", "E002", 1, 7),
        ("[a]: b\n", "E102", 1, 1),
    ];
    for (text, code, line, column) in cases {
        let (_, diagnostics) = parse(text);
        let [one] = &diagnostics[..] else { panic!("{text:?}: {diagnostics:?}") };
        let place = one.place.as_ref().unwrap();
        assert_eq!((one.code, place.line, place.column), (code, line, column), "{text:?}: {}", one.message);
    }
}

#[test]
fn many_duplicates_are_all_told() {
    let (_, diagnostics) = parse("a: 1\na: 2\na: 3\nb: 1\nc: {d: 1, d: 2}\nb: 2\n");
    assert_eq!(diagnostics.len(), 4);
    assert_eq!(diagnostics[0].related.as_ref().unwrap().0.line, 1);
}

/// Depth, bombs and sizes that would hurt a naive reader end at once, in little stack.
#[test]
fn hostile_texts_are_refused_quickly() {
    let bomb = |levels: usize| {
        let mut text = String::from("a0: &a0 [x, x]\n");
        for level in 1..levels {
            let before = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", [before.as_str(); 9].join(", "));
        }
        text
    };
    let chain: String = (1..10_000)
        .fold("a0: &a0 {x: 1}\n".into(), |text, n| text + &format!("a{n}: &a{n} {{<<: *a{}}}\n", n - 1));
    let texts = [
        "[".repeat(100_000),
        "[".repeat(100_000) + &"]".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect(),
        bomb(9),
        bomb(60),
        chain,
    ];
    for text in texts {
        let start = Instant::now();
        let small_stack = std::thread::Builder::new().stack_size(256 << 10);
        let (tree, diagnostics) = small_stack
            .spawn(move || {
                let (tree, diagnostics) = parse(&text);
                (tree.is_some(), diagnostics)
            })
            .unwrap()
            .join()
            .unwrap();
        assert!(!tree);
        assert_eq!(diagnostics[0].code, "E003", "{diagnostics:?}");
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn many_small_aliases_are_no_bomb() {
    let mut text = String::from("x: &x {a: 1, b: 2, c: 3}\n");
    for n in 0..20_000 {
        text += &format!("k{n}: {{<<: *x, d: 4}}\n");
    }
    tree(&text);
}

/// The tree says what serde_yaml says, of every good file.
#[test]
fn another_parser_agrees() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/good");
    let mut compared = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let tree = tree(&text);
        let other: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(value(&tree, tree.root()), other, "{}", path.display());
        compared += 1;
    }
    assert!(compared >= 3);
}

fn value(tree: &Tree, node: NodeId) -> serde_yaml::Value {
    use crate::config::text::Core;
    match tree.shape(node) {
        Shape::Scalar(text, plain) => match if plain { Core::of(text) } else { Core::Text } {
            Core::Null => serde_yaml::Value::Null,
            Core::Bool(value) => value.into(),
            Core::Int(value) => i64::try_from(value).unwrap().into(),
            Core::Float(value) => value.into(),
            Core::Text => text.into(),
        },
        Shape::List => tree.items(node).map(|item| value(tree, item)).collect::<Vec<_>>().into(),
        Shape::Map => {
            let pairs = tree.pairs(node).map(|(key, item)| (value(tree, key), value(tree, item)));
            serde_yaml::Value::Mapping(pairs.collect())
        }
        Shape::Broken => panic!("nothing is broken in a good file"),
    }
}
