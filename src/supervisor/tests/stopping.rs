//! Guarantees 2 to 4: the order of stops, one incarnation at a time, the force-kill.

use std::sync::Arc;

use super::play::{Play, edit, ms, name};
use crate::supervisor::{Action, Command, Event, RunEvent};
use crate::types::Exit;

#[test]
fn a_shutdown_goes_through_the_graph_in_reverse_and_independent_ones_stop_together() {
    let mut play = Play::of("db; cache; api: db, cache; web: api; job: db completed");
    play.took();
    play.down();
    assert_eq!(play.took(), "stop web");
    play.exits("web", 0);
    assert_eq!(play.took(), "sweep web", "its unit lives on");
    play.gone("web");
    assert_eq!(play.took(), "stop api");
    play.gone("api");
    assert_eq!(play.took(), "stop db, stop cache");
    play.gone("cache");
    play.gone("db");
    assert_eq!(play.took(), "exit 0");
}

#[test]
fn the_order_holds_also_through_what_is_gone() {
    let mut play = Play::of("db; migrate: db; api: migrate completed");
    play.ends("migrate", 0);
    play.took();
    play.down();
    assert_eq!(play.took(), "stop api", "migrate has completed, and still stands between them");
    play.gone("api");
    assert_eq!(play.took(), "stop db");

    let mut play = Play::of("db; api!: db; web: api; far");
    play.ends("api", 1);
    play.took();
    play.stop("db");
    assert_eq!(play.took(), "stop web", "api has failed, and still stands between them");
    play.gone("web");
    assert_eq!(play.took(), "stop db");
    play.gone("db");
    assert_eq!(play.states(), "api=failed db=stopped far=ready web=stopped");
}

#[test]
fn a_stop_leaves_alone_what_wanted_an_end_only() {
    let mut play = Play::of("job; api: job completed; other: job started");
    play.ends("job", 0);
    play.start("job");
    play.took();
    play.stop("job");
    assert_eq!((play.took().as_str(), play.state("api")), ("stop other", "ready"));
    play.gone("other");
    assert_eq!(play.took(), "stop job");
}

#[test]
fn the_next_run_waits_for_the_whole_unit() {
    let mut play = Play::of("api");
    play.restart("api");
    play.exits("api", 0);
    assert_eq!((play.took().as_str(), play.state("api")), ("spawn api, stop api, sweep api", "stopping"));
    play.says("api", RunEvent::OutputEnded);
    assert_eq!(play.took(), "");
    play.says("api", RunEvent::Gone);
    assert_eq!((play.took().as_str(), play.run("api").incarnation), ("spawn api", 2));
}

#[test]
fn the_force_kill_comes_at_stop_timeout_although_the_leader_has_ended() {
    let mut play = Play::of("api");
    play.took();
    play.stop("api");
    play.after(100);
    play.exits("api", 0);
    play.after(4_899);
    assert_eq!(play.took(), "stop api, sweep api");
    play.after(1);
    assert_eq!(play.took(), "kill api");
    assert_eq!(play.reason("api"), "force-killed: it did not stop within 5000 ms");
    play.gone("api");
    assert_eq!((play.state("api"), play.exit), ("stopped", None));
}

#[test]
fn the_rest_of_a_unit_is_stopped_when_its_leader_ends_and_the_leader_decides() {
    let mut play = Play::of("api; web: api");
    play.took();
    play.exits("api", 0);
    assert_eq!((play.took().as_str(), play.state("api")), ("sweep api", "stopping"));
    play.after(5_000);
    assert_eq!(play.took(), "kill api");
    play.gone("api");
    assert_eq!(play.states(), "api=completed web=ready");
}

#[test]
fn a_leader_that_has_ended_has_no_process_id() {
    let mut play = Play::of("api");
    let pid =
        |play: &Play| play.core.find("api").and_then(|cid| play.core.view(cid)).and_then(|view| view.pid);
    assert_eq!(pid(&play), Some(7));
    play.exits("api", 0);
    assert_eq!(pid(&play), None);
}

#[test]
fn output_that_somebody_holds_open_is_closed_at_join_timeout() {
    let mut play = Play::of("api");
    play.stop("api");
    play.took();
    play.says("api", RunEvent::Gone);
    play.after(1_999);
    assert_eq!(play.took(), "");
    play.after(1);
    assert_eq!((play.took().as_str(), play.state("api")), ("close api", "stopping"));
    play.says("api", RunEvent::OutputEnded);
    assert_eq!(play.state("api"), "stopped");
}

#[test]
fn after_a_force_kill_unit_and_output_have_one_join_timeout() {
    let mut play = Play::of("api");
    play.stop("api");
    play.after(5_000 + 1_500);
    play.took();
    play.says("api", RunEvent::Gone);
    play.after(499);
    assert_eq!(play.took(), "");
    play.after(1);
    assert_eq!(play.took(), "close api");
}

#[test]
fn what_outlives_its_force_kill_is_stuck_and_nothing_new_starts() {
    let mut play = Play::of("api");
    play.restart("api");
    play.after(7_000);
    assert_eq!((play.state("api"), play.took().as_str()), ("stuck", "spawn api, stop api, kill api"));
    play.start("api");
    play.after(100_000);
    assert_eq!((play.state("api"), play.took().as_str()), ("stuck", ""));
    play.gone("api");
    assert_eq!(
        (play.state("api"), play.took().as_str()),
        ("ready", "spawn api"),
        "when it is gone after all"
    );
}

#[test]
fn without_force_kill_it_is_stuck_and_waited_for_until_a_second_down() {
    let mut play = Play::with("api", |project| {
        edit(project, "api", |spec| Arc::make_mut(&mut spec.stop).force_kill = false);
    });
    play.stop("api");
    play.after(20_000);
    assert_eq!((play.state("api"), play.took().as_str()), ("stuck", "spawn api, stop api"));
    play.down();
    play.after(10_000);
    assert_eq!((play.took().as_str(), play.exit), ("", None));
    play.down();
    assert_eq!(play.took(), "kill api");
    play.gone("api");
    assert_eq!(play.exit, Some(1));
}

#[test]
fn a_thread_that_does_not_return_is_stuck() {
    let mut play = Play::embedded("api");
    play.stop("api");
    play.after(5_000);
    play.says("api", RunEvent::Unkillable);
    assert_eq!(play.state("api"), "stuck");
    play.down();
    assert_eq!(play.exit, Some(1), "it is not waited for");
}

#[test]
fn answers_in_odd_orders_are_taken_as_they_come() {
    // Gone before anything was said of the leader; output that ended long before; a Gone that is told twice.
    let mut play = Play::of("api!");
    play.says("api", RunEvent::OutputEnded);
    play.says("api", RunEvent::Gone);
    assert_eq!((play.state("api"), play.reason("api").as_str()), ("failed", "it ended with SIGKILL"));

    let mut play = Play::of("api");
    play.stop("api");
    play.says("api", RunEvent::Gone);
    play.after(1_000);
    play.says("api", RunEvent::Gone);
    play.took();
    play.after(1_000);
    assert_eq!(play.took(), "close api", "the second Gone does not begin it anew");

    let mut play = Play::of("api!");
    play.exits("api", 0);
    play.exits("api", 1);
    play.gone("api");
    assert_eq!((play.state("api"), play.reason("api").as_str()), ("completed", "it ended with exit code 0"));

    // A leader that ends before its spawn is told.
    let mut play = Play::quiet("api!", |_| {});
    play.silent();
    play.tell(Event::Up);
    play.prepared("api");
    play.ends("api", 3);
    play.spawned("api");
    assert_eq!(play.state("api"), "failed");
}

#[test]
fn time_outs_of_nothing_end_in_one_step() {
    let mut play = Play::with("api", |project| {
        edit(project, "api", |spec| {
            let stop = Arc::make_mut(&mut spec.stop);
            (stop.timeout, stop.join_timeout) = (ms(0), ms(0));
        });
    });
    play.stop("api");
    assert_eq!((play.took().as_str(), play.state("api")), ("spawn api, stop api, kill api", "stuck"));
    play.gone("api");
    assert_eq!(play.state("api"), "stopped");
}

/// How long each stop that comes of an event may wait for a proxy, in milliseconds.
fn drains(play: &mut Play, event: Event) -> Vec<u128> {
    let actions = play.core.step(play.now, event).into_iter();
    let of = |action| match action {
        Action::Stop { drain, .. } | Action::RunTask { drain, .. } => Some(drain.as_millis()),
        _ => None,
    };
    actions.filter_map(of).collect()
}

#[test]
fn a_stop_waits_for_what_is_under_way_a_fifth_of_a_second_or_a_quarter_of_its_time() {
    let stop = || Event::Command(Command::Stop(vec![name("api")]));
    for (timeout, drain) in [(5_000, 200), (800, 200), (796, 199), (100, 25), (0, 0)] {
        let mut play = Play::with("api", |project| {
            edit(project, "api", |it| Arc::make_mut(&mut it.stop).timeout = ms(timeout));
        });
        assert_eq!(drains(&mut play, stop()), [drain], "{timeout} ms");
        // What the leader has left has had that time.
        let exited = Event::Run(play.run("api"), RunEvent::Exited(Exit::Code(0)));
        let rest = if timeout == 0 { vec![] } else { vec![0] };
        assert_eq!(drains(&mut play, exited), rest, "{timeout} ms");
    }
}

#[test]
fn a_stop_command_waits_for_what_is_under_way_and_the_signal_after_it_does_not() {
    let mut play = Play::with("api", |project| {
        edit(project, "api", |it| {
            let words = crate::config::model::Command::Words(vec!["ctl".to_owned()]);
            Arc::make_mut(&mut it.stop).command = Some(words);
        });
    });
    assert_eq!(drains(&mut play, Event::Command(Command::Stop(vec![name("api")]))), [200]);
    let component = play.core.find("api").unwrap();
    let task = crate::types::TaskId { component, number: 1 };
    assert_eq!(drains(&mut play, Event::Task(task, super::play::failed("no"))), [0]);
}
