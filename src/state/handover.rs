//! The store across a re-exec: what another image of orch needs to go on as if nothing had happened.

use std::os::fd::OwnedFd;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::{Attempt, StateError};
use super::store::{Store, lock};
use super::tracker::Tracker;
use super::tracks::TrackRecord;
use super::{Ending, ReplacedSink};
use crate::types::Name;

/// What [`Store::hand_over`] gives and [`Store::adopt`] takes. Descriptors are named by their place in the list
/// that goes with it.
#[derive(Debug, Serialize, Deserialize)]
pub struct StoreHandover {
    /// The instance that the state files are observed with.
    inotify: Option<usize>,
    tracks: Vec<TrackRecord>,
    unsealed: Vec<(String, u64, Ending)>,
    unnoted: Vec<(String, u64)>,
    incarnations: Vec<(String, u64)>,
}

impl Store {
    /// Ends this store, and gives what another one needs to go on: in another image after an `execv`, or in
    /// this one if that has failed. No call may be outstanding. The kernel keeps what happens to the state
    /// files in between. The descriptors are close-on-exec, as they were.
    #[must_use]
    pub fn hand_over(self) -> (StoreHandover, Vec<OwnedFd>) {
        let (inotify, tracks) = self.tracker.hand_over();
        let names = |(name, number): (&Name, &u64)| (name.to_string(), *number);
        let unsealed = lock(&self.unsealed);
        let handover = StoreHandover {
            inotify: inotify.is_some().then_some(0),
            tracks,
            unsealed: unsealed.iter().map(|(name, (run, end))| (name.to_string(), *run, *end)).collect(),
            unnoted: lock(&self.unnoted).iter().map(names).collect(),
            incarnations: lock(&self.incarnations).all().map(names).collect(),
        };
        (handover, inotify.into_iter().collect())
    }

    /// Opens the store again after [`Store::hand_over`], with the same state directory. What was replaced
    /// meanwhile, or told before and not answered, is told to `replaced` now.
    ///
    /// # Errors
    /// As [`Store::open`], and when the thread that observes can't be started.
    pub fn adopt(
        state_dir: &Path,
        replaced: ReplacedSink,
        handover: StoreHandover,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Self, StateError> {
        let mut store = Self::open(state_dir, ReplacedSink::clone(&replaced))?;
        let inotify = handover.inotify.and_then(|index| descriptors.into_iter().nth(index));
        let tracker = Tracker::adopt(replaced, inotify, handover.tracks);
        store.tracker = tracker.attempt("go on observing the state files of", state_dir)?;
        for (name, run, ending) in handover.unsealed {
            if let Ok(name) = Name::new(&name) {
                lock(&store.unsealed).insert(name, (run, ending));
            }
        }
        for (name, generation) in handover.unnoted {
            if let Ok(name) = Name::new(&name) {
                lock(&store.unnoted).insert(name, generation);
            }
        }
        for (name, last) in handover.incarnations {
            if let Ok(name) = Name::new(&name) {
                store.raise_incarnation(&name, last);
            }
        }
        Ok(store)
    }
}
