//! The shape of what one image of orch hands over to the next: every type that can be written out, and what orch
//! and its keeper say to each other. An orch of another shape must say so, by another form.

use crate::rust::{Token, tokens, without_tests};
use crate::{Source, rules};

/// A digest of all of it: FNV-1a over the tokens of each such type, in the order of the files.
fn digest(sources: &[Source]) -> u64 {
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    let mut take = |text: &str| {
        for byte in text.bytes().chain([b' ']) {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for source in sources.iter().filter(|source| source.path.starts_with("src/")) {
        let (tokens, _) = without_tests(tokens(&source.text));
        let whole = source.path.ends_with("keeper/protocol.rs");
        let parts = if whole { vec![&tokens[..]] } else { written(&tokens) };
        parts.into_iter().flatten().for_each(|token| take(&token.text));
    }
    digest
}

/// The types that derive serde's way in, its way out beside it: from the attribute to the end of the item.
fn written(tokens: &[Token]) -> Vec<&[Token]> {
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
    let starts = (0..tokens.len()).filter(|at| is(*at, "Deserialize") && is(at + 1, ")"));
    starts.map(|at| &tokens[at..end_of_item(tokens, at + 3)]).collect()
}

/// Behind the closing brace, or the semicolon, of the item that begins before `from`.
fn end_of_item(tokens: &[Token], from: usize) -> usize {
    let mut depth = 0_i32;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match &*token.text {
            "{" | "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" if depth == 1 => return at + 1,
            "}" => depth -= 1,
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

#[test]
fn a_handover_of_another_shape_has_another_form() {
    let sources = crate::rust_sources();
    let handover = sources.iter().find(|source| source.path == "src/runtime/handover.rs").unwrap();
    let form = handover.text.split("FORM: u32 = ").nth(1).and_then(|rest| rest.split(';').next());
    let form: u32 = form.and_then(|form| form.parse().ok()).unwrap();
    let shape = digest(&sources);
    assert_eq!(
        (form, shape),
        rules::SHAPE,
        "what an image hands over has another shape: raise FORM in src/runtime/handover.rs (once for a release is \
         enough), and set SHAPE in tests/tidy/rules.rs to ({form}, {shape:#x})"
    );
}

#[test]
fn the_digest_sees_a_field_and_no_comment() {
    let of = |text: &str| digest(&[Source { path: "src/a.rs".to_owned(), text: text.to_owned() }]);
    let plain = "#[derive(Debug, Serialize, Deserialize)]\nstruct A { a: u32 }\nfn f() {}";
    assert_eq!(of(plain), of(&plain.replace("struct", "// why\nstruct").replace("fn f", "fn g")));
    assert_ne!(of(plain), of(&plain.replace("u32", "u64")));
    assert_ne!(of(plain), of(&plain.replace("{ a", "{ b: u8, a")));
}
