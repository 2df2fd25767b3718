//! A proxy that restarts itself, alone or with orch's image: its clients notice a pause at most.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::harness::{Project, address, append, wait_for, wait_until};
use crate::proxy::{HEAD_END, LONG, exchange, read_until};
use crate::reexec;

const POST: &str = "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const WEB_SOCKET: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A server behind a proxy, and others beside them.
struct Site {
    project: Project,
    front: String,
    yaml: String,
}

fn site(others: &str) -> Site {
    let (front, back) = (address(), address());
    let yaml = format!(
        "
components:
  app:
    process: python3 served.py {back} http
    watch: [served.py]
    ready: {{ tcp: '{back}', timeout: 1m, interval: 10ms }}
  front: {{ thread: proxy, with: {{ listen: '{front}', to: '{back}', hold: 60s }} }}
{others}"
    );
    let project = Project::new(&yaml);
    project.write("served.py", include_str!("../fixtures/served.py"));
    Site { project, front, yaml }
}

impl Site {
    fn client(&self) -> TcpStream {
        let client = wait_for("the proxy listens", || TcpStream::connect(&self.front).ok());
        client.set_read_timeout(Some(LONG)).unwrap();
        client
    }

    /// What fails while `something` happens to four clients without pause, two of which keep their connections. It is
    /// given what waits until more of their requests are answered.
    fn failures(&self, something: impl FnOnce(&dyn Fn())) -> Vec<String> {
        let (over, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
        let more = || {
            let before = answers.load(Ordering::Relaxed);
            wait_until("requests are answered", || answers.load(Ordering::Relaxed) > before + 20);
        };
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..4)
                .map(|number| {
                    let (over, answers) = (&over, &answers);
                    let (request, keeps) = ([GET, POST][number % 2], number < 2);
                    scope.spawn(move || {
                        let (mut client, mut failures) = (self.client(), Vec::new());
                        while !over.load(Ordering::Relaxed) {
                            let failed = exchange(&mut client, request).err();
                            if failed.is_some() || !keeps {
                                client = self.client();
                            }
                            failures.extend(failed);
                            answers.fetch_add(1, Ordering::Relaxed);
                        }
                        failures
                    })
                })
                .collect();
            more();
            something(&more);
            more();
            over.store(true, Ordering::Relaxed);
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        })
    }

    fn ready(&self) {
        self.project.wait_told_ready("app", 1);
        self.project.wait_told_ready("front", 1);
    }

    fn web_socket(&self) -> TcpStream {
        let mut socket = self.client();
        socket.write_all(WEB_SOCKET.as_bytes()).unwrap();
        assert!(read_until(&mut socket, HEAD_END).unwrap().starts_with("HTTP/1.1 101 "));
        socket
    }

    fn upgraded(&self) {
        let output = self.project.run(&["upgrade"]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Sends a text and reads it back.
fn echoes(socket: &mut TcpStream, text: &str) {
    let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    socket.write_all(&frame).unwrap();
    assert!(read_until(socket, text).unwrap().ends_with(text));
}

#[test]
fn edits_of_the_proxy_and_upgrades_of_orch_fail_no_request_and_cut_no_web_socket() {
    let site = site("");
    let mut orch = site.project.up();
    site.ready();
    let mut socket = site.web_socket();
    let failures = site.failures(|more| {
        for run in 2..=6 {
            let hold = format!("hold: 5{run}s");
            site.project.yaml(&site.yaml.replace("hold: 60s", &hold));
            site.project.wait_told_ready("front", run);
            more();
            echoes(&mut socket, &hold);
        }
        for upgrade in 1..=3 {
            site.upgraded();
            more();
            echoes(&mut socket, &format!("upgrade {upgrade}"));
        }
        drop(socket);
        // All at once: requests wait for the server while the image changes.
        for save in 1..=3 {
            append(&site.project.path("served.py"), &format!("# {save}\n"));
            site.project.wait_event("it stops", |event| {
                event["event"] == "component.stopping"
                    && event["component"] == "app"
                    && event["incarnation"] == save
            });
            site.upgraded();
            site.project.wait_told_ready("app", save + 1);
        }
    });
    assert_eq!(failures, Vec::<String>::new());
    orch.stop();
    assert!(TcpStream::connect(&site.front).is_err());
}

/// A connection that ends, and is not refused, has reached somebody.
fn answers(client: &mut TcpStream) -> bool {
    exchange(client, GET).is_ok()
}

#[test]
fn a_proxy_that_becomes_something_else_leaves_nobody_behind() {
    let site = site("");
    let mut orch = site.project.up();
    site.ready();
    let mut socket = site.web_socket();
    let front = &site.front;
    let declared = site.yaml.lines().find(|line| line.starts_with("  front:")).unwrap();
    let server =
        format!("  front: {{ process: python3 served.py {front} http, ready: {{ tcp: '{front}' }} }}");
    site.project.yaml(&site.yaml.replace(declared, &server));
    site.project.wait_told_ready("front", 2);
    assert!(answers(&mut site.client()), "by the new server");
    while socket.read(&mut [0]).is_ok_and(|read| read > 0) {}
    site.project.yaml(&site.yaml);
    site.project.wait_told_ready("front", 3);
    assert!(answers(&mut site.client()), "by the proxy again");
    orch.stop();
}

#[test]
fn what_is_behind_can_take_the_address_that_the_proxy_had() {
    let site = site("");
    let yaml = site.yaml.replace("  front: {", "  front: { depends_on: [app],");
    site.project.yaml(&yaml);
    let mut orch = site.project.up();
    site.ready();
    let mut socket = site.web_socket();
    // They change places.
    let back = yaml.split("served.py ").nth(1).unwrap().split(' ').next().unwrap();
    let swapped = yaml.replace(back, "BACK").replace(&site.front, back).replace("BACK", &site.front);
    site.project.yaml(&swapped);
    site.project.wait_told_ready("app", 2);
    site.project.wait_told_ready("front", 2);
    assert!(answers(&mut TcpStream::connect(back).unwrap()), "by the proxy");
    assert!(answers(&mut site.client()), "by the server itself");
    while socket.read(&mut [0]).is_ok_and(|read| read > 0) {}
    orch.stop();
}

/// It says when it was run, and leaves the rest to the signal.
const STOP: &str = "
import os, time
with open('told.new', 'w') as told:
    told.write(str(time.monotonic_ns()))
os.rename('told.new', 'told')
raise SystemExit(1)
";

#[test]
fn a_stop_command_is_run_when_nothing_is_under_way_or_that_was_waited_for() {
    let site = site("");
    let stop = "    stop: { command: [python3, stop.py], timeout: 1m }\n    watch:";
    site.project.write("stop.py", STOP);
    site.project.yaml(&site.yaml.replace("    watch:", stop));
    let mut orch = site.project.up();
    site.ready();
    let mut client = site.client();
    client.write_all(POST.replace("\r\n\r\nbody", "\r\nExpect: 100-continue\r\n\r\n").as_bytes()).unwrap();
    assert!(read_until(&mut client, HEAD_END).unwrap().starts_with("HTTP/1.1 100 "), "it is under way");
    std::thread::scope(|scope| {
        let stopped = scope.spawn(|| site.project.run(&["stop", "app"]).status.code());
        let told = wait_for("the command is run", || std::fs::read_to_string(site.project.path("told")).ok());
        let stopping = site.project.wait_event("it stops", |event| event["event"] == "component.stopping");
        let waited = told.parse::<u64>().unwrap() - stopping["mono_ns"].as_u64().unwrap();
        assert!(waited >= 190_000_000, "{waited} ns");
        client.write_all(b"body").unwrap();
        assert!(read_until(&mut client, HEAD_END).unwrap().starts_with("HTTP/1.1 200 "));
        assert_eq!(stopped.join().unwrap(), Some(0));
    });
    orch.stop();
}

#[test]
fn clients_go_on_in_a_new_image_while_the_proxy_waits_for_its_start() {
    let worker = "  worker: { process: sh worker.sh, watch: [worker.sh], ready: { log: works } }\n";
    let site = site(worker);
    site.project.write("worker.sh", "echo works\nexec sleep 1000\n");
    let yaml = site.yaml.replace("  front: {", "  front: { depends_on: [app, worker],");
    site.project.yaml(&yaml);
    let mut orch = site.project.up();
    site.ready();
    let (mut socket, mut kept) = (site.web_socket(), site.client());
    assert!(answers(&mut kept));
    site.project.write("worker.sh", "exec sleep 1000\n");
    site.project.wait_event("it starts anew", |event| {
        event["event"] == "component.starting" && event["component"] == "worker" && event["incarnation"] == 2
    });
    site.upgraded();
    site.project.wait_state("front", "waiting");
    echoes(&mut socket, "without a run");
    kept.write_all(GET.as_bytes()).unwrap();
    site.project.write("worker.sh", "echo works\nexec sleep 1000\n");
    site.project.wait_told_ready("front", 2);
    assert!(read_until(&mut kept, HEAD_END).unwrap().starts_with("HTTP/1.1 200 "), "it was held");
    echoes(&mut socket, "with one");
    orch.stop();
}

#[test]
fn an_image_that_can_not_be_begun_takes_nothing_along() {
    let site = site("");
    let mut orch = site.project.up();
    site.ready();
    // It answers for what it would be, and is gone then.
    let program = site.project.path("gone");
    let script = format!(
        "#!/bin/sh\nrm -f '{}'\nexec '{}' \"$@\"\n",
        program.display(),
        site.project.path("orch").display()
    );
    let mut socket = site.web_socket();
    let failures = site.failures(|more| {
        for time in 1..=3 {
            site.project.write("gone", &script);
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
            let output = site.project.run(&["upgrade", "./gone"]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.code() == Some(1) && said.contains("can't become"), "{said}");
            site.project.wait_told_ready("front", time + 1);
            more();
            echoes(&mut socket, &format!("still there {time}"));
        }
    });
    assert_eq!(failures, Vec::<String>::new());
    orch.stop();
}

#[test]
fn a_thread_that_hangs_beside_a_proxy_is_ended_and_nobody_notices() {
    let hung =
        "  loop: { thread: stubborn, with: {}, state: true, watch: [source], stop: { timeout: 300ms } }\n";
    let site = site(hung);
    let mut orch = reexec::up(&site.project);
    site.ready();
    site.project.wait_told_ready("loop", 1);
    let mut socket = site.web_socket();
    let failures = site.failures(|more| {
        site.project.write("hang-loop", "");
        for image in 1..=2 {
            site.project.write("source", format!("{image}"));
            wait_until("there is a new image", || reexec::images(&site.project) == image);
            site.project.wait_told_ready("loop", image as u64 + 1);
            more();
            echoes(&mut socket, &format!("image {image}"));
        }
        std::fs::remove_file(site.project.path("hang-loop")).unwrap();
    });
    assert_eq!(failures, Vec::<String>::new());
    orch.stop();
}
