//! What a process is started with: its program, its words, its environment (contract, sections 2 and 4).

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::config::model::{Command, Component, Terminal};

/// Never handed on from orch's own environment: they speak of orch, or of what it was started by.
const OWN: [&str; 16] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
    "ORCH_PROJECT",
    "ORCH_COMPONENT",
    "ORCH_INCARNATION",
    "ORCH_STATE_FILE",
    "ORCH_RESTORED",
    "ORCH_CONTROL",
    super::handover::VARIABLE,
    // An orch inside a component would take the outer one's for its own.
    "ORCH_STATE_DIR",
    super::recorder::VARIABLE,
];

/// What a component with a terminal of its own is told of it where orch itself has none, or a poor one.
const USUAL_TERM: &str = "xterm-256color";

/// An environment, in the order of the names.
pub(crate) type Environment = BTreeMap<OsString, OsString>;

/// What the program's words, folder and environment are.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) program: PathBuf,
    pub(crate) argv: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) cwd: PathBuf,
}

impl Invocation {
    /// Has it know of descriptors that it gets by sd_listen_fds(3), each by its name; gives them as they come, from
    /// 3 up. The keeper puts in whose they are.
    pub(crate) fn pass(&mut self, named: Vec<(String, OwnedFd)>) -> Vec<OwnedFd> {
        if named.is_empty() {
            return Vec::new();
        }
        let (names, fds): (Vec<String>, Vec<OwnedFd>) = named.into_iter().unzip();
        self.env.retain(|(name, _)| !name.as_encoded_bytes().starts_with(b"LISTEN_"));
        let variables = [
            ("LISTEN_FDS", fds.len().to_string()),
            ("LISTEN_PID", String::new()),
            ("LISTEN_FDNAMES", names.join(":")),
        ];
        self.env.extend(variables.map(|(name, value)| (name.into(), value.into())));
        fds
    }
}

/// What of section 4 a run sees.
#[derive(Debug, Clone)]
pub(crate) struct Facts<'a> {
    pub(crate) project: &'a str,
    /// `None`: what is started is for no run.
    pub(crate) incarnation: Option<u64>,
    pub(crate) restored: Option<&'static str>,
    pub(crate) control: &'a Path,
}

/// The environment of a component: orch's own, the project's, the component's, then the facts of the run.
pub(crate) fn environment(base: &Environment, spec: &Component, facts: &Facts<'_>) -> Environment {
    let mut env = base.clone();
    for name in OWN {
        env.remove(OsStr::new(name));
    }
    if spec.logs.terminal == Terminal::Pty && env.get(OsStr::new("TERM")).is_none_or(|term| is_poor(term)) {
        env.insert("TERM".into(), USUAL_TERM.into());
    }
    for (name, value) in spec.env.project.iter().chain(&*spec.env.files).chain(&spec.env.own) {
        match value {
            Some(value) => env.insert(name.into(), value.into()),
            None => env.remove(OsStr::new(name)),
        };
    }
    let mut set = |name: &str, value: OsString| env.insert(name.into(), value);
    set("ORCH_PROJECT", facts.project.into());
    set("ORCH_COMPONENT", spec.name.as_str().into());
    set("ORCH_CONTROL", facts.control.into());
    if let Some(state) = &spec.state {
        set("ORCH_STATE_FILE", state.file.clone().into());
    }
    if let Some(incarnation) = facts.incarnation {
        set("ORCH_INCARNATION", incarnation.to_string().into());
    }
    if let Some(source) = facts.restored {
        set("ORCH_RESTORED", source.into());
    }
    env
}

/// Whether a program would show no colours on that terminal.
fn is_poor(term: &OsStr) -> bool {
    term.is_empty() || term == "dumb"
}

/// How a command is run in a component's folder and environment; `more` is appended to its words.
///
/// # Errors
/// When its program can't be found, with what was looked at.
pub(crate) fn invocation(
    command: &Command,
    more: &[String],
    cwd: &Path,
    env: Environment,
) -> Result<Invocation, String> {
    let argv: Vec<OsString> = match command {
        Command::Words(words) => words.iter().chain(more).map(OsString::from).collect(),
        Command::Shell(text) => vec!["/bin/sh".into(), "-c".into(), text.into()],
    };
    let word = argv.first().cloned().unwrap_or_default();
    let program = find(&word, cwd, env.get(OsStr::new("PATH")))?;
    Ok(Invocation { program, argv, env: env.into_iter().collect(), cwd: cwd.to_path_buf() })
}

/// A program with a slash in it is relative to the folder; one without is sought in the PATH.
fn find(word: &OsStr, cwd: &Path, path: Option<&OsString>) -> Result<PathBuf, String> {
    if word.as_encoded_bytes().contains(&b'/') {
        return Ok(cwd.join(word));
    }
    let default = OsString::from("/usr/local/bin:/usr/bin:/bin");
    let path = path.unwrap_or(&default);
    let candidates = std::env::split_paths(path).map(|folder| cwd.join(folder).join(word));
    let runs = |file: &PathBuf| {
        std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    candidates.into_iter().find(runs).ok_or_else(|| {
        let (word, path) = (word.to_string_lossy(), path.to_string_lossy());
        format!(
            "can't find the program `{word}` in the component's PATH ({path}); install it, or name its path"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{Invocation, OsString, Path, find};

    #[test]
    fn descriptors_are_told_in_their_order_and_nobody_else_is_believed() {
        let pair = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        let env = vec![pair("A", "1"), pair("LISTEN_FDS", "9"), pair("LISTEN_PIDFDID", "7")];
        let mut invocation =
            Invocation { program: "/bin/true".into(), argv: Vec::new(), env: env.clone(), cwd: "/".into() };
        assert!(invocation.pass(Vec::new()).is_empty());
        assert_eq!(invocation.env, env);
        let null = || std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let (one, two) = (null(), null());
        let numbers = [&one, &two].map(std::os::fd::AsRawFd::as_raw_fd);
        let passed = invocation.pass(vec![("http".to_owned(), one), ("stored".to_owned(), two)]);
        assert_eq!(passed.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect::<Vec<_>>(), numbers);
        let expected =
            [("A", "1"), ("LISTEN_FDS", "2"), ("LISTEN_PID", ""), ("LISTEN_FDNAMES", "http:stored")];
        assert_eq!(invocation.env, expected.map(|(name, value)| pair(name, value)));
    }

    #[test]
    fn a_slash_means_a_path_and_none_means_the_path_variable() {
        let none = OsString::from("/nowhere");
        let usual = OsString::from("/nowhere:/bin");
        assert_eq!(find("./run".as_ref(), Path::new("/srv"), None), Ok("/srv/./run".into()));
        assert_eq!(find("sh".as_ref(), Path::new("/"), Some(&usual)), Ok("/bin/sh".into()));
        assert!(find("sh".as_ref(), Path::new("/"), Some(&none)).is_err_and(|error| error.contains("`sh`")));
    }
}
