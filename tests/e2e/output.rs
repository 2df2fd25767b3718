//! Output: kept exactly, shown safely.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use crate::harness::{Orch, Project, wait_until};

#[test]
fn a_log_holds_the_bytes_exactly_and_in_order() {
    // Every byte, no line's end at the end, and more than any pipe or buffer holds.
    let mut bytes: Vec<u8> =
        (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    bytes.extend(0..=255);
    bytes.extend_from_slice("no end: \u{20ac}".as_bytes());
    let project = Project::new(
        "
components:
  a: { process: ./faulty pour bytes exit 0 }
  b: { process: ./faulty say 1 shout 2 say 3 shout 4 say 5 exit 0, logs: { file: logs/of-b.txt } }
",
    );
    project.write("bytes", &bytes);
    let mut orch = project.up();
    orch.expect_exit(0);
    assert!(std::fs::read(project.path(".orch/logs/a.log")).unwrap() == bytes, "the log differs");
    assert_eq!(project.read("logs/of-b.txt"), "1\n2\n3\n4\n5\n");
}

#[test]
fn a_full_log_is_rotated_and_goes_on() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty pour bytes exit 0, logs: { max_size: 64KiB, keep: 2 } }
",
    );
    let line = |number: usize| format!("{number:07}\n");
    let bytes: String = (0..30_000).map(line).collect();
    project.write("bytes", &bytes);
    let mut orch = project.up();
    orch.expect_exit(0);
    let logs: Vec<String> =
        [".2", ".1", ""].iter().map(|end| project.read(&format!(".orch/logs/a.log{end}"))).collect();
    assert!(
        logs.iter().all(|log| log.len() <= 64 << 10),
        "{:?}",
        logs.iter().map(String::len).collect::<Vec<_>>()
    );
    let kept = logs.concat();
    assert!(kept.len() > 64 << 10 && bytes.ends_with(&kept), "what is kept is the end, without a gap");
    assert!(!project.path(".orch/logs/a.log.3").exists());
}

#[test]
fn on_no_terminal_lines_are_prefixed_and_not_coloured_and_orchs_own_words_are_on_stderr() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty say first say second exit 0 }
  longer: { process: ./faulty say other pour red exit 0 }
",
    );
    project.write("red", "\x1b[31mred\x1b[0m\n");
    let mut orch = project.up();
    orch.expect_exit(0);
    let shown = project.read("stdout");
    let mut lines: Vec<&str> = shown.lines().collect();
    lines.sort_unstable();
    let of_a: Vec<&str> = lines.iter().copied().filter(|line| line.starts_with('a')).collect();
    assert_eq!(of_a, ["a      | first", "a      | second"]);
    assert!(lines.contains(&"longer | other"), "{lines:?}");
    assert!(!shown.contains('\x1b') && !project.read("stderr").contains('\x1b'));
    assert!(project.read("stderr").contains("a: completed"));
    assert!(!shown.contains("orch:"), "{shown}");
}

// ── On a terminal ──────────────────────────────────────────────────────────────────────────────────────────

/// A new terminal: its master, and the end that programs have.
fn pty() -> (OwnedFd, OwnedFd) {
    let (mut master, mut slave) = (-1, -1);
    let none = std::ptr::null_mut();
    // SAFETY: openpty writes two descriptors; what it is given besides is null.
    let made = unsafe { libc::openpty(&raw mut master, &raw mut slave, none, none.cast(), none.cast()) };
    assert_eq!(made, 0);
    // SAFETY: both were just made, and are nobody else's.
    let (master, slave) = unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
    for end in [&master, &slave] {
        rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC).unwrap();
    }
    (master, slave)
}

/// `orch up` in the foreground of a terminal.
fn up_on<'a>(slave: &OwnedFd, project: &'a Project, env: &[(&str, &str)]) -> Orch<'a> {
    let mut command = project.command(&["up"]);
    command.envs(env.iter().copied()).env("TERM", "xterm-256color");
    let number = slave.as_raw_fd();
    // SAFETY: only system calls; they run after the session of its own was made.
    unsafe {
        command.pre_exec(move || match libc::ioctl(number, libc::TIOCSCTTY, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let end = || Stdio::from(slave.try_clone().unwrap());
    command.stdin(end()).stdout(end()).stderr(end());
    Orch::of(project, command.spawn().unwrap())
}

/// A terminal, and what was shown on it.
pub(crate) struct Terminal {
    pub(crate) master: File,
    slave: OwnedFd,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        let (master, slave) = pty();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, into) = (File::from(master.try_clone().unwrap()), Arc::clone(&shown));
        // It ends when the last one that has the terminal open has gone.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                into.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Self { master: master.into(), slave, shown }
    }

    pub(crate) fn up<'a>(&self, project: &'a Project, env: &[(&str, &str)]) -> Orch<'a> {
        up_on(&self.slave, project, env)
    }

    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }
}

/// Without the colours; whatever is left of other controls stays.
pub(crate) fn without_colors(text: &str) -> String {
    regex::Regex::new("\x1b\\[[0-9;:]*m").unwrap().replace_all(text, "").into_owned()
}

const NASTY: &str = "\x1b[31mred\x1b[0m plain\n\
    title \x1b]0;owned\x07 clipboard \x1b]52;c;aGVsbG8=\x07 link \x1b]8;;http://x\x1b\\y\x1b]8;;\x1b\\\n\
    moved \x1b[2J\x1b[1;1H\x1b[10A\x1b[?1049h\x1bc back\x08\x08 bell\x07 \u{9b}31m \u{202e}abc nul\0\n\
    a | forged\rover\n";

#[test]
fn only_colours_reach_a_terminal() {
    let project = Project::new("components:\n  a: { process: ./faulty pour nasty say end }");
    project.write("nasty", NASTY);
    let terminal = Terminal::new();
    let mut orch = terminal.up(&project, &[]);
    wait_until("all is shown", || terminal.shown().contains("end"));
    orch.stop();
    let shown = terminal.shown();
    assert!(shown.contains("\x1b[31mred"), "{shown:?}");
    let plain = without_colors(&shown);
    let harmful = plain.chars().find(|c| c.is_control() && !"\r\n\t".contains(*c) || *c == '\u{202e}');
    assert_eq!(harmful, None, "{plain:?}");
    // A return moves to the line's start and hides the prefix; those that end the terminal's lines don't.
    assert!(!plain.replace("\r\n", "\n").contains('\r'), "{plain:?}");
    assert!(
        plain.contains("owned") && plain.contains("abc"),
        "what was escaped is still to be read: {plain:?}"
    );
    assert_eq!(project.read(".orch/logs/a.log"), format!("{NASTY}end\n"), "the log is exact");
}

#[test]
fn no_color_is_heeded_on_a_terminal() {
    let project = Project::new("components:\n  a: { process: ./faulty pour nasty say end }");
    project.write("nasty", NASTY);
    let terminal = Terminal::new();
    let mut orch = terminal.up(&project, &[("NO_COLOR", "1")]);
    wait_until("all is shown", || terminal.shown().contains("end") && terminal.shown().contains("ready"));
    orch.stop();
    assert!(!terminal.shown().contains('\x1b'), "{:?}", terminal.shown());
}

#[test]
fn ctrl_c_on_the_terminal_is_an_ordered_shutdown_and_does_not_reach_the_components() {
    let project =
        Project::new("components:\n  a: { process: ./faulty }\n  b: { process: ./faulty, depends_on: [a] }");
    let mut terminal = Terminal::new();
    let mut orch = terminal.up(&project, &[]);
    project.wait_ready("b", 1);
    terminal.master.write_all(b"\x03").unwrap();
    orch.expect_exit(0);
    let trace = project.trace();
    assert!(trace.at("b", "exit") < trace.at("a", "got"));
    assert!(trace.0.iter().all(|entry| entry.detail != "INT"));
}

#[test]
fn a_terminal_that_hangs_up_is_an_ordered_shutdown() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty say on }
  b: { process: ./faulty say on, depends_on: [a] }
",
    );
    let (master, slave) = pty();
    let mut orch = up_on(&slave, &project, &[]);
    drop(slave);
    project.wait_ready("b", 1);
    drop(master);
    orch.expect_exit(0);
    let trace = project.trace();
    assert!(trace.at("b", "exit") < trace.at("a", "got"));
}
