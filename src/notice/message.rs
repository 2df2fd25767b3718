//! What a datagram says, taken apart: lines of `FIELD=value`, of which many mean nothing here.

use std::time::Duration;

/// A longer status is cut, in characters.
const STATUS: usize = 256;

/// Longer spans are no spans: who says that something takes a year has made a mistake.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// The longest name of a stored descriptor, in bytes (sd_pid_notify_with_fds(3)).
const FD_NAME: usize = 255;

/// What one datagram says. Of a field that it has twice, the last one counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) main: Option<u32>,
    pub(super) watchdog_every: Option<Duration>,
    pub(super) extend: Option<Duration>,
    pub(super) status: Option<String>,
    pub(super) watchdog: bool,
    pub(super) broken: bool,
    pub(super) reloading: bool,
    pub(super) ready: bool,
    pub(super) stopping: bool,
    pub(super) descriptors: Descriptors,
}

/// What is to become of the descriptors beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// They are to be kept.
    pub(super) store: bool,
    /// Those of this name are not to be kept any longer.
    pub(super) remove: bool,
    /// A name that a list of names can hold; another one counts as none.
    pub(super) name: Option<String>,
    /// They are kept also when the other end is gone.
    pub(super) blind: bool,
}

/// Takes a datagram apart. What it does not know, and what is no value of its field, it passes over.
pub(super) fn parse(datagram: &[u8]) -> Said {
    let mut said = Said::default();
    for line in datagram.split(|byte| *byte == b'\n') {
        let Some(equals) = line.iter().position(|byte| *byte == b'=') else { continue };
        let (field, value) = (&line[..equals], &line[equals + 1..]);
        let on = value == b"1";
        match field {
            b"READY" => said.ready |= on,
            b"RELOADING" => said.reloading |= on,
            b"STOPPING" => said.stopping |= on,
            b"STATUS" => said.status = Some(one_line(value)),
            b"WATCHDOG" => {
                said.watchdog |= on;
                said.broken |= value == b"trigger";
            }
            b"WATCHDOG_USEC" => said.watchdog_every = span(value).or(said.watchdog_every),
            b"EXTEND_TIMEOUT_USEC" => said.extend = span(value).or(said.extend),
            b"MAINPID" => said.main = number(value).and_then(process).or(said.main),
            b"FDSTORE" => said.descriptors.store |= on,
            b"FDSTOREREMOVE" => said.descriptors.remove |= on,
            b"FDNAME" => said.descriptors.name = fd_name(value),
            b"FDPOLL" => said.descriptors.blind |= value == b"0",
            // BARRIER is kept by the order of things: what comes beside it is closed when all before is heard.
            _ => {}
        }
    }
    said
}

fn number(value: &[u8]) -> Option<u64> {
    // `parse` alone would take a sign.
    let digits = value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}

fn span(microseconds: &[u8]) -> Option<Duration> {
    let span = Duration::from_micros(number(microseconds)?);
    (!span.is_zero() && span <= LONGEST).then_some(span)
}

fn process(number: u64) -> Option<u32> {
    let pid = u32::try_from(number).ok()?;
    (pid > 1 && i32::try_from(pid).is_ok()).then_some(pid)
}

fn fd_name(value: &[u8]) -> Option<String> {
    let printable = |byte: &u8| (b' '..0x7f).contains(byte) && *byte != b':';
    let fits = !value.is_empty() && value.len() <= FD_NAME && value.iter().all(printable);
    fits.then(|| String::from_utf8_lossy(value).into_owned())
}

/// Text that does nothing to a terminal, of bounded length.
fn one_line(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let mut line: String =
        text.trim().chars().map(|c| if harmless(c) { c } else { '\u{fffd}' }).take(STATUS + 1).collect();
    if line.chars().count() > STATUS {
        line.pop();
        line.pop();
        line.push('…');
    }
    line
}

/// Neither a control character nor one that turns the direction of what follows.
fn harmless(c: char) -> bool {
    let turns = matches!(
        c,
        '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    !c.is_control() && !turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_read_and_others_mean_nothing() {
        let text = b"READY=1\nSTATUS= at work \nMAINPID=77\nWATCHDOG=1\nWATCHDOG_USEC=2000000\nEXTEND_TIMEOUT_USEC=5\n\
            ERRNO=2\nX_OWN=1\nMONOTONIC_USEC=9\nnonsense\n=\n\nFDSTORE=1\nFDNAME=a b\nFDPOLL=0\n";
        let said = parse(text);
        assert!(said.ready && said.watchdog && !said.broken && !said.reloading && !said.stopping);
        assert_eq!((said.status.as_deref(), said.main), (Some("at work"), Some(77)));
        assert_eq!(said.watchdog_every, Some(Duration::from_secs(2)));
        assert_eq!(said.extend, Some(Duration::from_micros(5)));
        let name = Some("a b".to_owned());
        assert_eq!(said.descriptors, Descriptors { store: true, remove: false, name, blind: true });
        assert!(parse(b"WATCHDOG=trigger").broken);
        assert!(parse(b"RELOADING=1\nSTOPPING=1").stopping);
        assert_eq!(parse(b"READY=0\nREADY=yes\nready=1\nREADY"), Said::default());
    }

    #[test]
    fn what_is_no_value_of_its_field_is_passed_over() {
        for text in ["0", "-1", "+5", "1e3", "", " 5", "99999999999999999999999", "18446744073709551615"] {
            assert_eq!(parse(format!("WATCHDOG_USEC={text}").as_bytes()), Said::default(), "{text}");
        }
        for pid in ["0", "1", "4294967295", "2147483648", "x"] {
            assert_eq!(parse(format!("MAINPID={pid}").as_bytes()), Said::default(), "{pid}");
        }
        for name in ["a:b", "", "\u{e9}", "a\tb", &"x".repeat(256)] {
            assert_eq!(parse(format!("FDNAME={name}").as_bytes()), Said::default(), "{name}");
        }
    }

    #[test]
    fn a_status_is_one_harmless_line_of_bounded_length() {
        let status = |bytes: &[u8]| parse(&[b"STATUS=", bytes].concat()).status.unwrap();
        assert_eq!(status(b"a\x1b[31mb\rc\0"), "a\u{fffd}[31mb\u{fffd}c\u{fffd}");
        assert_eq!(status("a\u{202e}b".as_bytes()), "a\u{fffd}b");
        assert_eq!(status(b"\xff"), "\u{fffd}");
        assert_eq!(status(b""), "");
        assert_eq!(status(&[b'x'; 256]).chars().count(), 256);
        let long = status("ä".repeat(2000).as_bytes());
        assert_eq!((long.chars().count(), long.chars().last()), (256, Some('…')));
    }
}
