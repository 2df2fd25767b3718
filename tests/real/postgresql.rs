//! `docs/guides/postgresql.md`.

use crate::harness::{Guide, find, skipped};

/// Where Debian and Ubuntu keep the server's programs; the guide's file seeks them there.
const FOLDERS: [&str; 4] = [
    "/usr/lib/postgresql/18/bin",
    "/usr/lib/postgresql/17/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/15/bin",
];

#[test]
fn a_database_is_made_migrated_and_kept_over_crashes() {
    for program in ["postgres", "initdb", "psql", "pg_isready"] {
        if find(program, &FOLDERS).is_none() {
            return skipped("postgresql", program, "apt-get install postgresql");
        }
    }
    let mut guide = Guide::as_a_user("postgresql");
    let port = guide.port("PGPORT").to_string();
    let psql = find("psql", &FOLDERS).unwrap();
    let ask = |guide: &Guide, sql: &str| {
        let words =
            [psql.to_str().unwrap(), "-h", "127.0.0.1", "-p", &port, "-U", "app", "-Atc", sql, "postgres"];
        guide.output(&words).trim_end().to_owned()
    };
    guide.up();
    guide.wait_ready("app", 1);
    let order = [
        ("cluster", "component.completed"),
        ("database", "component.spawned"),
        ("database", "component.ready"),
        ("schema", "component.spawned"),
        ("schema", "component.completed"),
        ("app", "component.spawned"),
    ];
    let places = order.map(|(name, word)| guide.place(name, 1, word).unwrap());
    assert!(places.is_sorted(), "{order:?}: {places:?}");
    assert_eq!(ask(&guide, "select 1"), "1");
    assert_eq!(ask(&guide, "select count(*) from visits"), "1");

    guide.change("schema.sql", "default values", "default values returning id");
    guide.wait_state("schema", "completed", 2);
    guide.wait_ready("app", 2);
    assert_eq!(ask(&guide, "select count(*) from visits"), "2");

    guide.change("schema.sql", "-- Run", "selec 1; -- Run");
    guide.wait_state("schema", "failed", 3);
    guide.change("schema.sql", "selec 1; -- Run", "-- Run");
    guide.wait_state("schema", "completed", 4);
    guide.wait_ready("app", 3);
    assert_eq!(ask(&guide, "select count(*) from visits"), "3");

    guide.crash("database");
    guide.wait_ready("database", 2);
    guide.wait_ready("app", 4);
    assert_eq!(ask(&guide, "select count(*) from visits"), "3");
    guide.stop();
    let said = guide.read(".orch/logs/database.log");
    assert!(said.trim_end().ends_with("database system is shut down"), "a clean end: {said}");

    guide.up();
    guide.wait_ready("app", 5);
    assert_eq!(
        ask(&guide, "select count(*) from visits"),
        "4",
        "the folder is made once, the schema each time"
    );
    guide.stop();
}
