//! File systems that may not answer. A report that is not taken stands for a call that does not return.

use std::sync::Mutex;
use std::sync::mpsc::Sender;

use super::*;

/// A bench where `mnt` is such a file system; the project's folder is known by its real path.
fn with_mount(files: &[&str]) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let mount = folder.path().canonicalize().unwrap().join("mnt");
    let bench = Bench::start_on(folder, Native::start, Some(BTreeSet::from([mount])));
    files.iter().for_each(|file| bench.write(file, "old"));
    bench
}

impl Bench {
    fn set_alone(&self, key: WatchKey, paths: &[&str]) {
        self.watcher.set(key, self.spec(paths));
        while self.next() != (WatchReport::Ready { key }) {}
    }
}

#[test]
fn a_key_is_watched_whole_wherever_it_leads() {
    let bench = with_mount(&["src/a", "mnt/b", "mnt/deep/c", "lib/d"]);
    symlink("../mnt/deep", bench.path("src/link")).unwrap();
    bench.set_alone(B, &["lib"]);
    bench.set_alone(A, &["src", "mnt/b", "lib"]);
    for name in ["src/a", "mnt/b", "lib/d"] {
        bench.write(name, "new");
        bench.wait_for(A, &[name]);
    }
    bench.write("mnt/deep/c", "new");
    bench.wait_for(A, &["src/link/c"]);
    // An edit that leads there takes along what is known.
    bench.write("lib/d", "newer");
    bench.watcher.set(B, bench.spec(&["lib", "mnt"]));
    bench.wait_for(B, &["lib/d"]);
    bench.write("mnt/b", "newer");
    bench.wait_for(B, &["mnt/b"]);
    bench.watcher.remove(A);
    bench.set_alone(A, &["src/a"]);
    bench.write("src/a", "newer");
    assert_eq!(bench.wait_for(A, &["src/a"]), BTreeSet::from(["src/a".into()]));
    for key in [A, B] {
        bench.watcher.sift(key);
        while bench.next() != (WatchReport::Sifted { key }) {}
    }
}

#[test]
fn a_hand_over_keeps_what_every_engine_knows() {
    let bench = with_mount(&["src/a", "src/same", "mnt/b", "mnt/same"]);
    bench.set(A, bench.spec(&["src"]));
    bench.set_alone(B, &["mnt"]);
    let bench = bench.pass_on(|folder| {
        fs::write(folder.join("src/a"), "new").unwrap();
        fs::write(folder.join("mnt/b"), "new").unwrap();
    });
    let mut seen = (BTreeSet::new(), BTreeSet::new());
    while seen.0.is_empty() || seen.1.is_empty() {
        let report = bench.next();
        bench.collect(A, report.clone(), &mut seen.0);
        bench.collect(B, report, &mut seen.1);
    }
    assert_eq!(seen, (BTreeSet::from(["src/a".into()]), BTreeSet::from(["mnt/b".into()])));
}

/// Reports of a watcher; the first change of B is not taken until the other end is dropped.
fn stuck(mount: PathBuf) -> (Watcher, Receiver<WatchReport>, Sender<()>) {
    let (send, reports) = channel();
    let (release, wait) = channel::<()>();
    let (send, wait) = (Mutex::new(send), Mutex::new(wait));
    let sink: Sink = Arc::new(move |report| {
        let is_stuck = matches!(report, WatchReport::Changed { key: B, .. });
        let _ = send.lock().unwrap().send(report);
        if is_stuck {
            let _ = wait.lock().unwrap().recv();
        }
    });
    let mounts = Some(BTreeSet::from([mount]));
    let watcher = Watcher::with(Routes::on(sink, Native::start, mounts)).unwrap();
    (watcher, reports, release)
}

#[test]
fn a_dead_file_system_makes_nobody_deaf_but_who_watches_it() {
    let bench = with_mount(&["src/a", "mnt/b"]);
    let mount = bench.folder.path().canonicalize().unwrap().join("mnt");
    let (watcher, reports, release) = stuck(mount.clone());
    let next = || reports.recv_timeout(PATIENCE).expect("no report came");
    let set = |key, paths: &[&str]| {
        watcher.set(key, bench.spec(paths));
        while next() != (WatchReport::Ready { key }) {}
    };
    set(A, &["src"]);
    set(B, &["mnt"]);
    assert_eq!(watcher.silent(B), None);
    bench.write("mnt/b", "new");
    while !matches!(next(), WatchReport::Changed { key: B, .. }) {}
    bench.write("src/a", "new");
    while !matches!(next(), WatchReport::Changed { key: A, .. }) {}
    let begun = Instant::now();
    while watcher.silent(B).is_none() {
        assert!(begun.elapsed() < PATIENCE, "nobody finds that it is silent");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((watcher.silent(B), watcher.silent(A)), (Some(mount), None));
    // Who does not watch it any more is well at once.
    set(B, &["src"]);
    watcher.set(B, bench.spec(&["src", "mnt"]));
    // Another image goes on without it, and with all else.
    let left = watcher.hand_over(PATIENCE).unwrap();
    bench.write("src/a", "newer");
    let sink = Arc::clone(&bench.sink);
    let watcher = Watcher::adopt_with(sink, Native::start, left).unwrap();
    bench.wait_for(A, &["src/a"]);
    bench.write("mnt/b", "newer");
    watcher.sift(B);
    while bench.next() != (WatchReport::Sifted { key: B }) {}
    bench.write("mnt/b", "newest");
    bench.wait_for(B, &["mnt/b"]);
    drop(release);
}
