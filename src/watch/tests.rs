//! Real files in a temporary folder, saved in every way that editors, tools and clusters save them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::native::Native;
use super::routes::Routes;
use super::{Sink, StartNative, WatchKey, WatchReport, WatchSpec, Watcher};
use crate::config::model::Poll;
use crate::types::Cid;

mod excluded;
mod handover;
mod lost;
mod polling;
mod silent;

/// Longer than anything here takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(20);
const A: WatchKey = WatchKey::Component(Cid(1));
const B: WatchKey = WatchKey::Component(Cid(2));

struct Bench {
    folder: TempDir,
    watcher: Watcher,
    sink: Sink,
    reports: Receiver<WatchReport>,
    /// The watcher's thread, once it has reported.
    thread: Arc<OnceLock<i32>>,
}

impl Bench {
    fn new() -> Self {
        Self::start(Native::start)
    }

    fn start(native: StartNative) -> Self {
        Self::start_on(tempfile::tempdir().unwrap(), native, None)
    }

    /// With the folders `mounts` being mounts that may not answer.
    fn start_on(folder: TempDir, native: StartNative, mounts: Option<BTreeSet<PathBuf>>) -> Self {
        let (sink, reports) = channel();
        let sink = std::sync::Mutex::new(sink);
        let thread = Arc::new(OnceLock::new());
        let seen = Arc::clone(&thread);
        let sink: Sink = Arc::new(move |report| {
            seen.get_or_init(|| rustix::thread::gettid().as_raw_nonzero().get());
            let _ = sink.lock().unwrap().send(report);
        });
        let watcher = Watcher::with(Routes::on(Arc::clone(&sink), native, mounts)).unwrap();
        let bench = Self { folder, watcher, sink, reports, thread };
        bench.write("sentinels/0", "0");
        bench.watcher.exclude(bench.folder.path().to_owned(), vec![bench.path(".orch")]);
        bench
    }

    /// A bench that watches `paths` with the defaults, in a project where `files` are.
    fn with(files: &[&str], paths: &[&str]) -> Self {
        let bench = Self::new();
        files.iter().for_each(|file| bench.write(file, "old"));
        bench.set(A, bench.spec(paths));
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn spec(&self, paths: &[&str]) -> WatchSpec {
        WatchSpec {
            root: self.folder.path().to_owned(),
            paths: paths.iter().map(ToString::to_string).collect(),
            ignore: vec![],
            gitignore: true,
            poll: Poll::Auto,
            settle: Duration::from_millis(5),
            mark: None,
        }
    }

    /// Sets the specification, and the sentinels with it, and waits until it is known.
    fn set(&self, key: WatchKey, mut spec: WatchSpec) {
        spec.paths.push("sentinels".into());
        self.watcher.set(key, spec);
        while self.next() != (WatchReport::Ready { key }) {}
    }

    fn next(&self) -> WatchReport {
        self.reports.recv_timeout(PATIENCE).expect("no report came")
    }

    /// Names changed for `key` until all of `wanted` have come.
    fn wait_for(&self, key: WatchKey, wanted: &[&str]) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        while !wanted.iter().all(|name| seen.contains(*name)) {
            self.collect(key, self.next(), &mut seen);
        }
        seen
    }

    fn collect(&self, whose: WatchKey, report: WatchReport, seen: &mut BTreeSet<String>) {
        match report {
            WatchReport::Changed { key, paths } if key == whose => {
                let names = paths.iter().map(|path| path.strip_prefix(self.folder.path()).unwrap_or(path));
                seen.extend(names.map(|name| name.to_str().unwrap().to_owned()));
            }
            WatchReport::Problem { message, .. } => panic!("{message}"),
            _ => {}
        }
    }

    /// Names changed for `key` until now, whatever waits being judged first: of all that can happen to a file,
    /// being made and held open is awaited the longest.
    fn settled(&self, key: WatchKey) -> BTreeSet<String> {
        let folder = self.path("sentinels");
        let name = format!("sentinels/{}", fs::read_dir(&folder).unwrap().count());
        let mut file = File::create(self.path(&name)).unwrap();
        file.write_all(b"sentinel").unwrap();
        let mut seen = self.wait_for(key, &[&name]);
        while let Ok(report) = self.reports.try_recv() {
            self.collect(key, report, &mut seen);
        }
        seen.remove(&name);
        seen
    }

    fn expect(&self, names: &[&str]) {
        let mut seen = self.wait_for(A, names);
        seen.extend(self.settled(A));
        assert_eq!(seen, names.iter().map(ToString::to_string).collect());
    }

    fn expect_nothing(&self) {
        assert_eq!(self.settled(A), BTreeSet::new());
    }

    fn replace(&self, name: &str, text: &str, by: &str) {
        self.write(by, text);
        fs::rename(self.path(by), self.path(name)).unwrap();
    }
}

/// `O_TMPFILE`, then `linkat`: the name appears with all its bytes, and is never closed.
fn link_whole(path: &Path, text: &str) {
    use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o644);
    let file = openat(CWD, path.parent().unwrap(), flags, mode).unwrap();
    rustix::io::write(&file, text.as_bytes()).unwrap();
    let fd = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    linkat(CWD, fd, CWD, path, AtFlags::SYMLINK_FOLLOW).unwrap();
}

#[test]
fn a_save_in_place_is_a_change_and_the_same_bytes_are_none() {
    let bench = Bench::with(&["src/a"], &["src"]);
    bench.write("src/a", "new");
    bench.expect(&["src/a"]);
    bench.write("src/a", "new");
    File::open(bench.path("src/a")).unwrap();
    fs::set_permissions(bench.path("src/a"), fs::Permissions::from_mode(0o600)).unwrap();
    let file = File::options().write(true).open(bench.path("src/a")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    drop(file);
    bench.expect_nothing();
}

#[test]
fn a_save_by_rename_is_followed_again_and_again() {
    let bench = Bench::with(&["src/a", "b"], &["src", "b"]);
    for text in ["1", "2", "3"] {
        bench.replace("src/a", text, "src/a.new.77");
        bench.expect(&["src/a"]);
        bench.replace("b", text, "b.new");
        bench.expect(&["b"]);
    }
    bench.replace("src/a", "3", "src/tmpx1y2");
    bench.replace("b", "3", "tmpx1y2");
    bench.expect_nothing();
}

#[test]
fn vims_backup_and_rewrite_is_one_change() {
    let bench = Bench::with(&["src/a"], &["src"]);
    bench.write("src/4913", "");
    fs::remove_file(bench.path("src/4913")).unwrap();
    fs::rename(bench.path("src/a"), bench.path("src/a~")).unwrap();
    bench.write("src/a", "new");
    fs::remove_file(bench.path("src/a~")).unwrap();
    bench.expect(&["src/a"]);
}

#[test]
fn deleted_and_made_anew_is_judged_by_its_bytes() {
    let bench = Bench::with(&["src/a", "b"], &["src", "b"]);
    for name in ["src/a", "b"] {
        fs::remove_file(bench.path(name)).unwrap();
        bench.write(name, "old");
    }
    bench.expect_nothing();
    for name in ["src/a", "b"] {
        fs::remove_file(bench.path(name)).unwrap();
        bench.write(name, "new");
    }
    bench.expect(&["b", "src/a"]);
}

#[test]
fn a_deletion_is_a_change_and_so_is_the_return() {
    let bench = Bench::with(&["src/a", "b"], &["src", "b"]);
    for name in ["src/a", "b"] {
        fs::remove_file(bench.path(name)).unwrap();
    }
    bench.expect(&["b", "src/a"]);
    for name in ["src/a", "b"] {
        bench.write(name, "old");
    }
    bench.expect(&["b", "src/a"]);
}

#[test]
fn a_save_by_link_is_a_change() {
    let bench = Bench::with(&["src/a"], &["src"]);
    fs::remove_file(bench.path("src/a")).unwrap();
    link_whole(&bench.path("src/a"), "linked");
    bench.expect(&["src/a"]);
    link_whole(&bench.path("src/b"), "linked");
    bench.expect(&["src/b"]);
}

#[test]
fn a_file_that_is_held_open_is_judged_when_it_is_quiet() {
    let bench = Bench::with(&["src/a"], &["src"]);
    let mut file = File::options().append(true).open(bench.path("src/a")).unwrap();
    file.write_all(b"more").unwrap();
    bench.expect(&["src/a"]);
    let mut made = File::create(bench.path("src/b")).unwrap();
    made.write_all(b"some").unwrap();
    bench.expect(&["src/b"]);
    drop((file, made));
    bench.expect_nothing();
}

#[test]
fn while_a_change_is_not_judged_it_is_said_to_be_busy() {
    let bench = Bench::new();
    bench.write("a", "old");
    let mut spec = bench.spec(&["a"]);
    spec.settle = Duration::from_millis(300);
    bench.set(A, spec);
    let mut file = File::options().append(true).open(bench.path("a")).unwrap();
    file.write_all(b"more").unwrap();
    let mut signs = 0;
    loop {
        match bench.next() {
            WatchReport::Busy { key: A } => signs += 1,
            WatchReport::Changed { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(signs >= 2, "{signs} signs");
}

#[test]
fn a_mapped_file_is_judged_when_it_is_closed() {
    let bench = Bench::with(&["a"], &["a"]);
    let file = File::options().read(true).write(true).open(bench.path("a")).unwrap();
    // SAFETY: a shared mapping of three bytes of an open file, written within its bounds and unmapped once.
    unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
        let at = libc::mmap(std::ptr::null_mut(), 3, protection, libc::MAP_SHARED, fd, 0);
        assert_ne!(at, libc::MAP_FAILED);
        at.cast::<u8>().write(b'X');
        libc::munmap(at, 3);
    }
    drop(file);
    bench.expect(&["a"]);
}

#[test]
fn what_does_not_exist_yet_is_followed() {
    let bench = Bench::with(&[], &["not/yet/here", "later.conf"]);
    bench.write("not/yet/other", "x");
    bench.write("later.conf", "x");
    bench.expect(&["later.conf"]);
    bench.write("not/yet/here/deep/file", "x");
    bench.expect(&["not/yet/here/deep/file"]);
    bench.write("not/yet/here/deep/file", "y");
    bench.expect(&["not/yet/here/deep/file"]);
}

#[test]
fn folders_deleted_moved_and_made_anew_are_followed() {
    let bench = Bench::with(&["p/src/x/a"], &["p/src"]);
    fs::remove_dir_all(bench.path("p")).unwrap();
    bench.expect(&["p/src/x/a"]);
    bench.write("p/src/x/a", "1");
    bench.expect(&["p/src/x/a"]);
    fs::rename(bench.path("p"), bench.path("q")).unwrap();
    bench.expect(&["p/src/x/a"]);
    bench.write("q/src/x/a", "2");
    bench.expect_nothing();
    fs::rename(bench.path("q"), bench.path("p")).unwrap();
    bench.expect(&["p/src/x/a"]);
    bench.write("p/src/x/a", "3");
    bench.expect(&["p/src/x/a"]);
}

#[test]
fn a_folder_swapped_for_another_changes_only_what_differs() {
    let bench = Bench::with(&["src/x/a", "src/x/b", "other/a", "other/b"], &["src"]);
    bench.write("other/b", "new");
    fs::rename(bench.path("src/x"), bench.path("away")).unwrap();
    fs::rename(bench.path("other"), bench.path("src/x")).unwrap();
    bench.expect(&["src/x/b"]);
}

#[test]
fn the_projects_folder_itself_may_be_moved_and_come_back() {
    let bench = Bench::new();
    bench.write("home/src/a", "old");
    let mut spec = bench.spec(&["src", "."]);
    spec.root = bench.path("home");
    bench.watcher.set(A, spec);
    while bench.next() != (WatchReport::Ready { key: A }) {}
    fs::rename(bench.path("home"), bench.path("moved")).unwrap();
    assert!(bench.wait_for(A, &["home/src/a"]).contains("home/src/a"));
    fs::rename(bench.path("moved"), bench.path("home")).unwrap();
    bench.wait_for(A, &["home/src/a"]);
    bench.write("home/src/a", "new");
    bench.wait_for(A, &["home/src/a"]);
}

#[test]
fn nested_folders_made_at_once_are_not_missed() {
    let bench = Bench::with(&["src/a"], &["src"]);
    for round in 0..20 {
        let name = format!("src/r{round}/x/y/z/file");
        bench.write(&name, "1");
        bench.wait_for(A, &[&name]);
        bench.write(&name, "2");
        bench.wait_for(A, &[&name]);
    }
}

#[test]
fn a_linked_file_is_followed_to_its_target() {
    let bench = Bench::with(&["etc/v1/app.yaml", "etc/v2/app.yaml", "etc/v3/app.yaml"], &[]);
    bench.write("etc/v2/app.yaml", "second");
    bench.write("etc/v3/app.yaml", "second");
    symlink("v1", bench.path("etc/..data")).unwrap();
    symlink("..data/app.yaml", bench.path("etc/app.yaml")).unwrap();
    symlink("../etc/app.yaml", bench.path("etc/near.yaml")).unwrap();
    fs::create_dir(bench.path("src")).unwrap();
    symlink("../etc/near.yaml", bench.path("src/far.yaml")).unwrap();
    bench.set(A, bench.spec(&["etc/app.yaml", "src"]));
    let swap = |to: &str| {
        symlink(to, bench.path("etc/..data_tmp")).unwrap();
        fs::rename(bench.path("etc/..data_tmp"), bench.path("etc/..data")).unwrap();
    };
    swap("v2");
    bench.expect(&["etc/app.yaml", "src/far.yaml"]);
    swap("v3");
    bench.expect_nothing();
    bench.write("etc/v3/app.yaml", "third");
    bench.expect(&["etc/app.yaml", "src/far.yaml"]);
    bench.write("etc/v2/app.yaml", "not watched any more");
    bench.expect_nothing();
}

#[test]
fn a_linked_folder_is_followed_and_loops_are_cut() {
    let bench = Bench::with(&["src/a", "shared/x/b"], &[]);
    symlink("../shared", bench.path("src/shared")).unwrap();
    symlink(".", bench.path("src/loop")).unwrap();
    symlink("..", bench.path("src/up")).unwrap();
    symlink("/", bench.path("src/all")).unwrap();
    symlink("gone", bench.path("src/dangling")).unwrap();
    bench.set(A, bench.spec(&["src"]));
    bench.write("shared/x/b", "new");
    bench.expect(&["src/shared/x/b"]);
    bench.write("src/a", "new");
    bench.expect(&["src/a"]);
    fs::remove_file(bench.path("src/shared")).unwrap();
    bench.expect(&["src/shared/x/b"]);
    bench.write("shared/x/b", "newer");
    bench.expect_nothing();
}

#[test]
fn globs_ignored_and_excluded_paths_are_kept_apart() {
    let bench = Bench::with(&["templates/a.html", "src/a", "src/skip/b", ".orch/state", "src/a.log"], &[]);
    let mut spec = bench.spec(&["templates/**/*.html", "src", ".orch/state"]);
    spec.ignore = vec!["**/*.log".into(), "skip".into()];
    bench.set(A, spec);
    for name in ["templates/x.css", "src/skip/b", ".orch/state", "src/a.log", "src/a~", "src/skip2.log"] {
        bench.write(name, "new");
    }
    bench.expect_nothing();
    bench.write("templates/deep/er/b.html", "new");
    bench.write("templates/a.html", "new");
    bench.expect(&["templates/a.html", "templates/deep/er/b.html"]);
}

#[test]
fn git_is_obeyed_except_for_files_that_are_named() {
    let bench = Bench::with(&["src/a", "src/gen/b", "src/named.log", "src/x.log", ".git/HEAD"], &[]);
    fs::write(bench.path(".gitignore"), "*.log\n/src/gen/\n").unwrap();
    bench.set(A, bench.spec(&["src", "src/named.log"]));
    for name in ["src/gen/b", "src/x.log", "src/y.log"] {
        bench.write(name, "new");
    }
    bench.expect_nothing();
    bench.write("src/named.log", "new");
    bench.expect(&["src/named.log"]);
    fs::write(bench.path(".gitignore"), "*.log\n").unwrap();
    bench.expect_nothing();
    bench.write("src/gen/b", "newer");
    bench.expect(&["src/gen/b"]);
    fs::write(bench.path(".gitignore"), "*.log\n/src/a\n").unwrap();
    bench.expect_nothing();
    bench.write("src/a", "new");
    bench.expect_nothing();
}

#[test]
fn two_keys_that_share_a_file_are_both_told() {
    let bench = Bench::with(&["a"], &["a"]);
    bench.set(B, bench.spec(&["a"]));
    bench.write("a", "1");
    let mut told = BTreeSet::new();
    while told.len() < 2 {
        if let WatchReport::Changed { key, .. } = bench.next() {
            told.insert(key);
        }
    }
}

#[test]
fn a_new_specification_keeps_baselines_and_adds_silently() {
    let bench = Bench::with(&["src/a", "lib/b"], &["src"]);
    bench.write("src/c", "came with the edit");
    bench.write("src/a", "new");
    bench.set(A, bench.spec(&["src", "lib"]));
    let mut seen = bench.settled(A);
    // What was reported before the specification was known has been read by `set`.
    seen.retain(|name| name == "lib/b");
    assert_eq!(seen, BTreeSet::new());
    bench.write("lib/b", "new");
    bench.expect(&["lib/b"]);
    bench.set(A, bench.spec(&["lib"]));
    bench.write("src/a", "newer");
    bench.expect_nothing();
    bench.watcher.remove(A);
    bench.set(B, bench.spec(&[]));
    bench.write("lib/b", "newer");
    assert_eq!(bench.settled(B), BTreeSet::new());
}

#[test]
fn a_change_during_an_edit_is_not_lost() {
    for _ in 0..20 {
        let bench = Bench::with(&["src/a", "src/b"], &["src"]);
        bench.write("src/a", "new");
        fs::remove_file(bench.path("src/b")).unwrap();
        bench.write("src/c", "new");
        bench.watcher.set(A, bench.spec(&["src", "lib"]));
        bench.wait_for(A, &["src/a", "src/b", "src/c"]);
    }
}

#[test]
fn polling_sees_what_events_would() {
    let bench = Bench::with(&["src/a", "src/b"], &[]);
    let mut spec = bench.spec(&["src", "later"]);
    spec.poll = Poll::Every(Duration::from_millis(20));
    // No event tells that a save is over, so a save in place must not take longer than this.
    spec.settle = Duration::from_millis(200);
    bench.set(A, spec);
    bench.write("src/a", "new");
    bench.expect(&["src/a"]);
    bench.write("src/a", "new");
    bench.settled(A);
    bench.write("src/b", "new");
    bench.expect(&["src/b"]);
    bench.write("later/x", "new");
    fs::remove_file(bench.path("src/b")).unwrap();
    bench.expect(&["later/x", "src/b"]);
}

#[test]
fn without_events_it_polls_and_says_so_once() {
    let bench = Bench::start(Native::refused);
    bench.write("src/a", "old");
    bench.watcher.set(A, bench.spec(&["src"]));
    let WatchReport::Problem { key: None, message } = bench.next() else {
        panic!("no problem was reported");
    };
    assert!(message.contains("too many open files") && message.contains("500ms"), "{message}");
    assert_eq!(bench.next(), WatchReport::Ready { key: A });
    bench.write("src/a", "new");
    assert!(bench.wait_for(A, &["src/a"]).contains("src/a"));
}

#[test]
fn a_large_file_is_judged_by_size_and_time() {
    let bench = Bench::with(&["big"], &[]);
    let file = File::options().write(true).open(bench.path("big")).unwrap();
    file.set_len(65 << 20).unwrap();
    drop(file);
    bench.set(A, bench.spec(&["big"]));
    drop(File::options().write(true).open(bench.path("big")).unwrap());
    bench.expect_nothing();
    File::options().write(true).open(bench.path("big")).unwrap().write_all(b"new").unwrap();
    bench.expect(&["big"]);
}

#[test]
fn a_pipe_in_a_files_place_blocks_nothing() {
    let bench = Bench::with(&["src/a"], &["src"]);
    fs::remove_file(bench.path("src/a")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        bench.path("src/a"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    bench.expect(&["src/a"]);
}

#[test]
fn a_burst_is_reported_early_and_whole() {
    let names: Vec<String> = (0..2000).map(|at| format!("src/d{}/f{at}", at % 20)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bench = Bench::with(&names, &["src"]);
    let begun = Instant::now();
    let folder = bench.folder.path().to_owned();
    let files: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    let writer = std::thread::spawn(move || {
        files.iter().for_each(|file| fs::write(file, "new").unwrap());
        begun.elapsed()
    });
    let (mut seen, mut reports, mut first) = (BTreeSet::new(), 0, None);
    while seen.len() < names.len() {
        let report = bench.next();
        if matches!(report, WatchReport::Changed { .. }) {
            reports += 1;
            first.get_or_insert(begun.elapsed());
        }
        bench.collect(A, report, &mut seen);
    }
    let written = writer.join().unwrap();
    println!(
        "2,000 files: written {written:?}, first {first:?}, all {:?}, {reports} reports",
        begun.elapsed()
    );
    assert_eq!(bench.settled(A), BTreeSet::new());
}

#[test]
fn lost_events_cost_one_report() {
    let bench = Bench::with(&["src/a", "src/b", "src/c"], &["src"]);
    bench.watcher.routes.tell_first(super::Message::Lost);
    bench.write("src/a", "new");
    bench.wait_for(A, &["src/a"]);
    bench.expect_nothing();
    let mut spec = bench.spec(&["src"]);
    spec.settle = Duration::from_secs(3600);
    bench.set(A, spec);
    let open: Vec<File> = ["src/a", "src/b", "src/c"]
        .iter()
        .map(|name| {
            let mut file = File::options().append(true).open(bench.path(name)).unwrap();
            file.write_all(b"more").unwrap();
            file
        })
        .collect();
    fs::remove_file(bench.path("src/a")).unwrap();
    bench.watcher.routes.tell_first(super::Message::Lost);
    let paths = loop {
        if let WatchReport::Changed { paths, .. } = bench.next() {
            break paths;
        }
    };
    assert_eq!(paths.len(), 3);
    drop(open);
}

/// How often the thread `id` of this process has gone to sleep.
fn switches(id: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/self/task/{id}/status")).unwrap();
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.unwrap().trim().parse().unwrap()
}

/// Whether the thread `id` sleeps for a whole second.
fn sleeps(id: i32) -> bool {
    let before = switches(id);
    std::thread::sleep(Duration::from_secs(1));
    switches(id) == before
}

#[test]
fn an_idle_watcher_does_not_wake() {
    let bench = Bench::with(&["src/a"], &["src"]);
    bench.write("src/a", "new");
    bench.expect(&["src/a"]);
    let id = *bench.thread.get().unwrap();
    // The last save may still be looked at during the first tries.
    assert!((0..5).any(|_| sleeps(id)));
}

#[test]
#[ignore = "other tests' watchers have threads of that name; run alone"]
fn the_systems_watcher_does_not_wake_either() {
    let bench = Bench::with(&["src/a"], &["src"]);
    bench.write("src/a", "new");
    bench.expect(&["src/a"]);
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten().map(|task| task.path());
    let name = |task: &Path| fs::read_to_string(task.join("comm")).unwrap_or_default();
    let task = tasks.into_iter().find(|task| name(task).starts_with("notify-rs")).unwrap();
    let id = task.file_name().unwrap().to_str().unwrap().parse().unwrap();
    assert!((0..5).any(|_| sleeps(id)));
}

#[test]
#[ignore = "a measurement; run alone, with --nocapture"]
fn latency_from_close_to_report() {
    let bench = Bench::with(&["src/a"], &["src"]);
    let mut times = Vec::new();
    for round in 0..200 {
        let mut file = File::create(bench.path("src/a")).unwrap();
        file.write_all(format!("{round} {}", "x".repeat(4000)).as_bytes()).unwrap();
        let begun = Instant::now();
        drop(file);
        while !matches!(bench.next(), WatchReport::Changed { .. }) {}
        times.push(begun.elapsed());
    }
    times.sort();
    println!("close to report: median {:?}, p95 {:?}, max {:?}", times[100], times[190], times[199]);
}

#[test]
#[ignore = "a measurement; run alone, with --nocapture"]
fn a_set_of_20_000_files() {
    let bench = Bench::new();
    for at in 0..20_000 {
        bench.write(&format!("src/d{}/e{}/f{at}", at % 50, at % 7), "old");
    }
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    bench.set(A, bench.spec(&["src"]));
    println!("20,000 files: ready after {:?}", begun.elapsed());
    bench.write("src/d0/e0/f0", "new");
    bench.wait_for(A, &["src/d0/e0/f0"]);
    println!("first change after {:?}", begun.elapsed());
}
