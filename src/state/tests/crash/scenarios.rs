//! What is going on when the crash comes.

use super::*;

/// A component's life up to a moment, and the calls that are recorded from then on.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) keep: u32,
    pub(super) atomic: bool,
    /// Whether the state file is on another file system than the store.
    pub(super) apart: bool,
    pub(super) before: fn(&mut Run),
    pub(super) act: fn(&mut Run),
}

const PLAIN: Scenario =
    Scenario { name: "", keep: 3, atomic: false, apart: false, before: |_| {}, act: |_| {} };

fn run_with(run: &mut Run, state: &str) {
    run.hand_over(state);
    let restore = run.start();
    run.become_ready(&restore);
}

fn offered_twice(run: &mut Run) {
    run.hand_over("one");
    for _ in 0..2 {
        run.start();
        drop(run.end(Ending::Crashed, Arrival::Still));
    }
}

fn damaged(run: &mut Run) {
    run.hand_over("one");
    let restore = run.start();
    run.become_ready(&restore);
    run.write("two");
    drop(run.end(Ending::Ordered, Arrival::InPlace));
    let path = run.generation(2);
    let last = run.disk.read(&path).unwrap().len() - 1;
    run.disk.damage(&path, last);
    run.note(Fact::Damaged(2));
}

fn brought_along(run: &mut Run) {
    run.disk.replace(&run.spec.file, &long("brought"));
    run.note(Fact::Wrote("brought".into()));
    run.note(Fact::Precious("brought".into()));
}

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "the first save",
        before: |run| drop(run.start()),
        act: |run| {
            run.write("one");
            drop(run.end(Ending::Ordered, Arrival::InPlace));
        },
        ..PLAIN
    },
    Scenario {
        name: "a save that leads to pruning",
        keep: 1,
        before: |run| run_with(run, "one"),
        act: |run| {
            run.write("two");
            drop(run.end(Ending::Ordered, Arrival::InPlace));
        },
        ..PLAIN
    },
    Scenario {
        name: "a save after a crash of the component",
        before: |run| run_with(run, "one"),
        act: |run| {
            run.replace("two");
            drop(run.end(Ending::Crashed, Arrival::Whole));
        },
        ..PLAIN
    },
    Scenario {
        name: "an atomic save",
        atomic: true,
        before: |run| run_with(run, "one"),
        act: |run| {
            run.replace("two");
            drop(run.end(Ending::Ordered, Arrival::Whole));
        },
        ..PLAIN
    },
    Scenario {
        name: "a snapshot",
        keep: 1,
        before: |run| {
            run_with(run, "one");
            run.replace("two");
            run.snapshot();
        },
        act: |run| {
            run.replace("three");
            run.snapshot();
        },
        ..PLAIN
    },
    Scenario {
        name: "a snapshot and an ordered stop",
        atomic: true,
        before: |run| run_with(run, "one"),
        act: |run| {
            run.replace("two");
            run.snapshot();
            drop(run.end(Ending::Ordered, Arrival::Whole));
        },
        ..PLAIN
    },
    Scenario {
        name: "a torn file after a crash of the component",
        before: |run| run_with(run, "one"),
        act: |run| {
            run.write("two");
            drop(run.end(Ending::Crashed, Arrival::InPlace));
        },
        ..PLAIN
    },
    Scenario {
        name: "a restore and its use",
        before: |run| run.hand_over("one"),
        act: |run| {
            let restore = run.start();
            run.become_ready(&restore);
        },
        ..PLAIN
    },
    Scenario {
        name: "a second offer",
        before: |run| {
            run.hand_over("one");
            run.start();
            drop(run.end(Ending::Crashed, Arrival::Still));
        },
        act: |run| {
            run.start();
            drop(run.end(Ending::Crashed, Arrival::Still));
        },
        ..PLAIN
    },
    Scenario {
        name: "a restore by a copy",
        before: |run| {
            run.hand_over("one");
            run.disk.remove(&run.spec.file);
        },
        act: |run| {
            let restore = run.start();
            run.become_ready(&restore);
        },
        ..PLAIN
    },
    Scenario {
        name: "a restore on another file system",
        apart: true,
        before: |run| {
            run.hand_over("one");
            run.disk.remove(&run.spec.file);
        },
        act: |run| drop(run.start()),
        ..PLAIN
    },
    Scenario {
        name: "a poisoned state",
        before: offered_twice,
        act: |run| {
            run.start();
        },
        ..PLAIN
    },
    Scenario { name: "a damaged state", before: damaged, act: |run| drop(run.start()), ..PLAIN },
    Scenario {
        name: "a file before the first run",
        before: brought_along,
        act: |run| drop(run.start()),
        ..PLAIN
    },
    Scenario {
        name: "an atomic file before the first run",
        atomic: true,
        before: brought_along,
        act: |run| {
            let restore = run.start();
            run.become_ready(&restore);
        },
        ..PLAIN
    },
    Scenario {
        name: "a file put there by hand",
        before: |run| {
            run_with(run, "one");
            run.write("two");
            drop(run.end(Ending::Ordered, Arrival::InPlace));
            run.replace("by hand");
            run.note(Fact::Precious("by hand".into()));
        },
        act: |run| drop(run.start()),
        ..PLAIN
    },
    Scenario {
        name: "a state that is taken back",
        before: |run| {
            run.hand_over("one");
            run.start();
        },
        act: |run| {
            if run.store.take_back(&run.name, run.incarnation).is_ok() {
                run.note(Fact::TakenBack);
            }
        },
        ..PLAIN
    },
    Scenario {
        name: "a save, a restore, its use and a snapshot",
        before: |run| run_with(run, "one"),
        act: |run| {
            run.write("two");
            drop(run.end(Ending::Ordered, Arrival::InPlace));
            let restore = run.start();
            run.become_ready(&restore);
            run.replace("three");
            run.snapshot();
        },
        ..PLAIN
    },
];
