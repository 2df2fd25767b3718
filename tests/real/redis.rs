//! `docs/guides/redis.md`.

use crate::harness::{Guide, find, skipped};

#[test]
fn a_value_outlives_a_restart_a_crash_and_the_project() {
    if find("redis-server", &[]).is_none() || find("redis-cli", &[]).is_none() {
        return skipped("redis", "redis-server", "apt-get install redis-server");
    }
    let mut guide = Guide::new("redis");
    let port = guide.port("REDIS_PORT").to_string();
    let ask = |guide: &Guide, words: &[&str]| {
        let words = [&["redis-cli", "-e", "-p", &port], words].concat();
        guide.output(&words).trim_end().to_owned()
    };
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
