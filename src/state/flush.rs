//! Writes a large file back while it is still being copied. Left to one fsync at the end, a gibibyte of dirty
//! pages keeps every other fsync of the file system waiting, and the disk idle until then.

use std::io;
use std::sync::mpsc::sync_channel;

use super::vfs::Vfs;

/// So much is written between two fsyncs; about three times as much is dirty at the most.
const PIECE: u64 = 8 << 20;

/// Runs a copy into `file` of about `size` bytes, which says how much it has written; another thread makes that
/// durable piece by piece. The last piece is the caller's.
///
/// A failed fsync fails the whole: the system may have dropped the pages, and tells it once.
pub(crate) fn flushing<V: Vfs, T, E: Send>(
    vfs: &V,
    file: Option<&V::File>,
    size: u64,
    failed: impl Fn(io::Error) -> E,
    copy: impl FnOnce(&mut dyn FnMut(usize)) -> Result<T, E>,
) -> Result<T, E> {
    let Some(file) = file.filter(|_| size > PIECE) else { return copy(&mut |_| {}) };
    std::thread::scope(|scope| {
        let (ask, asked) = sync_channel::<()>(1);
        let thread = std::thread::Builder::new().name("state-flush".into());
        let flush = move || asked.iter().try_for_each(|()| vfs.sync(file));
        let thread = thread.spawn_scoped(scope, flush).map_err(&failed)?;
        let mut open = 0;
        let copied = copy(&mut |written| {
            open += written as u64;
            if open >= PIECE {
                open = 0;
                // Nobody listens any more after a failure, which is told below.
                ask.send(()).ok();
            }
        });
        drop(ask);
        let flushed =
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a fault in orch's state store")));
        let copied = copied?;
        flushed.map_err(&failed)?;
        Ok(copied)
    })
}
