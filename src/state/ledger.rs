//! What must be remembered of a component beside its generations, which are written once: what has been
//! offered and used up, which file orch knows, and whether a run is outstanding. One small file, replaced
//! atomically, with a checksum of its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::header::{Source, hex};
use super::incarnations::Use;
use super::mutant::{self, Mutant};
use super::vfs::Meta;

/// The longest ledger that is read.
pub(crate) const MAX_LEDGER: u64 = 1 << 20;
const MAGIC: &str = "ORSL1 ";
/// So many files are known beside the newest one.
const MOST_OLD: usize = 2;

/// A file that orch knows: it has sealed it, or put it there itself. The modification time in nanoseconds
/// makes a chance match impossible, though inode numbers are given out again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// Which generation has its bytes.
    pub(crate) generation: u64,
    inode: u64,
    size: u64,
    mtime_ns: String,
    /// It was sealed while its component ran: an ordered stop still makes a `restart` of it.
    #[serde(default)]
    pub(crate) while_running: bool,
}

impl Known {
    pub(crate) fn new(generation: u64, meta: &Meta) -> Self {
        let mtime_ns = meta.mtime_ns.to_string();
        Self { generation, inode: meta.inode, size: meta.size, mtime_ns, while_running: false }
    }

    /// A file that was sealed while its component ran.
    pub(crate) fn saved(generation: u64, meta: &Meta) -> Self {
        Self { while_running: true, ..Self::new(generation, meta) }
    }

    fn is(&self, meta: &Meta) -> bool {
        (self.inode, self.size) == (meta.inode, meta.size) && self.mtime_ns == meta.mtime_ns.to_string()
    }
}

/// A generation that a component was given, or became ready with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Given {
    pub(crate) generation: u64,
    pub(crate) source: Source,
}

/// The record of one component.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Ledger {
    /// The highest generation that there ever was; numbers are never given out twice.
    pub(crate) high: u64,
    /// The newest generation that the component became ready with.
    pub(crate) used: Option<Given>,
    /// Generations up to this one are kept, and not offered any more.
    pub(crate) laid_aside: u64,
    /// The newest generation that was to be offered and turned out to be damaged; 0: none since the
    /// component was last ready with one.
    pub(crate) damaged: u64,
    /// The newest generation that was to be offered and could not be, whatever the reason.
    pub(crate) lost: u64,
    /// How often each generation was offered since the component was last ready with one.
    pub(crate) offers: BTreeMap<u64, u32>,
    /// What the running incarnation was given.
    pub(crate) offered: Option<Given>,
    /// The incarnation that was started last and whose end nobody has recorded.
    pub(crate) running: Option<u64>,
    /// Whether the last recorded end was an ordered one.
    pub(crate) clean: bool,
    /// The highest incarnation that was noted.
    pub(crate) incarnation: u64,
    /// In which boot this was written.
    pub(crate) boot: String,
    /// Which state file it speaks of.
    pub(crate) file: String,
    /// The files that orch knows, since it sealed them or put them in place, the newest last.
    pub(crate) known: Vec<Known>,
    /// The mode of the component's last file.
    pub(crate) mode: Option<u32>,
}

impl Ledger {
    /// The file's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        // A struct of numbers, strings, lists and maps keyed by numbers always has a JSON form.
        let json = serde_json::to_string(self).unwrap_or_default();
        let body = format!(" {json}\n");
        let mut hasher = Sha256::new();
        hasher.update(body.as_bytes());
        format!("{MAGIC}{}{body}", hex(hasher)).into_bytes()
    }

    /// Reads a file's bytes; `None` if they are not what was written.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (digits, body) = bytes.strip_prefix(MAGIC.as_bytes())?.split_at_checked(64)?;
        let mut hasher = Sha256::new();
        hasher.update(body);
        if hex(hasher).as_bytes() != digits {
            return None;
        }
        serde_json::from_slice(body).ok()
    }

    /// What orch knows of this file, if it does.
    pub(crate) fn recognise(&self, meta: &Meta) -> Option<&Known> {
        self.known.iter().rev().find(|known| known.is(meta))
    }

    /// Knows this file as well. Those that were in place before may be in place again after a crash of the
    /// machine, since the component's renames are not durable; restores and snapshots end that, so that there
    /// are never more than two of them.
    pub(crate) fn know(&mut self, known: Known) {
        let old = self.known.len().saturating_sub(MOST_OLD);
        self.known.drain(..old);
        self.known.push(known);
    }

    /// The known file that is in place is this one.
    pub(crate) fn find_in_place(&mut self, meta: &Meta) {
        if let Some(at) = self.known.iter().rposition(|known| known.is(meta)) {
            self.known[at..].rotate_left(1);
        }
    }

    /// Whether a generation may still be offered.
    pub(crate) fn is_candidate(&self, generation: u64, once: bool) -> bool {
        let used_up = |used: Given| match used.source {
            Source::Restart => generation <= used.generation,
            // A snapshot is not used up by being used, but what is older than it is.
            Source::Snapshot => generation < used.generation,
        };
        generation > self.laid_aside && !(once && self.used.is_some_and(used_up))
    }

    /// Whether the component has not been ready with this generation or a newer one yet.
    pub(crate) fn is_unused(&self, generation: u64) -> bool {
        self.used.is_none_or(|used| generation > used.generation)
    }

    /// How often a generation was offered since the component was last ready with it.
    pub(crate) fn offers(&self, generation: u64) -> u32 {
        self.offers.get(&generation).copied().unwrap_or(0)
    }

    /// Takes over that the run under way was ready with what it was given; whether that was not known here. What
    /// another run, or a component of the same name in a folder that is gone, has used says nothing.
    pub(crate) fn catch_up(&mut self, used: Use) -> bool {
        let given = self.offered.filter(|given| given.generation == used.generation);
        let Some(given) = given.filter(|_| self.running == Some(used.incarnation)) else { return false };
        let news = self.is_unused(given.generation) || self.offers(given.generation) > 0;
        if news {
            self.note_used(given);
        }
        news
    }

    /// The component has become ready with it.
    pub(crate) fn note_used(&mut self, given: Given) {
        if self.is_unused(given.generation) {
            self.used = Some(given);
        }
        self.offers.remove(&given.generation);
        self.damaged = 0;
        self.lost = 0;
    }

    /// A candidate could not be offered.
    pub(crate) fn note_lost(&mut self, generation: u64, damaged: bool) {
        self.high = self.high.max(generation);
        self.lost = self.lost.max(generation);
        if damaged {
            self.damaged = self.damaged.max(generation);
        }
        if mutant::is(Mutant::PoisonForgotten) {
            self.offers.remove(&generation);
        }
    }

    /// Forgets how often generations were offered that are not there any more. As long as one is there, its
    /// count stands, or a poisoned one would be offered again.
    pub(crate) fn keep_offers_of(&mut self, generations: &[u64]) {
        self.offers.retain(|generation, _| generations.contains(generation));
    }

    /// A run has ended. One that was ended on purpose before it was ready says nothing against the state
    /// that it was given, so that offer does not count.
    pub(crate) fn note_end(&mut self, on_purpose: bool, clean: bool) {
        let offer = self.offered.take().and_then(|given| self.offers.get_mut(&given.generation));
        if let (true, Some(count)) = (on_purpose, offer) {
            *count = count.saturating_sub(1);
        }
        self.running = None;
        self.clean = clean;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_it_is_checked() {
        let ledger = Ledger { high: 7, offers: BTreeMap::from([(5, 1)]), ..Ledger::default() };
        let bytes = ledger.encode();
        assert_eq!(Ledger::decode(&bytes), Some(ledger));
        for at in 0..bytes.len() * 8 {
            let mut bent = bytes.clone();
            bent[at / 8] ^= 1 << (at % 8);
            assert_eq!(Ledger::decode(&bent), None, "bit {at}");
        }
        for length in 0..bytes.len() {
            assert_eq!(Ledger::decode(&bytes[..length]), None, "length {length}");
        }
    }

    #[test]
    fn only_the_use_of_the_run_under_way_is_taken_over() {
        let given = Given { generation: 5, source: Source::Restart };
        let under_way = Ledger {
            running: Some(3),
            offered: Some(given),
            offers: BTreeMap::from([(5, 1)]),
            ..Ledger::default()
        };
        for (incarnation, generation) in [(2, 5), (3, 4), (4, 5)] {
            let mut ledger = under_way.clone();
            assert!(!ledger.catch_up(Use { incarnation, generation }));
            assert_eq!(ledger, under_way);
        }
        let (mut ledger, used) = (under_way, Use { incarnation: 3, generation: 5 });
        assert!(ledger.catch_up(used) && !ledger.is_candidate(5, true) && ledger.offers(5) == 0);
        assert!(!ledger.catch_up(used), "it is known now");
        ledger.note_end(true, true);
        assert!(!ledger.catch_up(used));
    }

    #[test]
    fn a_restart_is_used_up_once_and_a_snapshot_is_not() {
        let mut ledger = Ledger::default();
        ledger.note_used(Given { generation: 5, source: Source::Restart });
        assert!(
            !ledger.is_candidate(5, true) && !ledger.is_candidate(4, true) && ledger.is_candidate(6, true)
        );
        assert!(ledger.is_candidate(5, false));
        ledger.note_used(Given { generation: 6, source: Source::Snapshot });
        assert!(ledger.is_candidate(6, true) && !ledger.is_candidate(5, true));
        ledger.note_used(Given { generation: 2, source: Source::Restart });
        assert!(!ledger.is_candidate(5, true), "an older one does not bring newer ones back");
    }
}
