//! The configuration against a corpus of files: what the loader says, what the schema says, and that the
//! two agree.
//!
//! The first line of each file of `tests/config/bad` tells what is wrong with it: `structural` (the schema
//! refuses it, too), `semantic` (only the loader can know) or `text` (no YAML that a schema could judge); the name
//! of the file meant, if it is another; and each code with its line.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use orch::config::{CODES, LoadOptions, Loaded, Threads, load, render, schema};
use orch::types::Severity;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn options() -> LoadOptions {
    let environment = [("PATH", "/usr/bin:/bin"), ("SET_IN_TESTS", "true")];
    LoadOptions {
        environment: environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        threads: Some(Threads {
            names: ["registered", "ticker", "proxy", "tcp-proxy"].map(str::to_owned).to_vec(),
            check: Arc::new(|_, with| match with.get("refused") {
                Some(_) => Err("with.refused: it is refused".into()),
                None => Ok(listens(with)),
            }),
        }),
        ..LoadOptions::default()
    }
}

/// As the built-in proxies say it.
fn listens(with: &serde_yaml::Value) -> Vec<SocketAddr> {
    let listen = with.get("listen").and_then(|listen| listen.as_str()).unwrap_or_default();
    match listen.strip_prefix("localhost:") {
        Some(port) => ["127.0.0.1", "[::1]"].iter().flat_map(|ip| format!("{ip}:{port}").parse()).collect(),
        None => listen.parse().into_iter().collect(),
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

fn good() -> Vec<PathBuf> {
    let own = root().join("devmode.yaml");
    let mut all = [files("tests/config/good"), files("examples")].concat();
    all.extend(own.exists().then_some(own));
    all
}

/// What a schema judges: merges done, as the loader does them.
fn json(file: &Path) -> Option<serde_json::Value> {
    let text = std::fs::read_to_string(file).unwrap();
    let mut value: serde_yaml::Value = serde_yaml::from_str(text.trim_start_matches('\u{feff}')).ok()?;
    value.apply_merge().ok()?;
    serde_json::to_value(value).ok()
}

fn shown(loaded: &Loaded) -> String {
    render::human(&loaded.diagnostics, &loaded.sources, false)
}

#[test]
fn bad_files_are_refused_with_all_their_mistakes() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let mut covered: Vec<String> = Vec::new();
    let mut failures = String::new();
    for file in files("tests/config/bad") {
        let text = std::fs::read_to_string(&file).unwrap();
        let first = text.trim_start_matches('\u{feff}').lines().next().unwrap();
        let mut expected: Vec<&str> = first.trim_start_matches("# ").split_whitespace().collect();
        let class = expected.remove(0);
        let other = expected.first().copied().filter(|name| name.ends_with(".env"));
        if other.is_some() {
            expected.remove(0);
        }
        let with_warnings = expected.iter().any(|code| code.starts_with('W'));
        let loaded = load(&file, &options());
        let wanted = |severity| severity == Severity::Error || with_warnings;
        let mut found: Vec<String> = Vec::new();
        for diagnostic in loaded.diagnostics.iter().filter(|diagnostic| wanted(diagnostic.severity)) {
            let place = diagnostic.place.as_ref().unwrap();
            let name = place.file.file_name().unwrap().to_str().unwrap();
            assert_eq!(name, other.unwrap_or(file.file_name().unwrap().to_str().unwrap()));
            covered.push(diagnostic.code.into());
            found.push(format!("{}:{}", diagnostic.code, place.line));
        }
        found.sort_unstable();
        expected.sort_unstable();
        if found != expected || loaded.project.is_some() {
            failures +=
                &format!("{}:\n want {expected:?}\n got  {found:?}\n{}", file.display(), shown(&loaded));
        }
        let verdict = json(&file).map(|json| validator.is_valid(&json));
        match (class, verdict) {
            ("structural", Some(false)) | ("semantic", Some(true)) | ("text", _) => {}
            (class, verdict) => {
                failures += &format!("{}: {class}, schema says {verdict:?}\n", file.display())
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
    let elsewhere = ["E001", "E007", "W004"];
    for code in CODES {
        assert!(
            elsewhere.contains(&code.id) || covered.iter().any(|c| c == code.id),
            "{} is not covered",
            code.id
        );
    }
}

/// Each structural mistake alone is one that the schema sees, too: no file hides one behind another.
#[test]
fn the_schema_sees_every_structural_mistake() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let mut judged = 0;
    for file in files("tests/config/bad") {
        let text = std::fs::read_to_string(&file).unwrap();
        if !text.contains("# structural") {
            continue;
        }
        let Some(serde_json::Value::Object(whole)) = json(&file) else { continue };
        let Some(components) = whole.get("components").and_then(|components| components.as_object()) else {
            continue;
        };
        for (name, component) in components {
            let alone = serde_json::json!({ "version": 1, "components": { name: component } });
            let errors: Vec<_> = load(&file, &options())
                .diagnostics
                .into_iter()
                .filter(|d| {
                    d.severity == Severity::Error && d.path.starts_with(&format!("components.{name}"))
                })
                .map(|d| d.message)
                .collect();
            if !errors.is_empty() && file.file_stem().unwrap() != "names" {
                assert!(!validator.is_valid(&alone), "{}: {name}: {errors:?}", file.display());
                judged += 1;
            }
        }
    }
    assert!(judged > 40, "{judged}");
}

#[test]
fn good_files_are_accepted_by_loader_and_schema() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for file in good() {
        let loaded = load(&file, &options());
        assert!(loaded.project.is_some(), "{}", shown(&loaded));
        let errors: Vec<_> = validator.iter_errors(&json(&file).unwrap()).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", file.display());
    }
}

/// `UPDATE=1 cargo test --test config` writes it anew.
fn committed(file: &str, expected: &str) {
    let path = root().join(file);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let is = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(is == expected, "{file} is out of date; run UPDATE=1 cargo test --test config");
}

#[test]
fn the_committed_schema_is_the_generated_one() {
    committed("schemas/devmode.schema.json", &(serde_json::to_string_pretty(&schema()).unwrap() + "\n"));
}

#[test]
fn the_committed_description_of_the_control_socket_is_the_generated_one() {
    let openapi = serde_json::to_string_pretty(&orch::api::openapi()).unwrap() + "\n";
    committed("schemas/openapi.json", &openapi);
}

#[test]
fn the_committed_list_of_codes_is_complete() {
    let mut text = String::from(
        "# Errors and warnings\n\nThe stable codes of what `orch validate`, and every load, reports. Errors make a file \
         invalid; warnings don't.\n\n| code | meaning |\n| --- | --- |\n",
    );
    for code in CODES {
        text += &format!("| {} | {} |\n", code.id, code.meaning);
    }
    committed("docs/errors.md", &text);
}

#[test]
fn the_template_of_init_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("devmode.yaml");
    std::fs::copy(root().join("src/cli/init_template.yaml"), &file).unwrap();
    let loaded = load(&file, &options());
    assert!(loaded.diagnostics.is_empty(), "{}", shown(&loaded));
    assert!(!loaded.project.unwrap().components.is_empty());
    let validator = jsonschema::validator_for(&schema()).unwrap();
    assert!(validator.is_valid(&json(&file).unwrap()));
}

#[test]
fn json_has_the_shape_of_the_contract() {
    let file = root().join("tests/config/bad/dependencies.yaml");
    let loaded = load(&file, &options());
    let json = render::json(&loaded.diagnostics);
    assert_eq!(json["valid"], false);
    let keys: Vec<_> = json.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["valid", "errors", "warnings"]);
    let first = &json["errors"][0];
    let keys: Vec<_> = first.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["code", "message", "file", "line", "column", "path", "help"]);
    assert_eq!(first["path"], "components.api.depends_on[0]");
    assert_eq!((&first["line"], &first["column"]), (&4.into(), &39.into()));
    assert_eq!(first["help"], "did you mean `api`?");
    assert_eq!(json["errors"][2]["path"], "components.c.depends_on.c");
}

/// A small generator of numbers, the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap()
    }

    fn mutate(&mut self, text: &mut Vec<u8>) {
        let at = self.below(text.len());
        match self.below(6) {
            0 => text[at] ^= 1 << self.below(8),
            1 => text[at] = b"{}[]:,&*!|>'\"%@`#-? \t\n\r\0$~<=\\\xff"[self.below(30)],
            2 => text.truncate(at + 1),
            3 => {
                let end = at + self.below(60).min(text.len() - at);
                let piece = text[at..end].to_vec();
                let to = self.below(text.len());
                text.splice(to..to, piece);
            }
            4 => {
                let end = at + self.below(20).min(text.len() - at);
                text.drain(at..end);
            }
            _ => {
                let line =
                    text[at..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |end| at + end);
                text.splice(line..line, b"\n  ".iter().copied());
            }
        }
        if text.is_empty() {
            text.push(b' ');
        }
    }
}

#[test]
fn no_mutation_makes_it_panic() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("devmode.yaml");
    let seeds: Vec<Vec<u8>> = [files("tests/config/good"), files("tests/config/bad")]
        .concat()
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect();
    let seed = std::env::var("FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let rounds = std::env::var("FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(4_000);
    let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ seed);
    let begin = Instant::now();
    let mut accepted = 0;
    for round in 0..rounds {
        if rounds <= 4_000 && begin.elapsed() > Duration::from_secs(20) {
            break;
        }
        let mut text = seeds[round % seeds.len()].clone();
        for _ in 0..=random.below(4) {
            random.mutate(&mut text);
        }
        std::fs::write(&file, &text).unwrap();
        let loaded = load(&file, &options());
        let has_errors = loaded.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
        assert_eq!(loaded.project.is_none(), has_errors, "{}", String::from_utf8_lossy(&text));
        let _ = (shown(&loaded), render::json(&loaded.diagnostics));
        accepted += usize::from(!has_errors);
    }
    assert!(accepted > 0);
}

/// Linear time: ten times the components take about ten times as long, not a hundred times.
#[test]
fn load_is_linear() {
    let dir = tempfile::tempdir().unwrap();
    let time = |components: usize| {
        let file = dir.path().join(format!("{components}.yaml"));
        std::fs::write(&file, large(components)).unwrap();
        let begin = Instant::now();
        let loaded = load(&file, &options());
        assert_eq!(loaded.project.map(|project| project.components.len()), Some(components));
        begin.elapsed().max(Duration::from_millis(20))
    };
    let (small, large) = (time(1_000), time(10_000));
    assert!(large < small * 40, "{small:?} for 1,000 components, {large:?} for 10,000");
}

fn large(components: usize) -> String {
    let mut text = String::from("version: 1\ncomponents:\n");
    for n in 0..components {
        let before = n.saturating_sub(1);
        text += &format!(
            "  component-{n:06}:\n    description: component number {n} of the file\n    process: sh -c \"exec sleep 100\"\n"
        );
        text += &format!("    env:\n      PORT: \"{n}\"\n      NAME: component-{n}\n");
        if n > 0 {
            text += &format!("    depends_on:\n      component-{before:06}: started\n");
        }
        text += "    restart:\n      policy: on-failure\n    ready:\n      delay: 10ms\n    stop:\n      timeout: 3s\n";
    }
    text
}

/// `COUNT=100000 cargo test --release --test config measure -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn measure() {
    let count = std::env::var("COUNT").ok().and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("large.yaml");
    std::fs::write(&file, large(count)).unwrap();
    let size = std::fs::metadata(&file).unwrap().len();
    let memory = || -> BTreeMap<String, u64> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let fields = status.lines().filter_map(|line| line.split_once(':'));
        fields
            .filter(|(name, _)| matches!(*name, "VmHWM" | "VmRSS"))
            .map(|(name, value)| (name.into(), value.trim().trim_end_matches(" kB").parse().unwrap()))
            .collect()
    };
    let before = memory();
    let begin = Instant::now();
    let loaded = load(&file, &options());
    let took = begin.elapsed();
    assert!(loaded.project.is_some(), "{}", shown(&loaded));
    println!("{count} components, {size} bytes: {took:?}; kB before {before:?}, after {:?}", memory());
}
