//! Faults put into the store, or into the file system under it. The enumeration must find each of them; one that
//! lives would mean that it proves less than it seems to.

use super::*;
use crate::state::mutant::{Mutant, with};

/// What a scenario shows of a mutant; `None`: it lives.
fn caught_by(fraud: Fraud, mutant: Option<Mutant>) -> Option<String> {
    SCENARIOS.iter().find_map(|scenario| with(mutant, || enumerate(scenario, fraud, false)).err())
}

fn check(fraud: Fraud, mutant: Option<Mutant>) {
    let caught = caught_by(fraud, mutant);
    let what = mutant.map_or(format!("{fraud:?}"), |mutant| format!("{mutant:?}"));
    let how = caught.unwrap_or_else(|| panic!("the mutant {what} lives"));
    println!("{what}: {}", how.chars().take(200).collect::<String>());
}

#[test]
fn frauds_of_the_file_system_are_caught() {
    for fraud in [
        Fraud::NoFileSync,
        Fraud::NoFolderSync,
        Fraud::RenameBeforeSync,
        Fraud::LedgerNotSynced,
        Fraud::LedgerInPlace,
    ] {
        check(fraud, None);
    }
}

#[test]
fn mutants_of_the_store_are_caught() {
    for mutant in [
        Mutant::ChecksumUnchecked,
        Mutant::UsedUpOnRead,
        Mutant::OfferNotCounted,
        Mutant::PoisonForgotten,
        Mutant::PruneBeforePublish,
        Mutant::TwinSealed,
        Mutant::RunNotNoted,
        Mutant::PlacedNotKnown,
    ] {
        check(Fraud::None, Some(mutant));
    }
}
