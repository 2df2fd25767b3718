//! Generation files: writing one, checking one, and their names. Payloads stream through a small buffer,
//! whatever their size.

use std::ffi::{OsStr, OsString};
use std::io;

use sha2::{Digest, Sha256};

use super::flush::flushing;
use super::header::{HASHED_FROM, Header, MAX_HEADER, hex};
use super::mutant::{self, Mutant};
use super::vfs::{Kind, Meta, Vfs};

const BUFFER: usize = 128 * 1024;
/// No store gets so far by counting; a file with such a number was put there by somebody, and must not use
/// up the numbers.
const LAST: u64 = 1 << 62;

/// The file name of a generation.
pub(crate) fn file_name(generation: u64) -> OsString {
    format!("{generation:020}.orst").into()
}

/// The generation that a file name stands for.
pub(crate) fn number(name: &OsStr) -> Option<u64> {
    let digits = name.to_str()?.strip_suffix(".orst")?;
    let well_formed = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    if !well_formed {
        return None;
    }
    digits.parse().ok().filter(|number| *number < LAST)
}

/// Why a generation can't be used.
#[derive(Debug)]
pub(crate) enum Flaw {
    /// It is not what was written.
    Damaged(&'static str),
    /// It can't be read.
    Unreadable(io::Error),
    /// What it was to be copied to can't be written.
    Sink(io::Error),
    /// Nothing is wrong with it; orch has run out of something.
    Other(io::Error),
}

impl Flaw {
    fn reading(error: io::Error) -> Self {
        let exhausted = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE, rustix::io::Errno::NOMEM]
            .map(|e| e.raw_os_error());
        match error.raw_os_error() {
            Some(code) if exhausted.contains(&code) => Self::Other(error),
            Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => {
                Self::Damaged("it is a symbolic link")
            }
            _ => Self::Unreadable(error),
        }
    }
}

/// Opens what has a generation's name, if it is a regular file of this user.
pub(crate) fn open<V: Vfs>(vfs: &V, dir: &V::Dir, generation: u64) -> Result<(V::File, Meta), Flaw> {
    let file = vfs.open(dir, &file_name(generation)).map_err(Flaw::reading)?;
    let meta = vfs.meta(&file).map_err(Flaw::reading)?;
    match meta.kind {
        Kind::File if meta.owner == rustix::process::geteuid().as_raw() => Ok((file, meta)),
        Kind::File => Err(Flaw::Damaged("it belongs to another user")),
        _ => Err(Flaw::Damaged("it is not a regular file")),
    }
}

/// Reads a header without checking the payload; only to choose an order.
pub(crate) fn peek<V: Vfs>(vfs: &V, dir: &V::Dir, generation: u64) -> Option<Header> {
    let (file, _) = open(vfs, dir, generation).ok()?;
    let start = read_start(vfs, &file).ok()?;
    Header::parse(&start).ok().map(|(header, _, _)| header)
}

fn read_start<V: Vfs>(vfs: &V, file: &V::File) -> io::Result<Vec<u8>> {
    let mut start = vec![0; MAX_HEADER];
    let mut filled = 0;
    while filled < start.len() {
        match vfs.read_at(file, &mut start[filled..], filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    start.truncate(filled);
    Ok(start)
}

/// Checks a whole generation, and copies its payload to `sink` on the way. Only when this returns `Ok` are
/// the header and what is in `sink` what was sealed.
pub(crate) fn verify<V: Vfs>(
    vfs: &V,
    sealed: (&V::File, &Meta),
    identity: (&str, u64),
    sink: Option<&V::File>,
) -> Result<Header, Flaw> {
    flushing(vfs, sink, sealed.1.size, Flaw::Sink, |written| {
        check(vfs, sealed, identity, |at, bytes| {
            sink.map_or(Ok(()), |sink| write_all(vfs, sink, bytes, at).map_err(Flaw::Sink))?;
            written(bytes.len());
            Ok(())
        })
    })
}

/// Checks a whole generation, and on the way that another file has the same bytes from its beginning on.
pub(crate) fn verify_same<V: Vfs>(
    vfs: &V,
    sealed: (&V::File, &Meta),
    identity: (&str, u64),
    other: &V::File,
) -> Result<Header, Flaw> {
    let mut theirs = vec![0; BUFFER];
    check(vfs, sealed, identity, |at, bytes| {
        let theirs = &mut theirs[..bytes.len()];
        let same = read_exact(vfs, other, theirs, at).map_err(Flaw::Sink)? && theirs == bytes;
        if same { Ok(()) } else { Err(Flaw::Sink(io::ErrorKind::InvalidData.into())) }
    })
}

/// Checks a whole generation, and hands its payload on in pieces, each with its offset.
fn check<V: Vfs>(
    vfs: &V,
    (file, meta): (&V::File, &Meta),
    (component, generation): (&str, u64),
    mut hand_on: impl FnMut(u64, &[u8]) -> Result<(), Flaw>,
) -> Result<Header, Flaw> {
    let start = read_start(vfs, file).map_err(Flaw::reading)?;
    let (header, length, digits) = Header::parse(&start).map_err(Flaw::Damaged)?;
    if header.generation != generation || header.component != component {
        return Err(Flaw::Damaged("its header is another generation's"));
    }
    if meta.size.checked_sub(length as u64) != Some(header.payload_len) {
        return Err(Flaw::Damaged("its length is not the one in its header"));
    }
    let mut hasher = Sha256::new();
    hasher.update(&start[HASHED_FROM..length]);
    let read = |at: u64, into: &mut [u8]| vfs.read_at(file, into, length as u64 + at).map_err(Flaw::reading);
    let handed_on = stream(header.payload_len, read, |at, bytes| {
        hasher.update(bytes);
        hand_on(at, bytes)
    })?;
    let sound = hex(hasher) == digits || mutant::is(Mutant::ChecksumUnchecked);
    if handed_on != header.payload_len || !sound {
        return Err(Flaw::Damaged("its checksum is wrong"));
    }
    Ok(header)
}

/// Writes a generation with what is in `from`, and makes it durable; the digits go in last, being known last.
/// Gives `UnexpectedEof` or `InvalidData` where the file is not as long as the header says.
/// `go_on` is asked before each piece.
pub(crate) fn write<V: Vfs>(
    vfs: &V,
    into: &V::File,
    header: &Header,
    from: &V::File,
    go_on: &dyn Fn() -> io::Result<()>,
) -> io::Result<()> {
    let line = header.line();
    write_all(vfs, into, line.as_bytes(), 0)?;
    let mut hasher = Sha256::new();
    hasher.update(&line.as_bytes()[HASHED_FROM..]);
    // One byte more than there should be shows a file that grows.
    let limit = header.payload_len.saturating_add(1);
    let read = |at: u64, buffer: &mut [u8]| go_on().and_then(|()| vfs.read_at(from, buffer, at));
    let copied = flushing(
        vfs,
        Some(into),
        limit,
        |error| error,
        |written| {
            stream(limit, read, |at, bytes| {
                hasher.update(bytes);
                write_all(vfs, into, bytes, line.len() as u64 + at)?;
                written(bytes.len());
                Ok(())
            })
        },
    )?;
    if copied != header.payload_len {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the state file changes while it is read"));
    }
    write_all(vfs, into, hex(hasher).as_bytes(), (HASHED_FROM - 64) as u64)?;
    vfs.sync(into)
}

/// Copies a file's bytes and makes them durable.
pub(crate) fn copy<V: Vfs>(vfs: &V, from: &V::File, into: &V::File, limit: u64) -> io::Result<()> {
    flushing(
        vfs,
        Some(into),
        limit,
        |error| error,
        |written| {
            stream(
                limit,
                |at, b| vfs.read_at(from, b, at),
                |at, b| {
                    write_all(vfs, into, b, at)?;
                    written(b.len());
                    Ok(())
                },
            )
        },
    )?;
    vfs.sync(into)
}

/// Whether a file has the same bytes as the payload of a generation.
pub(crate) fn same_payload<V: Vfs>(vfs: &V, dir: &V::Dir, generation: u64, other: (&V::File, u64)) -> bool {
    let compare = || -> Option<bool> {
        let (file, _) = open(vfs, dir, generation).ok()?;
        let (header, length, _) = Header::parse(&read_start(vfs, &file).ok()?).ok()?;
        if header.payload_len != other.1 {
            return Some(false);
        }
        let mut theirs = vec![0; BUFFER];
        let read = |at: u64, into: &mut [u8]| vfs.read_at(&file, into, length as u64 + at);
        let compared = stream(header.payload_len, read, |at, bytes| {
            let theirs = &mut theirs[..bytes.len()];
            let same = read_exact(vfs, other.0, theirs, at)? && theirs == bytes;
            if same { Ok(()) } else { Err(io::Error::from(io::ErrorKind::InvalidData)) }
        });
        Some(compared.ok()? == header.payload_len)
    };
    compare().unwrap_or(false)
}

fn read_exact<V: Vfs>(vfs: &V, file: &V::File, into: &mut [u8], at: u64) -> io::Result<bool> {
    let mut filled = 0;
    while filled < into.len() {
        match vfs.read_at(file, &mut into[filled..], at + filled as u64)? {
            0 => return Ok(false),
            read => filled += read,
        }
    }
    Ok(true)
}

/// Hands up to `limit` bytes on in pieces, each with its offset; gives how many there were.
pub(crate) fn stream<E>(
    limit: u64,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<usize, E>,
    mut write: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<u64, E> {
    let mut buffer = vec![0; BUFFER.min(usize::try_from(limit).unwrap_or(BUFFER))];
    let mut done = 0;
    while done < limit {
        let want = buffer.len().min(usize::try_from(limit - done).unwrap_or(BUFFER));
        match read(done, &mut buffer[..want])? {
            0 => break,
            got => {
                write(done, &buffer[..got])?;
                done += got as u64;
            }
        }
    }
    Ok(done)
}

/// Writes all bytes.
pub(crate) fn write_all<V: Vfs>(vfs: &V, file: &V::File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match vfs.write_at(file, bytes, at)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => {
                bytes = &bytes[written..];
                at += written as u64;
            }
        }
    }
    Ok(())
}

/// Reads a small file whole; `None` if it is longer than `limit`.
pub(crate) fn read_small<V: Vfs>(vfs: &V, file: &V::File, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut all = Vec::new();
    let read = stream(
        limit.saturating_add(1),
        |at, buffer| vfs.read_at(file, buffer, at),
        |_, bytes| {
            all.extend_from_slice(bytes);
            Ok::<_, io::Error>(())
        },
    )?;
    Ok((read <= limit).then_some(all))
}
