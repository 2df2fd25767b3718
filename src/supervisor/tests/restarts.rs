//! Automatic restarts, and `restart: true`.

use std::sync::Arc;

use super::play::{Act, Play, edit};
use crate::config::model::RestartPolicy;

#[test]
fn waits_grow_and_one_more_than_the_limit_has_failed() {
    let mut play = Play::of("api");
    for wait in [100, 200, 400, 800, 1_600] {
        play.ends("api", 1);
        assert_eq!(play.reason("api"), format!("it ended with exit code 1; starting again in {wait} ms"));
        play.after(wait - 1);
        assert_eq!(play.state("api"), "backoff");
        play.after(1);
        assert_eq!(play.state("api"), "ready");
    }
    play.ends("api", 1);
    assert_eq!((play.state("api"), play.exit), ("failed", Some(1)));
    assert_eq!(play.reason("api"), "it ended with exit code 1; it was restarted 5 times within 1m");
}

#[test]
fn a_sound_run_is_restarted_at_once_and_a_long_one_clears_the_counts() {
    let mut play = Play::of("api");
    for _ in 0..4 {
        play.after(1_000);
        play.ends("api", 1);
        assert_eq!(play.state("api"), "ready");
    }
    play.ends("api", 1);
    assert_eq!(play.reason("api"), "it ended with exit code 1; starting again in 1600 ms");
    play.after(1_600);
    for _ in 0..9 {
        play.after(10_000);
        play.ends("api", 1);
        assert_eq!(play.state("api"), "ready");
    }
}

#[test]
fn the_policy_decides_and_both_ends_of_a_run_are_judged_by_what_is_declared_then() {
    use RestartPolicy::{Always, Never, OnFailure};
    let table = [
        (Never, 0, "completed"),
        (Never, 1, "failed"),
        (OnFailure, 0, "completed"),
        (OnFailure, 1, "backoff"),
        (OnFailure, 7, "completed"),
        (Always, 0, "backoff"),
    ];
    for (policy, code, state) in table {
        let mut play = Play::of("api; other");
        play.edit(|project| {
            edit(project, "api", |spec| {
                let restart = Arc::make_mut(&mut spec.restart);
                (restart.policy, restart.success_codes) = (policy, vec![0, 7]);
            });
        });
        play.ends("api", code);
        assert_eq!(play.state("api"), state, "{policy:?} after {code}");
    }
}

#[test]
fn a_command_clears_the_counts_and_a_change_does_not_count() {
    let mut play = Play::of("api*; other");
    for _ in 0..5 {
        play.ends("api", 1);
        play.after(2_000);
    }
    for _ in 0..9 {
        play.change("api");
        play.gone("api");
        play.after(5);
        assert_eq!(play.state("api"), "ready");
    }
    play.restart("api");
    play.gone("api");
    play.ends("api", 1);
    assert_eq!(play.reason("api"), "it ended with exit code 1; starting again in 100 ms");
    let restarts = |play: &Play| play.core.find("api").and_then(|cid| play.core.view(cid)).unwrap().restarts;
    assert_eq!(restarts(&play), 5, "automatic ones, since up, and the next has not come yet");
    play.after(2_000);
    assert_eq!(restarts(&play), 6);
}

#[test]
fn a_seed_decides_the_jitter() {
    let wait = |seed: u64| {
        let mut play = Play::seeded("api", seed, |project| {
            edit(project, "api", |spec| Arc::make_mut(&mut spec.restart).backoff.jitter = 1.0);
        });
        play.ends("api", 1);
        play.core.next_deadline()
    };
    assert_eq!(wait(1), wait(1));
    assert_ne!(wait(1), wait(2));
}

#[test]
fn running_dependents_stay_and_followers_are_stopped_first() {
    let mut play = Play::of("db*; stays: db; follows: db ready restart; second: follows ready restart");
    play.took();
    play.change("db");
    assert_eq!(play.took(), "stop second", "the last of a row goes first");
    play.gone("second");
    assert_eq!(play.took(), "stop follows");
    play.gone("follows");
    assert_eq!(play.took(), "stop db");
    play.gone("db");
    play.after(5);
    assert_eq!(play.took(), "spawn db, spawn follows, spawn second");
    assert_eq!(play.states(), "db=ready follows=ready second=ready stays=ready");
}

#[test]
fn after_a_crash_followers_are_stopped_at_once() {
    let mut play = Play::of("db?; follows: db ready restart; waits: db completed restart");
    play.ready("db");
    play.took();
    play.exits("db", 1);
    assert_eq!(play.took(), "sweep db, stop follows");
    play.gone("follows");
    assert_eq!(play.state("follows"), "waiting");
    play.gone("db");
    play.after(100);
    play.ready("db");
    assert_eq!(play.states(), "db=ready follows=ready waits=waiting");
}

/// What wanted an end stays when it comes; when the job runs again, it is restarted with it.
#[test]
fn a_job_takes_its_followers_along_whenever_it_runs_again() {
    let commands: [(&str, Act); 3] = [
        ("change", |play| play.change("job")),
        ("restart", |play| play.restart("job")),
        ("start", |play| play.start("job")),
    ];
    for (how, act) in commands {
        let mut play = Play::of("job*; api: job completed restart");
        play.ends("job", 0);
        assert_eq!(play.states(), "api=ready job=completed");
        play.took();
        act(&mut play);
        play.after(5);
        assert_eq!(play.took(), "stop api", "{how}");
        play.gone("api");
        assert_eq!((play.took().as_str(), play.state("api")), ("spawn job", "waiting"), "{how}");
        play.ends("job", 0);
        assert_eq!(play.state("api"), "ready", "{how}");
    }
}

/// The run that is to be followed by another is ending by itself, and a follower of its last end runs.
#[test]
fn a_change_while_a_job_ends_takes_its_followers_along() {
    let mut play = Play::of("job*; api: job completed restart");
    play.ends("job", 0);
    play.edit(|project| edit(project, "api", |spec| spec.depends_on[0].restart = false));
    play.start("job");
    play.edit(|project| edit(project, "api", |spec| spec.depends_on[0].restart = true));
    play.exits("job", 0);
    play.took();
    play.change("job");
    assert_eq!(play.took(), "stop api");
    play.gone("job");
    play.after(5);
    assert_eq!(play.took(), "", "not before it is gone");
    play.gone("api");
    assert_eq!(play.took(), "spawn job");
}

#[test]
fn a_long_row_of_followers_overflows_no_stack() {
    let count = 20_000;
    let names: Vec<String> = (0..count).map(|at| format!("c{at:05}")).collect();
    let needs = |at: usize| if at == 0 { String::new() } else { format!("{} ready restart", names[at - 1]) };
    let parts: Vec<String> = (0..count).map(|at| format!("{}: {}", names[at], needs(at))).collect();
    let mut play = Play::unchecked(&parts.join("; "));
    assert_eq!(play.state(&names[count - 1]), "ready");
    play.took();
    play.restart("c00000");
    assert_eq!(play.took(), format!("stop {}", names[count - 1]));
    play.down();
}
