//! What a component says of itself.

use super::play::{Play, edit, ms};
use crate::supervisor::RunEvent;
use crate::types::Notice;

fn says(play: &mut Play, of: &str, notice: Notice) {
    play.says(of, RunEvent::Notice(notice));
}

#[test]
fn one_that_is_to_say_that_it_is_ready_is_ready_then() {
    let mut play = Play::of("api?; web: api");
    play.after(9_999);
    says(&mut play, "api", Notice::Ready);
    assert_eq!(play.states(), "api=ready web=ready");
}

#[test]
fn the_word_of_one_that_is_asked_otherwise_counts_for_nothing() {
    let mut play = Play::with("api?", |project| {
        edit(project, "api", |it| {
            it.ready.as_mut().unwrap().probe = crate::config::model::Probe::Delay(ms(100));
        });
    });
    says(&mut play, "api", Notice::Ready);
    assert_eq!(play.state("api"), "starting");
}

#[test]
fn a_word_that_comes_before_that_of_its_start_is_not_lost() {
    let mut play = Play::quiet("api?", |_| {});
    play.silent();
    play.tell(crate::supervisor::Event::Up);
    play.prepared("api");
    says(&mut play, "api", Notice::MainPid(12));
    says(&mut play, "api", Notice::Ready);
    play.spawned("api");
    assert_eq!(play.state("api"), "ready");
    assert_eq!(play.core.view(play.run("api").component).unwrap().pid, Some(12));
}

#[test]
fn a_reload_is_ready_to_the_eye_and_nobody_starts_on_it() {
    let mut play = Play::of("api?; web: api");
    says(&mut play, "api", Notice::Ready);
    play.stop("web");
    play.ends("web", 0);
    says(&mut play, "api", Notice::Reloading);
    assert_eq!((play.state("api"), play.reason("api").as_str()), ("ready", "it reloads its configuration"));
    play.start("web");
    assert_eq!(play.states(), "api=ready web=waiting");
    play.after(9_000);
    says(&mut play, "api", Notice::Reloading);
    says(&mut play, "api", Notice::Ready);
    assert_eq!(play.states(), "api=ready web=ready");
    assert_eq!(play.reason("api"), "it has reloaded its configuration");
}

#[test]
fn a_reload_that_does_not_end_is_a_failure() {
    let mut play = Play::of("api?");
    play.ready("api");
    says(&mut play, "api", Notice::Reloading);
    play.after(9_999);
    // Saying it again gains no time.
    says(&mut play, "api", Notice::Reloading);
    play.after(1);
    assert_eq!(play.state("api"), "stopping");
    play.ends("api", 0);
    assert_eq!(play.state("api"), "backoff");
}

#[test]
fn one_that_stops_by_itself_is_sent_nothing_and_its_exit_decides() {
    for (code, then) in [(0, "completed"), (1, "backoff")] {
        let mut play = Play::of("api; web: api restart");
        play.took();
        says(&mut play, "api", Notice::Stopping);
        assert_eq!((play.state("api"), play.took().as_str()), ("stopping", "stop web"));
        assert_eq!(play.reason("api"), "it stops by itself");
        play.exits("api", code);
        assert_eq!(play.took(), "sweep api");
        play.gone("api");
        assert_eq!(play.state("api"), then);
    }
}

#[test]
fn one_that_says_that_it_stops_and_does_not_is_killed() {
    let mut play = Play::of("api");
    play.took();
    says(&mut play, "api", Notice::Stopping);
    play.after(4_999);
    assert_eq!(play.took(), "");
    play.after(1);
    assert_eq!(play.took(), "kill api");
}

#[test]
fn a_status_is_shown_until_it_is_taken_back() {
    let mut play = Play::of("api");
    let status = |play: &Play| play.core.view(play.run("api").component).unwrap().status;
    says(&mut play, "api", Notice::Status("12 clients".to_owned()));
    assert_eq!(status(&play).as_deref(), Some("12 clients"));
    says(&mut play, "api", Notice::Status(String::new()));
    assert_eq!(status(&play), None);
}

#[test]
fn more_time_is_never_less() {
    let mut play = Play::of("api?");
    says(&mut play, "api", Notice::Extend(ms(1)));
    play.after(9_000);
    assert_eq!(play.state("api"), "starting");
    says(&mut play, "api", Notice::Extend(ms(5_000)));
    play.after(4_999);
    assert_eq!(play.state("api"), "starting");
    play.ready("api");
    play.took();
    play.stop("api");
    play.after(4_000);
    says(&mut play, "api", Notice::Extend(ms(3_000)));
    play.after(2_999);
    assert_eq!(play.took(), "stop api");
    play.after(1);
    assert_eq!(play.took(), "kill api");
}

#[test]
fn a_shutdown_is_bounded_whatever_it_says() {
    let mut play = Play::of("api");
    play.took();
    play.down();
    says(&mut play, "api", Notice::Extend(ms(1_000_000)));
    play.after(29_999);
    assert_eq!(play.took(), "stop api");
    play.after(1);
    assert_eq!(play.took(), "kill api");
}

/// `api` is to say that it is ready, and its first process has ended with this.
fn daemon(code: i32) -> Play {
    let mut play = Play::of("api?!; web: api");
    play.took();
    play.exits("api", code);
    play
}

#[test]
fn the_good_end_of_a_first_process_waits_for_the_one_that_it_has_made() {
    let mut play = daemon(0);
    assert_eq!((play.state("api"), play.took().as_str()), ("starting", ""));
    let view = |play: &Play| play.core.view(play.run("api").component).unwrap();
    assert_eq!(view(&play).pid, None, "that number may be anybody's by now");
    assert_eq!(view(&play).reason, "its first process has ended, and it has not said that it is ready");
    says(&mut play, "api", Notice::MainPid(12));
    says(&mut play, "api", Notice::Ready);
    assert_eq!((play.states().as_str(), view(&play).pid), ("api=ready web=ready", Some(12)));
    play.took();
    play.exits("api", 3);
    assert_eq!((play.state("api"), play.took().as_str()), ("stopping", "sweep api"), "its end is the run's");
}

#[test]
fn a_bad_end_is_one_at_once() {
    let mut play = daemon(1);
    assert_eq!((play.state("api"), play.took().as_str()), ("stopping", "sweep api"));
}

#[test]
fn one_that_names_nobody_has_ended_when_it_is_ready() {
    let mut play = daemon(0);
    says(&mut play, "api", Notice::Ready);
    assert_eq!((play.states().as_str(), play.took().as_str()), ("api=stopping web=waiting", "sweep api"));
    play.gone("api");
    assert_eq!(play.states(), "api=completed web=ready");
}

#[test]
fn one_of_which_nothing_is_left_has_ended_before_it_was_ready() {
    let mut play = daemon(0);
    play.gone("api");
    assert_eq!(play.state("api"), "failed");
    assert_eq!(play.reason("api"), "it ended with exit code 0 before it was ready");
}

#[test]
fn one_that_is_not_ready_in_time_is_asked_to_stop_with_all_that_it_has_left() {
    let mut play = daemon(0);
    play.after(10_000);
    assert_eq!((play.state("api"), play.took().as_str()), ("stopping", "stop api, sweep api"));
    play.gone("api");
    assert!(play.reason("api").starts_with("not ready within 10000 ms"), "{}", play.reason("api"));
    // So is one that somebody stops.
    let mut play = daemon(0);
    play.stop("api");
    assert_eq!((play.state("api"), play.took().as_str()), ("stopping", "stop api, sweep api"));
}

#[test]
fn a_first_process_that_has_ended_is_known_to_a_new_image() {
    let mut play = daemon(0);
    play.tell(crate::supervisor::Event::Command(crate::supervisor::Command::Upgrade("/new/orch".into())));
    play.new_image();
    play.took();
    says(&mut play, "api", Notice::Ready);
    assert_eq!((play.state("api"), play.took().as_str()), ("stopping", "sweep api"));
}

#[test]
fn one_that_is_to_end_after_others_is_not_ended_before_them_for_being_broken() {
    let mut play = Play::of("api?; web: api started");
    play.stop("api");
    play.took();
    says(&mut play, "api", Notice::Broken);
    assert_eq!((play.states().as_str(), play.took().as_str()), ("api=starting web=stopping", ""));
}
