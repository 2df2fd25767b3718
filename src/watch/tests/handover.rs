//! Handing over, with saves before, between and after.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::watch::{Message, WatchHandover};

impl Bench {
    /// The bench with another watcher that goes on, `between` being done while there is none.
    pub(super) fn pass_on(self, between: impl FnOnce(&Path)) -> Self {
        self.pass_on_to(Native::start, between)
    }

    pub(super) fn pass_on_to(self, native: StartNative, between: impl FnOnce(&Path)) -> Self {
        let Self { folder, watcher, sink, reports, thread } = self;
        let left = watcher.hand_over(PATIENCE).unwrap();
        let text = serde_json::to_vec(&left).unwrap();
        drop(left);
        between(folder.path());
        let left: WatchHandover = serde_json::from_slice(&text).unwrap();
        let watcher = Watcher::adopt_with(Arc::clone(&sink), native, left).unwrap();
        Self { folder, watcher, sink, reports, thread }
    }

    /// How often each file was reported for `key` until now. Nothing else but `Busy` may have been.
    fn counts(&self, key: WatchKey) -> BTreeMap<String, usize> {
        let name = format!("sentinels/{}", fs::read_dir(self.path("sentinels")).unwrap().count());
        let mut file = File::create(self.path(&name)).unwrap();
        file.write_all(b"sentinel").unwrap();
        let mut counts = BTreeMap::new();
        let mut take = |report| match report {
            WatchReport::Changed { key: whose, paths } if whose == key => {
                for path in paths {
                    let path = path.strip_prefix(self.folder.path()).unwrap();
                    *counts.entry(path.to_string_lossy().into_owned()).or_insert(0) += 1;
                }
                counts.remove(&name).is_some()
            }
            WatchReport::Changed { .. } | WatchReport::Busy { .. } => false,
            other => panic!("{other:?}"),
        };
        while !take(self.next()) {}
        while let Ok(report) = self.reports.try_recv() {
            take(report);
        }
        counts
    }

    /// Each of `names` was reported once, and nothing else.
    fn expect_once(&self, names: &[&str]) {
        assert_eq!(self.counts(A), names.iter().map(|name| ((*name).to_owned(), 1)).collect());
    }
}

fn replace(path: &Path, text: &str) {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, text).unwrap();
    fs::rename(temporary, path).unwrap();
}

#[test]
fn what_is_saved_in_between_is_reported_once_and_nothing_else() {
    let names =
        ["placed", "renamed", "deleted", "same", "touched", "again", "deep/er/gone", "quiet", "skip/x"];
    let names: Vec<String> = names.iter().map(|name| format!("src/{name}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bench = Bench::with(&names, &[]);
    let mut spec = bench.spec(&["src"]);
    spec.ignore = vec!["skip".into()];
    bench.set(A, spec);
    // Judged once more, so that the bytes are known; until then size and time tell, in doubt for a change.
    names.iter().for_each(|name| bench.write(name, "old"));
    bench.settled(A);
    let bench = bench.pass_on(|folder| {
        let src = folder.join("src");
        fs::write(src.join("placed"), "new").unwrap();
        replace(&src.join("renamed"), "new");
        fs::remove_file(src.join("deleted")).unwrap();
        replace(&src.join("same"), "old");
        File::open(src.join("touched")).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
        fs::remove_file(src.join("again")).unwrap();
        fs::write(src.join("again"), "old").unwrap();
        fs::remove_dir_all(src.join("deep")).unwrap();
        fs::create_dir_all(src.join("made/here")).unwrap();
        fs::write(src.join("made/here/new"), "new").unwrap();
        fs::write(src.join("skip/x"), "new").unwrap();
    });
    let changed = ["src/deep/er/gone", "src/deleted", "src/made/here/new", "src/placed", "src/renamed"];
    bench.expect_once(&changed);
    // From now on it watches as ever: what is old, and what is new.
    let bench = bench.pass_on(|_| {});
    bench.expect_once(&[]);
    bench.write("src/quiet", "new");
    bench.write("src/made/here/new", "newer");
    bench.expect(&["src/made/here/new", "src/quiet"]);
}

#[test]
fn what_was_under_way_is_reported_once() {
    let bench = Bench::with(&["src/held", "src/written", "src/gone"], &[]);
    let mut spec = bench.spec(&["src"]);
    spec.settle = Duration::from_millis(300);
    bench.set(A, spec.clone());
    let open = |name: &str| File::options().append(true).open(bench.path(name)).unwrap();
    let mut held = open("src/held");
    held.write_all(b"more").unwrap();
    fs::remove_file(bench.path("src/gone")).unwrap();
    let bench = bench.pass_on(|_| {});
    bench.expect_once(&["src/gone", "src/held"]);
    drop(held);
    // Held open and written while nobody looks: judged when it is closed.
    spec.settle = Duration::from_secs(3600);
    bench.set(A, spec);
    let mut written = File::options().append(true).open(bench.path("src/written")).unwrap();
    written.write_all(b"more").unwrap();
    let bench = bench.pass_on(|_| written.write_all(b"and more").unwrap());
    // It looks around first, and answers then.
    bench.watcher.sift(A);
    let mut seen = BTreeSet::new();
    loop {
        match bench.next() {
            WatchReport::Sifted { key: A } => break,
            report => bench.collect(A, report, &mut seen),
        }
    }
    written.write_all(b"and more").unwrap();
    bench.replace("sentinels/0", "new", "sentinels/0.tmp");
    seen.extend(bench.wait_for(A, &["sentinels/0"]));
    assert!(!seen.contains("src/written"), "it is not closed");
    drop(written);
    bench.wait_for(A, &["src/written"]);
}

#[test]
fn over_and_over_while_files_are_saved_each_save_is_reported_once() {
    let names: Vec<String> = (0..400).map(|at| format!("src/d{}/f{at}", at % 10)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut bench = Bench::with(&names, &["src"]);
    let files: Vec<PathBuf> = names.iter().map(|name| bench.path(name)).collect();
    let done = Arc::new(AtomicBool::new(false));
    let is_done = Arc::clone(&done);
    let writer = std::thread::spawn(move || {
        for (at, file) in files.iter().enumerate() {
            replace(file, "new");
            if at % 8 == 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        is_done.store(true, Ordering::Relaxed);
    });
    let mut rounds = 0;
    while !done.load(Ordering::Relaxed) || rounds < 10 {
        bench = bench.pass_on(|_| {});
        rounds += 1;
    }
    writer.join().unwrap();
    println!("{rounds} hand-overs");
    bench.expect_once(&names);
}

#[test]
fn an_edit_of_gits_rules_in_between_is_no_change_of_the_files_they_hid() {
    let bench = Bench::with(&["src/a", "src/gen/b", "src/gen/c", ".git/HEAD"], &[]);
    bench.write(".gitignore", "/src/gen/\n");
    // What was made a moment ago is not told from what is made in between.
    std::thread::sleep(Duration::from_millis(100));
    bench.set(A, bench.spec(&["src"]));
    let bench = bench.pass_on(|folder| {
        fs::write(folder.join(".gitignore"), "*.log\n").unwrap();
        fs::write(folder.join("src/gen/new"), "new").unwrap();
    });
    bench.expect_once(&["src/gen/new"]);
    bench.write("src/gen/b", "new");
    bench.expect(&["src/gen/b"]);
}

#[test]
fn all_that_was_set_is_set_and_names_need_not_be_text() {
    let bench = Bench::with(&["src/a", "lib/b", "old/c"], &[]);
    let odd = bench.folder.path().join(OsString::from_vec(b"src/\xffodd\\x41".to_vec()));
    fs::write(&odd, "old").unwrap();
    bench.set(A, bench.spec(&["src"]));
    let mut polled = bench.spec(&["lib"]);
    polled.poll = Poll::Every(Duration::from_millis(20));
    bench.set(B, polled);
    bench.set(WatchKey::Project, bench.spec(&["old"]));
    bench.watcher.remove(WatchKey::Project);
    let bench = bench.pass_on(|folder| {
        fs::write(&odd, "new").unwrap();
        fs::write(folder.join("lib/b"), "new").unwrap();
        fs::write(folder.join("old/c"), "new").unwrap();
    });
    assert_eq!(bench.counts(B), BTreeMap::from([("lib/b".to_owned(), 1)]));
    let paths = |report| match report {
        WatchReport::Changed { key, paths } if key == A => paths,
        _ => vec![],
    };
    fs::write(&odd, "newer").unwrap();
    while !paths(bench.next()).contains(&odd) {}
    bench.write("lib/b", "newer");
    bench.wait_for(B, &["lib/b"]);
}

#[test]
fn without_events_it_goes_on_polling() {
    let bench = Bench::with(&["src/a", "src/b"], &["src"]);
    let bench = bench.pass_on_to(Native::refused, |folder| fs::write(folder.join("src/a"), "new").unwrap());
    let (mut said, mut changed) = (0, 0);
    while said == 0 || changed == 0 {
        match bench.next() {
            WatchReport::Problem { key: None, message } => {
                assert!(message.contains("too many open files"), "{message}");
                said += 1;
            }
            WatchReport::Changed { .. } => changed += 1,
            _ => {}
        }
    }
    // It is said once in the life of a project, and not again by each image.
    let bench = bench.pass_on_to(Native::refused, |folder| fs::write(folder.join("src/b"), "new").unwrap());
    bench.wait_for(A, &["src/b"]);
}

#[test]
fn a_hand_over_that_nobody_waits_for_changes_nothing() {
    let bench = Bench::with(&["src/a"], &["src"]);
    let (to, answer) = std::sync::mpsc::sync_channel(0);
    drop(answer);
    bench.watcher.routes.tell_first(Message::HandOver(to));
    bench.write("src/a", "new");
    bench.expect(&["src/a"]);
    // Nor does one that can't be answered.
    bench.watcher.routes.tell_first(Message::End);
    let refused = bench.watcher.hand_over(PATIENCE).unwrap_err();
    assert!(refused.to_string().contains("goes on as before"), "{refused}");
}

#[test]
#[ignore = "a measurement; run alone, with --nocapture"]
fn a_hand_over_of_20_000_files() {
    let bench = Bench::new();
    for at in 0..20_000 {
        bench.write(&format!("src/d{}/e{}/f{at}", at % 50, at % 7), "old");
    }
    std::thread::sleep(Duration::from_millis(100));
    bench.set(A, bench.spec(&["src"]));
    bench.expect_nothing();
    let Bench { folder, watcher, sink, reports, .. } = bench;
    let begun = Instant::now();
    let left = watcher.hand_over(PATIENCE).unwrap();
    println!("20,000 files: handed over in {:?}", begun.elapsed());
    let text = serde_json::to_vec(&left).unwrap();
    println!("as text ({} KiB) after {:?}", text.len() >> 10, begun.elapsed());
    let left: WatchHandover = serde_json::from_slice(&text).unwrap();
    println!("and back after {:?}", begun.elapsed());
    let begun = Instant::now();
    fs::write(folder.path().join("src/d0/e0/f0"), "new").unwrap();
    let watcher = Watcher::adopt(sink, left).unwrap();
    while !matches!(reports.recv_timeout(PATIENCE).unwrap(), WatchReport::Changed { .. }) {}
    println!("adopted, and the first change reported, after {:?}", begun.elapsed());
    drop(watcher);
}
