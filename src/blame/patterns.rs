//! What places look like. Groups: `path`, `line`, and `column` where there is one.

use std::sync::LazyLock;

use regex::Regex;

/// The patterns, compiled once.
pub(super) struct Patterns {
    /// An error with its place.
    pub(super) certain: Vec<Regex>,
    /// A place that may be an error's.
    pub(super) likely: Vec<Regex>,
    /// The place of the error that was told of before.
    pub(super) after_error: Vec<Regex>,
    /// An error is told of; where it is, comes later.
    pub(super) error: Regex,
    /// A warning or a remark, and its place none that counts.
    pub(super) harmless: Regex,
    /// A frame of a Python traceback, or of what looks so (OCaml).
    pub(super) frame: Regex,
    /// node: a place alone on its line.
    pub(super) alone: Regex,
    /// node: that place is where this was thrown.
    pub(super) thrown: Regex,
    /// eslint: a file alone on its line.
    pub(super) file: Regex,
    /// eslint: a mistake in it.
    pub(super) listed: Regex,
}

/// A path without blanks; what is before it ends in a blank, a bracket or an equals sign.
const PATH: &str = r#"(?:^|[\s(\[=])(?<path>(?:file://)?[^\s:'"<>|=,()\[\]][^\s:'"<>|,]*?)"#;
const LINE: &str = "(?<line>[0-9]{1,9})";
const COLUMN: &str = "(?<column>[0-9]{1,9})";

/// PATH:LINE or PATH:LINE:COLUMN, with perhaps a range behind.
const AT: &str = r"{P}:{L}(?:[:.]{C})?(?:-[0-9.:]+)?";

const CERTAIN: &[&str] = &[
    // gcc, clang, javac, ghc, swiftc, mypy, esbuild, pytest: a.c:3:5: fatal error: …
    r"{A}:\s+(?:\[[^\]]*\]\s+)?(?:[a-z]+ ){0,3}(?i:\w*(?:error|exception)s?)\b",
    // make: Makefile:3: *** missing separator
    r"{A}: \*\*\* ",
    // the linker
    r"{A}: (?:undefined reference|multiple definition|first defined here)",
    // tsc, MSBuild: src/a.ts(3,5): error TS2304: …
    r"{P}\({L},{C}(?:,[0-9]+,[0-9]+)?\)\s?: (?:fatal )?error\b",
    // tsc --pretty: src/a.ts:3:5 - error TS2304: …
    r"{P}:{L}:{C} - error\b",
    // webpack, vite, rollup
    r"(?i:\berror) in (?:file )?(?<path>[^\s:]+)[: ]{L}[:,]{C}",
    r"^\s*[Ff]ile: (?<path>[^\s:]+):{L}:{C}",
    r"(?i:error).*?{P}: .*\({L}:{C}\)\s*$",
    // Kotlin, Maven
    r"^e: (?<path>(?:file://)?[^\s:]+):(?: \()?{L}(?::|, ){C}",
    r"^\[ERROR\] (?<path>[^\s:]+):\[{L},{C}\]",
    // Rust: a panic
    r"panicked at (?:'.*', )?(?<path>[^\s:]+):{L}:{C}",
    // go, and its tests; a place behind a time is a log's
    r"^\s*(?:vet: )?(?<path>[^\s:]+\.go):{L}(?::{C})?: ",
    // PHP, Perl, CMake
    r"(?i:error).* in (?<path>[^\s:]+) on line {L}",
    r"(?<path>[^\s:]+\.(?:pl|pm|t)) line {L}[.,]",
    r"^CMake Error at (?<path>[^\s:]+):{L}",
    // ruby
    r"^(?<path>[^\s:]+):{L}:in .*: ",
];

const LIKELY: &[&str] = &[
    // shells: x.sh: line 3: foo: command not found; x.sh: 3: foo: not found
    r"^(?<path>[^\s:]+): (?:line )?{L}: ",
    // linters: x.py:3:5: E999 …
    r"{A}:? ",
    // node, Java: at foo (/p/x.js:3:5)
    r"^\s+at .*?\(?(?<path>(?:file://)?[^\s:()]+):{L}(?::{C})?\)?$",
    r"^make(?:\[[0-9]+\])?: \*\*\* \[(?<path>[^\s:]+):{L}: [^\]]*\] Error [0-9]+$",
];

const AFTER_ERROR: &[&str] = &[
    r"^\s*--> (?<path>[^\s:]+):{L}:{C}",
    // esbuild
    r"^\s+(?<path>[^\s:]+):{L}:{C}:$",
    // node, by its stack trace
    r"^\s+at .*?\(?(?<path>(?:file://)?[^\s:()]+\.[cm]?[jt]sx?):{L}:{C}\)?$",
];

fn compile(pattern: &str) -> Option<Regex> {
    let whole = pattern.replace("{A}", AT).replace("{P}", PATH).replace("{L}", LINE).replace("{C}", COLUMN);
    Regex::new(&whole).ok()
}

fn all(patterns: &[&str]) -> Option<Vec<Regex>> {
    patterns.iter().map(|pattern| compile(pattern)).collect()
}

fn made() -> Option<Patterns> {
    Some(Patterns {
        certain: all(CERTAIN)?,
        likely: all(LIKELY)?,
        after_error: all(AFTER_ERROR)?,
        error: compile(r"^(?:\s*(?:✘|×|X) )?\[?(?:Uncaught )?(?i:\w*error)\b")?,
        harmless: compile(r"(?i)(?:^|[\s\[(:])(?:\w*warning|warn|note|info|hint|help|debug)\b|\bignored\)")?,
        frame: compile(r#"^[\s|+-]*File "(?<path>[^"]+)", lines? {L}"#)?,
        alone: compile(r"^(?<path>(?:file://)?/[^\s:]+|[^\s:]+\.[cm]?[jt]sx?):{L}$")?,
        thrown: compile(r"^(?:Uncaught )?\w*(?:Error|Exception)\b")?,
        file: compile(r"^/[^\s:]+\.[A-Za-z]+$")?,
        listed: compile(r"^\s+{L}:{C}\s+(?:\S\s+)?error\b")?,
    })
}

/// The patterns.
pub(super) fn patterns() -> Option<&'static Patterns> {
    static MADE: LazyLock<Option<Patterns>> = LazyLock::new(made);
    MADE.as_ref()
}
