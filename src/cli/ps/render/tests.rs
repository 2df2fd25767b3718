use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::{Sight, lines};
use crate::api::{ComponentUsage, Exited, Kind, Status, Usage};
use crate::cli::paint::{Canvas, width};
use crate::cli::ps::testing::{component, status};

const PLAIN: Canvas = Canvas { width: None, color: false };

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(200)
}

fn shop() -> Status {
    let mut api = component("api", "ready");
    (api.pid, api.status) = (Some(4711), Some("12 clients".into()));
    api.sockets = Some(BTreeMap::from([("http".into(), Some("127.0.0.1:8080".into()))]));
    let mut db = component("db", "failed");
    (db.restarts, db.exit) = (5, Some(Exited::Signal("SIGSEGV".into())));
    db.reason = Some("6 failures within 1m".into());
    let mut queue = component("queue", "ready");
    (queue.kind, queue.since) = (Kind::Thread, Some("1970-01-01T00:03:15Z".into()));
    status(vec![api, db, queue])
}

fn usage(cpu_ms: u64) -> Usage {
    let own = ComponentUsage { name: "api".into(), processes: 2, cpu_ms, memory: 20 << 20 };
    Usage { components: vec![own] }
}

#[test]
fn a_project_is_shown_with_what_matters() {
    let (status, usage) = (shop(), usage(1500));
    let up = Some(Duration::from_secs(7300));
    let sight = Sight { status: &status, usage: Some(&usage), before: None, up };
    let expected = [
        "shop · pid 99 · up 2 h · 2 ready, 1 failed",
        "NAME   STATE      PID  SINCE  RESTARTS  EXIT       CPU    MEMORY",
        "api    ● ready   4711  3 min         0  –        1.5 s  20.0 MiB  12 clients · http 127.0.0.1:8080",
        "db     ✗ failed     –  3 min         5  SIGSEGV      –         –  6 failures within 1m",
        "queue  ● ready      –    5 s         0  –            –         –",
    ];
    assert_eq!(lines(&sight, PLAIN, now()), expected);
}

#[test]
fn what_is_not_known_is_left_out() {
    let status = status(vec![component("a", "waiting")]);
    let sight = Sight { status: &status, usage: None, before: None, up: None };
    let shown = lines(&sight, PLAIN, now());
    assert_eq!(shown[0], "shop · pid 99 · 1 waiting");
    assert_eq!(shown[1], "NAME  STATE      PID  SINCE  RESTARTS  EXIT");
}

#[test]
fn the_share_of_a_processor_is_that_of_the_time_between() {
    let (status, before, after) = (shop(), usage(1500), usage(1750));
    let span = Duration::from_millis(500);
    let shown = |before, after| {
        let sight = Sight { status: &status, usage: Some(after), before: Some((span, before)), up: None };
        lines(&sight, PLAIN, now())[2].clone()
    };
    assert!(shown(&before, &after).contains(" 50.0 % "), "{}", shown(&before, &after));
    // Another run, or processes that have ended.
    assert!(shown(&after, &before).contains(" 0.0 % "));
    assert!(shown(&Usage { components: vec![] }, &after).contains(" – "));
}

#[test]
fn a_narrow_terminal_gets_what_matters_most_and_nothing_wraps() {
    let (mut status, usage) = (shop(), usage(1500));
    status.components[0].status = Some("日本語の状態 ".repeat(9));
    status.project = "a project with a long name".into();
    let sight = Sight { status: &status, usage: Some(&usage), before: None, up: None };
    for columns in 1..120 {
        for color in [false, true] {
            let shown = lines(&sight, Canvas { width: Some(columns), color }, now());
            let plain = shown.iter().map(|line| uncolored(line));
            plain.for_each(|line| assert!(width(&line) <= columns, "{columns}: {line}"));
        }
    }
    let shown = lines(&sight, Canvas { width: Some(40), color: false }, now());
    assert_eq!(shown[1], "NAME   STATE");
    assert_eq!(shown[3], "db     ✗ failed  6 failures within 1m");
}

#[test]
fn nothing_that_a_component_says_reaches_the_terminal_as_more_than_text() {
    let mut status = shop();
    status.project = "s\u{1b}]0;x\u{7}".into();
    status.components[0].status = Some("\u{1b}[2J\nfake  ● ready".into());
    let sight = Sight { status: &status, usage: None, before: None, up: None };
    let shown = lines(&sight, PLAIN, now());
    assert_eq!(shown.len(), 5);
    assert!(shown.iter().all(|line| !line.chars().any(char::is_control)), "{shown:#?}");
}

#[test]
fn a_state_that_is_not_known_here_is_shown_as_it_is() {
    let status = status(vec![component("a", "dreaming")]);
    let sight = Sight { status: &status, usage: None, before: None, up: None };
    assert!(lines(&sight, PLAIN, now())[2].contains("? dreaming"));
}

fn uncolored(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or(part, |(_, rest)| rest))
}

#[test]
fn what_does_not_run_takes_nothing() {
    let (mut status, usage) = (shop(), usage(1500));
    (status.components[0].state, status.components[0].pid) = ("stopped".into(), None);
    let sight = Sight { status: &status, usage: Some(&usage), before: None, up: None };
    let shown = lines(&sight, PLAIN, now());
    assert!(!shown.join("\n").contains("MiB"), "{shown:?}");
}
