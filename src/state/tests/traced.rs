//! The operations that are recorded are the system calls that are made: a save and a restore of the real
//! thing under strace, against what the interface to the file system was asked.

use std::fmt::Write as _;
use std::process::Command;

use super::*;

const FOLDER: &str = "ORCH_TEST_TRACED_FOLDER";
const MARK: &str = "mark-of-the-test";
/// What changes a folder or a file, or makes it durable.
const CALLS: &str = "open,openat,fchmod,pwrite64,fsync,fdatasync,rename,renameat,renameat2,unlinkat,mkdirat";

/// The machine's file system, with a record in the words of system calls.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<String>>);

impl Recorder {
    fn named(&self, call: &str, name: impl AsRef<OsStr>) {
        let name =
            Path::new(name.as_ref()).file_name().unwrap_or(name.as_ref()).to_string_lossy().into_owned();
        writeln!(self.0.lock().unwrap(), "{call} {name}").unwrap();
    }

    fn open(&self, call: &str, file: &OwnedFd) {
        use std::os::fd::AsRawFd;
        self.named(call, std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap());
    }
}

impl Vfs for Recorder {
    type Dir = OwnedFd;
    type File = OwnedFd;

    fn open_path(&self, path: &Path) -> io::Result<OwnedFd> {
        self.named("openat", path);
        Os.open_path(path)
    }
    fn make_path(&self, path: &Path, private: bool) -> io::Result<()> {
        Os.make_path(path, private)
    }
    fn open_dir(&self, at: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
        self.named("openat", name);
        Os.open_dir(at, name)
    }
    fn make_dir(&self, at: &OwnedFd, name: &OsStr) -> io::Result<()> {
        self.named("mkdirat", name);
        Os.make_dir(at, name)
    }
    fn list(&self, dir: &OwnedFd) -> io::Result<Vec<OsString>> {
        self.named("openat", ".");
        Os.list(dir)
    }
    fn dir_meta(&self, dir: &OwnedFd) -> io::Result<Meta> {
        Os.dir_meta(dir)
    }
    fn stat(&self, at: &OwnedFd, name: &OsStr) -> io::Result<Meta> {
        Os.stat(at, name)
    }
    fn open(&self, at: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
        self.named("openat", name);
        Os.open(at, name)
    }
    fn create(&self, at: &OwnedFd, name: &OsStr, mode: u32) -> io::Result<OwnedFd> {
        self.named("openat", name);
        let file = Os.create(at, name, mode)?;
        self.open("fchmod", &file);
        Ok(file)
    }
    fn meta(&self, file: &OwnedFd) -> io::Result<Meta> {
        Os.meta(file)
    }
    fn read_at(&self, file: &OwnedFd, into: &mut [u8], offset: u64) -> io::Result<usize> {
        Os.read_at(file, into, offset)
    }
    fn write_at(&self, file: &OwnedFd, from: &[u8], offset: u64) -> io::Result<usize> {
        self.open("pwrite64", file);
        Os.write_at(file, from, offset)
    }
    fn settle(&self, file: &OwnedFd) {
        Os.settle(file);
    }
    fn sync(&self, file: &OwnedFd) -> io::Result<()> {
        self.open("fsync", file);
        Os.sync(file)
    }
    fn sync_dir(&self, dir: &OwnedFd) -> io::Result<()> {
        self.open("fsync", dir);
        Os.sync_dir(dir)
    }
    fn rename(&self, from: &OwnedFd, name: &OsStr, to: &OwnedFd, new: &OsStr) -> io::Result<()> {
        self.named("rename", format!("{} -> {}", name.display(), new.display()));
        Os.rename(from, name, to, new)
    }
    fn rename_new(&self, from: &OwnedFd, name: &OsStr, to: &OwnedFd, new: &OsStr) -> io::Result<()> {
        self.named("rename", format!("{} -> {}", name.display(), new.display()));
        Os.rename_new(from, name, to, new)
    }
    fn unlink(&self, at: &OwnedFd, name: &OsStr) -> io::Result<()> {
        self.named("unlinkat", name);
        Os.unlink(at, name)
    }
}

/// One save, a restore without and one with a copy, and its use, between two marks.
fn live<V: Vfs>(vfs: V, folder: &Path, mark: impl Fn()) {
    let clock = Box::new(crate::state::clock::SystemClock::new());
    let store = Store::with(vfs, clock, &folder.join(".orch"), Arc::new(|_, _| {})).unwrap();
    let name = Name::new("api").unwrap();
    let spec = State { file: folder.join("data/state.json"), ..World::new().spec };
    store.restore(&name, &spec, 1, true).unwrap();
    std::fs::write(&spec.file, vec![b'x'; 300_000]).unwrap();
    mark();
    let seal = store.seal(&name, &spec, 1, Ending::Ordered).unwrap();
    // The file in place does, and then it does not.
    store.restore(&name, &spec, 2, true).unwrap();
    std::fs::remove_file(&spec.file).unwrap();
    let restore = store.restore(&name, &spec, 3, true).unwrap();
    store.used(&name, restore.from.unwrap().generation).unwrap();
    mark();
    assert_eq!(seal, sealed(1, Source::Restart, 300_000));
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// What the traced process runs; by itself it does nothing.
#[test]
fn traced_part() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        live(Os, Path::new(&folder), || drop(std::fs::File::open(MARK)));
    }
}

/// A line of strace's in the words of the record.
fn normalised(line: &str) -> Option<String> {
    let (head, rest) = line.split_once('(')?;
    let call = head.split_whitespace().last()?;
    let quoted: Vec<&str> = rest.split('"').skip(1).step_by(2).collect();
    let last =
        |path: &str| Path::new(path).file_name().map_or(path, |name| name.to_str().unwrap()).to_owned();
    let described = || {
        let path =
            rest.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(path, _)| path);
        last(path)
    };
    Some(match call {
        "renameat" | "renameat2" | "rename" => format!("rename {} -> {}", quoted[0], quoted[1]),
        "fchmod" | "pwrite64" | "fsync" | "fdatasync" => format!("{call} {}", described()),
        "open" => format!("openat {}", last(quoted.first()?)),
        _ => format!("{call} {}", last(quoted.first()?)),
    })
}

fn between_marks(all: &str) -> Vec<String> {
    let mark = format!("openat {MARK}");
    all.lines()
        .skip_while(|line| *line != mark)
        .skip(1)
        .take_while(|line| *line != mark)
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_system_calls_are_the_ones_that_are_recorded() {
    let (real, recorded) = (folder(), folder());
    let trace = real.path().join("trace");
    let traced = Command::new("strace")
        .args(["-f", "-y", "-qq", "-e", &format!("trace={CALLS}"), "-e", "signal=none", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["state::tests::traced::traced_part", "--exact", "--test-threads=1"])
        .env(FOLDER, real.path())
        .output();
    let output = match traced {
        Ok(output) => output,
        Err(error) => return println!("strace is not there ({error}): nothing is compared"),
    };
    assert!(output.status.success(), "{output:?}");
    let trace = std::fs::read_to_string(trace).unwrap();
    let calls: String = trace.lines().filter_map(normalised).map(|line| line + "\n").collect();
    let recorder = Recorder::default();
    live(recorder.clone(), recorded.path(), || recorder.named("openat", MARK));
    let (calls, record) = (between_marks(&calls), between_marks(&recorder.0.lock().unwrap()));
    assert!(record.len() > 30, "{record:#?}");
    assert_eq!(calls, record);
    let syncs = record.iter().filter(|line| line.starts_with("fsync")).count();
    println!("{} system calls, {syncs} of them fsyncs", record.len());
}
