//! The state file as it is found, and what may be made of it. Looking never blocks and never follows a link.

use std::ffi::OsStr;
use std::io;

use super::arrival::Arrival;
use super::header::Source;
use super::ledger::Known;
use super::reason::Reason;
use super::vfs::{Kind, Meta, Vfs};

/// What bears the state file's name.
pub(crate) enum Present<F> {
    /// Nothing.
    Absent,
    /// Something that is never read.
    Refused(Reason),
    /// A file that may be read.
    File(F, Meta),
}

/// Looks at the state file.
pub(crate) fn inspect<V: Vfs>(
    vfs: &V,
    at: &V::Dir,
    name: &OsStr,
    limit: u64,
) -> io::Result<Present<V::File>> {
    // Looked at before it is opened, since opening a device may do something.
    let meta = match vfs.stat(at, name) {
        Ok(meta) => meta,
        Err(error) if is_absent(&error) => return Ok(Present::Absent),
        Err(error) => return Err(error),
    };
    if let Some(reason) = refusal(&meta, limit) {
        return Ok(Present::Refused(reason));
    }
    let file = match vfs.open(at, name) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(Present::Absent),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Ok(Present::Refused(Reason::Unreadable(error.to_string())));
        }
        Err(error) => return Err(error),
    };
    // Looked at again: what is opened may be another file by now.
    let meta = vfs.meta(&file)?;
    Ok(refusal(&meta, limit).map_or(Present::File(file, meta), Present::Refused))
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn refusal(meta: &Meta, limit: u64) -> Option<Reason> {
    match meta.kind {
        Kind::Symlink => Some(Reason::Symlink),
        Kind::Folder | Kind::Special => Some(Reason::NotAFile),
        Kind::File if meta.owner != rustix::process::geteuid().as_raw() => Some(Reason::ForeignOwner),
        Kind::File if meta.size > limit => Some(Reason::TooLarge { limit }),
        Kind::File => None,
    }
}

/// In what situation the state file is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// An incarnation has ended as it should.
    Ordered,
    /// An incarnation was killed or has crashed.
    Crashed,
    /// An incarnation ran, and orch did not live to see its end; or orch does not know.
    Orphaned,
    /// No incarnation has run since the last seal, or ever: somebody has put the file there.
    Found(Source),
}

/// What is known about the bytes of a readable state file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// It is the file that orch has sealed or put there itself.
    Untouched,
    /// It is the file that orch has sealed while the component ran.
    Saved,
    /// It came whole, by rename or link.
    Whole,
    /// It may be torn.
    Doubtful,
}

impl Content {
    /// What the way in which the file came says. `known`: what orch knows of it, by its identity.
    pub(crate) fn of(arrival: Arrival, known: Option<&Known>) -> Self {
        match (arrival, known) {
            (Arrival::InPlace, _) => Self::Doubtful,
            (_, Some(known)) => Self::of_known(known),
            (Arrival::Whole | Arrival::Linked, None) => Self::Whole,
            (Arrival::Still | Arrival::Absent | Arrival::Unknown, None) => Self::Doubtful,
        }
    }

    /// What orch's knowledge of the file says.
    pub(crate) fn of_known(known: &Known) -> Self {
        if known.while_running { Self::Saved } else { Self::Untouched }
    }
}

/// What is done with a readable state file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is in the store already.
    Leave,
    /// It becomes a generation.
    Seal(Source),
    /// It goes to quarantine.
    Reject(Reason),
}

/// The contract's rule, as a table. `vouched`: the component promises to replace its file by rename alone.
pub(crate) fn verdict(content: Content, standing: Standing, vouched: bool) -> Verdict {
    match (content, standing) {
        (Content::Untouched, _) => Verdict::Leave,
        (Content::Saved, standing) if standing != Standing::Ordered => Verdict::Leave,
        (_, Standing::Ordered) => Verdict::Seal(Source::Restart),
        (_, Standing::Found(source)) => Verdict::Seal(source),
        (Content::Whole | Content::Saved, Standing::Crashed | Standing::Orphaned) => {
            Verdict::Seal(Source::Snapshot)
        }
        (Content::Doubtful, Standing::Crashed | Standing::Orphaned) if vouched => {
            Verdict::Seal(Source::Snapshot)
        }
        (Content::Doubtful, Standing::Crashed) => Verdict::Reject(Reason::WrittenInPlace),
        (Content::Doubtful, Standing::Orphaned) => Verdict::Reject(Reason::UnknownProvenance),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_crash_only_whole_or_vouched_files_count() {
        let seal = Verdict::Seal(Source::Snapshot);
        assert_eq!(verdict(Content::Whole, Standing::Crashed, false), seal);
        assert_eq!(verdict(Content::Doubtful, Standing::Crashed, true), seal);
        assert_eq!(verdict(Content::Doubtful, Standing::Orphaned, true), seal);
        assert_eq!(
            verdict(Content::Doubtful, Standing::Crashed, false),
            Verdict::Reject(Reason::WrittenInPlace)
        );
        assert_eq!(
            verdict(Content::Doubtful, Standing::Orphaned, false),
            Verdict::Reject(Reason::UnknownProvenance)
        );
    }

    #[test]
    fn after_an_ordered_stop_every_file_counts() {
        for content in [Content::Whole, Content::Doubtful] {
            assert_eq!(verdict(content, Standing::Ordered, false), Verdict::Seal(Source::Restart));
        }
        for standing in [Standing::Ordered, Standing::Crashed, Standing::Orphaned] {
            assert_eq!(verdict(Content::Untouched, standing, true), Verdict::Leave);
        }
        assert_eq!(verdict(Content::Saved, Standing::Ordered, false), Verdict::Seal(Source::Restart));
        for standing in [Standing::Crashed, Standing::Orphaned, Standing::Found(Source::Restart)] {
            assert_eq!(verdict(Content::Saved, standing, true), Verdict::Leave);
        }
    }

    #[test]
    fn a_known_file_is_untouched_unless_it_was_written_to() {
        let meta = Meta {
            kind: Kind::File,
            device: 1,
            inode: 2,
            size: 3,
            allocated: 512,
            mode: 0o600,
            owner: 0,
            mtime_ns: 4,
        };
        let (placed, saved) = (Known::new(1, &meta), Known::saved(1, &meta));
        assert_eq!(Content::of(Arrival::Still, Some(&placed)), Content::Untouched);
        assert_eq!(Content::of(Arrival::Unknown, Some(&placed)), Content::Untouched);
        assert_eq!(Content::of(Arrival::Whole, Some(&saved)), Content::Saved);
        assert_eq!(Content::of(Arrival::InPlace, Some(&saved)), Content::Doubtful);
        assert_eq!(Content::of(Arrival::Still, None), Content::Doubtful);
        assert_eq!(Content::of(Arrival::Linked, None), Content::Whole);
    }
}
