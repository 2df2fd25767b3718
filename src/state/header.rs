//! The first line of a generation: `ORST1 <64 hex digits> {json}\n`.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::clock::Stamp;

/// What a header begins with: the format and its version.
const MAGIC: &[u8] = b"ORST1 ";
/// Where the hashed part begins: after the magic and the hex digits.
pub(crate) const HASHED_FROM: usize = MAGIC.len() + DIGITS;
const DIGITS: usize = 64;
/// No header is longer; a line that is, is none.
pub(crate) const MAX_HEADER: usize = 4096;

/// What a generation was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// What the component left at an ordered stop, or at an end with a success code.
    Restart,
    /// What it had saved before it was killed or crashed, or while it ran.
    Snapshot,
}

impl Source {
    /// The word for it in headers and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Snapshot => "snapshot",
        }
    }
}

/// What the header of a generation says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Whose state it is.
    pub component: String,
    /// Of which run; 0 if the file was there before the first.
    pub incarnation: u64,
    /// Its number.
    pub generation: u64,
    /// What it was made from.
    pub source: Source,
    /// When it was complete, by the wall clock.
    pub timestamp: Timestamp,
    /// In which boot of the machine.
    pub boot_id: String,
    /// The boot-time clock then, in nanoseconds.
    pub boottime_ns: u64,
    /// Bytes of state that follow the header.
    pub payload_len: u64,
}

/// The JSON of the header, its keys in the contract's order.
#[derive(Serialize, Deserialize)]
struct Wire {
    component: String,
    incarnation: u64,
    generation: u64,
    source: Source,
    restart_marker: bool,
    timestamp: String,
    boot_id: String,
    boottime_ns: u64,
    payload_len: u64,
}

impl Header {
    /// The header line with zeros for hex digits. They are known when the payload has been read, and don't
    /// change the line's length.
    pub(crate) fn line(&self) -> String {
        let wire = Wire {
            component: self.component.clone(),
            incarnation: self.incarnation,
            generation: self.generation,
            source: self.source,
            restart_marker: self.source == Source::Restart,
            timestamp: format!("{:.6}", self.timestamp),
            boot_id: self.boot_id.clone(),
            boottime_ns: self.boottime_ns,
            payload_len: self.payload_len,
        };
        // A struct of numbers and strings always has a JSON form.
        let json = serde_json::to_string(&wire).unwrap_or_default();
        format!("ORST1 {:0>DIGITS$} {json}\n", "")
    }

    /// Reads a header from the beginning of a file, up to [`MAX_HEADER`] bytes of it. Gives the header, its
    /// length, and the hex digits. Nothing in it may be believed before the digits have been checked.
    pub(crate) fn parse(start: &[u8]) -> Result<(Self, usize, String), &'static str> {
        let end = memchr::memchr(b'\n', start).ok_or("its header has no end")?;
        let line = start[..end].strip_prefix(MAGIC).ok_or("it does not begin with `ORST1`")?;
        let (digits, rest) = line.split_at_checked(DIGITS).ok_or("its header is cut off")?;
        let lower_hex = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if !digits.iter().all(lower_hex) {
            return Err("its checksum is not a checksum");
        }
        let json = rest.strip_prefix(b" ").ok_or("its header is malformed")?;
        let wire: Wire = serde_json::from_slice(json).map_err(|_| "its header is malformed")?;
        let header = Self::from_wire(wire)?;
        Ok((header, end + 1, String::from_utf8_lossy(digits).into_owned()))
    }

    fn from_wire(wire: Wire) -> Result<Self, &'static str> {
        if wire.restart_marker != (wire.source == Source::Restart) {
            return Err("its restart marker contradicts its source");
        }
        Ok(Self {
            timestamp: wire.timestamp.parse().map_err(|_| "its timestamp is malformed")?,
            component: wire.component,
            incarnation: wire.incarnation,
            generation: wire.generation,
            source: wire.source,
            boot_id: wire.boot_id,
            boottime_ns: wire.boottime_ns,
            payload_len: wire.payload_len,
        })
    }

    /// When the state was complete.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { timestamp: self.timestamp, boot_id: self.boot_id.clone(), boottime_ns: self.boottime_ns }
    }
}

/// SHA-256 as 64 hex digits.
pub(crate) fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().fold(String::with_capacity(DIGITS), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            component: "api".into(),
            incarnation: 3,
            generation: 17,
            source: Source::Restart,
            timestamp: "2026-01-20T10:00:00.123456Z".parse().unwrap(),
            boot_id: "b".into(),
            boottime_ns: 123,
            payload_len: 18321,
        }
    }

    #[test]
    fn the_line_is_the_contracts_to_the_byte() {
        let json = concat!(
            r#"{"component":"api","incarnation":3,"generation":17,"source":"restart","restart_marker":true,"#,
            r#""timestamp":"2026-01-20T10:00:00.123456Z","boot_id":"b","boottime_ns":123,"payload_len":18321}"#,
        );
        assert_eq!(header().line(), format!("ORST1 {} {json}\n", "0".repeat(64)));
        let whole_second = Header { timestamp: Timestamp::UNIX_EPOCH, ..header() };
        assert!(whole_second.line().contains(r#""timestamp":"1970-01-01T00:00:00.000000Z""#));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let line = header().line();
        let (read, length, digits) = Header::parse(format!("{line}payload").as_bytes()).unwrap();
        assert_eq!((read, length, digits), (header(), line.len(), "0".repeat(64)));
    }

    #[test]
    fn what_is_not_a_header_is_refused() {
        let line = header().line();
        for bad in [
            String::new(),
            line.trim_end().to_owned(),
            line.replacen("ORST1", "ORST2", 1),
            line.replacen("0000", "000A", 1),
            line.replacen("true", "false", 1),
            line.replacen("10:00", "1x:00", 1),
            line.replacen(" {", "{", 1),
            "ORST1 00\n".to_owned(),
        ] {
            assert!(Header::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
