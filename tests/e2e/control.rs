//! The control socket as any client meets it; every answer is held against `schemas/openapi.json`.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use orch::api::{Call, Found, ROUTES, find, openapi};
use orch::client::Address;
use rustix::process::Uid;
use serde_json::{Value, json};

use crate::harness::{Project, wait_for, wait_until, yaml_text};
use crate::socket::{Following, Reply, ask, connect, send};

const YAML: &str = "
components:
  db: { process: ./faulty, description: first }
  api: { process: ./faulty, depends_on: [db] }
  once: { process: [./faulty, exit, '0'] }
  broken: { process: [./faulty, exit, '7'], restart: never, ready: { file: never, timeout: 1h } }
  lazy: { process: ./faulty, autostart: false }
  tick: { thread: ticker, with: { every: 1h } }
";

/// Asks, and holds each answer against the description.
struct Judge<'p> {
    project: &'p Project,
    openapi: Value,
    asked: BTreeSet<String>,
}

impl<'p> Judge<'p> {
    fn new(project: &'p Project) -> Self {
        Self { project, openapi: openapi(), asked: BTreeSet::new() }
    }

    fn ask(&mut self, method: &str, path: &str, body: &str, status: u16) -> Value {
        let reply = ask(self.project, method, path, body);
        assert_eq!(reply.status, status, "{method} {path} {body}: {reply:?}");
        self.judge(method, path, &reply)
    }

    /// The answer is one that is described.
    fn judge(&mut self, method: &str, path: &str, reply: &Reply) -> Value {
        let Found::Route(route, _) = find(method, path.split('?').next().unwrap()) else {
            return self.fits(&json!({"$ref": "#/components/schemas/Refusal"}), reply.json());
        };
        let responses = &self.openapi["paths"][route.path][method.to_lowercase()]["responses"];
        let response = &responses[reply.status.to_string()]["content"];
        self.asked.insert(format!("{:?}", route.call));
        let head = reply.head.to_lowercase();
        if response["application/x-ndjson"].is_object() {
            assert!(head.contains("content-type: application/x-ndjson"), "{head}");
            let schema = &response["application/x-ndjson"]["schema"];
            if schema["$ref"].is_string() {
                for line in reply.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    self.fits(schema, serde_json::from_slice(line).unwrap());
                }
            }
            return Value::Null;
        }
        assert!(head.contains("content-type: application/json"), "{head}");
        let schema = response["application/json"]["schema"].clone();
        assert!(schema.is_object(), "{} of {path} is not described: {reply:?}", reply.status);
        self.fits(&schema, reply.json())
    }

    fn fits(&self, schema: &Value, value: Value) -> Value {
        let mut schema = schema.clone();
        schema["components"] = self.openapi["components"].clone();
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}: {value:#}");
        value
    }
}

fn component<'v>(status: &'v Value, name: &str) -> &'v Value {
    status["components"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()
}

#[test]
fn every_route_answers_as_it_is_described() {
    let project = Project::new(YAML);
    let mut orch = project.up();
    let mut judge = Judge::new(&project);
    let good = judge.ask("POST", "/v1/wait", r#"{"names":["api","once","tick"]}"#, 200);
    assert_eq!(good["met"], true);

    let status = judge.ask("GET", "/v1/status", "", 200);
    assert_eq!((&status["pid"], &status["config_generation"]), (&json!(orch.pid()), &json!(1)));
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(keys(&status), "project pid config_generation components");
    let api = component(&status, "api");
    let expected = "name kind state pid incarnation restarts exit since status restored reason sockets";
    assert_eq!(keys(api), expected);
    assert_eq!(
        (&api["kind"], &api["state"], &api["incarnation"]),
        (&json!("process"), &json!("ready"), &json!(1))
    );
    assert_eq!(component(&status, "tick")["kind"], "thread");
    assert_eq!(component(&status, "once")["exit"], json!({"code": 0}));
    assert_eq!(component(&status, "broken")["state"], "failed");
    let ready = project.wait_event("api is ready", |event| {
        event["event"] == "component.ready" && event["component"] == "api"
    });
    assert_eq!(api["since"], ready["time"], "as the journal has it");

    let version = judge.ask("GET", "/v1/version", "", 200);
    assert_eq!(version["file"], project.path("devmode.yaml").display().to_string());
    assert_eq!(version["state_dir"], project.path(".orch").display().to_string());
    judge.ask("GET", "/v1/usage", "", 200);
    assert_eq!(judge.ask("GET", "/v1/openapi.json", "", 200), openapi());

    commands(&mut judge);

    let plan = judge.ask("POST", "/v1/plan", "{}", 200);
    assert_eq!((&plan["valid"], &plan["steps"]), (&json!(true), &json!([])));
    judge.ask("POST", "/v1/reload", "", 200);
    judge.ask("POST", "/v1/upgrade", r#"{"path":"/bin/true"}"#, 409);
    let events = ask(&project, "GET", "/v1/events", "");
    judge.judge("GET", "/v1/events", &events);
    assert_eq!(String::from_utf8(events.body).unwrap(), project.read(".orch/events.ndjson"));
    let logs = ask(&project, "GET", "/v1/logs?name=tick&exact=true", "");
    judge.judge("GET", "/v1/logs", &logs);
    assert!(logs.body.starts_with(b"{\"component\":\"tick\",\"time\":\"2"), "{logs:?}");
    refusals(&mut judge);

    let down = judge.ask("POST", "/v1/down", "{}", 202);
    assert_eq!(down["pid"], orch.pid());
    orch.expect_exit(1);
    let all: BTreeSet<String> = ROUTES.iter().map(|route| format!("{:?}", route.call)).collect();
    assert_eq!(judge.asked, all, "every route was asked");
}

/// What is commanded is done when it is answered, and told as it was.
fn commands(judge: &mut Judge<'_>) {
    let why = judge.ask("GET", "/v1/why/broken", "", 200);
    assert_eq!((&why["state"], &why["incarnation"]), (&json!("failed"), &json!(1)));
    assert!(!why["sentences"].as_array().unwrap().is_empty());

    let did = judge.ask("POST", "/v1/restart", r#"{"names":["db"]}"#, 200);
    assert_eq!(did["failed"], json!([]));
    assert_eq!((&did["did"][0]["action"], &did["did"][0]["state"]), (&json!("restart"), &json!("ready")));
    let status = judge.ask("GET", "/v1/status", "", 200);
    assert_eq!(component(&status, "db")["incarnation"], 2);
    let did = judge.ask("POST", "/v1/stop", r#"{"names":["db"]}"#, 200);
    let actions = |did: &Value| {
        let each = did["did"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| format!("{} {}", one["action"], one["component"]));
        each.collect::<Vec<_>>().join(", ").replace('"', "")
    };
    assert_eq!(actions(&did), "stop api, stop db");
    let status = judge.ask("GET", "/v1/status", "", 200);
    assert_eq!(component(&status, "api")["state"], "stopped", "what needs it is stopped, too");
    let did = judge.ask("POST", "/v1/start", r#"{"names":["api","lazy","once","tick"]}"#, 200);
    assert_eq!(actions(&did), "start db, start api, start lazy, start once, none tick");
    let status = judge.ask("GET", "/v1/status", "", 200);
    for name in ["db", "api", "lazy"] {
        assert_eq!(component(&status, name)["state"], "ready");
    }
    let failed = judge.ask("POST", "/v1/start", r#"{"names":["broken"]}"#, 200);
    assert_eq!(failed["failed"][0]["component"], "broken");
}

/// What is refused, and in what words.
fn refusals(judge: &mut Judge<'_>) {
    for route in ROUTES.iter().filter(|route| route.method == orch::api::Method::Post) {
        for bad in ["{", "[]", r#"{"nonsense":1}"#, "7", "\u{0}"] {
            judge.ask("POST", route.path, bad, 400);
        }
        judge.ask("GET", route.path, "", 405);
    }
    let no_state = judge.ask("POST", "/v1/wait", r#"{"for":"reddy"}"#, 400);
    assert!(no_state["help"].as_str().unwrap().contains("waiting, building, starting, ready"), "{no_state}");
    judge.ask("POST", "/v1/start", r#"{"names":[]}"#, 400);
    for route in ["start", "stop", "restart", "wait"] {
        let unknown = judge.ask("POST", &format!("/v1/{route}"), r#"{"names":["api","apo"]}"#, 404);
        assert_eq!(unknown["help"], "did you mean `api`?");
        judge.ask("POST", &format!("/v1/{route}"), r#"{"names":["../x\u0007"]}"#, 404);
    }
    judge.ask("POST", "/v1/plan", r#"{"against":"relative.yaml"}"#, 400);
    judge.ask("POST", "/v1/upgrade", r#"{"path":"relative"}"#, 400);
    for query in ["after=x", "nonsense=1", "follow=maybe", "after=1&after=2", "after=%zz"] {
        judge.ask("GET", &format!("/v1/events?{query}"), "", 400);
    }
    for path in ["/", "/v1", "/v1/", "/v1/status/", "/v2/status", "/v1/statu%73"] {
        judge.ask("GET", path, "", 404);
    }
    assert_eq!(judge.ask("GET", "/v1/why/brokn", "", 404)["help"], "did you mean `broken`?");
    judge.ask("DELETE", "/v1/status", "", 405);
    let long = format!(r#"{{"names":["{}"]}}"#, "x".repeat(1 << 20));
    judge.ask("POST", "/v1/start", &long, 413);
    let head = format!("/v1/status?{}", "x".repeat(20 << 10));
    judge.ask("GET", &head, "", 431);
    for garbage in ["hello\r\n\r\n", "GET / HTTP/3\r\n\r\n", "GET /v1/status HTTP/1.1\r\nno header\r\n\r\n"] {
        let mut stream = connect(judge.project);
        stream.write_all(garbage.as_bytes()).unwrap();
        let reply = Reply::read(stream);
        assert_eq!(reply.status, 400, "{garbage:?}");
        judge.judge("GET", "/v1/status", &reply);
    }
}

#[test]
fn whoever_waits_is_told_when_it_has_come_and_when_it_can_not() {
    let project = Project::new(YAML);
    let mut orch = project.up();
    let waited = |body: &str| ask(&project, "POST", "/v1/wait", body).json();
    let all = waited("{}");
    assert_eq!(all["met"], false, "one has failed");
    let names: Vec<&str> =
        all["components"].as_array().unwrap().iter().map(|one| one["component"].as_str().unwrap()).collect();
    assert_eq!(names, ["api", "broken", "db", "once", "tick"], "what is stopped is not waited for");
    assert_eq!(all["components"][1]["met"], false);
    assert_eq!(waited(r#"{"names":["once"],"for":"completed"}"#)["met"], true);
    let never = waited(r#"{"names":["once"],"for":"ready"}"#);
    assert_eq!((&never["met"], &never["components"][0]["state"]), (&json!(false), &json!("completed")));
    assert_eq!(waited(r#"{"names":["lazy"]}"#)["met"], false);

    // Something that is up may still get there, by whatever.
    let pending = send(&project, "POST", "/v1/wait", r#"{"names":["api"],"for":"stopped"}"#);
    let transient = send(&project, "POST", "/v1/wait", r#"{"names":["api"],"for":"stopping"}"#);
    ask(&project, "POST", "/v1/stop", r#"{"names":["api"]}"#);
    for stream in [pending, transient] {
        assert_eq!(Reply::read(stream).json()["met"], true);
    }
    // Those who go away are forgotten: else these would be too many.
    for _ in 0..400 {
        drop(send(&project, "POST", "/v1/wait", r#"{"names":["db"],"for":"stopped"}"#));
    }
    wait_until("there is room again", || {
        let stream = send(&project, "POST", "/v1/wait", r#"{"names":["db"]}"#);
        Reply::read(stream).status == 200
    });
    // The end of the project answers everybody.
    let pending = send(&project, "POST", "/v1/wait", r#"{"names":["db"],"for":"backoff"}"#);
    let (met, status) = (
        send(&project, "POST", "/v1/wait", r#"{"names":["db"],"for":"stopped"}"#),
        ask(&project, "GET", "/v1/status", ""),
    );
    assert_eq!(status.status, 200);
    ask(&project, "POST", "/v1/down", "{}");
    assert_eq!(Reply::read(met).json()["met"], true);
    let ending = Reply::read(pending);
    assert!(ending.status == 409 || ending.json()["met"] == false, "{ending:?}");
    orch.expect_exit(1);
}

#[test]
fn the_file_is_read_when_it_is_asked_for_and_the_answer_is_what_it_did() {
    let yaml = |say: &str| {
        format!("components:\n  a: {{ process: ./faulty say {say} }}\n  b: {{ process: ./faulty }}")
    };
    let project = Project::new(&yaml("one"));
    let mut orch = project.up_with(&["--no-watch"]);
    project.wait_ready("a", 1);
    project.wait_ready("b", 1);
    project.write("other/other.yaml", yaml_text(&yaml("two")));
    let against = json!({"against": project.path("other/other.yaml")}).to_string();
    let plan = ask(&project, "POST", "/v1/plan", &against).json();
    let steps = json!([{
        "component": "a", "action": "restart", "changed": ["process"], "reason": "its process changed"
    }]);
    assert_eq!((&plan["valid"], &plan["steps"], &plan["project"]), (&json!(true), &steps, &json!([])));
    assert_eq!(project.starts("a"), 1, "a plan does nothing");

    project.yaml(&yaml("two"));
    let reload = ask(&project, "POST", "/v1/reload", "{}").json();
    assert_eq!((&reload["valid"], &reload["steps"]), (&json!(true), &steps));
    assert_eq!(reload["config_generation"], 2);
    project.wait_ready("a", 2);
    assert_eq!(project.starts("b"), 1);

    project.write("other/bad.yaml", "version: 1\ncomponents:\n  a: { proces: x }\n");
    let against = json!({"against": project.path("other/bad.yaml")}).to_string();
    let plan = ask(&project, "POST", "/v1/plan", &against).json();
    assert_eq!((&plan["valid"], &plan["steps"]), (&json!(false), &json!([])));
    let file = project.path("other/bad.yaml").display().to_string();
    assert_eq!((&plan["errors"][0]["file"], &plan["errors"][0]["line"]), (&json!(file), &json!(3)));
    project.yaml("components:\n  a: { proces: x }");
    let reload = ask(&project, "POST", "/v1/reload", "{}").json();
    assert_eq!((&reload["valid"], &reload["config_generation"]), (&json!(false), &json!(2)));
    assert!(!reload["errors"].as_array().unwrap().is_empty());
    // Many at once are each answered by a read that began after they asked.
    project.yaml(&yaml("three"));
    let many: Vec<UnixStream> = (0..20).map(|_| send(&project, "POST", "/v1/reload", "{}")).collect();
    for stream in many {
        assert_eq!(Reply::read(stream).json()["valid"], true);
    }
    project.wait_ready("a", 3);
    orch.stop();
}

#[test]
fn events_are_followed_from_any_number_on_to_the_end() {
    let project = Project::new(YAML);
    let mut orch = project.up();
    project.wait_state("api", "ready");
    let mut from_now = Following::new(send(&project, "GET", "/v1/events?follow=true", ""));
    let mut from_third = Following::new(send(&project, "GET", "/v1/events?follow=true&after=2", ""));
    let mut late = Vec::new();
    wait_until("the past is told", || {
        late.extend(from_third.lines().0);
        late.first().is_some_and(|event| event["seq"] == 3)
    });
    from_now.lines();
    ask(&project, "POST", "/v1/restart", r#"{"names":["db"]}"#);
    let mut new = Vec::new();
    wait_until("what happens is told", || {
        new.extend(from_now.lines().0);
        new.iter().any(|event| event["event"] == "component.ready" && event["component"] == "db")
    });
    assert!(new.iter().all(|event| event["event"] != "project.up"), "{new:?}");
    ask(&project, "POST", "/v1/down", "{}");
    for (following, told) in [(&mut from_now, &mut new), (&mut from_third, &mut late)] {
        wait_for("the end", || {
            let (lines, ended) = following.lines();
            told.extend(lines);
            ended.then_some(())
        });
        assert_eq!(told.last().unwrap()["event"], "project.down");
        let numbers: Vec<u64> = told.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
        assert!(numbers.windows(2).all(|two| two[1] == two[0] + 1), "{numbers:?}");
    }
    orch.expect_exit(1);
}

/// The kernel tells who has connected; the modes of files don't.
#[test]
fn another_user_is_refused_also_where_the_modes_would_let_it_in() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can play another user");
        return;
    }
    let project = Project::new(YAML);
    let mut orch = project.up();
    project.wait_state("api", "ready");
    for (name, mode) in [(".", 0o755), (".orch", 0o755), (".orch/control.sock", 0o777)] {
        std::fs::set_permissions(project.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let address = Address::of(&project.path(".orch")).unwrap();
    let request = "POST /v1/down HTTP/1.1\r\nhost: orch\r\ncontent-length: 2\r\n\r\n{}";
    let play = || {
        // Of this thread alone.
        let nobody = Uid::from_raw(65534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        let mut stream = UnixStream::connect(address.path()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        Reply::read(stream)
    };
    let reply = std::thread::scope(|scope| scope.spawn(play).join().unwrap());
    assert_eq!(reply.status, 403, "{reply:?}");
    assert_eq!(reply.json()["error"], "this orch is another user's");
    for _ in 0..20 {
        let mut command = project.command(&["ps"]);
        let output = command.uid(65534).gid(65534).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(told, "orch: this orch is another user's; ask as the user that runs it\n");
        assert_eq!(output.status.code(), Some(1));
    }
    assert_eq!(ask(&project, "GET", "/v1/status", "").status, 200);
    assert!(orch.runs());
    orch.signal(rustix::process::Signal::TERM);
    orch.expect_exit(1);
}

#[test]
fn a_route_is_found_by_its_path_and_method() {
    assert!(matches!(find("GET", "/v1/status"), Found::Route(route, None) if route.call == Call::Status));
    assert!(matches!(find("POST", "/v1/status"), Found::OtherMethod(_)));
    assert!(matches!(find("GET", "/v1/statu"), Found::Nothing));
}
