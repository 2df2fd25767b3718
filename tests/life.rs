//! `examples/life.rs` works as its pages say: four threads in one process, each restarted strictly and alone,
//! with its state; none of their events is lost.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "`main` is the example's")]
#[path = "../examples/life.rs"]
mod life;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use life::world::World;
use orch::{Error, Exit, Handle, State};
use serde_json::Value;

const LONG: Duration = Duration::from_secs(30);
const DATA: [&str; 3] = ["effects.json", "weather.json", "page.html"];

/// The example in a folder of its own, at a port of its own, ten times as fast.
struct Life {
    folder: tempfile::TempDir,
    port: u16,
    project: Handle,
}

impl Life {
    fn begin() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/life-rs");
        for file in DATA {
            std::fs::copy(source.join(file), folder.path().join(file)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let yaml = std::fs::read_to_string(source.join("devmode.yaml")).unwrap();
        let own = yaml
            .replace("${LIFE_PORT:-8766}", &port.to_string())
            .replace("tick_ms: 1000", "tick_ms: 100")
            .replace("timeout: 2s ", "timeout: 500ms ");
        assert_ne!(own, yaml);
        let file = folder.path().join("devmode.yaml");
        std::fs::write(&file, own).unwrap();
        let world = Arc::new(World::new(&file));
        let project = life::orchestrator(&file, &world).start().unwrap();
        world.run_by(project.clone());
        project.start(["queue", "runtime", "generator", "api"]).unwrap();
        Self { folder, port, project }
    }

    fn ask(&self, request: &str, body: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(LONG)).ok()?;
        let length = body.len();
        write!(stream, "{request} HTTP/1.1\r\nHost: life\r\nContent-Length: {length}\r\n\r\n{body}").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    fn state(&self) -> Value {
        self.ask("GET /state", "").unwrap()
    }

    fn ticks(&self) -> u64 {
        self.state()["board"]["runtime"]["ticks"].as_u64().unwrap()
    }

    fn runs(&self) -> Vec<(String, u64)> {
        self.project.components().into_iter().map(|view| (view.name, view.incarnation)).collect()
    }

    /// Whether `name` is ready in run 2, and each of the others in run 1.
    fn is_second(&self, name: &str) -> bool {
        self.project.components().iter().all(|view| {
            view.state == State::Ready && view.incarnation == if view.name == name { 2 } else { 1 }
        })
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < LONG, "it did not come: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn its_file_is_valid_with_the_names_that_it_registers() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/life-rs/devmode.yaml");
    let world = Arc::new(World::new(&file));
    life::orchestrator(&file, &world).check().unwrap();
}

#[test]
fn a_saved_file_restarts_the_thread_that_reads_it_and_no_other() {
    let life = Life::begin();
    wait_until("it ticks", || life.ticks() >= 3);
    let effects = life.folder.path().join("effects.json");
    let text = std::fs::read_to_string(&effects).unwrap().replace("14.0", "40.0");
    let before = life.ticks();
    std::fs::write(&effects, text).unwrap();
    wait_until("the runtime's second run", || life.is_second("runtime"));
    assert!(life.ticks() >= before, "the life goes on where it was");
    assert_eq!(life.project.component("runtime").unwrap().exit, Some(Exit::Code(0)));

    std::fs::write(life.folder.path().join("page.html"), "other").unwrap();
    wait_until("the page's server follows", || life.project.component("api").unwrap().incarnation == 2);
    life.project.start(["api"]).unwrap();
    assert_eq!(life.state()["incarnation"], 2);
    assert!(life.state()["served"].as_u64().unwrap() > 3, "it goes on counting");
    assert!(life.project.shutdown().unwrap().is_success());
}

#[test]
fn a_panic_restarts_one_thread_alone() {
    let life = Life::begin();
    assert_eq!(life.ask("POST /panic/runtime", "").unwrap()["accepted"], "panic");
    wait_until("the runtime's second run", || life.is_second("runtime"));
    let runtime = life.project.component("runtime").unwrap();
    assert_eq!((runtime.exit, runtime.restarts), (Some(Exit::Panic("runtime was told to panic".into())), 1));
    assert!(life.project.shutdown().unwrap().is_success());
}

#[test]
fn events_that_wait_are_carried_over_by_whichever_thread_has_them() {
    let life = Life::begin();
    life.project.stop(["generator", "runtime"]).unwrap();
    // The API went with the runtime, on which it depends; events come by another way then.
    assert_eq!(life.project.component("api").unwrap().state, State::Stopped);
    life.project.start(["generator"]).unwrap();
    // As many as it says; it has said nothing yet right after its start.
    let waiting = || {
        let status = life.project.component("queue").unwrap().status?;
        status.split(' ').next()?.parse::<u32>().ok()
    };
    wait_until("events wait", || waiting().is_some_and(|count| count > 0));
    life.project.stop(["generator"]).unwrap();
    let before = waiting();
    life.project.restart(["queue"]).unwrap();
    wait_until("they wait still", || waiting().is_some() && waiting() >= before);
    life.project.start(["api"]).unwrap();
    wait_until("they are taken", || waiting() == Some(0) && life.ticks() > 0);
    // They are on their way to the runtime, which takes them at its next tick.
    let memory = || life.state()["board"]["runtime"]["memory"].as_array().is_some_and(|all| !all.is_empty());
    wait_until("they are remembered", memory);
    let taken = life.ask("POST /events", r#"{"kind": "food", "intensity": 0.5}"#).unwrap();
    assert_eq!(taken["accepted"], 1);
    assert!(life.ask("POST /events", "{}").unwrap()["error"].is_string());
    assert!(life.project.shutdown().unwrap().is_success());
}

#[test]
fn a_thread_that_hangs_is_stuck_where_a_re_exec_is_not_allowed() {
    let life = Life::begin();
    assert_eq!(life.ask("POST /hang/generator", "").unwrap()["accepted"], "hang");
    wait_until("it hangs", || {
        let made = || life.project.component("generator").unwrap().status;
        let before = made();
        std::thread::sleep(Duration::from_millis(1200));
        made() == before
    });
    let Err(Error::Unmet(unmet)) = life.project.restart(["generator"]) else { panic!("it does not return") };
    assert_eq!(unmet[0].0, "generator");
    let before = life.ticks();
    wait_until("the others live", || life.ticks() > before + 2);
    let runs: Vec<u64> = life.runs().into_iter().map(|(_, run)| run).collect();
    assert_eq!(runs, [1, 1, 1, 1]);
    // In order, the queue would wait for the generator, until shutdown_timeout.
    assert_eq!(life.project.kill().unwrap().code, 1);
}
