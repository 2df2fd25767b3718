//! A project in a folder of its own, orch on it, and what is to be known about both.
//!
//! The folder holds a link to the orch binary and one to the fixture, so that whatever is started in a test can
//! be told by the kernel's own word, `/proc/PID/exe`: nothing that a test starts outlives it, also when it fails.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Far more than anything here takes; only a failing test gets near it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The contract's limits are for a machine that has time; a loaded one gets so many times as long.
pub(crate) const SLACK: u32 = 4;

/// The session's folder for what runs, in the project's.
pub(crate) const RUNTIME: &str = "run";

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

// ── The project ────────────────────────────────────────────────────────────────────────────────────────────

/// A folder with a `devmode.yaml` in it. Dropped, it takes all its processes with it.
pub(crate) struct Project {
    pub(crate) dir: PathBuf,
}

impl Project {
    /// A project of this YAML, `version` apart. `./faulty` is the fixture.
    pub(crate) fn new(yaml: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("e2e-{}-{number}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir).unwrap();
        let project = Self { dir: fs::canonicalize(dir).unwrap() };
        link(Path::new(env!("CARGO_BIN_EXE_orch")), &project.path("orch"));
        link(fixture(), &project.path("faulty"));
        fs::create_dir(project.path(RUNTIME)).unwrap();
        project.yaml(yaml);
        project
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes the file in place.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes the file as most editors do: beside it, then renamed.
    pub(crate) fn save(&self, name: &str, text: impl AsRef<[u8]>) {
        let beside = format!("{name}.new~");
        self.write(&beside, text);
        fs::rename(self.path(&beside), self.path(name)).unwrap();
    }

    /// Makes this the project's YAML, in one step.
    pub(crate) fn yaml(&self, yaml: &str) {
        self.save("devmode.yaml", yaml_text(yaml));
    }

    pub(crate) fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    /// The command `orch`, in the project's folder, with a small and known environment, in a session of its own.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.path("orch"));
        command.args(args).current_dir(&self.dir).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
        // Where running projects are noted: those of other tests, and of whoever runs them, are none of these.
        command.env("XDG_RUNTIME_DIR", self.path(RUNTIME)).stdin(Stdio::null());
        // SAFETY: nothing but plain system calls, which may be made between fork and exec.
        unsafe { command.pre_exec(in_own_session) };
        command
    }

    /// `orch up`.
    pub(crate) fn up(&self) -> Orch<'_> {
        self.up_with(&[])
    }

    pub(crate) fn up_with(&self, args: &[&str]) -> Orch<'_> {
        let words: Vec<&str> = std::iter::once("up").chain(args.iter().copied()).collect();
        self.start(self.command(&words))
    }

    /// Starts a command, its output in the files `stdout` and `stderr`.
    pub(crate) fn start(&self, mut command: Command) -> Orch<'_> {
        let file = |name| OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        let child = command.stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
        Orch::of(self, child)
    }

    /// Runs a command that ends by itself.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let mut child = self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let streams = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let read = |mut stream: Box<dyn std::io::Read + Send>| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).unwrap();
                bytes
            })
        };
        let (stdout, stderr) = (read(Box::new(streams.0)), read(Box::new(streams.1)));
        let mut orch = Orch::of(self, child);
        let status = orch.exit_status();
        assert!(!alive(pid));
        Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
    }

    // ── What is known ──────────────────────────────────────────────────────────────────────────────────────

    /// The diary of all components so far.
    pub(crate) fn trace(&self) -> Trace {
        Trace(self.read("trace").lines().map(Entry::parse).collect())
    }

    /// orch's events so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        let older = (1..=4).rev().map(|part| format!(".orch/events.ndjson.{part}"));
        let parts = older.chain([".orch/events.ndjson".to_owned()]);
        events_of(&parts.map(|part| self.read(&part)).collect::<String>())
    }

    /// The last state of a component, as orch tells it, and the number of its run.
    pub(crate) fn state_of(&self, name: &str) -> (String, u64) {
        let is_state = |event: &&Value| {
            let word = event["event"].as_str().and_then(|event| event.strip_prefix("component."));
            event["component"] == name && word.is_some_and(|word| STATES.contains(&word))
        };
        match self.events().iter().rev().find(is_state) {
            Some(event) => {
                let word = event["event"].as_str().unwrap().trim_start_matches("component.").to_owned();
                (word, event["incarnation"].as_u64().unwrap_or(0))
            }
            None => ("none".to_owned(), 0),
        }
    }

    /// Waits until a component is in a state.
    pub(crate) fn wait_state(&self, name: &str, state: &str) {
        wait_until(&format!("{name} is {state}"), || self.state_of(name).0 == state);
    }

    /// Waits until a run of a component, the first is 1, is ready, and has noted its start.
    pub(crate) fn wait_ready(&self, name: &str, incarnation: u64) {
        self.wait_told_ready(name, incarnation);
        let number = incarnation.to_string();
        let starts = || self.trace().of(name, "start").iter().any(|entry| entry.detail == number);
        wait_until(&format!("run {incarnation} of {name} has noted its start"), starts);
    }

    /// The same by orch's word alone, for what keeps no diary.
    pub(crate) fn wait_told_ready(&self, name: &str, incarnation: u64) {
        let wanted = ("ready".to_owned(), incarnation);
        wait_until(&format!("run {incarnation} of {name} is ready"), || self.state_of(name) == wanted);
    }

    /// Waits until the diary has so many entries of this kind, and gives them.
    pub(crate) fn wait_trace(&self, name: &str, event: &str, count: usize) -> Vec<Entry> {
        wait_for(&format!("{count} × {event} of {name}"), || {
            let found = self.trace().of(name, event);
            (found.len() >= count).then_some(found)
        })
    }

    /// Waits for an event that fits, and gives it.
    pub(crate) fn wait_event(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, || self.events().into_iter().find(&fits))
    }

    /// How often a component was started, by its own word.
    pub(crate) fn starts(&self, name: &str) -> usize {
        self.trace().of(name, "start").len()
    }

    /// The living processes of the fixture in this project, by /proc.
    pub(crate) fn units(&self) -> Vec<u32> {
        processes(&self.path("faulty"))
    }

    /// The living processes of orch in this project: the one started on the command line, and its keeper.
    pub(crate) fn orchs(&self) -> Vec<u32> {
        processes(&self.path("orch"))
    }

    /// Waits until no process of the fixture lives.
    pub(crate) fn wait_gone(&self) {
        wait_until("all components are gone", || self.units().is_empty());
    }

    /// Checks what holds of every run: by the diary, the runs of a component never overlap; the events are
    /// whole, numbered without a gap, and each cause is an earlier event.
    pub(crate) fn check_books(&self) {
        let trace = self.trace();
        assert!(trace.0.iter().all(|entry| entry.event != "broken"), "the fixture failed: {trace:#?}");
        let mut words: BTreeMap<(&str, u32), u64> = BTreeMap::new();
        for entry in &trace.0 {
            let last = words.entry((&entry.name, entry.pid)).or_default();
            *last = entry.ns.max(*last);
        }
        let mut latest: BTreeMap<&str, u32> = BTreeMap::new();
        for entry in trace.0.iter().filter(|entry| entry.event == "start") {
            let old = latest.insert(&entry.name, entry.pid).and_then(|pid| words.get(&(&entry.name, pid)));
            assert!(old.is_none_or(|last| *last < entry.ns), "two runs at once: {entry:?}");
        }
        let mut seq = None;
        let events = self.events();
        for event in &events {
            let this = event["seq"].as_u64().expect("seq");
            assert!(seq.is_none_or(|last: u64| last + 1 == this), "a gap before {event}");
            seq = Some(this);
            assert!(
                event["cause"].is_null() || event["cause"].as_u64().is_some_and(|cause| cause < this),
                "{event}"
            );
            assert!(
                event["mono_ns"].is_u64() && event["time"].is_string() && event["event"].is_string(),
                "{event}"
            );
            let root = ROOTS.contains(&event["event"].as_str().unwrap());
            assert_eq!(
                event["cause"].is_null(),
                root,
                "what comes from outside, and nothing else, has no cause: {event}"
            );
            if event["event"] == "component.exited" {
                // The numbers have no gaps.
                let place = event["cause"].as_u64().unwrap().checked_sub(events[0]["seq"].as_u64().unwrap());
                // It may be in a part that is not kept any more.
                let Some(cause) = place.map(|place| &events[usize::try_from(place).unwrap()]) else {
                    continue;
                };
                let own = cause["component"] == event["component"] && cause["event"] != "component.changed";
                let forced = cause["event"] == "command" || cause["event"] == "orch.reexec";
                assert!(own || forced, "{event} was led to by {cause}");
            }
        }
    }
}

/// The events that nothing inside led to.
const ROOTS: [&str; 5] = ["project.up", "config.reloaded", "config.rejected", "component.changed", "command"];

const STATES: [&str; 12] = [
    "waiting",
    "building",
    "starting",
    "ready",
    "unhealthy",
    "stopping",
    "stopped",
    "completed",
    "backoff",
    "failed",
    "blocked",
    "stuck",
];

impl Project {
    /// The folder of the units' cgroups, by the lock's note; `None` where there are none.
    pub(crate) fn cgroup(&self) -> Option<PathBuf> {
        let note = self.read(".orch/lock");
        note.trim_end().splitn(4, ' ').nth(3).filter(|folder| folder.starts_with('/')).map(PathBuf::from)
    }

    /// What was killed together with its keeper leaves that to the next orch, and there is none any more.
    fn remove_cgroup(&self) {
        let Some(folder) = self.cgroup() else { return };
        for unit in fs::read_dir(&folder).into_iter().flatten().flatten() {
            drop(fs::remove_dir(unit.path()));
        }
        drop(fs::remove_dir(folder));
    }
}

impl Drop for Project {
    /// Ends what is left, and, of a test that fails, shows what is known.
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            let tail = |name: &str| {
                let text = self.read(name);
                let lines: Vec<&str> = text.lines().rev().take(60).collect();
                let lines: Vec<&str> = lines.into_iter().rev().collect();
                format!("── {name}\n{}\n", lines.join("\n"))
            };
            let names = ["devmode.yaml", "trace", "stderr", "stdout", ".orch/events.ndjson"];
            eprintln!("{}", names.map(tail).concat());
        }
        let end = Instant::now() + PATIENCE;
        loop {
            // The keepers go last: they end what they started better than is done here.
            let left = [self.units(), self.orchs()].concat();
            if left.is_empty() || Instant::now() > end {
                break;
            }
            left.into_iter().for_each(kill_9);
            std::thread::sleep(LOOK);
        }
        self.remove_cgroup();
        drop(fs::remove_dir_all(&self.dir));
    }
}

pub(crate) fn yaml_text(yaml: &str) -> String {
    format!("version: 1\n{yaml}\n")
}

pub(crate) fn events_of(text: &str) -> Vec<Value> {
    // The last line may be under way.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn link(from: &Path, to: &Path) {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).unwrap();
    }
}

/// The C fixture, compiled once a run.
fn fixture() -> &'static Path {
    static FIXTURE: OnceLock<PathBuf> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/faulty.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let made = folder.join(format!("faulty-{}", std::process::id()));
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let status =
            Command::new(compiler).args(["-O1", "-pthread", "-o"]).arg(&made).arg(source).status().unwrap();
        assert!(status.success(), "the fixture does not compile");
        // One name for all later runs: replaced whole, since others may be running it.
        let program = folder.join("faulty");
        fs::rename(&made, &program).unwrap();
        program
    })
}

/// A session of its own, death with the test's thread, and a hang-up that is heard, also under nohup.
fn in_own_session() -> std::io::Result<()> {
    rustix::process::setsid()?;
    // SAFETY: a plain system call; the disposition is the default one.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) };
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

// ── orch ───────────────────────────────────────────────────────────────────────────────────────────────────

/// An orch that was started.
pub(crate) struct Orch<'a> {
    project: &'a Project,
    child: Child,
}

impl<'a> Orch<'a> {
    pub(crate) fn of(project: &'a Project, child: Child) -> Self {
        Self { project, child }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// The process that orch made of itself to guard the units.
    pub(crate) fn keeper(&self) -> u32 {
        let keeper = || self.project.orchs().into_iter().find(|pid| parent(*pid) == Some(self.pid()));
        wait_for("the keeper is there", keeper)
    }

    /// Waits for the end.
    pub(crate) fn exit_status(&mut self) -> ExitStatus {
        wait_for("orch ends", || self.child.try_wait().unwrap())
    }

    /// Waits for the end, with this code, nothing left and the books in order.
    pub(crate) fn expect_exit(&mut self, code: i32) {
        let status = self.exit_status();
        assert_eq!(status.code(), Some(code), "{status}");
        assert_eq!(self.project.units(), [0_u32; 0], "left behind");
        wait_until("no orch is left", || self.project.orchs().is_empty());
        self.project.check_books();
    }

    /// The ordered end.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        self.expect_exit(0);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        kill_9(self.pid());
        self.child.wait().unwrap();
    }

    /// Whether it runs, still.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Orch<'_> {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

// ── The diary ──────────────────────────────────────────────────────────────────────────────────────────────

/// One line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) ns: u64,
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) event: String,
    pub(crate) detail: String,
}

impl Entry {
    fn parse(line: &str) -> Self {
        let mut words = line.splitn(5, ' ');
        let mut next = || words.next().unwrap_or_default();
        let (ns, pid) = (next().parse().unwrap(), next().parse().unwrap());
        Self { ns, pid, name: next().into(), event: next().into(), detail: next().into() }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Trace(pub(crate) Vec<Entry>);

impl Trace {
    /// The entries of a component of this kind, in order.
    pub(crate) fn of(&self, name: &str, event: &str) -> Vec<Entry> {
        self.0.iter().filter(|entry| entry.name == name && entry.event == event).cloned().collect()
    }

    /// The time of the only entry of this kind.
    pub(crate) fn at(&self, name: &str, event: &str) -> u64 {
        let found = self.of(name, event);
        assert_eq!(found.len(), 1, "{event} of {name}: {found:?}");
        found[0].ns
    }

    pub(crate) fn has(&self, name: &str, event: &str) -> bool {
        !self.of(name, event).is_empty()
    }
}

// ── Processes ──────────────────────────────────────────────────────────────────────────────────────────────

/// The living processes of a program, by /proc.
pub(crate) fn processes(program: &Path) -> Vec<u32> {
    let ids = fs::read_dir("/proc").unwrap().flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|pid| runs(*pid, program)).collect()
}

/// Whether a process lives and runs this program. A dead one has none any more.
fn runs(pid: u32, program: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| {
        exe == program || exe.to_str().and_then(|exe| exe.strip_suffix(" (deleted)")) == program.to_str()
    })
}

pub(crate) fn alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

pub(crate) fn send(pid: u32, signal: Signal) {
    // One that has ended meanwhile is no error.
    let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal);
}

pub(crate) fn kill_9(pid: u32) {
    send(pid, Signal::KILL);
}

/// A process that orch has not started, and must not touch.
pub(crate) struct Stranger(Child);

impl Stranger {
    pub(crate) fn new(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    pub(crate) fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

// ── Waiting ────────────────────────────────────────────────────────────────────────────────────────────────

/// Waits until there is something, and gives it.
pub(crate) fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(LOOK);
    }
}

pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    wait_for(what, || done().then_some(()));
}

/// Checks that something stays true for a while: what must not happen can't be waited for otherwise.
pub(crate) fn stays(what: &str, time: Duration, mut still: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < time {
        assert!(still(), "{what}");
        std::thread::sleep(LOOK);
    }
}

/// An address of this test's own on the loopback network: its host part from the process, its port counted.
pub(crate) fn address() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let (pid, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    format!(
        "127.{}.{}.{}:{}",
        1 + (pid >> 16) % 250,
        (pid >> 8) & 255,
        1 + (pid & 255) % 250,
        18_000 + number
    )
}

/// Appends to a file with one write.
pub(crate) fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Opens a file for writing only: the other end of a pipe, too.
pub(crate) fn open_for_writing(path: &Path) -> File {
    OpenOptions::new().write(true).open(path).unwrap()
}
