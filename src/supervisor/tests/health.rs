//! Health checks and the watchdog.

use super::play::{Play, edit, ms};
use crate::config::model::{Health, HealthCheck, HostPort};
use crate::supervisor::{Command, Event, RunEvent};
use crate::types::Notice;

fn health(check: HealthCheck) -> Option<Box<Health>> {
    Some(Box::new(Health { check, interval: ms(5_000), timeout: ms(1_000), retries: 3 }))
}

fn tcp() -> HealthCheck {
    HealthCheck::Tcp(HostPort { host: "localhost".to_owned(), port: 80 })
}

fn checked(text: &str) -> Play {
    Play::with(text, |project| edit(project, "api", |it| it.health = health(tcp())))
}

fn watched() -> Play {
    Play::with("api?", |project| {
        edit(project, "api", |it| it.health = health(HealthCheck::Watchdog(ms(5_000))));
    })
}

fn unwell(play: &mut Play, times: usize) {
    for _ in 0..times {
        let (asked, error) = (play.asked, "connection refused".to_owned());
        play.says("api", RunEvent::Unwell { asked, error });
    }
}

#[test]
fn it_is_asked_once_it_is_ready() {
    let mut play = checked("api?");
    assert_eq!(play.took(), "spawn api");
    unwell(&mut play, 5);
    play.ready("api");
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", "check api"));
}

#[test]
fn so_many_failures_in_a_row_are_a_failure_and_a_good_try_clears_them() {
    let mut play = checked("api");
    play.took();
    unwell(&mut play, 2);
    let asked = play.asked;
    play.says("api", RunEvent::Well { asked });
    unwell(&mut play, 2);
    assert_eq!(play.state("api"), "ready");
    play.after(1_000);
    unwell(&mut play, 1);
    assert_eq!((play.state("api"), play.took().as_str()), ("stopping", "stop api"));
    let reason = "its health check failed 3 times in a row: connection refused";
    assert_eq!(play.reason("api"), reason);
    // It had been ready for a second: it is restarted at once, however long its end takes.
    play.after(2_000);
    play.ends("api", 0);
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", "sweep api, spawn api, check api"));
    assert_eq!(play.core.view(play.run("api").component).unwrap().restarts, 1);
}

#[test]
fn unhealthy_is_recorded_and_judged_by_the_policy() {
    let mut play = checked("api!");
    unwell(&mut play, 2);
    let run = play.run("api");
    let event = Event::Run(run, RunEvent::Unwell { asked: 1, error: "refused".to_owned() });
    let told = "api.unhealthy<api.ready api.stop_requested<api.unhealthy api.stopping<api.stop_requested";
    assert_eq!(play.causes(event), told);
    play.ends("api", 0);
    assert_eq!(play.state("api"), "failed");
    assert_eq!(play.reason("api"), "its health check failed 3 times in a row: refused");
}

#[test]
fn one_that_follows_goes_down_with_it() {
    let mut play = checked("api; web: api restart");
    play.took();
    unwell(&mut play, 3);
    assert_eq!(play.took(), "stop api, stop web");
}

#[test]
fn what_is_to_end_anyway_is_not_judged() {
    let mut play = checked("api; web: api");
    play.took();
    play.stop("api");
    unwell(&mut play, 5);
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", "stop web"));
}

#[test]
fn an_edit_asks_anew_or_no_more() {
    let mut play = checked("api");
    unwell(&mut play, 2);
    play.took();
    play.edit(|project| edit(project, "api", |it| it.health.as_mut().unwrap().retries = 2));
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", "check api"));
    unwell(&mut play, 1);
    assert_eq!(play.state("api"), "ready");
    play.edit(|project| edit(project, "api", |it| it.health = None));
    assert_eq!(play.took(), "check api no more");
    unwell(&mut play, 5);
    assert_eq!(play.state("api"), "ready");
}

#[test]
fn a_new_image_asks_again() {
    let mut play = checked("api");
    play.tell(Event::Command(Command::Upgrade("/new/orch".into())));
    play.took();
    play.new_image();
    assert_eq!(play.took(), "check api");
}

#[test]
fn one_silence_is_a_failure_of_what_is_ready() {
    let mut play = watched();
    play.after(9_999);
    assert_eq!(play.state("api"), "starting");
    play.ready("api");
    play.took();
    for _ in 0..3 {
        play.after(4_999);
        play.says("api", RunEvent::Notice(Notice::Watchdog));
    }
    assert_eq!(play.state("api"), "ready");
    play.after(5_000);
    assert_eq!((play.state("api"), play.took().as_str()), ("stopping", "stop api"));
    assert_eq!(play.reason("api"), "its watchdog heard nothing of it for 5s");
}

#[test]
fn it_says_itself_how_long_it_may_be_silent_or_that_it_is_broken() {
    let mut play = watched();
    play.says("api", RunEvent::Notice(Notice::WatchdogEvery(ms(100))));
    play.after(1_000);
    play.ready("api");
    play.after(99);
    play.says("api", RunEvent::Notice(Notice::WatchdogEvery(ms(0))));
    play.after(100_000);
    assert_eq!(play.state("api"), "ready");
    play.says("api", RunEvent::Notice(Notice::Broken));
    assert_eq!(play.state("api"), "stopping");
    assert_eq!(play.reason("api"), "it found itself broken (WATCHDOG=trigger)");
}

#[test]
fn a_watchdog_that_an_edit_takes_away_barks_no_more_and_a_new_one_is_for_the_next_run() {
    let mut play = watched();
    play.ready("api");
    play.edit(|project| edit(project, "api", |it| it.health = None));
    play.after(100_000);
    assert_eq!(play.state("api"), "ready");
    play.edit(|project| {
        edit(project, "api", |it| it.health = health(HealthCheck::Watchdog(ms(5_000))));
    });
    play.after(100_000);
    assert_eq!(play.state("api"), "ready");
}

#[test]
fn what_it_said_to_the_old_image_is_waited_for_by_the_new_one() {
    let mut play = watched();
    play.ready("api");
    play.after(4_990);
    play.tell(Event::Command(Command::Upgrade("/new/orch".into())));
    play.new_image();
    play.after(4_999);
    assert_eq!(play.state("api"), "ready");
    play.after(1);
    assert_eq!(play.state("api"), "stopping");
}

#[test]
fn who_spoke_while_orch_was_stopped_is_heard_before_silence_counts() {
    let mut play = watched();
    play.ready("api");
    play.took();
    // Nothing steps for a minute, and then what was due long ago does.
    play.now = play.now + ms(60_000);
    play.tell(Event::Deadline);
    assert_eq!((play.state("api"), play.took().as_str()), ("ready", ""));
    play.says("api", RunEvent::Notice(Notice::Watchdog));
    play.after(4_999);
    assert_eq!(play.state("api"), "ready");
    // One that says nothing then either is silent.
    play.now = play.now + ms(60_000);
    play.tell(Event::Deadline);
    play.after(250);
    assert_eq!(play.state("api"), "stopping");
}

#[test]
fn what_was_asked_before_an_edit_says_nothing_of_what_is_asked_now() {
    let mut play = checked("api");
    let before = play.asked;
    play.edit(|project| edit(project, "api", |it| it.health.as_mut().unwrap().retries = 2));
    assert_eq!(play.asked, before + 1);
    for _ in 0..5 {
        play.says("api", RunEvent::Unwell { asked: before, error: "refused".to_owned() });
    }
    assert_eq!(play.state("api"), "ready");
    unwell(&mut play, 1);
    play.says("api", RunEvent::Well { asked: before });
    unwell(&mut play, 1);
    assert_eq!(play.state("api"), "stopping", "two in a row, and what was good was not asked");
}

#[test]
fn who_slept_through_the_time_to_be_ready_listens_first() {
    let mut play = Play::of("api?");
    play.now = play.now + ms(10_500);
    play.tell(Event::Deadline);
    assert_eq!(play.state("api"), "starting", "its word may be on its way");
    play.after(249);
    assert_eq!(play.state("api"), "starting");
    play.after(1);
    assert_eq!(play.state("api"), "stopping");
}
