//! A recorded history of the core (`ORCH_RECORD=FILE orch up`) gone through once more, and judged by the guarantees
//! of the contract's section 3: `ORCH_REPLAY=FILE cargo test --test replay -- --nocapture`.

use std::io::{BufRead as _, BufReader};

use orch::supervisor::Replay;

#[test]
fn a_recorded_history_keeps_the_guarantees() {
    let Some(path) = std::env::var_os("ORCH_REPLAY") else { return };
    let mut replay = Replay::default();
    for (at, line) in BufReader::new(std::fs::File::open(path).unwrap()).lines().enumerate() {
        let line = line.unwrap();
        replay.line(&line).unwrap_or_else(|error| panic!("line {}: {error}", at + 1));
    }
    println!("{} steps, {} spawns", replay.steps(), replay.spawns());
    assert!(replay.steps() > 0, "nothing was recorded");
    let wrong = replay.contradictions();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
