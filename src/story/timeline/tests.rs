use super::{Look, Recorder, Timeline};
use crate::story::Words;
use crate::story::tests::{LIFE, events};

const PLAIN: Look = Look { width: 80, unicode: true, color: false };

fn words<T>(tell: impl FnOnce(&Words<'_>) -> T) -> T {
    let clock = |time: &str| time.get(11..23).unwrap_or(time).to_owned();
    tell(&Words { clock: &clock, safe: &|text| text.replace('\u{1b}', "?"), folder: "/p" })
}

fn timeline(text: &str, now: Option<u64>) -> Option<Timeline> {
    let mut recorder = Recorder::default();
    events(text).iter().for_each(|event| recorder.take(event));
    words(|words| recorder.timeline(now, words))
}

fn paths(timeline: &Timeline) -> Vec<String> {
    timeline.restarts.iter().map(|course| format!("{} → {}", course.root, course.path())).collect()
}

#[test]
fn the_critical_path_is_what_the_last_one_waited_for() {
    let timeline = timeline(LIFE, None).unwrap();
    let start_up = timeline.start_up.as_ref().unwrap();
    assert_eq!(start_up.path(), "db 812 ms → api 230 ms, 1.042 s in all");
    assert_eq!(
        paths(&timeline),
        [
            "src/api.py changed (saved 10:00:05.000) → api 155 ms, 155 ms in all",
            "api ended by itself with exit code 3 (10:00:09.000) → api 200 ms, 200 ms in all",
        ]
    );
    let total: u64 = start_up.legs.iter().map(|leg| leg.to - leg.from).sum();
    assert_eq!(total, start_up.to - start_up.from, "legs leave no gap");
}

#[test]
fn it_is_drawn_as_text() {
    let text = words(|words| timeline(LIFE, None).unwrap().text(Look { width: 60, ..PLAIN }, words));
    let expected = "\
2 components; the project came up at 10:00:00.000, and does not run; the last that was recorded is of 10:00:09.200

start-up, 1.042 s
▸ db   █████████████████████████████████─────────     812 ms
▸ api  ································██████████     230 ms
critical path of start-up: db 812 ms → api 230 ms, 1.042 s in all

restart, 155 ms: src/api.py changed (saved 10:00:05.000)
▸ api  ░░░░░░░░██████████████████████████████████     155 ms
critical path: api 155 ms, 155 ms in all

restart, 200 ms: api ended by itself with exit code 3 (10:00:09.000)
▸ api  ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌█████████████████████     200 ms
critical path: api 200 ms, 200 ms in all

· waiting   █ starting   ─ ready   ░ stopping   ╌ backoff   ▸ on the critical path
";
    assert_eq!(text, expected);
}

#[test]
fn without_unicode_and_in_colour() {
    let timeline = timeline(LIFE, None).unwrap();
    let ascii = words(|words| timeline.text(Look { unicode: false, ..PLAIN }, words));
    assert!(ascii.is_ascii(), "{ascii}");
    assert!(ascii.contains("> db") && ascii.contains("db 812 ms -> api 230 ms"), "{ascii}");
    let colored = words(|words| timeline.text(Look { color: true, ..PLAIN }, words));
    let plain = words(|words| timeline.text(PLAIN, words));
    let mut stripped = colored.clone();
    for code in ["0", "2", "1;33", "36", "32", "31", "33"] {
        stripped = stripped.replace(&format!("\u{1b}[{code}m"), "");
    }
    assert!(colored != plain && stripped == plain, "{colored:?}");
    for width in [0, 20, 79, 200] {
        let text = words(|words| timeline.text(Look { width, ..PLAIN }, words));
        let row = text.lines().find(|line| line.starts_with("▸ db")).unwrap();
        assert!(row.chars().count() <= width.max(30), "{width}: {row}");
    }
}

#[test]
fn what_a_terminal_would_obey_is_not_drawn() {
    let nasty = LIFE.replace("db/1", "d\u{1b}[2Jb/1").replace("/p/src/api.py", "/p/\\u001b[31mx");
    let timeline = timeline(&nasty, None).unwrap();
    for color in [false, true] {
        let text = words(|words| timeline.text(Look { color, ..PLAIN }, words));
        assert!(text.contains("d?[2Jb") && text.contains("?[31mx changed"), "{text}");
        assert!(!text.contains("\u{1b}[2J") && !text.contains("\u{1b}[31m"), "{text:?}");
    }
}

#[test]
fn each_up_begins_anew_and_a_lost_beginning_is_told() {
    let again = "40 0 - - project.up {}\n41 5 40 x/1 component.starting {}\n42 9 41 x/1 component.ready {}";
    let second = timeline(&format!("{LIFE}\n{again}"), None).unwrap();
    assert_eq!((second.lanes.len(), second.restarts.len()), (1, 0));
    let lost: String = LIFE.lines().skip(7).map(|line| format!("{line}\n")).collect();
    let timeline = timeline(&lost, None).unwrap();
    assert!(!timeline.whole && timeline.start_up.is_none());
    let text = words(|words| timeline.text(PLAIN, words));
    assert!(text.contains("the start-up is not recorded any more"), "{text}");
    assert!(text.contains("src/api.py changed"), "{text}");
}

#[test]
fn what_has_not_come_up_yet_goes_on_until_now() {
    let list =
        "1 100 - - project.up {}\n2 100 1 db/1 component.starting {}\n3 100 2 api component.waiting {}";
    let going = timeline(list, Some(700_000_000)).unwrap();
    assert_eq!((going.length, going.runs), (600_000_000, true));
    let text = words(|words| going.text(PLAIN, words));
    assert!(text.contains("nothing has become ready") && text.contains("starting"), "{text}");
    assert!(!timeline(list, None).unwrap().runs);
    assert!(timeline("", None).is_none());
}

#[test]
fn what_became_ready_after_a_change_only_is_no_start_up_and_is_not_denied() {
    let list = r#"
        1 0 - - project.up {}
        2 0 1 api component.building {}
        3 5 2 api component.failed {"reason":"its build failed"}
        4 9 - api component.changed {"paths":["/p/a"]}
        5 9 4 api component.building {}
        6 15 5 api/1 component.starting {}
        7 20 6 api/1 component.ready {}"#;
    let text = words(|words| timeline(list, None).unwrap().text(PLAIN, words));
    assert!(
        text.contains("nothing became ready by the start-up alone") && text.contains("restart, "),
        "{text}"
    );
}

#[test]
fn who_comes_up_after_a_crash_is_part_of_the_start_up() {
    let list = r#"
        1 0 - - project.up {}
        2 0 1 db/1 component.starting {}
        3 1 2 db/1 component.spawned {"pid":1}
        4 10 3 db/1 component.exited {"code":1}
        5 10 4 db/1 component.stopping {}
        6 10 5 db/1 component.backoff {}
        7 110 6 db/2 component.starting {}
        8 111 7 db/2 component.spawned {"pid":2}
        9 200 8 db/2 component.ready {}
        10 200 9 api/1 component.starting {}
        11 260 10 api/1 component.ready {}
    "#;
    let timeline = timeline(list, None).unwrap();
    assert_eq!(timeline.start_up.as_ref().unwrap().path(), "db 200 ms → api 60 ms, 260 ms in all");
    assert_eq!(timeline.restarts.len(), 0);
}

/// What runs on for an hour after it was ready, and then completes, was up when it was ready; who waited for its
/// completion was not.
#[test]
fn a_task_that_was_ready_is_up_before_it_completes() {
    let list = "
        1 0 - - project.up {}
        2 0 1 task/1 component.starting {}
        3 0 1 db/1 component.starting {}
        4 2 2 task/1 component.ready {}
        5 50 3 db/1 component.ready {}
        6 900 4 task/1 component.exited {}
        7 900 6 task/1 component.stopping {}
        8 901 7 task/1 component.completed {}
    ";
    let start_up = |list: &str| timeline(list, None).unwrap().start_up.unwrap().path();
    assert_eq!(start_up(list), "db 50 ms, 50 ms in all");
    let waits = "
        9 901 8 api/1 component.starting {}
        10 960 9 api/1 component.ready {}
    ";
    assert_eq!(start_up(&format!("{list}{waits}")), "task 901 ms → api 59 ms, 960 ms in all");
}

#[test]
fn garbage_makes_no_harm() {
    let list = "
        5 900 9 a/1 component.ready {}
        5 100 5 a/1 component.starting {}
        9 50 5 - component.ready {}
        9 50 9 b/1 component.completed {}
        2 10 1 b/1 component.exited {}
        3 10 2 b/1 component.ready {}
    ";
    let timeline = timeline(list, Some(3)).unwrap();
    for look in [PLAIN, Look { unicode: false, ..PLAIN }] {
        assert!(!words(|words| timeline.text(look, words)).is_empty());
    }
    assert!(words(|words| timeline.svg(words)).ends_with("</svg>\n"));
    let spans = timeline.lanes.iter().flat_map(|lane| &lane.spans);
    assert!(spans.clone().count() > 0 && spans.clone().all(|span| span.from <= span.to));
}

/// A thousand that start at once, and a chain of three that is slower.
fn thousand() -> String {
    let mut list = "1 0 - - project.up {}\n".to_owned();
    let mut seq = 2;
    for at in 0..1000 {
        list += &format!("{seq} 0 1 c{at}/1 component.starting {{}}\n");
        seq += 1;
    }
    let chain = ["z-first", "z-second", "z-third"];
    let mut cause = 1;
    let mut late = String::new();
    for (at, name) in chain.into_iter().enumerate() {
        let from = at * 300;
        late += &format!("{seq} {from} {cause} {name}/1 component.starting {{}}\n");
        late += &format!("{} {} {seq} {name}/1 component.ready {{}}\n", seq + 1, from + 300);
        cause = seq + 1;
        seq += 2;
    }
    for at in 0..1000 {
        list += &format!("{seq} {} {} c{at}/1 component.ready {{}}\n", 1 + at / 20, 2 + at);
        seq += 1;
    }
    list + &late
}

#[test]
fn a_thousand_components_are_summed_up_and_the_slow_ones_shown() {
    let timeline = timeline(&thousand(), None).unwrap();
    let text = words(|words| timeline.text(PLAIN, words));
    assert!(text.lines().count() < 45, "{text}");
    assert!(text.contains("z-first 300 ms → z-second 300 ms → z-third 300 ms, 900 ms in all"), "{text}");
    assert!(text.contains("▸ z-third"), "{text}");
    assert!(text.contains("… and 973 more, none of which took longer than 49 ms"), "{text}");
    let svg = words(|words| timeline.svg(words));
    assert!(svg.len() < 200_000, "{}", svg.len());
}

#[test]
fn the_picture_stands_for_itself_and_is_always_the_same() {
    let nasty = LIFE.replace(" db/1 ", " d<&>'b/1 ");
    let draw = |text: &str| words(|words| timeline(text, None).unwrap().svg(words));
    let svg = draw(LIFE);
    assert_eq!(svg, draw(LIFE));
    assert!(svg.contains("<title id=\"title\">") && svg.contains("<desc id=\"desc\">"), "{svg}");
    assert!(svg.contains("prefers-color-scheme:dark") && !svg.contains("http://www.w3.org/1999"), "{svg}");
    assert!(svg.contains("Critical path of start-up: db 812 ms → api 230 ms, 1.042 s in all."), "{svg}");
    assert!(!svg.contains("NaN") && !svg.contains("width=\"-"), "{svg}");
    let escaped = draw(&nasty);
    assert!(escaped.contains("d&lt;&amp;&gt;&#39;b") && !escaped.contains("d<&"), "{escaped}");
    let tags = |what: &str| svg.matches(what).count();
    assert_eq!((tags("<g"), tags("<svg"), tags("<text")), (tags("</g>"), tags("</svg>"), tags("</text>")));
}
