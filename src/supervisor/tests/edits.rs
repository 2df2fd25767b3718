//! Edits of the file, and profiles.

use std::sync::Arc;

use super::play::{Play, edit, ms, name, project};
use crate::config::model::{
    Command as Line, Component, Condition, Dependency, HostPort, Kind, Logs, Probe, Project, Ready, Socket,
    SocketAddress, State,
};

fn rerun(project: &mut Project, which: &str) {
    edit(project, which, |spec| spec.kind = Kind::Process(Line::Words(vec!["v2".to_owned()])));
}

fn remove(project: &mut Project, which: &str) {
    project.components.retain(|spec| spec.name.as_str() != which);
}

fn add(project: &mut Project, text: &str) {
    project.components.extend(self::project(text).components);
}

fn needs(spec: &mut Component, on: &str) {
    spec.depends_on.push(Dependency { name: name(on), condition: Condition::Ready, restart: false });
}

#[test]
fn what_runs_is_restarted_and_nothing_else_is_touched() {
    let mut play = Play::of("db; api: db; other");
    play.took();
    play.edit(|project| rerun(project, "api"));
    assert_eq!(play.took(), "stop api");
    play.gone("api");
    assert_eq!(play.took(), "spawn api");

    let update: fn(&mut Component) = |spec| {
        let stop = Arc::make_mut(&mut spec.stop);
        (stop.timeout, spec.description) = (ms(100), Some("api".to_owned()));
        Arc::make_mut(&mut spec.restart).limit.count = 1;
    };
    play.edit(|project| edit(project, "api", update));
    assert_eq!(play.took(), "");
    play.stop("api");
    play.after(100);
    assert_eq!(play.took(), "stop api, kill api", "effective when next used");
}

#[test]
fn added_ones_start_and_removed_ones_stop_in_order() {
    let mut play = Play::of("db; api: db; keep");
    play.took();
    play.edit(|project| {
        remove(project, "db");
        remove(project, "api");
        add(project, "new2: new; new");
    });
    assert_eq!(play.took(), "stop api, spawn new, spawn new2");
    play.gone("api");
    assert_eq!(play.took(), "stop db");
    assert_eq!(play.states(), "db=stopping keep=ready new=ready new2=ready");
    play.gone("db");
    assert_eq!(play.states(), "keep=ready new=ready new2=ready");
}

#[test]
fn removed_and_added_again_is_a_new_run_with_its_number() {
    let mut play = Play::of("api; keep");
    play.edit(|project| remove(project, "api"));
    play.edit(|project| add(project, "api"));
    play.gone("api");
    assert_eq!((play.state("api"), play.run("api").incarnation), ("ready", 2));
    play.edit(|project| remove(project, "api"));
    play.gone("api");
    assert_eq!(play.state("api"), "none");
    play.edit(|project| add(project, "api"));
    assert_eq!((play.state("api"), play.run("api").incarnation), ("ready", 3), "numbers go on");
}

#[test]
fn an_edit_starts_what_has_failed_or_completed_or_is_being_prepared_anew() {
    for (code, state) in [(0, "completed"), (1, "failed")] {
        let mut play = Play::of("api!; keep");
        play.ends("api", code);
        assert_eq!(play.state("api"), state);
        play.edit(|project| rerun(project, "api"));
        assert_eq!(play.state("api"), "ready");
    }
    let mut play = Play::quiet("api", |_| {});
    play.silent();
    play.tell(crate::supervisor::Event::Up);
    play.edit(|project| rerun(project, "api"));
    play.prepared("api");
    assert_eq!(play.took(), "", "what was prepared is not what is declared");
    play.prepared("api");
    assert_eq!(play.took(), "spawn api");
}

#[test]
fn a_new_edge_counts_from_the_next_use() {
    let mut play = Play::of("db?; api");
    play.took();
    play.edit(|project| edit(project, "api", |spec| needs(spec, "db")));
    assert_eq!((play.took().as_str(), play.state("api")), ("", "ready"));
    play.restart("api");
    play.gone("api");
    assert_eq!(play.state("api"), "waiting");
    play.ready("db");
    play.took();
    play.down();
    assert_eq!(play.took(), "stop api");
}

/// The stop of `db` waits for `old`; now `new` needs it, too, and would hold it up for ever.
#[test]
fn a_dependent_that_an_edit_gave_to_what_is_to_stop_is_stopped_first() {
    let mut play = Play::of("db; old: db; new");
    play.took();
    play.stop("db");
    play.edit(|project| edit(project, "new", |spec| needs(spec, "db")));
    assert_eq!(play.took(), "stop old, stop new");
    play.gone("new");
    play.gone("old");
    assert_eq!(play.took(), "stop db");
}

#[test]
fn an_edge_that_an_edit_took_away_holds_nobody_up() {
    let mut play = Play::of("db; api: db; top");
    play.took();
    play.stop("db");
    assert_eq!(play.took(), "stop api");
    play.edit(|project| edit(project, "api", |spec| spec.depends_on.clear()));
    assert_eq!(play.took(), "stop db");
}

#[test]
fn what_was_not_chosen_is_taken_in_by_what_needs_it() {
    let lazy = |project: &mut Project| {
        for of in ["db", "tool"] {
            edit(project, of, |spec| spec.autostart = false);
        }
    };
    let mut play = Play::with("db; tool: db; api", lazy);
    assert_eq!(play.states(), "api=ready db=stopped tool=stopped");
    play.edit(|project| add(project, "new: tool"));
    assert_eq!(play.states(), "api=ready db=ready new=ready tool=ready");

    let mut play = Play::with("db; tool: db; api", lazy);
    play.edit(|project| edit(project, "api", |spec| needs(spec, "tool")));
    assert_eq!(play.states(), "api=ready db=stopped tool=stopped", "an update touches no process");
    play.restart("api");
    play.gone("api");
    assert_eq!(play.states(), "api=ready db=ready tool=ready");
}

#[test]
fn what_was_stopped_by_command_is_not_taken_in() {
    let mut play = Play::of("db; api");
    play.stop("db");
    play.gone("db");
    play.edit(|project| add(project, "new: db"));
    assert_eq!(play.states(), "api=ready db=stopped new=waiting");
}

fn rename(project: &mut Project, from: &str, to: &str) {
    edit(project, from, |spec| spec.name = name(to));
}

fn keeps(spec: &mut Component, file: &str) {
    spec.state = Some(Box::new(State {
        file: file.into(),
        max_age: None,
        once: true,
        atomic: false,
        keep: 3,
        max_size: 1 << 20,
        snapshot: None,
        restart_args: Vec::new(),
        required: false,
    }));
}

fn answers_at(spec: &mut Component, host: &str, external: bool) {
    let probe = Probe::Tcp(HostPort { host: host.to_owned(), port: 8080 });
    spec.ready = Some(Box::new(Ready { probe, interval: ms(100), timeout: ms(10_000), external }));
}

fn listens(spec: &mut Component) {
    let address = SocketAddress::Tcp("127.0.0.1:8080".parse().unwrap());
    spec.sockets = vec![Socket { name: "http".to_owned(), address }];
}

fn logs_to(spec: &mut Component, file: &str) {
    spec.logs = Arc::new(Logs { file: Some(file.into()), ..Logs::default() });
}

type Change = fn(&mut Component);

/// Whatever the two have in common that only one can have.
#[test]
fn a_component_by_another_name_starts_when_the_old_one_is_gone() {
    let claims: [(&str, Change); 7] = [
        ("a state file", |spec| keeps(spec, "/p/state")),
        ("a log file", |spec| logs_to(spec, "/p/log")),
        ("a socket", listens),
        ("an address", |spec| answers_at(spec, "localhost", false)),
        ("an address that another's socket is bound to", |spec| match spec.name.as_str() {
            "b" => listens(spec),
            _ => answers_at(spec, "127.0.0.1", false),
        }),
        ("where a thread listens", |spec| {
            let (with, at) = (spec.name.as_str().into(), "127.0.0.1:8080");
            spec.kind = Kind::Thread { runner: "proxy".to_owned(), with, listens: vec![at.parse().unwrap()] };
        }),
        ("a program", |spec| spec.kind = Kind::Process(Line::Words(vec!["serve".to_owned()]))),
    ];
    for (what, claim) in claims {
        let mut play = Play::with("b; keep", |project| edit(project, "b", claim));
        play.took();
        play.edit(|project| {
            remove(project, "b");
            add(project, "bb: keep");
            edit(project, "bb", claim);
        });
        assert_eq!((play.took().as_str(), play.state("bb")), ("stop b", "waiting"), "{what}");
        assert_eq!(play.reason("bb"), "waiting for b to stop first", "{what}");
        let run = play.run("b");
        play.says("b", crate::supervisor::RunEvent::Gone);
        assert_eq!((play.took().as_str(), play.state("bb")), ("", "waiting"), "{what}: its output is read");
        play.tell(crate::supervisor::Event::Run(run, crate::supervisor::RunEvent::OutputEnded));
        assert!(play.took().ends_with("spawn bb"), "{what}");
        assert_eq!((play.state("b"), play.run("bb").incarnation), ("none", 1), "{what}");
    }
}

#[test]
fn what_shares_nothing_starts_at_once() {
    let mut play = Play::with("b; keep", |project| edit(project, "b", |spec| answers_at(spec, "h", true)));
    play.took();
    play.edit(|project| {
        remove(project, "b");
        add(project, "bb");
        edit(project, "bb", |spec| answers_at(spec, "h", true));
    });
    assert_eq!(play.took(), "stop b, spawn bb", "what is external is nobody's own");
}

#[test]
fn claims_that_change_hands_are_waited_for() {
    let mut play = Play::with("a; b", |project| {
        edit(project, "a", |spec| keeps(spec, "/p/one"));
        edit(project, "b", |spec| keeps(spec, "/p/two"));
    });
    play.took();
    play.edit(|project| {
        edit(project, "a", |spec| keeps(spec, "/p/two"));
        edit(project, "b", |spec| keeps(spec, "/p/one"));
    });
    assert_eq!(play.took(), "stop a, stop b");
    play.gone("a");
    assert_eq!((play.took().as_str(), play.state("a")), ("seal a Crashed", "waiting"));
    play.new_image();
    play.gone("b");
    assert_eq!(play.took(), "seal b Crashed, spawn b, spawn a");
    // Nothing is remembered of it.
    play.restart("a");
    play.gone("a");
    assert_eq!(play.states(), "a=ready b=ready");
}

/// The second edit is there before the first one is done.
#[test]
fn a_row_of_new_names_is_one_after_the_other() {
    let mut play = Play::with("b; keep", |project| edit(project, "b", |spec| keeps(spec, "/p/state")));
    play.took();
    play.edit(|project| rename(project, "b", "bb"));
    play.edit(|project| rename(project, "bb", "bbb"));
    assert_eq!(play.states(), "b=stopping bbb=waiting keep=ready");
    play.edit(|project| rename(project, "bbb", "b"));
    assert_eq!(play.states(), "b=stopping keep=ready");
    play.gone("b");
    assert_eq!((play.state("b"), play.run("b").incarnation), ("ready", 2));
    assert_eq!(play.took(), "stop b, seal b Crashed, spawn b");
}

/// What was prepared for the old name is handed back first.
#[test]
fn a_state_that_was_put_in_place_is_taken_back_before_another_one_is() {
    let mut play = Play::quiet("b; keep", |project| edit(project, "b", |spec| keeps(spec, "/p/state")));
    play.silent();
    play.tell(crate::supervisor::Event::Up);
    play.edit(|project| rename(project, "b", "bb"));
    assert_eq!(play.state("bb"), "waiting");
    play.prepared("b");
    assert_eq!((play.took().as_str(), play.state("bb")), ("take back b", "waiting"));
    play.says("b", crate::supervisor::RunEvent::Sealed(crate::supervisor::Sealed::Nothing));
    assert_eq!(play.state("bb"), "starting");
}

/// A claim is given up when its run is gone, whatever has become of the component.
#[test]
fn a_removed_one_that_is_stuck_holds_up_its_heir() {
    let mut play = Play::with("b; keep", |project| {
        edit(project, "b", |spec| {
            keeps(spec, "/p/state");
            Arc::make_mut(&mut spec.stop).force_kill = false;
        });
    });
    play.edit(|project| rename(project, "b", "bb"));
    play.after(60_000);
    assert_eq!(play.states(), "b=stuck bb=waiting keep=ready");
    play.gone("b");
    assert_eq!(play.states(), "bb=ready keep=ready");
}

/// An edit that comes while another one is applied changes the target; the first one is not finished.
#[test]
fn a_second_edit_changes_the_target_of_the_first() {
    let mut play = Play::of("db; api: db; keep");
    play.took();
    play.edit(|project| {
        rerun(project, "db");
        rerun(project, "api");
        add(project, "new?: db; next: new");
    });
    assert_eq!(play.took(), "stop db, stop api");
    play.edit(|project| {
        edit(project, "api", |spec| spec.kind = Kind::Process(Line::Words(vec!["v3".to_owned()])));
        remove(project, "next");
    });
    assert_eq!(play.took(), "", "what is being stopped is not stopped again");
    play.gone("api");
    play.gone("db");
    assert_eq!(play.took(), "spawn db, spawn api, spawn new", "once each, and nothing of the first alone");
    assert_eq!(play.states(), "api=ready db=ready keep=ready new=starting");
    assert_eq!((play.run("api").incarnation, play.run("db").incarnation), (2, 2));
}

#[test]
fn an_edit_that_is_taken_back_restarts_once_what_it_had_begun_to() {
    let mut play = Play::of("db; api: db; keep");
    let before = Arc::clone(play.core.project());
    play.took();
    play.edit(|project| {
        rerun(project, "db");
        add(project, "new?; next: new");
    });
    assert_eq!(play.took(), "stop db, spawn new");
    play.edit(|project| *project = (*before).clone());
    assert_eq!(play.took(), "stop new");
    play.gone("new");
    play.gone("db");
    assert_eq!(play.took(), "spawn db");
    assert_eq!(play.states(), "api=ready db=ready keep=ready");
    assert_eq!((play.run("db").incarnation, play.run("api").incarnation), (2, 1));
}
