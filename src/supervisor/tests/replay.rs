//! A recorded history, gone through once more; and that what it is judged by bites.

use std::sync::Arc;

use super::play::{Play, edit, name, project};
use crate::supervisor::replay::Facts;
use crate::supervisor::{Action, Event, Record, Recorded, Replay, RunEvent, State, What};
use crate::types::{Cid, Diagnostic, Exit, Place, RunId, Scope, Severity, Signal, Time};

fn lines(play: &Play) -> Vec<String> {
    let setup = Recorded::Setup(Box::new(play.made_from.clone()));
    let steps = play.history.iter().map(|(now, event)| Recorded::Step { now: *now, event: event.clone() });
    let all = std::iter::once(setup).chain(steps);
    all.map(|line| serde_json::to_string(&line).unwrap()).collect()
}

fn mistake() -> Diagnostic {
    let place =
        Place { file: std::path::Path::new("/p/devmode.yaml").into(), span: 3..5, line: 1, column: 4 };
    Diagnostic {
        severity: Severity::Error,
        code: "E101",
        message: "unknown key `foo`".to_owned(),
        place: Some(place.clone()),
        file: None,
        related: Some((place, "first defined here".to_owned())),
        path: "components.api".to_owned(),
        help: None,
    }
}

#[test]
fn a_history_ends_again_where_it_has_ended() {
    let mut play = Play::of("db?; api*: db ready restart; web: api; job!@; late: job completed");
    play.ready("db");
    play.change("api");
    play.gone("web");
    play.gone("api");
    play.after(3_000);
    play.stop("api");
    play.gone("api");
    play.edit(|project| edit(project, "db", |spec| spec.cwd = Arc::new("/q".into())));
    play.tell(Event::EditRejected { errors: Arc::new(vec![mistake()]) });
    play.gone("db");
    play.ends("job", 0);
    play.ready("db");
    play.restart("api");
    play.after(20_000);
    play.down();
    play.after(60_000);
    let mut replay = Replay::default();
    for line in lines(&play) {
        replay.line(&line).unwrap();
    }
    assert_eq!(replay.contradictions(), Vec::<String>::new());
    assert_eq!(replay.steps(), u64::try_from(play.history.len()).unwrap());
    assert!(replay.spawns() >= 8, "{}", replay.spawns());
    let end = serde_json::to_string(replay.core().unwrap()).unwrap();
    assert_eq!(end, serde_json::to_string(&play.core).unwrap());
}

#[test]
fn what_is_no_recording_is_refused() {
    let play = Play::of("api");
    let lines = lines(&play);
    let mut replay = Replay::default();
    assert!(replay.line(&lines[1]).unwrap_err().contains("before any setup"));
    assert!(replay.line("{\"seq\":1}").is_err());
}

fn facts() -> Facts {
    Facts::of(&project("db; api: db; job; late: job completed"))
}

fn run(component: u32, incarnation: u64) -> RunId {
    RunId { component: Cid(component), incarnation }
}

fn spawn(which: &str, run: RunId) -> Action {
    let all = project("db; api: db; job; late: job completed").components;
    let spec = all.into_iter().find(|spec| spec.name == name(which)).unwrap();
    Action::Spawn { run, spec, restored: None }
}

fn does(facts: &mut Facts, action: &Action) -> Result<(), String> {
    let verdict = facts.judge(action, false);
    facts.wanted(action);
    verdict
}

fn says(facts: &mut Facts, run: RunId, event: RunEvent) {
    facts.hear(&Event::Run(run, event));
}

fn record(of: &str, what: What) -> Action {
    let component = Some(name(of));
    Action::Record(Record { seq: 1, cause: None, at: Time(0), component, incarnation: None, what })
}

#[test]
fn a_second_run_before_the_first_is_gone_is_seen() {
    let mut facts = facts();
    does(&mut facts, &spawn("db", run(0, 1))).unwrap();
    says(&mut facts, run(0, 1), RunEvent::Exited(Exit::Code(1)));
    assert!(facts.judge(&spawn("db", run(0, 2)), false).unwrap_err().contains("is not gone"));
    assert!(facts.judge(&spawn("db", run(7, 1)), false).is_err(), "in whatever slot");
    says(&mut facts, run(0, 1), RunEvent::Gone);
    facts.judge(&spawn("db", run(0, 2)), false).unwrap();
    assert!(facts.judge(&spawn("db", run(0, 2)), true).unwrap_err().contains("at the project's end"));
}

#[test]
fn a_start_before_its_dependencies_is_seen() {
    let mut facts = facts();
    assert!(facts.judge(&spawn("api", run(1, 1)), false).unwrap_err().contains("db is not Ready"));
    does(&mut facts, &spawn("db", run(0, 1))).unwrap();
    assert!(facts.judge(&spawn("api", run(1, 1)), false).is_err(), "it is not there yet");
    says(&mut facts, run(0, 1), RunEvent::Spawned { pid: None });
    facts.judge(&spawn("api", run(1, 1)), false).unwrap();
    does(&mut facts, &spawn("job", run(2, 1))).unwrap();
    says(&mut facts, run(2, 1), RunEvent::Exited(Exit::Code(0)));
    assert!(facts.judge(&spawn("late", run(3, 1)), false).is_err(), "its unit lives");
    says(&mut facts, run(2, 1), RunEvent::Gone);
    let state = |state| What::State { state, reason: String::new() };
    does(&mut facts, &record("job", state(State::Completed))).unwrap();
    facts.judge(&spawn("late", run(3, 1)), false).unwrap();
}

#[test]
fn a_stop_before_its_dependents_are_gone_is_seen() {
    let mut facts = facts();
    does(&mut facts, &spawn("db", run(0, 1))).unwrap();
    says(&mut facts, run(0, 1), RunEvent::Spawned { pid: None });
    does(&mut facts, &spawn("api", run(1, 1))).unwrap();
    let reason = "stopped by command".to_owned();
    does(&mut facts, &record("db", What::StopRequested { reason })).unwrap();
    let stop = Action::Stop {
        run: run(0, 1),
        signal: Signal::TERM,
        scope: Scope::Group,
        drain: std::time::Duration::ZERO,
    };
    assert!(facts.judge(&stop, false).unwrap_err().contains("while api depends on it"));
    says(&mut facts, run(1, 1), RunEvent::Gone);
    facts.judge(&stop, false).unwrap();
}

#[test]
fn a_start_of_what_a_command_has_stopped_is_seen() {
    let mut facts = facts();
    let command = |what| What::Command { name: what, args: vec![name("db")], affects: Vec::new() };
    does(&mut facts, &record("db", command("stop"))).unwrap();
    assert!(facts.judge(&spawn("db", run(0, 1)), false).unwrap_err().contains("a command has stopped it"));
}
