//! `docs/guides/redis.md`.

use crate::harness::{Guide, find, skipped, wait_until};

/// The guide with a port of its own, if there is a Redis.
fn begin() -> Option<(Guide, String)> {
    if find("redis-server", &[]).is_none() || find("redis-cli", &[]).is_none() {
        skipped("redis", "redis-server", "apt-get install redis-server");
        return None;
    }
    let mut guide = Guide::new("redis");
    let port = guide.port("REDIS_PORT").to_string();
    Some((guide, port))
}

fn ask(guide: &Guide, port: &str, words: &[&str]) -> String {
    let words = [&["redis-cli", "-e", "-p", port], words].concat();
    guide.output(&words).trim_end().to_owned()
}

#[test]
fn a_value_outlives_a_restart_a_crash_and_the_project() {
    let Some((mut guide, port)) = begin() else { return };
    let ask = |guide: &Guide, words: &[&str]| ask(guide, &port, words);
    guide.up();
    guide.wait_ready("redis", 1);
    guide.wait_ready("visits", 1);
    assert!(guide.place("redis", 1, "component.ready") < guide.place("visits", 1, "component.spawned"));
    assert_eq!(ask(&guide, &["set", "greeting", "hello"]), "OK");

    guide.orch(&["restart", "redis"]);
    guide.wait_ready("redis", 2);
    assert_eq!(ask(&guide, &["get", "greeting"]), "hello");
    // It was stopped first, and comes again when Redis does.
    guide.wait_ready("visits", 2);

    assert_eq!(ask(&guide, &["set", "greeting", "hello again"]), "OK");
    guide.crash("redis");
    guide.wait_ready("redis", 3);
    assert_eq!(ask(&guide, &["get", "greeting"]), "hello again");
    guide.wait_ready("visits", 3);
    guide.stop();

    guide.up();
    guide.wait_ready("visits", 4);
    assert_eq!(ask(&guide, &["get", "greeting"]), "hello again");
    guide.stop();
}

#[test]
fn the_redis_of_somebody_else_is_not_taken_for_ones_own() {
    let Some((mut theirs, port)) = begin() else { return };
    theirs.up();
    theirs.wait_ready("visits", 1);
    wait_until("they count", || ask(&theirs, &port, &["get", "visits"]) == "1");

    let Some((mut ours, _)) = begin() else { return };
    ours.set("REDIS_PORT", &port);
    ours.up();
    wait_until("ours has failed", || ours.place("redis", 6, "component.failed").is_some());
    assert_eq!(ours.place("visits", 1, "component.spawned"), None, "it waits for its own Redis");
    assert_eq!(ask(&theirs, &port, &["get", "visits"]), "1");
    drop(ours);
    theirs.stop();
}
