//! The exec itself: this process becomes another program, with its id, its children and the descriptors that
//! it is told to keep.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// What this process runs, also when its file was replaced or removed meanwhile.
pub(crate) const SAME: &str = "/proc/self/exe";

/// A program with its words and its environment, ready for the system.
#[derive(Debug)]
pub(crate) struct Image {
    program: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Image {
    /// This process's own words and environment, with `more` in it.
    ///
    /// # Errors
    /// When the program's path holds a NUL byte.
    pub(crate) fn new(program: &Path, more: (&str, String)) -> io::Result<Self> {
        let text = |text: OsString| CString::new(text.into_vec()).map_err(io::Error::other);
        let others = std::env::vars_os().filter(|(name, _)| *name != more.0);
        let pair = |(name, value): (OsString, OsString)| {
            let mut pair = name;
            pair.push("=");
            pair.push(value);
            pair
        };
        let all = others.chain([(more.0.into(), more.1.into())]).map(pair);
        Ok(Self {
            program: text(program.to_path_buf().into_os_string())?,
            argv: std::env::args_os().map(text).collect::<io::Result<_>>()?,
            env: all.map(text).collect::<io::Result<_>>()?,
        })
    }

    /// Becomes it, keeping `kept` open; comes back only if that fails, with everything as it was.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn exec(&self, kept: &[BorrowedFd<'_>]) -> io::Result<Infallible> {
        let set = |flags: FdFlags| kept.iter().try_for_each(|fd| fcntl_setfd(fd, flags));
        set(FdFlags::empty())?;
        let list = |items: &[CString]| -> Vec<*const libc::c_char> {
            items.iter().map(|item| item.as_ptr()).chain([std::ptr::null()]).collect()
        };
        let (argv, env) = (list(&self.argv), list(&self.env));
        // SAFETY: both lists end with a null, and they and the texts live through the call.
        unsafe { libc::execve(self.program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
        let error = io::Error::last_os_error();
        set(FdFlags::CLOEXEC)?;
        Err(error)
    }
}

/// Takes descriptors that an exec left open, by their numbers; closed on the next exec from now on. None that
/// is not open, and none of the standard ones.
///
/// # Errors
/// One of them is not open.
pub(crate) fn inherited(numbers: &[RawFd]) -> io::Result<Vec<std::os::fd::OwnedFd>> {
    for number in numbers {
        if *number < 3 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{number} is a standard one")));
        }
        // SAFETY: borrowed for the one call that tells whether it is open.
        fcntl_getfd(unsafe { BorrowedFd::borrow_raw(*number) })?;
    }
    let take = |number: &RawFd| {
        // SAFETY: it is open, and nothing in this image has made it: it is the handover's, which is taken once.
        let fd = unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(*number) };
        fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
        Ok(fd)
    };
    numbers.iter().map(take).collect()
}

/// The numbers of descriptors.
pub(crate) fn numbers<T: AsRawFd>(fds: &[T]) -> Vec<RawFd> {
    fds.iter().map(AsRawFd::as_raw_fd).collect()
}
