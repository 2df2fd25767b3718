//! The typed model of a `devmode.yaml`: every key of the contract's section 2, defaults filled in, paths
//! absolute, values checked. What is in here needs no further checking.

mod as_yaml;
mod reach;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::{Name, Signal};

/// Names and values put on top of orch's own environment; `None` takes a name away.
pub type EnvOverlay = BTreeMap<String, Option<String>>;

/// A whole project: one YAML file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Project {
    /// `name`, or the folder's.
    pub name: String,
    /// The YAML file, absolute.
    pub file: PathBuf,
    /// The YAML file's folder: what relative paths are relative to.
    pub dir: PathBuf,
    /// The state directory, absolute.
    pub state_dir: PathBuf,
    /// Every env file of the project and its components, absolute, each once: watched as the YAML is.
    pub env_files: Vec<PathBuf>,
    /// For a whole shutdown; past it, all that is left is force-killed.
    pub shutdown_timeout: Duration,
    /// In the order of the file.
    pub components: Vec<Arc<Component>>,
}

/// One component, as declared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Component {
    /// Its name, unique in the project.
    pub name: Name,
    /// For people.
    pub description: Option<String>,
    /// What it runs.
    pub kind: Kind,
    /// Working directory, absolute.
    pub cwd: Arc<PathBuf>,
    /// What its environment adds to orch's own.
    pub env: Env,
    /// What standard input is.
    pub stdin: Stdin,
    /// Whether `orch up` starts it by itself.
    pub autostart: bool,
    /// With which `--profile`s it is chosen; empty: always.
    pub profiles: Vec<String>,
    /// What it needs, in the order of the file.
    pub depends_on: Vec<Dependency>,
    /// What is run before a start.
    pub build: Option<Box<Build>>,
    /// When it is ready; `None`: as soon as it is started.
    pub ready: Option<Box<Ready>>,
    /// Whether it still lives, once ready.
    pub health: Option<Box<Health>>,
    /// When it is restarted by itself.
    pub restart: Arc<Restart>,
    /// What happens when it has failed for good.
    pub on_failure: OnFailure,
    /// How it is stopped.
    pub stop: Arc<Stop>,
    /// Which files make it stale.
    pub watch: Option<Arc<Watch>>,
    /// The state that it carries over.
    pub state: Option<Box<State>>,
    /// Sockets that orch binds for it, in the order of the file.
    pub sockets: Vec<Socket>,
    /// Where its output goes.
    pub logs: Arc<Logs>,
}

/// What a component runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Kind {
    /// A process of its own.
    Process(Command),
    /// A thread inside orch.
    Thread {
        /// The name that it is registered under.
        runner: String,
        /// Handed to it as it stands.
        #[serde(with = "as_yaml")]
        with: serde_yaml::Value,
        /// Where it will listen, as it says itself of its `with`; none where that is not known.
        #[serde(default)]
        listens: Vec<SocketAddr>,
    },
}

/// A command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The program and its arguments; never empty. No shell runs.
    Words(Vec<String>),
    /// `/bin/sh -c` with this text.
    Shell(String),
}

/// An environment as layers, so that a hundred thousand components share the common ones.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Env {
    /// The project's env files, then its `env`.
    pub project: Arc<EnvOverlay>,
    /// The component's env files, and over them what its `env` takes from elsewhere by an alias; shared by all
    /// that have the same. Wins over the project's.
    pub files: Arc<EnvOverlay>,
    /// What stands in the component's own `env`; wins.
    pub own: EnvOverlay,
}

impl Env {
    /// All layers as one.
    #[must_use]
    pub fn merged(&self) -> EnvOverlay {
        let mut all = (*self.project).clone();
        all.extend(self.files.iter().map(|(name, value)| (name.clone(), value.clone())));
        all.extend(self.own.iter().map(|(name, value)| (name.clone(), value.clone())));
        all
    }
}

/// Standard input of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Stdin {
    /// `/dev/null`.
    #[default]
    Null,
    /// A pipe that never ends.
    Open,
}

/// An edge of the graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// On whom.
    pub name: Name,
    /// What must hold before the start.
    pub condition: Condition,
    /// Whether the dependent is restarted whenever the dependency is.
    pub restart: bool,
}

/// What a dependent waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Condition {
    /// The dependency runs.
    Started,
    /// The dependency is ready.
    #[default]
    Ready,
    /// The dependency has ended by itself with a success code.
    Completed,
}

/// `build`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// What is run.
    pub command: Command,
    /// Past it, it is killed and has failed.
    pub timeout: Duration,
}

/// `ready`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// What is asked.
    pub probe: Probe,
    /// From the end of one try to the next.
    pub interval: Duration,
    /// Not ready by then: the incarnation has failed.
    pub timeout: Duration,
    /// What is asked is not the component's own.
    pub external: bool,
}

/// How readiness is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// GET answers 200 to 399.
    Http(HttpUrl),
    /// A connection is accepted.
    Tcp(HostPort),
    /// A command ends with 0.
    Exec(Command),
    /// A line of output matches this regular expression, which is valid.
    Log(String),
    /// A file made or changed since the start; absolute.
    File(PathBuf),
    /// `READY=1` on the notify socket, or a thread's own word.
    Notify,
    /// So long after the start.
    Delay(Duration),
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HostPort {
    /// A name or an address, without brackets.
    pub host: String,
    /// Not 0.
    pub port: u16,
}

/// An `http://` address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpUrl {
    /// Whom to connect to.
    pub at: HostPort,
    /// Path and query, beginning with `/`.
    pub target: String,
}

/// `health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// What is asked.
    pub check: HealthCheck,
    /// From one try to the next.
    pub interval: Duration,
    /// Of one try.
    pub timeout: Duration,
    /// So many failures in a row: unhealthy. At least 1.
    pub retries: u32,
}

/// How liveness is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthCheck {
    /// GET answers 200 to 399.
    Http(HttpUrl),
    /// A connection is accepted.
    Tcp(HostPort),
    /// A command ends with 0.
    Exec(Command),
    /// No `WATCHDOG=1` for so long is a failure.
    Watchdog(Duration),
}

/// `restart`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Restart {
    /// After which ends.
    pub policy: RestartPolicy,
    /// Exit codes that are no failure.
    pub success_codes: Vec<i32>,
    /// How long to wait before.
    pub backoff: Backoff,
    /// How often at most.
    pub limit: Limit,
}

/// After which ends a component is restarted by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// None.
    Never,
    /// Failures.
    #[default]
    OnFailure,
    /// All.
    Always,
}

/// A growing wait.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Backoff {
    /// After the first failure.
    pub initial: Duration,
    /// Never more than this; having been ready for so long clears the row.
    pub max: Duration,
    /// Growth with each failure in a row; at least 1.
    pub factor: f64,
    /// A share of the wait, 0 to 1, by which it is lengthened or shortened at random.
    pub jitter: f64,
}

/// So many automatic restarts within so long; one more, and it has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// How many.
    pub count: u32,
    /// Within what.
    pub within: Duration,
}

/// `on_failure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OnFailure {
    /// The rest runs on.
    #[default]
    Continue,
    /// The project is shut down.
    Shutdown,
}

/// `stop`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// What asks it to stop.
    pub signal: Signal,
    /// What asks it instead of the signal.
    pub command: Option<Command>,
    /// From the request to the force-kill of the unit.
    pub timeout: Duration,
    /// From the force-kill, or the unit's end, until all is gone and its output read.
    pub join_timeout: Duration,
    /// Whether it is killed at `timeout`.
    pub force_kill: bool,
}

/// `watch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Paths and globs, as written, relative to the project's folder.
    pub paths: Vec<String>,
    /// Globs that are not watched.
    pub ignore: Vec<String>,
    /// Whether what git ignores is not watched.
    pub gitignore: bool,
    /// How long the files must have been quiet before the next start.
    pub settle: Duration,
    /// What a change does.
    pub action: WatchAction,
    /// How changes are found.
    pub poll: Poll,
}

/// What a change does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum WatchAction {
    /// Strict stop → start.
    #[default]
    Restart,
    /// The leader's group gets a signal.
    Signal(Signal),
    /// A command is run.
    Run(Command),
    /// Only the event is recorded.
    None,
}

/// How changes are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Poll {
    /// Native events, polling where the file system has none.
    #[default]
    Auto,
    /// Polling, this often.
    Every(Duration),
}

/// `state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The component's own state file, absolute.
    pub file: PathBuf,
    /// Older is not restored; `None`: whatever its age.
    pub max_age: Option<Duration>,
    /// Restored until an incarnation has become ready with it; false: again and again.
    pub once: bool,
    /// The component always replaces the file by rename, so it counts after any crash.
    pub atomic: bool,
    /// Generations kept; at least 1.
    pub keep: u32,
    /// Larger is not sealed. Bytes.
    pub max_size: u64,
    /// Ask the running component to write its state file.
    pub snapshot: Option<Snapshot>,
    /// Appended to the command when a state is restored.
    pub restart_args: Vec<String>,
    /// Where there were generations and none is valid, it fails instead of starting afresh.
    pub required: bool,
}

/// `state.snapshot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// How often.
    pub every: Duration,
    /// What asks for it.
    pub signal: Signal,
}

/// One of `sockets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// Its name, for `LISTEN_FDNAMES`.
    pub name: String,
    /// Where it is bound.
    pub address: SocketAddress,
}

/// Where a socket is bound.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SocketAddress {
    /// TCP; port 0 is chosen by the system.
    Tcp(SocketAddr),
    /// A path, absolute.
    Unix(PathBuf),
}

/// `logs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// The log file, absolute; `None`: `<state directory>/logs/<component>.log`.
    pub file: Option<PathBuf>,
    /// Larger is rotated. Bytes.
    pub max_size: u64,
    /// Rotated files kept.
    pub keep: u32,
    /// What happens when the disk is slower than the component.
    pub overflow: Overflow,
    /// What the component's output is connected to.
    pub terminal: Terminal,
}

/// What happens when the disk is slower than the component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Overflow {
    /// The component waits.
    #[default]
    Block,
    /// Lines are dropped and counted.
    Drop,
}

/// What a component's output is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Terminal {
    /// A pipe.
    #[default]
    Pipe,
    /// A pseudo-terminal.
    Pty,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: RestartPolicy::default(),
            success_codes: vec![0],
            backoff: Backoff::default(),
            limit: Limit::default(),
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Duration::from_millis(100), max: Duration::from_secs(10), factor: 2.0, jitter: 0.1 }
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self { count: 5, within: Duration::from_secs(60) }
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            signal: Signal::TERM,
            command: None,
            timeout: Duration::from_secs(5),
            join_timeout: Duration::from_secs(5),
            force_kill: true,
        }
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            file: None,
            max_size: 10 << 20,
            keep: 3,
            overflow: Overflow::default(),
            terminal: Terminal::default(),
        }
    }
}
