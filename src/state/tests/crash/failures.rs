//! Every operation fails in turn, once or from then on, in every way; then orch goes on, or is killed.

use rustix::io::Errno;

use super::*;

const FAILURES: [Failure; 6] = [
    Failure::Error(Errno::IO),
    Failure::Error(Errno::NOSPC),
    Failure::Error(Errno::INTR),
    Failure::Error(Errno::MFILE),
    Failure::Error(Errno::ROFS),
    Failure::Short,
];

const SUBJECTS: [&str; 7] = [
    "a restore by a copy",
    "a save that leads to pruning",
    "a snapshot and an ordered stop",
    "a restore and its use",
    "a file put there by hand",
    "a damaged state",
    "a poisoned state",
];

/// Fails each operation of a scenario in this way; gives how many there are.
fn sweep(scenario: &Scenario, failure: Failure, for_good: bool) -> u64 {
    for at in 1.. {
        let mut run = prepared(scenario, Fraud::None);
        run.disk.fail_at(at, for_good, failure);
        (scenario.act)(&mut run);
        if !run.disk.calm() {
            return at - 1;
        }
        let place = format!("{}, {failure:?} at operation {at}, for good: {for_good}", scenario.name);
        let mut history = run.history(0);
        recover(&run, &run.disk.copy(), Crash::Kill, history.clone())
            .unwrap_or_else(|wrong| panic!("{place}, then a kill: {wrong}"));
        run.facts.clear();
        let restore = run.try_start().unwrap_or_else(|wrong| panic!("{place}: {wrong}"));
        judge(&run, &restore, &history, Crash::Kill).unwrap_or_else(|wrong| panic!("{place}: {wrong}"));
        run.check_store(&history).unwrap_or_else(|wrong| panic!("{place}: {wrong}"));
        history.extend(&mut run);
    }
    0
}

#[test]
fn the_nth_operation_fails() {
    let mut failures = 0;
    for scenario in SCENARIOS.iter().filter(|scenario| SUBJECTS.contains(&scenario.name)) {
        for failure in FAILURES {
            for for_good in [false, true] {
                let operations = sweep(scenario, failure, for_good);
                assert!(operations > 10, "{}: {operations}", scenario.name);
                failures += operations;
            }
        }
    }
    println!("operations that were made to fail: {failures}");
    assert!(failures > 3_000, "{failures}");
}
