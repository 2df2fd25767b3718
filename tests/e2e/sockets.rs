//! Sockets that orch binds: who connects is never refused while it is wanted, whatever becomes of the runs.
//!
//! The server is a small one in Python that takes what it is handed (`tests/fixtures/listen.py`), and tells what
//! that was.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::harness::{PATIENCE, Project, address, kill_9, wait_for, wait_until};

const SERVER: &str = "process: python3 -B listen.py";

/// A project with the server's program in it.
fn project(yaml: &str) -> Project {
    let project = Project::new(yaml);
    project.write("listen.py", include_str!("../fixtures/listen.py"));
    project
}

/// One exchange: who answered, and what.
fn talk(mut stream: impl std::io::Read + std::io::Write) -> std::io::Result<String> {
    stream.write_all(b"hello\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.ends_with(" hello\n") { Ok(answer) } else { Err(std::io::Error::other(format!("{answer:?}"))) }
}

fn connect(at: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn ask(at: &str) -> String {
    connect(at).and_then(talk).unwrap()
}

/// Clients that connect, ask and read without pause, until they are told to end.
struct Clients {
    end: Arc<AtomicBool>,
    served: Vec<Arc<AtomicU64>>,
    running: Vec<JoinHandle<Vec<String>>>,
}

impl Clients {
    fn start(at: &str) -> Self {
        let (end, mut served, mut running) = (Arc::new(AtomicBool::new(false)), Vec::new(), Vec::new());
        for _ in 0..4 {
            let count = Arc::new(AtomicU64::new(0));
            served.push(Arc::clone(&count));
            let (at, end) = (at.to_owned(), Arc::clone(&end));
            running.push(std::thread::spawn(move || {
                let mut failed = Vec::new();
                while !end.load(Ordering::Relaxed) {
                    match connect(&at).and_then(talk) {
                        Ok(_) => drop(count.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => failed.push(error.to_string()),
                    }
                }
                failed
            }));
        }
        Self { end, served, running }
    }

    /// Waits until each has been served once more.
    fn all_served(&self) {
        let counts =
            || -> Vec<u64> { self.served.iter().map(|count| count.load(Ordering::Relaxed)).collect() };
        let before = counts();
        wait_until("each client is served", || counts().iter().zip(&before).all(|(now, then)| now > then));
    }

    /// Ends them, and checks that nothing has ever failed.
    fn end(self) {
        self.all_served();
        self.end.store(true, Ordering::Relaxed);
        let failed: Vec<String> = self.running.into_iter().flat_map(|one| one.join().unwrap()).collect();
        assert_eq!(failed, [""; 0]);
    }
}

/// What a run of a component was handed, by its own word.
fn got(project: &Project, name: &str, incarnation: u64) -> Value {
    let text = wait_for("the run tells what it got", || {
        Some(project.read(&format!("got-{name}-{incarnation}"))).filter(|text| !text.is_empty())
    });
    serde_json::from_str(&text).unwrap()
}

/// A component as `orch ps` shows it.
fn shown(project: &Project, name: &str) -> Value {
    let output = project.run(&["ps", "--json"]);
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    let all = all["components"].as_array().unwrap();
    all.iter().find(|one| one["name"] == name).unwrap().clone()
}

fn commanded(project: &Project, words: &[&str]) {
    let output = project.run(words);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The reason that orch gives for the present state of a component.
fn reason(project: &Project, name: &str) -> String {
    shown(project, name)["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_run_gets_its_sockets_and_nothing_else_over_restarts_without_a_refusal() {
    let at = address();
    let project = project(&format!(
        "
components:
  api:
    {SERVER}
    sockets: {{ http: '{at}', any: '127.0.0.1:0', admin: ./run/api.sock }}
    watch: [source]
  other: {{ process: ./faulty }}
"
    ));
    project.write("source", "0");
    let mut orch = project.up();
    project.wait_told_ready("api", 1);
    project.wait_ready("other", 1);
    let first = got(&project, "api", 1);
    let any = shown(&project, "api")["sockets"]["any"].as_str().unwrap().to_owned();
    assert!(any.starts_with("127.0.0.1:") && any != "127.0.0.1:0", "{any}");
    let clients = Clients::start(&at);
    clients.all_served();
    for restart in 1..=20 {
        project.save("source", restart.to_string());
        project.wait_told_ready("api", restart + 1);
    }
    clients.end();
    let last = got(&project, "api", 21);
    assert_ne!(first["pid"], last["pid"]);
    for one in [&first, &last] {
        assert_eq!(one["names"], serde_json::json!(["http", "any", "admin"]));
        assert_eq!(one["open"], serde_json::json!([0, 1, 2, 3, 4, 5]), "nothing else reaches it");
        assert_eq!(one["blocking"], serde_json::json!([true, true, true]));
        assert_eq!(one["listening"], serde_json::json!([1, 1, 1]));
    }
    assert_eq!(first["inodes"], last["inodes"], "they are the same sockets");
    let sockets = shown(&project, "api")["sockets"].clone();
    let admin = project.path("run/api.sock");
    assert_eq!(sockets, serde_json::json!({ "http": at, "any": any, "admin": admin.to_str() }));
    assert!(shown(&project, "other")["sockets"].is_null());
    assert_eq!(ask(&any), "api any 21 hello\n");
    assert_eq!(talk(UnixStream::connect(&admin).unwrap()).unwrap(), "api admin 21 hello\n");

    // Nobody but orch and the run has them.
    let inodes: Vec<u64> =
        last["inodes"].as_array().unwrap().iter().map(|one| one.as_u64().unwrap()).collect();
    let has = |pid: u32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        open.filter_map(|one| fs::metadata(one.path()).ok()).filter(|it| inodes.contains(&it.ino())).count()
    };
    assert_eq!((has(orch.pid()), has(last["pid"].as_u64().unwrap() as u32)), (3, 3));
    assert_eq!((has(orch.keeper()), has(project.units()[0])), (0, 0));
    orch.stop();
    assert!(!admin.exists() && TcpStream::connect(&at).is_err());
}

#[test]
fn who_comes_too_early_or_while_it_is_down_waits_and_is_served() {
    let at = address();
    let project = project(&format!(
        "
components:
  gate: {{ process: ./faulty, ready: {{ file: go }} }}
  api:
    {SERVER}
    sockets: {{ http: '{at}' }}
    depends_on: [gate]
"
    ));
    let mut orch = project.up();
    project.wait_state("api", "waiting");
    let early = wait_for("it is bound before it starts", || connect(&at).ok());
    project.wait_trace("gate", "start", 1);
    project.write("go", "");
    assert_eq!(talk(early).unwrap(), "api http 1 hello\n");
    kill_9(got(&project, "api", 1)["pid"].as_u64().unwrap() as u32);
    assert_eq!(ask(&at), "api http 2 hello\n");
    orch.stop();
}

/// Nothing runs yet while the first build does, nor while what is started by hand waits.
#[test]
fn who_comes_while_it_is_built_or_waits_for_the_first_time_is_served() {
    let (built, waits) = (address(), address());
    let project = project(&format!(
        "
components:
  built:
    {SERVER}
    build: {{ shell: 'until test -e go; do sleep 0.02; done' }}
    sockets: {{ http: '{built}' }}
  gate: {{ process: ./faulty, autostart: false, ready: {{ file: go }} }}
  waits:
    {SERVER}
    sockets: {{ http: '{waits}', path: ./waits.sock }}
    autostart: false
    depends_on: [gate]
"
    ));
    let mut orch = project.up();
    project.wait_state("built", "building");
    let first = wait_for("it is bound while it is built", || connect(&built).ok());
    let mut start = project.start(project.command(&["start", "waits"]));
    project.wait_state("waits", "waiting");
    let second = wait_for("it is bound while it waits", || connect(&waits).ok());
    let third = wait_for("so is its path", || UnixStream::connect(project.path("waits.sock")).ok());
    project.wait_trace("gate", "start", 1);
    project.write("go", "");
    assert_eq!(talk(first).unwrap(), "built http 1 hello\n");
    assert_eq!(talk(second).unwrap(), "waits http 1 hello\n");
    assert_eq!(talk(third).unwrap(), "waits path 1 hello\n");
    assert!(start.exit_status().success());
    orch.stop();
}

#[test]
fn a_new_image_and_an_edit_of_another_key_refuse_nobody() {
    let at = address();
    let yaml = |description: &str, words: &str| {
        format!(
            "
components:
  api:
    {SERVER}{words}
    description: {description}
    sockets: {{ http: '{at}', any: '127.0.0.1:0', admin: ./api.sock }}
"
        )
    };
    let project = project(&yaml("one", ""));
    let mut orch = project.up();
    project.wait_told_ready("api", 1);
    let before = shown(&project, "api")["sockets"].clone();
    let clients = Clients::start(&at);
    clients.all_served();
    for upgrade in 1..=3 {
        commanded(&project, &["upgrade"]);
        clients.all_served();
        // What the new image was handed is what it hands on.
        commanded(&project, &["restart", "api"]);
        assert_eq!(got(&project, "api", upgrade + 1)["names"], serde_json::json!(["http", "any", "admin"]));
    }
    assert_eq!(got(&project, "api", 4)["inodes"], got(&project, "api", 1)["inodes"]);
    // An image that can't be leaves them as they were.
    project.write("broken", "#!/bin/sh\nexit 1\n");
    commanded(&project, &["wait", "api"]);
    assert_ne!(project.run(&["upgrade", "broken"]).status.code(), Some(0));
    clients.all_served();
    project.yaml(&yaml("two", ""));
    clients.all_served();
    project.yaml(&yaml("two", " again"));
    project.wait_told_ready("api", 5);
    clients.end();
    assert_eq!(shown(&project, "api")["sockets"], before);
    orch.stop();
    assert!(!project.path("api.sock").exists());
}

#[test]
fn an_address_that_moves_to_another_component_is_the_same_socket() {
    let (one, two) = (address(), address());
    let yaml = |a: &str, b: &str| {
        format!(
            "components:\n  {a}: {{ {SERVER}, sockets: {{ s: '{one}' }} }}\n  {b}: {{ {SERVER}, sockets: {{ t: '{two}', u: ./{a}.sock }} }}"
        )
    };
    let project = project(&yaml("a", "b"));
    let mut orch = project.up();
    project.wait_told_ready("a", 1);
    project.wait_told_ready("b", 1);
    let (first, second) = (Clients::start(&one), Clients::start(&two));
    first.all_served();
    let inode = got(&project, "a", 1)["inodes"][0].clone();
    // Renamed, and the two exchanged.
    project.yaml(&yaml("c", "b"));
    project.wait_told_ready("c", 1);
    assert_eq!(got(&project, "c", 1)["inodes"][0], inode);
    wait_until("the other path is taken away", || {
        !project.path("a.sock").exists() && project.path("c.sock").exists()
    });
    project.yaml(&yaml("b", "c"));
    wait_until("they have changed places", || ask(&one).starts_with("b s ") && ask(&two).starts_with("c t "));
    first.end();
    second.end();
    orch.stop();
}

#[test]
fn a_port_in_use_names_who_has_it_and_is_taken_when_it_is_free() {
    let at = address();
    let port = at.rsplit(':').next().unwrap().to_owned();
    let theirs = TcpListener::bind(&at).unwrap();
    let project = project(&format!(
        "
components:
  api:
    {SERVER}
    sockets: {{ http: '{at}' }}
    restart: {{ limit: {{ count: 1000, within: 1s }}, backoff: {{ initial: 50ms, max: 50ms }} }}
"
    ));
    let mut orch = project.up();
    project.wait_state("api", "backoff");
    let told = wait_for("the reason is told", || {
        Some(reason(&project, "api")).filter(|reason| reason.contains("in use"))
    });
    let (pid, text) = (std::process::id(), format!("port {port} is in use by "));
    assert!(told.contains(&text) && told.contains(&format!("(pid {pid})")), "{told}");
    assert!(told.contains("the socket `http`"), "{told}");
    drop(theirs);
    project.wait_state("api", "ready");
    assert!(ask(&at).starts_with("api http "));
    orch.stop();
}

#[test]
fn of_two_projects_the_second_is_told_which_component_has_the_port() {
    let at = address();
    let yaml = format!("components:\n  api: {{ {SERVER}, sockets: {{ http: '{at}' }}, restart: never }}");
    let (one, two) = (project(&yaml), project(&yaml));
    let mut first = one.up();
    one.wait_told_ready("api", 1);
    let mut second = two.up();
    second.expect_exit(1);
    let told = two.read("stderr");
    assert!(told.contains("is in use by") && told.contains("`api` of the orch project in"), "{told}");
    first.stop();
}

#[test]
fn what_is_stopped_refuses_and_what_is_started_again_is_bound_again() {
    let at = address();
    let project = project(&format!(
        "components:\n  api: {{ {SERVER}, sockets: {{ http: '{at}', path: ./api.sock }} }}\n  other: {{ process: ./faulty }}"
    ));
    let mut orch = project.up();
    project.wait_told_ready("api", 1);
    assert_eq!(ask(&at), "api http 1 hello\n");
    commanded(&project, &["stop", "api"]);
    let refused =
        || TcpStream::connect(&at).is_err_and(|it| it.kind() == std::io::ErrorKind::ConnectionRefused);
    wait_until("who connects is refused", refused);
    wait_until("the path is taken away", || !project.path("api.sock").exists());
    commanded(&project, &["start", "api"]);
    assert_eq!(ask(&at), "api http 2 hello\n");
    assert!(project.path("api.sock").exists());
    orch.stop();
}

#[test]
fn a_path_is_taken_over_from_a_dead_one_and_from_nobody_else() {
    let project = project(&format!(
        "
components:
  file: {{ {SERVER}, sockets: {{ s: ./file.sock }}, restart: never }}
  living: {{ {SERVER}, sockets: {{ s: ./living.sock }}, restart: never }}
  stale: {{ {SERVER}, sockets: {{ s: ./new/stale.sock }}, watch: [source] }}
"
    ));
    project.write("source", "");
    project.write("file.sock", "precious");
    let living = std::os::unix::net::UnixListener::bind(project.path("living.sock")).unwrap();
    fs::create_dir(project.path("new")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(project.path("new/stale.sock")).unwrap());
    let mut orch = project.up();
    project.wait_state("file", "failed");
    project.wait_state("living", "failed");
    project.wait_told_ready("stale", 1);
    assert!(reason(&project, "file").contains("a file is there"), "{}", reason(&project, "file"));
    let told = reason(&project, "living");
    assert!(
        told.contains("living.sock is in use by") && told.contains(&std::process::id().to_string()),
        "{told}"
    );
    let stale = project.path("new/stale.sock");
    let at_it = || talk(UnixStream::connect(&stale).unwrap()).unwrap();
    assert_eq!(at_it(), "stale s 1 hello\n");
    // A server that takes its file away has it made anew.
    fs::remove_file(&stale).unwrap();
    project.write("source", "new");
    project.wait_told_ready("stale", 2);
    assert_eq!(at_it(), "stale s 2 hello\n");
    orch.signal(rustix::process::Signal::TERM);
    assert_eq!(orch.exit_status().code(), Some(1));
    assert!(!stale.exists() && project.path("living.sock").exists());
    assert_eq!(project.read("file.sock"), "precious");
    drop(living);
}

#[test]
fn a_killed_orch_leaves_no_port_taken_and_the_next_one_binds() {
    let at = address();
    let project = project(&format!(
        "components:\n  api: {{ {SERVER}, sockets: {{ http: '{at}', path: ./api.sock }} }}"
    ));
    let mut orch = project.up();
    project.wait_told_ready("api", 1);
    orch.kill();
    wait_until("nobody listens any more", || TcpStream::connect(&at).is_err());
    assert!(project.path("api.sock").exists(), "nobody was left to take it away");
    let mut next = project.up();
    project.wait_told_ready("api", 2);
    assert_eq!(ask(&at), "api http 2 hello\n");
    assert!(UnixStream::connect(project.path("api.sock")).is_ok());
    next.stop();
    assert!(!project.path("api.sock").exists());
}

const WEB: &str = "
import http.server, socket

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()

server = http.server.HTTPServer(('127.0.0.1', 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
server.serve_forever()
";

/// The probe's address is the component's own socket, on which the backlog answers before anything runs.
#[test]
fn an_http_probe_on_its_own_socket_is_no_stranger_to_it() {
    let at = address();
    let project = Project::new(&format!(
        "
components:
  api: {{ process: python3 -B web.py, sockets: {{ http: '{at}' }}, ready: {{ http: 'http://{at}/' }} }}
"
    ));
    project.write("web.py", WEB);
    let mut orch = project.up();
    project.wait_told_ready("api", 1);
    commanded(&project, &["restart", "api"]);
    project.wait_told_ready("api", 2);
    orch.stop();
}
