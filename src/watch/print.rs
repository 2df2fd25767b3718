//! What is known of a file's bytes.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Larger files are judged by size and time alone (contract, section 3). Bytes.
const READ_LIMIT: u64 = 64 << 20;
/// Up to this size, reading a file takes no time that matters. Bytes.
const QUICK: u64 = 1 << 20;
/// Coarser clocks than this are on no file system that gives native events.
const TICK: Duration = Duration::from_millis(20);
/// The coarsest clock of a file system: that of FAT. Times on such ones have no fractions.
const COARSE: Duration = Duration::from_secs(2);

/// What `stat` says of one content. Equal stamps mean equal bytes, unless the stamp is `Print::fresh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StampState", into = "StampState")]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A stamp, handed over; there may be tens of thousands.
type StampState = (u64, u64, u64, (i64, i64), (i64, i64));

/// One content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Print {
    /// There is no such file.
    Absent,
    /// There is one.
    Present {
        stamp: Stamp,
        /// `None`: not read yet, too large, or not readable.
        #[serde(with = "hex")]
        digest: Option<[u8; 32]>,
        /// The file was written so shortly before the look that another write may leave the same stamp.
        fresh: bool,
    },
}

impl From<StampState> for Stamp {
    fn from((device, inode, size, modified, changed): StampState) -> Self {
        Self { device, inode, size, modified, changed }
    }
}

impl From<Stamp> for StampState {
    fn from(stamp: Stamp) -> Self {
        (stamp.device, stamp.inode, stamp.size, stamp.modified, stamp.changed)
    }
}

impl Stamp {
    /// That of the regular file at `path`.
    pub(super) fn at(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().filter(Metadata::is_file).as_ref().map(Self::of)
    }

    /// Whether the name or the bytes came at `moment`, since the epoch, or later, as far as clocks tell.
    pub(super) fn is_since(&self, moment: Duration) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let changed = Duration::new(seconds.try_into().unwrap_or(0), nanoseconds.try_into().unwrap_or(0));
        changed + TICK >= moment
    }

    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Whether its time of writing has not come yet.
    fn is_of_the_future(&self) -> bool {
        let (seconds, nanoseconds) = self.modified;
        let written = Duration::new(seconds.try_into().unwrap_or(0), nanoseconds.try_into().unwrap_or(0));
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|now| written > now)
    }

    /// What every write changes.
    fn written(&self) -> (u64, (i64, i64)) {
        (self.size, self.modified)
    }
}

impl Print {
    /// Looks at `path` by `stat` alone, unless its bytes are so young that a stamp does not tell them apart.
    pub(super) fn glance(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_file() && !is_fresh(&meta) => {
                Self::Present { stamp: Stamp::of(&meta), digest: None, fresh: false }
            }
            Ok(meta) if meta.is_file() => Self::read(path),
            _ => Self::Absent,
        }
    }

    /// Looks at `path` and reads it.
    pub(super) fn read(path: &Path) -> Self {
        Self::look(path, |_| true).0
    }

    /// Looks at `path` and reads it, unless it is long and its size alone shows that it differs. `None`: it is
    /// being written just now, and its size tells nothing.
    pub(super) fn compare(&self, path: &Path) -> Option<Self> {
        let known = self.stamp().map(|stamp| stamp.size);
        let (mut seen, is_torn) = Self::look(path, |size| size <= QUICK || known == Some(size));
        seen.settle(self);
        let is_telling = seen.stamp().map(|stamp| stamp.size) != known;
        (is_telling || !is_torn).then_some(seen)
    }

    /// The second value: the file was written while it was read, so the bytes are none that it ever had.
    fn look(path: &Path, wanted: impl Fn(u64) -> bool) -> (Self, bool) {
        // A pipe in a file's place must not block the watcher.
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
        let looked = match &opened {
            Ok(file) => file.metadata(),
            Err(_) => std::fs::metadata(path),
        };
        let Some(meta) = looked.ok().filter(Metadata::is_file) else {
            return (Self::Absent, false);
        };
        let (stamp, fresh) = (Stamp::of(&meta), is_fresh(&meta));
        let worth = meta.size() <= READ_LIMIT && wanted(meta.size());
        let Some(digest) = opened.ok().filter(|_| worth).and_then(|file| steady_digest(&file, stamp)) else {
            return (Self::Present { stamp, digest: None, fresh }, false);
        };
        (Self::Present { stamp, digest, fresh }, digest.is_none())
    }

    /// A time in the future never grows old. Such a stamp is young only until it is seen again: what was written
    /// just after the first look was read by the second one.
    fn settle(&mut self, earlier: &Self) {
        if let (Self::Present { stamp, fresh, .. }, Self::Present { stamp: known, fresh: true, .. }) =
            (self, earlier)
            && stamp == known
            && *fresh
        {
            *fresh = !stamp.is_of_the_future();
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    fn stamp(&self) -> Option<&Stamp> {
        match self {
            Self::Absent => None,
            Self::Present { stamp, .. } => Some(stamp),
        }
    }

    /// Whether the bytes were left unread though they may be read.
    pub(super) fn is_unread(&self) -> bool {
        matches!(self, Self::Present { stamp, digest: None, .. } if stamp.size <= READ_LIMIT)
    }

    /// Whether both are the same bytes, as far as both are known.
    pub(super) fn same_bytes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Absent, Self::Absent) => true,
            (Self::Present { digest: Some(one), .. }, Self::Present { digest: Some(two), .. }) => one == two,
            (Self::Present { stamp: one, .. }, Self::Present { stamp: two, .. }) => {
                one.written() == two.written()
            }
            _ => false,
        }
    }

    /// Whether the file at `path` may hold other bytes than these, told without reading it.
    pub(super) fn may_differ(&self, path: &Path) -> bool {
        match (self, std::fs::metadata(path).ok().filter(Metadata::is_file)) {
            (Self::Absent, None) => false,
            (Self::Present { stamp, fresh, .. }, Some(meta)) => *fresh || *stamp != Stamp::of(&meta),
            _ => true,
        }
    }

    /// Takes a later look at the same bytes for this one, and forgets nothing.
    pub(super) fn confirm(&mut self, later: Self) {
        let known = match self {
            Self::Present { digest, .. } => *digest,
            Self::Absent => None,
        };
        *self = later;
        if let Self::Present { digest, .. } = self {
            *digest = digest.or(known);
        }
    }
}

/// Whether the file was written within the last tick of its file system's clock, or in the future.
fn is_fresh(meta: &Metadata) -> bool {
    let tick = if meta.mtime_nsec() == 0 { COARSE } else { TICK };
    meta.modified()
        .is_ok_and(|written| SystemTime::now().duration_since(written).map_or(true, |age| age < tick))
}

/// The digest of the bytes that `stamp` stands for; within, `None` if they are written just now. `None` if they
/// can't be read. Bytes that were read under an older stamp would be taken for the baseline, and the change to
/// them never be seen.
fn steady_digest(file: &File, stamp: Stamp) -> Option<Option<[u8; 32]>> {
    let digest = digest(file).ok()?;
    let after = file.metadata().ok()?;
    Some((Stamp::of(&after).written() == stamp.written()).then_some(digest))
}

fn digest(mut file: &File) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(count) => hasher.update(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Digests as text.
mod hex {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(
        digest: &Option<[u8; 32]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = digest.map(|digest| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        text.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<[u8; 32]>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let byte = |at: usize| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..32).map(byte).collect();
        let digest = bytes.and_then(|bytes| bytes.try_into().ok());
        digest.map(Some).ok_or_else(|| D::Error::custom("a digest is 64 hexadecimal digits"))
    }
}
