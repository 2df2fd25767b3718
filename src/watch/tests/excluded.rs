//! What is never watched, and that it costs next to nothing.

use super::lost::Hand;
use super::*;
use crate::watch::Message;

#[test]
fn what_is_excluded_later_is_forgotten_and_what_is_given_back_is_no_change() {
    let bench =
        Bench::with(&["src/a", "src/state", "src/data/b", "src/x.log", "src/x.log.1"], &["src", "src/state"]);
    let exclude = |names: &[&str]| {
        let paths: Vec<PathBuf> = names.iter().map(|name| bench.path(name)).collect();
        bench.watcher.exclude(bench.folder.path().to_owned(), paths);
    };
    exclude(&[".orch", "src/state", "src/data", "src/x.log"]);
    for name in ["src/state", "src/data/b", "src/data/c", "src/x.log", "src/x.log.1", "src/x.log.2"] {
        bench.write(name, "new");
    }
    bench.expect_nothing();
    bench.write("src/a", "new");
    bench.expect(&["src/a"]);
    exclude(&[".orch", "src/state"]);
    bench.expect_nothing();
    bench.write("src/data/b", "newer");
    bench.write("src/x.log.1", "newer");
    bench.write("src/state", "newer");
    bench.expect(&["src/data/b", "src/x.log.1"]);
    // Another image leaves out the same.
    let bench = bench.pass_on(|_| {});
    bench.write("src/state", "newest");
    bench.expect_nothing();
}

#[test]
fn it_is_there_once_and_leaving_out_more_needs_no_look() {
    let bench = Bench::new();
    ["src/a", "src/state"].iter().for_each(|name| bench.write(name, "old"));
    let mut hand = Hand::new();
    for key in [A, B, WatchKey::Project] {
        hand.engine.set(key, bench.spec(&["src"]));
    }
    // A walk would find it.
    bench.write("src/new", "new");
    let paths =
        (0..100).map(|at| bench.path(&format!("src/{at}"))).chain([bench.path("src/state")]).collect();
    hand.queue.send(Message::Exclude(bench.folder.path().to_owned(), paths)).unwrap();
    hand.turn();
    let rules = |key| &hand.engine.rules[&key].excluded;
    assert!(Arc::ptr_eq(rules(A), rules(B)) && rules(A).has(&bench.path("src/7")));
    assert!(!rules(WatchKey::Project).has(&bench.path("src/7")), "the project's own files are named");
    let owners = |name: &str| hand.engine.files.get(&bench.path(name)).map_or(0, |entry| entry.owners.len());
    assert_eq!((owners("src/a"), owners("src/state"), owners("src/new")), (3, 1, 0));
}

#[test]
fn what_one_makes_itself_is_watched_for_the_others() {
    let bench = Bench::with(&["src/ready"], &[]);
    let spec = WatchSpec { mark: Some(bench.path("src/ready")), ..bench.spec(&["src"]) };
    bench.set(A, spec);
    bench.set(B, bench.spec(&["src"]));
    bench.write("src/ready", "new");
    bench.wait_for(B, &["src/ready"]);
    bench.expect_nothing();
    let bench = bench.pass_on(|_| {});
    bench.write("src/ready", "newer");
    bench.wait_for(B, &["src/ready"]);
    bench.expect_nothing();
}
