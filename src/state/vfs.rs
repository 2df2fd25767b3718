//! The small file-system interface that every file operation of the store goes through, so that a test can
//! make any one of them fail, or keep a record of them and replay what a crash would have left.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::retry_on_intr;

/// What kind of thing bears a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink,
    /// A FIFO, a socket or a device.
    Special,
}

/// What is known of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Its kind.
    pub kind: Kind,
    /// The file system that it is on.
    pub device: u64,
    /// Its inode number.
    pub inode: u64,
    /// In bytes.
    pub size: u64,
    /// What it takes on the disk, in bytes.
    pub allocated: u64,
    /// Permission bits.
    pub mode: u32,
    /// User id of its owner.
    pub owner: u32,
    /// When its content was changed last, in nanoseconds since 1970.
    pub mtime_ns: i128,
}

/// A file system, as far as the store needs one. Names are single path components, relative to an open
/// folder; no operation follows a symbolic link at the name itself, and none blocks on a FIFO or a device.
pub trait Vfs: Send + Sync + 'static {
    /// An open folder.
    type Dir: Send + Sync;
    /// An open file.
    type File: Send + Sync;

    /// Opens the folder at a path; links on the way are followed, it being the user's path.
    fn open_path(&self, path: &Path) -> io::Result<Self::Dir>;
    /// Makes the folder at a path, and those above it.
    fn make_path(&self, path: &Path, private: bool) -> io::Result<()>;
    /// Opens a folder within a folder.
    fn open_dir(&self, at: &Self::Dir, name: &OsStr) -> io::Result<Self::Dir>;
    /// Makes a folder with mode 0700.
    fn make_dir(&self, at: &Self::Dir, name: &OsStr) -> io::Result<()>;
    /// The names in a folder, in any order.
    fn list(&self, dir: &Self::Dir) -> io::Result<Vec<OsString>>;
    /// What is known of the folder itself.
    fn dir_meta(&self, dir: &Self::Dir) -> io::Result<Meta>;
    /// What is known of the thing with that name.
    fn stat(&self, at: &Self::Dir, name: &OsStr) -> io::Result<Meta>;
    /// Opens a file for reading.
    fn open(&self, at: &Self::Dir, name: &OsStr) -> io::Result<Self::File>;
    /// Makes a file, which must not exist, for writing.
    fn create(&self, at: &Self::Dir, name: &OsStr, mode: u32) -> io::Result<Self::File>;
    /// What is known of an open file.
    fn meta(&self, file: &Self::File) -> io::Result<Meta>;
    /// Reads some bytes; 0 at the end.
    fn read_at(&self, file: &Self::File, into: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes some bytes.
    fn write_at(&self, file: &Self::File, from: &[u8], offset: u64) -> io::Result<usize>;
    /// Waits until what changes a file at this moment is done with it, so that its event is there to be seen:
    /// a file system shows a file as cut off long before the call that cuts it off ends.
    fn settle(&self, file: &Self::File);
    /// Makes a file's content durable.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Makes a folder's entries durable.
    fn sync_dir(&self, dir: &Self::Dir) -> io::Result<()>;
    /// Renames, replacing what has the new name.
    fn rename(&self, from: &Self::Dir, name: &OsStr, to: &Self::Dir, new: &OsStr) -> io::Result<()>;
    /// Renames; fails where something has the new name.
    fn rename_new(&self, from: &Self::Dir, name: &OsStr, to: &Self::Dir, new: &OsStr) -> io::Result<()>;
    /// Removes a name that is not a folder's.
    fn unlink(&self, at: &Self::Dir, name: &OsStr) -> io::Result<()>;
}

/// The file system of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Os;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Vfs for Os {
    type Dir = OwnedFd;
    type File = OwnedFd;

    fn open_path(&self, path: &Path) -> io::Result<OwnedFd> {
        Ok(retry_on_intr(|| fs::open(path, FOLDER, Mode::empty()))?)
    }

    fn make_path(&self, path: &Path, private: bool) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        let mode = if private { 0o700 } else { 0o777 };
        std::fs::DirBuilder::new().recursive(true).mode(mode).create(path)
    }

    fn open_dir(&self, at: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
        Ok(retry_on_intr(|| fs::openat(at, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()))?)
    }

    fn make_dir(&self, at: &OwnedFd, name: &OsStr) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::mkdirat(at, name, Mode::RWXU))?)
    }

    fn list(&self, dir: &OwnedFd) -> io::Result<Vec<OsString>> {
        use std::os::unix::ffi::OsStrExt;
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    fn dir_meta(&self, dir: &OwnedFd) -> io::Result<Meta> {
        Ok(meta_of(&fs::fstat(dir)?))
    }

    fn stat(&self, at: &OwnedFd, name: &OsStr) -> io::Result<Meta> {
        Ok(meta_of(&retry_on_intr(|| fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW))?))
    }

    fn open(&self, at: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(retry_on_intr(|| fs::openat(at, name, flags, Mode::empty()))?)
    }

    fn create(&self, at: &OwnedFd, name: &OsStr, mode: u32) -> io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        let file = retry_on_intr(|| fs::openat(at, name, flags, mode))?;
        // The umask has no say in a file that replaces one of a known mode.
        retry_on_intr(|| fs::fchmod(&file, mode))?;
        Ok(file)
    }

    fn meta(&self, file: &OwnedFd) -> io::Result<Meta> {
        Ok(meta_of(&fs::fstat(file)?))
    }

    fn read_at(&self, file: &OwnedFd, into: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(retry_on_intr(|| rustix::io::pread(file, &mut *into, offset))?)
    }

    fn write_at(&self, file: &OwnedFd, from: &[u8], offset: u64) -> io::Result<usize> {
        Ok(retry_on_intr(|| rustix::io::pwrite(file, from, offset))?)
    }

    fn settle(&self, file: &OwnedFd) {
        // It takes the lock that a write and a truncation hold. Where nothing is to be found, it fails.
        fs::seek(file, fs::SeekFrom::Data(0)).ok();
    }

    fn sync(&self, file: &OwnedFd) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::fsync(file))?)
    }

    fn sync_dir(&self, dir: &OwnedFd) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::fsync(dir))?)
    }

    fn rename(&self, from: &OwnedFd, name: &OsStr, to: &OwnedFd, new: &OsStr) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::renameat(from, name, to, new))?)
    }

    fn rename_new(&self, from: &OwnedFd, name: &OsStr, to: &OwnedFd, new: &OsStr) -> io::Result<()> {
        match retry_on_intr(|| fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE)) {
            // The file system can't do it in one step. Nobody else writes in this folder, so looking first
            // is as good.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => match self.stat(to, new) {
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.rename(from, name, to, new),
                Err(error) => Err(error),
            },
            done => Ok(done?),
        }
    }

    fn unlink(&self, at: &OwnedFd, name: &OsStr) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::unlinkat(at, name, AtFlags::empty()))?)
    }
}

fn meta_of(stat: &Stat) -> Meta {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Folder,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Special,
    };
    Meta {
        kind,
        device: stat.st_dev,
        inode: stat.st_ino,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        allocated: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
        mode: stat.st_mode & 0o777,
        owner: stat.st_uid,
        mtime_ns: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
    }
}
