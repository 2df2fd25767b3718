//! A thread that does not return is force-killed by a new image of orch (contract, section 3, "Threads");
//! `orch upgrade` is the same without one.

use std::sync::Arc;

use super::play::{Play, edit, ms};
use crate::config::model::{Snapshot, State};
use crate::supervisor::{Command, Event, RunEvent};
use crate::types::Signal;

/// Two threads, one of which hangs, a process beside them.
fn hung(text: &str) -> Play {
    let mut play = Play::of(text);
    play.took();
    play.restart("loop");
    assert_eq!(play.took(), "stop loop");
    play.hangs("loop");
    play
}

#[test]
fn the_other_threads_stop_first_then_comes_the_image_and_processes_notice_nothing() {
    let mut play = hung("loop@; clock@; api");
    assert_eq!(play.took(), "kill loop, stop clock");
    assert_eq!(play.states(), "api=ready clock=stopping loop=stopping");
    play.gone("clock");
    // Nothing that would not survive.
    assert_eq!(play.took(), "reexec");
    assert_eq!(play.states(), "api=ready clock=stopping loop=stopping");
    play.new_image();
    assert_eq!(play.took(), "spawn clock");
    assert_eq!(play.states(), "api=ready clock=ready loop=stopping");
    // What the hung thread had printed is read first.
    play.says("loop", RunEvent::OutputEnded);
    assert_eq!(play.took(), "spawn loop");
    assert_eq!(play.states(), "api=ready clock=ready loop=ready");
    let restarts: Vec<u32> = play.core.views().map(|view| view.restarts).collect();
    assert_eq!(restarts, [0, 0, 1], "only the hung thread's restart counts");
}

#[test]
fn the_last_run_is_told_from_one_that_another_run_follows() {
    let last = |play: &Play, of: &str| play.core.is_last(play.run(of));
    let mut play = Play::of("one@; other@; third@");
    assert!(!last(&play, "one"), "it is not asked to stop");
    play.restart("one");
    play.stop("other");
    assert!(!last(&play, "one") && last(&play, "other"));
    play.start("other");
    assert!(!last(&play, "other"), "it was wanted again meanwhile");
    play.down();
    assert!(last(&play, "third"));

    let play = hung("loop@; clock@");
    assert!(!last(&play, "clock") && play.core.is_replacing(), "it goes on in another image");
}

#[test]
fn one_that_does_not_stop_in_half_of_join_timeout_goes_with_the_old_image() {
    let mut play = hung("loop@; clock@");
    play.took();
    play.after(999);
    assert_eq!(play.took(), "");
    play.after(1);
    assert_eq!(play.took(), "reexec");
    play.new_image();
    play.says("clock", RunEvent::OutputEnded);
    play.says("loop", RunEvent::OutputEnded);
    assert_eq!(play.states(), "clock=ready loop=ready");
    assert_eq!(play.took(), "spawn clock, spawn loop");
}

#[test]
fn nothing_is_started_while_answers_are_awaited_and_nothing_is_awaited_for_ever() {
    let mut play = hung("loop@; clock@; api; web");
    play.silent();
    play.restart("web");
    play.gone("web");
    play.took();
    play.gone("clock");
    assert_eq!(play.took(), "", "web is being prepared");
    play.restart("api");
    play.gone("api");
    assert_eq!(play.took(), "stop api", "and api is not, any more");
    play.prepared("web");
    assert_eq!(play.took(), "reexec", "web is to be prepared again");
    play.new_image();
    assert_eq!(play.states(), "api=starting clock=starting loop=stopping web=starting");
    for name in ["api", "web", "clock"] {
        play.prepared(name);
        play.spawned(name);
    }
    assert_eq!(play.states(), "api=ready clock=ready loop=stopping web=ready");

    let mut play = hung("loop@; clock@; web");
    play.silent();
    play.restart("web");
    play.gone("web");
    play.after(1_000);
    assert!(play.took().ends_with("reexec"), "what took too long is asked for again");
    play.new_image();
    play.prepared("web");
    play.spawned("web");
    assert_eq!(play.state("web"), "ready");
}

#[test]
fn without_an_image_the_hung_one_is_stuck_and_the_others_go_on() {
    let mut play = hung("loop@; clock@; api: loop");
    play.gone("clock");
    play.took();
    play.tell(Event::ReexecFailed { error: "no room".to_owned() });
    assert_eq!(play.took(), "spawn clock");
    assert_eq!(play.states(), "api=ready clock=ready loop=stuck");
    assert!(play.reason("loop").contains("no room"), "{}", play.reason("loop"));
    // It may return after all.
    play.ends("loop", 0);
    assert_eq!(play.state("loop"), "ready");
}

#[test]
fn with_force_kill_off_or_without_leave_a_thread_is_stuck() {
    let mut play = Play::with("loop@", |project| {
        edit(project, "loop", |spec| Arc::make_mut(&mut spec.stop).force_kill = false);
    });
    play.restart("loop");
    play.after(5_000);
    assert_eq!(play.state("loop"), "stuck");
    assert!(!play.core.is_replacing());
}

#[test]
fn a_stop_and_a_shutdown_of_a_hung_thread_end_well() {
    let mut play = Play::of("loop@; api");
    play.took();
    play.stop("loop");
    play.hangs("loop");
    assert_eq!(play.took(), "stop loop, kill loop, reexec");
    play.new_image();
    play.says("loop", RunEvent::OutputEnded);
    assert_eq!(play.states(), "api=ready loop=stopped");

    let mut play = Play::of("db; loop@: db");
    play.took();
    play.down();
    play.hangs("loop");
    assert_eq!(play.took(), "stop loop, kill loop, reexec");
    play.new_image();
    play.says("loop", RunEvent::OutputEnded);
    assert_eq!(play.took(), "stop db");
    play.ends("db", 0);
    assert_eq!(play.exit, Some(0));
}

#[test]
fn a_second_ctrl_c_waits_for_no_image() {
    let mut play = hung("loop@; clock@");
    play.down();
    assert!(play.core.is_replacing());
    play.down();
    assert!(!play.core.is_replacing());
    assert_eq!(play.state("loop"), "stuck");
}

#[test]
fn an_upgrade_stops_and_starts_the_threads_and_touches_no_process() {
    let mut play = Play::of("clock@; api?; web: clock");
    play.ready("api");
    play.took();
    play.tell(Event::Command(Command::Upgrade("/new/orch".into())));
    assert_eq!(play.took(), "stop clock");
    play.gone("clock");
    assert_eq!(play.took(), "reexec /new/orch");
    play.new_image();
    assert_eq!(play.took(), "spawn clock");
    assert_eq!(play.states(), "api=ready clock=ready web=ready");
    assert_eq!(play.core.views().map(|view| view.restarts).sum::<u32>(), 0);

    let mut play = Play::of("api");
    play.took();
    play.tell(Event::Command(Command::Upgrade("/new/orch".into())));
    assert_eq!(play.took(), "reexec /new/orch", "without threads at once");
}

#[test]
fn deadlines_and_counts_go_on_in_the_new_image() {
    let mut play = Play::of("api; web");
    play.exits("web", 1);
    play.gone("web");
    assert_eq!(play.state("web"), "backoff");
    play.took();
    play.restart("api");
    play.after(50);
    play.tell(Event::Command(Command::Upgrade("/new/orch".into())));
    play.after(10);
    play.new_image();
    play.after(40);
    assert_eq!(play.state("web"), "ready", "its backoff ended at 100 ms");
    play.after(4_900);
    assert!(play.took().ends_with("kill api"), "5 s after it was asked to stop");
}

#[test]
fn a_thread_that_was_only_slow_counts_no_restart() {
    let mut play = Play::with("loop@; clock@", |project| {
        edit(project, "clock", |spec| Arc::make_mut(&mut spec.stop).timeout = ms(20_000));
    });
    play.restart("clock");
    play.restart("loop");
    play.hangs("loop");
    play.after(1_000);
    play.new_image();
    play.says("clock", RunEvent::OutputEnded);
    play.says("loop", RunEvent::OutputEnded);
    assert_eq!(play.states(), "clock=ready loop=ready");
    let restarts: Vec<u32> = play.core.views().map(|view| view.restarts).collect();
    assert_eq!(restarts, [0, 1]);
}

#[test]
fn a_hang_hurries_an_upgrade_and_outlives_its_failure() {
    let mut play = Play::of("loop@; clock@");
    play.restart("loop");
    play.after(4_000);
    play.tell(Event::Command(Command::Upgrade("/new/orch".into())));
    play.took();
    play.hangs("loop");
    play.after(1_000);
    assert!(play.took().ends_with("reexec /new/orch"), "not later than half of join_timeout");
    play.tell(Event::ReexecFailed { error: "no such file".to_owned() });
    assert_eq!(play.took(), "reexec", "this program can end the hung thread all the same");
    play.new_image();
    play.says("loop", RunEvent::OutputEnded);
    assert_eq!(play.state("loop"), "ready");
}

#[test]
fn an_upgrade_waits_for_effects_also_without_threads() {
    let mut play = Play::of("api; web");
    play.silent();
    play.restart("web");
    play.gone("web");
    play.took();
    play.tell(Event::Command(Command::Upgrade("/new/orch".into())));
    assert_eq!(play.took(), "");
    play.prepared("web");
    assert_eq!(play.took(), "reexec /new/orch");
}

// ── Snapshots ──────────────────────────────────────────────────────────────────────────────────────────────

fn stateful(every: u64) -> Box<State> {
    Box::new(State {
        file: "/p/state.json".into(),
        max_age: Some(ms(30_000)),
        once: true,
        atomic: false,
        keep: 3,
        max_size: 1 << 20,
        snapshot: (every > 0).then(|| Snapshot { every: ms(every), signal: Signal::HUP }),
        restart_args: Vec::new(),
        required: false,
    })
}

#[test]
fn a_ready_component_is_asked_for_its_state_again_and_again_and_an_edit_changes_how_often() {
    let mut play =
        Play::with("api?", |project| edit(project, "api", |spec| spec.state = Some(stateful(1_000))));
    play.after(1_500);
    assert!(!play.took().contains("ask"), "it is not ready");
    play.ready("api");
    play.after(2_500);
    assert_eq!(play.took(), "ask api, ask api");
    play.edit(|project| edit(project, "api", |spec| spec.state = Some(stateful(100))));
    play.after(250);
    assert_eq!(play.took(), "ask api, ask api");
    play.edit(|project| edit(project, "api", |spec| spec.state = Some(stateful(0))));
    play.after(10_000);
    assert_eq!(play.took(), "");
    play.edit(|project| edit(project, "api", |spec| spec.state = Some(stateful(1_000))));
    play.stop("api");
    play.after(3_000);
    assert_eq!(play.took(), "stop api", "what is to end is not asked");
}

#[test]
fn a_file_that_is_replaced_while_its_component_runs_is_sealed_at_once() {
    let mut play =
        Play::with("api; web", |project| edit(project, "api", |spec| spec.state = Some(stateful(0))));
    play.took();
    play.says("api", RunEvent::Replaced);
    play.says("web", RunEvent::Replaced);
    assert_eq!(play.took(), "snapshot api");
    play.restart("api");
    play.took();
    play.says("api", RunEvent::Replaced);
    assert_eq!(play.took(), "", "it is sealed when it is gone");
}

/// What gives up a new image, by force, is the second command, and not what the image was for.
#[test]
fn an_image_given_up_by_force_has_that_as_its_cause() {
    let mut play = hung("loop@; clock@; api");
    assert_eq!(play.took(), "kill loop, stop clock");
    play.down();
    let causes = play.causes(Event::Command(Command::Shutdown));
    assert!(causes.starts_with("command< other<command "), "{causes}");
    assert!(!play.core.is_replacing(), "nothing comes of it any more");
}
