//! How the present state file came to bear its name, told from the events of its folder. Pure.

use serde::{Deserialize, Serialize};

/// Something that happened to the name of the state file, in the order in which it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Something was renamed to the name.
    MovedTo,
    /// The name was made: by an open with `O_CREAT`, or by a link to a file that was there already.
    Created,
    /// Bytes were written under the name, or cut off.
    Modified,
    /// A descriptor that could write was closed; the kernel closes it for a killed process, too.
    ClosedAfterWrite,
    /// The name was removed, or given away by a rename.
    Removed,
    /// Events were lost, or the folder is no longer the one that is watched.
    Lost,
}

/// How the present file came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum Arrival {
    /// It was there when observation began; nothing has happened since.
    Still,
    /// It came whole, by a rename; nothing was written to it under this name.
    Whole,
    /// The name was made and nothing has been written since: a link, or a file just opened. When all writers
    /// are gone, it was a link, since a writer's end shows as [`Event::ClosedAfterWrite`].
    Linked,
    /// It was written in place; it is whole only if the writer came to its end.
    InPlace,
    /// It is not there.
    Absent,
    /// Nobody knows.
    #[default]
    Unknown,
}

impl Arrival {
    /// What is known after one more event.
    pub(crate) fn after(self, event: Event) -> Self {
        match (self, event) {
            (_, Event::MovedTo) => Self::Whole,
            (_, Event::Created) => Self::Linked,
            (_, Event::Modified) => Self::InPlace,
            // Many libraries rename first and close the renamed file afterwards; without a write in between,
            // the bytes are those that were renamed.
            (Self::Whole, Event::ClosedAfterWrite) => Self::Whole,
            (_, Event::ClosedAfterWrite) => Self::InPlace,
            (_, Event::Removed) => Self::Absent,
            (_, Event::Lost) => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Event::{ClosedAfterWrite, Created, Lost, Modified, MovedTo, Removed};
    use super::*;

    fn after(events: &[Event]) -> Arrival {
        events.iter().fold(Arrival::Still, |arrival, event| arrival.after(*event))
    }

    #[test]
    fn every_pattern_is_told() {
        let cases: &[(&str, &[Event], Arrival)] = &[
            ("nothing", &[], Arrival::Still),
            ("in place", &[Modified, ClosedAfterWrite], Arrival::InPlace),
            ("in place by a map", &[ClosedAfterWrite], Arrival::InPlace),
            ("in place, still open", &[Modified], Arrival::InPlace),
            ("new, in place", &[Created, Modified, ClosedAfterWrite], Arrival::InPlace),
            ("new, empty", &[Created, ClosedAfterWrite], Arrival::InPlace),
            ("rename", &[MovedTo], Arrival::Whole),
            ("rename, closed afterwards", &[MovedTo, ClosedAfterWrite], Arrival::Whole),
            ("rename, flushed afterwards", &[MovedTo, Modified, ClosedAfterWrite], Arrival::InPlace),
            ("exchange", &[MovedTo, MovedTo], Arrival::Whole),
            ("unlink and link", &[Removed, Created], Arrival::Linked),
            ("in place, then rename", &[Modified, ClosedAfterWrite, MovedTo], Arrival::Whole),
            ("rename, then in place", &[MovedTo, Modified], Arrival::InPlace),
            ("unlink", &[Removed], Arrival::Absent),
            ("overflow", &[MovedTo, Lost], Arrival::Unknown),
            ("rename after an overflow", &[Lost, MovedTo], Arrival::Whole),
            ("write after an overflow", &[Lost, ClosedAfterWrite], Arrival::InPlace),
        ];
        for (what, events, expected) in cases {
            assert_eq!(after(events), *expected, "{what}");
        }
    }
}
