//! Polling of those trees alone that give no events.

use super::*;
use crate::watch::Message;
use crate::watch::native::{Backlog, Fake};
use crate::watch::print::Print;
use std::sync::mpsc::Sender;

/// A system on which folders named `mnt` are on a file system that gives no events.
fn with_mount(inbox: Sender<Message>, backlog: Arc<Backlog>) -> (Native, Option<String>) {
    Native::faked(inbox, backlog, Fake { silent: Some("mnt"), limit: None })
}

/// A system that watches four folders, and no more.
fn with_limit(inbox: Sender<Message>, backlog: Arc<Backlog>) -> (Native, Option<String>) {
    Native::faked(inbox, backlog, Fake { silent: None, limit: Some(4) })
}

impl Bench {
    fn set_and_hear(&self, key: WatchKey, paths: &[&str]) -> Vec<String> {
        self.watcher.set(key, self.spec(paths));
        let mut said = Vec::new();
        loop {
            match self.next() {
                WatchReport::Ready { key: of } if of == key => return said,
                WatchReport::Problem { message, .. } => said.push(message),
                _ => {}
            }
        }
    }
}

#[test]
fn a_tree_that_gives_no_events_is_polled_and_the_rest_is_not() {
    let bench = Bench::start(with_mount);
    ["src/a", "src/mnt/b", "src/mnt/deep/c", "mnt/alone"].iter().for_each(|name| bench.write(name, "old"));
    let said = bench.set_and_hear(A, &["src", "mnt/alone", "mnt/later/x"]);
    assert_eq!(said.len(), 3, "one line for each tree: {said:?}");
    assert!(said.iter().all(|line| line.contains("FUSE") && line.contains("500ms")), "{said:?}");
    assert!(said.iter().any(|line| line.contains("src/mnt every")), "the path is named: {said:?}");
    // Somebody else who watches the same folder is as well off.
    assert_eq!(bench.set_and_hear(B, &["src/mnt"]).len(), 1);
    bench.write("src/mnt/b", "new");
    bench.wait_for(A, &["src/mnt/b"]);
    bench.write("src/mnt/deep/c", "new");
    bench.wait_for(B, &["src/mnt/deep/c"]);
    bench.write("mnt/alone", "new");
    bench.write("mnt/later/x", "new");
    bench.write("src/a", "new");
    bench.wait_for(A, &["mnt/alone", "mnt/later/x", "src/a"]);
    // An edit of what is watched does not end it.
    bench.set_and_hear(B, &["src/mnt", "lib"]);
    bench.write("src/mnt/b", "newer");
    bench.wait_for(B, &["src/mnt/b"]);
    fs::remove_file(bench.path("src/mnt/b")).unwrap();
    bench.wait_for(B, &["src/mnt/b"]);
}

#[test]
fn another_image_polls_on() {
    let bench = Bench::start(with_mount);
    ["src/a", "src/mnt/b"].iter().for_each(|name| bench.write(name, "old"));
    assert_eq!(bench.set_and_hear(A, &["src"]).len(), 1);
    let change = |folder: &Path| fs::write(folder.join("src/mnt/b"), "new").unwrap();
    let bench = bench.pass_on_to(with_mount, change);
    // It is said once; a problem would be a panic here.
    bench.wait_for(A, &["src/mnt/b"]);
    bench.write("src/mnt/b", "newer");
    bench.wait_for(A, &["src/mnt/b"]);
}

#[test]
fn what_is_beyond_the_systems_limit_is_polled_and_that_is_said_once() {
    let bench = Bench::start(with_limit);
    let names: Vec<String> = (0..10).map(|at| format!("src/d{at}/f")).collect();
    names.iter().for_each(|name| bench.write(name, "old"));
    let said = bench.set_and_hear(A, &["src"]);
    assert!(said.len() == 1 && said[0].contains("fs.inotify.max_user_watches"), "{said:?}");
    for name in &names {
        bench.write(name, "new");
        bench.wait_for(A, &[name]);
    }
    bench.write("src/d9/more/g", "new");
    bench.wait_for(A, &["src/d9/more/g"]);
}

#[test]
fn on_a_file_system_with_a_coarse_clock_a_stamp_is_young_for_longer() {
    let bench = Bench::new();
    bench.write("a", "old");
    let file = File::options().write(true).open(bench.path("a")).unwrap();
    let is_fresh = |age: Duration| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let whole = Duration::from_secs(now.as_secs()).saturating_sub(age);
        file.set_modified(std::time::UNIX_EPOCH + whole).unwrap();
        matches!(Print::glance(&bench.path("a")), Print::Present { fresh: true, .. })
    };
    assert!(is_fresh(Duration::ZERO), "another write would leave the same time");
    assert!(!is_fresh(Duration::from_secs(10)));
}

#[test]
fn a_time_in_the_future_does_not_have_a_file_read_for_ever() {
    let bench = Bench::new();
    bench.write("a", "old");
    let path = bench.path("a");
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::now() + Duration::from_secs(3600)).unwrap();
    let mut known = Print::glance(&path);
    assert!(known.may_differ(&path), "it may be written once more, just now");
    let seen = known.compare(&path).unwrap();
    known.confirm(seen);
    assert!(!known.may_differ(&path));
    bench.write("a", "new");
    assert!(known.may_differ(&path) && !known.compare(&path).unwrap().same_bytes(&known));
}

/// A key of which nothing is seen but by polling, every so often.
fn polled(bench: &Bench, paths: &[&str], every: Duration) {
    let mut spec = bench.spec(paths);
    spec.poll = Poll::Every(every);
    bench.watcher.set(A, spec);
    while bench.next() != (WatchReport::Ready { key: A }) {}
}

#[test]
fn where_it_is_polled_an_edit_of_gits_rules_counts() {
    let bench = Bench::new();
    ["src/a", "src/gen/b", ".git/HEAD"].iter().for_each(|name| bench.write(name, "old"));
    bench.write(".gitignore", "/src/gen/\n");
    polled(&bench, &["src"], Duration::from_millis(20));
    bench.write("src/gen/b", "hidden");
    bench.write("src/a", "new");
    assert_eq!(bench.wait_for(A, &["src/a"]), BTreeSet::from(["src/a".into()]));
    bench.write(".gitignore", "/src/other/\n");
    let begun = Instant::now();
    for round in 0.. {
        assert!(begun.elapsed() < PATIENCE, "the file is still hidden");
        bench.write("src/gen/b", &format!("shown {round}"));
        match bench.reports.recv_timeout(Duration::from_millis(200)) {
            Ok(WatchReport::Changed { paths, .. }) if paths == [bench.path("src/gen/b")] => break,
            Ok(WatchReport::Busy { .. }) | Err(_) => {}
            Ok(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn who_asks_what_has_happened_has_it_looked_at() {
    let bench = Bench::new();
    bench.write("src/a", "old");
    polled(&bench, &["src"], Duration::from_secs(3600));
    bench.write("src/a", "new");
    let mut seen = BTreeSet::new();
    let ask = |seen: &mut BTreeSet<String>| {
        bench.watcher.sift(A);
        let mut said = 0;
        loop {
            match bench.next() {
                WatchReport::Sifted { key: A } => return said,
                report => bench.collect(A, report, seen),
            }
            said += 1;
        }
    };
    assert!(ask(&mut seen) > 0, "it is told before the answer, or is said to be under way");
    while seen.is_empty() {
        ask(&mut seen);
    }
    assert_eq!(seen, BTreeSet::from(["src/a".into()]));
}
