//! `docs/guides/cargo.md`.

use crate::harness::{Guide, find, skipped};
use crate::net::get;

#[test]
fn what_runs_is_replaced_only_by_what_compiles() {
    if find("cargo", &[]).is_none() {
        return skipped("cargo", "cargo", "https://rustup.rs");
    }
    let mut guide = Guide::new("cargo");
    // Where rustup keeps its things, for whoever has cargo by it.
    guide.set("HOME", &std::env::var("HOME").unwrap());
    let port = guide.port("PORT");
    guide.up();
    guide.wait_ready("app", 1);
    assert_eq!(get(port, "/").unwrap(), "hello\n");

    guide.change("src/main.rs", "\"hello\"", "hello");
    guide.wait_failed_build("app");
    let told = guide.read("stderr");
    assert!(told.contains("see src/main.rs:5:24"), "{told}");
    assert!(guide.read(".orch/logs/app.log").contains("cannot find value `hello` in this scope"));
    assert_eq!(get(port, "/").unwrap(), "hello\n");
    guide.wait_ready("app", 1);

    guide.change("src/main.rs", "= hello", "= \"good morning\"");
    guide.wait_ready("app", 2);
    assert_eq!(get(port, "/").unwrap(), "good morning\n");
    assert_eq!(guide.component("app")["restarts"], 0);
    guide.stop();
}
