//! The same commands on a terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;

use crate::harness::{Project, send, wait_for, wait_until};

/// A command on a terminal of its own, and all that the terminal was told.
struct OnTerminal {
    child: Child,
    keyboard: File,
    told: Arc<Mutex<Vec<u8>>>,
}

impl OnTerminal {
    fn new(mut command: Command, columns: u16, rows: u16) -> Self {
        let (mut ours, mut theirs) = (0, 0);
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the pointers are to live values, or null where that is allowed.
        let made = unsafe {
            libc::openpty(
                &raw mut ours,
                &raw mut theirs,
                std::ptr::null_mut(),
                std::ptr::null(),
                &raw const size,
            )
        };
        assert_eq!(made, 0);
        // SAFETY: both were just made, and are nobody else's.
        let (ours, theirs) = unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
        rustix::io::fcntl_setfd(&ours, rustix::io::FdFlags::CLOEXEC).unwrap();
        let terminal = || Stdio::from(theirs.try_clone().unwrap());
        command.stdin(terminal()).stdout(terminal()).stderr(terminal()).env("TERM", "xterm");
        let number = theirs.as_raw_fd();
        // SAFETY: a plain system call; the command is in a session of its own already.
        unsafe {
            command.pre_exec(move || match libc::ioctl(number, libc::TIOCSCTTY, 0) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            })
        };
        let child = command.spawn().unwrap();
        drop((command, theirs));
        let keyboard = File::from(ours);
        let (mut screen, told) = (keyboard.try_clone().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let notes = Arc::clone(&told);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // It fails when nobody has the other end any more.
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                notes.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        });
        Self { child, keyboard, told }
    }

    fn told(&self) -> String {
        String::from_utf8_lossy(&self.told.lock().unwrap()).into_owned()
    }

    fn wait_told(&self, what: &str) {
        wait_until(&format!("{what:?} is shown"), || self.told().contains(what));
    }

    fn code(&mut self) -> Option<i32> {
        wait_for("the command ends", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("── the terminal\n{:?}", self.told());
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const SLOW: &str = "
name: shop
components:
  db: { process: ./faulty }
  api: { process: [./faulty, await, go, touch, up], ready: { file: up, timeout: 60s }, autostart: false, depends_on: [db] }
";

/// What a probe was answered last is more than that it is not ready.
#[test]
fn progress_tells_what_is_awaited() {
    let address = crate::harness::address();
    let project = Project::new(&format!(
        "
components:
  db: {{ process: [./faulty, await, go, listen, '{address}'], ready: {{ tcp: '{address}', timeout: 60s }} }}
"
    ));
    let mut orch = project.up();
    project.wait_state("db", "starting");
    let mut wait = OnTerminal::new(project.command(&["wait", "db"]), 120, 24);
    wait.wait_told(&format!("(probe tcp {address} refused "));
    let table = project.run(&["ps"]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains(&format!("probe tcp {address} refused ")), "{table}");
    project.write("go", "");
    assert_eq!(wait.code(), Some(0));
    orch.stop();
}

#[test]
fn progress_is_shown_and_gone_when_it_is_done() {
    let project = Project::new(SLOW);
    let mut orch = project.up();
    project.wait_ready("db", 1);
    let mut start = OnTerminal::new(project.command(&["start", "api"]), 40, 10);
    start.wait_told("api: starting ");
    project.write("go", "");
    assert_eq!(start.code(), Some(0));
    start.wait_told("api: started, ready\r\n");
    let told = start.told();
    let lines: Vec<&str> = told.split("\r").collect();
    let erased = lines.iter().rposition(|line| line.starts_with("\u{1b}[K")).unwrap();
    assert!(lines[erased].ends_with("api: started, ready"), "what was shown is gone before: {told:?}");
    // Nothing that was shown was wider than the terminal.
    let widest = lines
        .iter()
        .map(|line| line.replace("\u{1b}[2m", "").replace("\u{1b}[0m\u{1b}[K", "").chars().count());
    assert!(widest.max().unwrap() < 40, "{told:?}");
    orch.stop();
}

#[test]
fn an_interrupt_ends_the_waiting_and_not_what_was_begun() {
    let project = Project::new(SLOW);
    let mut orch = project.up();
    project.wait_ready("db", 1);
    for args in [&["start", "api"][..], &["wait", "api"]] {
        let mut command = OnTerminal::new(project.command(args), 80, 24);
        command.wait_told("api: starting ");
        command.keyboard.write_all(b"\x03").unwrap();
        assert_eq!(command.code(), Some(1), "{args:?}");
        command.wait_told("orch: not waiting any longer; orch goes on");
    }
    project.write("go", "");
    project.wait_ready("api", 1);
    orch.stop();
}

const ENTERED: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEFT: &str = "\u{1b}[?25h\u{1b}[?1049l";

#[test]
fn a_watched_table_is_renewed_in_place_and_leaves_the_terminal_as_it_was() {
    let project = Project::new(SLOW);
    let mut orch = project.up();
    project.wait_ready("db", 1);
    for end in [Some(Signal::INT), Some(Signal::TERM), None] {
        let mut watch = OnTerminal::new(project.command(&["ps", "--watch"]), 80, 24);
        watch.wait_told("■ stopped");
        assert!(watch.told().starts_with(ENTERED), "{:?}", watch.told());
        if end.is_none() {
            project.write("go", "");
            assert_eq!(project.run(&["start", "api"]).status.code(), Some(0));
            watch.wait_told("2 ready");
            // A new image of orch is no end.
            assert_eq!(project.run(&["upgrade"]).status.code(), Some(0));
            let frames = || watch.told().matches("NAME").count();
            let before = frames();
            wait_until("it goes on", || frames() > before + 1);
            orch.stop();
        }
        match end {
            Some(signal) => send(watch.child.id(), signal),
            None => watch.wait_told("orch: the project has ended"),
        }
        assert_eq!(watch.code(), Some(0));
        watch.wait_told(LEFT);
        assert_eq!(watch.told().matches(ENTERED).count(), 1);
    }
}

/// Ctrl-Z gives the shell its terminal back, and `fg` the table.
#[test]
fn a_watched_table_can_be_stopped_and_goes_on() {
    let project = Project::new(SLOW);
    let mut orch = project.up();
    project.wait_ready("db", 1);
    let watch = project.command(&["ps", "--watch"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "set -m; \"$0\" \"$@\"; echo the shell has it; fg; echo ended with $?"]);
    shell.arg(watch.get_program()).args(watch.get_args()).current_dir(watch.get_current_dir().unwrap());
    shell.envs(watch.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // SAFETY: a plain system call.
    unsafe { shell.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into)) };
    let mut shell = OnTerminal::new(shell, 80, 24);
    shell.wait_told("■ stopped");
    shell.keyboard.write_all(b"\x1a").unwrap();
    shell.wait_told("the shell has it");
    let told = shell.told();
    let left = told.find(LEFT).unwrap();
    assert!(left < told.find("the shell has it").unwrap(), "{told:?}");
    wait_until("it is there again", || shell.told().matches(ENTERED).count() == 2);
    shell.keyboard.write_all(b"\x03").unwrap();
    shell.wait_told("ended with 0");
    assert_eq!(shell.told().matches(LEFT).count(), 2);
    orch.stop();
}

#[test]
fn a_watched_table_fits_the_terminal() {
    let many: String =
        (0..40).map(|at| format!("  c{at:02}: {{ thread: ticker, with: {{ every: 1h }} }}\n")).collect();
    let project = Project::new(&format!("components:\n{many}"));
    let mut orch = project.up();
    project.wait_told_ready("c39", 1);
    let watch = OnTerminal::new(project.command(&["ps", "--watch"]), 30, 10);
    watch.wait_told("… and ");
    let told = watch.told();
    let frame = told.split("\u{1b}[H").nth(1).unwrap().split("\u{1b}[J").next().unwrap();
    assert_eq!(frame.matches("\r\n").count(), 9, "{frame:?}");
    assert!(frame.contains("c00") && !frame.contains("c39"), "{frame:?}");
    orch.stop();
}

#[test]
fn elsewhere_a_table_is_printed_when_something_has_happened() {
    let project = Project::new(SLOW);
    let mut orch = project.up();
    project.wait_ready("db", 1);
    let file = File::create(project.path("watched")).unwrap();
    let mut command = project.command(&["ps", "--watch"]);
    let mut watch = command.stdout(file).stderr(File::create(project.path("said")).unwrap()).spawn().unwrap();
    wait_until("the first table", || project.read("watched").contains("1 ready, 1 stopped"));
    assert_eq!(project.run(&["stop", "db"]).status.code(), Some(0));
    wait_until("the second one", || project.read("watched").contains("2 stopped"));
    orch.stop();
    assert_eq!(wait_for("the command ends", || watch.try_wait().unwrap()).code(), Some(0));
    let printed = project.read("watched");
    assert!(!printed.contains('\u{1b}'), "{printed:?}");
    // Not for the time that goes by: at most the two, one on the way, and one of the end.
    assert!(printed.matches("NAME").count() <= 4, "{printed}");
    assert_eq!(project.read("said"), "orch: the project has ended\n");
}
