//! A guide's project in a folder of its own, at ports of its own, and what is to be known about it.
//!
//! Whatever works in that folder, or runs a program out of it, belongs to the test: by this, the kernel's own
//! word, a test finds what is left behind, also of servers that leave the process group, the session, or their
//! own environment.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use orch::types::State;
use rustix::process::{Pid, Signal, getuid, kill_process};
use serde_json::Value;

/// Far more than anything here takes; only a failing test gets near it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Who runs what refuses to be run by root: `nobody`, everywhere.
const NOBODY: u32 = 65_534;

/// A guide's folder, copied. Dropped, it takes all its processes with it.
pub(crate) struct Guide {
    folder: tempfile::TempDir,
    env: Vec<(String, String)>,
    user: Option<u32>,
    orch: Option<Child>,
}

impl Guide {
    /// A copy of `examples/guides/NAME`.
    pub(crate) fn new(name: &str) -> Self {
        Self::of(name, Path::new(env!("CARGO_TARGET_TMPDIR")), None)
    }

    /// The same for a program that refuses to be run by root: if root is who runs this test, `nobody` runs the
    /// guide.
    pub(crate) fn as_a_user(name: &str) -> Self {
        let user = getuid().is_root().then_some(NOBODY);
        Self::of(name, &std::env::temp_dir(), user)
    }

    fn of(name: &str, within: &Path, user: Option<u32>) -> Self {
        let folder = tempfile::Builder::new().prefix(&format!("orch-{name}-")).tempdir_in(within).unwrap();
        copy(&source(name), folder.path());
        // A copy, since the folder may be on another file system, and another user's.
        fs::copy(env!("CARGO_BIN_EXE_orch"), folder.path().join("orch")).unwrap();
        give(folder.path(), user);
        let env = vec![("HOME".to_owned(), folder.path().to_str().unwrap().to_owned())];
        Self { folder, env, user, orch: None }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Sets a variable of whoever runs the guide.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Sets a variable to a free port, and gives it.
    pub(crate) fn port(&mut self, name: &str) -> u16 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        self.set(name, &port.to_string());
        port
    }

    /// Writes a file as most editors do: beside it, then renamed.
    pub(crate) fn save(&self, name: &str, text: &str) {
        let beside = self.path(&format!("{name}.new~"));
        fs::write(&beside, text).unwrap();
        give(&beside, self.user);
        fs::rename(beside, self.path(name)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    /// Saves a file with one text in it replaced by another.
    pub(crate) fn change(&self, name: &str, from: &str, to: &str) {
        let old = self.read(name);
        assert!(old.contains(from), "{name} holds {from:?}");
        self.save(name, &old.replace(from, to));
    }

    /// A command in the guide's folder, by its user, in its environment.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let kept = ["PATH", "CARGO_HOME", "RUSTUP_HOME", "LANG"];
        command.current_dir(self.folder.path()).env_clear().stdin(Stdio::null());
        command.envs(kept.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// The output of a command that succeeds.
    pub(crate) fn output(&self, words: &[&str]) -> String {
        let output = self.command(words[0]).args(&words[1..]).output();
        let Output { status, stdout, stderr } = output.unwrap_or_else(|error| panic!("{words:?}: {error}"));
        let stdout = String::from_utf8_lossy(&stdout).into_owned();
        assert!(status.success(), "{words:?}: {status}\n{stdout}{}", String::from_utf8_lossy(&stderr));
        stdout
    }

    /// The output of an `orch` command that succeeds.
    pub(crate) fn orch(&self, args: &[&str]) -> String {
        let program = self.path("orch");
        let words: Vec<&str> =
            std::iter::once(program.to_str().unwrap()).chain(args.iter().copied()).collect();
        self.output(&words)
    }

    /// `orch up`, its output in the files `stdout` and `stderr`.
    pub(crate) fn up(&mut self) {
        let file = |name| fs::File::create(self.path(name)).unwrap();
        let mut command = self.command(self.path("orch"));
        command.arg("up").stdout(file("stdout")).stderr(file("stderr"));
        // SAFETY: nothing but plain system calls, which may be made between fork and exec.
        unsafe { command.pre_exec(in_own_session) };
        // A child that another test has just forked may hold the copy open for writing, until it execs.
        let busy = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ExecutableFileBusy;
        self.orch = Some(wait_for("orch can be run", || match command.spawn() {
            Err(error) if busy(&error) => None,
            started => Some(started.unwrap()),
        }));
    }

    /// Ctrl-C: everything stops, in order, with 0, and nothing is left.
    pub(crate) fn stop(&mut self) {
        let mut orch = self.orch.take().unwrap();
        send(orch.id(), Signal::INT);
        let status = wait_for("orch ends", || orch.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{}", self.read("stderr"));
        wait_until("nothing is left", || processes(self.folder.path()).is_empty());
        self.check_order();
    }

    /// By the events of the last run, what depends on something was gone before that was told to stop.
    fn check_order(&self) {
        let graph: Value = serde_json::from_str(&self.orch(&["graph", "--format", "json"])).unwrap();
        let events = self.events();
        let last = |name: &Value, word: &str| {
            events.iter().rposition(|event| event["component"] == *name && event["event"] == word)
        };
        for edge in graph["edges"].as_array().unwrap() {
            let told = last(&edge["to"], "component.stop_requested");
            let gone = last(&edge["from"], "component.stopped");
            if let (Some(told), Some(gone)) = (told, gone) {
                assert!(gone < told, "{edge}: {events:#?}");
            }
        }
    }

    /// orch's events so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = self.read(".orch/events.ndjson");
        // The last line may be under way.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The place of a run's first event of this kind, among all events.
    pub(crate) fn place(&self, name: &str, run: u64, word: &str) -> Option<usize> {
        self.events().iter().position(|event| {
            event["component"] == name && event["incarnation"] == run && event["event"] == word
        })
    }

    /// What `orch ps --json` says of a component.
    pub(crate) fn component(&self, name: &str) -> Value {
        let answer: Value = serde_json::from_str(&self.orch(&["ps", "--json"])).unwrap();
        answer["components"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
    }

    /// A component's last state by the events, and the number of its run.
    fn state_of(&self, name: &str) -> Option<(String, u64)> {
        self.events().iter().rev().find_map(|event| {
            let word = event["event"].as_str()?.strip_prefix("component.")?;
            let is_state = event["component"] == name && State::of_word(word).is_some();
            is_state.then(|| (word.to_owned(), event["incarnation"].as_u64().unwrap_or(0)))
        })
    }

    /// Waits until a run of a component is in a state.
    pub(crate) fn wait_state(&mut self, name: &str, state: &str, run: u64) {
        wait_until(&format!("{name} is {state}, run {run}"), || {
            if let Some(status) = self.orch.as_mut().and_then(|orch| orch.try_wait().unwrap()) {
                panic!("orch ended with {status}");
            }
            self.state_of(name).is_some_and(|found| found == (state.to_owned(), run))
        });
    }

    pub(crate) fn wait_ready(&mut self, name: &str, run: u64) {
        self.wait_state(name, "ready", run);
    }

    /// Waits until a build of a component has failed.
    pub(crate) fn wait_failed_build(&self, name: &str) {
        let failed = |event: &Value| event["component"] == name && event["event"] == "build.failed";
        wait_until(&format!("a build of {name} has failed"), || self.events().iter().any(failed));
    }

    /// Kills a component's leader, as a crash would.
    pub(crate) fn crash(&self, name: &str) {
        let pid = self.component(name)["pid"].as_u64().unwrap();
        send(u32::try_from(pid).unwrap(), Signal::KILL);
    }
}

impl Drop for Guide {
    /// Ends what is left, and, of a test that fails, shows what is known.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in ["stderr", "stdout", ".orch/events.ndjson"] {
                let text = self.read(name);
                let from = text.lines().count().saturating_sub(60);
                let lines: Vec<&str> = text.lines().skip(from).collect();
                eprintln!("── {name}\n{}", lines.join("\n"));
            }
        }
        if let Some(mut orch) = self.orch.take() {
            // In order, if it can: its keeper then ends what it started, and takes the units' folders away.
            send(orch.id(), Signal::TERM);
            let begun = Instant::now();
            while orch.try_wait().is_ok_and(|status| status.is_none()) && begun.elapsed() < PATIENCE / 2 {
                std::thread::sleep(LOOK);
            }
            drop(orch.kill());
            drop(orch.wait());
        }
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let left = processes(self.folder.path());
            if left.is_empty() {
                break;
            }
            left.into_iter().for_each(|pid| send(pid, Signal::KILL));
            std::thread::sleep(LOOK);
        }
    }
}

/// A session of its own, and death with the test's thread.
fn in_own_session() -> std::io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// The folder of a guide's files.
pub(crate) fn source(name: &str) -> PathBuf {
    root().join("examples/guides").join(name)
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Copies what git would: neither a state directory nor what was built or made by running.
fn copy(from: &Path, to: &Path) {
    const MADE: [&str; 6] = [".orch", "data", "target", "node_modules", ".venv", "__pycache__"];
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name();
        if MADE.iter().any(|made| name == *made) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(name));
        } else {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

/// Makes all of it a user's own.
fn give(path: &Path, user: Option<u32>) {
    let Some(user) = user else { return };
    chown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path(), Some(user)));
    }
}

/// The living processes that work in a folder, or run a program out of it.
fn processes(folder: &Path) -> Vec<u32> {
    let ids = fs::read_dir("/proc").unwrap().flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let within = |pid: &u32, what: &str| {
        fs::read_link(format!("/proc/{pid}/{what}")).is_ok_and(|path| path.starts_with(folder))
    };
    ids.filter(|pid| within(pid, "cwd") || within(pid, "exe")).collect()
}

fn send(pid: u32, signal: Signal) {
    // One that has ended meanwhile is no error.
    let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal);
}

/// Where a program is, if it is there: in the PATH, or in one of these folders.
pub(crate) fn find(program: &str, also: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(also.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Says, past the harness that keeps what passing tests print to itself, that something was not tested.
pub(crate) fn skipped(guide: &str, missing: &str, get: &str) {
    let line =
        format!("SKIPPED: the guide {guide}: {missing} is not on this machine; to have it tested: {get}\n");
    drop(std::io::stderr().write_all(line.as_bytes()));
}

/// Waits until there is something, and gives it.
pub(crate) fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(LOOK);
    }
}

pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    wait_for(what, || done().then_some(()));
}
