//! sd_notify(3), spoken by real programs: what they say, who is believed, and what a flood may cost.

use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde_json::Value;

use crate::harness::{Orch, Project, SLACK, alive, stays, wait_for, wait_until};

/// A project whose programs are Python, with `talk` to import.
fn project(yaml: &str, programs: &[(&str, &str)]) -> Project {
    let project = Project::new(yaml);
    project.write("talk.py", include_str!("../fixtures/talk.py"));
    for (name, text) in programs {
        project.write(name, format!("from talk import *\n{text}\n"));
    }
    project
}

/// A component as `orch ps --json` shows it.
fn shown(project: &Project, name: &str) -> Value {
    let output = project.run(&["ps", "--json"]);
    let all: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let all = all["components"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|one| one["name"] == name).unwrap_or_default()
}

fn wait_status(project: &Project, name: &str, status: &str) {
    wait_until(&format!("{name} says {status}"), || shown(project, name)["status"] == status);
}

/// The socket of a program that has written its path into a file.
fn socket(project: &Project) -> PathBuf {
    let path = || Some(project.read("socket")).filter(|path| path.ends_with('\n'));
    wait_for("the program has noted its socket", path).trim_end().into()
}

/// By rename: whoever waits for the file finds it whole.
const NOTE: &str =
    "print(PATH, file=open('socket.new', 'w'), flush=True)\nos.rename('socket.new', 'socket')\n";

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

fn stderr_lines(project: &Project, part: &str) -> usize {
    project.read("stderr").lines().filter(|line| line.contains(part)).count()
}

/// How long `orch ps` takes.
fn ps_takes(project: &Project) -> Duration {
    let begun = Instant::now();
    assert!(project.run(&["ps", "--json"]).status.success());
    begun.elapsed()
}

#[test]
fn a_program_is_ready_when_it_says_so_and_its_words_are_shown() {
    let project = project(
        "components:
  web: { process: [python3, web.py], ready: { notify: true } }
  next: { process: [python3, next.py], depends_on: [web] }",
        &[
            (
                "web.py",
                "say('STATUS=warming up')\nwait_for('go')\nsay('READY=1\\nSTATUS=serving \\x1b[31mred')\nforever()",
            ),
            ("next.py", "print('notify' in PATH, os.environ.get('WATCHDOG_USEC'), flush=True)\nforever()"),
        ],
    );
    let mut orch = project.up();
    wait_status(&project, "web", "warming up");
    assert_eq!(project.state_of("web").0, "starting");
    project.write("go", "");
    project.wait_told_ready("web", 1);
    wait_status(&project, "web", "serving \u{fffd}[31mred");
    project.wait_told_ready("next", 1);
    // Whose readiness is not its own word has no socket.
    wait_until("next has printed", || project.read(".orch/logs/next.log") == "False None\n");
    let folder = project.path(".orch/notify");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&folder).unwrap().permissions());
    assert_eq!((mode & 0o777, std::fs::read_dir(&folder).unwrap().count()), (0o700, 1));
    let restarted = project.run(&["restart", "web"]);
    assert!(restarted.status.success());
    project.wait_told_ready("web", 2);
    let one = || std::fs::read_dir(&folder).unwrap().count() == 1;
    wait_until("the socket of the old incarnation is gone", one);
    orch.stop();
    assert!(!folder.exists());
}

#[test]
fn what_was_said_before_the_end_counts_before_the_end() {
    let project = project(
        "components:
  quick: { process: [python3, quick.py], ready: { notify: true }, restart: never }
  mute: { process: ['true'], ready: { notify: true }, restart: never }
  next: { process: ./faulty, depends_on: [quick] }",
        &[("quick.py", "say('STATUS=done\\nREADY=1')")],
    );
    let mut orch = project.up();
    project.wait_state("quick", "completed");
    project.wait_ready("next", 1);
    let words: Vec<String> = project
        .events()
        .iter()
        .filter(|event| event["component"] == "quick")
        .filter_map(|event| Some(event["event"].as_str()?.trim_start_matches("component.").to_owned()))
        .collect();
    assert_eq!(words, ["starting", "spawned", "ready", "exited", "stopping", "completed"]);
    project.wait_state("mute", "failed");
    orch.signal(rustix::process::Signal::TERM);
    orch.expect_exit(1);
}

#[test]
fn a_shell_says_it_by_systemd_notify() {
    let project = project(
        "components:
  shell:
    process: { shell: 'systemd-notify --ready --status=\"by a command\"; exec sleep 1000' }
    ready: { notify: true }",
        &[],
    );
    let known =
        ["/usr/bin/systemd-notify", "/bin/systemd-notify"].iter().any(|path| Path::new(path).exists());
    if !known {
        eprintln!("SKIPPED: systemd-notify is not installed");
        return;
    }
    let mut orch = project.up();
    project.wait_told_ready("shell", 1);
    wait_status(&project, "shell", "by a command");
    orch.stop();
}

const DAEMON: &str = "
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
WAIT
say('MAINPID=%d\\nREADY=1\\nSTATUS=in the background' % os.getpid())
print(os.getpid(), file=open('daemon', 'w'), flush=True)
wait_for('end')
os._exit(7)
";

#[test]
fn a_daemon_that_leaves_its_parents_is_the_components_main_process() {
    for wait in ["", "time.sleep(1)"] {
        let project = project(
            "components: { daemon: { process: [python3, daemon.py], ready: { notify: true }, restart: never } }",
            &[("daemon.py", &DAEMON.replace("WAIT", wait))],
        );
        let mut orch = project.up();
        project.wait_told_ready("daemon", 1);
        wait_status(&project, "daemon", "in the background");
        let pid = || project.read("daemon").trim_end().parse::<u32>().ok();
        let pid = wait_for("the daemon has noted its id", pid);
        stays("its parents' ends are not its own", Duration::from_millis(300), || {
            project.state_of("daemon").0 == "ready" && alive(pid)
        });
        assert_eq!(shown(&project, "daemon")["pid"], pid);
        project.write("end", "");
        let exited = project.wait_event("the daemon's end", |event| event["event"] == "component.exited");
        assert_eq!(exited["code"], 7);
        project.wait_state("daemon", "failed");
        assert_eq!(orch.exit_status().code(), Some(1));
    }
}

#[test]
fn a_daemon_is_stopped_by_a_signal_to_its_own_group() {
    let project = project(
        "components:
  daemon: { process: [python3, daemon.py], ready: { notify: true }, stop: { timeout: 60s } }",
        &[("daemon.py", &DAEMON.replace("WAIT", ""))],
    );
    let mut orch = project.up();
    project.wait_told_ready("daemon", 1);
    let stopped = project.run(&["stop", "daemon"]);
    assert!(stopped.status.success());
    let exited = project.wait_event("the daemon's end", |event| event["event"] == "component.exited");
    assert_eq!(exited["signal"], "SIGTERM");
    orch.stop();
}

#[test]
fn a_child_of_the_leader_can_be_the_main_process() {
    let project = project(
        "components: { pre: { process: [python3, pre.py], ready: { notify: true }, restart: never } }",
        &[(
            "pre.py",
            "pid = os.fork()\nif not pid:\n    wait_for('end')\n    os._exit(9)\n\
             print(pid, file=open('main', 'w'), flush=True)\n\
             say('MAINPID=%d\\nREADY=1' % pid)\nos.waitpid(pid, 0)\nforever()",
        )],
    );
    let mut orch = project.up();
    project.wait_told_ready("pre", 1);
    let main = || project.read("main").trim_end().parse::<u32>().ok();
    let main = wait_for("it has noted its main process", main);
    wait_until("ps shows it", || shown(&project, "pre")["pid"] == main);
    project.write("end", "");
    let exited = project.wait_event("its main process's end", |event| event["event"] == "component.exited");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = kernel.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    // Before Linux 6.15, nobody but the parent may ever know.
    if (numbers.next(), numbers.next()) >= (Some(6), Some(15)) {
        assert_eq!(exited["code"], 9);
    }
    project.wait_event("the rest of it is ended", |event| event["event"] == "component.failed");
    assert_eq!(orch.exit_status().code(), Some(1));
}

#[test]
fn only_a_process_of_its_own_is_a_main_process() {
    let project = project(
        "components:
  web: { process: [python3, web.py], ready: { notify: true } }
  other: { process: [python3, other.py] }",
        &[
            (
                "web.py",
                "wait_for('other')\nfor pid in ['1', str(os.getppid()), open('other').read().strip(), '4194303']:\n    \
                 say('MAINPID=' + pid)\n    barrier(PATH)\nsay('READY=1')\nforever()",
            ),
            (
                "other.py",
                "print(os.getpid(), file=open('other.new', 'w'), flush=True)\nos.rename('other.new', 'other')\nforever()",
            ),
        ],
    );
    let mut orch = project.up();
    project.wait_told_ready("web", 1);
    let refused = || stderr_lines(&project, "is ignored: that is no living process of it");
    wait_until("that is said", || refused() > 0);
    orch.stop();
    // What is ignored is said once for each unit, however much it is.
    assert_eq!(refused(), 1);
}

// ── Who is believed ────────────────────────────────────────────────────────────────────────────────────────

const QUIET: &str = "components:
  web: { process: [python3, web.py], ready: { notify: true, timeout: 1h } }";

#[test]
fn another_component_is_not_believed() {
    let project = project(
        "components:
  web: { process: [python3, web.py], ready: { notify: true, timeout: 1h } }
  other: { process: [python3, other.py], ready: { notify: true } }",
        &[
            ("web.py", &format!("{NOTE}wait_for('go')\nsay('READY=1')\nforever()")),
            (
                "other.py",
                "wait_for('socket')\npath = open('socket').read().strip()\n\
                 say('READY=1\\nSTATUS=false\\nSTOPPING=1', path=path)\nbarrier(path)\nsay('READY=1')\nforever()",
            ),
        ],
    );
    let mut orch = project.up();
    // It is ready when its words to the other one's socket have been heard.
    project.wait_told_ready("other", 1);
    let web = shown(&project, "web");
    assert_eq!((&web["state"], &web["status"]), (&"starting".into(), &Value::Null));
    wait_until("it is said", || stderr_lines(&project, "web: ignored on its notify socket") == 1);
    project.write("go", "");
    project.wait_told_ready("web", 1);
    orch.stop();
}

/// Sends from this process, which is no component's, with so many copies of a descriptor beside it.
fn send(path: &Path, text: &[u8], copies: usize) -> UnixStream {
    let socket = UnixDatagram::unbound().unwrap();
    socket.connect(path).unwrap();
    let (mine, other) = UnixStream::pair().unwrap();
    let fds = vec![other.as_fd(); copies];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    assert!(fds.is_empty() || beside.push(SendAncillaryMessage::ScmRights(&fds)));
    let parts = [std::io::IoSlice::new(text)];
    rustix::net::sendmsg(&socket, &parts, &mut beside, SendFlags::empty()).unwrap();
    mine
}

/// Waits until orch has taken all that was sent to this socket before.
fn heard(path: &Path) {
    let mut end = send(path, b"BARRIER=1", 1);
    end.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(std::io::Read::read(&mut end, &mut [0]).unwrap(), 0, "every copy is closed");
}

fn quiet(orch: &Orch<'_>, project: &Project) -> (PathBuf, usize) {
    let path = socket(project);
    // The first message may need what the next ones find.
    wait_until("the socket is read", || project.state_of("web").0 == "starting");
    heard(&path);
    (path, open_files(orch.pid()))
}

#[test]
fn an_unrelated_process_is_ignored_with_all_that_it_sends() {
    let web = format!("{NOTE}wait_for('go')\nsay('READY=1')\nforever()");
    let project = project(QUIET, &[("web.py", &web)]);
    let mut orch = project.up();
    let (path, open) = quiet(&orch, &project);
    for text in [&b"READY=1\nFDSTORE=1"[..], b"READY=1\nBARRIER=1", &[0xff; 4096], &[b'x'; 5000], b""] {
        for copies in [0, 1, 100, 253] {
            drop(send(&path, text, copies));
        }
    }
    heard(&path);
    assert_eq!(project.state_of("web").0, "starting");
    wait_until("nothing is left open", || open_files(orch.pid()) <= open);
    assert_eq!(stderr_lines(&project, "web: ignored on its notify socket"), 1);
    project.write("go", "");
    project.wait_told_ready("web", 1);
    orch.stop();
}

#[test]
fn its_own_nonsense_is_bounded_too() {
    let web = format!(
        "{NOTE}wait_for('go')
mine, other = os.pipe()
for text in ['READY=1\\nX=' + 'x' * 5000, 'X=' + 'x' * 4000, 'STATUS=' + 'y' * 3000, 'FDSTOREREMOVE=1', '\\n' * 4000]:
    for count in [0, 1, 100, 253]:
        say(text, [other] * count)
os.close(other)
# Everybody else has closed it.
os.read(mine, 1)
wait_for('ready')
say('READY=1')
forever()"
    );
    let project = project(QUIET, &[("web.py", &web)]);
    let mut orch = project.up();
    let (path, open) = quiet(&orch, &project);
    project.write("go", "");
    let cut = format!("{}…", "y".repeat(255));
    wait_status(&project, "web", &cut);
    wait_until("nothing is left open", || open_files(orch.pid()) <= open);
    assert_eq!(project.state_of("web").0, "starting", "a message that is too long says nothing");
    project.write("ready", "");
    project.wait_told_ready("web", 1);
    heard(&path);
    orch.stop();
}

#[test]
fn a_flood_costs_the_loop_nothing() {
    let web = format!(
        "{NOTE}say('READY=1')
wait_for('go')
to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for number in range(100_000):
    to.sendto(b'STATUS=%d\\nWATCHDOG=1\\nRELOADING=1\\nREADY=1' % number, PATH)
forever()"
    );
    let project = project(QUIET, &[("web.py", &web)]);
    let mut orch = project.up();
    let path = socket(&project);
    project.wait_told_ready("web", 1);
    heard(&path);
    let (open, calm) = (open_files(orch.pid()), ps_takes(&project));
    project.write("go", "");
    let stranger = std::thread::spawn({
        let path = path.clone();
        move || (0..20_000).for_each(|_| drop(UnixDatagram::unbound().unwrap().send_to(b"READY=1", &path)))
    });
    let (mut worst, begun) = (Duration::ZERO, Instant::now());
    while shown(&project, "web")["status"] != "99999" {
        worst = worst.max(ps_takes(&project));
        assert!(begun.elapsed() < Duration::from_secs(180), "the last word of the flood is not shown");
    }
    stranger.join().unwrap();
    eprintln!("ps: {calm:?} before, at worst {worst:?} in the flood");
    assert!(worst < SLACK * Duration::from_secs(1), "{worst:?}, {calm:?} before");
    heard(&path);
    wait_until("nothing is left open", || open_files(orch.pid()) <= open);
    assert!(project.events().len() < 2000, "{} events", project.events().len());
    orch.stop();
}

// ── What it outlives ───────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_killed_orch_leaves_nothing_that_hinders_the_next() {
    let web = format!("{NOTE}say('READY=1')\nforever()");
    let project = project(QUIET, &[("web.py", &web)]);
    let mut orch = project.up();
    project.wait_told_ready("web", 1);
    let left = socket(&project);
    orch.kill();
    assert!(left.exists());
    let mut orch = project.up();
    project.wait_told_ready("web", 2);
    orch.stop();
    assert!(!left.exists());
}

#[test]
fn a_deep_state_directory_has_its_sockets_elsewhere() {
    let web = format!("{NOTE}say('READY=1')\nforever()");
    let project = project(QUIET, &[("web.py", &web)]);
    let deep = "d".repeat(100);
    let mut orch = project.up_with(&["--state-dir", &deep]);
    let path = socket(&project);
    wait_until("it is ready", || project.read(&format!("{deep}/events.ndjson")).contains("component.ready"));
    assert!(!path.starts_with(project.path(&deep)), "{}", path.display());
    orch.signal(rustix::process::Signal::TERM);
    assert_eq!(orch.exit_status().code(), Some(0));
    assert!(!path.exists() && !path.parent().unwrap().exists());
}

#[test]
fn a_new_image_hears_what_was_said_to_the_old_one() {
    let web = "say('READY=1')\nnumber = 0\nwhile True:\n    number += 1\n    say('STATUS=%d' % number)\n    time.sleep(0.001)";
    let project = project(QUIET, &[("web.py", web)]);
    let mut orch = project.up();
    project.wait_told_ready("web", 1);
    let upgraded = project.run(&["upgrade"]);
    assert!(upgraded.status.success(), "{}", String::from_utf8_lossy(&upgraded.stderr));
    let number = || shown(&project, "web")["status"].as_str().and_then(|text| text.parse::<u64>().ok());
    let first = wait_for("it is heard", number);
    wait_until("it is heard on", || number() > Some(first + 10));
    assert_eq!(shown(&project, "web")["incarnation"], 1);
    orch.stop();
}

// ── What is made of it ─────────────────────────────────────────────────────────────────────────────────────

#[test]
fn one_that_pings_no_more_is_restarted() {
    let project = project(
        "components:
  web: { process: [python3, web.py], ready: { notify: true }, health: { watchdog: 2s } }",
        &[(
            "web.py",
            "say('READY=1')\nprint(os.environ['WATCHDOG_USEC'], 'WATCHDOG_PID' in os.environ, flush=True)\n\
             for at in range(10**9):\n    \
             if at == 20 and not os.path.exists('seen'):\n        \
             open('seen', 'w').close()\n        forever()\n    \
             say('WATCHDOG=1')\n    time.sleep(0.2)",
        )],
    );
    let mut orch = project.up();
    project.wait_told_ready("web", 2);
    assert!(project.path("seen").exists());
    let reason = project.wait_event("why", |event| event["event"] == "component.unhealthy");
    assert!(reason["reason"].as_str().unwrap().contains("watchdog heard nothing"), "{reason}");
    stays("it pings, and runs on", Duration::from_secs(3), || project.state_of("web") == ("ready".into(), 2));
    assert!(project.read(".orch/logs/web.log").starts_with("2000000 False\n"));
    orch.stop();
}

#[test]
fn a_reload_is_told_and_more_time_is_given() {
    let project = project(
        "components:
  web: { process: [python3, web.py], ready: { notify: true, timeout: 5s } }",
        &[(
            "web.py",
            "say('EXTEND_TIMEOUT_USEC=3600000000')\nwait_for('go')\nsay('READY=1')\nwait_for('reload')\n\
             say('RELOADING=1\\nMONOTONIC_USEC=1')\nwait_for('done')\nsay('READY=1')\nforever()",
        )],
    );
    let mut orch = project.up();
    stays("it has more time", Duration::from_secs(7), || {
        matches!(project.state_of("web").0.as_str(), "none" | "starting")
    });
    project.write("go", "");
    project.wait_told_ready("web", 1);
    let reason =
        |text: &str| shown(&project, "web")["reason"].as_str().is_some_and(|reason| reason.contains(text));
    project.write("reload", "");
    wait_until("its reload", || reason("it reloads its configuration"));
    project.write("done", "");
    wait_until("the end of its reload", || reason("it has reloaded its configuration"));
    orch.stop();
}

const KEEPER: &str = "
have = passed()
if 'kept' in have:
    listener = socket.socket(fileno=have['kept'])
else:
    listener = socket.create_server(('127.0.0.1', 0))
    say('FDSTORE=1\\nFDNAME=kept', [listener.fileno()])
    print(listener.getsockname()[1], file=open('port.new', 'w'), flush=True)
    os.rename('port.new', 'port')
say('READY=1\\nSTATUS=' + ','.join(have))
while True:
    to, _ = listener.accept()
    to.sendall(os.environ['ORCH_INCARNATION'].encode())
    to.close()
";

#[test]
fn a_stored_socket_stays_open_over_restarts_and_images_until_the_component_rests() {
    let project = project(
        "components: { web: { process: [python3, web.py], ready: { notify: true } } }",
        &[("web.py", KEEPER)],
    );
    let mut orch = project.up();
    project.wait_told_ready("web", 1);
    let port: u16 = project.read("port").trim_end().parse().unwrap();
    let connect = || std::net::TcpStream::connect(("127.0.0.1", port));
    let answer = || {
        let mut text = String::new();
        let mut stream = connect().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
        text
    };
    assert_eq!(answer(), "1");
    let done = std::sync::atomic::AtomicBool::new(false);
    let clients = || {
        let mut count = 0;
        while !done.load(std::sync::atomic::Ordering::SeqCst) {
            answer();
            count += 1;
        }
        count
    };
    let served = std::thread::scope(|scope| {
        let clients = scope.spawn(clients);
        for run in 2..=4 {
            assert!(project.run(&["restart", "web"]).status.success());
            project.wait_told_ready("web", run);
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        clients.join().unwrap()
    });
    assert!(served > 0, "a client that comes during a restart waits, and is served");
    wait_status(&project, "web", "kept");
    assert!(project.run(&["upgrade"]).status.success());
    assert!(project.run(&["restart", "web"]).status.success());
    project.wait_told_ready("web", 5);
    assert_eq!(answer(), "5");
    assert!(project.run(&["stop", "web"]).status.success());
    wait_until("it is let go of", || connect().is_err());
    assert!(project.run(&["start", "web"]).status.success());
    project.wait_told_ready("web", 6);
    let fresh: u16 = project.read("port").trim_end().parse().unwrap();
    assert_ne!(fresh, port, "it had nothing stored");
    orch.stop();
}
