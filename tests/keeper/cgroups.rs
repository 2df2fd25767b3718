//! What is so only where units have cgroups. On a machine that lets nobody make any, these tests say so and
//! pass; what holds there is held by the others.

use std::path::{Path, PathBuf};
use std::time::Instant;

use orch::runner::keeper::sweep;
use orch::runner::{Runner as _, Scope};
use orch::types::{Exit, Signal};

use crate::by_cgroup::{Bench, Play, ZOO, is_alive, play, tagged, wait_until};

/// A keeper whose units have cgroups, and their folder.
fn bench() -> Option<(Bench, PathBuf)> {
    let bench = Bench::new();
    let folder = bench.keeper().cgroup().map(Path::to_path_buf);
    if folder.is_none() {
        println!("not tested: no cgroup can be made here");
    }
    folder.map(|folder| (bench, folder))
}

/// An orch with such a keeper, and this in its units.
fn play_in_cgroups(modes: &str) -> Option<(Play, PathBuf)> {
    drop(bench()?);
    let play = play(modes);
    let folder = play.cgroup.clone().unwrap();
    Some((play, folder))
}

/// The living processes in a cgroup and below it.
fn members(folder: &Path) -> Vec<u32> {
    let mut pids: Vec<u32> = std::fs::read_to_string(folder.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            pids.extend(members(&entry.path()));
        }
    }
    pids
}

#[test]
fn each_unit_is_in_its_own_from_the_first_instruction_on_and_none_is_left() {
    let Some((mut bench, folder)) = bench() else { return };
    let (first, first_pid) = bench.run_ready(&["daemon"]);
    let (second, second_pid) = bench.run_ready(&["idle"]);
    let of = |unit: orch::types::UnitId| folder.join(unit.0.to_string());
    assert!(members(&of(first)).contains(&first_pid) && members(&of(first)).len() == 2);
    assert_eq!(members(&of(second)), [second_pid]);
    assert!(!members(&folder).contains(&bench.keeper().pid()), "the keeper is in none");

    assert_eq!(bench.kill(first).len(), 2);
    bench.expect_exit(first, Exit::Signal(Signal::KILL));
    bench.expect_gone(first);
    assert!(!of(first).exists());
    assert!(is_alive(second_pid));

    // What can't be started leaves none either.
    let (_, failing) = bench.ask(&["/no/such/program"]);
    drop(failing);
    bench.next_report();
    assert_eq!(std::fs::read_dir(&folder).unwrap().flatten().filter(|it| it.path().is_dir()).count(), 1);
    bench.close();
    assert!(!folder.exists());
}

#[test]
fn who_takes_off_every_mark_is_still_of_the_unit() {
    let Some((mut bench, _)) = bench() else { return };
    let (unit, ..) = bench.run(&["stray-and-exit"]);
    bench.expect_exit(unit, Exit::Code(0));
    // No stray, and not gone.
    bench.expect_silence();
    let pids = bench.kill(unit);
    assert_eq!(pids.len(), 1);
    bench.expect_gone(unit);
    assert!(!is_alive(pids[0]));

    // A signal to all of the unit reaches it, too.
    let (unit, ..) = bench.run(&["stray-and-exit"]);
    bench.expect_exit(unit, Exit::Code(0));
    bench.keeper().signal(unit, Signal::TERM, Scope::Unit);
    bench.expect_gone(unit);
}

#[test]
fn a_unit_may_make_cgroups_of_its_own() {
    let Some((mut bench, folder)) = bench() else { return };
    let script = "own=$0/$(basename $(sed -n s/^0:://p /proc/self/cgroup)); mkdir -p $own/a/b; sleep 1000 &
        echo $! > $own/a/b/cgroup.procs; echo $$ > $own/a/cgroup.procs; echo up; exec sleep 1000";
    let (unit, mut output) = bench.ask(&["/bin/sh", "-c", script, folder.to_str().unwrap()]);
    bench.next_report();
    std::io::Read::read_exact(&mut output, &mut [0; 3]).unwrap();
    let own = folder.join(unit.0.to_string());
    assert_eq!(members(&own.join("a/b")).len(), 1);
    assert_eq!(bench.kill(unit).len(), 2);
    bench.expect_exit(unit, Exit::Signal(Signal::KILL));
    bench.expect_gone(unit);
    assert!(!own.exists());
}

#[test]
fn they_are_removed_whoever_is_killed() {
    for orch_first in [true, false] {
        let Some((play, folder)) = play_in_cgroups(&format!("{ZOO},stray")) else { return };
        wait_until("the zoo is complete", || members(&folder).len() > 35);
        let begun = Instant::now();
        let victim = if orch_first { play.orch.id() } else { play.keeper };
        let victim = rustix::process::Pid::from_raw(victim.cast_signed()).unwrap();
        rustix::process::kill_process(victim, rustix::process::Signal::KILL).unwrap();
        wait_until("all is gone", || !folder.exists());
        println!("orch killed: {orch_first}; all gone in {:?}", begun.elapsed());
        assert_eq!(tagged(play.instance), [0_u32; 0]);
    }
}

#[test]
fn after_a_double_kill_the_sweep_finds_also_who_took_off_every_mark() {
    let Some((mut play, folder)) = play_in_cgroups(&format!("{ZOO},stray")) else { return };
    play.kill_both();
    // Comets come and go; who is in both lists of members stays.
    let (left, marked, again) = (members(&folder), tagged(play.instance), members(&folder));
    let unmarked = left.iter().find(|pid| again.contains(pid) && !marked.contains(pid));
    let unmarked = *unmarked.unwrap();
    let swept = sweep(play.instance, Some(&folder));
    assert!(swept.contains(&unmarked));
    assert!(left.iter().all(|pid| !is_alive(*pid)));
    assert!(!folder.exists());
    // A folder that is no keeper's is none to sweep.
    assert_eq!(sweep(play.instance, folder.parent()), [0_u32; 0]);
}
