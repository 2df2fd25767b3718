//! Random layouts, random paths. What is judged, is judged by another parser.

use serde_yaml::Value;

use super::{edit, file};
use crate::config::NotEdited;

/// A random source of choices; the seed is all that it takes to see a failure again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

const PATHS: &[&str] = &[
    "new",
    "a b",
    "**/*.x",
    "!no",
    "# x",
    "k: v",
    "$HOME",
    "${X}",
    "it's",
    "q\"q",
    "back\\slash",
    "-",
    "-x",
    "größe",
    "true",
    "12",
    "~",
    "[ab]",
    "{a,b}",
    "x,y",
    " pad ",
    "tab\tx",
    "\u{85}",
    "../up",
    "/abs",
    "é:é",
    "a#b",
    "?",
    "a\nb",
];

const WATCHES: &[&str] = &[
    "[src]",
    "[ 'a' , 'b' ]",
    "[\"a\",\"b\",]",
    "*w",
    "false",
    "{paths: [src], settle: 1s}",
    "{ settle: 1s, paths: *p }",
    "{settle: 1s,}",
    "{paths: [a, # one\n   b], # two\n  gitignore: false}",
    "[a, # one\n  b   # two\n  ,\n  ]",
    "&own [src]",
    "[\n  a,\n  b\n ]",
    "{<<: *m, ignore: [x]}",
    "!!seq [src]",
];

/// One key with its value, in lines, the first not indented.
fn key(dice: &mut Dice, name: &str, flow: bool) -> Vec<String> {
    let comment = if flow { "" } else { dice.one(&["", "", " # why", "   #"]) };
    let gap = dice.one(&[" ", "  ", "   "]);
    let quoted = dice.one(&["", "", "\"", "'"]);
    let one = |value: &str| vec![format!("{quoted}{name}{quoted}:{gap}{value}{comment}")];
    let value = match name {
        "process" => dice.one(&["cat", "'cat'", "[cat, -u]", "{command: cat}", "{ shell: \"cat -u\" }"]),
        "env" => dice.one(&["{A: b}", "{ A: null, 'B': \"2\" }", "{}"]),
        "description" if flow => dice.one(&["text", "'a # b'", "\"x\\ty\""]),
        "restart" => dice.one(&["always", "never", "{policy: always, backoff: {max: 5s}}"]),
        "watch" if flow || !dice.chance(3) => {
            let lines: Vec<String> = dice.one(WATCHES).split('\n').map(str::to_owned).collect();
            let mut key = one(&lines[0]);
            let last = lines.len() - 1;
            if last > 0 {
                // A comment may follow only behind the last line.
                key = vec![format!("watch:{gap}{}", lines[0])];
                key.extend(lines[1..].iter().map(|line| format!("  {line}")));
            }
            return key;
        }
        "description" => {
            let scalar = dice.one(&[
                "|\n  a\n  b",
                ">-\n  a\n\n  b\n",
                "|+\n  a\n",
                "plain\n  goes on",
                "'q\n  q'",
                "text",
            ]);
            let mut lines: Vec<String> = scalar.split('\n').map(str::to_owned).collect();
            lines[0] = format!("description:{gap}{}", lines[0]);
            return lines;
        }
        // A list in lines.
        _ => {
            let dash = dice.one(&["- ", "-   "]);
            let indent = dice.one(&["", "  ", "    "]);
            let mut lines = vec![format!("watch:{comment}")];
            let sub = if dice.chance(3) {
                lines.push("  settle: 1s".to_owned());
                lines.push("  paths:".to_owned());
                "  "
            } else {
                ""
            };
            for item in ["src", "'li b'"].iter().take(1 + dice.below(2)) {
                lines.push(format!("{sub}{indent}{dash}{item}{}", dice.one(&["", " # item", "\n# odd"])));
            }
            return lines.join("\n").split('\n').map(str::to_owned).collect();
        }
    };
    one(value)
}

fn component(dice: &mut Dice, name: &str) -> Vec<String> {
    let mut names: Vec<&str> =
        ["process", "env", "description", "restart"].into_iter().filter(|_| !dice.chance(3)).collect();
    let merges = dice.chance(5);
    if !names.contains(&"process") && !merges {
        names.push("process");
    }
    if !dice.chance(3) {
        names.insert(dice.below(names.len() + 1), "watch");
    }
    if dice.chance(9) {
        return vec![format!("{name}: *b{}", dice.one(&["", " # as b"]))];
    }
    let anchor = dice.one(&["", "", "", "&it "]);
    match dice.below(3) {
        0 => {
            let mut keys: Vec<String> = names.iter().map(|name| key(dice, name, true).join("\n")).collect();
            if merges {
                keys.insert(dice.below(keys.len() + 1), "<<: *b".to_owned());
            }
            let (open, close) = (dice.one(&["{", "{ "]), dice.one(&["}", " }", ",}"]));
            let text = format!("{name}: {anchor}{open}{}{close}", keys.join(dice.one(&[", ", " ,  "])));
            text.split('\n').map(str::to_owned).collect()
        }
        1 => {
            let mut lines = vec![format!("{name}: {anchor}{{ # open")];
            if merges {
                names.push("<<");
            }
            for (at, name) in names.iter().enumerate() {
                let mut key = if *name == "<<" { vec!["<<: *b".to_owned()] } else { key(dice, name, true) };
                let comma = if at + 1 < names.len() || dice.chance(2) { "," } else { "" };
                key.last_mut().unwrap().push_str(&format!("{comma}{}", dice.one(&["", " # then"])));
                lines.extend(key.iter().map(|line| format!("  {line}")));
            }
            lines.push("  }".to_owned());
            lines
        }
        _ => {
            let indent = " ".repeat(1 + dice.below(5));
            let mut lines = vec![format!("{name}: {}", anchor.trim_end()).trim_end().to_owned()];
            if merges {
                lines.push(format!("{indent}<<: *b"));
            }
            for name in names {
                let key = key(dice, name, false);
                lines.extend(
                    key.iter()
                        .map(|line| if line.is_empty() { String::new() } else { format!("{indent}{line}") }),
                );
                if dice.chance(4) {
                    lines.push(dice.one(&["", "# a line", "        # far"]).to_owned());
                }
            }
            lines
        }
    }
}

fn document(dice: &mut Dice) -> String {
    let mut lines =
        vec!["version: 1".to_owned(), "x-w: &w [w1, \"w2\"]".to_owned(), "x-p: &p [p1]".to_owned()];
    lines.push("x-m: &m {paths: [m1], settle: 2s}".to_owned());
    lines.push(format!(
        "x-b: &b {{process: cat, {}}}",
        dice.one(&["env: {}", "watch: [b1]", "watch: *m", "watch: false"])
    ));
    lines.push(
        dice.one(&[
            "",
            "defaults: {watch: [d1, 'd 2']}",
            "defaults: {watch: {settle: 3s}}",
            "defaults: {watch: false}",
        ])
        .to_owned(),
    );
    lines.push("# components".to_owned());
    lines.push("components:".to_owned());
    let indent = " ".repeat(1 + dice.below(4));
    let mut names = vec!["api"];
    names.extend(["web", "db"].into_iter().take(dice.below(3)));
    let from = dice.below(names.len());
    names.rotate_left(from);
    for name in names {
        let lines_of = component(dice, name);
        lines.extend(
            lines_of
                .iter()
                .map(|line| if line.is_empty() { String::new() } else { format!("{indent}{line}") }),
        );
    }
    let mut text = lines.join(dice.one(&["\n", "\r\n"]));
    match dice.below(3) {
        0 => {}
        1 => text.push_str(dice.one(&["\n", "\r\n"])),
        _ => text.push_str("\n# end"),
    }
    if dice.chance(5) { format!("\u{feff}{text}") } else { text }
}

/// The document by another parser, without what `api` watches; and the paths that it watches.
fn judge(text: &str) -> (Value, Option<Vec<String>>) {
    let mut value: Value = serde_yaml::from_str(text.trim_start_matches('\u{feff}')).unwrap();
    value.apply_merge().unwrap();
    let default = value.get("defaults").and_then(|defaults| defaults.get("watch")).cloned();
    let api = value["components"]["api"].as_mapping_mut().unwrap();
    let own = api.remove("watch").or_else(|| default.clone());
    let paths = |watch: Option<&Value>| match watch {
        Some(list @ Value::Sequence(_)) => Some(list.clone()),
        Some(map @ Value::Mapping(_)) => map.get("paths").cloned(),
        _ => None,
    };
    let is_off = own.as_ref().is_none_or(|own| own.as_bool() == Some(false));
    let list = if is_off { None } else { paths(own.as_ref()).or_else(|| paths(default.as_ref())) };
    let text = |value: &Value| value.as_str().unwrap().replace("$$", "$");
    (value, list.map(|list| list.as_sequence().unwrap().iter().map(text).collect()))
}

/// Whether all bytes are there still, in their order; what an alias or `false` said may be written out.
fn is_kept(before: &str, after: &str) -> bool {
    let mut before = before.to_owned();
    for replaced in ["*w", "*p", "*m", "*b", "false"] {
        before = before.replace(replaced, "");
    }
    let mut rest = after.bytes();
    before.bytes().all(|byte| rest.any(|other| other == byte))
}

#[test]
fn any_layout_takes_any_path_and_keeps_its_bytes() {
    let (mut done, mut refused, mut invalid) = (0, 0, 0);
    for seed in 1..=1500_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let text = document(&mut dice);
        let paths: Vec<&str> = (0..=dice.below(2)).map(|_| dice.one(PATHS)).collect();
        match edit(&text, "api", &paths) {
            Ok(edited) => {
                let Some(after) = edited.text else { panic!("seed {seed}: nothing to do\n{text}") };
                let ((rest, before), (rest_after, watched)) = (judge(&text), judge(&after));
                let meant = before.unwrap_or_default().into_iter().chain(edited.added.iter().cloned());
                assert_eq!(rest, rest_after, "seed {seed}: {paths:?}\n{text}\n──\n{after}");
                assert_eq!(
                    watched.unwrap(),
                    meant.collect::<Vec<_>>(),
                    "seed {seed}: {paths:?}\n{text}\n──\n{after}"
                );
                assert!(is_kept(&text, &after), "seed {seed}: {paths:?}\n{text}\n──\n{after}");
                let grown = after.len() - text.len().min(after.len());
                assert!(grown < 160, "seed {seed}: {grown} bytes more\n{text}\n──\n{after}");
                done += 1;
            }
            Err(NotEdited::Refused(why)) => {
                // By others that share it; or the tag on a list that is none any more.
                assert!(
                    why.contains(", too, which") || text.contains("!!"),
                    "seed {seed}: {why}: {paths:?}\n{text}"
                );
                refused += 1;
            }
            Err(NotEdited::Invalid(loaded)) => {
                let why = crate::config::render::human(&loaded.diagnostics, &loaded.sources, false);
                // A map of `watch` without paths anywhere.
                assert!(
                    why.contains("`paths` is missing"),
                    "seed {seed}: {}: {why}\n{text}",
                    file().display()
                );
                invalid += 1;
            }
            Err(error) => panic!("seed {seed}: `api` is there\n{text}\n{error:?}"),
        }
    }
    assert!(done > 1000, "{done} done, {refused} refused, {invalid} invalid");
}
