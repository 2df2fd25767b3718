//! A stream of lines, as it comes.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::runtime::Runtime;

use super::ClientError;

/// The lines of an answer that goes on and on. Ends when orch does, or when what was asked for is all told.
#[derive(Debug)]
pub struct Lines {
    runtime: Runtime,
    body: Incoming,
    /// What has come and was not given yet: from `at` on.
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Lines {
    pub(super) fn new(runtime: Runtime, body: Incoming) -> Self {
        Self { runtime, body, buffer: Vec::new(), at: 0, ended: false }
    }

    /// Whether a whole line is here already, so that the next one is not waited for.
    #[must_use]
    pub fn has_line(&self) -> bool {
        memchr::memchr(b'\n', &self.buffer[self.at..]).is_some()
    }

    /// The next whole line that is here already, without its end.
    fn buffered(&mut self) -> Option<Vec<u8>> {
        let rest = &self.buffer[self.at..];
        let end = memchr::memchr(b'\n', rest)?;
        let line = rest[..end].to_vec();
        self.at += end + 1;
        Some(line)
    }

    fn read(&mut self) -> Result<(), ClientError> {
        self.buffer.drain(..self.at);
        self.at = 0;
        match self.runtime.block_on(self.body.frame()) {
            None => self.ended = true,
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.buffer.extend_from_slice(&data);
                }
            }
            Some(Err(_)) => {
                self.ended = true;
                return Err(ClientError::Ended);
            }
        }
        Ok(())
    }
}

impl Iterator for Lines {
    type Item = Result<Vec<u8>, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(line) = self.buffered() {
                return Some(Ok(line));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.read() {
                return Some(Err(error));
            }
        }
    }
}
