//! `orch logs`, and `GET /v1/logs`: what was written, and what is written, every byte once and in order.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Orch, PATIENCE, Project, SLACK, wait_until};
use crate::socket::{Following, ask, send};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `orch logs -f …`, its output in the files `NAME.out` and `NAME.err`.
fn follow<'a>(project: &'a Project, name: &str, args: &[&str]) -> Orch<'a> {
    let file = |end: &str| File::create(project.path(&format!("{name}.{end}"))).unwrap();
    let mut command = project.command(&[&["logs", "-f"], args].concat());
    Orch::of(project, command.stdout(file("out")).stderr(file("err")).spawn().unwrap())
}

/// All that is kept of a component's output.
fn kept(project: &Project, name: &str) -> Vec<u8> {
    let path = |number: u32| match number {
        0 => project.path(&format!(".orch/logs/{name}.log")),
        number => project.path(&format!(".orch/logs/{name}.log.{number}")),
    };
    let oldest = (1..).take_while(|number| path(*number).exists()).last().unwrap_or(0);
    (0..=oldest).rev().flat_map(|number| fs::read(path(number)).unwrap_or_default()).collect()
}

#[test]
fn what_was_written_is_shown_while_it_runs_and_when_nothing_does() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty say one say two pour nasty say three, ready: { log: three }, logs: { file: logs/of-a.txt } }
  worker: { process: ./faulty say other, depends_on: [a] }
",
    );
    let nasty = b"\x1b[31mre\x1b[0md\r\n\xff\0\n";
    project.write("nasty", nasty);
    let mut orch = project.up();
    wait_until("all is written", || {
        project.read(".orch/logs/worker.log").contains("other")
            && project.read("logs/of-a.txt").contains("three")
    });
    let check = || {
        let exact = project.run(&["logs", "a"]);
        assert_eq!(exact.stdout, [b"one\ntwo\n", &nasty[..], b"three\n"].concat());
        assert_eq!((exact.status.code(), stderr(&exact)), (Some(0), String::new()));
        assert_eq!(stdout(&project.run(&["logs", "-n", "2", "a"])), "\u{fffd}\0\nthree\n");
        assert_eq!(project.run(&["logs", "--grep", "^red$", "a"]).stdout, b"\x1b[31mre\x1b[0md\r\n");
        let both = project.run(&["logs", "--grep", "^(t|other)"]);
        assert_eq!(stdout(&both), "a      | two\na      | three\nworker | other\n");
        assert_eq!(stdout(&project.run(&["logs", "--until", "1h"])), "");
        assert_eq!(stdout(&project.run(&["logs", "--since", "1h", "worker"])), "other\n");
        let json = stdout(&project.run(&["logs", "--json", "-n1", "worker"]));
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["component"], &json["line"]), (&"worker".into(), &"other".into()));
        let times = stdout(&project.run(&["logs", "-t", "worker"]));
        assert!(times.ends_with(" other\n") && times.starts_with("20"), "{times}");
    };
    check();
    orch.stop();
    check();
    let unknown = project.run(&["logs", "workr"]);
    assert_eq!((unknown.status.code(), stdout(&unknown)), (Some(2), String::new()));
    assert!(stderr(&unknown).contains("did you mean `worker`?"), "{}", stderr(&unknown));
    assert_eq!(project.run(&["logs", "--grep", "("]).status.code(), Some(2));
    assert_eq!(project.run(&["logs", "--since", "soon"]).status.code(), Some(2));
    let late = project.run(&["logs", "-f"]);
    assert_eq!(late.status.code(), Some(3), "{}", stderr(&late));
    // A file that is not valid tells less, and hides no log that lies where logs lie.
    project.yaml("components: 7");
    let broken = project.run(&["logs", "worker"]);
    assert_eq!(stdout(&broken), "other\n");
    assert!(stderr(&broken).contains("not valid"));
}

#[test]
fn a_follower_gets_every_byte_once_over_rotations_restarts_and_new_images() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty pour bytes await go pour bytes say done, logs: { max_size: 64KiB, keep: 500 } }
  b: { process: ./faulty say quiet }
",
    );
    let line = |number: u32| {
        let mut line = format!("{number:07} é").into_bytes();
        line.extend([0xff, b'\r', 0, 0x1b].iter().take((number % 5) as usize));
        line.push(b'\n');
        line
    };
    let bytes: Vec<u8> = (0..60_000).flat_map(line).collect();
    project.write("bytes", &bytes);
    let mut orch = project.up();
    project.wait_ready("a", 1);
    let mut follower = follow(&project, "all", &["-n", "all", "a"]);
    let mut searcher = follow(&project, "grep", &["--grep", "^done|^0000007 ", "-n", "all", "--json"]);
    let length = || fs::metadata(project.path("all.out")).map_or(0, |metadata| metadata.len());
    wait_until("it has begun", || length() > 0);
    project.write("go", "");
    assert_eq!(project.run(&["upgrade"]).status.code(), Some(0));
    for _ in 0..2 {
        assert_eq!(project.run(&["restart", "a"]).status.code(), Some(0));
        assert_eq!(project.run(&["upgrade"]).status.code(), Some(0));
    }
    wait_until("the last run has said all", || kept(&project, "a").ends_with(b"done\n"));
    wait_until("all is told", || fs::read(project.path("all.out")).unwrap().ends_with(b"done\n"));
    orch.stop();
    follower.expect_exit(0);
    searcher.expect_exit(0);
    let (told, kept) = (fs::read(project.path("all.out")).unwrap(), kept(&project, "a"));
    assert!(kept.len() > 2 * bytes.len() && project.path(".orch/logs/a.log.30").exists());
    assert!(told == kept, "{} bytes were told, and {} written", told.len(), kept.len());
    let found: Vec<Value> =
        project.read("grep.out").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text = String::from_utf8_lossy(&kept).into_owned();
    let expected =
        text.lines().filter(|line| line.starts_with("done") || line.starts_with("0000007 ")).count();
    assert_eq!(found.len(), expected, "{found:#?}");
    assert!(project.read("all.err").contains("the project has ended"));
}

#[test]
fn components_that_an_edit_adds_are_followed_unless_others_were_named() {
    let a = "components:\n  a: { process: ./faulty say first }\n";
    let project = Project::new(a);
    let mut orch = project.up();
    project.wait_ready("a", 1);
    let (mut all, mut one) = (follow(&project, "all", &[]), follow(&project, "one", &["a"]));
    wait_until("both follow", || {
        project.read("all.out").contains("first") && project.read("one.out").contains("first")
    });
    // What it wrote in an earlier life is old.
    project.write(".orch/logs/late.log", "old\n");
    project.write(".orch/logs/late.log.times", "{\"offset\":0,\"time\":\"2020-01-01T00:00:00Z\"}\n");
    project.yaml(&format!("{a}  late: {{ process: ./faulty say new }}\n"));
    wait_until("the new one is told", || project.read("all.out").contains("new"));
    orch.stop();
    all.expect_exit(0);
    one.expect_exit(0);
    assert_eq!(project.read("all.out"), "a | first\nlate | new\n");
    assert_eq!(project.read("one.out"), "first\n");
}

#[test]
fn the_socket_tells_lines_and_where_following_begins() {
    let project = Project::new(
        "
components:
  a: { process: ./faulty say one pour bytes say 'b or c' await go say three }
  b: { process: ./faulty }
",
    );
    project.write("bytes", b"\xfftwo\n");
    let mut orch = project.up();
    wait_until("it has said it", || project.read(".orch/logs/a.log").contains("b or c"));
    let lines = |path: &str| {
        let reply = ask(&project, "GET", path, "");
        assert_eq!(reply.status, 200, "{reply:?}");
        let lines = reply.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect::<Vec<Value>>()
    };
    let all = lines("/v1/logs");
    let keys: Vec<&str> = all[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["component", "time", "line"]);
    assert_eq!(all.iter().map(|line| &line["line"]).collect::<Vec<_>>(), ["one", "\u{fffd}two", "b or c"]);
    assert_eq!(lines("/v1/logs?n=1&name=a&name=b")[0]["line"], "b or c");
    assert_eq!(lines("/v1/logs?grep=b%20or+c&since=1h").len(), 1);
    assert_eq!(lines("/v1/logs?name=b"), [] as [Value; 0]);
    let exact = lines("/v1/logs?exact=true");
    assert_eq!(exact[1]["bytes"], "\u{ff}two");

    let mut following = Following::new(send(&project, "GET", "/v1/logs?follow=true&exact=true&n=0", ""));
    let mut told: Vec<Value> = Vec::new();
    let marks = |told: &[Value]| told.first().map(|first| first["marks"].clone());
    wait_until("marks are told", || {
        told.extend(following.lines().0);
        marks(&told).is_some_and(|marks| marks.as_array().is_some_and(|marks| marks.len() == 2))
    });
    assert_eq!(marks(&told).unwrap()[0]["at"], exact[2]["at"], "it begins behind the last line");
    project.write("go", "");
    wait_until("what comes is told", || {
        told.extend(following.lines().0);
        told.len() == 2
    });
    assert_eq!(told[1]["line"], "three");

    for bad in ["n=x", "since=soon", "until=1h&follow=true", "grep=(", "x=1", "n=1&n=2", "follow=perhaps"] {
        assert_eq!(ask(&project, "GET", &format!("/v1/logs?{bad}"), "").status, 400, "{bad}");
    }
    let unknown = ask(&project, "GET", "/v1/logs?name=aa", "");
    assert_eq!(unknown.status, 404);
    assert!(unknown.json()["help"].as_str().unwrap().contains("`a`"), "{unknown:?}");
    orch.stop();
    let mut ended = false;
    wait_until("the stream ends with the project", || {
        let (more, end) = following.lines();
        ended |= end;
        assert!(more.is_empty(), "{more:?}");
        ended
    });
}

#[test]
fn whoever_never_reads_delays_nobody() {
    let yaml = "
components:
  a: { process: ./faulty await go pour bytes note poured }
";
    let line = [&[b'x'; 99][..], b"\n"].concat();
    let bytes = line.repeat(1_000_000);
    let pour = |lazy: bool| {
        let project = Project::new(yaml);
        project.write("bytes", &bytes);
        let mut orch = project.up();
        project.wait_state("a", "ready");
        let mut held = Vec::new();
        let mut pipes = Vec::new();
        if lazy {
            for _ in 0..3 {
                let mut socket = UnixStream::connect(project.path(".orch/control.sock")).unwrap();
                socket.write_all(b"GET /v1/logs?follow=true HTTP/1.1\r\nHost: orch\r\n\r\n").unwrap();
                pipes.push(socket);
                let mut command = project.command(&["logs", "-f"]);
                let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
                held.push(child);
            }
        }
        let begun = Instant::now();
        project.write("go", "");
        project.wait_trace("a", "note", 1);
        wait_until("all is in the log", || {
            fs::read(project.path(".orch/logs/a.log"))
                .is_ok_and(|log| log.ends_with(&line) && log.len() > 1 << 20)
        });
        let took = begun.elapsed();
        for mut child in held {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        orch.stop();
        took
    };
    let (alone, followed) = (pour(false), pour(true));
    assert!(followed < SLACK * alone + Duration::from_secs(2), "{followed:?}, and alone {alone:?}");
    assert!(followed < PATIENCE);
}

#[test]
fn a_closed_output_ends_it_quietly() {
    let project = Project::new("components:\n  a: { process: ./faulty say one }\n");
    let mut orch = project.up();
    project.wait_ready("a", 1);
    let mut command = project.command(&["logs", "-f"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut follower = Orch::of(&project, child);
    assert_eq!(follower.exit_status().code(), Some(0));
    orch.stop();
}
