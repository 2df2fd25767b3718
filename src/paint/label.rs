//! The prefix before a line, and its colour.

use std::collections::BTreeMap;

/// Longer names are not waited for: their lines begin further to the right.
pub const WIDTH_MAX: usize = 32;

/// SGR foregrounds that can be read on dark and on light grounds, without red: that is for errors.
const PALETTE: [&str; 10] = ["36", "33", "32", "35", "34", "96", "93", "92", "95", "94"];

/// The palette's slot of every label seen, so that a component keeps its colour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    slots: BTreeMap<String, usize>,
}

impl Labels {
    /// Goes on with the slots that another image gave.
    #[must_use]
    pub fn adopt(mut slots: BTreeMap<String, usize>) -> Self {
        slots.retain(|_, slot| *slot < PALETTE.len());
        Self { slots }
    }

    /// Leaves the slots to another image.
    #[must_use]
    pub fn leave(self) -> BTreeMap<String, usize> {
        self.slots
    }

    /// Gives the label its own slot by its hash, so that it is the same in the next run; if another label has
    /// that one, the next free one.
    pub fn add(&mut self, label: &str) {
        if self.slots.contains_key(label) {
            return;
        }
        let hash = label.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let first = usize::try_from(hash % PALETTE.len() as u64).unwrap_or(0);
        let wanted = (0..PALETTE.len()).map(|step| (first + step) % PALETTE.len());
        let free = wanted.into_iter().find(|slot| !self.slots.values().any(|taken| taken == slot));
        self.slots.insert(label.to_owned(), free.unwrap_or(first));
    }

    /// What stands before each of the label's lines: the label, padded to `width` characters, and a bar; in
    /// its colour if `color`.
    #[must_use]
    pub fn prefix(&self, label: &str, width: usize, color: bool) -> Vec<u8> {
        let text = format!("{label:width$} | ");
        match self.slots.get(label) {
            Some(slot) if color => format!("\x1b[{}m{text}\x1b[0m", PALETTE[*slot]).into_bytes(),
            _ => text.into_bytes(),
        }
    }
}
