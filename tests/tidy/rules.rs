//! The rules themselves, as tables: who may import whom, who alone may use what, and how long things may be.

/// What each folder of `src` may import from this crate, itself aside. The order is the architecture's, from
/// the vocabulary up; a folder that is missing here may not exist.
pub(crate) const LAYERS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("paint", &["types"]),
    ("blame", &[]),
    ("api", &[]),
    ("client", &["api"]),
    ("graph", &["types"]),
    ("story", &["types", "paint"]),
    ("config", &["types", "graph"]),
    ("plan", &["types", "paint", "graph", "config::model"]),
    ("supervisor", &["types", "config::model", "plan"]),
    ("resolve", &[]),
    ("runner", &["types", "config::model", "resolve"]),
    ("output", &["types", "config::model", "paint", "blame"]),
    ("history", &["types", "config::model", "paint"]),
    ("watch", HAND),
    ("state", HAND),
    ("probe", &["types", "config::model", "resolve"]),
    ("listen", HAND),
    ("notice", HAND),
    (
        "runtime",
        &[
            "types",
            "api",
            "client",
            "config",
            "plan",
            "supervisor",
            "runner",
            "output",
            "watch",
            "state",
            "probe",
            "listen",
            "notice",
            "history",
            "story",
        ],
    ),
    ("embed", &["types", "supervisor", "runner::thread", "runtime"]),
    (
        "cli",
        &[
            "types",
            "paint",
            "api",
            "client",
            "config",
            "plan",
            "runner::thread",
            "history",
            "story",
            "runtime",
        ],
    ),
];

/// A hand does one thing to the outside world. It knows neither its siblings nor who decides.
const HAND: &[&str] = &["types", "config::model"];

/// The layers that decide and calculate: the same input gives the same output, whenever and wherever.
pub(crate) const PURE: &[&str] = &["types", "paint", "blame", "graph", "story", "plan", "supervisor"];

/// What the pure layers never name: clocks, files, threads, and maps whose order is random.
pub(crate) const IMPURE: &[&str] = &[
    "std::time::Instant",
    "std::time::SystemTime",
    "std::fs",
    "std::io",
    "std::net",
    "std::os",
    "std::env",
    "std::process",
    "std::thread",
    "std::collections::HashMap",
    "std::collections::HashSet",
    "tokio",
    "rustix",
    "libc",
    "jiff",
    "tracing",
];

/// Who alone may use what: a crate, or a function of the standard library, and the places where it is at
/// home. Test code is free.
pub(crate) const OWNERS: &[(&str, &[&str])] = &[
    ("petgraph", &["src/graph/"]),
    ("notify", &["src/watch/native.rs"]),
    ("ignore", &["src/watch/"]),
    ("granit_parser", &["src/config/tree/"]),
    ("annotate_snippets", &["src/config/render.rs"]),
    ("clap", &["src/cli/"]),
    ("clap_complete", &["src/cli/"]),
    ("clap_mangen", &["src/cli/"]),
    ("tracing_subscriber", &["src/cli/"]),
    ("hyper", &["src/client/", "src/probe/http.rs", "src/runner/thread/proxy/", "src/runtime/control/"]),
    ("schemars", &["src/api/"]),
    ("strsim", &["src/types/near.rs", "src/runner/thread/registry.rs"]),
    (
        "tokio",
        &[
            "src/client/",
            "src/cli/interrupts.rs",
            "src/runtime/",
            "src/resolve/",
            "src/probe/",
            "src/runner/thread/",
        ],
    ),
    (
        "humantime",
        &[
            "src/cli/words.rs",
            "src/config/unit.rs",
            "src/history/",
            "src/supervisor/",
            "src/probe/",
            "src/runner/thread/",
            "src/runtime/tasks.rs",
        ],
    ),
    (
        "jiff",
        &["src/output/", "src/history/", "src/runtime/", "src/state/", "src/cli/logs", "src/cli/recorded.rs"],
    ),
    ("sha2", &["src/runtime/registry.rs", "src/state/", "src/watch/"]),
    ("unicode_width", &["src/cli/paint.rs"]),
    // Processes are started and signalled by the keeper alone, which knows every descendant.
    ("std::process::Command", &[]),
    ("tokio::process", &[]),
    ("libc::fork", &["src/runner/keeper/launch.rs", "src/runtime/detach.rs"]),
    ("libc::execve", &["src/runner/keeper/spawn.rs", "src/runtime/exec.rs"]),
    ("libc::kill", &["src/runner/keeper/"]),
    ("rustix::process::kill_process", &["src/runner/keeper/"]),
    ("rustix::process::kill_process_group", &["src/runner/keeper/"]),
    // It panics where the system refuses; a Builder tells, and names the thread.
    ("std::thread::spawn", &[]),
    // What waits, waits for a condition or for a deadline of the core.
    ("std::thread::sleep", &["src/runtime/home.rs"]),
];

/// The places where `unsafe` stands: the spawn that shares memory, what must be said to the kernel for it, the
/// signal mask, the exec of a new image with what it inherits, the fork into the background, what comes beside
/// a datagram, and an example's socket, which it knows by its number.
pub(crate) const UNSAFE: &[&str] = &[
    "src/runner/keeper/",
    "src/runtime/detach.rs",
    "src/runtime/exec.rs",
    "src/runtime/signals.rs",
    "src/notice/receive.rs",
    "examples/guides/cargo/",
];

/// The form of what one image of orch hands over to the next, and the digest of its shape: see `shape`.
pub(crate) const SHAPE: (u32, u64) = (4, 0x1c103a544e97d316);

/// The longest file, its tests not counted.
pub(crate) const FILE_LINES: usize = 500;

/// The longest function.
pub(crate) const FUNCTION_LINES: usize = 70;

/// Functions that are longer. The list may only shrink: an entry is the exact length, so whoever shortens one
/// lowers it here, and nobody adds one.
pub(crate) const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];
