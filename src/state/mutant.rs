//! Faults that can be put into the store on purpose, to see that the tests of its crashes find them. There are
//! none in a build that is not a test's.

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The checksum of a generation is not looked at.
    ChecksumUnchecked,
    /// A state is used up when it is offered.
    UsedUpOnRead,
    /// An offer is not counted.
    OfferNotCounted,
    /// What is rejected as poisoned loses its count.
    PoisonForgotten,
    /// Old generations are removed before the new one is there.
    PruneBeforePublish,
    /// What is in the store already, and not on record, is sealed once more.
    TwinSealed,
    /// It is not written down that a run is outstanding.
    RunNotNoted,
    /// The file that is put in place is not known afterwards.
    PlacedNotKnown,
}

/// Whether this fault is in the store.
#[cfg(not(test))]
pub(crate) const fn is(_: Mutant) -> bool {
    false
}

#[cfg(test)]
pub(crate) use switch::{is, with};

#[cfg(test)]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static MUTANT: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    pub(crate) fn is(mutant: Mutant) -> bool {
        MUTANT.get() == Some(mutant)
    }

    /// Runs something with this fault, on this thread.
    pub(crate) fn with<T>(mutant: Option<Mutant>, act: impl FnOnce() -> T) -> T {
        MUTANT.set(mutant);
        let done = act();
        MUTANT.set(None);
        done
    }
}
