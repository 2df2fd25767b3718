//! A thread component's output: the write end of a pipe, shared by whoever prints, closed at the end.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use super::lock;

/// Where a component's lines go. Every clone is the same output, and is closed when the component ends.
///
/// Each call of `write` goes out whole before another thread's, so a line built first and written at once
/// is never torn. A component whose output nobody reads any more gets an error here, and no signal.
#[derive(Debug, Clone)]
pub struct Output(Arc<Mutex<Option<File>>>);

impl Output {
    pub(super) fn new(pipe: OwnedFd) -> Self {
        // Whoever made the pipe may have wanted its own end not to block; here a full pipe means to wait.
        if let Ok(flags) = rustix::fs::fcntl_getfl(&pipe) {
            let _ = rustix::fs::fcntl_setfl(&pipe, flags - rustix::fs::OFlags::NONBLOCK);
        }
        Self(Arc::new(Mutex::new(Some(File::from(pipe)))))
    }

    /// Writes `text` and a newline at once. An output that is gone ends nothing, so errors are passed over.
    pub(super) fn line(&self, text: &str) {
        let mut line = String::with_capacity(text.len() + 1);
        line.push_str(text);
        line.push('\n');
        let _ = self.clone().write_all(line.as_bytes());
    }

    /// Closes it, whoever still has a clone.
    pub(super) fn close(&self) {
        drop(lock(&self.0).take());
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match lock(&self.0).as_mut() {
            Some(pipe) => pipe.write_all(bytes).map(|()| bytes.len()),
            None => Err(io::Error::new(io::ErrorKind::BrokenPipe, "write after the component's end")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
