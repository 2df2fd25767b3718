//! What waits to be shown: bounded, and never waited for. A stream's share of it is at most as large as what
//! is still free, so one that floods can't keep the others' lines from being shown.

use std::collections::{BTreeMap, VecDeque};

use memchr::memrchr;
use serde::{Deserialize, Serialize};

use super::gap::Gap;
use crate::types::{UnitId, escaped};

/// Bytes that wait at most; what does not fit is not shown, but counted.
pub(super) const CAPACITY: usize = 8 << 20;

/// Small pieces of one stream that follow each other become one of up to so many bytes.
const MERGE_MAX: usize = 64 << 10;

/// Whose bytes: a unit's, or orch's own messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Source {
    Orch,
    Unit(UnitId),
}

/// In what way a unit writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Manner {
    /// Line after line.
    Lines,
    /// As on a terminal: it may go back and draw over what it wrote.
    Drawn,
}

/// Something to be shown.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Item {
    /// From now on there is a unit with that label, and it writes in that way.
    Open(UnitId, String, Manner),
    /// Bytes of a source, in order.
    Bytes(Source, #[serde(with = "escaped")] Vec<u8>),
    /// So many lines of the source are left out here.
    Omitted(Source, u64),
    /// The unit's output has ended.
    Close(UnitId),
}

#[derive(Debug, Default)]
struct Share {
    /// How often it was opened and not closed yet: a unit may come anew while its close still waits here.
    opened: u32,
    used: usize,
    gap: Gap,
}

/// The queue, handed over. What follows from the items is left out.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct QueueState {
    items: Vec<Item>,
    shares: Vec<(Source, u32, Gap)>,
    gaps: Vec<Source>,
}

/// The queue itself; whoever shares it locks it.
#[derive(Debug)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    free: usize,
    shares: BTreeMap<Source, Share>,
    /// Sources that have had lines left out since their last [`Item::Omitted`].
    gaps: Vec<Source>,
}

impl Default for Queue {
    fn default() -> Self {
        Self::adopt(QueueState::default())
    }
}

impl Queue {
    /// Goes on where another queue was left.
    pub(super) fn adopt(state: QueueState) -> Self {
        let shares = state.shares.into_iter();
        let shares = shares.map(|(source, opened, gap)| (source, Share { opened, used: 0, gap }));
        let mut queue = Self {
            items: state.items.into(),
            free: CAPACITY,
            shares: BTreeMap::from([(Source::Orch, Share::default())]),
            gaps: state.gaps,
        };
        queue.shares.extend(shares);
        for item in &queue.items {
            let Item::Bytes(source, bytes) = item else { continue };
            queue.free = queue.free.saturating_sub(bytes.len());
            if let Some(share) = queue.shares.get_mut(source) {
                share.used += bytes.len();
            }
        }
        queue
    }

    /// Leaves all that waits to another queue.
    pub(super) fn leave(self) -> QueueState {
        let shares = self.shares.into_iter();
        let shares = shares.map(|(source, share)| (source, share.opened, share.gap)).collect();
        QueueState { items: self.items.into(), shares, gaps: self.gaps }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.gaps.is_empty()
    }

    pub(super) fn open(&mut self, unit: UnitId, label: String, manner: Manner) {
        self.shares.entry(Source::Unit(unit)).or_default().opened += 1;
        self.items.push_back(Item::Open(unit, label, manner));
    }

    pub(super) fn close(&mut self, unit: UnitId) {
        self.items.push_back(Item::Close(unit));
    }

    /// Takes what fits, in whole lines where it does not all fit. A source of which something was left out
    /// is taken up again when all it has here is shown, and the gap is noted.
    pub(super) fn bytes(&mut self, source: Source, bytes: &[u8]) {
        let Some(share) = self.shares.get_mut(&source) else { return };
        if share.gap.is_open() {
            share.gap.add(bytes);
            return;
        }
        let bytes = share.gap.resume(bytes);
        let room = self.free.saturating_sub(share.used) / 2;
        let fits = match bytes.get(..room) {
            Some(head) if room < bytes.len() => memrchr(b'\n', head).map_or(0, |at| at + 1),
            _ => bytes.len(),
        };
        share.used += fits;
        share.gap.add(&bytes[fits..]);
        if share.gap.is_open() {
            self.gaps.push(source);
        }
        self.free -= fits;
        self.push(source, &bytes[..fits]);
    }

    fn push(&mut self, source: Source, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match self.items.back_mut() {
            Some(Item::Bytes(last, held)) if *last == source && held.len() + bytes.len() <= MERGE_MAX => {
                held.extend_from_slice(bytes);
            }
            _ => self.items.push_back(Item::Bytes(source, bytes.to_vec())),
        }
    }

    /// What is to be shown next.
    pub(super) fn pop(&mut self) -> Option<Item> {
        if let Some(omitted) = self.pop_gap() {
            return Some(omitted);
        }
        let item = self.items.pop_front()?;
        match &item {
            Item::Bytes(source, bytes) => {
                self.free += bytes.len();
                if let Some(share) = self.shares.get_mut(source) {
                    share.used -= bytes.len();
                }
            }
            Item::Close(unit) => self.end_share(Source::Unit(*unit)),
            Item::Open(..) | Item::Omitted(..) => {}
        }
        Some(item)
    }

    fn end_share(&mut self, source: Source) {
        let Some(share) = self.shares.get_mut(&source) else { return };
        share.opened = share.opened.saturating_sub(1);
        if share.opened == 0 {
            self.shares.remove(&source);
        }
    }

    /// A gap is noted where it is: after the last line of its source that was taken. There has to be room
    /// again, lest every other line be a note.
    fn pop_gap(&mut self) -> Option<Item> {
        let closing = match self.items.front() {
            Some(Item::Close(unit)) => Some(Source::Unit(*unit)),
            _ => None,
        };
        let at = self.gaps.iter().position(|source| {
            let drained = self.shares.get(source).is_none_or(|share| share.used == 0);
            drained && (self.free >= CAPACITY / 2 || closing == Some(*source))
        })?;
        let source = self.gaps.swap_remove(at);
        let lines = self.shares.get_mut(&source).map_or(0, |share| share.gap.take());
        Some(Item::Omitted(source, lines))
    }
}

#[cfg(test)]
mod tests {
    use super::{CAPACITY, Item, Manner, Queue, Source};
    use crate::types::UnitId;

    const A: Source = Source::Unit(UnitId(1));
    const B: Source = Source::Unit(UnitId(2));

    fn queue() -> Queue {
        let mut queue = Queue::default();
        queue.open(UnitId(1), "a".to_owned(), Manner::Lines);
        queue.open(UnitId(2), "b".to_owned(), Manner::Lines);
        queue.pop();
        queue.pop();
        queue
    }

    #[test]
    fn small_pieces_become_one() {
        let mut queue = queue();
        queue.bytes(A, b"one");
        queue.bytes(A, b" two");
        queue.bytes(B, b"three");
        assert_eq!(queue.pop(), Some(Item::Bytes(A, b"one two".to_vec())));
        assert_eq!(queue.pop(), Some(Item::Bytes(B, b"three".to_vec())));
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn a_flood_leaves_room_for_the_others_and_every_line_is_shown_or_counted() {
        let mut queue = queue();
        let line = [b"x".repeat(99), b"\n".to_vec()].concat();
        let chunk = line.repeat(1_000);
        let chunks = 3 * CAPACITY / chunk.len();
        for _ in 0..chunks {
            queue.bytes(A, &chunk);
        }
        queue.bytes(B, b"quiet\n");
        queue.close(UnitId(1));
        let (mut shown, mut omitted, mut quiet, mut closed) = (0, 0, false, false);
        while let Some(item) = queue.pop() {
            match item {
                Item::Bytes(source, bytes) if source == A => {
                    assert_eq!(omitted, 0);
                    assert_eq!(bytes.len() % line.len(), 0, "a line was torn");
                    shown += bytes.len() / line.len();
                }
                Item::Bytes(..) => quiet = true,
                Item::Omitted(source, lines) => {
                    assert_eq!(source, A);
                    assert!(!closed);
                    omitted += usize::try_from(lines).unwrap();
                }
                Item::Close(_) => closed = true,
                Item::Open(..) => {}
            }
        }
        assert!(quiet && closed && shown * line.len() >= CAPACITY / 2 - chunk.len());
        assert_eq!(shown + omitted, chunks * 1_000);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_source_is_taken_up_again_at_a_lines_begin() {
        let mut queue = queue();
        queue.bytes(A, &b"line\n".repeat(CAPACITY / 5));
        queue.bytes(A, b"torn");
        let mut omitted = 0;
        while let Some(item) = queue.pop() {
            if let Item::Omitted(_, lines) = item {
                omitted += lines;
            }
        }
        assert!(omitted > 1);
        queue.bytes(A, b" line\nwhole\n");
        assert_eq!(queue.pop(), Some(Item::Bytes(A, b"whole\n".to_vec())));
    }
}
