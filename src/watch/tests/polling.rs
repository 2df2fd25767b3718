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
