//! A file system on which nothing can be changed. The inspector has no other, so it can't change anything,
//! whatever of the store's code it calls.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

use crate::state::vfs::{Kind, Meta, Vfs};

/// Reads through to another file system, and counts the bytes; every change fails with `EROFS`.
#[derive(Debug, Default)]
pub(crate) struct ReadOnly<V> {
    inner: V,
    read: AtomicU64,
}

impl<V> ReadOnly<V> {
    pub(crate) fn new(inner: V) -> Self {
        Self { inner, read: AtomicU64::new(0) }
    }

    /// How many bytes of files were read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

fn refused<T>() -> io::Result<T> {
    Err(Errno::ROFS.into())
}

impl<V: Vfs> Vfs for ReadOnly<V> {
    type Dir = V::Dir;
    type File = V::File;

    fn open_path(&self, path: &Path) -> io::Result<V::Dir> {
        self.inner.open_path(path)
    }
    fn open_dir(&self, at: &V::Dir, name: &OsStr) -> io::Result<V::Dir> {
        self.inner.open_dir(at, name)
    }
    fn list(&self, dir: &V::Dir) -> io::Result<Vec<OsString>> {
        self.inner.list(dir)
    }
    fn dir_meta(&self, dir: &V::Dir) -> io::Result<Meta> {
        self.inner.dir_meta(dir)
    }
    fn stat(&self, at: &V::Dir, name: &OsStr) -> io::Result<Meta> {
        self.inner.stat(at, name)
    }
    /// Looks before it opens: a FIFO that is opened lets its writer go on, and a device may do anything.
    fn open(&self, at: &V::Dir, name: &OsStr) -> io::Result<V::File> {
        match self.inner.stat(at, name)?.kind {
            Kind::File => self.inner.open(at, name),
            Kind::Symlink => Err(Errno::LOOP.into()),
            Kind::Folder | Kind::Special => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
            }
        }
    }
    fn meta(&self, file: &V::File) -> io::Result<Meta> {
        self.inner.meta(file)
    }
    fn read_at(&self, file: &V::File, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.inner.read_at(file, into, offset)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }

    fn make_path(&self, _: &Path, _: bool) -> io::Result<()> {
        refused()
    }
    fn make_dir(&self, _: &V::Dir, _: &OsStr) -> io::Result<()> {
        refused()
    }
    fn create(&self, _: &V::Dir, _: &OsStr, _: u32) -> io::Result<V::File> {
        refused()
    }
    fn write_at(&self, _: &V::File, _: &[u8], _: u64) -> io::Result<usize> {
        refused()
    }
    fn settle(&self, _: &V::File) {}
    fn sync(&self, _: &V::File) -> io::Result<()> {
        refused()
    }
    fn sync_dir(&self, _: &V::Dir) -> io::Result<()> {
        refused()
    }
    fn rename(&self, _: &V::Dir, _: &OsStr, _: &V::Dir, _: &OsStr) -> io::Result<()> {
        refused()
    }
    fn rename_new(&self, _: &V::Dir, _: &OsStr, _: &V::Dir, _: &OsStr) -> io::Result<()> {
        refused()
    }
    fn unlink(&self, _: &V::Dir, _: &OsStr) -> io::Result<()> {
        refused()
    }
}
