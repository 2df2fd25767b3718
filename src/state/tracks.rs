//! What is known of the state files that are observed, told from the events of their folders. No system calls.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::inotify::ReadFlags;
use serde::{Deserialize, Serialize};

use super::arrival::{Arrival, Event};
use super::vfs::Meta;
use crate::types::Name;

/// Which folder it is, whatever its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FolderId(u64, u64);

impl FolderId {
    pub(crate) fn of(meta: &Meta) -> Self {
        Self(meta.device, meta.inode)
    }
}

/// All that are observed.
#[derive(Default)]
pub(crate) struct Tracks {
    /// By watch and file name, so that an event finds its component whatever their number.
    names: BTreeMap<(i32, OsString), Name>,
    pub(crate) files: BTreeMap<Name, Track>,
}

/// One state file.
pub(crate) struct Track {
    pub(crate) watch: i32,
    file: OsString,
    folder: FolderId,
    pub(crate) arrival: Arrival,
    /// How many events there were, and how many of them put the bytes in doubt.
    pub(crate) seen: Seen,
    /// The run that writes the file; `None` once it has ended.
    pub(crate) incarnation: Option<u64>,
    pub(crate) notice: Notice,
}

/// How much has happened to a file; two that are equal enclose a time in which nothing did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    /// Events of any kind.
    pub(crate) events: u64,
    /// Events after which the bytes were in doubt.
    pub(crate) doubts: u64,
}

/// Whether the owner must be told of a replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Notice {
    #[default]
    None,
    /// Something was replaced since the last drain.
    Fresh,
    /// To be told with the next drain.
    Due,
    /// Told, and not answered by a look yet.
    Told,
}

/// A track in words that outlive the image.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TrackRecord {
    component: String,
    watch: i32,
    file: Vec<u8>,
    folder: (u64, u64),
    arrival: Arrival,
    incarnation: Option<u64>,
    to_tell: bool,
}

impl Track {
    pub(crate) fn new(watch: i32, file: &OsStr, folder: FolderId, incarnation: Option<u64>) -> Self {
        let (arrival, seen, notice) = (Arrival::Still, Seen::default(), Notice::None);
        Self { watch, file: file.to_owned(), folder, arrival, seen, incarnation, notice }
    }

    pub(crate) fn is_at(&self, (folder, file): (FolderId, &OsStr)) -> bool {
        self.folder == folder && self.file == file
    }

    pub(crate) fn is_of(&self, place: (FolderId, &OsStr), incarnation: u64) -> bool {
        self.is_at(place) && self.incarnation == Some(incarnation)
    }

    fn take(&mut self, event: Event) {
        self.arrival = self.arrival.after(event);
        self.seen.events += 1;
        let whole = matches!(self.arrival, Arrival::Whole | Arrival::Linked);
        if matches!(self.arrival, Arrival::InPlace | Arrival::Unknown) {
            self.seen.doubts += 1;
        }
        self.notice = match self.notice {
            Notice::None if whole && self.incarnation.is_some() => Notice::Fresh,
            Notice::Fresh | Notice::Due if !whole => Notice::None,
            as_it_was => as_it_was,
        };
    }

    pub(crate) fn record(&self, name: &Name) -> TrackRecord {
        TrackRecord {
            component: name.to_string(),
            watch: self.watch,
            file: self.file.as_bytes().to_vec(),
            folder: (self.folder.0, self.folder.1),
            arrival: self.arrival,
            incarnation: self.incarnation,
            to_tell: self.notice != Notice::None,
        }
    }
}

impl TrackRecord {
    pub(crate) fn track(self) -> Option<(Name, Track)> {
        let name = Name::new(&self.component).ok()?;
        let folder = FolderId(self.folder.0, self.folder.1);
        let mut track = Track::new(self.watch, OsStr::from_bytes(&self.file), folder, self.incarnation);
        track.arrival = self.arrival;
        // Who was told before may not have lived to act on it.
        track.notice = if self.to_tell { Notice::Due } else { Notice::None };
        Some((name, track))
    }
}

impl Tracks {
    pub(crate) fn insert(&mut self, name: &Name, track: Track) {
        self.names.insert((track.watch, track.file.clone()), name.clone());
        self.files.insert(name.clone(), track);
    }

    pub(crate) fn has_notice(&self) -> bool {
        self.files.values().any(|track| matches!(track.notice, Notice::Fresh | Notice::Due))
    }

    /// What is to be told now; what is fresh will be the next time.
    pub(crate) fn ripen(&mut self) -> Vec<(Name, u64)> {
        let mut told = Vec::new();
        for (name, track) in &mut self.files {
            track.notice = match (track.notice, track.incarnation) {
                (Notice::Fresh, _) => Notice::Due,
                (Notice::Due, Some(incarnation)) => {
                    told.push((name.clone(), incarnation));
                    Notice::Told
                }
                (as_it_was, _) => as_it_was,
            };
        }
        told
    }

    pub(crate) fn forget(&mut self, name: &Name) -> Option<i32> {
        let track = self.files.remove(name)?;
        self.names.remove(&(track.watch, track.file));
        Some(track.watch)
    }

    pub(crate) fn take(&mut self, watch: i32, what: ReadFlags, file: Option<&OsStr>) {
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            return self.lose(None);
        }
        let gone = ReadFlags::IGNORED | ReadFlags::UNMOUNT | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF;
        if what.intersects(gone) {
            return self.lose(Some(watch));
        }
        let (Some(file), Some(event)) = (file, event_of(what)) else { return };
        let Some(name) = self.names.get(&(watch, file.to_owned())) else { return };
        if let Some(track) = self.files.get_mut(name) {
            track.take(event);
        }
    }

    /// Events are missing: of one folder, or of all.
    pub(crate) fn lose(&mut self, watch: Option<i32>) {
        for track in self.files.values_mut().filter(|track| watch.is_none_or(|watch| watch == track.watch)) {
            track.take(Event::Lost);
        }
    }
}

fn event_of(what: ReadFlags) -> Option<Event> {
    let table = [
        (ReadFlags::MOVED_TO, Event::MovedTo),
        (ReadFlags::CREATE, Event::Created),
        (ReadFlags::MODIFY, Event::Modified),
        (ReadFlags::CLOSE_WRITE, Event::ClosedAfterWrite),
        (ReadFlags::MOVED_FROM, Event::Removed),
        (ReadFlags::DELETE, Event::Removed),
    ];
    table.into_iter().find(|(flag, _)| what.contains(*flag)).map(|(_, event)| event)
}
