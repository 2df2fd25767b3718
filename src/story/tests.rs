use super::{Chain, Recorded, Told, Walk, Words, duration, line};
use crate::types::recorded::Event;

const MS: u64 = 1_000_000;

fn words<T>(tell: impl FnOnce(&Words<'_>) -> T) -> T {
    // The time of day is enough to see that it is asked for.
    let clock = |time: &str| time.get(11..23).unwrap_or(time).to_owned();
    tell(&Words { clock: &clock, safe: &|text| text.replace('\u{1b}', "?"), folder: "/p" })
}

/// Events written as `seq ms cause component/incarnation event {details}`, a line each.
pub(super) fn events(text: &str) -> Vec<Event> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(event).collect()
}

fn event(text: &str) -> Event {
    let mut parts = text.splitn(6, ' ');
    let mut next = || parts.next().unwrap_or_default();
    let (seq, ms, cause, of, event, details) = (next(), next(), next(), next(), next(), next());
    let ms: u64 = ms.parse().unwrap();
    let (component, incarnation) = of.split_once('/').unwrap_or((of, ""));
    let mut line = serde_json::json!({
        "seq": seq.parse::<u64>().unwrap(),
        "time": format!("2026-01-20T10:{:02}:{:02}.{:03}000Z", ms / 60_000 % 60, ms / 1000 % 60, ms % 1000),
        "mono_ns": ms * MS,
        "event": event,
        "component": Some(component).filter(|name| *name != "-"),
        "incarnation": incarnation.parse::<u64>().ok(),
        "cause": cause.parse::<u64>().ok(),
    });
    if !details.is_empty() {
        let details: serde_json::Value = serde_json::from_str(details).unwrap();
        line.as_object_mut().unwrap().extend(details.as_object().unwrap().clone());
    }
    Event::parse(line.to_string().as_bytes()).unwrap()
}

/// A start-up of two, a save, a crash, the end.
pub(super) const LIFE: &str = r#"
    1 0 - - project.up {"boot_id":"b"}
    2 0 1 db/1 component.starting {"reason":"starting"}
    3 0 2 api component.waiting {"reason":"waiting for db to be ready (starting)"}
    4 5 2 db/1 component.spawned {"pid":10}
    5 812 4 db/1 component.ready {"reason":"its probe succeeded after 807 ms"}
    6 812 5 api/1 component.starting {"reason":"starting"}
    7 820 6 api/1 component.spawned {"pid":11}
    8 1042 7 api/1 component.ready {"reason":"its probe succeeded after 222 ms"}
    9 5000 - api/1 component.changed {"paths":["/p/src/api.py"]}
    10 5000 9 api/1 component.stop_requested {"reason":"a watched file changed"}
    11 5000 10 api/1 component.stopping {"reason":"a watched file changed"}
    12 5028 11 api/1 component.exited {"signal":"SIGTERM"}
    13 5030 12 api/1 state.sealed {"generation":1,"source":"restart","bytes":3}
    14 5031 13 api/2 component.starting {"reason":"starting"}
    15 5033 14 api/2 state.restored {"generation":1,"source":"restart"}
    16 5035 15 api/2 component.spawned {"pid":12}
    17 5155 16 api/2 component.ready {"reason":"its probe succeeded after 120 ms"}
    18 9000 17 api/2 component.exited {"code":3}
    19 9000 18 api/2 component.stopping {"reason":"it ended with exit code 3"}
    20 9001 19 api/2 component.backoff {"reason":"it ended with exit code 3; starting again in 100 ms"}
    21 9101 20 api/3 component.starting {"reason":"starting"}
    22 9105 21 api/3 component.spawned {"pid":13}
    23 9200 22 api/3 component.ready {"reason":"its probe succeeded after 95 ms"}
"#;

const END: &str = r#"
    24 20000 - - command {"name":"down","args":[]}
    25 20000 24 api/3 component.stop_requested {"reason":"the project is shut down"}
    26 20000 25 api/3 component.stopping {"reason":"the project is shut down"}
    27 25000 26 api/3 component.force_killed {"pids":[13,14]}
    28 25000 27 api/3 component.exited {"signal":"SIGKILL"}
    29 25001 24 api/3 component.stopped {"reason":"the project is shut down"}
    30 25001 24 - project.down {"code":0}
"#;

fn arrows(text: &str, seq: u64) -> String {
    words(|words| Chain::among(&events(text), seq).unwrap().arrows(words))
}

fn told(text: &str, name: &str) -> Option<Told> {
    let mut recorded = Recorded::of(name);
    for event in events(text).iter().rev() {
        if !recorded.take(event) {
            break;
        }
    }
    recorded.told()
}

#[test]
fn a_save_is_told_from_the_file_to_readiness() {
    assert_eq!(
        arrows(LIFE, 17),
        "src/api.py changed (saved 10:00:05.000) → stop 31 ms → start → state restored → ready after 120 ms"
    );
}

#[test]
fn a_start_up_is_told_by_those_it_waited_for() {
    assert_eq!(
        arrows(LIFE, 8),
        "orch up (10:00:00.000) → db: start → ready after 807 ms → api: start → ready after 222 ms"
    );
    assert_eq!(arrows(LIFE, 3), "orch up (10:00:00.000) → db: start → api: waiting");
}

#[test]
fn a_crash_is_a_root_and_what_completed_is_not() {
    assert_eq!(
        arrows(LIFE, 23),
        "ended by itself with exit code 3 (10:00:09.000) → backoff 100 ms → start → ready after 95 ms"
    );
    let completed = r#"
        1 0 - - project.up {"boot_id":"b"}
        2 0 1 migrate/1 component.starting {"reason":"starting"}
        3 2 2 migrate/1 component.spawned {"pid":5}
        4 2 3 migrate/1 component.ready {"reason":"it runs"}
        5 52 4 migrate/1 component.exited {"code":0}
        6 52 5 migrate/1 component.stopping {"reason":"it ended with exit code 0"}
        7 53 6 migrate/1 component.completed {"reason":"it ended with exit code 0"}
        8 53 7 api/1 component.starting {"reason":"starting"}
        9 60 8 api/1 component.spawned {"pid":6}
        10 60 9 api/1 component.ready {"reason":"it runs"}
    "#;
    assert_eq!(
        arrows(completed, 10),
        "orch up (10:00:00.000) → migrate: start → ready at once → completed after 51 ms → api: start → ready at once"
    );
}

#[test]
fn each_kind_of_root_says_what_it_was() {
    let cases = [
        (r#"- command {"name":"restart","args":["a","b"]}"#, "command `restart a, b` (10:00:01.000)"),
        (
            r#"- config.reloaded {"steps":[{"component":"x","action":"update","changed":["y"],"reason":"r"},{"component":"a","action":"restart","changed":["process","env.PORT"],"reason":"its command changed"}]}"#,
            "edit of the file (10:00:01.000): process, env.PORT changed",
        ),
        (
            r#"- config.reloaded {"steps":[{"component":"a","action":"start","changed":[],"reason":"it is new in the file"}]}"#,
            "edit of the file (10:00:01.000): it is new in the file",
        ),
        (
            r#"a/1 component.changed {"paths":["/p/x","/q/y","/p/z"]}"#,
            "x and 2 more changed (saved 10:00:01.000)",
        ),
        (r#"a/1 component.changed {"paths":[]}"#, "a file changed (saved 10:00:01.000)"),
        (r#"a/1 component.exited {"signal":"SIGSEGV"}"#, "ended by itself with SIGSEGV (10:00:01.000)"),
        (r#"- orch.reexec {"error":null}"#, "orch became another image of itself (10:00:01.000)"),
        (r#"- project.up {"boot_id":"b"}"#, "orch up (10:00:01.000)"),
        (r#"- weather.changed {}"#, "weather.changed (10:00:01.000)"),
        (r#"a/1 state.sealed {"generation":1}"#, "state.sealed (10:00:01.000)"),
    ];
    for (root, text) in cases {
        let list = format!("1 1000 - {root}\n2 1000 1 a/1 component.starting {{\"reason\":\"starting\"}}");
        assert_eq!(arrows(&list, 2), format!("{text} → start"), "{root}");
    }
}

#[test]
fn builds_force_kills_and_others_have_their_part() {
    let list = r#"
        1 0 - db/4 component.exited {"code":1}
        2 0 1 web/2 component.stop_requested {"reason":"db, on which it depends with restart: true, goes down"}
        3 0 2 web/2 component.stopping {"reason":"db goes down"}
        4 5000 3 web/2 component.force_killed {"pids":[1]}
        5 5000 4 web/2 component.exited {"signal":"SIGKILL"}
        6 5004 5 web/2 component.building {"reason":"building"}
        7 5004 6 web/2 build.started {}
        8 5416 7 web/2 build.succeeded {"ms":412}
        9 5416 8 web/3 component.starting {"reason":"starting"}
        10 5420 9 web/3 component.failed {"reason":"not ready within 10000 ms"}
    "#;
    assert_eq!(
        arrows(list, 10),
        "db: ended by itself with exit code 1 (10:00:00.000) → web: stop 5.004 s, force-killed → build 412 ms → start → \
         failed: not ready within 10000 ms"
    );
}

#[test]
fn what_is_missing_or_absurd_ends_the_chain_and_nothing_hangs() {
    // The cause is gone.
    assert_eq!(arrows("7 0 3 a/1 component.ready {\"reason\":\"it runs\"}", 7), "… → ready");
    // In a circle, of itself, of a later one.
    let circle = "1 0 2 a/1 component.starting {}\n2 0 1 a/1 component.ready {}";
    assert_eq!(arrows(circle, 2), "… → start → ready");
    assert_eq!(arrows("5 0 5 a/1 component.starting {}", 5), "… → start");
    assert_eq!(arrows("5 0 9 a/1 component.starting {}\n9 0 - - command {}", 5), "… → start");
    // Time that goes back takes no time.
    let back = "1 900 - a/1 component.stop_requested {}\n2 100 1 a/1 component.starting {}\n3 50 2 a/1 component.spawned {}\n4 20 3 a/1 component.ready {}";
    assert_eq!(arrows(back, 4), "stop (10:00:00.900):  → start → ready");
    // Longer than any story.
    let long: String = (1..=5000).map(|seq| format!("{seq} 0 {} a/1 x.y {{}}\n", seq - 1)).collect();
    let chain = Chain::among(&events(&long), 5000).unwrap();
    assert!(!chain.whole && chain.events.len() <= 1000);
    assert_eq!(Chain::among(&events(&long), 5001), None);
    // Whatever order they come in, a walk ends.
    let mut walk = Walk::from(&event("9 0 5 a/1 component.ready {}"));
    walk.take(&event("4 0 - a/1 component.spawned {}"));
    walk.take(&event("5 0 - a/1 component.spawned {}"));
    assert!(walk.is_done() && !walk.chain().whole);
}

#[test]
fn while_it_runs_only_the_past_is_told() {
    let told = told(LIFE, "api").unwrap();
    assert_eq!((told.runs, told.failed, told.more), (3, 1, false));
    let sentences = words(|words| told.sentences(true, words));
    assert_eq!(
        sentences,
        [
            "1 of its 3 runs since orch came up at 10:00:00.000 failed: it ended with exit code 3 (10:00:09.001)"
        ]
    );
    assert_eq!(told.start, None, "the chain of its state is that of its start");
    let db = super::tests::told(LIFE, "db").unwrap();
    assert_eq!(words(|words| db.sentences(true, words)), [""; 0]);
    assert_eq!(super::tests::told(LIFE, "web"), None);
}

#[test]
fn when_nothing_runs_what_was_last_is_told() {
    let told = told(&format!("{LIFE}{END}"), "api").unwrap();
    let sentences = words(|words| told.sentences(false, words));
    assert_eq!(sentences[0], "the project does not run now; orch ended at 10:00:25.001 with exit code 0");
    assert_eq!(sentences[1], "it was last stopped, from 10:00:25.001 on, in run 3: the project is shut down");
    let start = told.start.as_ref().map(|start| words(|words| start.arrows(words))).unwrap();
    assert!(
        start.starts_with("ended by itself with exit code 3") && start.ends_with("ready after 95 ms"),
        "{start}"
    );
    // Killed: no end was recorded.
    let killed = super::tests::told(LIFE, "api").unwrap();
    let sentences = words(|words| killed.sentences(false, words));
    assert_eq!(
        sentences[0],
        "the project does not run now, and orch did not end in order; the last that was recorded is of 10:00:09.200"
    );
}

#[test]
fn failures_are_counted_in_the_last_run_of_orch_that_the_component_was_in() {
    let again = r#"
        31 90000 - - project.up {"boot_id":"b"}
        32 90000 31 db/2 component.starting {"reason":"starting"}
        33 90001 32 db/2 component.spawned {"pid":10}
        34 90002 33 db/2 component.failed {"reason":"not ready within 1 ms; it was restarted 5 times within 1m"}
    "#;
    let all = format!("{LIFE}{END}{again}");
    let db = told(&all, "db").unwrap();
    assert_eq!((db.runs, db.failed), (1, 1));
    assert_eq!(db.failures[0].reason, "not ready within 1 ms");
    let api = told(&all, "api").unwrap();
    assert_eq!((api.runs, api.failed), (3, 1));
    assert_eq!(api.down, None, "that orch ended is told of the last run of orch alone");
}

#[test]
fn durations_have_three_digits_or_so() {
    let cases = [
        (400, "0.4 ms"),
        (31_400, "31 ms"),
        (999_999, "999 ms"),
        (1_137_000, "1.137 s"),
        (12_345_000, "12.3 s"),
        (123_000_000, "2 min 3 s"),
        (3_720_000_000, "1 h 2 min"),
        (90_000_000_000, "1 d 1 h"),
    ];
    for (micros, text) in cases {
        assert_eq!(duration(std::time::Duration::from_micros(micros)), text);
    }
}

#[test]
fn an_event_as_a_line() {
    let cases = [
        ("- command {\"name\":\"stop\",\"args\":[\"a\",\"b\"]}", "command: stop a, b"),
        ("a/1 component.waiting {\"reason\":\"waiting for db\"}", "waiting for db"),
        ("a/1 component.failed {\"reason\":\"it broke\"}", "failed: it broke"),
        ("a/1 component.force_killed {\"pids\":[1,2]}", "force-killed 2 processes"),
        ("a/1 state.sealed {\"generation\":4,\"source\":\"restart\"}", "state saved (restart, generation 4)"),
        (
            "- config.rejected {\"errors\":[{\"message\":\"unknown key\",\"line\":3,\"column\":5}],\"count\":700}",
            "the edit is not valid: 700 errors; line 3, column 5: unknown key",
        ),
        ("- config.reloaded {\"steps\":[]}", "the file was saved, and nothing changes"),
        ("- project.down {\"code\":1}", "orch ended with exit code 1"),
        ("- project.down {}", "orch ended"),
        ("a component.spawned {\"pid\":null}", "runs as a thread"),
        ("- something.else {}", "something.else"),
    ];
    for (text, expected) in cases {
        assert_eq!(words(|words| line(&event(&format!("1 0 - {text}")), words)), expected);
    }
}
